package postgres

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// lease is a claim: a row with this epoch and this process as its owner, which ends
// by the database's clock. By the process's own clock it is relied on for hold after
// the moment before that request was sent which last had it begin.
type lease struct {
	s     *Store
	arn   secrets.ARN
	id    int64 // of the secret
	epoch int64

	mu       sync.Mutex
	begun    time.Time
	over     error // why it is not relied on any more; nil while it is
	released bool
	timer    *time.Timer
	ends     []context.CancelCauseFunc // of the contexts that were given out
}

func newLease(s *Store, arn secrets.ARN, id, epoch int64, begun time.Time) *lease {
	l := &lease{s: s, arn: arn, id: id, epoch: epoch, begun: begun}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(l.s.hold()-since(begun, time.Now()), l.tick)
	return l
}

// Context implements service.Lease.
func (l *lease) Context(ctx context.Context) context.Context {
	inner, end := context.WithCancelCause(ctx)
	if err := l.lost(); err != nil {
		end(err)
	} else {
		l.mu.Lock()
		l.ends = append(l.ends, end)
		over := l.over
		l.mu.Unlock()
		if over != nil { // since then
			end(over)
		}
	}
	return leaseContext{secrets.EndingAt(inner, l.end), l}
}

// leaseContext asks the clock, too: a process that was paused may be quicker than
// its timers. Done is that of a context of package context, which Value gives to
// those that are made of this one: so they end when it does, and not a moment later.
type leaseContext struct {
	context.Context
	lease *lease
}

func (c leaseContext) Err() error {
	_ = c.lease.lost() // ends the context if so
	return c.Context.Err()
}

// end is until when the claim is relied on, as far as is known now.
func (l *lease) end() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over != nil {
		return l.begun // is past, whatever the clock says
	}
	return l.begun.Add(l.s.hold())
}

// lost returns why the claim is not relied on any more; nil = it is.
func (l *lease) lost() error {
	l.mu.Lock()
	late := l.over == nil && since(l.begun, time.Now()) >= l.s.hold()
	over := l.over
	l.mu.Unlock()
	if !late {
		return over
	}
	return l.lose(secrets.Errorf(secrets.Conflict, "the claim was not renewed in time (%v), and another Pawl may rotate the secret now", l.s.hold()).
		WithHint("nothing is needed: whoever rotates it next goes on from here; if it happens again, see why this process or the database was so slow"))
}

// taken is why a claim is over whose row is gone, or is another's.
func taken() error {
	return secrets.Errorf(secrets.Conflict, "the claim ended, and another Pawl may rotate the secret now").
		WithHint("nothing is needed: whoever rotates it next goes on from here")
}

// lose ends the claim here, unless it is over already, and returns why it is.
func (l *lease) lose(why error) error {
	why = secrets.At(why, l.arn.Name, "", "")
	l.mu.Lock()
	if l.over != nil {
		defer l.mu.Unlock()
		return l.over
	}
	l.over = why
	ends := l.ends
	l.ends = nil
	l.timer.Stop()
	l.mu.Unlock()
	for _, end := range ends {
		end(why)
	}
	return why
}

// begin notes that the claim began anew with a request that was sent at that time.
func (l *lease) begin(sent time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if sent.After(l.begun) {
		l.begun = sent
	}
}

// age is how long ago the claim began.
func (l *lease) age(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return since(l.begun, now)
}

// tick ends a claim that is over. Renewals do not move the timer: it looks when it
// fires.
func (l *lease) tick() {
	if l.lost() != nil {
		return
	}
	left := l.s.hold() - l.age(time.Now())
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over == nil {
		l.timer.Reset(max(left, time.Millisecond))
	}
}

// Confirm implements service.Lease.
func (l *lease) Confirm(ctx context.Context) error {
	if err := l.lost(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return l.s.classify(err)
	}
	ctx, cancel := context.WithDeadline(ctx, l.end())
	defer cancel()
	err := l.s.confirm(ctx, l)
	if lost := l.lost(); lost != nil {
		return lost
	}
	return err
}

// Find implements service.Lease.
func (l *lease) Find(ctx context.Context) (*service.Secret, error) {
	l.s.cache.forget(placeOf(l.arn).mark())
	return l.s.Find(ctx, secrets.ID{ARN: l.arn})
}

// fenceQuery begins a claim anew, if it is held. It comes after the lock of the
// secret's row, in every transaction that locks both.
const fenceQuery = `UPDATE pawl.leases SET until = clock_timestamp() + $4::interval, beat = beat + 1
	WHERE secret_id = $1 AND epoch = $2 AND owner = $3 AND until > clock_timestamp()`

// Update implements service.Lease.
func (l *lease) Update(ctx context.Context, change func(*service.Secret) (service.Sealed, error)) (*service.Secret, error) {
	if err := l.lost(); err != nil {
		return nil, err
	}
	sent := time.Now()
	fenced := false
	sec, err := l.s.update(ctx, l.arn, func(b *pgx.Batch) {
		b.Queue(fenceQuery, l.id, l.epoch, l.s.owner, l.s.leaseTime).Exec(func(tag pgconn.CommandTag) error {
			if tag.RowsAffected() == 0 {
				fenced = true
				return taken()
			}
			return nil
		})
	}, change)
	switch {
	case fenced:
		return nil, l.lose(taken())
	case err == nil:
		l.begin(sent)
	}
	return sec, err
}

// Release implements service.Lease. When it returns, anybody may have the claim; or
// the database did not answer, and it ends by itself.
func (l *lease) Release() {
	l.mu.Lock()
	again := l.released
	l.released = true
	l.mu.Unlock()
	if again {
		return
	}
	_ = l.lose(secrets.Errorf(secrets.Conflict, "the claim was given up").WithHint("claim the secret again"))
	l.s.release(l)
}
