package mysql

import (
	"context"
	"crypto/rsa"
	"errors"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// Limits where the caller's context sets none, or where a dead peer would hold
// a read or write for ever.
const (
	loginTimeout = 15 * time.Second
	readTimeout  = 2 * time.Minute // a slow check query is read for as long as its context allows
	writeTimeout = 10 * time.Second
)

// Dial implements engines.Engine. Nothing but its arguments takes part: no
// my.cnf, no environment, no registry of the driver's.
//
// Without TLS, caching_sha2_password fetches the server's RSA key over the same
// connection, so whoever sits in between could have the password: that is for
// loopback addresses and networks one trusts.
func (e engine) Dial(ctx context.Context, at engines.Endpoint, as engines.Login) (engines.Session, error) {
	if err := checkLogin(as); err != nil {
		return nil, secrets.At(err, "", "", at.Addr())
	}
	c := driver.NewConfig()
	c.Net, c.Addr = "tcp", at.Addr()
	c.User, c.Passwd = as.Username, as.Password.Reveal()
	c.DBName = at.Database
	if at.TLS.Config != nil {
		c.TLS = at.TLS.Config.Clone()
	}
	c.Timeout, c.ReadTimeout, c.WriteTimeout = loginTimeout, readTimeout, writeTimeout
	c.Logger = &driver.NopLogger{}
	connector, err := driver.NewConnector(c)
	if err != nil {
		return nil, secrets.At(secrets.Errorf(secrets.Invalid, "this connection cannot be described to the driver: %w", err), "", "", at.Addr())
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	// The driver's own connection, not a pool of database/sql: a pool hides a
	// refused password behind an older connection, and resends.
	conn, err := connector.Connect(ctx)
	for range 2 {
		if !errors.Is(err, driver.ErrMalformPkt) {
			break
		}
		// Driver 1.10 takes the last byte of ed25519's random challenge for a
		// terminator when it is zero, and gives up before it has answered: one
		// login in 256 by such an account. No credential was sent.
		conn, err = connector.Connect(ctx)
	}
	if err != nil {
		return nil, secrets.At(loginError(err, at), "", "", at.Addr())
	}
	return &session{conn: conn, at: at, user: as.Username}, nil
}

// checkLogin refuses credentials that would log somebody else in: without a
// name the server takes the anonymous user.
func checkLogin(as engines.Login) error {
	// A name too long for MySQL may still be right for a MariaDB behind the
	// name "mysql"; the server says so itself.
	if err := checkUsername(as.Username, maxNameMariaDB); err != nil {
		return err
	}
	if as.Password.IsEmpty() {
		return secrets.Errorf(secrets.Invalid, "the password of %q is empty", as.Username)
	}
	return nil
}

// loginError classifies a failed login. The server's text is passed on: it
// holds no password.
func loginError(err error, at engines.Endpoint) *secrets.Error {
	if out, ok := engines.TLSFailure(err); ok {
		return out
	}
	if errors.Is(err, driver.ErrNoTLS) {
		return engines.NoTLS()
	}
	if tlsAlert(err) {
		return secrets.Errorf(secrets.Invalid, "the TLS handshake failed: %w", err).
			WithHint("check the server's TLS versions and certificate")
	}
	if errors.Is(err, rsa.ErrMessageTooLong) {
		return secrets.Errorf(secrets.Invalid, "the password is too long for a login without TLS (213 bytes with the server's usual key)").
			WithHint("set tls.mode: verify-full, or lower the password's length in the secret's rules")
	}
	for _, plugin := range []error{driver.ErrUnknownPlugin, driver.ErrCleartextPassword, driver.ErrOldPassword, driver.ErrNativePassword, driver.ErrOldProtocol} {
		if errors.Is(err, plugin) {
			return secrets.Errorf(secrets.Invalid, "the account logs in by an authentication plug-in that Pawl does not speak").
				WithHint("rotate accounts of caching_sha2_password, mysql_native_password or ed25519")
		}
	}
	var server *driver.MySQLError
	if !errors.As(err, &server) {
		if errors.Is(err, context.DeadlineExceeded) {
			return secrets.Errorf(secrets.Transient, "no answer to the login in time: %w", err)
		}
		return secrets.Errorf(secrets.Transient, "cannot connect: %w", err).
			WithHint("is the server running, and are host and port right?")
	}
	out := secrets.Errorf(secrets.Denied, "login refused: %w", server)
	rule, known := loginRules[server.Number]
	if !known {
		return out
	}
	out.Kind, out.Authenticated, out.Hint = rule.kind, rule.authenticated, rule.hint
	switch server.Number {
	case 1040:
		// The connection limit is checked twice; after the login the refusal
		// carries its SQLSTATE.
		out.Authenticated = server.SQLState == [5]byte{'0', '8', '0', '0', '4'}
	case 1045:
		if at.TLS.Config == nil {
			out.Hint = "check user name and password; an account with REQUIRE SSL refuses plain connections with this same message (tls.mode)"
		}
	}
	return out
}
