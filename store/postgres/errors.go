package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// SQLSTATEs (PostgreSQL documentation, "PostgreSQL Error Codes") that say more than
// their class does.
const (
	protocolViolation   = "08P01" // what PgBouncer says of session settings that it does not pass on
	readOnlyTransaction = "25006"
	changedResult       = "0A000" // of a statement that was prepared before a migration
	uniqueViolation     = "23505"
	idleInTransaction   = "25P03"
	invalidDatabase     = "3D000"
	invalidSchema       = "3F000"
	notPrivileged       = "42501"
	undefinedColumn     = "42703"
	undefinedObject     = "42704"
	undefinedFunction   = "42883"
	undefinedTable      = "42P01"
	diskFull            = "53100"
	tooManyConnections  = "53300"
	notPrerequisite     = "55000"
	lockNotAvailable    = "55P03"
	queryCanceled       = "57014"
	dataCorrupted       = "XX001"
	indexCorrupted      = "XX002"
)

const (
	remedyMigrate = "as the owner of the schema, run: pawl store migrate"
	remedyDamaged = "stop every Pawl that uses the store, and restore the database from a backup"
	remedyLogin   = "correct user and password (store.postgres.dsn, or its password file or variable)"
)

// classify turns an error of the driver into one that says what to do about it.
// Errors that are classified already, and those of the stores' contracts, stay as
// they are. Of what it hears of it notes that connections break.
func (s *Store) classify(err error) error {
	if err == nil {
		return nil
	}
	if lost(err) {
		s.broke.Store(time.Now().UnixNano())
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == readOnlyTransaction {
		// The server has become a replica: what is connected to it is of no use.
		s.pool.Reset()
	}
	return classify(s.name, err)
}

func classify(name string, err error) error {
	var known *secrets.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &known), errors.Is(err, service.ErrNotFound), errors.Is(err, service.ErrExists),
		errors.Is(err, principals.ErrNotFound), errors.Is(err, principals.ErrExists):
		return err
	}
	fail := func(k secrets.Kind, what, hint string) error {
		return secrets.Errorf(k, "the store (%s) %s: %s", name, what, oneLine(err)).WithHint("%s", hint)
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		what, kind, hint := verdict(pe)
		return secrets.Errorf(kind, "the store (%s) %s: %s (SQLSTATE %s)", name, what, pe.Message, pe.Code).WithHint("%s", hint)
	}
	var unknownAuthority x509.UnknownAuthorityError
	var hostname x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.Is(err, puddle.ErrClosedPool):
		return secrets.Errorf(secrets.Invalid, "the store (%s) is closed", name)
	case errors.As(err, &unknownAuthority), errors.As(err, &hostname), errors.As(err, &invalid), errors.As(err, &verification):
		return fail(secrets.Invalid, "has a certificate that is not trusted", "name its authority in store.postgres.dsn (sslrootcert=FILE), and its host as the certificate does")
	case strings.Contains(err.Error(), "server refused TLS connection"):
		return fail(secrets.Invalid, "speaks no TLS", "have it speak TLS; or, where nobody can be between, set sslmode=disable in store.postgres.dsn")
	case strings.Contains(err.Error(), "require_auth"), strings.Contains(err.Error(), "requested password authentication"):
		return fail(secrets.Invalid, "asks for the password in the clear", "set sslmode=verify-full in store.postgres.dsn, or scram-sha-256 for its user in pg_hba.conf")
	case errors.Is(err, pgconn.ErrReadOnlyConnection), errors.Is(err, pgconn.ErrStandbyConnection):
		return fail(secrets.Transient, "only reads", "wait for the fail-over to end; name all servers, or the primary's address, in store.postgres.dsn")
	case errors.Is(err, context.Canceled):
		return secrets.Errorf(secrets.Transient, "the store (%s) was not waited for: %w", name, context.Canceled).WithHint("try again")
	case errors.Is(err, context.DeadlineExceeded), pgconn.Timeout(err):
		return secrets.Errorf(secrets.Transient, "the store (%s) did not answer in time: %w", name, context.DeadlineExceeded).
			WithHint("try again; if it stays so, see whether the database is overloaded or waits for a standby, or a firewall drops what is sent to it")
	case errors.As(err, &dns):
		return fail(secrets.Transient, "is not to be found", "check the host in store.postgres.dsn")
	case lost(err):
		return fail(secrets.Transient, "broke the connection", "try again; the database's own log may say why")
	case connecting(err):
		return fail(secrets.Transient, "can't be reached", "see whether the database runs, and whether host and port in store.postgres.dsn are right")
	}
	return fail(secrets.Invalid, "failed", "if the database is well, report this")
}

// verdict says of a server's refusal what it is, what may be done about it, and by
// whom.
func verdict(pe *pgconn.PgError) (what string, kind secrets.Kind, hint string) {
	switch pe.Code {
	case readOnlyTransaction:
		return "only reads", secrets.Transient, "wait for the fail-over to end; name all servers, or the primary's address, in store.postgres.dsn"
	case protocolViolation:
		return "does not take Pawl's connection", secrets.Invalid, "name the database itself in store.postgres.dsn, and no pooler before it (PgBouncer): Pawl keeps its connections by itself"
	case changedResult, idleInTransaction:
		return "was interrupted", secrets.Transient, "try again"
	case invalidDatabase:
		return "does not exist", secrets.Invalid, "make it (CREATE DATABASE), or correct its name in store.postgres.dsn"
	case invalidSchema, undefinedTable, undefinedColumn, undefinedFunction:
		return "has not the schema that this Pawl needs", secrets.Invalid, remedyMigrate
	case undefinedObject:
		return "does not know something that Pawl needs", secrets.Invalid, "use PostgreSQL 14 or newer; if it is one, check the names in store.postgres.dsn"
	case notPrivileged:
		return "does not permit it", secrets.Denied, remedyMigrate + ", which gives the user of store.postgres.dsn his rights"
	case diskFull:
		return "has no space left on its disk", secrets.Transient, "free some disk space at the database, then try again"
	case tooManyConnections:
		return "takes no more connections", secrets.Transient, "raise max_connections of the database (or the CONNECTION LIMIT of its user), or lower store.postgres.max_connections of each Pawl"
	case notPrerequisite, lockNotAvailable, queryCanceled:
		return "is busy", secrets.Transient, "try again; if it stays busy, see in pg_stat_activity and pg_locks what holds it up"
	case dataCorrupted, indexCorrupted:
		return "is damaged", secrets.Invalid, remedyDamaged
	}
	switch pe.Code[:min(2, len(pe.Code))] {
	case "28":
		return "refuses the login", secrets.Denied, remedyLogin
	case "40":
		return "is busy", secrets.Transient, "try again"
	case "53":
		return "has run out of something", secrets.Transient, "free it at the database, then try again"
	case "58":
		return "can't read or write its files", secrets.Invalid, "check the database's disk and its log, then try again"
	case "08", "57", "XX":
		return "can't serve now", secrets.Transient, "try again; the database's own log may say why"
	}
	return "failed", secrets.Invalid, "if the database is well, report this"
}

// lost reports whether an error is that a connection broke that had been there: the
// server may have done what it was told, or not.
func lost(err error) bool {
	if connecting(err) {
		return false
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return fatal(pe)
	}
	var op *net.OpError
	return errors.As(err, &op) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, pgconn.ErrConnClosed)
}

// connecting reports whether an error came before there was a connection.
func connecting(err error) bool {
	var ce *pgconn.ConnectError
	return errors.As(err, &ce)
}

func fatal(pe *pgconn.PgError) bool {
	severity := pe.SeverityUnlocalized
	if severity == "" {
		severity = pe.Severity
	}
	return severity == "FATAL" || severity == "PANIC"
}

// refused reports whether an error is the server's own no to a statement: then
// nothing of its transaction was kept.
func refused(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && !fatal(pe) || errors.Is(err, pgx.ErrTxCommitRollback)
}

// oneLine is the text of an error of the driver, without its preamble; that of
// several hosts has a line for each.
func oneLine(err error) string {
	var ce *pgconn.ConnectError
	if errors.As(err, &ce) {
		err = ce.Unwrap()
	}
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\t' })
	return strings.Join(lines, " ")
}
