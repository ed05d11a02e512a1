package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var machineTests = []testCase{
	{"Any sequence of operations does what a map would", func(t *testing.T, s service.Store) {
		rapid.Check(t, func(rt *rapid.T) {
			m := &machine{ctx: t.Context(), store: s, model: map[string]*entry{}}
			m.wipe(rt)
			rt.Repeat(map[string]func(*rapid.T){
				"":       m.check,
				"create": m.create,
				"update": m.update,
				"put":    m.put,
				"drop":   m.drop,
				"move":   m.move,
				"remove": m.remove,
				"fail":   m.fail,
				"list":   m.list,
			})
		})
	}},
}

// machine does the same to a store and to a map, and compares them.
type machine struct {
	ctx    context.Context
	store  service.Store
	model  map[string]*entry // by name
	serial int
}

type entry struct {
	secret *service.Secret
	values service.Sealed
}

var (
	someName  = rapid.SampledFrom([]string{"a", "A", "a/b", "a-b", "a_b", "b"})
	someTime  = rapid.SampledFrom([]time.Time{{}, noon, noon.Add(time.Microsecond), noon.Add(time.Hour)})
	someLabel = rapid.SampledFrom([]string{secrets.Current, secrets.Previous, secrets.Pending, secrets.Intent, "mine"})
	someTags  = rapid.SampledFrom([][]service.Tag{nil, {}, {{Key: "b", Value: "1"}, {Key: "a", Value: "2"}}, {{Key: "a", Value: ""}}})
	someRules = rapid.SampledFrom([]*secrets.Rotation{nil, {}, {Enabled: true, Rules: secrets.RotationRules{Strategy: secrets.SingleUser}, LastRotated: noon}})
)

// pick draws a secret that exists.
func (m *machine) pick(t *rapid.T) *entry {
	if len(m.model) == 0 {
		t.Skip("there is no secret")
	}
	return m.model[rapid.SampledFrom(slices.Sorted(maps.Keys(m.model))).Draw(t, "name")]
}

func (m *machine) create(t *rapid.T) {
	m.serial++
	sec := plain(someName.Draw(t, "name"))
	sec.ARN.Suffix = fmt.Sprintf("%06d", m.serial)
	sec.DueAt, sec.PurgeAt, sec.Tags = someTime.Draw(t, "due"), someTime.Draw(t, "purge"), someTags.Draw(t, "tags")
	err := m.store.Create(m.ctx, sec, nil)
	if m.model[sec.ARN.Name] != nil {
		if !errors.Is(err, service.ErrExists) {
			t.Fatalf("creating it twice: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	m.model[sec.ARN.Name] = &entry{clone(sec), service.Sealed{}}
}

// apply makes one change in the store and in the model.
func (m *machine) apply(t *rapid.T, e *entry, change func(*service.Secret) service.Sealed) {
	sec, err := m.store.Update(m.ctx, e.secret.ARN, func(sec *service.Secret) (service.Sealed, error) { return change(sec), nil })
	if err != nil {
		t.Fatal(err)
	}
	for id, v := range change(e.secret) {
		e.values[id] = v
	}
	e.secret = clone(e.secret)
	maps.DeleteFunc(e.values, func(id string, _ []byte) bool { _, ok := e.secret.Versions.Find(id); return !ok })
	if d := gocmp.Diff(e.secret, sec); d != "" {
		t.Fatalf("Update returned (-want +got):\n%s", d)
	}
}

func (m *machine) update(t *rapid.T) {
	e := m.pick(t)
	m.serial++
	description, due, purge := fmt.Sprint(m.serial), someTime.Draw(t, "due"), someTime.Draw(t, "purge")
	changed, accessed := noon.Add(time.Duration(rapid.IntRange(0, 2).Draw(t, "changed"))*time.Second), someTime.Draw(t, "accessed")
	tags, rotation := someTags.Draw(t, "tags"), someRules.Draw(t, "rotation")
	m.apply(t, e, func(sec *service.Secret) service.Sealed {
		sec.Description, sec.DueAt, sec.PurgeAt, sec.Tags, sec.Rotation = description, due, purge, tags, rotation
		sec.Changed, sec.Accessed = changed, accessed
		return nil
	})
}

// put adds a version, with or without a value, or fills or seals again one that
// exists.
func (m *machine) put(t *rapid.T) {
	e := m.pick(t)
	m.serial++
	value := fmt.Appendf(nil, "sealed %d", m.serial)
	if vs := e.secret.Versions; len(vs) > 0 && rapid.Bool().Draw(t, "existing") {
		i := rapid.IntRange(0, len(vs)-1).Draw(t, "version")
		m.apply(t, e, func(sec *service.Secret) service.Sealed {
			sec.Versions[i].Empty = false
			return service.Sealed{sec.Versions[i].ID: value}
		})
		return
	}
	v := secrets.Version{ID: versionID(m.serial), Created: noon, Empty: rapid.Bool().Draw(t, "empty")}
	at := rapid.IntRange(0, len(e.secret.Versions)).Draw(t, "position")
	m.apply(t, e, func(sec *service.Secret) service.Sealed {
		sec.Versions = slices.Insert(sec.Versions, at, v)
		if v.Empty {
			return nil
		}
		return service.Sealed{v.ID: value}
	})
}

func (m *machine) drop(t *rapid.T) {
	e := m.pick(t)
	if len(e.secret.Versions) == 0 {
		t.Skip("it has no version")
	}
	i := rapid.IntRange(0, len(e.secret.Versions)-1).Draw(t, "version")
	m.apply(t, e, func(sec *service.Secret) service.Sealed {
		sec.Versions = slices.Delete(sec.Versions, i, i+1)
		return nil
	})
}

func (m *machine) move(t *rapid.T) {
	e := m.pick(t)
	if len(e.secret.Versions) == 0 {
		t.Skip("it has no version")
	}
	to := rapid.SampledFrom(e.secret.Versions).Draw(t, "version").ID
	label := someLabel.Draw(t, "label")
	if _, err := e.secret.Versions.Move(label, to); err != nil {
		t.Skip(err)
	}
	m.apply(t, e, func(sec *service.Secret) service.Sealed {
		sec.Versions, _ = sec.Versions.Move(label, to)
		return nil
	})
}

func (m *machine) remove(t *rapid.T) {
	e := m.pick(t)
	if err := m.store.Remove(m.ctx, e.secret.ARN); err != nil {
		t.Fatal(err)
	}
	delete(m.model, e.secret.ARN.Name)
}

// fail makes a change that must leave no trace.
func (m *machine) fail(t *rapid.T) {
	e, mine := m.pick(t), errors.New("mine")
	_, err := m.store.Update(m.ctx, e.secret.ARN, func(sec *service.Secret) (service.Sealed, error) {
		sec.Description, sec.Versions = "left", nil
		return nil, mine
	})
	if err != mine {
		t.Fatalf("error %v", err)
	}
}

// list asks for a page, of any listing, after any place.
func (m *machine) list(t *rapid.T) {
	l := service.Listing{
		Account: account, Region: region, Order: rapid.SampledFrom(orders).Draw(t, "order"), Descending: rapid.Bool().Draw(t, "descending"),
		Prefix: rapid.SampledFrom([]string{"", "a", "a/", "b"}).Draw(t, "prefix"), N: rapid.IntRange(0, 4).Draw(t, "n"),
	}
	var all []*service.Secret
	for _, name := range slices.Sorted(maps.Keys(m.model)) {
		all = append(all, m.model[name].secret)
	}
	if len(all) > 0 && rapid.Bool().Draw(t, "resumed") {
		l.After = l.Order.PositionOf(rapid.SampledFrom(all).Draw(t, "after"))
	}
	got, err := m.store.List(m.ctx, l)
	compare(t, "List", got, err, Listed(all, l))
}

// check compares everything that can be asked.
func (m *machine) check(t *rapid.T) {
	all := make([]*service.Secret, 0, len(m.model))
	for _, name := range slices.Sorted(maps.Keys(m.model)) {
		e := m.model[name]
		all = append(all, e.secret)
		for _, v := range e.secret.Versions {
			got, err := m.store.Value(m.ctx, e.secret.ARN, v.ID)
			if want, ok := e.values[v.ID]; ok && (err != nil || string(got) != string(want)) || !ok && !errors.Is(err, service.ErrNotFound) {
				t.Fatalf("the value of version %s of %s is different; error %v", v.ID, name, err)
			}
		}
	}
	got, err := m.store.List(m.ctx, service.Listing{Account: account, Region: region, N: 100})
	compare(t, "List", got, err, all)

	due := slices.DeleteFunc(slices.Clone(all), func(s *service.Secret) bool { return s.DueAt.IsZero() || s.DueAt.After(noon.Add(time.Minute)) })
	slices.SortFunc(due, inDueOrder)
	got, err = m.store.Due(m.ctx, noon.Add(time.Minute), service.DueAfter{}, 2)
	compare(t, "Due", got, err, due[:min(2, len(due))])
	if len(due) > 0 {
		i := m.serial % len(due)
		got, err = m.store.Due(m.ctx, noon.Add(time.Minute), service.DueAfterOf(due[i]), 2)
		compare(t, "Due after a place", got, err, due[i+1:min(i+3, len(due))])
	}
	n, oldest, err := m.store.Backlog(m.ctx, noon.Add(time.Minute), 3)
	if err != nil || n != min(3, len(due)) || n > 0 && !oldest.Equal(due[0].DueAt) || n == 0 && !oldest.IsZero() {
		t.Fatalf("Backlog is %d since %v instead of %d, error %v", n, oldest, len(due), err)
	}

	arns, err := m.store.Purgeable(m.ctx, noon.Add(time.Minute), 100)
	if err != nil {
		t.Fatal(err)
	}
	purgeable := 0
	for _, s := range all {
		if !s.PurgeAt.IsZero() && !s.PurgeAt.After(noon.Add(time.Minute)) {
			purgeable++
			if !slices.Contains(arns, s.ARN) {
				t.Fatalf("Purgeable leaves out %s", s.ARN)
			}
		}
	}
	if len(arns) != purgeable {
		t.Fatalf("Purgeable has %d secrets instead of %d", len(arns), purgeable)
	}
}

// inDueOrder is the order of Due.
func inDueOrder(a, b *service.Secret) int {
	return cmp.Or(a.DueAt.Compare(b.DueAt), strings.Compare(a.ARN.Name, b.ARN.Name),
		strings.Compare(a.ARN.Account, b.ARN.Account), strings.Compare(a.ARN.Region, b.ARN.Region))
}

func compare(t *rapid.T, what string, got []*service.Secret, err error, want []*service.Secret) {
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Fatalf("%s (-want +got):\n%s", what, d)
	}
}

func (m *machine) wipe(t *rapid.T) {
	all, err := m.store.List(m.ctx, service.Listing{Account: account, Region: region, N: 100})
	if err != nil {
		t.Fatal(err)
	}
	for _, sec := range all {
		if err := m.store.Remove(m.ctx, sec.ARN); err != nil {
			t.Fatal(err)
		}
	}
}

// clone copies a record as a store gives it back: no labels are nil.
func clone(s *service.Secret) *service.Secret {
	out := *s
	out.Tags = slices.Clone(s.Tags)
	if s.Rotation != nil {
		r := *s.Rotation
		out.Rotation = &r
	}
	out.Versions = nil
	for _, v := range s.Versions {
		v.Labels = append([]string(nil), v.Labels...)
		out.Versions = append(out.Versions, v)
	}
	return &out
}
