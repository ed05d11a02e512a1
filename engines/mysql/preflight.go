package mysql

import (
	"context"
	"slices"
	"strings"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// Preflight implements engines.Session. A clone that does not exist yet is no
// error: SyncClone makes it.
func (s *session) Preflight(ctx context.Context, c engines.PasswordChange) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	if err := s.writable(ctx); err != nil {
		return err
	}
	if c.Self {
		_, err := s.ownPlugin(ctx, c)
		return err
	}
	if _, err := s.targets(ctx, c); err != nil {
		return err
	}
	return s.mayAlterUsers(ctx)
}

// targets returns the rows that a change through this session concerns, each
// of which it can be made on. None at all is an error unless the user is a
// clone.
func (s *session) targets(ctx context.Context, c engines.PasswordChange) ([]row, error) {
	if err := checkUsername(c.Username, s.maxName()); err != nil {
		return nil, secrets.At(err, "", "", s.at.Addr())
	}
	rows, err := s.rows(ctx, "", c.Username)
	if err != nil {
		return nil, err
	}
	if len(rows) == 0 && !c.Clone {
		return nil, s.failed(secrets.Errorf(secrets.Invalid, "the server has no user %q", c.Username).
			WithHint("check \"username\" in the secret"))
	}
	locked := 0
	for _, r := range rows {
		if err := r.rotatable(c.Plain); err != nil {
			return nil, secrets.At(err, "", "", s.at.Addr())
		}
		if r.locked {
			locked++
		}
	}
	if locked > 0 && locked == len(rows) && !c.Clone {
		return nil, s.failed(secrets.Errorf(secrets.Denied, "the account of %q is locked", c.Username).WithHint(lockedHint))
	}
	unproven := rows
	if s.maria && c.Clone {
		// SyncClone has locked these, or seen their marks.
		unproven = slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.locked })
	}
	return rows, s.known(ctx, unproven, c.New, c.Known)
}

// maxName is how long a user name this server takes, in characters.
func (s *session) maxName() int {
	if s.maria {
		return maxNameMariaDB
	}
	return maxNameMySQL
}

// writable refuses a reader: a change made there fails, or, worse, stays
// there. MariaDB lets an administrator write on a read-only replica.
func (s *session) writable(ctx context.Context) error {
	if s.readOnly {
		return s.failed(secrets.Errorf(secrets.Invalid, "the server is read-only: a replica or reader").WithHint(readOnlyHint))
	}
	statement := "SHOW REPLICA STATUS"
	switch {
	case s.maria:
		statement = "SHOW ALL SLAVES STATUS"
	case strings.HasPrefix(s.version, "8.0.21"):
		statement = "SHOW SLAVE STATUS"
	}
	rows, err := s.query(ctx, statement)
	if err != nil {
		e := statementError(err, "ask for the replication status")
		if e.Kind == secrets.Denied {
			return nil // nobody must hold REPLICATION CLIENT for Pawl's sake
		}
		return s.failed(e)
	}
	// A member of a replication group lists the group's own channels here.
	replica := slices.ContainsFunc(rows, func(row []string) bool {
		return !slices.ContainsFunc(row, func(v string) bool { return strings.HasPrefix(v, "group_replication_") })
	})
	if replica {
		return s.failed(secrets.Errorf(secrets.Invalid, "the server is a replica of another one").
			WithHint("%s; on a server that was promoted, run RESET REPLICA ALL", readOnlyHint))
	}
	return nil
}

// mayAlterUsers looks for the right to change other accounts. Only a refusal
// that is certain is one: rights may also come through roles, which are not
// followed.
func (s *session) mayAlterUsers(ctx context.Context) error {
	user, host := splitAccount(s.self)
	rights, err := s.grants(ctx, user, host, "SHOW GRANTS")
	if err != nil {
		return err
	}
	if len(rights.roles) > 0 {
		return nil
	}
	for _, need := range [][2]string{{"*.*", allPrivileges}, {"*.*", "CREATE USER"}, {"*.*", "UPDATE"}, {"`mysql`.*", "UPDATE"}, {"`mysql`.*", allPrivileges}} {
		if g := rights.held[place{object: need[0]}]; g != nil && g.privileges[need[1]] {
			return nil
		}
	}
	return s.failed(secrets.Errorf(secrets.Denied, "%q may not change other accounts", s.user).
		WithHint("GRANT CREATE USER ON *.* TO %s", account(user, host)))
}

// ownPlugin checks that the session's user can change his own password and
// returns his account's plug-in; for MySQL, which keeps it by itself, "".
func (s *session) ownPlugin(ctx context.Context, c engines.PasswordChange) (string, error) {
	if c.Username != s.user {
		return "", s.failed(secrets.Errorf(secrets.Invalid, "the session is %q's and cannot change %q as its own", s.user, c.Username))
	}
	if !s.maria {
		if s.logRaw && !c.Plain {
			return "", s.failed(secrets.Errorf(secrets.Invalid, "the server writes passwords into its logs (log_raw), and a user's own change must send the plain one").
				WithHint("rotate through a superuser, turn log_raw off, or set plain_password: allow"))
		}
		return "", nil
	}
	rows, err := s.query(ctx, "SHOW CREATE USER CURRENT_USER()")
	if err != nil {
		return "", s.failed(statementError(err, "read the own account"))
	}
	user, host := splitAccount(s.self)
	r := row{user: user, host: host}
	if len(rows) == 1 && len(rows[0]) == 1 {
		r.plugin, r.combined = identifiedBy(rows[0][0])
	}
	if err := r.rotatable(c.Plain); err != nil {
		return "", secrets.At(err, "", "", s.at.Addr())
	}
	return r.plugin, nil
}

// identifiedBy reads the authentication part of MariaDB's SHOW CREATE USER:
// IDENTIFIED BY PASSWORD '…', or IDENTIFIED VIA plugin [USING '…'] [OR …].
func identifiedBy(create string) (plugin, combined string) {
	tokens, err := scan(create)
	if err != nil {
		return "", ""
	}
	for i, t := range tokens {
		if !t.is("IDENTIFIED") || i+2 >= len(tokens) {
			continue
		}
		if tokens[i+1].is("BY") {
			return nativePlugin, ""
		}
		plugin = tokens[i+2].value
		for _, t := range tokens[i+3:] {
			if t.is("OR") {
				combined = "OR"
			}
		}
		return plugin, combined
	}
	return "", ""
}
