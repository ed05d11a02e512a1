package servers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// fakePostgres makes a directory whose postgres says this version.
func fakePostgres(t *testing.T, dir, version string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"postgres", "initdb"} {
		script := fmt.Sprintf("#!/bin/sh\necho '%s'\n", version)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestPostgresVersions(t *testing.T) {
	for version, want := range map[string]int{
		"postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)": 15,
		"postgres (PostgreSQL) 18beta1":                        18,
		"postgres (PostgreSQL) 9.6.24":                         9,
		"postgres (PostgreSQL) devel":                          0,
		"postgres":                                             0,
	} {
		if got := postgresMajor(fakePostgres(t, filepath.Join(t.TempDir(), "bin"), version)); got != want {
			t.Errorf("%q is version %d, want %d", version, got, want)
		}
	}
	dir := t.TempDir()
	v13 := fakePostgres(t, filepath.Join(dir, "13"), "postgres (PostgreSQL) 13.21")
	v14 := fakePostgres(t, filepath.Join(dir, "14"), "postgres (PostgreSQL) 14.20")
	v16 := fakePostgres(t, filepath.Join(dir, "16"), "postgres (PostgreSQL) 16.4")
	for _, c := range []struct {
		dirs []string
		want string
	}{
		{[]string{v14, v16, v13}, v16}, {[]string{v13, v14}, v14}, {[]string{v13}, ""}, {nil, ""},
	} {
		if got := newestPostgres(c.dirs); got != c.want {
			t.Errorf("newest of %v: %q, want %q", c.dirs, got, c.want)
		}
	}
}

func TestFindInCache(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("PAWL_TEST_CACHE", cache)
	if ok, _ := Find(MySQL); ok && lookPath("mysqld") == "" {
		t.Error("MySQL found in an empty cache")
	}
	_, err := find("postgres15x")
	if err == nil || !strings.Contains(err.Error(), "mariadb") {
		t.Errorf("unknown kind: %v", err)
	}

	want := fakePostgres(t, filepath.Join(cache, "postgresql-18", "bin"), "postgres (PostgreSQL) 18.4")
	if len(machinePostgres()) == 0 {
		if bin, err := FindPostgres(); err != nil || bin != want {
			t.Errorf("FindPostgres: %q (%v), want %q", bin, err, want)
		}
	}
	ok, bin := Find(Postgres18)
	if !ok || bin != want && !strings.HasPrefix(bin, "/usr/") {
		t.Errorf("Find: %v %q, want %q", ok, bin, want)
	}

	// What is called 18 and is not is not found.
	fakePostgres(t, filepath.Join(cache, "postgresql-18", "bin"), "postgres (PostgreSQL) 17.2")
	if ok, bin := Find(Postgres18); ok && bin == want {
		t.Error("version 17 passed for 18")
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("HOME", "/home/x")
	for _, c := range []struct{ own, xdg, want, wantRoot string }{
		{"/a/b", "/xdg", "/a/b", "/a/b"},
		{"", "/xdg", "/xdg/pawl-test", "/var/cache/pawl-test"},
		{"", "", "/home/x/.cache/pawl-test", "/var/cache/pawl-test"},
	} {
		t.Setenv("PAWL_TEST_CACHE", c.own)
		t.Setenv("XDG_CACHE_HOME", c.xdg)
		want := c.want
		if os.Geteuid() == 0 {
			want = c.wantRoot
		}
		if got := CacheDir(); got != want {
			t.Errorf("PAWL_TEST_CACHE=%q XDG_CACHE_HOME=%q: %q, want %q", c.own, c.xdg, got, want)
		}
	}
}

func TestAccountCanReach(t *testing.T) {
	if os.Geteuid() != 0 {
		if a, err := serverAccount([]string{"postgres"}); a != nil || err != nil {
			t.Errorf("an ordinary user runs servers as himself, not as %v (%v)", a, err)
		}
		t.Skip("only root changes users")
	}
	a, err := serverAccount([]string{"no-such-user"})
	if err != nil || a.name != "nobody" {
		t.Fatalf("account %v (%v), want nobody", a, err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "bin", "postgres")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := a.canReach(file); err != nil {
		t.Errorf("open to all: %v", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.canReach(file); err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("root's own: %v, want an error naming directory and user", err)
	}
	if err := a.own(dir); err != nil {
		t.Fatal(err)
	}
	if err := a.canReach(file); err != nil {
		t.Errorf("the account's own: %v", err)
	}
}
