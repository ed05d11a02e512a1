package rotator_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

// TestTable walks every row of the table in docs/architecture.md.
func TestTable(t *testing.T) {
	const empty = "version-of-somebody-who-asked-for-it"
	tests := []struct {
		name    string
		arrange func(w *world)
		want    rotator.Outcome
		// user and password of AWSCURRENT afterwards; "*" = a new one
		user, pw string
		failed   int // logins refused on the way
		sets     int // passwords changed
	}{
		{"at rest, never rotated", func(*world) {}, rotator.Rotated, "app", "*", 0, 1},
		{"at rest, rotated before", func(w *world) { w.rotate(rotator.Options{}); w.sets = 0 }, rotator.Rotated, "app", "*", 0, 1},
		{"at rest, a person has put a newer value since", func(w *world) {
			w.rotate(rotator.Options{})
			w.server["app"], w.sets = "by-hand", 0
			w.personPuts("app:by-hand")
		}, rotator.Rotated, "app", "*", 0, 1},
		{"asked for, not created", func(w *world) {
			w.versions, _ = w.versions.Put(secrets.Version{ID: empty, Empty: true}, []string{secrets.Pending})
		}, rotator.Rotated, "app", "*", 0, 1},
		{"between create and set", func(w *world) {
			w.personPuts("app:next", secrets.Pending, secrets.Intent)
		}, rotator.Resumed, "app", "next", 1, 1},
		{"between set and promotion", func(w *world) {
			w.personPuts("app:next", secrets.Pending, secrets.Intent)
			w.server["app"] = "next"
		}, rotator.Resumed, "app", "next", 0, 0},
		{"abandoned before set", func(w *world) {
			w.personPuts("app:lost", secrets.Pending, secrets.Intent)
			w.personPuts("app:pw0")
		}, rotator.Rotated, "app", "*", 0, 1},
		{"abandoned after set", func(w *world) {
			w.personPuts("app:lost", secrets.Pending, secrets.Intent)
			w.server["app"] = "lost"
			w.personPuts("app:pw0")
		}, rotator.Rotated, "app", "*", 1, 2},
		{"another tool's pending value, not set", func(w *world) {
			w.personPuts("app:theirs", secrets.Pending)
		}, rotator.Resumed, "app", "theirs", 1, 1},
		{"another tool's pending value, set", func(w *world) {
			w.personPuts("app:theirs", secrets.Pending)
			w.server["app"] = "theirs"
		}, rotator.Resumed, "app", "theirs", 1, 0},
		{"abandoned after set, and another tool's pending value", func(w *world) {
			w.personPuts("app:lost", secrets.Pending, secrets.Intent)
			w.server["app"] = "lost"
			w.personPuts("app:theirs", secrets.Pending)
		}, rotator.Resumed, "app", "theirs", 2, 2},
		{"promoted, follow-ups open", func(w *world) {
			id := w.personPuts("app:next", secrets.Pending, secrets.Intent)
			w.server["app"] = "next"
			w.versions, _ = w.versions.Move(secrets.Current, id)
		}, rotator.Resumed, "app", "next", 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(false)
			tt.arrange(w)
			_, before := w.current()
			res, err := w.rotate(rotator.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if res.Outcome != tt.want {
				t.Errorf("outcome %q, want %q", res.Outcome, tt.want)
			}
			if b := w.broken(); b != "" {
				t.Error(b)
			}
			user, pw := w.current()
			if user != tt.user || tt.pw != "*" && pw != tt.pw || tt.pw == "*" && pw == before {
				t.Errorf("AWSCURRENT is %s:%s, want %s:%s", user, pw, tt.user, tt.pw)
			}
			if w.failed != tt.failed || w.sets != tt.sets {
				t.Errorf("%d refused logins and %d changes, want %d and %d", w.failed, w.sets, tt.failed, tt.sets)
			}
			if v, _ := w.versions.Find(empty); tt.name == "asked for, not created" && !v.Has(secrets.Current) {
				t.Error("the version that was asked for is not the one that was made")
			}
		})
	}
}

// scenario is a way for a rotation to go.
type scenario struct {
	name    string
	arrange func(w *world)
	// during happens between the crash and the restart
	during func(w *world)
}

var scenarios = []scenario{
	{"clean", func(*world) {}, nil},
	{"resumed", func(w *world) { w.personPuts("app:next", secrets.Pending, secrets.Intent) }, nil},
	{"abandoned", func(w *world) {
		w.personPuts("app:lost", secrets.Pending, secrets.Intent)
		w.server["app"] = "lost"
		w.personPuts("app:pw0")
	}, nil},
	{"test fails", func(w *world) { w.badTest = true }, func(w *world) { w.badTest = false }},
	{"test fails for good", func(w *world) { w.badTest = true }, nil},
	{"further host lags", func(w *world) { w.lagging = true }, func(w *world) { w.lagging = false }},
	{"password refused", func(w *world) { w.refuseAll = true }, func(w *world) { w.refuseAll = false }},
	{"old password refused by history", func(w *world) { w.badTest, w.refuse["pw0"] = true, true }, func(w *world) { w.badTest = false }},
	{"a person stores the same value again", func(*world) {}, func(w *world) {
		w.personPuts(w.values[w.versions.IDWith(secrets.Current)])
	}},
}

// TestDeathAtEveryInstant kills the process at each of its calls to the store
// and the server, before and after the call's effect, and lets another one go
// on: in the end the secret is at rest and AWSCURRENT logs in.
func TestDeathAtEveryInstant(t *testing.T) {
	for _, alternating := range []bool{false, true} {
		for _, sc := range scenarios {
			for _, after := range []bool{false, true} {
				name := fmt.Sprintf("alternating=%v/%s/after=%v", alternating, sc.name, after)
				t.Run(name, func(t *testing.T) {
					for n := 1; ; n++ {
						w := newWorld(alternating)
						sc.arrange(w)
						w.fuse, w.after = n, after
						w.rotate(rotator.Options{})
						if !w.dead {
							if n < 5 {
								t.Fatalf("the run made only %d calls", n)
							}
							break // the run ended before its fuse: every instant was tried
						}
						w.restart()
						if sc.during != nil {
							sc.during(w)
						}
						// One more run settles it; what it rotates beyond that is no harm.
						_, err := w.rotate(rotator.Options{})
						if b := w.broken(); b != "" {
							t.Fatalf("died at call %d: %s (then: %v)", n, b, err)
						}
					}
				})
			}
		}
	}
}

// TestAnyHistory lets processes die, persons put values and tests fail in any
// order.
func TestAnyHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.Bool().Draw(t, "alternating"))
		for range rapid.IntRange(1, 12).Draw(t, "events") {
			switch rapid.IntRange(0, 3).Draw(t, "event") {
			case 0, 1:
				w.fuse, w.after = rapid.IntRange(1, 25).Draw(t, "fuse"), rapid.Bool().Draw(t, "after")
				w.badTest = rapid.IntRange(0, 3).Draw(t, "bad test") == 0
				w.rotate(rotator.Options{ResumeOnly: rapid.Bool().Draw(t, "resume only")})
				w.restart()
				w.badTest = false
			case 2: // edits another field: the same login under a new version
				w.personPuts(w.values[w.versions.IDWith(secrets.Current)])
			case 3:
				w.alternating = rapid.Bool().Draw(t, "alternating")
			}
		}
		if _, err := w.rotate(rotator.Options{ResumeOnly: true}); err != nil {
			t.Fatalf("recovery: %v", err)
		}
		if b := w.broken(); b != "" {
			t.Fatal(b)
		}
	})
}

func TestCleanRotationNeverFailsALogin(t *testing.T) {
	for _, alternating := range []bool{false, true} {
		w := newWorld(alternating)
		for range 50 {
			if _, err := w.rotate(rotator.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		if w.failed != 0 || w.rotated != 50 {
			t.Errorf("alternating=%v: %d refused logins in %d rotations", alternating, w.failed, w.rotated)
		}
	}
}

func TestFailedTest(t *testing.T) {
	t.Run("undo", func(t *testing.T) {
		w := newWorld(false)
		w.badTest = true
		_, err := w.rotate(rotator.Options{})
		if secrets.KindOf(err) != secrets.Denied || !strings.Contains(err.Error(), "testSecret") {
			t.Errorf("error %v", err)
		}
		if user, pw := w.current(); user != "app" || pw != "pw0" || w.broken() != "" {
			t.Errorf("AWSCURRENT is %s:%s; %s", user, pw, w.broken())
		}
	})
	t.Run("old password refused", func(t *testing.T) {
		w := newWorld(false)
		w.badTest, w.refuse["pw0"] = true, true
		if _, err := w.rotate(rotator.Options{}); err != nil {
			t.Errorf("promotion was the way out, got %v", err)
		}
		if _, pw := w.current(); pw == "pw0" || w.broken() != "" {
			t.Errorf("AWSCURRENT still holds the dead password; %s", w.broken())
		}
	})
	t.Run("a further host lags, single user", func(t *testing.T) {
		w := newWorld(false)
		w.lagging = true
		if _, err := w.rotate(rotator.Options{}); secrets.KindOf(err) != secrets.Transient {
			t.Errorf("error %v", err)
		}
		if _, pw := w.current(); pw != "pw0" || w.broken() != "" {
			t.Errorf("not undone: %s", w.broken())
		}
	})
	t.Run("a further host lags, alternating users", func(t *testing.T) {
		w := newWorld(true)
		w.lagging = true
		if _, err := w.rotate(rotator.Options{}); secrets.KindOf(err) != secrets.Transient {
			t.Errorf("error %v", err)
		}
		if w.versions.IDWith(secrets.Pending) == "" {
			t.Error("the pending value should wait for the host")
		}
		w.lagging = false
		res, err := w.rotate(rotator.Options{})
		if err != nil || res.Outcome != rotator.Resumed || w.broken() != "" {
			t.Errorf("%v %v %s", res, err, w.broken())
		}
	})
}

func TestRefusedPasswords(t *testing.T) {
	w := newWorld(false)
	w.refuseAll = true
	_, err := w.rotate(rotator.Options{})
	if secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), "3 generated passwords") {
		t.Errorf("error %v", err)
	}
	if _, pw := w.current(); pw != "pw0" || w.broken() != "" {
		t.Error("changed:", w.broken())
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	for _, sc := range scenarios {
		w := newWorld(false)
		sc.arrange(w)
		before := fmt.Sprint(w.versions, w.server, w.values)
		if _, err := w.rotate(rotator.Options{DryRun: true}); err != nil {
			t.Errorf("%s: %v", sc.name, err)
		}
		if after := fmt.Sprint(w.versions, w.server, w.values); after != before {
			t.Errorf("%s: changed from %s to %s", sc.name, before, after)
		}
	}
}

func TestNoValueYet(t *testing.T) {
	w := newWorld(false)
	w.versions = nil
	if _, err := w.rotate(rotator.Options{}); secrets.KindOf(err) != secrets.Invalid {
		t.Errorf("error %v", err)
	}
}
