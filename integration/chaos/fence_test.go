//go:build linux

package chaos_test

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// takeoverLimit is how long a dead or silent replica's rotation may wait for
// another one: the lease, the second between two looks for what is due, and time
// to do it on a busy machine.
const takeoverLimit = service.LeaseTime + 5*time.Second

// duel is a world of two replicas, in which one secret rotates when it is asked to.
type duel struct {
	*world
	api    *api
	secret string
}

func newDuel(t *testing.T, u user) *duel {
	t.Helper()
	t.Parallel()
	storeKind, targetKind := kinds(t, false)
	w := newWorld(t, storeKind, targetKind, 2, []user{u})
	return &duel{world: w, api: newAPI(w.replicas, w.key), secret: u.secret}
}

// askAt has the secret rotated through a replica, and returns the version to come.
// What is just ending is waited for.
func (d *duel) askAt(r *replica) string {
	d.t.Helper()
	id := token()
	until(d.t, time.Minute, "RotateSecret to be taken", func() bool {
		_, _, err := call[service.RotateSecretOutput](d.t.Context(), d.api, r, "RotateSecret", service.RotateSecretInput{SecretID: d.secret, ClientRequestToken: id})
		return err == nil
	})
	return id
}

// now is the secret as the store has it.
func (d *duel) now() state {
	d.t.Helper()
	if err := d.journal.read(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	states := d.journal.of(d.secret)
	return states[len(states)-1]
}

// promoted waits until a version is AWSCURRENT and at rest, and returns who wrote
// that.
func (d *duel) promoted(version string, limit time.Duration) (by int) {
	d.t.Helper()
	until(d.t, limit, "version "+version+" to be AWSCURRENT", func() bool {
		s := d.now()
		by = s.writer
		return s.labels[secrets.Current] == version && s.labels[secrets.Pending] == ""
	})
	return by
}

// setOf are the versions whose passwords the target was given, in order, and by
// whom.
func (d *duel) setOf() (versions []string, by []int) {
	d.t.Helper()
	changes, err := d.journal.changes()
	if err != nil {
		d.t.Fatal(err)
	}
	for _, c := range changes {
		versions = append(versions, d.journal.versionOf(c, d.journal.of(d.secret)))
		by = append(by, c.replica)
	}
	return versions, by
}

// works wants that AWSCURRENT logs in, and that nothing was ever done at the
// target at a time when it must not.
func (d *duel) works() {
	d.t.Helper()
	s := d.now()
	if err := d.target.Login(d.t.Context(), d.journal.values[s.labels[secrets.Current]]); err != nil {
		d.t.Errorf("AWSCURRENT: %v", err)
	}
	changes, err := d.journal.changes()
	if err != nil {
		d.t.Fatal(err)
	}
	states := d.journal.of(d.secret)
	for _, c := range changes {
		if v := judgeChange(d.secret, states, c, d.journal.versionOf(c, states)); v != nil {
			d.t.Error(v)
		}
	}
	for _, r := range d.replicas {
		for _, told := range r.told() {
			d.t.Error(told)
		}
	}
}

// show logs the story of a failed test.
func (d *duel) show() {
	if !d.t.Failed() {
		return
	}
	var b strings.Builder
	(&verdict{world: d.world}).story(&b, violation{secret: d.secret, at: time.Now()}, time.Hour)
	d.t.Log("\n" + b.String())
}

// sets recognizes the statement that sets a password.
func sets(b []byte) bool { return bytes.Contains(b, []byte("PASSWORD 'SCRAM-SHA-256$")) }

// trap springs for the first replica that sends a password to the target.
type trap struct {
	mu     sync.Mutex
	victim *replica
	sprung chan struct{}
}

// set lays the trap: then is what becomes of the statement, for the victim alone,
// and of all that is seen of him afterwards.
func (d *duel) set(then func(victim *replica, fromClient bool, b []byte) (pass bool)) *trap {
	p := &trap{sprung: make(chan struct{})}
	for _, r := range d.replicas {
		r.target.Watch(func(fromClient bool, b []byte) bool {
			p.mu.Lock()
			if p.victim == nil && fromClient && sets(b) {
				p.victim = r
				close(p.sprung)
			}
			caught := p.victim == r
			p.mu.Unlock()
			return !caught || then(r, fromClient, b)
		})
	}
	return p
}

func (p *trap) await(t *testing.T) *replica {
	t.Helper()
	select {
	case <-p.sprung:
	case <-time.After(30 * time.Second):
		t.Fatal("no password is set")
	}
	return p.victim
}

// TestStatementOnItsWay: a replica is paused when its statement has left it and has
// not reached the target. Another one takes the rotation over, and rotates again.
// Then the statement arrives, and its sender wakes up: it must change nothing.
func TestStatementOnItsWay(t *testing.T) {
	d := newDuel(t, user{secret: "app", strategy: secrets.SingleUser, super: true})
	defer d.show()
	release := make(chan struct{})
	p := d.set(func(_ *replica, fromClient bool, b []byte) bool {
		if fromClient && sets(b) {
			<-release
		}
		return true
	})
	free := sync.OnceFunc(func() { close(release) })
	defer free()
	d.run()
	first := d.askAt(d.replicas[0])
	victim := p.await(t)
	victim.pause()
	paused := time.Now()
	if by := d.promoted(first, takeoverLimit); by == victim.n {
		t.Fatal("who is paused promotes")
	}
	t.Logf("taken over after %v", time.Since(paused).Round(time.Millisecond))
	second := d.askAt(d.replicas[1-victim.n])
	d.promoted(second, 20*time.Second)

	free() // now it arrives
	victim.wake()
	d.done(victim, paused, first, second)
}

// done has a replica rotate that was paused at a time and woken, which it can only
// when it is done with what it was at; and wants that it did nothing else, at the
// store or at the target, where these versions were set meanwhile.
func (d *duel) done(victim *replica, paused time.Time, versions ...string) {
	d.t.Helper()
	other := d.replicas[1-victim.n]
	other.pause()
	third := d.askAt(victim)
	if by := d.promoted(third, 20*time.Second); by != victim.n {
		d.t.Errorf("replica %d rotates, and it is paused", by)
	}
	other.wake()
	versions = append(versions, third)
	set, by := d.setOf()
	if i := slices.Index(set, versions[0]); i < 0 || !slices.Equal(set[i:], versions) {
		d.t.Errorf("passwords were set of %v, by %v, want %v", set, by, versions)
	}
	for _, s := range d.journal.of(d.secret) {
		if s.writer == victim.n && s.at.After(paused) && !slices.Contains(s.versions, third) {
			d.t.Errorf("it left the labels %v in the store", s.labels)
		}
	}
	d.works()
}

// caught has the secret rotated, and pauses who does it when the pending value is in
// the store and his password is not sent. It returns the version, and nil where it
// was too late for that again and again.
func (d *duel) caught() (version string, victim *replica) {
	d.t.Helper()
	conn, err := d.admin(d.t.Context(), storeName)
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(d.t.Context()))
	for range 5 {
		// The answer to the write takes its time, in which its writer can be stopped.
		for _, r := range d.replicas {
			r.store.Slow(100 * time.Millisecond)
		}
		d.api.http.Timeout = time.Minute
		version = d.askAt(d.replicas[0])
		var port int
		until(d.t, 30*time.Second, "a pending value", func() bool {
			err := conn.QueryRow(d.t.Context(), "SELECT port FROM chaos.writes WHERE name = $1 AND record LIKE '%' || $2 || '%PAWLINTENT%' ORDER BY n DESC LIMIT 1", d.secret, version).Scan(&port)
			return err == nil
		})
		victim = d.replicas[max(0, d.atStore.whose(port, time.Now()))]
		victim.pause()
		d.now()
		if versions, _ := d.setOf(); !slices.Contains(versions, version) {
			return version, victim
		}
		victim.wake()
		d.promoted(version, 30*time.Second)
	}
	return "", nil
}

// TestPausedBeforeItSends: a replica is paused when the pending value is in the
// store and its session at the target is open, and before it sends anything. It
// wakes when another one has rotated twice. Its session may be gone by then, but
// that is not what this is about: it must not even try.
func TestPausedBeforeItSends(t *testing.T) {
	d := newDuel(t, user{secret: "app", strategy: secrets.SingleUser})
	defer d.show()
	d.run()
	first, victim := d.caught()
	if victim == nil {
		t.Fatal("each time it was too late to pause it: this shows nothing")
	}
	paused := time.Now()
	var sent atomic.Int32 // passwords, by the victim
	victim.target.Watch(func(fromClient bool, b []byte) bool {
		if fromClient && sets(b) {
			sent.Add(1)
		}
		return true
	})
	other := d.replicas[1-victim.n]
	other.store.Slow(0)
	if by := d.promoted(first, takeoverLimit); by == victim.n {
		t.Fatal("who is paused promotes")
	}
	t.Logf("taken over after %v", time.Since(paused).Round(time.Millisecond))
	second := d.askAt(other)
	d.promoted(second, 20*time.Second)
	victim.store.Slow(0)
	victim.wake()
	d.done(victim, paused, first, second)
	victim.target.Watch(nil)
	if n := sent.Load(); n != 1 {
		t.Errorf("it sent %d passwords to the target, want one, for the rotation it began when it was awake", n)
	}
}

// TestKilledBetweenSetAndPromote: a replica dies when the target has the new
// password and the store does not say so yet. Another one goes on by label and
// probe, within the lease: it asks the target, and sets nothing.
func TestKilledBetweenSetAndPromote(t *testing.T) {
	for name, skew := range map[string]time.Duration{"with right clocks": 0, "with a clock that is fast": maxSkew, "with a clock that is slow": -maxSkew} {
		t.Run(name, func(t *testing.T) { killedBetween(t, skew) })
	}
}

// killedBetween has the clock of the first replica wrong, which is the one that the
// rotation is asked of.
func killedBetween(t *testing.T, skew time.Duration) {
	d := newDuel(t, user{secret: "app", strategy: secrets.SingleUser})
	defer d.show()
	answered := make(chan struct{})
	once := sync.OnceFunc(func() { close(answered) })
	var sent atomic.Bool
	p := d.set(func(_ *replica, fromClient bool, b []byte) bool {
		if fromClient {
			if sets(b) {
				sent.Store(true)
			}
			return true
		}
		if sent.Load() {
			once() // the target's answer, which gets no further
			return false
		}
		return true
	})
	d.run(skew)
	first := d.askAt(d.replicas[0])
	victim := p.await(t)
	select {
	case <-answered:
	case <-time.After(10 * time.Second):
		t.Fatal("the target does not answer")
	}
	victim.kill()
	killed := time.Now()
	if s := d.now(); s.labels[secrets.Pending] != first || s.labels[secrets.Current] == first {
		t.Fatalf("the labels are %v: this shows nothing", s.labels)
	}
	if by := d.promoted(first, takeoverLimit); by == victim.n {
		t.Fatal("the dead one promotes")
	}
	took := time.Since(killed)
	t.Logf("taken over after %v", took.Round(time.Millisecond))
	if took > takeoverLimit {
		t.Errorf("taken over after %v", took)
	}
	if versions, by := d.setOf(); len(versions) != 1 || versions[0] != first || by[0] != victim.n {
		t.Errorf("passwords were set of %v by %v, want once of %s by %d: what the target has already is found out by asking", versions, by, first, victim.n)
	}
	d.works()
}
