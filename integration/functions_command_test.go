package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/events"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// The commands below are this test's own program (see programMain).

// endsAtOnce has a program that was built with the race detector not sleep a second
// before it ends.
const endsAtOnce = "GORACE=atexit_sleep_ms=0"

// programs are lines of functions.named, one for each name.
func programs(t *testing.T, more string, names ...string) string {
	t.Helper()
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	lines := ""
	for _, name := range names {
		lines += fmt.Sprintf("    - {name: %s, command: [%q], environment: [%s=%s, %s], role: rotates%s}\n", name, own, programVariable, name, endsAtOnce, more)
	}
	return lines
}

// role makes the role of the programs, which may do more than any of them needs.
func (s *site) role() {
	s.t.Helper()
	trust := `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"AWS":"` + homeAccount + `"},"Action":"sts:AssumeRole"}}`
	file := filepath.Join(s.dir, "trust.json")
	if err := os.WriteFile(file, []byte(trust), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if r := s.cli("access", "create", "rotates", "--role", "--trust", file, "--administrator"); r.code != 0 {
		s.t.Fatal(r.err)
	}
}

// does says what a program does from now on; "" = its step, and nothing else.
func (s *site) does(name, what string) {
	s.t.Helper()
	// By renaming: it may be reading.
	file := filepath.Join(s.dir, name+".does")
	if err := errors.Join(os.WriteFile(file+".new", []byte(what), 0o600), os.Rename(file+".new", file)); err != nil {
		s.t.Fatal(err)
	}
}

// wrote waits until a program has written a file, and returns what it says.
func (s *site) wrote(name string) (text string) {
	s.t.Helper()
	until(s.t, name, func() bool {
		b, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			s.t.Fatal(err)
		}
		text = string(b)
		return text != ""
	})
	return text
}

// pids are the numbers of a program that hangs and of its child.
func (s *site) pids(name string) (pids []int) {
	s.t.Helper()
	for text := range strings.FieldsSeq(s.wrote(name + ".pids")) {
		n, err := strconv.Atoi(text)
		if err != nil {
			s.t.Fatal(err)
		}
		pids = append(pids, n)
	}
	return pids
}

func (s *site) ended(pids ...int) {
	s.t.Helper()
	for _, n := range pids {
		until(s.t, fmt.Sprintf("the end of process %d", n), func() bool { return syscall.Kill(n, 0) != nil || zombie(n) })
	}
}

// zombie: it has ended, and init has not looked yet.
func zombie(pid int) bool {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

// TestCommandFunctions: programs of this machine that do the steps of a rotation,
// well and badly. Each rotates in the end.
func TestCommandFunctions(t *testing.T) {
	type program struct {
		name, does string
		kind, text string // of the failure, where there is one
	}
	all := []program{
		{"spy", spies, "", ""},
		{"trespasser", trespass, "", ""},
		{"flooder", floods, "", ""},
		{"idler", idles, "invalid", "finishSecret returned, but AWSCURRENT did not move"},
		{"teller", tells, "denied", `the server does not take {"password": "[redacted]"}`},
		{"waiter", waits, "transient", "ConnectionRefusedError: nobody listens at the vendor's"},
		{"hanger", hangs, "transient", "did not end in time"},
	}
	var names []string
	for _, p := range all {
		if p.does != hangs {
			names = append(names, p.name)
		}
	}
	f := newFunctions(t, "commands", "  named:\n", programs(t, "", names...), programs(t, ", timeout: 5s", "hanger"), "superusers: [{secret: root, for: [cmd/trespasser]}]\n")
	f.role()
	f.create("root", f.db.Superuser().Value())
	f.create(elsewhere, secrets.Text("not yours"))
	sideBySide(t, 4, all, func(p program) string { return p.name }, func(t *testing.T, p program) {
		secret := "cmd/" + p.name
		f := f.in(t)
		cred := f.user("cmd_" + p.name)
		if p.name == "trespasser" {
			cred = cred.With("masterarn", "root")
		}
		f.does(p.name, p.does)
		f.create(secret, cred.Value())
		version := f.rotate(secret, p.name)
		if p.kind != "" {
			s := f.failing(secret)
			if s.Kind != p.kind || !strings.Contains(s.LastError, p.text) || strings.Contains(s.LastError, cred.Password().Reveal()) {
				t.Errorf("%s: %s", s.Kind, s.LastError)
			}
			if p.does == hangs {
				f.ended(f.pids(p.name)...)
			}
			if now := f.current(secret); !now.Password().Equal(cred.Password()) {
				t.Error("AWSCURRENT has changed")
			}
			// Mended, and not waited for: the same version goes on.
			f.does(p.name, "")
			f.again(secret, version)
		}
		f.rotated(secret, version)
		switch p.does {
		case spies:
			f.spied(p.name)
		case trespass:
			f.trespassed(p.name)
		}
	})
	f.frugal()
	for _, p := range all {
		some := events.RotationStarted
		if p.kind != "" {
			some = events.RotationFailed
		}
		f.hears("cmd/"+p.name, some, events.RotationSucceeded)
	}
	if log := f.daemon.err.String() + f.daemon.out.String(); strings.Contains(log, pawlsOwn) || strings.Contains(log, "made for ") {
		t.Error("the log has a secret")
	}
}

// spied looks at the environment that a program had: nothing of Pawl's own but
// what it needs, and how it reaches the API.
func (f *functions) spied(name string) {
	f.t.Helper()
	env := map[string]string{}
	for line := range strings.SplitSeq(f.wrote(name+".env"), "\n") {
		variable, v, _ := strings.Cut(line, "=")
		env[variable] = v
	}
	var got []string
	for variable, v := range env {
		got = append(got, variable)
		if strings.Contains(v, pawlsOwn) || v == "AKIDPAWL" {
			f.t.Errorf("%s is Pawl's own", variable)
		}
	}
	slices.Sort(got)
	want := []string{
		"AWS_ACCESS_KEY_ID", "AWS_CA_BUNDLE", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "AWS_REGION",
		"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "GORACE", "PATH", programVariable, "SECRETS_MANAGER_ENDPOINT", "TMPDIR",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Error(diff)
	}
	if env["SECRETS_MANAGER_ENDPOINT"] != f.endpoint || env["AWS_REGION"] != homeRegion || !strings.HasPrefix(env["AWS_ACCESS_KEY_ID"], "ASIA") {
		f.t.Errorf("it calls %s in %s as %s", env["SECRETS_MANAGER_ENDPOINT"], env["AWS_REGION"], env["AWS_ACCESS_KEY_ID"])
	}
}

// trespassed looks at what a program could do, whose role may do everything: the
// four steps on its own secret, and read the superuser's that is paired with it.
func (f *functions) trespassed(name string) {
	f.t.Helper()
	const denied = "AccessDeniedException"
	want := map[string]string{
		"read another": denied, "describe another": denied, "write another": denied, "list": denied,
		"delete its own": denied, "let others in": denied, "write the superuser's": denied,
		"read its own": "", "read the superuser's": "", "make a password": "",
	}
	var got map[string]string
	if err := json.Unmarshal([]byte(f.wrote(name+".answers")), &got); err != nil {
		f.t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		f.t.Error(diff)
	}
}

// TestDaemonKilledWhileAFunctionRuns: the function dies with the daemon, and the
// next one goes on with the same version.
func TestDaemonKilledWhileAFunctionRuns(t *testing.T) {
	t.Parallel()
	db := database(t, servers.AnyPostgres, "killed_fn")
	s := newSite(t, "events: {file: events.jsonl}\nfunctions:\n  named:\n"+programs(t, "", "slow")+
		"secrets:\n  - {name: app, function: slow, schedule: rate(30 days)}\n")
	s.role()
	s.create("app", user(t, db, "killed_fn").Value())
	before := s.current("app")
	s.does("slow", hangsSet)
	daemon := s.serve("--listen", "127.0.0.1:0")
	asked, err := s.svc.StartRotation(t.Context(), service.StartRotationInput{SecretID: "app", ClientRequestToken: s.token()})
	if err != nil {
		t.Fatal(err)
	}
	version := asked.VersionID
	s.wrote("slow.pids")
	daemon.kill()
	pids := s.pids("slow")
	if runtime.GOOS == "linux" { // elsewhere nothing tells it
		s.ended(pids[0])
	}
	_ = syscall.Kill(pids[1], syscall.SIGKILL) // whom nobody is left to kill
	if s.holder("app", secrets.Pending) != version || s.holder("app", secrets.Current) == version {
		t.Fatalf("killed too early or too late: %v", s.stages("app"))
	}
	if err := db.Login(t.Context(), before); err != nil {
		t.Errorf("AWSCURRENT is locked out: %v", err)
	}
	s.does("slow", "")
	daemon = s.serve("--listen", "127.0.0.1:0")
	until(t, "the rotation to go on", func() bool {
		return s.holder("app", secrets.Current) == version && s.holder("app", secrets.Pending) == ""
	})
	daemon.stop()
	if v := s.allVersions("app"); len(v) != 2 {
		t.Errorf("there are %d versions of one rotation", len(v))
	}
	if err := db.Login(t.Context(), s.current("app")); err != nil {
		t.Error(err)
	}
	s.hears("app", events.RotationStarted, events.RotationSucceeded)
}
