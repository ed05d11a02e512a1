package storetest

import (
	"errors"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

// KeyStore is a store that keeps keys and what they encrypt.
type KeyStore interface {
	service.Store
	seal.Store
}

// Keys runs the contract of seal.Store. open returns two handles of one store
// with nothing in it, as two processes would have them, and sees to it that they
// are closed when the test ends.
func Keys(t *testing.T, open func(t testing.TB) (a, b KeyStore)) {
	for _, c := range slices.Concat(keyTests, resealTests) {
		t.Run(c.name, func(t *testing.T) {
			a, b := open(t)
			c.run(t, a, b)
		})
	}
}

type keyCase struct {
	name string
	run  func(t *testing.T, a, b KeyStore)
}

// namedKey makes a key in which no field is zero.
func namedKey(id, alias string, generations ...string) seal.NamedKey {
	k := seal.NamedKey{ID: id, Alias: alias, Created: noon}
	for i, g := range generations {
		k.Generations = append(k.Generations, seal.Generation{
			ID: g, Created: noon.Add(time.Duration(i)), Wrapped: []byte("\x00\xff" + g),
		})
	}
	return k
}

func setKeys(t testing.TB, s KeyStore, keys ...seal.NamedKey) {
	t.Helper()
	err := s.ChangeNamedKeys(t.Context(), func([]seal.NamedKey) ([]seal.NamedKey, error) { return keys, nil })
	if err != nil {
		t.Fatal(err)
	}
}

func wantKeys(t testing.TB, s KeyStore, want ...seal.NamedKey) {
	t.Helper()
	got, err := s.NamedKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 && len(want) == 0 {
		return
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the keys are different (-want +got):\n%s", d)
	}
}

var keyTests = []keyCase{
	{"Named keys are what the last change made them", func(t *testing.T, a, b KeyStore) {
		wantKeys(t, a)
		x, y, z := namedKey("1", "alias/x", "g1", "g2"), namedKey("2", "alias/ÿ/\"' <&>", "g3"), namedKey("3", "alias/A", "g4")
		renamed := x
		renamed.Alias = "alias/new"
		swappedX, swappedY := x, y
		swappedX.Alias, swappedY.Alias = y.Alias, x.Alias
		rotated := namedKey("1", "alias/x", "g5", "g1", "g2")
		now := revision(t, a)
		for _, step := range []struct {
			given, want []seal.NamedKey // by alias; nil = as given
			same        bool            // changes nothing
		}{
			{same: true},
			{given: []seal.NamedKey{x}},
			{given: []seal.NamedKey{x}, same: true},
			{given: []seal.NamedKey{x, y, z}, want: []seal.NamedKey{z, x, y}},
			{given: []seal.NamedKey{y, z, x}, want: []seal.NamedKey{z, x, y}, same: true},
			{given: []seal.NamedKey{rotated, y, z}, want: []seal.NamedKey{z, rotated, y}},
			{given: []seal.NamedKey{renamed, y, z}, want: []seal.NamedKey{z, renamed, y}},
			{given: []seal.NamedKey{y, x}, want: []seal.NamedKey{x, y}},
			{given: []seal.NamedKey{swappedX, swappedY}, want: []seal.NamedKey{swappedY, swappedX}},
			{given: []seal.NamedKey{namedKey("9", x.Alias, "g9")}}, // another of that name
			{},
		} {
			before, err := b.NamedKeys(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			err = a.ChangeNamedKeys(t.Context(), func(got []seal.NamedKey) ([]seal.NamedKey, error) {
				if d := cmp.Diff(before, got); len(before) > 0 && d != "" {
					t.Errorf("change got (-want +got):\n%s", d)
				}
				return step.given, nil
			})
			if err != nil {
				t.Fatal(err)
			}
			want := step.want
			if want == nil {
				want = step.given
			}
			wantKeys(t, a, want...)
			wantKeys(t, b, want...)
			next := revision(t, b)
			if next < now || (next > now) == step.same {
				t.Errorf("the revision went from %d to %d; whether nothing changed is %v", now, next, step.same)
			}
			now = next
			a, b = b, a
		}
	}},
	{"A change of the keys that fails leaves no trace", func(t *testing.T, a, b KeyStore) {
		x, y := namedKey("1", "alias/x", "g1"), namedKey("2", "alias/y", "g2")
		setKeys(t, a, x, y)
		before, mine := revision(t, a), errors.New("mine")
		err := a.ChangeNamedKeys(t.Context(), func([]seal.NamedKey) ([]seal.NamedKey, error) { return nil, mine })
		if err != mine {
			t.Errorf("error %v instead of change's own", err)
		}
		for name, keys := range map[string][]seal.NamedKey{
			"an id twice":     {x, namedKey("1", "alias/z", "g3")},
			"an alias twice":  {x, namedKey("3", "alias/x", "g3")},
			"an id not UTF-8": {namedKey("\xff", "alias/z", "g3")},
			"an alias, too":   {namedKey("3", "alias/\xff", "g3")},
			"no generation":   {namedKey("3", "alias/z")},
		} {
			err := b.ChangeNamedKeys(t.Context(), func([]seal.NamedKey) ([]seal.NamedKey, error) { return keys, nil })
			if secrets.KindOf(err) != secrets.Invalid || err == nil {
				t.Errorf("%s: error %v", name, err)
			}
		}
		err = a.ChangeNamedKeys(canceled(t), func([]seal.NamedKey) ([]seal.NamedKey, error) { return nil, nil })
		wantKind(t, err, secrets.Transient)
		_, err = a.NamedKeys(canceled(t))
		wantKind(t, err, secrets.Transient)
		wantKeys(t, a, x, y)
		wantKeys(t, b, x, y)
		if after := revision(t, b); after != before {
			t.Errorf("what changed nothing moved the revision from %d to %d", before, after)
		}
	}},
	{"Keys may be altered by whoever has them", func(t *testing.T, a, _ KeyStore) {
		fresh := func() seal.NamedKey { return namedKey("1", "alias/x", "g1", "g2") }
		spoil := func(k []seal.NamedKey) {
			leaves(reflect.ValueOf(&k).Elem(), "", func(_ string, v reflect.Value) { v.SetZero() })
		}
		given := []seal.NamedKey{fresh()}
		setKeys(t, a, given...)
		spoil(given)
		for range 2 {
			got, err := a.NamedKeys(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			spoil(got)
			wantKeys(t, a, fresh())
		}
		// A change may begin with what it got.
		err := a.ChangeNamedKeys(t.Context(), func(keys []seal.NamedKey) ([]seal.NamedKey, error) {
			keys[0].Generations = keys[0].Generations[:1]
			return append(keys, namedKey("2", "alias/y", "g3")), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		wantKeys(t, a, namedKey("1", "alias/x", "g1"), namedKey("2", "alias/y", "g3"))
	}},
	{"Keep replaces, Remember does not", func(t *testing.T, a, b KeyStore) {
		remember := func(s KeyStore, name, value, want string) {
			t.Helper()
			if got, err := s.Remember(t.Context(), name, []byte(value)); err != nil || string(got) != want {
				t.Errorf("%q is remembered as %q instead of %q, error %v", name, got, want, err)
			}
		}
		keep := func(s KeyStore, name, value string) {
			t.Helper()
			if err := s.Keep(t.Context(), name, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		remember(a, "x", "1", "1")
		remember(b, "x", "2", "1")
		keep(a, "x", "3\x00\xff")
		remember(b, "x", "4", "3\x00\xff")
		keep(b, "x", "")
		remember(a, "x", "4", "")
		keep(b, "y", "5")
		remember(a, "y", "6", "5")
		wantKind(t, a.Keep(canceled(t), "y", []byte("7")), secrets.Transient)
		remember(a, "y", "6", "5")
	}},
}
