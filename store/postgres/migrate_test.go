package postgres

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
)

func newest(t testing.TB) int {
	t.Helper()
	n, err := newestVersion()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Ten replicas start at once, in an empty database: one of them makes the schema.
func TestMigrateTenAtOnce(t *testing.T) {
	for _, kind := range []servers.Kind{servers.Postgres15, servers.Postgres18} {
		t.Run(string(kind), func(t *testing.T) {
			l := at(t, kind)
			c := l.as(l.empty(t), owner, ownerPassword)
			type result struct {
				from, to int
				err      error
			}
			results := make(chan result)
			for range 10 {
				go func() {
					from, to, err := Migrate(context.Background(), c, runner)
					results <- result{from, to, err}
				}()
			}
			made := 0
			for range 10 {
				r := <-results
				if r.err != nil || r.to != newest(t) || r.from != 0 && r.from != r.to {
					t.Errorf("from %d to %d, error %v", r.from, r.to, r.err)
				}
				if r.from == 0 {
					made++
				}
			}
			if made != 1 {
				t.Errorf("the schema was made %d times", made)
			}
		})
	}
}

func TestMigrateInAnotherProcess(t *testing.T) {
	l := at(t, servers.Postgres15)
	c := l.as(l.empty(t), owner, ownerPassword)
	for _, want := range []string{fmt.Sprint(0, newest(t)), fmt.Sprint(newest(t), newest(t))} {
		p := startChild(t, "migrate", c)
		if line := p.line(); line != want {
			t.Errorf("it said %q instead of %q", line, want)
		}
		_ = p.cmd.Wait()
	}
}

// What the schema is not, neither Migrate nor Open touches.
func TestForeignSchemas(t *testing.T) {
	l := at(t, servers.Postgres15)
	db := l.empty(t)
	mine := []string{"CREATE SCHEMA pawl AUTHORIZATION " + owner, "GRANT USAGE ON SCHEMA pawl TO PUBLIC"}
	marked := func(statement string) []string {
		return append(mine, statement, "GRANT SELECT ON ALL TABLES IN SCHEMA pawl TO PUBLIC")
	}
	for name, c := range map[string]struct {
		statements    []string
		migrate, open string // what the error says; "" = no error
	}{
		"nothing":        {nil, "", "nothing in it"},
		"empty schema":   {mine, "", "nothing in it"},
		"other program":  {marked("CREATE TABLE pawl.jobs (id int)"), "some other program", "some other program"},
		"same name":      {marked("CREATE TABLE pawl.schema_version (version int)"), "some other program", "some other program"},
		"without a row":  {marked("CREATE TABLE pawl.schema_version (application text, version int)"), "some other program", "some other program"},
		"another's mark": {marked("CREATE TABLE pawl.schema_version AS SELECT 'prawn' AS application, 1 AS version"), "some other program", "some other program"},
		"newer":          {marked("CREATE TABLE pawl.schema_version AS SELECT 'pawl' AS application, 999 AS version"), "upgrade this Pawl", "upgrade this Pawl"},
		"older":          {marked("CREATE TABLE pawl.schema_version AS SELECT 'pawl' AS application, 0 AS version"), "already exists", "nothing in it"},
	} {
		t.Run(name, func(t *testing.T) {
			l.exec(t, db, append([]string{"DROP SCHEMA IF EXISTS pawl CASCADE"}, c.statements...)...)
			tables := func() string {
				return value[string](t, l, db, "SELECT coalesce(string_agg(relname, ' ' ORDER BY relname), '') FROM pg_class WHERE relnamespace = to_regnamespace('pawl')")
			}
			before := tables()
			s, err := Open(t.Context(), l.config(db))
			if err == nil {
				s.Close()
			}
			wantError(t, err, secrets.Invalid, c.open)
			if name == "older" {
				return
			}
			_, _, err = Migrate(t.Context(), l.as(db, owner, ownerPassword), runner)
			if c.migrate != "" {
				wantError(t, err, secrets.Invalid, c.migrate)
				if after := tables(); after != before {
					t.Errorf("there was %q, and is %q", before, after)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s, err = Open(t.Context(), l.config(db)); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestOlderSchema(t *testing.T) {
	l := at(t, servers.Postgres15)
	db := l.empty(t)
	if _, _, err := Migrate(t.Context(), l.as(db, owner, ownerPassword), ""); err != nil {
		t.Fatal(err)
	}
	l.exec(t, db, "UPDATE pawl.schema_version SET version = version - 1")
	_, err := Open(t.Context(), l.as(db, owner, ownerPassword))
	if newest(t) == 1 {
		wantError(t, err, secrets.Invalid, "nothing in it")
	} else {
		wantError(t, err, secrets.Invalid, "older Pawl", "pawl store migrate")
	}
}

func TestMigrateErrors(t *testing.T) {
	l := at(t, servers.Postgres15)
	t.Run("no right to make a schema", func(t *testing.T) {
		_, _, err := Migrate(t.Context(), l.as(l.empty(t), runner, runnerPassword), "")
		wantError(t, err, secrets.Denied, "GRANT CREATE ON DATABASE", `"pawl-app"`)
	})
	t.Run("nobody to give rights to", func(t *testing.T) {
		_, _, err := Migrate(t.Context(), l.as(l.empty(t), owner, ownerPassword), `no"body`)
		wantError(t, err, secrets.Invalid, "no user", `CREATE ROLE "no""body"`)
	})
	t.Run("another one's schema", func(t *testing.T) {
		db := l.empty(t)
		if _, _, err := Migrate(t.Context(), l.as(db, owner, ownerPassword), ""); err != nil {
			t.Fatal(err)
		}
		_, _, err := Migrate(t.Context(), l.as(db, runner, runnerPassword), runner)
		wantError(t, err, secrets.Denied)
		_, err = Open(t.Context(), l.config(db))
		wantError(t, err, secrets.Denied, "pawl store migrate")
	})
	t.Run("an encoding that does not hold every text", func(t *testing.T) {
		l.exec(t, "postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
		_, _, err := Migrate(t.Context(), l.as("latin", owner, ownerPassword), "")
		wantError(t, err, secrets.Invalid, "LATIN1", "ENCODING 'UTF8'")
	})
}

// Whoever runs Pawl may do what TestContract does, which runs as him, and no more.
func TestLeastPrivilege(t *testing.T) {
	l := at(t, servers.Postgres15)
	s := l.open(t, l.database(t))
	for _, statement := range []string{
		"CREATE TABLE pawl.extra (x int)", "CREATE TABLE extra (x int)", "DROP TABLE pawl.meta", "TRUNCATE pawl.meta", "ALTER TABLE pawl.meta ADD COLUMN x int",
		"CREATE INDEX ON pawl.meta (value)", "DROP SCHEMA pawl CASCADE", "CREATE SCHEMA more", "CREATE FUNCTION pawl.f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
		"DROP TRIGGER changed ON pawl.principals", "ALTER TABLE pawl.principals DISABLE TRIGGER changed", "SET session_replication_role = replica",
		"UPDATE pawl.schema_version SET version = 0", "DELETE FROM pawl.schema_version", "DELETE FROM pawl.settings", "INSERT INTO pawl.settings VALUES (false)",
		"SELECT setval('pawl.lease_epochs', 1)", "CREATE ROLE extra", "COPY pawl.meta TO '/tmp/x'",
	} {
		_, err := s.pool.Exec(t.Context(), statement)
		var pe *pgconn.PgError
		if !errors.As(err, &pe) || pe.Code != notPrivileged {
			t.Errorf("%s: error %v", statement, err)
		}
	}
	var public bool
	err := s.pool.QueryRow(t.Context(), "SELECT has_schema_privilege('public', 'pawl', 'USAGE')").Scan(&public)
	if err != nil || public {
		t.Errorf("everybody may use the schema: %v, error %v", public, err)
	}
}
