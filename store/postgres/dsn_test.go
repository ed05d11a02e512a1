package postgres

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/secrets"
)

func TestDSN(t *testing.T) {
	// None of this may count, nor be changed by reading a DSN.
	machine := map[string]string{
		"PGHOST": "elsewhere", "PGUSER": "mallory", "PGPASSWORD": "ambient", "PGDATABASE": "other", "PGSSLMODE": "prefer", "PGSERVICE": "none",
		"PGTARGETSESSIONATTRS": "any", "PGOPTIONS": "-c search_path=evil", "PGREQUIREAUTH": "bad", "PGAPPNAME": "ambient", "PGSSLCERTMODE": "", "PGTZ": "Mars",
		"HOME": t.TempDir(),
	}
	for name, value := range machine {
		t.Setenv(name, value)
	}
	if err := os.WriteFile(filepath.Join(machine["HOME"], ".pgpass"), []byte("*:*:*:*:ambient\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		dsn   string
		hosts string
		tls   string // "verified by" a name, "unverified", "none"
	}{
		{"postgres://u@db.example.com/pawl", "db.example.com:5432", "verified by db.example.com"},
		{"postgresql://u@db.example.com:6543/pawl?connect_timeout=9", "db.example.com:6543", "verified by db.example.com"},
		{"host=db.example.com user=u dbname=pawl", "db.example.com:5432", "verified by db.example.com"},
		{"postgres://u@db.example.com/pawl?sslmode=disable", "db.example.com:5432", "none"},
		{"postgres://u@db.example.com/pawl?sslmode=require", "db.example.com:5432", "unverified"},
		{"postgres://u@db.example.com/pawl?sslmode=disable&default_query_exec_mode=simple_protocol", "db.example.com:5432", "none"},
		{"postgres://u@127.0.0.1/pawl", "127.0.0.1:5432", "none"},
		{"postgres://u@localhost/pawl", "localhost:5432", "none"},
		{"postgres://u@[::1]/pawl", "[::1]:5432", "none"},
		{"postgres://u@127.0.0.1/pawl?sslmode=verify-full", "127.0.0.1:5432", "verified by 127.0.0.1"},
		{"host=/run/postgresql user=u dbname=pawl", "/run/postgresql/.s.PGSQL.5432", "none"},
		{"host=/run/postgresql user=u dbname=pawl sslmode=verify-full", "/run/postgresql/.s.PGSQL.5432", "none"},
		{"postgres://u@a.example.com:1,b.example.com:2/pawl", "a.example.com:1 b.example.com:2", "verified by a.example.com"},
		{"postgres://u@127.0.0.1:1,b.example.com:2/pawl", "127.0.0.1:1 b.example.com:2", "verified by 127.0.0.1"},
	} {
		config, err := parseDSN(Config{DSN: c.dsn})
		if err != nil {
			t.Errorf("%s: %v", c.dsn, err)
			continue
		}
		cc := config.ConnConfig
		hosts, _, _, _ := hostsOf(&cc.Config)
		if got := strings.Join(hosts, " "); got != c.hosts {
			t.Errorf("%s: hosts %q instead of %q", c.dsn, got, c.hosts)
		}
		tls := "none"
		if t := cc.TLSConfig; t != nil && t.InsecureSkipVerify {
			tls = "unverified"
		} else if t != nil {
			tls = "verified by " + t.ServerName
		}
		if tls != c.tls {
			t.Errorf("%s: TLS is %s instead of %s", c.dsn, tls, c.tls)
		}
		if cc.User != "u" || cc.Database != "pawl" || cc.Password != "" || cc.ValidateConnect == nil || cc.DefaultQueryExecMode != pgx.QueryExecModeCacheStatement ||
			cc.RuntimeParams["search_path"] != "pawl" || cc.RuntimeParams["application_name"] != "pawl" || cc.RuntimeParams["options"] != "" || cc.RuntimeParams["timezone"] != "UTC" {
			t.Errorf("%s: user %q, database %q, parameters %v", c.dsn, cc.User, cc.Database, cc.RuntimeParams)
		}
		clear := tls == "none" && strings.Contains(c.hosts, "example.com") || tls == "unverified"
		if (cc.RequireAuth == "!password") != clear {
			t.Errorf("%s: authentication %q", c.dsn, cc.RequireAuth)
		}
		if config.MaxConns != defaultConnections {
			t.Errorf("%d connections", config.MaxConns)
		}
	}
	config, err := parseDSN(Config{DSN: "postgres://u:first@db.example.com/pawl?target_session_attrs=any&application_name=mine&pool_max_conns=3", Password: secrets.NewPassword("second"), MaxConnections: 5})
	if err != nil || config.ConnConfig.Password != "second" || config.MaxConns != 5 || config.ConnConfig.RuntimeParams["application_name"] != "mine" || config.ConnConfig.ValidateConnect != nil {
		t.Errorf("%d connections, error %v", config.MaxConns, err)
	}
	for name, want := range machine {
		if got, ok := os.LookupEnv(name); got != want || !ok {
			t.Errorf("%s was %q and is %q", name, want, got)
		}
	}
	for _, name := range []string{"PGCONNECT_TIMEOUT"} {
		if v, ok := os.LookupEnv(name); ok {
			t.Errorf("%s is left as %q", name, v)
		}
	}
}

func TestBadDSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                                                  "store.postgres.dsn",
		"postgres://u@db.example.com":                       "names no database",
		"postgres://db.example.com/pawl":                    "names no user",
		"user=u dbname=pawl":                                "names no host",
		"host=db.example.com user=u":                        "names no database",
		"postgres://u@h/pawl?sslmode=prefer":                "sslmode=verify-full",
		"postgres://u@h/pawl?sslmode=allow":                 "sslmode=verify-full",
		"postgres://u@127.0.0.1/pawl?sslmode=prefer":        "sslmode=verify-full",
		"postgres://u@h/pawl?sslmode=maybe":                 "malformed",
		"postgres://u@h/pawl?sslrootcert=/no/such/file":     "/no/such/file",
		"postgres://u@h/pawl?target_session_attrs=whatever": "malformed",
		"postgres://u:hunter2:x@h:y/pawl":                   "malformed",
		"postgres://u:hunter2%zz@h/pawl":                    "malformed",
		"host=h user=u password=hunter2 word dbname=pawl":   "malformed",
		"password='hunter2":                                 "malformed",
		"hunter2":                                           "malformed",
	} {
		_, err := parseDSN(Config{DSN: dsn})
		wantError(t, err, secrets.Invalid, want)
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q tells the password", err)
		}
	}
}
