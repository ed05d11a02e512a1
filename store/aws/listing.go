package aws

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	// listingLag is how long a listing of AWS's may not show what has happened.
	// Source: AWS Secrets Manager API reference, ListSecrets.
	listingLag = 5 * time.Minute
	// staleAfter is how many times as old as it should be a listing may be before
	// Due says so.
	staleAfter = 3
)

// listing is what this process knows of the secrets that rotate here: what AWS
// listed last, and what claims have told since. The zero listing is empty.
type listing struct {
	busy chan struct{} // held by who asks AWS; made by configure

	declared atomic.Pointer[map[string]service.Declaration] // by the secret's name

	mu       sync.Mutex
	entries  map[string]*entry // by ARN
	byDue    []*entry          // those that are due sometime, soonest first, names breaking ties
	listed   time.Time         // when the last listing began that came to its end; zero = none yet
	outdated bool              // the configuration has changed since
	missing  []string          // declared names that were nowhere, sorted

	failed    time.Time // when it could not be renewed last, zero while it could
	failure   error
	complaint time.Time // when that was logged last
}

// entry is what is known of one secret.
type entry struct {
	*record
	reckoning

	first     time.Time // when this process first saw it with this schedule
	learnt    time.Time // when a claim told of it last; zero if never
	held      time.Time // a claim, or a question for dates, failed: not due before
	fails     int       // how often in a row
	undatable error     // why AWS could not be asked when its versions were made; nil = it could, or was not
	gone      bool      // a claim found that there is no such secret any more
	target    string    // host:port where its password is changed; "" = nobody knows yet
	told      string    // the problem that was logged last
}

func (e *entry) key() string { return e.ARN.String() }

func compareDue(a, b *entry) int {
	return cmp.Or(a.at.Compare(b.at), strings.Compare(a.ARN.Name, b.ARN.Name), strings.Compare(a.ARN.Suffix, b.ARN.Suffix))
}

// reconfigured adopts the configuration that Store.settings returns from now on.
// What there is, is looked at in its light at once, and listed again soon.
func (s *Store) reconfigured() {
	l := &s.listing
	c := s.settings()
	declared := make(map[string]service.Declaration, len(c.Declared))
	for _, d := range c.Declared {
		declared[d.Name] = d
	}
	l.declared.Store(&declared)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.busy == nil {
		l.busy, l.entries = make(chan struct{}, 1), map[string]*entry{}
	}
	l.outdated = true
	now := s.now()
	for key, e := range l.entries {
		if !s.mine(e.record) {
			delete(l.entries, key)
			continue
		}
		before := e.rotation.Rules
		s.ponder(e, now)
		if after := e.rotation.Rules; after.Schedule != before.Schedule || after.Window != before.Window {
			e.first = now // no window from before it was declared
			s.ponder(e, now)
		}
	}
	l.sort()
}

// declaration returns what the file says of a secret.
func (l *listing) declaration(name string) (service.Declaration, bool) {
	declared := l.declared.Load()
	if declared == nil {
		return service.Declaration{}, false
	}
	d, ok := (*declared)[name]
	return d, ok
}

// mine reports whether a secret is in the listing: the file declares it, its tags
// ask for it, or Pawl has begun a rotation of it, be it by name, and not ended it.
func (s *Store) mine(r *record) bool {
	if _, ok := s.listing.declaration(r.ARN.Name); ok {
		return true
	}
	return s.settings().Discover && asks(r.Tags) || r.begun()
}

// begun reports whether Pawl itself has begun a rotation and not ended it.
func (r *record) begun() bool {
	v, ok := r.Versions.With(secrets.Intent)
	return ok && (v.Has(secrets.Pending) || !v.Has(secrets.Current) && !v.Has(secrets.Previous))
}

// ponder works out when an entry is due, and logs why it has no time where
// there is a new reason. The caller holds the lock, and puts it in its place.
func (s *Store) ponder(e *entry, now time.Time) {
	waiting := e.at
	if e.gone {
		e.reckoning = reckoning{rotation: e.rotation}
		return
	}
	e.reckoning = s.reckon(e.record, e.first, now)
	if e.Versions.Unfinished() && e.at.Equal(now) && !waiting.IsZero() && waiting.Before(now) {
		e.at = waiting // what became due stays where it was in the queue
	}
	if !e.at.IsZero() && e.held.After(e.at) {
		e.at = e.held
	}
	told := ""
	if e.problem != nil {
		told = e.problem.Error()
	}
	if told != "" && told != e.told {
		s.log.Warn("a secret is left alone", "secret", e.ARN.Name, "reason", told)
	}
	e.told = told
}

// place puts an entry where it belongs among those that are due, after change has
// had its way with it. The caller holds the lock.
func (l *listing) place(e *entry, change func()) {
	if i, ok := slices.BinarySearchFunc(l.byDue, e, compareDue); ok && l.byDue[i] == e {
		l.byDue = slices.Delete(l.byDue, i, i+1)
	}
	change()
	if e.at.IsZero() || l.entries[e.key()] != e {
		return
	}
	i, _ := slices.BinarySearchFunc(l.byDue, e, compareDue)
	l.byDue = slices.Insert(l.byDue, i, e)
}

// remove forgets an entry. The caller holds the lock.
func (l *listing) remove(e *entry) {
	delete(l.entries, e.key())
	l.place(e, func() {})
}

// sort puts all entries in their places. The caller holds the lock.
func (l *listing) sort() {
	clear(l.byDue)
	l.byDue = l.byDue[:0]
	for _, e := range l.entries {
		if !e.at.IsZero() {
			l.byDue = append(l.byDue, e)
		}
	}
	slices.SortFunc(l.byDue, compareDue)
}

// trim leaves what the listing needs of what a claim knows.
func (r *record) trim() *record {
	out := *r
	out.Secret = service.Secret{
		ARN: r.ARN, Tags: ownTags(slices.Clone(r.Tags)), Created: r.Created, Changed: r.Changed, Deleted: r.Deleted,
		Versions: slices.Clone(r.Versions), OwningService: r.OwningService, PrimaryRegion: r.PrimaryRegion,
	}
	return &out
}

// datedBy takes over when versions were made from what was known of them before.
func (r *record) datedBy(before secrets.Versions) {
	for i := range r.Versions {
		v := &r.Versions[i]
		if v.Created.IsZero() {
			known, _ := before.Find(v.ID)
			v.Created = known.Created
		}
	}
}

// learn tells the listing what a claim has read or done itself: it counts more
// than what AWS lists, which may be minutes old.
func (s *Store) learn(r *record) {
	l := &s.listing
	now := s.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	key := r.ARN.String()
	e, known := l.entries[key]
	if !s.mine(r) {
		if known {
			l.remove(e)
		}
		return
	}
	fresh := r.trim()
	if !known {
		e = &entry{record: fresh, first: now}
		l.entries[key] = e
	}
	l.place(e, func() {
		fresh.datedBy(e.Versions)
		e.record, e.gone, e.learnt, e.held, e.fails = fresh, false, now, time.Time{}, 0
		s.ponder(e, now)
	})
}

// unclaimed tells the listing that a secret could not be claimed, and why, and
// returns that error. The secret is not offered again at once: what was denied may
// be denied for long, and one that is gone may be listed for minutes.
func (s *Store) unclaimed(id string, err error) error {
	meant, invalid := secrets.ParseID(id)
	if invalid != nil {
		return err
	}
	l := &s.listing
	now := s.now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.find(meant) {
		l.place(e, func() {
			if secrets.CodeOf(err) == resourceNotFound {
				e.gone, e.learnt = true, now
			} else {
				e.hold(secrets.KindOf(err), now)
			}
			s.ponder(e, now)
		})
	}
	return err
}

// find returns the entries that an id means: one at most, but for a name that
// was taken anew. The caller holds the lock.
func (l *listing) find(meant secrets.ID) []*entry {
	if e, ok := l.entries[meant.ARN.String()]; ok {
		return []*entry{e}
	}
	var out []*entry
	for _, e := range l.entries {
		if meant.Matches(e.ARN) {
			out = append(out, e)
		}
	}
	return out
}

// hold keeps an entry from being offered for a while: after what waiting may cure
// 10 s, 20 s … up to 5 min, after what it won't a quarter of an hour.
func (e *entry) hold(kind secrets.Kind, now time.Time) {
	wait := 15 * time.Minute
	if kind != secrets.Denied && kind != secrets.Invalid {
		wait = min(10*time.Second<<min(e.fails, 5), 5*time.Minute)
	}
	e.fails++
	e.held = now.Add(wait)
}

// recall fills in when a secret's versions were made, as far as this process
// knows. AWS is asked only where AWSCURRENT is another version than the listing
// knows of: somebody else may have rotated it. Errors: as AWS gives them.
func (s *Store) recall(ctx context.Context, r *record) error {
	l := &s.listing
	l.mu.Lock()
	e, known := l.entries[r.ARN.String()]
	moved := false
	if known {
		r.datedBy(e.Versions)
		moved = r.Versions.IDWith(secrets.Current) != e.Versions.IDWith(secrets.Current)
	}
	l.mu.Unlock()
	current, _ := r.Versions.With(secrets.Current)
	if !moved || !current.Created.IsZero() {
		return nil
	}
	dates, err := s.versions(ctx, r.ARN)
	if err != nil {
		return err
	}
	r.datedBy(dates)
	return nil
}

// located remembers at which server the password of a secret is changed, as its
// present value has it. What is no JSON object names none.
func (s *Store) located(arn secrets.ARN, rules secrets.RotationRules, current secrets.Value) {
	cred, err := secrets.ParseCredentials(current)
	if err != nil {
		return
	}
	target := service.Address(cred, rules, s.defaultPort)
	l := &s.listing
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.entries[arn.String()]; ok {
		e.target = target
	}
}

// Missing returns the declared names that the last listing had nowhere, sorted;
// none before the first one. A secret that was just made may be missing for some
// minutes.
func (s *Store) Missing() []string {
	s.listing.mu.Lock()
	defer s.listing.mu.Unlock()
	return slices.Clone(s.listing.missing)
}
