package postgres

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// claims are those of this process, and what is asked about them.
//
// Two goroutines ask for all: one claims and releases, the other one renews. Each
// has one request on its way, and what comes up meanwhile shares the next: so the
// busier it is, the more share one. Their connections are their own, for who waits
// behind others for one of the pool's could lose what he holds.
type claims struct {
	owner     int64  // a random number of this process
	holder    string // how people know it
	leaseTime time.Duration
	guard     time.Duration
	own       *pgxpool.Pool

	desk      sync.Mutex             // guards what follows
	held      map[secrets.ARN]*lease // until they are released
	asked     []*asking
	given     []*giving
	confirms  []*confirming
	claimer   bool // somebody claims and releases
	renewer   bool // somebody renews
	shut      bool
	claimed   time.Time // when the claimer's last request began
	swept     time.Time
	roused    chan struct{} // the renewer has something to do
	goroutine sync.WaitGroup
}

const (
	ownConnections = 2 // for claims and for renewals
	// leaving is how many more of them may be there that were given up and are being
	// closed, which takes a while where the server does not answer.
	leaving = 4
	// farewell bounds how long who gives a claim up waits for the database to hear
	// of it; otherwise the claim ends by itself.
	farewell = 2 * time.Second
	// lockedPause is how long to wait for a row that somebody has locked.
	lockedPause = 10 * time.Millisecond
	// pace is how far apart requests begin at least: in that time those gather who
	// share one, and it is less than anybody notices.
	pace = 3 * time.Millisecond
)

// asking is somebody who wants a claim.
type asking struct {
	arn   secrets.ARN
	tries int
	gone  bool // he does not wait any more
	done  chan struct{}
	// From here on to be read when done is closed.
	lease *lease
	err   error
}

// giving is a claim that is given up.
type giving struct {
	lease  *lease
	since  time.Time
	locked bool // by somebody, and has to be tried again
	done   chan struct{}
}

// hold is how long a claim is relied on.
func (c *claims) hold() time.Duration { return c.leaseTime - c.guard }

// beginClaims is called by Open, when the pool is there; endClaims by Close, while
// it still is.
func (s *Store) beginClaims(ctx context.Context) error {
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "a host without a name"
	}
	s.owner = int64(binary.BigEndian.Uint64(random[:]))
	s.holder = fmt.Sprintf("%s, process %d, begun %s", host, os.Getpid(), time.Now().UTC().Format("2006-01-02 15:04:05 MST"))
	s.leaseTime, s.guard = service.LeaseTime, service.LeaseGuard
	s.held, s.roused = map[secrets.ARN]*lease{}, make(chan struct{}, 1)
	config := s.pool.Config()
	config.MaxConns, config.MinConns, config.MinIdleConns = ownConnections+leaving, 0, 0
	// To plan one of these statements takes longer than to execute it.
	config.ConnConfig.RuntimeParams["plan_cache_mode"] = "force_generic_plan"
	s.own, err = pgxpool.NewWithConfig(ctx, config)
	return s.classify(err)
}

func (s *Store) endClaims() {
	s.desk.Lock()
	s.shut = true
	var left []*lease
	for _, l := range s.held {
		left = append(left, l)
	}
	s.desk.Unlock()
	var all sync.WaitGroup
	for _, l := range left {
		all.Go(l.Release)
	}
	all.Wait()
	s.rouse()
	s.goroutine.Wait()
	s.own.Close()
}

// Lock implements service.Store.
func (s *Store) Lock(ctx context.Context, arn secrets.ARN) (service.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, s.classify(err)
	}
	if !columnText(arn.Account, arn.Region, arn.Name, arn.Suffix, arn.Partition) {
		return nil, service.ErrNotFound
	}
	a := &asking{arn: arn, done: make(chan struct{})}
	if err := s.ask(a); err != nil {
		return nil, secrets.At(err, arn.Name, "", "")
	}
	select {
	case <-a.done:
	case <-ctx.Done():
		if s.leave(a) {
			return nil, s.classify(ctx.Err())
		}
	}
	if a.err != nil {
		return nil, secrets.At(a.err, arn.Name, "", "")
	}
	// Whoever had the claim before may have changed everything.
	s.cache.forget(placeOf(arn).mark())
	return a.lease, nil
}

func (s *Store) ask(a *asking) error {
	s.desk.Lock()
	defer s.desk.Unlock()
	if s.shut {
		return secrets.Errorf(secrets.Invalid, "the store (%s) is closed", s.name)
	}
	if l := s.held[a.arn]; l != nil && l.lost() == nil {
		return mine()
	}
	s.asked = append(s.asked, a)
	s.claim()
	return nil
}

// leave notes that somebody does not wait any more; not if he has his answer.
func (s *Store) leave(a *asking) bool {
	s.desk.Lock()
	defer s.desk.Unlock()
	select {
	case <-a.done:
	default:
		a.gone = true
	}
	return a.gone
}

// mine is the Conflict of who comes second in this process.
func mine() error {
	return secrets.Errorf(secrets.Conflict, "this process (%d) is rotating it already", os.Getpid()).
		WithHint("wait until that rotation ends")
}

// release gives a claim up, and waits until the database has heard of it.
func (s *Store) release(l *lease) {
	g := &giving{lease: l, since: time.Now(), done: make(chan struct{})}
	s.desk.Lock()
	if s.held[l.arn] == l {
		delete(s.held, l.arn)
	}
	s.given = append(s.given, g)
	s.claim()
	s.desk.Unlock()
	t := time.NewTimer(farewell)
	defer t.Stop()
	select {
	case <-g.done:
	case <-t.C:
	}
}

// claim has somebody see to what was asked and given. The desk is locked.
func (s *Store) claim() {
	if s.claimer {
		return
	}
	s.claimer = true
	s.goroutine.Go(func() {
		for {
			s.desk.Lock()
			early := pace - time.Since(s.claimed)
			s.desk.Unlock()
			time.Sleep(early)
			if !s.claimOnce() {
				return
			}
		}
	})
}

// claimOnce makes one request; false = there was nothing to do.
func (s *Store) claimOnce() bool {
	s.desk.Lock()
	r := &request{wanted: map[secrets.ARN]*wanted{}, given: s.given}
	asked := s.asked
	s.asked, s.given = nil, nil
	if len(asked)+len(r.given) == 0 {
		s.claimer = false
		s.desk.Unlock()
		return false
	}
	for _, a := range asked {
		if r.wanted[a.arn] == nil {
			r.wanted[a.arn] = &wanted{again: s.held[a.arn] == nil}
		}
	}
	s.claimed = time.Now()
	if since(s.swept, s.claimed) > sweepEvery {
		s.swept, r.sweep = s.claimed, true
	}
	s.desk.Unlock()

	err := s.again(s.alive, func() (worth bool, err error) {
		ctx, cancel := context.WithTimeout(s.alive, patience)
		defer cancel()
		err = s.classify(s.send(ctx, r))
		return secrets.KindOf(err) == secrets.Transient, err
	})
	s.desk.Lock()
	// Those who still wait come first: no claim is for who has gone.
	for _, gone := range [...]bool{false, true} {
		for _, a := range asked {
			if a.gone == gone {
				s.answer(a, r, err)
			}
		}
	}
	locked := 0
	for _, g := range r.given {
		if err == nil && g.locked && time.Since(g.since) < farewell {
			s.given, locked = append(s.given, g), locked+1
		} else {
			close(g.done)
		}
	}
	pause := locked > 0 && len(s.asked) == 0
	s.desk.Unlock()
	if pause {
		time.Sleep(lockedPause)
	}
	return true
}

// mostTries is how often a claim is asked for that nobody was found to have, and
// which could not be got: somebody was just getting it, or giving it up.
const mostTries = 3

// answer gives somebody what a request brought. The first one of those who want the
// same may get it. The desk is locked.
func (s *Store) answer(a *asking, r *request, err error) {
	w := r.wanted[a.arn]
	switch {
	case err != nil:
		a.err = err
	case w.got && w.given:
		a.err = mine()
	case w.got:
		w.given = true
		a.lease = newLease(s, a.arn, w.id, w.epoch, r.sent)
		if before := s.held[a.arn]; before != nil {
			_ = before.lose(taken())
		}
		if a.gone || s.shut {
			a.err = secrets.Errorf(secrets.Invalid, "the store (%s) is closed", s.name) // who has gone reads nothing
			_ = a.lease.lose(taken())
			s.given = append(s.given, &giving{lease: a.lease, since: time.Now(), done: make(chan struct{})})
			break
		}
		s.held[a.arn] = a.lease
		s.renew()
	case w.id == 0:
		a.err = service.ErrNotFound
	case w.held != nil:
		a.err = secrets.Errorf(secrets.Conflict, "%w", w.held).
			WithHint("wait until that rotation ends; if nothing is heard of that process, its claim ends in %v", w.held.Left.Round(time.Second))
	case a.tries < mostTries && !a.gone:
		a.tries++
		s.asked = append(s.asked, a)
		return
	default:
		a.err = secrets.Errorf(secrets.Conflict, "another process has just begun to rotate it").WithHint("wait until that rotation ends")
	}
	close(a.done)
}
