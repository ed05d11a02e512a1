package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func shared(keys string) string { return "store:\n  postgres:\n    " + keys + "\n" }

func TestPostgres(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	const dsn = "postgres://pawl@db.example.com/pawl"
	for text, want := range map[string]Postgres{
		"dsn: " + dsn + "\n    key_file: k":                              {DSN: dsn, MaxConnections: 16, MasterKey: MasterKey{KeyFile: in("k")}},
		"dsn: " + dsn + "\n    key_env: KEY\n    password_file: p":       {DSN: dsn, MaxConnections: 16, PasswordFile: in("p"), MasterKey: MasterKey{KeyEnv: "KEY"}},
		"dsn: " + dsn + "\n    key_credential: k\n    password_env: P":   {DSN: dsn, MaxConnections: 16, PasswordEnv: "P", MasterKey: MasterKey{KeyCredential: "k"}},
		"dsn: " + dsn + "\n    key_command: [k]\n    max_connections: 2": {DSN: dsn, MaxConnections: 2, MasterKey: MasterKey{KeyCommand: []string{"k"}}},
	} {
		path := filepath.Join(dir, "pawl.yaml")
		write(t, path, shared(text))
		c, err := Load(path)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(Store{Postgres: &want}, c.Store); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		if diff := cmp.Diff(want.MasterKey, c.Store.MasterKey()); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// TestDSN is the table of connection strings, in both forms, and what is told of
// them; where an error is expected, its beginning.
func TestDSN(t *testing.T) {
	for _, c := range []struct{ dsn, user, where, err string }{
		{dsn: "postgres://u@h/d", user: "u", where: "h:5432/d"},
		{dsn: "postgresql://u:p@h:6432/d?sslmode=verify-full&sslrootcert=/etc/ca.pem", user: "u", where: "h:6432/d"},
		{dsn: "postgres://u%40x:p%2F%3A%23@h/d%20e", user: "u@x", where: "h:5432/d e"},
		{dsn: "postgres://u:p@w@h/d", user: "u", where: "h:5432/d"}, // as libpq and the driver read it
		{dsn: "postgres://u@h1,h2:6000/d?target_session_attrs=read-write", user: "u", where: "h1:5432,h2:6000/d"},
		{dsn: "postgres://u@[::1]:7,10.0.0.1/d", user: "u", where: "[::1]:7,10.0.0.1:5432/d"},
		{dsn: "postgres://u@%2Frun%2Fpg/d", user: "u", where: "/run/pg/d"},
		{dsn: "postgres:///d?host=/run/pg&user=u", user: "u", where: "/run/pg/d"},
		{dsn: "host=h user=u dbname=d", user: "u", where: "h:5432/d"},
		{dsn: "  host = h1,h2  port= 1,2 user='u u' database = d password='it\\'s \\\\ p=1'  ", user: "u u", where: "h1:1,h2:2/d"},
		{dsn: "host=h1,h2 port=7 user=u dbname=d", user: "u", where: "h1:7,h2:7/d"},
		{dsn: "host=::1 user=u dbname=d", user: "u", where: "[::1]:5432/d"},

		{dsn: "h", err: "has a part that is no key=value pair"},
		{dsn: "mysql://u@h/d?a=b", err: "has a setting that Pawl does not know; known: host, port"},
		{dsn: "host=h user=u dbname=d hunter2", err: "has a part that is no key=value pair"},
		{dsn: "host=h user=u dbname='d", err: "has a quote (') that does not end"},
		{dsn: "host=h user=u", err: "names no database"},
		{dsn: "host=h dbname=d", err: "names no user"},
		{dsn: "user=u dbname=d", err: "names no host"},
		{dsn: "postgres://u@/d", err: "names no host"},
		{dsn: "postgres://h/d", err: "names no user"},
		{dsn: "postgres://u@h", err: "names no database"},
		{dsn: "postgres://u@h,/d", err: "has a host that is no host name"},
		{dsn: "postgres://u:p/w@h/d", err: "has a part that is not well encoded"},
		{dsn: "postgres://u:p%@h/d", err: "has a part that is not well encoded"},
		{dsn: "postgres://u:p#w@h/d", err: "has a # in it"},
		{dsn: "postgres://u:p?w@h/d", err: "has a setting that Pawl does not know"},
		{dsn: "postgres://u@h:p/d", err: "has a port that is no number"},
		{dsn: "postgres://u@h:70000/d", err: "has a port that is no number"},
		{dsn: "host=h1,h2,h3 port=1,2 user=u dbname=d", err: "has not as many ports as hosts"},
		{dsn: "host=h user=u dbname=d host=i", err: "has host twice"},
		{dsn: "postgres://u@h/d?sslmode=disable&sslmode=require", err: "has sslmode twice"},
		{dsn: "postgres://u@h/d?sslmode=prefer", err: "has another sslmode than disable, require, verify-ca, verify-full: others may fall back"},
		{dsn: "postgres://u@h/d?sslmod=require", err: `has a setting that Pawl does not know; did you mean "sslmode"?`},
		{dsn: "postgres://u@h/d?target_session_attrs=standby", err: "has another target_session_attrs than read-write, primary, any"},
		{dsn: "postgres://u@h/d?sslrootcert=ca.pem", err: "has a relative path for sslrootcert"},
		{dsn: "postgres://u@h/d?passfile=/x", err: "names a passfile"},
		{dsn: "service=x", err: "names a service"},
		{dsn: "postgres://u@h/d?pool_max_conns=3", err: "has a setting of a connection pool; the pool's size is max_connections"},
		{dsn: "postgres://u@h/d\n", err: "has a control character"},
		{dsn: "postgres://u%00@h/d", err: "has a part that is not well encoded"},
	} {
		_, err := readDSN(c.dsn)
		p := Postgres{DSN: c.dsn}
		switch {
		case c.err == "" && err != nil:
			t.Errorf("%s: %v", c.dsn, err)
		case c.err == "" && (p.User() != c.user || strings.Join(p.Hosts(), ",")+"/"+p.Database() != c.where):
			t.Errorf("%s: user %q, %v", c.dsn, p.User(), p)
		case c.err != "" && (err == nil || !strings.HasPrefix(err.Error(), c.err)):
			t.Errorf("%s: %v, want %s …", c.dsn, err, c.err)
		}
	}
}

// TestDSNAs: for another user the same place, and nothing of the first one's
// credentials.
func TestDSNAs(t *testing.T) {
	p := Postgres{DSN: "postgres://u:hunter2@h1,h2:7/d?sslmode=verify-full&sslcert=/c&sslkey=/k&sslpassword=hunter3", PasswordFile: "/p", PasswordEnv: "P", MaxConnections: 5}
	if !p.HasPassword() {
		t.Error("it has a password")
	}
	o := p.As(`it's \ me`)
	if o.User() != `it's \ me` || o.String() != p.String() || o.HasPassword() || o.PasswordFile+o.PasswordEnv != "" || o.MaxConnections != 5 {
		t.Errorf("%+v", o)
	}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v", p, p, p), fmt.Sprint(&p), fmt.Sprintf("%+v", Store{Postgres: &p})} {
		if strings.Contains(text, "hunter") {
			t.Error(text)
		}
	}
	if strings.Contains(o.DSN, "hunter") || strings.Contains(o.DSN, "/k") || !strings.Contains(o.DSN, "sslmode='verify-full'") {
		t.Error(o.DSN)
	}
}

// TestPairs: what pairs renders is read as it was, whatever is in it.
func TestPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~é]{1,12}`)
		c := connection{settings: map[string]string{"host": "h", "user": text.Draw(t, "user"), "dbname": text.Draw(t, "dbname"), "password": text.Draw(t, "password")}}
		got, err := readDSN(c.pairs())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.settings, got.settings); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestPasswordInFile: a password in the file makes it one that nobody else may
// read, as a key file is.
func TestPasswordInFile(t *testing.T) {
	const hidden = "dsn: postgres://u:hunter2@h/d\n    key_file: k"
	path := filepath.Join(t.TempDir(), "pawl.yaml")
	write(t, path, shared(hidden))
	for mode, refused := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o640: true, 0o604: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path)
		if refused != (err != nil) {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if err != nil && (strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "chmod 600") || !strings.Contains(err.Error(), "password_file")) {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	write(t, path, shared("dsn: postgres://u@h/d\n    password_file: p\n    key_file: k"))
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err != nil {
		t.Errorf("without a password in it: %v", err)
	}
}

func TestRegions(t *testing.T) {
	ca := certificate(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "ca.pem"), ca)
	path := filepath.Join(dir, "pawl.yaml")
	write(t, path, minimal+"regions:\n  eu-west-1: {endpoint: 'https://secrets.example.com:4566', ca_file: ca.pem, credentials_file: eu.env}\n  ap-south-1: {endpoint: 'http://127.0.0.1:4566', credentials_file: /c}\n")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Region{
		"eu-west-1":  {Endpoint: "https://secrets.example.com:4566", CAFile: filepath.Join(dir, "ca.pem"), CredentialsFile: filepath.Join(dir, "eu.env")},
		"ap-south-1": {Endpoint: "http://127.0.0.1:4566", CredentialsFile: "/c"},
	}
	if diff := cmp.Diff(want, c.Regions); diff != "" {
		t.Error(diff)
	}
}
