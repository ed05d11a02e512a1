package integration_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/teststore"
)

const eachSecond = "scheduler: {minimum_interval: 1s}\nsecrets:\n  - {name: a, schedule: rate(1 second)}\n"

// TestReload: on SIGHUP a good file applies and a bad one changes nothing and is
// told with line and reason.
func TestReload(t *testing.T) {
	t.Parallel()
	db := database(t, servers.Postgres15, "reload")
	s := newSite(t, eachSecond)
	for _, name := range []string{"a", "b"} {
		s.create(name, user(t, db, "reload_"+name).Value())
	}
	daemon := s.serve()
	s.waitVersion("a", s.allVersions("a")...)
	if n := len(s.allVersions("b")); n != 1 {
		t.Fatalf("b has %d versions and nobody declared its rotation", n)
	}
	reload := func(lines, answer string) {
		t.Helper()
		s.configure(lines)
		n := daemon.logged()
		daemon.signal(syscall.SIGHUP)
		daemon.awaitAfter(n, answer)
	}
	goesOn := func(names ...string) {
		t.Helper()
		s.waitAll(names...)
	}

	// An entry that is new rotates.
	both := eachSecond + "  - {name: b, schedule: rate(1 second)}\n"
	reload(both, "configuration read again.*declared=2")
	goesOn("a", "b")

	// A file that is wrong in whatever way leaves all as it was.
	lineOf := strings.Count(s.template()+both, "\n") + 1
	for lines, reason := range map[string]string{
		both + "    shedule: x\n":                                 `pawl.yaml:\d+`,
		both + "  - {name: c, shedule: rate(1 second)}\n":         fmt.Sprintf(`pawl.yaml:%d: secrets\[2\].shedule: unknown key; did you mean .*schedule`, lineOf),
		both + "  - {name: c, engine: oracle}\n":                  fmt.Sprintf(`pawl.yaml:%d: secrets\[2\].engine: unknown engine`, lineOf),
		both + "  - {name: a}\n":                                  fmt.Sprintf(`pawl.yaml:%d`, lineOf),
		"secrets: [{name: a, schedule: rate(1 second)}]\n":        `schedule`, // under the minimum that is then in force
		"store: {sqlite: {path: other.db, key_file: pawl.key}}\n": `pawl.yaml:\d+`,
		"\tnonsense": `not valid YAML`,
	} {
		reload(lines, `level=ERROR msg="the configuration was not read again; the old one stays" error=.*`+reason)
	}
	if err := os.Remove(s.file()); err != nil {
		t.Fatal(err)
	}
	n := daemon.logged()
	daemon.signal(syscall.SIGHUP)
	daemon.awaitAfter(n, "the old one stays.*pawl.yaml")
	// Another store needs a restart.
	other := strings.NewReplacer("path: pawl.db", "path: other.db", "postgres://pawl@", "postgres://other@").Replace(s.template()) + both
	if err := os.WriteFile(s.file(), []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	n = daemon.logged()
	daemon.signal(syscall.SIGHUP)
	daemon.awaitAfter(n, "the old one stays.*restart")
	goesOn("a", "b")

	// An entry that vanished turns its rotation off.
	reload(eachSecond, "rotation turned off.*secret=b")
	until(t, "b to be at rest", func() bool { return s.holder("b", secrets.Pending) == "" })
	off, err := s.svc.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "b"})
	if err != nil {
		t.Fatal(err)
	}
	if off.RotationEnabled == nil || *off.RotationEnabled {
		t.Error("b's rotation is not off")
	}
	was := s.allVersions("b")
	goesOn("a")
	if now := s.allVersions("b"); !slices.Equal(was, now) {
		t.Error("b was rotated though its entry is gone")
	}
	daemon.stop()
	s.rest("a", "b")
	for _, name := range []string{"a", "b"} {
		if err := db.Login(t.Context(), s.current(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHealthcheck asks a daemon before, while and after it runs.
func TestHealthcheck(t *testing.T) {
	s := newSite(t, "")
	socket := filepath.Join(s.dir, config.DefaultDatabase+".sock")
	if teststore.OnPostgres() {
		socket = s.file() + ".sock"
	}
	if r := s.cli("healthcheck"); r.code != 1 {
		t.Errorf("without a daemon: exit code %d", r.code)
	}
	for round := range 3 {
		daemon := s.serve()
		until(t, "healthcheck to be content", func() bool { return s.cli("healthcheck").code == 0 })
		info, err := os.Stat(socket)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 || info.Mode().Type() != os.ModeSocket {
			t.Errorf("the socket has mode %v", info.Mode())
		}
		if round == 1 {
			daemon.kill() // its socket stays behind and is in nobody's way
			if r := s.cli("healthcheck"); r.code != 1 {
				t.Errorf("after a kill: exit code %d", r.code)
			}
			continue
		}
		second := s.start("serve")
		second.await("another daemon serves this store")
		second.stop()
		if r := s.cli("healthcheck"); r.code != 0 {
			t.Errorf("a second daemon took the first one's socket along: %s", r.err)
		}
		daemon.stop()
		if r := s.cli("healthcheck"); r.code != 1 || !strings.Contains(r.err, "pawl serve --config") {
			t.Errorf("after the end: exit code %d: %s", r.code, r.err)
		}
		if _, err := os.Stat(socket); err == nil {
			t.Error("the socket is still there")
		}
	}
}

// TestNothingSecretLeavesTheDaemon searches the log, at its most talkative, and
// what the kernel shows of the process, for every password and every value there
// was, with rotations that succeed and rotations that fail.
func TestNothingSecretLeavesTheDaemon(t *testing.T) {
	pg := database(t, servers.Postgres15, "silent")
	my := database(t, servers.MariaDB, "silent")
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			const canary = "C4nary-Pa55word"
			s := newSite(t, `
scheduler: {minimum_interval: 1s}
secrets:
  - {name: self, schedule: rate(1 second)}
  - {name: pg, schedule: rate(1 second), strategy: alternating-users, superuser: pg_root}
  - {name: my, schedule: rate(1 second), strategy: alternating-users, superuser: my_root}
  - {name: wrong, schedule: rate(1 second)}
  - {name: broken, schedule: rate(1 second)}
  - {name: list, schedule: rate(1 second)}
  - {name: query, schedule: rate(1 second), check_query: "SELECT * FROM nowhere"}
  - {name: forged, schedule: rate(1 second)}
`)
			good := []string{"self", "pg", "my"}
			bad := []string{"wrong", "broken", "list", "query", "forged"}
			u := func(name string) secrets.Credentials { return user(t, pg, format+"_"+name) }
			s.create("pg_root", pg.Superuser().Value())
			s.create("my_root", my.Superuser().Value())
			s.create("self", u("self").Value())
			s.create("pg", u("pg").Value())
			s.create("my", user(t, my, format+"_my").Value())
			s.create("wrong", u("wrong").With("password", canary+"-wrong").Value())
			s.create("broken", secrets.Text(`{"username":"x","password":"`+canary+`-broken`))
			s.create("list", secrets.Text(`["`+canary+`-list"]`))
			s.create("query", u("query").Value())
			s.create("forged", u("forged").With("masterarn", "pg_root").With("password", canary+"-forged").Value())

			daemon := s.serve("--log-level", "debug", "--log-format", format)
			shown := ""
			s.waitAll(good...)
			s.waitAll(good...)
			for _, name := range bad {
				daemon.await(`rotation failed.*\b` + name + `\b|\b` + name + `\b.*rotation failed`)
			}
			one := s.start("rotate", "self", "wrong", "--log-level", "debug")
			for _, p := range []*process{daemon, one} {
				for _, file := range []string{"cmdline", "environ"} {
					// A command may have ended already; the daemon has not.
					data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
					if err != nil && p == daemon {
						t.Fatal(err)
					}
					if p == daemon && file == "cmdline" && !strings.Contains(string(data), "serve") {
						t.Fatalf("that is not the daemon's command line: %q", data)
					}
					shown += string(data)
				}
			}
			one.wait()
			daemon.stop()
			log := daemon.err.String()
			shown += log + daemon.out.String() + one.out.String() + one.err.String()
			if !strings.Contains(log, "step done") {
				t.Fatal("the log is not the most talkative one")
			}
			if format == "json" && !strings.HasPrefix(log, `{"time":`) {
				t.Fatalf("no JSON: %.80s", log)
			}
			for _, name := range slices.Concat(good, bad, []string{"pg_root", "my_root"}) {
				if i, found := contains(shown, s.everyPassword(name)); found {
					t.Errorf("value %d of %s was shown", i, name)
				}
			}
			if i, found := contains(shown, []string{canary, "SCRAM-SHA-256$", "C4nary"}); found {
				t.Errorf("the %d. of what must not show was shown", i)
			}
		})
	}
}
