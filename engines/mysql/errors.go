package mysql

import (
	"context"
	"crypto/tls"
	sqldriver "database/sql/driver"
	"errors"
	"strconv"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/pawlhq/pawl/secrets"
)

// rule is what one of the server's error numbers means. Numbers and texts:
// MySQL Server Error Message Reference; MariaDB documentation, "MariaDB Error
// Codes". Which refusals come only with the right password was tried on
// MariaDB 10.11 and MySQL 9.7.
type rule struct {
	kind          secrets.Kind
	authenticated bool
	hint          string
}

var loginRules = map[uint16]rule{
	1040: {kind: secrets.Transient, hint: "the server has no connection to spare"},
	1044: {secrets.Invalid, true, "grant the user a right on that database, or correct \"dbname\""},
	1045: {kind: secrets.Denied, hint: "check user name and password"},
	1047: {kind: secrets.Transient}, // Galera: the node is not ready yet
	1049: {secrets.Invalid, true, "correct \"dbname\" in the secret"},
	1053: {kind: secrets.Transient},
	1077: {kind: secrets.Transient},
	1079: {kind: secrets.Transient},
	1129: {kind: secrets.Denied, hint: "run FLUSH HOSTS at the server, or raise max_connect_errors"},
	1130: {kind: secrets.Invalid, hint: "create the account for the address that Pawl comes from"},
	1203: {secrets.Transient, true, "the user has as many connections as max_user_connections allows"},
	1226: {secrets.Transient, true, "the user has used up a limit of his account"},
	1251: {kind: secrets.Invalid, hint: "rotate accounts of caching_sha2_password, mysql_native_password or ed25519"},
	1524: {kind: secrets.Invalid, hint: "the account's authentication plug-in is not loaded at the server"},
	1698: {kind: secrets.Denied, hint: "the account does not log in by password (unix_socket, auth_socket)"},
	1820: {secrets.Denied, true, expiredHint},
	1862: {secrets.Denied, true, expiredHint},
	3118: {secrets.Denied, true, lockedHint},
	3159: {secrets.Invalid, true, "the server demands TLS: set tls.mode: verify-full"},
	3955: {kind: secrets.Denied, hint: "the account is blocked after wrong passwords: ALTER USER … ACCOUNT UNLOCK, or wait"},
	4150: {kind: secrets.Denied, hint: "the account is blocked after wrong passwords: run FLUSH PRIVILEGES as an administrator"},
	4151: {secrets.Denied, true, lockedHint},
}

const (
	expiredHint = "the password has expired: set it by hand once, and store it"
	lockedHint  = "ALTER USER … ACCOUNT UNLOCK"
)

// statementRules classify a statement's refusal. What is not listed is
// Invalid: the server understood and said no.
var statementRules = map[uint16]rule{
	1040: {kind: secrets.Transient},
	1044: {kind: secrets.Denied},
	1045: {kind: secrets.Denied},
	1047: {kind: secrets.Transient},
	1053: {kind: secrets.Transient},
	1142: {kind: secrets.Denied},
	1143: {kind: secrets.Denied},
	1203: {kind: secrets.Transient},
	1205: {kind: secrets.Transient, hint: "somebody holds a lock on the server's grant tables"},
	1213: {kind: secrets.Transient},
	1226: {kind: secrets.Transient},
	1227: {kind: secrets.Denied},
	1317: {kind: secrets.Transient},
	1370: {kind: secrets.Denied},
	1698: {kind: secrets.Denied},
	1820: {secrets.Denied, true, expiredHint},
	1836: {kind: secrets.Invalid, hint: readOnlyHint},
	1927: {kind: secrets.Transient},
	1969: {kind: secrets.Transient, hint: "somebody holds a lock on the server's grant tables"},
	3024: {kind: secrets.Transient},
	3891: {kind: secrets.Denied, hint: "the password that the secret calls current is not the account's"},
	4031: {kind: secrets.Transient},
}

const readOnlyHint = "set admin_host to the primary (writer)"

// statementError classifies the failure of a statement that may be repeated
// without harm and that holds nothing secret, so the server's text is passed
// on. doing completes "cannot …".
func statementError(err error, doing string) *secrets.Error {
	var server *driver.MySQLError
	if !errors.As(err, &server) {
		return secrets.Errorf(secrets.Transient, "cannot %s: %w", doing, err)
	}
	out := secrets.Errorf(secrets.Invalid, "cannot %s: %w", doing, server)
	if r, ok := statementRules[server.Number]; ok {
		out.Kind, out.Authenticated, out.Hint = r.kind, r.authenticated, r.hint
	}
	if readOnly(server) {
		out.Hint = readOnlyHint
	}
	return out
}

// readOnly reports error 1290 where its option is read_only or
// super_read_only; the number is shared by every option that forbids something.
func readOnly(e *driver.MySQLError) bool {
	return e.Number == 1290 && (strings.Contains(e.Message, "read-only") || strings.Contains(e.Message, "read_only"))
}

// setError classifies the failure of a statement that held a password or a
// hash. The server's text is never passed on: a syntax error quotes the
// statement. cause is the server's reason, nil if it gave none.
func setError(err error, user string, cause *driver.MySQLError) *secrets.Error {
	fail := func(k secrets.Kind, why string) *secrets.Error {
		return secrets.Errorf(k, "cannot change the password of %q: %s", user, why)
	}
	switch {
	case cause != nil:
	case errors.Is(err, sqldriver.ErrBadConn):
		// The driver's promise that nothing was sent.
		return fail(secrets.Transient, "the connection was gone before anything was sent")
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fail(secrets.Unknown, "the time ran out after the change was sent")
	default:
		return fail(secrets.Unknown, "the connection broke after the change was sent")
	}
	policy := func(why string) *secrets.Error {
		out := fail(secrets.Invalid, why)
		out.Policy = true
		return out
	}
	switch cause.Number {
	case 1053, 1927, 4031:
		return fail(secrets.Unknown, "the server was ending the connection")
	case 1819:
		return policy("the server's password policy refuses it (error 1819)").
			WithHint("adapt the secret's password rules to the server's policy")
	case 3638:
		return policy("the server's password history refuses it (error 3638)")
	case 1290:
		if readOnly(cause) {
			return fail(secrets.Invalid, "the server is read-only (error 1290)").WithHint(readOnlyHint)
		}
		return fail(secrets.Invalid, "the server takes no password hashes (error 1290, strict_password_validation)").
			WithHint("let the plain password be sent with plain_password: allow")
	case 1133, 1396, 1410:
		return fail(secrets.Invalid, "the server knows no such user, or may not change him (error "+number(cause)+")")
	case 1372, 1827:
		return fail(secrets.Invalid, "the server refuses the form of the password hash (error "+number(cause)+")").
			WithHint("please report this with the server's version")
	case 1227, 1142, 1044:
		return fail(secrets.Denied, "the right to do it is missing (error "+number(cause)+")").
			WithHint("GRANT CREATE USER ON *.* TO the superuser; to change an account that has SYSTEM_USER or SUPER he needs the same")
	case 3892:
		return fail(secrets.Denied, "the server wants the current password along with it (error 3892)").
			WithHint("rotate through a superuser")
	}
	r, ok := statementRules[cause.Number]
	if !ok {
		r = rule{kind: secrets.Invalid}
	}
	out := fail(r.kind, "the server refuses it (error "+number(cause)+")")
	out.Authenticated, out.Hint = r.authenticated, r.hint
	return out
}

// tlsAlert reports a handshake that failed for another reason than the
// certificate.
func tlsAlert(err error) bool {
	var alert tls.AlertError
	var record tls.RecordHeaderError
	return errors.As(err, &alert) || errors.As(err, &record)
}

func number(e *driver.MySQLError) string { return strconv.Itoa(int(e.Number)) }
