// Package seal encrypts secret values for a store that keeps them on a disk:
// envelope encryption from the standard library. Each version of a secret has a
// random data key of its own, which is wrapped by a key-encryption key from a
// local key file. Whoever has only the database learns nothing but the length
// of a value; whoever loses the key file loses every secret.
package seal

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// A sealed value, format 1. Both boxes are AES-256-GCM: nonce (12 random
// bytes), ciphertext, tag (16).
//
//	format  1 byte   = 1
//	key id  8 bytes  of the key-encryption key
//	type    1 byte   0 = text, 1 = binary
//	box    60 bytes  the data key, under the key-encryption key
//	box     rest     the value, under the data key
//
// Everything before the boxes, the secret's ARN and the version id are bound
// into the additional data of the first box; all of it but the key id into that
// of the second, so that a new key-encryption key re-wraps data keys without
// touching values.
const (
	format1  = 1
	idLen    = 8
	keyLen   = 32
	boxExtra = 12 + 16
	wrapLen  = keyLen + boxExtra
	headLen  = 1 + idLen + 1
)

type keyID [idLen]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

type key struct {
	id   keyID
	aead cipher.AEAD
}

// Keyring holds the key-encryption keys of a key file. It seals with the first
// and opens with whichever a value names. It is safe for concurrent use,
// implements service.Sealer, and prints only key ids.
type Keyring struct {
	path string
	keys []key
}

// KeyID returns the id of the key that Seal uses: 16 hexadecimal digits that
// are derived from the key and do not give it away.
func (k *Keyring) KeyID() string { return k.keys[0].id.String() }

// Seal encrypts a value so that it opens only for the same ARN and version id.
// A value's length shows in what it returns. Errors: Invalid if there is no value.
func (k *Keyring) Seal(_ context.Context, key, arn, versionID string, v secrets.Value) ([]byte, error) {
	if v.IsZero() {
		return nil, secrets.Errorf(secrets.Invalid, "version %s of %s has no value to encrypt", versionID, arn)
	}
	data := make([]byte, keyLen)
	rand.Read(data) // it never returns an error
	aead, err := gcm(data)
	if err != nil {
		return nil, err
	}
	kek, typ := k.keys[0], typeOf(v)
	out := make([]byte, 0, headLen+wrapLen+boxExtra+v.Len())
	out = append(out, format1)
	out = append(out, kek.id[:]...)
	out = append(out, typ)
	out = kek.aead.Seal(out, nil, data, wrapContext(kek.id, arn, versionID, typ))
	return aead.Seal(out, nil, v.Reveal(), valueContext(arn, versionID, typ)), nil
}

// Open decrypts what Seal made for this ARN and version id. Whatever stands in
// the way is Invalid with Code DecryptionFailure: a key that the file does not
// have, altered bytes, a value that belongs to another secret or version.
func (k *Keyring) Open(_ context.Context, arn, versionID string, sealed []byte) (secrets.Value, error) {
	switch {
	case len(sealed) > 0 && sealed[0] != format1:
		return secrets.Value{}, failure("version %s of %s is sealed in format %d, which this Pawl does not know", versionID, arn, sealed[0]).
			WithHint("use the Pawl that wrote it, or a newer one; if there is none, the bytes are damaged: restore the database from a backup")
	case len(sealed) < headLen+wrapLen+boxExtra:
		return secrets.Value{}, k.damaged(arn, versionID)
	}
	id, typ := keyID(sealed[1:1+idLen]), sealed[headLen-1]
	i := slices.IndexFunc(k.keys, func(o key) bool { return o.id == id })
	if i < 0 {
		return secrets.Value{}, failure("version %s of %s is sealed with key %s; %s has %s", versionID, arn, id, k.path, k.ids()).
			WithHint("put the key file back that was in use when the value was written (store.sqlite.key_file)")
	}
	data, err := k.keys[i].aead.Open(nil, nil, sealed[headLen:headLen+wrapLen], wrapContext(id, arn, versionID, typ))
	if err != nil {
		return secrets.Value{}, k.damaged(arn, versionID)
	}
	aead, err := gcm(data)
	if err != nil {
		return secrets.Value{}, err
	}
	plain, err := aead.Open(nil, nil, sealed[headLen+wrapLen:], valueContext(arn, versionID, typ))
	if err != nil {
		return secrets.Value{}, k.damaged(arn, versionID)
	}
	return secrets.Owned(plain, typ == typeBinary), nil
}

// Check accepts every key.
func (k *Keyring) Check(context.Context, string, string) error { return nil }

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

// Verify makes sure that this key file belongs to the store: the first one to
// ask leaves a sealed canary there, and every later one must be able to open it.
// Call it right after opening a store, before anything is written with a wrong
// key. Errors: Invalid with Code DecryptionFailure, and those of m.
func (k *Keyring) Verify(ctx context.Context, m Memory) error {
	canary, err := k.Seal(ctx, "", canaryARN, canaryName, secrets.Text("canary"))
	if err != nil {
		return err
	}
	kept, err := m.Remember(ctx, canaryName, canary)
	if err != nil {
		return err
	}
	if _, err := k.Open(ctx, canaryARN, canaryName, kept); err != nil {
		if len(kept) >= headLen && kept[0] == format1 {
			return failure("the key file %s does not belong to this store: it has %s, and the store was made with key %x",
				k.path, k.ids(), kept[1:1+idLen]).
				WithHint("put the right key file back (store.sqlite.key_file); nothing was changed")
		}
		return fmt.Errorf("checking the key file %s against the store: %w", k.path, err)
	}
	return nil
}

func (k *Keyring) ids() string {
	s := make([]string, len(k.keys))
	for i, key := range k.keys {
		s[i] = key.id.String()
	}
	if len(s) == 1 {
		return "key " + s[0]
	}
	return "keys " + strings.Join(s, ", ")
}

// String names the key ids.
func (k *Keyring) String() string { return k.path + " with " + k.ids() }

// GoString names the key ids.
func (k *Keyring) GoString() string { return k.String() }

// Format writes the key ids for every verb, so that no key is printed by chance.
func (k *Keyring) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// LogValue names the key ids.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

func (k *Keyring) damaged(arn, versionID string) error {
	return failure("the sealed value of version %s of %s was altered, cut short, or copied from another secret or version", versionID, arn).
		WithHint("restore the database from a backup, or put a new value by hand (pawl secret put)")
}

func failure(text string, args ...any) *secrets.Error {
	e := secrets.Errorf(secrets.Invalid, text, args...)
	e.Code = "DecryptionFailure"
	return e
}

const (
	typeText   byte = 0
	typeBinary byte = 1
)

func typeOf(v secrets.Value) byte {
	if v.IsBinary() {
		return typeBinary
	}
	return typeText
}

func wrapContext(id keyID, arn, versionID string, typ byte) []byte {
	return additional("data key", id[:], arn, versionID, typ)
}

func valueContext(arn, versionID string, typ byte) []byte {
	return additional("value", nil, arn, versionID, typ)
}

// additional renders a box's additional data. Each part is preceded by its
// length, so that two different lists of parts never give the same bytes.
func additional(purpose string, id []byte, arn, versionID string, typ byte) []byte {
	b := []byte{format1}
	for _, part := range []string{purpose, string(id), arn, versionID, string([]byte{typ})} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(part)))
		b = append(b, part...)
	}
	return b
}

// gcm makes an AEAD that takes a random nonce for each message and puts it in
// front. With random nonces one key may seal 2^32 messages (NIST SP 800-38D,
// §8.3); a data key seals one, a key-encryption key one per version.
func gcm(k []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, fmt.Errorf("preparing AES: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("preparing AES-GCM: %w", err)
	}
	return aead, nil
}
