package storetest

import (
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var readingTests = []testCase{
	{"The record of these tests has no zero field", func(t *testing.T, _ service.Store) {
		sec, _ := full("db")
		seen := map[string]bool{} // by path: whether some field there is set
		leaves(reflect.ValueOf(sec).Elem(), "Secret", func(path string, v reflect.Value) {
			seen[path] = seen[path] || !v.IsZero()
		})
		for path, set := range seen {
			if !set {
				t.Errorf("%s is zero: set it in full, so that no store can forget it", path)
			}
		}
		if len(seen) < 50 {
			t.Errorf("only %d fields were found", len(seen))
		}
	}},
	{"A record that is handed out may be altered", func(t *testing.T, s service.Store) {
		want, values := full("db")
		create(t, s, want, values)
		for _, read := range map[string]func() *service.Secret{
			"Find":  func() *service.Secret { return find(t, s, want.ARN) },
			"again": func() *service.Secret { return find(t, s, want.ARN) },
			"List": func() *service.Secret {
				page, err := s.List(t.Context(), service.Listing{Account: account, Region: region, N: 1})
				if err != nil || len(page) != 1 {
					t.Fatal(len(page), err)
				}
				return page[0]
			},
			"Update": func() *service.Secret {
				return update(t, s, want.ARN, func(*service.Secret) (service.Sealed, error) { return nil, nil })
			},
		} {
			got := read()
			wantRecord(t, got, want)
			leaves(reflect.ValueOf(got).Elem(), "", func(_ string, v reflect.Value) { v.SetZero() })
			wantRecord(t, find(t, s, want.ARN), want)
		}
	}},
	{"What was given may be altered", func(t *testing.T, s service.Store) {
		given, values := full("db")
		create(t, s, given, values)
		want, wantValues := full("db")
		leaves(reflect.ValueOf(given).Elem(), "", func(_ string, v reflect.Value) { v.SetZero() })
		for id, v := range values {
			clear(v)
			wantValue(t, s, want.ARN, id, wantValues[id])
		}
		wantRecord(t, find(t, s, want.ARN), want)
	}},
	{"Every write is seen by the next reader", func(t *testing.T, s service.Store) {
		want, values := full("db")
		look := func() {
			t.Helper()
			for range 2 { // the second one may be answered from memory
				wantRecord(t, find(t, s, want.ARN), want)
				for id, v := range values {
					wantValue(t, s, want.ARN, id, v)
				}
			}
		}
		create(t, s, want, values)
		look()
		for n := range 5 {
			id := versionID(100 + n)
			values[id] = sealed(n)
			update(t, s, want.ARN, func(sec *service.Secret) (service.Sealed, error) {
				sec.Versions = append(sec.Versions, secrets.Version{ID: id, Created: noon})
				return service.Sealed{id: values[id]}, nil
			})
			want.Versions = append(want.Versions, secrets.Version{ID: id, Created: noon})
			look()
			values[id] = sealed(n + 50) // sealed again
			update(t, s, want.ARN, func(*service.Secret) (service.Sealed, error) { return service.Sealed{id: values[id]}, nil })
			look()
		}
		last := len(want.Versions) - 1
		gone := want.Versions[last].ID
		update(t, s, want.ARN, func(sec *service.Secret) (service.Sealed, error) {
			sec.Versions = sec.Versions[:last]
			return nil, nil
		})
		want.Versions = want.Versions[:last]
		values[gone] = nil
		look()
		if err := s.Remove(t.Context(), want.ARN); err != nil {
			t.Fatal(err)
		}
		_, err := s.Find(t.Context(), secrets.ID{ARN: want.ARN})
		wantErr(t, err, service.ErrNotFound)
		wantValue(t, s, want.ARN, versionID(1), nil)
		want.ARN.Suffix = "ZyX987"
		delete(values, gone)
		create(t, s, want, values)
		look()
	}},
	{"Update removes a secret", func(t *testing.T, s service.Store) {
		want, values := full("db")
		create(t, s, want, values)
		other := create(t, s, plain("other"), nil)
		got := update(t, s, want.ARN, func(sec *service.Secret) (service.Sealed, error) {
			sec.Description = "seen"
			return nil, service.ErrRemove
		})
		want.Description = "seen"
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("it returned (-want +got):\n%s", d)
		}
		_, err := s.Find(t.Context(), secrets.ID{ARN: want.ARN})
		wantErr(t, err, service.ErrNotFound)
		wantValue(t, s, want.ARN, versionID(1), nil)
		wantRecord(t, find(t, s, other.ARN), other)
		create(t, s, plain("db"), nil)
		wantValue(t, s, want.ARN, versionID(1), nil)
	}},
}

// leaves visits whatever v has in it, but for what times are made of. An
// element's path is that of its list.
func leaves(v reflect.Value, path string, visit func(path string, v reflect.Value)) {
	switch {
	case v.Type() == reflect.TypeFor[time.Time]():
		visit(path, v)
	case v.Kind() == reflect.Pointer && v.IsNil(), v.Kind() == reflect.Slice && v.Len() == 0:
		visit(path, v)
	case v.Kind() == reflect.Pointer:
		leaves(v.Elem(), path, visit)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			leaves(v.Index(i), path+"[]", visit)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			leaves(v.Field(i), path+"."+v.Type().Field(i).Name, visit)
		}
	default:
		visit(path, v)
	}
}
