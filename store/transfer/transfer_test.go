package transfer

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

const canary = "C4nary-Pa55word"

var (
	noon  = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	place = service.Place{Account: service.DefaultAccount, Region: service.DefaultRegion}
)

// embedded makes an empty store with a master key of its own.
func embedded(t *testing.T) *Own {
	t.Helper()
	return file(t).Own
}

func arnOf(i int) secrets.ARN {
	region := place.Region
	if i%7 == 3 {
		region = "eu-west-3"
	}
	return secrets.ARN{Partition: "aws", Region: region, Account: place.Account, Name: fmt.Sprintf("prod/db-%05d", i), Suffix: "AbC123"}
}

func versionID(n int) string { return fmt.Sprintf("%032d", n) }

func value(i, n int) secrets.Value {
	if i%4 == 1 {
		return secrets.Binary(fmt.Appendf(nil, "\x00%s %d %d", canary, i, n))
	}
	return secrets.Text(fmt.Sprintf("%s %d %d", canary, i, n))
}

// put makes secret i, with a version for every number; the last is AWSCURRENT.
func (o *Own) put(t testing.TB, i int, versions ...int) {
	t.Helper()
	key := ""
	if i%3 == 0 {
		key = "alias/shop"
	}
	s := &service.Secret{
		ARN: arnOf(i), Description: "¿\u2028\"", KMSKeyID: key, Created: noon, Changed: noon.Add(time.Second), ValueChanged: noon, Accessed: noon.Truncate(24 * time.Hour),
		Policy: "{\n}", DueAt: noon.Add(time.Duration(i) * time.Hour), Tags: []service.Tag{{Key: "team", Value: "a"}, {Key: "b", Value: ""}},
		Rotation: &secrets.Rotation{Enabled: true, Source: "api", Since: noon, Rules: secrets.RotationRules{Schedule: "rate(4 hours)"}},
	}
	values := service.Sealed{}
	for at, n := range versions {
		v := secrets.Version{ID: versionID(n), Created: noon.Add(time.Duration(n) * time.Second), KeyID: key}
		switch len(versions) - at {
		case 1:
			v.Labels = []string{secrets.Current, secrets.Intent, "MINE"}
		case 2:
			v.Labels = []string{secrets.Previous}
		}
		s.Versions = append(s.Versions, v)
		values[v.ID] = o.sealed(t, s.ARN, v, value(i, n))
	}
	if err := o.Store.Create(t.Context(), s, values); err != nil {
		t.Error(err)
	}
}

func (o *Own) sealed(t testing.TB, arn secrets.ARN, v secrets.Version, text secrets.Value) []byte {
	b, err := o.Keys.Seal(context.WithoutCancel(t.Context()), v.KeyID, arn.String(), v.ID, text)
	if err != nil {
		t.Error(err)
	}
	return b
}

// rotate gives secret i a version n, as a rotation does.
func (o *Own) rotate(t testing.TB, i, n int) error {
	_, err := o.Store.Update(context.WithoutCancel(t.Context()), arnOf(i), func(s *service.Secret) (service.Sealed, error) {
		v := secrets.Version{ID: versionID(n), Created: noon.Add(time.Duration(n) * time.Second), Labels: []string{secrets.Current, secrets.Intent}, KeyID: s.KMSKeyID}
		for j := range s.Versions {
			was := s.Versions[j].Has(secrets.Current)
			s.Versions[j].Labels = nil
			if was {
				s.Versions[j].Labels = []string{secrets.Previous}
			}
		}
		s.Versions = append(s.Versions, v)
		s.Changed, s.ValueChanged = s.Changed.Add(time.Second), s.Changed.Add(time.Second)
		return service.Sealed{v.ID: o.sealed(t, s.ARN, v, value(i, n))}, nil
	})
	return err
}

// source is a store with n secrets, a named key with two generations, and people.
func source(t *testing.T, n int) (*Own, *principals.Credentials) {
	t.Helper()
	o := embedded(t)
	return o, fill(t, o, n)
}

func fill(t testing.TB, o *Own, n int) *principals.Credentials {
	t.Helper()
	if _, err := o.Keys.CreateKey(t.Context(), "alias/shop"); err != nil {
		t.Fatal(err)
	}
	put := func(from, to int) { // sharing transactions
		var wg sync.WaitGroup
		for i := from; i < to; i++ {
			wg.Go(func() { o.put(t, i, 1, 2, 3) })
		}
		wg.Wait()
	}
	put(0, n/2)
	if _, err := o.Keys.RotateKey(t.Context(), "alias/shop"); err != nil {
		t.Fatal(err)
	}
	put(n/2, n)
	people := principals.New(principals.Config{Store: o.Store, Sealer: o.Keys, Account: place.Account})
	t.Cleanup(people.Close)
	_, c, err := people.Create(t.Context(), principals.NewPrincipal{Name: "admin", Policies: []principals.Policy{{Name: "all", Document: principals.AdministratorPolicy}}})
	if err == nil {
		err = o.Store.NoteUse(t.Context(), c.AccessKeyID, noon)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// state is all that an Own has, opened.
type state struct {
	Secrets map[string]*service.Secret
	Values  map[string]secrets.Value
	People  map[string]*principals.Record
	Used    map[string]time.Time
	Keys    []seal.NamedKey
}

func stateOf(t testing.TB, o *Own) state {
	t.Helper()
	s := state{Secrets: map[string]*service.Secret{}, Values: map[string]secrets.Value{}, People: map[string]*principals.Record{}}
	all := *o
	all.only = false
	err := all.each(t.Context(), func(arn secrets.ARN) error {
		it, err := all.read(t.Context(), arn)
		if err != nil {
			return err
		}
		s.Secrets[arn.String()] = it.record
		for id, v := range it.values {
			s.Values[arn.String()+" "+id] = v
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	found, err := o.Store.Principals(t.Context(), "", principals.Place{}, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, r := range found {
		open, err := principals.SecretsOf(t.Context(), r, o.Keys)
		if err != nil {
			t.Fatal(err)
		}
		for i := range r.Keys {
			ids = append(ids, r.Keys[i].ID)
			r.Keys[i].Sealed = open[r.Keys[i].ID].Reveal()
		}
		s.People[r.Account+"/"+r.Name] = r
	}
	if s.Used, err = o.Store.LastUses(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	keys, err := o.Keys.ListKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Keys = keys[1:] // the default key is each store's own
	return s
}

func compare(t testing.TB, from, to *Own) {
	t.Helper()
	wantState(t, stateOf(t, from), stateOf(t, to))
}

func wantState(t testing.TB, want, got state) {
	t.Helper()
	// Whether nothing is a nil or an empty list is nobody's business.
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmp.Comparer(func(a, b secrets.Value) bool { return a.Equal(b) })); diff != "" {
		t.Errorf("the copy is not the same:\n%s", diff)
	}
}

// run copies and verifies.
func run(t testing.TB, c *Copier) *Report {
	t.Helper()
	if _, err := c.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := c.Verify(t.Context(), c.To)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCopyIsEverything(t *testing.T) {
	from, admin := source(t, 21)
	to := embedded(t)
	r := run(t, &Copier{From: from, To: to})
	if !r.Whole() || r.Copied != 21 || r.Verified != 21 || r.Keys != 1 || r.KeysTaken != 1 || r.PrincipalsTaken != 1 {
		t.Errorf("%+v", r)
	}
	compare(t, from, to)
	people := principals.New(principals.Config{Store: to.Store, Sealer: to.Keys, Account: place.Account})
	defer people.Close()
	if k, err := people.AccessKey(t.Context(), admin.AccessKeyID, secrets.Password{}); err != nil || !k.Secret.Equal(admin.Secret) {
		t.Error(err)
	}
	// Again it does nothing.
	revision, err := to.Store.SettingsRevision(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r := run(t, &Copier{From: from, To: to}); !r.Whole() || r.Copied+r.Updated != 0 || r.Same != 21 || r.KeysTaken+r.PrincipalsTaken != 0 {
		t.Errorf("%+v", r)
	}
	if now, err := to.Store.SettingsRevision(t.Context()); now != revision {
		t.Errorf("the settings were written again: %v", err)
	}
	// And back, into a third one: byte for byte.
	back := embedded(t)
	if r := run(t, &Copier{From: to, To: back}); !r.Whole() {
		t.Errorf("%+v", r)
	}
	compare(t, from, back)
}

func TestDryRun(t *testing.T) {
	from, _ := source(t, 5)
	to := embedded(t)
	r := run(t, &Copier{From: from, To: to, DryRun: true})
	if r.Copied != 5 || r.KeysTaken != 1 || r.PrincipalsTaken != 1 {
		t.Errorf("%+v", r)
	}
	if s := stateOf(t, to); len(s.Secrets)+len(s.People)+len(s.Keys) != 0 {
		t.Errorf("it wrote: %+v", s)
	}
}

// What is at the destination and no earlier copy is kept and listed; what the
// source has only gone on from is not.
func TestWhatIsThere(t *testing.T) {
	change := func(f func(s *service.Secret)) func(t *testing.T, from, to *Own) {
		return func(t *testing.T, from, to *Own) {
			if _, err := to.Store.Update(t.Context(), arnOf(0), func(s *service.Secret) (service.Sealed, error) { f(s); return nil, nil }); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, c := range map[string]struct {
		first bool // it was copied before
		do    func(t *testing.T, from, to *Own)
		want  outcome
		says  string
	}{
		"nothing":            {false, func(*testing.T, *Own, *Own) {}, copied, ""},
		"a copy":             {true, func(*testing.T, *Own, *Own) {}, same, ""},
		"a copy that is old": {true, func(t *testing.T, from, to *Own) { from.rotate(t, 0, 4) }, updated, ""},
		"a copy that was used": {true, change(func(s *service.Secret) {
			s.Accessed = s.Accessed.AddDate(0, 0, 9)
			s.DueAt = noon
		}), same, ""},
		"a copy that rotated there": {true, func(t *testing.T, from, to *Own) { to.rotate(t, 0, 9); from.rotate(t, 0, 4); from.rotate(t, 0, 5) }, refused, "a value of its own"},
		"a copy that was changed there": {true, change(func(s *service.Secret) {
			s.Description, s.Changed = "mine", s.Changed.Add(time.Hour)
		}), refused, "was changed at the destination"},
		"another secret": {false, func(t *testing.T, from, to *Own) {
			arn := arnOf(0)
			arn.Suffix = "XyZ789"
			if err := to.Store.Create(t.Context(), &service.Secret{ARN: arn, Created: noon}, nil); err != nil {
				t.Fatal(err)
			}
		}, refused, "another secret"},
		"another value": {false, func(t *testing.T, from, to *Own) {
			s := &service.Secret{ARN: arnOf(0), Created: noon, Versions: secrets.Versions{{ID: versionID(3), Labels: []string{secrets.Current}}}}
			if err := to.Store.Create(t.Context(), s, service.Sealed{versionID(3): to.sealed(t, s.ARN, s.Versions[0], secrets.Text("other"))}); err != nil {
				t.Fatal(err)
			}
		}, refused, "a value of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			from, _ := source(t, 1)
			to := embedded(t)
			if c.first {
				run(t, &Copier{From: from, To: to})
			}
			c.do(t, from, to)
			before := stateOf(t, to)
			r := run(t, &Copier{From: from, To: to})
			got := map[outcome]bool{copied: r.Copied == 1, same: r.Same == 1, updated: r.Updated == 1, refused: len(r.Refused) == 1}
			if !got[c.want] || r.Whole() != (c.want != refused) || c.want == refused && !strings.Contains(r.Refused[0].Reason, c.says) {
				t.Errorf("%+v", r)
			}
			if c.want == refused {
				if diff := cmp.Diff(before.Secrets, stateOf(t, to).Secrets); diff != "" {
					t.Error("it was altered:", diff)
				}
				if r := run(t, &Copier{From: from, To: to, Overwrite: true}); !r.Whole() || r.Updated != 1 {
					t.Errorf("%+v", r)
				}
			}
			if name == "a copy that was used" {
				return
			}
			compare(t, from, to)
		})
	}
}

// Somebody of the same name who was made there is not replaced unasked.
func TestPrincipalOfTheSameName(t *testing.T) {
	from, _ := source(t, 1)
	to, _ := source(t, 0)
	r, err := (&Copier{From: from, To: to}).Copy(t.Context())
	if err == nil || !strings.Contains(err.Error(), "alias/shop") {
		t.Fatalf("a key of the same name: %+v, %v", r, err)
	}
	from, to = embedded(t), embedded(t)
	for _, o := range []*Own{from, to} {
		people := principals.New(principals.Config{Store: o.Store, Sealer: o.Keys, Account: place.Account})
		if _, _, err := people.Create(t.Context(), principals.NewPrincipal{Name: "admin"}); err != nil {
			t.Fatal(err)
		}
		people.Close()
	}
	if r := run(t, &Copier{From: from, To: to}); len(r.Refused) != 1 || !strings.Contains(r.Refused[0].Reason, "pawl access delete admin") {
		t.Errorf("%+v", r)
	}
	if r := run(t, &Copier{From: from, To: to, Overwrite: true}); !r.Whole() || r.PrincipalsTaken != 1 {
		t.Errorf("%+v", r)
	}
	compare(t, from, to)
}

// While the source goes on, the copy ends as the source is.
func TestSourceThatGoesOn(t *testing.T) {
	from, _ := source(t, 30)
	to := embedded(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	var rotations atomic.Int64
	go func() {
		var err error
		for n := 10; ctx.Err() == nil && err == nil; n++ {
			err = from.rotate(t, n%30, n)
			rotations.Add(1)
		}
		done <- err
	}()
	c := &Copier{From: from, To: to}
	if _, err := c.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
	for begun := rotations.Load(); rotations.Load() < begun+10; {
		time.Sleep(time.Millisecond) // what is waited for is the other goroutine's work
	}
	from.put(t, 100, 1)
	if err := from.Store.Remove(ctx, arnOf(29)); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil && !errors.Is(err, service.ErrNotFound) {
		t.Fatal(err)
	}
	r, err := c.Verify(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	if r.Again == 0 || r.Verified != 30 || len(r.Gone) != 1 || r.Gone[0] != arnOf(29).String() || r.Whole() {
		t.Errorf("%+v", r)
	}
	if err := to.Store.Remove(t.Context(), arnOf(29)); err != nil {
		t.Fatal(err)
	}
	compare(t, from, to)
}

// A secret in the middle of a rotation: one that died goes along as it is, one that
// runs is waited for.
func TestUnfinished(t *testing.T) {
	from, _ := source(t, 2)
	to := embedded(t)
	_, err := from.Store.Update(t.Context(), arnOf(1), func(s *service.Secret) (service.Sealed, error) {
		v := secrets.Version{ID: versionID(7), Created: noon, Labels: []string{secrets.Pending}}
		s.Versions = append(s.Versions, v)
		return service.Sealed{v.ID: from.sealed(t, s.ARN, v, secrets.Text("pending"))}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	lease, err := from.Store.Lock(t.Context(), arnOf(1))
	if err != nil {
		t.Fatal(err)
	}
	if r := run(t, &Copier{From: from, To: to}); !r.OnlyBusy() || r.Whole() || len(r.Busy) != 1 || r.Copied != 1 {
		t.Errorf("%+v", r)
	}
	c := &Copier{From: from, To: to, Wait: time.Minute}
	if _, err := c.Copy(t.Context()); err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, lease.Release)
	if r, err := c.Verify(t.Context(), to); err != nil || !r.Whole() || r.Copied != 1 || r.Verified != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	compare(t, from, to)
}

// A value that can't be opened is named, and keeps nothing else from its place.
func TestOneThatIsDamaged(t *testing.T) {
	from, _ := source(t, 4)
	to := embedded(t)
	s := &service.Secret{ARN: arnOf(9), Created: noon, Versions: secrets.Versions{{ID: versionID(1), Labels: []string{secrets.Current}}}}
	if err := from.Store.Create(t.Context(), s, service.Sealed{versionID(1): []byte("\x01nothing")}); err != nil {
		t.Fatal(err)
	}
	if r := run(t, &Copier{From: from, To: to}); r.Copied != 4 || r.Verified != 4 || len(r.Failed) != 1 || r.Failed[0].Name != arnOf(9).String() {
		t.Errorf("%+v", r)
	}
}

// failing is a destination that fails at some write, before it or after it: where
// the copy dies, as far as the destination can tell.
type failing struct {
	OwnStore
	left  atomic.Int64
	after bool
	die   func()
}

func (f *failing) hit() bool { return f.left.Add(-1) == 0 }

func (f *failing) Create(ctx context.Context, s *service.Secret, v service.Sealed) error {
	hit := f.hit()
	if hit && !f.after {
		f.die()
		return ctx.Err()
	}
	err := f.OwnStore.Create(ctx, s, v)
	if hit {
		f.die()
	}
	return err
}

// Stopped anywhere and run again until it ends, the copy is whole.
func TestStoppedAndRunAgain(t *testing.T) {
	from, _ := source(t, 40)
	to := embedded(t)
	for n := 1; ; n++ {
		if n > 200 {
			t.Fatal("it does not end")
		}
		ctx, stop := context.WithCancel(t.Context())
		f := &failing{OwnStore: to.Store, after: n%2 == 0, die: stop}
		f.left.Store(int64(1 + mathrand.IntN(9)))
		c := &Copier{From: from, To: &Own{Store: f, Keys: to.Keys}}
		_, err := c.Copy(ctx)
		if err == nil {
			_, err = c.Verify(ctx, c.To)
		}
		stop()
		if err == nil && f.left.Load() > 0 {
			break
		}
		if err != nil && secrets.KindOf(err) != secrets.Transient {
			t.Fatal(err)
		}
	}
	compare(t, from, to)
}
