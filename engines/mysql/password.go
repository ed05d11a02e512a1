package mysql

import (
	"context"
	"errors"
	"strconv"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// maxPassword is the longest password that MySQL takes, in bytes.
const maxPassword = 256

// SetPassword implements engines.Session. Every row of the user's name is
// changed by the same statement; the rows keep their plug-ins. For a clone the
// statement also unlocks, so that it is the point at which the clone becomes
// usable, with its rights already complete.
//
// MySQL changes several rows all or none. MariaDB may stop between two of them
// (it keeps accounts in a table without transactions); saying the same again
// completes it.
func (s *session) SetPassword(ctx context.Context, c engines.PasswordChange) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.checkPassword(c); err != nil {
		return s.failed(err)
	}
	if c.Self {
		plugin, err := s.ownPlugin(ctx, c)
		if err != nil {
			return err
		}
		return s.send(ctx, c, 1, func(plain bool) string { return s.ownChange(plugin, c, plain) })
	}
	rows, err := s.targets(ctx, c)
	if err != nil {
		return err
	}
	if len(rows) == 0 {
		return s.failed(secrets.Errorf(secrets.Invalid, "the server has no user %q", c.Username))
	}
	return s.send(ctx, c, len(rows), func(plain bool) string { return s.change(rows, c, plain) })
}

// send makes a change of so many rows: with the hash, and where the server
// refuses hashes as such and the operator allows it, with the plain password.
func (s *session) send(ctx context.Context, c engines.PasswordChange, rows int, statement func(plain bool) string) error {
	plain := false
	for {
		if err := engines.Sendable(ctx, c.Confirm, s.at.Addr()); err != nil {
			return err
		}
		err := s.exec(ctx, statement(plain))
		if err == nil {
			return nil
		}
		cause := s.cause(ctx, err)
		if s.noHashes(cause) && c.Plain && !plain {
			plain = true
			continue
		}
		out := setError(err, c.Username, cause)
		if s.maria && rows > 1 && cause != nil && !everyRow[cause.Number] {
			// Some of the rows may have been changed before the refusal.
			out.Kind = secrets.Unknown
		}
		return s.failed(out)
	}
}

// noHashes reports MariaDB's refusal of hashes where a plug-in judges
// passwords (strict_password_validation).
func (s *session) noHashes(cause *driver.MySQLError) bool {
	return s.maria && cause != nil && cause.Number == 1290 && !readOnly(cause)
}

// everyRow are the refusals that meet all rows of a user alike, so that none
// was changed: by policy, and for want of rights.
var everyRow = map[uint16]bool{1290: true, 1819: true, 1044: true, 1142: true, 1227: true}

// checkPassword refuses what no server stores as it was meant.
func (s *session) checkPassword(c engines.PasswordChange) *secrets.Error {
	switch p := c.New.Reveal(); {
	case p == "":
		return secrets.Errorf(secrets.Invalid, "the new password of %q is empty", c.Username)
	case strings.ContainsRune(p, 0):
		return secrets.Errorf(secrets.Invalid, "the new password of %q has a NUL character in it", c.Username)
	case !s.maria && len(p) > maxPassword:
		return secrets.Errorf(secrets.Invalid, "the new password of %q has %d bytes; the server takes %d", c.Username, len(p), maxPassword).
			WithHint("lower the password's length in the secret's rules")
	}
	return nil
}

// change is the statement by which a superuser changes the rows.
func (s *session) change(rows []row, c engines.PasswordChange, plain bool) string {
	forms := map[string]string{}
	parts := make([]string, len(rows))
	for i, r := range rows {
		if forms[r.plugin] == "" {
			forms[r.plugin] = s.identified(r.plugin, c.New, plain)
		}
		parts[i] = account(r.user, r.host) + forms[r.plugin]
	}
	statement := "ALTER USER " + strings.Join(parts, ", ")
	if c.Clone {
		statement += " ACCOUNT UNLOCK"
	}
	return statement
}

// identified is the clause that gives an account a password and keeps its
// plug-in. For sha256_password there is no hash of ours (see rotatable).
func (s *session) identified(plugin string, p secrets.Password, plain bool) string {
	switch {
	case s.maria && plain:
		return " IDENTIFIED VIA " + plugin + " USING PASSWORD(" + quote(p.Reveal()) + ")"
	case s.maria:
		return " IDENTIFIED VIA " + plugin + " USING " + quote(hash(plugin, p, s.rounds))
	case plugin == sha256Plugin:
		return " IDENTIFIED WITH " + plugin + " BY " + quote(p.Reveal())
	}
	return " IDENTIFIED WITH " + plugin + " AS " + quote(hash(plugin, p, s.rounds))
}

// hash is a plug-in's stored form of a password.
func hash(plugin string, p secrets.Password, rounds int) string {
	switch plugin {
	case ed25519Plugin:
		return ed25519Hash(p.Reveal())
	case sha2Plugin:
		return sha2Hash(p.Reveal(), newSalt(), rounds)
	}
	return nativeHash(p.Reveal())
}

// ownChange is the statement by which a user changes his own password. MySQL
// takes no hash there; it shows <secret> in its logs (MySQL Reference Manual,
// "Passwords and Logging"). REPLACE is allowed always and demanded by PASSWORD
// REQUIRE CURRENT.
func (s *session) ownChange(plugin string, c engines.PasswordChange, plain bool) string {
	switch {
	case s.maria && plain:
		return "SET PASSWORD = PASSWORD(" + quote(c.New.Reveal()) + ")"
	case s.maria:
		return "SET PASSWORD = " + quote(hash(plugin, c.New, s.rounds))
	}
	statement := "ALTER USER USER() IDENTIFIED BY " + quote(c.New.Reveal())
	if !c.Old.IsEmpty() {
		statement += " REPLACE " + quote(c.Old.Reveal())
	}
	return statement
}

// cause is the server's own reason for an error, nil if it is not the server's.
// MariaDB answers 1396 for many reasons; only the same connection's warnings
// know which.
func (s *session) cause(ctx context.Context, err error) *driver.MySQLError {
	var server *driver.MySQLError
	if !errors.As(err, &server) {
		return nil
	}
	if !s.maria || server.Number != 1396 {
		return server
	}
	warnings, err := s.query(ctx, "SHOW WARNINGS")
	if err != nil {
		return server
	}
	for _, known := range []int{1290, 1819, 1372, 1524, 1410, 1133} {
		for _, w := range warnings {
			if len(w) == 3 && w[1] == strconv.Itoa(known) {
				return &driver.MySQLError{Number: uint16(known), Message: w[2]}
			}
		}
	}
	return server
}
