// Package transfer copies everything from one store to another: between stores of
// Pawl's own, byte for byte but for the encryption, which is done anew with the
// keys of the destination; and values, labels, descriptions and tags to and from
// AWS Secrets Manager.
//
// One secret is copied at a time, from one reading of its record and the values of
// exactly those versions. So what arrives is always something that was: a copy that
// was stopped, however, and runs again finds what it did and goes on.
package transfer

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
	"golang.org/x/sync/errgroup"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// End is where a copy comes from or goes to: an Own or an AWS.
type End interface {
	// each calls yield with the names of all secrets there are to copy.
	each(ctx context.Context, yield func(secrets.ARN) error) error
	// read reads the secret with this name, in this account and region where there
	// are several. Errors: service.ErrNotFound.
	read(ctx context.Context, arn secrets.ARN) (*item, error)
	// claim keeps everybody from rotating a secret, where that can be. Errors:
	// Conflict where somebody is.
	claim(ctx context.Context, arn secrets.ARN) (release func(), err error)
	// write makes a secret what it is, where was is what is there; nil = nothing.
	// Errors: Conflict where it is something else by now.
	write(ctx context.Context, it, was *item) error
	// fits says why a secret can't be here; "" = it can. Errors stop the copy.
	fits(it *item) (reason string, err error)
	// atOnce is how many secrets are handled side by side.
	atOnce() int
}

// Copier copies. From and To are required.
type Copier struct {
	From, To End
	// Overwrite replaces what is at the destination under the same name and is no
	// earlier copy.
	Overwrite bool
	DryRun    bool
	// Wait is how long to wait for rotations that are running, at the end; 0 = not
	// at all.
	Wait time.Duration
	// Progress is told how many secrets are done, of how many; of 0 while they are
	// still being listed. May be nil; calls come one at a time.
	Progress func(done, total int)

	key  []byte // of the digests of this run
	seed maphash.Seed
	mu   sync.Mutex
	r    Report
	// settled are secrets that will not be verified, for the report says why.
	settled map[secrets.ARN]bool
	here    map[uint64]bool // secrets that are at the destination as they were
	done    int
}

// Report tells what a copy has done, and what is left for a person.
type Report struct {
	Copied   int // new at the destination
	Updated  int // the source had gone on since an earlier copy, or they were overwritten
	Same     int // there already
	Again    int // changed while they were copied, and copied again
	Verified int // read again on both sides, and found equal

	Keys, KeysTaken             int // named keys there are, and that were copied
	Principals, PrincipalsTaken int

	Refused   []Problem // something else is at the destination
	Failed    []Problem // can't be read, or written
	Skipped   []Problem // of a kind that the destination does not have
	Busy      []Problem // are being rotated
	Different []Problem // are not the same after all
	Gone      []string  // were deleted at the source meanwhile
}

// Problem is a secret, or a principal, and what about it.
type Problem struct {
	Name   string
	Reason string
}

// Whole reports whether everything there was has arrived, and Busy whether but for
// rotations that are running it has.
func (r *Report) Whole() bool { return r.justBusy() && len(r.Busy) == 0 }

func (r *Report) justBusy() bool {
	return len(r.Refused)+len(r.Failed)+len(r.Different)+len(r.Gone) == 0
}

// OnlyBusy reports whether nothing is missing but what is being rotated.
func (r *Report) OnlyBusy() bool { return r.justBusy() && len(r.Busy) > 0 }

// Copy copies named keys, principals and secrets. Each is written at most once
// however often it runs. Errors stop it, and can be what a person has to mend
// (Invalid) or not (Transient); what concerns one secret alone is in the Report.
func (c *Copier) Copy(ctx context.Context) (*Report, error) {
	c.key = make([]byte, 32)
	rand.Read(c.key) // it never returns an error
	c.seed = maphash.MakeSeed()
	c.settled, c.here = map[secrets.ARN]bool{}, map[uint64]bool{}
	toward(c.From, c.To)
	if from, ok := c.From.(*Own); ok {
		if to, ok := c.To.(*Own); ok {
			if err := c.settings(ctx, from, to); err != nil {
				return &c.r, err
			}
		}
	}
	return &c.r, c.all(ctx, func(ctx context.Context, arn secrets.ARN) error {
		o, reason, err := c.one(ctx, arn)
		if err == nil {
			c.note(arn, o, reason)
		}
		return err
	})
}

// Verify reads everything on both sides again and compares it, and copies what has
// changed at the source meanwhile: when it ends, the destination is what the source
// was when each secret was read last. to is the destination, opened anew.
func (c *Copier) Verify(ctx context.Context, to End) (*Report, error) {
	c.To, c.done = to, 0
	toward(c.From, c.To)
	if c.DryRun {
		return &c.r, nil
	}
	seen := map[uint64]bool{}
	err := c.all(ctx, func(ctx context.Context, arn secrets.ARN) error {
		c.mu.Lock()
		settled := c.settled[arn]
		seen[c.hash(arn)] = true
		c.mu.Unlock()
		if settled {
			return nil
		}
		return c.verify(ctx, arn)
	})
	if err != nil {
		return &c.r, err
	}
	return &c.r, c.gone(ctx, seen)
}

// all calls f with every secret of the source, several at once.
func (c *Copier) all(ctx context.Context, f func(context.Context, secrets.ARN) error) error {
	group, inGroup := errgroup.WithContext(ctx)
	names := make(chan secrets.ARN, 10_000)
	total, listed := 0, false
	group.Go(func() error {
		defer close(names)
		err := c.From.each(inGroup, func(arn secrets.ARN) error {
			c.mu.Lock()
			total++
			c.mu.Unlock()
			select {
			case names <- arn:
				return nil
			case <-inGroup.Done():
				return inGroup.Err()
			}
		})
		c.mu.Lock()
		listed = true
		c.mu.Unlock()
		return err
	})
	for range min(c.From.atOnce(), c.To.atOnce()) {
		group.Go(func() error {
			for arn := range names {
				if err := inGroup.Err(); err != nil {
					return err
				}
				if err := f(inGroup, arn); err != nil {
					return secrets.At(err, arn.Name, "", "")
				}
				c.mu.Lock()
				c.done++
				if c.Progress != nil {
					of := 0
					if listed {
						of = total
					}
					c.Progress(c.done, of)
				}
				c.mu.Unlock()
			}
			return nil
		})
	}
	err := group.Wait()
	if ctx.Err() != nil {
		return secrets.Errorf(secrets.Transient, "stopped after %d secrets", c.done).WithHint("it goes on where it was when it is run again")
	}
	return err
}

// outcome is what became of a secret.
type outcome int

const (
	copied outcome = iota
	updated
	same
	refused
	failed
	skipped
	busy
	vanished // deleted at the source meanwhile
)

// note puts an outcome into the report.
func (c *Copier) note(arn secrets.ARN, o outcome, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := Problem{nameOf(arn), reason}
	switch o {
	case copied:
		c.r.Copied++
	case updated:
		c.r.Updated++
	case same:
		c.r.Same++
	case refused:
		c.r.Refused = append(c.r.Refused, p)
	case failed:
		c.r.Failed = append(c.r.Failed, p)
	case skipped:
		c.r.Skipped = append(c.r.Skipped, p)
	case busy:
		if c.DryRun {
			c.r.Busy = append(c.r.Busy, p)
		} // else Verify tries again
	}
	switch o {
	case copied, updated, same:
		c.here[c.hash(arn)] = true
	case refused, failed, skipped:
		c.settled[arn] = true
	}
}

func nameOf(arn secrets.ARN) string { return arn.String() }

func (c *Copier) hash(arn secrets.ARN) uint64 { return maphash.String(c.seed, arn.String()) }

// one copies one secret. An error stops the copy.
func (c *Copier) one(ctx context.Context, arn secrets.ARN) (o outcome, reason string, err error) {
	// What may pass is tried again: all of it, because the destination has to be
	// looked at again too.
	policy := backoff.WithContext(backoff.WithMaxRetries(backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(200*time.Millisecond), backoff.WithMaxInterval(10*time.Second)), 6), ctx)
	err = backoff.Retry(func() error {
		o, reason, err = c.try(ctx, arn)
		if k := secrets.KindOf(err); err != nil && k != secrets.Transient && k != secrets.Unknown && k != secrets.Conflict {
			return backoff.Permanent(err)
		}
		return err
	}, policy)
	var stop *stopping
	switch {
	case err == nil:
		return o, reason, nil
	case errors.As(err, &stop):
		return 0, "", stop.error
	case secrets.KindOf(err) == secrets.Invalid, secrets.KindOf(err) == secrets.Denied:
		return failed, err.Error(), nil
	}
	return 0, "", err
}

// stopping is an error that concerns all secrets.
type stopping struct{ error }

func (s *stopping) Unwrap() error { return s.error }

// try copies one secret once.
func (c *Copier) try(ctx context.Context, arn secrets.ARN) (o outcome, reason string, err error) {
	it, err := c.From.read(ctx, arn)
	if errors.Is(err, service.ErrNotFound) {
		return vanished, "", nil
	}
	if err != nil {
		return 0, "", err
	}
	// In the middle of a rotation: is it running, or did it die?
	if it.record.Versions.Unfinished() {
		release, err := c.From.claim(ctx, it.record.ARN)
		if secrets.KindOf(err) == secrets.Conflict && err != nil {
			return busy, "it is being rotated", nil
		}
		if err != nil && !errors.Is(err, service.ErrNotFound) {
			return 0, "", err
		}
		if err == nil {
			defer release()
		}
		if it, err = c.From.read(ctx, arn); errors.Is(err, service.ErrNotFound) {
			return vanished, "", nil
		} else if err != nil {
			return 0, "", err
		}
	}
	reason, err = c.To.fits(it)
	if err != nil {
		return 0, "", &stopping{err}
	}
	if reason != "" {
		return skipped, reason, nil
	}
	was, err := c.To.read(ctx, it.record.ARN)
	if errors.Is(err, service.ErrNotFound) {
		was, err = nil, nil
	}
	if err != nil {
		return 0, "", secrets.Prefixed(err, "at the destination")
	}
	o, reason = c.decide(it, was)
	if o != copied && o != updated || c.DryRun {
		return o, reason, nil
	}
	return o, "", c.To.write(ctx, it, was)
}

// decide says what is to be done about a secret.
func (c *Copier) decide(it, was *item) (outcome, string) {
	switch {
	case was == nil:
		return copied, ""
	case !c.whole() && !was.record.Deleted.IsZero():
		return failed, "at the destination it is marked for deletion; bring it back there: pawl secret restore " + was.record.ARN.Name + ", or aws secretsmanager restore-secret"
	case c.digest(it) == c.digest(was):
		return same, ""
	case c.Overwrite:
		return updated, ""
	}
	if reason := c.other(it, was); reason != "" {
		return refused, reason
	}
	return updated, ""
}

// other says why what is at the destination is no earlier copy of a secret, which
// the source has only gone on from; "" = it is one.
func (c *Copier) other(it, was *item) string {
	if c.whole() && it.record.ARN != was.record.ARN {
		return "another secret of this name is at the destination, made " + was.record.Created.UTC().Format("2006-01-02 15:04:05Z")
	}
	for _, v := range was.record.Versions {
		value, filled := was.values[v.ID]
		if !filled || len(v.Labels) == 0 {
			continue
		}
		if mine, ok := it.values[v.ID]; !ok || !mine.Equal(value) {
			return fmt.Sprintf("it has a value of its own at the destination, in version %s (%s)", v.ID, v.Labels[0])
		}
	}
	if c.whole() && was.record.Changed.After(it.record.Changed) {
		return "it was changed at the destination, " + was.record.Changed.UTC().Format("2006-01-02 15:04:05Z")
	}
	return ""
}

// whole reports whether both ends have everything of a secret.
func (c *Copier) whole() bool {
	_, from := c.From.(*Own)
	_, to := c.To.(*Own)
	return from && to
}
