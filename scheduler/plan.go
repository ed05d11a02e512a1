// Package scheduler decides when: it finds the secrets that are due, rotates
// them by a bounded pool of workers, and waits between attempts. What is due,
// and since when something fails, it reads from the store at every turn, so
// that a restart neither repeats nor forgets. How a secret is rotated is
// package rotator's business.
package scheduler

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Plan is where the scheduler reads what to do, and gets the right to do it.
type Plan interface {
	// Due returns up to n secrets that the store has down for now or earlier,
	// oldest first, from the place after on.
	Due(ctx context.Context, now time.Time, after service.DueAfter, n int) ([]service.Due, error)
	// Backlog counts them, up to most, and tells since when the oldest is due.
	Backlog(ctx context.Context, now time.Time, most int) (n int, oldest time.Time, err error)
	// Reschedule works out anew when a secret is due, because what the store
	// has is out of date: a window went by while nobody looked.
	Reschedule(ctx context.Context, arn secrets.ARN, now time.Time) error
	// Claim claims a secret by name or ARN, at once or not at all: Conflict
	// while another claimant, here or in another process, has it.
	Claim(ctx context.Context, id string) (Claim, error)
}

// Claim is the right to rotate one secret until Release.
type Claim interface {
	rotator.Vault
	// Rotation returns the rules and the history as they were at the claim.
	Rotation() secrets.Rotation
	// Save keeps the record of a failure; the zero record says that all is well.
	Save(ctx context.Context, a secrets.Attempt) error
	Release()
}

// FromService makes a Plan of a Service.
func FromService(s *service.Service) Plan { return PlanOf(s) }

// Claimer is a Plan with a type of claims of its own: a Service, an aws.Store.
type Claimer[C Claim] interface {
	Due(ctx context.Context, now time.Time, after service.DueAfter, n int) ([]service.Due, error)
	Backlog(ctx context.Context, now time.Time, most int) (n int, oldest time.Time, err error)
	Reschedule(ctx context.Context, arn secrets.ARN, now time.Time) error
	Claim(ctx context.Context, id string) (C, error)
}

// PlanOf makes a Plan of a Claimer.
func PlanOf[C Claim](s Claimer[C]) Plan { return plan[C]{s} }

type plan[C Claim] struct{ Claimer[C] }

func (p plan[C]) Claim(ctx context.Context, id string) (Claim, error) {
	c, err := p.Claimer.Claim(ctx, id)
	if err != nil {
		return nil, err // not c: a nil *service.Claim is no nil Claim
	}
	return c, nil
}
