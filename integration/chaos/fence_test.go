//go:build linux

package chaos_test

import (
	"bytes"
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
const takeoverLimit = service.LeaseTime + 8*time.Second

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

// trap springs for the first replica that sends a certain statement to the target.
type trap struct {
	mu     sync.Mutex
	victim *replica
	sprung chan struct{}
}

// set lays the trap: then is what becomes of the statement, for the victim alone,
// and of all that is seen of him afterwards.
func (d *duel) set(spring func(b []byte) bool, then func(victim *replica, fromClient bool, b []byte) (pass bool)) *trap {
	p := &trap{sprung: make(chan struct{})}
	for _, r := range d.replicas {
		r.target.Watch(func(fromClient bool, b []byte) bool {
			p.mu.Lock()
			if p.victim == nil && fromClient && spring(b) {
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
		t.Fatal("nothing is sent to the target")
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
	p := d.set(sets, func(_ *replica, fromClient bool, b []byte) bool {
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

// TestPausedBetweenStatements: a replica is paused when the first of its statements
// has been run, and it has the next one still to send. It wakes when another one has
// rotated twice. Its session may be gone by then, but that is not what this is about:
// it must not even try.
func TestPausedBetweenStatements(t *testing.T) {
	d := newDuel(t, user{secret: "app", strategy: secrets.AlternatingUsers, super: true})
	defer d.show()
	answered, deliver := make(chan struct{}), make(chan struct{})
	hold := sync.OnceFunc(func() { close(answered) })
	free := sync.OnceFunc(func() { close(deliver) })
	defer free()
	var sent atomic.Int32 // statements of the victim's that change something
	p := d.set(makesClone, func(_ *replica, fromClient bool, b []byte) bool {
		if fromClient {
			if makesClone(b) || sets(b) {
				sent.Add(1)
			}
		} else if sent.Load() == 1 {
			hold()
			<-deliver
		}
		return true
	})
	d.run()
	first := d.askAt(d.replicas[0])
	victim := p.await(t)
	select {
	case <-answered:
	case <-time.After(10 * time.Second):
		t.Fatal("the target does not answer")
	}
	victim.pause()
	paused := time.Now()
	free() // the answer lies there until it wakes
	if by := d.promoted(first, takeoverLimit); by == victim.n {
		t.Fatal("who is paused promotes")
	}
	t.Logf("taken over after %v", time.Since(paused).Round(time.Millisecond))
	second := d.askAt(d.replicas[1-victim.n])
	d.promoted(second, 20*time.Second)
	before := sent.Load()
	victim.wake()
	d.done(victim, paused, first, second)
	if n := sent.Load() - before; n != 1 {
		t.Errorf("it sent %d statements that change something, want one, the password of the rotation that it began when it was awake", n)
	}
}

// makesClone recognizes the first statement of a pair's first rotation.
func makesClone(b []byte) bool { return bytes.Contains(b, []byte("CREATE ROLE ")) }

// TestKilledBetweenSetAndPromote: a replica dies when the target has the new
// password and the store does not say so yet. Another one goes on by label and
// probe, within the lease: it asks the target, and sets nothing.
//
// The dead one's clock was fast: what it had begun must not wait until the others'
// clocks come to where its was.
func TestKilledBetweenSetAndPromote(t *testing.T) {
	d := newDuel(t, user{secret: "app", strategy: secrets.SingleUser})
	defer d.show()
	answered := make(chan struct{})
	once := sync.OnceFunc(func() { close(answered) })
	var sent atomic.Bool
	p := d.set(sets, func(_ *replica, fromClient bool, b []byte) bool {
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
	d.run(maxSkew)
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
