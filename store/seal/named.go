package seal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/pawlhq/pawl/secrets"
)

// The default key stands among a store's named keys so that every process knows
// which master key seals: its generations, newest first, are all master keys that
// ever did, without their material. One that was replaced never seals again.
const (
	defaultID = "default"
	// DefaultAlias is the default key's name.
	DefaultAlias = "alias/aws/secretsmanager"
)

func isDefault(n NamedKey) bool { return n.ID == defaultID }

// What generations are bound to by the master key: this, the key's id and their
// own.
const keyARN = "pawl:key"

// Source: AWS KMS API reference, KeyId and AliasName.
var (
	keyName  = regexp.MustCompile(`^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|mrk-[0-9a-f]{32})$`)
	aliasFor = regexp.MustCompile(`^alias/[a-zA-Z0-9:/_-]{1,250}$`)
)

// nameOf returns the alias or the id that a KmsKeyId means, "" for the default
// key. That an ARN is of the right account and region is not looked at.
func nameOf(kmsKeyID string) string {
	name := kmsKeyID
	if rest, ok := strings.CutPrefix(kmsKeyID, "arn:"); ok {
		parts := strings.SplitN(rest, ":", 5) // partition, service, region, account, resource
		name = strings.TrimPrefix(parts[len(parts)-1], "key/")
	}
	if name == DefaultAlias {
		return ""
	}
	return name
}

// find returns a named key by alias or id.
func find(keys []NamedKey, name string) int {
	return slices.IndexFunc(keys, func(n NamedKey) bool {
		return !isDefault(n) && (n.Alias == name || strings.EqualFold(n.ID, name))
	})
}

// named returns the key that a KmsKeyId names; local is false for one of AWS
// KMS.
func (k *Keyring) named(ctx context.Context, kmsKeyID string) (kek key, local bool, err error) {
	r, err := k.current(ctx)
	if err != nil {
		return key{}, false, err
	}
	name := nameOf(kmsKeyID)
	if name == "" {
		return r.sealing, true, r.stale()
	}
	i := find(r.stored, name)
	if i < 0 {
		switch {
		case k.kms != nil:
			return key{}, false, nil
		case k.store == nil || !k.createMissing || !aliasFor.MatchString(name) && !keyName.MatchString(name):
			return key{}, false, noSuchKey(name)
		}
		if r, err = k.create(ctx, name); err != nil {
			return key{}, false, err
		}
		if i = find(r.stored, name); i < 0 {
			return key{}, false, noSuchKey(name)
		}
	}
	kek, err = r.newest(r.stored[i])
	return kek, true, err
}

func noSuchKey(name string) error {
	e := secrets.Errorf(secrets.Invalid, "The operation failed because of an invalid KMS key: Invalid keyId")
	e.Code = "InvalidParameterException"
	if aliasFor.MatchString(name) {
		return e.WithHint("make it: pawl key create %s", name)
	}
	return e.WithHint("see the keys there are: pawl key list")
}

// newest returns the generation of a key that seals.
func (r *ring) newest(n NamedKey) (key, error) {
	if len(n.Generations) == 0 {
		return key{}, cannotEncrypt("the record of key %s is damaged", n.Alias).WithHint("restore the database from a backup")
	}
	id, _ := parseID(n.Generations[0].ID)
	if kek, ok := r.keys[id]; ok {
		return kek, nil
	}
	l := r.locked[id]
	if l.master == "" {
		return key{}, cannotEncrypt("the record of key %s is damaged", n.Alias).WithHint("restore the database from a backup")
	}
	return key{}, cannotEncrypt("key %s is encrypted with master key %s; %s", n.Alias, l.master, r.master).
		WithHint("put that master key back, or give Pawl the newest one beside the old one (%s)", r.master.source.setting())
}

// create makes a key that is named before it was made.
func (k *Keyring) create(ctx context.Context, name string) (*ring, error) {
	id, alias := name, "alias/"+name
	if aliasFor.MatchString(name) {
		made, err := k.newID()
		if err != nil {
			return nil, err
		}
		id, alias = made, name
	}
	_, err := k.add(ctx, id, alias)
	if err != nil && !errors.Is(err, errTaken) { // another one was quicker
		return nil, err
	}
	return k.current(ctx)
}

// CreateKey makes a key that secrets name by its alias or its id. Errors: Invalid
// for a name that can't be or is taken, and those of the store.
func (k *Keyring) CreateKey(ctx context.Context, alias string) (NamedKey, error) {
	switch {
	case !aliasFor.MatchString(alias):
		return NamedKey{}, secrets.Errorf(secrets.Invalid, "%q can't be the name of a key", alias).
			WithHint("name it alias/ and then letters, digits and any of :/_- : pawl key create alias/app")
	case strings.HasPrefix(alias, "alias/aws/"):
		return NamedKey{}, secrets.Errorf(secrets.Invalid, "%q can't be the name of a key: AWS keeps alias/aws/ for its own", alias).
			WithHint("name it otherwise: pawl key create alias/%s", strings.TrimPrefix(alias, "alias/aws/"))
	}
	id, err := k.newID()
	if err != nil {
		return NamedKey{}, err
	}
	n, err := k.add(ctx, id, alias)
	if errors.Is(err, errTaken) {
		return NamedKey{}, secrets.Errorf(secrets.Invalid, "there is a key %s", alias).
			WithHint("use it, or see the keys there are: pawl key list")
	}
	return n, err
}

var errTaken = errors.New("a key of this name exists")

func (k *Keyring) add(ctx context.Context, id, alias string) (NamedKey, error) {
	now := k.now()
	n := NamedKey{ID: id, Alias: alias, Created: now}
	err := k.withGeneration(ctx, func(keys []NamedKey, fresh func(id string) (Generation, error)) ([]NamedKey, error) {
		if find(keys, id) >= 0 || find(keys, alias) >= 0 {
			return nil, errTaken
		}
		g, err := fresh(id)
		if err != nil {
			return nil, err
		}
		n.Generations = []Generation{g}
		return append(keys, n), nil
	})
	return n.bare(), err
}

// RotateKey gives a named key, by alias, id or the ARN of either, a new
// generation, which seals from now on, in every process. What the old ones
// encrypt opens, and Rewrap moves it to the new one. Errors: Invalid for a key
// that there is not, and those of the store.
func (k *Keyring) RotateKey(ctx context.Context, ref string) (NamedKey, error) {
	name := nameOf(ref)
	if name == "" {
		return NamedKey{}, secrets.Errorf(secrets.Invalid, "the default key is the master key, and is rotated otherwise").
			WithHint("run: pawl key rotate")
	}
	var out NamedKey
	err := k.withGeneration(ctx, func(keys []NamedKey, fresh func(id string) (Generation, error)) ([]NamedKey, error) {
		i := find(keys, name)
		if i < 0 {
			return nil, secrets.Errorf(secrets.Invalid, "there is no key %s", ref).
				WithHint("see the keys there are: pawl key list")
		}
		g, err := fresh(keys[i].ID)
		if err != nil {
			return nil, err
		}
		keys[i].Generations = slices.Insert(keys[i].Generations, 0, g)
		out = keys[i].bare()
		return keys, nil
	})
	return out, err
}

// withGeneration changes the named keys with a new generation, made for the key
// of an id.
func (k *Keyring) withGeneration(ctx context.Context, change func([]NamedKey, func(id string) (Generation, error)) ([]NamedKey, error)) error {
	r, err := k.current(ctx)
	if err != nil {
		return err
	}
	if err := r.stale(); err != nil {
		return err
	}
	raw := make([]byte, keyLen)
	if _, err := io.ReadFull(k.random, raw); err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	return k.change(ctx, func(keys []NamedKey) ([]NamedKey, error) {
		return change(keys, func(id string) (Generation, error) {
			g := Generation{ID: idOf(raw).String(), Created: k.now()}
			var err error
			g.Wrapped, err = r.sealing.sealValue(keyARN, id+"/"+g.ID, secrets.Owned(raw, true))
			return g, err
		})
	})
}

var errNoMaster = errors.New("the master key is not here")

// openGeneration unwraps a generation's material, and makes a key of it.
func (r *ring) openGeneration(n NamedKey, g Generation) (key, error) {
	raw, err := r.material(n, g)
	if err != nil {
		return key{}, err
	}
	return newKey(raw)
}

// material unwraps a generation's material.
func (r *ring) material(n NamedKey, g Generation) ([]byte, error) {
	id, ok := wrapperOf(g.Wrapped)
	if !ok {
		return nil, errors.New("damaged")
	}
	master, ok := r.keys[id]
	if !ok {
		return nil, errNoMaster
	}
	raw, err := master.openWhole(keyARN, n.ID+"/"+g.ID, g.Wrapped)
	if err != nil {
		return nil, err
	}
	if len(raw) != keyLen || idOf(raw).String() != g.ID {
		return nil, errors.New("damaged")
	}
	return raw, nil
}

// ListKeys returns the default key, whose Alias is alias/aws/secretsmanager and
// whose Generations are the master keys that are here, and then the named keys by
// alias. Material is left out, wrapped too.
func (k *Keyring) ListKeys(ctx context.Context) ([]NamedKey, error) {
	r, err := k.current(ctx)
	if err != nil {
		return nil, err
	}
	byDefault := NamedKey{ID: defaultID, Alias: DefaultAlias}
	var out []NamedKey
	for _, n := range r.stored {
		if !isDefault(n) {
			out = append(out, n.bare())
			continue
		}
		byDefault = n.bare()
	}
	// Before those that the store knows of stand new ones, for the next Rewrap.
	known := byDefault.Generations
	byDefault.Generations = nil
	for _, m := range r.master.keys {
		g := Generation{ID: m.id.String()}
		if i := slices.IndexFunc(known, func(o Generation) bool { return o.ID == g.ID }); i >= 0 {
			g = known[i]
		}
		byDefault.Generations = append(byDefault.Generations, g)
	}
	return slices.Insert(out, 0, byDefault), nil
}

// bare returns a copy without material.
func (n NamedKey) bare() NamedKey {
	n.Generations = slices.Clone(n.Generations)
	for i := range n.Generations {
		n.Generations[i].Wrapped = nil
	}
	return n
}

// newID makes a UUID.
func (k *Keyring) newID() (string, error) {
	id, err := uuid.NewRandomFromReader(k.random)
	if err != nil {
		return "", fmt.Errorf("making a key: %w", err)
	}
	return id.String(), nil
}
