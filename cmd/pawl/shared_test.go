package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
)

// TestSharedScripts runs the promises about a store in a database, each script at
// an empty database of its own. In its folder are the files owner.password and
// db.password, of the database's owner $OWNER and of the user in $DSN.
func TestSharedScripts(t *testing.T) {
	db := sharedServer(t)
	runScripts(t, testscript.Params{Dir: "testdata/script/shared", Setup: func(e *testscript.Env) error {
		d, err := newShared(t.Context(), db)
		if err != nil {
			return err
		}
		e.Setenv("DSN", d.dsn(db.Server.Port))
		e.Setenv("OWNER", d.owner)
		e.Setenv("USER", d.user)
		s := e.Values["script"].(*script)
		s.passwords = append(s.passwords, d.ownerPassword, d.userPassword)
		return d.files(e.WorkDir)
	}}, db)
}

// sharedServer is one server for all of these tests.
func sharedServer(t *testing.T) *workload.Database {
	s := servertest.Shared(t, servers.Postgres15, servers.Options{})
	prepareShared.Do(func() { sharedDatabase, errShared = workload.Prepare(context.Background(), s, "shared") })
	if errShared != nil {
		t.Fatal(errShared)
	}
	return sharedDatabase
}

var (
	prepareShared  sync.Once
	sharedDatabase *workload.Database
	errShared      error
)

// shared is a database for a store, whose owner is not the one that Pawl logs in as.
type shared struct {
	name, owner, user           string
	ownerPassword, userPassword string
}

var sharedMade atomic.Int32

func newShared(ctx context.Context, db *workload.Database) (*shared, error) {
	n := sharedMade.Add(1)
	d := &shared{fmt.Sprintf("store_%d", n), fmt.Sprintf("owner_%d", n), fmt.Sprintf("pawl_%d", n), rand.Text(), rand.Text()}
	granting.Lock()
	defer granting.Unlock()
	return d, db.Exec(ctx,
		"CREATE ROLE "+d.owner+" LOGIN PASSWORD '"+d.ownerPassword+"'",
		"CREATE ROLE "+d.user+" LOGIN PASSWORD '"+d.userPassword+"'",
		"CREATE DATABASE "+d.name+" OWNER "+d.owner)
}

func (d *shared) dsn(port int) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s", d.user, port, d.name)
}

// files writes the passwords.
func (d *shared) files(dir string) error {
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "owner.password"), []byte(d.ownerPassword+"\n"), 0o600),
		os.WriteFile(filepath.Join(dir, "db.password"), []byte(d.userPassword+"\n"), 0o600))
}

// made makes the store in the folder's database: pawl.yaml, its key, the schema.
func (d *shared) made(t *testing.T, dir string, port int, lines string) (config string) {
	t.Helper()
	if err := d.files(dir); err != nil {
		t.Fatal(err)
	}
	config = filepath.Join(dir, "pawl.yaml")
	text := "store:\n  postgres:\n    dsn: " + d.dsn(port) + "\n    password_file: db.password\n    key_file: pawl.key\n" + lines
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	pawl(t, exitDone, "store", "migrate", "--user", d.owner, "--password-file", filepath.Join(dir, "owner.password"), "--config", config)
	return config
}

// pawl runs a command in this process.
func pawl(t *testing.T, want int, args ...string) (out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	if code := run(t.Context(), args, nil, &o, &e); code != want {
		t.Errorf("pawl %s: exit code %d, want %d: %s", strings.Join(args, " "), code, want, &e)
	}
	return o.String(), e.String()
}

// TestOneAdministrator: of containers that start together, on any machines, one
// makes the administrator and prints his key; the others say that he is there.
func TestOneAdministrator(t *testing.T) {
	db := sharedServer(t)
	d, err := newShared(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	config := d.made(t, t.TempDir(), db.Server.Port, "")
	const n = 10
	var outs, errs [n]string
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { outs[i], errs[i] = pawl(t, exitDone, "init", "--store", "--config", config) })
	}
	wg.Wait()
	made := 0
	for i := range n {
		switch {
		case strings.Contains(outs[i], "AWS_SECRET_ACCESS_KEY=") && strings.Contains(errs[i], "Made the store, PostgreSQL at 127.0.0.1:"):
			made++
		case outs[i] != "" || !strings.Contains(errs[i], "is made already"):
			t.Errorf("%q, %q", outs[i], errs[i])
		}
	}
	if made != 1 {
		t.Errorf("%d administrators were made", made)
	}
	out, _ := pawl(t, exitDone, "access", "list", "--json", "--config", config)
	if n := strings.Count(out, `"UserName"`) + strings.Count(out, `"Name": "admin"`); n != 1 {
		t.Errorf("%d users are there: %s", n, out)
	}
}

// TestTwoKeys: of two machines, each with an empty volume, one binds the store to
// its key; the other one's fails, and leaves no key behind that opens nothing.
func TestTwoKeys(t *testing.T) {
	db := sharedServer(t)
	d, err := newShared(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	dirs := [2]string{t.TempDir(), t.TempDir()}
	var codes [2]int
	var errs [2]bytes.Buffer
	var wg sync.WaitGroup
	for i, dir := range dirs {
		config := d.made(t, dir, db.Server.Port, "")
		wg.Go(func() {
			codes[i] = run(t.Context(), []string{"init", "--store", "--config", config}, nil, io.Discard, &errs[i])
		})
	}
	wg.Wait()
	won := 0
	for i, dir := range dirs {
		_, err := os.Stat(filepath.Join(dir, "pawl.key"))
		switch {
		case codes[i] == exitDone && err == nil:
			won++
		case codes[i] != exitUsage || err == nil:
			t.Errorf("exit code %d, key %v: %s", codes[i], err, &errs[i])
		case !strings.Contains(errs[i].String(), "does not belong to this store") && !strings.Contains(errs[i].String(), "is encrypted by a key already"):
			t.Error(errs[i].String())
		}
	}
	if won != 1 {
		t.Errorf("%d machines made the store: %s %s", won, &errs[0], &errs[1])
	}
}

// TestStoreOutage: a daemon whose database goes away says so, and goes on when it
// is back.
func TestStoreOutage(t *testing.T) {
	db := sharedServer(t)
	d, err := newShared(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	var away atomic.Bool
	var conns sync.Map
	port := servertest.Proxy(t, func() *servers.Server { return db.Server }, func(client, server net.Conn) {
		if away.Load() {
			return
		}
		conns.Store(client, true)
		done := make(chan bool, 2)
		go func() { _, _ = io.Copy(server, client); done <- true }()
		go func() { _, _ = io.Copy(client, server); done <- true }()
		<-done
	})
	dir := t.TempDir()
	config := d.made(t, dir, port, "")
	pawl(t, exitDone, "init", "--store", "--config", config)
	bin, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := t.TempDir()
	if err := os.Symlink(bin, filepath.Join(link, "pawl")); err != nil {
		t.Fatal(err)
	}
	p, err := startServe(dir, []string{"PATH=" + link, "GORACE=atexit_sleep_ms=0"}, "--config", config, "--listen", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if code, err := p.stop(); code != 0 || err != nil {
			t.Errorf("exit code %d, %v: %s", code, err, p.err.String())
		}
	}()
	healthy := func(want int) {
		t.Helper()
		for limit := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			resp, err := http.Get(p.endpoint + "/healthz")
			if err == nil {
				resp.Body.Close()
				if resp.StatusCode == want {
					return
				}
			}
			if time.Now().After(limit) {
				t.Fatalf("it is not %d: %v, %v\n%s", want, resp, err, p.err.String())
			}
		}
	}
	healthy(http.StatusOK)
	away.Store(true)
	conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
	healthy(http.StatusServiceUnavailable)
	away.Store(false)
	healthy(http.StatusOK)
	for _, want := range []string{"the store does not answer", "PostgreSQL at 127.0.0.1:", "instance="} {
		if !strings.Contains(p.err.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, p.err.String())
		}
	}
	if log := p.err.String(); strings.Contains(log, d.userPassword) || strings.Contains(log, "postgres://") {
		t.Errorf("the log has a DSN or a password in it:\n%s", log)
	}
}

// TestAwaitStore: what may pass is waited for, and said; what does not is no reason
// to wait.
func TestAwaitStore(t *testing.T) {
	down, wrong := secrets.Errorf(secrets.Transient, "not yet"), secrets.Errorf(secrets.Denied, "wrong password")
	for name, c := range map[string]struct {
		wait  time.Duration
		fails []error // of the first tries; nil = for ever the first
		want  error
		tries int // 0 = any number
	}{
		"there":                {wait: time.Minute, fails: []error{nil}, tries: 1},
		"there soon":           {wait: time.Minute, fails: []error{down, down, nil}, tries: 3},
		"refuses":              {wait: time.Minute, fails: []error{wrong}, want: wrong, tries: 1},
		"refuses later":        {wait: time.Minute, fails: []error{down, wrong}, want: wrong, tries: 2},
		"never there":          {wait: 50 * time.Millisecond, want: down},
		"not to be waited for": {wait: 0, fails: []error{down}, want: down, tries: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			tries := 0
			err := awaitStore(t.Context(), c.wait, slog.New(slog.NewTextHandler(&log, nil)), func(context.Context) error {
				if tries++; c.fails == nil {
					return down
				}
				return c.fails[tries-1]
			})
			if c.want == nil && err != nil || c.want != nil && (secrets.KindOf(err) != secrets.KindOf(c.want) || !errors.Is(err, c.want.(*secrets.Error).Err)) {
				t.Errorf("got %v", err)
			}
			if c.tries != 0 && tries != c.tries {
				t.Errorf("%d tries, want %d", tries, c.tries)
			}
			if said := strings.Contains(log.String(), "not yet"); said != (tries > 1 || c.fails == nil) {
				t.Errorf("the log: %s", &log)
			}
		})
	}
	t.Run("stopped", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := awaitStore(ctx, time.Minute, slog.New(slog.DiscardHandler), func(context.Context) error { cancel(); return down })
		if secrets.KindOf(err) != secrets.Transient || !strings.Contains(err.Error(), "stopped while waiting") {
			t.Errorf("got %v", err)
		}
	})
}
