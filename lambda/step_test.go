package lambda_test

import (
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var steps = []string{rotator.CreateSecret, rotator.SetSecret, rotator.TestSecret, rotator.FinishSecret}

// soon is the time of an invocation in which nothing hangs.
const soon = 20 * time.Second

// TestLambdaSteps: a rotation that Secrets Manager drives, every step of it sent
// twice, and the first three once more from the start.
func TestLambdaSteps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.start()
	for _, c := range []struct {
		name  string
		again []string
	}{
		{"prod/each-twice", []string{"createSecret", "createSecret", "setSecret", "setSecret", "testSecret", "testSecret", "finishSecret", "finishSecret"}},
		{"prod/from-the-start", []string{"createSecret", "setSecret", "testSecret", "createSecret", "setSecret", "testSecret", "finishSecret", "createSecret", "testSecret"}},
	} {
		old := w.user(strings.TrimPrefix(c.name, "prod/"))
		arn := w.create(w.svc, c.name, old)
		event := w.rotation(arn)
		var made string
		for _, step := range c.again {
			if got := f.ok(soon, event(step)); got != "null" {
				t.Errorf("%s %s: the answer is %s", c.name, step, got)
			}
			if step == "createSecret" && made == "" {
				pending, _ := w.get(arn, secrets.Pending)
				made = pending.Password().Reveal()
			}
		}
		now, version := w.current(arn)
		if version != event("")["ClientRequestToken"] || now.Password().Reveal() != made {
			t.Errorf("%s: AWSCURRENT is %s", c.name, version)
		}
		w.mustLogin(c.name+": AWSCURRENT", now)
		w.mustNotLogin(c.name+": AWSPREVIOUS", old)
	}
	f.out.await(t, "already set as AWSCURRENT for secret arn:")
	f.out.await(t, `"requestId":"8476a536-e9f4-11e8-9739-2dfe598c0001","traceId":"Root=1-5bef4de7`)
}

// TestLambdaChecks: what AWS's functions refuse, in their words.
func TestLambdaChecks(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.start()
	arn := w.create(w.svc, "prod/checks", w.user("checks"))
	_, first := w.current(arn)
	event := w.rotation(arn)
	with := func(changes ...string) map[string]string {
		e := maps.Clone(event("createSecret"))
		for i := 0; i < len(changes); i += 2 {
			if e[changes[i]] = changes[i+1]; changes[i+1] == "" {
				delete(e, changes[i])
			}
		}
		return e
	}
	token := event("")["ClientRequestToken"]
	f.refuses(with("Step", "dropSecret"), "ValueError", "Invalid step parameter dropSecret for secret "+arn)
	strange := newToken()
	f.refuses(with("ClientRequestToken", strange), "ValueError", "Secret version "+strange+" has no stage for rotation of secret "+arn+".")
	f.refuses(with("SecretId", ""), "ValueError", "The event of a rotation step needs Step, SecretId and ClientRequestToken, each a text. Not there: SecretId.")
	if got := f.ok(soon, with("ClientRequestToken", first)); got != "null" {
		t.Error(got)
	}
	f.out.await(t, "Secret version "+first+" already set as AWSCURRENT for secret "+arn+".")
	// Another secret: one that the function has no right to, and one that is not there.
	lab := w.create(w.svc, "lab/other", w.user("other"))
	if e := f.fails(soon, with("SecretId", lab)); e.Type != "Denied" || !strings.Contains(e.Message, "secretsmanager:DescribeSecret") {
		t.Errorf("%+v", e)
	}
	if e := f.fails(soon, with("SecretId", strings.Replace(arn, "checks", "absent", 1))); e.Type != "Invalid" || !strings.Contains(e.Message, "can't find the specified secret") {
		t.Errorf("%+v", e)
	}
	for _, step := range steps {
		f.ok(soon, event(step))
	}
	// An old token.
	f.refuses(with("ClientRequestToken", first), "ValueError", "Secret version "+first+" not set as AWSPENDING for rotation of secret "+arn+".")
	if _, err := w.svc.CancelRotateSecret(t.Context(), service.CancelRotateSecretInput{SecretID: arn}); err != nil {
		t.Fatal(err)
	}
	f.refuses(with("ClientRequestToken", token), "ValueError", "Secret "+arn+" is not enabled for rotation")
	if e := f.fails(soon, `{}`); e.Type != "ValueError" || !strings.Contains(e.Message, `{"secret": NAME or ARN}`) {
		t.Errorf("%+v", e)
	}
}

// TestLambdaAlternating: a superuser whom the secret names serves it where the
// operator has paired them, and only there.
func TestLambdaAlternating(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	root := w.create(w.svc, "root/db", w.superuser())
	f := w.start(`PAWL_SUPERUSERS=[{secret: root/db, for: ["prod/paired*"]}]`)
	app := w.user("app")
	arn := w.create(w.svc, "prod/paired", app.With("masterarn", root), "pawl:strategy", "alternating-users")
	for turn, user := range []string{app.Username() + "_clone", app.Username()} {
		before, _ := w.current(arn)
		event := w.rotation(arn)
		for _, step := range steps {
			f.ok(soon, event(step))
		}
		now, version := w.current(arn)
		if now.Username() != user || version != event("")["ClientRequestToken"] {
			t.Errorf("turn %d: AWSCURRENT is %s of %s", turn, version, now.Username())
		}
		w.mustLogin("AWSCURRENT", now)
		w.mustLogin("AWSPREVIOUS", before)
	}

	stranger := w.create(w.svc, "prod/stranger", w.user("stranger").With("masterarn", root), "pawl:strategy", "alternating-users")
	event := w.rotation(stranger)
	if e := f.fails(soon, event("createSecret")); e.Type != "Invalid" || !strings.Contains(e.Message, `"root/db", which is not paired with it`) {
		t.Errorf("%+v", e)
	}
	tagged := w.create(w.svc, "prod/tagged", w.user("tagged"), "pawl:strategy", "alternating-users", "pawl:superuser", "root/db")
	event = w.rotation(tagged)
	if e := f.fails(soon, event("createSecret")); e.Type != "Invalid" || !strings.Contains(e.Message, `"root/db" is not paired with it`) {
		t.Errorf("%+v", e)
	}
	chosen := w.create(w.svc, "prod/paired-by-tag", w.user("bytag"), "pawl:strategy", "alternating-users", "pawl:superuser", "root/db")
	event = w.rotation(chosen)
	for _, step := range steps {
		f.ok(soon, event(step))
	}
	now, _ := w.current(chosen)
	w.mustLogin("AWSCURRENT", now)

	// The operator says the strategy for all; the tag is about the superuser alone.
	f = w.start(`PAWL_SUPERUSERS=[{secret: root/db, for: ["prod/paired*"]}]`, "PAWL_STRATEGY=alternating-users")
	again := w.create(w.svc, "prod/paired-for-all", w.user("forall"), "pawl:superuser", "root/db")
	event = w.rotation(again)
	for _, step := range steps {
		f.ok(soon, event(step))
	}
	if now, _ := w.current(again); !strings.HasSuffix(now.Username(), "_clone") {
		t.Errorf("AWSCURRENT is of %s", now.Username())
	}
}

// TestLambdaCalls: how often Secrets Manager is asked, by which docs/lambda.md
// reckons.
func TestLambdaCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.start()
	arn := w.create(w.svc, "prod/calls", w.user("calls"))
	event := w.rotation(arn)
	all := 0
	for i, want := range []string{
		"DescribeSecret GetSecretValue GetSecretValue PutSecretValue", // the version that is staged, and AWSCURRENT
		"DescribeSecret GetSecretValue GetSecretValue",                // AWSCURRENT, AWSPENDING
		"DescribeSecret GetSecretValue GetSecretValue",
		// The last one finds out whether another rotator has given the version up.
		"DescribeSecret GetSecretValue GetSecretValue UpdateSecretVersionStage DescribeSecret",
	} {
		f.ok(soon, event(steps[i]))
		calls := w.asked()
		all += len(calls)
		if got := strings.Join(calls, " "); got != want {
			t.Errorf("%s: %s\nwant %s", steps[i], got, want)
		}
	}
	if all != 15 {
		t.Errorf("%d calls", all)
	}
	w.create(w.svc, "prod/whole", w.user("whole"))
	f.ok(soon, map[string]string{"secret": "prod/whole"})
	if calls := w.asked(); len(calls) != 5 {
		t.Errorf("a whole rotation: %s", calls)
	}
}

// TestLambdaDatabaseDown: a step that the network stops says so by its kind, and
// the next one goes on from there.
func TestLambdaDatabaseDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.start()
	old := w.user("down")
	arn := w.create(w.svc, "prod/down", old)
	event := w.rotation(arn)
	w.near.breaks(0, false)
	e := f.fails(soon, event("createSecret"))
	if e.Type != "Transient" || !strings.Contains(e.Message, `secret "prod/down": createSecret: 127.0.0.1:`) {
		t.Errorf("%+v", e)
	}
	w.near.heals()
	f.ok(soon, event("createSecret"))
	made, _ := w.get(arn, secrets.Pending)

	// It does not answer, and there are a few seconds: the answer comes in time.
	w.near.breaks(0, true)
	if e := f.fails(4*time.Second, event("setSecret")); e.Type != "Transient" && e.Type != "Unknown" {
		t.Errorf("%+v", e)
	}
	w.mustLogin("AWSCURRENT after a failed setSecret", old)
	w.near.heals()
	for _, step := range steps {
		f.ok(soon, event(step))
	}
	now, _ := w.current(arn)
	if !now.Password().Equal(made.Password()) {
		t.Error("another password was made")
	}
	w.mustLogin("AWSCURRENT", now)
}

// TestLambdaBadEnvironment: a function that can't start says why to who invokes it.
func TestLambdaBadEnvironment(t *testing.T) {
	t.Parallel()
	f := startFunction(t, "PAWL_STRATEGY=c4n4ry", "PAWL_RULES={stratgy: x}", "AWS_REGION=us-east-1")
	a := f.answer(soon)
	var e failure
	if err := json.Unmarshal([]byte(a.body), &e); err != nil || !a.init || a.errType != "Pawl.BadEnvironment" || e.Type != a.errType {
		t.Fatalf("%+v, %v", a, err)
	}
	for _, want := range []string{"PAWL_STRATEGY: the strategy must be one of", `PAWL_RULES:1`, `did you mean "strategy"?`} {
		if !strings.Contains(e.Message, want) {
			t.Errorf("want %q in %s", want, e.Message)
		}
	}
	if <-f.ended; f.cmd.ProcessState.ExitCode() != 1 || strings.Contains(f.out.String()+a.body, "c4n4ry") {
		t.Errorf("exit code %d: %s", f.cmd.ProcessState.ExitCode(), f.out.String())
	}
}
