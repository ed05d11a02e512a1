package integration_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/scheduler"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	singleUser  = "arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user"
	alternating = "arn:aws:lambda:us-east-1:123456789012:function:pawl-alternating-users"
)

// api is a running daemon whose secrets are rotated through the API alone.
type api struct {
	*pawl
	db  *workload.Database
	log *heard
}

// heard is a log that can be read while it is written.
type heard struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (h *heard) Write(b []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.buf.Write(b)
}

func (h *heard) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.buf.String()
}

func newAPI(t *testing.T, name string) *api {
	t.Helper()
	a := &api{pawl: newPawl(t), db: database(t, servers.AnyPostgres, name), log: &heard{}}
	a.pairings = []secrets.Pairing{{Secret: "root", For: []string{"*"}}}
	a.create("root", a.db.Superuser().Value())
	a.runner.Log = slog.New(slog.NewTextHandler(a.log, nil))
	daemon := scheduler.New(scheduler.Config{Runner: a.runner})
	a.svc.Attach(daemon)
	if err := daemon.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := daemon.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	return a
}

// rotate asks for a rotation and returns the version it will make.
func (a *api) rotate(svc *service.Service, in service.RotateSecretInput) string {
	a.t.Helper()
	if in.ClientRequestToken == "" {
		in.ClientRequestToken = a.token()
	}
	out, err := svc.RotateSecret(a.t.Context(), in)
	if err != nil {
		a.t.Fatal(err)
	}
	if out.VersionID != in.ClientRequestToken {
		a.t.Errorf("version %s, token %s", out.VersionID, in.ClientRequestToken)
	}
	return out.VersionID
}

// await waits until what is true of the world is what was waited for.
func (a *api) await(what string, is func() bool) {
	a.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !is() {
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: not within a minute; the log:\n%s", what, a.log)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (a *api) describe(svc *service.Service, id string) *service.DescribeSecretOutput {
	a.t.Helper()
	d, err := svc.DescribeSecret(a.t.Context(), service.DescribeSecretInput{SecretID: id})
	if err != nil {
		a.t.Fatal(err)
	}
	return d
}

// rotated waits for the rotation that makes a version, wants nothing but AWS's
// two labels afterwards, and a login with AWSCURRENT.
func (a *api) rotated(svc *service.Service, id, version string) secrets.Credentials {
	a.t.Helper()
	var d *service.DescribeSecretOutput
	a.await("the rotation of "+id, func() bool {
		d = a.describe(svc, id)
		return slices.Contains(d.VersionIDsToStages[version], secrets.Current)
	})
	got := map[string]string{}
	for v, labels := range d.VersionIDsToStages {
		aws := slices.DeleteFunc(slices.Clone(labels), func(l string) bool { return l == secrets.Intent })
		got[strings.Join(aws, " ")] = v
	}
	if len(got) != 2 || got[secrets.Current] != version || got[secrets.Previous] == "" {
		a.t.Errorf("labels %v", d.VersionIDsToStages)
	}
	if time.Since(d.LastRotatedDate) > time.Minute {
		a.t.Errorf("last rotated %v", d.LastRotatedDate)
	}
	out, err := svc.GetSecretValue(a.t.Context(), service.GetSecretValueInput{SecretID: id})
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := secrets.ParseCredentials(out.Value)
	if err == nil {
		err = a.db.Login(a.t.Context(), c)
	}
	if err != nil {
		a.t.Errorf("AWSCURRENT does not log in: %v", err)
	}
	return c
}

// status is the one rotation that ListRotations tells of a secret.
func (a *api) status(name string) service.RotationStatus {
	a.t.Helper()
	out, err := a.svc.ListRotations(a.t.Context(), service.ListRotationsInput{SecretIDs: []string{name}})
	if err != nil || len(out.Rotations) != 1 {
		a.t.Fatalf("got %+v, %v", out, err)
	}
	return out.Rotations[0]
}

func wantRefusal(t *testing.T, err error, code, text string) {
	t.Helper()
	var e *secrets.Error
	if !errors.As(err, &e) || e.Code != code || e.Err.Error() != text {
		t.Errorf("got %v, want %s: %s", err, code, text)
	}
}

// TestRotateSecretThroughTheAPI: Pawl's own functions by their ARNs, with the
// superuser that the secret names and the operator paired.
func TestRotateSecretThroughTheAPI(t *testing.T) {
	t.Parallel()
	a := newAPI(t, "rotate_api")
	days := &service.RotationRules{AutomaticallyAfterDays: 30}
	rotations := map[string]string{}
	for name, function := range map[string]string{"self": singleUser, "super": singleUser, "pair": alternating} {
		c := user(t, a.db, "api_"+name)
		if name != "self" {
			c = c.With("masterarn", "root")
		}
		a.create(name, c.Value())
		rotations[name] = a.rotate(a.svc, service.RotateSecretInput{SecretID: name, RotationLambdaARN: function, RotationRules: days})
	}
	for name, version := range rotations {
		c := a.rotated(a.svc, name, version)
		if want := map[string]string{"self": "api_self", "super": "api_super", "pair": "api_pair_clone"}[name]; c.Username() != want {
			t.Errorf("%s: user %s", name, c.Username())
		}
		d := a.describe(a.svc, name)
		if d.RotationEnabled == nil || !*d.RotationEnabled || d.RotationRules.AutomaticallyAfterDays != 30 {
			t.Errorf("%s: %+v", name, d.Metadata)
		}
		day := d.LastRotatedDate.UTC().Truncate(24 * time.Hour)
		if want := day.AddDate(0, 0, 31).Add(-time.Second); !d.NextRotationDate.Equal(want) {
			t.Errorf("%s: next %v, want %v", name, d.NextRotationDate, want)
		}
		if r := a.status(name); r.Source != service.FromAPI || r.Unfinished || !r.At.After(time.Now()) {
			t.Errorf("%s: %+v", name, r)
		}
	}
	// Sent again, it is the same rotation; without arguments it is another.
	for _, name := range []string{"pair", "self"} {
		a.rotate(a.svc, service.RotateSecretInput{SecretID: name, ClientRequestToken: rotations[name]})
		c := a.rotated(a.svc, name, a.rotate(a.svc, service.RotateSecretInput{SecretID: name}))
		if c.Username() != "api_"+name {
			t.Errorf("%s: user %s", name, c.Username())
		}
	}
	// Nobody configured it: once, by the default rules.
	a.create("plain", user(t, a.db, "api_plain").Value())
	out, err := a.svc.StartRotation(t.Context(), service.StartRotationInput{SecretID: "plain", ClientRequestToken: a.token()})
	if err != nil {
		t.Fatal(err)
	}
	a.rotated(a.svc, "plain", out.VersionID)
	if d := a.describe(a.svc, "plain"); d.RotationEnabled != nil {
		t.Error("it is configured now")
	}
}

// TestRotateNotImmediately: the checks run, leave no trace, and are in nobody's
// way.
func TestRotateNotImmediately(t *testing.T) {
	a := newAPI(t, "rotate_later")
	a.create("app", user(t, a.db, "later_app").Value())
	later := new(bool)
	before := a.describe(a.svc, "app").VersionIDsToStages
	a.rotate(a.svc, service.RotateSecretInput{SecretID: "app", RotationLambdaARN: singleUser, RotateImmediately: later})
	a.await("the test", func() bool { return strings.Contains(a.log.String(), "msg=TestRotationSucceeded secret=app") })
	d := a.describe(a.svc, "app")
	if len(d.VersionIDsToStages) != 1 || len(before) != 1 || !d.LastRotatedDate.IsZero() {
		t.Errorf("labels %v, last rotated %v", d.VersionIDsToStages, d.LastRotatedDate)
	}
	if err := a.db.Login(t.Context(), a.current("app")); err != nil {
		t.Error(err)
	}
	// Right after another test, which may be under way.
	a.rotate(a.svc, service.RotateSecretInput{SecretID: "app", RotateImmediately: later})
	a.rotated(a.svc, "app", a.rotate(a.svc, service.RotateSecretInput{SecretID: "app"}))

	checked, err := a.svc.TestRotation(t.Context(), service.TestRotationInput{SecretID: "app"})
	if err != nil || checked.Outcome != "checked" || checked.Error != "" {
		t.Errorf("got %+v, %v", checked, err)
	}
	a.put("app", a.current("app").With("password", "not his").Value())
	checked, err = a.svc.TestRotation(t.Context(), service.TestRotationInput{SecretID: "app"})
	if err != nil || checked.Kind != "denied" || !strings.Contains(checked.Error, "later_app") || strings.Contains(checked.Error, "not his") {
		t.Errorf("got %+v, %v", checked, err)
	}
}

// TestRotationThatFails: the failure is told with its kind and in words, the
// next request gets AWS's answer, and the same one goes on when it is mended.
func TestRotationThatFails(t *testing.T) {
	a := newAPI(t, "rotate_fails")
	good := user(t, a.db, "fails_app")
	a.create("app", good.Value())
	if err := a.db.Exec(t.Context(), "ALTER ROLE fails_app PASSWORD 'another'"); err != nil {
		t.Fatal(err)
	}
	token := a.rotate(a.svc, service.RotateSecretInput{SecretID: "app", RotationLambdaARN: singleUser})
	a.await("the failure", func() bool { return a.status("app").Attempt.Tries == 1 })
	r := a.status("app")
	if r.Attempt.Kind != secrets.Denied || !strings.Contains(r.Attempt.LastError, "fails_app") || !r.Unfinished || !r.At.Equal(r.Attempt.NextTry) {
		t.Errorf("got %+v", r)
	}
	if strings.Contains(r.Attempt.LastError, good.Password().Reveal()) {
		t.Error("a password is in the error")
	}
	_, err := a.svc.RotateSecret(t.Context(), service.RotateSecretInput{SecretID: "app", ClientRequestToken: a.token()})
	wantRefusal(t, err, "InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.")
	if err := a.db.Exec(t.Context(), "ALTER ROLE fails_app PASSWORD '"+good.Password().Reveal()+"'"); err != nil {
		t.Fatal(err)
	}
	a.rotate(a.svc, service.RotateSecretInput{SecretID: "app", ClientRequestToken: token})
	a.rotated(a.svc, "app", token)
	if r := a.status("app"); r.Attempt.Tries != 0 || r.Unfinished {
		t.Errorf("got %+v", r)
	}
}

// TestRotateInAnotherPlace: another account has superusers of its own, and
// cannot use ours.
func TestRotateInAnotherPlace(t *testing.T) {
	a := newAPI(t, "rotate_there")
	there := a.svc.As(service.Caller{Region: "eu-west-1", Account: "222222222222"})
	function := strings.NewReplacer("us-east-1", "eu-west-1", "123456789012", "222222222222").Replace(alternating)
	create := func(name string, c secrets.Credentials) {
		t.Helper()
		_, err := there.CreateSecret(t.Context(), service.CreateSecretInput{Name: name, ClientRequestToken: a.token(), GivenValue: service.Give(c.Value())})
		if err != nil {
			t.Fatal(err)
		}
	}
	ours := a.describe(a.svc, "root").ARN
	create("thief", user(t, a.db, "there_thief").With("masterarn", ours))
	a.rotate(there, service.RotateSecretInput{SecretID: "thief", RotationLambdaARN: function})
	var failed service.RotationStatus
	a.await("the refusal", func() bool {
		out, err := there.ListRotations(t.Context(), service.ListRotationsInput{})
		if err != nil || len(out.Rotations) != 1 {
			t.Fatalf("got %+v, %v", out, err)
		}
		failed = out.Rotations[0]
		return failed.Attempt.Tries > 0
	})
	if failed.Attempt.Kind != secrets.Invalid {
		t.Errorf("got %+v", failed)
	}
	create("root", a.db.Superuser())
	create("app", user(t, a.db, "there_app").With("masterarn", "root"))
	a.create("app", user(t, a.db, "here_app").Value())
	version := a.rotate(there, service.RotateSecretInput{SecretID: "app", RotationLambdaARN: function})
	if c := a.rotated(there, "app", version); c.Username() != "there_app_clone" {
		t.Errorf("user %s", c.Username())
	}
	if c := a.current("app"); c.Username() != "here_app" || a.db.Login(t.Context(), c) != nil {
		t.Error("the one of the same name at home was touched")
	}
}
