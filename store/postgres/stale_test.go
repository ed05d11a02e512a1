package postgres

import (
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// TestStaleness writes in one store and reads in another one until it sees it: with
// notices, and where they do not come.
func TestStaleness(t *testing.T) {
	l := at(t, servers.Postgres15)
	for name, deaf := range map[string]bool{"with notices": false, "without notices": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := l.database(t)
			a := l.open(t, db)
			config := l.config(db)
			if deaf {
				g := newGate(t, l.Server)
				g.deaf = true
				config = g.config(l, config)
			}
			b := openStore(t, config)
			user := &principals.Record{Account: arn(0).Account, Name: "u", Kind: principals.User, ID: "AIDAU", Created: time.Now()}
			if err := a.CreatePrincipal(t.Context(), user); err != nil {
				t.Fatal(err)
			}
			createSecret(t, a, 0)
			rounds, within := 20, []time.Duration{}
			if deaf {
				rounds = 5
			}
			for n := range rounds {
				text := strconv.Itoa(n)
				write(t, a, n)
				if got := read(t, a); got != n {
					t.Fatalf("who wrote %d reads %d", n, got)
				}
				within = append(within, until(t, func() bool {
					got := read(t, b)
					if got != n && got != n-1 {
						t.Fatalf("%d was written, and then %d; it reads %d", n-1, n, got)
					}
					return got == n
				}))

				revision := revisionOf(t, b)
				_, err := a.ChangePrincipal(t.Context(), user.Account, user.Name, func(r *principals.Record) error {
					r.Boundary = text
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if revisionOf(t, a) <= revision {
					t.Fatal("who changed the settings does not see it")
				}
				within = append(within, until(t, func() bool { return revisionOf(t, b) > revision }))
			}
			longest, sum := time.Duration(0), time.Duration(0)
			for _, d := range within {
				longest, sum = max(longest, d), sum+d
			}
			mean := sum / time.Duration(len(within))
			t.Logf("seen after %v at the most, %v on average", longest, mean)
			if longest > MaxStale {
				t.Errorf("a write was seen after %v", longest)
			}
			if !deaf && mean > freshTime/4 {
				t.Errorf("notices make a write seen after %v", mean)
			}
			if deaf && longest < freshTime/4 {
				t.Error("nothing was read from memory")
			}
		})
	}
}

// write makes n the description of arn(0), and the value of its version.
func write(t testing.TB, s *Store, n int) {
	t.Helper()
	text := strconv.Itoa(n)
	_, err := s.Update(t.Context(), arn(0), func(sec *service.Secret) (service.Sealed, error) {
		sec.Description = text
		sec.Versions = secrets.Versions{{ID: versionID(1), Labels: []string{secrets.Current}}}
		return service.Sealed{versionID(1): []byte(text)}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// read returns what write wrote, as whoever asks for a value reads it.
func read(t testing.TB, s *Store) int {
	t.Helper()
	sec, err := s.Peek(t.Context(), secrets.ID{ARN: arn(0), ByName: true})
	if err != nil {
		t.Fatal(err)
	}
	if sec.Description == "" {
		return -1
	}
	n, err := strconv.Atoi(sec.Description)
	if err != nil {
		t.Fatal(err)
	}
	value, err := s.Value(t.Context(), arn(0), versionID(1))
	if err != nil {
		t.Fatal(err)
	}
	if v, err := strconv.Atoi(string(value)); err != nil || v < n {
		t.Fatalf("a record is of %d and its value, which was read after it, of %s", n, value)
	}
	return n
}

func revisionOf(t testing.TB, s *Store) int64 {
	t.Helper()
	n, err := s.SettingsRevision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// until waits for seen, and returns how long after now a look began that saw it, or
// the last that did not.
func until(t testing.TB, seen func() bool) time.Duration {
	t.Helper()
	begun := time.Now()
	last := time.Duration(0)
	for {
		look := time.Since(begun)
		if seen() {
			return last
		}
		last = look
		if look > 10*time.Second {
			t.Fatal("it is never seen")
		}
		time.Sleep(time.Millisecond)
	}
}

// Many write and read in one store at once: what was acknowledged is what whoever
// asks next gets, or newer.
func TestOwnWritesAreSeenAtOnce(t *testing.T) {
	l := at(t, servers.Postgres15)
	s := l.open(t, l.database(t))
	createSecret(t, s, 0)
	write(t, s, 0)
	var acknowledged atomic.Int64
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				least := acknowledged.Load()
				if got := int64(read(t, s)); got < least {
					t.Errorf("%d was acknowledged, and %d read", least, got)
					return
				}
			}
		})
	}
	var n atomic.Int64
	for range 3 {
		writers.Go(func() {
			for range 60 {
				var mine int64
				_, err := s.Update(t.Context(), arn(0), func(sec *service.Secret) (service.Sealed, error) {
					mine = n.Add(1)
					sec.Description = strconv.FormatInt(mine, 10)
					return service.Sealed{versionID(1): []byte(sec.Description)}, nil
				})
				if err != nil {
					t.Error(err)
				}
				for was := acknowledged.Load(); was < mine && !acknowledged.CompareAndSwap(was, mine); was = acknowledged.Load() {
				}
			}
		})
	}
	writers.Wait()
	close(stop)
	readers.Wait()
}

// Who gets a claim reads what the one before him wrote, also what he has in memory.
func TestClaimantReadsAfresh(t *testing.T) {
	l := at(t, servers.Postgres15)
	db := l.database(t)
	g := newGate(t, l.Server)
	g.deaf = true
	a, b := openStore(t, g.config(l, l.config(db))), l.open(t, db)
	createSecret(t, b, 0)
	for n := range 10 {
		claim := mustLock(t, a, arn(0))
		if got := read(t, a); got != n-1 {
			t.Fatalf("%d was written, and %d read", n-1, got)
		}
		write(t, a, n)
		// And who holds it sees at once what another process writes meanwhile, as for
		// a rotation function.
		if got := read(t, a); got != n {
			t.Fatalf("%d was written, and %d read", n, got)
		}
		write(t, b, n+100)
		if sec, err := claim.Find(t.Context()); err != nil || sec.Description != strconv.Itoa(n+100) {
			t.Fatalf("%d was written, and %v read: %v", n+100, sec, err)
		}
		write(t, b, n)
		claim.Release()
		a, b = b, a
		read(t, b)
	}
}
