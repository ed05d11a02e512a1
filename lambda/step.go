package lambda

import (
	"context"
	"fmt"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/aws"
)

func (e step) about() []any {
	return []any{"secret", e.SecretID, "step", e.Step, "version", e.ClientRequestToken}
}

func (e step) late(*work) error { return outOfTime(e.SecretID, e.Step, awsAgain) }

// do checks what AWS's own functions check, in their order and words, and does
// the step. The secret is described once for both.
func (e step) do(ctx context.Context, w *work) (any, error) {
	w.stepped = true
	claim, err := w.h.Store.ClaimVersion(ctx, e.SecretID, e.ClientRequestToken, e.rotationToken)
	if err != nil {
		return nil, secrets.At(err, e.SecretID, e.Step, "")
	}
	defer claim.Release()
	vs, err := claim.Versions(ctx)
	if err != nil {
		return nil, secrets.At(err, claim.ARN().Name, e.Step, "")
	}
	enabled, configured := claim.Enabled()
	done, err := e.check(vs, configured && !enabled)
	if done != "" {
		w.log.Info(done)
	}
	if err != nil || done != "" {
		return nil, err
	}
	err = w.rotator().Step(ctx, &described{Claim: claim, versions: vs}, w.h.rules(claim.Rotation().Rules), e.Step, e.ClientRequestToken, w.options(w.log))
	return nil, resumable(ctx, err, awsAgain)
}

// check holds a step against the secret's versions: done says that there is
// nothing to do any more.
// Source: the published rotation functions.
func (e step) check(vs secrets.Versions, off bool) (done string, err error) {
	v, found := vs.Find(e.ClientRequestToken)
	switch {
	case off:
		return "", valueError("Secret %s is not enabled for rotation", e.SecretID)
	case !found || len(v.Labels) == 0:
		return "", valueError("Secret version %s has no stage for rotation of secret %s.", e.ClientRequestToken, e.SecretID)
	case v.Has(secrets.Current):
		return fmt.Sprintf("Secret version %s already set as AWSCURRENT for secret %s.", e.ClientRequestToken, e.SecretID), nil
	case !v.Has(secrets.Pending):
		return "", valueError("Secret version %s not set as AWSPENDING for rotation of secret %s.", e.ClientRequestToken, e.SecretID)
	}
	switch e.Step {
	case rotator.CreateSecret, rotator.SetSecret, rotator.TestSecret, rotator.FinishSecret:
		return "", nil
	}
	return "", valueError("Invalid step parameter %s for secret %s", e.Step, e.SecretID)
}

// described is a Claim whose versions have been read already.
type described struct {
	*aws.Claim
	versions secrets.Versions
}

// Versions returns those that were read before, once, and then reads them afresh.
func (d *described) Versions(ctx context.Context) (secrets.Versions, error) {
	if vs := d.versions; vs != nil {
		d.versions = nil
		return vs, nil
	}
	return d.Claim.Versions(ctx)
}

// rules are those of a secret, as its tags say them, under the operator's.
func (h *Handler) rules(of secrets.RotationRules) secrets.RotationRules {
	if h.Rules.Strategy != "" {
		of.Strategy = h.Rules.Strategy
	}
	if h.Rules.Superuser != "" {
		of.Superuser = h.Rules.Superuser
	}
	if of.Strategy == "" {
		of.Strategy = secrets.SingleUser
	}
	return of
}
