package postgres

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// memory is what a Store remembers of the database, and how it and the other
// processes hear of each other's writes.
type memory struct {
	cache    *cache
	revision revision
	notices  notices

	alive   context.Context // ends with the Store
	finish  context.CancelFunc
	listens chan struct{} // closed when nobody listens any more
}

// beginMemory is called by Open, when the pool is there; endMemory by Close, while
// it still is.
func (s *Store) beginMemory(context.Context) error {
	s.cache = newCache()
	s.revision.fresh, s.revision.now = freshTime, time.Now
	s.notices = notices{self: rand.Text(), marks: map[mark]struct{}{}, hurry: make(chan struct{})}
	s.alive, s.finish = context.WithCancel(context.Background())
	s.listens = make(chan struct{})
	go func() {
		defer close(s.listens)
		s.listen(s.alive)
	}()
	return nil
}

func (s *Store) endMemory() {
	s.notices.end()
	s.finish()
	<-s.listens
}

// writing is called before every commit that changes secrets or their values, and
// wrote for the same places after it, whatever became of it.
func (s *Store) writing(places ...place) {
	for _, p := range places {
		s.cache.writing(p.mark())
	}
}

func (s *Store) wrote(places ...place) {
	for _, p := range places {
		m := p.mark()
		s.cache.wrote(m)
		s.notices.tell(m, false, s.sendNotices)
	}
}

// wroteSettings is wrote for principals and named keys.
func (s *Store) wroteSettings() {
	s.revision.forget()
	s.notices.tell(0, true, s.sendNotices)
}

// shared runs a query whose answer several may wait for: none of them ends it.
func (s *Store) shared(query func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(s.alive, patience)
	defer cancel()
	return s.retry(ctx, query)
}

// Find implements service.Store. What this process wrote shows at once; what another
// one did within MaxStale.
func (s *Store) Find(ctx context.Context, id secrets.ID) (*service.Secret, error) {
	sec, err := s.Peek(ctx, id)
	if err != nil {
		return nil, err
	}
	return sec.Clone(), nil
}

// Peek implements service.Peeker.
func (s *Store) Peek(ctx context.Context, id secrets.ID) (*service.Secret, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.classify(err)
	}
	a := id.ARN
	p := placeOf(a)
	sec := s.cache.find(p)
	if sec == nil {
		e, err := s.cache.record(p, func() (sec *service.Secret, values service.Sealed, err error) {
			err = s.shared(func(ctx context.Context) error {
				found, err := s.readSecret(ctx, p)
				if err != nil {
					return err
				}
				values = found.values
				sec, err = found.decode()
				return err
			})
			return sec, values, err
		}).wait(ctx)
		if err != nil {
			return nil, s.classify(err)
		}
		sec = e.secret
	}
	if !id.ByName && sec.ARN.Suffix != a.Suffix || a.Partition != "" && sec.ARN.Partition != a.Partition {
		return nil, service.ErrNotFound
	}
	return sec, nil
}

// Value implements service.Store. Where another process encrypted a value anew, the
// old one comes for MaxStale at most.
func (s *Store) Value(ctx context.Context, a secrets.ARN, versionID string) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.classify(err)
	}
	if sealed := s.cache.value(a, versionID); sealed != nil {
		return sealed, nil
	}
	sealed, err := s.cache.sealed(a, versionID, func() (sealed []byte, err error) {
		err = s.shared(func(ctx context.Context) (err error) { sealed, err = s.readValue(ctx, a, versionID); return err })
		return sealed, err
	}).wait(ctx)
	return sealed, s.classify(err)
}
