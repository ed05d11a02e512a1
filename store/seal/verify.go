package seal

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pawlhq/pawl/secrets"
)

// Memory is a store's small durable memory.
type Memory interface {
	// Remember keeps value under name unless something is kept there already,
	// and returns what is kept there now.
	Remember(ctx context.Context, name string, value []byte) ([]byte, error)
}

// What Verify leaves in a store: a value with no meaning, sealed.
const (
	canaryName = "seal.canary"
	canaryARN  = "pawl:canary"
)

// Verify makes sure that this master key belongs to the store: the first one to
// ask leaves a sealed canary there, and every later one must be able to open it.
// Call it right after opening a store, before anything is written with a wrong
// key. A Keyring with a Store also learns its keys, and tells it which master key
// seals if it has not been told. Errors: Invalid with Code DecryptionFailure, and
// those of the store.
func (k *Keyring) Verify(ctx context.Context, m Memory) error {
	first, err := k.ring.Load().sealing.sealValue(canaryARN, canaryName, secrets.Text("canary"))
	if err != nil {
		return err
	}
	kept, err := m.Remember(ctx, canaryName, first)
	if err != nil {
		return err
	}
	if _, err := k.Open(ctx, canaryARN, canaryName, kept); err != nil {
		if id, ok := wrapperOf(kept); ok && secrets.CodeOf(err) == "DecryptionFailure" {
			if _, here := k.ring.Load().keys[id]; !here {
				source := k.ring.Load().master.source
				return failure("%s does not belong to this store: it has %s, and the store was made with key %s",
					source, idList(k.ring.Load().master.keys), id).
					WithHint("put the right key back, the newest one if it was rotated (%s); nothing was changed", source.setting())
			}
		}
		return fmt.Errorf("checking %s against the store: %w", k.ring.Load().master.source, err)
	}
	if k.store == nil {
		return nil
	}
	r, err := k.current(ctx)
	if err != nil || slices.ContainsFunc(r.stored, isDefault) {
		return err
	}
	id, _ := wrapperOf(kept)
	return k.change(ctx, func(keys []NamedKey) ([]NamedKey, error) {
		if slices.ContainsFunc(keys, isDefault) {
			return keys, nil
		}
		now := k.now()
		return append(keys, NamedKey{ID: defaultID, Alias: DefaultAlias, Created: now,
			Generations: []Generation{{ID: id.String(), Created: now}}}), nil
	})
}

// change changes the named keys, and knows of it when it returns.
func (k *Keyring) change(ctx context.Context, change func([]NamedKey) ([]NamedKey, error)) error {
	if k.store == nil {
		return errNoStore
	}
	if err := k.store.ChangeNamedKeys(ctx, change); err != nil {
		return err
	}
	_, err := k.current(ctx)
	return err
}

var errNoStore = errors.New("a Keyring without a Store has no keys to change")
