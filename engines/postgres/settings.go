package postgres

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pawlhq/pawl/engines"
)

// settings are a role's own settings (ALTER ROLE … SET), by database and name,
// in the notation of pg_db_role_setting.
type settings map[settingKey]string

// settingKey is one setting; database "" means all databases.
type settingKey struct{ database, name string }

func (a settingKey) compare(b settingKey) int {
	if c := strings.Compare(a.database, b.database); c != 0 {
		return c
	}
	return strings.Compare(a.name, b.name)
}

// lists are the settings whose stored text is a list of quoted identifiers.
// Given back as one literal, such a text would become a list of one
// (PostgreSQL documentation, "ALTER ROLE", and pg_dump, which knows the same
// names; extensions cannot add to them).
var lists = []string{
	"local_preload_libraries", "search_path", "session_preload_libraries",
	"shared_preload_libraries", "temp_tablespaces", "unix_socket_directories",
}

// forClone is what the settings of the clone of original should be: the same,
// but that it always acts as somebody else: whom the original's own setting
// "role" names, or the original.
func (s settings) forClone(original string) settings {
	want := settings{{"", "role"}: original}
	for k, v := range s {
		if k.name == "role" && v == "none" {
			v = original
		}
		want[k] = v
	}
	return want
}

// settingChanges lists what turns the settings of a clone into those it should
// have. Only "role" must succeed: the others may need rights that the session
// lacks, or name what an extension no longer knows.
func settingChanges(original, clone settings, c engines.Clone, hint string) []change {
	want := original.forClone(c.Original)
	role := quoteIdent(c.Clone)
	var keys []settingKey
	for k, v := range want {
		if has, ok := clone[k]; !ok || !sameSetting(k.name, v, has) {
			keys = append(keys, k)
		}
	}
	for k := range clone {
		if _, ok := want[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, settingKey.compare)
	var changes []change
	for _, k := range keys {
		in, where := "", ""
		if k.database != "" {
			in = " IN DATABASE " + quoteIdent(k.database)
			where = " in database " + quoteIdent(k.database)
		}
		ch := change{hint: hint}
		if v, ok := want[k]; ok {
			ch.sql = fmt.Sprintf("ALTER ROLE %s%s SET %s = %s", role, in, settingName(k.name), settingValue(k.name, v))
			ch.orElse = fmt.Sprintf("setting %s of %s%s could not be copied to %s", k.name, quoteIdent(c.Original), where, role)
		} else {
			ch.sql = fmt.Sprintf("ALTER ROLE %s%s RESET %s", role, in, settingName(k.name))
			ch.orElse = fmt.Sprintf("setting %s of %s%s, which %s has not, could not be removed", k.name, role, where, quoteIdent(c.Original))
		}
		if k.name == "role" {
			ch.orElse = ""
		}
		changes = append(changes, ch)
	}
	return changes
}

func sameSetting(name, a, b string) bool {
	if a == b {
		return true
	}
	if !slices.Contains(lists, name) {
		return false
	}
	as, okA := splitList(a)
	bs, okB := splitList(b)
	return okA && okB && slices.Equal(as, bs)
}

// settingName quotes a name part by part: an extension's setting has two.
func settingName(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = quoteIdent(p)
	}
	return strings.Join(parts, ".")
}

// settingValue renders a stored value for ALTER ROLE … SET.
func settingValue(name, stored string) string {
	if slices.Contains(lists, name) {
		if items, ok := splitList(stored); ok {
			for i, item := range items {
				items[i] = quoteLiteral(item)
			}
			return strings.Join(items, ", ")
		}
	}
	return quoteLiteral(stored)
}

// splitList reads a stored list: items separated by commas, each bare or in
// double quotes, in which "" stands for one. A text of nothing is a list of one
// empty item, which is how an emptied search_path is written. ok is false for
// anything else.
func splitList(s string) (items []string, ok bool) {
	rest := strings.TrimSpace(s)
	if rest == "" {
		return []string{""}, true
	}
	for {
		var item string
		if strings.HasPrefix(rest, `"`) {
			var b strings.Builder
			rest = rest[1:]
			for {
				before, after, found := strings.Cut(rest, `"`)
				if !found {
					return nil, false
				}
				b.WriteString(before)
				rest = after
				if !strings.HasPrefix(rest, `"`) {
					break
				}
				b.WriteByte('"')
				rest = rest[1:]
			}
			item = b.String()
		} else {
			end := strings.IndexByte(rest, ',')
			if end < 0 {
				end = len(rest)
			}
			item, rest = strings.TrimSpace(rest[:end]), rest[end:]
			if item == "" {
				return nil, false
			}
		}
		items = append(items, item)
		rest = strings.TrimSpace(rest)
		if rest == "" {
			return items, true
		}
		if rest[0] != ',' {
			return nil, false
		}
		rest = strings.TrimSpace(rest[1:])
	}
}
