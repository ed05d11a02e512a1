package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/engines"
)

func TestSplitList(t *testing.T) {
	for _, c := range []struct {
		in   string
		want []string
	}{
		{`"$user", public`, []string{"$user", "public"}},
		{`"$user", "we ird", s`, []string{"$user", "we ird", "s"}},
		{`a,b`, []string{"a", "b"}},
		{`"with "" quote", "comma, inside"`, []string{`with " quote`, "comma, inside"}},
		{`""`, []string{""}},
		{``, []string{""}},
		{`/path/to lib, $libdir/x`, []string{"/path/to lib", "$libdir/x"}},
		{`"open`, nil},
		{`a,,b`, nil},
		{`a,`, nil},
		{`"a"b`, nil},
	} {
		got, ok := splitList(c.in)
		if ok != (c.want != nil) || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q %t, want %q", c.in, got, ok, c.want)
		}
	}
}

func TestSplitListReadsWhatWasQuoted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		items := rapid.SliceOfN(rapid.StringOf(rapid.SampledFrom([]rune(`ab," '\é`))), 1, 5).Draw(t, "items")
		var quoted []string
		for _, i := range items {
			quoted = append(quoted, quoteIdent(i))
		}
		got, ok := splitList(strings.Join(quoted, ", "))
		if !ok || !slices.Equal(got, items) {
			t.Fatalf("%q came back as %q", items, got)
		}
	})
}

func TestSettingChanges(t *testing.T) {
	c := engines.Clone{Original: "app", Clone: "app_clone"}
	original := settings{
		{"", "search_path"}:       `"$user", "we ird"`,
		{"", "work_mem"}:          "8MB",
		{"Sales", "x.y"}:          "it's",
		{"Sales", "role"}:         "none",
		{"", "statement_timeout"}: "1min",
	}
	clone := settings{
		{"", "search_path"}:       `"$user","we ird"`, // the same list
		{"", "work_mem"}:          "4MB",
		{"", "statement_timeout"}: "1min",
		{"", "jit"}:               "off",
	}
	var got []string
	for _, ch := range settingChanges(original, clone, c, "") {
		got = append(got, ch.sql)
		if (ch.orElse == "") != strings.Contains(ch.sql, `"role"`) {
			t.Errorf("%s: orElse is %q", ch.sql, ch.orElse)
		}
	}
	want := []string{
		`ALTER ROLE "app_clone" RESET "jit"`,
		`ALTER ROLE "app_clone" SET "role" = 'app'`,
		`ALTER ROLE "app_clone" SET "work_mem" = '8MB'`,
		`ALTER ROLE "app_clone" IN DATABASE "Sales" SET "role" = 'app'`,
		`ALTER ROLE "app_clone" IN DATABASE "Sales" SET "x"."y" = 'it''s'`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if again := settingChanges(original, original.forClone("app"), c, ""); len(again) != 0 {
		t.Errorf("a clone in step is changed again: %v", again)
	}
}
