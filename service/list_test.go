package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// names lists all pages and returns the names and the number of pages.
func names(t testing.TB, h *house, in service.ListSecretsInput) (all []string, pages int) {
	t.Helper()
	for {
		out, err := h.ListSecrets(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, e := range out.SecretList {
			all = append(all, e.Name)
		}
		if in.NextToken = out.NextToken; in.NextToken == "" {
			return all, pages
		}
	}
}

func byName(values ...string) []service.Filter {
	return []service.Filter{{Key: "name", Values: values}}
}

func TestListSecrets(t *testing.T) {
	h := open(t, service.Config{})
	for _, name := range []string{"prod/b", "prod/a", "dev/a", "prodigy", "Prod/x", "zz", "!x"} {
		h.create(name, "x")
	}
	if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "prod/b"}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in   service.ListSecretsInput
		want string
	}{
		{service.ListSecretsInput{}, "!x Prod/x dev/a prod/a prodigy zz"},
		{service.ListSecretsInput{IncludePlannedDeletion: true}, "!x Prod/x dev/a prod/a prod/b prodigy zz"},
		{service.ListSecretsInput{Filters: byName("prod")}, "prod/a prodigy"},
		{service.ListSecretsInput{Filters: byName("prod/"), IncludePlannedDeletion: true}, "prod/a prod/b"},
		{service.ListSecretsInput{Filters: byName("zz")}, "zz"},
		{service.ListSecretsInput{Filters: byName("zzz")}, ""},
		{service.ListSecretsInput{Filters: byName("prod/", "dev/")}, "dev/a prod/a"},
		{service.ListSecretsInput{Filters: byName("!prod")}, "!x Prod/x dev/a zz"},
		{service.ListSecretsInput{Filters: slices.Concat(byName("prod"), byName("!prod/"))}, "prodigy"},
	} {
		got, _ := names(t, h, c.in)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: got %v, want %s", c.in, got, c.want)
		}
	}
	out, err := h.ListSecrets(t.Context(), service.ListSecretsInput{Filters: byName("prod/b"), IncludePlannedDeletion: true})
	if err != nil || len(out.SecretList) != 1 || !out.SecretList[0].DeletedDate.Equal(h.clock.now()) || len(out.SecretList[0].SecretVersionsToStages[tok("v1")]) != 1 {
		t.Errorf("got %+v, %v", out, err)
	}
	_, err = h.ListSecrets(t.Context(), service.ListSecretsInput{Filters: []service.Filter{{Values: []string{"x"}}}})
	wantErr(t, err, "InvalidParameterException", "Invalid filter key")
	_, err = h.ListSecrets(t.Context(), service.ListSecretsInput{Filters: byName()})
	wantErr(t, err, "InvalidParameterException", "Invalid filter values for key: name")
	_, err = h.ListSecrets(t.Context(), service.ListSecretsInput{MaxResults: new(int64(101))})
	wantErr(t, err, "ValidationException", "1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 100")
}

func TestListSecretsPages(t *testing.T) {
	h := open(t, service.Config{})
	var want []string
	for i := range 60 {
		want = append(want, fmt.Sprintf("s/%03d", i))
		h.create(want[i], "x")
	}
	for n, pages := range map[int64]int{1: 60, 7: 9, 59: 2, 60: 1, 100: 1} {
		got, p := names(t, h, service.ListSecretsInput{MaxResults: &n})
		if !slices.Equal(got, want) || p != pages {
			t.Errorf("%d at a time: %d names on %d pages", n, len(got), p)
		}
	}
	first, err := h.ListSecrets(t.Context(), service.ListSecretsInput{MaxResults: new(int64(10))})
	if err != nil {
		t.Fatal(err)
	}
	// The page goes on where it ended even when that secret is gone.
	if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: want[9], ForceDeleteWithoutRecovery: true}); err != nil {
		t.Fatal(err)
	}
	next, err := h.ListSecrets(t.Context(), service.ListSecretsInput{MaxResults: new(int64(10)), NextToken: first.NextToken})
	if err != nil || next.SecretList[0].Name != want[10] {
		t.Errorf("got %+v, %v", next, err)
	}
	const text = "The NextToken value is not valid for this request."
	for _, in := range []service.ListSecretsInput{
		{NextToken: first.NextToken, SortBy: "name"},
		{NextToken: first.NextToken, SortOrder: "desc"},
		{NextToken: "nonsense"},
		{NextToken: "AAAA"},
		{NextToken: first.NextToken[:len(first.NextToken)-1]},
		{NextToken: first.NextToken, IncludePlannedDeletion: true},
		{NextToken: first.NextToken, Filters: byName("s/")},
	} {
		_, err := h.ListSecrets(t.Context(), in)
		wantErr(t, err, "InvalidNextTokenException", text)
	}
	_, err = h.ListSecretVersionIDs(t.Context(), service.ListSecretVersionIDsInput{SecretID: want[0], NextToken: first.NextToken})
	wantErr(t, err, "InvalidNextTokenException", text)
	elsewhere := h.As(service.Caller{Region: "eu-west-1", Account: "123456789012"})
	_, err = elsewhere.ListSecrets(t.Context(), service.ListSecretsInput{NextToken: first.NextToken})
	wantErr(t, err, "InvalidNextTokenException", text)
	if out, err := elsewhere.ListSecrets(t.Context(), service.ListSecretsInput{}); err != nil || len(out.SecretList) != 0 {
		t.Errorf("another region lists %+v, %v", out, err)
	}
}

// Every order, both ways, whatever the size of a page.
func TestListSecretsSorts(t *testing.T) {
	h := open(t, service.Config{})
	for _, name := range []string{"c", "a", "d"} {
		h.create(name, "x")
		h.clock.add(time.Hour)
	}
	h.create("b2", "x")
	h.create("b1", "x")
	h.clock.add(24 * time.Hour)
	h.value("d", "v1")
	h.clock.add(24 * time.Hour)
	h.value("a", "v1")
	h.put("a", "v2")
	h.put("c", "v2")
	for _, c := range []struct{ by, order, want string }{
		{"", "", "c a d b1 b2"},
		{"", "desc", "b2 b1 d a c"},
		{"created-date", "asc", "c a d b1 b2"},
		{"name", "", "a b1 b2 c d"},
		{"name", "desc", "d c b2 b1 a"},
		{"last-changed-date", "asc", "d b1 b2 a c"},
		{"last-changed-date", "desc", "c a b2 b1 d"},
		{"last-accessed-date", "asc", "b1 b2 c d a"},
		{"last-accessed-date", "desc", "a d c b2 b1"},
	} {
		for n := int64(1); n <= 5; n++ {
			got, _ := names(t, h, service.ListSecretsInput{SortBy: c.by, SortOrder: c.order, MaxResults: &n})
			if strings.Join(got, " ") != c.want {
				t.Errorf("%s %s, %d at a time: %v, want %s", c.by, c.order, n, got, c.want)
			}
			got, _ = names(t, h, service.ListSecretsInput{SortBy: c.by, SortOrder: c.order, MaxResults: &n, Filters: byName("b")})
			if want := strings.Join(strings.FieldsFunc(c.want, func(r rune) bool { return r == ' ' }), " "); strings.Join(got, " ") != onlyB(want) {
				t.Errorf("%s %s, %d at a time: %v of %s", c.by, c.order, n, got, c.want)
			}
		}
	}
}

func onlyB(names string) string {
	return strings.Join(slices.DeleteFunc(strings.Fields(names), func(n string) bool { return n[0] != 'b' }), " ")
}

// many is a store of so many secrets as are asked of it.
type many struct {
	service.Store
	n, read int
}

func (m *many) List(_ context.Context, l service.Listing) ([]*service.Secret, error) {
	var at int
	if l.After.Name != "" {
		fmt.Sscanf(l.After.Name, "s%d", &at)
		at++
	}
	var out []*service.Secret
	for ; at < m.n && len(out) < l.N; at++ {
		out = append(out, &service.Secret{
			ARN:     secrets.ARN{Partition: "aws", Region: l.Region, Account: l.Account, Name: fmt.Sprintf("s%06d", at)},
			Created: time.Unix(1, 0),
		})
	}
	m.read += len(out)
	return out, nil
}

// One call looks at some 20,000 secrets at most, however few of them pass.
func TestAPageIsBounded(t *testing.T) {
	h := open(t, service.Config{})
	store := &many{n: 50_000}
	s := service.New(service.Config{Store: store, Sealer: h.keys, Now: h.clock.now})
	in := service.ListSecretsInput{Filters: []service.Filter{{Key: "all", Values: []string{"s049999", "s000001"}}}}
	var got []string
	pages := 0
	for {
		before := store.read
		out, err := s.ListSecrets(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if looked := store.read - before; looked > 20_250 {
			t.Errorf("looked at %d", looked)
		}
		for _, e := range out.SecretList {
			got = append(got, e.Name)
		}
		if pages++; out.NextToken == "" {
			break
		}
		in.NextToken = out.NextToken
	}
	if strings.Join(got, " ") != "s000001 s049999" || pages != 3 {
		t.Errorf("got %v on %d pages", got, pages)
	}
	store.read = 0
	if out, err := s.ListSecrets(t.Context(), service.ListSecretsInput{}); err != nil || len(out.SecretList) != 100 || store.read != 101 {
		t.Errorf("for a page of 100 looked at %d (%v)", store.read, err)
	}
}

// A filter by one prefix, which starts and stops early, finds what a look at
// every name finds.
func TestPrefixFindsAll(t *testing.T) {
	h := open(t, service.Config{})
	letters := []rune("a/z-!AZ_.~"[:9])
	var all []string
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.StringOfN(rapid.RuneFrom(letters), 1, 3, -1).Draw(rt, "name")
		if !slices.Contains(all, name) {
			h.create(name, "x")
			all = append(all, name)
		}
		prefix := rapid.StringOfN(rapid.RuneFrom(letters[:4]), 1, 2, -1).Draw(rt, "prefix")
		var want []string
		for _, n := range all {
			if strings.HasPrefix(n, prefix) {
				want = append(want, n)
			}
		}
		slices.Sort(want)
		if got, _ := names(t, h, service.ListSecretsInput{Filters: byName(prefix), MaxResults: new(int64(rapid.IntRange(1, 3).Draw(rt, "page")))}); !slices.Equal(got, want) {
			rt.Fatalf("%q: got %v, want %v", prefix, got, want)
		}
	})
}

func TestListSecretVersionIDs(t *testing.T) {
	h := open(t, service.Config{})
	ctx := context.Background()
	if _, err := h.CreateSecret(ctx, service.CreateSecretInput{Name: "s", ClientRequestToken: tok("none")}); err != nil {
		t.Fatal(err)
	}
	out, err := h.ListSecretVersionIDs(ctx, service.ListSecretVersionIDsInput{SecretID: "s"})
	if b, _ := json.Marshal(out); err != nil || !strings.Contains(string(b), `"Versions":[]`) {
		t.Errorf("a secret without versions: %s, %v", b, err)
	}
	for _, id := range []string{"v1", "v2", "v3", "v4", "v5"} {
		h.put("s", id)
		h.clock.add(time.Second)
	}
	h.value("s", "v2")
	list := func(in service.ListSecretVersionIDsInput) (all []string, pages int) {
		in.SecretID = "s"
		for {
			out, err := h.ListSecretVersionIDs(ctx, in)
			if err != nil {
				t.Fatal(err)
			}
			pages++
			for _, v := range out.Versions {
				all = append(all, short(v.VersionID)+fmt.Sprint(v.VersionStages))
			}
			if in.NextToken = out.NextToken; in.NextToken == "" {
				return all, pages
			}
		}
	}
	const every = "[v1[] v2[] v3[] v4[AWSPREVIOUS] v5[AWSCURRENT]]"
	if got, _ := list(service.ListSecretVersionIDsInput{}); fmt.Sprint(got) != "[v4[AWSPREVIOUS] v5[AWSCURRENT]]" {
		t.Errorf("got %v", got)
	}
	for n, want := range map[int64]int{1: 5, 2: 3, 5: 1, 100: 1} {
		if got, pages := list(service.ListSecretVersionIDsInput{IncludeDeprecated: true, MaxResults: &n}); fmt.Sprint(got) != every || pages != want {
			t.Errorf("%d at a time: %v on %d pages", n, got, pages)
		}
	}
	out, err = h.ListSecretVersionIDs(ctx, service.ListSecretVersionIDsInput{SecretID: "s", IncludeDeprecated: true, MaxResults: new(int64(2))})
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(out.Versions)
	want := `[{"VersionId":"` + tok("v1") + `","CreatedDate":"2026-03-04T10:20:30Z","KmsKeyIds":["DefaultEncryptionKey"]},` +
		`{"VersionId":"` + tok("v2") + `","LastAccessedDate":"2026-03-04T00:00:00Z","CreatedDate":"2026-03-04T10:20:31Z","KmsKeyIds":["DefaultEncryptionKey"]}]`
	if err != nil || string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	_, err = h.ListSecretVersionIDs(ctx, service.ListSecretVersionIDsInput{SecretID: "s", NextToken: out.NextToken})
	wantErr(t, err, "InvalidNextTokenException", "The NextToken value is not valid for this request.")
}

// Whatever can be set is shown, by DescribeSecret and ListSecrets alike.
func TestEverythingIsDescribed(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "x")
	h.change("s", func(sec *service.Secret) {
		sec.Type, sec.OwningService = "SalesforceClientSecret", "rds"
		sec.External = &service.External{Metadata: []service.ExternalSecretRotationMetadataItem{{Key: "k", Value: "v"}}, RoleARN: "arn:aws:iam::123456789012:role/x"}
		sec.Rotation = &secrets.Rotation{Source: "api", Enabled: true, Since: sec.Created, LastRotated: sec.Created, Rules: secrets.RotationRules{
			Strategy: secrets.SingleUser, AfterDays: 30, Window: "3h", Function: "arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user",
		}}
	})
	d, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
	if err != nil {
		t.Fatal(err)
	}
	l, err := h.ListSecrets(t.Context(), service.ListSecretsInput{})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"ARN":"ARN","Name":"s","Type":"SalesforceClientSecret","RotationEnabled":true,` +
		`"RotationLambdaARN":"arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user",` +
		`"RotationRules":{"AutomaticallyAfterDays":30,"Duration":"3h"},` +
		`"ExternalSecretRotationMetadata":[{"Key":"k","Value":"v"}],"ExternalSecretRotationRoleArn":"arn:aws:iam::123456789012:role/x",` +
		`"LastRotatedDate":"2026-03-04T10:20:30Z","NextRotationDate":"2026-04-03T02:59:59Z",` +
		`"CreatedDate":"2026-03-04T10:20:30Z","LastChangedDate":"2026-03-04T10:20:30Z","OwningService":"rds",`
	for _, c := range []struct {
		what any
		end  string
	}{
		{d, `"VersionIdsToStages":{"V1":["AWSCURRENT"]}}`},
		{l.SecretList[0], `"SecretVersionsToStages":{"V1":["AWSCURRENT"]}}`},
	} {
		b, err := json.Marshal(c.what)
		if got := strings.NewReplacer(arn, "ARN", tok("v1"), "V1").Replace(string(b)); err != nil || got != want+c.end {
			t.Errorf("got  %s\nwant %s", got, want+c.end)
		}
	}
	// The file's rotations have the ARN by which the API asks for the same.
	for strategy, want := range map[string]string{
		secrets.AlternatingUsers: "arn:aws:lambda:us-east-1:123456789012:function:pawl-alternating-users",
		secrets.Partner:          "",
	} {
		h.change("s", func(sec *service.Secret) { sec.Rotation.Rules = secrets.RotationRules{Strategy: strategy} })
		d, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
		if err != nil || d.RotationLambdaARN != want || d.RotationRules != nil {
			t.Errorf("%s: %+v, %v", strategy, d, err)
		}
	}
}

func TestDescribeSecret(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "x")
	describe := func() string {
		t.Helper()
		d, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
		if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		return strings.NewReplacer(arn, "ARN", tok("v1"), "V1", tok("v2"), "V2").Replace(string(b))
	}
	// What is not set is absent.
	if got, want := describe(), `{"ARN":"ARN","Name":"s","CreatedDate":"2026-03-04T10:20:30Z","LastChangedDate":"2026-03-04T10:20:30Z","VersionIdsToStages":{"V1":["AWSCURRENT"]}}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	declare := func(r secrets.RotationRules) {
		t.Helper()
		if _, err := h.Declare(t.Context(), []service.Declaration{{Name: "s", Rules: r, Source: "file pawl.yaml:1"}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ schedule, window, want string }{
		{"rate(30 days)", "", `"RotationEnabled":true,"RotationRules":{"AutomaticallyAfterDays":30,"ScheduleExpression":"rate(30 days)"},"NextRotationDate":"2026-04-03T23:59:59Z"`},
		{"rate(10 hours)", "2h", `"RotationEnabled":true,"RotationRules":{"AutomaticallyAfterDays":1,"Duration":"2h","ScheduleExpression":"rate(10 hours)"},"NextRotationDate":"2026-03-04T21:59:59Z"`},
		{"cron(0 2 ? * SUN *)", "3h", `"RotationEnabled":true,"RotationRules":{"AutomaticallyAfterDays":4,"Duration":"3h","ScheduleExpression":"cron(0 2 ? * SUN *)"},"NextRotationDate":"2026-03-08T04:59:59Z"`},
		{"", "", `"RotationEnabled":true,"CreatedDate"`},
	} {
		declare(secrets.RotationRules{Schedule: c.schedule, Window: c.window})
		if got := describe(); !strings.Contains(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.schedule, got, c.want)
		}
	}
	declare(secrets.RotationRules{Schedule: "rate(30 days)"})
	// While rotation fails, the date lies in the past; with a value put by hand it counts anew.
	h.clock.add(100 * 24 * time.Hour)
	h.change("s", func(sec *service.Secret) { sec.Rotation.Attempt.Tries = 1 })
	if got := describe(); !strings.Contains(got, `"NextRotationDate":"2026-04-03T23:59:59Z"`) {
		t.Errorf("got %s", got)
	}
	h.put("s", "v2")
	if got := describe(); !strings.Contains(got, `"NextRotationDate":"2026-07-12T23:59:59Z"`) || strings.Contains(got, "LastRotatedDate") {
		t.Errorf("got %s", got)
	}
	if err := h.Pause(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	if got := describe(); !strings.Contains(got, `"RotationEnabled":false,"RotationRules"`) || strings.Contains(got, "NextRotationDate") {
		t.Errorf("got %s", got)
	}
}
