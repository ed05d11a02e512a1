package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

// TestScripts runs the promises of the command line that need no server.
func TestScripts(t *testing.T) { runScripts(t, testscript.Params{Dir: "testdata/script"}, nil) }

// TestScriptsAtServer runs those about secrets again, word for word, with every
// command at a server instead of on the store.
func TestScriptsAtServer(t *testing.T) {
	var files []string
	for _, name := range []string{"secret", "manage", "json"} {
		files = append(files, filepath.Join("testdata", "script", name+".txtar"))
	}
	runScripts(t, testscript.Params{Files: files, Setup: func(e *testscript.Env) error {
		p, err := startServe(e.WorkDir, e.Vars, "--dev", "--listen", "127.0.0.1:0")
		if err != nil {
			return err
		}
		e.Defer(func() { _, _ = p.stop() })
		s := e.Values["script"].(*script)
		s.served, s.endpoint = p, p.endpoint
		return nil
	}}, nil)
}

// TestPostgresScripts runs those that rotate on a real PostgreSQL.
func TestPostgresScripts(t *testing.T) {
	db, err := workload.Prepare(t.Context(), servertest.Start(t, servers.Postgres15, servers.Options{}), "scripts")
	if err != nil {
		t.Fatal(err)
	}
	runScripts(t, testscript.Params{Dir: "testdata/script/postgres"}, db)
}

// canary is the password in the scripts' own values. Like the passwords of the
// database users it may show only in what `secret get` prints.
const canary = "C4nary-Pa55word"

// script is what one script's own commands share.
type script struct {
	db        *workload.Database
	shown     strings.Builder // all that pawl printed, values it was asked for apart
	passwords []string
	dialled   map[string]chan net.Conn // by the name of a frozen port
	served    *served                  // by the script's own command
	endpoint  string                   // where exits sends every command; "" = nowhere
	daemon    *daemon                  // by the script's own command
}

func stateOf(ts *testscript.TestScript) *script { return ts.Value("script").(*script) }

func runScripts(t *testing.T, p testscript.Params, db *workload.Database) {
	setup := p.Setup
	testscript.Run(t, testscript.Params{
		Dir: p.Dir, Files: p.Files,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Values["script"] = &script{db: db, passwords: []string{canary}, dialled: map[string]chan net.Conn{}}
			// Under the race detector every program waits a second at its end.
			e.Setenv("GORACE", "atexit_sleep_ms=0 exitcode=66")
			// Drivers read no ambient configuration: with any of these they would
			// fail, or reach somewhere else.
			for name, v := range map[string]string{"PGHOST": "203.0.113.1", "PGPASSWORD": "wrong", "PGSSLMODE": "verify-full", "PGUSER": "nobody", "PGSERVICE": "none"} {
				e.Setenv(name, v)
			}
			// An hour of the day that is not near the present one.
			e.Setenv("FAR_HOUR", strconv.Itoa((time.Now().UTC().Hour()+12)%24))
			if db != nil {
				e.Setenv("DB_HOST", db.Server.Host)
				e.Setenv("DB_PORT", strconv.Itoa(db.Server.Port))
				e.Setenv("DB_NAME", db.Name)
			}
			// Credentials for --endpoint, and nothing else of AWS's: no files, no
			// machine's metadata, no endpoint that could be minded by mistake.
			for name, v := range map[string]string{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1",
				"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
				"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:1"} {
				e.Setenv(name, v)
			}
			if setup != nil {
				return setup(e)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":      scriptExits,
			"serve":      scriptServe,
			"stopped":    scriptStopped,
			"fetch":      scriptFetch,
			"noleaks":    scriptNoLeaks,
			"normal":     scriptNormal,
			"capture":    scriptCapture,
			"bytes":      scriptBytes,
			"mode":       scriptMode,
			"truncate":   scriptTruncate,
			"frozen":     scriptFrozen,
			"closedport": scriptClosedPort,
			"dialled":    scriptDialled,
			"create-ago": scriptCreateAgo,
			"age-keys":   scriptAgeKeys,
			"interrupt":  scriptInterrupt,
			"hold":       scriptHold,
			"newuser":    scriptNewUser,
			"superuser":  scriptSuperuser,
			"sql":        scriptSQL,
			"logs-in":    scriptLogsIn,

			"setpassword": scriptSetPassword,
			"rotate-by":   scriptRotateBy,
			"put-policy":  scriptPutPolicy,
			"aws":         scriptAWS,
			"no-aws":      scriptNoAWS,
			"exports":     scriptExports,
			"taken-up":    scriptTakenUp,
			"daemon":      scriptDaemon,
			"server":      scriptServer,

			"rotate-later": scriptRotateLater,
			"store-at":     scriptStoreAt,
		},
	})
}

// exits CODE pawl ARGS… runs a command that must end with this code.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE pawl ARGS…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if e := stateOf(ts).endpoint; e != "" && args[1] == "pawl" && args[2] != "init" {
		args = append(args, "--endpoint", e)
	}
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	s := stateOf(ts)
	s.shown.WriteString(ts.ReadFile("stderr"))
	out := s.withoutNewKeys(args[2:], ts.ReadFile("stdout"))
	asked := len(args) > 3 && args[2] == "secret" && args[3] == "get"
	if !asked {
		s.shown.WriteString(out)
	} else if c, err := secrets.ParseCredentials(secrets.Text(out)); err == nil && c.Password().Reveal() != "" {
		s.passwords = append(s.passwords, c.Password().Reveal())
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
	// An error begins with the program's name and is no stack of Go.
	if e := ts.ReadFile("stderr"); code != 0 && strings.Contains(e, "goroutine ") {
		ts.Fatalf("a panic")
	}
}

var madeKey = regexp.MustCompile(`(?:AWS_SECRET_ACCESS_KEY=|AWS_SESSION_TOKEN=|"SecretAccessKey": "|"SessionToken": ")([A-Za-z0-9+/=]+)`)

// withoutNewKeys takes what a command has made for somebody out of what it
// printed: each secret of a key once. From now on they may show nowhere.
func (s *script) withoutNewKeys(args []string, out string) string {
	if line := strings.Join(args, " "); !regexp.MustCompile(`^(init|access (create|rotate-key|session))\b`).MatchString(line) {
		return out
	}
	for _, m := range madeKey.FindAllStringSubmatch(out, -1) {
		s.passwords = append(s.passwords, m[1])
		out = strings.Replace(out, m[1], "", 1)
	}
	return out
}

// noleaks fails where a password was printed that nobody asked for, or is in the
// log of the server.
func scriptNoLeaks(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	shown := s.shown.String()
	if s.served != nil {
		shown += s.served.err.String()
	}
	for _, pw := range s.passwords {
		if strings.Contains(shown, pw) {
			ts.Fatalf("a password was printed")
		}
	}
}

var normals = []struct {
	old *regexp.Regexp
	new string
}{
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}`), "VERSION"},
	{regexp.MustCompile(`(:secret:[a-z/]+)-[A-Za-z0-9]{6}\b`), "$1-RANDOM"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z`), "DATE"},
	{regexp.MustCompile(`\b\d+(\.\d+)?(ms|µs|s)\b`), "TIME"},
	{regexp.MustCompile(`"Seconds": [0-9.e-]+`), `"Seconds": SECONDS`},
	{regexp.MustCompile(`(?m) +$`), ""},
	{regexp.MustCompile(`(\S) {2,}`), "$1  "}, // the columns of tables
}

// normal [stderr] prints the last output with what varies replaced by its kind.
func scriptNormal(ts *testscript.TestScript, neg bool, args []string) {
	from := "stdout"
	if len(args) > 0 {
		from = args[0]
	}
	text := ts.ReadFile(from)
	for _, n := range normals {
		text = n.old.ReplaceAllString(text, n.new)
	}
	fmt.Fprint(ts.Stdout(), text)
}

// capture NAME REGEXP sets a variable to the first group's match in the last
// standard output.
func scriptCapture(ts *testscript.TestScript, neg bool, args []string) {
	m := regexp.MustCompile(args[1]).FindStringSubmatch(ts.ReadFile("stdout"))
	if m == nil {
		ts.Fatalf("no match for %s", args[1])
	}
	ts.Setenv(args[0], m[1])
}

// bytes FILE HEX writes a file of these bytes.
func scriptBytes(ts *testscript.TestScript, neg bool, args []string) {
	b, err := hex.DecodeString(args[1])
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b, 0o600))
}

// mode PERM FILE… checks the files' permissions.
func scriptMode(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.ParseUint(args[0], 8, 32)
	ts.Check(err)
	for _, f := range args[1:] {
		info, err := os.Stat(ts.MkAbs(f))
		ts.Check(err)
		if got := info.Mode().Perm(); got != os.FileMode(want) {
			ts.Fatalf("%s has mode %04o, want %04o", f, got, want)
		}
	}
}

// truncate FILE SIZE cuts a file.
func scriptTruncate(ts *testscript.TestScript, neg bool, args []string) {
	n, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), n))
}

// frozen NAME sets NAME_PORT to a port where connections are taken and nothing
// is ever answered.
func scriptFrozen(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(strings.ToUpper(args[0])+"_PORT", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	dialled := make(chan net.Conn, 100)
	stateOf(ts).dialled[args[0]] = dialled
	go func() {
		defer close(dialled)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dialled <- c
		}
	}()
	ts.Defer(func() {
		l.Close()
		for c := range dialled {
			c.Close()
		}
	})
}

// dialled NAME waits until somebody has connected to frozen NAME.
func scriptDialled(ts *testscript.TestScript, neg bool, args []string) {
	select {
	case c := <-stateOf(ts).dialled[args[0]]:
		ts.Defer(func() { c.Close() })
	case <-time.After(20 * time.Second):
		ts.Fatalf("nobody connects")
	}
}

// closedport sets CLOSED_PORT to one where nobody listens.
func scriptClosedPort(ts *testscript.TestScript, neg bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv("CLOSED_PORT", strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	ts.Check(l.Close())
}

// create-ago DURATION NAME FILE makes a secret, and declares its rotation as
// ./pawl.yaml has it, as of some time ago.
func scriptCreateAgo(ts *testscript.TestScript, neg bool, args []string) {
	ago, err := time.ParseDuration(args[0])
	ts.Check(err)
	a := openApp(ts)
	defer a.Close()
	keys, err := seal.Load(a.cfg.Store.SQLite.KeyFile)
	ts.Check(err)
	a.svc = service.New(service.Config{Store: a.store, Sealer: keys, MinimumInterval: a.cfg.Scheduler.MinimumInterval,
		Now: func() time.Time { return time.Now().Add(-ago) }})
	_, err = a.declare(context.Background())
	ts.Check(err)
	_, err = a.svc.CreateSecret(context.Background(), service.CreateSecretInput{
		Name: args[1], ClientRequestToken: newToken(), GivenValue: service.Give(secrets.Text(ts.ReadFile(args[2])))})
	ts.Check(err)
}

// openApp is the program over ./pawl.yaml, in this process.
func openApp(ts *testscript.TestScript) *app {
	cfg, err := config.Load(ts.MkAbs("pawl.yaml"))
	ts.Check(err)
	a, err := assemble(context.Background(), cfg, slog.New(slog.DiscardHandler))
	ts.Check(err)
	return a
}

// interrupt NAME leaves a rotation as a process does that dies right before
// setSecret, and sets PENDING to its version.
func scriptInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	ctx := context.Background()
	a := openApp(ts)
	defer a.Close()
	claim, err := a.svc.Claim(ctx, args[0])
	ts.Check(err)
	defer claim.Release()
	vs, err := claim.Versions(ctx)
	ts.Check(err)
	v, err := claim.Value(ctx, vs.IDWith(secrets.Current))
	ts.Check(err)
	c, err := secrets.ParseCredentials(v)
	ts.Check(err)
	id, err := claim.PutPending(ctx, "", c.With("password", canary).Value())
	ts.Check(err)
	ts.Setenv("PENDING", id)
}

// hold NAME claims a secret until the script's end.
func scriptHold(ts *testscript.TestScript, neg bool, args []string) {
	a := openApp(ts)
	claim, err := a.svc.Claim(context.Background(), args[0])
	ts.Check(err)
	ts.Defer(func() {
		claim.Release()
		a.Close()
	})
}

// granting is held while a user is made: PostgreSQL refuses two grants on one
// table at the same instant.
var granting sync.Mutex

// newuser NAME makes a database user and writes NAME.json, his secret, and
// NAME.pw, his password.
func scriptNewUser(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	granting.Lock()
	c, err := s.db.AddUser(context.Background(), args[0])
	granting.Unlock()
	ts.Check(err)
	s.passwords = append(s.passwords, c.Password().Reveal())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".json"), c.Value().Reveal(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]+".pw"), []byte(c.Password().Reveal()+"\n"), 0o600))
}

// superuser FILE writes the administrator's secret.
func scriptSuperuser(ts *testscript.TestScript, neg bool, args []string) {
	c := stateOf(ts).db.Superuser()
	stateOf(ts).passwords = append(stateOf(ts).passwords, c.Password().Reveal())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), c.Value().Reveal(), 0o600))
}

// sql STATEMENT runs it as the administrator.
func scriptSQL(ts *testscript.TestScript, neg bool, args []string) {
	ts.Check(stateOf(ts).db.Exec(context.Background(), args...))
}

// setpassword USER FILE makes the password in a secret's file the user's.
func scriptSetPassword(ts *testscript.TestScript, neg bool, args []string) {
	c, err := secrets.ParseCredentials(secrets.Text(ts.ReadFile(args[1])))
	ts.Check(err)
	quoted := "'" + strings.ReplaceAll(c.Password().Reveal(), "'", "''") + "'"
	ts.Check(stateOf(ts).db.Exec(context.Background(), "ALTER ROLE "+args[0]+" PASSWORD "+quoted))
}

// logs-in FILE logs in with the credentials in a file, or in stdout.
func scriptLogsIn(ts *testscript.TestScript, neg bool, args []string) {
	c, err := secrets.ParseCredentials(secrets.Text(ts.ReadFile(args[0])))
	ts.Check(err)
	err = stateOf(ts).db.Login(context.Background(), c)
	switch {
	case !neg:
		ts.Check(err)
	case !workload.Refused(err):
		ts.Fatalf("%s of %s was not refused: %v", c.Username(), filepath.Base(args[0]), err)
	}
}
