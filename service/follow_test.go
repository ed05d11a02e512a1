package service_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var (
	three   = []string{"us-east-1", "eu-west-1", "ap-south-1"}
	errDisk = errors.New("the disk is gone")
	errDie  = secrets.Errorf(secrets.Transient, "%w", errDisk)
)

// fault is what becomes of a write.
type fault int

const (
	fine   fault = iota
	before       // nothing is written, and the process dies
	after        // it is written, and the process dies before it hears so
	refuse       // nothing is written, but life goes on
)

// mortal is the real store as a process sees it that may die at any write: from
// then on it can do nothing at all.
type mortal struct {
	service.Store
	mu     sync.Mutex
	dead   bool
	writes int
	fate   func(n int) fault // of the n-th write; nil = fine
	calls  int
	meant  func(n int) // called before the n-th call of the store; nil = nothing
}

// call is before every call of the store.
func (m *mortal) call() error {
	m.mu.Lock()
	n, dead := m.calls, m.dead
	m.calls++
	m.mu.Unlock()
	if dead {
		return errDie
	}
	if m.meant != nil {
		m.meant(n)
	}
	return nil
}

// next decides about a write that is about to be made.
func (m *mortal) next() fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := fine
	switch {
	case m.dead:
		return refuse
	case m.fate != nil:
		f = m.fate(m.writes)
	}
	m.writes++
	m.dead = f == before || f == after
	return f
}

func (m *mortal) Create(ctx context.Context, s *service.Secret, values service.Sealed) error {
	if err := m.call(); err != nil {
		return err
	}
	f := m.next()
	if f == before || f == refuse {
		return errDie
	}
	if err := m.Store.Create(ctx, s, values); err != nil || f == fine {
		return err
	}
	return errDie
}

func (m *mortal) Update(ctx context.Context, arn secrets.ARN, change changer) (*service.Secret, error) {
	return m.write(func(change changer) (*service.Secret, error) { return m.Store.Update(ctx, arn, change) }, change)
}

func (m *mortal) Lock(ctx context.Context, arn secrets.ARN) (service.Lease, error) {
	lease, err := m.Store.Lock(ctx, arn)
	if err != nil {
		return nil, err
	}
	return leaseOf{lease, m.write}, nil
}

func (m *mortal) write(update updater, change changer) (*service.Secret, error) {
	if err := m.call(); err != nil {
		return nil, err
	}
	f := fine
	sec, err := update(func(sec *service.Secret) (service.Sealed, error) {
		values, err := change(sec)
		if err != nil && !errors.Is(err, service.ErrRemove) {
			return nil, err // no write, so no place to die at
		}
		if f = m.next(); f == before || f == refuse {
			return nil, errDie
		}
		return values, err
	})
	if f == after {
		return nil, errDie
	}
	return sec, err
}

func (m *mortal) Find(ctx context.Context, id secrets.ID) (*service.Secret, error) {
	if err := m.call(); err != nil {
		return nil, err
	}
	return m.Store.Find(ctx, id)
}

func (m *mortal) Value(ctx context.Context, arn secrets.ARN, versionID string) ([]byte, error) {
	if err := m.call(); err != nil {
		return nil, err
	}
	return m.Store.Value(ctx, arn, versionID)
}

func (m *mortal) Behind(ctx context.Context, now time.Time, n int) ([]secrets.ARN, error) {
	if err := m.call(); err != nil {
		return nil, err
	}
	return m.Store.Behind(ctx, now, n)
}

// process starts a process on the house's store.
func (h *house) process(fate func(n int) fault) (*service.Service, *mortal) {
	m := &mortal{Store: h.store.Store, fate: fate}
	return service.New(service.Config{Store: m, Sealer: h.keys, Now: h.clock.now}), m
}

// in is a Service in another region, or of another account.
func in(s *service.Service, region string) *service.Service {
	return s.As(service.Caller{Region: region, Account: s.Caller().Account})
}

// calm lets the housekeeping do all that is left to do.
func (h *house) calm(t fatal) {
	for range 3 {
		h.clock.add(time.Hour)
		if err := h.Follow(h.t.Context(), h.clock.now()); err != nil {
			t.Fatal(err)
		}
	}
	left, err := h.store.Behind(h.t.Context(), h.clock.now().AddDate(1, 0, 0), 10)
	if err != nil || len(left) > 0 {
		t.Fatalf("still behind: %v (error %v)", left, err)
	}
}

// fatal is what testing.T and rapid.T have in common.
type fatal interface {
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
}

// find returns a record as it is in the store; nil where there is none.
func (h *house) find(t fatal, account, region, name string) *service.Secret {
	sec, err := h.store.Find(h.t.Context(), secrets.ID{ByName: true, ARN: secrets.ARN{Partition: "aws", Region: region, Account: account, Name: name}})
	if errors.Is(err, service.ErrNotFound) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return sec
}

// content is what two copies of a secret share, rendered.
func (h *house) content(t fatal, sec *service.Secret) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %q %q %q %v %t\n", sec.ARN.Suffix, sec.Description, sec.Policy, sec.Type, sec.Tags, sec.Tags == nil)
	for _, v := range sec.Versions {
		labels := slices.DeleteFunc(slices.Clone(v.Labels), func(l string) bool { return l == secrets.Intent })
		fmt.Fprintf(&b, "%s %s %v %t", short(v.ID), v.Created, labels, v.Empty)
		if !v.Empty {
			fmt.Fprintf(&b, " %q", h.plain(t, sec.ARN, v.ID))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// plain opens a value as it lies in the store.
func (h *house) plain(t fatal, arn secrets.ARN, id string) string {
	sealed, err := h.store.Value(h.t.Context(), arn, id)
	if err != nil {
		t.Fatal(err)
	}
	v, err := h.keys.Open(context.Background(), arn.String(), id, sealed)
	if err != nil {
		t.Fatal(err)
	}
	return string(v.Reveal())
}

// consistent checks what must be true of an account once all is calm.
func (h *house) consistent(t fatal, account string, names ...string) {
	for _, name := range names {
		for _, region := range three {
			sec := h.find(t, account, region, name)
			if sec == nil {
				continue
			}
			for _, v := range sec.Versions {
				if !v.Empty && h.plain(t, sec.ARN, v.ID) != "value of "+short(v.ID) {
					t.Errorf("%s: version %s has another's value", sec.ARN, short(v.ID))
				}
			}
			if sec.PrimaryRegion != "" {
				primary := h.find(t, account, sec.PrimaryRegion, name)
				if primary == nil || primary.ARN.Suffix != sec.ARN.Suffix || !slices.ContainsFunc(primary.Replicas, func(r service.Replica) bool { return r.Region == region }) {
					t.Errorf("%s is an orphan", sec.ARN)
				}
				if sec.Versions.IDWith(secrets.Intent) != "" || sec.Rotation != nil || len(sec.Replicas) > 0 {
					t.Errorf("%s: a replica has what is its primary's alone", sec.ARN)
				}
			}
			for _, r := range sec.Replicas {
				if r.Removing || r.Stopping || r.Status == service.InProgress || r.Force {
					t.Errorf("%s: replica not settled: %+v", sec.ARN, r)
				}
				if r.Status != service.InSync {
					continue
				}
				replica := h.find(t, account, r.Region, name)
				if replica == nil || replica.PrimaryRegion != region {
					t.Errorf("%s: no replica in %s", sec.ARN, r.Region)
					continue
				}
				if diff := cmp.Diff(h.content(t, sec), h.content(t, replica)); diff != "" {
					t.Errorf("%s: the replica in %s differs:\n%s", sec.ARN, r.Region, diff)
				}
				if replica.KMSKeyID != r.KMSKeyID {
					t.Errorf("%s: key %q, want %q", replica.ARN, replica.KMSKeyID, r.KMSKeyID)
				}
			}
		}
	}
}

func regionsOf(regions ...string) (out []service.ReplicaRegionType) {
	for _, r := range regions {
		out = append(out, service.ReplicaRegionType{Region: r})
	}
	return out
}

func replicate(s *service.Service, name string, force bool, regions ...string) error {
	_, err := s.ReplicateSecretToRegions(context.Background(), service.ReplicateSecretToRegionsInput{SecretID: name, AddReplicaRegions: regionsOf(regions...), ForceOverwriteReplicaSecret: force})
	return err
}

func remove(s *service.Service, name string, regions ...string) error {
	_, err := s.RemoveRegionsFromReplication(context.Background(), service.RemoveRegionsFromReplicationInput{SecretID: name, RemoveReplicaRegions: regions})
	return err
}

func stop(s *service.Service, name string) error {
	_, err := s.StopReplicationToReplica(context.Background(), service.StopReplicationToReplicaInput{SecretID: name})
	return err
}

func put(s *service.Service, name, token string, stages ...string) error {
	_, err := s.PutSecretValue(context.Background(), service.PutSecretValueInput{
		SecretID: name, ClientRequestToken: tok(token), GivenValue: service.Give(secrets.Text("value of " + token)), VersionStages: stages,
	})
	return err
}

func make1(s *service.Service, name, token string, regions ...string) error {
	_, err := s.CreateSecret(context.Background(), service.CreateSecretInput{
		Name: name, ClientRequestToken: tok(token), GivenValue: service.Give(secrets.Text("value of " + token)), AddReplicaRegions: regionsOf(regions...),
	})
	return err
}

// deaths are operations that write more than once.
var deaths = []struct {
	name    string
	prepare func(t *testing.T, h *house)
	do      func(s *service.Service) error
	// What must be true at last, whether the process died or not: the caller
	// does it again where he got an error.
	want func(t *testing.T, h *house)
}{
	{"create", func(*testing.T, *house) {},
		func(s *service.Service) error { return make1(s, "s", "v1", "eu-west-1", "ap-south-1") },
		func(t *testing.T, h *house) { h.wantReplicas(t, "eu-west-1 InSync", "ap-south-1 InSync") }},
	{"replicate", func(t *testing.T, h *house) { must(t, make1(h.Service, "s", "v1")) },
		func(s *service.Service) error { return replicate(s, "s", false, "eu-west-1", "ap-south-1") },
		func(t *testing.T, h *house) { h.wantReplicas(t, "eu-west-1 InSync", "ap-south-1 InSync") }},
	{"put", func(t *testing.T, h *house) { must(t, make1(h.Service, "s", "v1", "eu-west-1", "ap-south-1")) },
		func(s *service.Service) error { return put(s, "s", "v2") },
		func(t *testing.T, h *house) {
			if got := render(h.find(t, service.DefaultAccount, "eu-west-1", "s").Versions); got != "v1[AWSPREVIOUS] v2[AWSCURRENT]" {
				t.Errorf("the replica has %s", got)
			}
		}},
	{"force", func(t *testing.T, h *house) {
		must(t, make1(h.Service, "s", "v1"))
		must(t, make1(in(h.Service, "eu-west-1"), "s", "other"))
	},
		func(s *service.Service) error { return replicate(s, "s", true, "eu-west-1") },
		func(t *testing.T, h *house) { h.wantReplicas(t, "eu-west-1 InSync") }},
	{"force over a promoted one", func(t *testing.T, h *house) {
		must(t, make1(h.Service, "s", "v1", "eu-west-1"))
		must(t, stop(in(h.Service, "eu-west-1"), "s"))
	},
		func(s *service.Service) error { return replicate(s, "s", true, "eu-west-1") },
		func(t *testing.T, h *house) { h.wantReplicas(t, "eu-west-1 InSync") }},
	{"remove", func(t *testing.T, h *house) { must(t, make1(h.Service, "s", "v1", "eu-west-1", "ap-south-1")) },
		func(s *service.Service) error { return remove(s, "s", "eu-west-1") },
		func(t *testing.T, h *house) {
			h.wantReplicas(t, "ap-south-1 InSync")
			if h.find(t, service.DefaultAccount, "eu-west-1", "s") != nil {
				t.Error("the replica is still there")
			}
		}},
	{"stop", func(t *testing.T, h *house) { must(t, make1(h.Service, "s", "v1", "eu-west-1", "ap-south-1")) },
		func(s *service.Service) error { return stop(in(s, "eu-west-1"), "s") },
		func(t *testing.T, h *house) {
			h.wantReplicas(t, "ap-south-1 InSync")
			sec := h.find(t, service.DefaultAccount, "eu-west-1", "s")
			if sec == nil || sec.PrimaryRegion != "" || h.plain(t, sec.ARN, tok("v1")) != "value of v1" {
				t.Errorf("promoted: %+v", sec)
			}
		}},
}

func must(t fatal, err error) {
	if err != nil {
		t.Fatal(err)
	}
}

func (h *house) wantReplicas(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for _, r := range h.find(t, service.DefaultAccount, "us-east-1", "s").Replicas {
		got = append(got, fmt.Sprintf("%s %s", r.Region, r.Status))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A process may die before or after any write: what is left is finished by the
// next one, and asking again does no harm.
func TestDeathBetweenAnyTwoWrites(t *testing.T) {
	for i, d := range deaths {
		for j, how := range []fault{before, after, refuse} {
			if !chosen(i+j, 3) {
				continue
			}
			for at := 0; ; at++ {
				h := open(t, service.Config{})
				d.prepare(t, h)
				s, m := h.process(func(n int) fault {
					if n == at {
						return how
					}
					return fine
				})
				err := d.do(s)
				done := m.writes <= at // it ended before it could die
				if done && err != nil {
					t.Fatalf("%s: %v", d.name, err)
				}
				if m.dead && h.find(t, service.DefaultAccount, "us-east-1", "s") != nil {
					// Only the housekeeping comes: nobody must be asked for what was
					// begun to become consistent.
					h.calm(t)
					h.consistent(t, service.DefaultAccount, "s")
				}
				if err != nil {
					if again := d.do(h.Service); again != nil && d.name != "create" && d.name != "stop" {
						t.Errorf("%s, write %d, %v: asked again: %v", d.name, at, how, again)
					}
				}
				h.calm(t)
				h.consistent(t, service.DefaultAccount, "s")
				d.want(t, h)
				if t.Failed() {
					t.Fatalf("%s: fault %v at write %d", d.name, how, at)
				}
				if done {
					if at < 2 {
						t.Errorf("%s came to %d writes", d.name, at)
					}
					break
				}
			}
		}
	}
}
