// Package seal encrypts secret values for a store that keeps them on a disk:
// envelope encryption from the standard library. Each version of a secret has a
// random data key of its own, which is wrapped by a key-encryption key: the
// master key, which is never in the store; a named key, which is in the store,
// wrapped by the master key; or a key of AWS KMS. Whoever has only the database
// learns nothing but the length of a value; whoever loses the master key loses
// every secret that is not encrypted by AWS KMS.
package seal

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Config is what a Keyring is made of. Master is required.
type Config struct {
	Master *Master
	Store  Store // nil = no named keys, and no rotation of keys
	KMS    KMS   // nil = no AWS KMS
	// CreateMissing has every well-formed name of a key that there is not come
	// into being at first use: for development, where scripts written for AWS
	// name keys that were made there.
	CreateMissing bool
	// Settle is how long an old key is kept for certain after a newer one came:
	// what was encrypted with it just before may not be in the store yet. 0 = 10
	// minutes.
	Settle time.Duration
	Now    func() time.Time // nil = time.Now
	Random io.Reader        // what keys are made of; nil = crypto/rand
}

const defaultSettle = 10 * time.Minute

// Keyring holds the key-encryption keys. It seals with the newest generation of
// a key, whichever process made it, and opens with whichever a value names. It
// is safe for concurrent use, implements service.Sealer, and prints only key
// ids.
//
// With a Store it follows what other processes do with keys: before it seals it
// asks for the SettingsRevision, and when that has risen, or a value names a key
// that is not here, it reads the named keys again, and the master key again from
// its Source if there is a newer one. So a daemon needs no restart when the key
// file is rotated; one whose master key is in its environment does.
type Keyring struct {
	store         Store
	kms           KMS
	createMissing bool
	settle        time.Duration
	now           func() time.Time
	random        io.Reader

	ring   atomic.Pointer[ring]
	cache  dataKeys
	gate   chan struct{} // has room for who changes ring
	sought time.Time     // when a key that is not here was last looked for everywhere; under gate
}

// New makes a Keyring. Call Verify before anything is written.
func New(c Config) *Keyring {
	k := &Keyring{
		store: c.Store, kms: c.KMS, createMissing: c.CreateMissing,
		settle: c.Settle, now: c.Now, random: c.Random, gate: make(chan struct{}, 1),
	}
	if k.settle == 0 {
		k.settle = defaultSettle
	}
	if k.now == nil {
		k.now = time.Now
	}
	if k.random == nil {
		k.random = rand.Reader
	}
	k.ring.Store(newRing(c.Master, nil, unread, nil))
	return k
}

// KeyID returns the id of the master key that seals values of the default key:
// 16 hexadecimal digits that are derived from the key and do not give it away.
func (k *Keyring) KeyID() string { return k.ring.Load().sealing.id.String() }

// Seal encrypts a value under the key that a KmsKeyId names, so that it opens
// only for the same ARN and version id. A value's length shows in what it
// returns. Errors: those of Check, Invalid if there is no value, those of the
// store.
func (k *Keyring) Seal(ctx context.Context, key, arn, versionID string, v secrets.Value) ([]byte, error) {
	if v.IsZero() {
		return nil, secrets.Errorf(secrets.Invalid, "version %s of %s has no value to encrypt", versionID, arn)
	}
	kek, local, err := k.named(ctx, key)
	switch {
	case err != nil:
		return nil, err
	case local:
		return kek.sealValue(arn, versionID, v)
	}
	return k.sealKMS(ctx, key, arn, versionID, v)
}

// Check makes sure that there is a key that a KmsKeyId names, and that values
// can be encrypted under it and decrypted again. Errors: Invalid with Code
// InvalidParameterException for a key that there is not, EncryptionFailure for
// one that can't be used, AccessDeniedException where AWS KMS refuses Pawl;
// Transient where AWS KMS or the store can't be reached.
func (k *Keyring) Check(ctx context.Context, key, arn string) error {
	_, local, err := k.named(ctx, key)
	if err != nil || local {
		return err
	}
	return k.checkKMS(ctx, key, arn)
}

// buffers are for what Open compares and authenticates: nothing secret.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

// Open decrypts what Seal made for this ARN and version id. Whatever stands in
// the way is Invalid with Code DecryptionFailure: a key that is not here, altered
// bytes, a value that belongs to another secret or version. For a key of AWS KMS
// also: AccessDeniedException, and Transient where it can't be reached.
//
// Data keys that were unwrapped stay in memory, bounded in number, so that a
// value that is read often costs one decryption; those of AWS KMS for 5 minutes,
// so long does Pawl open a value after its key was disabled or its grant revoked.
func (k *Keyring) Open(ctx context.Context, arn, versionID string, sealed []byte) (secrets.Value, error) {
	n, typ, ok := wrapping(sealed)
	if !ok {
		return secrets.Value{}, unreadable(arn, versionID, sealed)
	}
	// The value's additional data, and after it what wraps the data key: together
	// they say whether a data key in the cache is that of this value, for this
	// ARN and version.
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	bind := valueContext((*buf)[:0], sealed[0], arn, versionID, typ)
	bound := append(bind, sealed[:n]...)
	*buf = bound
	data := k.cache.find(bound, k.now)
	if data == nil {
		var err error
		if data, err = k.unwrap(ctx, arn, versionID, sealed[:n]); err != nil {
			return secrets.Value{}, err
		}
		k.cache.keep(bound, data)
	}
	plain, err := data.aead.Open(nil, nil, sealed[n:], bind)
	if err != nil {
		return secrets.Value{}, damaged(arn, versionID)
	}
	return secrets.Owned(plain, typ == typeBinary), nil
}

// unwrap opens the data key of a sealed value by what stands before its box.
func (k *Keyring) unwrap(ctx context.Context, arn, versionID string, wrapped []byte) (*dataKey, error) {
	var data []byte
	var until time.Time
	if wrapped[0] == format2 {
		var err error
		if data, err = k.openKMS(ctx, arn, versionID, wrapped[head2Len:]); err != nil {
			return nil, err
		}
		until = k.now().Add(kmsKeyTime)
	} else {
		kek, err := k.byID(ctx, keyID(wrapped[1:1+idLen]), arn, versionID)
		if err != nil {
			return nil, err
		}
		if data, err = kek.unwrap(arn, versionID, wrapped); err != nil {
			return nil, damaged(arn, versionID)
		}
	}
	aead, err := gcm(data)
	if err != nil {
		return nil, err
	}
	return &dataKey{aead, until}, nil
}

// String names the master key's source and ids.
func (k *Keyring) String() string { return k.ring.Load().master.String() }

// GoString is String.
func (k *Keyring) GoString() string { return k.String() }

// Format writes what String gives for every verb, so that no key is printed by
// chance.
func (k *Keyring) Format(f fmt.State, _ rune) { fmt.Fprint(f, k.String()) }

// LogValue is String.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }

func unreadable(arn, versionID string, sealed []byte) error {
	if len(sealed) > 0 && sealed[0] != format1 && sealed[0] != format2 {
		return failure("version %s of %s is sealed in format %d, which this Pawl does not know", versionID, arn, sealed[0]).
			WithHint("use the Pawl that wrote it, or a newer one; if there is none, the bytes are damaged: restore the database from a backup")
	}
	return damaged(arn, versionID)
}

func damaged(arn, versionID string) error {
	return failure("the sealed value of version %s of %s was altered, cut short, or copied from another secret or version", versionID, arn).
		WithHint("restore the database from a backup, or put a new value by hand (pawl secret put)")
}

func failure(text string, args ...any) *secrets.Error {
	e := secrets.Errorf(secrets.Invalid, text, args...)
	e.Code = "DecryptionFailure"
	return e
}

func cannotEncrypt(text string, args ...any) *secrets.Error {
	e := secrets.Errorf(secrets.Invalid, text, args...)
	e.Code = "EncryptionFailure"
	return e
}
