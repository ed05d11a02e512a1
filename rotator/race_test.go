package rotator_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// A stage lets processes make their calls one at a time, in whatever order its
// director says.
type stage struct {
	events  chan *proc
	waiting []*proc
	over    bool // everybody who is called dies
}

// proc is one process that rotates the world's secret, while others do. As a
// rotator.Vault it keeps nobody out: it moves a label only from where it has seen
// it, each move a call of its own, and makes the version ids that the others make.
type proc struct {
	w     *world
	stage *stage // nil = nobody else is there
	turn  chan struct{}
	ended bool

	badTest bool
	// meanwhile is what others do while this process pauses at the beginning of
	// the step late, once.
	late      string
	meanwhile func()
	calls     int
	before    func(call int) // what others do before each of its calls
	fuse      int            // calls until it dies; 0 = never
	after     bool
	dead      bool
	midway    bool    // it has changed the server in the run it is in
	gaveUp    bool    // it has given a version up
	errs      []error // what its runs ended with

	seen  secrets.Versions
	tried int // the last n of a derived id; -1 = none
}

func (p *proc) at(effect func() error) error {
	if p.stage != nil {
		p.stage.events <- p
		<-p.turn
		p.dead = p.dead || p.stage.over
	}
	if p.dead {
		return errDead
	}
	if p.calls++; p.before != nil {
		p.before(p.calls)
	}
	sets := p.w.sets
	defer func() { p.midway = p.midway || p.w.sets != sets }()
	if p.fuse--; p.fuse == 0 {
		if p.dead = true; p.after {
			_ = effect()
		}
		return secrets.Errorf(secrets.Unknown, "%w", errDead)
	}
	return effect()
}

// act has the process do f. It comes to its first call at once.
func (s *stage) act(p *proc, f func()) {
	p.stage, p.turn = s, make(chan struct{})
	go func() {
		f()
		p.ended = true
		s.events <- p
	}()
	s.next()
}

// next waits until the process whose turn it is calls again, or ends.
func (s *stage) next() {
	if p := <-s.events; !p.ended {
		s.waiting = append(s.waiting, p)
	}
}

// play has one process after the other make one call, until all have ended.
func (s *stage) play(pick func(n int) int) {
	for len(s.waiting) > 0 {
		i := pick(len(s.waiting))
		p := s.waiting[i]
		s.waiting = slices.Delete(s.waiting, i, i+1)
		p.turn <- struct{}{}
		s.next()
	}
}

// clear ends whoever is left when the director has walked out.
func (s *stage) clear() {
	s.over = true
	s.play(func(int) int { return 0 })
}

func (p *proc) Unfenced()        {}
func (p *proc) ARN() secrets.ARN { return p.w.ARN() }

func (p *proc) Versions(context.Context) (secrets.Versions, error) {
	err := p.at(func() error { p.seen = p.w.versions; return nil })
	return p.seen, err
}

func (p *proc) Value(_ context.Context, id string) (v secrets.Value, err error) {
	err = p.at(func() error {
		if s, ok := p.w.values[id]; ok {
			v = secrets.Text(s)
		}
		return nil
	})
	return v, err
}

func (p *proc) PutPending(_ context.Context, id string, v secrets.Value) (string, error) {
	current, derived := p.seen.IDWith(secrets.Current), id == ""
	for n := p.tried + 1; ; n++ {
		if derived {
			id = fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, current, n)))
		}
		before, _ := p.seen.Find(id)
		again := false
		err := p.at(func() error {
			there, ok := p.w.versions.Find(id)
			switch {
			case !ok || there.Empty:
				// What AWS does: the labels come from wherever they are by now.
				vs, err := p.w.versions.Put(secrets.Version{ID: id, Created: p.w.clock.Now()}, []string{secrets.Pending, secrets.Intent})
				if err == nil {
					p.w.versions, p.w.values[id] = vs, text(v)
				}
				p.seen = p.w.versions
				return err
			case there.Has(secrets.Pending) && there.Has(secrets.Intent) && !there.Has(secrets.Current) && derived:
				p.seen = p.w.versions
				return nil
			case derived && fmt.Sprint(roles(before)) == fmt.Sprint(roles(there)):
				again = true
				return nil
			}
			return secrets.Errorf(secrets.Conflict, "made by somebody else meanwhile")
		})
		if derived {
			p.tried = n
		}
		if !again {
			return id, err
		}
	}
}

func roles(v secrets.Version) []string {
	out := slices.Clone(v.Labels)
	slices.Sort(out)
	return out
}

func (p *proc) MoveLabel(_ context.Context, label, to string) error {
	from := p.seen.IDWith(label)
	if from == to {
		return nil
	}
	return p.at(func() error { return p.move(label, from, to) })
}

func (p *proc) move(label, from, to string) (err error) {
	vs := p.w.versions
	switch holder := vs.IDWith(label); holder {
	case from:
		if vs, err = vs.Move(label, to); err != nil {
			return err
		}
		p.w.versions = vs
	case to:
	default:
		err = secrets.Errorf(secrets.Conflict, "%s was moved by somebody else", label)
	}
	p.seen = p.w.versions
	return err
}

func (p *proc) Promote(_ context.Context, id string, keepPending bool) error {
	if p.seen.IDWith(secrets.Pending) != id {
		return secrets.Errorf(secrets.Conflict, "not pending any more")
	}
	if from := p.seen.IDWith(secrets.Current); from != id {
		if err := p.at(func() error { return p.move(secrets.Current, from, id) }); err != nil {
			return err
		}
	}
	if keepPending {
		return nil
	}
	return p.at(func() error {
		p.seen = p.w.versions
		switch vs := p.w.versions; {
		case vs.IDWith(secrets.Pending) == id:
			return p.move(secrets.Pending, id, "")
		case vs.IDWith(secrets.Pending) == "" && vs.IDWith(secrets.Current) == id:
			return secrets.Errorf(secrets.Conflict, "%w", rotator.ErrGivenUp)
		}
		return secrets.Errorf(secrets.Conflict, "not pending any more")
	})
}

// run is one run with a claim of its own.
func (p *proc) run(o rotator.Options) error {
	p.seen, p.tried, p.midway = nil, -1, false
	o.Report = p.heard
	_, err := p.rotator().Run(context.Background(), p, secrets.RotationRules{}, o)
	p.errs = append(p.errs, err)
	return err
}

func (p *proc) heard(e rotator.Event) {
	p.gaveUp = p.gaveUp || e.Abandoned != ""
	if begins := !e.Done && e.Note == ""; begins && e.Step == p.late {
		p.late = ""
		p.meanwhile()
	}
}

func (p *proc) rotator() *rotator.Rotator {
	return &rotator.Rotator{Clock: p.w.clock, Steps: func(secrets.RotationRules) rotator.Steps {
		return &steps{w: p.w, at: p.at, badTest: func() bool { return p.badTest }}
	}}
}

// untilDone runs as the scheduler does: again after what waiting cures, and a few
// times after a Conflict.
func (p *proc) untilDone(tries int) {
	for range tries {
		err := p.run(rotator.Options{})
		if err == nil || p.dead {
			return
		}
		if k := secrets.KindOf(err); k == secrets.Denied || k == secrets.Invalid {
			return
		}
	}
}

// TestRacingRotators: two processes rotate one secret at the same time; either
// may fail its test, and one die at any call and be started again. In the end the
// server accepts AWSCURRENT and nothing is pending. Where all goes well nobody is
// told that a person is needed.
//
// One thing nobody can heal: a process changes the server after the other has
// given the same version up, and dies before it can take that back. Then the next
// rotation must say that AWSCURRENT is refused, and change nothing.
func TestRacingRotators(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(rapid.Bool().Draw(t, "alternating"))
		w.noSuperuser = !w.alternating && rapid.Bool().Draw(t, "no superuser")
		if rapid.Bool().Draw(t, "rotated before") {
			w.rotate(rotator.Options{})
		}
		s := &stage{events: make(chan *proc)}
		defer s.clear()
		procs := []*proc{{w: w}, {w: w}}
		mortal := rapid.IntRange(0, 4).Draw(t, "mortal") // 0 and 1 are; else none
		died, midway := false, false
		for i, p := range procs {
			p.badTest = rapid.IntRange(0, 2).Draw(t, "bad test") == 0
			restarts := false
			if i == mortal {
				p.fuse, p.after = rapid.IntRange(1, 30).Draw(t, "fuse"), rapid.Bool().Draw(t, "after")
				restarts = rapid.Bool().Draw(t, "restarts")
			}
			s.act(p, func() {
				p.untilDone(2)
				if !p.dead || s.over {
					return
				}
				died, midway = true, p.midway
				if restarts {
					p.dead = false
					p.untilDone(1)
				}
			})
		}
		s.play(func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "turn") })

		// Where nobody died the labels alone must tell what is left to do.
		left := w.tell(procs)
		last, o := &proc{w: w}, rotator.Options{ResumeOnly: !died}
		err := last.run(o)
		if err != nil && secrets.KindOf(err) != secrets.Denied {
			err = last.run(o)
		}
		b := w.broken()
		if midway && (procs[0].gaveUp || procs[1].gaveUp) && errors.Is(err, strategies.ErrCurrentRefused) {
			return
		}
		if !died && !procs[0].badTest && !procs[1].badTest {
			for _, err := range append(procs[0].errs, procs[1].errs...) {
				if kind := secrets.KindOf(err); err != nil && (kind == secrets.Denied || kind == secrets.Invalid) {
					t.Fatalf("%s: %v\nnow: %s", kind, err, w.tell(procs))
				}
			}
		}
		if b != "" || err != nil {
			t.Fatalf("%s (then: %v)\nleft: %s\nnow: %s", b, err, left, w.tell(procs))
		}
	})
}

// TestPausedRotator: a process that is paused within a rotation, while the other
// does whatever it does, goes on, and may die at any call; the next run ends with
// an AWSCURRENT that the server accepts.
func TestPausedRotator(t *testing.T) {
	rotates := func(times int) func(*world) {
		return func(w *world) {
			for range times {
				(&proc{w: w}).run(rotator.Options{})
			}
		}
	}
	givesUp := func(w *world) { (&proc{w: w, badTest: true}).run(rotator.Options{}) }
	tests := []struct {
		name      string
		late      string
		badTest   bool
		meanwhile func(*world)
		kind      secrets.Kind // of what the paused one says; with err
		err       string       // "" = it has rotated
		lost      bool         // where it dies, a person may be needed: see race.go
	}{
		{"another ends the rotation before it is set again", rotator.SetSecret, false, rotates(1), 0, "", false},
		{"another ends the rotation before it is promoted again", rotator.FinishSecret, false, rotates(1), 0, "", false},
		{"another ends the rotation before its test fails here", rotator.TestSecret, true, rotates(1), secrets.Conflict, "promoted version", false},
		{"another gives it up before it is set", rotator.SetSecret, false, givesUp, 0, "", true},
		{"another gives it up before it is promoted", rotator.FinishSecret, false, givesUp, 0, "", false},
		{"another is two rotations ahead when it is set", rotator.SetSecret, false, rotates(2), secrets.Conflict, "was moved by somebody else", false},
		{"another is two rotations ahead when the test fails", rotator.TestSecret, true, rotates(2), secrets.Conflict, "password", false},
	}
	for _, tt := range tests {
		for _, noSuperuser := range []bool{false, true} {
			for _, after := range []bool{false, true} {
				for n := 0; ; n++ {
					w := newWorld(false)
					w.noSuperuser = noSuperuser
					p := &proc{w: w, badTest: tt.badTest, late: tt.late}
					p.meanwhile = func() {
						tt.meanwhile(w)
						p.fuse, p.after = n, after
					}
					err := p.run(rotator.Options{})
					if n > 0 && !p.dead {
						break // every instant was tried
					}
					if n == 0 {
						if ok := err == nil; ok != (tt.err == "") || !ok && (secrets.KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.err)) {
							t.Errorf("%s: error %v, want %v %q", tt.name, err, tt.kind, tt.err)
						}
						if b := w.broken(); b != "" {
							t.Errorf("%s: %s", tt.name, b)
						}
						continue
					}
					last := &proc{w: w}
					lerr := last.run(rotator.Options{})
					if b := w.broken(); (b != "" || lerr != nil) && !(tt.lost && p.midway && errors.Is(lerr, strategies.ErrCurrentRefused)) {
						t.Errorf("%s, no superuser=%v, died at call %d, after=%v: %s (then: %v)\n%s", tt.name, noSuperuser, n, after, b, lerr, w.tell([]*proc{p, last}))
					}
				}
			}
		}
	}
}

// TestPromotedWhileItIsGivenUp: another rotator promotes a version at one of the
// instants between which the first puts the old password back, and dies.
func TestPromotedWhileItIsGivenUp(t *testing.T) {
	tests := []struct {
		name  string
		calls int // of the first one, after it has put the password back
		does  func(w *world, v string)
		want  string // whose value is AWSCURRENT in the end
	}{
		{"before the labels are looked at", 1, func(w *world, v string) { w.move(secrets.Current, v) }, "the same"},
		{"before PAWLINTENT is moved", 2, func(w *world, v string) { w.move(secrets.Current, v); w.move(secrets.Pending, v) }, "the same"},
		{"and has begun the next rotation", 1, func(w *world, v string) {
			w.move(secrets.Current, v)
			w.personPuts("app:next", secrets.Pending, secrets.Intent)
		}, "app:next"},
	}
	for _, tt := range tests {
		w := newWorld(false)
		p := &proc{w: w, badTest: true}
		back := 0
		version := ""
		p.before = func(int) {
			if w.sets == 1 {
				version = w.versions.IDWith(secrets.Intent)
			}
			if w.sets == 2 {
				if back++; back == tt.calls {
					p.badTest = false
					tt.does(w, version)
				}
			}
		}
		err := p.run(rotator.Options{})
		got := w.values[w.versions.IDWith(secrets.Current)]
		if tt.want == "the same" && (got != w.values[version] || secrets.KindOf(err) != secrets.Conflict) || tt.want != "the same" && (got != tt.want || err != nil) || w.broken() != "" {
			t.Errorf("%s: %v; AWSCURRENT is %s; %s\n%s", tt.name, err, got, w.broken(), w.tell([]*proc{p}))
		}
	}
}

// move moves a label by somebody else's hand.
func (w *world) move(label, id string) {
	vs, err := w.versions.Move(label, id)
	if err != nil {
		panic(err)
	}
	w.versions = vs
}

// TestRefusedByAnother: a login by an AWSCURRENT that another rotator has just
// replaced is refused once, and no older password is tried.
func TestRefusedByAnother(t *testing.T) {
	w := newWorld(false)
	w.rotate(rotator.Options{}) // so that there is an AWSPREVIOUS
	p := &proc{w: w, late: rotator.CreateSecret, meanwhile: func() { (&proc{w: w}).run(rotator.Options{}) }}
	if err := p.run(rotator.Options{}); secrets.KindOf(err) != secrets.Conflict || !strings.Contains(err.Error(), "another rotator is at it") {
		t.Errorf("error %v", err)
	}
	if b := w.broken(); b != "" || w.failed != 1 {
		t.Errorf("%d refused logins; %s", w.failed, b)
	}
}

// tell describes the world, for a failure.
func (w *world) tell(procs []*proc) string {
	var b strings.Builder
	for _, v := range w.versions {
		fmt.Fprintf(&b, "%.12s%v=%s ", v.ID, v.Labels, w.values[v.ID])
	}
	fmt.Fprintf(&b, "server %v", w.server)
	for i, p := range procs {
		fmt.Fprintf(&b, "\n  %d: dead=%v gave up=%v %v", i, p.dead, p.gaveUp, p.errs)
	}
	return b.String()
}
