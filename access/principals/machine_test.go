package principals_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/principals"
)

// issued are credentials that were given out, and what became of them.
type issued struct {
	creds   *principals.Credentials
	of      string // the principal's ID
	session bool
	ended   bool // deleted, or the sessions were ended
	off     bool
}

// person is a principal as the model knows him.
type person struct {
	id, name string
	off      bool
	mayRead  bool
}

// fewerChecks has the property test t, whose every step is written to a disk, make
// n checks unless the command line or PAWL_THOROUGH asks for more.
func fewerChecks(t *testing.T, n int) {
	f := flag.Lookup("rapid.checks")
	if was := f.Value.String(); os.Getenv("PAWL_THOROUGH") == "" && was == f.DefValue {
		t.Cleanup(func() { _ = f.Value.Set(was) })
		if err := f.Value.Set(strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestMachine: whatever happens in two processes on one store, each of them takes
// exactly the credentials that are good at that moment, with the rights of that
// moment.
func TestMachine(t *testing.T) {
	h := newHouse(t)
	there := h.directory(t, h.open(t))
	ctx := context.Background()
	fewerChecks(t, 25)
	run := 0
	rapid.Check(t, func(t *rapid.T) {
		run++
		people := map[string]*person{} // by name
		var all []*issued
		names := []string{fmt.Sprint("a", run), fmt.Sprint("b", run)}
		either := func() *principals.Directory {
			return rapid.SampledFrom([]*principals.Directory{h.Directory, there}).Draw(t, "process")
		}
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		someone := func() *person {
			p := people[rapid.SampledFrom(names).Draw(t, "who")]
			if p == nil {
				t.Skip("nobody")
			}
			return p
		}
		aKey := func() *issued {
			var keys []*issued
			for _, c := range all {
				if !c.session && !c.ended {
					keys = append(keys, c)
				}
			}
			if len(keys) == 0 {
				t.Skip("no key")
			}
			return rapid.SampledFrom(keys).Draw(t, "key")
		}
		byID := func(id string) *person {
			for _, p := range people {
				if p.id == id {
					return p
				}
			}
			return nil
		}
		t.Repeat(map[string]func(*rapid.T){
			"create": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "name")
				r, creds, err := either().Create(ctx, principals.NewPrincipal{Name: name, Policies: []principals.Policy{allow("p", read)}})
				if people[name] != nil {
					wantInvalid(t, err, name)
					return
				}
				must(err)
				people[name] = &person{id: r.ID, name: name, mayRead: true}
				all = append(all, &issued{creds: creds, of: r.ID})
			},
			"delete": func(t *rapid.T) {
				p := someone()
				_, err := either().Delete(ctx, p.name)
				must(err)
				delete(people, p.name)
				for _, c := range all {
					c.ended = c.ended || c.of == p.id
				}
			},
			"switch": func(t *rapid.T) {
				p := someone()
				p.off = !p.off
				_, err := either().SetDisabled(ctx, p.name, p.off)
				must(err)
			},
			"switch a key": func(t *rapid.T) {
				k := aKey()
				k.off = !k.off
				_, err := either().SetDisabled(ctx, k.creds.AccessKeyID, k.off)
				must(err)
			},
			"delete a key": func(t *rapid.T) {
				k := aKey()
				_, err := either().Delete(ctx, k.creds.AccessKeyID)
				must(err)
				k.ended = true
			},
			"rotate": func(t *rapid.T) {
				p := someone()
				n := 0
				for _, c := range all {
					if c.of == p.id && !c.session && !c.ended {
						n++
					}
				}
				_, creds, err := either().RotateKey(ctx, p.name)
				if n == principals.MaxKeys {
					wantInvalid(t, err, p.name)
					return
				}
				must(err)
				all = append(all, &issued{creds: creds, of: p.id})
			},
			"session": func(t *rapid.T) {
				p := someone()
				creds, err := either().Session(ctx, p.name, principals.NewSession{Duration: time.Hour})
				if p.off {
					wantInvalid(t, err, p.name)
					return
				}
				must(err)
				all = append(all, &issued{creds: creds, of: p.id, session: true})
			},
			"end sessions": func(t *rapid.T) {
				p := someone()
				_, err := either().EndSessions(ctx, p.name)
				must(err)
				for _, c := range all {
					c.ended = c.ended || c.session && c.of == p.id
				}
			},
			"change rights": func(t *rapid.T) {
				p := someone()
				p.mayRead = !p.mayRead
				action := read
				if !p.mayRead {
					action = "secretsmanager:ListSecrets"
				}
				_, err := either().Update(ctx, p.name, principals.Changes{Policies: []principals.Policy{allow("p", action)}})
				must(err)
			},
			"": func(t *rapid.T) {
				for _, d := range []*principals.Directory{h.Directory, there} {
					for _, c := range all {
						p := byID(c.of)
						good := !c.ended && !c.off && p != nil && !p.off
						k, err := d.AccessKey(ctx, c.creds.AccessKeyID, c.creds.SessionToken)
						switch {
						case good != (err == nil):
							t.Fatalf("%s (%+v): %v", c.creds.AccessKeyID, c, err)
						case !good && !errors.Is(err, access.ErrNoKey):
							t.Fatalf("%s: %v", c.creds.AccessKeyID, err)
						case good && (k.Principal.UserID != c.of || !k.Secret.Equal(c.creds.Secret) || may(k.Principal, read) != p.mayRead):
							t.Fatalf("%s is of %+v", c.creds.AccessKeyID, k.Principal)
						}
					}
				}
			},
		})
	})
}
