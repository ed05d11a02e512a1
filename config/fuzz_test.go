package config

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
)

// marker stands for a password that somebody wrote into the file. Whatever is
// wrong with the file, no error may hold even its core.
const (
	marker = "$Kq7vX2$ Kq7vX2"
	core   = "Kq7vX2"
)

// marked is a file with the marker as every text value but names.
var marked = regexp.MustCompile(`"M"`).ReplaceAllString(`
account: "M"
region: "M"
store:
  sqlite: {path: "M", key_file: "M", key_env: "M", key_credential: "M", key_command: ["M", "M"]}
defaults:
  strategy: "M"
  superuser: "M"
  schedule: "M"
  window: "M"
  propagation_timeout: "M"
  tls: {mode: "M", ca_file: "M"}
  plain_password: "M"
  password:
    length: "M"
    exclude_characters: "M"
    exclude_numbers: "M"
scheduler: {workers: "M", minimum_interval: "M", catch_up: "M"}
server:
  listen: "M"
  tls: {cert_file: "M", key_file: "M", client_ca_file: "M", client_certificates: "M"}
  insecure: "M"
  rate_limits: "M"
aws_kms: {region: "M", endpoint: "M"}
regions:
  eu-west-1: {endpoint: "M", ca_file: "M", credentials_file: "M"}
  "M": {endpoint: "M"}
functions:
  endpoint: "M"
  profile: "M"
  allow: ["M", 'x']
  named:
    - name: crm
      command: ["M", "M"]
      timeout: "M"
      environment: ["M", "A=M", 'b c']
      role: "M"
    - name: "M"
      url: "M"
      key_file: "M"
events:
  file: "M"
superusers:
  - secret: "M"
    for: ["M", 'x']
    hosts: ["M", 'y']
secrets:
  - name: a
    check_query: "M"
    admin_host: "M"
    engine: "M"
  - name: b
    hosts:
      - "M"
      - z
    schedule: "M"
    adopt_clone: "M"
    password: "M"
    tls: "M"
  - name: c
    function: "M"
    strategy: "M"
`, `"`+marker+`"`)

// markedAWS is such a file with AWS as the store.
var markedAWS = regexp.MustCompile(`"M"`).ReplaceAllString(`
region: "M"
store:
  aws:
    region: "M"
    profile: "M"
    endpoint: "M"
    discover: "M"
    refresh: "M"
    rate_limits: "M"
events: {file: "M"}
secrets:
  - name: a
    function: "M"
`, `"`+marker+`"`)

// markedPostgres is such a file with a database as the store, once in each form
// of a DSN.
var markedPostgres = strings.ReplaceAll(`
store:
  postgres:
    dsn: "postgres://M:M@M:5432,M/M?sslmode=M&password=M&M=M"
    password_file: "M"
    password_env: "M"
    max_connections: "M"
    key_file: "M"
`, "M", marker)

var markedPairs = strings.ReplaceAll(`
store:
  postgres:
    dsn: "host=M port=5432 user=M dbname=M password='M M' sslmode=M"
    key_env: "M"
`, "M", marker)

// check parses a file and asserts what must hold for any file at all.
func check(t interface{ Fatalf(string, ...any) }, src string) {
	c, err := parse([]byte(src), "pawl.yaml", "/nowhere/pawl.yaml")
	switch {
	case (c == nil) != (err != nil):
		t.Fatalf("config %v, error %v", c, err)
	case err == nil:
		return
	case secrets.KindOf(err) != secrets.Invalid:
		t.Fatalf("not Invalid: %v", err)
	case strings.Contains(err.Error(), core):
		t.Fatalf("the error repeats a value:\n%v\nof\n%s", err, src)
	}
	for _, line := range strings.Split(err.Error(), "\n") {
		if !strings.HasPrefix(line, "pawl.yaml:") {
			t.Fatalf("a line that is no problem: %q", line)
		}
	}
}

// TestValuesStaySecret damages a file that is full of passwords at random.
func TestValuesStaySecret(t *testing.T) {
	check(t, marked)
	check(t, markedAWS)
	check(t, markedPostgres)
	check(t, markedPairs)
	rapid.Check(t, func(t *rapid.T) {
		ls := strings.SplitAfter(rapid.SampledFrom([]string{marked, markedAWS, markedPostgres, markedPairs}).Draw(t, "file"), "\n")
		for range rapid.IntRange(1, 8).Draw(t, "damages") {
			i := rapid.IntRange(0, len(ls)-1).Draw(t, "line")
			at := rapid.IntRange(0, len(ls[i])).Draw(t, "byte")
			switch rapid.SampledFrom([]string{"cut", "insert", "copy", "swap", "drop", "indent"}).Draw(t, "damage") {
			case "cut":
				ls[i] = ls[i][:at]
			case "insert":
				bits := []string{":", ": ", "\n", " ", "\t", "'", `"`, "{", "}", "[", "]", ",", "&a ", "*a", "!", "|", ">", "#", "- ", "? ", "%", "@", "`", "\x00", "\xff", "<<: ", "---\n", "M: "}
				ls[i] = ls[i][:at] + rapid.SampledFrom(bits).Draw(t, "bit") + ls[i][at:]
			case "copy":
				ls[i] += ls[rapid.IntRange(0, len(ls)-1).Draw(t, "from")]
			case "swap":
				j := rapid.IntRange(0, len(ls)-1).Draw(t, "with")
				ls[i], ls[j] = ls[j], ls[i]
			case "drop":
				ls[i] = strings.TrimLeft(ls[i][at:], " ")
			case "indent":
				ls[i] = strings.Repeat(" ", rapid.IntRange(0, 6).Draw(t, "indent")) + strings.TrimLeft(ls[i], " ")
			}
		}
		check(t, strings.Join(ls, ""))
	})
}

func FuzzParse(f *testing.F) {
	example, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		marked, markedAWS, string(example), string(Template()), string(TemplateAWS(DefaultRegion)), minimal,
		"store: &a {sqlite: *a}\n", "secrets: &a [*a]\n", "secrets: [&a {hosts: [*a]}]\n", "a: &a *a\n",
		"? a\n: b\n", "!!map {a: b}\n", "- - - a\n", "a: |\n  b\n", "%YAML 1.2\n---\na: b\n", "<<: {a: b}\n", "null: 1\n~: 2\n", "{\n", "&a\n", "store: {sqlite: {path: !!binary x}}\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, src string) {
		if len(src) > 1<<14 {
			t.Skip()
		}
		if strings.Contains(regexp.MustCompile(`\$Kq7vX2\$ Kq7vX2`).ReplaceAllString(src, ""), core) {
			t.Skip() // the fuzzer made a name or a schedule of it
		}
		check(t, src)
	})
}

// TestAliasesEnd asserts that files which refer to themselves are refused
// instead of followed for ever.
func TestAliasesEnd(t *testing.T) {
	for _, src := range []string{
		"store: &a {sqlite: *a}\n", "secrets: &a [*a]\n", "secrets: [&a {hosts: [*a], tls: *a}]\n", "secrets: [&a {password: *a}]\n",
	} {
		if _, err := parse([]byte(src), "pawl.yaml", "/nowhere/pawl.yaml"); err == nil {
			t.Errorf("accepted: %s", src)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "abc", 3}, {"window", "window", 0}, {"widnow", "window", 1}, {"windw", "window", 1},
		{"windoww", "window", 1}, {"winbow", "window", 1}, {"shedlue", "schedule", 2}, {"abc", "xyz", 3},
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if distance(c.a, c.b) != distance(c.b, c.a) {
			t.Errorf("distance(%q, %q) depends on the order", c.a, c.b)
		}
	}
}

// many is a file of n secrets.
func many(n int) []byte {
	var b strings.Builder
	b.WriteString(minimal + "superusers: [{secret: prod/root, for: ['prod/*']}]\nsecrets:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: prod/app%d/db\n    strategy: alternating-users\n    superuser: prod/root\n    schedule: cron(0 %d * * ? *)\n    window: 2h\n", i, i%20)
	}
	return []byte(b.String())
}

func TestManySecrets(t *testing.T) {
	c, err := parse(many(10_000), "pawl.yaml", "/nowhere/pawl.yaml")
	if err != nil {
		t.Fatal(err)
	}
	last := c.Secrets[9_999]
	if last.Name != "prod/app9999/db" || last.Line != 3+5*9_999+1 || last.Rules.Schedule != "cron(0 19 * * ? *)" {
		t.Errorf("%+v", last)
	}
}

func BenchmarkTenThousandSecrets(b *testing.B) {
	src := many(10_000)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := parse(src, "pawl.yaml", "/nowhere/pawl.yaml"); err != nil {
			b.Fatal(err)
		}
	}
}
