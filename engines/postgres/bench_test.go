package postgres

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
)

// BenchmarkVerifiedChange compares a password change through a superuser and
// its verification with the driver's own cost of the same two logins and two
// statements, in turns: "of-floor" is the ratio of the medians.
func BenchmarkVerifiedChange(b *testing.B) {
	server := servertest.Shared(b, servers.Postgres15)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	at := engines.Endpoint{Host: server.Host, Port: server.Port, Database: "postgres", TLS: engines.TLS{Mode: secrets.TLSDisable}, Guard: 30 * time.Second}
	root := login(server.Admin, server.AdminPassword)
	user := name("bench")
	password := secrets.NewPassword("Bench-1234")
	bare := func(as engines.Login, sql string) {
		c, err := loginConfig(at, as)
		if err != nil {
			b.Fatal(err)
		}
		conn, err := pgconn.ConnectConfig(ctx, c)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			b.Fatal(err)
		}
		if err := conn.Close(ctx); err != nil {
			b.Fatal(err)
		}
	}
	bare(root, "CREATE ROLE "+user+" LOGIN")

	floor := func() {
		hash, err := newVerifier(password.Reveal(), defaultIterations)
		if err != nil {
			b.Fatal(err)
		}
		bare(root, "ALTER ROLE "+user+" PASSWORD '"+hash+"'")
		bare(engines.Login{Username: user, Password: password}, "SELECT session_user, current_user")
	}
	dial := func(as engines.Login, use func(engines.Session) error) {
		s, err := New().Dial(ctx, at, as)
		if err != nil {
			b.Fatal(err)
		}
		if err := use(s); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	ours := func() {
		dial(root, func(s engines.Session) error {
			return s.SetPassword(ctx, engines.PasswordChange{Username: user, New: password})
		})
		dial(engines.Login{Username: user, Password: password}, func(s engines.Session) error {
			return s.Check(ctx, engines.Check{})
		})
	}
	var floors, changes []time.Duration
	for b.Loop() {
		start := time.Now()
		floor()
		middle := time.Now()
		ours()
		floors, changes = append(floors, middle.Sub(start)), append(changes, time.Since(middle))
	}
	slices.Sort(floors)
	slices.Sort(changes)
	b.ReportMetric(float64(floors[len(floors)/2])/float64(changes[len(changes)/2]), "of-floor")
}
