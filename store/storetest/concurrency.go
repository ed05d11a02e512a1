package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var concurrencyTests = []testCase{
	{"Updates at once lose nothing", func(t *testing.T, s service.Store) {
		const writers, rounds = 12, 6
		sec := create(t, s, plain("db"), nil)
		var inside atomic.Int32
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for r := range rounds {
					id := versionID(w*rounds + r)
					_, err := s.Update(t.Context(), sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
						if inside.Add(1) != 1 {
							t.Error("two changes of one secret ran at once")
						}
						defer inside.Add(-1)
						n, _ := strconv.Atoi(sec.Description)
						sec.Description = strconv.Itoa(n + 1)
						sec.Versions = append(sec.Versions, secrets.Version{ID: id})
						return service.Sealed{id: []byte(id)}, nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		// Readers meanwhile see whole records only.
		stop := make(chan struct{})
		var readers sync.WaitGroup
		for range 2 {
			readers.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					got, err := s.Find(t.Context(), secrets.ID{ARN: sec.ARN})
					if err != nil {
						t.Error(err)
						return
					}
					if n, _ := strconv.Atoi(got.Description); n != len(got.Versions) {
						t.Errorf("a reader saw %d updates and %d versions", n, len(got.Versions))
					}
				}
			})
		}
		wg.Wait()
		close(stop)
		readers.Wait()
		got := find(t, s, sec.ARN)
		if want := strconv.Itoa(writers * rounds); got.Description != want {
			t.Errorf("%s of %s updates are there", got.Description, want)
		}
		for n := range writers * rounds {
			wantValue(t, s, sec.ARN, versionID(n), []byte(versionID(n)))
		}
	}},
	{"Of creations at once one wins", func(t *testing.T, s service.Store) {
		var won atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				sec := plain("db")
				sec.ARN.Suffix = fmt.Sprintf("%06d", i)
				switch err := s.Create(t.Context(), sec, nil); {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, service.ErrExists):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("%d creations succeeded", won.Load())
		}
	}},
	{"Lock is for one at a time", func(t *testing.T, s service.Store) {
		sec, other := create(t, s, plain("db"), nil), create(t, s, plain("other"), nil)
		claim, err := s.Lock(t.Context(), sec.ARN)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Lock(t.Context(), sec.ARN)
		wantKind(t, err, secrets.Conflict)
		elsewhere, err := s.Lock(t.Context(), other.ARN)
		if err != nil {
			t.Fatalf("the lock of another secret: %v", err)
		}
		defer elsewhere.Release()

		// A claim keeps nobody from reading and writing.
		update(t, s, sec.ARN, func(*service.Secret) (service.Sealed, error) { return nil, nil })

		claim.Release()
		again, err := s.Lock(t.Context(), sec.ARN)
		if err != nil {
			t.Fatalf("after the release: %v", err)
		}
		claim.Release() // a second time: it must not end the new claim
		_, err = s.Lock(t.Context(), sec.ARN)
		wantKind(t, err, secrets.Conflict)
		again.Release()
	}},
	{"Lock of a secret that is not there", func(t *testing.T, s service.Store) {
		sec := create(t, s, plain("db"), nil)
		for _, a := range others(sec.ARN) {
			_, err := s.Lock(t.Context(), a)
			wantErr(t, err, service.ErrNotFound)
		}
		_, err := s.Lock(canceled(t), sec.ARN)
		wantKind(t, err, secrets.Transient)
		claim, err := s.Lock(t.Context(), sec.ARN)
		if err != nil {
			t.Fatal(err)
		}
		claim.Release()
	}},
	{"Locks at once exclude each other", func(t *testing.T, s service.Store) {
		sec := create(t, s, plain("db"), nil)
		var inside, claims atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for claims.Load() < 40 {
					claim, err := s.Lock(t.Context(), sec.ARN)
					if err != nil {
						wantKind(t, err, secrets.Conflict)
						continue
					}
					if inside.Add(1) != 1 {
						t.Error("two have the lock at once")
					}
					claims.Add(1)
					inside.Add(-1)
					claim.Release()
				}
			})
		}
		wg.Wait()
	}},
}
