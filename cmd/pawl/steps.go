package main

import (
	"context"
	"crypto/rand"
	"sync/atomic"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// stepsFactory makes the steps of each rotation. The operator's pairings may
// change while rotations run, when the configuration is read again.
type stepsFactory struct {
	engines     engines.Registry
	credentials func(ctx context.Context, near secrets.ARN, id string) (secrets.Credentials, secrets.ARN, error)
	pairings    atomic.Pointer[[]secrets.Pairing]
	// everySuperuser pairs every superuser's secret with every other: for a
	// server that keeps no secret from anybody.
	everySuperuser bool
}

func (f *stepsFactory) pair(cfg *config.Config) { f.pairings.Store(&cfg.Superusers) }

func (f *stepsFactory) make(rules secrets.RotationRules) rotator.Steps {
	return strategies.NewUsers(strategies.Config{
		Engines:    f.engines,
		Superusers: strategies.Superusers{Pairings: *f.pairings.Load(), Every: f.everySuperuser, Credentials: f.credentials},
		Random:     rand.Reader,
		Clock:      wallClock(),
	}, rules)
}
