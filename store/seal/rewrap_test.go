package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
)

func TestRewrap(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	k := h.start()
	must[NamedKey](t)(k.CreateKey(ctx, "alias/a"))
	must[NamedKey](t)(k.CreateKey(ctx, "alias/b"))
	const many = 2*batchSize + 50
	h.put(k, "alias/a", many)
	h.put(k, "alias/b", 3)
	if err := k.Rewrap(ctx, func(int, int) { t.Error("there was nothing to do") }); err != nil {
		t.Fatal(err)
	}
	before := h.store.sealed()
	h.now = h.now.Add(time.Hour)
	first := must[NamedKey](t)(k.RotateKey(ctx, "alias/a"))
	var steps []string
	if err := k.Rewrap(ctx, func(done, total int) { steps = append(steps, fmt.Sprint(done, "/", total)) }); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(steps); got != "[0/450 200/450 400/450 450/450]" {
		t.Errorf("progress %s", got)
	}
	for i, v := range h.store.sealed() {
		if was := before[i].sealed; !bytes.Equal(was[headLen+wrapLen:], v.sealed[headLen+wrapLen:]) {
			t.Fatal("a value was touched")
		} else if id, _ := wrapperOf(v.sealed); (id.String() == first.Generations[0].ID) != (i < many) {
			t.Fatalf("value %d is under %s", i, id)
		}
	}
	// Not dropped before it is certain that nothing is on its way.
	if n := h.generations(k, "alias/a"); n != 2 {
		t.Errorf("%d generations", n)
	}
	h.now = h.now.Add(defaultSettle - time.Second)
	if err := k.Rewrap(ctx, nil); err != nil || h.generations(k, "alias/a") != 2 {
		t.Errorf("%v, or dropped too early", err)
	}
	h.now = h.now.Add(time.Second)
	if err := k.Rewrap(ctx, nil); err != nil || h.generations(k, "alias/a") != 1 {
		t.Errorf("%v, or not dropped", err)
	}
	h.opens(k)
	h.opens(h.start())
	// What was read before still opens.
	for _, v := range before {
		if _, err := k.Open(ctx, v.arn.String(), v.version, v.sealed); err != nil {
			t.Fatal(err)
		}
	}
}

func (h *house) generations(k *Keyring, alias string) int {
	h.t.Helper()
	for _, n := range must[[]NamedKey](h.t)(k.ListKeys(h.t.Context())) {
		if n.Alias == alias {
			return len(n.Generations)
		}
	}
	return 0
}

// Stopped after each batch by the one who asked, it goes on where it was.
func TestRewrapGoesOn(t *testing.T) {
	h := newHouse(t)
	k := h.start()
	must[NamedKey](t)(k.CreateKey(t.Context(), "alias/a"))
	h.put(k, "alias/a", 4*batchSize)
	must[NamedKey](t)(k.RotateKey(t.Context(), "alias/a"))
	for want := 4; want > 0; want-- {
		ctx, stop := context.WithCancel(t.Context())
		k := h.start()
		err := k.Rewrap(ctx, func(done, total int) {
			if total != want*batchSize {
				t.Errorf("%d were left instead of %d", total, want*batchSize)
			}
			if done > 0 {
				stop()
			}
		})
		if want > 1 && secrets.KindOf(err) != secrets.Transient || want == 1 && err != nil && !errors.Is(err, context.Canceled) {
			t.Fatalf("with %d to go: %v", want, err)
		}
		stop()
		h.opens(h.start())
	}
}

func TestRewrapLeavesWhatIsDamaged(t *testing.T) {
	ctx, h := t.Context(), newHouse(t)
	k := h.start()
	old := must[NamedKey](t)(k.CreateKey(ctx, "alias/a")).Generations[0].ID
	h.put(k, "alias/a", 3)
	good := bytes.Clone(h.store.values[1].sealed)
	h.store.values[1].sealed[headLen+20] ^= 1
	must[NamedKey](t)(k.RotateKey(ctx, "alias/a"))
	h.now = h.now.Add(time.Hour)
	err := k.Rewrap(ctx, nil)
	wantError(t, err, secrets.Invalid, "", "version v1 of "+testARN.String(), "restore the database")
	if use := must[map[string]int](t)(k.Usage(ctx)); use[old] != 1 || h.generations(k, "alias/a") != 2 {
		t.Errorf("in use: %v, with %d generations", use, h.generations(k, "alias/a"))
	}
	h.store.values[1].sealed = good // from the backup
	if err := k.Rewrap(ctx, nil); err != nil {
		t.Fatal(err)
	}
	h.opens(h.start())
}

// At every moment every value opens, in every process, whatever is done to keys
// and whoever is killed at what.
func TestKeysProperty(t *testing.T) {
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(rt *rapid.T) {
		runs++
		path := filepath.Join(dir, fmt.Sprint(runs))
		if err := GenerateKeyFile(path, randomOf(runs)); err != nil {
			rt.Fatal(err)
		}
		defer os.Remove(path)
		h := &house{t: t, store: newMemStore(), path: path, now: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
		p := &processes{h: h, running: []*Keyring{h.start(), h.start()}, read: make([][]memValue, 2)}
		must[NamedKey](t)(p.running[0].CreateKey(t.Context(), "alias/a"))
		rt.Repeat(map[string]func(*rapid.T){
			"put":     p.put,
			"land":    func(*rapid.T) { p.land() },
			"rotate":  p.rotate,
			"rewrap":  p.rewrap,
			"retire":  p.retire,
			"renew":   func(rt *rapid.T) { p.rotate(rt); p.rewrap(rt); p.wait(rt); p.rewrap(rt); p.retire(rt) },
			"restart": p.restart,
			"look":    p.look,
			"wait":    p.wait,
			"":        p.check,
		})
	})
}

// randomOf is bytes that differ from run to run.
func randomOf(run int) *bytes.Reader {
	return bytes.NewReader(bytes.Repeat([]byte{byte(run), byte(run >> 8), 7, 9}, keyLen))
}

// processes are several on one store.
type processes struct {
	h       *house
	running []*Keyring
	read    [][]memValue // what each has read from the store some time, and may have kept
	flying  []memValue   // sealed, and not in the store yet
	sealed  int
	access  []byte // an access key, which is not among the values
}

func (p *processes) one(t *rapid.T) *Keyring {
	return p.running[rapid.IntRange(0, len(p.running)-1).Draw(t, "process")]
}

func (p *processes) put(t *rapid.T) {
	k, name := p.one(t), rapid.SampledFrom([]string{"", "alias/a"}).Draw(t, "key")
	id := fmt.Sprint("v", p.sealed)
	p.sealed++
	sealed, err := k.Seal(p.h.t.Context(), name, testARN.String(), id, secrets.Text("value of "+id))
	if err != nil {
		t.Fatal(err)
	}
	p.flying = append(p.flying, memValue{testARN, id, sealed})
	if rapid.Bool().Draw(t, "at once") {
		p.land()
	}
}

func (p *processes) land() {
	for _, v := range p.flying {
		p.h.store.put(v)
	}
	p.flying = nil
}

func (p *processes) rotate(t *rapid.T) {
	k, name := p.one(t), rapid.SampledFrom([]string{"", "alias/a"}).Draw(t, "key")
	p.dying(t, func() error {
		if name == "" {
			_, err := k.RotateMaster(p.h.t.Context())
			return err
		}
		_, err := k.RotateKey(p.h.t.Context(), name)
		return err
	})
}

func (p *processes) rewrap(t *rapid.T) {
	k := p.one(t)
	p.dying(t, func() error { return k.Rewrap(p.h.t.Context(), nil) })
}

func (p *processes) retire(t *rapid.T) {
	k := p.one(t)
	p.dying(t, func() error {
		_, err := k.RetireMaster(p.h.t.Context(), func(ctx context.Context) error {
			sealed, err := k.Seal(ctx, "", "pawl:access-key", "AKIA", secrets.Text("access"))
			if err == nil {
				p.access = sealed
			}
			return err
		})
		if err != nil && secrets.KindOf(err) == secrets.Invalid {
			return nil // something needs the key, or may
		}
		return err
	})
}

// dying does something with a store that may die at any call of it.
func (p *processes) dying(t *rapid.T, do func() error) {
	s := p.h.store
	if rapid.IntRange(0, 2).Draw(t, "is killed") == 2 {
		s.left, s.after = rapid.IntRange(1, 14).Draw(t, "at"), rapid.Bool().Draw(t, "after its work")
	}
	err := do()
	s.left = 0
	if err != nil && !errors.Is(err, errDied) {
		t.Fatal(err)
	}
}

func (p *processes) restart(t *rapid.T) {
	i := rapid.IntRange(0, len(p.running)-1).Draw(t, "process")
	p.running[i], p.read[i] = p.h.start(), nil
}

func (p *processes) look(t *rapid.T) {
	i := rapid.IntRange(0, len(p.running)-1).Draw(t, "process")
	p.read[i] = append(p.read[i], p.h.store.sealed()...)
}

// wait lets pass what Settle asks for: by then what was sealed is in the store.
func (p *processes) wait(t *rapid.T) {
	d := rapid.SampledFrom([]time.Duration{time.Second, defaultSettle / 2, defaultSettle}).Draw(t, "time")
	if d == defaultSettle/2 && rapid.Bool().Draw(t, "it lands") || d == defaultSettle {
		p.land()
	} else if len(p.flying) > 0 {
		d = time.Second
	}
	p.h.now = p.h.now.Add(d)
}

func (p *processes) check(t *rapid.T) {
	ctx := p.h.t.Context()
	if p.access == nil {
		p.access = must[[]byte](p.h.t)(p.running[0].Seal(ctx, "", "pawl:access-key", "AKIA", secrets.Text("access")))
	}
	opens := func(k *Keyring, v memValue, who string) {
		got, err := k.Open(ctx, v.arn.String(), v.version, v.sealed)
		if err != nil || !got.Equal(secrets.Text("value of "+v.version)) {
			t.Fatalf("%s: %s: %v", who, v.version, err)
		}
	}
	for i, k := range append([]*Keyring{p.h.start()}, p.running...) {
		for _, v := range p.h.store.sealed() {
			opens(k, v, fmt.Sprint("process ", i))
		}
		for _, v := range p.flying {
			opens(k, v, fmt.Sprint("on its way, process ", i))
		}
		if _, err := k.Open(ctx, "pawl:access-key", "AKIA", p.access); err != nil {
			t.Fatalf("process %d: the access key: %v", i, err)
		}
	}
	for i, k := range p.running {
		k.cache.young, k.cache.old = nil, nil // it has not opened them before
		for _, v := range p.read[i] {
			opens(k, v, fmt.Sprint("kept from before, process ", i))
		}
	}
}
