package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
)

// fakeKMS is a KMS of one key. Its wrapped data keys tell nothing but a number.
type fakeKMS struct {
	made     [][3]string // key, arn, version
	data     [][]byte
	opened   int
	refuse   error
	generate func() (plain, wrapped []byte)
}

func (f *fakeKMS) GenerateDataKey(_ context.Context, key, arn, versionID string) (plain, wrapped []byte, err error) {
	if f.refuse != nil {
		return nil, nil, f.refuse
	}
	if f.generate != nil {
		plain, wrapped = f.generate()
		return plain, wrapped, nil
	}
	data := make([]byte, keyLen)
	rand.Read(data)
	f.made, f.data = append(f.made, [3]string{key, arn, versionID}), append(f.data, data)
	return data, fmt.Appendf(nil, "data key %d", len(f.data)-1), nil
}

func (f *fakeKMS) Decrypt(_ context.Context, wrapped []byte, arn, versionID string) ([]byte, error) {
	f.opened++
	if f.refuse != nil {
		return nil, f.refuse
	}
	var i int
	if _, err := fmt.Sscanf(string(wrapped), "data key %d", &i); err != nil || i < 0 || i >= len(f.data) ||
		fmt.Sprintf("data key %d", i) != string(wrapped) || f.made[i][1] != arn || f.made[i][2] != versionID {
		return nil, failure("not mine")
	}
	return f.data[i], nil
}

func TestKMS(t *testing.T) {
	ctx, h, f := t.Context(), newHouse(t), &fakeKMS{}
	k := h.start(func(c *Config) { c.KMS, c.CreateMissing = f, true })
	const key = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
	if err := k.Check(ctx, key, "arn:x"); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(f.made); got != "[["+key+" arn:x RequestToValidateKeyAccess]]" || f.opened != 1 {
		t.Errorf("checked by %s, %d opened", got, f.opened)
	}
	for _, v := range []secrets.Value{secrets.Text("x"), secrets.Binary([]byte{0, 1})} {
		sealed := must[[]byte](t)(k.Seal(ctx, key, "arn:x", "v", v))
		if sealed[0] != format2 {
			t.Fatalf("format %d", sealed[0])
		}
		if got, err := k.Open(ctx, "arn:x", "v", sealed); err != nil || !got.Equal(v) {
			t.Errorf("%v", err)
		}
	}
	// Pawl's own keys come first, and the default key is never AWS KMS's.
	made := must[NamedKey](t)(k.CreateKey(ctx, "alias/own"))
	for _, name := range []string{"", DefaultAlias, "alias/own", made.ID} {
		if sealed := must[[]byte](t)(k.Seal(ctx, name, "arn:x", "v", secrets.Text("x"))); sealed[0] != format1 {
			t.Errorf("%q is AWS KMS's", name)
		}
	}
	if use := must[map[string]int](t)(k.Usage(ctx)); len(use) != 0 {
		t.Errorf("in use: %v", use)
	}
	h.store.put(memValue{testARN, "v", must[[]byte](t)(k.Seal(ctx, key, testARN.String(), "v", secrets.Text("value of v")))})
	if use := must[map[string]int](t)(k.Usage(ctx)); use[ByKMS] != 1 {
		t.Errorf("in use: %v", use)
	}
	must[string](t)(k.RotateMaster(ctx))
	if err := k.Rewrap(ctx, nil); err != nil {
		t.Fatal(err)
	}
	h.opens(k)
	without := h.start()
	v := h.store.sealed()[0]
	_, err := without.Open(ctx, testARN.String(), "v", v.sealed)
	wantError(t, err, secrets.Invalid, "DecryptionFailure", "AWS KMS", "aws_kms")
}

func TestKMSRefuses(t *testing.T) {
	ctx, h, f := t.Context(), newHouse(t), &fakeKMS{}
	k := h.start(func(c *Config) { c.KMS = f })
	sealed := must[[]byte](t)(k.Seal(ctx, "alias/x", "arn:x", "v", secrets.Text("x")))
	f.refuse = refusedByKMS
	_, err := k.Seal(ctx, "alias/x", "arn:x", "v", secrets.Text("x"))
	wantError(t, err, secrets.Transient, "Slow")
	wantError(t, k.Check(ctx, "alias/x", "arn:x"), secrets.Transient, "Slow")
	_, err = k.Open(ctx, "arn:x", "v", sealed)
	wantError(t, err, secrets.Transient, "Slow")
	f.refuse = nil
	for _, c := range [][2]int{{16, 10}, {0, 10}, {32, 0}, {32, 1 << 16}} {
		f.generate = func() (plain, wrapped []byte) { return make([]byte, c[0]), make([]byte, c[1]) }
		_, err := k.Seal(ctx, "alias/x", "arn:x", "v", secrets.Text("x"))
		wantError(t, err, secrets.Invalid, "EncryptionFailure", "aws_kms.endpoint")
	}
	// What is no secret's is not asked about: it may be anybody's.
	f.opened = 0
	if _, err = k.Open(ctx, "pawl:session", "v", sealed); err == nil || f.opened != 0 {
		t.Errorf("AWS KMS was asked %d times, %v", f.opened, err)
	}
	f.data[0] = f.data[0][:16]
	_, err = k.Open(ctx, "arn:x", "v", sealed)
	wantError(t, err, secrets.Invalid, "DecryptionFailure", "16 bytes")
}

var refusedByKMS = &secrets.Error{Kind: secrets.Transient, Code: "Slow"}

// A data key of AWS KMS is used for 5 minutes, and then asked for again.
func TestKMSKeysGrowOld(t *testing.T) {
	ctx, h, f := t.Context(), newHouse(t), &fakeKMS{}
	k := h.start(func(c *Config) { c.KMS = f })
	sealed := must[[]byte](t)(k.Seal(ctx, "alias/x", "arn:x", "v", secrets.Text("x")))
	for i, c := range []struct {
		wait   time.Duration
		opened int
	}{{0, 1}, {0, 1}, {kmsKeyTime, 1}, {time.Nanosecond, 2}, {kmsKeyTime, 2}} {
		h.now = h.now.Add(c.wait)
		if _, err := k.Open(ctx, "arn:x", "v", sealed); err != nil || f.opened != c.opened {
			t.Errorf("%d: asked %d times, %v", i, f.opened, err)
		}
	}
	// Elsewhere it is not found, however young.
	for _, at := range [][2]string{{"arn:y", "v"}, {"arn:x", "w"}} {
		_, err := k.Open(ctx, at[0], at[1], sealed)
		wantFailure(t, err)
	}
	f.refuse = refusedByKMS
	h.now = h.now.Add(kmsKeyTime + 1)
	if _, err := k.Open(ctx, "arn:x", "v", sealed); err == nil {
		t.Error("it opens though AWS KMS refuses")
	}
}

func TestKMSNoticesEveryFlippedBit(t *testing.T) {
	ctx, h, f := t.Context(), newHouse(t), &fakeKMS{}
	k := h.start(func(c *Config) { c.KMS = f })
	sealed := must[[]byte](t)(k.Seal(ctx, "alias/x", "arn:x", "v", secrets.Text("correct horse")))
	for i := range sealed {
		for bit := range 8 {
			bad := bytes.Clone(sealed)
			bad[i] ^= 1 << bit
			_, err := k.Open(ctx, "arn:x", "v", bad)
			wantFailure(t, err)
		}
		_, err := k.Open(ctx, "arn:x", "v", sealed[:i])
		wantFailure(t, err)
	}
}

// The cache never says another thing than the keys do, and stays small.
func TestDataKeysCache(t *testing.T) {
	ctx, k := t.Context(), newKeyring(t)
	var sealed [8][]byte
	for i := range sealed {
		sealed[i] = must[[]byte](t)(k.Seal(ctx, "", fmt.Sprint("arn", i/4), fmt.Sprint("v", i%4), secrets.Text(fmt.Sprint(i))))
	}
	rapid.Check(t, func(t *rapid.T) {
		i, j := rapid.IntRange(0, 7).Draw(t, "value"), rapid.IntRange(0, 7).Draw(t, "place")
		b := bytes.Clone(sealed[i])
		if rapid.Bool().Draw(t, "mixed") {
			copy(b, sealed[rapid.IntRange(0, 7).Draw(t, "header")][:rapid.IntRange(0, headLen+wrapLen).Draw(t, "bytes")])
		}
		got, err := k.Open(ctx, fmt.Sprint("arn", j/4), fmt.Sprint("v", j%4), b)
		if i == j && bytes.Equal(b, sealed[i]) {
			if err != nil || !got.Equal(secrets.Text(fmt.Sprint(i))) {
				t.Fatal(err)
			}
			return
		}
		wantFailure(t, err)
	})
	c := &k.cache
	for i := range 3 * maxDataKeys {
		c.keep(fmt.Appendf(nil, "%d", i), &dataKey{})
		c.find([]byte("0"), time.Now)
	}
	if n := len(c.young) + len(c.old); n > maxDataKeys+1 {
		t.Errorf("%d data keys are kept", n)
	}
	if c.find([]byte("0"), time.Now) == nil {
		t.Error("what is used all the time was forgotten")
	}
	if c.find([]byte("1"), time.Now) != nil {
		t.Error("what is never used was kept")
	}
}
