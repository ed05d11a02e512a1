package mysql

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func only(privileges ...string) *grant { return held(false, privileges...) }

func held(option bool, privileges ...string) *grant {
	g := &grant{privileges: map[string]bool{}, option: option}
	for _, p := range privileges {
		g.privileges[p] = true
	}
	return g
}

var cmpGrants = cmp.AllowUnexported(grants{}, grant{}, place{})

// Rows as the servers print them.
func TestParseGrants(t *testing.T) {
	maria := []string{
		"GRANT `r2` TO `app`@`%` WITH ADMIN OPTION",
		"GRANT `r1` TO `app`@`%`",
		"GRANT RELOAD, PROCESS, BINLOG ADMIN ON *.* TO `app`@`%` IDENTIFIED BY PASSWORD '*B69027D44F6E5EDC07F1AEAD1477967B16F28227' REQUIRE ISSUER 'GRANT OPTION TO `a` it''s \\\\' WITH GRANT OPTION MAX_QUERIES_PER_HOUR 7",
		"GRANT ALL PRIVILEGES ON `a\\_b`.* TO `app`@`%`",
		"GRANT DELETE HISTORY ON `db1`.* TO `app`@`%`",
		"GRANT SELECT, INSERT (`a`, `b`), UPDATE (`c``)`) ON `db1`.`t TO ``x``` TO `app`@`%` WITH GRANT OPTION",
		"GRANT EXECUTE ON PACKAGE BODY `db1`.`p` TO `app`@`%`",
		"GRANT PROXY ON `we'ird``n\\x`@`%` TO `app`@`%` WITH GRANT OPTION",
		"SET DEFAULT ROLE `r1` FOR `app`@`%`",
		"GRANT SELECT ON `db1`.* TO `r1`",
		"GRANT SELECT ON `db1`.* TO PUBLIC",
		"GRANT SELECT ON `db1`.* TO `app`@`10.%`",
		"GRANT SELECT ON `db1`.* TO `app@%`@`%`",
	}
	want := newGrants()
	want.roles = map[string]bool{"`r1`": false, "`r2`": true}
	want.held = map[place]*grant{
		{object: "*.*"}:                                 held(true, "RELOAD", "PROCESS", "BINLOG ADMIN"),
		{object: "`a\\_b`.*"}:                           only(allPrivileges),
		{object: "`db1`.*"}:                             only("DELETE HISTORY"),
		{object: "`db1`.`t TO ``x```"}:                  held(true, "SELECT", "INSERT (`a`)", "INSERT (`b`)", "UPDATE (`c``)`)"),
		{object: "PACKAGE BODY `db1`.`p`"}:              only("EXECUTE"),
		{object: "`we'ird``n\\x`@`%`", single: "PROXY"}: held(true, "PROXY"),
	}
	got, err := parseGrants(maria, "app", "%", true)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpGrants); d != "" {
		t.Error(d)
	}

	mysql := []string{
		"GRANT SELECT, INSERT, CREATE ROLE ON *.* TO `app`@`%`",
		"GRANT CLONE_ADMIN ON *.* TO `app`@`%`",
		"GRANT AUDIT_ADMIN,BACKUP_ADMIN ON *.* TO `app`@`%` WITH GRANT OPTION",
		"REVOKE INSERT, UPDATE ON `db1`.* FROM `app`@`%`",
		"GRANT `r1`@`%`,`r2`@`10.%` TO `app`@`%`",
		"GRANT `r3`@`%` TO `app`@`%` WITH ADMIN OPTION",
		"GRANT EXECUTE, ALTER ROUTINE ON PROCEDURE `db1`.`p` TO `app`@`%`",
	}
	want = newGrants()
	want.roles = map[string]bool{"`r1`@`%`": false, "`r2`@`10.%`": false, "`r3`@`%`": true}
	want.denied = map[string]map[string]bool{"`db1`.*": {"INSERT": true, "UPDATE": true}}
	want.held = map[place]*grant{
		{object: "*.*"}:                         only("SELECT", "INSERT", "CREATE ROLE"),
		{object: "*.*", single: "CLONE_ADMIN"}:  only("CLONE_ADMIN"),
		{object: "*.*", single: "AUDIT_ADMIN"}:  held(true, "AUDIT_ADMIN"),
		{object: "*.*", single: "BACKUP_ADMIN"}: held(true, "BACKUP_ADMIN"),
		{object: "PROCEDURE `db1`.`p`"}:         only("EXECUTE", "ALTER ROUTINE"),
	}
	got, err = parseGrants(mysql, "app", "%", false)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got, cmpGrants); d != "" {
		t.Error(d)
	}
}

// Nothing that cannot be read is passed over.
func TestParseGrantsRefuses(t *testing.T) {
	for _, row := range []string{
		"",
		"GRANT SELECT ON `db`.* TO `app`@`%",
		"GRANT SELECT ON `db`.*",
		"GRANT ON `db`.* TO `app`@`%`",
		"GRANT SELECT, ON `db`.* TO `app`@`%`",
		"GRANT SELECT ON TO `app`@`%`",
		"GRANT `a`, TO `app`@`%`",
		"DENY SELECT ON `db`.* TO `app`@`%`",
	} {
		if _, err := parseGrants([]string{row}, "app", "%", true); err == nil {
			t.Errorf("%q was read", row)
		}
	}
}

func TestIdentifiedBy(t *testing.T) {
	for _, c := range []struct{ create, plugin, combined string }{
		{"CREATE USER `app`@`%` IDENTIFIED BY PASSWORD '*B6' REQUIRE SSL", nativePlugin, ""},
		{"CREATE USER `IDENTIFIED`@`%` IDENTIFIED VIA ed25519 USING 'Gv2' PASSWORD EXPIRE NEVER", ed25519Plugin, ""},
		{"CREATE USER `app`@`%` IDENTIFIED VIA unix_socket", "unix_socket", ""},
		{"CREATE USER `app`@`%` IDENTIFIED VIA mysql_native_password USING '*B6' OR ed25519 USING 'x'", nativePlugin, "OR"},
		{"CREATE USER `app`@`%`", "", ""},
	} {
		if plugin, combined := identifiedBy(c.create); plugin != c.plugin || combined != c.combined {
			t.Errorf("%s: %q %q", c.create, plugin, combined)
		}
	}
}

// genGrants draws rights as SHOW GRANTS could list them.
func genGrants(maria bool) *rapid.Generator[*grants] {
	ident := rapid.SampledFrom([]string{"a", "b", "a\\_b", "it's", "a``b", " TO ", "t(,", "ON", "ü"})
	return rapid.Custom(func(t *rapid.T) *grants {
		g := newGrants()
		static := []string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE TEMPORARY TABLES", "TRIGGER"}
		for range rapid.IntRange(0, 5).Draw(t, "places") {
			db, table := "`"+ident.Draw(t, "db")+"`", "`"+ident.Draw(t, "table")+"`"
			at := place{object: rapid.SampledFrom([]string{"*.*", db + ".*", db + "." + table, "PROCEDURE " + db + "." + table}).Draw(t, "object")}
			privileges := rapid.SliceOfNDistinct(rapid.SampledFrom(static), 0, 4, rapid.ID).Draw(t, "privileges")
			switch {
			case strings.HasPrefix(at.object, "PROCEDURE"):
				privileges = []string{"EXECUTE"}
			case strings.HasSuffix(at.object, table) && rapid.Bool().Draw(t, "columns"):
				privileges = append(privileges, "REFERENCES (`"+ident.Draw(t, "column")+"`)")
			case rapid.IntRange(0, 3).Draw(t, "all") == 0 && (maria || at.object != "*.*"):
				privileges = []string{allPrivileges}
			}
			option := rapid.Bool().Draw(t, "option")
			if len(privileges) == 0 && !option {
				continue // the server would list nothing
			}
			g.held[at] = held(option, privileges...)
		}
		for range rapid.IntRange(0, 2).Draw(t, "singles") {
			at := place{object: "`" + ident.Draw(t, "proxied") + "`@`%`", single: "PROXY"}
			if !maria && rapid.Bool().Draw(t, "dynamic") {
				at = place{object: "*.*", single: rapid.SampledFrom([]string{"BACKUP_ADMIN", "CLONE_ADMIN"}).Draw(t, "which")}
			}
			g.held[at] = held(rapid.Bool().Draw(t, "option"), at.single)
		}
		for range rapid.IntRange(0, 3).Draw(t, "roles") {
			role := "`" + ident.Draw(t, "role") + "`"
			if !maria {
				role += "@`%`"
			}
			g.roles[role] = rapid.Bool().Draw(t, "admin")
		}
		if !maria && rapid.Bool().Draw(t, "partial") {
			// In a schema of its own: what is granted there cannot be denied too.
			g.denied["`d"+ident.Draw(t, "db")+"`.*"] = map[string]bool{"INSERT": true}
		}
		return g
	})
}

// show writes rights the way SHOW GRANTS does.
func show(g *grants, to string) []string {
	var rows []string
	for _, r := range sorted(g.roles) {
		row := "GRANT " + r + " TO " + to
		if g.roles[r] {
			row += " WITH ADMIN OPTION"
		}
		rows = append(rows, row)
	}
	for at, h := range g.held {
		p := sorted(h.privileges)
		if len(p) == 0 {
			p = []string{"USAGE"}
		}
		row := "GRANT " + strings.Join(p, ", ") + " ON " + at.object + " TO " + to
		if h.option {
			row += " WITH GRANT OPTION"
		}
		rows = append(rows, row)
	}
	for o, p := range g.denied {
		rows = append(rows, "REVOKE "+strings.Join(sorted(p), ", ")+" ON "+o+" FROM "+to)
	}
	return rows
}

func TestGrantsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maria := rapid.Bool().Draw(t, "maria")
		want := genGrants(maria).Draw(t, "grants")
		got, err := parseGrants(show(want, "`o''x TO`@`10.%`"), "o''x TO", "10.%", maria)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got, cmpGrants); d != "" {
			t.Fatal(d)
		}
	})
}

// apply is a small model of the server: it does what diff's statements say.
func apply(g *grants, statement, to string, maria bool) error {
	if strings.HasPrefix(statement, "GRANT") {
		object := ""
		if i := strings.Index(statement, " ON "); i >= 0 {
			object = statement[i+4 : strings.LastIndex(statement, " TO "+to)]
		}
		if deny := g.denied[object]; deny != nil {
			p := strings.TrimPrefix(statement[:strings.Index(statement, " ON ")], "GRANT ")
			if deny[p] {
				delete(g.denied, object)
				return nil
			}
		}
		err := g.add(statement, strings.Trim(strings.Split(to, "@")[0], "'"), "%", maria)
		for _, h := range g.held {
			for p := range h.privileges {
				if h.privileges[allPrivileges] && p != allPrivileges && !strings.HasSuffix(p, ")") {
					delete(h.privileges, p)
				}
			}
		}
		return err
	}
	body := strings.TrimSuffix(strings.TrimPrefix(statement, "REVOKE "), " FROM "+to)
	what, object, on := strings.Cut(body, " ON ")
	if !on {
		delete(g.roles, body)
		return nil
	}
	for _, p := range strings.Split(what, ", ") {
		at := place{object: object}
		if p == "PROXY" || !maria && object == "*.*" && strings.Contains(p, "_") {
			at.single = p
		}
		h := g.held[at]
		switch {
		case h == nil && (maria || at.single != ""):
			return fmt.Errorf("nothing to revoke: %s", statement)
		case p == "GRANT OPTION":
			h.option = false
		case p == allPrivileges:
			clear(h.privileges)
		case at.single != "":
			delete(g.held, at) // its grant option goes with it
			continue
		case h != nil && h.privileges[p]:
			delete(h.privileges, p)
		case h != nil && h.privileges[allPrivileges]:
			delete(h.privileges, allPrivileges)
			for _, each := range []string{"SELECT", "INSERT", "UPDATE", "DELETE", "CREATE TEMPORARY TABLES", "TRIGGER", "DROP"} {
				if each != p {
					h.privileges[each] = true
				}
			}
		case !maria: // nothing held in the schema: a partial revoke
			if g.denied[object] == nil {
				g.denied[object] = map[string]bool{}
			}
			g.denied[object][p] = true
		default:
			return fmt.Errorf("nothing to revoke: %s", statement)
		}
		if h != nil && len(h.privileges) == 0 && !h.option {
			delete(g.held, at)
		}
	}
	return nil
}

// Whatever two accounts hold, a few rounds make them equal, and then there is
// nothing left to do.
func TestDiffConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		maria := rapid.Bool().Draw(t, "maria")
		want, have := genGrants(maria).Draw(t, "want"), genGrants(maria).Draw(t, "have")
		const to = "'c'@'%'"
		for range grantRounds {
			todo := diff(want, have, to)
			if len(todo) == 0 {
				if d := cmp.Diff(show1(want), show1(have)); d != "" {
					t.Fatal("no difference is seen, but:\n" + d)
				}
				return
			}
			for _, s := range todo {
				if err := apply(have, s, to, maria); err != nil {
					t.Fatal(err)
				}
			}
		}
		t.Fatalf("still to do after %d rounds: %q", grantRounds, diff(want, have, to))
	})
}

// show1 is a comparable form of rights.
func show1(g *grants) []string {
	rows := show(g, "x")
	slices.Sort(rows)
	return rows
}

// The order within a round: what is beyond goes first, privileges by name.
func TestDiffStatements(t *testing.T) {
	want, have := newGrants(), newGrants()
	want.held[place{object: "`db`.*"}] = held(true, "SELECT", "INSERT")
	have.held[place{object: "`db`.*"}] = only("SELECT", "DELETE")
	have.held[place{object: "`other`.*"}] = held(true, "SELECT")
	want.roles["`r`"] = true
	have.roles["`q`"] = false
	got := diff(want, have, "'c'@'%'")
	if d := cmp.Diff([]string{
		"REVOKE `q` FROM 'c'@'%'",
		"REVOKE DELETE ON `db`.* FROM 'c'@'%'",
		"REVOKE GRANT OPTION ON `other`.* FROM 'c'@'%'",
		"REVOKE SELECT ON `other`.* FROM 'c'@'%'",
		"GRANT `r` TO 'c'@'%' WITH ADMIN OPTION",
		"GRANT INSERT ON `db`.* TO 'c'@'%' WITH GRANT OPTION",
	}, got); d != "" {
		t.Error(d)
	}
}
