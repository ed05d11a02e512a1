package service_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

// fakeKMS is an AWS KMS in memory.
type fakeKMS struct {
	mu       sync.Mutex
	made     map[string]dataKey // by its wrapped form
	disabled map[string]bool
	away     bool // it can't be reached
	asked    int
}

type dataKey struct {
	key, context string
	plain        []byte
}

func newFakeKMS() *fakeKMS {
	return &fakeKMS{made: map[string]dataKey{}, disabled: map[string]bool{}}
}

func (f *fakeKMS) ask() error {
	f.asked++
	if f.away {
		return secrets.Errorf(secrets.Transient, "AWS KMS does not answer")
	}
	return nil
}

func (f *fakeKMS) GenerateDataKey(_ context.Context, key, arn, versionID string) (plain, wrapped []byte, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ask(); err != nil {
		return nil, nil, err
	}
	if f.disabled[key] {
		return nil, nil, refusal("EncryptionFailure", cantSeal)
	}
	plain = make([]byte, 32)
	_, _ = rand.Read(plain)
	wrapped = fmt.Appendf(nil, "%s #%d", key, len(f.made))
	f.made[string(wrapped)] = dataKey{key, arn + " " + versionID, slices.Clone(plain)}
	return plain, wrapped, nil
}

func (f *fakeKMS) Decrypt(_ context.Context, wrapped []byte, arn, versionID string) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.ask(); err != nil {
		return nil, err
	}
	d, ok := f.made[string(wrapped)]
	if !ok || d.context != arn+" "+versionID || f.disabled[d.key] {
		return nil, refusal("DecryptionFailure", cantOpen)
	}
	return slices.Clone(d.plain), nil
}

// keyed is a house whose values are under real keys.
type keyed struct {
	*house
	ring *seal.Keyring
	kms  *fakeKMS
}

const kmsKey = "arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

func openKeyed(t testing.TB) *keyed {
	h := open(t, service.Config{})
	k := &keyed{house: h, kms: newFakeKMS()}
	k.ring = seal.New(seal.Config{Master: h.master, Store: h.file, KMS: k.kms, Now: h.clock.now, Settle: time.Minute})
	h.Service = service.New(service.Config{Store: h.store, Sealer: k.ring, Now: h.clock.now})
	if err := k.ring.Verify(t.Context(), h.file); err != nil {
		t.Fatal(err)
	}
	for _, alias := range []string{"alias/a", "alias/b"} {
		if _, err := k.ring.CreateKey(t.Context(), alias); err != nil {
			t.Fatal(err)
		}
	}
	return k
}

// sealedBy returns the alias of the key that a value is really under, from its
// own bytes.
func (k *keyed) sealedBy(ctx context.Context, sealed []byte) (string, error) {
	if sealed[0] != 1 {
		for wrapped, d := range k.kms.made {
			if strings.Contains(string(sealed), wrapped) {
				return d.key, nil
			}
		}
		return "", errors.New("a data key that AWS KMS did not make")
	}
	keys, err := k.ring.ListKeys(ctx)
	if err != nil {
		return "", err
	}
	for i, key := range keys {
		for _, g := range key.Generations {
			switch {
			case g.ID != hex.EncodeToString(sealed[1:9]):
			case i == 0:
				return "", nil // the master key
			default:
				return key.Alias, nil
			}
		}
	}
	return "", errors.New("a key that is not there")
}

// check fails where a version's record does not name the key that its value is
// under, or the value is not the one that was put.
func (k *keyed) check(ctx context.Context, arn secrets.ARN, values map[string]string) error {
	sec, err := k.store.Find(ctx, secrets.ID{ARN: arn})
	if err != nil {
		return err
	}
	for _, v := range sec.Versions {
		b, err := k.store.Value(ctx, arn, v.ID)
		if err != nil {
			return err
		}
		if by, err := k.sealedBy(ctx, b); err != nil || by != v.KeyID {
			return fmt.Errorf("%s of %s is under %q, and its record says %q: %v", v.ID, arn, by, v.KeyID, err)
		}
		got, err := k.ring.Open(ctx, arn.String(), v.ID, b)
		if err != nil || string(got.Reveal()) != values[v.ID] {
			return fmt.Errorf("%s of %s does not open to its value: %v", v.ID, arn, err)
		}
	}
	return nil
}

// A secret under a key of AWS KMS, while that one fails: nothing changes that
// could not be read again, nobody is told of a value that can't be kept, and what
// was read a moment ago stays readable for a while.
func TestAFailingKMS(t *testing.T) {
	k := openKeyed(t)
	get := func() (string, error) {
		out, err := k.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"})
		if err != nil {
			return "", err
		}
		return string(out.Value.Reveal()), nil
	}
	put := func() error {
		return second(k.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: service.Give(secrets.Text("y"))}))
	}
	k.create("s", `{"username":"u"}`)
	must(t, k.updateKey("s", kmsKey))
	if got, err := get(); err != nil || got != `{"username":"u"}` {
		t.Fatal(got, err)
	}
	before := k.record("s")
	c := claim(t, k.house, "s")
	for _, f := range []struct {
		name             string
		set              func(on bool)
		kind             secrets.Kind
		sealed, unsealed string // exceptions
	}{
		{"away", func(on bool) { k.kms.away = on }, secrets.Transient, "", ""},
		{"disabled", func(on bool) { k.kms.disabled[kmsKey] = on }, secrets.Invalid, "EncryptionFailure", "DecryptionFailure"},
	} {
		t.Run(f.name, func(t *testing.T) {
			if _, err := get(); err != nil {
				t.Fatal(err)
			}
			f.set(true)
			defer f.set(false)
			refused := func(err error, code string) {
				t.Helper()
				if err == nil || secrets.KindOf(err) != f.kind || secrets.CodeOf(err) != code {
					t.Errorf("%v (%s, %s)", err, secrets.KindOf(err), secrets.CodeOf(err))
				}
			}
			refused(put(), f.sealed)
			refused(k.updateKey("s", kmsKey), f.sealed) // what it names is checked, even if nothing changes
			_, err := c.PutPending(t.Context(), "", secrets.Text("new"))
			refused(err, f.sealed)
			if !strings.Contains(err.Error(), kmsKey) {
				t.Errorf("%v does not say which key", err)
			}
			if _, err := get(); err != nil {
				t.Errorf("what was read just now: %v", err)
			}
			k.clock.add(6 * time.Minute)
			_, err = get()
			refused(err, f.unsealed)
			refused(k.updateKey("s", "alias/a"), f.unsealed)
			if diff := cmp.Diff(before, k.record("s")); diff != "" {
				t.Error(diff)
			}
		})
	}
	must(t, k.updateKey("s", "alias/a"))
	asked := k.kms.asked
	must(t, put())
	if got, err := get(); err != nil || got != "y" || k.kms.asked != asked {
		t.Error(got, err, k.kms.asked-asked)
	}
}
