package explain_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/explain"
	"github.com/pawlhq/pawl/access/policy"
)

const (
	get    = "secretsmanager:GetSecretValue"
	secret = "arn:aws:secretsmanager:us-east-1:111111111111:secret:shop/db-AbCdEf"
	alice  = "arn:aws:iam::111111111111:user/alice"
)

func identity(t testing.TB, documents ...string) (all []*policy.Prepared) {
	t.Helper()
	for _, d := range documents {
		doc, err := policy.ParseIdentity(`{"Version":"2012-10-17","Statement":[` + d + `]}`)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, policy.Prepare(doc))
	}
	return all
}

func resource(t testing.TB, document string) *policy.Prepared {
	t.Helper()
	doc, err := policy.ParseResource(`{"Version":"2012-10-17","Statement":[` + document + `]}`)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Prepare(doc)
}

// sourceIP is unknown, and nothing else.
func sourceIP(key string) bool { return key == "aws:sourceip" }

func TestExplain(t *testing.T) {
	const (
		readShop = `{"Sid":"Read","Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:shop/*"}`
		readDev  = `{"Effect":"Allow","Action":"secretsmanager:*","Resource":"arn:aws:secretsmanager:*:*:secret:dev/*"}`
		byTag    = `{"Effect":"Allow","Action":"secretsmanager:Get*","Resource":"*","Condition":{"StringEquals":{"secretsmanager:ResourceTag/team":"${aws:PrincipalTag/team}"}}}`
		fromTen  = `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`
		notTen   = `{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}}`
		put      = `{"Effect":"Allow","Action":"secretsmanager:PutSecretValue","Resource":"*"}`
		delegate = `{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}`
		toAlice  = `{"Effect":"Allow","Principal":{"AWS":"` + alice + `"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}`
		toBob    = `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111111111111:user/bob"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}`
		denyAll  = `{"Sid":"No","Effect":"Deny","Principal":"*","Action":"secretsmanager:*","Resource":"*"}`
	)
	for _, c := range []struct {
		name     string
		identity []string
		boundary string
		attached string
		account  string // of the resource, that of the principal if empty
		resource string
		must     bool
		tags     []policy.Tag
		context  policy.Context

		allowed bool
		decided string // kind[document].index of each statement
		depends string
		may     string // allow, deny
		near    []string
	}{
		{name: "allowed", identity: []string{put, readShop}, allowed: true, decided: "identity-based policy[1].0"},
		{name: "nothing about the action", identity: []string{put}},
		{name: "another resource", identity: []string{readDev}, near: []string{"identity-based policy[0].0: its Resource does not match"}},
		{name: "no tags at all", identity: []string{byTag}, near: []string{
			"identity-based policy[0].0: its condition StringEquals secretsmanager:ResourceTag/team [${aws:PrincipalTag/team}] does not hold: secretsmanager:ResourceTag/team has no value, aws:PrincipalTag/team has no value"}},
		{name: "other tags", identity: []string{byTag}, tags: []policy.Tag{{Key: "Team", Value: "web"}}, context: policy.Context{"secretsmanager:resourcetag/team": {"shop", "x"}}, near: []string{
			"identity-based policy[0].0: its condition StringEquals secretsmanager:ResourceTag/team [${aws:PrincipalTag/team}] does not hold: secretsmanager:ResourceTag/team has the values shop, x, aws:PrincipalTag/team is web"}},
		{name: "unknown address allows", identity: []string{fromTen}, depends: "aws:SourceIp", may: "allow", near: []string{
			"identity-based policy[0].0: its condition IpAddress aws:SourceIp [10.0.0.0/8] does not hold: aws:SourceIp is not given"}},
		{name: "given address", identity: []string{fromTen}, context: policy.Context{"aws:sourceip": {"10.1.1.1"}}, allowed: true, decided: "identity-based policy[0].0"},
		{name: "unknown address denies", identity: []string{readShop, notTen}, allowed: true, decided: "identity-based policy[0].0", depends: "aws:SourceIp", may: "deny"},
		{name: "unknown address of another action", identity: []string{strings.Replace(fromTen, `"*"`, `"secretsmanager:PutSecretValue"`, 1), readShop}, allowed: true, decided: "identity-based policy[1].0"},
		{name: "unknown address changes nothing", identity: []string{fromTen, readShop}, allowed: true, decided: "identity-based policy[1].0", depends: "aws:SourceIp"},
		{name: "boundary", identity: []string{readShop}, boundary: readDev, near: []string{"permissions boundary[0].0: its Resource does not match"}},
		{name: "resource policy", attached: toAlice, allowed: true, decided: "resource-based policy[0].0"},
		{name: "somebody else's", attached: toBob, near: []string{"resource-based policy[0].0: it is about other principals"}},
		{name: "explicit deny", identity: []string{readShop}, attached: denyAll, decided: "resource-based policy[0].0"},
		{name: "across, both", identity: []string{readShop}, attached: toAlice, account: "222222222222", allowed: true, decided: "identity-based policy[0].0 resource-based policy[0].0"},
		{name: "across, identity only", identity: []string{readShop}, attached: toBob, account: "222222222222", near: []string{"resource-based policy[0].0: it is about other principals"}},
		{name: "across, resource only", attached: toAlice, account: "222222222222"},
		{name: "delegated alone", attached: delegate},
		{name: "trusted account", identity: []string{readShop}, attached: delegate, must: true, allowed: true, decided: "identity-based policy[0].0 resource-based policy[0].0"},
		{name: "trusted account alone", attached: delegate, must: true},
		{name: "trusted himself", attached: toAlice, must: true, allowed: true, decided: "resource-based policy[0].0"},
		{name: "not trusted", identity: []string{readShop}, attached: toBob, must: true, near: []string{"resource-based policy[0].0: it is about other principals"}},
		{name: "no resource", resource: "-", identity: []string{readShop}, near: []string{`identity-based policy[0].0: its Resource must be "*": the action is not about one secret`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := explain.Question{
				Principal: access.Principal{ARN: alice, Account: "111111111111", Type: policy.User, Username: "alice", Tags: c.tags,
					Policies: access.Policies{Identity: identity(t, c.identity...)}},
				Action: get, Resource: secret, Account: "111111111111", Context: c.context, Unknown: sourceIP, AttachedMust: c.must,
			}
			if c.boundary != "" {
				q.Principal.Policies.Boundary = identity(t, c.boundary)[0]
			}
			if c.attached != "" {
				q.Attached = resource(t, c.attached)
			}
			if c.account != "" {
				q.Account = c.account
			}
			if c.resource == "-" {
				q.Resource, q.Account = "", ""
			}
			a := explain.Explain(q)
			var decided, near []string
			for _, at := range a.Statements {
				decided = append(decided, fmt.Sprintf("%s[%d].%d", at.Policy, at.Document, at.Index))
			}
			for _, n := range a.Near {
				near = append(near, fmt.Sprintf("%s[%d].%d: %s", n.Policy, n.Document, n.Index, strings.Join(n.Misses, "; ")))
			}
			may := map[[2]bool]string{{true, false}: "allow", {false, true}: "deny"}[[2]bool{a.MayAllow, a.MayDeny}]
			if a.Allowed != c.allowed || strings.Join(decided, " ") != c.decided || strings.Join(a.DependsOn, " ") != c.depends || may != c.may {
				t.Errorf("allowed %v by %q, depends on %q, may %q", a.Allowed, decided, a.DependsOn, may)
			}
			if !slices.Equal(near, c.near) {
				t.Errorf("near misses %q", near)
			}
		})
	}
}

// TestWhatItDependsOn: the verdict may be turned by values of the unknown keys
// only where Explain says so.
func TestWhatItDependsOn(t *testing.T) {
	turned := map[string]int{}
	rapid.Check(t, func(r *rapid.T) {
		statement := rapid.Custom(func(r *rapid.T) string {
			pick := func(label string, from ...string) string { return rapid.SampledFrom(from).Draw(r, label) }
			return fmt.Sprintf(`{"Effect":%q,"Action":%q,%q:%q%s}`, pick("effect", "Allow", "Allow", "Deny"), pick("action", "*", get, "secretsmanager:Put*"),
				pick("on", "Resource", "Resource", "NotResource"), pick("resource", "*", secret, "arn:aws:secretsmanager:*:*:secret:${aws:SourceIp}/*", "arn:aws:secretsmanager:*:*:secret:dev/*"),
				pick("condition", "", "", `,"Condition":{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, `,"Condition":{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`,
					`,"Condition":{"Null":{"aws:SourceIp":"true"}}`, `,"Condition":{"StringEqualsIfExists":{"aws:SourceIp":"10.1.1.1"},"StringEquals":{"aws:username":"alice"}}`,
					`,"Condition":{"StringLike":{"aws:username":"${aws:SourceIp}"}}`))
		})
		q := explain.Question{
			Principal: access.Principal{ARN: alice, Account: "111111111111", Type: policy.User, Username: "alice",
				Policies: access.Policies{Identity: identity(t, rapid.SliceOfN(statement, 1, 4).Draw(r, "identity")...)}},
			Action: get, Resource: secret, Account: "111111111111", Unknown: sourceIP, Context: policy.Context{},
		}
		if rapid.Bool().Draw(r, "bounded") {
			q.Principal.Policies.Boundary = identity(t, statement.Draw(r, "boundary"))[0]
		}
		a := explain.Explain(q)
		for _, address := range []string{"10.1.1.1", "10.2.2.2", "192.0.2.1", "alice", "shop"} {
			given := q
			given.Context = policy.Context{"aws:sourceip": {address}}
			b := explain.Explain(given)
			if b.Allowed == a.Allowed {
				continue
			}
			turned[map[bool]string{true: "to allowed", false: "to denied"}[b.Allowed]]++
			if b.Allowed && !a.MayAllow || !b.Allowed && !a.MayDeny || len(a.DependsOn) == 0 {
				r.Fatalf("%s turns it to %v, but it may allow %v, deny %v, depends on %v", address, b.Allowed, a.MayAllow, a.MayDeny, a.DependsOn)
			}
			if len(b.DependsOn) > 0 || b.MayAllow || b.MayDeny {
				r.Fatalf("it still depends on %v", b.DependsOn)
			}
		}
	})
	if turned["to allowed"] == 0 || turned["to denied"] == 0 {
		t.Errorf("the verdict was turned %v times: this test shows nothing", turned)
	}
}

func TestRaw(t *testing.T) {
	for _, c := range []struct {
		document string
		index    int
		want     string
	}{
		{`{"Statement":{"Sid": "one"}}`, 0, `{"Sid": "one"}`},
		{`{"Statement":[{"Sid":"one"}, {"Sid" : "two"}]}`, 1, `{"Sid" : "two"}`},
		{`{"Statement":[{"Sid":"one"}]}`, 1, ``},
		{`{"Statement":[]}`, -1, ``},
		{`not JSON`, 0, ``},
	} {
		if got := string(explain.Raw(c.document, c.index)); got != c.want {
			t.Errorf("Raw(%s, %d) = %s", c.document, c.index, got)
		}
	}
}

func TestAbout(t *testing.T) {
	d := resource(t, `{"Effect":"Allow","Principal":{"AWS":"111111111111"},"Action":"secretsmanager:Get*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"false"}}}`).Document
	if !explain.About(d.Version, d.Statements[0], get, secret) || explain.About(d.Version, d.Statements[0], "secretsmanager:PutSecretValue", secret) {
		t.Error("a statement is about Get*, whatever its condition")
	}
}
