package postgres

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
)

// locked is a buffer that many may write to.
type locked struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// TestPasswordChangesUnderAStore: a password that was changed at the server, and then
// where it comes from, holds from the next connection on, for all kinds of
// connections; and who can't read it for a moment goes on with the last one.
func TestPasswordChangesUnderAStore(t *testing.T) {
	l := at(t, servers.Postgres15)
	db := l.database(t)
	const user = "changes"
	l.exec(t, db, "CREATE ROLE "+user+" LOGIN PASSWORD 'First-1' IN ROLE "+pgx.Identifier{runner}.Sanitize())
	t.Cleanup(func() { l.exec(t, db, "DROP ROLE "+user) }) // when the store is closed

	var log locked
	var now atomic.Pointer[string]
	var unreadable atomic.Bool
	c := l.as(db, user, "not this one")
	c.Log = slog.New(slog.NewTextHandler(&log, nil))
	c.PasswordNow = func() (secrets.Password, error) {
		if unreadable.Load() {
			return secrets.Password{}, errors.New("somebody is writing it")
		}
		return secrets.NewPassword(*now.Load()), nil
	}
	is := func(p string) { now.Store(&p) }
	is("First-1")
	s := strict(openStore(t, c))
	a := createSecret(t, s, 1)
	listens := func() bool {
		return value[bool](t, l, db, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = $1 AND query LIKE 'LISTEN%')", user)
	}
	cut := func() {
		l.exec(t, db, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = '"+user+"'")
	}
	works := func() {
		t.Helper()
		if _, err := s.Find(t.Context(), secrets.ID{ARN: a}); err != nil {
			t.Error(err)
		}
		mustLock(t, s, a).Release()
		until(t, listens)
	}
	works()

	l.exec(t, db, "ALTER ROLE "+user+" PASSWORD 'Second-2'")
	works() // those that are there stay
	is("Second-2")
	cut()
	works()

	unreadable.Store(true)
	cut()
	works()
	if said := strings.Count(log.String(), "can't be read just now"); said != 1 || strings.Contains(log.String(), "Second") {
		t.Errorf("%d warnings in\n%s", said, log.String())
	}
	unreadable.Store(false)

	is("Wrong-3")
	cut()
	_, err := s.Places(t.Context())
	wantError(t, err, secrets.Denied, "refuses the login", "password")
	is("Second-2")
	if _, err := s.Places(t.Context()); err != nil {
		t.Error(err)
	}

	unreadable.Store(true)
	if s, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "somebody is writing it") {
		t.Errorf("opened without a password: %v, %v", s, err)
	}
}
