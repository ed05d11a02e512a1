package teststore

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/postgres"
)

const (
	role     = "pawl"       // whom Pawl logs in as: not who owns the schema
	template = "pawl_blank" // a database that was migrated, and has nothing in it
)

// admin has the databases of a server. One that a test is done with is emptied for
// the next: making another costs a hundred times as much.
type admin struct {
	server   *servers.Server
	password string // of role

	once sync.Once
	err  error
	// empty empties a database of all else.
	empty string

	mu   sync.Mutex
	made int
	free []*blank
	conn *pgx.Conn // to the server's own database
}

// blank is a database with nothing in it, and the administrator's connection to it.
type blank struct {
	name string
	conn *pgx.Conn
}

var admins = struct {
	sync.Mutex
	of map[servers.Kind]*admin
}{of: map[servers.Kind]*admin{}}

func adminOf(t testing.TB, k servers.Kind) *admin {
	t.Helper()
	server := servertest.Shared(t, k, options)
	admins.Lock()
	a := admins.of[k]
	if a == nil {
		a = &admin{server: server, password: rand.Text()}
		admins.of[k] = a
	}
	admins.Unlock()
	if a.once.Do(func() { a.err = a.prepare() }); a.err != nil {
		t.Fatal(a.err)
	}
	return a
}

// endAdmins ends the connections of all.
func endAdmins() {
	admins.Lock()
	defer admins.Unlock()
	for _, a := range admins.of {
		for _, b := range append(a.free, &blank{conn: a.conn}) {
			if b.conn != nil {
				_ = b.conn.Close(context.Background())
			}
		}
	}
}

// connect makes an administrator's connection.
func (a *admin) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	config, err := a.server.PostgresConfig(a.server.Admin, a.server.AdminPassword, database)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, config)
}

// prepare makes the role and the template.
func (a *admin) prepare() (err error) {
	ctx, cancel := within()
	defer cancel()
	if a.conn, err = a.connect(ctx, "postgres"); err != nil {
		return err
	}
	verifier, err := cheapVerifier(a.password)
	if err != nil {
		return err
	}
	for _, sql := range []string{"CREATE ROLE " + role + " LOGIN PASSWORD '" + verifier + "'", "CREATE DATABASE " + template} {
		if _, err := a.conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	owner := postgres.Config{DSN: dsn(a.server, a.server.Admin, template), Password: secrets.NewPassword(a.server.AdminPassword)}
	if _, _, err := postgres.Migrate(ctx, owner, role); err != nil {
		return err
	}
	conn, err := a.connect(ctx, template)
	if err != nil {
		return err
	}
	return errors.Join(a.learn(ctx, conn), conn.Close(ctx))
}

// learn finds out what empties a database: no tests know the tables, and no
// migration has to think of the tests.
func (a *admin) learn(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'pawl'::regnamespace")
	if err != nil {
		return err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	// Neither foreign keys nor triggers matter where all goes.
	sql := []string{"BEGIN", "SET LOCAL session_replication_role = replica"}
	for _, table := range tables {
		var made *string
		if err := conn.QueryRow(ctx, "SELECT json_agg(t)::text FROM pawl."+table+" t").Scan(&made); err != nil {
			return err
		}
		sql = append(sql, "DELETE FROM pawl."+table)
		if made != nil {
			sql = append(sql, fmt.Sprintf("INSERT INTO pawl.%s OVERRIDING SYSTEM VALUE SELECT * FROM json_populate_recordset(NULL::pawl.%[1]s, '%s')",
				table, strings.ReplaceAll(*made, "'", "''")))
		}
	}
	a.empty = strings.Join(append(sql, "COMMIT"), ";\n")
	return nil
}

// take returns a database with nothing in it.
func (a *admin) take() (*blank, error) {
	ctx, cancel := within()
	defer cancel()
	a.mu.Lock()
	defer a.mu.Unlock()
	if n := len(a.free); n > 0 {
		b := a.free[n-1]
		a.free = a.free[:n-1]
		return b, nil
	}
	a.made++
	b := &blank{name: fmt.Sprintf("pawl_%d", a.made)}
	if _, err := a.conn.Exec(ctx, "CREATE DATABASE "+b.name+" TEMPLATE "+template); err != nil {
		return nil, err
	}
	var err error
	b.conn, err = a.connect(ctx, b.name)
	return b, err
}

// giveBack empties a database whose stores were closed, or died.
func (a *admin) giveBack(b *blank) error {
	ctx, cancel := within()
	defer cancel()
	// Whoever was killed may still be at something.
	for {
		var others int
		err := b.conn.QueryRow(ctx, "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()", b.name).Scan(&others)
		if err != nil {
			return err
		}
		if others == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := b.conn.Exec(ctx, a.empty, pgx.QueryExecModeSimpleProtocol); err != nil {
		return fmt.Errorf("emptying a database: %w", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = append(a.free, b)
	return nil
}

// cheapVerifier is what PostgreSQL keeps of a SCRAM-SHA-256 password (PostgreSQL
// documentation, "pg_authid"), of one round instead of thousands: tests connect
// all the time, and with the race detector the rounds are most of it.
func cheapVerifier(password string) (string, error) {
	salt := make([]byte, 16)
	rand.Read(salt) // never fails: crypto/rand
	salted, err := pbkdf2.Key(sha256.New, password, salt, 1, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$1:%s$%s:%s", b64(salt), b64(stored[:]), b64(mac("Server Key"))), nil
}
