package config

import "strings"

// Bounds and default of store.postgres.max_connections. Reading, writing and
// keeping claims alive must not wait for one and the same connection.
const (
	defaultConnections = 16
	minConnections     = 2
	maxConnections     = 1000
)

// postgres checks a database that several Pawls share as the store.
func (c *checker) postgres(s postgresYAML) *Postgres {
	const at = "store.postgres."
	out := &Postgres{
		DSN:            value(s.DSN),
		PasswordEnv:    value(s.PasswordEnv),
		MaxConnections: either(s.MaxConnections, nil, defaultConnections),
		MasterKey:      c.masterKey(at, s.masterKeyYAML),
	}
	if s.PasswordFile != nil {
		out.PasswordFile = c.path(at+"password_file", s.PasswordFile)
	}
	if n := out.MaxConnections; n < minConnections || n > maxConnections {
		c.add(at+"max_connections", "must be from %d to %d", minConnections, maxConnections)
	}
	if s.PasswordEnv != nil {
		c.variableName(at+"password_env", out.PasswordEnv, "PAWL_DB_PASSWORD", "the password")
	}
	if s.PasswordFile != nil && s.PasswordEnv != nil {
		c.add(at+"password_env", "and password_file are both there; the password has one place, keep one of them")
	}
	if out.PasswordFile != "" && out.PasswordFile == out.KeyFile {
		c.add(at+"password_file", "is the same file as key_file; give the password a file of its own")
	}
	if out.DSN == "" {
		c.add(at+"dsn", "is missing: which database it is; write for example dsn: postgres://pawl@db.example.com/pawl")
		return out
	}
	connection, err := readDSN(out.DSN)
	switch {
	case err != nil:
		c.add(at+"dsn", "%v", err)
	case connection.settings["password"] != "" && (s.PasswordFile != nil || s.PasswordEnv != nil):
		other := "password_file"
		if s.PasswordFile == nil {
			other = "password_env"
		}
		c.add(at+"dsn", "has a password in it, and %s is there too; take it out here", other)
	}
	return out
}

// variableName checks the name of an environment variable: somebody may have
// written there what belongs into it.
func (c *checker) variableName(key, name, example, what string) {
	if !variable.MatchString(name) {
		c.add(key, "must be the name of an environment variable, such as %s, and not %s itself", example, what)
	} else if strings.HasPrefix(name, "PG") {
		c.add(key, "must not begin with PG: Pawl unsets those variables, lest PostgreSQL's settings in them be minded")
	}
}
