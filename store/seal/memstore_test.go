package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// memStore is a Store that forgets with the process, and that can die at any
// call: before it did its work, or after.
type memStore struct {
	memory
	mu       sync.Mutex
	keys     []NamedKey
	revision int64
	values   []memValue
	asked    int // how often the named keys were read

	left  int  // calls until it dies; 0 = it lives
	after bool // it dies after the work
}

type memValue struct {
	arn     secrets.ARN
	version string
	sealed  []byte
}

var errDied = errors.New("killed")

func newMemStore() *memStore { return &memStore{memory: memory{}} }

// call runs the work of a call.
func (m *memStore) call(ctx context.Context, work func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.left > 0 {
		if m.left--; m.left == 0 {
			m.left = -1
			if m.after {
				_ = work()
			}
		}
	}
	if m.left < 0 {
		return errDied
	}
	return work()
}

func (m *memStore) Remember(ctx context.Context, name string, value []byte) (kept []byte, err error) {
	err = m.call(ctx, func() error {
		kept, err = m.memory.Remember(ctx, name, value)
		return err
	})
	return bytes.Clone(kept), err
}

func (m *memStore) Keep(ctx context.Context, name string, value []byte) error {
	return m.call(ctx, func() error { m.memory[name] = bytes.Clone(value); return nil })
}

func (m *memStore) SettingsRevision(ctx context.Context) (n int64, err error) {
	err = m.call(ctx, func() error { n = m.revision; return nil })
	return n, err
}

func (m *memStore) NamedKeys(ctx context.Context) (keys []NamedKey, err error) {
	err = m.call(ctx, func() error { keys = copyKeys(m.keys); m.asked++; return nil })
	return keys, err
}

func (m *memStore) ChangeNamedKeys(ctx context.Context, change func([]NamedKey) ([]NamedKey, error)) error {
	return m.call(ctx, func() error {
		next, err := change(copyKeys(m.keys))
		if err == nil && fmt.Sprint(next) != fmt.Sprint(m.keys) {
			m.keys = copyKeys(next)
			m.revision++
		}
		return err
	})
}

func copyKeys(keys []NamedKey) []NamedKey {
	keys = slices.Clone(keys)
	for i := range keys {
		keys[i].Generations = slices.Clone(keys[i].Generations)
		for j := range keys[i].Generations {
			g := &keys[i].Generations[j]
			g.Wrapped = bytes.Clone(g.Wrapped)
		}
	}
	slices.SortFunc(keys, func(a, b NamedKey) int { return bytes.Compare([]byte(a.Alias), []byte(b.Alias)) })
	return keys
}

func (m *memStore) Reseal(ctx context.Context, after string, n int, change func(secrets.ARN, string, []byte) ([]byte, error)) (next string, err error) {
	err = m.call(ctx, func() error {
		at := 0
		if after != "" {
			if _, err := fmt.Sscan(after, &at); err != nil {
				return err
			}
		}
		end := min(at+n, len(m.values))
		for i := at; i < end; i++ {
			v := &m.values[i]
			out, err := change(v.arn, v.version, bytes.Clone(v.sealed))
			if err != nil {
				return err
			}
			if out != nil {
				v.sealed = out
			}
		}
		if end < len(m.values) {
			next = fmt.Sprint(end)
		}
		return nil
	})
	return next, err
}

// put stores a value.
func (m *memStore) put(v memValue) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.values = append(m.values, v)
}

// sealed returns what is stored of all values.
func (m *memStore) sealed() []memValue {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.values)
}

// house is a store with its key file and a clock, and who lives there.
type house struct {
	t     testing.TB
	store *memStore
	path  string
	now   time.Time
}

func newHouse(t testing.TB) *house {
	k := newKeyring(t)
	return &house{t: t, store: newMemStore(), path: k.Source().File, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
}

// start begins a process.
func (h *house) start(alter ...func(*Config)) *Keyring {
	h.t.Helper()
	m, err := Source{File: h.path}.Load(h.t.Context(), nil)
	if err != nil {
		h.t.Fatal(err)
	}
	c := Config{Master: m, Store: h.store, Now: func() time.Time { return h.now }}
	for _, f := range alter {
		f(&c)
	}
	k := New(c)
	if err := k.Verify(h.t.Context(), h.store); err != nil {
		h.t.Fatal(err)
	}
	return k
}

var testARN = secrets.ARN{Partition: "aws", Region: "eu-west-1", Account: "123456789012", Name: "db", Suffix: "AbCdEf"}

// put seals n values under a key and stores them.
func (h *house) put(k *Keyring, key string, n int) {
	h.t.Helper()
	for range n {
		id := fmt.Sprint("v", len(h.store.values))
		sealed, err := k.Seal(h.t.Context(), key, testARN.String(), id, secrets.Text("value of "+id))
		if err != nil {
			h.t.Fatal(err)
		}
		h.store.put(memValue{testARN, id, sealed})
	}
}

// opens checks that all values open.
func (h *house) opens(k *Keyring) {
	h.t.Helper()
	for _, v := range h.store.sealed() {
		got, err := k.Open(h.t.Context(), v.arn.String(), v.version, v.sealed)
		if err != nil || !got.Equal(secrets.Text("value of "+v.version)) {
			h.t.Fatalf("%s: %v", v.version, err)
		}
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func wantError(t testing.TB, err error, kind secrets.Kind, code string, parts ...string) {
	t.Helper()
	if err == nil || secrets.KindOf(err) != kind || secrets.CodeOf(err) != code {
		t.Fatalf("error %v (%v, %q) is not %v %q", err, secrets.KindOf(err), secrets.CodeOf(err), kind, code)
	}
	for _, p := range parts {
		if !bytes.Contains([]byte(err.Error()), []byte(p)) {
			t.Errorf("%q does not say %q", err, p)
		}
	}
}
