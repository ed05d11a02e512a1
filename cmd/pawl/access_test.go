package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server"
	"github.com/pawlhq/pawl/service"
)

// scriptPutPolicy: put-policy SECRET FILE attaches a policy to a secret.
func scriptPutPolicy(ts *testscript.TestScript, neg bool, args []string) {
	a := openApp(ts)
	defer a.Close()
	_, err := a.svc.PutResourcePolicy(context.Background(), service.PutResourcePolicyInput{SecretID: args[0], ResourcePolicy: ts.ReadFile(args[1])})
	ts.Check(err)
}

// TestCheckAgreesWithTheServer: whom check allows something, a server lets do it,
// and whom it denies it the server refuses.
func TestCheckAgreesWithTheServer(t *testing.T) {
	ctx := t.Context()
	t.Chdir(t.TempDir())
	if code := run(ctx, []string{"init"}, nil, &heard{}, &heard{}); code != exitDone {
		t.Fatalf("init: exit code %d", code)
	}
	cfg, err := config.Load("pawl.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a, err := assemble(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	doc := func(statements string) string { return `{"Version":"2012-10-17","Statement":[` + statements + `]}` }
	const far = "210987654321"
	arns := map[string]string{}
	for name, tag := range map[string]string{"shop/db": "shop", "hr/db": "hr", "hr/open": "hr"} {
		in := service.CreateSecretInput{Name: name, ClientRequestToken: newToken(), GivenValue: service.Give(secrets.Text("x"))}
		in.Tags = []service.Tag{{Key: "team", Value: tag}}
		out, err := a.svc.CreateSecret(ctx, in)
		must(err)
		arns[name] = out.ARN
	}
	_, err = a.svc.PutResourcePolicy(ctx, service.PutResourcePolicyInput{SecretID: "hr/open", ResourcePolicy: doc(
		`{"Effect":"Allow","Principal":{"AWS":["arn:aws:iam::123456789012:user/none","` + far + `","arn:aws:iam::123456789012:role/auditor"]},"Action":"secretsmanager:DescribeSecret","Resource":"*"},` +
			`{"Effect":"Deny","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*","Condition":{"StringNotEquals":{"aws:PrincipalTag/team":"hr"}}}`)})
	must(err)

	all := `{"Effect":"Allow","Action":["secretsmanager:*","pawl:*"],"Resource":"*"}`
	keys := map[string]*principals.Credentials{}
	for _, p := range []principals.NewPrincipal{
		{Name: "none"},
		{Name: "all", Policies: []principals.Policy{{Name: "p", Document: doc(all)}}},
		{Name: "all-hr", Policies: []principals.Policy{{Name: "p", Document: doc(all)}}, Tags: []policy.Tag{{Key: "team", Value: "hr"}}},
		{Name: "stranger", Account: far, Policies: []principals.Policy{{Name: "p", Document: doc(all)}}},
		{Name: "prefix", Policies: []principals.Policy{{Name: "p", Document: doc(`{"Effect":"Allow","Action":"secretsmanager:*","Resource":"arn:aws:secretsmanager:us-east-1:123456789012:secret:shop/*"}`)}}},
		{Name: "abac", Tags: []policy.Tag{{Key: "team", Value: "shop"}}, Policies: []principals.Policy{
			{Name: "p", Document: doc(`{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*","Condition":{"StringEquals":{"aws:ResourceTag/team":"${aws:PrincipalTag/team}"}}}`)}}},
		{Name: "bounded", Boundary: doc(`{"Effect":"Allow","NotAction":"secretsmanager:Get*","Resource":"*"}`), Policies: []principals.Policy{{Name: "p", Document: doc(all)}}},
		{Name: "here", Policies: []principals.Policy{{Name: "p", Document: doc(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"127.0.0.0/8"},"Bool":{"aws:SecureTransport":"true"},"DateGreaterThan":{"aws:CurrentTime":"2020-01-01"}}}`)}}},
		{Name: "elsewhere", Policies: []principals.Policy{{Name: "p", Document: doc(all)}, {Name: "q", Document: doc(`{"Effect":"Deny","Action":"*","Resource":"*","Condition":{"IpAddress":{"aws:SourceIp":"127.0.0.1"}}}`)}}},
		{Name: "named", Policies: []principals.Policy{{Name: "p", Document: doc(`{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*","Condition":{"StringLike":{"secretsmanager:SecretId":"*:secret:hr/*"}}}`)}}},
		{Name: "lists", Policies: []principals.Policy{{Name: "p", Document: doc(`{"Effect":"Allow","Action":["secretsmanager:ListSecrets","pawl:ListRotations"],"Resource":"*"}`)}}},
		{Name: "off", Policies: []principals.Policy{{Name: "p", Document: doc(all)}}},
		{Name: "auditor", Kind: principals.Role, Trust: doc(`{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"}`), Policies: []principals.Policy{
			{Name: "p", Document: doc(`{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*","Condition":{"Null":{"aws:TokenIssueTime":"false"}}}`)}}},
	} {
		r, key, err := a.people.Create(ctx, p)
		must(err)
		if key == nil {
			key, err = a.people.Session(ctx, r.ARN(), principals.NewSession{})
			must(err)
		}
		keys[r.ARN()] = key
	}
	_, err = a.people.SetDisabled(ctx, "off", true)
	must(err)

	srv := httptest.NewUnstartedServer(nil)
	srv.Config.Handler = server.New(server.Config{Service: a.svc, Auth: access.NewVerifier(access.VerifierConfig{Keys: a.people}), Log: slog.New(slog.DiscardHandler)})
	srv.StartTLS()
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: srv.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}}
	defer client.CloseIdleConnections()

	targets := []string{"shop/db", "hr/db", "hr/open", "hr/none", arns["hr/open"], arns["shop/db"]}
	actions := map[string]func(*secretsmanager.Client, *string) error{
		"GetSecretValue": func(c *secretsmanager.Client, id *string) error {
			_, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id})
			return err
		},
		"DescribeSecret": func(c *secretsmanager.Client, id *string) error {
			_, err := c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: id})
			return err
		},
		"RestoreSecret": func(c *secretsmanager.Client, id *string) error {
			_, err := c.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: id})
			return err
		},
		"UpdateSecretVersionStage": func(c *secretsmanager.Client, id *string) error {
			_, err := c.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{SecretId: id, VersionStage: aws.String("NONE"), RemoveFromVersionId: aws.String(strings.Repeat("0", 32))})
			return err
		},
		"ListSecrets": func(c *secretsmanager.Client, _ *string) error {
			_, err := c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{Filters: []types.Filter{}})
			return err
		},
	}
	allowed, denied := 0, 0
	for arn, key := range keys {
		c := secretsmanager.New(secretsmanager.Options{
			BaseEndpoint: aws.String(srv.URL), Region: "us-east-1", HTTPClient: client, RetryMaxAttempts: 1,
			Credentials: credentials.NewStaticCredentialsProvider(key.AccessKeyID, key.Secret.Reveal(), key.SessionToken.Reveal()),
		})
		for action, call := range actions {
			ids := targets
			switch {
			case action == "ListSecrets":
				ids = []string{""}
			case strings.HasSuffix(arn, "/off"):
				ids = ids[:1] // who fails to sign in is answered more and more slowly
			}
			for _, id := range ids {
				named, err := actionNamed(action)
				must(err)
				v, err := a.check(ctx, arn, named, id, policy.Context{"aws:sourceip": {"127.0.0.1"}})
				must(err)
				err = call(c, &id)
				var refused smithy.APIError
				is := errors.As(err, &refused) && (refused.ErrorCode() == "AccessDeniedException" || refused.ErrorCode() == "UnrecognizedClientException")
				if is == v.Allowed {
					t.Errorf("%s %s %s: allowed %v because %s, and the server says %v", arn, action, id, v.Allowed, v.Reason, err)
				}
				if is {
					denied++
				} else {
					allowed++
				}
			}
		}
	}
	if allowed < 50 || denied < 50 {
		t.Errorf("%d were allowed and %d denied: this test shows little", allowed, denied)
	}
}
