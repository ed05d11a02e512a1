package seal

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

func none(context.Context) error { return nil }

func TestRotateTheMasterKey(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	k, other := h.start(), h.start()
	old := k.KeyID()
	must[NamedKey](t)(k.CreateKey(ctx, "alias/app"))
	h.put(k, "", 5)
	h.put(other, "alias/app", 5)

	young := must[string](t)(k.RotateMaster(ctx))
	if again := must[string](t)(other.RotateMaster(ctx)); again != young {
		t.Errorf("a second one made %s while %s waits", again, young)
	}
	info, err := os.Stat(h.path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	text := string(must[[]byte](t)(os.ReadFile(h.path)))
	if !strings.HasPrefix(text, keyFileTitle+"\n"+keyFileNote+young+" ") || !strings.Contains(text, "\n"+old+" ") || strings.Count(text, "\n") != 6 {
		t.Error("the key file is not what it was with a key before the others")
	}
	// Until Rewrap everybody seals with the old one: not all may have the new one.
	for _, k := range []*Keyring{k, other, h.start()} {
		if k.KeyID() != old {
			t.Errorf("%v seals", k.KeyID())
		}
	}
	_, err = k.RetireMaster(ctx, none)
	wantError(t, err, secrets.Invalid, "", "not in use yet", "pawl key rewrap")

	var total, done int
	if err := k.Rewrap(ctx, func(d, n int) { done, total = d, n }); err != nil {
		t.Fatal(err)
	}
	if done != 5 || total != 5 {
		t.Errorf("%d of %d values were moved", done, total)
	}
	// The other process follows, without being told.
	h.put(other, "", 2)
	h.opens(other)
	if use := must[map[string]int](t)(other.Usage(ctx)); use[young] != 7 || use[old] != 0 {
		t.Errorf("in use: %v", use)
	}
	list := must[[]NamedKey](t)(other.ListKeys(ctx))
	if g := list[0].Generations; len(g) != 2 || g[0].ID != young || !g[0].Created.Equal(h.now) || g[1].ID != old {
		t.Errorf("list %+v", g)
	}

	_, err = k.RetireMaster(ctx, none)
	wantError(t, err, secrets.Invalid, "", "since 12:00:00 UTC only", "after 2026-03-01 12:10:00 UTC: pawl key retire")
	h.now = h.now.Add(defaultSettle)
	refused := errors.New("access keys can't be sealed anew")
	if _, err = k.RetireMaster(ctx, func(context.Context) error { return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	if gone := must[[]string](t)(k.RetireMaster(ctx, none)); !slices.Equal(gone, []string{old}) {
		t.Errorf("retired %v", gone)
	}
	if text := string(must[[]byte](t)(os.ReadFile(h.path))); strings.Contains(text, old) || !strings.HasPrefix(text, keyFileTitle+"\n"+keyFileNote+young+" ") {
		t.Error("the old key is still in the file, or more than it is gone")
	}
	if gone := must[[]string](t)(k.RetireMaster(ctx, none)); gone != nil {
		t.Errorf("retired %v", gone)
	}
	fresh := h.start()
	h.opens(fresh)
	h.opens(other)
	if names, _ := filepath.Glob(h.path + "*"); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func TestRetireMasterIsRefusedWhileNeeded(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	k := h.start()
	old := k.KeyID()
	inFlight := must[[]byte](t)(k.Seal(ctx, "", testARN.String(), "v0", secrets.Text("value of v0")))
	must[string](t)(k.RotateMaster(ctx))
	if err := k.Rewrap(ctx, nil); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(time.Hour)
	h.store.put(memValue{testARN, "v0", inFlight})
	_, err := k.RetireMaster(ctx, none)
	wantError(t, err, secrets.Invalid, "", "1 by key "+old, "pawl key rewrap")
	if err := k.Rewrap(ctx, nil); err != nil {
		t.Fatal(err)
	}
	canary := h.store.memory[canaryName]
	h.store.memory[canaryName] = must[[]byte](t)(rewrap(k.ring.Load().sealing, k.ring.Load().master.keys[1], canaryARN, canaryName, canary))
	_, err = k.RetireMaster(ctx, none)
	wantError(t, err, secrets.Invalid, "", "bound to master key "+old)
	if err := k.Rewrap(ctx, nil); err != nil {
		t.Fatal(err)
	}
	must[[]string](t)(k.RetireMaster(ctx, none))
	h.opens(h.start())
}

// A process that can't get the new master key says so, and seals nothing that
// would be lost with the old one.
func TestAProcessWithTheOldMasterKey(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	k := h.start()
	text := string(must[[]byte](t)(os.ReadFile(h.path)))
	_, line, _ := strings.Cut(strings.TrimSpace(text), "database and its backups.\n")
	_, bare, _ := strings.Cut(line, " ")
	load := func(text string) *Keyring {
		m := must[*Master](t)(Source{Env: "PAWL_KEY"}.Load(ctx, func(string) string { return text }))
		return New(Config{Master: m, Store: h.store, Now: func() time.Time { return h.now }})
	}
	stale := load(bare)
	if err := stale.Verify(ctx, h.store); err != nil {
		t.Fatal(err)
	}
	_, err := stale.RotateMaster(ctx)
	wantError(t, err, secrets.Invalid, "", "environment variable PAWL_KEY", "before the old one", "pawl key rewrap")

	h.put(k, "", 1)
	must[string](t)(k.RotateMaster(ctx))
	if err := k.Rewrap(ctx, nil); err != nil {
		t.Fatal(err)
	}
	_, err = stale.Seal(ctx, "", testARN.String(), "v", secrets.Text("x"))
	wantError(t, err, secrets.Invalid, "EncryptionFailure", "rotated", k.KeyID(), "store.sqlite.key_env", "restart")
	wantError(t, stale.Check(ctx, "", ""), secrets.Invalid, "EncryptionFailure")
	v := h.store.sealed()[0]
	_, err = stale.Open(ctx, testARN.String(), v.version, v.sealed)
	wantError(t, err, secrets.Invalid, "DecryptionFailure", k.KeyID(), "restart Pawl with the new one beside the old one", "store.sqlite.key_env")
	_, err = stale.CreateKey(ctx, "alias/x")
	wantError(t, err, secrets.Invalid, "EncryptionFailure", "rotated")
	if err := stale.Rewrap(ctx, nil); err == nil {
		t.Error("it re-wrapped")
	}
	err = load(bare).Verify(ctx, h.store)
	wantError(t, err, secrets.Invalid, "DecryptionFailure", "does not belong to this store", "the newest one if it was rotated")

	// With both keys it is whole again; the old one standing first changes nothing.
	both := New(Config{Master: &Master{keys: append(slices.Clone(stale.ring.Load().master.keys), k.ring.Load().sealing), source: Source{Env: "PAWL_KEY"}},
		Store: h.store, Now: func() time.Time { return h.now }})
	if err := both.Verify(ctx, h.store); err != nil {
		t.Fatal(err)
	}
	h.put(both, "", 1)
	h.opens(k)
	if both.KeyID() != k.KeyID() {
		t.Error("it seals with the old key")
	}
}

func TestRotationBySource(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	a, b := bytes.Repeat([]byte{1}, keyLen), bytes.Repeat([]byte{2}, keyLen)
	text := ""
	start := func(keys ...[]byte) *Keyring {
		text = ""
		for _, raw := range keys {
			text += base64.StdEncoding.EncodeToString(raw) + "\n"
		}
		m := must[*Master](t)(Source{Env: "K"}.Load(ctx, func(string) string { return text }))
		k := New(Config{Master: m, Store: h.store, Now: func() time.Time { return h.now }})
		if err := k.Verify(ctx, h.store); err != nil {
			t.Fatal(err)
		}
		return k
	}
	k := start(a)
	must[NamedKey](t)(k.CreateKey(ctx, "alias/app"))
	h.put(k, "", 3)
	h.put(k, "alias/app", 3)
	k = start(b, a)
	h.put(k, "", 1)
	if err := k.Rewrap(ctx, nil); err != nil {
		t.Fatal(err)
	}
	h.now = h.now.Add(time.Hour)
	if ids := must[[]string](t)(k.RetireMaster(ctx, none)); !slices.Equal(ids, []string{idOf(a).String()}) {
		t.Errorf("may go: %v", ids)
	}
	h.opens(start(b))
	// One that was replaced is never used again, wherever it stands.
	k = start(a, b)
	if err := k.Rewrap(ctx, nil); err != nil {
		t.Fatal(err)
	}
	h.opens(start(b))
}

func TestTheKeyFileCantBeWritten(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	k := h.start()
	before := must[[]byte](t)(os.ReadFile(h.path))
	// What a killed one left is in nobody's way, a folder is.
	if err := os.MkdirAll(filepath.Join(h.path+".new", "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := k.RotateMaster(ctx)
	wantError(t, err, secrets.Invalid, "", h.path, "nothing was changed")
	if after := must[[]byte](t)(os.ReadFile(h.path)); !bytes.Equal(before, after) {
		t.Error("the file was changed")
	}
	if err := os.RemoveAll(h.path + ".new"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.path+".new", []byte("half a ke"), 0o644); err != nil {
		t.Fatal(err)
	}
	real := h.path + ".real"
	if err := errors.Join(os.Rename(h.path, real), os.Symlink(real, h.path)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(real+".new", []byte("half a ke"), 0o644); err != nil {
		t.Fatal(err)
	}
	must[string](t)(k.RotateMaster(ctx))
	if info, err := os.Lstat(h.path); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
	if info, err := os.Stat(h.path); err != nil || info.Mode() != 0o600 {
		t.Error("the new file can be read by others")
	}
	// Another store's key file is not made this one's.
	if err := os.WriteFile(real, must[[]byte](t)(os.ReadFile(newKeyring(t).Source().File)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = k.RotateMaster(ctx)
	wantError(t, err, secrets.Invalid, "", "the store is sealed with key "+k.KeyID(), "newest key file")
}
