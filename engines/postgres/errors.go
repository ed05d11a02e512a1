package postgres

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// SQLSTATEs (PostgreSQL documentation, "PostgreSQL Error Codes") that decide
// more than their class does.
const (
	protocolViolation   = "08P01" // every refusal of PgBouncer
	roleMembershipLoop  = "0LP01"
	readOnlyTransaction = "25006"
	invalidAuth         = "28000"
	invalidPassword     = "28P01"
	invalidDatabase     = "3D000"
	notPrivileged       = "42501"
	uniqueViolation     = "23505"
	undefinedObject     = "42704"
	duplicateObject     = "42710"
	tooManyConnections  = "53300"
	notPrerequisite     = "55000"
	objectInUse         = "55006"
	lockNotAvailable    = "55P03"
	idleSessionTimeout  = "57P05"
	idleInTransaction   = "25P03"
)

// loginError classifies a failed login. Some SQLSTATEs are sent both before and
// after the password was proved; the routine that raised the error, which
// unlike its text is never translated, tells which.
func loginError(err error, at engines.Endpoint, user string) *secrets.Error {
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return refusedLogin(pe, at, user)
	}
	if e, ok := engines.TLSFailure(err); ok {
		return e
	}
	text := err.Error()
	var op *net.OpError
	var dns *net.DNSError
	switch {
	case strings.Contains(text, "server refused TLS connection"):
		return engines.NoTLS()
	case strings.Contains(text, "requested password authentication"):
		return secrets.Errorf(secrets.Invalid, "the server asks for the password in the clear, which only verified TLS protects").
			WithHint("set tls.mode: verify-full, or scram-sha-256 for this user in pg_hba.conf")
	case strings.Contains(text, "did not complete authentication"):
		return secrets.Errorf(secrets.Invalid, "the server lets user %q in without asking for a password, so a login proves nothing", user).
			WithHint("set scram-sha-256 instead of trust, peer or cert for this user in pg_hba.conf")
	case strings.Contains(text, "require_auth"):
		return secrets.Errorf(secrets.Invalid, "the server asks for a kind of authentication that is not by password").
			WithHint("set scram-sha-256 for this user in pg_hba.conf")
	case errors.Is(err, context.Canceled):
		return secrets.Errorf(secrets.Transient, "login interrupted: %w", context.Canceled)
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return secrets.Errorf(secrets.Transient, "no login before the time ran out: %w", context.DeadlineExceeded).
			WithHint("is the server overloaded, or a firewall dropping packets to %s?", at.Addr())
	case strings.Contains(text, "failed SASL auth") && !errors.As(err, &op) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return secrets.Errorf(secrets.Invalid, "the server does not prove that it knows the password's verifier: %s", innermost(err)).
			WithHint("is %s really your server?", at.Addr())
	case errors.As(err, &dns):
		return secrets.Errorf(secrets.Transient, "cannot look up host %q: %s", at.Host, dns.Err).
			WithHint("check the host name in the secret")
	case errors.As(err, &op):
		return secrets.Errorf(secrets.Transient, "cannot connect: %w", op).
			WithHint("is the server running, and are host and port right?")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return secrets.Errorf(secrets.Transient, "the server closed the connection during login").
			WithHint("is %s a PostgreSQL server? its log may say more", at.Addr())
	}
	return secrets.Errorf(secrets.Transient, "cannot log in: %s", innermost(err))
}

// refusedLogin classifies what the server answered instead of letting us in.
func refusedLogin(pe *pgconn.PgError, at engines.Endpoint, user string) *secrets.Error {
	proved := func(e *secrets.Error) *secrets.Error { e.Authenticated = true; return e }
	state := "SQLSTATE " + pe.Code
	switch pe.Code {
	case invalidPassword:
		return secrets.Errorf(secrets.Denied, "user %q: wrong user name or password (%s)", user, state).
			WithHint("if the password is right it has expired (ALTER ROLE … VALID UNTIL) or is stored as md5 while scram-sha-256 is demanded")
	case invalidAuth:
		switch {
		case pe.Routine == "InitializeSessionUserId":
			return proved(secrets.Errorf(secrets.Denied, "user %q is not permitted to log in (%s)", user, state).
				WithHint("ALTER ROLE %s LOGIN", quoteIdent(user)))
		case pe.Routine == "ClientAuthentication" && at.TLS.Config == nil:
			return secrets.Errorf(secrets.Invalid, "pg_hba.conf lets nobody in as user %q, database %q, without TLS (%s)", user, at.Database, state).
				WithHint("set tls.mode: verify-full if the server demands TLS, or add a line to pg_hba.conf")
		case pe.Routine == "ClientAuthentication":
			return secrets.Errorf(secrets.Invalid, "pg_hba.conf does not let user %q into database %q from here (%s)", user, at.Database, state).
				WithHint("add a line to pg_hba.conf for this host and user")
		}
		return secrets.Errorf(secrets.Denied, "user %q: authentication failed (%s)", user, state)
	case invalidDatabase:
		return proved(secrets.Errorf(secrets.Invalid, "database %q does not exist (%s)", at.Database, state).
			WithHint("correct \"dbname\" in the secret"))
	case notPrivileged:
		return proved(secrets.Errorf(secrets.Invalid, "user %q may not connect to database %q (%s)", user, at.Database, state).
			WithHint("GRANT CONNECT ON DATABASE %s TO %s", quoteIdent(at.Database), quoteIdent(user)))
	case notPrerequisite:
		return proved(secrets.Errorf(secrets.Invalid, "database %q accepts no connections (%s)", at.Database, state).
			WithHint("name another database as \"dbname\" in the secret"))
	case tooManyConnections:
		e := secrets.Errorf(secrets.Transient, "too many connections (%s)", state).
			WithHint("wait, or raise the limit of the user, the database or the server")
		switch pe.Routine {
		case "InitializeSessionUserId", "InitPostgres", "CheckMyDatabase":
			e.Authenticated = true
		}
		return e
	case protocolViolation:
		return refusedByPooler(pe, user)
	case undefinedObject:
		return proved(secrets.Errorf(secrets.Invalid, "the server does not know a setting that the session needs (%s)", state).
			WithHint("Pawl needs PostgreSQL 14 or newer"))
	}
	switch pe.Code[:min(2, len(pe.Code))] {
	case "08", "40", "53", "57", "58", "XX":
		return secrets.Errorf(secrets.Transient, "the server takes no logins now: %s (%s)", pe.Message, state)
	case "28":
		return secrets.Errorf(secrets.Denied, "user %q: authentication failed (%s)", user, state)
	}
	return secrets.Errorf(secrets.Invalid, "login refused: %s (%s)", pe.Message, state)
}

// refusedByPooler tells PgBouncer's refusals apart, which all have one SQLSTATE
// and no routine; its texts are not translated. None of them proves a password.
func refusedByPooler(pe *pgconn.PgError, user string) *secrets.Error {
	switch {
	case strings.Contains(pe.Message, "startup parameter"):
		return secrets.Errorf(secrets.Invalid, "this is a connection pooler (%s)", pe.Message).
			WithHint("set admin_host to the PostgreSQL server itself")
	case strings.Contains(pe.Message, "authentication failed"), strings.Contains(pe.Message, "no such user"), strings.Contains(pe.Message, "auth failed"):
		return secrets.Errorf(secrets.Denied, "user %q: the connection pooler refuses the login (%s)", user, pe.Message).
			WithHint("wrong user name, password or database; or the pooler's own user list is out of date")
	case strings.Contains(pe.Message, "no such database"):
		return secrets.Errorf(secrets.Invalid, "the connection pooler does not know the database (%s)", pe.Message)
	}
	return secrets.Errorf(secrets.Transient, "the connection pooler cannot serve the login now (%s)", pe.Message)
}

// verdict is what a statement's error means. refused means that the server
// itself said no, so that nothing was changed.
type verdict struct {
	kind    secrets.Kind
	code    string // SQLSTATE, "" without one
	refused bool
	pe      *pgconn.PgError
}

// errUnsent marks an error that came before anything was sent.
var errUnsent = errors.New("nothing was sent")

// judge decides about the error of a statement. cut is the kind of an error
// that leaves open whether the statement ran: Unknown for one that changes
// something, Transient for one that only reads.
//
// pgconn.SafeToRetry is of no use here: when a connection breaks while a
// statement's results are read one after the other, the driver reports "conn
// closed" and calls it safe to retry, though the statement was sent.
func judge(err error, cut secrets.Kind) verdict {
	if errors.Is(err, errUnsent) {
		return verdict{kind: secrets.Transient, refused: true}
	}
	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		return verdict{kind: cut}
	}
	v := verdict{kind: secrets.Invalid, code: pe.Code, refused: true, pe: pe}
	if fatal(pe) && pe.Code != idleSessionTimeout && pe.Code != idleInTransaction {
		// The session ended instead of the statement; a shutdown while a commit
		// waits for its replicas leaves the commit in place.
		v.kind, v.refused = cut, false
		return v
	}
	switch pe.Code {
	case notPrivileged:
		v.kind = secrets.Denied
	// A role that was not there a moment ago, or a row of the catalogue: another
	// session makes the same one.
	case lockNotAvailable, objectInUse, idleInTransaction, duplicateObject, uniqueViolation:
		v.kind = secrets.Transient
	default:
		switch pe.Code[:min(2, len(pe.Code))] {
		case "28":
			v.kind = secrets.Denied
		// XX000 "tuple concurrently updated" is what two writers of one role
		// get; the class is the server's own trouble.
		case "08", "40", "53", "57", "58", "XX":
			v.kind = secrets.Transient
		}
	}
	return v
}

func fatal(pe *pgconn.PgError) bool {
	s := pe.SeverityUnlocalized
	if s == "" {
		s = pe.Severity
	}
	return s == "FATAL" || s == "PANIC"
}

// sqlstate renders the code for a person, or says that there was none.
func (v verdict) sqlstate() string {
	switch {
	case v.code != "":
		return "SQLSTATE " + v.code
	case v.refused:
		return errUnsent.Error()
	}
	return "connection lost or time run out"
}

// text is the server's own message: only for statements that held neither a
// password nor a hash.
func (v verdict) text(err error) string {
	if v.pe != nil {
		return v.pe.Message + " (SQLSTATE " + v.code + ")"
	}
	return innermost(err) + " (" + v.sqlstate() + ")"
}

// innermost is the text of the error at the bottom of a chain: without the
// driver's preamble, and never its configuration.
func innermost(err error) string {
	for {
		switch u := err.(type) {
		case interface{ Unwrap() error }:
			if next := u.Unwrap(); next != nil {
				err = next
				continue
			}
		case interface{ Unwrap() []error }:
			if all := u.Unwrap(); len(all) > 0 {
				err = all[len(all)-1]
				continue
			}
		}
		return err.Error()
	}
}

// readOnly is the refusal of a server or session that takes no changes.
func readOnly() *secrets.Error {
	return secrets.Errorf(secrets.Invalid, "this server is a replica or read-only and takes no changes (SQLSTATE %s)", readOnlyTransaction).
		WithHint("set admin_host to the primary server")
}
