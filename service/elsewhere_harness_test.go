package service_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server/wire"
	"github.com/pawlhq/pawl/service"
)

// way is the way from one house to the Service of another, which may be cut. It is
// a service.Server.
type way struct {
	mu        sync.Mutex
	to        *service.Service
	cut       error              // requests do not arrive, and this is why
	lost      func(in any) bool  // they arrive, and their answers do not; nil = none
	fault     func(in any) error // what the server answers at once; nil = it does as it is asked
	meanwhile func()             // done before the next ApplyReplica arrives
	calls     map[string]int     // by operation
	applied   []service.ApplyReplicaInput
}

var errCut = secrets.Errorf(secrets.Transient, "connection refused")

func sent[In, Out any](w *way, name string, ctx context.Context, in In, do func(*service.Service, context.Context, In) (*Out, error)) (*Out, error) {
	w.mu.Lock()
	w.calls[name]++
	if a, ok := any(in).(service.ApplyReplicaInput); ok {
		w.applied = append(w.applied, a)
	}
	to, cut, lost, meanwhile, fault := w.to, w.cut, w.lost, w.meanwhile, w.fault
	if name == "ApplyReplica" {
		w.meanwhile = nil
	} else {
		meanwhile = nil
	}
	w.mu.Unlock()
	if cut != nil {
		return nil, cut
	}
	if fault != nil {
		if err := fault(in); err != nil {
			return nil, err
		}
	}
	if meanwhile != nil {
		meanwhile()
	}
	// As it goes over the wire, so that nothing is shared and all that is said has a form.
	b, err := wire.Marshal(in)
	if err != nil {
		return nil, err
	}
	if len(b) > 1<<20 {
		return nil, secrets.Errorf(secrets.Invalid, "a request of %d bytes", len(b))
	}
	var there In
	said, err := wire.Unmarshal(b, &there)
	if err == nil {
		err = service.Check(there, said)
	}
	if err != nil {
		return nil, err
	}
	out, err := do(to, ctx, there)
	if lost != nil && lost(in) {
		return nil, errCut
	}
	return out, err
}

func (w *way) ApplyReplica(ctx context.Context, in service.ApplyReplicaInput) (*service.ApplyReplicaOutput, error) {
	return sent(w, "ApplyReplica", ctx, in, (*service.Service).ApplyReplica)
}
func (w *way) RemoveReplica(ctx context.Context, in service.RemoveReplicaInput) (*service.RemoveReplicaOutput, error) {
	return sent(w, "RemoveReplica", ctx, in, (*service.Service).RemoveReplica)
}
func (w *way) DescribeReplica(ctx context.Context, in service.DescribeReplicaInput) (*service.DescribeReplicaOutput, error) {
	return sent(w, "DescribeReplica", ctx, in, (*service.Service).DescribeReplica)
}
func (w *way) ForgetReplica(ctx context.Context, in service.ForgetReplicaInput) (*service.ForgetReplicaOutput, error) {
	return sent(w, "ForgetReplica", ctx, in, (*service.Service).ForgetReplica)
}

func lostAll(any) bool { return true }

// lostLast loses the answers of what makes a replica complete.
func lostLast(in any) bool {
	a, ok := in.(service.ApplyReplicaInput)
	return ok && !a.Part && slices.ContainsFunc(a.Versions, func(v service.ReplicaVersion) bool { return !v.SecretString.IsZero() })
}

func (w *way) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// took returns how many requests were sent since the last time.
func (w *way) took() (n int) {
	w.set(func() {
		for _, c := range w.calls {
			n += c
		}
		w.calls, w.applied = map[string]int{}, nil
	})
	return n
}

// ways are the service.Regions of one house.
type ways struct {
	mu    sync.Mutex
	to    map[string]*way
	heard []string
}

func (w *ways) Server(region string) service.Server {
	w.mu.Lock()
	defer w.mu.Unlock()
	if to := w.to[region]; to != nil {
		return to
	}
	return nil
}

func (w *ways) Heard(region string, why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = append(w.heard, fmt.Sprint(region, " ", why))
}

// pair are two houses: the secrets of us-east-1 are in one, and those of eu-west-1
// in the other. Each knows the other.
type pair struct {
	us, eu     *house
	toEU, toUS *way
	known      *ways // to us
}

func openPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{toEU: &way{calls: map[string]int{}}, toUS: &way{calls: map[string]int{}}}
	p.known = &ways{to: map[string]*way{"eu-west-1": p.toEU}}
	p.us = open(t, service.Config{Regions: p.known})
	p.eu = open(t, service.Config{Region: "eu-west-1", Regions: &ways{to: map[string]*way{"us-east-1": p.toUS}}})
	p.toEU.to, p.toUS.to = p.eu.Service, p.us.Service
	return p
}

func (p *pair) follow(t fatal) {
	for _, h := range []*house{p.us, p.eu} {
		if err := h.Follow(h.t.Context(), h.clock.now()); err != nil {
			t.Fatal(err)
		}
	}
}

// status is what the primary says of its replica.
func (p *pair) status(t fatal, name string) (status service.ReplicaStatus, message string) {
	out, err := p.us.DescribeSecret(p.us.t.Context(), service.DescribeSecretInput{SecretID: name})
	if err != nil {
		t.Fatal(err)
	}
	if len(out.ReplicationStatus) == 0 {
		return "", ""
	}
	return out.ReplicationStatus[0].Status, out.ReplicationStatus[0].StatusMessage
}

func (p *pair) wantStatus(t *testing.T, name string, status service.ReplicaStatus, part string) {
	t.Helper()
	if s, m := p.status(t, name); s != status || !strings.Contains(m, part) {
		t.Errorf("%s is %s (%s), want %s (%s)", name, s, m, status, part)
	}
}

func (p *pair) primary(t fatal, name string) *service.Secret {
	return p.us.find(t, service.DefaultAccount, "us-east-1", name)
}

func (p *pair) replica(t fatal, name string) *service.Secret {
	return p.eu.find(t, service.DefaultAccount, "eu-west-1", name)
}

// wantEqual checks that a replica is what its primary is.
func (p *pair) wantEqual(t fatal, name string) {
	primary, replica := p.primary(t, name), p.replica(t, name)
	if primary == nil || replica == nil {
		t.Fatalf("primary %v, replica %v", primary, replica)
		return
	}
	if diff := cmp.Diff(p.us.content(t, primary), p.eu.content(t, replica)); diff != "" {
		t.Errorf("the replica of %s differs:\n%s", name, diff)
	}
	if replica.PrimaryRegion != "us-east-1" || replica.Revision != primary.Revision || replica.Rotation != nil || replica.Versions.IDWith(secrets.Intent) != "" {
		t.Errorf("%s: primary %+v\nreplica %+v", name, primary, replica)
	}
}
