package server

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/access"
)

// Every operation has a quota, and no quota is for something else.
func TestEveryActionHasItsGroup(t *testing.T) {
	known := map[string]bool{}
	for _, o := range operations {
		known[o.action] = true
		_, listed := groupOf[o.action]
		g := groupFor(o.action)
		if aws := strings.HasPrefix(o.action, "secretsmanager:"); aws && !listed || !aws && g != pawls && g != replicating || !aws && listed && g != replicating {
			t.Errorf("%s: group %d, listed: %t", o.action, g, listed)
		}
	}
	for action := range groupOf {
		if !known[action] {
			t.Errorf("%s is no action", action)
		}
	}
	for name := range stsOperations {
		if groupFor("sts:"+name) != sts {
			t.Errorf("sts:%s: group %d", name, groupFor("sts:"+name))
		}
	}
	for g, n := range perSecond {
		if n == 0 {
			t.Errorf("group %d has no quota", g)
		}
	}
}

var midnight = time.Date(2024, 6, 11, 0, 0, 0, 0, time.UTC)

// spend counts how many requests a principal has left.
func spend(l *limits, who access.Principal, action string, now time.Time) (n int) {
	for l.allow(&who, action, now) {
		n++
	}
	return n
}

func TestQuotas(t *testing.T) {
	const create, read, describe, get = "secretsmanager:CreateSecret", "secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret", "secretsmanager:GetResourcePolicy"
	user := access.Principal{ARN: "arn:aws:iam::123456789012:user/ann"}
	l, now := newLimits(1), midnight
	check := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d requests, want %d", what, got, want)
		}
	}
	check("a new principal", spend(l, user, create, now), 50)
	check("at once again", spend(l, user, create, now), 0)
	check("after 20 ms", spend(l, user, create, now.Add(20*time.Millisecond)), 1)
	check("after a minute", spend(l, user, create, now.Add(time.Minute)), 50)
	check("another group", spend(l, user, get, now), 50)
	check("reading", spend(l, user, read, now), 10_000)
	check("describing, which is reading too", spend(l, user, describe, now), 0)
	check("Pawl's own", spend(l, user, "pawl:StartRotation", now), 50)
	check("another principal", spend(l, access.Principal{ARN: user.ARN + "a"}, create, now), 50)

	session := access.Principal{ARN: "arn:aws:sts::123456789012:assumed-role/r/one", Issuer: "arn:aws:iam::123456789012:role/r"}
	check("a session", spend(l, session, create, now), 50)
	session.ARN += "-more"
	check("another session of the role", spend(l, session, create, now), 0)

	check("a fifth", spend(newLimits(0.2), user, create, now), 10)
	check("less than one a second", spend(newLimits(0.001), user, create, now), 1)
	for range 100_000 {
		if l := newLimits(0); !l.allow(&user, create, now) {
			t.Fatal("limited without limits")
		}
	}
}

// Over any time a principal is given what his quota says, and never less.
func TestQuotasHold(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		factor := rapid.SampledFrom([]float64{0.02, 0.5, 1, 3}).Draw(t, "factor")
		l, now := newLimits(factor), midnight
		type key struct {
			who int
			group
		}
		tokens, seen := map[key]float64{}, map[key]time.Time{}
		actions := []string{"secretsmanager:TagResource", "secretsmanager:UntagResource", "secretsmanager:ListSecrets", "pawl:TestRotation"}
		for range rapid.IntRange(1, 200).Draw(t, "requests") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(50*time.Millisecond)).Draw(t, "later")))
			who, action := rapid.IntRange(0, 2).Draw(t, "who"), rapid.SampledFrom(actions).Draw(t, "action")
			k := key{who, groupFor(action)}
			limit := perSecond[k.group] * factor
			burst := max(1, math.Ceil(limit))
			if at, ok := seen[k]; ok {
				tokens[k] = min(burst, tokens[k]+limit*now.Sub(at).Seconds())
			} else {
				tokens[k] = burst
			}
			seen[k] = now
			got := l.allow(&access.Principal{ARN: fmt.Sprint(who)}, action, now)
			if math.Abs(tokens[k]-1) > 1e-6 && got != (tokens[k] >= 1) {
				t.Fatalf("%d %s with %f left: %t", who, action, tokens[k], got)
			}
			if got {
				tokens[k]--
			}
		}
	})
}

// Many principals cost little, and the quiet ones are forgotten first.
func TestQuotasAreForgotten(t *testing.T) {
	const create = "secretsmanager:CreateSecret"
	l, now := newLimits(1), midnight
	l.most = 32
	const most = 32 * limitShards
	count := func() (n int) {
		for i := range l.shards {
			n += len(l.shards[i].known)
		}
		return n
	}
	fresh := func(name string, n int, at time.Time) {
		t.Helper()
		for i := range n {
			if who := (access.Principal{ARN: fmt.Sprint(name, i)}); !l.allow(&who, create, at) {
				t.Fatalf("%s %d is refused, who is new", name, i)
			}
		}
	}
	fresh("quiet", 2*most, now.Add(-time.Second))
	busy := access.Principal{ARN: "busy"}
	spend(l, busy, create, now)
	fresh("guest", most/16, now)
	if l.allow(&busy, create, now) {
		t.Error("a busy principal was forgotten, and there were quiet ones")
	}
	if n := count(); n > most || n < most/16 {
		t.Errorf("%d principals", n)
	}
	fresh("crowd", 4*most, now)
	if n := count(); n > most {
		t.Errorf("%d busy principals", n)
	}
}

func TestThrottledRequests(t *testing.T) {
	r := start(t, Config{RateLimits: 0.02, Now: func() time.Time { return midnight }}, nil) // one of most, and no time passes
	arn := r.create("prod/db")
	const exceeded = `{"__type":"ThrottlingException","message":"Rate exceeded"}`
	r.want(post("CreateSecret", signed, `{`), 400, exceeded) // not even decoded
	r.want(post("CreateSecret", "", `{`), 400, `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`)
	r.call("DeleteSecret", `{"SecretId":"`+arn+`"}`)
	r.want(post("DeleteSecret", signed, `{"SecretId":"`+arn+`"}`), 400, exceeded)
	r.want(post("RestoreSecret", strings.Replace(signed, "AKID", "111122223333", 1), `{"SecretId":"prod/db"}`), 400,
		`{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`)
	if log := r.log.String(); !strings.Contains(log, "verdict=throttled action=secretsmanager:CreateSecret principal=arn:aws:iam::123456789012:root ") {
		t.Errorf("the log: %s", log)
	}
}

func BenchmarkQuota(b *testing.B) {
	l := newLimits(1)
	now := time.Now()
	b.SetParallelism(16)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		who := access.Principal{ARN: "arn:aws:iam::123456789012:user/ann"}
		for pb.Next() {
			l.allow(&who, "secretsmanager:GetSecretValue", now)
		}
	})
}
