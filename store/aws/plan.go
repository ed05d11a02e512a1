package aws

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// mostFollowing bounds how many rotations of one secret Plan foretells.
const mostFollowing = 99

// Due returns up to n secrets that are due at now, oldest first, as the listing
// shows them. The first time it waits for that; later it is renewed in the
// background, as long as ctx lasts, when it is older than Refresh, and so are
// dates asked for that decide whether a secret is due.
//
// Errors: those of the first listing, and of one that could not be renewed for so
// long that nobody should trust it.
func (s *Store) Due(ctx context.Context, now time.Time, after service.DueAfter, n int) ([]service.Due, error) {
	if err := s.firstListing(ctx); err != nil {
		return nil, err
	}
	l := &s.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.renewable(now, s.settings().Refresh) || len(l.undated(now, 1)) > 0 {
		s.upkeep(ctx)
	}
	if l.failure != nil && now.Sub(l.listed) > staleAfter*s.settings().Refresh {
		return nil, l.failure
	}
	l.reopen(s, now)
	from, _ := slices.BinarySearchFunc(l.byDue, after, func(e *entry, after service.DueAfter) int {
		a := after.ARN
		return cmp.Or(e.at.Compare(after.At), strings.Compare(e.ARN.Name, a.Name), strings.Compare(e.ARN.Suffix, a.Suffix), -1) // not the very one
	})
	var ds []service.Due
	for _, e := range l.byDue[from:] {
		if e.at.After(now) || len(ds) == n {
			break
		}
		if !e.undated {
			ds = append(ds, e.due(now))
		}
	}
	return ds, nil
}

// Backlog counts what is due at now, up to most, as the last listing shows it, and
// tells since when the oldest is.
func (s *Store) Backlog(_ context.Context, now time.Time, most int) (n int, oldest time.Time, err error) {
	l := &s.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.byDue {
		if e.at.After(now) || n == most {
			break
		}
		if e.undated {
			continue
		}
		if n == 0 {
			oldest = e.at
		}
		n++
	}
	return n, oldest, nil
}

// due is what the scheduler is told of an entry.
func (e *entry) due(now time.Time) service.Due {
	d := service.Due{ARN: e.ARN, Target: e.target, Unfinished: e.Versions.Unfinished(), At: e.at, Window: e.window,
		After: service.DueAfter{At: e.at, ARN: e.ARN}}
	if d.Unfinished && e.rotation.Attempt.NextTry.IsZero() {
		d.At = now
	}
	if d.Target == "" {
		// Until its value was read once, nobody knows: a target of its own, so that
		// a frozen server holds up nobody else's.
		d.Target = e.ARN.Name
	}
	return d
}

// reopen works out anew when those are due whose windows went by before anybody
// took them up. The caller holds the lock.
func (l *listing) reopen(s *Store, now time.Time) {
	moved := false
	for _, e := range l.byDue {
		if e.at.After(now) {
			break
		}
		if !e.undated && !e.window.Close.IsZero() && !now.Before(e.window.Close) {
			s.ponder(e, now)
			moved = true
		}
	}
	if moved {
		l.sort()
	}
}

// undated returns up to n entries that may be due at now and may not: what their
// versions' dates decide. The caller holds the lock.
func (l *listing) undated(now time.Time, n int) []*entry {
	var out []*entry
	for _, e := range l.byDue {
		if e.at.After(now) || len(out) == n {
			break
		}
		if e.undated {
			out = append(out, e)
		}
	}
	return out
}

// Reschedule works out anew when a secret is due.
func (s *Store) Reschedule(_ context.Context, arn secrets.ARN, now time.Time) error {
	l := &s.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.entries[arn.String()]; ok {
		l.place(e, func() { s.ponder(e, now) })
	}
	return nil
}

// Plan lists the secrets afresh and calls yield with every one that rotates here,
// in byte order of the name, those included that are left alone because AWS
// rotates them: their Problem says so. Following has the rotations until then
// where until is set. Dates are exact, which may take a call for each secret that
// this process has not seen before. An error of yield ends it and is returned.
func (s *Store) Plan(ctx context.Context, until time.Time, yield func(service.RotationStatus) error) error {
	if err := s.occupy(ctx); err != nil {
		return err
	}
	defer s.vacate()
	if err := s.relist(ctx); err != nil {
		return err
	}
	l := &s.listing
	l.mu.Lock()
	es := make([]*entry, 0, len(l.entries))
	for _, e := range l.entries {
		es = append(es, e)
	}
	slices.SortFunc(es, func(a, b *entry) int { return strings.Compare(a.ARN.Name, b.ARN.Name) })
	l.mu.Unlock()
	for some := range slices.Chunk(es, planned) {
		if err := s.date(ctx, l.vague(some)); err != nil {
			return err
		}
		for _, e := range some {
			r, ok := s.status(e, until)
			if !ok {
				continue // gone since it was listed
			}
			if err := yield(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// planned is how many secrets Plan asks about before it shows them.
const planned = 32

// vague returns those entries of which a date that people want to see is not
// known.
func (l *listing) vague(es []*entry) []*entry {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []*entry
	for _, e := range es {
		if e.problem == nil && e.datable(e.rotation) {
			out = append(out, e)
		}
	}
	return out
}

// status is what people are told of an entry; false if there is none any more.
func (s *Store) status(e *entry, until time.Time) (service.RotationStatus, bool) {
	l := &s.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.entries[e.key()] != e || e.gone {
		return service.RotationStatus{}, false
	}
	now := s.now()
	l.place(e, func() { s.ponder(e, now) })
	r := service.RotationStatus{
		Name: e.ARN.Name, ARN: e.ARN, Rotation: e.rotation, Unfinished: e.Versions.Unfinished(), At: e.at, Window: e.window,
	}
	switch {
	case e.problem != nil:
		r.Problem = e.problem.Error()
	case e.undated:
		r.At = time.Time{}
		if e.undatable != nil {
			r.Problem = "nobody knows when it is due: " + e.undatable.Error()
		}
	case r.Unfinished && r.Attempt.NextTry.IsZero() && !r.Paused:
		r.At = now
	}
	r.Following = service.Foresee(r, until, mostFollowing, s.settings().MinimumInterval)
	return r, true
}

// Pause stops a secret's schedule, by the tag pawl:paused. Errors:
// ResourceNotFoundException, Denied; Invalid where no rotation is declared.
func (s *Store) Pause(ctx context.Context, id string) error {
	r, rotation, err := s.lookUp(ctx, id)
	switch {
	case err != nil:
		return err
	case rotation.Paused:
		return nil
	case !rotation.Enabled:
		return secrets.At(secrets.Errorf(secrets.Invalid, "no rotation is declared for it").
			WithHint("declare one under secrets: in the configuration file, or have Pawl discover it by the tag %s", TagSchedule), r.ARN.Name, "", "")
	}
	if err := s.leftAlone(r); err != nil {
		return err
	}
	tag := service.Tag{Key: TagPaused, Value: "since " + s.now().Format(tagTime)}
	if err := s.api.tag(ctx, r.ARN.String(), []service.Tag{tag}); err != nil {
		return err
	}
	r.Tags = append(r.Tags, tag)
	s.learn(r)
	return nil
}

// Resume takes the tag off. Errors: ResourceNotFoundException, Denied.
func (s *Store) Resume(ctx context.Context, id string) error {
	r, rotation, err := s.lookUp(ctx, id)
	if err != nil || !rotation.Paused {
		return err
	}
	if err := s.api.untag(ctx, r.ARN.String(), []string{TagPaused}); err != nil {
		return err
	}
	r.Tags = slices.DeleteFunc(r.Tags, func(t service.Tag) bool { return t.Key == TagPaused })
	s.learn(r)
	return nil
}

// lookUp reads a secret and its rotation, be that readable or not.
func (s *Store) lookUp(ctx context.Context, id string) (*record, secrets.Rotation, error) {
	r, err := s.find(ctx, id)
	if err != nil {
		return nil, secrets.Rotation{}, err
	}
	rotation, _ := s.rotation(r)
	return r, rotation, nil
}

// CredentialsNear reads the AWSCURRENT value of another secret of this region, and
// of this account or, by an ARN, of any that lets this one read it. The ARN is the
// one that AWS says it has. Errors: Invalid for an ARN of another region, where
// nobody is asked.
func (s *Store) CredentialsNear(ctx context.Context, _ secrets.ARN, id string) (secrets.Credentials, secrets.ARN, error) {
	if meant, err := secrets.ParseID(id); err == nil && meant.ARN.Region != "" && meant.ARN.Region != s.region {
		e := secrets.Errorf(secrets.Invalid, "it is in %s, and here secrets of %s are rotated", meant.ARN.Region, s.region).
			WithHint("replicate it: aws secretsmanager replicate-secret-to-regions --secret-id %s --add-replica-regions Region=%s --region %s", meant.ARN.Name, s.region, meant.ARN.Region)
		return secrets.Credentials{}, secrets.ARN{}, secrets.At(e, meant.ARN.Name, "", "")
	}
	v, err := s.api.value(ctx, id, "")
	if err != nil {
		return secrets.Credentials{}, secrets.ARN{}, err
	}
	var arn secrets.ARN
	if err := arn.UnmarshalText([]byte(v.arn)); err != nil {
		return secrets.Credentials{}, arn, secrets.At(err, id, "", s.api.server)
	}
	cred, err := secrets.ParseCredentials(v.value)
	return cred, arn, secrets.At(err, arn.Name, "", "")
}
