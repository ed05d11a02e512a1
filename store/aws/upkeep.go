package aws

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// batch is how many secrets are asked about before the listing is looked at
// again: it may have become old meanwhile.
const batch = 256

// firstListing waits until there is a listing. Errors: why there is none, which
// is tried again every ten seconds.
func (s *Store) firstListing(ctx context.Context) error {
	if done, err := s.haveListing(); done || err != nil {
		return err
	}
	if err := s.occupy(ctx); err != nil {
		return err
	}
	defer s.vacate()
	if done, err := s.haveListing(); done || err != nil { // somebody else was at it
		return err
	}
	return s.relist(ctx)
}

// haveListing reports whether there is a listing; the error is that of the last
// try, while it is too early for another one.
func (s *Store) haveListing() (bool, error) {
	l := &s.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case !l.listed.IsZero():
		return true, nil
	case s.now().Sub(l.failed) < tryAgain:
		return false, l.failure
	}
	return false, nil
}

// upkeep renews the listing where that is due, and asks for the dates that decide
// at now, in the background, if nobody is at it.
func (s *Store) upkeep(ctx context.Context) {
	l := &s.listing
	select {
	case l.busy <- struct{}{}:
	default:
		return
	}
	go func() {
		defer s.vacate()
		for ctx.Err() == nil {
			now := s.now()
			l.mu.Lock()
			old, es := l.renewable(now, s.settings().Refresh), l.undated(now, batch)
			l.mu.Unlock()
			switch {
			case old:
				_ = s.relist(ctx) // it is remembered, and tried again
			case len(es) > 0:
				_ = s.date(ctx, es)
			default:
				return
			}
		}
	}()
}

// renewable reports whether it is time for another listing. The caller holds the
// lock.
func (l *listing) renewable(now time.Time, refresh time.Duration) bool {
	return (l.outdated || now.Sub(l.listed) >= refresh) && now.Sub(l.failed) >= tryAgain
}

// occupy waits for the right to ask AWS on the listing's behalf; vacate gives it
// back.
func (s *Store) occupy(ctx context.Context) error {
	select {
	case s.listing.busy <- struct{}{}:
		return nil
	case <-ctx.Done():
		return secrets.Errorf(secrets.Transient, "waiting for AWS to list the secrets: %w", ctx.Err())
	}
}

func (s *Store) vacate() { <-s.listing.busy }
