package principals

import (
	"bytes"
	"context"
	"errors"

	"github.com/pawlhq/pawl/secrets"
)

// Reseal encrypts every access key anew, under the key that seals now, and
// reports after each principal how many access keys are done. It may be called
// beside a running daemon, ended at any time and begun again. Access keys that
// can't be decrypted stay as they are and the others are done: the error names
// them all. While there is an error, no old key may be thrown away.
func (d *Directory) Reseal(ctx context.Context, progress func(done int)) error {
	done := 0
	var failed []error
	err := d.Each(ctx, "", func(r *Record) error {
		var old, fresh [][]byte
		for _, k := range r.Keys {
			sealed, err := d.resealed(ctx, k)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				failed = append(failed, secrets.Prefixed(err, "access key %s of user %s", k.ID, r.Name))
				continue
			}
			old, fresh = append(old, k.Sealed), append(fresh, sealed)
		}
		if len(old) == 0 {
			return nil
		}
		_, err := d.changeRecord(ctx, r, func(r *Record) error {
			for i := range r.Keys {
				for j := range old {
					if bytes.Equal(r.Keys[i].Sealed, old[j]) {
						r.Keys[i].Sealed = fresh[j]
						break
					}
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, ErrNotFound) { // else he was deleted meanwhile
			return err
		}
		done += len(old)
		if progress != nil {
			progress(done)
		}
		return nil
	})
	return errors.Join(append(failed, err)...)
}

func (d *Directory) resealed(ctx context.Context, k AccessKey) ([]byte, error) {
	v, err := d.sealer.Open(ctx, sealedAs, k.ID, k.Sealed)
	if err != nil {
		return nil, err
	}
	return d.sealer.Seal(ctx, "", sealedAs, k.ID, v)
}
