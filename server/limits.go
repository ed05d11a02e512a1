package server

import (
	"hash/maphash"
	"math"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/pawlhq/pawl/access"
)

// group is a number of actions that share one quota.
type group int

const (
	reading group = iota
	readingBatches
	listing
	policing
	writing
	rotating
	tagging
	creating
	deleting
	restoring
	inventing
	pawls       // Pawl's own
	replicating // another Pawl, for all of its secrets
	sts
	groups // how many there are
)

// perSecond are AWS's quotas. AWS counts by account, and Pawl by principal: one
// client that runs wild is its own account's business there, and here it would
// be everybody's.
//
// Sources: AWS Secrets Manager user guide, "Quotas"; IAM user guide, "IAM and
// AWS STS quotas". Of Pawl's own actions nobody has published one.
var perSecond = [groups]float64{
	reading: 10_000, readingBatches: 100, listing: 100,
	policing: 50, writing: 50, rotating: 50, tagging: 50, creating: 50, deleting: 50, restoring: 50, inventing: 50,
	pawls: 50, replicating: 1000, sts: 600,
}

// groupOf are the actions' groups; Pawl's own and STS's are told by their
// prefixes.
var groupOf = map[string]group{
	"secretsmanager:DescribeSecret": reading, "secretsmanager:GetSecretValue": reading,
	"secretsmanager:BatchGetSecretValue": readingBatches,
	"secretsmanager:ListSecrets":         listing, "secretsmanager:ListSecretVersionIds": listing,

	"secretsmanager:DeleteResourcePolicy": policing, "secretsmanager:GetResourcePolicy": policing,
	"secretsmanager:PutResourcePolicy": policing, "secretsmanager:ValidateResourcePolicy": policing,

	"secretsmanager:PutSecretValue": writing, "secretsmanager:UpdateSecret": writing, "secretsmanager:UpdateSecretVersionStage": writing,
	"secretsmanager:ReplicateSecretToRegions": writing, "secretsmanager:RemoveRegionsFromReplication": writing,
	"secretsmanager:StopReplicationToReplica": writing,

	"secretsmanager:RotateSecret": rotating, "secretsmanager:CancelRotateSecret": rotating,
	"secretsmanager:TagResource": tagging, "secretsmanager:UntagResource": tagging,
	"secretsmanager:CreateSecret": creating, "secretsmanager:DeleteSecret": deleting, "secretsmanager:RestoreSecret": restoring,
	"secretsmanager:GetRandomPassword": inventing,

	"pawl:ApplyReplica": replicating, "pawl:RemoveReplica": replicating,
	"pawl:DescribeReplica": replicating, "pawl:ForgetReplica": replicating,
}

func groupFor(action string) group {
	if g, ok := groupOf[action]; ok {
		return g
	}
	if strings.HasPrefix(action, "sts:") {
		return sts
	}
	return pawls
}

// limits are the quotas of every principal: buckets of as many requests as come
// together in a second. It remembers at most maxPrincipals, and forgets who has
// been quiet for a second first: a full bucket is as good as a new one. Where
// more than that are busy at once, some are given more than their quota.
type limits struct {
	rates  [groups]rate.Limit
	most   int // principals of a shard
	seed   maphash.Seed
	shards [limitShards]limitShard
}

const (
	limitShards   = 32
	maxPrincipals = 8192
)

type limitShard struct {
	mu    sync.Mutex
	known map[string]*quotas
}

// quotas are one principal's.
type quotas [groups]*rate.Limiter

// newLimits makes quotas of a multiple of AWS's; nil, which allows everything,
// for 0.
func newLimits(factor float64) *limits {
	if factor <= 0 {
		return nil
	}
	l := &limits{most: maxPrincipals / limitShards, seed: maphash.MakeSeed()}
	for g, n := range perSecond {
		l.rates[g] = rate.Limit(n * factor)
	}
	for i := range l.shards {
		l.shards[i].known = map[string]*quotas{}
	}
	return l
}

// allow takes one request from a principal's quota and reports whether there
// was one left. The sessions of a role share the role's.
func (l *limits) allow(who *access.Principal, action string, now time.Time) bool {
	if l == nil {
		return true
	}
	arn := who.Issuer
	if arn == "" {
		arn = who.ARN
	}
	return l.of(arn, now)[groupFor(action)].AllowN(now, 1)
}

func (l *limits) of(arn string, now time.Time) *quotas {
	s := &l.shards[maphash.String(l.seed, arn)%limitShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	q := s.known[arn]
	if q == nil {
		if len(s.known) >= l.most {
			s.forget(now, l.most/2)
		}
		q = new(quotas)
		for g, limit := range l.rates {
			q[g] = rate.NewLimiter(limit, max(1, int(math.Ceil(float64(limit)))))
		}
		s.known[arn] = q
	}
	return q
}

// forget makes room: of those who are quiet or else, where more than some are
// left, of all. So it has little to do for each principal who is new.
func (s *limitShard) forget(now time.Time, some int) {
	for arn, q := range s.known {
		if q.full(now) {
			delete(s.known, arn)
		}
	}
	if len(s.known) > some {
		clear(s.known)
	}
}

func (q *quotas) full(now time.Time) bool {
	for _, l := range q {
		if l.TokensAt(now) < float64(l.Burst()) {
			return false
		}
	}
	return true
}
