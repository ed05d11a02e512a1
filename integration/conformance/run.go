package conformance

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

// Result is what became of a rule. Neither Failure nor Skipped: it passed.
type Result struct {
	Rule
	Failure string // why it failed
	Skipped string // why it could not be tried
	Took    time.Duration
	Leak    error // a secret of the rule could not be removed
}

// Run tries the rules, several at a time, and returns the results in the order
// of the rules. An error means that the endpoint could not be used at all.
func Run(ctx context.Context, t Target, rules []Rule) ([]Result, error) {
	t.defaults()
	if err := learn(ctx, &t); err != nil {
		return nil, err
	}
	results := make([]Result, len(rules))
	var wg sync.WaitGroup
	free := make(chan struct{}, t.Parallel)
	for i, r := range rules {
		free <- struct{}{}
		wg.Go(func() {
			results[i] = try(ctx, &t, r)
			<-free
		})
	}
	wg.Wait()
	return results, ctx.Err()
}

// learn finds out the account and partition behind the credentials, which every
// ARN names.
func learn(ctx context.Context, t *Target) error {
	r := try(ctx, t, Rule{Check: func(p *Probe) {
		s := p.Secret(M{"SecretString": nil})
		t.partition, t.account = s.arn(1), s.arn(4)
	}})
	if r.Failure != "" {
		return fmt.Errorf("no secret can be made at %s: %s", t.URL, r.Failure)
	}
	return r.Leak
}

// Ends of a rule other than returning, raised by a Probe's methods.
type (
	failure string
	skipped string
)

func try(ctx context.Context, t *Target, r Rule) (res Result) {
	p := newProbe(ctx, t)
	start := time.Now()
	res.Rule = r
	defer func() {
		switch end := recover().(type) {
		case nil:
		case failure:
			res.Failure = string(end)
		case skipped:
			res.Skipped = string(end)
		default:
			res.Failure = fmt.Sprintf("panic: %v\n%s", end, debug.Stack())
		}
		res.Leak = p.clean()
		res.Took = time.Since(start)
	}()
	r.Check(p)
	return res
}

// clean removes the secrets that a rule made.
func (p *Probe) clean() (err error) {
	defer func() {
		if end := recover(); end != nil {
			err = fmt.Errorf("cleaning up: %v", end)
		}
	}()
	p.made.Lock()
	defer p.made.Unlock()
	var errs []error
	for _, m := range p.made.secrets {
		in := M{"SecretId": m.name}
		if d := m.at.Call("DescribeSecret", in); d.Status == 200 {
			var regions L
			for _, r := range d.list("ReplicationStatus") {
				regions = append(regions, r["Region"])
			}
			if len(regions) > 0 {
				m.at.Call("RemoveRegionsFromReplication", M{"SecretId": m.name, "RemoveReplicaRegions": regions})
			}
			if primary, _ := d.Members["PrimaryRegion"].(string); primary != "" && primary != m.at.region {
				m.at.Call("StopReplicationToReplica", in)
			}
		}
		end := M{"SecretId": m.name, "ForceDeleteWithoutRecovery": true}
		a := m.at.Call("DeleteSecret", end)
		if a.Code() == "AccessDeniedException" { // by the policy that the rule put on it
			m.at.Call("DeleteResourcePolicy", in)
			a = m.at.Call("DeleteSecret", end)
		}
		if a.Status != 200 && a.Code() != "ResourceNotFoundException" {
			errs = append(errs, fmt.Errorf("%s is left behind in %s: %s", m.name, m.at.region, a))
		}
	}
	return errors.Join(errs...)
}
