package seal

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

func TestNamedKeys(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	k, other := h.start(), h.start()
	made := must[NamedKey](t)(k.CreateKey(ctx, "alias/app"))
	if made.Alias != "alias/app" || !keyName.MatchString(made.ID) || !made.Created.Equal(h.now) || len(made.Generations) != 1 || made.Generations[0].Wrapped != nil {
		t.Errorf("made %+v", made)
	}
	for _, name := range []string{
		"alias/app", made.ID, strings.ToUpper(made.ID), "arn:aws:kms:eu-west-1:123456789012:alias/app", "arn:aws:kms:eu-west-1:123456789012:key/" + made.ID,
	} {
		for _, k := range []*Keyring{k, other} {
			if err := k.Check(ctx, name, testARN.String()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			sealed := must[[]byte](t)(k.Seal(ctx, name, testARN.String(), "v", secrets.Text("x")))
			if id, ok := wrapperOf(sealed); !ok || id.String() != made.Generations[0].ID {
				t.Errorf("%s: sealed with %s", name, id)
			}
			for _, k := range []*Keyring{k, other, h.start()} {
				if got, err := k.Open(ctx, testARN.String(), "v", sealed); err != nil || !got.Equal(secrets.Text("x")) {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
	for _, name := range []string{"", DefaultAlias, "arn:aws:kms:eu-west-1:123456789012:" + DefaultAlias} {
		sealed := must[[]byte](t)(k.Seal(ctx, name, testARN.String(), "v", secrets.Text("x")))
		if id, _ := wrapperOf(sealed); id.String() != k.KeyID() {
			t.Errorf("%q: sealed with %s", name, id)
		}
	}
	for _, name := range []string{
		"alias/none", "alias/app2", "alias/ap", made.ID[:35] + "x", "app", "default", "arn:aws:kms:eu-west-1:123456789012:alias/none", "arn:aws:kms", "alias/aws/s3",
	} {
		wantError(t, k.Check(ctx, name, testARN.String()), secrets.Invalid, "InvalidParameterException", "invalid KMS key: Invalid keyId; ", "pawl key ")
		_, err := k.Seal(ctx, name, testARN.String(), "v", secrets.Text("x"))
		wantError(t, err, secrets.Invalid, "InvalidParameterException")
	}
	wantError(t, k.Check(ctx, "alias/none", ""), secrets.Invalid, "InvalidParameterException", "pawl key create alias/none")
}

func TestCreateKeyRefuses(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	k := h.start()
	must[NamedKey](t)(k.CreateKey(ctx, "alias/app"))
	for name, want := range map[string]string{
		"alias/app": "there is a key", "app": "alias/", "alias/": "alias/", "alias/a b": "letters", "alias/aws/x": "alias/x",
		"alias/" + strings.Repeat("x", 251): "can't be", DefaultAlias: "alias/aws/", "default": "alias/",
	} {
		_, err := k.CreateKey(ctx, name)
		wantError(t, err, secrets.Invalid, "", want)
	}
	_, err := k.RotateKey(ctx, "alias/none")
	wantError(t, err, secrets.Invalid, "", "no key alias/none", "pawl key list")
	_, err = k.RotateKey(ctx, DefaultAlias)
	wantError(t, err, secrets.Invalid, "", "pawl key rotate")
	if keys := must[[]NamedKey](t)(k.ListKeys(ctx)); len(keys) != 2 {
		t.Errorf("keys %+v", keys)
	}
}

func TestRotateKey(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	k, other := h.start(), h.start()
	first := must[NamedKey](t)(k.CreateKey(ctx, "alias/app"))
	h.put(other, "alias/app", 3)
	h.now = h.now.Add(time.Hour)
	second := must[NamedKey](t)(k.RotateKey(ctx, "alias/app"))
	if len(second.Generations) != 2 || second.Generations[1].ID != first.Generations[0].ID || !second.Generations[0].Created.Equal(h.now) {
		t.Fatalf("%+v", second)
	}
	// The other process seals with the new generation without being told.
	sealed := must[[]byte](t)(other.Seal(ctx, first.ID, testARN.String(), "v", secrets.Text("x")))
	if id, _ := wrapperOf(sealed); id.String() != second.Generations[0].ID {
		t.Errorf("sealed with %s", id)
	}
	h.put(other, "alias/app", 3)
	h.opens(k)
	h.opens(other)
	h.opens(h.start())
	list := must[[]NamedKey](t)(other.ListKeys(ctx))
	if len(list) != 2 || list[0].Alias != DefaultAlias || list[0].Generations[0].ID != k.KeyID() || list[1].Alias != "alias/app" || len(list[1].Generations) != 2 {
		t.Errorf("list %+v", list)
	}
}

func TestCreateMissing(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	dev := func(c *Config) { c.CreateMissing = true }
	k, other := h.start(dev), h.start(dev)
	const id = "1234ABCD-12ab-34cd-56ef-1234567890ab"
	for _, name := range []string{"alias/a", "arn:aws:kms:eu-west-1:123456789012:alias/b", id, "mrk-1234abcd12ab34cd56ef1234567890ab"} {
		if err := k.Check(ctx, name, testARN.String()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		sealed := must[[]byte](t)(other.Seal(ctx, name, testARN.String(), "v", secrets.Text("x")))
		if got, err := h.start().Open(ctx, testARN.String(), "v", sealed); err != nil || !got.Equal(secrets.Text("x")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(must[[]NamedKey](t)(k.ListKeys(ctx))); n != 5 {
		t.Errorf("%d keys", n)
	}
	wantError(t, k.Check(ctx, "not a key", testARN.String()), secrets.Invalid, "InvalidParameterException")
	wantError(t, New(Config{Master: k.ring.Load().master, CreateMissing: true}).Check(ctx, "alias/a", ""), secrets.Invalid, "InvalidParameterException")
}

// What names a key that there is not must not have the store searched each time.
func TestAnUnknownKeyIsSoughtSeldom(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	k := h.start()
	sealed := must[[]byte](t)(newKeyring(t).Seal(ctx, "", testARN.String(), "v", secrets.Text("x")))
	before := h.store.asked
	for range 100 {
		_, err := k.Open(ctx, testARN.String(), "v", sealed)
		wantFailure(t, err)
	}
	if n := h.store.asked - before; n != 1 {
		t.Errorf("the named keys were read %d times", n)
	}
	h.now = h.now.Add(2 * time.Second)
	_, err := k.Open(ctx, testARN.String(), "v", sealed)
	wantFailure(t, err)
	if n := h.store.asked - before; n != 2 {
		t.Errorf("the named keys were read %d times", n)
	}
}

// A named key whose record is damaged hurts nobody else.
func TestADamagedKey(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	k := h.start()
	bad := must[NamedKey](t)(k.CreateKey(ctx, "alias/bad"))
	must[NamedKey](t)(k.CreateKey(ctx, "alias/good"))
	sealed := must[[]byte](t)(k.Seal(ctx, "alias/bad", testARN.String(), "v", secrets.Text("x")))
	h.put(k, "alias/good", 1)
	for i := range h.store.keys {
		if h.store.keys[i].Alias == "alias/bad" {
			h.store.keys[i].Generations[0].Wrapped[40] ^= 1
		}
	}
	h.store.revision++
	fresh := h.start()
	h.put(fresh, "alias/good", 1)
	h.put(fresh, "", 1)
	h.opens(fresh)
	wantError(t, fresh.Check(ctx, bad.ID, ""), secrets.Invalid, "EncryptionFailure", "alias/bad")
	_, err := fresh.Open(ctx, testARN.String(), "v", sealed)
	wantError(t, err, secrets.Invalid, "DecryptionFailure", "alias/bad")
	// Rewrap says so when it has to move it, and moves the others.
	must[string](t)(fresh.RotateMaster(ctx))
	wantError(t, fresh.Rewrap(ctx, nil), secrets.Invalid, "", "alias/bad")
	h.opens(h.start())
	if _, err := fresh.RetireMaster(ctx, none); err == nil {
		t.Error("a key that is needed was retired")
	}
}

// TestStrangersMoveNothing: what names a key that the store never knew makes Pawl
// look for the key where it is a secret's, and not where it may be anybody's.
func TestStrangersMoveNothing(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	raw := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, keyLen))
	asked := 0
	m := must[*Master](t)(Source{Env: "PAWL_KEY"}.Load(ctx, func(string) string { asked++; return raw }))
	k := New(Config{Master: m, Store: h.store})
	if err := k.Verify(ctx, h.store); err != nil {
		t.Fatal(err)
	}
	stranger := must[key](t)(newKey(bytes.Repeat([]byte{8}, keyLen)))
	for _, c := range []struct {
		arn   string
		looks int
	}{{"pawl:session", 0}, {"pawl:access-key", 0}, {testARN.String(), 1}} {
		asked = 0
		sealed := must[[]byte](t)(stranger.sealValue(c.arn, "v", secrets.Text("x")))
		_, err := k.Open(ctx, c.arn, "v", sealed)
		wantError(t, err, secrets.Invalid, "DecryptionFailure", stranger.id.String())
		if asked != c.looks {
			t.Errorf("%s: the key was read %d times", c.arn, asked)
		}
	}
}
