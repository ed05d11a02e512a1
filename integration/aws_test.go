package integration_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/secrets"
)

// pairing lets the secrets in prod/app choose root/db as their superuser.
const pairing = `superusers: [{secret: root/db, for: ["prod/app/*"]}]` + "\n"

// TestAWSCalls counts what a rotation costs: each of the first ones, each further
// one, and that docs/aws.md has the same numbers.
func TestAWSCalls(t *testing.T) {
	c := newCloud(t, "aws_calls")
	c.tagged("root/db", c.db.Superuser().Value())
	clean := []string{opDescribe, opValue, opPut, opStage, opStage}
	published := publishedCalls(t)
	for _, way := range []struct {
		name    string // in the table of docs/aws.md
		secret  string
		with    func(secrets.Credentials) secrets.Credentials
		tags    []string
		lines   string
		super   []string // what is asked about the superuser's secret
		regular []string
	}{
		{name: "single user", secret: "prod/app/single", regular: clean},
		{name: "single user, set by a superuser", secret: "prod/app/file", super: []string{opValue}, regular: clean,
			lines: "secrets: [{name: prod/app/file, superuser: root/db}]\n"},
		{name: "alternating users", secret: "prod/app/masterarn", super: []string{opValue}, regular: clean,
			with:  func(cred secrets.Credentials) secrets.Credentials { return cred.With("masterarn", "root/db") },
			lines: pairing + "secrets: [{name: prod/app/masterarn, strategy: alternating-users}]\n"},
		{name: "alternating users", secret: "prod/app/tag", super: []string{opValue}, regular: clean, lines: pairing,
			tags: []string{"pawl:strategy", "alternating-users", "pawl:superuser", "root/db"}},
	} {
		cred := user(t, c.db, "calls_"+strings.TrimPrefix(way.secret, "prod/app/"))
		if way.with != nil {
			cred = way.with(cred)
		}
		c.tagged(way.secret, cred.Value(), way.tags...)
		s := c.elsewhere(t, way.lines)
		for round := range 3 {
			c.rotates(s, way.secret)
			got, super, others := c.gate.counted(way.secret), c.gate.counted("root/db"), c.gate.counted("")
			if !slices.Equal(got, way.regular) || !slices.Equal(super, way.super) || len(others) != 0 {
				t.Errorf("%s, rotation %d: it asks %v, of its superuser %v, and else %v", way.secret, round+1, got, super, others)
			}
		}
		if n := len(way.regular) + len(way.super); published[way.name] != n {
			t.Errorf("%s takes %d calls, and docs/aws.md has %d", way.name, n, published[way.name])
		}
	}
	if len(published) != 4 { // and AWS's own
		t.Errorf("docs/aws.md has %v", published)
	}
}

// callsRow is a row of the table of calls: what, how many, and what 10,000 of them
// cost.
var callsRow = regexp.MustCompile(`(?m)^\| ([a-zA-Z', ]+) \| (\d+) \|.*\| \$(\d\.\d\d) \|$`)

// publishedCalls are the numbers of calls in docs/aws.md. That the costs beside
// them are right is checked here: a call is $0.000005.
func publishedCalls(t *testing.T) map[string]int {
	t.Helper()
	out := map[string]int{}
	for _, m := range callsRow.FindAllStringSubmatch(page(t, "docs/aws.md"), -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("%.2f", float64(n)*0.05); m[3] != want {
			t.Errorf("docs/aws.md: 10,000 times %d calls cost $%s, not $%s", n, want, m[3])
		}
		out[m[1]] = n
	}
	return out
}
