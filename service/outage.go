package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// When a server that is away is asked whether it is there again: each time that
// Follow is called, unless it was there and refused the credentials, which somebody
// has to change first. A change of the configuration has it asked at once.
const (
	askAgain        = 4 * time.Second
	askRefusedAgain = time.Minute
	askTime         = 5 * time.Second
)

// serverPlaces is how many replicas on one server are written to at one time.
const serverPlaces = 32

// outages are what a Service knows of the other servers: which of them are away.
// It is noticed by one request, whichever that is, and holds for all secrets, so
// that a server that is away costs a request every few seconds and not one for
// each secret; and that it is back is noticed by one, too.
type outages struct {
	mu      sync.Mutex
	away    map[string]*away // by region
	places  map[string]chan struct{}
	overdue bool // what was put off is to be looked at: somebody is back
	heard   func(region string, why error)
}

// away is a server that does not answer, or not as it should.
type away struct {
	server  Server
	region  string
	since   time.Time
	next    time.Time // when it is asked again
	replica string    // one that it may be asked about
	err     error
}

// Error says since when, why, and what to do about it.
func (a *away) Error() string {
	since := a.since.Format("2006-01-02 15:04:05 UTC")
	var e *secrets.Error
	if !errors.As(a.err, &e) || e.Err == nil {
		return a.err.Error() + ", since " + since
	}
	out := *e
	out.Err = fmt.Errorf("%w, since %s", e.Err, since)
	return out.Error()
}

func (a *away) Unwrap() error { return a.err }

// of returns the outage of a region's server; nil where it is not known to be
// away. One that has been replaced by the configuration has not been asked yet.
func (o *outages) of(region string, server Server) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.away[region]; a != nil && a.server == server {
		return a
	}
	return nil
}

// begin notes that a server is away, and returns how it is from now on.
func (o *outages) begin(region string, server Server, replica string, err error, now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if a := o.away[region]; a != nil && a.server == server {
		return a
	}
	a := &away{server: server, region: region, since: now, replica: replica, err: withoutSecret(err)}
	a.next = now.Add(a.wait())
	if o.away == nil {
		o.away = map[string]*away{}
	}
	o.away[region] = a
	o.heard(region, a.err)
	return a
}

func (a *away) wait() time.Duration {
	if secrets.KindOf(a.err) == secrets.Denied {
		return askRefusedAgain
	}
	return askAgain
}

// withoutSecret is an error without the secret that it happened to come with.
func withoutSecret(err error) error {
	var e *secrets.Error
	if !errors.As(err, &e) {
		return err
	}
	out := *e
	out.Secret = ""
	return &out
}

// ask asks the servers that are away and due whether they are there again.
func (o *outages) ask(ctx context.Context, serverOf func(region string) Server, now func() time.Time) {
	o.mu.Lock()
	var due []*away
	for region, a := range o.away {
		switch there := serverOf(region); {
		case there != a.server: // or none any more
			o.overdue = true
			delete(o.away, region)
		case !a.next.After(now()):
			due = append(due, a)
		}
	}
	o.mu.Unlock()
	var wg sync.WaitGroup
	for _, a := range due {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, askTime)
			defer cancel()
			_, err := a.server.DescribeReplica(ctx, DescribeReplicaInput{SecretID: a.replica})
			o.answered(a, err, now())
		})
	}
	wg.Wait()
}

// answered notes what a server said that was away: anything, even that there is
// no such replica, unless it is the server's fault.
func (o *outages) answered(a *away, err error, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.away[a.region] != a {
		return
	}
	if err != nil && serversFault(err) {
		// A new one: who has the old one may be reading it.
		again := *a
		again.err = withoutSecret(err)
		again.next = now.Add(again.wait())
		o.away[a.region] = &again
		return
	}
	delete(o.away, a.region)
	o.overdue = true
	o.heard(a.region, nil)
}

// back reports whether a server has come back since it was last asked that.
func (o *outages) back() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.overdue
	o.overdue = false
	return was
}

// later has what was put off looked at again, where not all of it was.
func (o *outages) later(again bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.overdue = o.overdue || again
}

// errBusy says that a server has enough to do.
var errBusy = errors.New("its server is busy with other replicas")

// placeTime is how long a replica waits for a place.
const placeTime = 5 * time.Second

// place waits for a place at a server, but not for long: a slow one keeps its own
// replicas waiting and nobody else's.
func (o *outages) place(ctx context.Context, region string) (leave func(), err error) {
	o.mu.Lock()
	if o.places == nil {
		o.places = map[string]chan struct{}{}
	}
	p := o.places[region]
	if p == nil {
		p = make(chan struct{}, serverPlaces)
		o.places[region] = p
	}
	o.mu.Unlock()
	timer := time.NewTimer(placeTime)
	defer timer.Stop()
	select {
	case p <- struct{}{}:
		return func() { <-p }, nil
	case <-timer.C:
		return nil, errBusy
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
