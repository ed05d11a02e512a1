package aws

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Due returns up to n secrets that are due at now, oldest first, as the listing
// shows them: it is asked for again, in the background, when it is older than
// Refresh. Errors: those of the first listing.
func (s *Store) Due(ctx context.Context, now time.Time, n int) ([]service.Due, error) {
	panic("not there yet")
}

// Reschedule works out anew when a secret is due.
func (s *Store) Reschedule(ctx context.Context, arn secrets.ARN, now time.Time) error {
	panic("not there yet")
}

// Plan lists the secrets afresh and calls yield with every one that rotates here,
// in byte order of the name, those included that are left alone because AWS
// rotates them: their Problem says so. An error of yield ends it and is
// returned.
func (s *Store) Plan(ctx context.Context, until time.Time, yield func(service.RotationStatus) error) error {
	panic("not there yet")
}

// Pause stops a secret's schedule, by the tag pawl:paused. Errors:
// ResourceNotFoundException, Denied.
func (s *Store) Pause(ctx context.Context, id string) error { panic("not there yet") }

// Resume takes the tag off.
func (s *Store) Resume(ctx context.Context, id string) error { panic("not there yet") }

// CredentialsNear reads the AWSCURRENT value of another secret, of this account
// and region or, by an ARN, of any that lets this one read it.
func (s *Store) CredentialsNear(ctx context.Context, near secrets.ARN, id string) (secrets.Credentials, secrets.ARN, error) {
	panic("not there yet")
}
