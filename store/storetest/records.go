package storetest

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var recordTests = []testCase{
	{"Create keeps every field", func(t *testing.T, s service.Store) {
		want, values := full("db")
		create(t, s, want, values)
		got := find(t, s, want.ARN)
		wantRecord(t, got, want)
		for id, v := range values {
			wantValue(t, s, want.ARN, id, v)
		}
		wantValue(t, s, want.ARN, want.Versions[2].ID, nil)
	}},
	{"Create keeps an empty record", func(t *testing.T, s service.Store) {
		want := &service.Secret{ARN: arnOf("db")}
		create(t, s, want, nil)
		wantRecord(t, find(t, s, want.ARN), want)
	}},
	{"Create refuses a name that is taken", func(t *testing.T, s service.Store) {
		first := plain("db")
		first.Deleted, first.PurgeAt = noon, noon.Add(time.Hour)
		create(t, s, first, nil)
		again := plain("db")
		again.ARN.Suffix = "ZyX987"
		wantErr(t, s.Create(t.Context(), again, nil), service.ErrExists)
		wantRecord(t, find(t, s, first.ARN), first)
		for _, change := range []func(*secrets.ARN){
			func(a *secrets.ARN) { a.Account = "210987654321" },
			func(a *secrets.ARN) { a.Region = "us-east-1" },
			func(a *secrets.ARN) { a.Name = "DB" },
		} {
			other := plain("db")
			change(&other.ARN)
			create(t, s, other, nil)
		}
	}},
	{"Create refuses what contradicts itself", func(t *testing.T, s service.Store) {
		for name, c := range map[string]struct {
			versions secrets.Versions
			values   service.Sealed
		}{
			"a version without its value": {secrets.Versions{version(1)}, nil},
			"a value without its version": {nil, service.Sealed{versionID(1): sealed(1)}},
			"an empty version with one":   {secrets.Versions{{ID: versionID(1), Empty: true}}, service.Sealed{versionID(1): sealed(1)}},
			"a value of no bytes":         {secrets.Versions{version(1)}, service.Sealed{versionID(1): {}}},
			"a version twice":             {secrets.Versions{version(1), version(1)}, service.Sealed{versionID(1): sealed(1)}},
		} {
			t.Run(name, func(t *testing.T) {
				sec := plain("db")
				sec.Versions = c.versions
				wantKind(t, s.Create(t.Context(), sec, c.values), secrets.Invalid)
				_, err := s.Find(t.Context(), secrets.ID{ARN: sec.ARN})
				wantErr(t, err, service.ErrNotFound)
			})
		}
	}},
	{"Text that is not UTF-8 is refused", func(t *testing.T, s service.Store) {
		sec := plain("db")
		sec.Tags = []service.Tag{{Key: "k", Value: "\xff"}}
		wantKind(t, s.Create(t.Context(), sec, nil), secrets.Invalid)
	}},
	{"Find", func(t *testing.T, s service.Store) {
		sec := create(t, s, plain("db"), nil)
		with := func(change func(*secrets.ARN)) secrets.ARN {
			a := sec.ARN
			change(&a)
			return a
		}
		for name, c := range map[string]struct {
			id    secrets.ID
			found bool
		}{
			"by ARN":            {secrets.ID{ARN: sec.ARN}, true},
			"by partial ARN":    {secrets.ID{ARN: with(func(a *secrets.ARN) { a.Suffix = "" }), ByName: true}, true},
			"by name":           {secrets.ID{ARN: secrets.ARN{Region: region, Account: account, Name: "db"}, ByName: true}, true},
			"another suffix":    {secrets.ID{ARN: with(func(a *secrets.ARN) { a.Suffix = "abc123" })}, false},
			"another partition": {secrets.ID{ARN: with(func(a *secrets.ARN) { a.Partition = "aws-cn" })}, false},
			"another region":    {secrets.ID{ARN: with(func(a *secrets.ARN) { a.Region = "us-east-1" })}, false},
			"another account":   {secrets.ID{ARN: with(func(a *secrets.ARN) { a.Account = "210987654321" })}, false},
			"another case":      {secrets.ID{ARN: with(func(a *secrets.ARN) { a.Name = "Db" }), ByName: true}, false},
			"a prefix":          {secrets.ID{ARN: with(func(a *secrets.ARN) { a.Name = "d" }), ByName: true}, false},
			"a pattern":         {secrets.ID{ARN: with(func(a *secrets.ARN) { a.Name = "d_" }), ByName: true}, false},
		} {
			t.Run(name, func(t *testing.T) {
				got, err := s.Find(t.Context(), c.id)
				if !c.found {
					wantErr(t, err, service.ErrNotFound)
				} else if err != nil {
					t.Error(err)
				} else {
					wantRecord(t, got, sec)
				}
			})
		}
	}},
	{"Update changes everything", func(t *testing.T, s service.Store) {
		create(t, s, plain("db"), nil)
		want, values := full("db")
		got := update(t, s, want.ARN, func(sec *service.Secret) (service.Sealed, error) {
			wantRecord(t, sec, plain("db"))
			*sec = *want
			return values, nil
		})
		wantRecord(t, got, want)
		wantRecord(t, find(t, s, want.ARN), want)
		for id, v := range values {
			wantValue(t, s, want.ARN, id, v)
		}
		// And back: every field can be emptied again.
		got = update(t, s, want.ARN, func(sec *service.Secret) (service.Sealed, error) {
			wantRecord(t, sec, want)
			*sec = *plain("db")
			return nil, nil
		})
		wantRecord(t, got, plain("db"))
		wantRecord(t, find(t, s, want.ARN), plain("db"))
	}},
	{"Update goes the way of a rotation", func(t *testing.T, s service.Store) {
		sec := plain("db")
		sec.Versions = secrets.Versions{version(1, secrets.Current)}
		create(t, s, sec, service.Sealed{versionID(1): sealed(1)})
		for _, step := range []struct {
			change func(*service.Secret)
			values service.Sealed
		}{
			{change: func(sec *service.Secret) { // asked for
				sec.Versions = append(sec.Versions, secrets.Version{ID: versionID(2), Created: noon, Labels: []string{secrets.Pending}, Empty: true})
			}},
			{change: func(sec *service.Secret) { // created
				sec.Versions[1].Empty = false
				sec.Versions[1].Labels = []string{secrets.Pending, secrets.Intent}
			}, values: service.Sealed{versionID(2): sealed(2)}},
			{change: func(sec *service.Secret) { // promoted
				sec.Versions[0].Labels = []string{secrets.Previous}
				sec.Versions[1].Labels = []string{secrets.Intent, secrets.Current}
				sec.ValueChanged, sec.DueAt = noon, noon.Add(time.Hour)
			}},
			{change: func(sec *service.Secret) { // sealed with another key
				sec.Versions[1].KeyID = "alias/new"
			}, values: service.Sealed{versionID(2): sealed(22)}},
			{change: func(*service.Secret) {}},
		} {
			var want *service.Secret
			got := update(t, s, sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
				step.change(sec)
				want = clone(sec)
				return step.values, nil
			})
			wantRecord(t, got, want)
			wantRecord(t, find(t, s, sec.ARN), want)
		}
		wantValue(t, s, sec.ARN, versionID(1), sealed(1))
		wantValue(t, s, sec.ARN, versionID(2), sealed(22))
	}},
	{"Update writes nothing where change fails", func(t *testing.T, s service.Store) {
		sec, values := full("db")
		create(t, s, sec, values)
		mine, runs := errors.New("mine"), 0
		_, err := s.Update(t.Context(), sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
			runs++
			sec.Description, sec.Versions = "changed", nil
			return service.Sealed{versionID(9): sealed(9)}, mine
		})
		if err != mine || runs != 1 {
			t.Errorf("error %v after %d runs instead of change's own after 1", err, runs)
		}
		wantRecord(t, find(t, s, sec.ARN), sec)
		wantValue(t, s, sec.ARN, versionID(9), nil)
		wantValue(t, s, sec.ARN, versionID(1), sealed(1))
	}},
	{"Update writes nothing where change panics", func(t *testing.T, s service.Store) {
		sec := create(t, s, plain("db"), nil)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_, _ = s.Update(t.Context(), sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
				sec.Description = "changed"
				panic("mine")
			})
		}()
		wantRecord(t, find(t, s, sec.ARN), sec)
		sec.Description = "changed after all"
		update(t, s, sec.ARN, func(got *service.Secret) (service.Sealed, error) {
			got.Description = sec.Description
			return nil, nil
		})
		wantRecord(t, find(t, s, sec.ARN), sec)
	}},
	{"Update refuses what contradicts itself", func(t *testing.T, s service.Store) {
		sec := plain("db")
		sec.Versions = secrets.Versions{version(1), {ID: versionID(2), Empty: true}}
		create(t, s, sec, service.Sealed{versionID(1): sealed(1)})
		for name, change := range map[string]func(*service.Secret) service.Sealed{
			"another ARN":                  func(sec *service.Secret) service.Sealed { sec.ARN.Name = "other"; return nil },
			"a filled version emptied":     func(sec *service.Secret) service.Sealed { sec.Versions[0].Empty = true; return nil },
			"a version filled with naught": func(sec *service.Secret) service.Sealed { sec.Versions[1].Empty = false; return nil },
			"a value without its version":  func(*service.Secret) service.Sealed { return service.Sealed{versionID(3): sealed(3)} },
			"a version twice": func(sec *service.Secret) service.Sealed {
				sec.Versions = append(sec.Versions, sec.Versions[0])
				return nil
			},
		} {
			t.Run(name, func(t *testing.T) {
				_, err := s.Update(t.Context(), sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
					return change(sec), nil
				})
				wantKind(t, err, secrets.Invalid)
				wantRecord(t, find(t, s, sec.ARN), sec)
			})
		}
	}},
	{"Update of a secret that is not there", func(t *testing.T, s service.Store) {
		sec := create(t, s, plain("db"), nil)
		for _, a := range others(sec.ARN) {
			_, err := s.Update(t.Context(), a, func(*service.Secret) (service.Sealed, error) {
				t.Errorf("change ran for %s", a)
				return nil, nil
			})
			wantErr(t, err, service.ErrNotFound)
		}
	}},
	{"Update removes versions with their values", func(t *testing.T, s service.Store) {
		sec := plain("db")
		sec.Versions = secrets.Versions{version(1), version(2), version(3)}
		create(t, s, sec, service.Sealed{versionID(1): sealed(1), versionID(2): sealed(2), versionID(3): sealed(3)})
		got := update(t, s, sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
			sec.Versions = secrets.Versions{version(4), sec.Versions[2], sec.Versions[0]}
			return service.Sealed{versionID(4): sealed(4)}, nil
		})
		want := clone(sec)
		want.Versions = secrets.Versions{version(4), version(3), version(1)}
		wantRecord(t, got, want)
		wantRecord(t, find(t, s, sec.ARN), want)
		for n, v := range map[int][]byte{1: sealed(1), 2: nil, 3: sealed(3), 4: sealed(4)} {
			wantValue(t, s, sec.ARN, versionID(n), v)
		}
		// A version that comes back does not find its old value.
		_, err := s.Update(t.Context(), sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
			sec.Versions = append(sec.Versions, version(2))
			return nil, nil
		})
		wantKind(t, err, secrets.Invalid)
	}},
	{"Tags stay unset, empty, or in order", func(t *testing.T, s service.Store) {
		sec := create(t, s, plain("db"), nil)
		for _, tags := range [][]service.Tag{nil, {{Key: "b", Value: "1"}, {Key: "a", Value: "2"}}, {{Key: "a", Value: "3"}}, {}, nil} {
			got := update(t, s, sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
				sec.Tags = tags
				return nil, nil
			})
			want := clone(sec)
			want.Tags = tags
			wantRecord(t, got, want)
			wantRecord(t, find(t, s, sec.ARN), want)
		}
	}},
	{"Times are kept to the microsecond, in UTC", func(t *testing.T, s service.Store) {
		berlin := time.FixedZone("CET", 3600)
		sec := plain("db")
		sec.Created = time.Date(2026, 3, 1, 13, 0, 0, 123456789, berlin)
		sec.Changed = time.Date(1969, 12, 31, 23, 59, 59, 999999999, time.UTC)
		sec.Accessed = time.Unix(0, 0)
		sec.ValueChanged = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
		sec.Rotation = &secrets.Rotation{LastRotated: sec.Created, Attempt: secrets.Attempt{NextTry: sec.Created}}
		sec.Versions = secrets.Versions{{ID: versionID(1), Created: sec.Created, Empty: true}}
		create(t, s, sec, nil)
		want := clone(sec)
		trunc := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
		want.Created, want.Rotation.LastRotated, want.Rotation.Attempt.NextTry, want.Versions[0].Created = trunc, trunc, trunc, trunc
		want.Changed = time.Date(1969, 12, 31, 23, 59, 59, 999999000, time.UTC)
		for _, got := range []*service.Secret{
			find(t, s, sec.ARN),
			update(t, s, sec.ARN, func(got *service.Secret) (service.Sealed, error) {
				got.Created, got.Versions[0].Created, got.Rotation.LastRotated = sec.Created, sec.Created, sec.Created
				return nil, nil
			}),
		} {
			wantRecord(t, got, want)
			for _, at := range []time.Time{got.Created, got.Accessed, got.Rotation.LastRotated, got.Versions[0].Created} {
				if at.Location() != time.UTC {
					t.Errorf("%v is not in UTC", at)
				}
			}
			if !got.DueAt.IsZero() || !got.Versions[0].Accessed.IsZero() || !got.Rotation.Attempt.FailingSince.IsZero() {
				t.Error("a zero time did not stay zero")
			}
		}
	}},
	{"Value keeps all bytes", func(t *testing.T, s service.Store) {
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		large := bytes.Repeat(all, secrets.MaxValueBytes/256+1)
		sec := plain("db")
		sec.Versions = secrets.Versions{version(1), version(2)}
		create(t, s, sec, service.Sealed{versionID(1): {0}, versionID(2): large})
		wantValue(t, s, sec.ARN, versionID(1), []byte{0})
		wantValue(t, s, sec.ARN, versionID(2), large)
		for _, a := range others(sec.ARN) {
			wantValue(t, s, a, versionID(1), nil)
		}
		wantValue(t, s, sec.ARN, versionID(3), nil)
	}},
	{"Remove", func(t *testing.T, s service.Store) {
		sec, values := full("db")
		create(t, s, sec, values)
		other, otherValues := full("other")
		create(t, s, other, otherValues)
		for _, a := range others(sec.ARN) {
			wantErr(t, s.Remove(t.Context(), a), service.ErrNotFound)
		}
		if err := s.Remove(t.Context(), sec.ARN); err != nil {
			t.Fatal(err)
		}
		_, err := s.Find(t.Context(), secrets.ID{ARN: sec.ARN, ByName: true})
		wantErr(t, err, service.ErrNotFound)
		wantErr(t, s.Remove(t.Context(), sec.ARN), service.ErrNotFound)
		wantValue(t, s, sec.ARN, versionID(1), nil)
		wantRecord(t, find(t, s, other.ARN), other)
		wantValue(t, s, other.ARN, versionID(1), sealed(1))

		again := plain("db")
		again.ARN.Suffix = "ZyX987"
		create(t, s, again, nil)
		wantValue(t, s, again.ARN, versionID(1), nil)
		_, err = s.Find(t.Context(), secrets.ID{ARN: sec.ARN})
		wantErr(t, err, service.ErrNotFound)
		wantRecord(t, find(t, s, again.ARN), again)
	}},
	{"A context that has ended is Transient and changes nothing", func(t *testing.T, s service.Store) {
		ctx := canceled(t)
		sec := create(t, s, plain("db"), nil)
		_, err := s.Update(ctx, sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
			sec.Description = "changed"
			return nil, nil
		})
		wantKind(t, err, secrets.Transient)
		wantKind(t, s.Create(ctx, plain("other"), nil), secrets.Transient)
		wantKind(t, s.Remove(ctx, sec.ARN), secrets.Transient)
		_, err = s.Find(ctx, secrets.ID{ARN: sec.ARN})
		wantKind(t, err, secrets.Transient)
		wantRecord(t, find(t, s, sec.ARN), sec)
		_, err = s.Find(t.Context(), secrets.ID{ARN: arnOf("other")})
		wantErr(t, err, service.ErrNotFound)
	}},
}

// others are ARNs that differ from a in one part each.
func others(a secrets.ARN) []secrets.ARN {
	out := []secrets.ARN{a, a, a, a, a}
	out[0].Partition = "aws-cn"
	out[1].Region = "us-east-1"
	out[2].Account = "210987654321"
	out[3].Name = "Db"
	out[4].Suffix = "abC123"
	return out
}
