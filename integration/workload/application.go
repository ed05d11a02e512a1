package workload

import (
	"context"
	"sync"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Application fetches its secret and logs in, again and again.
type Application struct {
	Fetch func(context.Context) (secrets.Credentials, error)
	Login func(context.Context, secrets.Credentials) error
	// Every is the time between the starts of two logins; 0 = as fast as one
	// connection after the other goes.
	Every time.Duration

	mu    sync.Mutex
	stats Stats
}

// Stats count an application's logins.
type Stats struct {
	Logins   int   // that went through
	Refusals int   // answered with "wrong credentials"
	Failures int   // anything else
	Last     error // the last failure that was no refusal
}

// atOnce bounds how many logins may be under way.
const atOnce = 8

// Run logs in until ctx ends and returns the counts.
func (a *Application) Run(ctx context.Context) Stats {
	slots := make(chan struct{}, atOnce)
	if a.Every == 0 {
		slots = make(chan struct{}, 1)
	}
	var tick <-chan time.Time
	if a.Every > 0 {
		t := time.NewTicker(a.Every)
		defer t.Stop()
		tick = t.C
	}
	var wg sync.WaitGroup
	for ctx.Err() == nil {
		if tick != nil {
			select {
			case <-tick:
			case <-ctx.Done():
				continue
			}
		}
		select {
		case slots <- struct{}{}:
			wg.Add(1)
			go func() {
				defer wg.Done()
				a.once(ctx)
				<-slots
			}()
		case <-ctx.Done():
		}
	}
	wg.Wait()
	return a.Stats()
}

// once fetches and logs in. A login under way when the application is told to
// stop still goes to its end, and counts.
func (a *Application) once(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
	defer cancel()
	c, err := a.Fetch(ctx)
	if err == nil {
		err = a.Login(ctx, c)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case err == nil:
		a.stats.Logins++
	case Refused(err):
		a.stats.Refusals++
	default:
		a.stats.Failures++
		a.stats.Last = err
	}
}

// Stats returns the counts so far.
func (a *Application) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats
}
