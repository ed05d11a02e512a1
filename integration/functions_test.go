package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/events"
	"github.com/pawlhq/pawl/integration/lambdas"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
)

// functions is a guarded Pawl that calls rotation functions at a server of ours
// that speaks Lambda's Invoke API.
type functions struct {
	*guarded
	lambda *lambdas.Server
	db     *workload.Database
	sdk    *secretsmanager.Client // the administrator's
	// rotator has the rights that AWS documents for rotation functions.
	rotator aws.Credentials
}

const rotatorPolicy = `{"Effect":"Allow","Resource":"` + allSecrets + `*","Action":["secretsmanager:DescribeSecret","secretsmanager:GetSecretValue",` +
	`"secretsmanager:PutSecretValue","secretsmanager:UpdateSecretVersionStage"]},` +
	`{"Effect":"Allow","Resource":"*","Action":"secretsmanager:GetRandomPassword"}`

// newFunctions has more lines in its configuration's functions:, which others may
// follow, and its environment has what nothing but Pawl may see.
func newFunctions(t *testing.T, name string, more ...string) *functions {
	f := &functions{lambda: lambdas.Start(t), db: database(t, servers.AnyPostgres, name)}
	lines := "events: {file: events.jsonl}\nfunctions:\n  endpoint: " + f.lambda.URL + "\n"
	f.guarded = newGuarded(t, lines+strings.Join(more, ""), "AWS_ACCESS_KEY_ID=AKIDPAWL", "AWS_SECRET_ACCESS_KEY="+pawlsOwn, "AWS_EC2_METADATA_DISABLED=true",
		"PGHOST=nowhere.invalid", "PGPASSWORD="+pawlsOwn, "PAWL_MASTER_KEY="+pawlsOwn)
	f.sdk = f.as(f.admin, nil)
	f.rotator = f.enrol("rotator", rotatorPolicy)
	return f
}

// pawlsOwn is in variables of Pawl's.
const pawlsOwn = "C4nary-of-Pawls-own"

// in is f for a subtest.
func (f *functions) in(t *testing.T) *functions {
	mine := *f
	mine.guarded = f.guarded.in(t)
	return &mine
}

// user makes a user of the database, for tests that run side by side.
func (f *functions) user(name string) secrets.Credentials {
	f.t.Helper()
	shared.Lock()
	defer shared.Unlock()
	return user(f.t, f.db, name)
}

// put makes a rotation function in Go, which has the rotator's rights.
func (f *functions) put(name string, do func(context.Context, steps, lambdas.Event) error) {
	s := steps{f.as(f.rotator, nil)}
	f.lambda.Put(name, func(ctx context.Context, payload []byte) ([]byte, error) {
		var e lambdas.Event
		if err := json.Unmarshal(payload, &e); err != nil {
			return nil, err
		}
		return []byte("null"), do(ctx, s, e)
	})
}

// good is a function that does everything right.
func good(ctx context.Context, s steps, e lambdas.Event) error { return s.do(ctx, e) }

// python makes a rotation function of a Python program, with the rotator's
// credentials, unmodified but for where AWS is.
func (f *functions) python(name, python string, source []byte) {
	f.lambda.Put(name, lambdas.Python(f.t, python, source,
		"SECRETS_MANAGER_ENDPOINT="+f.endpoint, "AWS_DEFAULT_REGION="+homeRegion,
		"AWS_ACCESS_KEY_ID="+f.rotator.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+f.rotator.SecretAccessKey,
		"AWS_CA_BUNDLE="+filepath.Join(f.dir, config.DefaultCertFile)))
}

func lambdaARN(name string) string {
	return "arn:aws:lambda:" + homeRegion + ":" + homeAccount + ":function:" + name
}

// rotate asks for a rotation by a function; "" = the one that it has.
func (f *functions) rotate(secret, function string) (version string) {
	f.t.Helper()
	in := &secretsmanager.RotateSecretInput{SecretId: &secret, ClientRequestToken: aws.String(f.token())}
	if function != "" {
		in.RotationLambdaARN = aws.String(lambdaARN(function))
	}
	if _, err := f.sdk.RotateSecret(f.t.Context(), in); err != nil {
		f.t.Fatal(err)
	}
	return *in.ClientRequestToken
}

// rotated waits until a version is AWSCURRENT and nothing is pending, and
// returns its value, with which one can log in.
func (f *functions) rotated(secret, version string) secrets.Credentials {
	f.t.Helper()
	until(f.t, "the rotation of "+secret+" by "+fmt.Sprint(f.lambda.Events()), func() bool {
		return f.holder(secret, secrets.Current) == version && f.holder(secret, secrets.Pending) == ""
	})
	c := f.current(secret)
	if err := f.db.Login(f.t.Context(), c); err != nil {
		f.t.Errorf("%s: AWSCURRENT does not log in: %v", secret, err)
	}
	return c
}

// failing waits until a rotation of the secret has failed, and returns why.
func (f *functions) failing(secret string) status {
	f.t.Helper()
	var s status
	until(f.t, "a failure of "+secret, func() bool {
		s = f.statusOf(secret)
		return s.LastError != ""
	})
	return s
}

// status is of `pawl status --json` what is looked at.
type status struct{ State, Kind, LastError string }

// TestPublishedFunctions: rotation functions in Python of the shape that AWS
// publishes rotate real users three times, unmodified.
func TestPublishedFunctions(t *testing.T) {
	python, err := lambdas.FindPython()
	if err != nil {
		missing(t, err.Error(), true)
	}
	f := newFunctions(t, "published")
	f.python("single", python, lambdas.PostgresSingleUser)
	f.python("alternating", python, lambdas.PostgresAlternatingUsers)
	f.create("root", f.db.Superuser().Value())
	f.create("by/one", user(t, f.db, "fn_single").Value())
	f.create("by/two", user(t, f.db, "fn_two").With("masterarn", "root").Value())

	for n := range 3 {
		before := f.current("by/one")
		function := ""
		if n == 0 {
			function = "single"
		}
		after := f.rotated("by/one", f.rotate("by/one", function))
		if after.Username() != before.Username() || after.Password().Equal(before.Password()) {
			t.Error("the password is the old one, or another user's")
		}
		if err := f.db.Login(t.Context(), before); err == nil {
			t.Error("the old password still logs in")
		}

		before = f.current("by/two")
		if n == 0 {
			function = "alternating"
		}
		after = f.rotated("by/two", f.rotate("by/two", function))
		want := "fn_two_clone"
		if n == 1 {
			want = "fn_two"
		}
		if after.Username() != want {
			t.Errorf("rotation %d made user %q current, not %q", n+1, after.Username(), want)
		}
		if err := f.db.Login(t.Context(), before); err != nil {
			t.Errorf("the other user is locked out: %v", err)
		}
	}
	calls := map[string]int{}
	for _, e := range f.lambda.Events() {
		calls[e.Step]++
	}
	for _, step := range []string{"createSecret", "setSecret", "testSecret", "finishSecret"} {
		if calls[step] != 6 {
			t.Errorf("%s was called %d times in 6 rotations", step, calls[step])
		}
	}
	until(t, "12 events of 6 rotations", func() bool { return len(f.told()) == 12 })
}

// TestFunctionsThatFail: what a function does wrong is told, with its own words
// and nothing of its secrets, and when it is mended the rotation goes on.
func TestFunctionsThatFail(t *testing.T) {
	f := newFunctions(t, "failing")
	type failure struct {
		name string
		f    lambdas.Func
		kind string
		text string // what must be told
	}
	cases := []failure{
		{"raises", func(context.Context, []byte) ([]byte, error) {
			return nil, &lambdas.Failure{Type: "ValueError", Message: "engine key is missing"}
		}, "invalid", "ValueError: engine key is missing"},
		{"refused", func(context.Context, []byte) ([]byte, error) {
			return nil, &lambdas.Failure{Type: "InternalError", Message: "password authentication failed"}
		}, "denied", "password authentication failed"},
		{"idle", func(context.Context, []byte) ([]byte, error) { return []byte("null"), nil }, "invalid", "finishSecret returned, but AWSCURRENT did not move"},
		{"timeout", func(context.Context, []byte) ([]byte, error) {
			return nil, &lambdas.Failure{Type: "Sandbox.Timedout", Message: "RequestId: 1 Error: Task timed out after 3.00 seconds"}
		}, "transient", "Task timed out after 3.00 seconds"},
		{"tells", func(ctx context.Context, payload []byte) ([]byte, error) {
			c := f.current("fails/tells")
			return nil, fmt.Errorf("can't read {\"password\": %q}", c.Password().Reveal())
		}, "denied", "[redacted]"},
		{"huge", func(context.Context, []byte) ([]byte, error) {
			return []byte(`"` + strings.Repeat("x", flood) + `"`), nil
		}, "invalid", "finishSecret returned, but AWSCURRENT did not move"},
		{"huge-failure", func(context.Context, []byte) ([]byte, error) {
			return nil, &lambdas.Failure{Type: "ValueError", Message: strings.Repeat("x", flood)}
		}, "invalid", "answers more than"},
	}
	sideBySide(t, 3, cases, func(c failure) string { return c.name }, func(t *testing.T, c failure) {
		secret := "fails/" + c.name
		f := f.in(t)
		cred := f.user("fails_" + strings.ReplaceAll(c.name, "-", "_"))
		f.create(secret, cred.Value())
		f.lambda.Put(c.name, c.f)
		version := f.rotate(secret, c.name)
		s := f.failing(secret)
		if s.Kind != c.kind || !strings.Contains(s.LastError, c.text) {
			t.Errorf("%s: %s", s.Kind, s.LastError)
		}
		if strings.Contains(s.LastError, cred.Password().Reveal()) {
			t.Error("the error tells the password")
		}
		if now := f.current(secret); !now.Password().Equal(cred.Password()) {
			t.Error("AWSCURRENT has changed")
		}
		// Mended; the same version goes on.
		f.put(c.name, good)
		f.again(secret, version)
		f.rotated(secret, version)
	})
	f.frugal()
	for _, c := range cases {
		f.hears("fails/"+c.name, events.RotationFailed, events.RotationSucceeded)
	}
}

// frugal: what functions printed and answered, 100 MB at a time, was not kept.
func (f *functions) frugal() {
	f.t.Helper()
	if runtime.GOOS == "linux" {
		if most := memory(f.t, f.daemon, "VmHWM"); most > flood/2 {
			f.t.Errorf("Pawl took %d MB", most>>20)
		}
	}
}
