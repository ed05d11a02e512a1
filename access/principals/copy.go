package principals

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/pawlhq/pawl/secrets"
)

// Opens makes sure that all access keys of a record can be decrypted. Errors:
// those of Sealer's Open.
func Opens(ctx context.Context, r *Record, by Sealer) error {
	_, err := SecretsOf(ctx, r, by)
	return err
}

// SecretsOf decrypts all access keys of a record, by id. Errors: as Opens.
func SecretsOf(ctx context.Context, r *Record, by Sealer) (map[string]secrets.Value, error) {
	out := make(map[string]secrets.Value, len(r.Keys))
	for _, k := range r.Keys {
		v, err := by.Open(ctx, sealedAs, k.ID, k.Sealed)
		if err != nil {
			return nil, secrets.Prefixed(err, "decrypt access key %s of user %s", k.ID, r.Name)
		}
		out[k.ID] = v
	}
	return out, nil
}

// Resealed returns a copy of a record for another store: its access keys,
// decrypted by from, are encrypted by to. Errors: as Opens, and those of
// Sealer's Seal.
func Resealed(ctx context.Context, r *Record, from, to Sealer) (*Record, error) {
	secret, err := SecretsOf(ctx, r, from)
	if err != nil {
		return nil, err
	}
	out := *r
	out.Keys = slices.Clone(r.Keys)
	for i := range out.Keys {
		k := &out.Keys[i]
		if k.Sealed, err = to.Seal(ctx, "", sealedAs, k.ID, secret[k.ID]); err != nil {
			return nil, secrets.Prefixed(err, "encrypt access key %s of user %s", k.ID, r.Name)
		}
	}
	return &out, nil
}

// SameButSealed reports whether two records are equal but for how access keys are
// encrypted.
func (r *Record) SameButSealed(o *Record) bool {
	bare := func(r *Record) []byte {
		out := *r
		out.Keys = slices.Clone(r.Keys)
		for i := range out.Keys {
			out.Keys[i].Sealed = nil
		}
		text, _ := json.Marshal(out) // as a store would keep it
		return text
	}
	return bytes.Equal(bare(r), bare(o))
}
