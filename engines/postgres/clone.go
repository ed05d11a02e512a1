package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// mark is the comment on a role by which a clone is known as Pawl's.
func mark(original string) string { return "pawl: clone of " + original }

// checkClone refuses names that no two roles can have.
func (s *session) checkClone(c engines.Clone) error {
	if err := checkName("original user's name", c.Original); err != nil {
		return secrets.At(err, "", "", s.addr)
	}
	if err := checkName("clone's name", c.Clone); err != nil {
		return secrets.At(err, "", "", s.addr)
	}
	if c.Original == c.Clone {
		return s.at(secrets.Errorf(secrets.Invalid, "user %q cannot be his own clone", c.Original))
	}
	return nil
}

// FindClone looks for the role and for the mark in its comment. A mark that
// names another original is none.
func (s *session) FindClone(ctx context.Context, c engines.Clone) (engines.CloneState, error) {
	if err := s.checkClone(c); err != nil {
		return engines.CloneAbsent, err
	}
	t, err := s.query(ctx, "SELECT coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_roles WHERE rolname = "+quoteLiteral(c.Clone))
	switch {
	case err != nil:
		return engines.CloneAbsent, err
	case len(t[0]) == 0:
		return engines.CloneAbsent, nil
	case string(t[0][0][0]) == mark(c.Original):
		return engines.CloneMarked, nil
	}
	return engines.CloneForeign, nil
}

// LockClone takes the clone's login and password away and marks it, in one
// transaction. A clone that does not exist is locked enough. Sessions that are
// open stay open.
func (s *session) LockClone(ctx context.Context, c engines.Clone) error {
	if err := s.checkClone(c); err != nil {
		return err
	}
	role := quoteIdent(c.Clone)
	err := s.apply(ctx, c, []change{
		{sql: "ALTER ROLE " + role + " NOLOGIN PASSWORD NULL", hint: s.mayChange(c.Clone)},
		{sql: "COMMENT ON ROLE " + role + " IS " + quoteLiteral(mark(c.Original)), hint: s.mayChange(c.Clone)},
	})
	var f *failure
	if errors.As(err, &f) && f.code == undefinedObject {
		return nil
	}
	return s.explain(err)
}

// SyncClone makes the clone a member of the original that acts as the original
// from its first statement on: everything it creates belongs to the original,
// and what is granted to the original or taken from him counts for the clone at
// once. What does not come with that is copied: the settings, the limits, the
// attributes that count at login. The state is read in one round trip; what
// differs is written in a second one, as one transaction, and when nothing
// differs nothing is written.
//
// The clone keeps no membership but that in the original. It always inherits,
// whatever the original does, for without it the right to connect would be
// missing until it acts as the original. A superuser is not cloned: his rights
// are not a matter of membership.
func (s *session) SyncClone(ctx context.Context, c engines.Clone) (warnings []string, err error) {
	if err := s.checkClone(c); err != nil {
		return nil, err
	}
	now, err := s.readRoles(ctx, c)
	if err != nil {
		return nil, err
	}
	if err := now.check(c); err != nil {
		return nil, secrets.At(err, "", "", s.addr)
	}
	changes, warnings := s.plan(now, c)
	for len(changes) > 0 {
		err := s.apply(ctx, c, changes)
		if err == nil {
			break
		}
		// A part that is optional and that the server refuses is left out, and
		// the rest is done again from the start: the transaction is undone.
		var f *failure
		if !errors.As(err, &f) || !f.refused || f.kind == secrets.Transient || f.change.orElse == "" {
			return nil, s.explain(err)
		}
		warnings = append(warnings, f.change.orElse+" ("+f.sqlstate()+")")
		changes = append(changes[:f.index:f.index], changes[f.index+1:]...)
	}
	return append(warnings, now.leftovers(c)...), nil
}

// change is one statement of a transaction. It holds neither a password nor a
// hash. orElse makes it optional: the warning to give when it is refused.
type change struct {
	sql    string
	hint   string // what to type when the right to it is missing
	orElse string
}

// failure is a change that failed.
type failure struct {
	verdict
	change change
	index  int
	text   string
}

func (f *failure) Error() string { return f.text }

// apply sends changes as one message, and so as one transaction: all of them
// take effect or none. An error of the server is a *failure.
func (s *session) apply(ctx context.Context, c engines.Clone, changes []change) error {
	if err := engines.Sendable(ctx, c.Confirm, s.addr); err != nil {
		return err
	}
	var sql []string
	if s.guard > 0 {
		// The server bounds each statement by itself, and all of them must have come
		// to their end as soon as one would have.
		each := s.guard / time.Duration(len(changes))
		sql = append(sql, fmt.Sprintf("SET LOCAL statement_timeout = %d", max(each.Milliseconds(), 1)))
	}
	before := len(sql)
	for _, ch := range changes {
		sql = append(sql, ch.sql)
	}
	results, err := s.exec(ctx, strings.Join(sql, "; "))
	if err == nil {
		return nil
	}
	v := judge(err, secrets.Unknown)
	f := &failure{verdict: v, index: min(max(len(results)-before, 0), len(changes)-1)}
	f.change = changes[f.index]
	f.text = fmt.Sprintf("clone %q of %q: %s", c.Clone, c.Original, v.text(err))
	return f
}

// explain turns a failure into an error for a person.
func (s *session) explain(err error) error {
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	e := secrets.Errorf(f.kind, "%s", f.text)
	switch {
	case !f.refused:
		e = secrets.Errorf(secrets.Unknown, "%s; it is not known whether the changes were made", f.text)
	case f.code == readOnlyTransaction:
		e = readOnly()
	case f.code == notPrivileged:
		e.Hint = f.change.hint
	case f.code == duplicateObject, f.code == uniqueViolation:
		e.Hint = "somebody made the role at this moment; rotate again"
	}
	return s.at(e)
}

// mayChange says what lets the session's user change a role.
func (s *session) mayChange(role string) string {
	if s.major() >= 16 {
		return grantAdmin(role, s.user) + "; and " + s.mayCreate()
	}
	return s.mayCreate()
}

func (s *session) mayCreate() string { return "ALTER ROLE " + quoteIdent(s.user) + " CREATEROLE" }

// plan lists what must be done to make the clone what it should be. It is a
// pure function of what was read.
func (s *session) plan(now *roles, c engines.Clone) (changes []change, warnings []string) {
	o, clone := quoteIdent(c.Original), quoteIdent(c.Clone)
	major := s.major()
	was := now.clone
	add := func(hint, orElse, format string, args ...any) {
		changes = append(changes, change{sql: fmt.Sprintf(format, args...), hint: hint, orElse: orElse})
	}
	if was == nil {
		was = &role{inherit: true, limit: "-1"}
		add(s.mayCreate(), "", "CREATE ROLE %s NOLOGIN", clone)
	}
	if was.comment != mark(c.Original) {
		add(s.mayChange(c.Clone), "", "COMMENT ON ROLE %s IS %s", clone, quoteLiteral(mark(c.Original)))
	}
	if !now.member {
		options := ""
		if major >= 16 {
			options = " WITH INHERIT TRUE, SET TRUE"
		}
		hint := s.mayCreate()
		if major >= 16 {
			hint = grantAdmin(c.Original, s.user)
		}
		add(hint, "", "GRANT %s TO %s%s", o, clone, options)
	}
	for _, m := range now.beyond {
		by := ""
		if major >= 16 {
			by = " GRANTED BY " + quoteIdent(m.grantor)
		}
		what := quoteIdent(m.role)
		if m.role == c.Original {
			add("", fmt.Sprintf("%s may pass %s on to others, and this could not be revoked: REVOKE ADMIN OPTION FOR %s FROM %s", clone, o, what, clone),
				"REVOKE ADMIN OPTION FOR %s FROM %s%s", what, clone, by)
			continue
		}
		add("", fmt.Sprintf("%s is a member of %s, which could not be revoked: REVOKE %s FROM %s", clone, what, what, clone),
			"REVOKE %s FROM %s%s", what, clone, by)
	}
	options, warnings := now.attributes(was, c, major)
	if len(options) > 0 {
		add(s.mayChange(c.Clone), "", "ALTER ROLE %s %s", clone, strings.Join(options, " "))
	}
	return append(changes, settingChanges(now.original.settings, was.settings, c, s.mayChange(c.Clone))...), warnings
}

// attribute is one of a role's flags that not everybody may set.
type attribute struct {
	name          string
	get           func(*role) bool
	superBefore16 bool
}

var attributeList = []attribute{
	{"CREATEDB", func(r *role) bool { return r.createDB }, false},
	{"CREATEROLE", func(r *role) bool { return r.createRole }, false},
	{"REPLICATION", func(r *role) bool { return r.replication }, true},
	{"BYPASSRLS", func(r *role) bool { return r.bypassRLS }, true},
}

// attributes lists the options of ALTER ROLE by which the clone differs.
// CREATEDB, CREATEROLE and BYPASSRLS count for the clone through the original
// that it acts as, so no harm is done where the session may not copy them
// (PostgreSQL documentation, "CREATE ROLE": only who has one may give it);
// REPLICATION counts at login, so its absence is worth a warning.
func (now *roles) attributes(was *role, c engines.Clone, major int) (options, warnings []string) {
	if !was.inherit {
		options = append(options, "INHERIT")
	}
	for _, a := range attributeList {
		want, has := a.get(now.original), a.get(was)
		may := now.me.super || major >= 16 && a.get(now.me) || major < 16 && !a.superBefore16
		switch {
		case want == has:
		case may && want:
			options = append(options, a.name)
		case may:
			options = append(options, "NO"+a.name)
		case has:
			warnings = append(warnings, fmt.Sprintf("%s has %s and %s has not, which could not be taken away: ALTER ROLE %s NO%s",
				quoteIdent(c.Clone), a.name, quoteIdent(c.Original), quoteIdent(c.Clone), a.name))
		case a.name == "REPLICATION":
			warnings = append(warnings, fmt.Sprintf("REPLICATION of %s could not be copied: ALTER ROLE %s REPLICATION",
				quoteIdent(c.Original), quoteIdent(c.Clone)))
		}
	}
	if now.original.limit != was.limit {
		options = append(options, "CONNECTION LIMIT "+now.original.limit)
	}
	if now.original.until != was.until {
		until := now.original.until
		if until == "" {
			until = "infinity"
		}
		options = append(options, "VALID UNTIL "+quoteLiteral(until))
	}
	return options, warnings
}
