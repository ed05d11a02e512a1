package servers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
)

// need is servertest.Need, which this package cannot import.
func need(t *testing.T, kind Kind) {
	t.Helper()
	if ok, _ := Find(kind); !ok {
		if os.Getenv("CI") != "" {
			t.Fatalf("%s is not installed: run `make servers`", kind)
		}
		t.Skipf("%s is not installed: run `make servers`", kind)
	}
}

func start(t *testing.T, kind Kind, o Options) *Server {
	t.Helper()
	need(t, kind)
	s, err := Start(t.Context(), kind, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *Server) database(user, password string) (*sql.DB, error) {
	config, err := s.MySQLConfig(user, password, "")
	if err != nil {
		return nil, err
	}
	connector, err := driver.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// query logs in and returns the first column of the first row.
func (s *Server) query(ctx context.Context, user, password, query string) (value string, err error) {
	if s.Kind.IsPostgres() {
		config, err := s.PostgresConfig(user, password, "postgres")
		if err != nil {
			return "", err
		}
		conn, err := pgx.ConnectConfig(ctx, config)
		if err != nil {
			return "", err
		}
		defer conn.Close(ctx)
		return value, conn.QueryRow(ctx, query).Scan(&value)
	}
	db, err := s.database(user, password)
	if err != nil {
		return "", err
	}
	defer db.Close()
	return value, db.QueryRowContext(ctx, query).Scan(&value)
}

// exec runs statements as the administrator.
func (s *Server) exec(t *testing.T, statements ...string) {
	t.Helper()
	for _, statement := range statements {
		var err error
		if s.Kind.IsPostgres() {
			config, _ := s.PostgresConfig(s.Admin, s.AdminPassword, "postgres")
			var conn *pgx.Conn
			if conn, err = pgx.ConnectConfig(t.Context(), config); err == nil {
				_, err = conn.Exec(t.Context(), statement)
				conn.Close(t.Context())
			}
		} else {
			var db *sql.DB
			if db, err = s.database(s.Admin, s.AdminPassword); err == nil {
				_, err = db.ExecContext(t.Context(), statement)
				db.Close()
			}
		}
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
}

func (s *Server) mustLogIn(t *testing.T, user, password string) {
	t.Helper()
	if _, err := s.query(t.Context(), user, password, "SELECT version()"); err != nil {
		t.Fatalf("%s cannot log in: %v", user, err)
	}
}

// TestLife takes each kind of server through everything that can happen to
// one: logins, a crash, a frozen spell, an orderly restart, the end.
func TestLife(t *testing.T) {
	for _, kind := range Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			s := start(t, kind, Options{})
			major := strings.TrimPrefix(string(kind), "postgres")
			switch kind {
			case MariaDB:
				major = "10."
			case MySQL:
				major = "9."
			}
			if !strings.HasPrefix(s.Version, major) {
				t.Errorf("version %q, want %s…", s.Version, major)
			}

			for _, c := range []struct{ user, password string }{
				{s.Admin, "not it"}, {s.Admin, ""}, {"nobody", ""}, {"nobody", s.AdminPassword},
			} {
				if _, err := s.query(t.Context(), c.user, c.password, "SELECT version()"); err == nil || !s.flavour.refused(err) {
					t.Errorf("user %q with the wrong password: %v, want a refusal", c.user, err)
				}
			}

			if kind.IsPostgres() {
				s.exec(t, `CREATE ROLE app LOGIN PASSWORD 'first'`)
			} else {
				s.exec(t, `CREATE USER app@'%' IDENTIFIED BY 'first'`)
			}
			s.mustLogIn(t, "app", "first")

			port := s.Port
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.query(t.Context(), s.Admin, s.AdminPassword, "SELECT version()"); err == nil {
				t.Fatal("a killed server answers")
			}
			if err := s.Kill(); !errors.Is(err, errStopped) {
				t.Errorf("second Kill: %v", err)
			}
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.mustLogIn(t, "app", "first") // an acknowledged commit survived

			if err := s.Pause(); err != nil {
				t.Fatal(err)
			}
			short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			if _, err := s.query(short, "app", "first", "SELECT version()"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a paused server: %v, want a time-out", err)
			}
			cancel()
			if err := s.Resume(); err != nil {
				t.Fatal(err)
			}
			s.mustLogIn(t, "app", "first")

			if err := s.Pause(); err != nil {
				t.Fatal(err)
			}
			if err := s.Restart(t.Context()); err != nil { // frozen or not
				t.Fatal(err)
			}
			s.mustLogIn(t, "app", "first")
			if s.Port != port {
				t.Errorf("port %d became %d", port, s.Port)
			}

			for range 2 { // the second does nothing
				if err := s.Stop(); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Stat(s.Dir); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is still there: %v", s.Dir, err)
			}
			if err := s.Restart(t.Context()); !errors.Is(err, errStopped) {
				t.Errorf("Restart after Stop: %v", err)
			}
		})
	}
}

// TestAdminPasswordStaysSecret looks for it where other users of the machine,
// or a log, would show it.
func TestAdminPasswordStaysSecret(t *testing.T) {
	for _, kind := range Kinds {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			o := Options{Args: []string{"--general-log=1"}, TLS: true}
			if kind.IsPostgres() {
				o.Args = []string{"-c", "log_statement=all"}
			}
			s := start(t, kind, o)
			s.exec(t, "SELECT 'a statement of this test'")

			for _, pid := range s.proc.family() {
				for _, file := range []string{"cmdline", "environ"} {
					content, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
					if err == nil && strings.Contains(string(content), s.AdminPassword) {
						t.Errorf("%s of process %d shows the administrator's password", file, pid)
					}
				}
			}
			log, logged := s.Log, false
			if !kind.IsPostgres() {
				log = s.GeneralLog
			}
			err := filepath.WalkDir(s.Dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || !d.Type().IsRegular() {
					return nil //nolint:nilerr // the server removes files as we look
				}
				content, err := os.ReadFile(path)
				if err == nil && strings.Contains(string(content), s.AdminPassword) {
					t.Errorf("%s holds the administrator's password", path)
				}
				logged = logged || path == log && strings.Contains(string(content), "a statement of this test")
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if !logged {
				t.Errorf("statements are not in %s", log)
			}

			probe := "SELECT CASE WHEN ssl THEN version ELSE '' END FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
			if !kind.IsPostgres() {
				probe = "SELECT VARIABLE_VALUE FROM information_schema.session_status WHERE VARIABLE_NAME = 'ssl_version'"
				if kind == MySQL {
					probe = "SELECT VARIABLE_VALUE FROM performance_schema.session_status WHERE VARIABLE_NAME = 'ssl_version'"
				}
			}
			if v, err := s.query(t.Context(), s.Admin, s.AdminPassword, probe); err != nil || !strings.HasPrefix(v, "TLS") {
				t.Errorf("the connection uses %q (%v), want TLS", v, err)
			}
			// The certificate is checked, not only offered.
			s.Host = "localhost"
			s.mustLogIn(t, s.Admin, s.AdminPassword)
			s.Host = "127.0.0.2"
			if _, err := s.query(t.Context(), s.Admin, s.AdminPassword, "SELECT version()"); err == nil {
				t.Error("a certificate for another host was accepted")
			}
		})
	}
}

func TestReplica(t *testing.T) {
	t.Parallel()
	const delay = time.Second
	primary := start(t, Postgres15, Options{})
	replica := start(t, Postgres15, Options{ReplicaOf: primary, MinApplyDelay: delay})
	admin, password := primary.Admin, primary.AdminPassword

	if v, err := replica.query(t.Context(), admin, password, "SELECT pg_is_in_recovery()::text"); err != nil || v != "true" {
		t.Fatalf("the replica is in recovery: %s (%v)", v, err)
	}
	began := time.Now()
	primary.exec(t, "CREATE ROLE app LOGIN PASSWORD 'first'")
	for {
		_, err := replica.query(t.Context(), "app", "first", "SELECT version()")
		if err == nil {
			break
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("the role did not reach the replica: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	if took := time.Since(began); took < delay {
		t.Errorf("the replica followed after %s, want at least %s", took, delay)
	}
}

func TestStartFails(t *testing.T) {
	need(t, Postgres15)
	used := t.TempDir()
	if err := os.Mkdir(filepath.Join(used, "data"), 0o700); err != nil {
		t.Fatal(err)
	}
	temp := t.TempDir()
	if err := os.Chmod(temp, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(temp), 0o755); err != nil { // root's servers run as somebody else
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", temp)
	for name, c := range map[string]struct {
		kind Kind
		o    Options
		want []string
	}{
		"unknown kind":       {"oracle", Options{}, []string{`no server called "oracle"`, "postgres18", "mariadb"}},
		"argument":           {Postgres15, Options{Args: []string{"-c", "nonsense=1"}}, []string{"exited", "server log:", `"nonsense"`}},
		"directory in use":   {Postgres15, Options{Dir: used}, []string{used, "already holds a server"}},
		"replica of mariadb": {MariaDB, Options{ReplicaOf: &Server{Kind: MariaDB}}, []string{"PostgreSQL only"}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.kind == MariaDB {
				need(t, MariaDB)
			}
			s, err := Start(t.Context(), c.kind, c.o)
			if err == nil {
				s.Stop()
				t.Fatal("it started")
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
		})
	}
	left, err := os.ReadDir(temp)
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}

// TestPortTaken has a server find another one on its port: the answer is not
// mistaken for its own.
func TestPortTaken(t *testing.T) {
	for _, kind := range []Kind{Postgres15, MariaDB} {
		t.Run(string(kind), func(t *testing.T) {
			t.Parallel()
			first, second := start(t, kind, Options{}), start(t, kind, Options{})
			if err := second.halt(); err != nil {
				t.Fatal(err)
			}
			second.Port = first.Port
			if err := second.launch(t.Context(), false); !errors.Is(err, errPortTaken) {
				t.Fatalf("launch on a port in use: %v", err)
			}
			first.mustLogIn(t, first.Admin, first.AdminPassword)
		})
	}
}
