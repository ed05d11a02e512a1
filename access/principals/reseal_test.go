package principals_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/seal"
)

// twoKeys seals with a new key and opens what either sealed, as a master key that
// is being rotated.
type twoKeys struct{ young, old *seal.Keyring }

func (k twoKeys) Seal(ctx context.Context, key, arn, versionID string, v secrets.Value) ([]byte, error) {
	return k.young.Seal(ctx, key, arn, versionID, v)
}

func (k twoKeys) Open(ctx context.Context, arn, versionID string, sealed []byte) (secrets.Value, error) {
	v, err := k.young.Open(ctx, arn, versionID, sealed)
	if err != nil && k.old != nil {
		return k.old.Open(ctx, arn, versionID, sealed)
	}
	return v, err
}

func TestReseal(t *testing.T) {
	h := newHouse(t)
	var all []*principals.Credentials
	for i := range 5 {
		name := fmt.Sprint("u", i)
		_, creds := h.user(t, name)
		_, second, err := h.RotateKey(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, creds, second)
	}
	h.role(t, "app", trust(`"*"`))
	path := filepath.Join(t.TempDir(), "new.key")
	if err := seal.GenerateKeyFile(path, rand.Reader); err != nil {
		t.Fatal(err)
	}
	young, err := seal.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	with := func(s principals.Sealer) *principals.Directory {
		return principals.New(principals.Config{Store: h.store, Sealer: s, Account: account, Now: h.clock.now})
	}
	both := with(twoKeys{young, h.keys})

	// Ended after a while, and begun again.
	ctx, cancel := context.WithCancel(t.Context())
	err = both.Reseal(ctx, func(done int) {
		if done == 4 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for _, c := range all {
		use(t, both, c)
	}
	var progress []int
	if err := both.Reseal(t.Context(), func(done int) { progress = append(progress, done) }); err != nil || fmt.Sprint(progress) != "[2 4 6 8 10]" {
		t.Errorf("got %v, %v", progress, err)
	}
	only := with(young)
	for _, c := range all {
		use(t, both, c)
		use(t, only, c)
	}

	// One that can't be decrypted is named, and the others are done.
	if _, err := h.store.ChangePrincipal(t.Context(), account, "u1", func(r *principals.Record) error { r.Keys[0].Sealed[30]++; return nil }); err != nil {
		t.Fatal(err)
	}
	progress = nil
	err = with(twoKeys{h.keys, young}).Reseal(t.Context(), func(done int) { progress = append(progress, done) })
	wantInvalid(t, err, all[2].AccessKeyID, "u1")
	if fmt.Sprint(progress) != "[2 3 5 7 9]" {
		t.Errorf("got %v", progress)
	}
	for i, c := range all {
		if i != 2 {
			use(t, h.Directory, c)
		}
	}
}
