package service_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	mine   = "arn:aws:lambda:us-east-1:123456789012:function:mine"
	theirs = "arn:aws:lambda:eu-west-1:210987654321:function:theirs:live"
)

// functions are those whose ARNs it holds; each can be called, but for what err
// says.
type functions struct {
	arns    []string
	err     error
	checked []string
}

func (f *functions) Has(arn string) bool { return slices.Contains(f.arns, arn) }

func (f *functions) Check(ctx context.Context, arn string) error {
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("the caller would wait for ever")
	}
	f.checked = append(f.checked, arn)
	return f.err
}

func withFunctions(t testing.TB) (*house, *functions) {
	f := &functions{arns: []string{mine, theirs}}
	return open(t, service.Config{Functions: f, DefaultRules: secrets.RotationRules{Strategy: secrets.SingleUser, Superuser: "root"}}), f
}

func TestRotateSecretByACustomFunction(t *testing.T) {
	h, f := withFunctions(t)
	daemon := &told{}
	h.Attach(daemon)
	h.create("s", "no JSON, which is the function's business")
	began := h.clock.now()
	for i, arn := range []string{mine, theirs} {
		h.rotate(rotation("r1", by(arn), every(30, "2h")))
		want := &secrets.Rotation{
			Rules:   secrets.RotationRules{Strategy: secrets.Function, Function: arn, AfterDays: 30, Window: "2h"},
			Enabled: true, Source: service.FromAPI, Since: began,
		}
		sec := h.record("s")
		if diff := cmp.Diff(want, sec.Rotation); diff != "" {
			t.Error(diff)
		}
		if got := render(sec.Versions); got != "v1[AWSCURRENT] r1[AWSPENDING]" || !sec.Versions[1].Empty || !sec.DueAt.Equal(began) || daemon.woken != i+1 {
			t.Errorf("labels %s, due %v, woken %d times", got, sec.DueAt, daemon.woken)
		}
		d, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
		if err != nil || d.RotationLambdaARN != arn || !*d.RotationEnabled {
			t.Errorf("described as %+v, %v", d, err)
		}
		if got := sec.ConditionKey("secretsmanager:resource/allowrotationlambdaarn"); !slices.Equal(got, []string{arn}) {
			t.Errorf("its condition key is %q", got)
		}
		due, err := h.Due(t.Context(), began, service.DueAfter{}, 1)
		if target := strings.TrimSuffix(arn, ":live"); err != nil || len(due) != 1 || due[0].Target != target {
			t.Errorf("due %+v, %v; want the target %s", due, err, target)
		}
	}
	if want := []string{mine, theirs}; !slices.Equal(f.checked, want) {
		t.Errorf("asked %q", f.checked)
	}
	l, err := h.ListSecrets(t.Context(), service.ListSecretsInput{})
	if err != nil || len(l.SecretList) != 1 || l.SecretList[0].RotationLambdaARN != theirs {
		t.Errorf("listed as %+v, %v", l, err)
	}
	// Without an ARN, the one there is, which nobody needs to try again.
	h.finish("s")
	h.rotate(rotation("r2"))
	if got := h.labels("s"); got != "v1[AWSPREVIOUS] r1[PAWLINTENT AWSCURRENT] r2[AWSPENDING]" || len(f.checked) != 2 {
		t.Errorf("labels %s, asked %q", got, f.checked)
	}
}

// TestSwitchingFunctions: strategies and functions take each other's place, and
// what failed by the one is no failure of the other.
func TestSwitchingFunctions(t *testing.T) {
	h, _ := withFunctions(t)
	h.create("s", "x")
	for _, arn := range []string{mine, single, theirs, mine, alternating, mine} {
		h.clock.add(time.Minute)
		h.rotate(rotation("r1", by(arn)))
		r := h.record("s").Rotation
		strategy, custom := strings.CutPrefix(arn, "arn:aws:lambda:us-east-1:123456789012:function:pawl-")
		if !custom {
			strategy = secrets.Function
		}
		if r.Rules.Function != arn || r.Rules.Strategy != strategy || r.Attempt != (secrets.Attempt{}) {
			t.Errorf("%s: got %+v", arn, r)
		}
		c := claim(t, h, "s")
		if err := c.Save(t.Context(), secrets.Attempt{Tries: 1, LastError: "no", NextTry: h.clock.now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
		c.Release()
	}
}

// TestCustomFunctionsRefused: nothing is stored, the daemon hears nothing, and a
// function is only called where the request would do otherwise.
func TestCustomFunctionsRefused(t *testing.T) {
	const missing = "arn:aws:lambda:us-east-1:123456789012:function:missing"
	for _, tt := range []struct {
		name             string
		in               service.RotateSecretInput
		before           func(h *house, f *functions)
		code, text, hint string // no code: Transient
		checked          bool
	}{
		{name: "not allowed", in: rotation("r1", by(missing)), code: "AccessDeniedException", text: deniedText, hint: "functions: allow:"},
		{name: "not allowed any more", in: rotation("r1"), before: func(h *house, f *functions) {
			h.rotate(rotation("r0", by(mine)))
			h.finish("s")
			f.arns, f.checked = nil, nil
		}, code: "AccessDeniedException", text: deniedText, hint: mine},
		{name: "malformed", in: rotation("r1", by("arn:aws:lambda:us-east-1:1234:function:mine")), before: func(_ *house, f *functions) {
			f.arns = append(f.arns, "arn:aws:lambda:us-east-1:1234:function:mine")
		}, code: "InvalidParameterException", text: lambdaText},
		{name: "another version", in: rotation("r1", by(mine+":7")), code: "AccessDeniedException", text: deniedText},
		{name: "not there", in: rotation("r1", by(mine)), before: func(_ *house, f *functions) {
			f.err = secrets.Errorf(secrets.Invalid, "there is no function mine").WithHint("deploy it")
		}, code: "AccessDeniedException", text: deniedText, hint: "there is no function mine; deploy it", checked: true},
		{name: "not ours to call", in: rotation("r1", by(mine)), before: func(_ *house, f *functions) {
			f.err = secrets.Errorf(secrets.Denied, "not authorised")
		}, code: "AccessDeniedException", text: deniedText, hint: "not authorised", checked: true},
		{name: "throttled", in: rotation("r1", by(mine)), before: func(_ *house, f *functions) { f.err = secrets.Errorf(secrets.Transient, "throttled").WithHint("wait") },
			text: "nobody knows whether the rotation function " + mine + " can be called: throttled", hint: "wait", checked: true},
		{name: "broken off", in: rotation("r1", by(mine)), before: func(_ *house, f *functions) { f.err = errors.New("broken pipe") },
			text: "nobody knows whether the rotation function " + mine + " can be called: broken pipe", hint: "nothing was stored; try again", checked: true},
		{name: "bad rules", in: rotation("r1", by(mine), when("rate(3 hours)", "")), code: "InvalidParameterException", text: "Rate in hour should be least 4 and less than 24."},
		{name: "another under way", in: rotation("r1", by(mine)), before: func(h *house, _ *functions) { h.rotate(rotation("r0", by(single))) }, code: "InvalidRequestException", text: unfinishedText},
		{name: "a replica", in: rotation("r1", by(mine)), before: func(h *house, _ *functions) {
			h.change("s", func(s *service.Secret) { s.PrimaryRegion = "eu-west-1" })
		}, code: "InvalidParameterException", text: replicaText},
		{name: "declared", in: rotation("r1", by(mine)), before: func(h *house, _ *functions) {
			h.declare(entry("s", 3, secrets.RotationRules{Strategy: secrets.SingleUser}))
		}, code: "InvalidRequestException", text: "The rotation of this secret is declared by the file pawl.yaml:3. Change it there, or stop it by: pawl pause s"},
		{name: "declared with another function", in: rotation("r1", by(mine)), before: func(h *house, _ *functions) {
			h.declare(entry("s", 3, secrets.RotationRules{Strategy: secrets.Function, Function: theirs}))
		}, code: "InvalidRequestException", text: "The rotation of this secret is declared by the file pawl.yaml:3. Change it there, or stop it by: pawl pause s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, f := withFunctions(t)
			h.create("s", "x")
			if tt.before != nil {
				tt.before(h, f)
			}
			daemon := &told{}
			h.Attach(daemon)
			before := h.record("s")
			h.clock.add(time.Minute)
			_, err := h.RotateSecret(t.Context(), tt.in)
			var e *secrets.Error
			if !errors.As(err, &e) || e.Code != tt.code || e.Err.Error() != tt.text || !strings.Contains(e.Hint, tt.hint) || e.Secret != "s" {
				t.Errorf("got %#v", e)
			}
			if tt.code == "" && e.Kind != secrets.Transient {
				t.Errorf("it is %s", e.Kind)
			}
			if diff := cmp.Diff(before, h.record("s")); diff != "" {
				t.Errorf("stored: %s", diff)
			}
			if daemon.woken > 0 || (len(f.checked) > 0) != tt.checked {
				t.Errorf("woken %d times, checked %q", daemon.woken, f.checked)
			}
		})
	}
}

// TestTheGuardAndFunctions: who has a secret rotated by a custom function must be
// allowed to invoke it; then no superuser of Pawl's takes part.
func TestTheGuardAndFunctions(t *testing.T) {
	h, f := withFunctions(t)
	h.create("root", `{"username":"root"}`)
	h.create("s", `{"username":"u","masterarn":"root"}`)
	h.create("declared", `{"username":"u","masterarn":"root"}`)
	h.Attach(&told{})
	if _, err := h.Declare(t.Context(), []service.Declaration{{Name: "declared", Source: "file pawl.yaml:1", Rules: secrets.RotationRules{Strategy: secrets.Function, Function: theirs}}}); err != nil {
		t.Fatal(err)
	}
	const invoke = "lambda:InvokeFunction"
	rotate := func(id, token, arn string) func(*house) error {
		return func(h *house) error {
			return second(h.RotateSecret(t.Context(), service.RotateSecretInput{SecretID: id, ClientRequestToken: tok(token), RotationLambdaARN: arn}))
		}
	}
	for _, c := range []struct {
		name string
		do   func(h *house) error
		want []string
	}{
		{"a new function", rotate("s", "r1", mine), []string{"[s] s", invoke + "[" + mine + "] no"}},
		{"the one there is", rotate("s", "r1", ""), []string{"[s] s", invoke + "[" + mine + "] no"}},
		{"started", func(h *house) error {
			return second(h.StartRotation(t.Context(), service.StartRotationInput{SecretID: "s", ClientRequestToken: tok("r2")}))
		}, []string{"[s] s", invoke + "[" + mine + "] no"}},
		{"tested", func(h *house) error {
			return second(h.TestRotation(t.Context(), service.TestRotationInput{SecretID: "s"}))
		}, []string{"[s] s", invoke + "[" + mine + "] no"}},
		{"the file's", rotate("declared", "r1", ""), []string{"[declared] declared", invoke + "[" + theirs + "] no"}},
		{"the file's, by name", rotate("declared", "r1", theirs), []string{"[declared] declared", invoke + "[" + theirs + "] no"}},
		{"one of Pawl's own", rotate("s", "r1", single), []string{"[s] s", "secretsmanager:GetSecretValue[root] root"}},
		{"one that there is not", rotate("s", "r1", mine+"-not"), []string{"[s] s"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f.checked = nil
			last := c.want[len(c.want)-1]
			if action, _, _ := strings.Cut(last, "["); action != "" {
				before := h.store.writes.Load()
				err := c.do(h.guarded(&asked{refuses: action}))
				if secrets.CodeOf(err) != "AccessDeniedException" || h.store.writes.Load() != before || len(f.checked) > 0 {
					t.Errorf("without %s: %v; checked %q", action, err, f.checked)
				}
			}
			g := &asked{}
			if err := c.do(h.guarded(g)); errors.Is(err, errRefused) {
				t.Error(err)
			}
			if d := cmp.Diff(c.want, g.questions); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestAFunctionChangedUnderTheGuard: the caller is asked about again where
// somebody gives the secret another function before the write.
func TestAFunctionChangedUnderTheGuard(t *testing.T) {
	h, _ := withFunctions(t)
	h.create("s", "x")
	h.rotate(rotation("r0", by(single)))
	h.finish("s")
	h.store.pending = func() { h.rotate(rotation("r1", by(mine), later)) }
	err := second(h.guarded(&asked{refuses: "lambda:InvokeFunction"}).StartRotation(t.Context(), service.StartRotationInput{SecretID: "s", ClientRequestToken: tok("r2")}))
	if !errors.Is(err, errRefused) || strings.Contains(h.labels("s"), "AWSPENDING") {
		t.Errorf("%v; labels %s", err, h.labels("s"))
	}
}

// TestFunctionsOfTheFile: the API shows and rotates them, and can't change them.
func TestFunctionsOfTheFile(t *testing.T) {
	h, _ := withFunctions(t)
	h.create("s", "x")
	rules := secrets.RotationRules{Strategy: secrets.Function, Function: mine, Schedule: "rate(30 days)"}
	h.declare(entry("s", 3, rules))
	want := h.record("s").Rotation
	for _, in := range []service.RotateSecretInput{rotation("r1", by(mine)), rotation("r1"), rotation("r1", later)} {
		h.rotate(in)
		if diff := cmp.Diff(want, h.record("s").Rotation); diff != "" {
			t.Error(diff)
		}
	}
	d, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
	if err != nil || d.RotationLambdaARN != mine {
		t.Errorf("%+v, %v", d, err)
	}
	c := claim(t, h, "s")
	if diff := cmp.Diff(rules, c.Rotation().Rules); diff != "" {
		t.Error(diff)
	}
	c.Release()
	h.finish("s")
	h.declare() // given up: the API turns it on again as it was
	h.rotate(rotation("r2"))
	if r := h.record("s").Rotation; r.Source != service.FromAPI || r.Rules.Strategy != secrets.Function || r.Rules.Function != mine || r.Rules.Schedule != "rate(30 days)" {
		t.Errorf("got %+v", r)
	}
}

// TestAFunctionAtWork: a custom function writes through the API while the
// secret is claimed, and the claim goes on with what it did.
func TestAFunctionAtWork(t *testing.T) {
	for name, way := range map[string]struct {
		asked  bool // by RotateSecret, else staged by the claim
		tidies bool // the function takes AWSPENDING off itself
	}{"asked for": {asked: true}, "staged": {}, "tidy": {tidies: true}} {
		t.Run(name, func(t *testing.T) {
			h, _ := withFunctions(t)
			h.create("s", "old")
			ctx := t.Context()
			h.rotate(rotation("r0", by(mine), every(30, ""), later))
			if way.asked {
				if _, err := h.StartRotation(ctx, service.StartRotationInput{SecretID: "s", ClientRequestToken: tok("r1")}); err != nil {
					t.Fatal(err)
				}
			}
			c := claim(t, h, "s")
			if _, err := c.Versions(ctx); err != nil {
				t.Fatal(err)
			}
			id := tok("r1")
			if !way.asked {
				var err error
				if id, err = c.Stage(ctx); err != nil || secrets.ValidateVersionID(id) != nil {
					t.Fatal(id, err)
				}
			}
			sec := h.record("s")
			if v, ok := sec.Versions.Find(id); !ok || !v.Empty || !v.Has(secrets.Pending) || !sec.DueAt.Equal(h.clock.now()) {
				t.Fatalf("staged as %+v, due %v", v, sec.DueAt)
			}
			if err := c.Save(ctx, secrets.Attempt{Tries: 1, LastError: "no", NextTry: h.clock.now().Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			h.clock.add(time.Minute)

			// createSecret
			api := h.guarded(&asked{})
			_, err := api.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: "s", VersionID: id, VersionStage: secrets.Pending})
			wantErr(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: "+id)
			put := service.PutSecretValueInput{SecretID: "s", ClientRequestToken: id, GivenValue: service.Give(secrets.Text("new")), VersionStages: []string{secrets.Pending}}
			if _, err := api.PutSecretValue(ctx, put); err != nil {
				t.Fatal(err)
			}
			if v, err := c.Value(ctx, id); err != nil || !v.Equal(secrets.Text("new")) {
				t.Fatal("the claim does not see the value", err)
			}
			// finishSecret
			if _, err := api.UpdateSecretVersionStage(ctx, service.UpdateSecretVersionStageInput{SecretID: "s", VersionStage: secrets.Current, MoveToVersionID: id, RemoveFromVersionID: tok("v1")}); err != nil {
				t.Fatal(err)
			}
			if way.tidies {
				if _, err := api.UpdateSecretVersionStage(ctx, service.UpdateSecretVersionStageInput{SecretID: "s", VersionStage: secrets.Pending, RemoveFromVersionID: id}); err != nil {
					t.Fatal(err)
				}
			}
			// Who has not looked since must not go on.
			wantKind(t, c.Promote(ctx, id, false), secrets.Conflict, "moved by somebody else")
			if vs, err := c.Versions(ctx); err != nil || vs.IDWith(secrets.Current) != id {
				t.Fatal(vs, err)
			}
			if err := c.Promote(ctx, id, false); err != nil {
				t.Fatal(err)
			}
			c.Release()
			sec = h.record("s")
			want := "v1[AWSPREVIOUS] " + short(id) + "[AWSCURRENT]"
			if got := render(sec.Versions); got != want {
				t.Errorf("labels %s, want %s", got, want)
			}
			if r := sec.Rotation; !r.LastRotated.Equal(h.clock.now()) || r.Attempt != (secrets.Attempt{}) || r.Asked != "" || sec.Versions.Unfinished() {
				t.Errorf("got %+v", r)
			}
			if !sec.DueAt.After(h.clock.now().Add(24 * time.Hour)) {
				t.Errorf("due %v", sec.DueAt)
			}
		})
	}
}

var _ rotator.Stager = (*service.Claim)(nil)

func TestStage(t *testing.T) {
	t.Run("empty", func(t *testing.T) { staging(t, false) })
	t.Run("copy", func(t *testing.T) { staging(t, true) })
}

func staging(t *testing.T, copied bool) {
	stage := func(c *claimed, t *testing.T) (string, error) {
		if copied {
			return c.StageCopy(t.Context())
		}
		return c.Stage(t.Context())
	}
	for name, c := range map[string]struct {
		before func(h *house)
		kind   secrets.Kind // of the refusal
		text   string       // "" = none
		labels string
	}{
		"at rest": {labels: "v1[AWSCURRENT] n1[AWSPENDING]"},
		"past a finished one": {before: func(h *house) {
			h.put("s", "v2", "X")
			h.change("s", func(s *service.Secret) { s.Versions[0].Labels = append(s.Versions[0].Labels, secrets.Pending) })
		}, labels: "v1[AWSCURRENT] v2[X] n1[AWSPENDING]"},
		"while another is asked":     {before: func(h *house) { h.emptyVersion("s", "v2", secrets.Pending) }, kind: secrets.Conflict, text: "under way", labels: "v1[AWSCURRENT] v2[AWSPENDING]"},
		"while another is under way": {before: func(h *house) { h.put("s", "v2", secrets.Pending) }, kind: secrets.Conflict, text: "under way", labels: "v1[AWSCURRENT] v2[AWSPENDING]"},
		"marked for deletion": {before: func(h *house) {
			h.change("s", func(s *service.Secret) { s.Deleted = h.clock.now() })
		}, kind: secrets.Conflict, text: "marked for deletion", labels: "v1[AWSCURRENT]"},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := withFunctions(t)
			h.create("s", "x")
			c0 := claim(t, h, "s")
			if c.before != nil {
				c.before(h)
				if _, err := c0.Versions(t.Context()); err != nil { // the claim's own
					t.Fatal(err)
				}
				if _, err := c0.Versions(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			id, err := stage(c0, t)
			if c.text != "" {
				wantKind(t, err, c.kind, c.text)
				if id != "" {
					t.Errorf("got %q", id)
				}
			} else if err != nil {
				t.Fatal(err)
			}
			c0.want(nil, c.labels)
			if err == nil {
				if v, err := c0.Value(t.Context(), id); err != nil || v.Equal(secrets.Text("x")) != copied {
					t.Errorf("the value is wrong (%v)", err)
				}
				// Nobody declared a rotation, and yet the scheduler knows of this one.
				if sec := h.record("s"); sec.Rotation == nil || sec.Rotation.Source != service.OnDemand || sec.DueAt.IsZero() {
					t.Errorf("got %+v, due %v", sec.Rotation, sec.DueAt)
				}
				wantKind(t, second(stage(c0, t)), secrets.Conflict, "under way")
			}
		})
	}
	t.Run("released", func(t *testing.T) {
		h, _ := withFunctions(t)
		h.create("s", "x")
		c := claim(t, h, "s")
		c.Release()
		wantKind(t, second(stage(c, t)), secrets.Conflict, "released")
	})
	t.Run("labels moved", func(t *testing.T) {
		h, _ := withFunctions(t)
		h.create("s", "x")
		c := claim(t, h, "s")
		h.put("s", "v2")
		wantKind(t, second(stage(c, t)), secrets.Conflict, "moved by somebody else")
	})
}

// TestAskedDuringATest: the copy that a function is being tested on keeps nobody
// from rotating.
func TestAskedDuringATest(t *testing.T) {
	for _, start := range []bool{false, true} {
		h, _ := withFunctions(t)
		h.create("s", "x")
		c := claim(t, h, "s")
		if _, err := c.StageCopy(t.Context()); err != nil {
			t.Fatal(err)
		}
		var id string
		if start {
			out, err := h.StartRotation(t.Context(), service.StartRotationInput{SecretID: "s", ClientRequestToken: tok("v2")})
			if err != nil {
				t.Fatal(err)
			}
			id = out.VersionID
		} else {
			out, err := h.RotateSecret(t.Context(), service.RotateSecretInput{SecretID: "s", ClientRequestToken: tok("v2"), RotationLambdaARN: "arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user"})
			if err != nil {
				t.Fatal(err)
			}
			id = out.VersionID
		}
		if v, ok := h.record("s").Versions.Rotating(); !ok || v.ID != tok("v2") || id != tok("v2") {
			t.Errorf("start %v: rotating to %v, told %s", start, v, id)
		}
	}
}
