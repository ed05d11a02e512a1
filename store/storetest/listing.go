package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// orders are all there are.
var orders = []service.Order{service.ByName, service.ByCreated, service.ByChanged, service.ByAccessed}

// Listed returns what a listing has to return when all is what there is in its
// account and region.
func Listed(all []*service.Secret, l service.Listing) []*service.Secret {
	compare := func(a, b service.Position) int {
		at := func(p service.Position) int64 {
			if p.At.IsZero() {
				return 0
			}
			return p.At.UnixMicro()
		}
		c := cmp.Or(cmp.Compare(at(a), at(b)), strings.Compare(a.Name, b.Name))
		if l.Descending {
			return -c
		}
		return c
	}
	out := slices.DeleteFunc(slices.Clone(all), func(s *service.Secret) bool {
		return !strings.HasPrefix(s.ARN.Name, l.Prefix) ||
			l.After != service.Position{} && compare(l.Order.PositionOf(s), l.After) <= 0
	})
	slices.SortFunc(out, func(a, b *service.Secret) int { return compare(l.Order.PositionOf(a), l.Order.PositionOf(b)) })
	return out[:min(len(out), l.N)]
}

var listingTests = []testCase{
	{"List in every order", func(t *testing.T, s service.Store) {
		// Few instants, so that names must break ties; accessed on the first
		// day there is, and never, are the same place.
		day := func(n int) time.Time { return time.Unix(0, 0).UTC().AddDate(0, 0, n) }
		var all []*service.Secret
		for i, name := range []string{"a", "a/b", "a/bb", "a/b/c", "a/c", "a0", "A/b", "b", "b/b", "B", "_", "-", "a-b", "a_b", "a.b", "a/" + strings.Repeat("z", 500)} {
			sec := plain(name)
			sec.Created = noon.Add(time.Duration(i*7%5) * time.Microsecond)
			sec.Changed = noon.Add(time.Duration(i*5%4) * time.Hour)
			if i%3 != 0 {
				sec.Accessed = day(i * 11 % 6)
			}
			sec.Versions = secrets.Versions{version(i, secrets.Current)}
			all = append(all, create(t, s, sec, service.Sealed{versionID(i): sealed(i)}))
		}
		for i, elsewhere := range others(arnOf("a/b"))[1:3] {
			create(t, s, &service.Secret{ARN: elsewhere, Created: noon.Add(time.Duration(i)), Changed: noon}, nil)
		}
		for _, order := range orders {
			for _, descending := range []bool{false, true} {
				for _, prefix := range []string{"", "a", "a/b", "a/", "B", "none", "a/" + strings.Repeat("z", 510)} {
					for _, n := range []int{0, 1, 3, 1000} {
						l := service.Listing{Account: account, Region: region, Prefix: prefix, Order: order, Descending: descending, N: n}
						for pages := 0; ; pages++ {
							got, err := s.List(t.Context(), l)
							if err != nil {
								t.Fatalf("%+v: %v", l, err)
							}
							if d := gocmp.Diff(namesOf(Listed(all, l)), namesOf(got)); d != "" {
								t.Errorf("%+v (-want +got):\n%s", l, d)
							}
							for _, sec := range got {
								wantRecord(t, sec, find(t, s, sec.ARN))
							}
							if len(got) == 0 {
								break
							}
							if pages > len(all) {
								t.Fatalf("%+v has no end", l)
							}
							l.After = order.PositionOf(got[len(got)-1])
						}
					}
				}
			}
		}
	}},
	{"List goes on after a place where there is nothing", func(t *testing.T, s service.Store) {
		var all []*service.Secret
		for i, name := range []string{"b", "d", "f"} {
			sec := plain(name)
			sec.Created, sec.Changed, sec.Accessed = noon.Add(time.Duration(i)*time.Hour), noon.Add(time.Duration(9-i)*time.Hour), noon.Truncate(24*time.Hour)
			all = append(all, create(t, s, sec, nil))
		}
		for _, order := range orders {
			for _, descending := range []bool{false, true} {
				for _, name := range []string{"", "a", "b", "c", "g"} {
					for hours := -13; hours < 12; hours++ {
						l := service.Listing{Account: account, Region: region, Order: order, Descending: descending, N: 9, After: service.Position{Name: name}}
						if order != service.ByName {
							l.After.At = noon.Add(time.Duration(hours) * time.Hour)
						} else if name == "" {
							continue
						}
						got, err := s.List(t.Context(), l)
						if want := namesOf(Listed(all, l)); err != nil || namesOf(got) != want {
							t.Errorf("%+v: %q instead of %q, error %v", l, namesOf(got), want, err)
						}
					}
				}
			}
		}
	}},
	{"A listing follows what is written meanwhile", func(t *testing.T, s service.Store) {
		for i := range 6 {
			sec := plain(fmt.Sprint("db", i))
			sec.Changed = noon.Add(time.Duration(i) * time.Minute)
			create(t, s, sec, nil)
		}
		list := service.Listing{Account: account, Region: region, Order: service.ByChanged, Descending: true, N: 2}
		check := func(want string) {
			t.Helper()
			got, err := s.List(t.Context(), list)
			if err != nil || namesOf(got) != want {
				t.Errorf("%q instead of %q, error %v", namesOf(got), want, err)
			}
			if len(got) > 0 {
				list.After = list.Order.PositionOf(got[len(got)-1])
			}
		}
		check("db5 db4")
		update(t, s, arnOf("db3"), func(sec *service.Secret) (service.Sealed, error) {
			sec.Changed = noon.Add(time.Hour)
			return nil, nil
		})
		if err := s.Remove(t.Context(), arnOf("db4")); err != nil {
			t.Fatal(err)
		}
		check("db2 db1")
		check("db0")
		check("")
	}},
	{"Places", func(t *testing.T, s service.Store) {
		var want []service.Place
		check := func() {
			t.Helper()
			got, err := s.Places(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(got, func(a, b service.Place) int {
				return cmp.Or(strings.Compare(a.Account, b.Account), strings.Compare(a.Region, b.Region))
			})
			if d := gocmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		}
		check()
		for _, a := range []string{"000000000000", "123456789012", "999999999999"} {
			for _, r := range []string{"af-south-1", "eu-west-1", "us-west-2"} {
				if a == "999999999999" && r == "eu-west-1" {
					continue
				}
				for i := range 3 {
					sec := plain(fmt.Sprint("db", i))
					sec.ARN.Account, sec.ARN.Region = a, r
					create(t, s, sec, nil)
				}
				want = append(want, service.Place{Account: a, Region: r})
				check()
			}
		}
		for i := range 3 {
			a := arnOf(fmt.Sprint("db", i))
			a.Account, a.Region = "000000000000", "us-west-2"
			if err := s.Remove(t.Context(), a); err != nil {
				t.Fatal(err)
			}
		}
		want = slices.DeleteFunc(want, func(p service.Place) bool { return p == service.Place{Account: "000000000000", Region: "us-west-2"} })
		check()
		_, err := s.Places(canceled(t))
		wantKind(t, err, secrets.Transient)
	}},
	{"Behind", func(t *testing.T, s service.Store) {
		minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
		for name, n := range map[string]int{"late": 3, "middle": 2, "early": 1} {
			sec := plain(name)
			sec.FollowAt = minute(n)
			if name == "middle" {
				sec.ARN.Region, sec.ARN.Account = "us-east-1", "210987654321"
			}
			create(t, s, sec, nil)
		}
		create(t, s, plain("never"), nil)
		check := func(now time.Time, n int, want string) {
			t.Helper()
			arns, err := s.Behind(t.Context(), now, n)
			var names []string
			for _, a := range arns {
				names = append(names, a.Name)
				find(t, s, a)
			}
			if got := strings.Join(names, " "); err != nil || got != want {
				t.Errorf("behind at %v, at most %d: %q instead of %q, error %v", now.Sub(noon), n, got, want, err)
			}
		}
		check(minute(1).Add(-time.Microsecond), 9, "")
		check(minute(1), 9, "early")
		check(minute(9), 9, "early middle late")
		check(minute(9), 2, "early middle")
		check(minute(9), 0, "")
		for name, at := range map[string]time.Time{"early": {}, "never": minute(4)} {
			update(t, s, arnOf(name), func(sec *service.Secret) (service.Sealed, error) {
				sec.FollowAt = at
				return nil, nil
			})
		}
		if err := s.Remove(t.Context(), arnOf("late")); err != nil {
			t.Fatal(err)
		}
		check(minute(9), 9, "middle never")
	}},
}
