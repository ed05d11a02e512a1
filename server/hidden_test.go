package server

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/service"
)

// complete are requests of all operations that would do something to @ID, or to
// @NAME, if they were allowed.
var complete = map[string]string{
	"BatchGetSecretValue":          `{"Filters":[{"Key":"name","Values":["dev/"]}]}`,
	"CancelRotateSecret":           `{"SecretId":"@ID"}`,
	"CreateSecret":                 `{"Name":"@NAME","ClientRequestToken":"@TOKEN","SecretString":"x","Tags":[{"Key":"team","Value":"blue"}],"AddReplicaRegions":[{"Region":"eu-west-1"}]}`,
	"DeleteResourcePolicy":         `{"SecretId":"@ID"}`,
	"DeleteSecret":                 `{"SecretId":"@ID","ForceDeleteWithoutRecovery":true}`,
	"DescribeSecret":               `{"SecretId":"@ID"}`,
	"GetRandomPassword":            `{"PasswordLength":20}`,
	"GetResourcePolicy":            `{"SecretId":"@ID"}`,
	"GetSecretValue":               `{"SecretId":"@ID","VersionStage":"AWSCURRENT"}`,
	"ListSecretVersionIds":         `{"SecretId":"@ID","IncludeDeprecated":true}`,
	"ListSecrets":                  `{"Filters":[{"Key":"name","Values":["dev/"]}],"IncludePlannedDeletion":true}`,
	"PutResourcePolicy":            `{"SecretId":"@ID","BlockPublicPolicy":true,"ResourcePolicy":"{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":\"*\",\"Action\":\"*\",\"Resource\":\"*\"}]}"}`,
	"PutSecretValue":               `{"SecretId":"@ID","ClientRequestToken":"@TOKEN","SecretString":"x"}`,
	"RemoveRegionsFromReplication": `{"SecretId":"@ID","RemoveReplicaRegions":["eu-west-1"]}`,
	"ReplicateSecretToRegions":     `{"SecretId":"@ID","AddReplicaRegions":[{"Region":"ap-south-1","KmsKeyId":"alias/none"}],"ForceOverwriteReplicaSecret":true}`,
	"RestoreSecret":                `{"SecretId":"@ID"}`,
	"RotateSecret":                 `{"SecretId":"@ID","ClientRequestToken":"@TOKEN","RotationLambdaARN":"arn:aws:lambda:us-east-1:111122223333:function:pawl-single-user","RotationRules":{"AutomaticallyAfterDays":30}}`,
	"StopReplicationToReplica":     `{"SecretId":"@ID"}`,
	"TagResource":                  `{"SecretId":"@ID","Tags":[{"Key":"team","Value":"red"}]}`,
	"UntagResource":                `{"SecretId":"@ID","TagKeys":["team"]}`,
	"UpdateSecret":                 `{"SecretId":"@ID","ClientRequestToken":"@TOKEN","SecretString":"x","Description":"d","KmsKeyId":"alias/none"}`,
	"UpdateSecretVersionStage":     `{"SecretId":"@ID","VersionStage":"X","MoveToVersionId":"` + token + `"}`,
	"ValidateResourcePolicy":       `{"SecretId":"@ID","ResourcePolicy":"{\"Version\":\"2012-10-17\",\"Statement\":[]}"}`,
	"ListRotations":                `{"SecretIds":["@ID"]}`,
	"PauseRotation":                `{"SecretId":"@ID"}`,
	"ResumeRotation":               `{"SecretId":"@ID"}`,
	"StartRotation":                `{"SecretId":"@ID","ClientRequestToken":"@TOKEN"}`,
	"TestRotation":                 `{"SecretId":"@ID"}`,
	"ApplyReplica": `{"SecretId":"@ID","PrimaryRegion":"ap-south-1","Revision":9,"Force":true,"KmsKeyId":"alias/none","Description":"d","Tags":[{"Key":"team","Value":"blue"}],` +
		`"Versions":[{"VersionId":"@TOKEN","VersionStages":["AWSCURRENT"],"CreatedDate":1,"SecretString":"x"}],"LastChangedDate":1}`,
	"DescribeReplica": `{"SecretId":"@ID"}`,
	"ForgetReplica":   `{"SecretId":"@ID","ReplicaRegion":"eu-west-1"}`,
	"RemoveReplica":   `{"SecretId":"@ID","PrimaryRegion":"us-east-1","Revision":9}`,
}

const requestID = "x-amzn-RequestId"

// furnish makes a secret in every state that one can be in, and returns their
// ARNs by their names.
func furnish(g *stage) map[string]string {
	g.t.Helper()
	root := rootOf(ours)
	arns := map[string]string{}
	secret := func(name, more string) {
		g.t.Helper()
		arns["dev/"+name] = g.secret(ours, "dev/"+name, more)
	}
	secret("plain", withValue)
	secret("empty", "")
	secret("tagged", withValue+`,"Description":"d","Tags":[{"Key":"team","Value":"blue"}]`)
	secret("partners", withValue+`,"Type":"T"`)
	secret("replicated", withValue+`,"AddReplicaRegions":[{"Region":"eu-west-1"}]`)
	secret("binary", `,"SecretBinary":"`+canary+`AA"`)
	secret("served", `,"SecretString":"{\"username\":\"u\",\"password\":\"`+canary+`\",\"masterarn\":\"dev/plain\"}"`)
	secret("deleted", withValue)
	secret("denies", withValue)
	secret("shared", withValue)
	secret("rotating", withValue)
	g.ok(root, "DeleteSecret", `{"SecretId":"dev/deleted"}`)
	g.attach(ours, "dev/denies", `{"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::111122223333:user/alice"},"Action":"secretsmanager:*","Resource":"*"}`)
	g.attach(ours, "dev/shared", `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:user/bob"},"Action":"secretsmanager:*","Resource":"*"}`)
	g.ok(root, "RotateSecret", strings.NewReplacer("@ID", "dev/rotating", "@TOKEN", strings.Repeat("r", 32)).Replace(complete["RotateSecret"]))
	return arns
}

// contents is all that a service has, read around all guards.
func contents(t testing.TB, svc *service.Service) (all []any) {
	t.Helper()
	for _, region := range []string{"us-east-1", "eu-west-1", "ap-south-1"} {
		at := svc.As(service.Caller{Account: ours, Region: region})
		out, err := at.ListSecrets(t.Context(), service.ListSecretsInput{IncludePlannedDeletion: true})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, *out)
	}
	return all
}

// Who has no Allow gets the same answers, but for the request's id, whatever
// there is: of two servers, one has a secret in every state, and the other has
// none. By every operation, by every way to say which secret; and nothing is
// done.
func TestWithoutAnAllowAllSecretsAreAlike(t *testing.T) {
	has, hasNot := newStage(t, nil), newStage(t, nil)
	arns := furnish(has)
	names := slices.Sorted(maps.Keys(arns))
	before := contents(t, has.service)
	var all []string
	for _, o := range operations {
		if complete[o.name] == "" {
			t.Errorf("%s has no complete request here", o.name)
		}
		all = append(all, o.name)
	}
	slices.Sort(all)
	const (
		elsewhere = `{"Effect":"Allow","Action":"*","Resource":"arn:aws:secretsmanager:*:*:secret:prod/*"}`
		foreign   = `{"Effect":"Allow","Action":"*","Resource":"arn:aws:secretsmanager:*:777788889999:*"}`
		otherwise = `{"Effect":"Allow","Action":["iam:*","s3:*","sts:*"],"Resource":"*"}`
		denied    = `{"Effect":"Deny","Action":"*","Resource":"*"}`
		unmet     = `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"green"}}}`
		unmetToo  = `{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"aws:SecureTransport":"true"}}}`
		everybody = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	)
	strangers := map[string]func() access.Principal{
		"nobody":           func() access.Principal { return user(t, ours, "") },
		"of elsewhere":     func() access.Principal { return user(t, ours, elsewhere+","+foreign+","+otherwise) },
		"denied":           func() access.Principal { return user(t, ours, everybody+","+denied) },
		"under conditions": func() access.Principal { return user(t, ours, unmet+","+unmetToo) },
		"bounded": func() access.Principal {
			p := user(t, ours, everybody)
			p.Policies.Boundary = identity(t, elsewhere)
			return p
		},
		"limited": func() access.Principal {
			p := session(user(t, ours, everybody))
			p.Policies.Session = []*policy.Prepared{identity(t, elsewhere)}
			return p
		},
		"of a role": func() access.Principal {
			return access.Principal{Account: ours, Region: "us-east-1", ARN: "arn:aws:sts::111122223333:assumed-role/app/i", Issuer: "arn:aws:iam::111122223333:role/app", Type: policy.AssumedRole, UserID: "AROA:i"}
		},
		"of another account": func() access.Principal { return user(t, theirs, everybody) },
	}
	whoever := slices.Sorted(maps.Keys(strangers))
	tried := map[string]bool{}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom(names).Draw(t, "secret")
		arn := arns[name]
		kind := rapid.SampledFrom(whoever).Draw(t, "caller")
		who := strangers[kind]()
		who.Region = rapid.SampledFrom([]string{"us-east-1", "us-east-1", "eu-west-1"}).Draw(t, "region")
		ids := []string{name, arn, arn[:len(arn)-7], arn[:len(arn)-6] + "AAAAAA", strings.Replace(arn, "us-east-1", "eu-west-1", 1), strings.Replace(arn, ours, theirs, 1), strings.ToUpper(name)}
		if who.Account != ours {
			ids = ids[1:5] // of his own account he may do everything
		}
		id := rapid.SampledFrom(ids).Draw(t, "id")
		// All operations each time: what is drawn is what they are about.
		for _, operation := range all {
			if who.Account != ours && (noSecret[operation] || operation == "CreateSecret") {
				continue
			}
			for _, form := range []map[string]string{harmless, complete} {
				body := strings.NewReplacer("@ID", id, "@NAME", name, "@TOKEN", strings.Repeat("t", 32)).Replace(form[operation])
				a, b := has.ask(who, operation, body), hasNot.ask(who, operation, body)
				for _, r := range []reply{a, b} {
					n := len(r.header)
					maps.DeleteFunc(r.header, func(name string, _ []string) bool { return name == requestID })
					if len(r.header) != n-1 {
						t.Fatalf("the answer has no id: %v", r.header)
					}
				}
				switch {
				case a.status != b.status || a.body != b.body || !cmp.Equal(a.header, b.header):
					t.Fatalf("%s %s by one %s (%s)\nis:     %d %v %s\nis not: %d %v %s", operation, body, kind, who.Region, a.status, a.header, a.body, b.status, b.header, b.body)
				case !a.denied():
					t.Fatalf("%s %s by one %s (%s) is not refused: %d %s", operation, body, kind, who.Region, a.status, a.body)
				case strings.Contains(a.body+fmt.Sprint(a.header), canary):
					t.Fatalf("%s %s: a value is in the answer", operation, body)
				}
			}
		}
		tried[kind+" "+name] = true
	})
	if want := len(names) * len(whoever) / 3; len(tried) < want {
		t.Errorf("%d kinds of callers and secrets were drawn, fewer than %d", len(tried), want)
	}
	if diff := cmp.Diff(before, contents(t, has.service)); diff != "" {
		t.Errorf("somebody without a right has changed something: %s", diff)
	}
	for _, page := range contents(t, hasNot.service) {
		if n := len(page.(service.ListSecretsOutput).SecretList); n > 0 {
			t.Errorf("somebody without a right has made %d secrets", n)
		}
	}
}
