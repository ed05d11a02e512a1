package config

import (
	"regexp"
	"strings"
)

// The smallest value of each kind of store, for whoever has none.
const (
	embeddedExample = "sqlite: {path: pawl.db, key_file: pawl.key}"
	sharedExample   = "postgres: {dsn: postgres://pawl@db.example.com/pawl, key_file: pawl.key}"
)

func (c *checker) store(s *storeYAML) Store {
	if s == nil {
		c.add("store", "is missing: Pawl does not know where the secrets are; write the file with pawl init, or add store: {%s}", embeddedExample)
		return Store{}
	}
	var given []string
	for _, k := range []struct {
		name string
		set  bool
	}{{"sqlite", s.SQLite != nil}, {"postgres", s.Postgres != nil}, {"aws", s.AWS != nil}} {
		if k.set {
			given = append(given, k.name)
		}
	}
	switch {
	case len(given) > 1:
		c.add("store."+given[1], "and %s are both there; secrets have one store, keep one of them", given[0])
		return Store{}
	case s.AWS != nil:
		return Store{AWS: c.aws(*s.AWS)}
	case s.Postgres != nil:
		return Store{Postgres: c.postgres(*s.Postgres)}
	case s.SQLite != nil:
		return Store{SQLite: c.sqlite(*s.SQLite)}
	case c.lines["store.aws"] != 0:
		c.add("store.aws", "has no value; write aws: {} for the region and credentials of the environment")
	default:
		c.add("store", "names no store; add %s, %s, or aws: {region: %s}", embeddedExample, sharedExample, DefaultRegion)
	}
	return Store{}
}

func (c *checker) sqlite(s sqliteYAML) *SQLite {
	const at = "store.sqlite."
	q := &SQLite{Path: c.path(at+"path", s.Path), MasterKey: c.masterKey(at, s.masterKeyYAML)}
	if q.Path != "" && q.Path == q.KeyFile {
		c.add(at+"key_file", "is the same file as path; give the key a file of its own")
	}
	return q
}

// Names that are no keys themselves: somebody may have written the key where
// only the place of it belongs.
var (
	variable   = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	credential = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,127}$`)
)

// masterKey checks where the master key of the store is whose keys begin with at.
// There is one place.
func (c *checker) masterKey(at string, s masterKeyYAML) MasterKey {
	var given []string
	for _, k := range []struct {
		name string
		set  bool
	}{
		{"key_file", s.KeyFile != nil}, {"key_env", s.KeyEnv != nil},
		{"key_credential", s.KeyCredential != nil}, {"key_command", s.KeyCommand != nil},
	} {
		if k.set || c.bad[at+k.name] {
			given = append(given, k.name)
		}
	}
	if len(given) > 1 {
		c.add(at+given[1], "and %s are both there; the master key has one place, keep one of them", given[0])
		return MasterKey{}
	}
	switch {
	case len(given) == 1 && c.bad[at+given[0]]:
		return MasterKey{} // reported where it stands
	case s.KeyEnv != nil:
		c.variableName(at+"key_env", *s.KeyEnv, "PAWL_KEY", "the key")
		return MasterKey{KeyEnv: *s.KeyEnv}
	case s.KeyCredential != nil:
		if !credential.MatchString(*s.KeyCredential) {
			c.add(at+"key_credential", "must be the name that LoadCredential= or LoadCredentialEncrypted= gives it in the systemd unit, such as pawl.key")
		}
		return MasterKey{KeyCredential: *s.KeyCredential}
	case s.KeyCommand != nil:
		return MasterKey{KeyCommand: c.command(at+"key_command", s.KeyCommand, "[pass, show, pawl]")}
	}
	return MasterKey{KeyFile: c.path(at+"key_file", s.KeyFile)}
}

// command checks a program and its arguments. There is no shell: a program that
// is a path starts, like every path, at the file's folder; a bare name is looked
// for in $PATH.
func (c *checker) command(key string, words []string, example string) []string {
	switch {
	case len(words) == 0 || words[0] == "":
		if !c.unusable(key + "[0]") {
			c.add(key, "is empty; list the program and its arguments, such as %s", example)
		}
		return nil
	case home(words[0]):
		c.add(key+"[0]", "~ is not expanded; write the whole path")
	case strings.Contains(words[0], "/"):
		words[0] = absolute(c.dir, words[0])
	case strings.ContainsAny(words[0], " \t\n"):
		c.add(key+"[0]", "no shell reads it; make each word an item of the list, such as %s", example)
	}
	return words
}
