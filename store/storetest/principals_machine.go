package storetest

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
)

var principalMachineTests = []principalCase{
	{"Any sequence of operations does what a map would", func(t *testing.T, a, b principals.Store) {
		rapid.Check(t, func(rt *rapid.T) {
			m := &principalMachine{ctx: t.Context(), stores: []principals.Store{a, b}, model: map[string]*principals.Record{}}
			m.wipe(rt)
			m.moved = true // by wiping
			rt.Repeat(map[string]func(*rapid.T){"": m.check, "create": m.create, "change": m.change, "remove": m.remove, "fail": m.fail})
		})
	}},
}

// principalMachine does the same to a store, through either of two handles, and
// to a map, and compares them.
type principalMachine struct {
	ctx      context.Context
	stores   []principals.Store
	model    map[string]*principals.Record // by name
	revision int64                         // at the last check
	moved    bool                          // since then
}

var (
	somePrincipal = rapid.SampledFrom([]string{"a", "A", "a-b", "a_b"})
	someKeys      = rapid.SampledFrom([][]int{nil, {1}, {2}, {1, 2}, {2, 1}, {3}, {4, 1}})
	somePolicies  = rapid.SampledFrom([][]principals.Policy{nil, {{Name: "p", Document: "{}"}}, {{Name: "q", Document: "1"}, {Name: "p", Document: "2"}}})
	someTag       = rapid.SampledFrom([][]policy.Tag{nil, {{Key: "k", Value: "v"}}, {{Key: "K"}, {Key: "k"}}})
)

func (m *principalMachine) store(t *rapid.T) principals.Store {
	return m.stores[rapid.IntRange(0, len(m.stores)-1).Draw(t, "handle")]
}

func drawPrincipal(t *rapid.T, name string) *principals.Record {
	r := user(name, someKeys.Draw(t, "keys")...)
	r.Policies, r.Tags, r.Disabled = somePolicies.Draw(t, "policies"), someTag.Draw(t, "tags"), rapid.Bool().Draw(t, "disabled")
	return r
}

// taken reports whether somebody else has one of the keys.
func (m *principalMachine) taken(r *principals.Record) bool {
	for _, k := range r.Keys {
		if h := m.holder(k.ID); h != nil && h.Name != r.Name {
			return true
		}
	}
	return false
}

func (m *principalMachine) holder(id string) *principals.Record {
	for _, r := range m.model {
		if slices.ContainsFunc(r.Keys, func(k principals.AccessKey) bool { return k.ID == id }) {
			return r
		}
	}
	return nil
}

func (m *principalMachine) create(t *rapid.T) {
	r := drawPrincipal(t, somePrincipal.Draw(t, "name"))
	err := m.store(t).CreatePrincipal(m.ctx, r)
	if m.model[r.Name] != nil || m.taken(r) {
		if !errors.Is(err, principals.ErrExists) {
			t.Fatalf("creating what is taken: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.model[r.Name], m.moved = r, true
}

// pick draws a principal that exists.
func (m *principalMachine) pick(t *rapid.T) *principals.Record {
	if len(m.model) == 0 {
		t.Skip("there is nobody")
	}
	return m.model[rapid.SampledFrom(slices.Sorted(maps.Keys(m.model))).Draw(t, "name")]
}

func (m *principalMachine) change(t *rapid.T) {
	old := m.pick(t)
	next := drawPrincipal(t, old.Name)
	got, err := m.store(t).ChangePrincipal(m.ctx, account, old.Name, func(r *principals.Record) error {
		if d := gocmp.Diff(old, r); d != "" {
			t.Fatalf("change got (-want +got):\n%s", d)
		}
		*r = *next
		return nil
	})
	if m.taken(next) {
		if !errors.Is(err, principals.ErrExists) {
			t.Fatalf("taking a key: %v", err)
		}
		return
	}
	if d := gocmp.Diff(next, got); err != nil || d != "" {
		t.Fatalf("error %v, it returned (-want +got):\n%s", err, d)
	}
	m.model[old.Name], m.moved = next, m.moved || !gocmp.Equal(old, next)
}

func (m *principalMachine) remove(t *rapid.T) {
	r := m.pick(t)
	if _, err := m.store(t).ChangePrincipal(m.ctx, account, r.Name, func(*principals.Record) error { return principals.ErrRemove }); err != nil {
		t.Fatal(err)
	}
	delete(m.model, r.Name)
	m.moved = true
}

// fail makes a change that must leave no trace.
func (m *principalMachine) fail(t *rapid.T) {
	mine := errors.New("mine")
	_, err := m.store(t).ChangePrincipal(m.ctx, account, m.pick(t).Name, func(r *principals.Record) error {
		*r = *user(r.Name, 9)
		return mine
	})
	if err != mine {
		t.Fatalf("error %v", err)
	}
}

// check compares everything that can be asked.
func (m *principalMachine) check(t *rapid.T) {
	var all []*principals.Record
	for _, name := range slices.Sorted(maps.Keys(m.model)) {
		all = append(all, m.model[name])
	}
	now := m.revision
	for _, s := range m.stores {
		rev, err := s.SettingsRevision(m.ctx)
		if err != nil || (rev > m.revision) != m.moved || rev < m.revision {
			t.Fatalf("the revision went from %d to %d; whether something changed is %v; error %v", m.revision, rev, m.moved, err)
		}
		now = rev
		got, err := s.Principals(m.ctx, account, principals.Place{}, 100)
		if err != nil || !reflect.DeepEqual(all, got) { // quicker than a difference
			t.Fatalf("error %v, Principals (-want +got):\n%s", err, gocmp.Diff(all, got))
		}
	}
	id := keyID(rapid.IntRange(0, 5).Draw(t, "key"))
	got, err := m.store(t).Holder(m.ctx, id)
	want := m.holder(id)
	if want == nil && !errors.Is(err, principals.ErrNotFound) || want != nil && (err != nil || !gocmp.Equal(got, want)) {
		t.Fatalf("the holder of %s is %v instead of %v, error %v", id, got, want, err)
	}
	m.revision, m.moved = now, false
}

func (m *principalMachine) wipe(t *rapid.T) {
	all, err := m.stores[0].Principals(m.ctx, "", principals.Place{}, 100)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if _, err := m.stores[0].ChangePrincipal(m.ctx, r.Account, r.Name, func(*principals.Record) error { return principals.ErrRemove }); err != nil {
			t.Fatal(err)
		}
	}
	m.revision = -1
}
