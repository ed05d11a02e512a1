package main

import (
	"context"
	"time"
)

// rewrapEvery is how often the daemon asks whether keys have changed.
const rewrapEvery = 10 * time.Minute

// rewrapping moves, in the background, what old generations of keys still encrypt to
// the newest one: it goes on where `pawl key rotate` was interrupted, and takes
// what somebody wrote meanwhile in a process that knew but the old key. stop
// returns when it has ended; what is not done then is done at the next start.
func (a *app) rewrapping(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(rewrapEvery)
		defer tick.Stop()
		done := int64(-1) // the revision of the settings that the last pass saw
		for {
			revision, err := a.store.SettingsRevision(ctx)
			if err == nil && revision != done {
				err = a.rewrapOnce(ctx)
				done = revision
			}
			if err != nil {
				done = -1
				if ctx.Err() == nil {
					a.log.Warn("what old keys encrypt could not be moved to new ones; it is tried again", "error", err)
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

func (a *app) rewrapOnce(ctx context.Context) error {
	moved := 0
	err := a.keys.Rewrap(ctx, func(done, _ int) { moved = done })
	if moved > 0 {
		a.log.Info("moved values to the newest generation of their keys", "values", moved)
	}
	return err
}
