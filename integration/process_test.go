package integration_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/teststore"
)

// TestDaemonAndTenCommands: a daemon that rotates each second and ten commands
// at once on every secret. A command rotates, or finds that somebody else is at
// it; nothing is left half done, and every secret works.
func TestDaemonAndTenCommands(t *testing.T) {
	db := database(t, servers.Postgres15, "ten")
	s := newSite(t, `
scheduler: {minimum_interval: 1s}
secrets:
  - {name: self, schedule: rate(1 second)}
  - {name: super, schedule: rate(1 second), superuser: root}
  - {name: alternating, schedule: rate(1 second), strategy: alternating-users, superuser: root}
`)
	names := []string{"self", "super", "alternating"}
	s.create("root", db.Superuser().Value())
	for _, name := range names {
		s.create(name, user(t, db, "ten_"+name).Value())
	}
	daemon := s.serve()
	s.waitAll(names...)

	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	promised := map[string][]string{}
	for _, name := range names {
		for range 10 {
			wg.Go(func() {
				r := s.cli("rotate", name)
				mu.Lock()
				defer mu.Unlock()
				codes[r.code]++
				if r.code != 0 && r.code != 4 {
					t.Errorf("rotate %s: exit code %d: %s", name, r.code, r.err)
				}
				if id, _ := acknowledgedBy(r.out); id != "" {
					promised[name] = append(promised[name], id)
				} else if r.code == 0 {
					t.Errorf("exit code 0 acknowledges nothing: %q", r.out)
				}
			})
		}
	}
	wg.Wait()
	t.Logf("exit codes: %v", codes)
	if codes[0] == 0 {
		t.Error("no command rotated anything")
	}
	s.waitAll(names...) // the daemon goes on
	daemon.stop()
	s.rest(names...)
	for _, name := range names {
		s.keeps(name, promised[name]...)
		if err := db.Login(t.Context(), s.current(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// keeps checks that versions that were acknowledged are still there, and that
// AWSCURRENT is none from before them.
func (s *site) keeps(name string, acknowledged ...string) {
	s.t.Helper()
	all := s.allVersions(name)
	current := slices.Index(all, s.holder(name, secrets.Current))
	for _, id := range acknowledged {
		switch at := slices.Index(all, id); {
		case at < 0:
			s.t.Errorf("%s: the acknowledged version %s is lost", name, id)
		case at > current:
			s.t.Errorf("%s: AWSCURRENT is older than the acknowledged version %s", name, id)
		}
	}
}

// known reports which of AWSCURRENT and AWSPENDING the server accepts. The
// server may still be at the statement of a process that was killed, so that a
// single user's pair is asked for until one of them is accepted.
func (s *site) known(db *workload.Database, name string) (current, pending bool) {
	s.t.Helper()
	accepts := func(stage string) bool {
		c, err := s.get(s.t.Context(), name, stage)
		if secrets.CodeOf(err) == "ResourceNotFoundException" {
			return false
		}
		if err == nil {
			err = db.Login(s.t.Context(), c)
		}
		if err != nil && !workload.Refused(err) {
			s.t.Fatalf("%s, %s: %v", name, stage, err)
		}
		return err == nil
	}
	until(s.t, "one of AWSCURRENT and AWSPENDING to log in at "+name, func() bool {
		current, pending = accepts(secrets.Current), accepts(secrets.Pending)
		return current || pending
	})
	return current, pending
}

// kills counts in which phase of a rotation a kill landed.
type kills struct {
	mu                             sync.Mutex
	before, created, set, promoted int
}

func (k *kills) String() string {
	return fmt.Sprintf("%d before a value was stored, %d after that and before set, %d after set, %d after the promotion",
		k.before, k.created, k.set, k.promoted)
}

// count looks at what a kill left behind.
func (k *kills) count(s *site, db *workload.Database, name, was string, holds bool) {
	s.t.Helper()
	current, pending := s.known(db, name)
	if holds && !current {
		s.t.Errorf("%s: AWSCURRENT does not log in after a kill", name)
	}
	open, promoted := s.holder(name, secrets.Pending) != "", s.holder(name, secrets.Current) != was
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case open && pending:
		k.set++
	case open:
		k.created++
	case promoted:
		k.promoted++
	default:
		k.before++
	}
}

// TestRotateKilled kills `pawl rotate` again and again at a random instant of a
// rotation. The next one starts at once, or as soon as the store takes the killed
// one for dead, and finishes what was left; nothing that was acknowledged is lost,
// and no password either.
func TestRotateKilled(t *testing.T) {
	var landed kills
	t.Cleanup(func() { // when all ways have ended
		t.Logf("kills: %v", &landed)
		if landed.created+landed.set == 0 {
			t.Error("no kill landed within a rotation: this run shows nothing")
		}
	})
	for _, way := range []struct {
		name, lines string
		kind        servers.Kind
		holds       bool // AWSCURRENT works throughout
	}{
		{"postgres/single-user", "", servers.Postgres15, false},
		{"postgres/alternating-users", ", strategy: alternating-users, superuser: root", servers.Postgres15, true},
		{"mariadb/alternating-users", ", strategy: alternating-users, superuser: root", servers.MariaDB, true},
	} {
		t.Run(way.name, func(t *testing.T) {
			if teststore.OnPostgres() {
				t.Parallel() // it waits, most of the time
			}
			suffix := "_single"
			if way.holds {
				suffix = "_alternating"
			}
			db := database(t, way.kind, "killed"+suffix)
			var names []string
			lines := "secrets:\n"
			lanes, rounds := 1, partly(40, 16)
			if teststore.OnPostgres() { // where the next one waits for the dead one's lease
				lanes, rounds = 6, partly(8, 2)
			}
			for i := range lanes {
				names = append(names, fmt.Sprintf("app%d", i))
				lines += "  - {name: " + names[i] + way.lines + "}\n"
			}
			s := newSite(t, lines)
			s.create("root", db.Superuser().Value())
			for _, name := range names {
				s.create(name, user(t, db, name+"_killed"+suffix).Value())
			}
			sideBySide(t, lanes, names, strings.Clone, func(t *testing.T, name string) {
				s.in(t).rotateKilled(db, name, rounds, way.holds, &landed)
			})
		})
	}
}

// rotateKilled kills rotations of one secret; holds: AWSCURRENT works throughout.
func (s *site) rotateKilled(db *workload.Database, name string, rounds int, holds bool, landed *kills) {
	t := s.t
	patience := 10 * time.Second
	if teststore.OnPostgres() {
		patience += service.LeaseTime
	}
	var promised []string
	// rotate returns how long the program took, and the rotation in it.
	rotate := func() (whole, steps time.Duration) {
		t.Helper()
		began := time.Now()
		r := s.cli("rotate", name)
		whole = time.Since(began)
		id, steps := acknowledgedBy(r.out)
		if r.code != 0 || id == "" {
			t.Fatalf("exit code %d: %s%s", r.code, r.out, r.err)
		}
		if whole > patience {
			t.Errorf("it waited %v for a process that is dead", whole)
		}
		promised = append(promised, id)
		return whole, steps
	}
	rotate() // the first one of alternating users makes the clone
	var whole, steps time.Duration
	for range 3 {
		w, s := rotate()
		whole, steps = max(whole, w), max(steps, s)
	}
	for round := range rounds {
		was := s.holder(name, secrets.Current)
		p := s.start("rotate", name)
		// At any instant of the program, and of the rotation alone.
		delay := rand.N(whole)
		if round%2 == 1 {
			p.begun()
			delay = rand.N(steps * 2 / 3) // what was measured is the slowest
		}
		select {
		case <-time.After(delay):
		case <-p.ended:
		}
		p.kill()
		if id, _ := acknowledgedBy(p.out.String()); id != "" {
			promised = append(promised, id)
		}
		landed.count(s, db, name, was, holds)
		s.keeps(name, promised...)
		rotate()
		s.atRest(name)
		if err := db.Login(t.Context(), s.current(name)); err != nil {
			t.Fatalf("after the next rotation: %v", err)
		}
	}
	s.keeps(name, promised...)
	t.Logf("the program takes %v, the rotation in it %v", whole.Round(time.Millisecond), steps)
}

// TestServeKilled kills the daemon again and again while secrets rotate. Started
// again it resumes by itself.
func TestServeKilled(t *testing.T) {
	db := database(t, servers.Postgres15, "serve_killed")
	lines := "scheduler: {minimum_interval: 1s}\nsecrets:\n"
	var names []string
	for i := range 3 {
		single, both := fmt.Sprintf("single%d", i), fmt.Sprintf("alternating%d", i)
		names = append(names, single, both)
		lines += fmt.Sprintf("  - {name: %s, schedule: rate(1 second)}\n", single) +
			fmt.Sprintf("  - {name: %s, schedule: rate(1 second), strategy: alternating-users, superuser: root}\n", both)
	}
	s := newSite(t, lines)
	s.create("root", db.Superuser().Value())
	for _, name := range names {
		s.create(name, user(t, db, "sk_"+name).Value())
	}
	alternating := func(name string) bool { return name[0] == 'a' }

	due := func() {
		t.Helper()
		until(t, "half of them to be due", func() bool {
			n := 0
			err := s.svc.Rotations(t.Context(), func(r service.RotationStatus) error {
				if !r.At.IsZero() && !r.At.After(time.Now()) {
					n++
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			return n >= len(names)/2
		})
	}

	// How long a start takes until those that are due have rotated.
	s.declareFile()
	due()
	began := time.Now()
	daemon := s.serve()
	starts := time.Since(began)
	until(t, "them to rotate", func() bool {
		return strings.Count(daemon.err.String(), "rotation finished") >= len(names)/2
	})
	took := time.Since(began)
	daemon.kill()

	var landed kills
	resumed := 0
	rounds := partly(40, 16)
	if teststore.OnPostgres() { // where the dead one's leases last a while
		rounds = partly(16, 4)
	}
	// A run in which no kill hit a rotation shows nothing, so it goes on.
	for round := 0; round < rounds || resumed == 0 && round < 5*rounds; round++ {
		due()
		was := map[string]string{}
		open := false
		for _, name := range names {
			was[name] = s.holder(name, secrets.Current)
			open = open || s.holder(name, secrets.Pending) != ""
		}
		daemon = s.start("serve")
		// At any instant of its start, and of the rotations alone.
		delay := rand.N(took)
		switch {
		case teststore.OnPostgres(): // some wait, when others are rotated
			daemon.await("pawl serves")
			if delay = rand.N(time.Second); round%2 == 1 {
				daemon.await("rotation begun")
				delay = rand.N(50 * time.Millisecond)
			}
		case round%2 == 1:
			daemon.await("pawl serves")
			delay = rand.N(took - starts)
		}
		select {
		case <-time.After(delay):
		case <-daemon.ended:
			t.Fatalf("the daemon ended: %s", daemon.err)
		}
		daemon.kill()
		if open {
			resumed++
		}
		for _, name := range names {
			landed.count(s, db, name, was[name], alternating(name))
		}
	}
	t.Logf("within %v; kills, by secret: %v; %d starts had something to resume", took.Round(time.Millisecond), &landed, resumed)
	if resumed == 0 {
		t.Error("no kill left anything to resume: this run shows nothing")
	}

	daemon = s.serve()
	s.waitAll(names...)
	daemon.stop()
	s.rest(names...)
	for _, name := range names {
		if err := db.Login(t.Context(), s.current(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
