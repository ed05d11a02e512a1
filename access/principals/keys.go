package principals

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
)

// The forms of ids. Source: IAM user guide, "IAM identifiers", "Understanding
// unique ID prefixes".
const (
	keyPrefix     = "AKIA"
	sessionPrefix = "ASIA"
	idLetters     = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
	idLength      = 16 // after the prefix
)

// isKeyID reports whether s has the form of a long-term access key's id.
func isKeyID(s string) bool { return isID(s, keyPrefix) }

// isSessionID reports whether s has the form of a session's access key id.
func isSessionID(s string) bool { return isID(s, sessionPrefix) }

func isID(s, prefix string) bool {
	if len(s) != len(prefix)+idLength || s[:len(prefix)] != prefix {
		return false
	}
	for i := len(prefix); i < len(s); i++ {
		if strings.IndexByte(idLetters, s[i]) < 0 {
			return false
		}
	}
	return true
}

// newID makes a random id: n letters after the prefix, 5 bits each.
func (d *Directory) newID(prefix string, n int) (string, error) {
	raw := make([]byte, n)
	if _, err := io.ReadFull(d.random, raw); err != nil {
		return "", fmt.Errorf("making an id: %w", err)
	}
	for i := range raw {
		raw[i] = idLetters[raw[i]%32]
	}
	return prefix + string(raw), nil
}

// newSecret makes a secret access key: 240 random bits, as 40 characters.
func (d *Directory) newSecret() (secrets.Password, error) {
	raw := make([]byte, 30)
	if _, err := io.ReadFull(d.random, raw); err != nil {
		return secrets.Password{}, fmt.Errorf("making a secret access key: %w", err)
	}
	return secrets.NewPassword(base64.StdEncoding.EncodeToString(raw)), nil
}

// sealedAs is what a secret access key is sealed for, beside its id.
const sealedAs = "pawl:access-key"

// newKey makes a user's access key. It is not in the store yet.
func (d *Directory) newKey(ctx context.Context, r *Record) (AccessKey, secrets.Password, error) {
	id, err := d.newID(keyPrefix, idLength)
	if err != nil {
		return AccessKey{}, secrets.Password{}, err
	}
	secret, err := d.newSecret()
	if err != nil {
		return AccessKey{}, secrets.Password{}, err
	}
	sealed, err := d.sealer.Seal(ctx, "", sealedAs, id, secrets.Text(secret.Reveal()))
	if err != nil {
		return AccessKey{}, secrets.Password{}, secrets.Prefixed(err, "encrypt the access key of user %s", r.Name)
	}
	return AccessKey{ID: id, Created: d.now().UTC().Truncate(time.Second), Sealed: sealed}, secret, nil
}

// found is what an access key was found to be when the settings had a revision.
type found struct {
	revision int64
	key      access.Key
}

// weightOfOne is what is remembered about a key beside documents.
const weightOfOne = 1024

// AccessKey implements access.Keys: of users, and of sessions by their token.
//
// The revision is asked for first and the record read after it. So whatever is
// remembered under a revision is at least as new as that, and what is used for a
// request at least as new as the request.
func (d *Directory) AccessKey(ctx context.Context, id string, token secrets.Password) (access.Key, error) {
	session := isSessionID(id)
	if !session && !isKeyID(id) || session && token.IsEmpty() {
		return access.Key{}, noKey(id)
	}
	revision, err := d.store.SettingsRevision(ctx)
	if err != nil {
		return access.Key{}, err
	}
	if f, ok := d.found.Get(id); ok && f.revision == revision {
		if session && !f.key.SessionToken.Equal(token) {
			return access.Key{}, noKey(id)
		}
		return f.key, nil
	}
	var key access.Key
	if session {
		key, err = d.sessionKey(ctx, id, token)
	} else {
		key, err = d.longTermKey(ctx, id)
	}
	if err != nil {
		return access.Key{}, err
	}
	if key.Expires.IsZero() || d.now().Before(key.Expires) {
		d.found.Put(id, &found{revision, key}, weightOf(&key))
	}
	return key, nil
}

// weightOf is about how many bytes it takes to remember a key.
func weightOf(k *access.Key) int {
	n := weightOfOne + len(k.SessionToken.Reveal())
	for _, t := range k.Principal.Tags {
		n += 32 + len(t.Key) + len(t.Value)
	}
	all := k.Principal.Policies
	for _, p := range slices.Concat(all.Identity, all.Session, []*policy.Prepared{all.Boundary}) {
		if p != nil {
			n += p.Weight()
		}
	}
	return n
}

// longTermKey looks a user's key up.
func (d *Directory) longTermKey(ctx context.Context, id string) (access.Key, error) {
	r, err := d.store.Holder(ctx, id)
	if errors.Is(err, ErrNotFound) {
		return access.Key{}, noKey(id)
	}
	if err != nil {
		return access.Key{}, err
	}
	i := r.key(id)
	if i < 0 || r.Disabled || r.Keys[i].Disabled || r.Kind != User {
		return access.Key{}, noKey(id)
	}
	secret, err := d.sealer.Open(ctx, sealedAs, id, r.Keys[i].Sealed)
	if err != nil {
		return access.Key{}, secrets.Prefixed(err, "decrypt access key %s of user %s", id, r.Name)
	}
	p, err := d.as(r, nil)
	if err != nil {
		return access.Key{}, err
	}
	return access.Key{ID: id, Secret: secrets.NewPassword(string(secret.Reveal())), Principal: p}, nil
}

func noKey(id string) error { return fmt.Errorf("access key %s: %w", id, access.ErrNoKey) }
