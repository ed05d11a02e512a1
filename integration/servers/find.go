package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// oldestPostgres is the oldest PostgreSQL that [FindPostgres] accepts.
const oldestPostgres = 14

// CacheDir is where scripts/servers.sh puts what is not a system package:
// $PAWL_TEST_CACHE; else, for root, /var/cache/pawl-test, since servers run as
// another user who may not look into root's home; else
// ${XDG_CACHE_HOME:-$HOME/.cache}/pawl-test.
func CacheDir() string {
	if dir := os.Getenv("PAWL_TEST_CACHE"); dir != "" {
		return dir
	}
	if os.Geteuid() == 0 {
		return "/var/cache/pawl-test"
	}
	if dir := os.Getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "pawl-test")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "pawl-test")
	}
	return filepath.Join(home, ".cache", "pawl-test")
}

// Find looks for a kind of server on this machine and in the cache. binDir is
// the directory of its binaries.
func Find(kind Kind) (installed bool, binDir string) {
	dir, err := find(kind)
	return err == nil, dir
}

// FindPostgres looks for any PostgreSQL server, version 14 or newer, and
// prefers the newest that the machine has of itself. The error says how to
// get one.
func FindPostgres() (bin string, err error) { return find(AnyPostgres) }

func find(kind Kind) (string, error) {
	var dir string
	switch kind {
	case AnyPostgres:
		dir = newestPostgres(machinePostgres())
		if dir == "" {
			dir = newestPostgres(cachedPostgres("*"))
		}
		if dir == "" {
			return "", fmt.Errorf("no PostgreSQL server (%d or newer) on this machine: install one, "+
				"or run scripts/servers.sh postgres18 in Pawl's source tree, which leaves the machine as it is", oldestPostgres)
		}
		return dir, nil
	case Postgres15, Postgres18:
		major := strings.TrimPrefix(string(kind), "postgres")
		for _, dir := range slices.Concat(machinePostgres(), cachedPostgres(major)) {
			if strconv.Itoa(postgresMajor(dir)) == major {
				return dir, nil
			}
		}
	case MariaDB:
		dir = dirOf("mariadbd")
		if dir != "" && lookPath("mariadb-install-db") == "" {
			dir = ""
		}
	case MySQL:
		dir = filepath.Join(CacheDir(), "mysql-9", "usr", "sbin")
		if !executable(filepath.Join(dir, "mysqld")) {
			dir = dirOf("mysqld")
			// MariaDB's packages have a link of this name.
			if real, err := filepath.EvalSymlinks(filepath.Join(dir, "mysqld")); err != nil || filepath.Base(real) != "mysqld" {
				dir = ""
			}
		}
	default:
		return "", fmt.Errorf("no server called %q: choose from %v", kind, append(slices.Clone(Kinds), AnyPostgres))
	}
	if dir == "" {
		return "", fmt.Errorf("%s is not installed: run scripts/servers.sh %[1]s", kind)
	}
	return dir, nil
}

// machinePostgres lists the directories where packages put PostgreSQL's
// server: Debian, Red Hat, Homebrew, and whatever pg_config says.
func machinePostgres() []string {
	var dirs []string
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
	} {
		found, _ := filepath.Glob(pattern)
		dirs = append(dirs, found...)
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	return slices.DeleteFunc(dirs, notPostgres)
}

func cachedPostgres(major string) []string {
	dirs, _ := filepath.Glob(filepath.Join(CacheDir(), "postgresql-"+major, "bin"))
	return slices.DeleteFunc(dirs, notPostgres)
}

func notPostgres(dir string) bool {
	return !executable(filepath.Join(dir, "postgres")) || !executable(filepath.Join(dir, "initdb"))
}

// newestPostgres picks a directory, or "" if all are too old.
func newestPostgres(dirs []string) string {
	best, bestMajor := "", oldestPostgres-1
	for _, dir := range dirs {
		if major := postgresMajor(dir); major > bestMajor {
			best, bestMajor = dir, major
		}
	}
	return best
}

// postgresMajor asks "postgres --version", which says "postgres (PostgreSQL)
// 15.18 (Debian …)"; 0 if that cannot be understood.
func postgresMajor(dir string) int {
	out, err := exec.Command(filepath.Join(dir, "postgres"), "--version").Output()
	fields := strings.Fields(string(out))
	if err != nil || len(fields) < 3 {
		return 0
	}
	major, err := strconv.Atoi(fields[2][:strings.IndexFunc(fields[2]+".", notDigit)])
	if err != nil {
		return 0
	}
	return major
}

func notDigit(r rune) bool { return r < '0' || r > '9' }

// lookPath finds a program in PATH or where servers are, which an ordinary
// user's PATH leaves out.
func lookPath(name string) string {
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/opt/homebrew/bin"} {
		if path := filepath.Join(dir, name); executable(path) {
			return path
		}
	}
	return ""
}

func dirOf(name string) string {
	if path := lookPath(name); path != "" {
		return filepath.Dir(path)
	}
	return ""
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
