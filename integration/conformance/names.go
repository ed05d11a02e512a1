package conformance

import (
	"regexp"
	"strconv"
	"strings"
)

const suffixTrap = "AWS user guide, Troubleshoot AWS Secrets Manager (names that end in a hyphen and six characters)"

// nameRules are about what a secret may be called and how it is found.
func nameRules() []Rule {
	var rules []rule
	for _, c := range []string{"/", "_", "+", "=", ".", "@", "-"} {
		rules = append(rules, rule{"allows " + c + " anywhere in a name", recorded("test_create_and_update_secret"), func(p *Probe) {
			s := p.Secret(M{"Name": p.Named(c + c + "pawl-conformance" + c + c + p.Word() + c + c)})
			p.Describe(s).Is("Name", s.Name)
		}})
	}
	for _, bad := range []string{"a b", "a*", "a?", "a#", "a%", "a&", "a~", `a\`, "a,", "a:", "a'", "a\"", "a$", "a(", "ä", "名", "a\n", "a\x00"} {
		source := inferred
		if strings.ContainsAny(bad, ` *?\`) {
			source = recorded("test_invalid_secret_name")
		}
		rules = append(rules, rule{"refuses " + visible(bad) + " as a name", source, func(p *Probe) {
			p.Refused("CreateSecret", M{"Name": bad, "ClientRequestToken": p.Token()}, "ValidationException", invalidName)
		}})
	}
	rules = append(rules, lookUpRules...)
	return on(LookUp, rules...)
}

// visible shows a name in a document.
func visible(s string) string { q := strconv.Quote(s); return q[1 : len(q)-1] }

// found looks a secret up.
func (p *Probe) found(id string) *Answer { return p.OK("DescribeSecret", M{"SecretId": id}) }

func (p *Probe) lost(id string) {
	p.Refused("DescribeSecret", M{"SecretId": id}, "ResourceNotFoundException", notFound)
}

var lookUpRules = []rule{
	{"allows ! in a name", preflight, func(p *Probe) {
		s := p.Secret(M{"Name": p.Named("pawl!" + p.Word())})
		p.found(s.Name).Is("ARN", s.ARN)
	}},
	{"makes an ARN of partition, region, account, name, a hyphen and six letters or digits", secretOf, func(p *Probe) {
		s := p.Secret()
		want := regexp.MustCompile(`^arn:` + p.partition + `:secretsmanager:` + p.region + `:` + p.account + `:secret:` + regexp.QuoteMeta(s.Name) + `-[A-Za-z0-9]{6}$`)
		if !want.MatchString(s.ARN) {
			p.Fail("%s", s.ARN)
		}
	}},
	{"gives a name that is used again another ARN", recorded("test_can_recreate_delete_secret"), func(p *Probe) {
		s := p.Secret()
		p.OK("DeleteSecret", M{"SecretId": s.Name, "ForceDeleteWithoutRecovery": true})
		var again *Answer
		p.Eventually(func() string {
			again = p.Call("CreateSecret", M{"Name": s.Name, "ClientRequestToken": p.Token()})
			if again.Status != 200 {
				return again.String()
			}
			return ""
		})
		if again.Str("ARN") == s.ARN {
			p.Fail("twice %s", s.ARN)
		}
		p.lost(s.ARN)
	}},
	{"tells names apart by case", secretOf, func(p *Probe) {
		name := p.Name()
		a, b := p.Secret(M{"Name": name}), p.Secret(M{"Name": p.Named(name + "X")})
		p.lost(strings.ToUpper(name))
		p.lost(name + "x")
		p.found(name).Is("ARN", a.ARN)
		p.found(name+"X").Is("ARN", b.ARN)
	}},
	{"does not find by a part of a name or by more than it", secretOf, func(p *Probe) {
		s := p.Secret()
		p.lost(s.Name[:len(s.Name)-1])
		p.lost(s.Name + "x")
		p.lost("/" + s.Name)
	}},
	{"does not find by a part of an ARN's name", suffixTrap, func(p *Probe) {
		s := p.Secret()
		p.lost(s.PartialARN()[:len(s.PartialARN())-1])
	}},
	{"does not find by an ARN with another suffix", secretOf, func(p *Probe) {
		p.lost(p.Secret().PartialARN() + "-aB3dE6")
	}},
	{"does not find by an ARN of another region", secretOf, func(p *Probe) {
		other := "eu-north-1"
		if p.region == other {
			other = "eu-west-1"
		}
		p.lost(arnIn(p.Secret().ARN, other))
	}},
	{"keeps the secrets of regions apart", secretOf, func(p *Probe) {
		s := p.Secret()
		p.InReplicaRegion().lost(s.Name)
	}},
	{"keeps the secrets of accounts apart", secretOf, func(p *Probe) {
		p.OtherAccount().lost(p.Secret().Name)
	}},
	{"reads an ARN without suffix, whose name ends in a hyphen and six characters, as one with a suffix",
		recorded("test_create_and_update_secret (names ending in -a1b2c3)"), func(p *Probe) {
			s := p.Secret(M{"Name": p.Named(p.Name() + "-a1b2c3")})
			p.lost(s.PartialARN())
			p.found(s.ARN).Is("Name", s.Name)
			p.found(s.Name).Is("ARN", s.ARN)
		}},
	{"finds names that end in a hyphen and four characters by an ARN without suffix", recorded("test_create_and_update_secret[Valid/_+=.@-Name-a1b2]"), func(p *Probe) {
		s := p.Secret(M{"Name": p.Named(p.Name() + "-a1b2")})
		p.found(s.PartialARN()).Is("ARN", s.ARN)
		p.found(s.ARN).Is("Name", s.Name)
	}},
	{"finds names that end in six characters and a hyphen by an ARN without suffix", recorded("test_create_and_update_secret[Valid/_+=.@-Name-a1b2c3-]"), func(p *Probe) {
		s := p.Secret(M{"Name": p.Named(p.Name() + "-a1b2c3-")})
		p.found(s.PartialARN()).Is("ARN", s.ARN)
		p.found(s.ARN).Is("Name", s.Name)
	}},
	{"finds the secret of another account by ARN alone, where its policy allows", others, func(p *Probe) {
		s, q := p.shared(M{})
		q.found(s.ARN).Is("Name", s.Name)
		q.lost(s.Name)
	}},
}
