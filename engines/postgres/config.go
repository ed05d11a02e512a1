package postgres

import (
	"context"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// neutral names every setting that pgconn would otherwise take from a file in
// the home directory (PostgreSQL documentation, "libpq: Connection Strings"):
// the password file, the service file, the client certificate and the root
// certificate, which is read even with sslmode=disable.
const neutral = "host=localhost port=5432 user=pawl dbname=postgres sslmode=disable " +
	"passfile='' servicefile='' sslcert='' sslkey='' sslrootcert='' sslpassword='' target_session_attrs=any"

// environment guards the moment in which the PG* variables are hidden.
var environment sync.Mutex

// base is the one configuration that every login starts from.
var base = sync.OnceValues(parseBase)

// parseBase makes a pgconn configuration that owes nothing to the machine it
// runs on. ParseConfig is the only way to get one, and it reads the environment
// with no way to say no: PGSERVICE or a malformed PGREQUIREAUTH alone make it
// fail, whatever the connection string says. So the PG* variables are hidden
// for the microseconds it takes, once in the life of the process, and put back.
func parseBase() (*pgconn.Config, error) {
	environment.Lock()
	defer environment.Unlock()
	for _, entry := range os.Environ() {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "PG") {
			continue
		}
		if err := os.Unsetenv(name); err != nil {
			return nil, err
		}
		defer os.Setenv(name, value)
	}
	return pgconn.ParseConfig(neutral)
}

// idleTimeout is the one guard that servers before PostgreSQL 14 do not know.
const idleTimeout = "idle_session_timeout"

// loginConfig is the configuration of one login: this host, this user, this
// protection, nothing to fall back to.
func loginConfig(at engines.Endpoint, as engines.Login) (*pgconn.Config, error) {
	b, err := base()
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "the driver refuses its own defaults: %w", err)
	}
	c := b.Copy()
	c.Host, c.Port, c.Database = at.Host, uint16(at.Port), at.Database
	c.User, c.Password = as.Username, as.Password.Reveal()
	c.TLSConfig, c.Fallbacks = at.TLS.Config, nil
	c.ValidateConnect = nil
	c.RequireAuth = acceptedAuth(at.TLS)
	// The dialer resolves the name itself, tries its addresses as one, and is
	// done with them once it is connected: a refused login is not repeated at
	// the name's next address, which would count as a second failed try.
	c.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	c.RuntimeParams = runtimeParams(at.Guard)
	return c, nil
}

// acceptedAuth lists the ways of proving a password that are good enough. One
// that sends it in the clear (hba methods password, ldap, pam, radius) is good
// only inside TLS whose server was verified. No proof at all (trust, peer,
// cert) is never good: a login would say nothing about the password.
func acceptedAuth(t engines.TLS) string {
	if t.Config != nil && (t.Mode == secrets.TLSVerifyFull || t.Mode == secrets.TLSVerifyCA) {
		return "scram-sha-256,md5,password"
	}
	return "scram-sha-256,md5"
}

// runtimeParams travel in the startup packet and so cost no round trip. The
// two that every session gets are known to poolers as well; PgBouncer refuses
// a login with any other, so those are for sessions that make changes, which
// have no business at a pooler.
//
// The guards end on the server's side what a dead or paused Pawl left behind
// (PostgreSQL documentation, "Client Connection Defaults"); their unit is the
// millisecond. A user who is read-only by a setting of his own may still change
// his password: settings in the startup packet win over those of the role.
func runtimeParams(guard time.Duration) map[string]string {
	p := map[string]string{"application_name": "pawl", "client_encoding": "UTF8"}
	if guard > 0 {
		ms := strconv.FormatInt(max(guard.Milliseconds(), 1), 10)
		p["lock_timeout"] = ms
		p["statement_timeout"] = ms
		p["idle_in_transaction_session_timeout"] = ms
		p[idleTimeout] = ms
		p["default_transaction_read_only"] = "off"
	}
	return p
}
