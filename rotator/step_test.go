package rotator_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

const asked = "version-of-somebody-who-asked-for-it"

var fourSteps = []string{rotator.CreateSecret, rotator.SetSecret, rotator.TestSecret, rotator.FinishSecret}

// ask stages an empty version, as AWS does before createSecret.
func (w *world) ask(id string) {
	vs, err := w.versions.Put(secrets.Version{ID: id, Empty: true, Created: w.clock.Now()}, []string{secrets.Pending})
	if err != nil {
		panic(err)
	}
	w.versions = vs
}

// step does one step to the version that was asked for, as a process of its own.
func (p *proc) step(step string) error {
	p.seen, p.tried = nil, -1
	return p.rotator().Step(context.Background(), p, secrets.RotationRules{}, step, asked, rotator.Options{
		Report: func(e rotator.Event) { p.gaveUp = p.gaveUp || e.Abandoned != "" },
	})
}

func (w *world) pendingOff() { w.versions, _ = w.versions.Move(secrets.Pending, "") }

func TestSteps(t *testing.T) {
	for _, alternating := range []bool{false, true} {
		for _, each := range []int{1, 2} { // every step may come twice
			w := newWorld(alternating)
			w.ask(asked)
			p := &proc{w: w}
			for _, step := range fourSteps {
				for range each {
					if err := p.step(step); err != nil {
						t.Fatalf("%s: %v", step, err)
					}
				}
			}
			v, _ := w.versions.Find(asked)
			if !v.Has(secrets.Current) || !v.Has(secrets.Pending) || !v.Has(secrets.Intent) {
				t.Errorf("labels %v", w.versions)
			}
			w.pendingOff()
			if b := w.broken(); b != "" || p.gaveUp {
				t.Error(b)
			}
			if each == 1 && (w.failed != 0 || w.sets != 1) {
				t.Errorf("%d refused logins and %d changes", w.failed, w.sets)
			}
		}
	}
}

// TestStepsFail is a table of what one step meets.
func TestStepsFail(t *testing.T) {
	// done does the steps before.
	done := func(t *testing.T, w *world, steps ...string) {
		w.ask(asked)
		for _, s := range steps {
			if err := (&proc{w: w}).step(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	create, set, test, finish := rotator.CreateSecret, rotator.SetSecret, rotator.TestSecret, rotator.FinishSecret
	tests := []struct {
		name    string
		arrange func(t *testing.T, w *world, p *proc)
		step    string
		kind    secrets.Kind
		want    string // part of the error; "" = it succeeds
		labels  string // of the version afterwards
		gaveUp  bool
	}{
		{"unknown step", func(t *testing.T, w *world, p *proc) { done(t, w) }, "dropSecret", secrets.Invalid, "the steps are createSecret", "AWSPENDING", false},
		{"no label", func(t *testing.T, w *world, p *proc) { done(t, w, create); w.pendingOff() }, set, secrets.Conflict, "has not the label AWSPENDING; begin a new rotation", "PAWLINTENT", false},
		{"no such version", func(t *testing.T, w *world, p *proc) {}, create, secrets.Conflict, "has not the label AWSPENDING", "", false},
		{"no value yet", func(t *testing.T, w *world, p *proc) { done(t, w) }, set, secrets.Invalid, "createSecret comes first", "AWSPENDING", false},
		{"AWSCURRENT already", func(t *testing.T, w *world, p *proc) { done(t, w, create, set, test, finish) }, create, 0, "", "AWSCURRENT AWSPENDING PAWLINTENT", false},
		{"AWSCURRENT refused", func(t *testing.T, w *world, p *proc) { done(t, w); w.server["app"] = "by-hand" }, create, secrets.Denied, "unable to log in", "AWSPENDING", false},
		{"finished before it was set", func(t *testing.T, w *world, p *proc) { done(t, w, create) }, finish, secrets.Denied, "refuses the password of version " + asked + "; setSecret and testSecret come first", "AWSPENDING PAWLINTENT", false},
		{"set again after it was set", func(t *testing.T, w *world, p *proc) { done(t, w, create, set) }, set, 0, "", "AWSPENDING PAWLINTENT", false},
		{"set from AWSPREVIOUS", func(t *testing.T, w *world, p *proc) {
			w.rotate(rotator.Options{})
			w.server["app"] = "pw0"
			done(t, w, create)
		}, set, 0, "", "AWSPENDING PAWLINTENT", false},
		{"password refused", func(t *testing.T, w *world, p *proc) { done(t, w, create); w.refuseAll = true }, set, secrets.Invalid, "the new value was given up", "", true},
		{"test fails", func(t *testing.T, w *world, p *proc) { done(t, w, create, set); p.badTest = true }, test, secrets.Denied, "no right to run", "", true},
		{"test fails, no way back", func(t *testing.T, w *world, p *proc) {
			done(t, w, create, set)
			p.badTest, w.refuse["pw0"] = true, true
		}, test, 0, "", "AWSPENDING PAWLINTENT", false},
		{"a further host lags", func(t *testing.T, w *world, p *proc) { done(t, w, create, set); w.lagging = true }, test, secrets.Transient, "replica:1", "", true},
		{"another tool's value", func(t *testing.T, w *world, p *proc) {
			w.ask(asked)
			w.fill("app:theirs")
		}, set, 0, "", "AWSPENDING PAWLINTENT", false},
		{"another tool's value, checked at once", func(t *testing.T, w *world, p *proc) {
			w.ask(asked)
			w.fill("app:theirs")
		}, create, 0, "", "AWSPENDING PAWLINTENT", false},
		{"another tool's value for a stranger", func(t *testing.T, w *world, p *proc) {
			w.ask(asked)
			w.fill("root:theirs")
		}, set, secrets.Invalid, "other than current user", "AWSPENDING", false},
		{"another tool's value with other fields", func(t *testing.T, w *world, p *proc) {
			w.ask(asked)
			w.fill("app:theirs:elsewhere")
		}, create, secrets.Invalid, "take AWSPENDING off it", "AWSPENDING", false},
		{"AWSCURRENT edited since", func(t *testing.T, w *world, p *proc) {
			done(t, w, create, set)
			id := w.personPuts("app:pw0:edited", "MINE")
			w.versions, _ = w.versions.Move(secrets.Current, id)
		}, finish, secrets.Conflict, "AWSCURRENT was edited", "", true},
		{"an abandoned value first", func(t *testing.T, w *world, p *proc) {
			w.personPuts("app:lost", secrets.Pending, secrets.Intent)
			w.server["app"] = "lost"
			w.pendingOff()
			w.ask(asked)
		}, create, 0, "", "AWSPENDING PAWLINTENT", true},
		{"an abandoned value that there is no way back from", func(t *testing.T, w *world, p *proc) {
			w.personPuts("app:lost", secrets.Pending, secrets.Intent)
			w.server["app"], w.refuse["pw0"] = "lost", true
			w.pendingOff()
			w.ask(asked)
		}, create, secrets.Invalid, "make that one AWSCURRENT: aws secretsmanager", "AWSPENDING", false},
		{"given up by another meanwhile", func(t *testing.T, w *world, p *proc) {
			done(t, w, create, set, test)
			p.before = func(call int) {
				if call == 5 { // its promotion
					w.pendingOff()
					w.server["app"] = "pw0"
				}
			}
		}, finish, 0, "", "AWSCURRENT AWSPENDING PAWLINTENT", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(false)
			p := &proc{w: w}
			tt.arrange(t, w, p)
			_, pw := w.current()
			before, accepted := w.values[asked], w.server["app"] == pw
			err := p.step(tt.step)
			switch {
			case tt.want == "" && err != nil:
				t.Errorf("error %v", err)
			case tt.want != "" && (err == nil || secrets.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("error %v, want %v %q", err, tt.kind, tt.want)
			}
			v, _ := w.versions.Find(asked)
			if got := strings.Join(roles(v), " "); got != tt.labels {
				t.Errorf("labels %q, want %q", got, tt.labels)
			}
			if before != "" && w.values[asked] != before {
				t.Error("the value was overwritten")
			}
			if p.gaveUp != tt.gaveUp {
				t.Errorf("gave up: %v", p.gaveUp)
			}
			if _, pw := w.current(); (tt.gaveUp || v.Has(secrets.Current) || tt.want != "" && tt.kind == secrets.Invalid && accepted) && w.server["app"] != pw {
				t.Errorf("the server does not accept AWSCURRENT: %v", w.server)
			}
		})
	}
}

// fill puts another tool's value into the version that was asked for.
func (w *world) fill(value string) {
	vs, err := w.versions.Put(secrets.Version{ID: asked}, []string{secrets.Pending})
	if err != nil {
		panic(err)
	}
	w.versions, w.values[asked] = vs, value
}

// TestStepsDie: AWS drives the steps, the processes die, and AWS begins anew with
// the same version, or, where that was given up, with another.
func TestStepsDie(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.Bool().Draw(t, "alternating"))
		w.noSuperuser = !w.alternating && rapid.Bool().Draw(t, "no superuser")
		w.ask(asked)
		var last error
		for try := 0; ; try++ {
			last = nil
			for _, step := range fourSteps {
				p := &proc{w: w}
				if try < 3 {
					p.fuse, p.after = rapid.IntRange(0, 12).Draw(t, "fuse"), rapid.Bool().Draw(t, "after")
					p.badTest = rapid.IntRange(0, 5).Draw(t, "bad test") == 0
				}
				if last = p.step(step); last != nil {
					break
				}
			}
			if v, _ := w.versions.Find(asked); try >= 3 || last == nil || !v.Has(secrets.Pending) {
				break
			}
		}
		v, _ := w.versions.Find(asked)
		if v.Has(secrets.Current) {
			w.pendingOff()
		} else if v.Has(secrets.Pending) {
			t.Fatalf("it neither ended nor was given up: %v, %v", last, w.versions)
		} else if _, err := w.rotate(rotator.Options{ResumeOnly: true}); err != nil {
			t.Fatalf("after it was given up: %v", err)
		}
		if b := w.broken(); b != "" {
			t.Fatalf("%s (%v)", b, last)
		}
	})
}

// TestPreviousIsNotRead: a clean rotation reads AWSCURRENT and what it has put, and
// nothing else.
func TestPreviousIsNotRead(t *testing.T) {
	for _, alternating := range []bool{false, true} {
		w := newWorld(alternating)
		w.rotate(rotator.Options{})
		current, previous := w.versions.IDWith(secrets.Current), w.versions.IDWith(secrets.Previous)
		w.read = nil
		if _, err := w.rotate(rotator.Options{}); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(w.read, previous) || len(w.read) != 2 || w.read[0] != current || w.read[1] != w.versions.IDWith(secrets.Current) {
			t.Errorf("alternating=%v: read %v; AWSPREVIOUS was %s", alternating, w.read, previous)
		}
	}
}

// TestPromotedBeforeItWasSet: a person who moves AWSCURRENT to a pending version
// by hand may be ahead of the server.
func TestPromotedBeforeItWasSet(t *testing.T) {
	w := newWorld(false)
	id := w.personPuts("app:next", secrets.Pending, secrets.Intent)
	w.versions, _ = w.versions.Move(secrets.Current, id)
	res, err := w.rotate(rotator.Options{ResumeOnly: true})
	if err != nil || res.Outcome != rotator.Resumed || w.broken() != "" {
		t.Errorf("%+v, %v; %s", res, err, w.broken())
	}

	// Somebody's own value is not set.
	w = newWorld(false)
	id = w.personPuts("app:mine", secrets.Pending)
	w.versions, _ = w.versions.Move(secrets.Current, id)
	if _, err := w.rotate(rotator.Options{ResumeOnly: true}); err != nil || w.sets != 0 {
		t.Errorf("%v, %d changes at the server", err, w.sets)
	}

	// There is nothing to set it by.
	w = newWorld(false)
	id = w.personPuts("app:next", secrets.Pending, secrets.Intent)
	w.versions, _ = w.versions.Move(secrets.Current, id)
	w.server["app"] = "by-hand"
	if _, err := w.rotate(rotator.Options{}); secrets.KindOf(err) != secrets.Denied || !w.versions.Unfinished() || w.failed != 2 {
		t.Errorf("%v, %v, %d refused logins", err, w.versions, w.failed)
	}
}

// TestFromPrevious: only where nothing excludes other rotators a refused
// AWSCURRENT is gone on from, and never set.
func TestFromPrevious(t *testing.T) {
	for _, tt := range []struct {
		name     string
		current  string // put by hand over app:pw0
		fenced   bool
		rotated  bool
		failures int
	}{
		{"the server knows the one before", "app:never-set", false, true, 1},
		{"a claim that excludes others", "app:never-set", true, false, 1},
		{"another user by now", "root:never-set", false, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(false)
			w.personPuts(tt.current)
			var err error
			if tt.fenced {
				_, err = w.rotate(rotator.Options{})
			} else {
				err = (&proc{w: w}).run(rotator.Options{})
			}
			if rotated := err == nil && w.broken() == ""; rotated != tt.rotated || w.failed != tt.failures {
				t.Errorf("%v; %s; %d refused logins", err, w.broken(), w.failed)
			}
			if w.server["app"] == "never-set" || !tt.rotated && w.server["app"] != "pw0" {
				t.Errorf("the server knows %v", w.server)
			}
		})
	}
}
