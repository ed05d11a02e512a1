package policy

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestDenial(t *testing.T) {
	const caller = "arn:aws:sts::111122223333:assumed-role/app/i-1"
	const start = "User: arn:aws:sts::111122223333:assumed-role/app/i-1 is not authorized to perform: secretsmanager:GetSecretValue"
	on := start + " on resource: " + secret1
	for _, c := range []struct {
		reason         Reason
		resource, want string
	}{
		{NoIdentityAllow, secret1, on + " because no identity-based policy allows the secretsmanager:GetSecretValue action"},
		{NoResourceAllow, secret1, on + " because no resource-based policy allows the secretsmanager:GetSecretValue action"},
		{NoBoundaryAllow, secret1, on + " because no permissions boundary allows the secretsmanager:GetSecretValue action"},
		{NoSessionAllow, secret1, on + " because no session policy allows the secretsmanager:GetSecretValue action"},
		{DeniedByIdentity, secret1, on + " with an explicit deny in an identity-based policy"},
		{DeniedByResource, secret1, on + " with an explicit deny in a resource-based policy"},
		{DeniedByBoundary, secret1, on + " with an explicit deny in a permissions boundary"},
		{DeniedBySession, secret1, on + " with an explicit deny in a session policy"},
		{NoIdentityAllow, "no/such", start + " on resource: no/such because no identity-based policy allows the secretsmanager:GetSecretValue action"},
		{NoIdentityAllow, "", start + " because no identity-based policy allows the secretsmanager:GetSecretValue action"},
		{NoIdentityAllow, "*", start + " because no identity-based policy allows the secretsmanager:GetSecretValue action"},
		{DeniedByIdentity, "", start + " with an explicit deny in an identity-based policy"},
	} {
		if got := (Verdict{Reason: c.reason}).Denial(get, c.resource, caller); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
	}
	if got := (Verdict{Allowed: true, Reason: AllowedByIdentity}).Denial(get, secret1, caller); got != "" {
		t.Errorf("a denial of what is allowed: %s", got)
	}
}

func TestTheStatementThatDecides(t *testing.T) {
	named := func(sid, s string) string { return `{"Sid": "` + sid + `",` + s[1:] }
	for _, c := range []struct {
		name string
		who  Principal
		p    Policies
		want At
	}{
		{"second document", alice, Policies{Identity: []*Prepared{prep(t, allowProd), prep(t, denyProd+","+named("dev", allowDev))}}, At{IdentityBased, 1, 1, "dev"}},
		{"deny", alice, Policies{Identity: []*Prepared{prep(t, allowAll), prep(t, named("no", denyAll))}}, At{IdentityBased, 1, 0, "no"}},
		{"boundary", alice, Policies{Boundary: prep(t, allowAll+","+named("b", denyAll))}, At{PermissionsBoundary, 0, 1, "b"}},
		{"session", app, Policies{Session: []*Prepared{prep(t, named("s", denyAll))}}, At{SessionPolicy, 0, 0, "s"}},
		{"the one that gives most", app, Policies{Resource: prep(t, to("Allow", `"111122223333"`)+","+to("Allow", `"`+app.Issuer+`"`)+","+named("me", to("Allow", `"`+app.ARN+`"`)))}, At{ResourceBased, 0, 2, "me"}},
		{"own deny before the resource's", alice, Policies{Identity: []*Prepared{prep(t, denyAll)}, Resource: prep(t, to("Deny", `"*"`))}, At{IdentityBased, 0, 0, ""}},
		{"none", alice, Policies{}, At{}},
		{"root", root1, Policies{}, At{}},
		{"across accounts", bob, Policies{Identity: []*Prepared{prep(t, allowAll)}, Resource: prep(t, named("share", to("Allow", `"444455556666"`)))}, At{ResourceBased, 0, 0, "share"}},
	} {
		c.p.ResourceAccount = account1
		if v := Evaluate(c.p, Request{Action: get, Resource: secret1, Principal: c.who}); v.Statement != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, v, c.want)
		}
	}
}

// pick draws one of the texts.
func pick(t *rapid.T, name string, from ...string) string {
	return rapid.SampledFrom(from).Draw(t, name)
}

// some draws one to three of them, as a JSON list.
func some(t *rapid.T, name string, from ...string) string {
	return `["` + strings.Join(rapid.SliceOfN(rapid.SampledFrom(from), 1, 3).Draw(t, name), `", "`) + `"]`
}

// drawPolicy draws a document, now and then none.
func drawPolicy(t *rapid.T, principals bool) *Prepared {
	if rapid.IntRange(0, 3).Draw(t, "none") == 0 {
		return nil
	}
	var all []string
	for range rapid.IntRange(1, 4).Draw(t, "statements") {
		s := `{"Effect": "` + pick(t, "effect", "Allow", "Allow", "Allow", "Deny") + `"`
		s += `, "` + pick(t, "act", "Action", "Action", "NotAction") + `": ` + some(t, "actions", "*", get, "secretsmanager:get*", "secretsmanager:*Secre?", "secretsmanager:ListSecrets", "s3:*")
		if rapid.IntRange(0, 9).Draw(t, "resource") > 0 {
			s += `, "` + pick(t, "res", "Resource", "Resource", "NotResource") + `": ` + some(t, "resources", "*", secret1, secret2,
				"arn:aws:secretsmanager:*:*:secret:dev/*", "arn:aws:secretsmanager:*:*:secret:*-??????", "arn:aws:secretsmanager:*:*:secret:${aws:PrincipalTag/team, 'dev'}/*",
				"arn:aws:secretsmanager:*:${aws:PrincipalAccount}:secret:*", "arn:aws:secretsmanager:*:*:secret:${a:many}*")
		}
		if principals != (rapid.IntRange(0, 19).Draw(t, "misplaced") == 0) {
			s += `, "` + pick(t, "who", "Principal", "Principal", "NotPrincipal") + `": {"AWS": ` + some(t, "principals", "*", account1, account2, root1.ARN,
				alice.ARN, bob.ARN, app.ARN, app.Issuer, audit.Issuer, federated.ARN) + `}`
		}
		var conditions []string
		seen := map[string]bool{}
		for range rapid.IntRange(0, 2).Draw(t, "conditions") {
			op := pick(t, "set", "", "", "", "ForAllValues:", "ForAnyValue:")
			key := pick(t, "key", "a:one", "a:many", "a:none", "aws:PrincipalArn", "aws:username", "aws:PrincipalTag/team", "aws:SourceIp")
			var values string
			switch pick(t, "family", "text", "text", "arn", "number", "address", "date", "null", "bool") {
			case "text":
				op += pick(t, "op", "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike")
				values = some(t, "texts", "1", "2", "x", "X*", "*", "?", "alice", "${aws:username}", "${aws:PrincipalTag/cost, 'x'}", "${a:many}", "${a:one}${*}", "blue", "10.*")
			case "arn":
				op += pick(t, "op", "ArnEquals", "ArnNotEquals", "ArnLike", "ArnNotLike")
				values = some(t, "arns", "*", "arn:aws:iam::*:user/*", "arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}", app.Issuer, "arn:aws:s3:::${a:none}")
			case "number":
				op += pick(t, "op", "NumericEquals", "NumericNotEquals", "NumericLessThan", "NumericLessThanEquals", "NumericGreaterThan", "NumericGreaterThanEquals")
				values = some(t, "numbers", "1", "2", "1.5", "-3")
			case "address":
				op += pick(t, "op", "IpAddress", "NotIpAddress")
				values = some(t, "addresses", "10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::ffff:10.0.0.0/112")
			case "date":
				op += pick(t, "op", "DateEquals", "DateNotEquals", "DateLessThan", "DateGreaterThanEquals")
				values = some(t, "dates", "2026-03-04", "1772619630", "2001")
			case "null":
				op += "Null"
				values = some(t, "nulls", "true", "false")
			case "bool":
				op += "Bool"
				values = some(t, "bools", "true", "False", "${a:one}")
			}
			if op[len(op)-4:] != "Null" {
				op += pick(t, "if", "", "", "IfExists")
			}
			if !seen[op] {
				seen[op] = true
				conditions = append(conditions, fmt.Sprintf("%q: {%q: %s}", op, key, values))
			}
		}
		all = append(all, s+`, "Condition": {`+strings.Join(conditions, ", ")+`}}`)
	}
	text := `{"Version": "` + pick(t, "version", Version2012, Version2012, Version2008) + `", "Statement": [` + strings.Join(all, ",") + `]}`
	d, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return Prepare(d)
}

func TestEvaluateAgreesWithTheNaiveOne(t *testing.T) {
	allowed, denied := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		p := Policies{
			Identity: listed(drawPolicy(t, false)), Session: listed(drawPolicy(t, false)), Resource: drawPolicy(t, true),
			ResourceAccount: pick(t, "owner", account1, account1, account2, ""),
		}
		if rapid.Bool().Draw(t, "bounded") {
			p.Boundary = drawPolicy(t, false)
		}
		if rapid.Bool().Draw(t, "long-lived") {
			p.Session = nil
		}
		value := rapid.SampledFrom([]string{"1", "2", "x", "", "true", "X1", "alice", "10.0.0.1", "192.0.2.1", "2001:db8::1", "2026-03-04T10:20:30Z", app.Issuer, alice.ARN, "x*"})
		r := Request{
			Action:    pick(t, "action", get, "secretsmanager:DeleteSecret", "secretsmanager:ListSecrets"),
			Resource:  pick(t, "asked", secret1, secret1, secret2, "", "*", "dev/none"),
			Principal: rapid.SampledFrom([]Principal{alice, bob, app, audit, root1, root2, federated}).Draw(t, "principal"),
		}
		context := Context{}
		r.Context = context
		if rapid.Bool().Draw(t, "has one") {
			context.Add("a:One", value.Draw(t, "one"))
		}
		context.Add("a:Many", rapid.SliceOfN(value, 0, 3).Draw(t, "many")...)
		if rapid.Bool().Draw(t, "has address") {
			context.Add("aws:SourceIp", pick(t, "address", "10.1.2.3", "192.0.2.1", "2001:db8::7", "::ffff:10.0.0.9"))
		}
		v := Evaluate(p, r)
		if got := naively(p, r); got != v.Allowed {
			t.Fatalf("%+v; naively %v\n%+v", v, got, r)
		}
		if v.Allowed != (v.Denial(r.Action, r.Resource, r.Principal.ARN) == "") || v.Allowed != (v.Reason >= AllowedByIdentity) {
			t.Fatalf("%+v: %q", v, v.Denial(r.Action, r.Resource, r.Principal.ARN))
		}
		if v.Allowed {
			allowed++
		} else {
			denied++
		}
	})
	if allowed == 0 || denied == 0 {
		t.Errorf("%d allowed, %d denied: the draws say nothing", allowed, denied)
	}
}

// A Deny more never lets anybody in.
func TestDenyNeverAllows(t *testing.T) {
	deny := `,{"Effect": "Deny", "Action": "secretsmanager:*", "Resource": "*"}`
	for _, g := range logicGroups {
		for _, c := range g.cases {
			with := c.identity
			if with == "" {
				with = deny[1:]
			} else {
				with += deny
			}
			p := Policies{listed(prep(t, with)), prep(t, c.boundary), listed(prep(t, c.session)), prep(t, c.resource), account1}
			if v := Evaluate(p, Request{Action: get, Resource: secret1, Principal: c.who}); v.Allowed {
				t.Errorf("%s: %+v", c.name, v)
			}
		}
	}
}

func FuzzEvaluate(f *testing.F) {
	f.Add(document(condition("ForAllValues:ArnLikeIfExists", "aws:SourceArn", `["arn:${a:b", "*", "${*}", "${a:b, 'x'}:::::"]`)), "arn:a:b:c:d:e", "a:b")
	f.Add(document(condition("DateLessThan", "aws:CurrentTime", `["2026", "1e300"]`)), "1e308", "aws:currenttime")
	f.Add(document(condition("NotIpAddress", "aws:SourceIp", `["::ffff:0:0/95", "::/0"]`)), "fe80::1%eth0", "aws:SourceIp")
	f.Add(document(but("Deny", `["`+alice.ARN+`", "arn:::::root"]`)), "\xff", "a:\xff")
	for _, g := range logicGroups {
		for _, c := range g.cases {
			if c.resource != "" {
				f.Add(document(c.resource), secret1, "a:b")
			}
		}
	}
	f.Fuzz(func(t *testing.T, document, value, key string) {
		d, err := Parse(document)
		if err != nil {
			return
		}
		p := Prepare(d)
		for _, who := range []Principal{alice, app, root2, {}} {
			r := Request{Action: get, Resource: value, Principal: who, Context: ctx(key, value)}
			for _, all := range []Policies{
				{Identity: []*Prepared{p, nil}, ResourceAccount: account1},
				{Resource: p, ResourceAccount: account1},
				{Identity: []*Prepared{p}, Boundary: p, Session: []*Prepared{p}, Resource: p},
			} {
				v := Evaluate(all, r)
				if v.Allowed != (v.Denial(get, value, who.ARN) == "") || v.Reason.String() == "" || v.Statement.Policy.String() == "" {
					t.Errorf("%+v", v)
				}
			}
		}
	})
}

// BenchmarkEvaluate is the case of issue 5: ten statements, three conditions
// each, of which the last one allows.
func BenchmarkEvaluate(b *testing.B) {
	var all []string
	for i := range 10 {
		all = append(all, fmt.Sprintf(`{"Sid": "s%d", "Effect": "Allow", "Action": ["secretsmanager:Describe*", "secretsmanager:Get*"],
			"Resource": "arn:aws:secretsmanager:*:111122223333:secret:dev/*", "Condition": {
				"StringEquals": {"secretsmanager:ResourceTag/team": "${aws:PrincipalTag/team}"},
				"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.0.2.0/24"]},
				"StringLike": {"secretsmanager:VersionStage": "AWS%s*"}}}`, i, map[bool]string{true: "CUR", false: "PREV"}[i == 9]))
	}
	p := Policies{Identity: listed(prep(b, strings.Join(all, ","))), ResourceAccount: account1}
	r := Request{Action: get, Resource: secret1, Principal: alice, Context: ctx(
		"secretsmanager:ResourceTag/team", "blue", "aws:SourceIp", "192.0.2.7", "secretsmanager:VersionStage", "AWSCURRENT")}
	if v := Evaluate(p, r); v.Statement.Sid != "s9" {
		b.Fatalf("%+v", v)
	}
	b.ReportAllocs()
	for b.Loop() {
		Evaluate(p, r)
	}
}

// Who forgets to say whose the secret is gets the strict answer.
func TestAResourceOfNobody(t *testing.T) {
	p := Policies{Identity: listed(prep(t, allowAll))}
	for resource, want := range map[string]string{secret1: noResource, "": ok, "*": ok} {
		if got := word(Evaluate(p, Request{Action: get, Resource: resource, Principal: alice})); got != want {
			t.Errorf("%q: %s, want %s", resource, got, want)
		}
	}
}
