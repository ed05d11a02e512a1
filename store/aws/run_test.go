package aws

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// database is a server with one user, whose password the secret holds.
type database struct {
	mu       sync.Mutex
	password string
	failed   int // logins it refused
	made     atomic.Int64
}

func (d *database) login(v secrets.Value) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if string(v.Reveal()) != d.password {
		d.failed++
		return secrets.Errorf(secrets.Denied, "password refused")
	}
	return nil
}

func (d *database) set(v secrets.Value) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.password = string(v.Reveal())
}

// plain are the steps of a single user on it.
type plain struct{ d *database }

func (p plain) Check(_ context.Context, j *strategies.Job) error { return p.d.login(j.Current) }

func (p plain) Create(context.Context, *strategies.Job) (secrets.Value, error) {
	return secrets.Text(fmt.Sprint(canary, p.d.made.Add(1))), nil
}

func (p plain) Adapt(j *strategies.Job) (secrets.Value, error) { return j.Pending, nil }

func (p plain) Probe(_ context.Context, j *strategies.Job) (bool, error) {
	return p.d.login(j.Pending) == nil, nil
}

func (p plain) Set(_ context.Context, j *strategies.Job) error {
	if j.Resumed && p.d.login(j.Pending) == nil {
		return nil
	}
	p.d.set(j.Pending)
	return nil
}

func (p plain) Test(_ context.Context, j *strategies.Job) error { return p.d.login(j.Pending) }

func (p plain) Restore(_ context.Context, j *strategies.Job) error {
	p.d.set(j.Current)
	return nil
}

func (plain) Holds(*strategies.Job) bool                    { return false }
func (plain) TestTimeout(login time.Duration) time.Duration { return login }
func (plain) Close()                                        {}

func (d *database) rotate(s *Store, id string) (rotator.Result, error) {
	c, err := s.Claim(context.Background(), id)
	if err != nil {
		return rotator.Result{}, err
	}
	defer c.Release()
	r := &rotator.Rotator{Steps: func(secrets.RotationRules) rotator.Steps { return plain{d} }, Clock: clockwork.NewRealClock()}
	return r.Run(context.Background(), c, c.Rotation().Rules, rotator.Options{})
}

// TestCleanRun: a clean rotation of a single user makes five requests, the first
// as well as every other, and no failed login.
func TestCleanRun(t *testing.T) {
	w := newWorld(t)
	d := &database{password: canary}
	w.create("s", canary)
	for round := range 3 {
		w.proxy.counted()
		if res, err := d.rotate(w.Store, "s"); err != nil || res.Outcome != rotator.Rotated {
			t.Fatalf("%+v, %v", res, err)
		}
		want := []string{opDescribe, opValue, opPut, opStage, opStage}
		if got := w.proxy.counted(); !slices.Equal(got, want) {
			t.Errorf("round %d: the requests are %v, want %v", round, got, want)
		}
	}
	if w.value("s", w.holder("s", secrets.Current)) != d.password || d.failed != 0 {
		t.Errorf("%d failed logins", d.failed)
	}
}

// TestRunsRace: two processes rotate one secret at one time. However they meet,
// the server ends with the password that is AWSCURRENT, and nothing is pending.
func TestRunsRace(t *testing.T) {
	w := newWorld(t)
	d := &database{password: canary}
	w.create("s", canary)
	stores := []*Store{w.Store, w.another()}
	for round := range 12 {
		errs := make([]error, len(stores))
		var wg sync.WaitGroup
		for i, s := range stores {
			wg.Go(func() {
				for range 5 { // as the scheduler would, though without its waits
					_, errs[i] = d.rotate(s, "s")
					switch kind := secrets.KindOf(errs[i]); {
					case errs[i] == nil:
						return
					case kind == secrets.Conflict:
					case kind == secrets.Denied: // logged in by AWSCURRENT when the other had just set the next
					default:
						return
					}
				}
			})
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		vs := w.versions("s")
		if vs.IDWith(secrets.Pending) != "" || w.value("s", vs.IDWith(secrets.Current)) != d.password {
			t.Fatalf("round %d: %s", round, labelled(vs))
		}
	}
}
