package rotator_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// world is a store with one secret and a server with users, both of which
// outlive any process. Values are "user:password", or "user:password:other
// fields". The real label rules run on
// it; what is simulated is only where the bytes lie.
type world struct {
	versions secrets.Versions
	values   map[string]string
	server   map[string]string // user → password
	rotated  int               // completed rotations recorded
	read     []string          // whose values were read, in order
	ids      int

	// faults: the call that reaches zero dies, before or after its effect, and
	// with it the process: every later call fails too.
	fuse  int
	after bool
	dead  bool

	alternating bool
	noSuperuser bool
	badTest     bool            // the new credential fails its test
	lagging     bool            // a further host never learns it
	refuse      map[string]bool // passwords that the server's rules refuse
	refuseAll   bool
	failed      int // logins the server refused
	sets        int // changes of a password
	clock       clockwork.Clock
}

var errDead = errors.New("the process died")

func newWorld(alternating bool) *world {
	w := &world{
		values: map[string]string{}, server: map[string]string{}, refuse: map[string]bool{},
		alternating: alternating, fuse: -1, clock: clockwork.NewFakeClock(),
	}
	w.personPuts("app:pw0")
	w.server["app"] = "pw0"
	return w
}

// at wraps one I/O call with the fuse.
func (w *world) at(effect func() error) error {
	if w.dead {
		return errDead
	}
	if w.fuse > 0 {
		w.fuse--
	}
	if w.fuse == 0 {
		w.dead = true
		if w.after {
			_ = effect()
		}
		return secrets.Errorf(secrets.Unknown, "%w", errDead)
	}
	return effect()
}

// restart is a new process on the same world.
func (w *world) restart() { w.dead, w.fuse = false, -1 }

func (w *world) newID() string {
	w.ids++
	return fmt.Sprintf("v%032d", w.ids)
}

// personPuts is PutSecretValue by hand, without stages.
func (w *world) personPuts(value string, labels ...string) string {
	id := w.newID()
	vs, err := w.versions.Put(secrets.Version{ID: id, Created: w.clock.Now()}, labels)
	if err != nil {
		panic(err)
	}
	w.versions, w.values[id] = vs, value
	return id
}

func (w *world) current() (user, pw string) {
	fields := strings.Split(w.values[w.versions.IDWith(secrets.Current)]+":", ":")
	return fields[0], fields[1]
}

func (w *world) login(value string) bool {
	fields := strings.Split(value+":", ":")
	if pw := fields[1]; pw != "" && w.server[fields[0]] == pw {
		return true
	}
	w.failed++
	return false
}

// The world as a rotator.Vault.

func (w *world) ARN() secrets.ARN { return secrets.ARN{Name: "s"} }

func (w *world) Versions(context.Context) (vs secrets.Versions, err error) {
	err = w.at(func() error { vs = w.versions; return nil })
	return vs, err
}

func (w *world) Value(_ context.Context, id string) (v secrets.Value, err error) {
	err = w.at(func() error {
		w.read = append(w.read, id)
		if s, ok := w.values[id]; ok {
			v = secrets.Text(s)
		}
		return nil
	})
	return v, err
}

func (w *world) PutPending(_ context.Context, id string, v secrets.Value) (string, error) {
	if id == "" {
		id = w.newID()
	}
	return id, w.at(func() error {
		vs, err := w.versions.Put(secrets.Version{ID: id, Created: w.clock.Now()}, []string{secrets.Pending, secrets.Intent})
		if err == nil {
			w.versions, w.values[id] = vs, string(v.Reveal())
		}
		return err
	})
}

func (w *world) Promote(_ context.Context, id string, keepPending bool) error {
	return w.at(func() error {
		if v, _ := w.versions.Find(id); !v.Has(secrets.Pending) && !v.Has(secrets.Current) {
			return secrets.Errorf(secrets.Conflict, "not pending any more")
		}
		vs, err := w.versions.Move(secrets.Current, id)
		if err == nil && !keepPending && vs.IDWith(secrets.Pending) == id {
			vs, err = vs.Move(secrets.Pending, "")
		}
		if err == nil {
			w.versions = vs
			w.rotated++
		}
		return err
	})
}

func (w *world) MoveLabel(_ context.Context, label, id string) error {
	return w.at(func() error {
		vs, err := w.versions.Move(label, id)
		if err == nil {
			w.versions = vs
		}
		return err
	})
}

// steps are the two strategies on the world's server, as one process does them.
type steps struct {
	w  *world
	at func(effect func() error) error // one call to the server
	// send is a call that changes something, after the claim was confirmed; nil = at.
	send    func(ctx context.Context, effect func() error) error
	badTest func() bool // the new credential fails its test
	open    bool        // a session that Check left for Set
}

func (s *steps) Check(_ context.Context, j *strategies.Job) error {
	return s.at(func() error {
		if !s.w.login(text(j.Current)) {
			return secrets.Errorf(secrets.Denied, "%w", strategies.ErrCurrentRefused)
		}
		s.open = true
		return nil
	})
}

func (s *steps) Create(_ context.Context, j *strategies.Job) (secrets.Value, error) {
	user, _, _ := strings.Cut(text(j.Current), ":")
	if s.w.alternating {
		user = strategies.Toggle(user)
	}
	return secrets.Text(user + ":pw" + s.w.newID()), nil
}

// Adapt carries what follows a second colon from AWSCURRENT: its other fields.
func (s *steps) Adapt(j *strategies.Job) (secrets.Value, error) {
	cur, pend := strings.SplitN(text(j.Current), ":", 3), strings.SplitN(text(j.Pending), ":", 3)
	if pend[0] != cur[0] && pend[0] != strategies.Toggle(cur[0]) {
		return secrets.Value{}, secrets.Errorf(secrets.Invalid, "other than current user")
	}
	return secrets.Text(strings.Join(append(pend[:2:2], cur[2:]...), ":")), nil
}

func (s *steps) Probe(_ context.Context, j *strategies.Job) (ok bool, err error) {
	err = s.at(func() error { ok = s.w.login(text(j.Pending)); return nil })
	return ok, err
}

func (s *steps) Set(ctx context.Context, j *strategies.Job) error {
	if j.Resumed {
		if ok, err := s.Probe(ctx, j); err != nil || ok {
			return err
		}
	}
	if !s.open {
		if err := s.Check(ctx, j); err != nil && !s.byPrevious(ctx, j, err) {
			return err
		}
	}
	s.open = false
	return s.change(ctx, j, j.Pending)
}

// change sets the password that a value has.
func (s *steps) change(ctx context.Context, j *strategies.Job, v secrets.Value) error {
	if err := j.Confirm(ctx); err != nil {
		return err
	}
	effect := func() error { return s.w.set(text(v)) }
	if s.send != nil {
		return s.send(ctx, effect)
	}
	return s.at(effect)
}

// byPrevious is the last resort of a resumed single user.
func (s *steps) byPrevious(ctx context.Context, j *strategies.Job, refused error) bool {
	prev, err := j.Previous(ctx)
	if !errors.Is(refused, strategies.ErrCurrentRefused) || !j.Resumed || err != nil || s.Holds(j) || user(prev) != user(j.Pending) {
		return false
	}
	ok, err := s.Probe(ctx, &strategies.Job{Pending: prev})
	return ok && err == nil
}

func (w *world) set(value string) error {
	fields := strings.Split(value, ":")
	user, pw := fields[0], fields[1]
	if w.refuseAll && pw != "pw0" || w.refuse[pw] {
		e := secrets.Errorf(secrets.Invalid, "the server's rules refuse the password")
		e.Policy = true
		return e
	}
	w.sets++
	w.server[user] = pw
	return nil
}

func (s *steps) Test(_ context.Context, j *strategies.Job) error {
	return s.at(func() error {
		switch {
		case s.badTest():
			return secrets.Errorf(secrets.Denied, "no right to run the check query")
		case s.w.lagging:
			return &strategies.PropagationError{Server: "replica:1", Err: errors.New("refused")}
		case !s.w.login(text(j.Pending)):
			return secrets.Errorf(secrets.Denied, "pending refused")
		}
		return nil
	})
}

func (s *steps) Restore(ctx context.Context, j *strategies.Job) error {
	if err := s.restoreOther(ctx, j); err != nil {
		return err
	}
	ok, err := s.Probe(ctx, &strategies.Job{Pending: j.Current})
	if err != nil || ok {
		return err
	}
	if s.w.noSuperuser {
		if ok, err := s.Probe(ctx, j); err != nil || !ok {
			return errors.Join(err, secrets.Errorf(secrets.Denied, "nothing could restore it"))
		}
	}
	return s.change(ctx, j, j.Current)
}

// restoreOther gives the other one of two users the password back that he had.
func (s *steps) restoreOther(ctx context.Context, j *strategies.Job) error {
	if !s.Holds(j) {
		return nil
	}
	if ok, err := s.Probe(ctx, j); err != nil || !ok {
		return err
	}
	prev, err := j.Previous(ctx)
	if err != nil {
		return err
	}
	if user(prev) != user(j.Pending) {
		prev = secrets.Text(user(j.Pending) + ":locked")
	}
	return s.change(ctx, j, prev)
}

func (s *steps) Holds(j *strategies.Job) bool { return user(j.Current) != user(j.Pending) }

func (s *steps) TestTimeout(d time.Duration) time.Duration { return d }
func (s *steps) Close()                                    { s.open = false }

func user(v secrets.Value) string {
	u, _, _ := strings.Cut(text(v), ":")
	return u
}

func text(v secrets.Value) string { return string(v.Reveal()) }

// rotate runs the real rotator on the world.
func (w *world) rotate(o rotator.Options) (rotator.Result, error) {
	return w.rotator().Run(context.Background(), w, secrets.RotationRules{}, o)
}

func (w *world) rotator() *rotator.Rotator {
	return &rotator.Rotator{Clock: w.clock, Steps: func(secrets.RotationRules) rotator.Steps {
		return &steps{w: w, at: w.at, badTest: func() bool { return w.badTest }}
	}}
}

// broken says how the world breaks Pawl's promise, or "".
func (w *world) broken() string {
	cur := w.versions.IDWith(secrets.Current)
	user, pw := w.current()
	switch {
	case w.versions.Unfinished():
		return fmt.Sprintf("not at rest: %v", w.versions)
	case w.server[user] != pw:
		return fmt.Sprintf("the server knows %q for %s, AWSCURRENT holds %q", w.server[user], user, pw)
	case w.values[cur] == "":
		return "AWSCURRENT has no value"
	}
	return ""
}
