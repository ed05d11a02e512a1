package postgres

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/schema"
)

// migrations make the schema; the n-th leads to schema version n. They only go
// forward, and what an older Pawl that still runs reads and writes must stay.
//
//go:embed migrations/*.sql
var migrations embed.FS

// migrating is the advisory lock of whoever migrates: "pawl" and the beginning of
// its schema's first version, in ASCII.
const migrating = 0x7061776c2e303031

// First of all migrations, in the same transaction.
const madeByPawl = `CREATE TABLE pawl.schema_version (application text NOT NULL, version integer NOT NULL);
	INSERT INTO pawl.schema_version VALUES ('pawl', 0)`

// What a running Pawl needs, and no more. %s is who gets it.
const rights = `GRANT USAGE ON SCHEMA pawl TO %[1]s;
	GRANT SELECT ON pawl.schema_version TO %[1]s;
	GRANT SELECT, UPDATE ON pawl.settings TO %[1]s;
	GRANT SELECT, INSERT, UPDATE, DELETE ON pawl.secrets, pawl.sealed_values, pawl.leases, pawl.meta,
		pawl.principals, pawl.access_keys, pawl.named_keys TO %[1]s;
	GRANT USAGE ON SEQUENCE pawl.lease_epochs TO %[1]s`

// Migrate makes the schema, or brings it to the newest version, as the user of
// the DSN, who comes to own it, and gives grantee ("" = nobody) the rights that a
// running Pawl needs and no more. Any number may do so at once. Errors: Invalid
// for a schema of a newer Pawl and for a database that is none of Pawl's, Denied,
// Transient.
func Migrate(ctx context.Context, c Config, grantee string) (from, to int, err error) {
	config, err := parseDSN(c)
	if err != nil {
		return 0, 0, err
	}
	name, cc := nameOf(config), config.ConnConfig
	for _, limit := range []string{"lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout"} {
		cc.RuntimeParams[limit] = "0" // an index of a large table takes its time
	}
	scripts, err := schema.Scripts(migrations)
	if err != nil {
		return 0, 0, err
	}
	conn, err := pgx.ConnectConfig(ctx, cc)
	if err != nil {
		return 0, 0, classify(name, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = conn.Close(ctx) // which gives up the lock, too
	}()
	if err := durably(ctx, conn); err != nil {
		return 0, 0, classify(name, err)
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(migrating)); err != nil {
		return 0, 0, classify(name, err)
	}
	if from, err = inspect(ctx, conn, name, len(scripts)); err != nil {
		return 0, 0, err
	}
	for to = from; to < len(scripts); to++ {
		if err := step(ctx, conn, to, scripts[to]); err != nil {
			return from, to, migrationError(name, cc, to+1, err)
		}
	}
	if grantee != "" {
		if err := grant(ctx, conn, name, grantee); err != nil {
			return from, to, err
		}
	}
	return from, to, nil
}

// step leads from one version of the schema to the next.
func step(ctx context.Context, conn *pgx.Conn, from int, script string) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		if from == 0 {
			// One that was made for Pawl, empty, is as good: then its user needs no
			// right to make schemas.
			var there bool
			err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'pawl')").Scan(&there)
			if err == nil && !there {
				_, err = tx.Exec(ctx, "CREATE SCHEMA pawl")
			}
			if err == nil {
				err = run(ctx, conn, madeByPawl)
			}
			if err != nil {
				return err
			}
		}
		if err := run(ctx, conn, script); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, "UPDATE pawl.schema_version SET version = $1", from+1)
		return err
	})
}

// run runs statements without parameters.
func run(ctx context.Context, conn *pgx.Conn, script string) error {
	_, err := conn.PgConn().Exec(ctx, script).ReadAll()
	return err
}

func grant(ctx context.Context, conn *pgx.Conn, name, grantee string) error {
	err := pgx.BeginFunc(ctx, conn, func(pgx.Tx) error {
		return run(ctx, conn, fmt.Sprintf(rights, pgx.Identifier{grantee}.Sanitize()))
	})
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == undefinedObject {
		return secrets.Errorf(secrets.Invalid, "the store (%s) has no user %q to give rights to", name, grantee).
			WithHint("CREATE ROLE %s LOGIN, and \\password, in psql", pgx.Identifier{grantee}.Sanitize())
	}
	return classify(name, err)
}

func migrationError(name string, cc *pgx.ConnConfig, version int, err error) error {
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == notPrivileged {
		return secrets.Errorf(secrets.Denied, "the store (%s) does not let user %q make schema %d: %s (SQLSTATE %s)", name, cc.User, version, pe.Message, pe.Code).
			WithHint("as its owner, run: GRANT CREATE ON DATABASE %s TO %s; or migrate as the user who owns the schema \"pawl\"",
				pgx.Identifier{cc.Database}.Sanitize(), pgx.Identifier{cc.User}.Sanitize())
	}
	return secrets.Prefixed(classify(name, err), "schema %d", version)
}

func newestVersion() (int, error) {
	scripts, err := schema.Scripts(migrations)
	return len(scripts), err
}
