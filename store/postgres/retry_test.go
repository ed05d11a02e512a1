package postgres

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// reads are all that only reads.
var reads = map[string]func(ctx context.Context, s *Store) error{
	"Find":  func(ctx context.Context, s *Store) error { _, err := s.Find(ctx, secrets.ID{ARN: arn(0)}); return err },
	"Value": func(ctx context.Context, s *Store) error { _, err := s.Value(ctx, arn(0), versionID(1)); return err },
	"List": func(ctx context.Context, s *Store) error {
		_, err := s.List(ctx, service.Listing{Account: arn(0).Account, Region: arn(0).Region, N: 5})
		return err
	},
	"Places": func(ctx context.Context, s *Store) error { _, err := s.Places(ctx); return err },
	"Due": func(ctx context.Context, s *Store) error {
		_, err := s.Due(ctx, time.Now(), service.DueAfter{}, 5)
		return err
	},
	"Backlog":          func(ctx context.Context, s *Store) error { _, _, err := s.Backlog(ctx, time.Now(), 5); return err },
	"Behind":           func(ctx context.Context, s *Store) error { _, err := s.Behind(ctx, time.Now(), 5); return err },
	"Purgeable":        func(ctx context.Context, s *Store) error { _, err := s.Purgeable(ctx, time.Now(), 5); return err },
	"SettingsRevision": func(ctx context.Context, s *Store) error { _, err := s.SettingsRevision(ctx); return err },
	"NamedKeys":        func(ctx context.Context, s *Store) error { _, err := s.NamedKeys(ctx); return err },
	"LastUses":         func(ctx context.Context, s *Store) error { _, err := s.LastUses(ctx, []string{"AKIA"}); return err },
}

// A connection breaks under a read, and no other can be had for a while.
func TestReadsOutliveACut(t *testing.T) {
	l := at(t, servers.Postgres15)
	g := newGate(t, l.Server)
	s := strict(openStore(t, g.config(l, l.config(l.database(t)))))
	createSecret(t, s, 0)
	write(t, s, 1)
	for name, read := range reads { // statements are prepared, connections idle
		if err := read(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	g.cut()
	var all, begun sync.WaitGroup
	for name, read := range reads {
		begun.Add(1)
		all.Go(func() {
			begun.Done()
			if err := read(t.Context(), s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	// And who does not wait so long is told why.
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begun.Wait()
	for name, read := range reads {
		if err := read(ctx, s); secrets.KindOf(err) != secrets.Transient {
			t.Errorf("%s: error %v", name, err)
		}
	}
	g.mend()
	all.Wait()
}

// Whoever reads while the database fails over to its replica waits for it.
func TestReadsOutliveAFailOver(t *testing.T) {
	t.Parallel()
	primary := servertest.Start(t, servers.Postgres15, servers.Options{Args: []string{"-c", "wal_level=replica", "-c", "max_wal_senders=4"}})
	replica := servertest.Start(t, servers.Postgres15, servers.Options{ReplicaOf: primary})
	l := &lab{Server: primary}
	l.makeRoles(t)
	db := l.empty(t)
	config := l.as(db, owner, ownerPassword)
	if _, _, err := Migrate(t.Context(), config, runner); err != nil {
		t.Fatal(err)
	}
	c := l.config(db)
	c.DSN = strings.Replace(c.DSN, fmt.Sprintf("%s:%d", primary.Host, primary.Port),
		fmt.Sprintf("%s:%d,%s:%d", primary.Host, primary.Port, replica.Host, replica.Port), 1)
	s := openStore(t, c)
	createSecret(t, s, 0)
	write(t, s, 7)
	claim := mustLock(t, s, arn(0))
	there := &lab{Server: replica}
	written := value[string](t, l, db, "SELECT pg_current_wal_lsn()::text")
	for !value[bool](t, there, "postgres", "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written) {
		time.Sleep(10 * time.Millisecond)
	}
	if err := primary.Kill(); err != nil {
		t.Fatal(err)
	}
	strict(s)
	var all sync.WaitGroup
	for name, read := range reads {
		all.Go(func() {
			if err := read(t.Context(), s); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	there.exec(t, "postgres", "SELECT pg_promote()")
	all.Wait()
	if got := read(t, s); got != 7 {
		t.Errorf("it reads %d", got)
	}
	if err := claim.Confirm(t.Context()); err != nil {
		t.Errorf("the claim did not survive: %v", err)
	}
	write(t, s, 8)
	claim.Release()
}
