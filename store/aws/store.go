// Package aws keeps secrets in AWS Secrets Manager itself: Pawl drives the
// rotation from outside and keeps nothing of its own. What a rotation has done,
// when the next one is due, and since when one fails follow from the versions,
// labels and tags that are there.
package aws

import (
	"context"
	"log/slog"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// The tags that Pawl reads on a secret, and those that it writes.
const (
	TagStrategy  = "pawl:strategy"  // single-user or alternating-users
	TagSchedule  = "pawl:schedule"  // rate(…) or cron(…)
	TagWindow    = "pawl:window"    // such as 3h
	TagSuperuser = "pawl:superuser" // name or ARN of the superuser's secret; needs a pairing

	TagPaused  = "pawl:paused"  // written by pawl pause; any value
	TagAttempt = "pawl:attempt" // written after a failure: tries, kind, since when, next try
	TagError   = "pawl:error"   // written after a failure: what, as far as a tag can hold it
)

// Where the configuration names none.
const (
	DefaultRefresh    = 5 * time.Minute
	DefaultRateLimits = 0.5
)

// Config says which secrets, and how they are reached.
type Config struct {
	Region   string // "" = the environment's or the profile's
	Profile  string // of ~/.aws; "" = the environment's
	Endpoint string // "" = AWS's

	// Declared are the rotations that the configuration file names.
	Declared []service.Declaration
	// Discover has secrets rotated that have the tag pawl:strategy or
	// pawl:schedule, by those and by Defaults.
	Discover bool
	Defaults secrets.RotationRules
	// Pairings are which superuser a tag may choose.
	Pairings []secrets.Pairing

	MinimumInterval time.Duration // least time between two windows; 0 = AWS's
	CatchUp         bool          // see service.Config
	Refresh         time.Duration // how old the listing may be; 0 = DefaultRefresh
	// RateLimits is what part of AWS's quotas this process takes; 0 =
	// DefaultRateLimits.
	RateLimits  float64
	DefaultPort func(engine string) int

	Clock clockwork.Clock // nil = real time
	Log   *slog.Logger    // nil = slog.Default()
}

// Store is Secrets Manager in one account and region. It is the scheduler's Plan
// and finds superusers' credentials. It is safe for use by many goroutines.
type Store struct{}

// Open prepares the calls to AWS and makes sure that there are credentials and a
// region. It asks AWS for nothing. Errors are Invalid.
func Open(ctx context.Context, c Config) (*Store, error) { panic("not there yet") }

// Reconfigure changes what the file says, while the Store is in use: Declared,
// Discover, Defaults, Pairings, MinimumInterval, CatchUp, Refresh and RateLimits
// of c.
func (s *Store) Reconfigure(c Config) { panic("not there yet") }

// Region is where the secrets are.
func (s *Store) Region() string { panic("not there yet") }
