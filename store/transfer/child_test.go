package transfer

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/postgres"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
	"github.com/pawlhq/pawl/store/teststore"
)

// The test binary runs itself to copy, and to be killed at it: between the stores
// and by the keys that its arguments name.
const childEnv = "PAWL_TRANSFER_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		if err := child(context.Background(), os.Args[1:]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(teststore.Main(m))
}

func child(ctx context.Context, args []string) error {
	var ends [2]*Own
	for i := range ends {
		store, err := openAny(ctx, args[2*i])
		if err != nil {
			return err
		}
		m, err := seal.Source{File: args[2*i+1]}.Load(ctx, nil)
		if err != nil {
			return err
		}
		ends[i] = &Own{Store: store, Keys: seal.New(seal.Config{Master: m, Store: store}), Place: place}
		if err := ends[i].Keys.Verify(ctx, store); err != nil {
			return err
		}
	}
	fmt.Println("begins")
	c := &Copier{From: ends[0], To: ends[1]}
	if _, err := c.Copy(ctx); err != nil {
		return err
	}
	r, err := c.Verify(ctx, ends[1])
	if err == nil && !r.Whole() {
		err = fmt.Errorf("not whole: %+v", r)
	}
	return err
}

// openAny opens a file, or the database of a DSN.
func openAny(ctx context.Context, at string) (OwnStore, error) {
	if !strings.HasPrefix(at, "postgres:") {
		return sqlite.Open(ctx, at, sqlite.Options{})
	}
	s, err := postgres.Open(ctx, postgres.Config{DSN: at, Password: secrets.NewPassword(os.Getenv("PAWL_TRANSFER_TEST_PASSWORD"))})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// at is where a store is, and who has it open for the test.
type at struct {
	*Own
	where, keyFile, password string
}

// file makes an embedded store that other processes can open too.
func file(t *testing.T) at {
	t.Helper()
	t.Setenv("PAWL_TEST_STORE", "sqlite")
	f := teststore.New(t).(teststore.File)
	a := at{where: string(f), keyFile: teststore.KeyFile(t)}
	a.Own = by(t, f.Open(t), a.keyFile)
	return a
}

// database makes a store in a database of a real server.
func database(t *testing.T) (at, *teststore.Database) {
	t.Helper()
	t.Setenv("PAWL_TEST_STORE", string(servers.AnyPostgres))
	d := teststore.New(t).(*teststore.Database)
	c := d.Config()
	a := at{where: c.DSN, password: c.Password.Reveal(), keyFile: teststore.KeyFile(t)}
	a.Own = by(t, d.Open(t), a.keyFile)
	return a, d
}

func by(t testing.TB, store OwnStore, keyFile string) *Own {
	t.Helper()
	m, err := seal.Source{File: keyFile}.Load(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	o := &Own{Store: store, Keys: seal.New(seal.Config{Master: m, Store: store}), Place: place}
	if err := o.Keys.Verify(t.Context(), store); err != nil {
		t.Fatal(err)
	}
	return o
}

// killed copies in another process, which is killed at random instants and begins
// again, until one ends by itself.
func killed(t *testing.T, from, to at) {
	t.Helper()
	servertest.Killed(t, 20*time.Millisecond, func() *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), os.Args[0], from.where, from.keyFile, to.where, to.keyFile)
		cmd.Env = append(os.Environ(), childEnv+"=1", "GORACE=atexit_sleep_ms=0", "PAWL_TRANSFER_TEST_PASSWORD="+to.password+from.password)
		return cmd
	}, nil)
}

func TestKilledAnywhere(t *testing.T) {
	from, to := file(t), file(t)
	fill(t, from.Own, 30)
	killed(t, from, to)
	compare(t, from.Own, to.Own)
}

// Into a database, with kills, and back: byte for byte.
func TestThroughPostgres(t *testing.T) {
	from, back := file(t), file(t)
	fill(t, from.Own, 30)
	middle, _ := database(t)
	killed(t, from, middle)
	compare(t, from.Own, middle.Own)
	killed(t, middle, back)
	compare(t, from.Own, back.Own)
}

// The drill of docs/backup.md for a database: its own tools make the dump, and a
// store that was restored from it opens with the key that was kept apart.
func TestDumpOfPostgres(t *testing.T) {
	store, d := database(t)
	bin := filepath.Dir(lookPath(t, "pg_dump"))
	fill(t, store.Own, 20)
	want := stateOf(t, store.Own)
	dump := filepath.Join(t.TempDir(), "pawl.dump")
	tool := func(name string, args ...string) {
		t.Helper()
		s := d.Server
		cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), append([]string{"-h", s.Host, "-p", fmt.Sprint(s.Port), "-U", s.Admin}, args...)...)
		cmd.Env = []string{"PGPASSWORD=" + s.AdminPassword, "LC_ALL=C"}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, out)
		}
	}
	tool("pg_dump", "--format=custom", "--file="+dump, d.Name)
	if text, err := os.ReadFile(dump); err != nil || bytes.Contains(text, []byte(canary)) {
		t.Errorf("a value in the dump: %v", err)
	}
	restored := d.Name + "_restored"
	config, err := d.Server.PostgresConfig(d.Server.Admin, d.Server.AdminPassword, "postgres")
	if err != nil {
		t.Fatal(err)
	}
	admin, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := admin.Exec(context.Background(), "drop database "+restored+" with (force)")
		if err != nil {
			t.Error(err)
		}
		_ = admin.Close(context.Background())
	})
	if _, err := admin.Exec(t.Context(), "create database "+restored); err != nil {
		t.Fatal(err)
	}
	tool("pg_restore", "--exit-on-error", "--dbname="+restored, dump)
	c := d.Config()
	c.DSN = strings.Replace(c.DSN, "/"+d.Name+"?", "/"+restored+"?", 1)
	again, err := postgres.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	wantState(t, want, stateOf(t, by(t, again, store.keyFile)))
}

// lookPath finds a tool of the servers'.
func lookPath(t *testing.T, name string) string {
	t.Helper()
	dir, err := servers.FindPostgres()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	if _, err := os.Stat(path); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skipf("this PostgreSQL came without %s", name)
	}
	return path
}
