package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// waiting blocks until n writers stand in line.
func waiting(t *testing.T, s *Store, n int) {
	for end := time.Now().Add(10 * time.Second); ; runtime.Gosched() {
		s.w.turn.mu.Lock()
		got := len(s.w.turn.line)
		s.w.turn.mu.Unlock()
		if got == n {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%d writers stand in line, not %d", got, n)
			return
		}
	}
}

// Writers that wait for each other share a transaction; each keeps its own
// outcome.
func TestWritersShareATransaction(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "pawl.db"))
	for n := range 2 {
		if err := s.Create(t.Context(), &service.Secret{ARN: arn(n)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	mine := errors.New("mine")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	describe := func(text string, err error) func(*service.Secret) (service.Sealed, error) {
		return func(sec *service.Secret) (service.Sealed, error) {
			sec.Description += text
			return nil, err
		}
	}
	var wg sync.WaitGroup
	inLine := 0
	// then starts a writer once the one before it stands in line.
	then := func(want error, write func() error) {
		wg.Go(func() {
			if err := write(); !errors.Is(err, want) {
				t.Errorf("error %v instead of %v", err, want)
			}
		})
		inLine++
		waiting(t, s, inLine)
	}
	begun, proceed := make(chan bool), make(chan bool)
	wg.Go(func() {
		_, err := s.Update(t.Context(), arn(0), func(sec *service.Secret) (service.Sealed, error) {
			close(begun)
			<-proceed
			return describe("a", nil)(sec)
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-begun
	then(nil, func() error { _, err := s.Update(t.Context(), arn(0), describe("b", nil)); return err })
	then(mine, func() error { _, err := s.Update(t.Context(), arn(0), describe("c", mine)); return err })
	then(context.Canceled, func() error { _, err := s.Update(ctx, arn(0), describe("d", nil)); return err })
	then(service.ErrExists, func() error { return s.Create(t.Context(), &service.Secret{ARN: arn(1)}, nil) })
	then(mine, func() (err error) {
		defer func() {
			if recover() != nil {
				err = mine
			}
		}()
		_, err = s.Update(t.Context(), arn(0), func(sec *service.Secret) (service.Sealed, error) {
			sec.Description += "e"
			panic("mine")
		})
		return err
	})
	then(nil, func() error { return s.Create(t.Context(), &service.Secret{ARN: arn(2)}, nil) })
	then(nil, func() error { return s.Remove(t.Context(), arn(1)) })
	then(service.ErrNotFound, func() error { _, err := s.Update(t.Context(), arn(1), describe("f", nil)); return err })
	members := 0
	then(nil, func() error {
		_, err := s.Update(t.Context(), arn(0), func(sec *service.Secret) (service.Sealed, error) {
			members = s.w.open.members
			return describe("g", nil)(sec)
		})
		return err
	})
	cancel()
	waiting(t, s, inLine-1)
	close(proceed)
	wg.Wait()
	if members != inLine { // the first one, and those in line but the canceled one
		t.Errorf("the transaction had %d members instead of %d", members, inLine)
	}
	sec, err := s.Find(t.Context(), secrets.ID{ARN: arn(0)})
	if err != nil || sec.Description != "abg" {
		t.Errorf("the description is %q, error %v", sec.Description, err)
	}
	for n, want := range map[int]error{1: service.ErrNotFound, 2: nil} {
		if _, err := s.Find(t.Context(), secrets.ID{ARN: arn(n)}); !errors.Is(err, want) {
			t.Errorf("secret %d: error %v instead of %v", n, err, want)
		}
	}
	checkIntegrity(t, s)
}

// A panic of the last in line must not leave the others waiting.
func TestPanicOfTheLastInLine(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "pawl.db"))
	if err := s.Create(t.Context(), &service.Secret{ARN: arn(0)}, nil); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	begun := make(chan bool)
	wg.Go(func() {
		_, err := s.Update(t.Context(), arn(0), func(sec *service.Secret) (service.Sealed, error) {
			close(begun)
			waiting(t, s, 1)
			sec.Description = "kept"
			return nil, nil
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-begun
	wg.Go(func() {
		defer func() { _ = recover() }()
		_, _ = s.Update(t.Context(), arn(0), func(*service.Secret) (service.Sealed, error) { panic("mine") })
		t.Error("the panic was swallowed")
	})
	wg.Wait()
	if sec, err := s.Find(t.Context(), secrets.ID{ARN: arn(0)}); err != nil || sec.Description != "kept" {
		t.Errorf("the other write was lost: %v", err)
	}
}

// While the disk is full, what is acknowledged is there and what is refused is
// not, whoever shared a transaction with whom.
func TestFullDisk(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "pawl.db"))
	limit := func(pages int) {
		t.Helper()
		var got int
		if err := s.w.one(&got, fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil || got != pages {
			t.Fatalf("limit %d: %v", got, err)
		}
	}
	limit(100)
	const workers, rounds = 12, 20
	var mu sync.Mutex
	acked, refused := map[int]bool{}, map[int]error{}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for r := range rounds {
				n := w*rounds + r
				v := secrets.Version{ID: versionID(n)}
				err := s.Create(t.Context(), &service.Secret{ARN: arn(n), Versions: secrets.Versions{v}},
					service.Sealed{v.ID: make([]byte, 1000*(1+n%9))})
				mu.Lock()
				if err == nil {
					acked[n] = true
				} else {
					refused[n] = err
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(acked) == 0 || len(refused) == 0 {
		t.Fatalf("%d writes were acknowledged, %d refused", len(acked), len(refused))
	}
	for n := range workers * rounds {
		switch _, err := s.Value(t.Context(), arn(n), versionID(n)); {
		case acked[n] && err != nil:
			t.Errorf("write %d was acknowledged and is lost: %v", n, err)
		case !acked[n] && !errors.Is(err, service.ErrNotFound):
			t.Errorf("write %d was refused and is there: %v", n, err)
		}
		if err := refused[n]; err != nil && (secrets.KindOf(err) != secrets.Transient || !errors.As(err, new(*secrets.Error))) {
			t.Errorf("error %v is not Transient", err)
		}
	}
	for _, err := range refused {
		wantError(t, err, secrets.Transient, "full", "free some disk space")
		break
	}
	limit(100000)
	for n := range refused {
		if err := s.Create(t.Context(), &service.Secret{ARN: arn(n)}, nil); err != nil {
			t.Errorf("after the disk has space again: %v", err)
		}
	}
	checkIntegrity(t, s)
}
