package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/schema"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/storetest"
)

func TestPrincipals(t *testing.T) {
	storetest.Principals(t, func(t testing.TB) (a, b principals.Store) {
		path := filepath.Join(t.TempDir(), "pawl.db")
		s := open(t, path)
		t.Cleanup(func() {
			checkIntegrity(t, s)
			var lost int
			err := s.readers.QueryRow("SELECT count(*) FROM access_keys WHERE principal_id NOT IN (SELECT id FROM principals)").Scan(&lost)
			if err != nil || lost != 0 {
				t.Errorf("%d access keys belong to nobody; %v", lost, err)
			}
		})
		return s, open(t, path)
	})
}

func TestKeys(t *testing.T) {
	storetest.Keys(t, func(t testing.TB) (a, b storetest.KeyStore) {
		path := filepath.Join(t.TempDir(), "pawl.db")
		s := open(t, path)
		t.Cleanup(func() { checkIntegrity(t, s) })
		return s, open(t, path)
	})
}

// Neither kind of change costs the readers of the other kind anything.
func TestTwoNumbersOfOneClock(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "pawl.db"))
	look := func() ticks {
		t.Helper()
		at, err := s.clock.now(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	change := func(what string, do func() error, secretsMove, settingsMove bool) {
		t.Helper()
		before := look()
		if err := do(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		after := look()
		if (after.secrets > before.secrets) != secretsMove || (after.settings > before.settings) != settingsMove {
			t.Errorf("%s: the clock went from %v to %v", what, before, after)
		}
	}
	key := principals.AccessKey{ID: "AKIA1"}
	changePrincipal := func(change func(*principals.Record)) error {
		_, err := s.ChangePrincipal(t.Context(), "1", "a", func(r *principals.Record) error { change(r); return nil })
		return err
	}
	change("create a secret", func() error {
		sec, values := rotating(0)
		return s.Create(t.Context(), sec, values)
	}, true, false)
	if _, err := s.Find(t.Context(), secrets.ID{ARN: arn(0)}); err != nil {
		t.Fatal(err)
	}
	change("create a principal", func() error {
		return s.CreatePrincipal(t.Context(), &principals.Record{Account: "1", Name: "a", Keys: []principals.AccessKey{key}})
	}, false, true)
	change("disable one", func() error { return changePrincipal(func(r *principals.Record) { r.Disabled = true }) }, false, true)
	change("change nothing", func() error { return changePrincipal(func(*principals.Record) {}) }, false, false)
	change("note a use", func() error { return s.NoteUse(t.Context(), key.ID, time.Now()) }, false, false)
	change("a named key", func() error {
		return s.ChangeNamedKeys(t.Context(), func([]seal.NamedKey) ([]seal.NamedKey, error) {
			return []seal.NamedKey{{ID: "1", Alias: "alias/a", Generations: []seal.Generation{{ID: "g"}}}}, nil
		})
	}, false, true)
	change("keep something", func() error { return s.Keep(t.Context(), "x", []byte("1")) }, false, false)
	if !s.cache.has(arn(0)) {
		t.Error("the settings emptied the memory of secrets")
	}
	change("reseal nothing", func() error {
		_, err := s.Reseal(t.Context(), "", 9, func(_ secrets.ARN, _ string, sealed []byte) ([]byte, error) { return sealed, nil })
		return err
	}, false, false)
	if !s.cache.has(arn(0)) {
		t.Error("what did not change was forgotten")
	}
	change("reseal", func() error {
		_, err := s.Reseal(t.Context(), "", 9, func(secrets.ARN, string, []byte) ([]byte, error) { return []byte("anew"), nil })
		return err
	}, true, false)
	if s.cache.has(arn(0)) {
		t.Error("what was encrypted anew is still in memory")
	}
	// By hand, with whatever tool.
	for _, by := range []string{
		"UPDATE principals SET record = replace(record, 'true', 'false')", "UPDATE named_keys SET alias = 'alias/b'",
		"DELETE FROM access_keys", "DELETE FROM named_keys", "DELETE FROM principals",
	} {
		change(by, func() error { return s.w.run(by) }, false, true)
	}
}

// childTag gives a principal args[1] tags, one after another, and prints the
// number of each.
func childTag(args []string) error {
	ctx := context.Background()
	s, err := Open(ctx, args[0], Options{})
	if err != nil {
		return err
	}
	rounds, _ := strconv.Atoi(args[1])
	for n := range rounds {
		_, err := s.ChangePrincipal(ctx, "1", "a", func(r *principals.Record) error {
			r.Tags = append(r.Tags, policy.Tag{Key: strconv.Itoa(n)})
			return nil
		})
		if err != nil {
			return err
		}
		fmt.Println(n)
	}
	return s.Close()
}

// What another process has changed is known to whoever asks next.
func TestRevisionAcrossProcesses(t *testing.T) {
	const rounds = 40
	path := filepath.Join(t.TempDir(), "pawl.db")
	s := open(t, path)
	if err := s.CreatePrincipal(t.Context(), &principals.Record{Account: "1", Name: "a"}); err != nil {
		t.Fatal(err)
	}
	at, err := s.SettingsRevision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := startChild(t, "tag", path, strconv.Itoa(rounds))
	for n := range rounds {
		if line := c.line(); line != strconv.Itoa(n) {
			t.Fatalf("the child said %q", line)
		}
		now, err := s.SettingsRevision(t.Context())
		if err != nil || now < at+1 {
			t.Fatalf("after change %d the revision is %d, was %d; error %v", n, now, at, err)
		}
		r, err := s.Principal(t.Context(), "1", "a")
		if err != nil || len(r.Tags) < n+1 {
			t.Fatalf("after change %d there are %d tags; error %v", n, len(r.Tags), err)
		}
		at++
	}
	if err := c.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if now, err := s.SettingsRevision(t.Context()); err != nil || now != at {
		t.Errorf("the revision is %d instead of %d; error %v", now, at, err)
	}
}

// Who may get in is never decided without the clock.
func TestNoRevisionOfAClosedStore(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "pawl.db"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.SettingsRevision(t.Context()); err == nil {
		t.Error("a closed store has a revision")
	}
}

// A store of the second schema keeps its secrets and its clock.
func TestMigrationFromTheSecond(t *testing.T) {
	path, want := first(t)
	scripts, err := schema.Scripts(migrations)
	if err != nil {
		t.Fatal(err)
	}
	db := pool(path, "journal_mode(WAL)", "foreign_keys(1)")
	for _, script := range []string{scripts[1], "PRAGMA user_version = 2", "UPDATE clock SET n = 41"} {
		if _, err := db.ExecContext(t.Context(), script); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if at, err := s.clock.now(t.Context()); err != nil || at != (ticks{41, 0}) {
		t.Errorf("the clock shows %v, error %v", at, err)
	}
	if sec, err := s.Find(t.Context(), secrets.ID{ARN: want.ARN}); err != nil || len(sec.Versions) != len(want.Versions) {
		t.Errorf("the secret is %+v, error %v", sec, err)
	}
	if err := s.CreatePrincipal(t.Context(), &principals.Record{Account: "1", Name: "a"}); err != nil {
		t.Fatal(err)
	}
	if at, err := s.SettingsRevision(t.Context()); err != nil || at != 1 {
		t.Errorf("the revision is %d, error %v", at, err)
	}
	_, err = s.Update(t.Context(), want.ARN, func(*service.Secret) (service.Sealed, error) { return nil, service.ErrRemove })
	if err != nil {
		t.Error(err)
	}
	if _, err := s.Value(t.Context(), want.ARN, versionID(1)); !errors.Is(err, service.ErrNotFound) {
		t.Errorf("error %v", err)
	}
	checkIntegrity(t, s)
}
