package service_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// An answer is its reader's: nothing that he does to it is seen by the next.
func TestAnswersMayBeAltered(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "one")
	var first *service.GetSecretValueOutput
	for range 3 { // the later ones are answered from memory
		one, err := h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"})
		if err != nil {
			t.Fatal(err)
		}
		many, err := h.BatchGetSecretValue(t.Context(), service.BatchGetSecretValueInput{SecretIDList: []string{"s"}})
		if err != nil {
			t.Fatal(err)
		}
		for _, out := range []*service.GetSecretValueOutput{one, &many.SecretValues[0]} {
			if first == nil {
				first = new(service.GetSecretValueOutput)
				*first = *out
				first.VersionStages = []string{"AWSCURRENT"}
			}
			if string(out.Value.Reveal()) != "one" || !slices.Equal(out.VersionStages, first.VersionStages) || out.ARN != first.ARN {
				t.Errorf("got %+v", out)
			}
			out.VersionStages[0] = "altered"
			clear(out.Value.Reveal())
		}
	}
}

func TestGetSecretValue(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "one")
	made := h.clock.now()
	h.clock.add(time.Minute)
	h.put("s", "v2")
	h.put("s", "v3", "MINE")
	h.emptyVersion("s", "void", "AWSPENDING")
	get := func(id, stage string) (*service.GetSecretValueOutput, error) {
		if id != "" {
			id = tok(id)
		}
		return h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s", VersionID: id, VersionStage: stage})
	}
	for _, c := range []struct{ id, stage, want, text string }{
		{"", "", "v2", ""},
		{"", "AWSCURRENT", "v2", ""},
		{"", "AWSPREVIOUS", "v1", ""},
		{"", "MINE", "v3", ""},
		{"v1", "", "v1", ""},
		{"v1", "AWSPREVIOUS", "v1", ""},
		{"v9", "", "", "Secrets Manager can't find the specified secret value for VersionId: " + tok("v9")},
		{"v9", "AWSCURRENT", "", "Secrets Manager can't find the specified secret value for VersionId: " + tok("v9")},
		{"", "NOPE", "", "Secrets Manager can't find the specified secret value for staging label: NOPE"},
		{"", "awscurrent", "", "Secrets Manager can't find the specified secret value for staging label: awscurrent"},
		{"", "AWSPENDING", "", "Secrets Manager can't find the specified secret value for staging label: AWSPENDING"},
		{"void", "", "", "Secrets Manager can't find the specified secret value for VersionId: " + tok("void")},
		{"void", "AWSPENDING", "", "Secrets Manager can't find the specified secret value for VersionId: " + tok("void")},
	} {
		out, err := get(c.id, c.stage)
		if c.text != "" {
			wantErr(t, err, "ResourceNotFoundException", c.text)
		} else if err != nil || short(out.VersionID) != c.want {
			t.Errorf("%+v: got %v, %v", c, out, err)
		}
	}
	_, err := get("v1", "AWSCURRENT")
	wantErr(t, err, "InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId.")
	_, err = h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s", VersionID: "short"})
	wantErr(t, err, "ValidationException", "1 validation error detected: Value 'short' at 'versionId' failed to satisfy constraint: Member must have length greater than or equal to 32")

	out, err := get("v1", "")
	want := &service.GetSecretValueOutput{ARN: arn, Name: "s", VersionID: tok("v1"), Value: secrets.Text("one"), VersionStages: []string{"AWSPREVIOUS"}, CreatedDate: made}
	if diff := cmp.Diff(want, out); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestLastAccessedDate(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	h.put("s", "v2")
	changed := h.record("s").Changed
	dates := func() string {
		sec := h.record("s")
		day := func(at time.Time) string {
			if at.IsZero() {
				return "-"
			}
			return at.Format("2006-01-02T15:04:05")
		}
		return day(sec.Accessed) + " " + day(sec.Versions[0].Accessed) + " " + day(sec.Versions[1].Accessed)
	}
	if got := dates(); got != "- - -" {
		t.Errorf("never read: %s", got)
	}
	read := func(id string, writes int64, want string) {
		t.Helper()
		before := h.store.writes.Load()
		h.value("s", id)
		if got := h.store.writes.Load() - before; got != writes {
			t.Errorf("reading %s wrote %d times, want %d", id, got, writes)
		}
		if got := dates(); got != want {
			t.Errorf("after reading %s: %s, want %s", id, got, want)
		}
	}
	const day4, day5 = "2026-03-04T00:00:00", "2026-03-05T00:00:00"
	read("v2", 1, day4+" - "+day4)
	read("v2", 0, day4+" - "+day4)
	h.clock.add(time.Hour)
	read("v1", 1, day4+" "+day4+" "+day4)
	read("v1", 0, day4+" "+day4+" "+day4)
	h.clock.add(24 * time.Hour)
	read("v2", 1, day5+" "+day4+" "+day5)
	h.clock.add(-24 * time.Hour) // a clock set back takes nothing back
	read("v2", 0, day5+" "+day4+" "+day5)
	if _, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"}); err != nil {
		t.Fatal(err)
	}
	if got := h.record("s").Changed; !got.Equal(changed) {
		t.Error("reading moved LastChangedDate")
	}
}

// Reading must go on where nothing can be written.
func TestReadingNeedsNoWriting(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	broken := service.New(service.Config{Store: readOnly{h.store}, Sealer: h.keys, Now: h.clock.now})
	if _, err := broken.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"}); err != nil {
		t.Error(err)
	}
	_, err := broken.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: service.Give(secrets.Text("x"))})
	wantKind(t, err, secrets.Invalid, `secret "s": `+os.ErrPermission.Error())
}

func TestAVersionPrunedWhileItIsRead(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	gone := service.New(service.Config{Store: pruned{h.store}, Sealer: h.keys, Now: h.clock.now})
	_, err := gone.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"})
	wantErr(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT")
	_, _, err = gone.Credentials(t.Context(), "s")
	wantErr(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT")
}

func TestADamagedValue(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	sec := h.record("s")
	// A value that was sealed for another version does not open here.
	other, err := h.keys.Seal(t.Context(), "", sec.ARN.String(), tok("other"), secrets.Text("x"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.store.Update(t.Context(), sec.ARN, func(*service.Secret) (service.Sealed, error) {
		return service.Sealed{tok("v1"): other}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"})
	if secrets.CodeOf(err) != "DecryptionFailure" || secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), `"s"`) {
		t.Errorf("got %v (%s)", err, secrets.CodeOf(err))
	}
}

func TestPutSecretValue(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "one")
	h.clock.add(time.Minute)
	out, err := h.PutSecretValue(t.Context(), service.PutSecretValueInput{
		SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: service.Give(secrets.Binary([]byte{0, 1})), VersionStages: []string{"A", "B"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&service.PutSecretValueOutput{ARN: arn, Name: "s", VersionID: tok("v2"), VersionStages: []string{"A", "B"}}, out); diff != "" {
		t.Error(diff)
	}
	sec := h.record("s")
	if now := h.clock.now(); !sec.Changed.Equal(now) || sec.ValueChanged.Equal(now) {
		t.Error("LastChangedDate moves, the time of the current value does not")
	}
	got, err := h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s", VersionStage: "B"})
	if err != nil || !got.Value.Equal(secrets.Binary([]byte{0, 1})) {
		t.Error("the binary value came back otherwise", err)
	}

	// The same value under a new token is a change; under the same token it is none.
	h.clock.add(time.Minute)
	put := func(token, value string) (*service.PutSecretValueOutput, error) {
		return h.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok(token), GivenValue: service.Give(secrets.Text(value))})
	}
	if _, err := put("v3", "one"); err != nil {
		t.Fatal(err)
	}
	if sec := h.record("s"); !sec.ValueChanged.Equal(h.clock.now()) || render(sec.Versions) != "v1[AWSPREVIOUS] v2[A B] v3[AWSCURRENT]" {
		t.Errorf("labels %s", render(sec.Versions))
	}
	if _, err := put("v4", "four"); err != nil {
		t.Fatal(err)
	}
	before := h.record("s")
	h.clock.add(time.Minute)
	again, err := put("v3", "one")
	if diff := cmp.Diff(&service.PutSecretValueOutput{ARN: arn, Name: "s", VersionID: tok("v3"), VersionStages: []string{"AWSPREVIOUS"}}, again); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, v := range []secrets.Value{secrets.Text("two"), secrets.Binary([]byte("one"))} {
		_, err = h.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v3"), GivenValue: service.Give(v)})
		wantErr(t, err, "ResourceExistsException", "You can't use ClientRequestToken "+tok("v3")+" because that value is already in use for a version of secret "+arn+".")
	}
	if diff := cmp.Diff(before, h.record("s")); diff != "" {
		t.Error("a repeated or refused put changed something:", diff)
	}
}

func TestPutSecretValueRefuses(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "one")
	text := service.Give(secrets.Text("x"))
	many := make([]string, 21)
	for i := range many {
		many[i] = fmt.Sprint("L", i)
	}
	for _, c := range []struct {
		name string
		in   service.PutSecretValueInput
		code string
		text string
	}{
		{"no token", service.PutSecretValueInput{SecretID: "nowhere", GivenValue: text}, "InvalidRequestException", tokenText},
		{"no value", service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2")}, "InvalidRequestException", "You must provide either SecretString or SecretBinary."},
		{"empty value", service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: service.Give(secrets.Text(""))}, "InvalidRequestException", "You must provide either SecretString or SecretBinary."},
		{"both values", service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: service.GivenValue{SecretString: text.SecretString, SecretBinary: service.SecretBlob{Value: secrets.Binary([]byte("x"))}}}, "InvalidParameterException", bothText},
		{"too large", service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: service.Give(secrets.Binary(make([]byte, 65537)))}, "ValidationException", "1 validation error detected: Value at 'secretBinary' failed to satisfy constraint: Member must have length less than or equal to 65536"},
		{"long token", service.PutSecretValueInput{SecretID: "s", ClientRequestToken: strings.Repeat("t", 65), GivenValue: text}, "ValidationException", "1 validation error detected: Value '" + strings.Repeat("t", 65) + "' at 'clientRequestToken' failed to satisfy constraint: Member must have length less than or equal to 64"},
		{"21 labels", service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: text, VersionStages: many}, "ValidationException", "1 validation error detected: Value '[L0, L1, L2, L3, L4, L5, L6, L7, L8, L9, L10, L11, L12, L13, L14, L15, L16, L17, L18, L19, L20]' at 'versionStages' failed to satisfy constraint: Member must have length less than or equal to 20"},
		{"an empty label", service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: text, VersionStages: []string{"A", ""}}, "ValidationException", "1 validation error detected: Value '' at 'versionStages.2.member' failed to satisfy constraint: Member must have length greater than or equal to 1"},
		{"20 labels beside the current one", service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: text, VersionStages: many[:20]}, "LimitExceededException", "a secret has at most 20 staging labels over all its versions"},
		{"Pawl's label", service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: text, VersionStages: []string{"AWSPENDING", "PAWLINTENT"}}, "InvalidParameterException", "Staging label PAWLINTENT belongs to Pawl, which keeps in it what the server may know; it can't be set, moved or removed by hand."},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.PutSecretValue(t.Context(), c.in)
			wantErr(t, err, c.code, c.text)
			if got := h.labels("s"); got != "v1[AWSCURRENT]" {
				t.Errorf("labels are now %s", got)
			}
		})
	}
}

// A rotation function puts the value of the empty version it was given.
func TestPutFillsAnEmptyVersion(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "one")
	h.emptyVersion("s", "v2", "AWSPENDING")
	h.put("s", "v2", "AWSPENDING")
	if got := h.labels("s"); got != "v1[AWSCURRENT] v2[AWSPENDING]" {
		t.Errorf("labels are %s", got)
	}
	if h.value("s", "v2") != "value of v2" {
		t.Error("the value was not stored")
	}
}

func TestPutPrunes(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "one")
	for i := 2; i <= 100; i++ {
		h.put("s", fmt.Sprint("v", i))
	}
	// None is 24 hours old: another one finds no room, by whichever operation.
	const full = "The secret has 100 versions already, and none that could be removed."
	before := h.record("s")
	text := service.Give(secrets.Text("x"))
	_, err := h.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v101"), GivenValue: text})
	wantErr(t, err, "LimitExceededException", full)
	_, err = h.UpdateSecret(t.Context(), service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("v101"), GivenValue: text, Description: new("new")})
	wantErr(t, err, "LimitExceededException", full)
	if diff := cmp.Diff(before, h.record("s")); diff != "" {
		t.Error("a refused put changed something:", diff)
	}
	h.clock.add(24 * time.Hour)
	h.put("s", "v101")
	sec := h.record("s")
	if got := len(sec.Versions); got != 100 {
		t.Fatalf("%d versions are left", got)
	}
	if first := short(sec.Versions[0].ID); first != "v2" {
		t.Errorf("the oldest left is %s", first)
	}
	_, err = h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s", VersionID: tok("v1")})
	wantErr(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: "+tok("v1"))
	if h.value("s", "v2") != "value of v2" { // deprecated, not pruned
		t.Error("a version that is kept lost its value")
	}
}

// Pawl's own rotations go on however many young versions there are, and a
// function fills the version it was given.
func TestRotationsAreNotStoppedByVersions(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "one")
	h.change("s", func(sec *service.Secret) {
		for i := range 195 {
			sec.Versions = append(sec.Versions, secrets.Version{ID: tok(fmt.Sprint("old", i)), Created: sec.Created, Empty: true})
		}
	})
	c := claim(t, h, "s")
	for range 10 {
		if _, err := c.Versions(t.Context()); err != nil {
			t.Fatal(err)
		}
		id := c.pending("")
		if err := c.Promote(t.Context(), id, false); err != nil {
			t.Fatal(err)
		}
	}
	vs := h.record("s").Versions
	if len(vs) != 200 {
		t.Errorf("%d versions are left", len(vs))
	}
	if _, ok := vs.Find(tok("v1")); ok {
		t.Error("the oldest was kept")
	}
	h.emptyVersion("s", "void", "AWSPENDING")
	h.put("s", "void", "AWSPENDING")
}

// A secret under the default key is its own account's only.
func TestValuesOfAnotherAccount(t *testing.T) {
	h := open(t, service.Config{})
	const defaultKey = "You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."
	arn := h.create("s", "x")
	other := h.As(service.Caller{Region: "us-east-1", Account: "210987654321"})
	ctx := t.Context()
	get := service.GetSecretValueInput{SecretID: arn}
	put := service.PutSecretValueInput{SecretID: arn, ClientRequestToken: tok("v2"), GivenValue: service.Give(secrets.Text("y"))}
	update := service.UpdateSecretInput{SecretID: arn, ClientRequestToken: tok("v3"), GivenValue: put.GivenValue}
	wantErr(t, second(other.GetSecretValue(ctx, get)), "InvalidRequestException", defaultKey)
	wantErr(t, second(other.PutSecretValue(ctx, put)), "InvalidRequestException", defaultKey)
	wantErr(t, second(other.UpdateSecret(ctx, update)), "InvalidRequestException", defaultKey)
	batch, err := other.BatchGetSecretValue(ctx, service.BatchGetSecretValueInput{SecretIDList: []string{arn}})
	if want := []service.APIErrorType{{SecretID: arn, ErrorCode: "InvalidRequestException", Message: defaultKey}}; err != nil || cmp.Diff(want, batch.Errors) != "" {
		t.Errorf("got %+v, %v", batch, err)
	}
	for _, key := range []string{"alias/aws/secretsmanager", "alias/mine"} {
		if _, err := h.UpdateSecret(ctx, service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("key"), KmsKeyID: &key}); err != nil {
			t.Fatal(err)
		}
		_, err := other.GetSecretValue(ctx, get)
		if key == "alias/mine" {
			if err != nil {
				t.Error(err)
			}
			break
		}
		wantErr(t, err, "InvalidRequestException", defaultKey)
	}
	if _, err := other.PutSecretValue(ctx, put); err != nil {
		t.Error(err)
	}
	_, err = other.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: "s"}) // by name: its own account's
	wantErr(t, err, "ResourceNotFoundException", notFoundText)
}

func TestCredentials(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("root", `{"username":"postgres","password":"x"}`)
	c, got, err := h.Service.Credentials(t.Context(), "root")
	if err != nil || c.Username() != "postgres" || got.String() != arn {
		t.Errorf("got %s, %v", got, err)
	}
	if !h.record("root").Accessed.IsZero() {
		t.Error("Pawl's own reading counts as an access")
	}
	h.create("text", "no JSON")
	_, _, err = h.Service.Credentials(t.Context(), "text")
	wantKind(t, err, secrets.Invalid, `secret "text": the secret value is not a JSON object`)
}

func TestValuesAsJSON(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "p<&>\"w")
	asJSON := func(x any) string {
		b, err := json.Marshal(x)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, b); err != nil {
			t.Fatal(err)
		}
		return compact.String()
	}
	out, err := h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"ARN":"` + arn + `","Name":"s","VersionId":"` + tok("v1") + `","SecretString":"p\u003c\u0026\u003e\"w","VersionStages":["AWSCURRENT"],"CreatedDate":"2026-03-04T10:20:30Z"}`
	if got := asJSON(out); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	out.Value = secrets.Binary([]byte{0xff, 0})
	if got := asJSON(*out); !strings.Contains(got, `"SecretBinary":"/wA="`) || strings.Contains(got, "SecretString") {
		t.Errorf("got %s", got)
	}
	var in service.PutSecretValueInput
	if err := json.Unmarshal([]byte(`{"SecretId":"s","ClientRequestToken":"t","SecretString":"x","SecretBinary":null,"VersionStages":["A"],"Unknown":1}`), &in); err != nil {
		t.Fatal(err)
	}
	if in.SecretID != "s" || in.ClientRequestToken != "t" || !in.SecretString.Equal(secrets.Text("x")) || !in.SecretBinary.IsZero() || len(in.VersionStages) != 1 {
		t.Errorf("read %+v", in)
	}
	if err := json.Unmarshal([]byte(`{"SecretBinary":"/wA="}`), &in); err != nil || !in.SecretBinary.Equal(secrets.Binary([]byte{0xff, 0})) {
		t.Error(err)
	}
	for _, bad := range []string{`{"SecretString":1}`, `{"SecretBinary":"not base64"}`, `{"SecretBinary":[1]}`} {
		if err := json.Unmarshal([]byte(bad), &in); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

// What holds a value must not show it by mistake.
func TestValuesArePrintedRedacted(t *testing.T) {
	const secret = "hunter2topsecret"
	given := service.Give(secrets.Text(secret))
	out := service.GetSecretValueOutput{ARN: "arn", VersionID: "v", Value: secrets.Text(secret)}
	random := service.GetRandomPasswordOutput{RandomPassword: secrets.NewPassword(secret)}
	type hidden struct {
		out service.GetSecretValueOutput
		in  *service.PutSecretValueInput
		g   service.GivenValue
	}
	for _, x := range []any{
		out, &out, []any{out}, random, &random,
		service.CreateSecretInput{GivenValue: given}, &service.PutSecretValueInput{GivenValue: given},
		service.Give(secrets.Binary([]byte(secret))), hidden{out, &service.PutSecretValueInput{GivenValue: given}, given},
	} {
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "v", x)
		if _, in := x.([]any); !in {
			slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "v", x)
		}
		all := log.String()
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			all += fmt.Sprintf(verb, x)
		}
		if strings.Contains(all, "hunter2") || strings.Contains(all, fmt.Sprintf("%x", secret)) || strings.Contains(all, "aHVudGVyM") || strings.Contains(all, "104 117 110") {
			t.Errorf("%T shows its value: %s", x, all)
		}
	}
}
