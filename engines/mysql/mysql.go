// Package mysql rotates passwords of MySQL and MariaDB servers. One engine
// serves both: which of them a server really is gets asked after the login,
// because a secret that says "mysql" often points to a MariaDB.
//
// An identity of these servers is user@host, and a user may have several such
// rows. Through a superuser all rows of the user's name are changed, in one
// statement; a user who changes his own password changes the row that he
// logged in as.
//
// Passwords are sent as the hash that the account's own authentication plug-in
// stores, so that no statement log of the server ever holds one. The exception
// is MySQL's change of one's own password, which takes no hash; MySQL itself
// writes <secret> in its place into its logs.
package mysql

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// engine is one of the two ways a secret names this kind of server. They
// differ only in how long a user name may be before anybody has asked the
// server.
type engine struct {
	names   []string
	maxName int // characters
}

// The longest user names (MySQL Reference Manual, "Account User Names and
// Passwords"; MariaDB documentation, "CREATE USER").
const (
	maxNameMySQL   = 32
	maxNameMariaDB = 128
)

// New returns the engines "mysql" (also "aurora-mysql") and "mariadb".
func New() []engines.Engine {
	return []engines.Engine{
		engine{names: []string{"mysql", "aurora-mysql"}, maxName: maxNameMySQL},
		engine{names: []string{"mariadb"}, maxName: maxNameMariaDB},
	}
}

// Facts implements engines.Engine.
func (e engine) Facts() engines.Facts {
	return engines.Facts{Names: e.names, DefaultPort: 3306, PasswordExclude: `/@"'\`}
}

// CheckUsername implements engines.Engine.
func (e engine) CheckUsername(name string) error { return checkUsername(name, e.maxName) }

// checkUsername refuses what the server would refuse, cut, or store as
// something else: an empty name is the anonymous user's, a character beyond
// the basic plane becomes "?", and with white space at its end nobody logs in.
func checkUsername(name string, maxName int) error {
	last, _ := utf8.DecodeLastRuneInString(name)
	switch {
	case name == "":
		return secrets.Errorf(secrets.Invalid, "the user name is empty")
	case !utf8.ValidString(name) || strings.ContainsRune(name, 0):
		return secrets.Errorf(secrets.Invalid, "the user name is not UTF-8 text")
	case strings.ContainsFunc(name, func(r rune) bool { return r > 0xFFFF }):
		return secrets.Errorf(secrets.Invalid, "the user name %q has a character of four bytes; the server's user table holds three at most", name)
	case unicode.IsSpace(last):
		return secrets.Errorf(secrets.Invalid, "the user name %q ends in white space; nobody could log in as such a user", name)
	case utf8.RuneCountInString(name) > maxName:
		return secrets.Errorf(secrets.Invalid, "the user name %q has %d characters; the server allows %d",
			name, utf8.RuneCountInString(name), maxName).WithHint("use a shorter user name")
	}
	return nil
}

// quote makes a string literal. It is right only in a session whose sql_mode
// has NO_BACKSLASH_ESCAPES and no ANSI_QUOTES, which begin sees to: with the
// wrong mode a literal is accepted and means another text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// account quotes a user@host.
func account(user, host string) string { return quote(user) + "@" + quote(host) }
