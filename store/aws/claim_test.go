package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/scheduler"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var (
	_ rotator.Vault   = (*Claim)(nil)
	_ scheduler.Claim = (*Claim)(nil)
)

func (w *world) claim(id string) *Claim {
	w.t.Helper()
	return claimOf(w.t, w.Store, id)
}

func claimOf(t testing.TB, s *Store, id string) *Claim {
	t.Helper()
	c, err := s.Claim(context.Background(), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Release)
	return c
}

func val(s string) secrets.Value { return secrets.Text(s + canary) }

// labelled renders where the labels that a rotation goes by are.
func labelled(vs secrets.Versions) string {
	var out []string
	for _, l := range []string{secrets.Current, secrets.Previous, secrets.Pending, secrets.Intent} {
		if id := vs.IDWith(l); id != "" {
			out = append(out, fmt.Sprintf("%s=%s", strings.TrimPrefix(l, "AWS"), strings.TrimRight(id, ".")))
		}
	}
	return strings.Join(out, " ")
}

// TestCleanCalls: what a clean rotation asks of the vault costs five requests.
func TestCleanCalls(t *testing.T) {
	w := newWorld(t)
	arn := w.create("s", `{"password":"old`+canary+`"}`)
	for round, id := range []string{"s", arn} {
		before := w.holder("s", secrets.Current)
		w.proxy.counted()
		c := w.claim(id)
		vs, err := c.Versions(t.Context())
		if err != nil || vs.IDWith(secrets.Current) != before {
			t.Fatalf("%v, %v", vs, err)
		}
		for range 2 {
			if v, err := c.Value(t.Context(), before); err != nil || v.Len() == 0 {
				t.Fatalf("%v, %v", v, err)
			}
		}
		made, err := c.PutPending(t.Context(), "", val(fmt.Sprint("new", round)))
		if err != nil || made != derivedID(c.ARN(), before, 0) {
			t.Fatalf("%s, %v", made, err)
		}
		if v, err := c.Value(t.Context(), made); err != nil || !v.Equal(val(fmt.Sprint("new", round))) {
			t.Fatalf("%v, %v", v, err)
		}
		if got, want := labelled(w.versions("s")), fmt.Sprintf("PENDING=%s PAWLINTENT=%s", made, made); !strings.HasSuffix(got, want) {
			t.Errorf("%s, want …%s", got, want)
		}
		if err := c.Promote(t.Context(), made, false); err != nil {
			t.Fatal(err)
		}
		c.Release()
		c.Release()
		want := []string{opDescribe, opValue, opPut, opStage, opStage}
		if got := w.proxy.counted(); !slices.Equal(got, want) {
			t.Errorf("round %d: the requests are %v, want %v", round, got, want)
		}
		if got, want := labelled(w.versions("s")), fmt.Sprintf("CURRENT=%s PREVIOUS=%s PAWLINTENT=%s", made, strings.TrimRight(before, "."), made); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestClaimRefuses(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.create("s", "x")
	w.create("gone", "x")
	w.remove("gone", false)
	held := w.claim("s")
	_, err := w.Claim(ctx, held.ARN().String())
	wantKind(t, err, secrets.Conflict, `secret "s"`, "rotating it already")
	held.Release()
	if _, err := held.Versions(ctx); err == nil {
		t.Error("a released claim reads")
	}
	wantKind(t, held.MoveLabel(ctx, secrets.Pending, tok("v1")), secrets.Conflict, "released")
	w.claim("s").Release()

	_, err = w.Claim(ctx, "nowhere")
	if wantKind(t, err, secrets.Invalid, `secret "nowhere"`, "can't find the specified secret", "pawl secret list"); secrets.CodeOf(err) != resourceNotFound {
		t.Errorf("code %s", secrets.CodeOf(err))
	}
	_, err = w.Claim(ctx, "gone")
	wantKind(t, err, secrets.Invalid, "marked for deletion", "restore")
	_, err = w.Claim(ctx, "bad name")
	wantKind(t, err, secrets.Invalid)
	_, err = w.ClaimVersion(ctx, "s", "short", "")
	wantKind(t, err, secrets.Invalid, "version id")

	// A failed claim is no claim.
	w.proxy.on(opDescribe, 99, throttles)
	_, err = w.Claim(ctx, "s")
	wantKind(t, err, secrets.Transient, "Rate exceeded")
	w.proxy.mend()
	w.claim("s").Release()

	// What AWS rotates is left alone, but for a step of that very rotation.
	if _, err := w.own.RotateSecret(ctx, service.RotateSecretInput{
		SecretID: "s", ClientRequestToken: tok("r1"), RotateImmediately: new(bool),
		RotationLambdaARN: "arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user", RotationRules: &service.RotationRules{AutomaticallyAfterDays: 30},
	}); err != nil {
		t.Fatal(err)
	}
	_, err = w.Claim(ctx, "s")
	wantKind(t, err, secrets.Invalid, "AWS rotates it")
	c, err := w.ClaimVersion(ctx, "s", tok("r2"), "")
	if err != nil {
		t.Fatal(err)
	}
	if enabled, configured := c.Enabled(); !enabled || !configured {
		t.Error("rotation is not enabled")
	}
	c.Release()
}

// TestFaults: whatever happens between this process and AWS, a write is done, or
// its error says rightly that it was not, or that nobody knows.
func TestFaults(t *testing.T) {
	w := newWorld(t)
	faults := []struct {
		name string
		do   fault
		done bool         // it takes effect
		kind secrets.Kind // of the error, where it never ends and the labels can't be read
	}{
		{"throttled", throttles, false, secrets.Transient},
		{"HTTP 500", fails, false, secrets.Unknown},
		{"cut", cuts, false, secrets.Unknown},
		{"answer lost", loses, true, secrets.Unknown},
		{"HTTP 500 after it was done", failsAfter, true, secrets.Unknown},
		{"delivered twice", doubles, true, secrets.Unknown},
	}
	writes := []struct {
		name, operation string
		read            string // by what it finds out
		do              func(context.Context, *Claim) error
		done            func(id string, w *world, name string) bool
	}{
		{"PutPending", opPut, opValue, func(ctx context.Context, c *Claim) error {
			_, err := c.PutPending(ctx, "", val("new"))
			return err
		}, func(id string, w *world, name string) bool {
			return w.holder(name, secrets.Pending) == id && w.holder(name, secrets.Intent) == id && w.value(name, id) == "new"+canary
		}},
		{"MoveLabel to", opStage, opDescribe, func(ctx context.Context, c *Claim) error {
			return c.MoveLabel(ctx, secrets.Intent, tok("v2"))
		}, func(_ string, w *world, name string) bool { return w.holder(name, secrets.Intent) == tok("v2") }},
		{"MoveLabel off", opStage, opDescribe, func(ctx context.Context, c *Claim) error {
			return c.MoveLabel(ctx, secrets.Pending, "")
		}, func(_ string, w *world, name string) bool { return w.holder(name, secrets.Pending) == "" }},
		{"Promote", opStage, opDescribe, func(ctx context.Context, c *Claim) error {
			return c.Promote(ctx, tok("v2"), true)
		}, func(_ string, w *world, name string) bool { return w.holder(name, secrets.Current) == tok("v2") }},
	}
	n := 0
	for _, f := range faults {
		for _, wr := range writes {
			for _, times := range []int{1, maxAttempts, 99} {
				t.Run(fmt.Sprintf("%s/%s/%d", f.name, wr.name, times), func(t *testing.T) {
					n++
					name := fmt.Sprint("s", n)
					w.create(name, "old"+canary)
					w.put(name, "v2", "pending"+canary, secrets.Pending)
					c := claimOf(t, w.Store, name)
					id := derivedID(c.ARN(), tok("v1"), 0)
					w.proxy.on(wr.operation, times, f.do)
					if times == 99 {
						w.proxy.on(wr.read, 99, cuts)
						w.proxy.on(opDescribe, 99, cuts)
					}
					err := wr.do(t.Context(), c)
					w.proxy.mend()
					done := wr.done(id, w, name)
					switch {
					case times == 99 && f.name == "delivered twice" && wr.name == "MoveLabel off":
						// The second time it was off already, by whomever.
						if wantKind(t, err, secrets.Unknown); !done {
							t.Error("it was not done")
						}
					case times == 1, f.name == "delivered twice":
						if err != nil || !done {
							t.Errorf("done %v, %v", done, err)
						}
					case times == maxAttempts && f.done:
						if err != nil || !done {
							t.Errorf("done %v, %v", done, err)
						}
					case times == maxAttempts:
						if wantKind(t, err, secrets.Transient); done {
							t.Error("it was done")
						}
					default:
						if wantKind(t, err, f.kind); done != f.done {
							t.Errorf("done %v", done)
						}
					}
					if err != nil && !strings.Contains(err.Error(), name) {
						t.Errorf("the error does not name the secret: %v", err)
					}
					if err != nil { // and the same again, on a good day
						c.Release()
						c = claimOf(t, w.Store, name)
						if err := wr.do(t.Context(), c); err != nil || !wr.done(id, w, name) {
							// A put that was done made AWSPENDING and the Intent be there:
							// the same value again is one more.
							if wr.operation != opPut || w.holder(name, secrets.Pending) != derivedID(c.ARN(), tok("v1"), 1) {
								t.Errorf("again: %v, %s", err, labelled(w.versions(name)))
							}
						}
					}
					c.Release()
				})
			}
		}
	}
}

// TestPromoteIsTwoMoves: what happens in between and before is told apart.
func TestPromoteIsTwoMoves(t *testing.T) {
	w := newWorld(t)
	n := 0
	for _, c := range []struct {
		name    string
		meddle  func(name, id string) // right before the first move
		between func(name, id string) // right after it
		kind    secrets.Kind
		givenUp bool
		labels  string // afterwards
	}{
		{name: "nothing", labels: "CURRENT=new PREVIOUS=v1 PAWLINTENT=new"},
		{"another rotator promoted it too", func(name, id string) {
			w.stage(name, secrets.Current, id)
			w.stage(name, secrets.Pending, "")
		}, nil, secrets.Conflict, true, "CURRENT=new PREVIOUS=v1 PAWLINTENT=new"},
		{"another rotator is promoting it", func(name, id string) { w.stage(name, secrets.Current, id) },
			nil, 0, false, "CURRENT=new PREVIOUS=v1 PAWLINTENT=new"},
		{"another rotator gave it up, before", func(name, _ string) { w.stage(name, secrets.Pending, "") },
			nil, secrets.Conflict, true, "CURRENT=new PREVIOUS=v1 PAWLINTENT=new"},
		{"another rotator gave it up, between", nil, func(name, _ string) {
			w.stage(name, secrets.Pending, "")
			w.stage(name, secrets.Intent, tok("v1"))
		}, secrets.Conflict, true, "CURRENT=new PREVIOUS=v1 PAWLINTENT=v1"},
		{"a person put a value, before", func(name, _ string) { w.put(name, "hand", "x") },
			nil, secrets.Conflict, false, "CURRENT=hand PREVIOUS=v1 PAWLINTENT=new"},
		{"a person put a value, between", nil, func(name, _ string) { w.put(name, "hand", "x") },
			secrets.Conflict, false, "CURRENT=hand PREVIOUS=new PAWLINTENT=new"},
		{"a person began another, between", nil, func(name, _ string) { w.put(name, "hand", "x", secrets.Pending) },
			secrets.Conflict, false, "CURRENT=new PREVIOUS=v1 PENDING=hand PAWLINTENT=new"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n++
			name := fmt.Sprint("s", n)
			w.create(name, "old")
			claim := claimOf(t, w.Store, name)
			id, err := claim.PutPending(t.Context(), "", val("new"))
			if err != nil {
				t.Fatal(err)
			}
			if c.meddle != nil {
				w.proxy.on(opStage, 1, first(func() { c.meddle(name, id) }))
			}
			if c.between != nil {
				w.proxy.on(opStage, 1, after(func() { c.between(name, id) }))
			}
			err = claim.Promote(t.Context(), id, false)
			w.proxy.mend()
			if c.kind == secrets.Unknown {
				if err != nil {
					t.Error(err)
				}
			} else if wantKind(t, err, c.kind); errors.Is(err, rotator.ErrGivenUp) != c.givenUp {
				t.Errorf("%v: given up? %v", err, !c.givenUp)
			}
			if got := strings.ReplaceAll(labelled(w.versions(name)), id, "new"); got != c.labels {
				t.Errorf("%s, want %s", got, c.labels)
			}
			// The claim knows what is there.
			if got := strings.ReplaceAll(labelled(claim.labels()), id, "new"); got != c.labels {
				t.Errorf("it believes %s, want %s", got, c.labels)
			}
		})
	}

	// A version that was not pending as far as the claim has seen: nothing moves.
	w.create("idle", "old")
	w.put("idle", "v2", "x", "other")
	claim := w.claim("idle")
	w.proxy.counted()
	wantKind(t, claim.Promote(t.Context(), tok("v2"), false), secrets.Conflict, "moved by somebody else")
	if got := w.proxy.counted(); len(got) != 0 {
		t.Errorf("asked for %v", got)
	}
}

// TestPutPendingMeetsAnother: what is there already under a derived id.
func TestPutPendingMeetsAnother(t *testing.T) {
	w := newWorld(t)
	n := 0
	for _, c := range []struct {
		name    string
		earlier func(name, id string) // before the claim
		meddle  func(name, id string) // right before the put
		n       int                   // of the id that it comes to
		ours    bool                  // and the value is this claim's
		refused bool                  // Conflict instead
	}{
		{"nothing", nil, nil, 0, true, false},
		{"another rotator's", nil, func(name, id string) { w.put(name, id, "theirs", secrets.Pending, Intent) }, 0, false, false},
		{"another rotator's, and then a person's", nil, func(name, id string) {
			w.put(name, id, "theirs", secrets.Pending, Intent)
			w.put(name, "hand", "x", secrets.Pending)
		}, 0, false, true},
		{"a person's under that very id", nil, func(name, id string) { w.put(name, id, "theirs", secrets.Pending) }, 0, false, true},
		{"another rotator's, promoted", nil, func(name, id string) {
			w.put(name, id, "theirs", secrets.Pending, Intent)
			w.stage(name, secrets.Current, id)
		}, 0, false, true},
		{"given up earlier", func(name, id string) {
			w.put(name, id, "theirs", secrets.Pending, Intent)
			w.stage(name, secrets.Pending, "")
			w.stage(name, secrets.Intent, tok("v1"))
		}, nil, 1, true, false},
		{"given up meanwhile", nil, func(name, id string) {
			w.put(name, id, "theirs", secrets.Pending, Intent)
			w.stage(name, secrets.Pending, "")
			w.stage(name, secrets.Intent, tok("v1"))
		}, 1, true, false},
		{"promoted once, and rolled back by hand", func(name, id string) {
			w.put(name, id, "theirs", secrets.Pending, Intent)
			w.stage(name, secrets.Current, id)
			w.stage(name, secrets.Pending, "")
			w.stage(name, secrets.Current, tok("v1"))
		}, nil, 1, true, false},
		{"the same value, as one that is carried over is, given up meanwhile", nil, func(name, id string) {
			w.put(name, id, string(val("ours").Reveal()), secrets.Pending, Intent)
			w.stage(name, secrets.Pending, "")
			w.stage(name, secrets.Intent, tok("v1"))
		}, 1, true, false},
		{"the same value, promoted meanwhile", nil, func(name, id string) {
			w.put(name, id, string(val("ours").Reveal()), secrets.Pending, Intent)
			w.stage(name, secrets.Current, id)
			w.stage(name, secrets.Pending, "")
		}, 0, false, true},
		{"the same value, and the labels too", nil, func(name, id string) { w.put(name, id, string(val("ours").Reveal()), secrets.Pending, Intent) }, 0, true, false},
		{"pending already, and looked at", func(name, id string) {
			w.put(name, id, "theirs", secrets.Pending, Intent)
		}, nil, 1, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			n++
			name := fmt.Sprint("s", n)
			w.create(name, "old")
			arn := func() string {
				out, err := w.own.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: name})
				if err != nil {
					t.Fatal(err)
				}
				return out.ARN
			}()
			var parsed secrets.ARN
			if err := parsed.UnmarshalText([]byte(arn)); err != nil {
				t.Fatal(err)
			}
			zero := derivedID(parsed, tok("v1"), 0)
			if c.earlier != nil {
				c.earlier(name, zero)
			}
			claim := claimOf(t, w.Store, name)
			if c.meddle != nil {
				w.proxy.on(opPut, 1, first(func() { c.meddle(name, zero) }))
			}
			id, err := claim.PutPending(t.Context(), "", val("ours"))
			w.proxy.mend()
			if c.refused {
				wantKind(t, err, secrets.Conflict, "meanwhile")
				if got, want := labelled(claim.labels()), labelled(w.versions(name)); got != want {
					t.Errorf("it believes %s, and there is %s", got, want)
				}
				return
			}
			if err != nil || id != derivedID(parsed, tok("v1"), c.n) {
				t.Fatalf("%s, %v", id, err)
			}
			v, err := claim.Value(t.Context(), id)
			if err != nil || v.Equal(val("ours")) != c.ours || w.value(name, id) != string(v.Reveal()) {
				t.Errorf("ours: %v, %v", v.Equal(val("ours")), err)
			}
			if got := w.versions(name); got.IDWith(secrets.Pending) != id || got.IDWith(secrets.Intent) != id || labelled(got) != labelled(claim.labels()) {
				t.Errorf("%s, and it believes %s", labelled(got), labelled(claim.labels()))
			}
		})
	}
}

// TestGivenUpAgainAndAgain: each value that is given up raises the number, also
// for who did not see it; and there is an end.
func TestGivenUpAgainAndAgain(t *testing.T) {
	w := newWorld(t)
	w.create("s", "old")
	c := w.claim("s")
	giveUp := func(c *Claim, n int) {
		t.Helper()
		id, err := c.PutPending(t.Context(), "", val(fmt.Sprint(n)))
		if err != nil || id != derivedID(c.ARN(), tok("v1"), n) {
			t.Fatalf("%d: %s, %v", n, id, err)
		}
		for label, to := range map[string]string{secrets.Pending: "", secrets.Intent: tok("v1")} {
			if err := c.MoveLabel(t.Context(), label, to); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.proxy.counted()
	for n := range 3 {
		giveUp(c, n)
	}
	if got := w.proxy.counted(); len(got) != 9 {
		t.Errorf("a claim does not remember its own: %v", got)
	}
	c.Release()
	c = w.claim("s")
	giveUp(c, 3)
	c.Release()
	c = w.claim("s")
	arn := c.ARN()
	for n := 4; n < secrets.MaxVersions-1; n++ {
		w.put("s", derivedID(arn, tok("v1"), n), "x", "given-up")
	}
	_, err := c.PutPending(t.Context(), "", val("x"))
	wantKind(t, err, secrets.Invalid, "about 100 versions made within a day")
	w.clock.Advance(25 * time.Hour)
	if id, err := c.PutPending(t.Context(), "", val("x")); err != nil || id != derivedID(arn, tok("v1"), secrets.MaxVersions-1) {
		t.Errorf("%s, %v", id, err)
	}
	c.Release()
	w.put("s", "v2", "the same again")
	giveUpNone := w.claim("s")
	if id, err := giveUpNone.PutPending(t.Context(), "", val("x")); err != nil || id != derivedID(c.ARN(), tok("v2"), 0) {
		t.Errorf("%s, %v", id, err)
	}
}

// TestRace: two processes rotate one secret at one time, many times. Both end
// with one value, whoever was first.
func TestRace(t *testing.T) {
	w := newWorld(t)
	w.create("s", "old")
	stores := []*Store{w.Store, w.another()}
	for round := range 15 {
		before := w.holder("s", secrets.Current)
		var wg sync.WaitGroup
		ids, values, errs := make([]string, 2), make([]secrets.Value, 2), make([]error, 2)
		start := make(chan struct{})
		for i, s := range stores {
			c, err := s.Claim(t.Context(), "s") // before either begins: else the two may rotate one after the other
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				defer c.Release()
				<-start
				ids[i], values[i], errs[i] = race(c, val(fmt.Sprint(round, i)))
			})
		}
		close(start)
		wg.Wait()
		vs := w.versions("s")
		current := vs.IDWith(secrets.Current)
		if vs.IDWith(secrets.Pending) != "" || vs.IDWith(secrets.Previous) != before || vs.IDWith(secrets.Intent) != current || w.value("s", current) == "" {
			t.Fatalf("round %d: %s, %v", round, labelled(vs), errs)
		}
		won := 0
		for i, err := range errs {
			switch {
			case err == nil || errors.Is(err, rotator.ErrGivenUp):
				if ids[i] != current || string(values[i].Reveal()) != w.value("s", current) {
					t.Fatalf("round %d: %d has %s, current is %s", round, i, ids[i], current)
				}
				won++
			case secrets.KindOf(err) != secrets.Conflict:
				t.Fatalf("round %d: %v", round, err)
			}
		}
		if won == 0 {
			t.Fatalf("round %d: nobody won: %v", round, errs)
		}
	}
}

func race(c *Claim, mine secrets.Value) (id string, v secrets.Value, err error) {
	ctx := context.Background()
	if id, err = c.PutPending(ctx, "", mine); err != nil {
		return "", v, err
	}
	if v, err = c.Value(ctx, id); err != nil {
		return id, v, err
	}
	return id, v, c.Promote(ctx, id, false)
}
