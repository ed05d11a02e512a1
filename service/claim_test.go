package service_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var _ rotator.Vault = (*service.Claim)(nil)

// claimed is a claim that a test takes the steps of a rotation with.
type claimed struct {
	*service.Claim
	h *house
}

func claim(t testing.TB, h *house, name string) *claimed {
	t.Helper()
	c, err := h.Claim(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Release)
	return &claimed{c, h}
}

func (c *claimed) pending(id string) string {
	c.h.t.Helper()
	made, err := c.PutPending(c.h.t.Context(), id, secrets.Text("pending"))
	if err != nil {
		c.h.t.Fatal(err)
	}
	return made
}

// rotate is a whole rotation and the end of the claim.
func (c *claimed) rotate(string) {
	c.h.t.Helper()
	id := c.pending("")
	if err := c.Promote(c.h.t.Context(), id, false); err != nil {
		c.h.t.Fatal(err)
	}
	c.Release()
}

// shape is the labels with the ids that a rotation made up replaced by n1, n2 …
func (c *claimed) shape() string {
	var out []string
	n := 0
	for _, v := range c.h.record(c.ARN().Name).Versions {
		id := short(v.ID)
		if !strings.HasPrefix(id, "v") {
			n++
			id = fmt.Sprint("n", n)
		}
		out = append(out, fmt.Sprintf("%s%v", id, v.Labels))
	}
	return strings.Join(out, " ")
}

func (c *claimed) want(err error, shape string) {
	c.h.t.Helper()
	if got := c.shape(); err != nil || got != shape {
		c.h.t.Errorf("labels are %s, want %s (%v)", got, shape, err)
	}
}

func TestARotation(t *testing.T) {
	defaults := secrets.RotationRules{Strategy: secrets.SingleUser, CheckQuery: "SELECT 1"}
	for _, declared := range []bool{true, false} {
		t.Run(fmt.Sprint("declared ", declared), func(t *testing.T) {
			h := open(t, service.Config{DefaultRules: defaults})
			ctx := t.Context()
			h.create("s", "old")
			rules := secrets.RotationRules{Strategy: secrets.AlternatingUsers, Schedule: "rate(30 days)"}
			want := secrets.Rotation{Rules: defaults, Source: service.OnDemand, Since: h.clock.now()}
			if declared {
				h.declare(entry("s", 3, rules))
				want = secrets.Rotation{Rules: rules, Source: "file pawl.yaml:3", Enabled: true, Since: h.clock.now()}
			}
			c := claim(t, h, "s")
			if diff := cmp.Diff(want, c.Rotation()); diff != "" {
				t.Error(diff)
			}
			h.clock.add(time.Minute)
			begun := h.clock.now()
			id := c.pending("")
			c.want(secrets.ValidateVersionID(id), "v1[AWSCURRENT] n1[AWSPENDING PAWLINTENT]")
			if v, err := c.Value(ctx, id); err != nil || !v.Equal(secrets.Text("pending")) {
				t.Error("the pending value came back otherwise", err)
			}
			// Should this process die now, the scheduler finishes it.
			if sec := h.record("s"); !sec.DueAt.Equal(begun) || !sec.Changed.Equal(begun) {
				t.Errorf("due at %v, changed at %v", sec.DueAt, sec.Changed)
			}
			attempt := secrets.Attempt{Tries: 2, NextTry: begun.Add(time.Minute), LastError: "x", Kind: secrets.Transient, FailingSince: begun}
			for i := range 2 {
				writes := h.store.writes.Load()
				if err := c.Save(ctx, attempt); err != nil {
					t.Fatal(err)
				}
				if got := h.store.writes.Load() - writes; got != int64(1-i) {
					t.Errorf("%d writes at save no. %d", got, i+1)
				}
			}
			if sec := h.record("s"); sec.Rotation.Attempt != attempt || !sec.DueAt.Equal(attempt.NextTry) || !sec.Changed.Equal(begun) {
				t.Errorf("saved as %+v, due at %v", sec.Rotation.Attempt, sec.DueAt)
			}
			h.clock.add(time.Minute)
			c.want(c.Promote(ctx, id, true), "v1[AWSPREVIOUS] n1[AWSPENDING PAWLINTENT AWSCURRENT]")
			done := h.clock.now()
			if due := h.record("s").DueAt; !due.Equal(attempt.NextTry) && !due.Equal(done) {
				t.Errorf("with follow-ups open it is due at %v", due)
			}
			c.want(c.MoveLabel(ctx, secrets.Pending, ""), "v1[AWSPREVIOUS] n1[PAWLINTENT AWSCURRENT]")
			sec := h.record("s")
			if r := sec.Rotation; !r.LastRotated.Equal(done) || r.Attempt != (secrets.Attempt{}) || r.Enabled != declared || r.Source != want.Source || !sec.ValueChanged.Equal(done) {
				t.Errorf("after the rotation: %+v, value changed %v", r, sec.ValueChanged)
			}
			if sec.DueAt.IsZero() == declared {
				t.Errorf("next due at %v", sec.DueAt)
			}
			d, err := h.DescribeSecret(ctx, service.DescribeSecretInput{SecretID: "s"})
			if err != nil || !d.LastRotatedDate.Equal(done) || (d.RotationEnabled != nil) != declared {
				t.Errorf("described as %+v, %v", d, err)
			}
			if !sec.Accessed.IsZero() {
				t.Error("the rotator's reading counts as an access")
			}

			// And once more, in one call at the end.
			h.clock.add(time.Minute)
			id = c.pending("")
			c.want(c.Promote(ctx, id, false), "v1[] n1[AWSPREVIOUS] n2[PAWLINTENT AWSCURRENT]")
			c.Release()
			c.Release()
			for name, err := range map[string]error{
				"Save": c.Save(ctx, secrets.Attempt{Tries: 1}), "Promote": c.Promote(ctx, id, false), "MoveLabel": c.MoveLabel(ctx, "X", id),
				"PutPending": second(c.PutPending(ctx, "", secrets.Text("x"))), "Versions": second(c.Versions(ctx)), "Value": second(c.Value(ctx, id)),
			} {
				if secrets.KindOf(err) != secrets.Conflict {
					t.Errorf("%s after Release: %v", name, err)
				}
			}
			if next := claim(t, h, "s"); !next.Rotation().LastRotated.Equal(h.clock.now()) || !cmp.Equal(next.Rotation().Rules, want.Rules) {
				t.Errorf("claimed again with %+v", next.Rotation())
			}
		})
	}
}

func TestAClaimExcludesOthers(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "x")
	c := claim(t, h, "s")
	for _, id := range []string{"s", arn} {
		_, err := h.Claim(t.Context(), id)
		wantKind(t, err, secrets.Conflict, `secret "s"`)
	}
	c.Release()
	claim(t, h, "s").Release()
	// A refused claim holds nothing.
	if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s"}); err != nil {
		t.Fatal(err)
	}
	_, err := h.Claim(t.Context(), "s")
	wantErr(t, err, "InvalidRequestException", deletedText)
	if _, err := h.RestoreSecret(t.Context(), service.RestoreSecretInput{SecretID: "s"}); err != nil {
		t.Fatal(err)
	}
	claim(t, h, "s")
}

// Whoever was deleted between the look-up and the lock is not claimed, and the
// lock is given back.
func TestAClaimLooksAgain(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	sly := service.New(service.Config{Store: &locking{h.store, func() {
		if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s"}); err != nil {
			t.Error(err)
		}
	}}, Sealer: h.keys, Now: h.clock.now})
	_, err := sly.Claim(t.Context(), "s")
	wantErr(t, err, "InvalidRequestException", deletedText)
	if _, err := h.RestoreSecret(t.Context(), service.RestoreSecretInput{SecretID: "s"}); err != nil {
		t.Fatal(err)
	}
	claim(t, h, "s")
}

// forgetful is a store that answers Find from memory, and its claims not.
type forgetful struct {
	service.Store
	old *service.Secret
}

func (f *forgetful) Find(ctx context.Context, id secrets.ID) (*service.Secret, error) {
	if f.old != nil {
		return f.old.Clone(), nil
	}
	return f.Store.Find(ctx, id)
}

// A claimant sees at once what another process wrote, as a rotation function does
// through any of them: else Pawl says that AWSCURRENT did not move.
func TestAClaimReadsAfresh(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	f := &forgetful{Store: h.store}
	here := service.New(service.Config{Store: f, Sealer: h.keys, Now: h.clock.now})
	c, err := here.Claim(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	if _, err := c.Versions(t.Context()); err != nil { // those of the claim itself
		t.Fatal(err)
	}
	f.old = h.record("s")
	h.put("s", "y")
	vs, err := c.Versions(t.Context())
	if want := h.record("s").Versions.IDWith(secrets.Current); err != nil || vs.IDWith(secrets.Current) != want {
		t.Errorf("AWSCURRENT is %s and not %s: %v", vs.IDWith(secrets.Current), want, err)
	}
}

// What was decided from labels that somebody else has moved is not done.
func TestAClaimNoticesMovedLabels(t *testing.T) {
	for name, interfere := range map[string]func(h *house, pending string){
		"a value put by hand": func(h *house, _ string) { h.put("s", "v2") },
		"a rollback": func(h *house, pending string) {
			h.move("s", secrets.Current, tok("v1"), tok("v0"))
		},
		"pending taken off":     func(h *house, pending string) { h.move("s", secrets.Pending, "", pending) },
		"pending put elsewhere": func(h *house, _ string) { h.put("s", "v2", secrets.Pending) },
		"deleted for good": func(h *house, _ string) {
			if _, err := h.DeleteSecret(h.t.Context(), service.DeleteSecretInput{SecretID: "s", ForceDeleteWithoutRecovery: true}); err != nil {
				h.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := open(t, service.Config{})
			ctx := t.Context()
			h.create("s", "x")
			h.put("s", "v0")
			c := claim(t, h, "s")
			pending := c.pending("")
			interfere(h, pending)
			for call, err := range map[string]error{
				"Promote": c.Promote(ctx, pending, false), "MoveLabel": c.MoveLabel(ctx, secrets.Intent, pending),
				"PutPending": second(c.PutPending(ctx, "", secrets.Text("x"))),
			} {
				if secrets.KindOf(err) != secrets.Conflict || !strings.Contains(err.Error(), `"s"`) {
					t.Errorf("%s: %v", call, err)
				}
			}
			vs, err := c.Versions(ctx)
			if name == "deleted for good" {
				wantKind(t, err, secrets.Conflict, "deleted")
				wantKind(t, c.Save(ctx, secrets.Attempt{Tries: 1}), secrets.Conflict, "deleted")
				_, err := c.Value(ctx, pending)
				wantKind(t, err, secrets.Conflict, "deleted")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Save(ctx, secrets.Attempt{Tries: 1}); err != nil {
				t.Errorf("the attempt record minds labels: %v", err)
			}
			// Having looked again, it goes on.
			if err := c.MoveLabel(ctx, secrets.Intent, vs.IDWith(secrets.Current)); err != nil {
				t.Error(err)
			}
		})
	}
}

func (h *house) move(name, label, to, from string) {
	h.t.Helper()
	if _, err := h.UpdateSecretVersionStage(h.t.Context(), service.UpdateSecretVersionStageInput{SecretID: name, VersionStage: label, MoveToVersionID: to, RemoveFromVersionID: from}); err != nil {
		h.t.Fatal(err)
	}
}

func TestPutPendingFillsTheVersionAskedFor(t *testing.T) {
	h := open(t, service.Config{})
	ctx := t.Context()
	h.create("s", "x")
	h.emptyVersion("s", "v2", secrets.Pending)
	c := claim(t, h, "s")
	if v, err := c.Value(ctx, tok("v2")); err != nil || !v.IsZero() {
		t.Errorf("an empty version has a value: %v", err)
	}
	if id := c.pending(tok("v2")); id != tok("v2") {
		t.Errorf("made %s", id)
	}
	c.want(nil, "v1[AWSCURRENT] v2[AWSPENDING PAWLINTENT]")
	if h.value("s", "v2") != "pending" {
		t.Error("the value was not stored")
	}
	_, err := c.PutPending(ctx, tok("v9"), secrets.Text("x"))
	wantKind(t, err, secrets.Conflict, "is gone")
	_, err = c.PutPending(ctx, "", secrets.Text(""))
	wantKind(t, err, secrets.Invalid, `secret "s": the secret value is empty`)
	if err := c.Promote(ctx, tok("v9"), false); secrets.KindOf(err) != secrets.Conflict {
		t.Errorf("promoted what is not there: %v", err)
	}
	if err := c.MoveLabel(ctx, "X", tok("v9")); secrets.KindOf(err) != secrets.Conflict {
		t.Errorf("moved to what is not there: %v", err)
	}
	_, err = c.Value(ctx, tok("v9"))
	wantKind(t, err, secrets.Conflict, "is gone")
}

// Somebody else's value in the version asked for stays as it is, and is not
// taken for one of the claimant's.
func TestPutPendingFindsItFilled(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	h.emptyVersion("s", "v2", secrets.Pending)
	c := claim(t, h, "s")
	h.put("s", "v2", secrets.Pending)
	_, err := c.PutPending(t.Context(), tok("v2"), secrets.Text("pending"))
	wantKind(t, err, secrets.Conflict, "filled by somebody else")
	c.want(nil, "v1[AWSCURRENT] v2[AWSPENDING]")
	if got := h.value("s", "v2"); got != "value of v2" {
		t.Error("the other's value was overwritten")
	}
}

func TestPutPendingPrunes(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	for i := 2; i <= 100; i++ {
		h.put("s", fmt.Sprint("v", i))
	}
	h.clock.add(24 * time.Hour)
	c := claim(t, h, "s")
	c.pending("")
	if got := len(h.record("s").Versions); got != 100 {
		t.Errorf("%d versions are left", got)
	}
}

// A secret marked for deletion gets no new value, but a change that a server
// has heard of is carried through: it may be restored.
func TestMarkedForDeletionWhileRotating(t *testing.T) {
	h := open(t, service.Config{})
	ctx := t.Context()
	h.create("s", "x")
	c := claim(t, h, "s")
	id := c.pending("")
	if _, err := h.DeleteSecret(ctx, service.DeleteSecretInput{SecretID: "s"}); err != nil {
		t.Fatal(err)
	}
	_, err := c.PutPending(ctx, "", secrets.Text("x"))
	wantKind(t, err, secrets.Conflict, "marked for deletion")
	c.want(c.Promote(ctx, id, false), "v1[AWSPREVIOUS] n1[PAWLINTENT AWSCURRENT]")
	if due := h.record("s").DueAt; !due.IsZero() {
		t.Errorf("due at %v", due)
	}
}

// A value put by hand while rotations fail clears their record, and leaves it
// to the labels what is to be done about the server.
func TestAValueByHandClearsTheAttempt(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	h.declare(entry("s", 1, secrets.RotationRules{Schedule: daily}))
	c := claim(t, h, "s")
	c.pending("")
	if err := c.Save(t.Context(), secrets.Attempt{Tries: 5, NextTry: h.clock.now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	c.Release()
	h.clock.add(time.Second)
	h.put("s", "v2", "MINE")
	if sec := h.record("s"); sec.Rotation.Attempt.Tries != 5 || !sec.DueAt.After(h.clock.now()) {
		t.Errorf("a label of a person's own changed the attempt: %+v", sec.Rotation.Attempt)
	}
	h.put("s", "v3")
	sec := h.record("s")
	if sec.Rotation.Attempt != (secrets.Attempt{}) || !sec.DueAt.Equal(h.clock.now()) || !sec.Versions.Unfinished() {
		t.Errorf("got %+v, due at %v", sec.Rotation.Attempt, sec.DueAt)
	}
}

// A rotation that another tool left on a secret that Pawl does not rotate is
// none of its business.
func TestAPendingVersionAlone(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	h.put("s", "v2", secrets.Pending)
	if due := h.record("s").DueAt; !due.IsZero() {
		t.Errorf("due at %v", due)
	}
	if len(h.statuses()) != 0 {
		t.Error("it is shown as rotating")
	}
}

func TestARotationPrintsAsJSONWithoutValues(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "hunter2topsecret")
	c := claim(t, h, "s")
	c.pending("")
	for name, r := range h.statuses() {
		b, err := json.Marshal(r)
		if err != nil || strings.Contains(string(b)+fmt.Sprintf("%+v", r), "hunter2") {
			t.Errorf("%s: %s, %v", name, b, err)
		}
	}
}
