package seal

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Source returns where the master key comes from.
func (k *Keyring) Source() Source { return k.ring.Load().master.source }

// RotateMaster puts a new key into the key file, before the others, and returns
// its id. The file is replaced at once or not at all, keeps its owner, and is on
// the disk when it returns. The new key seals from the next Rewrap on; where one
// is waiting for that already, its id is returned and the file stays as it is.
// Errors: Invalid where the master key is not in a file, saying what to do, or
// the file can't be written; those of the store.
func (k *Keyring) RotateMaster(ctx context.Context) (id string, err error) {
	source := k.Source()
	if source.File == "" {
		return "", secrets.Errorf(secrets.Invalid, "Pawl can't change %s", source).
			WithHint("put a new key before the old one there (head -c 32 /dev/urandom | base64; one a line), restart every Pawl on this store, then run: pawl key rewrap")
	}
	if k.store == nil {
		return "", errNoStore
	}
	raw := make([]byte, keyLen)
	if _, err := io.ReadFull(k.random, raw); err != nil {
		return "", fmt.Errorf("making a key: %w", err)
	}
	// In a transaction of the store, so that there is one at a time.
	err = k.change(ctx, func(keys []NamedKey) ([]NamedKey, error) {
		f, have, err := k.withSealing(source, keys)
		if err != nil {
			return nil, err
		}
		if i := slices.IndexFunc(keys, isDefault); i >= 0 && !slices.ContainsFunc(keys[i].Generations, have[0].is) {
			id = have[0].id.String()
			return keys, nil
		}
		f.add(raw)
		if have, err = f.keys(); err != nil {
			return nil, err
		}
		id = have[0].id.String()
		return keys, f.write()
	})
	if err != nil {
		return "", err
	}
	return id, k.Reload(ctx)
}

// withSealing reads the key file, and makes sure that the key is in it that the
// store is sealed with.
func (k *Keyring) withSealing(source Source, keys []NamedKey) (*keyFile, []key, error) {
	f, err := openKeyFile(source.File)
	if err != nil {
		return nil, nil, err
	}
	have, err := f.keys()
	if err != nil {
		return nil, nil, err
	}
	if i := slices.IndexFunc(keys, isDefault); i >= 0 {
		head := keys[i].Generations[0]
		if !slices.ContainsFunc(have, func(k key) bool { return k.is(head) }) {
			return nil, nil, secrets.Errorf(secrets.Invalid, "%s has %s, and the store is sealed with key %s", source, idList(have), head.ID).
				WithHint("put the newest key file back (%s)", source.setting())
		}
	}
	return f, have, nil
}

// RetireMaster takes the keys out of the key file that a newer one replaced, and
// returns their ids. Of a master key that is not in a file it returns which may be
// taken out there. Before, it has reseal seal anew what else is sealed with this
// Keyring and may not be lost: the access keys of principals.Directory. What is
// sealed outside of the store ends with the old key: session credentials that were
// made before the rotation.
//
// Errors: Invalid while a value, a named key or the store itself needs an old key,
// while a new one waits for Rewrap, and within Config.Settle of that; those of
// reseal and of the store.
func (k *Keyring) RetireMaster(ctx context.Context, reseal func(context.Context) error) (ids []string, err error) {
	if k.store == nil {
		return nil, errNoStore
	}
	if err := k.Reload(ctx); err != nil {
		return nil, err
	}
	r := k.ring.Load()
	if err := r.stale(); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(r.stored, isDefault)
	if i < 0 || !slices.ContainsFunc(r.stored[i].Generations, r.master.keys[0].is) {
		return nil, needed("the new master key %s is not in use yet", r.master.keys[0].id)
	}
	var old []keyID
	for _, m := range r.master.keys {
		if m.id != r.sealing.id {
			old = append(old, m.id)
			ids = append(ids, m.id.String())
		}
	}
	if len(old) == 0 {
		return nil, nil
	}
	if until := r.stored[i].Generations[0].Created.Add(k.settle); k.now().Before(until) {
		return nil, secrets.Errorf(secrets.Invalid, "master key %s is in use since %s only; what was being written with an older one may not be in the store yet",
			r.sealing.id, r.stored[i].Generations[0].Created.UTC().Format(time.TimeOnly+" MST")).
			WithHint("run it again after %s: pawl key retire", until.UTC().Format("2006-01-02 15:04:05 MST"))
	}
	if err := reseal(ctx); err != nil {
		return nil, err
	}
	if err := k.needNone(ctx, old); err != nil {
		return nil, err
	}
	err = k.change(ctx, func(keys []NamedKey) ([]NamedKey, error) {
		for _, n := range keys {
			for _, g := range n.Generations {
				if id, ok := wrapperOf(g.Wrapped); ok && slices.Contains(old, id) {
					return nil, needed("key %s is encrypted with master key %s", n.Alias, id)
				}
			}
		}
		if r.master.source.File == "" {
			return keys, nil
		}
		f, _, err := k.withSealing(r.master.source, keys)
		if err != nil {
			return nil, err
		}
		f.remove(old)
		return keys, f.write()
	})
	if err != nil || r.master.source.File == "" {
		return ids, err
	}
	return ids, k.Reload(ctx)
}

// needNone makes sure that no value, and not the store itself, needs a key.
func (k *Keyring) needNone(ctx context.Context, old []keyID) error {
	kept, err := k.store.Remember(ctx, canaryName, nil)
	if err != nil {
		return err
	}
	if id, _ := wrapperOf(kept); slices.Contains(old, id) {
		return needed("the store is bound to master key %s", id)
	}
	use, err := k.Usage(ctx)
	if err != nil {
		return err
	}
	var by []string
	for _, id := range old {
		if n := use[id.String()]; n > 0 {
			by = append(by, fmt.Sprintf("%d by key %s", n, id))
		}
	}
	if len(by) > 0 {
		return needed("values are still encrypted by old master keys: %s", strings.Join(by, ", "))
	}
	return nil
}

func needed(format string, args ...any) error {
	return secrets.Errorf(secrets.Invalid, format, args...).WithHint("run: pawl key rewrap")
}
