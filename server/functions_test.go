package server

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// callable are all functions but those whose name says otherwise.
type callable struct{}

func (callable) Has(arn string) bool { return !strings.HasSuffix(arn, ":forbidden") }

func (callable) Check(_ context.Context, arn string) error {
	switch {
	case strings.HasSuffix(arn, ":gone"):
		return secrets.Errorf(secrets.Invalid, "there is no function gone").WithHint("deploy it")
	case strings.HasSuffix(arn, ":throttled"):
		return secrets.Errorf(secrets.Transient, "Rate Exceeded.")
	}
	return nil
}

// TestCustomFunctions: whoever has a secret rotated by a function must be allowed
// to invoke it, and it must be one of an account that lets him. Why it can't be
// called is in the log.
func TestCustomFunctions(t *testing.T) {
	const (
		lambda = "arn:aws:lambda:us-east-1:111122223333:function:"
		cannot = "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com."
		rights = `{"Effect":"Allow","Action":"secretsmanager:RotateSecret","Resource":"*"}`
	)
	invokes := func(resource string) string {
		return rights + `,{"Effect":"Allow","Action":"lambda:InvokeFunction","Resource":"` + resource + `"}`
	}
	no := func(arn, why string) string {
		return "User: arn:aws:iam::111122223333:user/alice is not authorized to perform: lambda:InvokeFunction on resource: " + arn + " because no " + why + " allows the lambda:InvokeFunction action"
	}
	away := strings.Replace(lambda, ours, theirs, 1)
	for _, c := range []struct {
		name, function, statements, code, text, logged string
	}{
		{"without the right", lambda + "mine", rights, accessDenied, no(lambda+"mine", "identity-based policy"), ""},
		{"with that to another", lambda + "mine", invokes(lambda + "other"), accessDenied, no(lambda+"mine", "identity-based policy"), ""},
		{"with the right", lambda + "mine", invokes(lambda + "mi*"), "", "", ""},
		{"another account's", away + "mine", invokes("*"), accessDenied, no(away+"mine", "resource-based policy"), ""},
		{"forbidden by the operator", lambda + "forbidden", rights, accessDenied, cannot, "functions: allow:"},
		{"not there", lambda + "gone", invokes("*"), accessDenied, cannot, "there is no function gone; deploy it"},
		{"nobody knows", lambda + "throttled", invokes("*"), internal, internalText, "Rate Exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newStage(t, openServiceOf(t, service.Config{Functions: callable{}}, nil))
			g.secret(ours, "s", withValue)
			a := g.ask(user(t, ours, c.statements), "RotateSecret", `{"SecretId":"s","ClientRequestToken":"`+strings.Repeat("r", 32)+`","RotationLambdaARN":"`+c.function+`"}`)
			if c.code == "" && a.status != http.StatusOK || a.code != c.code || a.text != c.text {
				t.Errorf("got  %d %s: %s\nwant %s: %s", a.status, a.code, a.text, c.code, c.text)
			}
			const failure = `msg="a request failed" operation=RotateSecret`
			if log := g.log.String(); strings.Contains(log, failure) != (c.logged != "") || !strings.Contains(log, c.logged) {
				t.Errorf("the log has %s", log)
			}
			shown, is := g.ok(rootOf(ours), "DescribeSecret", `{"SecretId":"s"}`)["RotationLambdaARN"]
			if is != (c.code == "") || is && shown != c.function {
				t.Errorf("described with %v", shown)
			}
		})
	}
}
