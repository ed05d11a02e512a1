package conformance

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// attach puts a policy of one statement on a secret; members replace those of an
// Allow of reading for the account.
func (p *Probe) attach(s *Secret, members M) {
	p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": p.statement(members)})
}

// accountOf is the account of a Probe's caller as a principal.
func (p *Probe) accountOf(account string) M {
	return M{"AWS": fmt.Sprintf("arn:%s:iam::%s:root", p.partition, account)}
}

var whoAsked = regexp.MustCompile(`^User: (arn:\S+) is not authorized to perform: `)

// self is a caller who may do nothing, as a principal: what AWS calls him when it
// says so.
func (p *Probe) self() M {
	a := p.Refused("ListSecrets", M{}, "AccessDeniedException", "")
	m := whoAsked.FindStringSubmatch(a.Text())
	if m == nil {
		p.Fail("nobody is named: %s", a)
	}
	return M{"AWS": m[1]}
}

// lets and denies report what is decided of a request; anything but a refusal of
// rights ends the rule.
func (p *Probe) lets(operation string, in M) bool {
	a := p.Call(operation, in)
	switch {
	case a.Status == 200:
		return true
	case a.Code() != "AccessDeniedException":
		p.Fail("want success or a denial, got %s", a)
	}
	return false
}

func (p *Probe) denies(operation string, in M) bool { return !p.lets(operation, in) }

// atLast waits until it is so: AWS's policies take a while.
func (p *Probe) atLast(is func(operation string, in M) bool, operation string, in M) {
	p.Eventually(func() string {
		if !is(operation, in) {
			return operation + " is decided otherwise"
		}
		return ""
	})
}

// denied expects a denial with the reason at its end; "" is any.
func (a *Answer) denied(why string) *Answer {
	a.Refused("AccessDeniedException", "")
	if !strings.HasSuffix(a.Text(), why) {
		a.p.Fail("want a text that ends in %q, got %s", why, a)
	}
	return a
}

const byResource = " with an explicit deny in a resource-based policy"

// decisionRules are about what a policy on a secret decides.
var decisionRules = slices.Concat(on(Authentication,
	rule{"denies another account, where the secret has no policy", denials, func(p *Probe) {
		s, q := p.Secret(), p.OtherAccount()
		a := q.Call("DescribeSecret", M{"SecretId": s.ARN}).denied(" because no resource-based policy allows the secretsmanager:DescribeSecret action")
		if !strings.Contains(a.Text(), " on resource: "+s.ARN+" because ") {
			p.Fail("%s", a)
		}
	}},
), on("PutResourcePolicy",
	rule{"lets in whom the policy names, to just what it allows", evaluated, func(p *Probe) {
		s, other, q := p.Secret(), p.Secret(), p.denied()
		p.attach(s, M{"Principal": q.self()})
		q.atLast(q.lets, "GetSecretValue", id(p, s))
		q.OK("GetSecretValue", M{"SecretId": s.ARN}).Is("SecretString", "first")
		q.Call("DescribeSecret", id(p, s)).denied("")
		q.Call("GetSecretValue", id(p, other)).denied("")
	}},
	rule{"leaves it to the account's own policies where the policy names the account", evaluated, func(p *Probe) {
		s, q := p.Secret(), p.denied()
		p.attach(s, M{"Principal": p.accountOf(p.account)})
		q.Call("GetSecretValue", id(p, s)).denied("")
	}},
	rule{"refuses what the policy denies, whoever else allows it", evaluated, func(p *Probe) {
		s := p.Secret()
		p.attach(s, M{"Effect": "Deny", "Principal": "*"})
		p.atLast(p.denies, "GetSecretValue", id(p, s))
		p.Call("GetSecretValue", id(p, s)).denied(byResource)
		p.OK("DescribeSecret", id(p, s))
	}},
	rule{"lets nobody in any longer whom another policy does not name", evaluated, func(p *Probe) {
		s, q := p.Secret(), p.denied()
		p.attach(s, M{"Principal": q.self()})
		q.atLast(q.lets, "GetSecretValue", id(p, s))
		p.attach(s, M{})
		q.atLast(q.denies, "GetSecretValue", id(p, s))
	}},
	rule{"minds the label that is asked for, by secretsmanager:VersionStage", actions, func(p *Probe) {
		s, q := p.Secret(), p.denied()
		p.Put(s, "second")
		p.attach(s, M{"Principal": q.self(), "Condition": M{"StringEquals": M{"secretsmanager:VersionStage": "AWSPREVIOUS"}}})
		previous := M{"SecretId": s.Name, "VersionStage": "AWSPREVIOUS"}
		q.atLast(q.lets, "GetSecretValue", previous)
		q.OK("GetSecretValue", previous).Is("SecretString", "first")
		q.Call("GetSecretValue", M{"SecretId": s.Name, "VersionStage": "AWSCURRENT"}).denied("")
		q.Call("GetSecretValue", id(p, s)).denied("")
	}},
	rule{"minds the secret's tags, by secretsmanager:ResourceTag and aws:ResourceTag", actions, func(p *Probe) {
		q := p.denied()
		for _, key := range []string{"secretsmanager:ResourceTag/team", "aws:ResourceTag/team"} {
			s := p.Secret(M{"Tags": L{M{"Key": "team", "Value": "shop"}}})
			p.attach(s, M{"Principal": q.self(), "Condition": M{"StringEquals": M{key: "shop"}}})
			q.atLast(q.lets, "GetSecretValue", id(p, s))
			p.OK("TagResource", M{"SecretId": s.Name, "Tags": L{M{"Key": "team", "Value": "web"}}})
			q.atLast(q.denies, "GetSecretValue", id(p, s))
		}
	}},
	rule{"minds who asks, by aws:PrincipalAccount", evaluated, func(p *Probe) {
		s := p.Secret()
		p.attach(s, M{"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:DescribeSecret",
			"Condition": M{"StringEquals": M{"aws:PrincipalAccount": p.account}}})
		p.atLast(p.denies, "DescribeSecret", id(p, s))
		p.OK("GetSecretValue", id(p, s))
	}},
	rule{"lets another account in to just what the policy allows", others, func(p *Probe) {
		s, q := p.Secret(), p.OtherAccount()
		p.attach(s, M{"Principal": p.accountOf(q.Secret().arn(4)), "Action": "secretsmanager:DescribeSecret"})
		in := M{"SecretId": s.ARN}
		q.atLast(q.lets, "DescribeSecret", in)
		q.OK("DescribeSecret", in).Is("ARN", s.ARN)
		q.Call("GetResourcePolicy", in).denied("")
		q.lost(s.Name)
	}},
), on("DeleteResourcePolicy",
	rule{"takes back what the policy gave", evaluated, func(p *Probe) {
		s, q := p.Secret(), p.OtherAccount()
		p.attach(s, M{"Principal": p.accountOf(q.Secret().arn(4)), "Action": "secretsmanager:DescribeSecret"})
		in := M{"SecretId": s.ARN}
		q.atLast(q.lets, "DescribeSecret", in)
		p.OK("DeleteResourcePolicy", id(p, s))
		q.atLast(q.denies, "DescribeSecret", in)
	}},
))
