package service_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// asked is a guard that writes down what it is asked, and refuses one action;
// the request's own is "".
type asked struct {
	questions []string
	refuses   string
	always    bool
}

var errRefused = &secrets.Error{Kind: secrets.Denied, Code: "AccessDeniedException", Err: errors.New("refused")}

func (a *asked) May(sec *service.Secret, id string) error { return a.MayDo("", sec, id) }

func (a *asked) MayDo(action string, sec *service.Secret, id string) error {
	there := "no"
	if sec != nil {
		there = sec.ARN.Name
	}
	a.questions = append(a.questions, fmt.Sprintf("%s[%s] %s", action, id, there))
	if a.always || a.refuses != "" && action == a.refuses {
		return errRefused
	}
	return nil
}

func (h *house) guarded(g service.Guard) *house {
	other := *h
	c := h.Caller()
	c.Own, c.Guard = false, g
	other.Service = h.As(c)
	return &other
}

// Every operation asks before it tells or changes anything, and before its own
// rules, whether or not there is such a secret.
func TestEveryOperationAsksTheGuard(t *testing.T) {
	for _, c := range calls() {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, service.Config{})
			h.create("here", `{"username":"u"}`)
			before := h.store.writes.Load()
			for _, id := range []string{"here", "nowhere"} {
				g := &asked{always: true}
				if err := c.do(h.guarded(g), id); !errors.Is(err, errRefused) {
					t.Errorf("%s: %v", id, err)
				}
				if want := fmt.Sprintf("[%s] %s", id, map[bool]string{true: "here", false: "no"}[id == "here"]); !slices.Equal(g.questions, []string{want}) && c.name != "Claim" {
					t.Errorf("asked %q, want %q", g.questions, want)
				}
			}
			if h.store.writes.Load() != before {
				t.Error("something was written")
			}
		})
	}
}

// Operations without a secret, and further actions.
func TestWhatTheGuardIsAsked(t *testing.T) {
	h := open(t, service.Config{})
	h.create("root", `{"username":"root"}`)
	h.create("s", `{"username":"u","masterarn":"root"}`)
	arn := h.record("s").ARN.String()
	ctx := t.Context()
	for _, c := range []struct {
		name string
		do   func(h *house) error
		want []string
	}{
		{"list", func(h *house) error { return second(h.ListSecrets(ctx, service.ListSecretsInput{})) }, []string{"[] no"}},
		{"password", func(h *house) error { return second(h.GetRandomPassword(ctx, service.GetRandomPasswordInput{})) }, []string{"[] no"}},
		{"rotations", func(h *house) error { return second(h.ListRotations(ctx, service.ListRotationsInput{})) }, []string{"[] no"}},
		{"some rotations", func(h *house) error {
			return second(h.ListRotations(ctx, service.ListRotationsInput{SecretIDs: []string{"s", "root"}}))
		}, []string{"[s] s", "[root] root"}},
		{"batch", func(h *house) error {
			return second(h.BatchGetSecretValue(ctx, service.BatchGetSecretValueInput{SecretIDList: []string{"s", "nowhere"}}))
		}, []string{"[] no", "secretsmanager:GetSecretValue[s] s", "secretsmanager:GetSecretValue[nowhere] no"}},
		{"batch by filter", func(h *house) error {
			return second(h.BatchGetSecretValue(ctx, service.BatchGetSecretValueInput{Filters: []service.Filter{{Key: "name", Values: []string{"s"}}}}))
		}, []string{"[] no", "secretsmanager:ListSecrets[] no", "secretsmanager:GetSecretValue[" + arn + "] s"}},
		{"validate", func(h *house) error {
			return second(h.ValidateResourcePolicy(ctx, service.ValidateResourcePolicyInput{ResourcePolicy: sharePolicy}))
		}, []string{"[] no", "secretsmanager:PutResourcePolicy[] no"}},
		{"validate for one", func(h *house) error {
			return second(h.ValidateResourcePolicy(ctx, service.ValidateResourcePolicyInput{SecretID: "s", ResourcePolicy: sharePolicy}))
		}, []string{"[s] s", "secretsmanager:PutResourcePolicy[s] s"}},
		{"create", func(h *house) error {
			return second(h.CreateSecret(ctx, service.CreateSecretInput{Name: "s", ClientRequestToken: tok("x"), Tags: []service.Tag{{Key: "k"}}, AddReplicaRegions: []service.ReplicaRegionType{{Region: "eu-west-1"}}}))
		}, []string{"[s] no", "secretsmanager:TagResource[s] no", "secretsmanager:ReplicateSecretToRegions[s] no"}}, // as if the name were free
		{"tag", func(h *house) error {
			return h.TagResource(ctx, service.TagResourceInput{SecretID: "s", Tags: []service.Tag{{Key: "k"}}})
		}, []string{"[s] s", "[s] s"}},
		{"rotate", func(h *house) error {
			return second(h.RotateSecret(ctx, service.RotateSecretInput{SecretID: "s", ExternalSecretRotationRoleArn: "arn:aws:iam::123456789012:role/r",
				RotationLambdaARN: "arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user", ClientRequestToken: tok("r")}))
		}, []string{"[s] s", "iam:PassRole[arn:aws:iam::123456789012:role/r] no", "secretsmanager:GetSecretValue[root] root"}},
		{"start", func(h *house) error {
			return second(h.StartRotation(ctx, service.StartRotationInput{SecretID: "s", ClientRequestToken: tok("r")}))
		}, []string{"[s] s", "secretsmanager:GetSecretValue[root] root"}},
		{"read", func(h *house) error {
			return second(h.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: arn}))
		}, []string{"[" + arn + "] s"}},
	} {
		g := &asked{}
		if err := c.do(h.guarded(g)); errors.Is(err, errRefused) {
			t.Errorf("%s: %v", c.name, err)
		}
		if d := cmp.Diff(c.want, g.questions); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
		// The refusal of any of them is the answer; of a batch's item, its own.
		for i, q := range c.want {
			action, _, _ := strings.Cut(q, "[")
			if strings.HasPrefix(c.name, "batch") && i > 0 && action == "secretsmanager:GetSecretValue" || action == "" {
				continue
			}
			before := h.store.writes.Load()
			if err := c.do(h.guarded(&asked{refuses: action})); secrets.CodeOf(err) != "AccessDeniedException" || h.store.writes.Load() != before {
				t.Errorf("%s without %s: %v, %d writes", c.name, action, err, h.store.writes.Load()-before)
			}
		}
	}
}

// The superuser whom the operator declared counts before the one that the value
// names; a name is looked up where the secret is.
func TestWhichSuperuserTheGuardIsAskedAbout(t *testing.T) {
	h := open(t, service.Config{DefaultRules: secrets.RotationRules{Strategy: secrets.SingleUser, Superuser: "boss"}})
	h.create("s", `{"username":"u","masterarn":"root"}`)
	h.create("declared", `{"username":"u"}`)
	arn := h.create("boss", `{"username":"b"}`)
	if _, err := h.Declare(t.Context(), []service.Declaration{{Name: "declared", Source: "file pawl.yaml:1", Rules: secrets.RotationRules{Strategy: secrets.SingleUser, Superuser: "chief"}}}); err != nil {
		t.Fatal(err)
	}
	ask := func(h *house, id string) string {
		g := &asked{}
		_, err := h.guarded(g).RotateSecret(t.Context(), service.RotateSecretInput{SecretID: id, ClientRequestToken: tok("r")})
		if len(g.questions) != 2 {
			t.Fatalf("%q, %v", g.questions, err)
		}
		return g.questions[1]
	}
	if got := ask(h, "s"); got != "secretsmanager:GetSecretValue[boss] boss" {
		t.Error(got)
	}
	if got := ask(h, "declared"); got != "secretsmanager:GetSecretValue[chief] no" {
		t.Error(got)
	}
	elsewhere := *h
	elsewhere.Service = h.As(service.Caller{Region: "us-east-1", Account: "210987654321"})
	if got := ask(&elsewhere, h.record("s").ARN.String()); got != "secretsmanager:GetSecretValue["+arn[:len(arn)-7]+"] boss" {
		t.Error(got)
	}
}

// Somebody gives the secret another superuser between the question and the
// write: it is asked again.
func TestASuperuserChangedUnderTheGuard(t *testing.T) {
	h := open(t, service.Config{})
	h.create("root", `{"username":"root"}`)
	h.create("s", `{"username":"u"}`)
	g := &asked{refuses: "secretsmanager:GetSecretValue"}
	h.store.pending = func() {
		_, err := h.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: service.Give(secrets.Text(`{"username":"u","masterarn":"root"}`))})
		if err != nil {
			t.Error(err)
		}
	}
	err := second(h.guarded(g).StartRotation(t.Context(), service.StartRotationInput{SecretID: "s", ClientRequestToken: tok("r")}))
	wantErr(t, err, "AccessDeniedException", "You can't rotate the secret s: the secret of the superuser that its value names is not yours to read (secretsmanager:GetSecretValue).")
	if got := h.labels("s"); strings.Contains(got, "AWSPENDING") {
		t.Error(got)
	}
}

func TestLook(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("a/b", "x")
	there := h.As(service.Caller{Region: "eu-west-1", Account: "210987654321"})
	out, err := there.CreateSecret(t.Context(), service.CreateSecretInput{Name: "far", ClientRequestToken: tok("v1")})
	if err != nil {
		t.Fatal(err)
	}
	const here = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
	blind := h.guarded(&asked{always: true})
	for id, want := range map[string]string{
		"a/b": arn, arn: arn, here + "a/b": arn, out.ARN: out.ARN, out.ARN[:len(out.ARN)-7]: out.ARN,
		"far": "no " + here + "far-??????", here + "far": "no " + here + "far-??????", here + "far-AbCdEf": "no " + here + "far-AbCdEf",
		"arn:aws-cn:secretsmanager:cn-north-1:1:secret:x": "no arn:aws-cn:secretsmanager:cn-north-1:1:secret:x-??????",
	} {
		sec, at, err := blind.Look(t.Context(), id)
		got := at.String()
		if sec == nil {
			got = "no " + got
		}
		if err != nil || got != want || sec != nil && sec.ARN != at {
			t.Errorf("%s: %s, %v; want %s", id, got, err, want)
		}
	}
	for _, id := range []string{"", "no*name", "arn:aws:iam::1:role/x"} {
		if _, _, err := h.Look(t.Context(), id); secrets.CodeOf(err) != "ValidationException" {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestConditionKeysOfASecret(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", `{"username":"u"}`)
	keys := func() policy.Context {
		c := policy.Context{}
		h.record("s").AddConditionKeys(c)
		for name, values := range c {
			if got := h.record("s").ConditionKey(name); !slices.Equal(got, values) {
				t.Errorf("%s is %q and %q", name, got, values)
			}
		}
		return c
	}
	want := policy.Context{}
	want.Add("secretsmanager:SecretId", arn)
	want.Add("secretsmanager:SecretPrimaryRegion", "us-east-1")
	if d := cmp.Diff(want, keys()); d != "" {
		t.Error(d)
	}
	const function = "arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user"
	ctx := context.Background()
	if err := errors.Join(
		h.TagResource(ctx, service.TagResourceInput{SecretID: "s", Tags: []service.Tag{{Key: "Team", Value: "a"}, {Key: "cost", Value: ""}, {Key: "team", Value: "b"}}}),
		second(h.UpdateSecret(ctx, service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("u"), Type: "T"})),
		second(h.RotateSecret(ctx, service.RotateSecretInput{SecretID: "s", ClientRequestToken: tok("r"), RotationLambdaARN: function})),
		second(h.ReplicateSecretToRegions(ctx, service.ReplicateSecretToRegionsInput{SecretID: "s", AddReplicaRegions: []service.ReplicaRegionType{{Region: "eu-west-1"}}})),
	); err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"secretsmanager:ResourceTag/", "aws:ResourceTag/"} {
		want.Add(prefix+"team", "a", "b")
		want.Add(prefix+"cost", "")
	}
	want.Add("secretsmanager:resource/AllowRotationLambdaArn", function)
	want.Add("secretsmanager:resource/Type", "T")
	if d := cmp.Diff(want, keys()); d != "" {
		t.Error(d)
	}
	replica, _, err := h.Look(ctx, strings.Replace(arn, "us-east-1", "eu-west-1", 1))
	if err != nil {
		t.Fatal(err)
	}
	if got := replica.ConditionKey("secretsmanager:secretprimaryregion"); !slices.Equal(got, []string{"us-east-1"}) {
		t.Errorf("the replica's primary is in %q", got)
	}
}

// A page's token is good with whatever guard the next request has.
func TestTokensAreNotBoundToTheGuard(t *testing.T) {
	h := open(t, service.Config{})
	h.create("a", "x")
	h.create("b", "x")
	one := int64(1)
	first, err := h.guarded(&asked{}).ListSecrets(t.Context(), service.ListSecretsInput{MaxResults: &one})
	if err != nil {
		t.Fatal(err)
	}
	next, err := h.guarded(&asked{questions: []string{"x"}}).ListSecrets(t.Context(), service.ListSecretsInput{MaxResults: &one, NextToken: first.NextToken})
	if err != nil || len(next.SecretList) != 1 || next.SecretList[0].Name != "b" {
		t.Errorf("%+v, %v", next, err)
	}
}
