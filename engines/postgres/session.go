package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// closeTimeout bounds how long Close may take to say goodbye.
const closeTimeout = 2 * time.Second

// hygiene goes before every catalogue query, in the same message and so in the
// same implicit transaction: no function or operator that a schema's owner left
// in the way is called (PostgreSQL documentation, "Writing SECURITY DEFINER
// Functions Safely"), and dates come in one format.
const hygiene = "SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL datestyle = ISO; "

// session is one logged-in connection.
type session struct {
	conn  *pgconn.PgConn
	addr  string        // host:port
	user  string        // who logged in
	guard time.Duration // how long the server lets a statement run; 0 = as it does anyway
}

var (
	_ engines.Session = (*session)(nil)
	_ engines.Cloner  = (*session)(nil)
)

// Close tells the server goodbye and ends the connection.
func (s *session) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	return s.conn.Close(ctx)
}

// at puts the server's address on an error.
func (s *session) at(e *secrets.Error) error {
	e.Server = s.addr
	return e
}

// major is the server's major version ("15.18 (Debian …)", "19beta1"), 0 if it
// does not say.
func (s *session) major() int {
	version := s.conn.ParameterStatus("server_version")
	end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		version = version[:end]
	}
	n, _ := strconv.Atoi(version)
	return n
}

// exec sends SQL as one message, which makes several statements one transaction
// unless they say otherwise. An error before sending is errUnsent.
func (s *session) exec(ctx context.Context, sql string) ([]*pgconn.Result, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", errUnsent, err)
	}
	if s.conn.IsClosed() {
		return nil, fmt.Errorf("%w: the session is over", errUnsent)
	}
	return s.conn.Exec(ctx, sql).ReadAll()
}

// query reads catalogue tables: one round trip for any number of SELECTs. Its
// errors are classified.
func (s *session) query(ctx context.Context, selects ...string) ([][][][]byte, error) {
	results, err := s.exec(ctx, hygiene+strings.Join(selects, "; "))
	if err != nil {
		return nil, s.unread(err)
	}
	tables := make([][][][]byte, len(selects))
	for i := range selects {
		tables[i] = results[len(results)-len(selects)+i].Rows
	}
	return tables, nil
}

// unread is the error of a query that reads the server's own facts.
func (s *session) unread(err error) error {
	v := judge(err, secrets.Transient)
	return s.at(secrets.Errorf(v.kind, "reading the server's catalogue: %s", v.text(err)))
}

// Check proves who the session acts as, then runs the query and ignores what
// it returns.
func (s *session) Check(ctx context.Context, c engines.Check) error {
	if err := s.checkIdentity(ctx, c.CloneOf); err != nil {
		return err
	}
	if c.Query == "" {
		return nil
	}
	if err := s.conn.Exec(ctx, c.Query).Close(); err != nil {
		v := judge(err, secrets.Transient)
		return s.at(secrets.Errorf(v.kind, "user %q: the check query failed: %s", s.user, v.text(err)).
			WithHint("correct check_query in the configuration, or the user's rights"))
	}
	return nil
}

// checkIdentity: session_user is who logged in; current_user is whose rights
// count, which a setting "role" of the user changes at login. For a clone that
// must have happened: when its membership is gone the login succeeds all the
// same, with nothing but a warning, and acts as the clone itself.
func (s *session) checkIdentity(ctx context.Context, original string) error {
	// Keywords, not functions: there is nothing a search_path could change.
	results, err := s.exec(ctx, "SELECT session_user, current_user")
	if err != nil {
		return s.unread(err)
	}
	login, acting := string(results[0].Rows[0][0]), string(results[0].Rows[0][1])
	if login != s.user {
		return s.at(secrets.Errorf(secrets.Denied, "logged in as %q, but the session is of %q", s.user, login).
			WithHint("a pooler in between may map users; check at the server itself"))
	}
	want := s.user
	if original != "" {
		want = original
	}
	if acting == want {
		return nil
	}
	role, err := s.roleSetting(ctx, want)
	switch {
	case err != nil:
		return err
	case role == acting:
		return nil
	case original != "" && acting == s.user:
		return s.at(secrets.Errorf(secrets.Denied, "the clone %q logs in but cannot act as %q: it is no longer a member, or its setting \"role\" is gone", s.user, original).
			WithHint("GRANT %s TO %s, and rotate again so that the clone is synchronised", quoteIdent(original), quoteIdent(s.user)))
	}
	return s.at(secrets.Errorf(secrets.Denied, "user %q acts as %q instead of %q", s.user, acting, want).
		WithHint("ALTER ROLE %s RESET role", quoteIdent(s.user)))
}

// roleSetting is the role that the settings of a user name for sessions in this
// database, "" if none: those for one database win over those for all.
func (s *session) roleSetting(ctx context.Context, user string) (string, error) {
	t, err := s.query(ctx, `SELECT substr(entry, 6) FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) entry
		WHERE r.rolname = `+quoteLiteral(user)+` AND starts_with(entry, 'role=')
		AND s.setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
		ORDER BY s.setdatabase DESC LIMIT 1`)
	if err != nil || len(t[0]) == 0 {
		return "", err
	}
	return string(t[0][0][0]), nil
}

// Preflight looks at everything that would stop SetPassword, in one query.
func (s *session) Preflight(ctx context.Context, c engines.PasswordChange) error {
	if err := s.checkChange(c); err != nil {
		return err
	}
	t, err := s.query(ctx, `SELECT pg_is_in_recovery(), session_user, current_user, me.rolsuper, me.rolcreaterole,
		t.oid IS NOT NULL, t.rolsuper, t.rolreplication, t.rolcanlogin, coalesce(t.rolvaliduntil <= now(), false),
		pg_has_role(current_user, t.oid, 'MEMBER WITH ADMIN OPTION')
		FROM pg_roles me LEFT JOIN pg_roles t ON t.rolname = `+quoteLiteral(c.Username)+` WHERE me.rolname = current_user`)
	if err != nil {
		return err
	}
	if len(t[0]) == 0 {
		return s.at(secrets.Errorf(secrets.Denied, "the server does not show user %q to himself", s.user))
	}
	row := t[0][0]
	is := func(i int) bool { return string(row[i]) == "t" }
	login, me := string(row[1]), string(row[2])
	inRecovery, super, createRole := is(0), is(3), is(4)
	exists, targetSuper, targetReplication, canLogin, expired, admin := is(5), is(6), is(7), is(8), is(9), is(10)

	target := quoteIdent(c.Username)
	switch {
	case inRecovery:
		return s.at(readOnly())
	case !exists && !c.Clone:
		return s.at(secrets.Errorf(secrets.Invalid, "user %q does not exist", c.Username).
			WithHint("CREATE ROLE %s LOGIN, or correct \"username\" in the secret", target))
	case exists && expired:
		return s.at(secrets.Errorf(secrets.Denied, "user %q has expired", c.Username).
			WithHint("ALTER ROLE %s VALID UNTIL 'infinity'; a rotation does not extend it", target))
	case exists && !canLogin && !c.Clone:
		return s.at(secrets.Errorf(secrets.Denied, "user %q is not permitted to log in", c.Username).
			WithHint("ALTER ROLE %s LOGIN", target))
	case c.Self && login != c.Username:
		return s.at(secrets.Errorf(secrets.Invalid, "the session is of %q, not of %q", login, c.Username))
	case c.Self, super, exists && me == c.Username:
		return nil
	case exists && targetSuper:
		return s.at(secrets.Errorf(secrets.Denied, "user %q is a superuser, and %q, who is none, may not change him", c.Username, me).
			WithHint("let the user rotate himself, or name a superuser"))
	case !createRole:
		return s.at(secrets.Errorf(secrets.Denied, "user %q may not change other users", me).
			WithHint("ALTER ROLE %s CREATEROLE", quoteIdent(me)))
	case exists && s.major() >= 16 && !admin:
		return s.at(secrets.Errorf(secrets.Denied, "user %q may not change user %q", me, c.Username).
			WithHint("%s", grantAdmin(c.Username, me)))
	case exists && s.major() < 16 && targetReplication:
		return s.at(secrets.Errorf(secrets.Denied, "user %q has REPLICATION, and %q, who is no superuser, may not change him", c.Username, me).
			WithHint("let the user rotate himself, or name a superuser"))
	}
	return nil
}

// grantAdmin is the least grant by which a CREATEROLE user of PostgreSQL 16 or
// newer may change another and make him a clone.
func grantAdmin(role, to string) string {
	return "GRANT " + quoteIdent(role) + " TO " + quoteIdent(to) + " WITH ADMIN OPTION, INHERIT FALSE, SET FALSE"
}

// checkChange refuses what could not be asked of any server.
func (s *session) checkChange(c engines.PasswordChange) error {
	if err := checkName("user name", c.Username); err != nil {
		return secrets.At(err, "", "", s.addr)
	}
	if c.Self && c.Username != s.user {
		return s.at(secrets.Errorf(secrets.Invalid, "the session is of %q, not of %q", s.user, c.Username))
	}
	return nil
}

// SetPassword sends one statement, ALTER ROLE, with a verifier. Only where the
// server refuses that and the operator allows it (plain_password), a second one
// carries the password itself. A replica refuses either.
func (s *session) SetPassword(ctx context.Context, c engines.PasswordChange) error {
	if err := s.checkChange(c); err != nil {
		return err
	}
	password, err := prepare(c.New)
	if err != nil {
		return secrets.At(err, "", "", s.addr)
	}
	hash, err := newVerifier(password, iterationsOf(s.conn.ParameterStatus("scram_iterations")))
	if err != nil {
		return s.at(secrets.Errorf(secrets.Invalid, "hashing the new password: %w", err))
	}
	err = s.alter(ctx, c, quoteLiteral(hash), false)
	if !c.Plain || !errors.Is(err, errHashRefused) {
		return err
	}
	literal, err := plainLiteral(c.New.Reveal())
	if err != nil {
		return secrets.At(err, "", "", s.addr)
	}
	return s.alter(ctx, c, literal, true)
}

// errHashRefused marks a server's no to a verifier, where the plain password
// may get a yes.
var errHashRefused = errors.New("the server refuses the password's hash")

// alter sends the change. The server's own text about it is never passed on:
// it may quote the statement.
func (s *session) alter(ctx context.Context, c engines.PasswordChange, literal string, plain bool) error {
	sql := "ALTER ROLE " + quoteIdent(c.Username)
	switch {
	case c.Self:
		// A user whose setting "role" makes him act as another, as a clone
		// does, may change his own password only as himself.
		sql = "SET ROLE NONE; " + sql
	case c.Clone:
		sql += " LOGIN"
	}
	if err := engines.Sendable(ctx, c.Confirm, s.addr); err != nil {
		return err
	}
	_, err := s.exec(ctx, sql+" PASSWORD "+literal)
	if err == nil {
		return nil
	}
	v := judge(err, secrets.Unknown)
	switch {
	case !v.refused:
		return s.at(secrets.Errorf(secrets.Unknown, "it is not known whether the password of %q was changed (%s)", c.Username, v.sqlstate()))
	case v.code == readOnlyTransaction:
		return s.at(readOnly())
	case v.code == undefinedObject:
		return s.at(secrets.Errorf(secrets.Invalid, "user %q does not exist (%s)", c.Username, v.sqlstate()).
			WithHint("correct \"username\" in the secret"))
	case v.code == notPrivileged && c.Self:
		return s.at(secrets.Errorf(secrets.Denied, "user %q may not change his own password (%s)", c.Username, v.sqlstate()).
			WithHint("name a superuser: in the configuration"))
	case v.code == notPrivileged:
		return s.at(secrets.Errorf(secrets.Denied, "user %q may not change the password of %q (%s)", s.user, c.Username, v.sqlstate()).
			WithHint("ALTER ROLE %s CREATEROLE; from PostgreSQL 16 on also %s", quoteIdent(s.user), grantAdmin(c.Username, s.user)))
	case v.kind == secrets.Transient:
		return s.at(secrets.Errorf(secrets.Transient, "the password of %q was not changed (%s)", c.Username, v.sqlstate()).
			WithHint("another session may hold the user's row, or the server is busy"))
	case plain:
		e := secrets.Errorf(secrets.Invalid, "the server's rules refuse the new password of %q (%s)", c.Username, v.sqlstate())
		e.Policy = true
		return s.at(e.WithHint("adjust password: in the configuration to the server's policy"))
	}
	return s.at(secrets.Errorf(secrets.Invalid, "%w of %q (%s)", errHashRefused, c.Username, v.sqlstate()).
		WithHint("if its password policy wants to see passwords, set plain_password: allow, which may write them to the server's log"))
}
