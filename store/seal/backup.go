package seal

import (
	"context"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"

	"github.com/pawlhq/pawl/secrets"
)

// fileKeyLabel separates what wraps the keys of files from all else that a master
// key does, and is the context in which it wraps them.
const fileKeyLabel = "pawl.dev/master-key-v1: the key of a backup's file"

// fileKeys derives from a key what wraps the keys of files.
func fileKeys(raw []byte) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, raw, nil, fileKeyLabel, keyLen)
	if err != nil {
		return nil, fmt.Errorf("deriving a key: %w", err)
	}
	return gcm(derived)
}

// WrapFileKey encrypts the key of a backup's file by the master key that seals,
// and returns that one's id. Errors: Invalid while that key is not here, and those
// of the store.
func (k *Keyring) WrapFileKey(ctx context.Context, fileKey []byte) (master string, wrapped []byte, err error) {
	r, err := k.current(ctx)
	if err != nil {
		return "", nil, err
	}
	if err := r.stale(); err != nil {
		return "", nil, err
	}
	id := r.sealing.id
	return id.String(), r.sealing.files.Seal(nil, nil, fileKey, id[:]), nil
}

// UnwrapFileKey decrypts what WrapFileKey made, by the master key of this id.
// known is false where there is no such key here. Errors: Invalid where the bytes
// were altered.
func (k *Keyring) UnwrapFileKey(master string, wrapped []byte) (fileKey []byte, known bool, err error) {
	id, ok := parseID(master)
	if !ok {
		return nil, false, nil
	}
	for _, m := range k.ring.Load().master.keys {
		if m.id != id {
			continue
		}
		if fileKey, err = m.files.Open(nil, nil, wrapped, id[:]); err != nil {
			return nil, true, secrets.Errorf(secrets.Invalid, "the key of the file, encrypted by master key %s, was altered", id)
		}
		return fileKey, true, nil
	}
	return nil, false, nil
}

// Vouch makes a proof for data that only who has the master key can make, which is
// the one that seals, and returns that one's id. Errors: as WrapFileKey.
func (k *Keyring) Vouch(ctx context.Context, data []byte) (master string, proof []byte, err error) {
	r, err := k.current(ctx)
	if err != nil {
		return "", nil, err
	}
	if err := r.stale(); err != nil {
		return "", nil, err
	}
	id := r.sealing.id
	return id.String(), r.sealing.files.Seal(nil, nil, nil, vouched(id, data)), nil
}

// Vouched reports whether a proof was made by Vouch for data, by the master key of
// this id. known is false where there is no such key here.
func (k *Keyring) Vouched(master string, data, proof []byte) (ok, known bool) {
	id, ok := parseID(master)
	if !ok {
		return false, false
	}
	for _, m := range k.ring.Load().master.keys {
		if m.id == id {
			none, err := m.files.Open(nil, nil, proof, vouched(id, data))
			return err == nil && len(none) == 0, true
		}
	}
	return false, false
}

// vouched is the context of a proof: longer than that of the key of a file, so that
// neither passes for the other.
func vouched(id keyID, data []byte) []byte {
	return append(append(id[:len(id):len(id)], ": the whole of a backup: "...), data...)
}

// MasterKeyIDs names the master keys that are here, newest first.
func (k *Keyring) MasterKeyIDs() []string { return k.ring.Load().master.KeyIDs() }

// TakeKeys makes the named keys of another store those of this one too: with the
// same ids, aliases and material, wrapped by the master key that seals here. Those
// that are here already stay, and get the generations that they lack. A newest
// generation there is the newest here. It returns how many keys there are to take,
// and of how many something was missing; dry only counts. Errors: Invalid for a
// name that another key has here, and for a key there that can't be opened; those
// of the stores.
func (k *Keyring) TakeKeys(ctx context.Context, from *Keyring, dry bool) (all, taken int, err error) {
	if k.store == nil || from.store == nil {
		return 0, 0, errNoStore
	}
	theirs, err := from.store.NamedKeys(ctx)
	if err != nil {
		return 0, 0, err
	}
	r, err := k.current(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := r.stale(); err != nil {
		return 0, 0, err
	}
	source, err := from.current(ctx)
	if err != nil {
		return 0, 0, err
	}
	merge := func(ours []NamedKey) ([]NamedKey, error) {
		all, taken = 0, 0
		for _, n := range theirs {
			if isDefault(n) {
				continue
			}
			all++
			changed, merged, err := r.take(ours, source, n)
			if err != nil {
				return nil, err
			}
			if ours = merged; changed {
				taken++
			}
		}
		return ours, nil
	}
	if !dry {
		return all, taken, k.change(ctx, merge)
	}
	ours, err := k.store.NamedKeys(ctx)
	if err == nil {
		_, err = merge(ours)
	}
	return all, taken, err
}

// take adds a key of another ring, or the generations of it that ours lack.
func (r *ring) take(ours []NamedKey, source *ring, n NamedKey) (changed bool, merged []NamedKey, err error) {
	at := -1
	for i, o := range ours {
		switch {
		case o.ID == n.ID && o.Alias == n.Alias:
			at = i
		case o.ID == n.ID, o.Alias == n.Alias:
			return false, nil, secrets.Errorf(secrets.Invalid, "the key %s (%s) can't be taken: there is another one, %s (%s), already", n.Alias, n.ID, o.Alias, o.ID).
				WithHint("copy into a store that has no keys of its own (pawl key list)")
		}
	}
	if at < 0 {
		ours = append(ours, NamedKey{ID: n.ID, Alias: n.Alias, Created: n.Created})
		at = len(ours) - 1
	}
	var next []Generation
	for _, g := range n.Generations {
		if i := indexOf(ours[at].Generations, g.ID); i >= 0 {
			next = append(next, ours[at].Generations[i])
			continue
		}
		raw, err := source.material(n, g)
		if err != nil {
			return false, nil, secrets.Errorf(secrets.Invalid, "the key %s (%s) can't be taken: its generation %s can't be opened: %w", n.Alias, n.ID, g.ID, err).
				WithHint("look at the keys of the store that is copied: pawl key list")
		}
		wrapped, err := r.sealing.sealValue(keyARN, n.ID+"/"+g.ID, secrets.Owned(raw, true))
		if err != nil {
			return false, nil, err
		}
		next, changed = append(next, Generation{ID: g.ID, Created: g.Created, Wrapped: wrapped}), true
	}
	for _, g := range ours[at].Generations {
		if indexOf(next, g.ID) < 0 {
			next = append(next, g) // there it was dropped, or it was made here
		}
	}
	ours[at].Generations = next
	return changed, ours, nil
}

func indexOf(gs []Generation, id string) int {
	for i, g := range gs {
		if g.ID == id {
			return i
		}
	}
	return -1
}
