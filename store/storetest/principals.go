package storetest

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
)

// Principals runs the contract of principals.Store. open returns two handles of
// one store with nothing in it, as two processes would have them, and sees to it
// that they are closed when the test ends.
func Principals(t *testing.T, open func(t testing.TB) (a, b principals.Store)) {
	for _, c := range slices.Concat(principalTests, principalUseTests, principalMachineTests) {
		t.Run(c.name, func(t *testing.T) {
			a, b := open(t)
			c.run(t, a, b)
		})
	}
}

type principalCase struct {
	name string
	run  func(t *testing.T, a, b principals.Store)
}

func keyID(n int) string { return fmt.Sprintf("AKIA%016d", n) }

// user makes a record with access keys.
func user(name string, keys ...int) *principals.Record {
	r := &principals.Record{Account: account, Name: name, Kind: principals.User, ID: "AIDA" + name, Created: noon}
	for _, n := range keys {
		r.Keys = append(r.Keys, principals.AccessKey{ID: keyID(n), Created: noon.Add(time.Duration(n)), Sealed: sealed(n)})
	}
	return r
}

// fullPrincipal makes a record in which no field is zero, as a test makes sure.
func fullPrincipal(name string) *principals.Record {
	odd := "Robert'); DROP TABLE principals;-- \"\\ \n\t¿日本語 🔑 <&>\u2028"
	return &principals.Record{
		Account: account, Name: name, Kind: principals.Role, ID: "AROA1", Created: noon, Disabled: true, SessionsSince: noon.Add(time.Nanosecond), Sessions: 1 << 60,
		Tags:     []policy.Tag{{Key: "z", Value: "first"}, {Key: "ключ", Value: odd}, {Key: "empty", Value: ""}},
		Policies: []principals.Policy{{Name: "z", Document: "{\r\n\t\"Version\" : \"2012-10-17\" }\n"}, {Name: "a", Document: odd}},
		Boundary: "{ }", Trust: odd, MaxSession: 90 * time.Minute,
		Keys: []principals.AccessKey{
			{ID: keyID(101), Created: noon, Disabled: true, Sealed: []byte{0, 1, 0xff}},
			{ID: keyID(102), Created: noon.Add(time.Hour), Sealed: []byte{2}},
		},
	}
}

func createPrincipal(t testing.TB, s principals.Store, r *principals.Record) *principals.Record {
	t.Helper()
	if err := s.CreatePrincipal(t.Context(), r); err != nil {
		t.Fatalf("creating %s: %v", r.Name, err)
	}
	return r
}

func changePrincipal(t testing.TB, s principals.Store, name string, change func(*principals.Record)) *principals.Record {
	t.Helper()
	r, err := s.ChangePrincipal(t.Context(), account, name, func(r *principals.Record) error { change(r); return nil })
	if err != nil {
		t.Fatalf("changing %s: %v", name, err)
	}
	return r
}

func revision(t testing.TB, s interface {
	SettingsRevision(ctx context.Context) (int64, error)
},
) int64 {
	t.Helper()
	n, err := s.SettingsRevision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// wantPrincipal checks that want is what the store has under its name, and under
// its keys.
func wantPrincipal(t testing.TB, s principals.Store, want *principals.Record) {
	t.Helper()
	got, err := s.Principal(t.Context(), want.Account, want.Name)
	if err != nil {
		t.Errorf("finding %s: %v", want.Name, err)
		return
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the record is different (-want +got):\n%s", d)
	}
	for _, k := range want.Keys {
		got, err := s.Holder(t.Context(), k.ID)
		if err != nil || got.Name != want.Name || got.Account != want.Account {
			t.Errorf("the holder of %s is not %s; error %v", k.ID, want.Name, err)
		}
	}
}

func wantNoPrincipal(t testing.TB, s principals.Store, name string, keys ...int) {
	t.Helper()
	_, err := s.Principal(t.Context(), account, name)
	wantErr(t, err, principals.ErrNotFound)
	for _, n := range keys {
		_, err := s.Holder(t.Context(), keyID(n))
		wantErr(t, err, principals.ErrNotFound)
	}
}

var principalTests = []principalCase{
	{"The record of these tests has no zero field", func(t *testing.T, _, _ principals.Store) {
		seen := map[string]bool{}
		leaves(reflect.ValueOf(fullPrincipal("a")).Elem(), "Record", func(path string, v reflect.Value) {
			seen[path] = seen[path] || !v.IsZero()
		})
		for path, set := range seen {
			if !set {
				t.Errorf("%s is zero: set it in fullPrincipal, so that no store can forget it", path)
			}
		}
		if len(seen) < 15 {
			t.Errorf("only %d fields were found", len(seen))
		}
	}},
	{"What was created is there", func(t *testing.T, a, b principals.Store) {
		for _, r := range []*principals.Record{
			fullPrincipal("full"), user("one", 1), user("two", 2, 3), user("none"), {Account: "000000000000", Name: "one"},
		} {
			createPrincipal(t, a, r)
			wantPrincipal(t, a, r)
			wantPrincipal(t, b, r)
		}
		for name, c := range map[string][2]string{
			"another account": {"000000000000", "two"}, "another case": {account, "One"}, "a prefix": {account, "on"},
			"a pattern": {account, "on_"}, "nothing": {account, ""},
		} {
			if _, err := a.Principal(t.Context(), c[0], c[1]); !errors.Is(err, principals.ErrNotFound) {
				t.Errorf("%s: error %v", name, err)
			}
		}
		for _, id := range []string{"", keyID(4), strings.ToLower(keyID(1)), keyID(1)[:10], "AKIA%"} {
			_, err := a.Holder(t.Context(), id)
			wantErr(t, err, principals.ErrNotFound)
		}
	}},
	{"Times come back in UTC", func(t *testing.T, a, _ principals.Store) {
		r := user("a", 1)
		zone := time.FixedZone("", 3600)
		r.Created, r.SessionsSince, r.Keys[0].Created = noon.In(zone), noon.In(zone), noon.In(zone)
		createPrincipal(t, a, r)
		wantPrincipal(t, a, r)
		got, err := a.Principal(t.Context(), account, "a")
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{got.Created, got.SessionsSince, got.Keys[0].Created} {
			if at.Location() != time.UTC {
				t.Errorf("%v is not in UTC", at)
			}
		}
	}},
	{"Names and keys that are taken are refused", func(t *testing.T, a, b principals.Store) {
		createPrincipal(t, a, user("a", 1))
		createPrincipal(t, b, user("b", 2))
		before := revision(t, a)
		role := user("a", 3)
		role.Kind, role.ID = principals.Role, "AROA9"
		wantErr(t, b.CreatePrincipal(t.Context(), role), principals.ErrExists)
		wantErr(t, a.CreatePrincipal(t.Context(), user("c", 4, 2)), principals.ErrExists)
		wantErr(t, a.CreatePrincipal(t.Context(), user("c", 4, 4)), principals.ErrExists)
		for _, keys := range [][]int{{1, 2}, {1, 1}, {5, 5}} {
			_, err := a.ChangePrincipal(t.Context(), account, "a", func(r *principals.Record) error {
				*r = *user("a", keys...)
				return nil
			})
			wantErr(t, err, principals.ErrExists)
		}
		for _, s := range []principals.Store{a, b} {
			wantPrincipal(t, s, user("a", 1))
			wantPrincipal(t, s, user("b", 2))
			wantNoPrincipal(t, s, "c", 3, 4, 5)
		}
		if after := revision(t, b); after != before {
			t.Errorf("what changed nothing moved the revision from %d to %d", before, after)
		}
	}},
	{"Text that is not UTF-8 is refused", func(t *testing.T, a, _ principals.Store) {
		createPrincipal(t, a, user("a"))
		for _, spoil := range []func(*principals.Record){
			func(r *principals.Record) { r.Tags[0].Value = "\xff" },
			func(r *principals.Record) { r.Policies[0].Document = "\xff" },
			func(r *principals.Record) { r.Trust = "\xff" },
			func(r *principals.Record) { r.Boundary = "\xff" },
		} {
			r := fullPrincipal("b")
			spoil(r)
			wantKind(t, a.CreatePrincipal(t.Context(), r), secrets.Invalid)
			_, err := a.ChangePrincipal(t.Context(), account, "a", func(old *principals.Record) error {
				*old = *r
				old.Name = "a"
				return nil
			})
			wantKind(t, err, secrets.Invalid)
		}
		wantPrincipal(t, a, user("a"))
		wantNoPrincipal(t, a, "b")
	}},
	{"A change changes everything", func(t *testing.T, a, b principals.Store) {
		createPrincipal(t, a, user("a", 1, 2))
		for _, step := range []*principals.Record{fullPrincipal("a"), user("a", 2), user("a", 2, 1), user("a"), user("a", 1)} {
			before, err := b.Principal(t.Context(), account, "a")
			if err != nil {
				t.Fatal(err)
			}
			got := changePrincipal(t, a, "a", func(r *principals.Record) {
				if d := cmp.Diff(before, r); d != "" {
					t.Errorf("change got (-want +got):\n%s", d)
				}
				*r = *step
			})
			if d := cmp.Diff(step, got); d != "" {
				t.Errorf("ChangePrincipal returned (-want +got):\n%s", d)
			}
			wantPrincipal(t, a, step)
			wantPrincipal(t, b, step)
			for _, k := range before.Keys {
				if !slices.ContainsFunc(step.Keys, func(o principals.AccessKey) bool { return o.ID == k.ID }) {
					_, err := b.Holder(t.Context(), k.ID)
					wantErr(t, err, principals.ErrNotFound)
				}
			}
			a, b = b, a
		}
		createPrincipal(t, b, user("b", 2)) // the key is free again
	}},
	{"A change that fails leaves no trace", func(t *testing.T, a, b principals.Store) {
		want := createPrincipal(t, a, user("a", 1))
		before, mine, runs := revision(t, a), errors.New("mine"), 0
		_, err := a.ChangePrincipal(t.Context(), account, "a", func(r *principals.Record) error {
			runs++
			*r = *user("a", 7)
			return mine
		})
		if err != mine || runs != 1 {
			t.Errorf("error %v after %d runs instead of change's own after 1", err, runs)
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_, _ = a.ChangePrincipal(t.Context(), account, "a", func(r *principals.Record) error {
				*r = *user("a", 7)
				panic("mine")
			})
		}()
		for _, other := range []*principals.Record{user("other", 1), {Account: "000000000000", Name: "a"}} {
			_, err := a.ChangePrincipal(t.Context(), account, "a", func(r *principals.Record) error { *r = *other; return nil })
			wantKind(t, err, secrets.Invalid)
		}
		_, err = a.ChangePrincipal(t.Context(), account, "b", func(*principals.Record) error { return mine })
		wantErr(t, err, principals.ErrNotFound)
		wantPrincipal(t, b, want)
		wantNoPrincipal(t, b, "other", 7)
		if after := revision(t, b); after != before {
			t.Errorf("what changed nothing moved the revision from %d to %d", before, after)
		}
	}},
	{"A change removes", func(t *testing.T, a, b principals.Store) {
		createPrincipal(t, a, user("a", 1, 2))
		other := createPrincipal(t, a, user("b", 3))
		got, err := b.ChangePrincipal(t.Context(), account, "a", func(r *principals.Record) error {
			r.Boundary = "seen"
			return fmt.Errorf("it goes: %w", principals.ErrRemove)
		})
		if err != nil || got.Boundary != "seen" {
			t.Errorf("it returned %+v, error %v", got, err)
		}
		wantNoPrincipal(t, a, "a", 1, 2)
		wantNoPrincipal(t, b, "a", 1, 2)
		wantPrincipal(t, a, other)
		again := createPrincipal(t, a, user("a", 2, 9))
		wantPrincipal(t, b, again)
	}},
	{"What is handed out, and what was given, may be altered", func(t *testing.T, a, _ principals.Store) {
		given := createPrincipal(t, a, fullPrincipal("a"))
		spoil := func(r *principals.Record) {
			leaves(reflect.ValueOf(r).Elem(), "", func(_ string, v reflect.Value) { v.SetZero() })
		}
		spoil(given)
		for range 2 {
			got, err := a.Principal(t.Context(), account, "a")
			if err != nil {
				t.Fatal(err)
			}
			spoil(got)
			if got, err = a.Holder(t.Context(), keyID(101)); err != nil {
				t.Fatal(err)
			}
			spoil(got)
			spoil(changePrincipal(t, a, "a", func(r *principals.Record) { given = r }))
			spoil(given)
			wantPrincipal(t, a, fullPrincipal("a"))
		}
	}},
	{"Changes at once lose nothing", func(t *testing.T, a, b principals.Store) {
		const writers, rounds = 8, 5
		createPrincipal(t, a, user("a"))
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for r := range rounds {
					_, err := []principals.Store{a, b}[w%2].ChangePrincipal(t.Context(), account, "a", func(p *principals.Record) error {
						n := w*rounds + r
						p.Tags = append(p.Tags, policy.Tag{Key: fmt.Sprint(n)})
						p.Keys = append(p.Keys, principals.AccessKey{ID: keyID(n)})
						return nil
					})
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		got, err := a.Principal(t.Context(), account, "a")
		if err != nil || len(got.Tags) != writers*rounds {
			t.Fatalf("%d of %d changes are there; error %v", len(got.Tags), writers*rounds, err)
		}
		wantPrincipal(t, b, got)
	}},
	{"A context that has ended is Transient and changes nothing", func(t *testing.T, a, _ principals.Store) {
		ctx := canceled(t)
		createPrincipal(t, a, user("a", 1))
		wantKind(t, a.CreatePrincipal(ctx, user("b")), secrets.Transient)
		_, err := a.ChangePrincipal(ctx, account, "a", func(*principals.Record) error { return principals.ErrRemove })
		wantKind(t, err, secrets.Transient)
		_, err = a.Principal(ctx, account, "a")
		wantKind(t, err, secrets.Transient)
		_, err = a.Holder(ctx, keyID(1))
		wantKind(t, err, secrets.Transient)
		_, err = a.Principals(ctx, "", principals.Place{}, 1)
		wantKind(t, err, secrets.Transient)
		_, err = a.SettingsRevision(ctx)
		wantKind(t, err, secrets.Transient)
		wantKind(t, a.NoteUse(ctx, keyID(1), noon), secrets.Transient)
		_, err = a.LastUses(ctx, []string{keyID(1)})
		wantKind(t, err, secrets.Transient)
		wantPrincipal(t, a, user("a", 1))
		wantNoPrincipal(t, a, "b")
	}},
}
