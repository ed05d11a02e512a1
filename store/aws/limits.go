package aws

import (
	"context"

	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"

	"github.com/pawlhq/pawl/secrets"
)

// quota is a number of operations that share one quota.
type quota int

const (
	reading quota = iota
	listings
	writing
	tagging
	quotas // how many there are
)

// perSecond are AWS's quotas. They are per account and region: whatever Pawl
// takes, applications do not get.
// Source: AWS Secrets Manager user guide, "Quotas".
var perSecond = [quotas]float64{reading: 10_000, listings: 100, writing: 50, tagging: 50}

var quotaOf = map[string]quota{
	opDescribe: reading, opValue: reading,
	opList: listings, opVersions: listings,
	opPut: writing, opStage: writing,
	opTag: tagging, opUntag: tagging,
}

// limits keep this process within its part of the quotas. A bucket holds as many
// requests as come together in a second.
type limits [quotas]*rate.Limiter

func newLimits(part float64) *limits {
	var l limits
	for q := range l {
		l[q] = rate.NewLimiter(share(quota(q), part))
	}
	return &l
}

// share is a part of a quota: by the second, and at once.
func share(q quota, part float64) (rate.Limit, int) {
	n := perSecond[q] * part
	return rate.Limit(n), max(1, int(n))
}

// set changes what part of the quotas is taken.
func (l *limits) set(part float64) {
	for q, b := range l {
		limit, burst := share(quota(q), part)
		b.SetLimit(limit)
		b.SetBurst(burst)
	}
}

// wait waits until one more request of the operation is within its quota. Where
// ctx would end before that, the error is Transient, at once.
func (l *limits) wait(ctx context.Context, operation string) error {
	err := l[quotaOf[operation]].Wait(ctx)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return secrets.Errorf(secrets.Transient, "%s was not sent: this process has used up its part of AWS's quota, and there is no time to wait", operation).
		WithHint("fewer rotations at one time, or a larger part: store.aws.rate_limits")
}

// paced has every single request wait for its quota, those of the SDK's own
// retries too, before it is signed; and notes whether one may have taken effect
// although it failed.
func (l *limits) paced(stack *middleware.Stack) error {
	return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("PawlPaced",
		func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			if err := l.wait(ctx, middleware.GetOperationName(ctx)); err != nil {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, err
			}
			out, md, err := next.HandleFinalize(ctx, in)
			if t, ok := ctx.Value(triesKey{}).(*tries); ok && err != nil {
				t.doubted = t.doubted || mayBeDone(err)
				if ctx.Err() == nil {
					t.last = err
				}
			}
			return out, md, err
		}), "Retry", middleware.After)
}

// tries is what became of the requests of one call.
type tries struct {
	doubted bool  // one may have taken effect although there was no answer that said so
	last    error // of the last one that ended before the caller's time did
}

type triesKey struct{}

// cutShort is the error of a call whose time was over before it could be tried
// again.
type cutShort struct{ cause, by error }

func (e *cutShort) Error() string   { return e.by.Error() + " after: " + e.cause.Error() }
func (e *cutShort) Unwrap() []error { return []error{e.cause, e.by} }
