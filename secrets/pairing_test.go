package secrets

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestSameServer(t *testing.T) {
	for _, c := range []struct {
		declared, addr string
		want           bool
	}{
		{"db1", "db1:5432", true},
		{"db1", "DB1:9999", true}, // without a port: all ports of it
		{"db2:5433", "db2:5433", true},
		{"db2:5433", "db2:5432", false},
		{"db2:5433", "db2", false},
		{"[::1]:5432", "[::1]:5432", true},
		{"[::1]", "[::1]:5432", true},
		{"[::1]:5432", "[::1]", false},
		{"10.0.0.1", "10.0.0.1:1", true},
		{"db1", "db10:5432", false},
		{"db1", "", false},
		{"", "", false},
		{"a/b", "a/b", false},
	} {
		if got := SameServer(c.declared, c.addr); got != c.want {
			t.Errorf("SameServer(%q, %q) = %v", c.declared, c.addr, got)
		}
	}
}

func TestPairingCovers(t *testing.T) {
	p := Pairing{For: []string{"prod/*", "exact"}}
	for name, want := range map[string]bool{
		"prod/app": true, "prod/team/app": true, "prod/": true, "exact": true,
		"prod": false, "Prod/a": false, "xprod/a": false, "exactly": false, "": false,
	} {
		if got := p.Covers(name); got != want {
			t.Errorf("Covers(%q) = %v", name, got)
		}
	}
}

func TestGlob(t *testing.T) {
	letters := rapid.StringMatching(`[ab/.]{0,8}`)
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*/.]{0,6}`).Draw(t, "pattern")
		name := letters.Draw(t, "name")
		model := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + "$")
		if got, want := Glob(pattern, name), model.MatchString(name); got != want {
			t.Fatalf("Glob(%q, %q) = %v", pattern, name, got)
		}
	})
}
