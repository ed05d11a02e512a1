// Package postgres rotates passwords on PostgreSQL 14 and newer, and on servers
// that behave alike (Amazon RDS and Aurora, and other managed ones).
//
// It speaks the protocol by pgx's lowest layer, pgconn, with simple queries: a
// login and one statement is all that changing a password takes. New passwords
// reach the server as SCRAM-SHA-256 verifiers made here, so that the password
// is in no statement, no log and no statistics view.
package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// maxNameBytes is NAMEDATALEN-1 (PostgreSQL documentation, "Identifiers and Key
// Words"): the server cuts a longer name off with no more than a notice.
const maxNameBytes = 63

type engine struct{}

// New returns the engine for PostgreSQL. Its sessions are engines.Cloner too.
func New() engines.Engine { return engine{} }

// Facts state the names, the port, and the characters that AWS's functions too
// keep out of new passwords, since connection strings and shells trip over them.
func (engine) Facts() engines.Facts {
	return engines.Facts{
		Names:           []string{"postgres", "postgresql", "aurora-postgresql"},
		DefaultPort:     5432,
		DefaultDatabase: "postgres",
		PasswordExclude: ":/@\"'\\",
	}
}

// CheckUsername refuses, as Invalid, what no role can be called: an empty name,
// more than 63 bytes, a NUL, bytes that are not UTF-8, and the two reserved
// names (PostgreSQL documentation, "CREATE ROLE").
func (engine) CheckUsername(name string) error { return checkName("user name", name) }

func checkName(what, name string) error {
	switch {
	case name == "":
		return secrets.Errorf(secrets.Invalid, "the %s is empty", what).
			WithHint("set \"username\" in the secret")
	case len(name) > maxNameBytes:
		return secrets.Errorf(secrets.Invalid, "the %s %q has %d bytes; PostgreSQL cuts names off after %d", what, name, len(name), maxNameBytes).
			WithHint("choose a shorter name")
	case strings.ContainsRune(name, 0), !utf8.ValidString(name):
		return secrets.Errorf(secrets.Invalid, "the %s %q has bytes that PostgreSQL does not take", what, name)
	case name == "public", name == "none":
		return secrets.Errorf(secrets.Invalid, "the %s %q is reserved by PostgreSQL", what, name)
	}
	return nil
}

// checkEndpoint refuses what the driver would read as something else than one
// host: a list, or the directory of a Unix socket.
func checkEndpoint(at engines.Endpoint) error {
	switch {
	case at.Host == "":
		return secrets.Errorf(secrets.Invalid, "the host is empty").WithHint("set \"host\" in the secret")
	case strings.ContainsAny(at.Host, ", /\\\x00"):
		return secrets.Errorf(secrets.Invalid, "the host %q is not one host name or address", at.Host).
			WithHint("name one server; further ones go into hosts: in the configuration")
	case at.Port < 1 || at.Port > 65535:
		return secrets.Errorf(secrets.Invalid, "port %d is not between 1 and 65535", at.Port)
	case at.Database == "":
		return secrets.Errorf(secrets.Invalid, "the database name is empty").WithHint("set \"dbname\" in the secret")
	}
	return checkName("database name", at.Database)
}

// Dial logs in once. The session can do everything an engines.Cloner can.
func (engine) Dial(ctx context.Context, at engines.Endpoint, as engines.Login) (engines.Session, error) {
	s, err := dial(ctx, at, as)
	if err != nil {
		return nil, secrets.At(err, "", "", at.Addr())
	}
	return s, nil
}

func dial(ctx context.Context, at engines.Endpoint, as engines.Login) (*session, error) {
	if err := checkEndpoint(at); err != nil {
		return nil, err
	}
	if err := checkName("user name", as.Username); err != nil {
		return nil, err
	}
	if as.Password.IsEmpty() || strings.ContainsRune(as.Password.Reveal(), 0) {
		return nil, secrets.Errorf(secrets.Invalid, "the password of %q is empty or has a NUL in it", as.Username).
			WithHint("set \"password\" in the secret")
	}
	c, err := loginConfig(at, as)
	if err != nil {
		return nil, err
	}
	conn, err := pgconn.ConnectConfig(ctx, c)
	if refusedIdleTimeout(err) {
		// A server before PostgreSQL 14. It had let the user in before it
		// looked at the settings, so this was no failed login.
		delete(c.RuntimeParams, idleTimeout)
		conn, err = pgconn.ConnectConfig(ctx, c)
	}
	if err != nil {
		return nil, loginError(err, at, as.Username)
	}
	if _, encrypted := conn.Conn().(*tls.Conn); at.TLS.Config != nil && !encrypted {
		_ = (&session{conn: conn}).Close()
		return nil, engines.NoTLS()
	}
	return &session{conn: conn, addr: at.Addr(), user: as.Username, guard: at.Guard}, nil
}

func refusedIdleTimeout(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && pe.Code == undefinedObject && strings.Contains(pe.Message, idleTimeout)
}
