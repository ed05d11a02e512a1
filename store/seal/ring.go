package seal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// ring is what a Keyring knows, true of one SettingsRevision. It is never
// altered.
type ring struct {
	revision int64
	master   *Master
	// sealing is the master key that seals values of the default key: the one
	// that the store says, because what another one seals may not open in every
	// process yet.
	sealing key
	// missing is that key's id when it is not here. Then nothing is sealed under
	// the default key: it would be lost with the old key.
	missing *keyID
	// keys open values: all that were ever here. A value that was read before a
	// key was dropped still opens.
	keys   map[keyID]key
	stored []NamedKey       // as in the store
	locked map[keyID]locked // generations that are no use here
	// trouble is why the Source could not be read again when a key was missing.
	trouble error
}

// locked says why a generation can't be used.
type locked struct {
	alias  string
	master string // the id of the master key that wraps it; "" = its record is damaged
}

// unread is the revision of a ring that knows nothing of the store.
const unread = -1

// newRing makes a ring of what the Source and the store have. Keys of the ring
// that was stay. One named key that is damaged takes no other one with it.
func newRing(m *Master, was *ring, revision int64, stored []NamedKey) *ring {
	r := &ring{revision: revision, master: m, sealing: m.keys[0], keys: map[keyID]key{}, stored: stored, locked: map[keyID]locked{}}
	if was != nil {
		maps.Copy(r.keys, was.keys)
	}
	for _, k := range m.keys {
		r.keys[k.id] = k
	}
	for _, n := range stored {
		if n.ID == defaultID {
			r.follow(n)
			continue
		}
		for _, g := range n.Generations {
			id, _ := parseID(g.ID)
			if _, ok := r.keys[id]; ok {
				continue
			}
			if k, err := r.openGeneration(n, g); err != nil {
				l := locked{alias: n.Alias}
				if w, ok := wrapperOf(g.Wrapped); ok && errors.Is(err, errNoMaster) {
					l.master = w.String()
				}
				r.locked[id] = l
			} else {
				r.keys[id] = k
			}
		}
	}
	return r
}

// follow seals with the master key that the store says.
func (r *ring) follow(n NamedKey) {
	if len(n.Generations) == 0 {
		return
	}
	id, _ := parseID(n.Generations[0].ID)
	if k, ok := r.keys[id]; ok {
		r.sealing = k
	} else {
		r.missing = &id
	}
}

// lacks reports whether a master key is needed that is not here.
func (r *ring) lacks() bool {
	if r.missing != nil {
		return true
	}
	for _, l := range r.locked {
		if id, ok := parseID(l.master); ok {
			if _, here := r.keys[id]; !here {
				return true
			}
		}
	}
	return false
}

// knows reports whether the store has a record of a key.
func (r *ring) knows(id keyID) bool {
	name := id.String()
	return slices.ContainsFunc(r.stored, func(n NamedKey) bool {
		return slices.ContainsFunc(n.Generations, func(g Generation) bool { return g.ID == name })
	})
}

// current returns a ring that is as new as the store was when it was asked for.
func (k *Keyring) current(ctx context.Context) (*ring, error) {
	r := k.ring.Load()
	if k.store == nil {
		return r, nil
	}
	revision, err := k.store.SettingsRevision(ctx)
	if err != nil || revision == r.revision {
		return r, err
	}
	if err := k.enter(ctx); err != nil {
		return nil, err
	}
	defer k.leave()
	if r = k.ring.Load(); revision == r.revision {
		return r, nil
	}
	return k.read(ctx, r.master)
}

// read makes a new ring of what is in the store, with a master key that was just
// got or was here before. Where one is missing it gets it anew.
func (k *Keyring) read(ctx context.Context, m *Master) (*ring, error) {
	was := k.ring.Load()
	revision, stored := int64(unread), []NamedKey(nil)
	if k.store != nil {
		var err error
		// In this order: what is read is never older than its revision.
		if revision, err = k.store.SettingsRevision(ctx); err != nil {
			return nil, err
		}
		if stored, err = k.store.NamedKeys(ctx); err != nil {
			return nil, err
		}
	}
	r := newRing(m, was, revision, stored)
	if r.lacks() && m == was.master {
		if m, err := m.reload(ctx); err == nil {
			r = newRing(m, r, revision, stored)
		} else if ctx.Err() != nil {
			return nil, ctx.Err()
		} else {
			r.trouble = err
		}
	}
	k.ring.Store(r)
	return r, nil
}

// Reload gets the master key from its Source again, and the named keys from the
// store. Keys that are gone from there open values until the process ends.
// Errors: as Source.Load, and those of the store; everything stays as it was.
func (k *Keyring) Reload(ctx context.Context) error {
	if err := k.enter(ctx); err != nil {
		return err
	}
	defer k.leave()
	return k.reload(ctx)
}

func (k *Keyring) reload(ctx context.Context) error {
	m, err := k.ring.Load().master.reload(ctx)
	if err != nil {
		return err
	}
	_, err = k.read(ctx, m)
	return err
}

func (k *Keyring) enter(ctx context.Context) error {
	select {
	case k.gate <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (k *Keyring) leave() { <-k.gate }

// byID returns the key that a sealed value names.
func (k *Keyring) byID(ctx context.Context, id keyID, arn, versionID string) (key, error) {
	if kek, ok := k.ring.Load().keys[id]; ok {
		return kek, nil
	}
	r, err := k.current(ctx)
	if err != nil {
		return key{}, err
	}
	if kek, ok := r.keys[id]; ok {
		return kek, nil
	}
	// What is no secret's may come from anybody (a session token): nobody shall have
	// Pawl look for a key at will, with a program perhaps, that the store never knew.
	if k.store != nil && !strings.HasPrefix(arn, "arn:") && !r.knows(id) {
		return key{}, r.notHere(id, arn, versionID)
	}
	if r, err = k.seek(ctx, id); err != nil {
		return key{}, err
	}
	if kek, ok := r.keys[id]; ok {
		return kek, nil
	}
	return key{}, r.notHere(id, arn, versionID)
}

// seek looks for a key everywhere, but not often: what names a key that there is
// not may be asked for all day.
func (k *Keyring) seek(ctx context.Context, id keyID) (*ring, error) {
	if err := k.enter(ctx); err != nil {
		return nil, err
	}
	defer k.leave()
	r := k.ring.Load()
	pause := time.Second
	if len(r.master.source.Command) > 0 {
		pause = time.Minute
	}
	if _, ok := r.keys[id]; ok || !k.sought.IsZero() && k.now().Sub(k.sought) < pause {
		return r, nil
	}
	k.sought = k.now()
	if err := k.reload(ctx); err != nil {
		var e *secrets.Error
		if ctx.Err() != nil || !errors.As(err, &e) || e.Kind != secrets.Invalid {
			return nil, err
		}
		// The Source is at fault; what is known stays known.
		with := *r
		with.trouble = err
		k.ring.Store(&with)
	}
	return k.ring.Load(), nil
}

// notHere explains why a value does not open.
func (r *ring) notHere(id keyID, arn, versionID string) error {
	source := r.master.source
	e := failure("version %s of %s is sealed with key %s; %s", versionID, arn, id, r.master)
	if l, ok := r.locked[id]; ok && l.master == "" {
		return failure("version %s of %s is sealed with key %s, a generation of %s whose record is damaged", versionID, arn, id, l.alias).
			WithHint("restore the database from a backup")
	} else if ok {
		e = failure("version %s of %s is sealed with key %s, a generation of %s that master key %s opens; %s", versionID, arn, id, l.alias, l.master, r.master)
	}
	if r.trouble != nil {
		e.Err = fmt.Errorf("%w; reading it again: %w", e.Err, r.trouble)
	}
	if source.File == "" {
		return e.WithHint("if the master key was rotated, restart Pawl with the new one beside the old one; otherwise give back the one that was in use when the value was written (%s)", source.setting())
	}
	return e.WithHint("put the key file back that was in use when the value was written, or the newest one if the key was rotated (%s)", source.setting())
}

// stale refuses to seal while the store's master key is not here.
func (r *ring) stale() error {
	if r.missing == nil {
		return nil
	}
	e := cannotEncrypt("the master key was rotated: the store is sealed with %s; %s", r.missing, r.master)
	if r.trouble != nil {
		e.Err = fmt.Errorf("%w; reading it again: %w", e.Err, r.trouble)
	}
	return e.WithHint("give Pawl the new master key beside the old one (%s) and restart it", r.master.source.setting())
}
