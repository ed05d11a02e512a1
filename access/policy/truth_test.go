package policy

import (
	"fmt"
	"strings"
	"testing"
)

const (
	account1 = "111122223333"
	account2 = "444455556666"
	secret1  = "arn:aws:secretsmanager:us-east-1:111122223333:secret:dev/db-AbCdEf"
	secret2  = "arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/db-AbCdEf"
	get      = "secretsmanager:GetSecretValue"
)

// The callers of the tables.
var (
	alice     = Principal{ARN: "arn:aws:iam::111122223333:user/alice", Account: account1, Type: User, UserID: "AIDAALICE", Username: "alice", Tags: []Tag{{"Team", "blue"}}}
	bob       = Principal{ARN: "arn:aws:iam::444455556666:user/bob", Account: account2, Type: User, UserID: "AIDABOB", Username: "bob"}
	app       = Principal{ARN: "arn:aws:sts::111122223333:assumed-role/app/i-1", Account: account1, Type: AssumedRole, Issuer: "arn:aws:iam::111122223333:role/svc/app", UserID: "AROAAPP:i-1", Tags: []Tag{{"team", "red"}}}
	audit     = Principal{ARN: "arn:aws:sts::444455556666:assumed-role/audit/nightly", Account: account2, Type: AssumedRole, Issuer: "arn:aws:iam::444455556666:role/audit", UserID: "AROAAUDIT:nightly"}
	root1     = Principal{ARN: "arn:aws:iam::111122223333:root", Account: account1, Type: RootUser, UserID: account1}
	root2     = Principal{ARN: "arn:aws:iam::444455556666:root", Account: account2, Type: RootUser, UserID: account2}
	federated = Principal{ARN: "arn:aws:sts::111122223333:federated-user/carl", Account: account1, Type: FederatedUser, Issuer: alice.ARN, UserID: "111122223333:carl"}
)

// prep prepares a policy; one that starts with a statement gets a frame of the
// newest version. "" is none.
func prep(t testing.TB, text string) *Prepared {
	t.Helper()
	if text == "" {
		return nil
	}
	if !strings.Contains(text, `"Statement"`) {
		text = document(text)
	}
	d, err := Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return Prepare(d)
}

func listed(p *Prepared) []*Prepared {
	if p == nil {
		return nil
	}
	return []*Prepared{p}
}

// ctx is a context of keys and values by turns; values apart by | are many.
func ctx(pairs ...string) Context {
	c := Context{}
	for i := 0; i < len(pairs); i += 2 {
		c.Add(pairs[i], strings.Split(pairs[i+1], "|")...)
	}
	return c
}

// Short names of verdicts.
const (
	ok         = "allowed: an identity-based policy allows it"
	shared     = "allowed: a resource-based policy allows it"
	both       = "allowed: an identity-based and a resource-based policy allow it"
	asRoot     = "allowed: the root user of an account may do everything in it"
	noIdentity = "denied: no identity-based policy allows it"
	noResource = "denied: no resource-based policy allows it"
	noBoundary = "denied: no permissions boundary allows it"
	noSession  = "denied: no session policy allows it"
	byIdentity = "denied: explicit deny in an identity-based policy"
	byResource = "denied: explicit deny in a resource-based policy"
	byBoundary = "denied: explicit deny in a permissions boundary"
	bySession  = "denied: explicit deny in a session policy"
)

func word(v Verdict) string {
	if v.Allowed {
		return "allowed: " + v.Reason.String()
	}
	return "denied: " + v.Reason.String()
}

// Statements of the tables.
const (
	allowAll  = `{"Effect": "Allow", "Action": "*", "Resource": "*"}`
	allowDev  = `{"Effect": "Allow", "Action": "secretsmanager:*", "Resource": "arn:aws:secretsmanager:*:*:secret:dev/*"}`
	allowProd = `{"Effect": "Allow", "Action": "secretsmanager:*", "Resource": "arn:aws:secretsmanager:*:*:secret:prod/*"}`
	denyAll   = `{"Effect": "Deny", "Action": "*", "Resource": "*"}`
	denyProd  = `{"Effect": "Deny", "Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:prod/*"}`
)

// to is a statement of a resource's policy for a principal.
func to(effect, principal string) string {
	return `{"Effect": "` + effect + `", "Principal": {"AWS": ` + principal + `}, "Action": "secretsmanager:*", "Resource": "*"}`
}

// but is the same for all but a principal.
func but(effect, principal string) string {
	return `{"Effect": "` + effect + `", "NotPrincipal": {"AWS": ` + principal + `}, "Action": "secretsmanager:*", "Resource": "*"}`
}

type logicCase struct {
	name                                  string
	who                                   Principal
	identity, boundary, session, resource string
	want                                  string
}

// How policies of several kinds work together; the secret is account 111122223333's.
var logicGroups = []struct {
	rule, source string
	cases        []logicCase
}{
	{"implicit and explicit deny", "IAM user guide, The difference between explicit and implicit denies", []logicCase{
		{"no policy", alice, "", "", "", "", noIdentity},
		{"allow", alice, allowAll, "", "", "", ok},
		{"allow of another secret", alice, allowProd, "", "", "", noIdentity},
		{"deny alone", alice, denyAll, "", "", "", byIdentity},
		{"deny after allow", alice, allowAll + "," + denyAll, "", "", "", byIdentity},
		{"deny before allow", alice, denyAll + "," + allowAll, "", "", "", byIdentity},
		{"deny of another secret", alice, allowAll + "," + denyProd, "", "", "", ok},
		{"deny of the resource over both allows", alice, allowAll, "", "", to("Allow", `"*"`) + "," + to("Deny", `"*"`), byResource},
		{"deny of the boundary", alice, allowAll, allowAll + "," + denyAll, "", "", byBoundary},
		{"deny of the session", app, allowAll, "", allowAll + "," + denyAll, "", bySession},
		{"deny of the boundary over a direct grant", alice, allowAll, denyAll, "", to("Allow", `"`+alice.ARN+`"`), byBoundary},
		{"deny of the session over a direct grant", app, "", "", denyAll, to("Allow", `"`+app.ARN+`"`), bySession},
		{"deny of the identity over a direct grant", app, denyAll, "", "", to("Allow", `"`+app.ARN+`"`), byIdentity},
		{"deny across accounts", bob, allowAll, "", "", to("Allow", `"*"`) + "," + to("Deny", `"444455556666"`), byResource},
		{"deny of the identity across accounts", bob, denyAll, "", "", to("Allow", `"*"`), byIdentity},
		{"role without policy", app, "", "", "", "", noIdentity},
		{"role with policy", app, allowDev, "", "", "", ok},
	}},
	{"identity or resource, in one account", "IAM user guide, Policy evaluation for requests within a single account", []logicCase{
		{"only the resource, user", alice, "", "", "", to("Allow", `"`+alice.ARN+`"`), shared},
		{"only the resource, role", app, "", "", "", to("Allow", `"`+app.Issuer+`"`), shared},
		{"only the resource, session", app, "", "", "", to("Allow", `"`+app.ARN+`"`), shared},
		{"only the resource, everybody", app, "", "", "", to("Allow", `"*"`), shared},
		{"only the identity", alice, allowDev, "", "", to("Allow", `"arn:aws:iam::111122223333:user/eve"`), ok},
		{"another user", alice, "", "", "", to("Allow", `"arn:aws:iam::111122223333:user/eve"`), noIdentity},
		{"another session", app, "", "", "", to("Allow", `"arn:aws:sts::111122223333:assumed-role/app/i-2"`), noIdentity},
		{"a role of the same name elsewhere", app, "", "", "", to("Allow", `"arn:aws:iam::444455556666:role/svc/app"`), noIdentity},
		{"a role without its path", app, "", "", "", to("Allow", `"arn:aws:iam::111122223333:role/app"`), noIdentity},
		{"a user in another case", alice, "", "", "", to("Allow", `"arn:aws:iam::111122223333:user/Alice"`), noIdentity},
		{"no wildcard in a principal", alice, "", "", "", to("Allow", `"arn:aws:iam::111122223333:user/*"`), noIdentity},
		{"no question mark in a principal", alice, "", "", "", to("Allow", `"arn:aws:iam::111122223333:user/alic?"`), noIdentity},
		{"one of several", alice, "", "", "", to("Allow", `["arn:aws:iam::111122223333:user/eve", "`+alice.ARN+`"]`), shared},
		{"a service is nobody here", alice, "", "", "", `{"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "*", "Resource": "*"}`, noIdentity},
		{"both", alice, allowAll, "", "", to("Allow", `"`+alice.ARN+`"`), shared},
	}},
	{"the account as principal", "IAM user guide, AWS JSON policy elements: Principal, AWS account principals", []logicCase{
		{"gives nothing by itself, ARN", alice, "", "", "", to("Allow", `"arn:aws:iam::111122223333:root"`), noIdentity},
		{"gives nothing by itself, number", app, "", "", "", to("Allow", `"111122223333"`), noIdentity},
		{"the identity decides", alice, allowDev, "", "", to("Allow", `"111122223333"`), ok},
		{"is the root user too", root1, "", "", "", to("Allow", `"111122223333"`), shared},
		{"denies all of it, user", alice, allowAll, "", "", to("Deny", `"111122223333"`), byResource},
		{"denies all of it, role", app, allowAll, "", "", to("Deny", `"arn:aws:iam::111122223333:root"`), byResource},
		{"denies all of it, root user", root1, "", "", "", to("Deny", `"111122223333"`), byResource},
		{"denies nobody else", alice, allowAll, "", "", to("Deny", `"444455556666"`), ok},
		{"in another partition's ARN", alice, allowAll, "", "", to("Deny", `"arn:aws-cn:iam::111122223333:root"`), byResource},
	}},
	{"denied principals", "IAM user guide, AWS JSON policy elements: Principal", []logicCase{
		{"role denies its sessions", app, allowAll, "", "", to("Deny", `"`+app.Issuer+`"`), byResource},
		{"session", app, allowAll, "", "", to("Deny", `"`+app.ARN+`"`), byResource},
		{"another session", app, allowAll, "", "", to("Deny", `"arn:aws:sts::111122223333:assumed-role/app/i-2"`), ok},
		{"everybody", app, allowAll, "", "", to("Deny", `"*"`), byResource},
		{"the word", app, allowAll, "", "", `{"Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}`, byResource},
	}},
	{"the root user", "IAM user guide, Policy evaluation logic (the root user has full access by default)", []logicCase{
		{"needs no policy", root1, "", "", "", "", asRoot},
		{"can be denied", root1, "", "", "", to("Deny", `"*"`), byResource},
		{"of another account", root2, "", "", "", "", noResource},
		{"of another account, shared", root2, "", "", "", to("Allow", `"444455556666"`), both},
		{"of another account, shared with a user", root2, "", "", "", to("Allow", `"`+bob.ARN+`"`), noResource},
	}},
	{"across accounts both", "IAM user guide, Cross-account policy evaluation logic", []logicCase{
		{"neither", bob, "", "", "", "", noIdentity},
		{"only the identity", bob, allowAll, "", "", "", noResource},
		{"only the resource", bob, "", "", "", to("Allow", `"`+bob.ARN+`"`), noIdentity},
		{"user", bob, allowAll, "", "", to("Allow", `"`+bob.ARN+`"`), both},
		{"account", bob, allowDev, "", "", to("Allow", `"444455556666"`), both},
		{"account's ARN", bob, allowDev, "", "", to("Allow", `"arn:aws:iam::444455556666:root"`), both},
		{"everybody", bob, allowDev, "", "", to("Allow", `"*"`), both},
		{"everybody, without identity", bob, "", "", "", to("Allow", `"*"`), noIdentity},
		{"another account", bob, allowDev, "", "", to("Allow", `"111122223333"`), noResource},
		{"identity for another secret", bob, allowProd, "", "", to("Allow", `"*"`), noIdentity},
		{"role", audit, allowDev, "", "", to("Allow", `"`+audit.Issuer+`"`), both},
		{"session", audit, allowDev, "", "", to("Allow", `"`+audit.ARN+`"`), both},
		{"session, without identity", audit, "", "", "", to("Allow", `"`+audit.ARN+`"`), noIdentity},
		{"boundary limits even a direct grant", bob, allowDev, allowProd, "", to("Allow", `"`+bob.ARN+`"`), noBoundary},
		{"session policy limits even a direct grant", audit, allowDev, "", allowProd, to("Allow", `"`+audit.ARN+`"`), noSession},
		{"all four", audit, allowDev, allowDev, allowDev, to("Allow", `"`+audit.ARN+`"`), both},
	}},
	{"permissions boundaries", "IAM user guide, Permissions boundaries for IAM entities", []logicCase{
		{"gives nothing", alice, "", allowAll, "", "", noIdentity},
		{"lets through", alice, allowAll, allowDev, "", "", ok},
		{"holds back", alice, allowAll, allowProd, "", "", noBoundary},
		{"holds back a role", app, allowAll, allowProd, "", "", noBoundary},
		{"the user himself, named by the resource", alice, "", allowProd, "", to("Allow", `"`+alice.ARN+`"`), shared},
		{"the session itself", app, "", allowProd, "", to("Allow", `"`+app.ARN+`"`), shared},
		{"the role is limited", app, "", allowProd, "", to("Allow", `"`+app.Issuer+`"`), noBoundary},
		{"the role, let through", app, "", allowDev, "", to("Allow", `"`+app.Issuer+`"`), shared},
		{"the role and the session", app, "", allowProd, "", to("Allow", `["`+app.Issuer+`", "`+app.ARN+`"]`), shared},
		{"everybody is not limited", app, "", allowProd, "", to("Allow", `"*"`), shared},
		{"everybody with the role's ARN as condition", app, "", allowProd, "", `{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Condition": {"ArnEquals": {"aws:PrincipalArn": "` + app.Issuer + `"}}}`, shared},
		{"the account leaves it to the identity", alice, allowAll, allowProd, "", to("Allow", `"111122223333"`), noBoundary},
		{"NotPrincipal with Deny always denies one with a boundary", alice, allowAll, allowAll, "", but("Deny", `["`+alice.ARN+`", "111122223333"]`), byResource},
	}},
	{"session policies", "IAM user guide, Policies and permissions, Session policies", []logicCase{
		{"gives nothing", app, "", "", allowAll, "", noIdentity},
		{"lets through", app, allowAll, "", allowDev, "", ok},
		{"holds back", app, allowAll, "", allowProd, "", noSession},
		{"the session itself, named by the resource", app, "", "", allowProd, to("Allow", `"`+app.ARN+`"`), shared},
		{"the role is limited", app, "", "", allowProd, to("Allow", `"`+app.Issuer+`"`), noSession},
		{"boundary before session", app, allowAll, allowProd, allowProd, "", noBoundary},
		{"all three", app, allowAll, allowDev, allowDev, "", ok},
		{"federated without session policy", federated, allowAll, "", "", "", noSession},
		{"federated with one", federated, allowAll, "", allowDev, "", ok},
		{"federated, named by the resource", federated, "", "", "", to("Allow", `"`+federated.ARN+`"`), shared},
		{"federated, his user named", federated, "", "", "", to("Allow", `"`+alice.ARN+`"`), noSession},
		{"federated, his user named, let through", federated, "", "", allowDev, to("Allow", `"`+alice.ARN+`"`), shared},
		{"a user's session policy limits even a direct grant", alice, "", "", allowProd, to("Allow", `"`+alice.ARN+`"`), noSession},
		{"a user's session policy", alice, allowAll, "", allowProd, "", noSession},
	}},
	{"NotPrincipal", "IAM user guide, AWS JSON policy elements: NotPrincipal", []logicCase{
		{"deny all but a user and his account", alice, allowAll, "", "", but("Deny", `["`+alice.ARN+`", "arn:aws:iam::111122223333:root"]`), ok},
		{"deny all but a user, without his account", alice, allowAll, "", "", but("Deny", `"`+alice.ARN+`"`), byResource},
		{"deny all but the account", alice, allowAll, "", "", but("Deny", `"111122223333"`), byResource},
		{"deny all but another", alice, allowAll, "", "", but("Deny", `["arn:aws:iam::111122223333:user/eve", "111122223333"]`), byResource},
		{"deny all but session, role, account", app, allowAll, "", "", but("Deny", `["`+app.ARN+`", "`+app.Issuer+`", "111122223333"]`), ok},
		{"deny all but session and account", app, allowAll, "", "", but("Deny", `["`+app.ARN+`", "111122223333"]`), byResource},
		{"deny all but role and account", app, allowAll, "", "", but("Deny", `["`+app.Issuer+`", "111122223333"]`), byResource},
		{"deny all but the root user", root1, "", "", "", but("Deny", `"111122223333"`), asRoot},
		{"allow all but another", alice, "", "", "", but("Allow", `"arn:aws:iam::111122223333:user/eve"`), shared},
		{"allow all but him", alice, "", "", "", but("Allow", `"`+alice.ARN+`"`), noIdentity},
		{"allow all but his role", app, "", "", "", but("Allow", `"`+app.Issuer+`"`), noIdentity},
		{"allow all but his account", app, "", "", "", but("Allow", `"111122223333"`), noIdentity},
	}},
	{"elements in the wrong kind of policy fall to the safe side", "IAM user guide, AWS JSON policy elements: Principal (not in identity-based policies)", []logicCase{
		{"Principal in an identity's allow", alice, to("Allow", `"*"`), "", "", "", noIdentity},
		{"Principal in an identity's deny", alice, allowAll + "," + to("Deny", `"`+bob.ARN+`"`), "", "", "", byIdentity},
		{"no Principal in a resource's allow", alice, "", "", "", allowAll, noIdentity},
		{"no Principal in a resource's deny", alice, allowAll, "", "", denyAll, byResource},
		{"no Resource in an allow", alice, `{"Effect": "Allow", "Action": "*"}`, "", "", "", noIdentity},
		{"no Resource in a deny", alice, allowAll + `,{"Effect": "Deny", "Action": "*"}`, "", "", "", byIdentity},
	}},
}

func TestTruthOfLogic(t *testing.T) {
	for _, g := range logicGroups {
		for _, c := range g.cases {
			t.Run(g.rule+"/"+c.name, func(t *testing.T) {
				p := Policies{listed(prep(t, c.identity)), prep(t, c.boundary), listed(prep(t, c.session)), prep(t, c.resource), account1}
				r := Request{Action: get, Resource: secret1, Principal: c.who, Context: Context{}}
				v := Evaluate(p, r)
				if got := word(v); got != c.want {
					t.Errorf("%s, want %s (%s)", got, c.want, g.source)
				}
				if n := naively(p, r); n != v.Allowed {
					t.Errorf("the naive evaluator says %v", n)
				}
			})
		}
	}
}

// What an Action, NotAction, Resource or NotResource is about.
var elementGroups = []struct {
	rule, source string
	cases        []struct{ statement, action, resource, want string }
}{
	{"Action", "IAM user guide, IAM JSON policy elements: Action", []struct{ statement, action, resource, want string }{
		{`"Action": "secretsmanager:GetSecretValue", "Resource": "*"`, get, secret1, ok},
		{`"Action": "SecretsManager:getsecretvalue", "Resource": "*"`, get, secret1, ok},
		{`"Action": "secretsmanager:Get*", "Resource": "*"`, get, secret1, ok},
		{`"Action": "secretsmanager:get*value", "Resource": "*"`, get, secret1, ok},
		{`"Action": "secretsmanager:GetSecretValu?", "Resource": "*"`, get, secret1, ok},
		{`"Action": "secretsmanager:GetSecretValue?", "Resource": "*"`, get, secret1, noIdentity},
		{`"Action": "secretsmanager:GetSecret", "Resource": "*"`, get, secret1, noIdentity},
		{`"Action": "*", "Resource": "*"`, get, secret1, ok},
		{`"Action": "*:*", "Resource": "*"`, get, secret1, ok},
		{`"Action": "s3:*", "Resource": "*"`, get, secret1, noIdentity},
		{`"Action": ["s3:*", "secretsmanager:*"], "Resource": "*"`, get, secret1, ok},
		{`"Action": "pawl:*", "Resource": "*"`, "pawl:Plan", "", ok},
		{`"Action": "pawl:*", "Resource": "*"`, get, secret1, noIdentity},
	}},
	{"NotAction", "IAM user guide, IAM JSON policy elements: NotAction", []struct{ statement, action, resource, want string }{
		{`"NotAction": "secretsmanager:DeleteSecret", "Resource": "*"`, get, secret1, ok},
		{`"NotAction": "secretsmanager:DeleteSecret", "Resource": "*"`, "secretsmanager:DeleteSecret", secret1, noIdentity},
		{`"NotAction": "secretsmanager:deletes*", "Resource": "*"`, "secretsmanager:DeleteSecret", secret1, noIdentity},
		{`"NotAction": ["s3:*", "secretsmanager:Get*"], "Resource": "*"`, get, secret1, noIdentity},
		{`"NotAction": "*", "Resource": "*"`, get, secret1, noIdentity},
	}},
	{"Resource", "IAM user guide, IAM JSON policy elements: Resource", []struct{ statement, action, resource, want string }{
		{`"Action": "*", "Resource": "` + secret1 + `"`, get, secret1, ok},
		{`"Action": "*", "Resource": "` + secret1 + `"`, get, secret2, noIdentity},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:dev/db-??????"`, get, secret1, ok},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:dev/db-?????"`, get, secret1, noIdentity},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:dev/*"`, get, secret1, ok},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:Dev/*"`, get, secret1, noIdentity},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:*-AbCdEf"`, get, secret1, ok},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:*-abcdef"`, get, secret1, noIdentity},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:eu-west-1:*:secret:*"`, get, secret1, noIdentity},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:444455556666:secret:*"`, get, secret1, noIdentity},
		{`"Action": "*", "Resource": ["` + secret2 + `", "` + secret1 + `"]`, get, secret1, ok},
		{`"Action": "*", "Resource": "arn:aws:s3:::bucket/*"`, get, secret1, noIdentity},
		{`"Action": "*", "Resource": "*"`, "secretsmanager:ListSecrets", "", ok},
		{`"Action": "*", "Resource": "*"`, "secretsmanager:ListSecrets", "*", ok},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:*"`, "secretsmanager:ListSecrets", "", noIdentity},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:*"`, "secretsmanager:ListSecrets", "*", noIdentity},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:dev/*"`, get, "dev/no-such", noIdentity},
	}},
	{"NotResource", "IAM user guide, IAM JSON policy elements: NotResource", []struct{ statement, action, resource, want string }{
		{`"Action": "*", "NotResource": "arn:aws:secretsmanager:*:*:secret:prod/*"`, get, secret1, ok},
		{`"Action": "*", "NotResource": "arn:aws:secretsmanager:*:*:secret:prod/*"`, get, secret2, noIdentity},
		{`"Action": "*", "NotResource": ["` + secret2 + `", "` + secret1 + `"]`, get, secret1, noIdentity},
		{`"Action": "*", "NotResource": "*"`, get, secret1, noIdentity},
		{`"Action": "*", "NotResource": "` + secret1 + `"`, "secretsmanager:ListSecrets", "", ok},
	}},
	{"variables in Resource", "IAM user guide, IAM policy elements: Variables and tags", []struct{ statement, action, resource, want string }{
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:${aws:username}/*"`, get, "arn:aws:secretsmanager:us-east-1:111122223333:secret:alice/db-AbCdEf", ok},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:${aws:username}/*"`, get, secret1, noIdentity},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:${aws:PrincipalTag/team}/*"`, get, "arn:aws:secretsmanager:us-east-1:111122223333:secret:blue/db-AbCdEf", ok},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:${aws:PrincipalTag/cost, 'dev'}/*"`, get, secret1, ok},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:${aws:PrincipalTag/cost}*"`, get, secret1, noIdentity},
		{`"Action": "*", "NotResource": "arn:aws:secretsmanager:*:*:secret:${aws:PrincipalTag/cost}*"`, get, secret1, noIdentity},
		{`"Action": "*", "NotResource": "arn:aws:secretsmanager:*:*:secret:${aws:username}/*"`, get, secret1, ok},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:dev${*}*"`, get, secret1, noIdentity},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:${$}{x}"`, get, "arn:aws:secretsmanager:us-east-1:111122223333:secret:${x}", ok},
		{`"Action": "*", "Resource": "arn:aws:secretsmanager:*:*:secret:dev/${aws:username"`, get, "arn:aws:secretsmanager:us-east-1:111122223333:secret:dev/${aws:username", ok},
	}},
}

func TestTruthOfElements(t *testing.T) {
	for _, g := range elementGroups {
		for _, c := range g.cases {
			t.Run(g.rule+"/"+c.statement, func(t *testing.T) {
				p := Policies{Identity: listed(prep(t, `{"Effect": "Allow", `+c.statement+`}`)), ResourceAccount: account1}
				r := Request{Action: c.action, Resource: c.resource, Principal: alice}
				v := Evaluate(p, r)
				if got := word(v); got != c.want {
					t.Errorf("%s %s: %s, want %s (%s)", c.action, c.resource, got, c.want, g.source)
				}
				if n := naively(p, r); n != v.Allowed {
					t.Errorf("the naive evaluator says %v", n)
				}
			})
		}
	}
}

// The logic of IAM has no room for fewer.
func TestTruthHasEnoughCases(t *testing.T) {
	n := 0
	for _, g := range logicGroups {
		n += len(g.cases)
	}
	for _, g := range elementGroups {
		n += len(g.cases)
	}
	for _, g := range conditionGroups {
		n += len(g.cases)
	}
	if n < 200 {
		t.Error(fmt.Sprint(n, " cases"))
	}
	t.Log(n, "cases")
}
