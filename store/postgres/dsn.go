package postgres

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/secrets"
)

// unsaid stands for what the DSN has to say and does not.
const unsaid = "\x7f"

// defaults are what holds where the DSN says nothing: as environment variables,
// which is where the driver looks after the DSN. Of several hosts the one that
// takes changes is wanted, so that a fail-over is followed.
var defaults = map[string]string{
	"PGHOST": unsaid, "PGUSER": unsaid, "PGDATABASE": unsaid,
	"PGTARGETSESSIONATTRS": "read-write", "PGCONNECT_TIMEOUT": "5",
}

// environment guards the moment in which the process has another one.
var environment sync.Mutex

// parse reads a DSN while the environment has nothing that the driver looks at but
// defaults and the sslmode given: no PG* variables of the machine's, and no home
// directory, where there may be passwords, services and certificates. The driver
// can't be told otherwise. It takes microseconds, and only when a store is opened.
func parse(dsn, sslmode string) (*pgxpool.Config, error) {
	environment.Lock()
	defer environment.Unlock()
	for _, entry := range os.Environ() {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, "PG") || name == "HOME" {
			if err := os.Unsetenv(name); err != nil {
				return nil, err
			}
			defer os.Setenv(name, value)
		}
	}
	set := func(name, value string) func() {
		_ = os.Setenv(name, value)
		return func() { _ = os.Unsetenv(name) }
	}
	for name, value := range defaults {
		defer set(name, value)()
	}
	defer set("PGSSLMODE", sslmode)()
	return pgxpool.ParseConfig(dsn)
}

const dsnHint = "write store.postgres.dsn as postgres://USER@HOST:5432/DATABASE?sslmode=verify-full&sslrootcert=FILE, with %%XX for what is not a letter or a digit in a part of it"

// parseDSN makes the configuration of a DSN's connections. What it does not say of
// TLS is verify-full, or disable where all hosts are this machine. The errors are
// Invalid and quote nothing of the DSN that may be a password.
func parseDSN(c Config) (*pgxpool.Config, error) {
	strict, err := parse(c.DSN, "verify-full")
	if err != nil {
		return nil, dsnError(err)
	}
	relaxed, err := parse(c.DSN, "disable")
	if err != nil {
		return nil, dsnError(err)
	}
	hosts, local, plain, protected := hostsOf(&strict.ConnConfig.Config)
	_, _, _, relaxedProtected := hostsOf(&relaxed.ConnConfig.Config)
	config := strict
	switch unsaidTLS := protected && !relaxedProtected; {
	case plain && protected:
		return nil, secrets.Errorf(secrets.Invalid, "store.postgres.dsn has an sslmode with which whoever is between Pawl and the database can have the encryption left out").
			WithHint("set sslmode=verify-full in it, or sslmode=disable where nobody can be")
	case unsaidTLS && local:
		config = relaxed
	}
	cc := config.ConnConfig
	for what, value := range map[string]string{"host": strings.Join(hosts, ","), "user": cc.User, "database": cc.Database} {
		if strings.Contains(value, unsaid) || value == "" {
			return nil, secrets.Errorf(secrets.Invalid, "store.postgres.dsn names no %s", what).WithHint(dsnHint)
		}
	}
	if p := c.Password.Reveal(); p != "" {
		cc.Password = p
	}
	if c.PasswordNow != nil {
		p, err := newPasswords(c)
		if err != nil {
			return nil, err
		}
		cc.Password, config.BeforeConnect = p.last.Reveal(), p.before
	}
	if cc.RequireAuth == "" && !local && !verified(&cc.Config) {
		cc.RequireAuth = "!password" // in the clear, to whoever asks for it
	}
	// What is sent at once is one transaction only in this mode.
	cc.DefaultQueryExecMode, cc.StatementCacheCapacity = pgx.QueryExecModeCacheStatement, 512
	for name, value := range session {
		cc.RuntimeParams[name] = value
	}
	if cc.RuntimeParams["application_name"] == "" {
		cc.RuntimeParams["application_name"] = "pawl"
	}
	config.MaxConns = defaultConnections
	if c.MaxConnections > 0 {
		config.MaxConns = int32(min(c.MaxConnections, 10000))
	}
	config.MinConns, config.MinIdleConns = 0, 0
	config.MaxConnIdleTime, config.HealthCheckPeriod = 5*time.Minute, 30*time.Second
	config.MaxConnLifetime, config.MaxConnLifetimeJitter = time.Hour, 10*time.Minute
	config.PingTimeout, config.BeforeClose = signOfLife, hangUp
	return config, nil
}

const (
	defaultConnections = 16
	// signOfLife is how long a connection that has been idle may take to answer before
	// another one is made: when a machine is gone, all those to it have to be found
	// out, one after the other, while somebody waits.
	signOfLife = 750 * time.Millisecond
)

// hangUp ends a connection that was given up already. The driver would listen to it
// for up to 15 s, so that the server may end it in good order, and so long it would
// count as one of the pool's.
func hangUp(conn *pgx.Conn) {
	if conn.IsClosed() {
		_ = conn.PgConn().Conn().Close()
	}
}

// session is how the sessions of a store are. They travel in the startup packet,
// where they win over what the role or the database has set.
//
// Every statement of Pawl's has its index, and the planner is kept from thinking
// otherwise: with old statistics or none, a plan that reads a whole table is one
// bad guess away.
//
// The time limits are for what a paused or cut-off Pawl leaves behind: a row that
// it has locked becomes free. They are milliseconds.
var session = map[string]string{
	"search_path": "pawl", "client_encoding": "UTF8", "timezone": "UTC",
	"default_transaction_isolation": "read committed",
	"enable_seqscan":                "off", "enable_bitmapscan": "off", "enable_sort": "off", "enable_hashjoin": "off", "enable_mergejoin": "off",
	"jit": "off", "max_parallel_workers_per_gather": "0",
	"lock_timeout": "8000", "statement_timeout": "20000", "idle_in_transaction_session_timeout": "8000",
}

// hostsOf returns where a configuration connects to, whether all of it is this
// machine, and whether there is a host that is connected to without TLS, and one
// that is with it. Sockets are neither.
func hostsOf(c *pgconn.Config) (hosts []string, local, plain, protected bool) {
	local = true
	add := func(f pgconn.FallbackConfig) {
		network, _ := pgconn.NetworkAddress(f.Host, f.Port)
		socket := network == "unix"
		if ip := net.ParseIP(f.Host); !socket && f.Host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			local = false
		}
		if !socket {
			plain, protected = plain || f.TLSConfig == nil, protected || f.TLSConfig != nil
		}
		name := net.JoinHostPort(f.Host, strconv.Itoa(int(f.Port)))
		if socket {
			name = filepath.Join(f.Host, ".s.PGSQL."+strconv.Itoa(int(f.Port)))
		}
		if !slices.Contains(hosts, name) {
			hosts = append(hosts, name)
		}
	}
	add(pgconn.FallbackConfig{Host: c.Host, Port: c.Port, TLSConfig: c.TLSConfig})
	for _, f := range c.Fallbacks {
		add(*f)
	}
	return hosts, local, plain, protected
}

// verified reports whether all servers have to prove who they are.
func verified(c *pgconn.Config) bool {
	good := func(t *tls.Config) bool { return t != nil && (!t.InsecureSkipVerify || t.VerifyPeerCertificate != nil) }
	all := good(c.TLSConfig)
	for _, f := range c.Fallbacks {
		all = all && good(f.TLSConfig)
	}
	return all
}

// dsnError says of the driver's error what holds no part of the DSN but the name
// of a file.
func dsnError(err error) error {
	var file *fs.PathError
	if errors.As(err, &file) {
		return secrets.Errorf(secrets.Invalid, "store.postgres.dsn: %w", file).WithHint("name files that Pawl can read (sslrootcert, sslcert, sslkey)")
	}
	return secrets.Errorf(secrets.Invalid, "store.postgres.dsn is malformed, or has a value that there is not (sslmode, target_session_attrs, a port)").WithHint(dsnHint)
}
