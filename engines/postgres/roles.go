package postgres

import (
	"context"
	"fmt"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// role is what counts of a role. Limits are in the server's own notation.
type role struct {
	super, inherit, createDB, createRole, replication, bypassRLS bool

	limit    string // connections, "-1" = any number
	until    string // "" = for ever
	comment  string
	settings settings
}

// membership is a membership of the clone that it should not have; in the
// original it is the option to pass it on.
type membership struct{ role, grantor string }

// dependency is what belongs to the clone itself and not to the original.
type dependency struct{ database, kind, count string }

// roles are the original, the clone (nil if absent) and the session's own role
// as they are.
type roles struct {
	original, clone, me *role

	member   bool // the clone is a member of the original with all it needs
	reversed bool // the original is a member of the clone
	beyond   []membership
	own      []dependency
}

// readRoles reads everything about the two roles in one round trip.
func (s *session) readRoles(ctx context.Context, c engines.Clone) (*roles, error) {
	o, clone := quoteLiteral(c.Original), quoteLiteral(c.Clone)
	usable, grantor := "true", "''"
	if s.major() >= 16 {
		// Before 16 a membership has no options and one grantor that matters
		// to nobody (PostgreSQL 16 release notes, "Privileges").
		usable, grantor = "m.inherit_option AND m.set_option", "(SELECT rolname FROM pg_roles WHERE oid = m.grantor)"
	}
	t, err := s.query(ctx,
		`SELECT rolname, rolsuper, rolinherit, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolconnlimit,
			coalesce(nullif(rolvaliduntil, 'infinity')::text, ''), coalesce(shobj_description(oid, 'pg_authid'), ''), rolname = current_user
			FROM pg_roles WHERE rolname IN (`+o+`, `+clone+`, current_user)`,
		`SELECT r.rolname, coalesce(d.datname, ''), split_part(e.entry, '=', 1), substr(e.entry, strpos(e.entry, '=') + 1)
			FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase,
			unnest(s.setconfig) AS e(entry) WHERE r.rolname IN (`+o+`, `+clone+`)`,
		`SELECT g.rolname, u.rolname, `+usable+`, m.admin_option, `+grantor+`
			FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles u ON u.oid = m.member
			WHERE u.rolname = `+clone+` OR g.rolname = `+clone+` AND u.rolname = `+o,
		`SELECT coalesce(d.datname, ''), s.deptype, count(*)
			FROM pg_shdepend s LEFT JOIN pg_database d ON d.oid = s.dbid
			WHERE s.refclassid = 'pg_authid'::regclass AND s.refobjid = (SELECT oid FROM pg_roles WHERE rolname = `+clone+`)
			AND s.classid <> 'pg_auth_members'::regclass AND s.deptype IN ('o', 'a') GROUP BY 1, 2 ORDER BY 1, 2`)
	if err != nil {
		return nil, err
	}
	now := &roles{}
	for _, row := range t[0] {
		is := func(i int) bool { return string(row[i]) == "t" }
		r := &role{
			super: is(1), inherit: is(2), createDB: is(3), createRole: is(4), replication: is(5), bypassRLS: is(6),
			limit: string(row[7]), until: string(row[8]), comment: string(row[9]), settings: settings{},
		}
		switch string(row[0]) {
		case c.Original:
			now.original = r
		case c.Clone:
			now.clone = r
		}
		if is(10) {
			now.me = r
		}
	}
	for _, row := range t[1] {
		r := now.original
		if string(row[0]) == c.Clone {
			r = now.clone
		}
		if r != nil {
			r.settings[settingKey{string(row[1]), string(row[2])}] = string(row[3])
		}
	}
	for _, row := range t[2] {
		granted, member := string(row[0]), string(row[1])
		switch {
		case member == c.Original:
			now.reversed = true
			continue
		case granted == c.Original && string(row[2]) == "t":
			now.member = true
		}
		if granted != c.Original || string(row[3]) == "t" {
			now.beyond = append(now.beyond, membership{granted, string(row[4])})
		}
	}
	for _, row := range t[3] {
		now.own = append(now.own, dependency{string(row[0]), string(row[1]), string(row[2])})
	}
	return now, nil
}

// check refuses pairs that cannot be made or kept alike. Errors are Invalid.
func (now *roles) check(c engines.Clone) error {
	switch {
	case now.original == nil:
		return secrets.Errorf(secrets.Invalid, "user %q, who is to be cloned, does not exist", c.Original).
			WithHint("correct \"username\" in the secret")
	case now.me == nil:
		return secrets.Errorf(secrets.Denied, "the server does not show the session's user to himself")
	case now.original.super:
		return secrets.Errorf(secrets.Invalid, "user %q is a superuser, whose rights no clone can share", c.Original).
			WithHint("use strategy: single-user for this secret, or ALTER ROLE %s NOSUPERUSER", quoteIdent(c.Original))
	case now.clone != nil && now.clone.super:
		return secrets.Errorf(secrets.Invalid, "the clone %q is a superuser, which %q is not", c.Clone, c.Original).
			WithHint("ALTER ROLE %s NOSUPERUSER", quoteIdent(c.Clone))
	case now.reversed:
		return secrets.Errorf(secrets.Invalid, "user %q is a member of %q; a clone must be a member of the original, not the other way round", c.Original, c.Clone).
			WithHint("REVOKE %s FROM %s", quoteIdent(c.Clone), quoteIdent(c.Original))
	}
	return nil
}

// leftovers warns of what the clone has as itself: made before it acted as the
// original, or granted to it by name. Only a person can say what is to become
// of that, and only in the database where it is.
func (now *roles) leftovers(c engines.Clone) (warnings []string) {
	o, clone := quoteIdent(c.Original), quoteIdent(c.Clone)
	for _, d := range now.own {
		where := "shared by all databases"
		if d.database != "" {
			where = "in database " + quoteIdent(d.database)
		}
		if d.kind == "o" {
			warnings = append(warnings, fmt.Sprintf("%s owns %s object(s) %s, which %s does not: REASSIGN OWNED BY %s TO %s", clone, d.count, where, o, clone, o))
		} else {
			warnings = append(warnings, fmt.Sprintf("%s holds privileges of its own on %s object(s) %s: grant them to %s and revoke them from %s", clone, d.count, where, o, clone))
		}
	}
	return warnings
}
