package service_test

import (
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

func namesOf(rs []service.RotationStatus) (out []string) {
	for _, r := range rs {
		out = append(out, r.Name)
	}
	return out
}

// elsewhere is the house for another account and region.
func (h *house) elsewhere() *service.Service {
	return h.As(service.Caller{Region: "eu-west-1", Account: "222222222222"})
}

func (h *house) createAt(s *service.Service, name, value string) secrets.ARN {
	h.t.Helper()
	out, err := s.CreateSecret(h.t.Context(), service.CreateSecretInput{Name: name, ClientRequestToken: tok("v1"), GivenValue: service.Give(secrets.Text(value))})
	if err != nil {
		h.t.Fatal(err)
	}
	id, err := secrets.ParseID(out.ARN)
	if err != nil {
		h.t.Fatal(err)
	}
	return id.ARN
}

func TestListRotations(t *testing.T) {
	h := open(t, service.Config{})
	ctx := t.Context()
	const n = 7
	var ds []service.Declaration
	for i := range n {
		h.create(fmt.Sprint("s", i), "x")
		ds = append(ds, entry(fmt.Sprint("s", i), i, secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: daily}))
	}
	h.create("plain", "x")
	h.create("s", "x")
	h.declare(ds...)
	h.rotate(rotation("r1", by(single), every(10, "")))
	there := h.elsewhere()
	h.createAt(there, "s3", "x")

	size := int64(3)
	in := service.ListRotationsInput{MaxResults: &size, PlanUntil: h.clock.now().AddDate(0, 0, 4)}
	var all []service.RotationStatus
	for {
		out, err := h.ListRotations(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Rotations) > 3 {
			t.Errorf("a page of %d", len(out.Rotations))
		}
		all = append(all, out.Rotations...)
		if in.NextToken = out.NextToken; in.NextToken == "" {
			break
		}
	}
	if got := namesOf(all); !slices.Equal(got, []string{"s", "s0", "s1", "s2", "s3", "s4", "s5", "s6"}) {
		t.Errorf("got %v", got)
	}
	if r := all[0]; !r.Unfinished || r.Source != "api" || !r.At.Equal(h.clock.now()) || r.Following != nil {
		t.Errorf("got %+v", r)
	}
	if r := all[1]; r.Unfinished || r.Source != "file pawl.yaml:0" || len(r.Following) != 3 || !r.Following[0].Window.Open.Equal(time.Date(2026, 3, 6, 2, 0, 0, 0, time.UTC)) {
		t.Errorf("got %+v", r)
	}
	// It travels as JSON and back.
	var back service.RotationStatus
	if b, err := json.Marshal(all[1]); err != nil || json.Unmarshal(b, &back) != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all[1], back); diff != "" {
		t.Error(diff)
	}
	// Those asked for, in that order, by name or ARN.
	out, err := h.ListRotations(ctx, service.ListRotationsInput{SecretIDs: []string{h.record("s5").ARN.String(), "plain", "s1"}})
	if err != nil || !slices.Equal(namesOf(out.Rotations), []string{"s5", "s1"}) || out.Rotations[0].Following != nil {
		t.Errorf("got %v, %v", out, err)
	}
	_, err = h.ListRotations(ctx, service.ListRotationsInput{SecretIDs: []string{"nowhere"}})
	wantErr(t, err, "ResourceNotFoundException", notFoundText)
	out, err = h.ListRotations(ctx, service.ListRotationsInput{MaxResults: &size})
	if err != nil {
		t.Fatal(err)
	}
	_, err = h.ListRotations(ctx, service.ListRotationsInput{MaxResults: &size, NextToken: out.NextToken, PlanUntil: h.clock.now()})
	wantErr(t, err, "InvalidNextTokenException", "The NextToken value is not valid for this request.")
	_, err = there.ListRotations(ctx, service.ListRotationsInput{MaxResults: &size, NextToken: out.NextToken})
	wantErr(t, err, "InvalidNextTokenException", "The NextToken value is not valid for this request.")
	out, err = there.ListRotations(ctx, service.ListRotationsInput{})
	if err != nil || len(out.Rotations) != 0 {
		t.Errorf("got %v, %v", out, err)
	}
}

// A failure is in the list, with its kind and its text.
func TestListRotationsShowsFailures(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	h.rotate(rotation("r1", by(single)))
	c := claim(t, h, "s")
	attempt := secrets.Attempt{Tries: 2, NextTry: h.clock.now().Add(time.Hour), LastError: "password refused", Kind: secrets.Denied, FailingSince: h.clock.now()}
	if err := c.Save(t.Context(), attempt); err != nil {
		t.Fatal(err)
	}
	out, err := h.ListRotations(t.Context(), service.ListRotationsInput{})
	if err != nil || len(out.Rotations) != 1 || out.Rotations[0].Attempt != attempt || !out.Rotations[0].At.Equal(attempt.NextTry) {
		t.Errorf("got %+v, %v", out, err)
	}
}

func TestPauseRotation(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	ctx := t.Context()
	_, err := h.PauseRotation(ctx, service.PauseRotationInput{SecretID: "s"})
	wantErr(t, err, "InvalidRequestException", "no rotation is declared for it")
	h.rotate(rotation("r1", by(single), every(30, ""), later))
	paused, err := h.PauseRotation(ctx, service.PauseRotationInput{SecretID: "s"})
	if err != nil || paused.Name != "s" || paused.ARN != h.record("s").ARN.String() || !h.record("s").Rotation.Paused {
		t.Errorf("got %+v, %v", paused, err)
	}
	daemon := &told{}
	h.Attach(daemon)
	resumed, err := h.ResumeRotation(ctx, service.ResumeRotationInput{SecretID: "s"})
	if err != nil || resumed.Name != "s" || resumed.ARN != paused.ARN || h.record("s").Rotation.Paused || daemon.woken != 1 {
		t.Errorf("got %+v, %v", resumed, err)
	}
}

func TestStartRotation(t *testing.T) {
	defaults := secrets.RotationRules{Strategy: secrets.SingleUser, CheckQuery: "SELECT 1"}
	h := open(t, service.Config{DefaultRules: defaults})
	ctx := t.Context()
	start := func(name, token, want string) {
		t.Helper()
		out, err := h.StartRotation(ctx, service.StartRotationInput{SecretID: name, ClientRequestToken: tok(token)})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&service.StartRotationOutput{ARN: h.record(name).ARN.String(), Name: name, VersionID: tok(want)}, out); diff != "" {
			t.Error(diff)
		}
	}
	_, err := h.StartRotation(ctx, service.StartRotationInput{SecretID: "nowhere"})
	wantErr(t, err, "InvalidParameterException", tokenText)

	// Nobody declared it: on demand, by the default rules.
	h.create("a", "x")
	daemon := &told{}
	h.Attach(daemon)
	start("a", "r1", "r1")
	sec := h.record("a")
	if got := render(sec.Versions); got != "v1[AWSCURRENT] r1[AWSPENDING]" || !sec.DueAt.Equal(h.clock.now()) || daemon.woken != 1 {
		t.Errorf("labels %s, due %v, woken %d times", got, sec.DueAt, daemon.woken)
	}
	if r := sec.Rotation; r.Source != service.OnDemand || r.Enabled || r.Rules.CheckQuery != "SELECT 1" {
		t.Errorf("got %+v", r)
	}
	start("a", "r2", "r1") // goes on with what is under way
	h.finish("a")
	if sec := h.record("a"); sec.Rotation.Asked != "" || sec.Rotation.LastRotated.IsZero() || !sec.DueAt.IsZero() {
		t.Errorf("got %+v", sec.Rotation)
	}
	writes := h.store.writes.Load()
	start("a", "r1", "r1") // sent again
	if h.store.writes.Load() != writes {
		t.Error("written")
	}
	h.put("a", "x", "X")
	_, err = h.StartRotation(ctx, service.StartRotationInput{SecretID: "a", ClientRequestToken: tok("x")})
	wantErr(t, err, "InvalidParameterException", "You can't use ClientRequestToken "+tok("x")+" because that value is already in use for a version of secret "+h.record("a").ARN.String()+".")

	// Turned off stays off, and what is declared stays declared.
	h.create("s", "x")
	h.rotate(rotation("r0", by(single), every(30, ""), later))
	if _, err := h.CancelRotateSecret(ctx, service.CancelRotateSecretInput{SecretID: "s"}); err != nil {
		t.Fatal(err)
	}
	start("s", "r1", "r1")
	if r := h.record("s").Rotation; r.Enabled || r.Source != service.FromAPI {
		t.Errorf("got %+v", r)
	}

	// A pause holds, but not for the rotation that was asked for.
	h.create("p", "x")
	h.declare(entry("p", 1, secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: daily}))
	if err := h.Pause(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	start("p", "r1", "r1")
	if sec := h.record("p"); !sec.Rotation.Paused || !sec.DueAt.Equal(h.clock.now()) {
		t.Errorf("due %v, %+v", sec.DueAt, sec.Rotation)
	}
	c := claim(t, h, "p")
	if c.Rotation().Paused {
		t.Error("the scheduler would leave it alone")
	}
	// AWSCURRENT was edited meanwhile: another version takes its place.
	c.pending(tok("r1"))
	id := c.pending("")
	if sec := h.record("p"); sec.DueAt.IsZero() || sec.Rotation.Asked != id {
		t.Errorf("due %v, %+v", sec.DueAt, sec.Rotation)
	}
	if err := c.Promote(ctx, id, false); err != nil {
		t.Fatal(err)
	}
	c.Release()
	if sec := h.record("p"); !sec.Rotation.Paused || !sec.DueAt.IsZero() {
		t.Errorf("due %v, %+v", sec.DueAt, sec.Rotation)
	}
	// Another's unfinished one is held by the pause until somebody asks.
	h.put("p", "w2", secrets.Pending)
	if c := claim(t, h, "p"); !c.Rotation().Paused || !h.record("p").DueAt.IsZero() {
		t.Errorf("due %v", h.record("p").DueAt)
	} else {
		c.Release()
	}
	start("p", "r3", "w2")
	if sec := h.record("p"); !sec.DueAt.Equal(h.clock.now()) {
		t.Errorf("due %v", sec.DueAt)
	}
}

func TestTestRotation(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "x")
	in := service.TestRotationInput{SecretID: "s"}
	_, err := h.TestRotation(t.Context(), in)
	wantErr(t, err, "InvalidRequestException", "No daemon rotates the secrets of this server, so nothing can be tested.")
	_, err = h.TestRotation(t.Context(), service.TestRotationInput{SecretID: "nowhere"})
	wantErr(t, err, "ResourceNotFoundException", notFoundText)
	for _, tt := range []struct {
		daemon told
		want   service.TestRotationOutput
	}{
		{told{outcome: "checked"}, service.TestRotationOutput{Outcome: "checked"}},
		{told{err: secrets.Errorf(secrets.Denied, "password refused").WithHint("mend it")}, service.TestRotationOutput{Error: "password refused; mend it", Kind: "denied"}},
	} {
		h.Attach(&tt.daemon)
		got, err := h.TestRotation(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		tt.want.ARN, tt.want.Name = arn, "s"
		if diff := cmp.Diff(&tt.want, got); diff != "" {
			t.Error(diff)
		}
	}
}

// TestOtherPlaces: secrets of other accounts and regions are found due, claimed,
// paused and shown like those of home; names and superusers are of their own
// place.
func TestOtherPlaces(t *testing.T) {
	h := open(t, service.Config{})
	ctx := t.Context()
	h.create("s", `{"host":"home"}`)
	h.create("root", `{"username":"root at home"}`)
	there := h.elsewhere()
	arn := h.createAt(there, "s", `{"host":"away","port":1}`)
	h.createAt(there, "root", `{"username":"root away"}`)
	if arn.Partition != "aws" || arn.Region != "eu-west-1" || arn.Account != "222222222222" {
		t.Fatalf("made %s", arn)
	}
	h.declare(entry("s", 1, secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: daily}))

	_, err := there.RotateSecret(ctx, rotation("r1", by(single)))
	wantErr(t, err, "AccessDeniedException", deniedText)
	own := strings.NewReplacer("us-east-1", "eu-west-1", "123456789012", "222222222222").Replace(single)
	out, err := there.RotateSecret(ctx, rotation("r1", by(own), every(30, "")))
	if err != nil || out.ARN != arn.String() {
		t.Fatalf("got %+v, %v", out, err)
	}
	// Not the file's, though its name is.
	rs := map[secrets.ARN]service.RotationStatus{}
	if err := h.Rotations(ctx, func(r service.RotationStatus) error { rs[r.ARN] = r; return nil }); err != nil {
		t.Fatal(err)
	}
	if len(rs) != 2 || rs[arn].Source != service.FromAPI || rs[h.record("s").ARN].Source != "file pawl.yaml:1" {
		t.Errorf("got %+v", rs)
	}
	ds, err := h.Due(ctx, h.clock.now(), service.DueAfter{}, 10)
	if err != nil || len(ds) != 1 || ds[0].ARN != arn || ds[0].Target != "away:1" {
		t.Fatalf("due: %+v, %v", ds, err)
	}
	c, err := h.Claim(ctx, arn.String())
	if err != nil {
		t.Fatal(err)
	}
	// The one of the same name at home is another.
	home := claim(t, h, "s")
	home.Release()
	id, err := c.PutPending(ctx, tok("r1"), secrets.Text("{}"))
	if err == nil {
		err = c.Promote(ctx, id, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	c.Release()
	if got := h.labels("s"); got != "v1[AWSCURRENT]" {
		t.Errorf("labels at home: %s", got)
	}
	if err := h.Pause(ctx, arn.String()); err != nil {
		t.Error(err)
	}
	if h.record("s").Rotation.Paused {
		t.Error("the wrong one is paused")
	}
	if err := h.Resume(ctx, arn.String()); err != nil {
		t.Error(err)
	}
	if err := h.Reschedule(ctx, arn, h.clock.now()); err != nil {
		t.Error(err)
	}
	for near, want := range map[secrets.ARN]string{arn: "root away", h.record("s").ARN: "root at home"} {
		cred, _, err := h.CredentialsNear(ctx, near, "root")
		if err != nil || cred.Username() != want {
			t.Errorf("near %s: %q, %v", near, cred.Username(), err)
		}
	}
	h.declare() // the file's is turned off, the other is not
	if err := h.Rotations(ctx, func(r service.RotationStatus) error {
		if r.Enabled != (r.ARN == arn) {
			t.Errorf("%s: enabled %v", r.ARN, r.Enabled)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestReplicasAreNotRotated(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	h.rotate(rotation("r1", by(single), every(30, "")))
	h.change("s", func(s *service.Secret) { s.PrimaryRegion = "eu-west-1" })
	if err := h.Reschedule(t.Context(), h.record("s").ARN, h.clock.now()); err != nil {
		t.Fatal(err)
	}
	if due := h.record("s").DueAt; !due.IsZero() {
		t.Errorf("due %v", due)
	}
	_, err := h.Claim(t.Context(), "s")
	wantErr(t, err, "InvalidParameterException", replicaText)
	if rs := h.statuses(); len(rs) != 0 {
		t.Errorf("got %+v", rs)
	}
	h.change("s", func(s *service.Secret) { s.PrimaryRegion = "" })
	claim(t, h, "s").Release() // the refused claim is not held
}
