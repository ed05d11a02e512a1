package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// bump gives a secret its next number: its description, and its one version
// with the number as the value.
func bump(ctx context.Context, s *Store, a secrets.ARN) (n int, err error) {
	_, err = s.Update(ctx, a, func(sec *service.Secret) (service.Sealed, error) {
		if n, err = strconv.Atoi(sec.Description); err != nil {
			return nil, err
		}
		n++
		sec.Description, sec.Versions = strconv.Itoa(n), secrets.Versions{{ID: versionID(n)}}
		return service.Sealed{versionID(n): []byte(strconv.Itoa(n))}, nil
	})
	return n, err
}

// childBump bumps the first args[1] secrets in turn, args[2] times, and prints
// the secret and the number after each.
func childBump(args []string) error {
	ctx := context.Background()
	s, err := Open(ctx, args[0], Options{})
	if err != nil {
		return err
	}
	of, _ := strconv.Atoi(args[1])
	rounds, _ := strconv.Atoi(args[2])
	for r := range rounds {
		n, err := bump(ctx, s, arn(r%of))
		if err != nil {
			return err
		}
		fmt.Println(r%of, n)
	}
	return s.Close()
}

// Whoever writes, this store, another one in this process or another process:
// who begins to read after the write was acknowledged sees it, and nobody sees
// less than he saw before.
func TestReadersSeeEveryWrite(t *testing.T) {
	const of, rounds = 4, 60
	path := filepath.Join(t.TempDir(), "pawl.db")
	stores := []*Store{open(t, path), open(t, path)}
	for i := range of {
		if err := stores[0].Create(t.Context(), &service.Secret{ARN: arn(i), Description: "0"}, nil); err != nil {
			t.Fatal(err)
		}
	}
	var acked [of]atomic.Int64
	ack := func(i, n int) {
		for was := acked[i].Load(); int64(n) > was; was = acked[i].Load() {
			if acked[i].CompareAndSwap(was, int64(n)) {
				return
			}
		}
	}
	var writers, readers sync.WaitGroup
	for _, s := range stores {
		for range 2 {
			writers.Go(func() {
				for r := range rounds {
					n, err := bump(t.Context(), s, arn(r%of))
					if err != nil {
						t.Error(err)
						return
					}
					ack(r%of, n)
				}
			})
		}
	}
	c := startChild(t, "bump", path, strconv.Itoa(of), strconv.Itoa(rounds))
	writers.Go(func() {
		for line := c.line(); line != ""; line = c.line() {
			var i, n int
			if _, err := fmt.Sscan(line, &i, &n); err != nil {
				t.Errorf("the child said %q", line)
				return
			}
			ack(i, n)
		}
		if err := c.cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	stop := make(chan struct{})
	var reads atomic.Int64
	for _, s := range stores {
		for range 4 {
			readers.Go(func() {
				var seen [of]int64
				for k := 0; ; k++ {
					select {
					case <-stop:
						return
					default:
					}
					i := k % of
					least := max(seen[i], acked[i].Load())
					sec, err := s.Find(t.Context(), secrets.ID{ARN: arn(i)})
					if err != nil {
						t.Error(err)
						return
					}
					n, _ := strconv.ParseInt(sec.Description, 10, 64)
					if n < least {
						t.Errorf("a reader saw write %d after write %d was acknowledged or seen", n, least)
						return
					}
					seen[i] = n
					reads.Add(1)
					if n == 0 {
						continue
					}
					// It may have been removed since; it is never another.
					v, err := s.Value(t.Context(), arn(i), sec.Versions[0].ID)
					switch {
					case err == nil && string(v) != sec.Description:
						t.Errorf("version %d has the value %q", n, v)
						return
					case err != nil && !errors.Is(err, service.ErrNotFound):
						t.Error(err)
						return
					}
				}
			})
		}
	}
	writers.Wait()
	close(stop)
	readers.Wait()
	for i := range of {
		if got, want := acked[i].Load(), int64(5*rounds/of); got != want {
			t.Errorf("secret %d has number %d instead of %d", i, got, want)
		}
	}
	t.Logf("%d reads", reads.Load())
}

// has reports whether the secret is in the cache.
func (c *cache) has(a secrets.ARN) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.young[placeOf(a)] != nil || c.old[placeOf(a)] != nil
}

func TestWritesTakeOutWhatTheyTouch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pawl.db")
	s, other := open(t, path), open(t, path)
	for n := range 4 {
		sec, values := rotating(n)
		if err := s.Create(t.Context(), sec, values); err != nil {
			t.Fatal(err)
		}
	}
	describe := func(text string) func(*service.Secret) (service.Sealed, error) {
		return func(sec *service.Secret) (service.Sealed, error) { sec.Description = text; return nil, nil }
	}
	check := func(kept ...int) {
		t.Helper()
		for n := range 4 {
			want := false
			for _, k := range kept {
				want = want || k == n
			}
			if s.cache.has(arn(n)) != want {
				t.Errorf("whether secret %d is in memory is not %v", n, want)
			}
		}
	}
	look := func(want string) {
		t.Helper()
		for n := range 4 {
			sec, err := s.Find(t.Context(), secrets.ID{ARN: arn(n)})
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 && sec.Description != want {
				t.Errorf("it is described %q instead of %q", sec.Description, want)
			}
		}
	}
	check()
	look("")
	check(0, 1, 2, 3)
	if _, err := s.Update(t.Context(), arn(0), describe("mine")); err != nil {
		t.Fatal(err)
	}
	check(1, 2, 3)
	look("mine")
	check(0, 1, 2, 3)
	if err := s.Remove(t.Context(), arn(3)); err != nil {
		t.Fatal(err)
	}
	check(0, 1, 2)
	sec, values := rotating(3)
	if err := s.Create(t.Context(), sec, values); err != nil {
		t.Fatal(err)
	}
	look("mine")
	if _, err := other.Update(t.Context(), arn(0), describe("another's")); err != nil {
		t.Fatal(err)
	}
	look("another's")
	// One that is not Pawl, or an older one: it knows nothing of the clock.
	if _, err := other.w.exec("UPDATE secrets SET description = 'by hand' WHERE name = ?", arn(0).Name); err != nil {
		t.Fatal(err)
	}
	look("by hand")
	if _, err := other.w.exec("UPDATE sealed_values SET value = x'01'"); err != nil {
		t.Fatal(err)
	}
	look("by hand")
	if v, err := s.Value(t.Context(), arn(0), versionID(2)); err != nil || len(v) != 1 {
		t.Errorf("the value has %d bytes, error %v", len(v), err)
	}
	if _, err := other.w.exec("DELETE FROM secrets"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Find(t.Context(), secrets.ID{ARN: arn(0)}); !errors.Is(err, service.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	checkIntegrity(t, s)
}

// Each case is a race that a test of the whole store hits too seldom.
func TestCacheInARace(t *testing.T) {
	p := placeOf(arn(0))
	sec := func(text string) *service.Secret { return &service.Secret{ARN: arn(0), Description: text} }
	filled := func(t *testing.T, now int64) *cache {
		c := newCache()
		if got, keep := c.find(p, now); got != nil || !keep {
			t.Fatal("a new cache holds something, or keeps nothing")
		}
		c.keep(sec("first"), nil, now)
		if got, _ := c.find(p, now); got == nil {
			t.Fatal("it was not kept")
		}
		return c
	}
	t.Run("a reader finds this store's commit before the writer says so", func(t *testing.T) {
		c := filled(t, 5)
		c.begin()
		if got, keep := c.find(p, 7); got != nil || keep {
			t.Error("it got what the commit may have changed")
		}
		c.end(nil, 5, 7, []place{placeOf(arn(1))})
		if got, _ := c.find(p, 7); got == nil {
			t.Error("what the commit did not touch is gone")
		}
	})
	t.Run("a reader that began before a commit fills in after it", func(t *testing.T) {
		c := filled(t, 5)
		c.begin()
		c.end(nil, 5, 7, []place{p})
		c.keep(sec("stale"), nil, 5)
		c.keepValue(arn(0), versionID(1), []byte("stale"), 5)
		if got, keep := c.find(p, 7); got != nil || !keep {
			t.Error("the stale record was kept")
		}
		c.keep(&service.Secret{ARN: arn(0), Versions: secrets.Versions{{ID: versionID(1)}}}, nil, 7)
		c.keepValue(arn(0), versionID(1), []byte("stale"), 5)
		if v, known, keep := c.value(arn(0), versionID(1), 7); v != nil || known || !keep {
			t.Error("the stale value was kept")
		}
	})
	t.Run("another process committed before this store did", func(t *testing.T) {
		c := filled(t, 5)
		c.begin()
		c.end(nil, 6, 7, nil)
		if got, _ := c.find(p, 7); got != nil {
			t.Error("what the other commit changed is still there")
		}
	})
	t.Run("another process commits after this store did", func(t *testing.T) {
		c := filled(t, 5)
		c.begin()
		c.end(nil, 5, 6, nil)
		if got, _ := c.find(p, 7); got != nil {
			t.Error("what the other commit changed is still there")
		}
	})
	t.Run("a reader comes late with an old reading", func(t *testing.T) {
		c := filled(t, 5)
		c.begin()
		c.end(nil, 5, 7, nil)
		if got, keep := c.find(p, 5); got == nil || keep {
			t.Error("what is newer than its reading will do; what it reads is not to be kept")
		}
	})
	t.Run("a commit fails", func(t *testing.T) {
		c := filled(t, 5)
		c.begin()
		c.end(errors.New("the disk is gone"), 5, 7, nil)
		if got, keep := c.find(p, 5); got != nil || !keep {
			t.Error("nobody knows what is on the disk")
		}
	})
	t.Run("a value is encrypted anew, and its record is read before the cache knows", func(t *testing.T) {
		for _, from := range []int64{5, 6} { // a commit of this store; one after another process's
			c := newCache()
			c.find(p, 5)
			c.keep(&service.Secret{ARN: arn(0), Versions: secrets.Versions{{ID: versionID(1)}}}, service.Sealed{versionID(1): []byte("old")}, 5)
			if string(c.seen(arn(0), versionID(1))) != "old" {
				t.Fatal("the value was not kept")
			}
			c.begin()
			if string(c.seen(arn(0), versionID(1))) != "old" {
				t.Error("nobody has seen anything newer yet")
			}
			c.find(p, 7)
			if c.seen(arn(0), versionID(1)) != nil {
				t.Error("who has the new record got the old value")
			}
			c.end(nil, from, 7, []place{p})
			if c.seen(arn(0), versionID(1)) != nil {
				t.Error("the old value is still there")
			}
		}
	})
	t.Run("the clock cannot be read", func(t *testing.T) {
		c := filled(t, 5)
		if got, keep := c.find(p, unknownClock); got != nil || keep {
			t.Error("nothing is true of no reading")
		}
		if got, keep := c.find(p, 5); got != nil || !keep {
			t.Error("what was read meanwhile may have been newer")
		}
	})
}

func TestCacheIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCache()
		c.limit = 100_000
		for range rapid.IntRange(1, 400).Draw(t, "steps") {
			a := arn(rapid.IntRange(0, 99).Draw(t, "secret"))
			size := rapid.IntRange(0, 20_000).Draw(t, "size")
			if sec, keep := c.find(placeOf(a), 1); sec == nil {
				if !keep {
					t.Fatal("it keeps nothing")
				}
				c.keep(&service.Secret{ARN: a, Versions: secrets.Versions{{ID: versionID(1)}}}, nil, 1)
			} else if v, known, keep := c.value(a, versionID(1), 1); !known && keep {
				c.keepValue(a, versionID(1), make([]byte, size), 1)
			} else if known && v == nil {
				t.Fatal("a version has no value")
			}
			total, young := 0, 0
			for _, e := range c.old {
				total += e.size
			}
			for p, e := range c.young {
				total, young = total+e.size, young+e.size
				if c.old[p] != nil {
					t.Fatal("a secret is there twice")
				}
			}
			if young != c.size {
				t.Fatalf("%d bytes are counted as %d", young, c.size)
			}
			if total > c.limit+22_000 { // the last to come may be too much
				t.Fatalf("%d bytes are kept", total)
			}
		}
	})
}

func TestReadingsBeginAfterTheCall(t *testing.T) {
	var n atomic.Int64 // what a reading returns
	var under atomic.Int32
	c := clock{read: func() (ticks, error) {
		if under.Add(1) != 1 {
			t.Error("two readings at once")
		}
		defer under.Add(-1)
		return ticks{secrets: n.Load()}, nil
	}}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 500 {
				least := n.Add(1)
				if got, err := c.now(t.Context()); err != nil || got.secrets < least {
					t.Errorf("a reading of %d, error %v, for a call when it was %d", got, err, least)
				}
			}
		})
	}
	wg.Wait()

	// Who waits for a reading that others have asked for may give up.
	begun, proceed := make(chan struct{}), make(chan struct{})
	c.read = func() (ticks, error) { begun <- struct{}{}; <-proceed; return ticks{}, errors.New("mine") }
	ask := func() {
		if _, err := c.now(t.Context()); err == nil || err.Error() != "mine" {
			t.Errorf("error %v", err)
		}
	}
	wg.Go(ask)
	<-begun
	wg.Go(ask)
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		c.mu.Lock()
		waits := c.next != nil
		c.mu.Unlock()
		if waits {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nobody waits")
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := c.now(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v", err)
	}
	close(proceed)
	<-begun
	wg.Wait()
}
