package sqlite

import "context"

// SettingsRevision implements principals.Store and seal.Store. Unlike a reader
// of secrets, who asks the database where the clock does not answer, whoever
// needs this has nothing else to go by.
func (s *Store) SettingsRevision(ctx context.Context) (int64, error) {
	r, err := s.clock.now(ctx)
	return r.settings, classify(s.path, err)
}
