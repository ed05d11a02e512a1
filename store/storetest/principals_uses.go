package storetest

import (
	"cmp"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/access/principals"
)

var principalUseTests = []principalCase{
	{"A listing is in byte order", func(t *testing.T, a, b principals.Store) {
		var all []principals.Place
		for _, acct := range []string{"000000000000", account, "999999999999"} {
			for _, name := range []string{"a", "A", "a-b", "a_b", "B", "b", "+=,.@_-"} {
				all = append(all, principals.Place{Account: acct, Name: name})
				createPrincipal(t, a, &principals.Record{Account: acct, Name: name, Kind: principals.User})
			}
		}
		slices.SortFunc(all, comparePlaces)
		places := []principals.Place{{}, {Account: account}, {Account: account, Name: "a"}, {Account: account, Name: "aa"},
			{Account: "000000000000", Name: "b"}, {Account: "000000000000", Name: "zz"}, {Account: "999999999999", Name: "b"}, {Account: "9999999999999"}}
		for _, acct := range []string{"", "000000000000", account, "999999999999", "111111111111"} {
			for _, after := range places {
				for _, n := range []int{0, 1, 3, 100} {
					var want []principals.Place
					for _, p := range all {
						if (acct == "" || acct == p.Account) && comparePlaces(p, after) > 0 && len(want) < n {
							want = append(want, p)
						}
					}
					page, err := b.Principals(t.Context(), acct, after, n)
					var got []principals.Place
					for _, r := range page {
						got = append(got, principals.Place{Account: r.Account, Name: r.Name})
					}
					if err != nil || !slices.Equal(got, want) {
						t.Errorf("%d of account %q after %v: %v instead of %v, error %v", n, acct, after, got, want, err)
					}
				}
			}
		}
	}},
	{"The last use of a key", func(t *testing.T, a, b principals.Store) {
		createPrincipal(t, a, user("a", 1, 2))
		createPrincipal(t, a, user("b", 3))
		before := revision(t, a)
		note := func(s principals.Store, n int, at time.Time) {
			t.Helper()
			if err := s.NoteUse(t.Context(), keyID(n), at); err != nil {
				t.Fatal(err)
			}
		}
		want := func(want map[int]time.Time) {
			t.Helper()
			for _, s := range []principals.Store{a, b} {
				got, err := s.LastUses(t.Context(), []string{keyID(1), keyID(2), keyID(3), keyID(4), ""})
				wanted := map[string]time.Time{}
				for n, at := range want {
					wanted[keyID(n)] = at
				}
				if d := gocmp.Diff(wanted, got); err != nil || d != "" {
					t.Errorf("error %v, (-want +got):\n%s", err, d)
				}
			}
		}
		want(nil)
		note(a, 1, noon.In(time.FixedZone("", 3600)))
		note(b, 3, noon.Add(time.Hour))
		note(a, 4, noon) // there is none
		want(map[int]time.Time{1: noon, 3: noon.Add(time.Hour)})
		note(b, 1, noon.Add(time.Second))
		note(a, 1, noon) // late
		want(map[int]time.Time{1: noon.Add(time.Second), 3: noon.Add(time.Hour)})
		if after := revision(t, b); after != before {
			t.Errorf("uses moved the revision from %d to %d", before, after)
		}
		// It belongs to the key, and goes with it.
		changePrincipal(t, a, "a", func(r *principals.Record) { r.Disabled = true })
		want(map[int]time.Time{1: noon.Add(time.Second), 3: noon.Add(time.Hour)})
		changePrincipal(t, b, "a", func(r *principals.Record) { r.Keys = r.Keys[1:] })
		changePrincipal(t, b, "a", func(r *principals.Record) { r.Keys = user("a", 1, 2).Keys })
		want(map[int]time.Time{3: noon.Add(time.Hour)})
		if got, err := a.LastUses(t.Context(), nil); err != nil || len(got) != 0 {
			t.Errorf("of no keys: %v, error %v", got, err)
		}
	}},
}

func comparePlaces(a, b principals.Place) int {
	return cmp.Or(cmp.Compare(a.Account, b.Account), cmp.Compare(a.Name, b.Name))
}
