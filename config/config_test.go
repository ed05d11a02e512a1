package config

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
)

const minimal = "store: {sqlite: {path: pawl.db, key_file: pawl.key}}\n"

// load loads text as pawl.yaml of a fresh working directory.
func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	write(t, "pawl.yaml", text)
	return Load("pawl.yaml")
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func mustLoad(t *testing.T, text string) *Config {
	t.Helper()
	c, err := load(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// certificate makes a PEM file's content, for ca_file.
func certificate(t *testing.T) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestDefaults(t *testing.T) {
	c := mustLoad(t, minimal+"secrets: [{name: a/b}]\n")
	dir := filepath.Dir(c.Path)
	want := &Config{
		Path:    filepath.Join(dir, "pawl.yaml"),
		Account: "123456789012", Region: "us-east-1",
		Store: Store{SQLite: &SQLite{Path: filepath.Join(dir, "pawl.db"), MasterKey: MasterKey{KeyFile: filepath.Join(dir, "pawl.key")}}},
		Defaults: secrets.RotationRules{
			Strategy: secrets.SingleUser,
		},
		Scheduler: Scheduler{Workers: 16, PerTarget: 4, MinimumInterval: 4 * time.Hour, CatchUp: CatchUpNextDay},
		Server:    Server{RateLimits: 1},
		Secrets: []Secret{{
			Name: "a/b", File: "pawl.yaml", Line: 2,
			Rules: secrets.RotationRules{Strategy: secrets.SingleUser},
		}},
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Error(diff)
	}
}

func TestEntryOverDefaults(t *testing.T) {
	c := mustLoad(t, minimal+`
defaults:
  strategy: alternating-users
  superuser: prod/root
  schedule: rate(30 days)
  window: 3h
  propagation_timeout: 1m
  tls: {mode: verify-ca}
  plain_password: allow
  password: {length: 20, exclude_punctuation: true, require_each_included_type: false}
secrets:
  - name: plain
  - name: own
    strategy: single-user
    superuser:
    schedule:
    window:
    propagation_timeout: 90s
    tls: {mode: disable}
    plain_password: deny
    password: {length: 40, exclude_punctuation: false}
    engine: mysql
    hosts: [replica, "[::1]:3307"]
    admin_host: primary:3306
    check_query: >-
      SELECT 1
    adopt_clone: true
  - name: prod/root
    strategy: single-user
`)
	inherited := secrets.RotationRules{
		Strategy: secrets.AlternatingUsers, Superuser: "prod/root", Schedule: "rate(30 days)", Window: "3h",
		PropagationTimeout: time.Minute, TLS: secrets.TLSRules{Mode: "verify-ca"}, PlainPassword: true,
		Password: secrets.PasswordRules{Length: 20, ExcludePunctuation: true, AllowMissingTypes: true},
	}
	root := inherited
	root.Strategy, root.Superuser = secrets.SingleUser, "" // nobody is his own superuser
	want := []Secret{
		{"plain", "pawl.yaml", 13, inherited},
		{"own", "pawl.yaml", 14, secrets.RotationRules{
			Strategy: secrets.SingleUser, PropagationTimeout: 90 * time.Second, TLS: secrets.TLSRules{Mode: "disable"},
			Password: secrets.PasswordRules{Length: 40, AllowMissingTypes: true},
			Engine:   "mysql", Hosts: []string{"replica", "[::1]:3307"}, AdminHost: "primary:3306",
			CheckQuery: "SELECT 1", AdoptClone: true,
		}},
		{"prod/root", "pawl.yaml", 29, root},
	}
	if diff := cmp.Diff(want, c.Secrets); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(inherited, c.Defaults); diff != "" {
		t.Error(diff)
	}
	if got := c.Secrets[1].Source(); got != "file pawl.yaml:14" {
		t.Errorf("Source = %q", got)
	}
}

func TestPlace(t *testing.T) {
	c := mustLoad(t, minimal+"account: 000000000042\nregion: us-gov-west-1\n")
	if c.Account != "000000000042" || c.Region != "us-gov-west-1" {
		t.Errorf("account %q, region %q", c.Account, c.Region)
	}
}

func TestPaths(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(t.TempDir())
	write(t, filepath.Join(dir, "etc/my.yaml"), `
store: {sqlite: {path: ../data/x.db, key_file: /keys/k}}
defaults: {tls: {ca_file: ca.pem}}
secrets:
  - {name: a}
  - {name: b, tls: {ca_file: sub/ca.pem}}
`)
	write(t, filepath.Join(dir, "etc/ca.pem"), certificate(t))
	write(t, filepath.Join(dir, "etc/sub/ca.pem"), certificate(t))
	c, err := Load(filepath.Join(dir, "etc/my.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.Store.SQLite.Path, c.Store.SQLite.KeyFile, c.Secrets[0].Rules.TLS.CAFile, c.Secrets[1].Rules.TLS.CAFile, c.Secrets[0].Source()}
	want := []string{filepath.Join(dir, "data/x.db"), "/keys/k", filepath.Join(dir, "etc/ca.pem"), filepath.Join(dir, "etc/sub/ca.pem"), "file my.yaml:5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestMasterKey(t *testing.T) {
	for line, want := range map[string]MasterKey{
		"key_file: k":                               {KeyFile: "/k"},
		"key_env: PAWL_KEY":                         {KeyEnv: "PAWL_KEY"},
		"key_credential: pawl.key":                  {KeyCredential: "pawl.key"},
		"key_command: [pass, show, pawl/key]":       {KeyCommand: []string{"pass", "show", "pawl/key"}},
		"key_command: [bin/key, 7]":                 {KeyCommand: []string{"/bin/key", "7"}},
		"key_command: [/usr/bin/age, -d, key.age]":  {KeyCommand: []string{"/usr/bin/age", "-d", "key.age"}},
		"key_command: [/opt/my tools/key, '--raw']": {KeyCommand: []string{"/opt/my tools/key", "--raw"}},
	} {
		c, err := parse([]byte("store:\n  sqlite:\n    path: p\n    "+line+"\n"), "pawl.yaml", "/pawl.yaml")
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if diff := cmp.Diff(want, c.Store.SQLite.MasterKey); diff != "" {
			t.Errorf("%s: %s", line, diff)
		}
	}
}

func TestServer(t *testing.T) {
	pair := &TLS{CertFile: "/c", KeyFile: "/etc/k"}
	clients := func(required bool) *TLS {
		return &TLS{CertFile: "/c", KeyFile: "/etc/k", ClientCAFile: "/ca", RequireClient: required}
	}
	for _, c := range []struct {
		text string
		want Server
	}{
		{"{rate_limits: 0}", Server{}},
		{"{rate_limits: 2.5}", Server{RateLimits: 2.5}},
		{"{listen: 'localhost:1', rate_limits: 0}", Server{Listen: "localhost:1"}},
		{"{listen: ':4566', insecure: true, rate_limits: 0}", Server{Listen: ":4566", Insecure: true}},
		{"{listen: '0.0.0.0:443', rate_limits: 0, tls: {cert_file: c, key_file: /etc/k}}", Server{Listen: "0.0.0.0:443", TLS: pair}},
		{"{listen: '[::]:443', rate_limits: 0, insecure: false, tls: {cert_file: c, key_file: /etc/k}}", Server{Listen: "[::]:443", TLS: pair}},
		{"{listen: 'a.example.com:443', rate_limits: 0, tls: {cert_file: c, key_file: /etc/k, client_ca_file: ca}}", Server{Listen: "a.example.com:443", TLS: clients(true)}},
		{"{listen: ':1', rate_limits: 0, tls: {cert_file: c, key_file: /etc/k, client_ca_file: ca, client_certificates: optional}}", Server{Listen: ":1", TLS: clients(false)}},
		{"{listen: ':1', rate_limits: 0, tls: {cert_file: c, key_file: /etc/k, client_ca_file: ca, client_certificates: required}}", Server{Listen: ":1", TLS: clients(true)}},
	} {
		got, err := parse([]byte(minimal+"server: "+c.text+"\n"), "pawl.yaml", "/pawl.yaml")
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		} else if diff := cmp.Diff(c.want, got.Server); diff != "" {
			t.Errorf("%s: %s", c.text, diff)
		}
	}
}

func TestKMS(t *testing.T) {
	for text, want := range map[string]*KMS{
		"":            nil,
		"aws_kms:":    nil,
		"aws_kms: {}": {},
		"aws_kms: {region: eu-central-1, endpoint: 'https://kms.example.com/'}": {Region: "eu-central-1", Endpoint: "https://kms.example.com/"},
		"aws_kms: {endpoint: 'http://127.0.0.1:4599'}":                          {Endpoint: "http://127.0.0.1:4599"},
	} {
		c, err := parse([]byte(minimal+text+"\n"), "pawl.yaml", "/pawl.yaml")
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, c.KMS); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// TestTemplateTLS: the listener is in force, at whatever address.
func TestTemplateTLS(t *testing.T) {
	for _, listen := range []string{DefaultListen, ":4566", "[::]:4566", "0.0.0.0:4566"} {
		c := mustLoad(t, string(TemplateTLS(listen)))
		dir := filepath.Dir(c.Path)
		want := Server{Listen: listen, RateLimits: 1, TLS: &TLS{CertFile: filepath.Join(dir, "pawl-tls.crt"), KeyFile: filepath.Join(dir, "pawl-tls.key")}}
		if diff := cmp.Diff(want, c.Server); diff != "" {
			t.Errorf("%s: %s", listen, diff)
		}
	}
}

func TestAccepted(t *testing.T) {
	for name, text := range map[string]string{
		"nothing under a key":      minimal + "secrets:\nsuperusers:\nscheduler:\nserver:\ndefaults:\n",
		"byte order mark and CRLF": "\ufeff" + strings.ReplaceAll(minimal+"secrets:\n  - name: a\n", "\n", "\r\n"),
		"document markers":         "---\n" + minimal + "...\n",
		"seconds below the minimum": minimal + "scheduler: {minimum_interval: 1s, catch_up: now, workers: 1, per_target: 1000}\n" +
			"secrets: [{name: a, schedule: rate(1 second), window: 1s}]\n",
		"masterarn with a pairing":          minimal + "superusers: [{secret: root, for: ['prod/*']}]\nsecrets: [{name: prod/a/b, strategy: alternating-users}]\n",
		"anchors and aliases":               minimal + "secrets:\n  - {name: a, hosts: &h [x, y], tls: &t {mode: require}}\n  - {name: b, hosts: *h, tls: *t}\n",
		"a name that looks like a number":   minimal + "secrets: [{name: 123}, {name: true}, {name: 1.50}]\n",
		"IPv6 listener":                     minimal + "server: {listen: '[::1]:80'}\n",
		"localhost":                         minimal + "server: {listen: localhost:80}\n",
		"plain HTTP on all addresses":       minimal + "server: {listen: ':80', insecure: true}\n",
		"insecure on loopback":              minimal + "server: {listen: 127.0.0.1:80, insecure: true}\n",
		"plain_password as a boolean":       minimal + "secrets: [{name: a, plain_password: true}]\n",
		"a superuser by ARN":                minimal + "secrets: [{name: a, superuser: 'arn:aws:secretsmanager:eu-west-1:123456789012:secret:root-AbCdEf'}]\n",
		"a window in defaults, on demand":   minimal + "defaults: {window: 2h}\nsecrets: [{name: a}]\n",
		"default superuser taken away":      minimal + "defaults: {superuser: root}\nsecrets: [{name: a, superuser: ''}]\n",
		"a schedule with space around it":   minimal + "secrets: [{name: a, schedule: ' rate(1 day) '}]\n",
		"a whole catalogue in comments too": minimal + "# secrets:\n#   - nonsense\n",
	} {
		t.Run(name, func(t *testing.T) { mustLoad(t, text) })
	}
}

func TestNumbersAsNames(t *testing.T) {
	c := mustLoad(t, minimal+"secrets: [{name: 007}, {name: true}, {name: 1.50}]\n")
	for i, want := range []string{"007", "true", "1.50"} {
		if c.Secrets[i].Name != want {
			t.Errorf("name %q, want %q", c.Secrets[i].Name, want)
		}
	}
}

func TestTemplate(t *testing.T) {
	c := mustLoad(t, string(Template()))
	dir := filepath.Dir(c.Path)
	if want := (SQLite{Path: filepath.Join(dir, DefaultDatabase), MasterKey: MasterKey{KeyFile: filepath.Join(dir, DefaultKeyFile)}}); !reflect.DeepEqual(*c.Store.SQLite, want) {
		t.Errorf("store %+v", *c.Store.SQLite)
	}
	if len(c.Secrets)+len(c.Superusers) > 0 || c.Server.Listen != "" {
		t.Errorf("more than the store is in force: %+v", c)
	}
	appended := mustLoad(t, string(Template())+"secrets:\n  - name: a\nscheduler:\n  workers: 3\nserver:\n  listen: 127.0.0.1:9\n")
	if len(appended.Secrets) != 1 || appended.Scheduler.Workers != 3 || appended.Server.Listen != "127.0.0.1:9" {
		t.Errorf("appended blocks are not in force: %+v", appended)
	}
	// Its commented help is right, too.
	uncommented := regexp.MustCompile(`(?m)^# ?( *(- )?[a-z_]+:)`).ReplaceAllString(string(Template()), "$1")
	uncommented = strings.Replace(uncommented, "the store: pawl", "# the store: pawl", 1)
	if c, err := load(t, uncommented); err != nil || len(c.Secrets) != 2 || c.Server.Listen == "" {
		t.Errorf("uncommented: %v", err)
	}
}

func TestTemplatePostgres(t *testing.T) {
	for _, dsn := range []string{"postgres://pawl@db.example.com/pawl?sslmode=verify-full", `host=h user=u dbname='it''s \\ a'`, "host=h user=u dbname='a # b: c'"} {
		dsn = strings.ReplaceAll(dsn, "''s", `\'s`)
		c := mustLoad(t, string(TemplatePostgres(dsn)))
		dir := filepath.Dir(c.Path)
		want := Store{Postgres: &Postgres{DSN: dsn, PasswordFile: filepath.Join(dir, "pawl-db.password"), MaxConnections: 16, MasterKey: MasterKey{KeyFile: filepath.Join(dir, DefaultKeyFile)}}}
		if diff := cmp.Diff(want, c.Store); diff != "" {
			t.Error(diff)
		}
		if len(c.Secrets)+len(c.Superusers) > 0 || c.Server.Listen != "" {
			t.Errorf("more than the store is in force: %+v", c)
		}
	}
}

func TestTemplateAWS(t *testing.T) {
	c := mustLoad(t, string(TemplateAWS("eu-west-3")))
	if want := (Store{AWS: &AWS{Region: "eu-west-3", Refresh: 5 * time.Minute, RateLimits: 0.5}}); !reflect.DeepEqual(c.Store, want) || c.Region != "eu-west-3" {
		t.Errorf("store %+v", c.Store.AWS)
	}
	if len(c.Secrets)+len(c.Superusers) > 0 || c.Events.File != "" {
		t.Errorf("more than the store is in force: %+v", c)
	}
	// Its commented help is right, too.
	uncommented := regexp.MustCompile(`(?m)^( *)# ?( *(- )?[a-z_]+:)`).ReplaceAllString(string(TemplateAWS("eu-west-3")), "$1$2")
	c, err := load(t, uncommented)
	if err != nil || len(c.Secrets) != 2 || len(c.Superusers) != 1 || !c.Store.AWS.Discover || c.Events.File == "" {
		t.Errorf("uncommented: %v\n%s", err, uncommented)
	}
}

// TestExample loads the example at the root of the repository, as it is and
// with its switched-off keys in force, and asserts that it holds every key.
func TestExample(t *testing.T) {
	if _, err := Load("../config.example.yaml"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("../config.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := regexp.MustCompile(`(?m)^( *)#([a-z_]+:)`).ReplaceAllString(string(raw), "$1$2")
	whole := all
	alternative := regexp.MustCompile(`(?m)^( *)#or ( *[a-z_]+:)`)
	ofPostgres := regexp.MustCompile(`(?ms)^  #or postgres:\n(    #[^\n]*\n)+`)
	ofAWS := regexp.MustCompile(`(?ms)^  #or aws:\n(    #[^\n]*\n)+`)
	t.Chdir(t.TempDir())
	write(t, "db-ca.pem", certificate(t))
	write(t, "eu-ca.pem", certificate(t))
	write(t, "app-ca.pem", certificate(t))
	write(t, "pawl.yaml", all)
	if _, err := Load("pawl.yaml"); err != nil {
		t.Fatal(err)
	}
	postgres := ofPostgres.FindString(all)
	inForce := regexp.MustCompile(`(?m)^ *#or .*(password_env|key_env|key_credential|key_command):.*\n`).ReplaceAllString(postgres, "")
	write(t, "pawl.yaml", "store:\n"+strings.ReplaceAll(inForce, "#or ", ""))
	if c, err := Load("pawl.yaml"); err != nil || c.Store.Postgres == nil || c.Store.Postgres.User() != "pawl" || c.Store.Postgres.PasswordFile == "" {
		t.Errorf("with PostgreSQL as the store: %v", err)
	}
	all = strings.Replace(all, postgres, "", 1)
	aws := ofAWS.FindString(all)
	write(t, "pawl.yaml", "store:\n"+regexp.MustCompile(`(?m)^ *#or `).ReplaceAllStringFunc(aws, func(or string) string { return strings.Replace(or, "#or ", "", 1) }))
	if c, err := Load("pawl.yaml"); err != nil || c.Store.AWS == nil || c.Region != "eu-central-1" || !c.Store.AWS.Discover {
		t.Errorf("with AWS as the store: %+v, %v", c, err)
	}
	others := 0
	for line := range strings.Lines(strings.Replace(all, aws, "", 1)) {
		if !alternative.MatchString(line) {
			continue
		}
		others++
		write(t, "pawl.yaml", strings.Replace(all, "    key_file: pawl.key\n", alternative.ReplaceAllString(line, "$1$2"), 1))
		if _, err := Load("pawl.yaml"); err != nil {
			t.Errorf("with %s: %v", strings.TrimSpace(line), err)
		}
	}
	if others != 3 {
		t.Errorf("%d other places of the master key", others)
	}
	body, problem := parseYAML([]byte(alternative.ReplaceAllString(whole, "$1$2")))
	if problem != nil {
		t.Fatal(problem)
	}
	d := newDecoder("pawl.yaml")
	d.decode(body, &fileYAML{})
	found := map[string]bool{}
	for key := range d.lines {
		key = regexp.MustCompile(`^regions\.[^.]+`).ReplaceAllString(key, "regions.REGION")
		found[regexp.MustCompile(`\[\d+\]`).ReplaceAllString(key, "[]")] = true
	}
	for _, key := range keys(reflect.TypeFor[fileYAML](), "") {
		if !found[key] {
			t.Errorf("config.example.yaml lacks %s", key)
		}
	}
}

// TestDocumentation asserts that the table of keys names every key.
func TestDocumentation(t *testing.T) {
	raw, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	section := regexp.MustCompile(`^(secrets|defaults|superusers)(\[\])?\.`)
	for _, key := range keys(reflect.TypeFor[fileYAML](), "") {
		// Sections with lists give their keys without the section's name.
		name := section.ReplaceAllString(key, "")
		if !regexp.MustCompile("`" + regexp.QuoteMeta(name) + "[.`]").Match(raw) {
			t.Errorf("docs/configuration.md lacks %s", key)
		}
	}
}

// keys lists the paths of all keys that a type knows, with [] for list items.
func keys(typ reflect.Type, path string) (out []string) {
	list := typ.Kind() == reflect.Slice
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		if typ.Kind() == reflect.Map {
			out = append(out, path)
			path = child(path, "REGION")
		}
		typ = typ.Elem()
	}
	if path != "" {
		out = append(out, path)
	}
	if typ.Kind() != reflect.Struct {
		return out
	}
	if list {
		path += "[]"
	}
	fields := map[string]reflect.Value{}
	for _, name := range collect(reflect.New(typ).Elem(), fields) {
		out = append(out, keys(fields[name].Type(), child(path, name))...)
	}
	return out
}

func TestCheckEngines(t *testing.T) {
	c := mustLoad(t, minimal+"secrets:\n  - name: a\n  - name: b\n    engine: postgres\n  - name: c\n    engine: postgers\n")
	if err := c.CheckEngines([]string{"mysql", "postgres"}); err == nil || secrets.KindOf(err) != secrets.Invalid ||
		err.Error() != `pawl.yaml:6: secrets[2].engine: unknown engine; did you mean "postgres"?` {
		t.Errorf("%v", err)
	}
	if err := c.CheckEngines([]string{"postgers", "postgres"}); err != nil {
		t.Errorf("%v", err)
	}
}

func TestFind(t *testing.T) {
	type files map[string]string // path → "file", "dir" or "denied"
	stat := func(fsys files) func(string) (fs.FileInfo, error) {
		return func(path string) (fs.FileInfo, error) {
			switch fsys[path] {
			case "file":
				return os.Stat("find.go")
			case "dir":
				return os.Stat(".")
			case "denied":
				return nil, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrPermission}
			}
			return nil, &fs.PathError{Op: "stat", Path: path, Err: fs.ErrNotExist}
		}
	}
	both := files{"pawl.yaml": "file", "/etc/pawl/pawl.yaml": "file", "f": "file", "e": "file"}
	for _, c := range []struct {
		flag, env  string
		files      files
		path, fail string
	}{
		{"f", "e", both, "f", ""},
		{"", "e", both, "pawl.yaml", ""},
		{"", "e", files{"e": "file", "/etc/pawl/pawl.yaml": "file"}, "e", ""},
		{"", "", both, "pawl.yaml", ""},
		{"", "", files{"/etc/pawl/pawl.yaml": "file"}, "/etc/pawl/pawl.yaml", ""},
		{"g", "e", both, "", "configuration file g, named by --config: file does not exist; make one with: pawl init"},
		{"", "g", files{"/etc/pawl/pawl.yaml": "file"}, "", "configuration file g, named by $PAWL_CONFIG: file does not exist; make one with: pawl init"},
		{"d", "", files{"d": "dir"}, "", "configuration file d, named by --config: is a directory, not a file; make one with: pawl init"},
		{"", "", files{"pawl.yaml": "denied", "/etc/pawl/pawl.yaml": "file"}, "", "configuration file pawl.yaml: permission denied"},
		{"", "", nil, "", "no configuration file: --config and $PAWL_CONFIG are not set, and there is neither ./pawl.yaml nor /etc/pawl/pawl.yaml; make one here with: pawl init"},
	} {
		path, err := find(c.flag, c.env, stat(c.files))
		text := ""
		if err != nil {
			text = err.Error()
			if secrets.KindOf(err) != secrets.Invalid {
				t.Errorf("%q: not Invalid", text)
			}
		}
		if path != c.path || text != c.fail {
			t.Errorf("find(%q, %q) = %q, %q; want %q, %q", c.flag, c.env, path, text, c.path, c.fail)
		}
	}
	t.Setenv(EnvPath, "find.go")
	if path, err := Find(""); path != "find.go" || err != nil {
		t.Errorf("Find: %q, %v", path, err)
	}
}

func TestLoadUnreadable(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := Load("none.yaml")
	if !errors.Is(err, fs.ErrNotExist) || secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("%v", err)
	}
	write(t, "big.yaml", strings.Repeat("#", maxBytes+1))
	if _, err := Load("big.yaml"); err == nil || err.Error() != "configuration file: big.yaml is larger than 8 MiB" {
		t.Errorf("%v", err)
	}
}
