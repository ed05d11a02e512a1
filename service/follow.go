package service

import (
	"context"
	"errors"
	"reflect"
	"slices"
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

// How long a replica may take, and how soon one that failed for a passing reason
// is tried again: after as long as it has been behind, within these bounds.
const (
	followTimeout = 10 * time.Second
	soonestFollow = 10 * time.Second
	latestFollow  = 10 * time.Minute
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
// caller's error, and his giving up does not stop it.
func (s *Service) follow(ctx context.Context, arn secrets.ARN) {
	ctx = context.WithoutCancel(ctx)
	_ = s.catchUp(ctx, arn)
}

// Follow makes replicas equal to their primaries where that is due at now: what
// the writer of a change could not do, or did not live to do. It is for being
// called every few seconds, by any number of processes. Its error joins those of
// the secrets that it could not finish, which are tried again later.
func (s *Service) Follow(ctx context.Context, now time.Time) error {
	for {
		arns, err := s.store.Behind(ctx, now, pageSize)
		errs := []error{err}
		for _, arn := range arns {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			errs = append(errs, secrets.At(s.catchUp(ctx, arn), arn.Name, "", ""))
		}
		if err := errors.Join(errs...); err != nil || len(arns) < pageSize {
			return err
		}
	}
}

// catchUp does what is to be done for the replicas of a secret, starting again
// where it changed meanwhile; who changes it all the time follows it himself.
func (s *Service) catchUp(ctx context.Context, arn secrets.ARN) error {
	ctx, cancel := context.WithTimeout(ctx, followTimeout)
	defer cancel()
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
		if moved, err := s.catchUpOnce(ctx, sec); !moved {
			return err
		}
	}
	return nil
}

// catchUpOnce brings the replicas to the state of sec. moved says that sec is no
// longer how the secret is.
func (s *Service) catchUpOnce(ctx context.Context, sec *Secret) (moved bool, err error) {
	results := map[string]error{}
	for _, r := range sec.Replicas {
		l := link{primary: sec.ARN, region: r.Region, revision: sec.Revision}
		switch there := s.regionOf(r.Region); {
		case r.Stopping:
			results[r.Region] = there.release(ctx, l)
		case r.Removing:
			results[r.Region] = there.remove(ctx, l)
		case r.Status == InProgress:
			results[r.Region] = there.apply(ctx, s.snapshot(sec, r))
		}
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
		if err := results[r.Region]; err != nil && !errors.As(err, new(hopeless)) {
			return moved, err
		}
	}
	return moved, nil
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
				r.Status, r.Message, r.Force = Failed, string(never), false
			}
			if r.open() {
				after.FollowAt = now.Add(min(max(now.Sub(after.Changed), soonestFollow), latestFollow))
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
