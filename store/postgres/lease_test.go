package postgres

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/storetest"
)

func TestLeases(t *testing.T) {
	l := at(t, servers.Postgres15)
	storetest.Leases(t, func(t testing.TB) storetest.Expiring {
		db := l.database(t)
		return storetest.Expiring{A: l.open(t, db), B: l.open(t, db), Expire: l.expirer(t, db)}
	})
}

// expirer returns a function that ends a claim in the database.
func (l *lab) expirer(t testing.TB, db string) func(testing.TB, secrets.ARN) {
	t.Helper()
	config, err := l.PostgresConfig(l.Admin, l.AdminPassword, db)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return func(t testing.TB, a secrets.ARN) {
		_, err := conn.Exec(context.Background(), "UPDATE pawl.leases SET until = clock_timestamp() WHERE secret_id = (SELECT id FROM pawl.secrets WHERE account = $1 AND region = $2 AND name = $3)",
			a.Account, a.Region, a.Name)
		if err != nil {
			t.Error(err)
		}
	}
}
