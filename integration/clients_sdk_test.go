package integration_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"reflect"
	"slices"
	"sort"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-secretsmanager-caching-go/v2/secretcache"
	"github.com/aws/smithy-go"
	smithymiddleware "github.com/aws/smithy-go/middleware"
	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
)

// sdk is the SDK for Go, configured by the environment alone, as a program that
// knows nothing of Pawl is. It notes the operations that it calls.
type sdk struct {
	*secretsmanager.Client
	d      *apiServer
	mu     sync.Mutex
	called map[string]bool
}

func newSDK(t *testing.T, d *apiServer) *sdk {
	t.Helper()
	for name, v := range d.isolated() {
		t.Setenv(name, v)
	}
	cfg, err := config.LoadDefaultConfig(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &sdk{d: d, called: map[string]bool{}}
	s.Client = secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) {
		o.APIOptions = append(o.APIOptions, func(stack *smithymiddleware.Stack) error {
			return stack.Initialize.Add(smithymiddleware.InitializeMiddlewareFunc("noted", s.note), smithymiddleware.After)
		})
	})
	return s
}

func (s *sdk) note(ctx context.Context, in smithymiddleware.InitializeInput, next smithymiddleware.InitializeHandler) (smithymiddleware.InitializeOutput, smithymiddleware.Metadata, error) {
	s.mu.Lock()
	s.called[middleware.GetOperationName(ctx)] = true
	s.mu.Unlock()
	return next.HandleInitialize(ctx, in)
}

// done unwraps a call that must succeed.
func done[T any](t *testing.T) func(*T, error) *T {
	return func(out *T, err error) *T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

// TestSDK calls every operation that the SDK has: at a development server, and
// signed, by a profile that assumes a role which may use just these secrets.
func TestSDK(t *testing.T) {
	t.Run("dev", func(t *testing.T) { everyOperation(t, newSDK(t, newDevServer(t)), "sdk") })
	t.Run("signed", func(t *testing.T) {
		d := newSignedServer(t)
		base := d.user("base")
		arn := d.role("shop", "base", "sdk/", "list/", "err/")
		c := newSDK(t, d.as(d.profile(base, arn)))
		everyOperation(t, c, "sdk_signed")
		sdkDenied(t, c)
		sdkRevoked(t, c)
		sdkDistrusts(t, c)
	})
}

func everyOperation(t *testing.T, c *sdk, database string) {
	t.Run("values", func(t *testing.T) { sdkValues(t, c) })
	t.Run("metadata", func(t *testing.T) { sdkMetadata(t, c) })
	t.Run("replication", func(t *testing.T) { sdkReplication(t, c) })
	t.Run("errors", func(t *testing.T) { sdkErrors(t, c) })
	t.Run("rotation", func(t *testing.T) { sdkRotation(t, c, database) })

	all := reflect.TypeFor[*secretsmanager.Client]()
	n := 0
	for i := range all.NumMethod() {
		if name := all.Method(i).Name; name != "Options" {
			n++
			if !c.called[name] {
				t.Errorf("%s was not called", name)
			}
		}
	}
	if n < 23 {
		t.Errorf("the SDK has %d operations only", n)
	}
}

func sdkValues(t *testing.T, c *sdk) {
	ctx := t.Context()
	began := time.Now().Add(-time.Second)
	made := done[secretsmanager.CreateSecretOutput](t)(c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{
		Name: aws.String("sdk/app"), SecretString: aws.String("one"), Description: aws.String("d"),
		Tags: []types.Tag{{Key: aws.String("team"), Value: aws.String("shop")}},
	}))
	got := done[secretsmanager.GetSecretValueOutput](t)(c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: made.ARN}))
	if *got.SecretString != "one" || got.SecretBinary != nil || *got.VersionId != *made.VersionId ||
		!slices.Equal(got.VersionStages, []string{"AWSCURRENT"}) || got.CreatedDate.Before(began) || got.CreatedDate.After(time.Now().Add(time.Second)) {
		t.Errorf("%v of %s made %v", got.VersionStages, *got.VersionId, got.CreatedDate)
	}
	put := done[secretsmanager.PutSecretValueOutput](t)(c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
		SecretId: aws.String("sdk/app"), SecretBinary: []byte{0, 255}, VersionStages: []string{"BLUE"},
	}))
	blue := done[secretsmanager.GetSecretValueOutput](t)(c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: made.Name, VersionStage: aws.String("BLUE")}))
	if !bytes.Equal(blue.SecretBinary, []byte{0, 255}) || blue.SecretString != nil {
		t.Error("the binary value is another")
	}
	done[secretsmanager.UpdateSecretVersionStageOutput](t)(c.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
		SecretId: made.Name, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: put.VersionId, RemoveFromVersionId: made.VersionId,
	}))
	updated := done[secretsmanager.UpdateSecretOutput](t)(c.UpdateSecret(ctx, &secretsmanager.UpdateSecretInput{SecretId: made.Name, SecretString: aws.String("three")}))
	want := map[string][]string{*put.VersionId: {"AWSPREVIOUS", "BLUE"}, *updated.VersionId: {"AWSCURRENT"}}
	described := done[secretsmanager.DescribeSecretOutput](t)(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: made.Name}))
	if diff := cmp.Diff(want, sorted(described.VersionIdsToStages)); diff != "" {
		t.Error(diff)
	}
	versions := 0
	for p := secretsmanager.NewListSecretVersionIdsPaginator(c, &secretsmanager.ListSecretVersionIdsInput{SecretId: made.Name, IncludeDeprecated: aws.Bool(true), MaxResults: aws.Int32(1)}); p.HasMorePages(); {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		versions += len(page.Versions)
	}
	if versions != 3 {
		t.Errorf("%d versions", versions)
	}
	password := done[secretsmanager.GetRandomPasswordOutput](t)(c.GetRandomPassword(ctx, &secretsmanager.GetRandomPasswordInput{PasswordLength: aws.Int64(50)}))
	if len(*password.RandomPassword) != 50 {
		t.Errorf("%d characters", len(*password.RandomPassword))
	}
}

// sorted puts each version's labels in order, which no answer promises.
func sorted(m map[string][]string) map[string][]string {
	for _, labels := range m {
		sort.Strings(labels)
	}
	return m
}

func sdkMetadata(t *testing.T, c *sdk) {
	ctx := t.Context()
	var names []string
	for _, n := range []string{"list/c", "list/a", "list/b"} {
		done[secretsmanager.CreateSecretOutput](t)(c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &n, SecretString: &n}))
		names = append(names, n)
	}
	filter := []types.Filter{{Key: types.FilterNameStringTypeName, Values: []string{"list/"}}}
	var listed []string
	pages := 0
	for p := secretsmanager.NewListSecretsPaginator(c, &secretsmanager.ListSecretsInput{Filters: filter, MaxResults: aws.Int32(2)}); p.HasMorePages(); pages++ {
		page, err := p.NextPage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range page.SecretList {
			listed = append(listed, *s.Name)
		}
	}
	if !slices.Equal(listed, names) || pages != 2 {
		t.Errorf("listed %v on %d pages", listed, pages)
	}
	batch := done[secretsmanager.BatchGetSecretValueOutput](t)(c.BatchGetSecretValue(ctx, &secretsmanager.BatchGetSecretValueInput{Filters: filter}))
	if len(batch.SecretValues) != 3 || len(batch.Errors) != 0 {
		t.Errorf("%d values, %d errors", len(batch.SecretValues), len(batch.Errors))
	}

	id := aws.String("list/a")
	done[secretsmanager.TagResourceOutput](t)(c.TagResource(ctx, &secretsmanager.TagResourceInput{SecretId: id, Tags: []types.Tag{{Key: aws.String("k"), Value: aws.String("v")}}}))
	done[secretsmanager.UntagResourceOutput](t)(c.UntagResource(ctx, &secretsmanager.UntagResourceInput{SecretId: id, TagKeys: []string{"k"}}))
	const policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"secretsmanager:DeleteSecret","Resource":"*","Condition":{"StringEquals":{"aws:PrincipalAccount":"210987654321"}}}]}`
	done[secretsmanager.PutResourcePolicyOutput](t)(c.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: id, ResourcePolicy: aws.String(policy)}))
	got := done[secretsmanager.GetResourcePolicyOutput](t)(c.GetResourcePolicy(ctx, &secretsmanager.GetResourcePolicyInput{SecretId: id}))
	if aws.ToString(got.ResourcePolicy) != policy {
		t.Errorf("policy %s", aws.ToString(got.ResourcePolicy))
	}
	valid := done[secretsmanager.ValidateResourcePolicyOutput](t)(c.ValidateResourcePolicy(ctx, &secretsmanager.ValidateResourcePolicyInput{SecretId: id, ResourcePolicy: aws.String(policy)}))
	if !valid.PolicyValidationPassed {
		t.Errorf("%v", valid.ValidationErrors)
	}
	done[secretsmanager.DeleteResourcePolicyOutput](t)(c.DeleteResourcePolicy(ctx, &secretsmanager.DeleteResourcePolicyInput{SecretId: id}))

	deleted := done[secretsmanager.DeleteSecretOutput](t)(c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: id, RecoveryWindowInDays: aws.Int64(7)}))
	if in := time.Until(*deleted.DeletionDate); in < 6*24*time.Hour || in > 8*24*time.Hour {
		t.Errorf("deletion in %v", in)
	}
	done[secretsmanager.RestoreSecretOutput](t)(c.RestoreSecret(ctx, &secretsmanager.RestoreSecretInput{SecretId: id}))
}

func sdkReplication(t *testing.T, c *sdk) {
	ctx := t.Context()
	id := aws.String("sdk/everywhere")
	elsewhere := func(o *secretsmanager.Options) { o.Region = "eu-central-1" }
	made := done[secretsmanager.CreateSecretOutput](t)(c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: id, SecretString: aws.String("v")}))
	done[secretsmanager.ReplicateSecretToRegionsOutput](t)(c.ReplicateSecretToRegions(ctx, &secretsmanager.ReplicateSecretToRegionsInput{
		SecretId: id, AddReplicaRegions: []types.ReplicaRegionType{{Region: aws.String("eu-central-1")}, {Region: aws.String("ap-south-1")}},
	}))
	until(t, "both replicas", func() bool {
		described := done[secretsmanager.DescribeSecretOutput](t)(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: id}))
		return len(described.ReplicationStatus) == 2 && !slices.ContainsFunc(described.ReplicationStatus, func(s types.ReplicationStatusType) bool { return s.Status != types.StatusTypeInSync })
	})
	got := done[secretsmanager.GetSecretValueOutput](t)(c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id}, elsewhere))
	if *got.SecretString != "v" || *got.VersionId != *made.VersionId {
		t.Error("the replica has another value")
	}
	done[secretsmanager.RemoveRegionsFromReplicationOutput](t)(c.RemoveRegionsFromReplication(ctx, &secretsmanager.RemoveRegionsFromReplicationInput{SecretId: id, RemoveReplicaRegions: []string{"ap-south-1"}}))
	done[secretsmanager.StopReplicationToReplicaOutput](t)(c.StopReplicationToReplica(ctx, &secretsmanager.StopReplicationToReplicaInput{SecretId: id}, elsewhere))
	done[secretsmanager.PutSecretValueOutput](t)(c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: id, SecretString: aws.String("own")}, elsewhere))
}

// sdkErrors: the SDK makes a type of each modelled exception.
func sdkErrors(t *testing.T, c *sdk) {
	ctx := t.Context()
	done[secretsmanager.CreateSecretOutput](t)(c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("err/app"), SecretString: aws.String("v")}))
	get := func(id string) error {
		_, err := c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id})
		return err
	}
	policy := func(text string) error {
		_, err := c.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: aws.String("err/app"), ResourcePolicy: &text, BlockPublicPolicy: aws.Bool(true)})
		return err
	}
	_, twice := c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("err/app"), SecretString: aws.String("v")})
	_, nothing := c.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("err/app")})
	_, window := c.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: aws.String("err/app"), RecoveryWindowInDays: aws.Int64(3)})
	_, token := c.ListSecrets(ctx, &secretsmanager.ListSecretsInput{NextToken: aws.String("nonsense")})
	for _, e := range []struct {
		err  error
		as   any // a pointer to a pointer to the SDK's type
		code string
	}{
		{get("err/none"), new(*types.ResourceNotFoundException), "ResourceNotFoundException"},
		{twice, new(*types.ResourceExistsException), "ResourceExistsException"},
		{nothing, new(*types.InvalidRequestException), "InvalidRequestException"},
		{window, new(*types.InvalidParameterException), "InvalidParameterException"},
		{token, new(*types.InvalidNextTokenException), "InvalidNextTokenException"},
		{policy(`{"Version":"2012-10-17"}`), new(*types.MalformedPolicyDocumentException), "MalformedPolicyDocumentException"},
		{policy(`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`),
			new(*types.PublicPolicyException), "PublicPolicyException"},
		{get("a name"), nil, "ValidationException"},
		{get("arn:aws:secretsmanager:us-east-1:210987654321:secret:x-AbCdEf"), nil, "AccessDeniedException"},
	} {
		var api smithy.APIError
		if !errors.As(e.err, &api) || api.ErrorCode() != e.code || api.ErrorMessage() == "" {
			t.Errorf("%v, want %s", e.err, e.code)
		}
		if e.as != nil && !errors.As(e.err, e.as) {
			t.Errorf("%v is no %T", e.err, e.as)
		}
	}
}

// sdkRotation rotates a real PostgreSQL's password by Pawl's own function.
func sdkRotation(t *testing.T, c *sdk, name string) {
	ctx := t.Context()
	db := database(t, servers.Postgres15, name)
	id := aws.String("sdk/db")
	before := user(t, db, name+"_app")
	done[secretsmanager.CreateSecretOutput](t)(c.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: id, SecretString: aws.String(string(before.Value().Reveal()))}))
	rotated := done[secretsmanager.RotateSecretOutput](t)(c.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
		SecretId: id, RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user"),
		RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("rate(10 days)")},
	}))
	until(t, "the rotation to end", func() bool {
		described := done[secretsmanager.DescribeSecretOutput](t)(c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: id}))
		labels := described.VersionIdsToStages[*rotated.VersionId]
		return described.LastRotatedDate != nil && slices.Contains(labels, "AWSCURRENT") && !slices.Contains(labels, "AWSPENDING")
	})
	got := done[secretsmanager.GetSecretValueOutput](t)(c.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id}))
	after, err := secrets.ParseCredentials(secrets.Text(*got.SecretString))
	if err != nil {
		t.Fatal(err)
	}
	mustLogin(t, db, "AWSCURRENT", after)
	mustNotLogin(t, db, "AWSPREVIOUS", before)
	done[secretsmanager.CancelRotateSecretOutput](t)(c.CancelRotateSecret(ctx, &secretsmanager.CancelRotateSecretInput{SecretId: id}))
}

// refusedWith checks the exception of a call that must be refused.
func refusedWith(t *testing.T, err error, code, text string) {
	t.Helper()
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != code || api.ErrorMessage() != text {
		t.Errorf("%v, want %s: %s", err, code, text)
	}
}

// sdkDenied: what is not the role's it learns nothing about, and the audit says
// who asked.
func sdkDenied(t *testing.T, c *sdk) {
	admin := newSDK(t, c.d.as(c.d.admin()))
	done[secretsmanager.CreateSecretOutput](t)(admin.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("prod/db"), SecretString: aws.String("v")}))
	for _, name := range []string{"prod/db", "prod/none"} {
		_, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: &name})
		refusedWith(t, err, "AccessDeniedException", "User: arn:aws:sts::123456789012:assumed-role/shop/pass is not authorized to perform: "+
			"secretsmanager:GetSecretValue on resource: "+name+" because no identity-based policy allows the secretsmanager:GetSecretValue action")
		c.d.process.await("verdict=denied action=secretsmanager:GetSecretValue secret=" + name + " principal=arn:aws:sts::123456789012:assumed-role/shop/pass ")
	}
}

// sdkRevoked: a role that another process disables is out at once, and back again.
func sdkRevoked(t *testing.T, c *sdk) {
	get := func() error {
		_, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("sdk/app")})
		return err
	}
	for _, word := range []string{"disable", "enable"} {
		c.d.guarded.do("access", word, "shop")
		if word == "disable" {
			refusedWith(t, get(), "UnrecognizedClientException", "The security token included in the request is invalid.")
		} else if err := get(); err != nil {
			t.Error(err)
		}
	}
}

// sdkDistrusts: without the line for the certificate nobody is talked to.
func sdkDistrusts(t *testing.T, c *sdk) {
	stranger := newSDK(t, c.d.as(map[string]string{"AWS_CA_BUNDLE": "", "AWS_MAX_ATTEMPTS": "1"}))
	_, err := stranger.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("sdk/app")})
	var unknown x509.UnknownAuthorityError
	if !errors.As(err, &unknown) {
		t.Errorf("%v", err)
	}
}

// TestCachingClient: AWS's own cache in front of the API. It asks for a secret's
// versions and then for the value of one, and so needs both to agree.
func TestCachingClient(t *testing.T) {
	d := newDevServer(t)
	c := newSDK(t, d)
	id := "cached"
	put := func(value string) {
		t.Helper()
		done[secretsmanager.PutSecretValueOutput](t)(c.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &id, SecretString: &value}))
	}
	done[secretsmanager.CreateSecretOutput](t)(c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: &id, SecretString: aws.String("one")}))
	long, err := secretcache.New() // by the environment alone
	if err != nil {
		t.Fatal(err)
	}
	short, err := secretcache.New(func(s *secretcache.Cache) { s.CacheItemTTL = 1 })
	if err != nil {
		t.Fatal(err)
	}
	is := func(cache *secretcache.Cache, stage, want string) {
		t.Helper()
		got, err := cache.GetSecretStringWithStage(id, stage)
		if err != nil || got != want {
			t.Errorf("%s: %q, %v; want %q", stage, got, err, want)
		}
	}
	is(long, "AWSCURRENT", "one")
	is(short, "AWSCURRENT", "one")
	put("two")
	is(long, "AWSCURRENT", "one") // that is what it is for
	is(short, "AWSCURRENT", "two")
	is(short, "AWSPREVIOUS", "one")
	long.RefreshNow(id)
	is(long, "AWSCURRENT", "two")
	if _, err := long.GetSecretString("none"); err == nil {
		t.Error("a secret that is not there was read")
	} else if missing := new(types.ResourceNotFoundException); !errors.As(err, &missing) {
		t.Errorf("%v", err)
	}
}
