package integration_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/events"
	"github.com/pawlhq/pawl/integration/lambdas"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// again asks once more for the rotation to a version, which has it tried now.
func (f *functions) again(secret, version string) {
	f.t.Helper()
	if _, err := f.sdk.RotateSecret(f.t.Context(), &secretsmanager.RotateSecretInput{SecretId: &secret, ClientRequestToken: &version}); err != nil {
		f.t.Fatal(err)
	}
}

// TestFunctionsThatMayNotBeCalled: who may not invoke a function has nothing
// rotated by it, and a function that is not there rotates nothing. Nothing is
// stored in either case, and nobody is called.
func TestFunctionsThatMayNotBeCalled(t *testing.T) {
	t.Parallel()
	f := newFunctions(t, "uncalled", "  allow: ['arn:aws:lambda:*:function:allowed-*']\n")
	for _, name := range []string{"allowed-one", "other"} {
		f.put(name, good)
	}
	f.create("app", user(t, f.db, "uncalled").Value())
	whole := allows("secretsmanager:*", "*")
	clerk := f.enrol("clerk", whole)
	invoker := f.enrol("invoker", whole+","+allows("lambda:InvokeFunction", lambdaARN("allowed-one")))
	before, err := f.svc.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "app"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name     string
		as       aws.Credentials
		function string
		text     string
	}{
		{"without lambda:InvokeFunction", clerk, "allowed-one", "is not authorized to perform: lambda:InvokeFunction on resource: " + lambdaARN("allowed-one")},
		{"with it for another function", invoker, "allowed-two", "is not authorized to perform: lambda:InvokeFunction"},
		{"an administrator, of one that is not there", f.admin, "allowed-two", "Secrets Manager cannot invoke the specified Lambda function."},
		{"an administrator, of one that the operator does not let be called", f.admin, "other", "Secrets Manager cannot invoke the specified Lambda function."},
	} {
		for _, now := range []bool{true, false} {
			_, err := f.as(c.as, nil).RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
				SecretId: aws.String("app"), ClientRequestToken: aws.String(f.token()), RotationLambdaARN: aws.String(lambdaARN(c.function)), RotateImmediately: &now,
			})
			if codeOf(err) != "AccessDeniedException" || !strings.Contains(err.Error(), c.text) {
				t.Errorf("%s: %v", c.name, err)
			}
		}
	}
	after, err := f.svc.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "app"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("stored: %s", diff)
	}
	if e := f.lambda.Events(); len(e) != 0 || len(f.told()) != 0 {
		t.Errorf("called: %v; told: %v", e, f.told())
	}

	// Whoever may, has it done; and who may not, can't have it done again.
	version := f.token()
	if _, err := f.as(invoker, nil).RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String("app"), ClientRequestToken: &version, RotationLambdaARN: aws.String(lambdaARN("allowed-one")),
	}); err != nil {
		t.Fatal(err)
	}
	f.rotated("app", version)
	_, err = f.as(clerk, nil).RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String("app"), ClientRequestToken: aws.String(f.token())})
	if codeOf(err) != "AccessDeniedException" || f.holder("app", secrets.Current) != version {
		t.Error(err)
	}
}

// TestDeclaredFunction: a function that the file declares rotates on its schedule,
// at once by `pawl rotate`, and is nobody's to change through the API.
func TestDeclaredFunction(t *testing.T) {
	t.Parallel()
	f := newFunctions(t, "declared_fn", "scheduler: {minimum_interval: 1s}\n",
		"secrets:\n  - {name: often, function: '"+lambdaARN("good")+"', schedule: rate(1 second)}\n  - {name: seldom, function: '"+lambdaARN("good")+"'}\n")
	f.put("good", good)
	for _, name := range []string{"often", "seldom"} {
		if _, err := f.sdk.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{
			Name: &name, SecretString: aws.String(string(user(t, f.db, "declared_"+name).Value().Reveal())),
		}); err != nil {
			t.Fatal(err)
		}
	}
	f.waitAll("often")
	f.waitAll("often")
	was := f.holder("seldom", secrets.Current)
	r := f.cli("rotate", "seldom")
	version, _ := acknowledgedBy(r.out)
	if r.code != 0 || version == "" || version == was {
		t.Fatalf("exit code %d: %s%s", r.code, r.out, r.err)
	}
	f.rotated("seldom", version)
	_, err := f.sdk.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String("seldom"), ClientRequestToken: aws.String(f.token()), RotationLambdaARN: aws.String(singleUser),
	})
	if codeOf(err) != "InvalidRequestException" || !strings.Contains(err.Error(), "pawl.yaml:") {
		t.Error(err)
	}
	// Asked for through the API it is this one all the same.
	f.rotated("seldom", f.rotate("seldom", ""))
	d, err := f.sdk.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("seldom")})
	if err != nil || aws.ToString(d.RotationLambdaARN) != lambdaARN("good") {
		t.Errorf("%+v, %v", d, err)
	}
	f.hears("seldom", events.RotationSucceeded, events.RotationSucceeded)
}

// TestSwitchingWhileAVersionIsPending: from a function to Pawl's own strategy and
// back, each time with a rotation of the other's half done. It is finished, by
// whom it falls to, with the same version; and AWSCURRENT always logs in.
func TestSwitchingWhileAVersionIsPending(t *testing.T) {
	t.Parallel()
	f := newFunctions(t, "switched")
	f.create("app", user(t, f.db, "switched").Value())
	f.put("half", func(ctx context.Context, s steps, e lambdas.Event) error {
		if e.Step == "setSecret" {
			return &lambdas.Failure{Type: "ValueError", Message: "this vendor needs a person"}
		}
		return s.do(ctx, e)
	})
	version := f.rotate("app", "half")
	if s := f.failing("app"); !strings.Contains(s.LastError, "this vendor needs a person") {
		t.Error(s.LastError)
	}
	value := f.value("app", version)
	if err := f.db.Login(t.Context(), f.current("app")); err != nil {
		t.Error(err)
	}
	// Another rotation waits for that one's end, as at AWS; the same one may be
	// given to somebody else.
	_, err := f.sdk.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String("app"), ClientRequestToken: aws.String(f.token()), RotationLambdaARN: aws.String(singleUser)})
	if codeOf(err) != "InvalidRequestException" || !strings.Contains(err.Error(), "A previous rotation isn't complete") {
		t.Error(err)
	}
	give := func(function, version string) {
		t.Helper()
		_, err := f.sdk.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String("app"), ClientRequestToken: &version, RotationLambdaARN: &function})
		if err != nil {
			t.Fatal(err)
		}
	}
	give(singleUser, version)
	if c := f.rotated("app", version); !c.Password().Equal(value.Password()) {
		t.Error("it is another value")
	}
	calls := len(f.lambda.Events())

	// Pawl's own is killed between create and set; then the function's turn comes.
	claim, err := f.svc.Claim(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	version, err = claim.PutPending(t.Context(), "", f.current("app").With("password", "of Pawls own").Value())
	claim.Release()
	if err != nil {
		t.Fatal(err)
	}
	f.put("good", good)
	give(lambdaARN("good"), version)
	if c := f.rotated("app", version); c.Password().Reveal() != "of Pawls own" {
		t.Error("it is another value")
	}
	if now := len(f.lambda.Events()); now != calls {
		t.Errorf("the function was called %d times for what was not its own", now-calls)
	}
	f.rotated("app", f.rotate("app", ""))
	if now := len(f.lambda.Events()); now != calls+4 {
		t.Errorf("the function was called %d times in one rotation", now-calls)
	}
	f.hears("app", events.RotationFailed, events.RotationSucceeded)
}

// value is what a version holds.
func (f *functions) value(secret, version string) secrets.Credentials {
	f.t.Helper()
	out, err := f.svc.GetSecretValue(f.t.Context(), service.GetSecretValueInput{SecretID: secret, VersionID: version})
	if err != nil {
		f.t.Fatal(err)
	}
	c, err := secrets.ParseCredentials(out.Value)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// statusOf is what `pawl status` tells of a secret.
func (f *functions) statusOf(secret string) status {
	f.t.Helper()
	var all []status
	if err := json.Unmarshal([]byte(f.do("status", secret, "--json")), &all); err != nil || len(all) != 1 {
		f.t.Fatal(err, len(all))
	}
	return all[0]
}
