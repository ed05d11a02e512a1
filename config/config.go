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
	// the store act. The server's callers act where their own credentials say. With
	// AWS as the store Account is empty, since AWS knows whose credentials it gets,
	// and Region is Store.AWS.Region.
	Account, Region string
	Store           Store
	// Defaults are the rules of a secret whose entry says nothing. What only an
	// entry can say (engine, hosts, admin host, check query, adopt clone) is
	// empty here.
	Defaults  secrets.RotationRules
	Scheduler Scheduler
	Server    Server // none with AWS as the store, which serves the API itself
	KMS       *KMS   // nil = none
	// Regions are those whose replicas are on other servers, by name.
	Regions    map[string]Region
	Superusers []secrets.Pairing
	Functions  *Functions // nil = none
	Events     Events
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
	SQLite   *SQLite
	Postgres *Postgres
	AWS      *AWS
}

// MasterKey returns where the master key of Pawl's own store is.
func (s Store) MasterKey() MasterKey {
	switch {
	case s.SQLite != nil:
		return s.SQLite.MasterKey
	case s.Postgres != nil:
		return s.Postgres.MasterKey
	}
	return MasterKey{}
}

// Postgres is a database that several Pawls share as their store, and where the
// master key is.
type Postgres struct {
	// DSN is a URL (postgres://…) or key=value pairs.
	DSN string
	// PasswordFile (absolute), or PasswordEnv, the name of a variable, has the
	// password; at most one is set, and then none is in DSN.
	PasswordFile, PasswordEnv string
	MaxConnections            int // of this process
	MasterKey
}

// Region is another server that has the replicas of a region.
type Region struct {
	Endpoint string // https://…; http:// only on this machine
	// CAFile (absolute) has the authority of its certificate; "" = the system's.
	CAFile string
	// CredentialsFile (absolute) has the access key that this server signs with: a
	// JSON object as pawl access create --json prints it, or its lines for a shell.
	CredentialsFile string
}

// AWS is AWS Secrets Manager as the store: which one, and which of its secrets
// besides those that the file names.
type AWS struct {
	Region   string // "" = the environment's or the profile's
	Profile  string // of ~/.aws; "" = the environment's
	Endpoint string // "" = AWS's
	// Discover has the secrets rotated that have the tag pawl:strategy or
	// pawl:schedule, too; Refresh is how often the secrets are listed.
	Discover bool
	Refresh  time.Duration
	// RateLimits is what part of AWS's quotas Pawl takes, over 0 up to 1.
	RateLimits float64
}

// Functions says how custom rotation functions are called.
type Functions struct {
	// Endpoint speaks the Lambda API; "" = AWS's, in the function's own region.
	Endpoint string
	Profile  string // of ~/.aws; "" = the environment's
	// Allow are the ARNs of Lambda functions that may be called, in which * stands
	// for any characters; nil = all, empty = none.
	Allow []string
	Named []Function // names unique
}

// Function is a rotation function that is no Lambda function, though it is meant
// as one: arn:aws:lambda:REGION:ACCOUNT:function:NAME with the file's region and
// account. Exactly one of Command and URL is set.
type Function struct {
	Name    string
	Command []string // program and arguments
	URL     string
	KeyFile string        // absolute; what requests to URL are signed with
	Timeout time.Duration // of one step
	// Environment are the variables of the command, NAME=value, or NAME alone for
	// that of Pawl's own environment.
	Environment []string
	// Role is the role of Pawl's own (pawl access) by which the command reaches
	// its secret; "" = it has credentials of its own.
	Role string
}

// Events says who is told what becomes of rotations.
type Events struct {
	File string // absolute path of the JSON-lines file; "" = none
}

// SQLite is the embedded store: one database file, and where the master key is.
// Paths are absolute; the files need not exist yet.
type SQLite struct {
	Path string
	MasterKey
}

// MasterKey says where the key is that everything else is encrypted with, as the
// text of a key file. Exactly one field is set.
type MasterKey struct {
	KeyFile       string   // absolute path
	KeyEnv        string   // name of an environment variable
	KeyCredential string   // name of a systemd credential: a file in $CREDENTIALS_DIRECTORY
	KeyCommand    []string // program and arguments, whose output it is
}

// KMS is AWS KMS for the keys that secrets name and Pawl does not have itself.
type KMS struct {
	Region   string // "" = that of the secret
	Endpoint string // "" = AWS's
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
	Listen string // host:port; "" = none
	// TLS is required for an address that is not of the loopback interface,
	// unless Insecure.
	TLS      *TLS
	Insecure bool
	// RateLimits is what the quotas of each principal are times AWS's; 0 = no
	// limits.
	RateLimits float64
}

// TLS are the files of a listener, absolute. They are read again when they
// change.
type TLS struct {
	CertFile, KeyFile string
	// ClientCAFile, where set, are the authorities of client certificates;
	// without RequireClient a client may also come without one.
	ClientCAFile  string
	RequireClient bool
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
