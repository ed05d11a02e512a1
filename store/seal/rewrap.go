package seal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// batchSize is how many values are looked at in one transaction, which holds up
// every other writer.
const batchSize = 200

// ByKMS is what Usage calls the keys of AWS KMS.
const ByKMS = "kms"

// Usage counts the values in the store by the id of the key that wraps their
// data keys: that of a master key or of a generation, or ByKMS.
func (k *Keyring) Usage(ctx context.Context) (map[string]int, error) {
	if k.store == nil {
		return nil, errNoStore
	}
	use := map[string]int{}
	for after := ""; ; {
		var seen []string
		next, err := k.store.Reseal(ctx, after, batchSize, func(_ secrets.ARN, _ string, sealed []byte) ([]byte, error) {
			if id, ok := wrapperOf(sealed); ok {
				seen = append(seen, id.String())
			} else if len(sealed) > 0 && sealed[0] == format2 {
				seen = append(seen, ByKMS)
			}
			return nil, nil
		})
		if err != nil {
			return nil, err
		}
		for _, id := range seen {
			use[id]++
		}
		if after = next; after == "" {
			return use, nil
		}
	}
}

// Rewrap moves to the newest of its key what an older one encrypts: the data keys
// of values (values themselves are not touched), named keys under the master key,
// and what Verify left. It begins to use a new master key that stands first in
// the Source, and every process on the store does from then on. When nothing needs
// an old generation of a named key, and the newest is older than Config.Settle,
// the old one is dropped.
//
// progress, if not nil, is told how many values were moved, of how many. Rewrap
// may run beside anything, several times at once, and be killed at any point:
// every value opens at every moment, and the next Rewrap goes on where this one
// was. What else was sealed with the Keyring (access keys) is not in its reach.
// Errors: those of Reload and of the store; Invalid for what can't be moved
// because it is damaged or its key is not here, after everything else was.
func (k *Keyring) Rewrap(ctx context.Context, progress func(done, total int)) error {
	if k.store == nil {
		return errNoStore
	}
	if err := k.Reload(ctx); err != nil {
		return err
	}
	stuck, err := k.promote(ctx)
	if err != nil {
		return err
	}
	if err := k.moveCanary(ctx); err != nil {
		return err
	}
	for done := 0; ; {
		r, err := k.current(ctx)
		if err != nil {
			return err
		}
		to := r.successors()
		if len(to) == 0 {
			return stuck
		}
		began := k.now()
		use, err := k.Usage(ctx)
		if err != nil {
			return err
		}
		left := 0
		for id := range to {
			left += use[id.String()]
		}
		if left == 0 {
			return errors.Join(stuck, k.drop(ctx, began, use))
		}
		total := done + left
		report := func(n int) {
			done += n
			if progress != nil {
				progress(done, max(done, total))
			}
		}
		report(0)
		p, err := k.move(ctx, r, to, report)
		if err != nil {
			return err
		}
		if p.moved == 0 && p.whole && len(p.bad) > 0 {
			return errors.Join(stuck, cannotMove(p.bad), k.drop(ctx, began, use))
		}
	}
}

// successors says which key takes the place of an old one that is here.
func (r *ring) successors() map[keyID]key {
	to := map[keyID]key{}
	replace := func(id keyID, by key) {
		if _, ok := r.keys[id]; ok && id != by.id {
			to[id] = by
		}
	}
	if r.missing == nil {
		for _, m := range r.master.keys {
			replace(m.id, r.sealing)
		}
	}
	for _, n := range r.stored {
		by := r.sealing
		if isDefault(n) && r.missing != nil {
			continue
		}
		if !isDefault(n) {
			var err error
			if by, err = r.newest(n); err != nil {
				continue
			}
		}
		for _, g := range n.Generations {
			if id, ok := parseID(g.ID); ok {
				replace(id, by)
			}
		}
	}
	return to
}

// promote makes the Source's first key the one that seals, if it never was, and
// wraps the named keys with the one that does. stuck is about those that can't
// be.
func (k *Keyring) promote(ctx context.Context) (stuck, err error) {
	r := k.ring.Load()
	first := r.master.keys[0]
	err = k.change(ctx, func(keys []NamedKey) ([]NamedKey, error) {
		i := slices.IndexFunc(keys, isDefault)
		if i < 0 {
			keys = append(keys, NamedKey{ID: defaultID, Alias: DefaultAlias, Created: k.now()})
			i = len(keys) - 1
		}
		d := &keys[i]
		if !slices.ContainsFunc(d.Generations, first.is) {
			d.Generations = slices.Insert(d.Generations, 0, Generation{ID: first.id.String(), Created: k.now()})
		}
		head, _ := parseID(d.Generations[0].ID)
		by, ok := r.keys[head]
		if !ok {
			with := *r
			with.missing = &head
			return nil, with.stale()
		}
		var left []string
		for _, n := range keys {
			if isDefault(n) {
				continue
			}
			for i := range n.Generations {
				g := &n.Generations[i]
				from, ok := wrapperOf(g.Wrapped)
				if ok && from == by.id {
					continue
				}
				wrapped, err := []byte(nil), errors.New("no such key")
				if old, here := r.keys[from]; ok && here {
					wrapped, err = rewrap(old, by, keyARN, n.ID+"/"+g.ID, g.Wrapped)
				}
				if err != nil {
					left = append(left, n.Alias)
					continue
				}
				g.Wrapped = wrapped
			}
		}
		if len(left) > 0 {
			stuck = secrets.Errorf(secrets.Invalid, "named keys that are damaged or encrypted with a master key that is not here: %s",
				strings.Join(slices.Compact(left), ", ")).
				WithHint("give Pawl the older master key too (%s), or restore the database from a backup", r.master.source.setting())
		}
		return keys, nil
	})
	return stuck, err
}

// is reports whether a generation is this key.
func (k key) is(g Generation) bool { return g.ID == k.id.String() }

// moveCanary puts what Verify left under the master key that seals.
func (k *Keyring) moveCanary(ctx context.Context) error {
	if err := k.Verify(ctx, k.store); err != nil {
		return err
	}
	kept, err := k.store.Remember(ctx, canaryName, nil)
	if err != nil {
		return err
	}
	r, err := k.current(ctx)
	if err != nil {
		return err
	}
	id, _ := wrapperOf(kept)
	if old, ok := r.keys[id]; ok && r.missing == nil && id != r.sealing.id {
		if kept, err = rewrap(old, r.sealing, canaryARN, canaryName, kept); err != nil {
			return err
		}
		return k.store.Keep(ctx, canaryName, kept)
	}
	return nil
}

// cursorName is where a store remembers how far the values were moved.
const cursorName = "seal.rewrap"

// Passing reports whether what a store keeps under a name has no meaning in
// another store with the same secrets: where in this one a re-wrap has got to.
func Passing(name string) bool { return name == cursorName }

// cursor is how far.
type cursor struct {
	Goal  string `json:"goal,omitempty"` // what was to be moved to what
	After string `json:"after,omitempty"`
}

// goalOf names what is to be moved to what.
func goalOf(to map[keyID]key) string {
	var pairs []string
	for from, by := range to {
		pairs = append(pairs, from.String()+">"+by.id.String())
	}
	slices.Sort(pairs)
	sum := sha256.Sum256([]byte(strings.Join(pairs, " ")))
	return hex.EncodeToString(sum[:8])
}

// pass is one way through the values.
type pass struct {
	whole bool // it began at the first one
	moved int
	bad   []string // what could not be moved
}

// move goes through the values from where the last move to the same goal ended.
func (k *Keyring) move(ctx context.Context, r *ring, to map[keyID]key, report func(n int)) (p pass, err error) {
	at, err := k.whereWas(ctx, goalOf(to))
	if err != nil {
		return p, err
	}
	p.whole = at.After == ""
	for {
		n, bad := 0, []string(nil)
		at.After, err = k.store.Reseal(ctx, at.After, batchSize, func(arn secrets.ARN, versionID string, sealed []byte) ([]byte, error) {
			id, ok := wrapperOf(sealed)
			by, old := to[id]
			if !ok || !old {
				return nil, nil
			}
			out, err := rewrap(r.keys[id], by, arn.String(), versionID, sealed)
			if err != nil {
				bad = append(bad, fmt.Sprintf("version %s of %s", versionID, arn))
				return nil, nil
			}
			n++
			return out, nil
		})
		if err != nil {
			return p, err
		}
		p.moved, p.bad = p.moved+n, append(p.bad, bad...)
		report(n)
		if at.After == "" {
			at.Goal = ""
		}
		if err := k.remember(ctx, at); err != nil || at.After == "" {
			return p, err
		}
	}
}

func (k *Keyring) whereWas(ctx context.Context, goal string) (cursor, error) {
	kept, err := k.store.Remember(ctx, cursorName, []byte("{}"))
	var at cursor
	// One that can't be read is of no use, and of no harm.
	if err != nil || json.Unmarshal(kept, &at) != nil || at.Goal != goal {
		at = cursor{Goal: goal}
	}
	return at, err
}

func (k *Keyring) remember(ctx context.Context, at cursor) error {
	text, err := json.Marshal(at)
	if err != nil {
		return err
	}
	return k.store.Keep(ctx, cursorName, text)
}

func cannotMove(bad []string) error {
	some := bad[:min(len(bad), 3)]
	text := strings.Join(some, ", ")
	if n := len(bad) - len(some); n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	return secrets.Errorf(secrets.Invalid, "values that are damaged stay under the old key: %s", text).
		WithHint("restore the database from a backup, or put new values by hand (pawl secret put) and remove their old versions")
}

// drop forgets generations that were old, for certain, before the values were
// counted, and that none of them needs.
func (k *Keyring) drop(ctx context.Context, counted time.Time, use map[string]int) error {
	done := func(n NamedKey, g Generation) bool {
		newest := n.Generations[0]
		return g.ID != newest.ID && use[g.ID] == 0 && !newest.Created.Add(k.settle).After(counted)
	}
	r, err := k.current(ctx)
	if err != nil || !slices.ContainsFunc(r.stored, func(n NamedKey) bool {
		return !isDefault(n) && slices.ContainsFunc(n.Generations, func(g Generation) bool { return done(n, g) })
	}) {
		return err
	}
	return k.change(ctx, func(keys []NamedKey) ([]NamedKey, error) {
		for i := range keys {
			if n := keys[i]; !isDefault(n) {
				keys[i].Generations = slices.DeleteFunc(slices.Clone(n.Generations), func(g Generation) bool { return done(n, g) })
			}
		}
		return keys, nil
	})
}
