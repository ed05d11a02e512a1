package service

import (
	"context"
	"errors"
	"time"
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
			switch err := s.store.Remove(ctx, arn); {
			case err == nil:
				names = append(names, arn.Name)
			case !errors.Is(err, ErrNotFound): // ErrNotFound: another process was faster
				return names, known(err, arn.Name)
			}
		}
	}
}
