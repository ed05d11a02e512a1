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
// outlive any process. Values are "user:password". The real label rules run on
// it; what is simulated is only where the bytes lie.
type world struct {
	versions secrets.Versions
	values   map[string]string
	server   map[string]string // user → password
	rotated  int               // completed rotations recorded
	ids      int

	// faults: the call that reaches zero dies, before or after its effect, and
	// with it the process: every later call fails too.
	fuse  int
	after bool
	dead  bool

	alternating bool
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
	return fmt.Sprintf("version-%032d", w.ids)
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
	user, pw, _ = strings.Cut(w.values[w.versions.IDWith(secrets.Current)], ":")
	return user, pw
}

func (w *world) login(value string) bool {
	user, pw, _ := strings.Cut(value, ":")
	if w.server[user] == pw && pw != "" {
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
		if v, _ := w.versions.Find(id); !v.Has(secrets.Pending) {
			return secrets.Errorf(secrets.Conflict, "not pending any more")
		}
		vs, err := w.versions.Move(secrets.Current, id)
		if err == nil && !keepPending {
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

// steps are the two strategies on the world's server.
type steps struct{ w *world }

func (s steps) Check(_ context.Context, j *strategies.Job) error {
	return s.w.at(func() error {
		if !s.w.login(text(j.Current)) {
			return secrets.Errorf(secrets.Denied, "AWSCURRENT refused")
		}
		return nil
	})
}

func (s steps) Create(_ context.Context, j *strategies.Job) (secrets.Value, error) {
	user, _, _ := strings.Cut(text(j.Current), ":")
	if s.w.alternating {
		user = strategies.Toggle(user)
	}
	return secrets.Text(user + ":pw" + s.w.newID()), nil
}

func (s steps) Adapt(j *strategies.Job) (secrets.Value, error) { return j.Pending, nil }

func (s steps) Probe(_ context.Context, j *strategies.Job) (ok bool, err error) {
	err = s.w.at(func() error { ok = s.w.login(text(j.Pending)); return nil })
	return ok, err
}

func (s steps) Set(ctx context.Context, j *strategies.Job) error {
	if j.Resumed {
		if ok, err := s.Probe(ctx, j); err != nil || ok {
			return err
		}
		if err := s.Check(ctx, j); err != nil {
			return err
		}
	}
	return s.w.at(func() error { return s.w.set(text(j.Pending)) })
}

func (w *world) set(value string) error {
	user, pw, _ := strings.Cut(value, ":")
	if w.refuseAll && pw != "pw0" || w.refuse[pw] {
		e := secrets.Errorf(secrets.Invalid, "the server's rules refuse the password")
		e.Policy = true
		return e
	}
	w.sets++
	w.server[user] = pw
	return nil
}

func (s steps) Test(_ context.Context, j *strategies.Job) error {
	return s.w.at(func() error {
		switch {
		case s.w.badTest:
			return secrets.Errorf(secrets.Denied, "no right to run the check query")
		case s.w.lagging:
			return &strategies.PropagationError{Server: "replica:1", Err: errors.New("refused")}
		case !s.w.login(text(j.Pending)):
			return secrets.Errorf(secrets.Denied, "pending refused")
		}
		return nil
	})
}

func (s steps) Restore(_ context.Context, j *strategies.Job) error {
	var ok bool
	if err := s.w.at(func() error { ok = s.w.login(text(j.Current)); return nil }); err != nil || ok {
		return err
	}
	return s.w.at(func() error { return s.w.set(text(j.Current)) })
}

func (s steps) Holds(j *strategies.Job) bool {
	a, _, _ := strings.Cut(text(j.Current), ":")
	b, _, _ := strings.Cut(text(j.Pending), ":")
	return a != b
}

func (s steps) TestTimeout(d time.Duration) time.Duration { return d }
func (s steps) Close()                                    {}

func text(v secrets.Value) string { return string(v.Reveal()) }

// rotate runs the real rotator on the world.
func (w *world) rotate(o rotator.Options) (rotator.Result, error) {
	r := &rotator.Rotator{Steps: func(secrets.RotationRules) rotator.Steps { return steps{w} }, Clock: w.clock}
	return r.Run(context.Background(), w, secrets.RotationRules{}, o)
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
