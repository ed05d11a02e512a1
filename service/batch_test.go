package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func TestBatchGetSecretValue(t *testing.T) {
	h := open(t, service.Config{})
	ctx := t.Context()
	var arns []string
	for _, name := range []string{"a", "b", "going"} {
		arns = append(arns, h.create(name, "value of "+name))
		h.clock.add(time.Second)
	}
	h.put("b", "v2")
	void, err := h.CreateSecret(ctx, service.CreateSecretInput{Name: "void", ClientRequestToken: tok("x")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.DeleteSecret(ctx, service.DeleteSecretInput{SecretID: "going"}); err != nil {
		t.Fatal(err)
	}
	out, err := h.BatchGetSecretValue(ctx, service.BatchGetSecretValueInput{SecretIDList: []string{"b", "nowhere", arns[0], "going", "void", "a b"}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	got := strings.NewReplacer(arns[0], "A", arns[1], "B", tok("v1"), "V1", tok("v2"), "V2").Replace(string(b))
	want := `{"SecretValues":[` +
		`{"ARN":"B","Name":"b","VersionId":"V2","SecretString":"value of v2","VersionStages":["AWSCURRENT"],"CreatedDate":"2026-03-04T10:20:33Z"},` +
		`{"ARN":"A","Name":"a","VersionId":"V1","SecretString":"value of a","VersionStages":["AWSCURRENT"],"CreatedDate":"2026-03-04T10:20:30Z"}],` +
		`"Errors":[` +
		`{"SecretId":"nowhere","ErrorCode":"ResourceNotFoundException","Message":"` + notFoundText + `"},` +
		`{"SecretId":"going","ErrorCode":"InvalidRequestException","Message":"` + deletedText + `"},` +
		`{"SecretId":"void","ErrorCode":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"},` +
		`{"SecretId":"a b","ErrorCode":"ValidationException","Message":"` + nameText + `"}]}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if h.record("a").Accessed.IsZero() {
		t.Error("LastAccessedDate did not move")
	}
	// By filters, what is marked for deletion is not listed at all.
	out, err = h.BatchGetSecretValue(ctx, service.BatchGetSecretValueInput{Filters: []service.Filter{{Key: "name", Values: []string{"a", "going", "void"}}}})
	if err != nil || len(out.SecretValues) != 1 || out.SecretValues[0].Name != "a" || out.NextToken != "" {
		t.Errorf("got %+v, %v", out, err)
	}
	wantErrors := []service.APIErrorType{{SecretID: void.ARN, ErrorCode: "ResourceNotFoundException", Message: "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"}}
	if diff := cmp.Diff(wantErrors, out.Errors); diff != "" {
		t.Error(diff)
	}
	// A value that does not open is one secret's misfortune.
	h.change("b", func(sec *service.Secret) { sec.Description = "x" })
	other, err := h.keys.Seal(t.Context(), "", arns[0], tok("v2"), secrets.Text("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.store.Update(ctx, h.record("b").ARN, func(*service.Secret) (service.Sealed, error) {
		return service.Sealed{tok("v2"): other}, nil
	}); err != nil {
		t.Fatal(err)
	}
	out, err = h.BatchGetSecretValue(ctx, service.BatchGetSecretValueInput{SecretIDList: []string{"b", "a"}})
	if err != nil || len(out.SecretValues) != 1 || len(out.Errors) != 1 || out.Errors[0].ErrorCode != "DecryptionFailure" {
		t.Errorf("got %+v, %v", out, err)
	}
	// A store that can't be read is everybody's.
	broken := service.New(service.Config{Store: blind{h.store}, Sealer: h.keys, Now: h.clock.now})
	_, err = broken.BatchGetSecretValue(ctx, service.BatchGetSecretValueInput{SecretIDList: []string{"a"}})
	wantKind(t, err, secrets.Transient, "busy")
}

// blind is a store whose values can't be read just now.
type blind struct{ service.Store }

func (blind) Value(context.Context, secrets.ARN, string) ([]byte, error) {
	return nil, secrets.Errorf(secrets.Transient, "the database is busy")
}

func TestBatchGetSecretValuePages(t *testing.T) {
	h := open(t, service.Config{})
	var want []string
	for i := range 45 {
		name := fmt.Sprintf("s/%02d", i)
		want = append(want, name)
		h.create(name, "x")
	}
	h.create("other", "x")
	filters := byName("s/")
	for n, pages := range map[int64]int{0: 3, 7: 7, 15: 3, 20: 3} {
		in := service.BatchGetSecretValueInput{Filters: filters}
		if n > 0 {
			in.MaxResults = &n
		}
		var got []string
		p := 0
		for {
			out, err := h.BatchGetSecretValue(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			p++
			for _, v := range out.SecretValues {
				got = append(got, v.Name)
			}
			if in.NextToken = out.NextToken; in.NextToken == "" {
				break
			}
		}
		if !slices.Equal(got, want) || p != pages {
			t.Errorf("%d at a time: %d on %d pages", n, len(got), p)
		}
	}
	first, err := h.BatchGetSecretValue(t.Context(), service.BatchGetSecretValueInput{Filters: filters})
	if err != nil {
		t.Fatal(err)
	}
	const text = "The NextToken value is not valid for this request."
	for _, in := range []service.BatchGetSecretValueInput{
		{Filters: byName("s"), NextToken: first.NextToken},
		{Filters: filters, NextToken: first.NextToken[1:]},
		{SecretIDList: []string{"s"}, NextToken: first.NextToken},
	} {
		_, err := h.BatchGetSecretValue(t.Context(), in)
		wantErr(t, err, "InvalidNextTokenException", text)
	}
	_, err = h.ListSecrets(t.Context(), service.ListSecretsInput{Filters: filters, NextToken: first.NextToken})
	wantErr(t, err, "InvalidNextTokenException", text)
}

func TestBatchGetSecretValueRefuses(t *testing.T) {
	h := open(t, service.Config{})
	const (
		either = "Either 'SecretIdList' or 'Filters' must be provided, but not both."
		max    = "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided."
	)
	for _, c := range []struct {
		in   service.BatchGetSecretValueInput
		text string
	}{
		{service.BatchGetSecretValueInput{}, either},
		{service.BatchGetSecretValueInput{NextToken: "x"}, either},
		{service.BatchGetSecretValueInput{SecretIDList: []string{"s"}, Filters: byName("s")}, either},
		{service.BatchGetSecretValueInput{SecretIDList: []string{"s"}, MaxResults: new(int64(3))}, max},
		{service.BatchGetSecretValueInput{MaxResults: new(int64(3))}, max},
		{service.BatchGetSecretValueInput{Filters: []service.Filter{{Values: []string{"x"}}}}, "Invalid filter key"},
		{service.BatchGetSecretValueInput{Filters: []service.Filter{{Key: "all"}}}, "Invalid filter values for key: all"},
	} {
		_, err := h.BatchGetSecretValue(t.Context(), c.in)
		wantErr(t, err, "InvalidParameterException", c.text)
	}
}
