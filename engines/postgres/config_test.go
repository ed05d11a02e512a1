package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// hostile is an environment in which no setting of libpq's is harmless.
func hostile(t *testing.T) map[string]string {
	home := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pass := write(".pgpass", "*:*:*:*:from-the-passfile\n")
	service := write(".pg_service.conf", "[evil]\nhost=203.0.113.1\noptions=-c work_mem=1\n")
	for _, f := range []string{"root.crt", "postgresql.crt", "postgresql.key"} {
		write(".postgresql/"+f, "not a certificate")
	}
	return map[string]string{
		"HOME": home, "PGHOST": "203.0.113.1,203.0.113.2", "PGPORT": "1,2,3", "PGDATABASE": "evil", "PGUSER": "evil",
		"PGPASSWORD": "from-the-environment", "PGPASSFILE": pass, "PGSERVICE": "missing", "PGSERVICEFILE": service,
		"PGOPTIONS": "-c work_mem=nonsense", "PGAPPNAME": "evil", "PGTZ": "Mars/Olympus", "PGCONNECT_TIMEOUT": "soon",
		"PGSSLMODE": "nonsense", "PGSSLROOTCERT": "/missing", "PGSSLCERT": "/missing", "PGSSLKEY": "/missing",
		"PGSSLCERTMODE": "", "PGSSLNEGOTIATION": "nonsense", "PGTARGETSESSIONATTRS": "nonsense",
		"PGCHANNELBINDING": "nonsense", "PGREQUIREAUTH": "none,none", "PGMINPROTOCOLVERSION": "9", "PGMAXPROTOCOLVERSION": "1",
	}
}

// comparable is what a login depends on.
func comparable(c *pgconn.Config) string {
	return fmt.Sprintf("%q %d %q %q %v %v %v %d %q %q %q %q %q %v %v %v", c.Host, c.Port, c.Database, c.User, c.Password == "", c.TLSConfig, c.ConnectTimeout,
		len(c.Fallbacks), c.SSLNegotiation, c.SSLCertMode, c.MinProtocolVersion, c.MaxProtocolVersion, c.ChannelBinding+c.RequireAuth+c.KerberosSpn+c.KerberosSrvName,
		c.RuntimeParams, c.ValidateConnect == nil, c.OAuthTokenProvider == nil)
}

func TestEnvironmentDoesNotMatter(t *testing.T) {
	clean, err := parseBase()
	if err != nil {
		t.Fatal(err)
	}
	env := hostile(t)
	for k, v := range env {
		t.Setenv(k, v)
	}
	if _, err := pgconn.ParseConfig("host=x"); err == nil {
		t.Error("this environment is not hostile at all")
	}
	got, err := parseBase()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(comparable(clean), comparable(got)); d != "" {
		t.Error(d)
	}
	for k, v := range env {
		if os.Getenv(k) != v {
			t.Errorf("%s was not put back", k)
		}
	}
	if _, set := os.LookupEnv("PGSSLCERTMODE"); !set {
		t.Error("an empty variable was not put back")
	}
}

// TestLoginInHostileEnvironment runs this very test in another process that
// has the environment from its start.
func TestLoginInHostileEnvironment(t *testing.T) {
	if os.Getenv("PAWL_TEST_LOGIN") != "" {
		port, _ := strconv.Atoi(os.Getenv("PAWL_TEST_PORT"))
		at := engines.Endpoint{Host: "127.0.0.1", Port: port, Database: "postgres", TLS: engines.TLS{Mode: secrets.TLSDisable}, Guard: time.Minute}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		s, err := New().Dial(ctx, at, login(os.Getenv("PAWL_TEST_LOGIN"), os.Getenv("PAWL_TEST_WORD")))
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		if err := s.Check(ctx, engines.Check{Query: "SELECT 1/(current_setting('application_name') = 'pawl' AND current_database() = 'postgres')::int"}); err != nil {
			t.Fatal(err)
		}
		return
	}
	onEach(t, func(t *testing.T, f *fixture) {
		user, password := f.role("hostile", "")
		cmd := exec.Command(os.Args[0], "-test.run=^TestLoginInHostileEnvironment$", "-test.v")
		cmd.Env = append(os.Environ(), "PAWL_TEST_LOGIN="+user, "PAWL_TEST_WORD="+password, fmt.Sprint("PAWL_TEST_PORT=", f.server.Port))
		for k, v := range hostile(t) {
			cmd.Env = append(cmd.Env, k+"="+v)
		}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "--- PASS: TestLoginInHostileEnvironment") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestEmptyPasswordIsNeverReplaced: libpq's rules would look into the passfile.
func TestEmptyPasswordIsNeverReplaced(t *testing.T) {
	at := engines.Endpoint{Host: "127.0.0.1", Port: 1, Database: "postgres"}
	_, err := New().Dial(context.Background(), at, login("app", ""))
	if err == nil || secrets.KindOf(err) != secrets.Invalid {
		t.Fatal(err)
	}
}

func TestMalformedEndpoints(t *testing.T) {
	good := engines.Endpoint{Host: "127.0.0.1", Port: 1, Database: "postgres"}
	for what, change := range map[string]func(*engines.Endpoint, *engines.Login){
		"no host":          func(e *engines.Endpoint, _ *engines.Login) { e.Host = "" },
		"two hosts":        func(e *engines.Endpoint, _ *engines.Login) { e.Host = "a,b" },
		"socket directory": func(e *engines.Endpoint, _ *engines.Login) { e.Host = "/tmp" },
		"no port":          func(e *engines.Endpoint, _ *engines.Login) { e.Port = 0 },
		"high port":        func(e *engines.Endpoint, _ *engines.Login) { e.Port = 65536 },
		"no database":      func(e *engines.Endpoint, _ *engines.Login) { e.Database = "" },
		"NUL in database":  func(e *engines.Endpoint, _ *engines.Login) { e.Database = "a\x00b" },
		"no user":          func(_ *engines.Endpoint, l *engines.Login) { l.Username = "" },
		"NUL in user":      func(_ *engines.Endpoint, l *engines.Login) { l.Username = "a\x00b" },
		"long user":        func(_ *engines.Endpoint, l *engines.Login) { l.Username = strings.Repeat("é", 32) },
		"reserved user":    func(_ *engines.Endpoint, l *engines.Login) { l.Username = "public" },
		"NUL in password":  func(_ *engines.Endpoint, l *engines.Login) { l.Password = secrets.NewPassword("a\x00b") },
	} {
		at, as := good, login("app", "pass-word")
		change(&at, &as)
		_, err := New().Dial(context.Background(), at, as)
		var e *secrets.Error
		if !errors.As(err, &e) || e.Kind != secrets.Invalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := New().CheckUsername(strings.Repeat("x", 63)); err != nil {
		t.Error(err)
	}
}

func TestAcceptedAuth(t *testing.T) {
	verified := engines.TLS{Mode: secrets.TLSVerifyFull, Config: mustTLS(t, secrets.TLSVerifyFull)}
	required := engines.TLS{Mode: secrets.TLSRequire, Config: mustTLS(t, secrets.TLSRequire)}
	for _, c := range []struct {
		tls   engines.TLS
		plain bool
	}{{engines.TLS{Mode: secrets.TLSDisable}, false}, {required, false}, {verified, true}} {
		if got := strings.Contains(acceptedAuth(c.tls), "password"); got != c.plain {
			t.Errorf("%s: clear text allowed: %t", c.tls.Mode, got)
		}
	}
}
