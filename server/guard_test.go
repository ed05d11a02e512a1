package server

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Nobody does anything without an Allow, and is told in AWS's words: of an
// operation without a secret nothing of a resource.
func TestWithoutPoliciesNothing(t *testing.T) {
	g := newStage(t, nil)
	arn := g.secret(ours, "dev/here", withValue)
	nobody := user(t, ours, "")
	for key, o := range operations {
		if harmless[o.name] == "" {
			t.Errorf("%s has no harmless request here", key)
		}
		for _, id := range []string{"dev/here", "dev/nowhere", arn, arn[:len(arn)-7], strings.Replace(arn, "here", "nowhere", 1), strings.Replace(arn, "us-east-1", "eu-west-1", 1)} {
			if o.name == "CreateSecret" && strings.HasPrefix(id, "arn:") {
				continue // no name
			}
			action, resource := o.action, " on resource: "+id
			if noSecret[o.name] {
				resource = ""
			}
			g.refused(nobody, o.name, about(o.name, id, id), accessDenied,
				"User: arn:aws:iam::111122223333:user/alice is not authorized to perform: "+action+resource+" because no identity-based policy allows the "+action+" action")
		}
	}
	for operation, body := range map[string]string{"ListRotations": `{}`, "ValidateResourcePolicy": `{"ResourcePolicy":"none"}`} {
		if a := g.ask(nobody, operation, body); !a.denied() || strings.Contains(a.text, "on resource") {
			t.Errorf("%s: %s", operation, a.text)
		}
	}
	// Bounds come before rights, and rights before all else.
	g.refused(nobody, "GetSecretValue", `{"SecretId":"dev/here","VersionId":"short"}`, "ValidationException",
		"1 validation error detected: Value 'short' at 'versionId' failed to satisfy constraint: Member must have length greater than or equal to 32")
	g.refused(nobody, "GetSecretValue", `{"SecretId":"no*name"}`, "ValidationException",
		"Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!")
}

// What an explicit Deny, a boundary, a session policy and a secret's own policy
// make of an answer.
func TestWhyNot(t *testing.T) {
	g := newStage(t, nil)
	g.secret(ours, "shut", withValue)
	g.secret(ours, "open", withValue)
	g.attach(ours, "shut", `{"Effect":"Deny","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}`)
	const (
		all  = `{"Effect":"Allow","Action":"*","Resource":"*"}`
		some = `{"Effect":"Allow","Action":"*","Resource":"arn:aws:secretsmanager:*:*:secret:other-*"}`
		not  = `{"Effect":"Deny","Action":"secretsmanager:Get*","Resource":"*"}`
	)
	with := func(change func(*access.Principal)) access.Principal {
		p := user(t, ours, all)
		change(&p)
		return p
	}
	bounded := func(by string) access.Principal {
		return with(func(p *access.Principal) { p.Policies.Boundary = identity(t, by) })
	}
	limited := func(by string) access.Principal {
		return with(func(p *access.Principal) { p.Policies.Session = []*policy.Prepared{identity(t, by)} })
	}
	for _, c := range []struct {
		who   access.Principal
		id    string
		why   string // "" = it is read
		named bool   // the same for a secret that there is not
	}{
		{user(t, ours, all), "open", "", true},
		{user(t, ours, all), "shut", "with an explicit deny in a resource-based policy", false},
		{user(t, ours, all+","+not), "shut", "with an explicit deny in an identity-based policy", true},
		{user(t, ours, some), "shut", "because no identity-based policy allows the secretsmanager:GetSecretValue action", true},
		{bounded(some), "open", "because no permissions boundary allows the secretsmanager:GetSecretValue action", true},
		{bounded(all + "," + not), "shut", "with an explicit deny in a permissions boundary", true},
		{limited(some), "open", "because no session policy allows the secretsmanager:GetSecretValue action", true},
		{limited(all + "," + not), "open", "with an explicit deny in a session policy", true},
		{rootOf(ours), "shut", "with an explicit deny in a resource-based policy", false},
		{rootOf(ours), "open", "", true},
	} {
		text := "User: " + c.who.ARN + " is not authorized to perform: secretsmanager:GetSecretValue on resource: "
		if c.why == "" {
			g.ok(c.who, "GetSecretValue", `{"SecretId":"`+c.id+`"}`)
			continue
		}
		g.refused(c.who, "GetSecretValue", `{"SecretId":"`+c.id+`"}`, accessDenied, text+c.id+" "+c.why)
		if c.named {
			g.refused(c.who, "GetSecretValue", `{"SecretId":"nowhere"}`, accessDenied, text+"nowhere "+c.why)
		} else {
			g.refused(c.who, "GetSecretValue", `{"SecretId":"nowhere"}`, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
		}
	}
}

// statement is one that is drawn.
type statement struct {
	effect, action, resource, principal, conditions string
}

func (s statement) String() string {
	principal := ""
	if s.principal != "" {
		principal = `"Principal":` + s.principal + `,`
	}
	return `{"Effect":"` + s.effect + `",` + principal + `"Action":` + quoted(s.action) + `,"Resource":` + quoted(s.resource) + `,"Condition":{` + s.conditions + `}}`
}

func drawStatements(t *rapid.T, name string, actions, principals []string) (all []statement) {
	resources := []string{"*", "arn:aws:secretsmanager:*:*:secret:dev/*", "arn:aws:secretsmanager:*:*:secret:dev/db-??????", "arn:aws:secretsmanager:*:*:secret:prod/*"}
	conditions := []string{
		"", "", "", `"StringEquals":{"aws:ResourceTag/team":"blue"}`, `"StringNotEquals":{"aws:ResourceTag/team":"red"}`, `"Null":{"secretsmanager:ResourceTag/team":"true"}`,
		`"StringEqualsIfExists":{"secretsmanager:resource/Type":"T"}`, `"ArnLike":{"secretsmanager:SecretId":"*:dev/db-??????"}`, `"Bool":{"aws:SecureTransport":"false"}`,
	}
	for i := range rapid.IntRange(1, 4).Draw(t, name) {
		from := func(what string, list []string) string {
			return rapid.SampledFrom(list).Draw(t, fmt.Sprint(name, " ", what, i))
		}
		s := statement{effect: from("effect", []string{"Allow", "Allow", "Deny"}), action: from("action", actions), resource: from("resource", resources), conditions: from("condition", conditions)}
		if principals != nil {
			s.principal = from("principal", principals)
		}
		all = append(all, s)
	}
	return all
}

func join(all []statement) string {
	var texts []string
	for _, s := range all {
		texts = append(texts, s.String())
	}
	return strings.Join(texts, ",")
}

// Two servers, one of which has a secret that the other hasn't: who has no Allow
// can't tell them apart by any request, and gets no value. Whoever is refused the
// same at both reads the same words.
func TestNobodyLearnsWhatIsNotHis(t *testing.T) {
	has, hasNot := newStage(t, nil), newStage(t, nil)
	const name = "dev/db"
	arn := has.secret(ours, name, withValue+`,"Type":"T","Tags":[{"Key":"team","Value":"blue"}]`)
	var names []string
	for _, o := range operations {
		names = append(names, o.name)
	}
	slices.Sort(names)
	callers := []access.Principal{
		user(t, ours, ""), user(t, theirs, ""), session(user(t, ours, "")),
		{Account: ours, Region: "us-east-1", ARN: "arn:aws:sts::111122223333:assumed-role/app/i", Issuer: "arn:aws:iam::111122223333:role/app", Type: policy.AssumedRole, UserID: "AROA:i"},
	}
	attached := ""
	refusals, strangers := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		operation := rapid.SampledFrom(names).Draw(t, "operation")
		o := operations["secretsmanager."+operation]
		if o == nil {
			o = operations["pawl."+operation]
		}
		actions := []string{o.action, "secretsmanager:Describe*", "secretsmanager:PutSecretValue", "pawl:Pause*"}
		if rapid.Bool().Draw(t, "everything") {
			actions = append(actions, "*", "secretsmanager:*", "secretsmanager:Get*")
		}
		who := rapid.SampledFrom(callers).Draw(t, "caller")
		var given []statement // the Allows that say something of the caller
		if rapid.IntRange(0, 3).Draw(t, "attached") > 0 {
			s := drawStatements(t, "identity", actions, nil)
			given = append(given, s...)
			who.Policies.Identity = []*policy.Prepared{identity(has.t, join(s))}
		}
		if rapid.IntRange(0, 5).Draw(t, "bounded") == 0 {
			who.Policies.Boundary = identity(has.t, join(drawStatements(t, "boundary", actions, nil)))
		}
		if rapid.IntRange(0, 5).Draw(t, "limited") == 0 {
			who.Policies.Session = []*policy.Prepared{identity(has.t, join(drawStatements(t, "session", actions, nil)))}
		}
		if rapid.IntRange(0, 4).Draw(t, "policy") == 0 || attached == "" {
			// A policy on a secret speaks of Secrets Manager's actions only. Of
			// nobody here but the callers, and never of everybody's being let in.
			s := drawStatements(t, "resource", []string{"secretsmanager:*", "secretsmanager:Get*", "secretsmanager:Describe*"},
				[]string{`"*"`, `{"AWS":"arn:aws:iam::111122223333:user/bob"}`, `{"AWS":"777788889999"}`})
			for i := range s {
				if s[i].principal == `"*"` {
					s[i].effect = "Deny"
				}
				s[i].conditions = strings.ReplaceAll(s[i].conditions, "aws:SecureTransport", "aws:ViaAWSService")
			}
			// It must not lock the test itself out.
			attached = join(append(s, statement{"Allow", "secretsmanager:PutResourcePolicy", "*", `"*"`, `"StringEquals":{"aws:PrincipalArn":"arn:aws:iam::111122223333:user/nobody"}`}))
			setPolicy(has, name, `{"Version":"2012-10-17","Statement":[`+attached+`]}`)
		}
		id := rapid.SampledFrom([]string{name, arn, arn[:len(arn)-7], strings.Replace(arn, "us-east-1", "eu-west-1", 1)}).Draw(t, "id")
		body := about(operation, id, name)

		a, b := has.ask(who, operation, body), hasNot.ask(who, operation, body)
		mayAnything := slices.ContainsFunc(given, func(s statement) bool {
			return s.effect == "Allow" && allowsAny(s.action, o.action, "secretsmanager:GetSecretValue", "secretsmanager:ListSecrets")
		})
		switch {
		case !mayAnything && (a.body != b.body || !a.denied() || strings.Contains(a.body, canary)):
			t.Fatalf("%s %s by %s without an Allow\nis:   %s\nis not: %s", operation, body, who.ARN, a.body, b.body)
		case a.denied() && b.denied() && refusedAction(a) == refusedAction(b) && a.body != b.body:
			t.Fatalf("%s %s by %s, refused\nis:   %s\nis not: %s", operation, body, who.ARN, a.body, b.body)
		}
		if a.denied() {
			refusals++
		}
		if !mayAnything {
			strangers++
		}
	})
	if refusals == 0 || strangers == 0 {
		t.Errorf("%d refused, %d without an Allow: the draws say nothing", refusals, strangers)
	}
}

// refusedAction is which action a refusal is about: an operation may need several,
// and who has some of them may learn more.
func refusedAction(r reply) string {
	_, after, _ := strings.Cut(r.text, " is not authorized to perform: ")
	action, _, _ := strings.Cut(after, " ")
	return action
}

// allowsAny reports whether a pattern of an action is for one of several.
func allowsAny(pattern string, actions ...string) bool {
	return slices.ContainsFunc(actions, func(a string) bool {
		rest, wild := strings.CutSuffix(pattern, "*")
		return a == pattern || wild && strings.HasPrefix(a, rest)
	})
}

// setPolicy puts a policy on a secret whatever its present one says.
func setPolicy(g *stage, name, text string) {
	g.t.Helper()
	_, err := g.service.As(service.Caller{Account: ours, Region: "us-east-1"}).PutResourcePolicy(g.t.Context(), service.PutResourcePolicyInput{SecretID: name, ResourcePolicy: text})
	if err != nil {
		g.t.Fatal(err)
	}
}

func TestBatchesItemByItem(t *testing.T) {
	g := newStage(t, nil)
	mine := g.secret(ours, "mine", withValue)
	other := g.secret(ours, "other", withValue)
	foreign := g.secret(theirs, "foreign", withValue)
	const batch = `{"Effect":"Allow","Action":"secretsmanager:BatchGetSecretValue","Resource":"*"}`
	const list = `{"Effect":"Allow","Action":"secretsmanager:ListSecrets","Resource":"*"}`
	get := `{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:111122223333:secret:mine-??????"}`
	got := func(who access.Principal, body string) string {
		t.Helper()
		out := g.ok(who, "BatchGetSecretValue", body)
		var all []string
		for _, v := range out["SecretValues"].([]any) {
			all = append(all, "+"+v.(map[string]any)["Name"].(string))
		}
		for _, v := range out["Errors"].([]any) {
			item := v.(map[string]any)
			all = append(all, "-"+item["SecretId"].(string)+" "+item["ErrorCode"].(string))
			id := item["SecretId"].(string)
			if item["ErrorCode"] == accessDenied && item["Message"] != "User: arn:aws:iam::111122223333:user/alice is not authorized to perform: secretsmanager:GetSecretValue on resource: "+id+" because no identity-based policy allows the secretsmanager:GetSecretValue action" {
				t.Errorf("%v", item["Message"])
			}
		}
		return strings.Join(all, ", ")
	}
	named := `{"SecretIdList":["mine","` + mine + `","other","nowhere","` + foreign + `"]}`
	const filtered = `{"Filters":[{"Key":"name","Values":["m","o"]}]}`
	no := " " + accessDenied
	if s := got(user(t, ours, batch+","+get), named); s != "+mine, +mine, -other"+no+", -nowhere"+no+", -"+foreign+no {
		t.Error(s)
	}
	if s := got(user(t, ours, batch+","+get+","+list), filtered); s != "+mine, -"+other+no {
		t.Error(s)
	}
	if s := got(user(t, ours, batch), named); strings.Contains(s, "+") {
		t.Error(s)
	}
	const text = "User: arn:aws:iam::111122223333:user/alice is not authorized to perform: secretsmanager:"
	g.refused(user(t, ours, get), "BatchGetSecretValue", named, accessDenied, text+"BatchGetSecretValue because no identity-based policy allows the secretsmanager:BatchGetSecretValue action")
	g.refused(user(t, ours, batch+","+get), "BatchGetSecretValue", filtered, accessDenied, text+"ListSecrets because no identity-based policy allows the secretsmanager:ListSecrets action")
}

// What an operation needs beside its own action.
func TestFurtherPermissions(t *testing.T) {
	g := newStage(t, nil)
	g.secret(ours, "root", `,"SecretString":"{\"username\":\"root\",\"password\":\"`+canary+`\"}"`)
	serves := func(name, masterarn string) {
		g.secret(ours, name, `,"SecretString":"{\"username\":\"u\",\"password\":\"`+canary+`\",\"masterarn\":\"`+masterarn+`\"}"`)
	}
	serves("dev/served", "root")
	serves("dev/stray", "gone")
	serves("dev/odd", canary+" is no name")
	g.secret(ours, "dev/alone", withValue)
	on := func(action, resource string) string {
		return `{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}`
	}
	const dev = "arn:aws:secretsmanager:us-east-1:111122223333:secret:dev/*"
	rotate := func(id, more string) string {
		return `{"SecretId":"` + id + `","ClientRequestToken":"` + strings.Repeat("r", 32) + `","RotateImmediately":false,"RotationLambdaARN":"arn:aws:lambda:us-east-1:111122223333:function:pawl-single-user"` + more + `}`
	}
	start := func(id string) string {
		return `{"SecretId":"` + id + `","ClientRequestToken":"` + strings.Repeat("s", 32) + `"}`
	}
	const role = "arn:aws:iam::111122223333:role/partner"
	none := func(action, resource string) string {
		if resource != "" {
			resource = " on resource: " + resource
		}
		return "User: arn:aws:iam::111122223333:user/alice is not authorized to perform: " + action + resource + " because no identity-based policy allows the " + action + " action"
	}
	superuser := func(id string) string {
		return "You can't rotate the secret " + id + ": the secret of the superuser that its value names is not yours to read (secretsmanager:GetSecretValue)."
	}
	create := on("secretsmanager:CreateSecret", dev)
	rotates := on("secretsmanager:RotateSecret", dev) + "," + on("pawl:*", dev)
	const root = "arn:aws:secretsmanager:us-east-1:111122223333:secret:root-??????"
	for _, c := range []struct {
		operation, body, statements, text string // "" = it is not the policies that refuse it
	}{
		{"CreateSecret", `{"Name":"dev/n","Tags":[{"Key":"a"}]}`, create, none("secretsmanager:TagResource", "dev/n")},
		{"CreateSecret", `{"Name":"dev/n","Tags":[{"Key":"a"}]}`, create + "," + on("secretsmanager:TagResource", dev), ""},
		{"CreateSecret", `{"Name":"dev/n","Tags":[{"Key":"a"}]}`, create + "," + allow("secretsmanager:TagResource", `"Null":{"secretsmanager:Name":"true","aws:RequestTag/a":"false"}`), ""}, // that action's own keys
		{"CreateSecret", `{"Name":"dev/n","AddReplicaRegions":[{"Region":"eu-west-1"}]}`, create, none("secretsmanager:ReplicateSecretToRegions", "dev/n")},
		{"CreateSecret", `{"Name":"dev/n","AddReplicaRegions":[{"Region":"eu-west-1"}]}`, create + "," + on("secretsmanager:ReplicateSecretToRegions", dev), ""},
		{"CreateSecret", `{"Name":"dev/n","Tags":[],"AddReplicaRegions":null}`, create, ""},
		{"ValidateResourcePolicy", `{"ResourcePolicy":"{}","SecretId":"dev/alone"}`, on("secretsmanager:ValidateResourcePolicy", dev), none("secretsmanager:PutResourcePolicy", "dev/alone")},
		{"ValidateResourcePolicy", `{"ResourcePolicy":"{}","SecretId":"dev/nowhere"}`, on("secretsmanager:ValidateResourcePolicy", dev), none("secretsmanager:PutResourcePolicy", "dev/nowhere")},
		{"ValidateResourcePolicy", `{"ResourcePolicy":"{}","SecretId":"dev/alone"}`, on("secretsmanager:*ResourcePolicy", dev), ""},
		{"ValidateResourcePolicy", `{"ResourcePolicy":"{}"}`, on("secretsmanager:ValidateResourcePolicy", "*"), none("secretsmanager:PutResourcePolicy", "")},
		{"ValidateResourcePolicy", `{"ResourcePolicy":"{}"}`, on("secretsmanager:*ResourcePolicy", "*"), ""},
		{"ListRotations", `{}`, on("pawl:ListRotations", "*"), ""},
		{"ListRotations", `{"SecretIds":["dev/alone","root"]}`, on("pawl:ListRotations", dev), none("pawl:ListRotations", "root")},

		{"RotateSecret", rotate("dev/alone", ""), rotates, ""},
		{"RotateSecret", rotate("dev/served", ""), rotates, superuser("dev/served")},
		{"RotateSecret", rotate("dev/stray", ""), rotates, superuser("dev/stray")},
		{"RotateSecret", rotate("dev/odd", ""), rotates, ""},
		{"RotateSecret", rotate("dev/served", ""), rotates + "," + on("secretsmanager:GetSecretValue", root), ""},
		{"RotateSecret", rotate("dev/served", ""), rotates + "," + allow("secretsmanager:GetSecretValue", `"Null":{"secretsmanager:RotateImmediately":"true"}`), ""},
		{"RotateSecret", rotate("dev/served", ""), rotates + "," + on("secretsmanager:GetSecretValue", dev), superuser("dev/served")},
		{"StartRotation", start("dev/served"), rotates, superuser("dev/served")},
		{"StartRotation", start("dev/stray"), rotates, superuser("dev/stray")},
		{"TestRotation", `{"SecretId":"dev/served"}`, rotates, superuser("dev/served")},
		{"StartRotation", start("dev/alone"), rotates, ""},
		{"StartRotation", start("dev/served"), rotates + "," + on("secretsmanager:GetSecretValue", root), ""},
		{"RotateSecret", rotate("dev/alone", `,"ExternalSecretRotationRoleArn":"`+role+`"`), rotates, none("iam:PassRole", role)},
		{"RotateSecret", rotate("dev/alone", `,"ExternalSecretRotationRoleArn":"`+role+`"`), rotates + `,{"Effect":"Allow","Action":"iam:PassRole","Resource":"` + role + `","Condition":{"StringEquals":{"iam:PassedToService":"secretsmanager.amazonaws.com"}}}`, ""},
	} {
		a := g.ask(user(t, ours, c.statements), c.operation, c.body)
		if c.text == "" && a.denied() || c.text != "" && (a.code != accessDenied || a.text != c.text) {
			t.Errorf("%s %s under %s\ngot  %s: %s\nwant %s", c.operation, c.body, c.statements, a.code, a.text, c.text)
		}
	}
}

// Whose rights go by a secret's tags can't take them from himself.
func TestTagsThatWouldLockTheCallerOut(t *testing.T) {
	g := newStage(t, nil)
	g.secret(ours, "s", withValue+`,"Tags":[{"Key":"team","Value":"blue"},{"Key":"cost","Value":"1"}]`)
	abac := user(t, ours, allow("secretsmanager:*", `"StringEquals":{"secretsmanager:ResourceTag/team":"${aws:PrincipalTag/team}"}`))
	no := func(operation, body string) {
		t.Helper()
		a := g.ask(abac, operation, body)
		if !a.denied() || !strings.Contains(a.text, "secretsmanager:"+operation+" on resource: s because no identity-based policy") {
			t.Errorf("%s: %s %s", body, a.code, a.text)
		}
		if tags := fmt.Sprint(g.ok(abac, "DescribeSecret", `{"SecretId":"s"}`)["Tags"]); !strings.Contains(tags, "map[Key:team Value:blue]") {
			t.Errorf("after %s: %s", body, tags)
		}
	}
	no("TagResource", `{"SecretId":"s","Tags":[{"Key":"team","Value":"red"}]}`)
	no("UntagResource", `{"SecretId":"s","TagKeys":["cost","team"]}`)
	g.ok(abac, "TagResource", `{"SecretId":"s","Tags":[{"Key":"cost","Value":"2"},{"Key":"team","Value":"blue"}]}`)
	g.ok(abac, "UntagResource", `{"SecretId":"s","TagKeys":["cost"]}`)
	// Whose rights do not may do as he likes.
	g.ok(user(t, ours, allow("secretsmanager:*", "")), "UntagResource", `{"SecretId":"s","TagKeys":["team"]}`)
	if a := g.ask(abac, "DescribeSecret", `{"SecretId":"s"}`); !a.denied() {
		t.Errorf("%s", a.body)
	}
}

func TestAttachedPoliciesAreRememberedWithinBounds(t *testing.T) {
	var a attached
	text := func(i int, pad int) string {
		return fmt.Sprintf(`{"Version":"2012-10-17","Statement":[{"Sid":"s%d","Effect":"Deny","Principal":"*","Action":"secretsmanager:*","Resource":"*"}]}%s`, i, strings.Repeat(" ", pad))
	}
	for i := range 2 * maxAttached {
		p, err := a.get(text(i, 0))
		if err != nil || p.Document.Statements[0].Sid != fmt.Sprintf("s%d", i) {
			t.Fatalf("%d: %v, %v", i, p, err)
		}
	}
	if len(a.known) != maxAttached {
		t.Errorf("%d are remembered", len(a.known))
	}
	for i := range 2 * maxAttachedBytes / 20000 {
		if _, err := a.get(text(i, 20000)); err != nil {
			t.Fatal(err)
		}
	}
	bytes := 0
	for text, p := range a.known {
		bytes += len(text) + p.Weight()
	}
	if a.bytes != bytes || bytes > maxAttachedBytes || len(a.known) < 100 {
		t.Errorf("%d policies of %d bytes, %d counted", len(a.known), bytes, a.bytes)
	}
	if p, err := a.get(""); p != nil || err != nil {
		t.Error(p, err)
	}
}

// A policy that can't be read keeps everybody out, but those who put it right.
func TestAPolicyThatCannotBeRead(t *testing.T) {
	svc := openService(t, func(s service.Store) service.Store { return garbled{s} })
	g := newStage(t, svc)
	g.secret(ours, "s", withValue)
	g.attach(ours, "s", `{"Effect":"Allow","Principal":"*","Action":"secretsmanager:*","Resource":"*"}`)
	mine := user(t, ours, allow("secretsmanager:*", ""))
	if a := g.ask(mine, "GetSecretValue", `{"SecretId":"s"}`); a.code != internal {
		t.Errorf("%d %s", a.status, a.body)
	}
	if log := g.log.String(); !strings.Contains(log, "its resource policy can't be read") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	if a := g.ask(user(t, ours, ""), "GetSecretValue", `{"SecretId":"s"}`); !a.denied() {
		t.Errorf("%s", a.body)
	}
	g.ok(mine, "DeleteResourcePolicy", `{"SecretId":"s"}`)
	g.ok(mine, "GetSecretValue", `{"SecretId":"s"}`)
}

// garbled is a store whose policies were damaged.
type garbled struct{ service.Store }

func (s garbled) Find(ctx context.Context, id secrets.ID) (*service.Secret, error) {
	sec, err := s.Store.Find(ctx, id)
	if err == nil && sec.Policy != "" {
		damaged := *sec
		damaged.Policy = sec.Policy[1:]
		sec = &damaged
	}
	return sec, err
}
