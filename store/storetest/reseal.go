package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// anew is an encrypted value as the next key would have it.
func anew(sealed []byte) []byte { return append([]byte("anew "), sealed...) }

// slot is where a value is.
type slot struct {
	arn     secrets.ARN
	version string
}

// fillSealed makes secrets with values, and some without, and returns the
// values.
func fillSealed(t testing.TB, s KeyStore) map[slot][]byte {
	t.Helper()
	all := map[slot][]byte{}
	for n, versions := range []secrets.Versions{
		{version(1), version(2, secrets.Current), version(3)},
		{},
		{{ID: versionID(1), Created: noon, Empty: true}, version(2)},
		{version(9), version(1)},
		{version(5)},
	} {
		sec := plain(fmt.Sprintf("%c/ü%d", 'e'-n, n))
		sec.Versions = versions
		values := service.Sealed{}
		for i, v := range versions {
			if !v.Empty {
				values[v.ID] = sealed(10*n + i)
				all[slot{sec.ARN, v.ID}] = values[v.ID]
			}
		}
		create(t, s, sec, values)
	}
	return all
}

// resealAll goes through all values, n at a time, and returns those it was
// given.
func resealAll(t testing.TB, s KeyStore, n int, change func([]byte) []byte) map[slot][]byte {
	t.Helper()
	got := map[slot][]byte{}
	place := ""
	for {
		calls := 0
		next, err := s.Reseal(t.Context(), place, n, func(arn secrets.ARN, versionID string, sealed []byte) ([]byte, error) {
			calls++
			at := slot{arn, versionID}
			if _, again := got[at]; again {
				t.Errorf("version %s of %s comes twice", versionID, arn)
			}
			got[at] = slices.Clone(sealed)
			return change(sealed), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if calls > n {
			t.Fatalf("%d values instead of at most %d", calls, n)
		}
		if next == "" {
			return got
		}
		if next == place {
			t.Fatalf("it stays at %q", next)
		}
		place = next
	}
}

// wantSealed checks all values, as whoever reads the record first gets them.
func wantSealed(t testing.TB, s KeyStore, want map[slot][]byte) {
	t.Helper()
	for at, value := range want {
		find(t, s, at.arn)
		wantValue(t, s, at.arn, at.version, value)
	}
}

func anewAll(all map[slot][]byte) map[slot][]byte {
	out := map[slot][]byte{}
	for at, v := range all {
		out[at] = anew(v)
	}
	return out
}

var resealTests = []keyCase{
	{"Reseal gives every value once", func(t *testing.T, a, b KeyStore) {
		if got := resealAll(t, a, 10, anew); len(got) != 0 {
			t.Errorf("an empty store has %d values", len(got))
		}
		all := fillSealed(t, a)
		for _, n := range []int{1, 2, 3, len(all), 100} {
			wantSealed(t, b, all)
			if d := cmp.Diff(all, resealAll(t, a, n, func([]byte) []byte { return nil })); d != "" {
				t.Errorf("%d at a time (-want +got):\n%s", n, d)
			}
			wantSealed(t, a, all)
			wantSealed(t, b, all)
		}
	}},
	{"What was encrypted anew is what readers get next", func(t *testing.T, a, b KeyStore) {
		all := fillSealed(t, a)
		records := map[secrets.ARN]*service.Secret{}
		for at := range all {
			records[at.arn] = find(t, a, at.arn)
		}
		for range 3 {
			for range 2 { // the second time it may come from memory
				wantSealed(t, a, all)
				wantSealed(t, b, all)
			}
			if d := cmp.Diff(all, resealAll(t, a, 2, anew)); d != "" {
				t.Errorf("Reseal got (-want +got):\n%s", d)
			}
			all = anewAll(all)
			a, b = b, a
		}
		wantSealed(t, a, all)
		wantSealed(t, b, all)
		for a1, want := range records {
			wantRecord(t, find(t, a, a1), want)
		}
	}},
	{"An update encrypts anew, too", func(t *testing.T, a, b KeyStore) {
		all := fillSealed(t, a)
		wantSealed(t, a, all)
		wantSealed(t, b, all)
		for at := range all {
			update(t, a, at.arn, func(sec *service.Secret) (service.Sealed, error) {
				sec.KMSKeyID = "alias/other"
				values := service.Sealed{}
				for _, v := range sec.Versions {
					if !v.Empty {
						values[v.ID] = anew(all[slot{at.arn, v.ID}])
					}
				}
				return values, nil
			})
		}
		all = anewAll(all)
		wantSealed(t, a, all)
		wantSealed(t, b, all)
		// Nothing of the old ones is left to go through.
		if d := cmp.Diff(all, resealAll(t, b, 3, func([]byte) []byte { return nil })); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}},
	{"A reseal that fails leaves no trace", func(t *testing.T, a, b KeyStore) {
		all := fillSealed(t, a)
		wantSealed(t, b, all)
		mine, calls := errors.New("mine"), 0
		next, err := a.Reseal(t.Context(), "", 100, func(_ secrets.ARN, _ string, sealed []byte) ([]byte, error) {
			if calls++; calls == 3 {
				return nil, mine
			}
			return anew(sealed), nil
		})
		if err != mine || next != "" || calls != 3 {
			t.Errorf("error %v after %d values, and on at %q", err, calls, next)
		}
		_, err = a.Reseal(t.Context(), "", 1, func(secrets.ARN, string, []byte) ([]byte, error) { return []byte{}, nil })
		wantKind(t, err, secrets.Invalid)
		same := func(_ secrets.ARN, _ string, sealed []byte) ([]byte, error) { return anew(sealed), nil }
		_, err = a.Reseal(canceled(t), "", 1, same)
		wantKind(t, err, secrets.Transient)
		_, err = a.Reseal(t.Context(), "no such place", 1, same)
		wantKind(t, err, secrets.Invalid)
		wantSealed(t, a, all)
		wantSealed(t, b, all)
	}},
	{"Reseal goes on where what was there is gone", func(t *testing.T, a, b KeyStore) {
		all := fillSealed(t, a)
		var first slot
		place, err := a.Reseal(t.Context(), "", 1, func(arn secrets.ARN, versionID string, sealed []byte) ([]byte, error) {
			first = slot{arn, versionID}
			return nil, nil
		})
		if err != nil || place == "" {
			t.Fatal(place, err)
		}
		if err := b.Remove(t.Context(), first.arn); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(all, func(at slot, _ []byte) bool { return at.arn == first.arn })
		got := map[slot][]byte{}
		for place != "" {
			place, err = b.Reseal(t.Context(), place, 2, func(arn secrets.ARN, versionID string, sealed []byte) ([]byte, error) {
				got[slot{arn, versionID}] = sealed
				return nil, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(all, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
	}},
	{"Reseal among writers and readers", func(t *testing.T, a, b KeyStore) {
		const rounds = 30
		sec := create(t, a, plain("db"), nil)
		plainOf := func(sealed []byte) string {
			s := string(sealed)
			for strings.HasPrefix(s, "anew ") {
				s = s[len("anew "):]
			}
			return s
		}
		ctx, stop := context.WithCancel(t.Context())
		var readers sync.WaitGroup
		for _, s := range []KeyStore{a, b} {
			readers.Go(func() {
				for ctx.Err() == nil {
					got, err := s.Find(t.Context(), secrets.ID{ARN: sec.ARN})
					if err != nil {
						t.Error(err)
						return
					}
					for _, v := range got.Versions {
						if value, err := s.Value(t.Context(), sec.ARN, v.ID); err != nil || plainOf(value) != v.ID {
							t.Errorf("version %s has the value %q, error %v", v.ID, value, err)
							return
						}
					}
				}
			})
		}
		var work sync.WaitGroup
		work.Go(func() {
			for n := range rounds {
				id := versionID(n)
				_, err := a.Update(t.Context(), sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
					sec.Versions = append(sec.Versions, secrets.Version{ID: id})
					return service.Sealed{id: []byte(id)}, nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
		work.Go(func() {
			for range rounds / 3 {
				for place, first := "", true; first || place != ""; first = false {
					var err error
					place, err = b.Reseal(t.Context(), place, 4, func(_ secrets.ARN, _ string, sealed []byte) ([]byte, error) {
						return anew([]byte(plainOf(sealed))), nil
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
		work.Wait()
		stop()
		readers.Wait()
		all := resealAll(t, a, 7, anew)
		if len(all) != rounds {
			t.Errorf("%d of %d values are there", len(all), rounds)
		}
		wantSealed(t, b, anewAll(all))
	}},
}
