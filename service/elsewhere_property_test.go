package service_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Whatever becomes of a primary, and of the way to its replica: when all is calm
// the replica is its equal, or the status says why it is not.
func TestReplicasElsewhereFollowWhateverHappens(t *testing.T) {
	fewerChecks(t, 12)
	rapid.Check(t, func(rt *rapid.T) {
		p, n := openPair(t), 0
		ctx := t.Context()
		token := func() string { n++; return fmt.Sprint("v", n) }
		refusedOr := func(err error) {
			if err != nil && secrets.CodeOf(err) == "" {
				rt.Fatalf("neither done nor refused: %v", err)
			}
		}
		name := func() string { return rapid.SampledFrom(twoNames).Draw(rt, "name") }
		promoted := map[string]string{} // what a promoted secret has as AWSCURRENT
		rt.Repeat(map[string]func(*rapid.T){
			"create": func(*rapid.T) { refusedOr(make1(p.us.Service, name(), token(), "eu-west-1")) },
			"put": func(*rapid.T) {
				refusedOr(put(p.us.Service, name(), token(), rapid.SampledFrom([][]string{nil, {"X"}}).Draw(rt, "stages")...))
			},
			"tag": func(*rapid.T) {
				refusedOr(p.us.TagResource(ctx, service.TagResourceInput{SecretID: name(), Tags: []service.Tag{{Key: "k", Value: token()}}}))
			},
			"replicate": func(*rapid.T) {
				refusedOr(replicate(p.us.Service, name(), rapid.Bool().Draw(rt, "force"), "eu-west-1"))
			},
			"remove": func(*rapid.T) { refusedOr(remove(p.us.Service, name(), "eu-west-1")) },
			"delete": func(*rapid.T) {
				refusedOr(second(p.us.DeleteSecret(ctx, service.DeleteSecretInput{SecretID: name(), ForceDeleteWithoutRecovery: true})))
			},
			"prune": func(*rapid.T) {
				sec := p.primary(rt, name())
				if sec == nil {
					return
				}
				refusedOr(second(service.Change(p.us.Service, ctx, sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
					sec.Versions = slices.DeleteFunc(sec.Versions, func(v secrets.Version) bool { return len(v.Labels) == 0 })
					return nil, nil
				})))
			},
			"promote": func(*rapid.T) {
				s := name()
				if stop(p.eu.Service, s) == nil {
					must(rt, put(p.eu.Service, s, token()))
					promoted[s] = p.replica(rt, s).Versions.IDWith(secrets.Current)
				}
			},
			"cut": func(*rapid.T) { p.toEU.set(func() { p.toEU.cut = errCut }) },
			"lose": func(*rapid.T) {
				last := rapid.Bool().Draw(rt, "last")
				p.toEU.set(func() {
					if p.toEU.lost = lostAll; last {
						p.toEU.lost = lostLast
					}
				})
			},
			"mend": func(*rapid.T) {
				p.toEU.set(func() { p.toEU.cut, p.toEU.lost = nil, nil })
				p.toUS.set(func() { p.toUS.cut = nil })
			},
			"cut the way back": func(*rapid.T) { p.toUS.set(func() { p.toUS.cut = errCut }) },
			"meanwhile": func(*rapid.T) {
				s, v := name(), token()
				p.toEU.set(func() { p.toEU.meanwhile = func() { refusedOr(put(p.us.Service, s, v)) } })
			},
			"another process": func(*rapid.T) {
				other := service.New(service.Config{Store: p.us.store, Sealer: p.us.keys, Now: p.us.clock.now, Regions: p.known})
				_ = other.Follow(ctx, p.us.clock.now())
			},
			"housekeeping": func(*rapid.T) {
				by := time.Duration(rapid.IntRange(0, 100).Draw(rt, "seconds")) * time.Second
				p.us.clock.add(by)
				p.eu.clock.add(by)
				p.follow(rt)
			},
		})
		p.toEU.set(func() { p.toEU.cut, p.toEU.lost, p.toEU.meanwhile = nil, nil, nil })
		p.us.clock.add(time.Minute)
		// A primary that could not be told hears it with its next change.
		for _, s := range twoNames {
			refusedOr(p.us.TagResource(ctx, service.TagResourceInput{SecretID: s, Tags: []service.Tag{{Key: "last", Value: token()}}}))
		}
		p.follow(rt)
		p.us.calm(rt)
		p.eu.calm(rt)
		for _, s := range twoNames {
			primary, replica := p.primary(rt, s), p.replica(rt, s)
			listed := primary != nil && len(primary.Replicas) > 0
			if listed && primary.Replicas[0].Status == service.InSync {
				p.wantEqual(rt, s)
			} else if listed && primary.Replicas[0].Status != service.Failed {
				rt.Errorf("%s: %+v", s, primary.Replicas[0])
			}
			if replica != nil && replica.PrimaryRegion != "" && (!listed || primary.ARN.Suffix != replica.ARN.Suffix) {
				rt.Errorf("%s is an orphan", replica.ARN)
			}
			if id := promoted[s]; id != "" && replica != nil && replica.PrimaryRegion == "" && replica.Versions.IDWith(secrets.Current) != id {
				rt.Errorf("%s was promoted, and changed since", replica.ARN)
			}
		}
	})
}
