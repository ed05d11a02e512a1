package storetest

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Expiring is a store whose claims end although their holder lives, twice: as two
// processes have it.
type Expiring struct {
	A, B service.Store
	// Expire has the store believe that a claim was silent for LeaseTime.
	Expire func(t testing.TB, arn secrets.ARN)
}

// Leases is the contract of service.Lease, for a store whose claims end unless they
// are renewed. open returns one with nothing in it.
func Leases(t *testing.T, open func(t testing.TB) Expiring) {
	for _, c := range leaseTests {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

var leaseTests = []struct {
	name string
	run  func(t *testing.T, s Expiring)
}{
	{"Who comes second hears of the holder", func(t *testing.T, s Expiring) {
		sec := create(t, s.A, plain("db"), nil)
		claim := lock(t, s.A, sec.ARN)
		first := held(t, s.B, sec.ARN)
		if first.By == "" || first.Left <= service.LeaseTime/2 || first.Left > service.LeaseTime {
			t.Errorf("it says %+v", first)
		}
		if again := held(t, s.B, sec.ARN); !again.Same(first) || again.Left > first.Left {
			t.Errorf("%+v, and then %+v", first, again)
		}
		confirm(t, claim)
		second := held(t, s.B, sec.ARN)
		if second.Same(first) || second.Epoch != first.Epoch || second.Beat <= first.Beat {
			t.Errorf("%+v, and after a renewal %+v", first, second)
		}
		leaseUpdate(t, claim, "renewed")
		if third := held(t, s.B, sec.ARN); third.Same(second) || third.Epoch != first.Epoch {
			t.Errorf("%+v, and after a write %+v", second, third)
		}
		claim.Release()
		defer lock(t, s.B, sec.ARN).Release()
		if last := held(t, s.A, sec.ARN); last.Epoch == first.Epoch {
			t.Errorf("two claims are %+v and %+v", first, last)
		}
	}},
	{"A claim that was given up is free at once", func(t *testing.T, s Expiring) {
		sec := create(t, s.A, plain("db"), nil)
		for range 10 {
			claim := lock(t, s.A, sec.ARN)
			claim.Release()
			_, err := claim.Update(t.Context(), func(*service.Secret) (service.Sealed, error) { return nil, errors.New("it ran") })
			wantKind(t, err, secrets.Conflict)
			wantKind(t, claim.Confirm(t.Context()), secrets.Conflict)
			s.A, s.B = s.B, s.A
		}
	}},
	{"A holder whose claim was taken over writes nothing", func(t *testing.T, s Expiring) {
		sec := create(t, s.A, plain("db"), nil)
		claim := lock(t, s.A, sec.ARN)
		ctx := claim.Context(t.Context())
		if ctx.Err() != nil {
			t.Fatal(ctx.Err())
		}
		s.Expire(t, sec.ARN)
		taken := lock(t, s.B, sec.ARN)
		wantLost(t, claim, ctx)
		claim.Release() // must not end the other one's
		leaseUpdate(t, taken, "mine")
		confirm(t, taken)
		held(t, s.A, sec.ARN)
		if got := find(t, s.A, sec.ARN).Description; got != "mine" && got != "" { // "" from before, within the store's limits
			t.Errorf("the description is %q", got)
		}
		taken.Release()
		lock(t, s.A, sec.ARN).Release()
	}},
	{"A claim that ended and was not taken over has ended", func(t *testing.T, s Expiring) {
		sec := create(t, s.A, plain("db"), nil)
		claim := lock(t, s.A, sec.ARN)
		ctx := claim.Context(t.Context())
		s.Expire(t, sec.ARN)
		wantLost(t, claim, ctx)
		claim.Release()
		lock(t, s.A, sec.ARN).Release()
		claim = lock(t, s.A, sec.ARN)
		ctx = claim.Context(t.Context())
		s.Expire(t, sec.ARN)
		wantKind(t, claim.Confirm(t.Context()), secrets.Conflict)
		wantEnded(t, ctx)
		lock(t, s.B, sec.ARN).Release()
		claim.Release()
	}},
	{"Update under a claim is an Update", func(t *testing.T, s Expiring) {
		want, values := full("db")
		create(t, s.A, want, values)
		claim := lock(t, s.A, want.ARN)
		mine := errors.New("mine")
		_, err := claim.Update(t.Context(), func(sec *service.Secret) (service.Sealed, error) {
			sec.Description = "never"
			return nil, mine
		})
		if err != mine {
			t.Errorf("error %v", err)
		}
		got, err := claim.Update(t.Context(), func(sec *service.Secret) (service.Sealed, error) {
			wantRecord(t, sec, want)
			sec.Description = "seen"
			return service.Sealed{versionID(2): sealed(50)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want.Description, values[versionID(2)] = "seen", sealed(50)
		wantRecord(t, got, want)
		wantRecord(t, find(t, s.A, want.ARN), want)
		for id, v := range values {
			wantValue(t, s.A, want.ARN, id, v)
		}
		_, err = claim.Update(canceled(t), func(*service.Secret) (service.Sealed, error) { return nil, nil })
		wantKind(t, err, secrets.Transient)
		confirm(t, claim)
		if _, err := claim.Update(t.Context(), func(*service.Secret) (service.Sealed, error) { return nil, service.ErrRemove }); err != nil {
			t.Fatal(err)
		}
		_, err = claim.Update(t.Context(), func(*service.Secret) (service.Sealed, error) { return nil, nil })
		wantErr(t, err, service.ErrNotFound)
		claim.Release()
		_, err = s.A.Lock(t.Context(), want.ARN)
		wantErr(t, err, service.ErrNotFound)
	}},
	{"A claim's context", func(t *testing.T, s Expiring) {
		sec := create(t, s.A, plain("db"), nil)
		claim := lock(t, s.A, sec.ARN)
		parent, cancel := context.WithCancel(t.Context())
		of := claim.Context(parent)
		within, cancelWithin := context.WithTimeout(of, time.Hour)
		defer cancelWithin()
		if end, ok := within.Deadline(); !ok || time.Until(end) < time.Hour-time.Minute {
			t.Error("a timeout within it has no deadline of its own")
		}
		before, ok := secrets.EndOf(within)
		if left := time.Until(before); !ok || left > service.LeaseTime-service.LeaseGuard || left < 0 {
			t.Errorf("it ends in %v, %t", left, ok)
		}
		confirm(t, claim)
		after, _ := secrets.EndOf(within)
		if !after.After(before) {
			t.Error("a renewal does not put its end off")
		}
		leaseUpdate(t, claim, "x")
		if last, _ := secrets.EndOf(of); !last.After(after) {
			t.Error("a write does not put its end off")
		}
		other := claim.Context(t.Context())
		cancel()
		if of.Err() == nil || within.Err() == nil || context.Cause(within) != context.Canceled || other.Err() != nil {
			t.Errorf("after its parent's end: %v, %v, %v; another one: %v", of.Err(), within.Err(), context.Cause(within), other.Err())
		}
		claim.Release()
		wantEnded(t, other)
		wantEnded(t, claim.Context(t.Context()))
	}},
	{"What is claimed is not due", func(t *testing.T, s Expiring) {
		for _, name := range []string{"a", "b"} {
			sec := plain(name)
			sec.DueAt = noon
			create(t, s.A, sec, nil)
		}
		due := func(want string) {
			t.Helper()
			for _, s := range []service.Store{s.A, s.B} {
				got, err := s.Due(t.Context(), noon, service.DueAfter{}, 9)
				if err != nil || namesOf(got) != want {
					t.Errorf("%q is due instead of %q; error %v", namesOf(got), want, err)
				}
				if n, _, err := s.Backlog(t.Context(), noon, 9); err != nil || n != len(strings.Fields(want)) {
					t.Errorf("a backlog of %d; error %v", n, err)
				}
			}
		}
		due("a b")
		claim := lock(t, s.A, arnOf("a"))
		due("b")
		s.Expire(t, arnOf("a"))
		due("a b")
		claim.Release()
		due("a b")
	}},
	{"Claims that end at any time exclude each other", func(t *testing.T, s Expiring) {
		sec := create(t, s.A, plain("db"), nil)
		var mu sync.Mutex
		acknowledged := map[string]int{} // writes by claim
		claims := 0
		stop := make(chan struct{})
		var holders, expirer sync.WaitGroup
		for w := range 6 {
			store := []service.Store{s.A, s.B}[w%2]
			holders.Go(func() {
				for n := 0; n < 6; {
					claim, err := store.Lock(t.Context(), sec.ARN)
					if err != nil {
						wantKind(t, err, secrets.Conflict)
						continue
					}
					n++
					mu.Lock()
					claims++
					name := strconv.Itoa(claims)
					mu.Unlock()
					for range 4 {
						_, err := claim.Update(t.Context(), func(sec *service.Secret) (service.Sealed, error) {
							sec.Description += name + " "
							return nil, nil
						})
						if err != nil {
							wantKind(t, err, secrets.Conflict)
							break
						}
						mu.Lock()
						acknowledged[name]++
						mu.Unlock()
					}
					claim.Release()
				}
			})
		}
		expirer.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
					s.Expire(t, sec.ARN)
				}
			}
		})
		holders.Wait()
		close(stop)
		expirer.Wait()
		// After the first write of another one, a claim's writes are over.
		got := update(t, s.A, sec.ARN, func(*service.Secret) (service.Sealed, error) { return nil, nil })
		over, written := map[string]bool{}, map[string]int{}
		last := ""
		for name := range strings.FieldsSeq(got.Description) {
			if name != last {
				over[last] = true
			}
			if over[name] {
				t.Fatalf("claim %s wrote after another one: %s", name, got.Description)
			}
			last = name
			written[name]++
		}
		for name, n := range acknowledged {
			if written[name] != n {
				t.Errorf("of claim %s %d writes were acknowledged, and %d are there", name, n, written[name])
			}
		}
	}},
}

func lock(t testing.TB, s service.Store, a secrets.ARN) service.Lease {
	t.Helper()
	claim, err := s.Lock(t.Context(), a)
	if err != nil {
		t.Fatalf("claiming %s: %v", a, err)
	}
	return claim
}

// held fails to claim a secret, and returns what it heard of the holder.
func held(t testing.TB, s service.Store, a secrets.ARN) *service.Held {
	t.Helper()
	_, err := s.Lock(t.Context(), a)
	wantKind(t, err, secrets.Conflict)
	h := service.HeldBy(err)
	if h == nil {
		t.Fatalf("%v does not tell of a holder", err)
	}
	return h
}

func confirm(t testing.TB, claim service.Lease) {
	t.Helper()
	if err := claim.Confirm(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func leaseUpdate(t testing.TB, claim service.Lease, description string) {
	t.Helper()
	_, err := claim.Update(t.Context(), func(sec *service.Secret) (service.Sealed, error) {
		sec.Description = description
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// wantLost checks that a claim, which its holder does not yet know to be lost, can't
// be used.
func wantLost(t testing.TB, claim service.Lease, ctx context.Context) {
	t.Helper()
	_, err := claim.Update(t.Context(), func(sec *service.Secret) (service.Sealed, error) {
		sec.Description = "written by the dead"
		return nil, nil
	})
	wantKind(t, err, secrets.Conflict)
	wantKind(t, claim.Confirm(t.Context()), secrets.Conflict)
	wantEnded(t, ctx)
	wantEnded(t, claim.Context(t.Context()))
}

func wantEnded(t testing.TB, ctx context.Context) {
	t.Helper()
	if ctx.Err() == nil {
		t.Error("the claim's context lives")
		return
	}
	<-ctx.Done()
	wantKind(t, context.Cause(ctx), secrets.Conflict)
	if end, ok := secrets.EndOf(ctx); !ok || time.Until(end) > 0 {
		t.Errorf("it ends in %v, %t", time.Until(end), ok)
	}
}
