package postgres

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/secrets"
)

// oldest is the oldest PostgreSQL that has what Pawl uses.
const oldest = 140000

// Open opens the store in a database that was migrated. Errors: Invalid for what a
// person has to mend (no schema, an older or a newer one), and leave everything as
// it was; Denied for credentials and rights; Transient for a server that can't be
// reached or only reads.
func Open(ctx context.Context, c Config) (_ *Store, err error) {
	config, err := parseDSN(c)
	if err != nil {
		return nil, err
	}
	s := &Store{name: nameOf(config), log: c.Log, lookTime: lookTime}
	if s.log == nil {
		s.log = slog.Default()
	}
	config.AfterConnect = durably
	config.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool {
		return p.IdleDuration > time.Second || time.Now().Add(-p.IdleDuration).UnixNano() <= s.broke.Load()
	}
	if s.pool, err = pgxpool.NewWithConfig(ctx, config); err != nil {
		return nil, classify(s.name, err)
	}
	defer func() {
		if err != nil {
			s.pool.Close()
		}
	}()
	if err := s.checkSchema(ctx); err != nil {
		return nil, err
	}
	if err := s.beginMemory(ctx); err != nil {
		return nil, err
	}
	if err := s.beginClaims(ctx); err != nil {
		s.endMemory()
		return nil, err
	}
	return s, nil
}

// nameOf says which database, for people.
func nameOf(c *pgxpool.Config) string {
	hosts, _, _, _ := hostsOf(&c.ConnConfig.Config)
	return "PostgreSQL at " + strings.Join(hosts, " or ") + ", database " + c.ConnConfig.Database
}

// durably sees to it that a COMMIT of the session's is on the disk when it is
// answered. What is stricter than that stays.
func durably(ctx context.Context, conn *pgx.Conn) error {
	_, err := conn.Exec(ctx, "SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'", pgx.QueryExecModeSimpleProtocol)
	return err
}

// checkSchema makes sure that the database has the schema that this Pawl knows.
func (s *Store) checkSchema(ctx context.Context) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return s.classify(err)
	}
	defer conn.Release()
	newest, err := newestVersion()
	if err != nil {
		return err
	}
	version, err := inspect(ctx, conn.Conn(), s.name, newest)
	switch {
	case err != nil:
		return s.classify(err)
	case version == 0:
		return secrets.Errorf(secrets.Invalid, "the store (%s) has nothing in it", s.name).
			WithHint("name the right database (store.postgres.dsn); for a new store: pawl store migrate, then pawl init --store")
	case version < newest:
		return secrets.Errorf(secrets.Invalid, "the store (%s) was made by an older Pawl (schema %d; this one needs %d)", s.name, version, newest).
			WithHint(remedyMigrate)
	}
	return nil
}

// inspect returns the version of the schema, which is at most newest; 0 is none, or
// one with nothing in it. It changes nothing. A server that is too old, a schema
// that is somebody else's and one of a newer Pawl are Invalid.
func inspect(ctx context.Context, conn *pgx.Conn, name string, newest int) (version int, err error) {
	var number int
	var encoding string
	var ours, others bool
	err = conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),
		coalesce(bool_or(relname = 'schema_version'), false), coalesce(bool_or(relname <> 'schema_version'), false)
		FROM pg_catalog.pg_class WHERE relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'pawl')`).
		Scan(&number, &encoding, &ours, &others)
	if err != nil {
		return 0, classify(name, err)
	}
	if number < oldest {
		return 0, secrets.Errorf(secrets.Invalid, "the store (%s) is too old a PostgreSQL (%d)", name, number/10000).WithHint("use PostgreSQL 14 or newer")
	}
	if encoding != "UTF8" {
		return 0, secrets.Errorf(secrets.Invalid, "the store (%s) has the encoding %s, which does not hold every text", name, encoding).
			WithHint("make the database anew: CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0")
	}
	foreign := secrets.Errorf(secrets.Invalid, "the store (%s) has a schema \"pawl\" of some other program", name).
		WithHint("name Pawl's own database (store.postgres.dsn), or a new one")
	if !ours {
		if others {
			return 0, foreign
		}
		return 0, nil
	}
	var application string
	err = conn.QueryRow(ctx, "SELECT application, version FROM pawl.schema_version").Scan(&application, &version)
	var pe *pgconn.PgError
	switch {
	case errors.As(err, &pe) && pe.Code == undefinedColumn, errors.Is(err, pgx.ErrNoRows), err == nil && application != "pawl":
		return 0, foreign
	case err != nil:
		return 0, classify(name, err)
	case version > newest:
		return 0, secrets.Errorf(secrets.Invalid, "the store (%s) was made by a newer Pawl (schema %d; this one knows %d)", name, version, newest).
			WithHint("upgrade this Pawl")
	}
	return version, nil
}
