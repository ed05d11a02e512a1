package service_test

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	single      = "arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user"
	alternating = "arn:aws:lambda:us-east-1:123456789012:function:pawl-alternating-users"

	noFunctionText = "No Lambda rotation function ARN is associated with this secret."
	unfinishedText = "A previous rotation isn't complete. That rotation will be reattempted."
	deniedText     = "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com."
	lambdaText     = "Invalid rotation Lambda ARN. Ensure the ARN matches format arn:aws:lambda:<region>:<account>:function:<functionName>."
	managedText    = "This secret is managed by an AWS service, and you must use that service to update it."
	replicaText    = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
	partnerText    = "Pawl has no engine for partner secrets (Type SalesforceClientSecret) and can't rotate one. With RotateImmediately false the settings are kept; make a new credential at the partner and put it as a new value."
)

// told is a daemon that only notes what it is told.
type told struct {
	woken   int
	tested  []string
	outcome string
	err     error
}

func (d *told) Wake()                { d.woken++ }
func (d *told) Test(arn secrets.ARN) { d.tested = append(d.tested, arn.Name) }
func (d *told) Check(context.Context, secrets.ARN) (string, error) {
	return d.outcome, d.err
}

// change writes to a record as nobody else may.
func (h *house) change(name string, change func(*service.Secret)) {
	h.t.Helper()
	_, err := h.store.Store.Update(h.t.Context(), h.record(name).ARN, func(sec *service.Secret) (service.Sealed, error) {
		change(sec)
		return nil, nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func rotation(token string, more ...func(*service.RotateSecretInput)) service.RotateSecretInput {
	in := service.RotateSecretInput{SecretID: "s", ClientRequestToken: tok(token)}
	for _, f := range more {
		f(&in)
	}
	return in
}

func by(function string) func(*service.RotateSecretInput) {
	return func(in *service.RotateSecretInput) { in.RotationLambdaARN = function }
}

func every(days int64, duration string) func(*service.RotateSecretInput) {
	return func(in *service.RotateSecretInput) {
		in.RotationRules = &service.RotationRules{AutomaticallyAfterDays: days, Duration: duration}
	}
}

func when(expression, duration string) func(*service.RotateSecretInput) {
	return func(in *service.RotateSecretInput) {
		in.RotationRules = &service.RotationRules{ScheduleExpression: expression, Duration: duration}
	}
}

func later(in *service.RotateSecretInput) { in.RotateImmediately = new(bool) }

func (h *house) rotate(in service.RotateSecretInput) {
	h.t.Helper()
	out, err := h.RotateSecret(h.t.Context(), in)
	if err != nil {
		h.t.Fatal(err)
	}
	want := &service.RotateSecretOutput{ARN: h.record("s").ARN.String(), Name: "s", VersionID: in.ClientRequestToken}
	if diff := cmp.Diff(want, out); diff != "" {
		h.t.Error(diff)
	}
}

// finish ends what the secret's AWSPENDING asks for, as a rotator does.
func (h *house) finish(name string) {
	h.t.Helper()
	c := claim(h.t, h, name)
	id := c.pending(h.record(name).Versions.IDWith(secrets.Pending))
	if err := c.Promote(h.t.Context(), id, false); err != nil {
		h.t.Fatal(err)
	}
	c.Release()
}

// TestRotateSecretRefuses holds each refusal to its exception and words, and
// wants nothing stored by it.
func TestRotateSecretRefuses(t *testing.T) {
	const (
		both     = "You cannot specify both rotation frequency and schedule expression together."
		bad      = "Invalid schedule expression."
		hours    = "Rate in hour should be least 4 and less than 24."
		days     = "Rate in day should be greater than 0 and less than 1000."
		length   = "Duration must be at least 1 hour, at most 24 hour."
		tooLong  = "Duration cannot be greater than Rate in hour."
		nextDay  = "Starting hour and duration must be within a day."
		ipe, ire = "InvalidParameterException", "InvalidRequestException"
		declared = "The rotation of this secret is declared by the file pawl.yaml:3. Change it there, or stop it by: pawl pause s"
	)
	file := func(h *house) {
		h.declare(entry("s", 3, secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: "rate(30 days)", Window: "2h"}))
	}
	under := func(h *house) { h.rotate(rotation("r0", by(single))) }
	for _, tt := range []struct {
		name       string
		in         service.RotateSecretInput
		before     func(h *house)
		code, text string
	}{
		{name: "no token", in: service.RotateSecretInput{SecretID: "s"}, code: ipe, text: tokenText},
		{name: "no token and no secret", in: service.RotateSecretInput{SecretID: "nowhere"}, code: ipe, text: tokenText},
		{name: "no such secret", in: service.RotateSecretInput{SecretID: "nowhere", ClientRequestToken: tok("r1")}, code: "ResourceNotFoundException", text: notFoundText},
		{name: "bounds", in: rotation("r1", every(1001, "xx")), code: "ValidationException",
			text: "2 validation errors detected: Value '1001' at 'rotationRules.automaticallyAfterDays' failed to satisfy constraint: Member must have value less than or equal to 1000; Value 'xx' at 'rotationRules.duration' failed to satisfy constraint: Member must satisfy regular expression pattern: [0-9]+h"},
		{name: "a short role", in: rotation("r1", by(single), func(in *service.RotateSecretInput) { in.ExternalSecretRotationRoleArn = "arn" }), code: "ValidationException",
			text: "1 validation error detected: Value 'arn' at 'externalSecretRotationRoleArn' failed to satisfy constraint: Member must have length greater than or equal to 20"},
		{name: "no function", in: rotation("r1"), code: ire, text: noFunctionText},
		{name: "no function, with rules", in: rotation("r1", every(30, "")), code: ire, text: noFunctionText},
		{name: "no function, rotated on demand before", in: rotation("r1"), before: func(h *house) { claim(h.t, h, "s").rotate("") }, code: ire, text: noFunctionText},
		{name: "malformed", in: rotation("r1", by("pawl-single-user")), code: ipe, text: lambdaText},
		{name: "malformed, another service", in: rotation("r1", by("arn:aws:iam:us-east-1:123456789012:function:pawl-single-user")), code: ipe, text: lambdaText},
		{name: "malformed, no function in it", in: rotation("r1", by("arn:aws:lambda:us-east-1:123456789012:pawl-single-user")), code: ipe, text: lambdaText},
		{name: "malformed account", in: rotation("r1", by("arn:aws:lambda:us-east-1:1234:function:pawl-single-user")), code: ipe, text: lambdaText},
		{name: "unknown", in: rotation("r1", by("arn:aws:lambda:us-east-1:123456789012:function:mine")), code: "AccessDeniedException", text: deniedText},
		{name: "unknown, a version", in: rotation("r1", by(single+":7")), code: "AccessDeniedException", text: deniedText},
		{name: "another region's", in: rotation("r1", by("arn:aws:lambda:eu-west-1:123456789012:function:pawl-single-user")), code: "AccessDeniedException", text: deniedText},
		{name: "another account's", in: rotation("r1", by("arn:aws:lambda:us-east-1:111111111111:function:pawl-single-user")), code: "AccessDeniedException", text: deniedText},
		{name: "unknown instead of the known", in: rotation("r1", by("arn:aws:lambda:us-east-1:123456789012:function:mine")), before: func(h *house) { under(h); h.finish("s") }, code: "AccessDeniedException", text: deniedText},
		{name: "another token", in: rotation("r1"), before: under, code: ire, text: unfinishedText},
		{name: "another token, other rules", in: rotation("r1", every(30, "")), before: under, code: ire, text: unfinishedText},
		{name: "another token, not now", in: rotation("r1", later), before: under, code: ire, text: unfinishedText},
		{name: "somebody else's pending value", in: rotation("r1", by(single)), before: func(h *house) { h.put("s", "v2", secrets.Pending) }, code: ire, text: unfinishedText},
		{name: "both rules", in: rotation("r1", by(single), func(in *service.RotateSecretInput) {
			in.RotationRules = &service.RotationRules{AutomaticallyAfterDays: 1, ScheduleExpression: "rate(1 day)"}
		}), code: ipe, text: both},
		{name: "expression", in: rotation("r1", by(single), when("rate(1 week)", "")), code: ipe, text: bad},
		{name: "cron", in: rotation("r1", by(single), when("cron(5 0 * * ? *)", "")), code: ipe, text: bad},
		{name: "minutes, which the file may say", in: rotation("r1", by(single), when("rate(30 minutes)", "")), before: func(h *house) { h.Reconfigure(time.Second, false, secrets.RotationRules{}) }, code: ipe, text: bad},
		{name: "hours", in: rotation("r1", by(single), when("rate(3 hours)", "")), code: ipe, text: hours},
		{name: "days", in: rotation("r1", by(single), when("rate(1000 days)", "")), code: ipe, text: days},
		{name: "window", in: rotation("r1", by(single), every(1, "25h")), code: ipe, text: length},
		{name: "window, and nothing says when", in: rotation("r1", by(single), every(0, "0h")), code: ipe, text: length},
		{name: "window and rate", in: rotation("r1", by(single), when("rate(4 hours)", "5h")), code: ipe, text: tooLong},
		{name: "window and day", in: rotation("r1", by(single), when("cron(0 22 * * ? *)", "3h")), code: ipe, text: nextDay},
		{name: "window and the rate of before", in: rotation("r1", every(0, "5h")), before: func(h *house) { h.rotate(rotation("r0", by(single), when("rate(4 hours)", ""), later)) }, code: ipe, text: tooLong},
		{name: "less than the operator's minimum", in: rotation("r1", by(single), when("rate(4 hours)", "")), before: func(h *house) { h.Reconfigure(5*time.Hour, false, secrets.RotationRules{}) }, code: ipe, text: hours},
		{name: "no value", in: service.RotateSecretInput{SecretID: "empty", ClientRequestToken: tok("r1"), RotationLambdaARN: single}, code: "ResourceNotFoundException",
			text: "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT"},
		{name: "a token with another value", in: rotation("v0", by(single)), before: func(h *house) { h.put("s", "v0", "X") }, code: ipe,
			text: "You can't use ClientRequestToken " + tok("v0") + " because that value is already in use for a version of secret ARN."},
		{name: "managed, a function", in: rotation("r1", by(single)), before: func(h *house) { h.change("s", func(s *service.Secret) { s.OwningService = "rds" }) }, code: ire, text: "Rotation Lambda ARN is not supported for a service-managed secret."},
		{name: "managed", in: rotation("r1", every(30, "")), before: func(h *house) { h.change("s", func(s *service.Secret) { s.OwningService = "rds" }) }, code: ire, text: managedText},
		{name: "a replica", in: rotation("r1", by(single)), before: func(h *house) { h.change("s", func(s *service.Secret) { s.PrimaryRegion = "eu-west-1" }) }, code: ipe, text: replicaText},
		{name: "a partner's", in: rotation("r1"), before: func(h *house) { h.change("s", func(s *service.Secret) { s.Type = "SalesforceClientSecret" }) }, code: ire, text: partnerText},
		{name: "declared: another schedule", in: rotation("r1", every(31, "2h")), before: file, code: ire, text: declared},
		{name: "declared: another window", in: rotation("r1", every(30, "3h")), before: file, code: ire, text: declared},
		{name: "declared: the default window", in: rotation("r1", when("rate(30 days)", "")), before: file, code: ire, text: declared},
		{name: "declared: another strategy", in: rotation("r1", by(alternating)), before: file, code: ire, text: declared},
		{name: "declared: a partner's settings", in: rotation("r1", func(in *service.RotateSecretInput) {
			in.ExternalSecretRotationRoleArn = "arn:aws:iam::123456789012:role/x"
		}), before: file, code: ire, text: declared},
		{name: "declared and paused", in: rotation("r1"), before: func(h *house) {
			file(h)
			if err := h.Pause(context.Background(), "s"); err != nil {
				h.t.Fatal(err)
			}
		}, code: ire, text: "The rotation of this secret, which the file pawl.yaml:3 declares, is paused. Go on with it by: pawl resume s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := open(t, service.Config{})
			h.create("s", "x")
			if _, err := h.CreateSecret(t.Context(), service.CreateSecretInput{Name: "empty", ClientRequestToken: tok("v1")}); err != nil {
				t.Fatal(err)
			}
			if tt.before != nil {
				tt.before(h)
			}
			daemon := &told{}
			h.Attach(daemon)
			before, empty := h.record("s"), h.record("empty")
			h.clock.add(time.Minute)
			_, err := h.RotateSecret(t.Context(), tt.in)
			if cut := len(tt.text) - len("ARN."); cut > 0 && tt.text[cut:] == "ARN." {
				tt.text = tt.text[:cut] + before.ARN.String() + "."
			}
			wantErr(t, err, tt.code, tt.text)
			if diff := cmp.Diff([]*service.Secret{before, empty}, []*service.Secret{h.record("s"), h.record("empty")}); diff != "" {
				t.Errorf("stored: %s", diff)
			}
			if daemon.woken > 0 || len(daemon.tested) > 0 {
				t.Errorf("the daemon was told: %+v", daemon)
			}
		})
	}
}

func TestRotateSecret(t *testing.T) {
	h := open(t, service.Config{DefaultRules: secrets.RotationRules{Strategy: secrets.AlternatingUsers, Superuser: "root", PlainPassword: true, Password: secrets.PasswordRules{Length: 20}}})
	daemon := &told{}
	h.Attach(daemon)
	h.create("s", "x")
	h.clock.add(time.Hour)
	began := h.clock.now()
	h.rotate(rotation("r1", by(single), every(30, "2h")))
	want := &secrets.Rotation{
		Rules:   secrets.RotationRules{Strategy: secrets.SingleUser, AfterDays: 30, Window: "2h", Function: single},
		Enabled: true, Source: "api", Since: began,
	}
	sec := h.record("s")
	if diff := cmp.Diff(want, sec.Rotation); diff != "" {
		t.Error(diff)
	}
	if got := render(sec.Versions); got != "v1[AWSCURRENT] r1[AWSPENDING]" || !sec.Versions[1].Empty {
		t.Errorf("labels %s", got)
	}
	if !sec.DueAt.Equal(began) || !sec.Changed.Equal(began) || daemon.woken != 1 {
		t.Errorf("due %v, changed %v, woken %d times", sec.DueAt, sec.Changed, daemon.woken)
	}
	_, err := h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s", VersionStage: secrets.Pending})
	wantErr(t, err, "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSPENDING")

	// The rules at the claim: the configuration's, but for what the API said.
	c := claim(t, h, "s")
	rules := secrets.RotationRules{
		Strategy: secrets.SingleUser, AfterDays: 30, Window: "2h", Function: single,
		Superuser: "root", PlainPassword: true, Password: secrets.PasswordRules{Length: 20},
	}
	if diff := cmp.Diff(rules, c.Rotation().Rules); diff != "" {
		t.Error(diff)
	}
	c.Release()
	if diff := cmp.Diff(rules, h.statuses()["s"].Rules); diff != "" {
		t.Error(diff)
	}
	h.clock.add(time.Minute)
	h.finish("s")
	sec = h.record("s")
	want.LastRotated = h.clock.now()
	if diff := cmp.Diff(want, sec.Rotation); diff != "" {
		t.Error(diff)
	}
	if got := render(sec.Versions); got != "v1[AWSPREVIOUS] r1[PAWLINTENT AWSCURRENT]" {
		t.Errorf("labels %s", got)
	}
	if from := time.Date(2026, 4, 3, 0, 0, 0, 0, time.UTC); sec.DueAt.Before(from) || sec.DueAt.After(from.Add(time.Hour)) {
		t.Errorf("due %v", sec.DueAt)
	}
	// The requests of rotations that have ended, sent again.
	writes := h.store.writes.Load()
	h.rotate(rotation("r1", by(single), every(30, "2h")))
	h.rotate(rotation("v1"))
	if h.store.writes.Load() != writes {
		t.Error("written")
	}
	// Without arguments: what is stored.
	h.rotate(rotation("r2"))
	if diff := cmp.Diff(want, h.record("s").Rotation); diff != "" {
		t.Error(diff)
	}
	if got := h.labels("s"); got != "v1[AWSPREVIOUS] r1[PAWLINTENT AWSCURRENT] r2[AWSPENDING]" {
		t.Errorf("labels %s", got)
	}
}

// AWSPENDING on the current version means that the last rotation is over.
func TestRotateSecretPastAFinishedOne(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	h.change("s", func(s *service.Secret) { s.Versions[0].Labels = append(s.Versions[0].Labels, secrets.Pending) })
	h.rotate(rotation("r1", by(single)))
	if got := h.labels("s"); got != "v1[AWSCURRENT] r1[AWSPENDING]" {
		t.Errorf("labels %s", got)
	}
}

func TestRotateSecretJoins(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	daemon := &told{}
	h.Attach(daemon)
	h.rotate(rotation("r1", by(single)))
	writes := h.store.writes.Load()
	h.rotate(rotation("r1", by(single)))
	if h.store.writes.Load() != writes || daemon.woken != 2 {
		t.Errorf("%d writes, woken %d times", h.store.writes.Load()-writes, daemon.woken)
	}
	// It failed and waits: who asks again wants it tried now, and it stays known
	// that it fails.
	c := claim(t, h, "s")
	failing := secrets.Attempt{Tries: 3, NextTry: h.clock.now().Add(time.Hour), LastError: "no", Kind: secrets.Denied, FailingSince: h.clock.now()}
	if err := c.Save(t.Context(), failing); err != nil {
		t.Fatal(err)
	}
	c.Release()
	if due := h.record("s").DueAt; !due.Equal(failing.NextTry) {
		t.Fatalf("due %v", due)
	}
	h.rotate(rotation("r1"))
	failing.NextTry = time.Time{}
	if sec := h.record("s"); !sec.DueAt.Equal(h.clock.now()) || sec.Rotation.Attempt != failing {
		t.Errorf("due %v, %+v", sec.DueAt, sec.Rotation.Attempt)
	}
	// Its configuration counts, and what failed by other rules is forgotten.
	h.rotate(rotation("r1", by(alternating), when(daily, "1h")))
	if got := h.record("s").Rotation; got.Rules.Strategy != secrets.AlternatingUsers || got.Rules.Schedule != daily || got.Attempt != (secrets.Attempt{}) {
		t.Errorf("got %+v", got)
	}
	if got := h.labels("s"); got != "v1[AWSCURRENT] r1[AWSPENDING]" {
		t.Errorf("labels %s", got)
	}
}

func TestRotateSecretNotNow(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	h.rotate(rotation("r0", by(single), later)) // without a daemon
	daemon := &told{}
	h.Attach(daemon)
	h.rotate(rotation("r1", when("rate(10 days)", ""), later))
	sec := h.record("s")
	if got := render(sec.Versions); got != "v1[AWSCURRENT]" || !sec.Rotation.Enabled || sec.DueAt.IsZero() {
		t.Errorf("labels %s, %+v", got, sec.Rotation)
	}
	if daemon.woken > 0 || !slices.Equal(daemon.tested, []string{"s"}) {
		t.Errorf("got %+v", daemon)
	}
	h.rotate(rotation("r1")) // the same token is free
	if got := h.labels("s"); got != "v1[AWSCURRENT] r1[AWSPENDING]" {
		t.Errorf("labels %s", got)
	}
	h.rotate(rotation("r1", later)) // and is the one under way
	h.Attach(nil)
	h.rotate(rotation("r1"))
	if daemon.woken != 1 || len(daemon.tested) != 2 {
		t.Errorf("got %+v", daemon)
	}
}

// TestRotationRules: what the API is given replaces what it was given before.
func TestRotationRules(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	n := 0
	step := func(days int, schedule, window string, more ...func(*service.RotateSecretInput)) secrets.Rotation {
		t.Helper()
		n++
		h.clock.add(time.Minute)
		h.rotate(rotation("r1", append(more, later)...))
		r := *h.record("s").Rotation
		if r.Rules.AfterDays != days || r.Rules.Schedule != schedule || r.Rules.Window != window || !r.Enabled || r.Paused {
			t.Errorf("number %d: got %+v", n, r)
		}
		return r
	}
	step(0, "", "", by(single))
	step(0, "", "2h", every(0, "2h"))
	step(1000, "", "", every(1000, ""))
	first := step(30, "", "3h", every(30, "3h"))
	if again := step(30, "", "4h", every(0, "4h")); !again.Since.Equal(first.Since) {
		t.Error("the same schedule counts anew")
	}
	step(30, "", "4h", every(0, ""))
	step(30, "", "4h")
	if other := step(0, daily, "", when(daily, "")); !other.Since.Equal(h.clock.now()) {
		t.Error("another schedule counts from before")
	}
	step(7, "", "", every(7, ""))
	if r := step(7, "", "", by(alternating)); r.Rules.Strategy != secrets.AlternatingUsers || r.Rules.Function != alternating {
		t.Errorf("got %+v", r.Rules)
	}
	if err := h.Pause(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	step(7, "", "") // ends the pause
	// A rotation on demand becomes the API's.
	h.create("other", "x")
	claim(t, h, "other").rotate("")
	rotated := h.record("other").Rotation.LastRotated
	if _, err := h.RotateSecret(t.Context(), service.RotateSecretInput{SecretID: "other", ClientRequestToken: tok("r1"), RotationLambdaARN: single}); err != nil {
		t.Fatal(err)
	}
	if r := h.record("other").Rotation; r.Source != service.FromAPI || !r.Enabled || !r.LastRotated.Equal(rotated) {
		t.Errorf("got %+v", r)
	}
}

func TestPartnerSecrets(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	h.change("s", func(s *service.Secret) { s.Type = "SalesforceClientSecret" })
	first := service.ExternalSecretRotationMetadataItem{Key: "app", Value: "1"}
	const role = "arn:aws:iam::123456789012:role/rotate"
	h.rotate(rotation("r1", later, every(30, ""), func(in *service.RotateSecretInput) {
		in.ExternalSecretRotationMetadata, in.ExternalSecretRotationRoleArn = []service.ExternalSecretRotationMetadataItem{first}, role
	}))
	sec := h.record("s")
	if diff := cmp.Diff(&service.External{Metadata: []service.ExternalSecretRotationMetadataItem{first}, RoleARN: role}, sec.External); diff != "" {
		t.Error(diff)
	}
	if sec.Rotation.Rules.Strategy != secrets.Partner || !sec.Rotation.Enabled || sec.DueAt.IsZero() {
		t.Errorf("got %+v", sec.Rotation)
	}
	// Each member of its own.
	h.rotate(rotation("r1", later, func(in *service.RotateSecretInput) { in.ExternalSecretRotationRoleArn = role + "2" }))
	if e := h.record("s").External; e.RoleARN != role+"2" || len(e.Metadata) != 1 {
		t.Errorf("got %+v", e)
	}
	_, err := h.RotateSecret(t.Context(), rotation("r1"))
	wantErr(t, err, "InvalidRequestException", partnerText)
	_, err = h.StartRotation(t.Context(), service.StartRotationInput{SecretID: "s", ClientRequestToken: tok("r1")})
	wantErr(t, err, "InvalidRequestException", partnerText)
	// With a function it rotates like any other.
	h.rotate(rotation("r1", by(single)))
	if got := h.labels("s"); got != "v1[AWSCURRENT] r1[AWSPENDING]" {
		t.Errorf("labels %s", got)
	}
}

// What the file declares, the API may rotate and may not change.
func TestRotateSecretOfTheFile(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	rules := secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: "rate(30 days)", Window: "2h", Hosts: []string{"h2"}}
	h.declare(entry("s", 3, rules))
	want := h.record("s").Rotation
	for i, in := range []service.RotateSecretInput{
		rotation("r1"), rotation("r1", by(single)), rotation("r1", every(30, "2h")), rotation("r1", when("rate(30 days)", "2h"), by(single)), rotation("r1", later),
	} {
		h.rotate(in)
		if diff := cmp.Diff(want, h.record("s").Rotation); diff != "" {
			t.Errorf("number %d: %s", i+1, diff)
		}
	}
	if got := h.labels("s"); got != "v1[AWSCURRENT] r1[AWSPENDING]" {
		t.Errorf("labels %s", got)
	}
	h.declare(entry("s", 13, rules)) // not written, but where it is now
	_, err := h.CancelRotateSecret(t.Context(), service.CancelRotateSecretInput{SecretID: "s"})
	wantErr(t, err, "InvalidRequestException", "The rotation of this secret is declared by the file pawl.yaml:13. Change it there, or stop it by: pawl pause s")
	if !h.record("s").Rotation.Enabled {
		t.Error("turned off")
	}
	// Given up by the file it is the API's to turn on, as it was.
	h.finish("s")
	h.declare()
	h.rotate(rotation("r2"))
	got := h.record("s").Rotation
	if diff := cmp.Diff(secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: "rate(30 days)", Window: "2h", Function: single}, got.Rules); diff != "" || got.Source != service.FromAPI || !got.Enabled {
		t.Errorf("got %+v", got)
	}
}

// TestDeclareOverTheAPI: an entry of the file replaces what the API configured;
// what the file does not name is the API's.
func TestDeclareOverTheAPI(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	h.rotate(rotation("r1", by(single), every(30, "")))
	h.finish("s")
	if report := h.declare(); !reflect.DeepEqual(report, service.DeclareReport{}) {
		t.Errorf("got %+v", report)
	}
	ds := entry("s", 3, secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: daily})
	want := service.DeclareReport{Changed: []string{"s"}, Replaced: []string{"s"}}
	if diff := cmp.Diff(want, h.declare(ds)); diff != "" {
		t.Error(diff)
	}
	if r := h.record("s").Rotation; r.Source != "file pawl.yaml:3" || r.Rules.AfterDays != 0 || r.Rules.Function != "" || r.LastRotated.IsZero() {
		t.Errorf("got %+v", r)
	}
	if diff := cmp.Diff(service.DeclareReport{}, h.declare(ds)); diff != "" {
		t.Error(diff)
	}
}

func TestCancelRotateSecret(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	ctx := t.Context()
	cancel := func(version string) {
		t.Helper()
		out, err := h.CancelRotateSecret(ctx, service.CancelRotateSecretInput{SecretID: "s"})
		if err != nil {
			t.Fatal(err)
		}
		if version != "" {
			version = tok(version)
		}
		want := &service.CancelRotateSecretOutput{ARN: h.record("s").ARN.String(), Name: "s", VersionID: version}
		if diff := cmp.Diff(want, out); diff != "" {
			t.Error(diff)
		}
	}
	cancel("")
	if h.record("s").Rotation != nil {
		t.Error("something was stored")
	}
	h.rotate(rotation("r1", by(single), every(30, "2h")))
	cancel("r1")
	sec := h.record("s")
	if r := sec.Rotation; r.Enabled || r.Rules.Function != single || r.Rules.AfterDays != 30 || r.Rules.Window != "2h" {
		t.Errorf("got %+v", r)
	}
	// Begun is finished all the same.
	if got := render(sec.Versions); got != "v1[AWSCURRENT] r1[AWSPENDING]" || sec.DueAt.IsZero() {
		t.Errorf("labels %s, due %v", got, sec.DueAt)
	}
	writes := h.store.writes.Load()
	cancel("r1")
	if h.store.writes.Load() != writes {
		t.Error("written")
	}
	h.finish("s")
	cancel("")
	if due := h.record("s").DueAt; !due.IsZero() {
		t.Errorf("due %v", due)
	}
	h.rotate(rotation("r2", later)) // no arguments needed
	if sec := h.record("s"); !sec.Rotation.Enabled || sec.DueAt.IsZero() {
		t.Errorf("got %+v", sec.Rotation)
	}
	for text, change := range map[string]func(*service.Secret){
		managedText: func(s *service.Secret) { s.OwningService, s.PrimaryRegion = "rds", "" },
		replicaText: func(s *service.Secret) { s.OwningService, s.PrimaryRegion = "", "eu-west-1" },
	} {
		h.change("s", change)
		_, err := h.CancelRotateSecret(ctx, service.CancelRotateSecretInput{SecretID: "s"})
		code := "InvalidRequestException"
		if text == replicaText {
			code = "InvalidParameterException"
		}
		wantErr(t, err, code, text)
	}
}
