package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// made makes a store with one secret of this name in the place of a Renewal.
func made(t *testing.T, r *Renewal, name string) {
	t.Helper()
	s, err := Open(t.Context(), r.Path(), Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	oneSecret(t, s, name)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func oneSecret(t *testing.T, s *Store, name string) {
	t.Helper()
	a := arn(0)
	a.Name = name
	if err := s.Create(t.Context(), &service.Secret{ARN: a}, nil); err != nil {
		t.Fatal(err)
	}
}

// holds tells the name of a store's one secret.
func holds(t *testing.T, path string) (name string) {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	err = s.Snapshot(t.Context(), func(n *Snapshot) error {
		return n.Secrets(func(sec *service.Secret, _ service.Sealed) error { name += sec.ARN.Name; return nil })
	})
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRenew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pawl.db")
	r, err := Renew(path)
	if err != nil || r.Taken() {
		t.Fatal(err)
	}
	made(t, r, "first")
	if aside, err := r.Install(time.Now()); err != nil || aside != "" {
		t.Fatal(aside, err)
	}
	// The place is kept until Close, from here too.
	if _, err := Open(t.Context(), path, Options{}); secrets.KindOf(err) != secrets.Transient {
		t.Errorf("opened while it is replaced: %v", err)
	}
	if _, err := Renew(path); secrets.KindOf(err) != secrets.Conflict {
		t.Errorf("twice: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Renew(path); secrets.KindOf(err) != secrets.Conflict {
		t.Errorf("an open store: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r, err = Renew(path); err != nil || !r.Taken() {
		t.Fatal(err)
	}
	made(t, r, "second")
	aside, err := r.Install(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if a, b := holds(t, path), holds(t, aside); a != "second" || b != "first" {
		t.Errorf("%q in place, %q aside", a, b)
	}
}

// Of a store that was not closed, the log has the last writes: it goes along, and
// never to the new one. Whoever is killed in between loses neither.
func TestRenewWithALog(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "pawl.db")
	crashed(t, path)
	r, err := Renew(path)
	if err != nil {
		t.Fatal(err)
	}
	made(t, r, "new")
	aside, err := r.Install(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if a, b := holds(t, path), holds(t, aside); a != "new" || b != "last" {
		t.Errorf("%q in place, %q aside", a, b)
	}
	// Killed before the log's old name is gone: the next one removes it, for it is
	// kept under the other; one that is kept nowhere it does not touch.
	dir = t.TempDir()
	path = filepath.Join(dir, "pawl.db")
	crashed(t, path)
	aside = path + asideInfix + "then"
	for _, err := range []error{os.Link(path+"-wal", aside+"-wal"), os.Rename(path, aside)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if r, err = Renew(path); err != nil {
		t.Fatal(err)
	}
	made(t, r, "new")
	if _, err := r.Install(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if a, b := holds(t, path), holds(t, aside); a != "new" || b != "last" {
		t.Errorf("%q in place, %q aside", a, b)
	}
	crashed(t, filepath.Join(dir, "other.db"))
	if err := os.Remove(filepath.Join(dir, "other.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := Renew(filepath.Join(dir, "other.db")); secrets.KindOf(err) != secrets.Invalid {
		t.Errorf("a log without its database: %v", err)
	}
}

// crashed leaves at path what a process that was killed leaves: a database, and a
// log with the secret "last" in it.
func crashed(t *testing.T, path string) {
	t.Helper()
	whole := filepath.Join(t.TempDir(), "pawl.db")
	s, err := Open(t.Context(), whole, Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	oneSecret(t, s, "last")
	for _, suffix := range []string{"", "-wal"} {
		b, err := os.ReadFile(whole + suffix)
		if err == nil {
			err = os.WriteFile(path+suffix, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(path + "-wal"); err != nil || info.Size() == 0 {
		t.Fatal("there is no log: this shows nothing")
	}
}

func TestSnapshotIsOfOneMoment(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "pawl.db"), Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	oneSecret(t, s, "a")
	err = s.Snapshot(t.Context(), func(n *Snapshot) error {
		oneSecret(t, s, "b")
		seen := ""
		err := n.Secrets(func(sec *service.Secret, _ service.Sealed) error { seen += sec.ARN.Name; return nil })
		if size, err := n.Size(); err != nil || size.Secrets != 1 || seen != "a" {
			t.Errorf("%+v, %q, %v", size, seen, err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Check(context.Background()); err != nil {
		t.Error(err)
	}
}
