package service_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// replicated is a store with some secrets in three regions, processes that die
// and start again, and what their callers were told.
type replicated struct {
	*house
	t     *rapid.T
	s     *service.Service
	disk  *mortal
	acked map[secrets.ARN]map[string]bool // tokens of the versions that must be there
	force map[string]bool                 // where a secret may have made way for a replica
	n     int
}

var twoNames = []string{"a", "b"}

func place(region, name string) string { return region + "/" + name }

// do runs one operation in a process that may die while it does. It reports
// whether the operation may have been done, and whether that was answered.
func (r *replicated) do(op func(s *service.Service) error) (maybe, sure bool) {
	at, how := rapid.IntRange(0, 10).Draw(r.t, "at"), rapid.SampledFrom([]fault{before, after, refuse}).Draw(r.t, "how")
	r.disk.mu.Lock()
	first := r.disk.writes
	r.disk.fate = func(n int) fault {
		if n == first+at {
			return how
		}
		return fine
	}
	r.disk.mu.Unlock()
	err := op(r.s)
	switch {
	case err != nil && !errors.Is(err, errDisk) && secrets.CodeOf(err) == "":
		r.t.Fatalf("neither done nor refused: %v", err)
	case r.disk.dead:
		r.s, r.disk = r.process(nil)
	}
	return err == nil || errors.Is(err, errDisk), err == nil
}

func (r *replicated) draw() (region, name string) {
	return rapid.SampledFrom(three).Draw(r.t, "region"), rapid.SampledFrom(twoNames).Draw(r.t, "name")
}

func (r *replicated) token() string { r.n++; return fmt.Sprint("v", r.n) }

func (r *replicated) ack(region, name, token string) {
	sec := r.find(r.t, service.DefaultAccount, region, name)
	if sec == nil {
		return // it made way for a replica while it was being made
	}
	if r.acked[sec.ARN] == nil {
		r.acked[sec.ARN] = map[string]bool{}
	}
	r.acked[sec.ARN][tok(token)] = true
}

func (r *replicated) actions() map[string]func(*rapid.T) {
	change := func(change func(*service.Secret)) func(*rapid.T) {
		return func(*rapid.T) {
			region, name := r.draw()
			sec := r.find(r.t, service.DefaultAccount, region, name)
			if sec == nil || sec.PrimaryRegion != "" {
				return
			}
			r.do(func(s *service.Service) error {
				return second(service.Change(s, r.house.t.Context(), sec.ARN, func(sec *service.Secret) (service.Sealed, error) {
					change(sec)
					return nil, nil
				}))
			})
		}
	}
	return map[string]func(*rapid.T){
		"create": func(*rapid.T) {
			region, name := r.draw()
			add, token := rapid.SliceOfNDistinct(rapid.SampledFrom(three), 0, 2, rapid.ID).Draw(r.t, "replicas"), r.token()
			if _, sure := r.do(func(s *service.Service) error { return make1(in(s, region), name, token, add...) }); sure {
				r.ack(region, name, token)
			}
		},
		"put": func(*rapid.T) {
			region, name := r.draw()
			token, stages := r.token(), rapid.SampledFrom([][]string{nil, nil, {"AWSPENDING"}, {"X"}}).Draw(r.t, "stages")
			if _, sure := r.do(func(s *service.Service) error { return put(in(s, region), name, token, stages...) }); sure {
				r.ack(region, name, token)
			}
		},
		"tag": func(*rapid.T) {
			region, name := r.draw()
			key := rapid.SampledFrom([]string{"k", "l"}).Draw(r.t, "key")
			r.do(func(s *service.Service) error {
				if rapid.Bool().Draw(r.t, "untag") {
					return in(s, region).UntagResource(r.house.t.Context(), service.UntagResourceInput{SecretID: name, TagKeys: []string{key}})
				}
				return in(s, region).TagResource(r.house.t.Context(), service.TagResourceInput{SecretID: name, Tags: []service.Tag{{Key: key, Value: r.token()}}})
			})
		},
		"describe":  change(func(s *service.Secret) { s.Description = r.token() }),
		"policy":    change(func(s *service.Secret) { s.Policy = r.token() }),
		"unrelated": change(func(s *service.Secret) { s.Rotation = nil }),
		"intent": change(func(s *service.Secret) {
			if id := s.Versions.IDWith(secrets.Current); id != "" {
				s.Versions, _ = s.Versions.Move(secrets.Intent, id)
			}
		}),
		"prune": change(func(s *service.Secret) {
			for i, v := range s.Versions {
				if len(v.Labels) == 0 {
					s.Versions = append(s.Versions[:i:i], s.Versions[i+1:]...)
					delete(r.acked[s.ARN], v.ID)
					return
				}
			}
		}),
		"read": func(*rapid.T) {
			region, name := r.draw()
			r.do(func(s *service.Service) error {
				return second(in(s, region).GetSecretValue(r.house.t.Context(), service.GetSecretValueInput{SecretID: name}))
			})
		},
		"replicate": func(*rapid.T) {
			region, name := r.draw()
			to, force := rapid.SampledFrom(three).Draw(r.t, "to"), rapid.IntRange(0, 3).Draw(r.t, "force") == 0
			if maybe, _ := r.do(func(s *service.Service) error { return replicate(in(s, region), name, force, to) }); maybe && force {
				r.force[place(to, name)] = true
			}
		},
		"remove": func(*rapid.T) {
			region, name := r.draw()
			r.do(func(s *service.Service) error { return remove(in(s, region), name, three...) })
		},
		"stop": func(*rapid.T) {
			region, name := r.draw()
			if _, sure := r.do(func(s *service.Service) error { return stop(in(s, region), name) }); sure {
				for _, v := range r.find(r.t, service.DefaultAccount, region, name).Versions {
					r.ack(region, name, short(v.ID))
				}
			}
		},
		"delete": func(*rapid.T) {
			region, name := r.draw()
			force := rapid.Bool().Draw(r.t, "force")
			sec := r.find(r.t, service.DefaultAccount, region, name)
			maybe, _ := r.do(func(s *service.Service) error {
				return second(in(s, region).DeleteSecret(r.house.t.Context(), service.DeleteSecretInput{SecretID: name, ForceDeleteWithoutRecovery: force}))
			})
			if maybe && force && sec != nil {
				delete(r.acked, sec.ARN)
			}
		},
		"restore": func(*rapid.T) {
			region, name := r.draw()
			r.do(func(s *service.Service) error {
				return second(in(s, region).RestoreSecret(r.house.t.Context(), service.RestoreSecretInput{SecretID: name}))
			})
		},
		"housekeeping": func(*rapid.T) {
			r.clock.add(time.Duration(rapid.IntRange(0, 100).Draw(r.t, "seconds")) * time.Second)
			r.do(func(s *service.Service) error { return s.Follow(r.house.t.Context(), r.clock.now()) })
		},
	}
}

// Whatever is done to secrets in several regions, and wherever processes die
// meanwhile: in the end every replica is its primary's equal or says that it
// failed, there is none without a primary, and nothing that was acknowledged is
// lost.
func TestReplicasFollowWhateverHappens(t *testing.T) {
	fewerChecks(t, 20)
	rapid.Check(t, func(rt *rapid.T) {
		r := &replicated{house: open(t, service.Config{}), t: rt, acked: map[secrets.ARN]map[string]bool{}, force: map[string]bool{}}
		r.s, r.disk = r.process(nil)
		rt.Repeat(r.actions())
		r.calm(rt)
		r.consistent(rt, service.DefaultAccount, twoNames...)
		for arn, tokens := range r.acked {
			if r.force[place(arn.Region, arn.Name)] {
				continue
			}
			sec := r.find(rt, service.DefaultAccount, arn.Region, arn.Name)
			if sec == nil || sec.ARN != arn {
				rt.Fatalf("%s is lost", arn)
			}
			for id := range tokens {
				if v, ok := sec.Versions.Find(id); !ok || v.Empty {
					rt.Errorf("%s: version %s is lost", arn, short(id))
				}
			}
		}
	})
}

// Several processes write, replicate, remove and look after one secret at once.
func TestManyFollowAtOnce(t *testing.T) {
	h := open(t, service.Config{})
	must(t, make1(h.Service, "s", "v0"))
	errs := together(6, func(i int) error {
		s, _ := h.process(nil)
		for n := range 12 {
			var err error
			switch (i + n) % 6 {
			case 0, 1:
				err = put(s, "s", fmt.Sprint("v", i, "-", n), fmt.Sprint("L", i))
			case 2:
				err = replicate(s, "s", true, three[1:]...)
			case 3:
				err = remove(s, "s", three[1+n%2])
			case 4:
				err = s.Follow(t.Context(), h.clock.now().Add(time.Hour))
			case 5:
				err = stop(in(s, three[1+n%2]), "s")
			}
			if err != nil && secrets.CodeOf(err) == "" && secrets.KindOf(err) != secrets.Transient {
				return err
			}
		}
		return nil
	})
	for _, err := range errs {
		must(t, err)
	}
	h.calm(t)
	h.consistent(t, service.DefaultAccount, "s")
	must(t, replicate(h.Service, "s", true, three[1:]...))
	h.wantStatus(t, "InSync", "InSync")
	h.consistent(t, service.DefaultAccount, "s")
	sec := h.find(t, service.DefaultAccount, "us-east-1", "s")
	for i := range 6 {
		for n := range 12 {
			_, ok := sec.Versions.Find(tok(fmt.Sprint("v", i, "-", n)))
			if (i+n)%6 < 2 && !ok {
				t.Errorf("version %d-%d is lost", i, n)
			}
		}
	}
}

func (h *house) wantStatus(t *testing.T, want ...service.ReplicaStatus) {
	t.Helper()
	var got []service.ReplicaStatus
	for _, r := range h.find(t, service.DefaultAccount, "us-east-1", "s").Replicas {
		got = append(got, r.Status)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("replicas are %v, want %v", got, want)
	}
}
