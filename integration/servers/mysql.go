package servers

import (
	"context"
	"crypto/sha1"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	driver "github.com/go-sql-driver/mysql"
)

// mysql is the flavour of MariaDB and of MySQL, which differ in how a data
// directory is made and the administrator gets his password.
type mysql struct{ maria bool }

// initFile is read once, by the server's first run, before it listens; it
// holds one statement a line.
const initFile = "init.sql"

func (m mysql) install(ctx context.Context, s *Server) error {
	if m.maria {
		return m.installMaria(ctx, s)
	}
	_, err := s.writeFile(initFile, fmt.Appendf(nil,
		"RENAME USER 'root'@'localhost' TO 'root'@'%[1]s';\nALTER USER 'root'@'%[1]s' IDENTIFIED BY '%[2]s';\n",
		s.Host, s.AdminPassword))
	if err != nil {
		return err
	}
	cmd := m.server(s, "--initialize-insecure")
	return s.run(ctx, cmd)
}

// installMaria makes a data directory that knows no account but root's and
// the system's own. The password is sent as its hash: MariaDB writes statements
// into its general log as they are.
func (m mysql) installMaria(ctx context.Context, s *Server) error {
	once := sha1.Sum([]byte(s.AdminPassword))
	_, err := s.writeFile(initFile, fmt.Appendf(nil,
		"DELETE FROM mysql.global_priv WHERE User<>'mariadb.sys' AND NOT (User='root' AND Host='%[1]s');\n"+
			"FLUSH PRIVILEGES;\nALTER USER 'root'@'%[1]s' IDENTIFIED BY PASSWORD '*%[2]X';\n",
		s.Host, sha1.Sum(once[:])))
	if err != nil {
		return err
	}
	return s.run(ctx, exec.Command(lookPath("mariadb-install-db"), "--no-defaults", "--datadir="+s.data(),
		"--auth-root-authentication-method=normal", "--skip-test-db", "--skip-name-resolve"))
}

// server is the server's binary with the arguments that every run needs. An
// unpacked MySQL brings its own C library, hence its own loader.
func (m mysql) server(s *Server, args ...string) *exec.Cmd {
	binary := filepath.Join(s.bin, "mysqld")
	if m.maria {
		binary = filepath.Join(s.bin, "mariadbd")
	}
	prefix := filepath.Dir(filepath.Dir(s.bin))
	loader, _ := filepath.Glob(filepath.Join(prefix, "usr/lib/*/ld-linux-*.so.*"))
	if m.maria || prefix == "/" || len(loader) == 0 {
		return exec.Command(binary, append([]string{"--no-defaults", "--datadir=" + s.data()}, args...)...)
	}
	return exec.Command(loader[0], append([]string{
		"--library-path", filepath.Dir(loader[0]), binary, "--no-defaults", "--datadir=" + s.data(),
		"--basedir=" + filepath.Join(prefix, "usr"),
		"--lc-messages-dir=" + filepath.Join(prefix, "usr/share/mysql"),
		"--plugin-dir=" + filepath.Join(prefix, "usr/lib/mysql/plugin"),
	}, args...)...)
}

func (m mysql) command(s *Server, first bool) (*exec.Cmd, error) {
	args := []string{
		"--port=" + strconv.Itoa(s.Port), "--bind-address=" + s.Host, "--skip-name-resolve",
		// Relative to the data directory: a socket's path must be short.
		"--socket=mysql.sock", "--pid-file=" + filepath.Join(s.Dir, "server.pid"),
		"--general-log-file=" + s.GeneralLog, "--slow-query-log-file=" + filepath.Join(s.Dir, "slow.log"),
	}
	if m.maria {
		args = append(args, "--innodb-log-file-size=4M")
		if dir := mariaPlugins(); dir != "" {
			args = append(args, "--plugin-dir="+dir)
		}
	} else {
		args = append(args, "--mysqlx=OFF", "--secure-file-priv=NULL", "--skip-log-bin", "--performance-schema=OFF")
	}
	if first {
		args = append(args, "--init-file="+filepath.Join(s.Dir, initFile))
	}
	if !s.options.Durable {
		args = append(args, "--innodb-flush-log-at-trx-commit=2", "--sync-binlog=0", "--innodb-doublewrite=0")
	}
	if s.options.TLS {
		args = append(args, "--ssl-ca="+s.CAFile, "--ssl-cert="+s.certFile(), "--ssl-key="+s.keyFile())
	}
	return m.server(s, s.args(args)...), nil
}

// mariaPlugins is the cached plug-in directory, if the machine's own lacks the
// plug-ins that the tests need.
func mariaPlugins() string {
	dir := filepath.Join(CacheDir(), "mariadb-plugins")
	if _, err := os.Stat("/usr/lib/mysql/plugin/auth_ed25519.so"); err == nil {
		return ""
	}
	if _, err := os.Stat(dir); err != nil {
		return ""
	}
	return dir
}

func (m mysql) login(ctx context.Context, s *Server) (string, error) {
	config, err := s.MySQLConfig(s.Admin, s.AdminPassword, "")
	if err != nil {
		return "", err
	}
	connector, err := driver.NewConnector(config)
	if err != nil {
		return "", err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	var version string
	if err := db.QueryRowContext(ctx, "SELECT VERSION()").Scan(&version); err != nil {
		return "", err
	}
	// The password is set; the file that set it has done its work.
	if err := os.Remove(filepath.Join(s.Dir, initFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	return version, nil
}

// refused knows ER_ACCESS_DENIED_ERROR and ER_HOST_NOT_PRIVILEGED: the init
// file, whose errors are only logged, did not do its work.
func (mysql) refused(err error) bool {
	var e *driver.MySQLError
	return errors.As(err, &e) && (e.Number == 1045 || e.Number == 1130)
}

func (mysql) stop() os.Signal { return syscall.SIGTERM }

func (mysql) users() []string { return []string{"mysql"} }

// MySQLConfig is a go-sql-driver configuration for a user of this server,
// verifying its certificate if it has one and otherwise plain. The user is
// seen as coming from 127.0.0.1; host names are not resolved.
func (s *Server) MySQLConfig(user, password, database string) (*driver.Config, error) {
	config := driver.NewConfig()
	config.Net, config.Addr = "tcp", net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
	config.User, config.Passwd, config.DBName = user, password, database
	config.Timeout, config.ReadTimeout, config.WriteTimeout = 5*time.Second, 30*time.Second, 30*time.Second
	config.Logger = &driver.NopLogger{}
	var err error
	config.TLS, err = s.TLSConfig()
	return config, err
}

// flavourOf gives a known kind its flavour.
func flavourOf(kind Kind) flavour {
	if kind.IsPostgres() {
		return postgres{}
	}
	return mysql{maria: strings.EqualFold(string(kind), string(MariaDB))}
}
