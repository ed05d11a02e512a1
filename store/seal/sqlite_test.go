package seal_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
	"github.com/pawlhq/pawl/store/storetest"
)

// world is a store in a file, its key file, and a clock that can be put on.
type world struct {
	t        *testing.T
	db, keys string
	ahead    atomic.Int64
}

func newWorld(t *testing.T) *world {
	dir := t.TempDir()
	w := &world{t: t, db: filepath.Join(dir, "pawl.db"), keys: filepath.Join(dir, "pawl.key")}
	if err := seal.GenerateKeyFile(w.keys, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// process opens the store as another process would.
func (w *world) process() (*sqlite.Store, *seal.Keyring) {
	w.t.Helper()
	store, err := sqlite.Open(w.t.Context(), w.db, sqlite.Options{Create: true})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { store.Close() })
	master, err := seal.Source{File: w.keys}.Load(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	k := seal.New(seal.Config{Master: master, Store: store, Now: w.now})
	if err := k.Verify(w.t.Context(), store); err != nil {
		w.t.Fatal(err)
	}
	return store, k
}

func valueOf(arn secrets.ARN, id string) secrets.Value {
	return secrets.Text("value " + id + " of " + arn.Name)
}

// open reads the values of a secret and checks them.
func open(ctx context.Context, s *sqlite.Store, k *seal.Keyring, arn secrets.ARN) error {
	sec, err := s.Find(ctx, secrets.ID{ARN: arn})
	if err != nil {
		return err
	}
	for _, v := range sec.Versions {
		sealed, err := s.Value(ctx, arn, v.ID)
		if errors.Is(err, service.ErrNotFound) {
			continue // removed meanwhile
		}
		if err != nil {
			return fmt.Errorf("%s of %s: %w", v.ID, arn.Name, err)
		}
		got, err := k.Open(ctx, arn.String(), v.ID, sealed)
		if err != nil {
			return err
		}
		if !got.Equal(valueOf(arn, v.ID)) {
			return fmt.Errorf("%s of %s has another value", v.ID, arn.Name)
		}
	}
	return nil
}

// While two processes read and write, a third one rotates all keys, again and
// again, stops in the middle and goes on: every value opens at every moment.
func TestRotationBesideTraffic(t *testing.T) {
	w := newWorld(t)
	store, k := w.process()
	ctx := t.Context()
	keys := []string{"", "alias/a", "alias/b"}
	for _, alias := range keys[1:] {
		if _, err := k.CreateKey(ctx, alias); err != nil {
			t.Fatal(err)
		}
	}
	const n = 120
	key := func(arn secrets.ARN) string { return keys[int(arn.Name[len(arn.Name)-1])%len(keys)] }
	sealer := func(k *seal.Keyring) func(secrets.ARN, string) ([]byte, error) {
		return func(arn secrets.ARN, id string) ([]byte, error) {
			return k.Seal(ctx, key(arn), arn.String(), id, valueOf(arn, id))
		}
	}
	if err := storetest.Fill(ctx, store, n, sealer(k)); err != nil {
		t.Fatal(err)
	}

	var traffic sync.WaitGroup
	done := make(chan struct{})
	for p := range 2 {
		store, k := w.process()
		traffic.Go(func() {
			for i := p; ; i += 7 {
				arn := storetest.FillARN(i % n)
				if err := open(ctx, store, k, arn); err != nil {
					t.Error(err)
					return
				}
				if i%5 == p { // it gets one more version
					id := fmt.Sprintf("process-%d-write-%08d-padded-to-length", p, i)
					sealed, err := sealer(k)(arn, id)
					if err == nil {
						_, err = store.Update(ctx, arn, func(s *service.Secret) (service.Sealed, error) {
							s.Versions = append(s.Versions, secrets.Version{ID: id, Created: w.now()})
							if len(s.Versions) > 6 {
								s.Versions = s.Versions[1:]
							}
							return service.Sealed{id: sealed}, nil
						})
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for round := range 2 {
		_, k := w.process()
		if _, err := k.RotateMaster(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := k.RotateKey(ctx, keys[1+round%2]); err != nil {
			t.Fatal(err)
		}
		stopped, stop := context.WithCancel(ctx)
		if err := k.Rewrap(stopped, func(done, total int) {
			if done > 0 {
				stop()
			}
		}); err == nil {
			t.Error("it went on after it was stopped")
		}
		stop()
		_, k = w.process()
		if err := k.Rewrap(ctx, nil); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	traffic.Wait()

	w.ahead.Store(int64(time.Hour))
	_, last := w.process()
	if err := last.Rewrap(ctx, nil); err != nil {
		t.Fatal(err)
	}
	gone, err := last.RetireMaster(ctx, func(context.Context) error { return nil })
	if err != nil || len(gone) != 2 {
		t.Errorf("retired %v, %v", gone, err)
	}
	list, err := last.ListKeys(ctx)
	if err != nil {
		t.Fatal(err)
	}
	live := map[string]bool{}
	for _, n := range list {
		if len(n.Generations) != 1 {
			t.Errorf("%s has %d generations", n.Alias, len(n.Generations))
		}
		live[n.Generations[0].ID] = true
	}
	use, err := last.Usage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for id, n := range use {
		if !live[id] {
			t.Errorf("%d values are under the old key %s", n, id)
		}
	}
	fresh, k := w.process()
	for i := range n {
		if err := open(ctx, fresh, k, storetest.FillARN(i)); err != nil {
			t.Fatal(err)
		}
	}
}
