package service

import (
	"context"
	"errors"

	"github.com/pawlhq/pawl/secrets"
)

// ahead encrypts values before the write that puts them into the store: inside
// of it there is no time to, for a key may be AWS KMS's. What has to be encrypted
// under which key is only certain inside. So the write takes what it needs from
// here, and where that is not there yet, because the secret's key or labels
// became others meanwhile, it gives up, and runs again when it is.
type ahead struct {
	s      *Service
	arn    secrets.ARN
	given  string        // the id of a new version
	value  secrets.Value // of it
	sealed map[under][]byte
	wanted []under
}

// under is a version's value under a key.
type under struct {
	id   string
	made int64  // when the version was, in ns: an id can be used again; 0 = it is the new one
	key  string // a KmsKeyId
}

// errNotSealed says that a write needs what was not encrypted ahead of it.
var errNotSealed = errors.New("a value is not encrypted yet")

// ahead begins to encrypt the value of a version that is to be, if v is one, and
// those of versions that there are.
func (s *Service) ahead(arn secrets.ARN, id string, v secrets.Value) *ahead {
	return &ahead{s: s, arn: arn, given: id, value: v, sealed: map[under][]byte{}}
}

// expect encrypts the new value under the key that the secret will have, as far
// as one knows.
func (a *ahead) expect(ctx context.Context, key string) error {
	return a.seal(ctx, under{id: a.given, key: key})
}

// write has run write the secret until it has all that it needs.
func (a *ahead) write(ctx context.Context, run func() error) error {
	for range 5 {
		a.wanted = nil
		if err := run(); !errors.Is(err, errNotSealed) {
			return err
		}
		for _, u := range a.wanted {
			if err := a.seal(ctx, u); err != nil {
				return err
			}
		}
	}
	return secrets.At(secrets.Errorf(secrets.Transient, "the secret's key changed again and again while a value was being encrypted").
		WithHint("try again"), a.arn.Name, "", "")
}

// fresh is, for the write, the new value under a key. Errors: errNotSealed.
func (a *ahead) fresh(key string) (Sealed, error) {
	out := Sealed{}
	return out, a.take(out, under{id: a.given, key: key})
}

// again adds to out, for the write, the value of an existing version under
// another key; it may go on after errNotSealed, to learn what else is missing.
func (a *ahead) again(out Sealed, v secrets.Version, key string) error {
	return a.take(out, under{v.ID, v.Created.UnixNano(), key})
}

func (a *ahead) take(out Sealed, u under) error {
	b, ok := a.sealed[u]
	if !ok {
		a.wanted = append(a.wanted, u)
		return errNotSealed
	}
	out[u.id] = b
	return nil
}

func (a *ahead) seal(ctx context.Context, u under) error {
	v := a.value
	if u.made != 0 {
		sec, err := a.s.store.Find(ctx, secrets.ID{ARN: a.arn})
		if err != nil {
			return known(err, a.arn.Name)
		}
		old, ok := sec.Versions.Find(u.id)
		if !ok || old.Created.UnixNano() != u.made {
			return nil // it is gone, and the write will see that
		}
		v, err = a.s.open(ctx, a.arn, u.id)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return ofKey(err, a.arn, old.KeyID)
		}
	}
	b, err := a.s.seal(ctx, u.key, a.arn, u.id, v)
	if err == nil {
		a.sealed[u] = b[u.id]
	}
	return err
}
