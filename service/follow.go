package service

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// A replica is a copy: a whole record in its own region, with values sealed
// anew. A change of a primary that its replicas follow marks them as behind in
// the same transaction; after the commit whoever made it makes them equal, and
// what he could not do, or did not live to do, Follow does later. So several may
// be at it at once. Copies are therefore ordered by the primary's Revision: an
// older one never overwrites a newer one, and what an older one ordered (to
// delete, to let go) never befalls a newer one.

// How long the replicas of a secret in this store may take, and how soon one that
// failed for a passing reason is tried again: after as long as it has been behind,
// within these bounds. Where its server is away it waits for that, and is put off
// to the last of them in case nobody is there any more who knows.
const (
	followTimeout = 10 * time.Second
	soonestFollow = 10 * time.Second
	latestFollow  = 10 * time.Minute
)

// What one Follow does at most, so that it comes back to what has become due
// meanwhile.
const (
	followMost = 20_000 // secrets
	followTime = time.Minute
)

// copied is what a replica takes over from its primary. PAWLINTENT stays behind:
// it speaks of what a rotator did, and that is at the primary. So do days of
// reading and keys, which each region has of its own.
type copied struct {
	Description, Policy, Type, OwningService string

	Tags     []Tag
	Versions secrets.Versions
}

func copyOf(sec *Secret) *copied {
	c := &copied{sec.Description, sec.Policy, sec.Type, sec.OwningService, slices.Clone(sec.Tags), slices.Clone(sec.Versions)}
	for i := range c.Versions {
		v := &c.Versions[i]
		v.Accessed, v.KeyID = time.Time{}, ""
		v.Labels = slices.DeleteFunc(slices.Clone(v.Labels), func(l string) bool { return l == secrets.Intent })
	}
	return c
}

// watch remembers what replicas follow; the function it returns marks them as
// behind if that has changed, and reports whether there is something to do for
// them. A secret without replicas is not looked at.
func watch(sec *Secret) (behind func(now time.Time) bool) {
	revision := sec.Revision
	var before *copied
	if len(sec.Replicas) > 0 {
		before = copyOf(sec)
	}
	return func(now time.Time) bool {
		if before != nil && !reflect.DeepEqual(before, copyOf(sec)) {
			for i := range sec.Replicas {
				if r := &sec.Replicas[i]; r.Status == InSync {
					r.Status = InProgress
				}
			}
			revise(sec, now)
		}
		return sec.Revision != revision
	}
}

// revise notes that there is something to do for the replicas.
func revise(sec *Secret, now time.Time) {
	sec.Revision++
	if slices.ContainsFunc(sec.Replicas, Replica.open) {
		sec.FollowAt = now
	}
}

// open reports whether there is something to do for the replica.
func (r Replica) open() bool { return r.leaving() || r.Status == InProgress }

// leaving reports whether it will soon be no replica of its primary.
func (r Replica) leaving() bool { return r.Removing || r.Stopping }

// follow makes the replicas of a secret equal to it, as far as that can be done
// now. It is for after a write that succeeded: what can't be done is not the
// caller's error, and his giving up does not stop it. For a server in another
// place he does not wait: Lagging says that there is something to do for one.
func (s *Service) follow(ctx context.Context, arn secrets.ARN) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), followTimeout)
	defer cancel()
	_ = s.catchUp(ctx, arn, near)
	if s.config.Regions != nil {
		s.Lag()
	}
}

// Lagging has something to read after a write of this process that replicas on
// other servers may have to follow, and after Lag: who calls Follow then need not
// wait for the next time.
func (s *Service) Lagging() <-chan struct{} { return s.lagging }

// Lag says that there may be something for Follow to do: Regions has another
// server than before. It does not block.
func (s *Service) Lag() {
	select {
	case s.lagging <- struct{}{}:
	default: // said already
	}
}

// Follow makes replicas equal to their primaries where that is due at now: what
// the writer of a change could not do, or did not live to do, and all that is to
// be done on other servers. It is for being called every few seconds, by any
// number of processes. Its error joins those of some of the secrets that it could
// not finish, which are tried again later; that a server is away is not among
// them.
func (s *Service) Follow(ctx context.Context, now time.Time) error {
	select {
	case s.following <- struct{}{}:
		defer func() { <-s.following }()
	case <-ctx.Done():
		return ctx.Err()
	}
	until := now
	if s.config.Regions != nil {
		s.outages.ask(ctx, s.serverOf, s.now)
		if s.outages.back() {
			until = now.Add(latestFollow)
		}
	}
	stop := s.clock().Add(followTime)
	seen := map[secrets.ARN]bool{}
	var failed failures
	for {
		arns, err := s.store.Behind(ctx, until, pageSize)
		if err != nil {
			failed.add(err)
			return failed.err()
		}
		full := len(arns) == pageSize
		arns = slices.DeleteFunc(arns, func(a secrets.ARN) bool { return seen[a] })
		if ctx.Err() != nil {
			return ctx.Err()
		}
		for _, arn := range arns {
			seen[arn] = true
		}
		s.catchUpAll(ctx, arns, &failed)
		if !full || len(arns) == 0 {
			return failed.err()
		}
		if len(seen) >= followMost || s.clock().After(stop) {
			s.outages.later(until.After(now))
			return failed.err()
		}
	}
}

// catchUpAll does what is to be done for secrets: one after the other where all
// is in one store, at once where most of it is waiting for other servers.
func (s *Service) catchUpAll(ctx context.Context, arns []secrets.ARN, failed *failures) {
	one := func(arn secrets.ARN) {
		if ctx.Err() == nil {
			failed.add(secrets.At(s.catchUp(ctx, arn, everywhere), arn.Name, "", ""))
		}
	}
	if s.config.Regions == nil {
		for _, arn := range arns {
			one(arn)
		}
		return
	}
	var wg sync.WaitGroup
	for _, arn := range arns {
		wg.Go(func() { one(arn) })
	}
	wg.Wait()
}

// failures are the first errors of many.
type failures struct {
	mu   sync.Mutex
	errs []error
	more int
}

const mostFailures = 10

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case err == nil:
	case len(f.errs) < mostFailures:
		f.errs = append(f.errs, err)
	default:
		f.more++
	}
}

func (f *failures) err() error {
	if f.more > 0 {
		return errors.Join(append(f.errs, fmt.Errorf("and %d more", f.more))...)
	}
	return errors.Join(f.errs...)
}

// reach is for which replicas something is to be done.
type reach bool

const (
	near       reach = false // those in this store
	everywhere reach = true
)

// catchUp does what is to be done for the replicas of a secret, starting again
// where it changed meanwhile; who changes it all the time follows it himself.
func (s *Service) catchUp(ctx context.Context, arn secrets.ARN, how reach) error {
	for range 3 {
		sec, err := s.store.Find(ctx, secrets.ID{ARN: arn})
		switch {
		case errors.Is(err, ErrNotFound):
			return nil
		case err != nil:
			return err
		case sec.FollowAt.IsZero():
			return nil
		case sec.PrimaryRegion != "":
			return s.confirm(ctx, sec)
		}
		if moved, err := s.catchUpOnce(ctx, sec, how); !moved {
			return err
		}
	}
	return nil
}

// catchUpOnce brings the replicas to the state of sec. moved says that sec is no
// longer how the secret is.
func (s *Service) catchUpOnce(ctx context.Context, sec *Secret, how reach) (moved bool, err error) {
	results := s.bring(ctx, sec, how)
	if ctx.Err() != nil && how == everywhere {
		return false, ctx.Err() // nobody is to blame for what was not finished
	}
	if len(results) == 0 && how == near {
		return false, nil
	}
	given, err := s.settle(ctx, sec, results, &moved)
	if err != nil {
		return moved, err
	}
	// Replicas that were given up while they were being made.
	for _, region := range given {
		l := link{primary: sec.ARN, region: region, revision: sec.Revision}
		if err := s.regionOf(region).remove(ctx, l); err != nil {
			return moved, err
		}
	}
	for _, r := range sec.Replicas {
		if err := results[r.Region]; err != nil && !errors.As(err, new(hopeless)) && !errors.As(err, new(*away)) && !errors.Is(err, errBusy) {
			return moved, err
		}
	}
	return moved, nil
}

// bring does what is to be done in each region, and returns what became of it:
// one after the other in this store, and at once on other servers, so that none
// waits for another.
func (s *Service) bring(ctx context.Context, sec *Secret, how reach) map[string]error {
	results := map[string]error{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, r := range sec.Replicas {
		there := s.regionOf(r.Region)
		_, far := there.(otherServer)
		if !r.open() || far && how == near {
			continue
		}
		if !far {
			local, cancel := context.WithTimeout(ctx, followTimeout)
			err := s.work(local, sec, r, there)
			cancel()
			mu.Lock()
			results[r.Region] = err
			mu.Unlock()
			continue
		}
		wg.Go(func() {
			leave, err := s.outages.place(ctx, r.Region)
			if err == nil {
				err = s.work(ctx, sec, r, there)
				leave()
			}
			mu.Lock()
			defer mu.Unlock()
			results[r.Region] = err
		})
	}
	wg.Wait()
	return results
}

// work does what is to be done for one replica.
func (s *Service) work(ctx context.Context, sec *Secret, r Replica, there region) error {
	l := link{primary: sec.ARN, region: r.Region, revision: sec.Revision}
	switch {
	case r.Stopping:
		return there.release(ctx, l)
	case r.Removing:
		return there.remove(ctx, l)
	}
	return there.apply(ctx, s.snapshot(sec, r))
}

// settle writes down how it went, unless the secret moved on meanwhile, and
// returns the regions that were worked for but are no longer the primary's.
func (s *Service) settle(ctx context.Context, sec *Secret, results map[string]error, moved *bool) (given []string, err error) {
	region := func(name string) func(Replica) bool { return func(r Replica) bool { return r.Region == name } }
	_, err = s.store.Update(ctx, sec.ARN, func(after *Secret) (Sealed, error) {
		given = nil
		for name := range results {
			if !slices.ContainsFunc(after.Replicas, region(name)) {
				given = append(given, name)
			}
		}
		if *moved = after.Revision != sec.Revision; *moved {
			return nil, errUnchanged
		}
		now := s.now()
		before, at := slices.Clone(after.Replicas), after.FollowAt
		after.Replicas = slices.DeleteFunc(after.Replicas, func(r Replica) bool {
			err, tried := results[r.Region]
			return tried && err == nil && r.leaving()
		})
		after.FollowAt = time.Time{}
		for i := range after.Replicas {
			r := &after.Replicas[i]
			err, tried := results[r.Region]
			var never hopeless
			switch {
			case !tried || r.leaving():
			case err == nil:
				r.Status, r.Message, r.Force = InSync, "", false
			case errors.As(err, &never):
				r.Status, r.Message, r.Force = Failed, secrets.OneLine(never, longestMessage), false
			case s.serverOf(r.Region) != nil && !errors.Is(err, errBusy):
				r.Message = waiting(err)
			}
			if again := now.Add(putOff(err, tried, now.Sub(after.Changed))); r.open() && (after.FollowAt.IsZero() || again.Before(after.FollowAt)) {
				after.FollowAt = again
			}
		}
		due := !at.IsZero() && !at.After(now)
		if slices.Equal(before, after.Replicas) && at.IsZero() == after.FollowAt.IsZero() && !due {
			return nil, errUnchanged // somebody else was faster
		}
		return nil, nil
	})
	switch {
	case errors.Is(err, errUnchanged):
		err = nil
	case errors.Is(err, ErrNotFound): // the primary ended
		for name := range results {
			given = append(given, name)
		}
		*moved, err = true, nil
	}
	return given, err
}

// longestMessage bounds a StatusMessage, in bytes: another server may have said it.
const longestMessage = 1000

// putOff is how long what is open waits after an error.
func putOff(err error, tried bool, behind time.Duration) time.Duration {
	switch {
	case !tried: // it is on another server, and the turn of who does not keep a writer waiting
		return 0
	case errors.As(err, new(*away)):
		return latestFollow
	case errors.Is(err, errBusy):
		return soonestFollow
	}
	return min(max(behind, soonestFollow), latestFollow)
}

// confirm looks whether a replica just made is its primary's: he who made it may
// have died right after somebody else gave it up.
func (s *Service) confirm(ctx context.Context, sec *Secret) error {
	l := link{primary: sec.ARN, region: sec.ARN.Region, revision: sec.Revision}
	l.primary.Region = sec.PrimaryRegion
	primary, err := s.store.Find(ctx, secrets.ID{ARN: l.primary})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	if err != nil || !slices.ContainsFunc(primary.Replicas, func(r Replica) bool { return r.Region == l.region }) {
		return s.regionOf(l.region).remove(ctx, l)
	}
	_, err = s.store.Update(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		if sec.PrimaryRegion == "" {
			return nil, errUnchanged // FollowAt is about replicas of its own
		}
		sec.FollowAt = time.Time{}
		return nil, nil
	})
	if errors.Is(err, errUnchanged) || errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
