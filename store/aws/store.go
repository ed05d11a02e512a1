// Package aws keeps secrets in AWS Secrets Manager itself: Pawl drives the
// rotation from outside and keeps nothing of its own. What a rotation has done,
// when the next one is due, and since when one fails follow from the versions,
// labels and tags that are there.
package aws

import (
	"context"
	"log/slog"
	"sync"
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
	Endpoint string // "" = AWS's; no endpoint that the environment names is minded

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
type Store struct {
	api         *api
	region      string
	clock       clockwork.Clock
	log         *slog.Logger
	defaultPort func(engine string) int

	claims  claims  // which secrets this process is rotating
	kept    kept    // records of failures that could not be written to tags
	listing listing // what there is, and when it is due

	mu     sync.RWMutex
	config Config
}

// Open prepares the calls to AWS and makes sure that there are credentials and a
// region. It asks Secrets Manager for nothing; the credentials may be asked for
// where they come from. Errors are Invalid.
func Open(ctx context.Context, c Config) (*Store, error) { return open(ctx, c) }

func open(ctx context.Context, c Config, change ...option) (*Store, error) {
	if c.Clock == nil {
		c.Clock = clockwork.NewRealClock()
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	a, err := connect(ctx, c, change...)
	if err != nil {
		return nil, err
	}
	s := &Store{api: a, region: a.region, clock: c.Clock, log: c.Log, defaultPort: c.DefaultPort}
	s.Reconfigure(c)
	return s, nil
}

// Reconfigure changes what the file says, while the Store is in use: Declared,
// Discover, Defaults, Pairings, MinimumInterval, CatchUp, Refresh and RateLimits
// of c.
func (s *Store) Reconfigure(c Config) {
	if c.MinimumInterval == 0 {
		c.MinimumInterval = secrets.AWSMinimumInterval
	}
	if c.Refresh == 0 {
		c.Refresh = DefaultRefresh
	}
	if c.RateLimits == 0 {
		c.RateLimits = DefaultRateLimits
	}
	s.api.limits.set(c.RateLimits)
	s.mu.Lock()
	s.config = c
	s.mu.Unlock()
	s.reconfigured()
}

// settings returns the configuration as it is now, with nothing left out. It is
// not to be changed.
func (s *Store) settings() Config {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.config
}

// Region is where the secrets are.
func (s *Store) Region() string { return s.region }

// now is the time in UTC, in the milliseconds that AWS's dates have.
func (s *Store) now() time.Time { return s.clock.Now().UTC().Truncate(time.Millisecond) }
