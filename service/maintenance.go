package service

import (
	"context"
	"errors"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Purge removes the secrets whose recovery window is over at now, for good, and
// returns their names. Those removed before an error are named too.
func (s *Service) Purge(ctx context.Context, now time.Time) (names []string, err error) {
	for {
		arns, err := s.store.Purgeable(ctx, now, pageSize)
		if err != nil || len(arns) == 0 {
			return names, err
		}
		for _, arn := range arns {
			switch err := s.end(ctx, arn, now); {
			case err == nil:
				names = append(names, arn.Name)
			case !errors.Is(err, ErrNotFound):
				return names, known(err, arn.Name)
			}
		}
	}
}

// end removes a secret whose recovery window is over at now. ErrNotFound says
// that another process was faster; what has the very ARN of the one that ended,
// as a replica made since may have, is left alone.
func (s *Service) end(ctx context.Context, arn secrets.ARN, now time.Time) error {
	_, err := s.store.Update(ctx, arn, func(sec *Secret) (Sealed, error) {
		if !expired(sec, now) {
			return nil, ErrNotFound
		}
		return nil, ErrRemove
	})
	return err
}
