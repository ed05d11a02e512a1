package server

import (
	"fmt"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/service"
)

// Between accounts both sides must allow; then all works that does not need the
// default key.
func TestBetweenAccounts(t *testing.T) {
	g := newStage(t, nil)
	arn := g.secret(ours, "shared", withValue)
	const all = `{"Effect":"Allow","Action":"*","Resource":"*"}`
	share := func(with string) string {
		return `{"Effect":"Allow","Principal":{"AWS":"` + with + `"},"Action":"secretsmanager:*","Resource":"*"}`
	}
	const (
		identitys = "because no identity-based policy allows the "
		resources = "because no resource-based policy allows the "
	)
	for _, c := range []struct {
		name, attached string
		who            access.Principal
		why            string // "" = allowed
	}{
		{"neither", "", user(t, theirs, ""), identitys},
		{"identity alone", "", user(t, theirs, all), resources},
		{"resource alone", share("arn:aws:iam::444455556666:user/alice"), user(t, theirs, ""), identitys},
		{"both, the user", share("arn:aws:iam::444455556666:user/alice"), user(t, theirs, all), ""},
		{"both, the account", share("444455556666"), user(t, theirs, all), ""},
		{"both, everybody", share("*"), user(t, theirs, all), ""},
		{"somebody else", share("arn:aws:iam::444455556666:user/bob"), user(t, theirs, all), resources},
		{"the root user", share("444455556666"), rootOf(theirs), ""},
		{"the root user, uninvited", "", rootOf(theirs), resources},
	} {
		if c.attached != "" {
			setPolicy(g, "shared", `{"Version":"2012-10-17","Statement":[`+c.attached+`]}`)
		} else if _, err := g.service.As(service.Caller{Account: ours, Region: "us-east-1"}).DeleteResourcePolicy(t.Context(), service.DeleteResourcePolicyInput{SecretID: "shared"}); err != nil {
			t.Fatal(err)
		}
		for operation := range harmless {
			o := operations["secretsmanager."+operation]
			if o == nil || noSecret[operation] || operation == "CreateSecret" || operation == "DeleteResourcePolicy" {
				continue
			}
			a := g.ask(c.who, operation, about(operation, arn, ""))
			if c.why == "" && a.denied() || c.why != "" && (!a.denied() || !strings.HasSuffix(a.text, c.why+o.action+" action")) {
				t.Errorf("%s: %s: %s %s", c.name, operation, a.code, a.text)
			}
		}
	}
	guest := user(t, theirs, all)
	setPolicy(g, "shared", `{"Version":"2012-10-17","Statement":[`+share("444455556666")+`]}`)
	const defaultKey = "You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."
	const function = "arn:aws:lambda:us-east-1:111122223333:function:pawl-single-user"
	g.refused(guest, "GetSecretValue", `{"SecretId":"`+arn+`"}`, "InvalidRequestException", defaultKey)
	g.refused(guest, "PutSecretValue", `{"SecretId":"`+arn+`","ClientRequestToken":"`+strings.Repeat("b", 32)+`","SecretString":"x"}`, "InvalidRequestException", defaultKey)
	g.ok(guest, "TagResource", `{"SecretId":"`+arn+`","Tags":[{"Key":"k","Value":"v"}]}`)
	g.ok(guest, "UpdateSecret", `{"SecretId":"`+arn+`","ClientRequestToken":"`+strings.Repeat("c", 32)+`","Description":"d"}`)
	g.ok(guest, "RotateSecret", `{"SecretId":"`+arn+`","ClientRequestToken":"`+strings.Repeat("d", 32)+`","RotationLambdaARN":"`+function+`","RotateImmediately":false}`)
	g.ok(guest, "ReplicateSecretToRegions", `{"SecretId":"`+arn+`","AddReplicaRegions":[{"Region":"eu-west-1"}]}`)
	out := g.ok(guest, "DescribeSecret", `{"SecretId":"`+arn+`"}`)
	if out["ARN"] != arn || out["Description"] != "d" || out["RotationLambdaARN"] != function || !strings.Contains(fmt.Sprint(out["ReplicationStatus"]), "InSync") || !strings.Contains(fmt.Sprint(out["Tags"]), "Key:k") {
		t.Errorf("%v", out)
	}
	// The replica is the owner's, in the owner's account.
	owner := rootOf(ours)
	owner.Region = "eu-west-1"
	if got := g.ok(owner, "DescribeSecret", `{"SecretId":"shared"}`)["ARN"]; got != strings.Replace(arn, "us-east-1", "eu-west-1", 1) {
		t.Errorf("replica %v", got)
	}
	g.ok(guest, "RemoveRegionsFromReplication", `{"SecretId":"`+arn+`","RemoveReplicaRegions":["eu-west-1"]}`)
	// By its name it is nobody's in the guest's account.
	g.refused(guest, "DescribeSecret", `{"SecretId":"shared"}`, "ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	// A forced deletion of what is gone answers about the same account.
	gone := arn[:len(arn)-len("shared-AbCdEf")] + "gone"
	out = g.ok(user(t, ours, all), "DeleteSecret", `{"SecretId":"`+gone+`","ForceDeleteWithoutRecovery":true}`)
	if got := out["ARN"].(string); got[:len(got)-7] != gone {
		t.Errorf("%v", out)
	}
}
