package mysql

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// A clone has one row for each row (host) of the original. A new row is made
// locked and marked, receives its rights, and is unlocked by the statement that
// gives it a password: whoever can log in as the clone has all of its rights.
//
// The mark is what tells a clone of Pawl's from a user who happens to be named
// so. In MySQL it is a user attribute, {"pawl_clone_of": "original"}, and
// stays. MariaDB has no attributes: there a clone that has no password yet is
// known by a hash that was made from the original's name and belongs to no
// password; once a password is set nothing at the server tells.

// markAttribute is the mark in MySQL.
func markAttribute(original string) string {
	b, _ := json.Marshal(map[string]string{"pawl_clone_of": original}) // a map of strings always encodes
	return quote(string(b))
}

// markHash is the mark in MariaDB: it has the form of the plug-in's hash, and
// nobody knows a password for it.
func markHash(plugin, original string) string {
	from := []byte("pawl clone of " + original)
	if plugin == ed25519Plugin {
		sum := sha256.Sum256(from)
		return base64.RawStdEncoding.EncodeToString(sum[:])
	}
	sum := sha1.Sum(from)
	return "*" + strings.ToUpper(hex.EncodeToString(sum[:]))
}

// markPassword is the mark where MariaDB's strict_password_validation takes no
// hashes: a password that anybody could work out, good for nothing as the
// account is locked.
func markPassword(original string) string {
	sum := sha256.Sum256([]byte("pawl clone of " + original))
	return "Pawl-1:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// FindClone implements engines.Cloner. On a MariaDB a clone that has been
// given a password is CloneForeign: the secret's history knows better.
func (s *session) FindClone(ctx context.Context, c engines.Clone) (engines.CloneState, error) {
	if err := s.begin(ctx); err != nil {
		return engines.CloneAbsent, err
	}
	rows, err := s.rows(ctx, c.Original, c.Clone)
	switch {
	case err != nil:
		return engines.CloneAbsent, err
	case len(rows) == 0:
		return engines.CloneAbsent, nil
	case slices.ContainsFunc(rows, func(r row) bool { return r.mark != c.Original }):
		return engines.CloneForeign, nil
	}
	return engines.CloneMarked, nil
}

// SyncClone implements engines.Cloner. An existing clone stays as usable as it
// was. Everything here may be repeated, so a broken connection is Transient.
func (s *session) SyncClone(ctx context.Context, c engines.Clone) ([]string, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	if err := checkUsername(c.Clone, s.maxName()); err != nil {
		return nil, secrets.At(err, "", "", s.at.Addr())
	}
	rows, err := s.rows(ctx, c.Original, c.Original, c.Clone)
	if err != nil {
		return nil, err
	}
	originals, clones := map[string]row{}, map[string]row{}
	for _, r := range rows {
		if r.user == c.Original {
			originals[r.host] = r
		} else {
			clones[r.host] = r
		}
	}
	if err := cloneable(originals, c.Original); err != nil {
		return nil, secrets.At(err, "", "", s.at.Addr())
	}
	for _, of := range []map[string]row{originals, clones} {
		if err := s.known(ctx, slices.Collect(maps.Values(of)), secrets.Password{}, c.Known); err != nil {
			return nil, err
		}
	}
	for _, host := range sorted(originals) {
		clone, exists := clones[host]
		if err := s.syncRow(ctx, originals[host], clone, exists, c); err != nil {
			return nil, err
		}
	}
	for _, host := range sorted(clones) {
		if _, wanted := originals[host]; !wanted {
			if err := s.step(ctx, c, "DROP USER "+account(c.Clone, host)); err != nil {
				return nil, err
			}
		}
	}
	return s.uncopied(ctx, c)
}

// cloneable refuses originals whose copy would be another thing.
func cloneable(originals map[string]row, user string) error {
	if len(originals) == 0 {
		return secrets.Errorf(secrets.Invalid, "the server has no user %q to copy", user).WithHint("check \"username\" in the secret")
	}
	for _, host := range sorted(originals) {
		o := originals[host]
		if err := o.rotatable(false); err != nil {
			return err
		}
		if o.locked {
			// The password's statement unlocks every row of the clone.
			return secrets.Errorf(secrets.Invalid, "%s is locked; its copy would not be", account(user, host)).
				WithHint("unlock or drop that account")
		}
	}
	return nil
}

// syncRow makes one row of the clone like the original's.
func (s *session) syncRow(ctx context.Context, original, clone row, exists bool, c engines.Clone) error {
	at := account(c.Clone, original.host)
	if !exists {
		if err := s.create(ctx, original, c); err != nil {
			return err
		}
	} else if statement := s.alterations(original, clone, c); statement != "" {
		if err := s.step(ctx, c, "ALTER USER "+at+statement); err != nil {
			return err
		}
	}
	rights, err := s.syncGrants(ctx, original, c)
	if err != nil {
		return err
	}
	return s.syncDefaultRoles(ctx, original, rights, c)
}

// alterations are the clauses that an existing row of the clone needs.
func (s *session) alterations(original, clone row, c engines.Clone) string {
	statement := ""
	if clone.options != original.options {
		statement = original.options.clauses(s.maria, true)
	}
	if !s.maria && clone.mark != c.Original {
		statement += " ATTRIBUTE " + markAttribute(c.Original)
	}
	return statement
}

// create makes a row of the clone, locked.
func (s *session) create(ctx context.Context, original row, c engines.Clone) error {
	doing := "create the clone " + account(c.Clone, original.host)
	err := s.locked(ctx, c, doing, func(plain bool) string {
		return "CREATE USER " + account(c.Clone, original.host) + s.lockedIdentity(original.plugin, c.Original, plain) +
			original.options.clauses(s.maria, false) + " ACCOUNT LOCK" + s.attribute(c.Original)
	})
	var server *driver.MySQLError
	if errors.As(err, &server) && server.Number == 1396 { // it was not there a moment ago
		return s.failed(secrets.Errorf(secrets.Transient, "cannot %s: %w", doing, server).
			WithHint("somebody made the account at this moment; rotate again"))
	}
	return err
}

// attribute marks a row in MySQL.
func (s *session) attribute(original string) string {
	if s.maria {
		return ""
	}
	return " ATTRIBUTE " + markAttribute(original)
}

// lockedIdentity is the authentication of a row without a usable password.
func (s *session) lockedIdentity(plugin, original string, plain bool) string {
	switch {
	case !s.maria:
		unknown := secrets.NewPassword(string(append(randomSalt(), randomSalt()...)))
		return s.identified(plugin, unknown, false)
	case plain:
		return s.identified(plugin, secrets.NewPassword(markPassword(original)), true)
	}
	return " IDENTIFIED VIA " + plugin + " USING " + quote(markHash(plugin, original))
}

func randomSalt() []byte {
	salt := newSalt()
	return salt[:]
}

// locked runs a statement that sets a mark; where the server takes no hashes,
// again with the plain mark, which is no secret.
func (s *session) locked(ctx context.Context, c engines.Clone, doing string, statement func(plain bool) string) error {
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
		if s.noHashes(cause) && !plain {
			plain = true
			continue
		}
		if cause != nil {
			err = withoutText(cause)
		}
		return s.failed(statementError(err, doing))
	}
}

// withoutText keeps a server error's number only: its text may quote a
// statement that holds a hash.
func withoutText(e *driver.MySQLError) error {
	message := "refused by the server"
	if e.Number == 1396 {
		message = "the account exists already, or does not exist"
	}
	return &driver.MySQLError{Number: e.Number, SQLState: e.SQLState, Message: message}
}

// rounds that privileges which imply others may take to settle.
const grantRounds = 6

// syncGrants brings the clone's rights at one host to the original's, reads
// both again to prove it, and returns them.
func (s *session) syncGrants(ctx context.Context, original row, c engines.Clone) (*grants, error) {
	to := account(c.Clone, original.host)
	var todo []string
	for range grantRounds {
		want, err := s.grants(ctx, original.user, original.host, "SHOW GRANTS FOR "+account(original.user, original.host))
		if err != nil {
			return nil, err
		}
		have, err := s.grants(ctx, c.Clone, original.host, "SHOW GRANTS FOR "+to)
		if err != nil {
			return nil, err
		}
		if todo = diff(want, have, to); len(todo) == 0 {
			return want, nil
		}
		for _, statement := range todo {
			if err := s.step(ctx, c, statement); err != nil {
				return nil, err
			}
		}
	}
	return nil, s.failed(secrets.Errorf(secrets.Transient, "the rights of %s still differ from the original's after %d rounds, next: %s", to, grantRounds, todo[0]).
		WithHint("somebody may be changing them at this moment"))
}

// grants reads an account's rights.
func (s *session) grants(ctx context.Context, user, host, statement string) (*grants, error) {
	rows, err := s.query(ctx, statement)
	if err != nil {
		e := statementError(err, "read the rights of "+account(user, host))
		if e.Kind == secrets.Denied && e.Hint == "" {
			e.Hint = "GRANT SELECT ON mysql.* TO the superuser"
		}
		return nil, s.failed(e)
	}
	lines := make([]string, len(rows))
	for i, r := range rows {
		lines[i] = r[0]
	}
	g, err := parseGrants(lines, user, host, s.maria)
	if err != nil {
		return nil, s.failed(secrets.Errorf(secrets.Invalid, "%s: %w", account(user, host), err).
			WithHint("please report this with the server's version"))
	}
	return g, nil
}

// syncDefaultRoles comes after the roles themselves. Which ones the clone has
// is read now: revoking a role may have changed it.
func (s *session) syncDefaultRoles(ctx context.Context, original row, rights *grants, c engines.Clone) error {
	to := account(c.Clone, original.host)
	want, err := s.defaultRoles(ctx, original.user, original.host, original)
	if err != nil {
		return err
	}
	// MariaDB remembers a default role that was revoked: it is none.
	want = slices.DeleteFunc(want, func(role string) bool { _, granted := rights.roles[role]; return !granted })
	var now row
	if s.maria {
		rows, err := s.rows(ctx, "", c.Clone)
		if err != nil {
			return err
		}
		for _, r := range rows {
			if r.host == original.host {
				now = r
			}
		}
	}
	have, err := s.defaultRoles(ctx, c.Clone, original.host, now)
	if err != nil || slices.Equal(want, have) {
		return err
	}
	list := strings.Join(want, ", ")
	if list == "" {
		list = "NONE"
	}
	if s.maria {
		return s.step(ctx, c, "SET DEFAULT ROLE "+list+" FOR "+to)
	}
	return s.step(ctx, c, "ALTER USER "+to+" DEFAULT ROLE "+list)
}

// defaultRoles are quoted as in a statement; MariaDB keeps the one it allows in
// the account's row.
func (s *session) defaultRoles(ctx context.Context, user, host string, r row) ([]string, error) {
	if s.maria {
		return r.defaultRoles, nil
	}
	rows, err := s.query(ctx, "SELECT DEFAULT_ROLE_USER, DEFAULT_ROLE_HOST FROM mysql.default_roles WHERE USER = "+quote(user)+
		" AND HOST = "+quote(host)+" ORDER BY 1, 2")
	if err != nil {
		return nil, s.failed(statementError(err, "read default roles"))
	}
	var out []string
	for _, r := range rows {
		out = append(out, quoteName(r[0])+"@"+quoteName(r[1]))
	}
	return out, nil
}

// uncopied names what a clone cannot have.
func (s *session) uncopied(ctx context.Context, c engines.Clone) ([]string, error) {
	rows, err := s.query(ctx, "SELECT DISTINCT CONCAT(User, '@', Host) FROM mysql.proxies_priv WHERE Proxied_user = "+quote(c.Original))
	if err != nil {
		return nil, s.failed(statementError(err, "read proxy users"))
	}
	var warnings []string
	for _, r := range rows {
		warnings = append(warnings, r[0]+" may log in as a proxy of "+c.Original+"; of "+c.Clone+" he may not")
	}
	return warnings, nil
}

// step runs one statement of a synchronization.
func (s *session) step(ctx context.Context, c engines.Clone, statement string) error {
	if err := engines.Sendable(ctx, c.Confirm, s.at.Addr()); err != nil {
		return err
	}
	err := s.exec(ctx, statement)
	if err == nil {
		return nil
	}
	e := statementError(err, "copy the original's rights ("+statement+")")
	if e.Kind == secrets.Denied && e.Hint == "" {
		e.Hint = "the superuser must hold what he copies WITH GRANT OPTION, roles WITH ADMIN OPTION; for MariaDB's default roles UPDATE ON mysql.*"
	}
	return s.failed(e)
}

// LockClone implements engines.Cloner. Every row of the clone is locked and
// marked; a clone that does not exist needs no lock.
func (s *session) LockClone(ctx context.Context, c engines.Clone) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	rows, err := s.rows(ctx, c.Original, c.Clone)
	if err != nil || len(rows) == 0 {
		return err
	}
	return s.locked(ctx, c, "lock the clone "+quote(c.Clone), func(plain bool) string {
		parts := make([]string, len(rows))
		for i, r := range rows {
			parts[i] = account(r.user, r.host)
			if s.maria {
				plugin := r.plugin
				if plugin != ed25519Plugin {
					plugin = nativePlugin
				}
				parts[i] += s.lockedIdentity(plugin, c.Original, plain)
			}
		}
		return "ALTER USER " + strings.Join(parts, ", ") + " ACCOUNT LOCK" + s.attribute(c.Original)
	})
}
