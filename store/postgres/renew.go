package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/secrets"
)

// renewQuery begins claims anew, in one statement for all. It returns those that are
// there, by their place in what was asked for, and then those that it has renewed. One
// whose row is locked, by a write of its own, is there and skipped.
const renewQuery = `WITH mine AS (
		SELECT m.n, l.secret_id, l.epoch FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS m (id, epoch, n)
		JOIN pawl.leases l ON l.secret_id = m.id AND l.epoch = m.epoch AND l.owner = $3 AND l.until > clock_timestamp()
	), free AS (
		SELECT l.secret_id FROM mine JOIN pawl.leases l ON l.secret_id = mine.secret_id AND l.epoch = mine.epoch
		WHERE l.owner = $3 AND l.until > clock_timestamp() FOR UPDATE OF l SKIP LOCKED
	), anew AS (
		UPDATE pawl.leases l SET until = clock_timestamp() + $4::interval, beat = l.beat + 1
		FROM free WHERE l.secret_id = free.secret_id RETURNING l.secret_id
	)
	SELECT n, secret_id FROM mine UNION ALL SELECT 0, secret_id FROM anew`

// confirming is somebody who waits for a renewal that begins after he asked.
type confirming struct {
	lease *lease
	done  chan struct{}
	err   error // to be read when done is closed
}

// confirm renews a claim at once. ctx ends when the claim is not relied on any more,
// at the latest.
func (s *Store) confirm(ctx context.Context, l *lease) error {
	c := &confirming{lease: l, done: make(chan struct{})}
	s.desk.Lock()
	if s.shut {
		s.desk.Unlock()
		return secrets.Errorf(secrets.Invalid, "the store (%s) is closed", s.name)
	}
	s.confirms = append(s.confirms, c)
	s.renew()
	s.desk.Unlock()
	s.rouse()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return secrets.At(s.classify(ctx.Err()), l.arn.Name, "", "")
	}
}

// rouse tells the renewer that there is something to do.
func (s *Store) rouse() {
	select {
	case s.roused <- struct{}{}:
	default:
	}
}

// renew has somebody renew, as long as there are claims. The desk is locked.
func (s *Store) renew() {
	if s.renewer {
		return
	}
	s.renewer = true
	s.goroutine.Go(func() {
		tick := time.NewTimer(s.interval())
		defer tick.Stop()
		wait := fullJitter(50*time.Millisecond, time.Second)
		for {
			due, confirms, more := s.toRenew()
			if !more {
				return
			}
			next := s.interval()
			switch locked, err := s.renewOnce(due, confirms); {
			case err != nil:
				next = wait.NextBackOff()
			case locked:
				next = lockedPause
			default:
				wait.Reset()
			}
			tick.Reset(next)
			select {
			case <-tick.C:
			case <-s.roused:
			}
		}
	})
}

// interval is how often claims are renewed.
func (s *Store) interval() time.Duration { return s.leaseTime / 5 }

// toRenew returns the claims that should be renewed now, and who waits for it. Not
// more = there are no claims, and the renewer ends.
func (s *Store) toRenew() (due []*lease, confirms []*confirming, more bool) {
	s.desk.Lock()
	defer s.desk.Unlock()
	confirms, s.confirms = s.confirms, nil
	if len(s.held)+len(confirms) == 0 {
		s.renewer = false
		return nil, nil, false
	}
	wanted := map[*lease]bool{}
	for _, c := range confirms {
		wanted[c.lease] = true
	}
	now := time.Now()
	for _, l := range s.held {
		// What a write or somebody else's wish has begun anew is not yet due.
		if l.lost() == nil && l.age(now) >= s.interval()/2 {
			wanted[l] = true
		}
	}
	for l := range wanted {
		due = append(due, l)
	}
	return due, confirms, true
}

// renewOnce makes one request. Those who wait get their answers, but where a
// connection broke or a row was locked: they wait for the next one.
func (s *Store) renewOnce(due []*lease, confirms []*confirming) (locked bool, err error) {
	if len(due) == 0 {
		return false, nil
	}
	skipped := map[*lease]bool{}
	err = s.sendRenewal(due, skipped)
	s.desk.Lock()
	defer s.desk.Unlock()
	for _, c := range confirms {
		switch lost := c.lease.lost(); {
		case lost != nil:
			c.err = lost
		case err != nil && secrets.KindOf(err) != secrets.Transient:
			c.err = secrets.At(err, c.lease.arn.Name, "", "")
		case err != nil, skipped[c.lease]:
			s.confirms = append(s.confirms, c)
			continue
		}
		close(c.done)
	}
	return len(skipped) > 0, err
}

// sendRenewal asks for all; a connection that hangs is given up early enough for
// another one.
func (s *Store) sendRenewal(due []*lease, skipped map[*lease]bool) error {
	ctx, cancel := context.WithTimeout(s.alive, s.interval())
	defer cancel()
	ids, epochs := make([]int64, len(due)), make([]int64, len(due))
	for i, l := range due {
		ids[i], epochs[i] = l.id, l.epoch
	}
	sent := time.Now()
	rows, err := s.own.Query(ctx, renewQuery, ids, epochs, s.owner, s.leaseTime)
	if err != nil {
		return s.classify(err)
	}
	there, anew := make([]bool, len(due)), map[int64]bool{}
	var n, id int64
	_, err = pgx.ForEachRow(rows, []any{&n, &id}, func() error {
		if n == 0 {
			anew[id] = true
		} else {
			there[n-1] = true
		}
		return nil
	})
	if err != nil {
		return s.classify(err)
	}
	for i, l := range due {
		switch {
		case anew[l.id]:
			l.begin(sent)
		case there[i]:
			skipped[l] = true
		default:
			_ = l.lose(taken())
		}
	}
	return nil
}
