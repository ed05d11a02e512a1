package mysql

import (
	"fmt"
	"strings"
)

// grants are the rights of one account as SHOW GRANTS lists them (MySQL
// Reference Manual and MariaDB documentation, "SHOW GRANTS"), without the
// authentication that MariaDB adds to the row of *.*.
type grants struct {
	held map[place]*grant
	// denied are MySQL's partial revokes: global privileges that do not count
	// in a schema; by object.
	denied map[string]map[string]bool
	// roles by name, quoted as the server writes it; true with ADMIN OPTION.
	roles map[string]bool
}

// place is where privileges are held. object is the server's own text:
// *.*, `db`.*, `db`.`table`, PROCEDURE `db`.`p`, or for PROXY the account.
// single is set for a privilege that has a grant option of its own: PROXY, and
// MySQL's dynamic privileges.
type place struct{ object, single string }

// grant is what is held at one place. A column privilege is one entry a
// column: INSERT (`a`).
type grant struct {
	privileges map[string]bool
	option     bool // WITH GRANT OPTION
}

const allPrivileges = "ALL PRIVILEGES"

func newGrants() *grants {
	return &grants{held: map[place]*grant{}, denied: map[string]map[string]bool{}, roles: map[string]bool{}}
}

// parseGrants reads SHOW GRANTS' rows for an account. Rows about another
// grantee (a role's own, PUBLIC's) are left out. A row that cannot be read is
// an error: nothing is ever dropped silently. The error quotes no hash.
func parseGrants(rows []string, user, host string, maria bool) (*grants, error) {
	g := newGrants()
	for _, row := range rows {
		if err := g.add(row, user, host, maria); err != nil {
			return nil, fmt.Errorf("a row of SHOW GRANTS cannot be read: %w", err)
		}
	}
	return g, nil
}

// add reads one row: GRANT … ON … TO …, GRANT roles TO …, REVOKE … ON … FROM …
// or SET DEFAULT ROLE … FOR …, which is read elsewhere.
func (g *grants) add(row, user, host string, maria bool) error {
	tokens, err := scan(row)
	if err != nil || len(tokens) == 0 {
		return fmt.Errorf("it is not a statement (%v)", err)
	}
	to := "TO"
	switch {
	case tokens[0].is("GRANT"):
	case tokens[0].is("REVOKE"):
		to = "FROM"
	case tokens[0].is("SET") && len(tokens) > 1 && tokens[1].is("DEFAULT"):
		return nil
	default:
		return fmt.Errorf("it begins with %s", tokens[0].value)
	}
	on, end := -1, -1
	for i, t := range tokens {
		if t.is("ON") && on < 0 {
			on = i
		}
		if t.is(to) {
			end = i
			break
		}
	}
	if end < 2 {
		return fmt.Errorf("it has no %s", to)
	}
	rest := tokens[end+1:]
	if !grantee(rest, user, host) {
		return nil
	}
	if on < 0 {
		return g.addRoles(row, tokens[1:end], follows(rest, "ADMIN"))
	}
	if on < 2 || on+1 >= end {
		return fmt.Errorf("it names no privilege or no object")
	}
	object := row[tokens[on+1].start:tokens[end-1].end]
	privileges, err := privilegeList(row, tokens[1:on])
	if err != nil {
		return err
	}
	if to == "FROM" {
		if g.denied[object] == nil {
			g.denied[object] = map[string]bool{}
		}
		for _, p := range privileges {
			g.denied[object][p] = true
		}
		return nil
	}
	g.grant(object, privileges, follows(rest, "GRANT"), maria)
	return nil
}

// grant adds privileges at an object.
func (g *grants) grant(object string, privileges []string, option, maria bool) {
	for _, p := range privileges {
		at := place{object: object}
		// A dynamic privilege is global and, unlike every static one, has an
		// underscore in its name.
		if p == "PROXY" || !maria && object == "*.*" && strings.Contains(p, "_") {
			at.single = p
		}
		if g.held[at] == nil {
			g.held[at] = &grant{privileges: map[string]bool{}}
		}
		if p != "USAGE" {
			g.held[at].privileges[p] = true
		}
		g.held[at].option = g.held[at].option || option
	}
}

// grantee reports whether the tokens after TO or FROM begin with the account.
func grantee(rest []token, user, host string) bool {
	if len(rest) < 3 || rest[1].value != "@" || rest[1].kind != symbol {
		return false
	}
	for _, t := range []token{rest[0], rest[2]} {
		if t.kind != name && t.kind != text {
			return false
		}
	}
	return rest[0].value == user && rest[2].value == host
}

// follows reports GRANT OPTION or ADMIN OPTION after the grantee. MariaDB puts
// IDENTIFIED and REQUIRE before it, whose contents are quoted.
func follows(rest []token, what string) bool {
	for i := range rest[:len(rest)-1] {
		if rest[i].is(what) && rest[i+1].is("OPTION") {
			return true
		}
	}
	return false
}

// addRoles reads a list of roles: `r` in MariaDB, `r`@`%` in MySQL.
func (g *grants) addRoles(row string, tokens []token, admin bool) error {
	for _, part := range split(tokens) {
		if len(part) == 0 || part[0].kind == symbol {
			return fmt.Errorf("a role has no name")
		}
		g.roles[row[part[0].start:part[len(part)-1].end]] = admin
	}
	return nil
}

// privilegeList reads SELECT, INSERT (`a`, `b`), CREATE USER.
func privilegeList(row string, tokens []token) ([]string, error) {
	var out []string
	for _, part := range split(tokens) {
		var words, columns []string
		for _, t := range part {
			switch {
			case t.kind == word && columns == nil:
				words = append(words, strings.ToUpper(t.value))
			case t.kind == symbol && t.value == "(":
				columns = []string{}
			case t.kind == name || t.kind == word:
				columns = append(columns, quoteName(t.value))
			}
		}
		p := strings.Join(words, " ")
		if p == "" {
			return nil, fmt.Errorf("a privilege has no name")
		}
		if p == "ALL" {
			p = allPrivileges
		}
		if columns == nil {
			out = append(out, p)
		}
		for _, c := range columns {
			out = append(out, p+" ("+c+")")
		}
	}
	return out, nil
}

// split cuts at the commas that stand outside of parentheses.
func split(tokens []token) [][]token {
	out := [][]token{nil}
	depth := 0
	for _, t := range tokens {
		if t.kind == symbol {
			switch t.value {
			case "(":
				depth++
			case ")":
				depth--
			case ",":
				if depth == 0 {
					out = append(out, nil)
					continue
				}
			}
		}
		out[len(out)-1] = append(out[len(out)-1], t)
	}
	return out
}
