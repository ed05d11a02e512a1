// Package config turns the configuration file into typed, validated values. It
// reports everything that is wrong with a file at once, each problem with its
// line, the key's path and a remedy, and never repeats a value from the file in
// an error: what stands at the wrong place may be a password.
package config

import (
	"fmt"
	"slices"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Config is a whole configuration file, with defaults filled in and paths
// absolute.
type Config struct {
	Path string // absolute path of the file
	// Account and Region are where the file's secrets are, and where commands on
	// the store act. The server's callers act where their own credentials say.
	Account, Region string
	Store           Store
	// Defaults are the rules of a secret whose entry says nothing. What only an
	// entry can say (engine, hosts, admin host, check query, adopt clone) is
	// empty here.
	Defaults   secrets.RotationRules
	Scheduler  Scheduler
	Server     Server
	Superusers []secrets.Pairing
	Secrets    []Secret // in the file's order, names unique
}

// Where secrets are unless the file says otherwise. The account is the one of
// AWS's own examples.
const (
	DefaultAccount = "123456789012"
	DefaultRegion  = "us-east-1"
)

// Store says where secrets are kept. Exactly one field is set.
type Store struct {
	SQLite *SQLite
}

// SQLite is the embedded store: one database file and the file with the key
// that its values are encrypted with. Both paths are absolute; the files need
// not exist yet.
type SQLite struct {
	Path, KeyFile string
}

// Scheduler holds the limits of the daemon's work.
type Scheduler struct {
	Workers         int           // rotations at one time, over all servers
	PerTarget       int           // rotations at one time on one server
	MinimumInterval time.Duration // least time between two windows of one secret
	CatchUp         CatchUp
}

// CatchUp says what becomes of a window that was missed because Pawl was down.
type CatchUp string

// The values of CatchUp.
const (
	CatchUpNextDay CatchUp = "next-day" // in the same hours of the next day
	CatchUpNow     CatchUp = "now"      // at once, outside the window too
)

// Server is the HTTP listener, of the API and the health check.
type Server struct {
	Listen string // host:port with a loopback host; "" = none
}

// Secret is one entry of the file: a secret whose rotation the file declares.
type Secret struct {
	Name  string
	File  string // base name of the configuration file
	Line  int    // where the entry starts
	Rules secrets.RotationRules
}

// Source is who declared the rotation, as secrets.Rotation keeps it:
// "file pawl.yaml:12".
func (s Secret) Source() string { return fmt.Sprintf("file %s:%d", s.File, s.Line) }

// CheckEngines reports every entry whose engine is none of the known names.
// The error is Invalid and lists problems as Load's does.
func (c *Config) CheckEngines(known []string) error {
	var ps Problems
	for i, s := range c.Secrets {
		if s.Rules.Engine == "" || slices.Contains(known, s.Rules.Engine) {
			continue
		}
		ps = append(ps, Problem{
			File: s.File, Line: s.Line, Key: fmt.Sprintf("secrets[%d].engine", i),
			Text: "unknown engine" + hint(s.Rules.Engine, known),
		})
	}
	return ps.err()
}
