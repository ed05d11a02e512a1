package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var queryTests = []testCase{
	{"List pages in byte order", func(t *testing.T, s service.Store) {
		// Every legal character, the longest name, and names that only a
		// byte order sorts this way.
		names := []string{strings.Repeat("n", secrets.MaxNameLength)}
		for _, c := range "ABCxyz0129/_+=.@!-" {
			names = append(names, string(c), "a"+string(c), "a"+string(c)+"b")
		}
		for i, name := range names {
			sec := plain(name)
			sec.Versions = secrets.Versions{version(i), version(i + 1), {ID: versionID(i + 2), Empty: true}}
			create(t, s, sec, service.Sealed{versionID(i): sealed(i), versionID(i + 1): sealed(i + 1)})
		}
		for _, elsewhere := range others(arnOf("elsewhere"))[1:3] {
			create(t, s, &service.Secret{ARN: elsewhere}, nil)
		}
		slices.Sort(names)
		for _, size := range []int{1, 7, len(names), 1000} {
			var got []string
			for after := ""; ; {
				page, err := s.List(t.Context(), service.Listing{Account: account, Region: region, After: service.Position{Name: after}, N: size})
				if err != nil {
					t.Fatal(err)
				}
				if len(page) > size {
					t.Fatalf("a page of at most %d has %d", size, len(page))
				}
				if len(page) == 0 {
					break
				}
				for _, sec := range page {
					got = append(got, sec.ARN.Name)
					if len(sec.Versions) != 3 {
						t.Errorf("%s has %d versions", sec.ARN.Name, len(sec.Versions))
					}
				}
				after = got[len(got)-1]
			}
			if d := cmp.Diff(names, got); d != "" {
				t.Errorf("pages of %d (-want +got):\n%s", size, d)
			}
		}
		for _, name := range names {
			got, err := s.Find(t.Context(), secrets.ID{ARN: arnOf(name), ByName: true})
			if err != nil || got.ARN.Name != name {
				t.Errorf("%q is not found: %v", name, err)
			}
		}
	}},
	{"List starts after a name that need not exist", func(t *testing.T, s service.Store) {
		for _, name := range []string{"a", "b", "c"} {
			create(t, s, plain(name), nil)
		}
		for _, c := range []struct {
			after string
			n     int
			want  string
		}{{"", 0, ""}, {"", 2, "a b"}, {"a", 9, "b c"}, {"aa", 9, "b c"}, {"b", 1, "c"}, {"c", 9, ""}, {"z", 9, ""}} {
			page, err := s.List(t.Context(), service.Listing{Account: account, Region: region, After: service.Position{Name: c.after}, N: c.n})
			if got := namesOf(page); err != nil || got != c.want {
				t.Errorf("after %q at most %d: %q instead of %q, error %v", c.after, c.n, got, c.want, err)
			}
		}
	}},
	{"Due", func(t *testing.T, s service.Store) {
		minute := func(n int) time.Time { return noon.Add(time.Duration(n) * time.Minute) }
		for name, at := range map[string]time.Time{
			"never": {}, "late": minute(3), "b": minute(2), "a": minute(2), "B": minute(2), "early": minute(1),
		} {
			sec := plain(name)
			sec.DueAt = at
			sec.Versions = secrets.Versions{version(1, secrets.Current), version(2)}
			create(t, s, sec, service.Sealed{versionID(1): sealed(1), versionID(2): sealed(2)})
		}
		abroad := plain("abroad")
		abroad.ARN.Region, abroad.ARN.Account, abroad.DueAt = "us-east-1", "210987654321", minute(2)
		create(t, s, abroad, nil)
		check := func(before time.Time, n int, want string) {
			t.Helper()
			due, err := s.Due(t.Context(), before, service.DueAfter{}, n)
			if got := namesOf(due); err != nil || got != want {
				t.Errorf("due before %v, at most %d: %q instead of %q, error %v", before.Sub(noon), n, got, want, err)
			}
			for _, sec := range due {
				wantRecord(t, sec, find(t, s, sec.ARN))
			}
		}
		check(noon, 9, "")
		check(minute(1).Add(-time.Microsecond), 9, "")
		check(minute(1), 9, "early")
		check(minute(2), 9, "early B a abroad b")
		check(minute(9), 9, "early B a abroad b late")
		check(minute(9), 3, "early B a")
		check(minute(9), 0, "")
		for name, at := range map[string]time.Time{"early": {}, "never": minute(4), "b": minute(1)} {
			update(t, s, arnOf(name), func(sec *service.Secret) (service.Sealed, error) {
				sec.DueAt = at
				return nil, nil
			})
		}
		if err := s.Remove(t.Context(), arnOf("B")); err != nil {
			t.Fatal(err)
		}
		check(minute(9), 9, "b a abroad late never")
	}},
	{"Due is read on from a place", func(t *testing.T, s service.Store) {
		var all []*service.Secret
		for i, at := range []time.Time{noon.Add(-time.Minute), noon, noon, noon, noon.Add(time.Microsecond), noon.Add(time.Hour), {}} {
			for _, name := range []string{"b", "a", "B"} {
				sec := plain(fmt.Sprint(name, i))
				sec.DueAt = at
				create(t, s, sec, nil)
				all = append(all, sec)
				// The same name elsewhere comes after account and region.
				for _, place := range []service.Place{{Account: "000000000001", Region: region}, {Account: account, Region: "af-south-1"}} {
					other := plain(fmt.Sprint(name, i))
					other.ARN.Account, other.ARN.Region, other.DueAt = place.Account, place.Region, at
					create(t, s, other, nil)
					all = append(all, other)
				}
			}
		}
		want := func(before time.Time) (out []secrets.ARN) {
			due := slices.DeleteFunc(slices.Clone(all), func(s *service.Secret) bool { return s.DueAt.IsZero() || s.DueAt.After(before) })
			slices.SortFunc(due, inDueOrder)
			for _, sec := range due {
				out = append(out, sec.ARN)
			}
			return out
		}
		for _, before := range []time.Time{noon.Add(-time.Hour), noon, noon.Add(24 * time.Hour)} {
			for _, n := range []int{1, 2, 7, 100} {
				var got []secrets.ARN
				for after := (service.DueAfter{}); ; {
					page, err := s.Due(t.Context(), before, after, n)
					if err != nil {
						t.Fatal(err)
					}
					for _, sec := range page {
						got = append(got, sec.ARN)
						after = service.DueAfterOf(sec)
					}
					if len(page) < n {
						break
					}
				}
				if d := cmp.Diff(want(before), got); d != "" {
					t.Errorf("in pages of %d (-want +got):\n%s", n, d)
				}
			}
		}
		// The place outlives the secret that it came after.
		first, err := s.Due(t.Context(), noon, service.DueAfter{}, 2)
		if err != nil || len(first) != 2 {
			t.Fatal(len(first), err)
		}
		if err := s.Remove(t.Context(), first[1].ARN); err != nil {
			t.Fatal(err)
		}
		next, err := s.Due(t.Context(), noon, service.DueAfterOf(first[1]), 1)
		if err != nil || len(next) != 1 || next[0].ARN != want(noon)[2] {
			t.Errorf("after a place whose secret is gone: %v, error %v", next, err)
		}
	}},
	{"Backlog", func(t *testing.T, s service.Store) {
		check := func(before time.Time, most, n int, oldest time.Time) {
			t.Helper()
			got, since, err := s.Backlog(t.Context(), before, most)
			if err != nil || got != n || !since.Equal(oldest) {
				t.Errorf("before %v, at most %d: %d since %v instead of %d since %v, error %v", before.Sub(noon), most, got, since, n, oldest, err)
			}
		}
		check(noon, 9, 0, time.Time{})
		for i, at := range []time.Time{noon, noon.Add(-time.Hour), {}, noon.Add(time.Hour), noon.Add(-time.Microsecond)} {
			sec := plain(fmt.Sprint("s", i))
			sec.DueAt = at
			create(t, s, sec, nil)
		}
		check(noon.Add(-2*time.Hour), 9, 0, time.Time{})
		check(noon, 9, 3, noon.Add(-time.Hour))
		check(noon, 3, 3, noon.Add(-time.Hour))
		check(noon, 2, 2, noon.Add(-time.Hour))
		check(noon.Add(24*time.Hour), 100_000, 4, noon.Add(-time.Hour))
	}},
	{"Purgeable", func(t *testing.T, s service.Store) {
		var want []secrets.ARN
		for i := range 4 {
			sec := plain(fmt.Sprint("gone", 9-i))
			sec.ARN.Region = fmt.Sprint("region-", i)
			sec.Deleted, sec.PurgeAt = noon, noon.Add(time.Duration(i)*time.Hour)
			create(t, s, sec, nil)
			want = append(want, sec.ARN)
		}
		create(t, s, plain("living"), nil)
		for _, c := range []struct {
			now  time.Time
			n    int
			want []secrets.ARN
		}{
			{noon.Add(-time.Microsecond), 9, nil}, {noon, 9, want[:1]}, {noon.Add(2 * time.Hour), 9, want[:3]},
			{noon.Add(9 * time.Hour), 9, want}, {noon.Add(9 * time.Hour), 0, nil},
		} {
			got, err := s.Purgeable(t.Context(), c.now, c.n)
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(got, func(a, b secrets.ARN) int { return strings.Compare(a.Region, b.Region) })
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("at %v (-want +got):\n%s", c.now.Sub(noon), d)
			}
		}
		if got, err := s.Purgeable(t.Context(), noon.Add(9*time.Hour), 2); err != nil || len(got) != 2 {
			t.Errorf("at most 2: %d, error %v", len(got), err)
		}
	}},
}

func namesOf(list []*service.Secret) string {
	names := make([]string, len(list))
	for i, sec := range list {
		names[i] = sec.ARN.Name
	}
	return strings.Join(names, " ")
}
