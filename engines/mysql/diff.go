package mysql

import (
	"maps"
	"slices"
	"strings"
)

// diff returns the statements that bring an account's rights from have to
// want, none when they are the same. What is beyond is taken away first, so
// that an account is never left wider because a later grant was refused. The
// statements name single privileges: no privilege that both have is touched,
// but where the server knows no other way (see narrow).
//
// One round may not suffice, since privileges imply others at the server: read
// again and repeat until there is no difference.
func diff(want, have *grants, to string) []string {
	var revokes, roles, adds []string
	for _, r := range sorted(have.roles) {
		admin, keep := want.roles[r]
		if !keep || have.roles[r] && !admin {
			revokes = append(revokes, "REVOKE "+r+" FROM "+to)
		}
	}
	for _, r := range sorted(want.roles) {
		admin, there := have.roles[r]
		switch {
		case want.roles[r] && !(there && admin):
			roles = append(roles, "GRANT "+r+" TO "+to+" WITH ADMIN OPTION")
		case !there, admin && !want.roles[r]:
			roles = append(roles, "GRANT "+r+" TO "+to)
		}
	}
	places := slices.SortedFunc(maps.Keys(union(want.held, have.held)), func(a, b place) int {
		return strings.Compare(a.object+"\x00"+a.single, b.object+"\x00"+b.single)
	})
	for _, at := range places {
		r, a := diffPlace(at, want.held[at], have.held[at], to)
		revokes, adds = append(revokes, r...), append(adds, a...)
	}
	// Partial revokes: to lift one, the privilege is granted at the schema; to
	// make one, it is revoked there, once the global privilege is held.
	for _, o := range sorted(have.denied) {
		if lift := beyond(have.denied[o], want.denied[o]); len(lift) > 0 {
			adds = append(adds, "GRANT "+strings.Join(lift, ", ")+" ON "+o+" TO "+to)
		}
	}
	for _, o := range sorted(want.denied) {
		if deny := beyond(want.denied[o], have.denied[o]); len(deny) > 0 {
			adds = append(adds, "REVOKE "+strings.Join(deny, ", ")+" ON "+o+" FROM "+to)
		}
	}
	return slices.Concat(revokes, roles, adds)
}

// diffPlace compares one place; want and have are nil where nothing is held.
func diffPlace(at place, want, have *grant, to string) (revokes, adds []string) {
	w, h := orEmpty(want), orEmpty(have)
	give := func(what []string, option bool) {
		s := "GRANT " + strings.Join(what, ", ") + " ON " + at.object + " TO " + to
		if option {
			s += " WITH GRANT OPTION"
		}
		adds = append(adds, s)
	}
	take := func(what ...string) {
		revokes = append(revokes, "REVOKE "+strings.Join(what, ", ")+" ON "+at.object+" FROM "+to)
	}
	if at.single != "" {
		held := h.privileges[at.single]
		if held && (want == nil || h.option && !w.option) {
			take(at.single)
			held = false
		}
		if want != nil && (!held || w.option && !h.option) {
			give([]string{at.single}, w.option)
		}
		return revokes, adds
	}
	if h.option && !w.option {
		take("GRANT OPTION")
	}
	missing, extra := beyond(w.privileges, h.privileges), beyond(h.privileges, w.privileges)
	if h.privileges[allPrivileges] && !w.privileges[allPrivileges] {
		take(narrow(w.privileges))
		missing, extra = nil, nil // the next round sees single privileges
	}
	if w.privileges[allPrivileges] {
		extra = slices.DeleteFunc(extra, func(p string) bool { return !strings.HasSuffix(p, ")") }) // ALL has no columns
		if !h.privileges[allPrivileges] {
			missing = []string{allPrivileges}
		}
	}
	if len(extra) > 0 {
		take(extra...)
	}
	option := w.option && !h.option
	if option && len(missing) == 0 {
		missing = []string{"USAGE"}
	}
	if len(missing) > 0 {
		give(missing, w.option)
	}
	return revokes, adds
}

// narrow returns what to revoke from ALL PRIVILEGES on the way to want: one
// privilege that is not wanted, upon which the server lists the rest singly.
// Without such a one, everything goes and comes back.
func narrow(want map[string]bool) string {
	if len(want) > 0 {
		for _, p := range []string{"TRIGGER", "EVENT", "ALTER ROUTINE", "REFERENCES", "INDEX", "ALTER", "DROP", "CREATE", "DELETE", "UPDATE", "INSERT", "SELECT", "EXECUTE"} {
			if !want[p] {
				return p
			}
		}
	}
	return allPrivileges
}

func orEmpty(g *grant) grant {
	if g == nil {
		return grant{}
	}
	return *g
}

// beyond lists what is in a and not in b, in order.
func beyond(a, b map[string]bool) []string {
	var out []string
	for _, k := range sorted(a) {
		if !b[k] {
			out = append(out, k)
		}
	}
	return out
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

func union[K comparable, V any](a, b map[K]V) map[K]V {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}
