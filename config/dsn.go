package config

import (
	"errors"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// connection is what a DSN says: its settings by libpq's names (PostgreSQL
// documentation, "libpq: Connection Strings"), of host and port one per server.
type connection struct {
	settings    map[string]string
	hosts, port []string
}

// What a DSN may set. What is missing would make a connection depend on the
// machine it is made from (service, passfile), or is Pawl's own to decide.
var settings = []string{
	"host", "port", "dbname", "user", "password",
	"sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslsni", "sslnegotiation",
	"channel_binding", "require_auth", "target_session_attrs", "connect_timeout", "application_name", "options",
}

const defaultPostgresPort = "5432"

// readDSN reads postgres://USER@HOST:PORT/DATABASE?… or key=value pairs. Errors
// repeat nothing of the text, any part of which may be a password.
func readDSN(text string) (c connection, err error) {
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return c, errors.New("has a control character or a line's end in it; write it on one line")
	}
	set := map[string]string{}
	if rest, ok := cutScheme(text); ok {
		err = readURL(rest, set)
	} else {
		err = readPairs(text, set)
	}
	if err != nil {
		return c, err
	}
	c.settings = set
	return c, c.check()
}

func cutScheme(text string) (rest string, ok bool) {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok = strings.CutPrefix(text, scheme); ok {
			return rest, true
		}
	}
	return "", false
}

var (
	errDSN      = errors.New("must be postgres://USER@HOST/DATABASE, or pairs such as host=HOST user=USER dbname=DATABASE")
	errEscape   = errors.New("has a part that is not well encoded; in a URL a % is written %25, an @ %40, a / %2F, a # %23")
	errFragment = errors.New("has a # in it; in a URL write %23")
	errQuote    = errors.New("has a quote (') that does not end")
	errPair     = errors.New("has a part that is no key=value pair; quote a value with spaces in it: key='two words'")
)

// readURL reads what follows the scheme.
func readURL(rest string, set map[string]string) error {
	if strings.Contains(rest, "#") {
		return errFragment
	}
	rest, query, _ := strings.Cut(rest, "?")
	authority, database, _ := strings.Cut(rest, "/")
	unescape := func(name, part string) error {
		value, err := url.PathUnescape(part)
		if err != nil || strings.Contains(value, "\x00") {
			return errEscape
		}
		if value != "" {
			set[name] = value
		}
		return nil
	}
	if i := strings.LastIndex(authority, "@"); i >= 0 {
		user, password, _ := strings.Cut(authority[:i], ":")
		if err := errors.Join(unescape("user", user), unescape("password", password)); err != nil {
			return errEscape
		}
		authority = authority[i+1:]
	}
	if strings.Contains(database, "/") || unescape("dbname", database) != nil {
		return errEscape
	}
	if authority != "" {
		var hosts, ports []string
		for _, part := range strings.Split(authority, ",") {
			host, port := part, ""
			if inner, after, ok := strings.Cut(strings.TrimPrefix(part, "["), "]"); ok && part[0] == '[' {
				host, port = inner, strings.TrimPrefix(after, ":")
			} else if i := strings.LastIndex(part, ":"); i >= 0 {
				host, port = part[:i], part[i+1:]
			}
			hosts, ports = append(hosts, host), append(ports, port)
		}
		if unescape("host", strings.Join(hosts, ",")) != nil || unescape("port", strings.Join(ports, ",")) != nil {
			return errEscape
		}
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return errEscape
	}
	for name, all := range values {
		for _, value := range all {
			if err := add(set, name, value, len(all) > 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// readPairs reads key=value pairs, by libpq's rules: a value may be quoted, and
// a backslash in it takes the next character as it is.
func readPairs(text string, set map[string]string) error {
	seen := map[string]bool{}
	for text = strings.TrimSpace(text); text != ""; text = strings.TrimSpace(text) {
		name, rest, ok := strings.Cut(text, "=")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " '") {
			return errPair
		}
		text = strings.TrimLeft(rest, " ")
		quoted := strings.HasPrefix(text, "'")
		if quoted {
			text = text[1:]
		}
		var value strings.Builder
		i := 0
		for ; i < len(text) && !(quoted && text[i] == '\'') && (quoted || text[i] != ' '); i++ {
			if text[i] == '\\' {
				if i++; i == len(text) {
					break
				}
			}
			value.WriteByte(text[i])
		}
		switch {
		case !quoted:
			text = text[i:]
		case i >= len(text):
			return errQuote
		default:
			text = text[i+1:]
		}
		if err := add(set, name, value.String(), seen[name]); err != nil {
			return err
		}
		seen[name] = true
	}
	if len(seen) == 0 {
		return errDSN
	}
	return nil
}

// add puts a setting among those of a DSN. Its name may be part of a password
// that was not quoted, and is not repeated.
func add(set map[string]string, name, value string, twice bool) error {
	if name == "database" {
		name = "dbname"
	}
	switch {
	case slices.Contains(settings, name):
	case name == "passfile" || name == "service" || name == "servicefile":
		return errors.New("names a " + name + ", and Pawl takes nothing from PostgreSQL's own files; put the password into password_file")
	case strings.HasPrefix(name, "pool_"):
		return errors.New("has a setting of a connection pool; the pool's size is max_connections")
	case nearest(name, settings) != "":
		return errors.New("has a setting that Pawl does not know; did you mean " + strconv.Quote(nearest(name, settings)) + "?")
	default:
		return errors.New("has a setting that Pawl does not know; known: " + strings.Join(settings, ", "))
	}
	if twice {
		return errors.New("has " + name + " twice; keep one")
	}
	if strings.Contains(value, "\x00") {
		return errEscape
	}
	if value != "" {
		set[name] = value
	}
	return nil
}

// check makes sure that nothing is left to a default of the machine, and takes
// the servers apart.
func (c *connection) check() error {
	s := c.settings
	for _, need := range []struct{ name, what string }{
		{"host", "no host"}, {"user", "no user"}, {"dbname", "no database"},
	} {
		if s[need.name] == "" {
			return errors.New("names " + need.what + "; write it as postgres://USER@HOST/DATABASE")
		}
	}
	c.hosts, c.port = strings.Split(s["host"], ","), strings.Split(s["port"], ",")
	if len(c.port) == 1 {
		for len(c.port) < len(c.hosts) {
			c.port = append(c.port, c.port[0])
		}
	}
	if len(c.port) != len(c.hosts) {
		return errors.New("has not as many ports as hosts; give one for all, or one for each")
	}
	for i, host := range c.hosts {
		if c.port[i] == "" {
			c.port[i] = defaultPostgresPort
		}
		if n, err := strconv.Atoi(c.port[i]); err != nil || n < 1 || n > 65535 {
			return errors.New("has a port that is no number from 1 to 65535; where a password has a : or an @ in it, encode it or use password_file")
		}
		if strings.HasPrefix(host, "/") {
			continue // the folder of a socket
		}
		if strings.Contains(host, ":") && net.ParseIP(host) != nil {
			host = "[" + host + "]"
		}
		if _, port, err := secrets.SplitHost(host); err != nil || port != 0 {
			return errors.New("has a host that is no host name, address or absolute path of a socket's folder; where a password has an @ or a / in it, encode it or use password_file")
		}
	}
	for _, known := range []struct{ name, values, remedy string }{
		{"sslmode", "disable require verify-ca verify-full", "others may fall back to no encryption"},
		{"target_session_attrs", "read-write primary any", "the store must be written to"},
	} {
		if v := s[known.name]; v != "" && !slices.Contains(strings.Fields(known.values), v) {
			return errors.New("has another " + known.name + " than " + strings.ReplaceAll(known.values, " ", ", ") + ": " + known.remedy + "; write one of these")
		}
	}
	for _, file := range []string{"sslrootcert", "sslcert", "sslkey"} {
		if v := s[file]; v != "" && !strings.HasPrefix(v, "/") && !(file == "sslrootcert" && v == "system") {
			return errors.New("has a relative path for " + file + "; write the whole path")
		}
	}
	return nil
}

// pairs renders the settings as key=value pairs, in the order of their names.
func (c connection) pairs() string {
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	var out []string
	for _, name := range slices.Sorted(maps.Keys(c.settings)) {
		out = append(out, name+"='"+escape.Replace(c.settings[name])+"'")
	}
	return strings.Join(out, " ")
}

// read is for a DSN that was checked when the file was.
func (p Postgres) read() connection {
	c, _ := readDSN(p.DSN)
	return c
}

// User is whom the DSN logs in as.
func (p Postgres) User() string { return p.read().settings["user"] }

// Hosts are where the database is: HOST:PORT, or a socket's folder.
func (p Postgres) Hosts() []string {
	c := p.read()
	out := make([]string, len(c.hosts))
	for i, host := range c.hosts {
		if out[i] = host; !strings.HasPrefix(host, "/") {
			out[i] = net.JoinHostPort(host, c.port[i])
		}
	}
	return out
}

// Database is its name.
func (p Postgres) Database() string { return p.read().settings["dbname"] }

// String says which database it is, to people and in logs. There is no password
// in it.
func (p Postgres) String() string {
	return "PostgreSQL at " + strings.Join(p.Hosts(), " or ") + ", database " + p.Database()
}

// GoString is String.
func (p Postgres) GoString() string { return p.String() }

// HasPassword reports whether the DSN itself has a password in it, the user's or
// that of a key file.
func (p Postgres) HasPassword() bool {
	s := p.read().settings
	return s["password"] != "" || s["sslpassword"] != ""
}

// As returns the same database for another user, whose password is none of what
// p says of one; nor are p's user's certificate and its key his.
func (p Postgres) As(user string) Postgres {
	c := p.read()
	for _, name := range []string{"password", "sslcert", "sslkey", "sslpassword"} {
		delete(c.settings, name)
	}
	c.settings["user"] = user
	return Postgres{DSN: c.pairs(), MaxConnections: p.MaxConnections, MasterKey: p.MasterKey}
}
