package service_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	// With white space and an order of its own: it must come back so.
	sharePolicy    = "{ \"Statement\":[{\"Resource\":\"*\", \"Effect\":\"Allow\",\n\t\"Principal\":{\"AWS\":\"arn:aws:iam::111122223333:role/app\"},\"Action\":\"secretsmanager:GetSecretValue\"}],\"Version\":\"2012-10-17\"} "
	everyonePolicy = `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":"*","Action":"secretsmanager:*","Resource":"*"}}`
	lockoutPolicy  = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"secretsmanager:*","Resource":"*"}]}`

	syntaxText    = "This resource policy contains a syntax error."
	principalText = "This resource policy contains an unsupported principal."
	serviceText   = "This resource policy contains an unsupported service principal."
	broadText     = "You can't attach a resource-based policy that allows broad access to the secret."
)

func putPolicy(s *service.Service, id, policy string, block *bool) error {
	return second(s.PutResourcePolicy(context.Background(), service.PutResourcePolicyInput{SecretID: id, ResourcePolicy: policy, BlockPublicPolicy: block}))
}

// encoded is an answer as it is on the wire.
func encoded(t *testing.T, out any, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestResourcePolicy(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("db", "x")
	named := `{"ARN":"` + arn + `","Name":"db"}`
	changed := func() time.Time { return h.record("db").Changed }
	get := func() string {
		t.Helper()
		out, err := h.GetResourcePolicy(t.Context(), service.GetResourcePolicyInput{SecretID: "db"})
		return encoded(t, out, err)
	}
	remove := func() string {
		t.Helper()
		out, err := h.DeleteResourcePolicy(t.Context(), service.DeleteResourcePolicyInput{SecretID: arn})
		return encoded(t, out, err)
	}
	put := func(policy string) string {
		t.Helper()
		out, err := h.PutResourcePolicy(t.Context(), service.PutResourcePolicyInput{SecretID: "db", ResourcePolicy: policy})
		return encoded(t, out, err)
	}
	created := changed()
	h.clock.add(time.Minute)
	if got := get(); got != named {
		t.Errorf("without a policy: %s", got)
	}
	if got := remove(); got != named || !changed().Equal(created) {
		t.Errorf("deleting none: %s, changed at %v", got, changed())
	}
	if got := put(sharePolicy); got != named || !changed().Equal(h.clock.now()) {
		t.Errorf("put: %s, changed at %v", got, changed())
	}
	var got service.GetResourcePolicyOutput
	if err := json.Unmarshal([]byte(get()), &got); err != nil || got.ResourcePolicy != sharePolicy {
		t.Errorf("not byte for byte: %q, %v", got.ResourcePolicy, err)
	}
	h.clock.add(time.Minute)
	if put(everyonePolicy); h.record("db").Policy != everyonePolicy || !changed().Equal(h.clock.now()) {
		t.Errorf("not replaced: %s", h.record("db").Policy)
	}
	h.clock.add(time.Minute)
	if got := remove(); got != named || !changed().Equal(h.clock.now()) || get() != named {
		t.Errorf("delete: %s, changed at %v", got, changed())
	}
}

func TestWhatPutResourcePolicyRefuses(t *testing.T) {
	const malformed, public = "MalformedPolicyDocumentException", "PublicPolicyException"
	h := open(t, service.Config{})
	h.create("db", "x")
	if err := putPolicy(h.Service, "db", sharePolicy, nil); err != nil {
		t.Fatal(err)
	}
	before := *h.record("db")
	h.clock.add(time.Minute)
	narrowed := strings.Replace(everyonePolicy, `"Resource":"*"`, `"Resource":"*","Condition":{"StringEquals":{"aws:SourceVpce":"vpce-1"}}`, 1)
	for _, c := range []struct {
		name, policy string
		block        *bool
		code, text   string
	}{
		{"no JSON", "hello", nil, malformed, syntaxText},
		{"an element", strings.Replace(sharePolicy, "Effect", "effect", 1), nil, malformed, syntaxText},
		{"an effect", strings.Replace(sharePolicy, "Allow", "AllowSomething", 1), nil, malformed, syntaxText},
		{"an action", strings.Replace(sharePolicy, "secretsmanager:GetSecretValue", "GetSecretValue", 1), nil, malformed, syntaxText},
		{"a version", strings.Replace(sharePolicy, "2012", "2019", 1), nil, malformed, syntaxText},
		{"a principal", strings.Replace(sharePolicy, "role/app", "group/app", 1), nil, malformed, principalText},
		{"a service", strings.Replace(sharePolicy, `"AWS":"arn:aws:iam::111122223333:role/app"`, `"Service":"lambda"`, 1), nil, malformed, serviceText},
		{"syntax before broad access", strings.Replace(everyonePolicy, "Allow", "allow", 1), new(true), malformed, syntaxText},
		{"broad access", everyonePolicy, new(true), public, broadText},
		{"a list of principals with everyone", strings.Replace(everyonePolicy, `"*"`, `{"AWS":["111122223333","*"]}`, 1), new(true), public, broadText},
		{"a wildcard does not narrow", strings.Replace(narrowed, "vpce-1", "vpce-*", 1), new(true), public, broadText},
		{"none", "", nil, "ValidationException", "1 validation error detected: Value null at 'resourcePolicy' failed to satisfy constraint: Member must not be null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := putPolicy(h.Service, "db", c.policy, c.block)
			wantErr(t, err, c.code, c.text)
			var e *secrets.Error
			if errors.As(err, &e) && c.code != "ValidationException" && e.Hint == "" {
				t.Error("no hint")
			}
			if now := *h.record("db"); now.Policy != before.Policy || !now.Changed.Equal(before.Changed) {
				t.Error("something changed")
			}
		})
	}
	wantErr(t, putPolicy(h.Service, "", "", nil), "ValidationException", "2 validation errors detected: Value null at 'secretId' failed to satisfy constraint: Member must not be null; "+
		"Value null at 'resourcePolicy' failed to satisfy constraint: Member must not be null")
	long := everyonePolicy + strings.Repeat(" ", 20481-len(everyonePolicy))
	wantErr(t, putPolicy(h.Service, "db", long, nil), "ValidationException",
		"1 validation error detected: Value '"+long+"' at 'resourcePolicy' failed to satisfy constraint: Member must have length less than or equal to 20480")
	wantErr(t, putPolicy(h.Service, "nowhere", "hello", nil), "ResourceNotFoundException", notFoundText)

	for name, err := range map[string]error{
		"the longest":               putPolicy(h.Service, "db", long[:20480], nil),
		"everyone, if not blocked":  putPolicy(h.Service, "db", everyonePolicy, new(false)),
		"everyone, if not asked":    putPolicy(h.Service, "db", everyonePolicy, nil),
		"a narrowed one, blocked":   putPolicy(h.Service, "db", narrowed, new(true)),
		"an ordinary one, blocked":  putPolicy(h.Service, "db", sharePolicy, new(true)),
		"what locks its author out": putPolicy(h.Service, "db", lockoutPolicy, new(true)),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateResourcePolicy(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("db", "x")
	const (
		passed = `{"PolicyValidationPassed":true,"ValidationErrors":[]}`
		broad  = `{"CheckName":"BroadAccess","ErrorMessage":"This resource policy grants broad access to your secret."}`
		locked = `{"CheckName":"Lockout","ErrorMessage":"Your requested changes will not allow you to manage this secret in the future."}`
	)
	failed := func(items ...string) string {
		return `{"PolicyValidationPassed":false,"ValidationErrors":[` + strings.Join(items, ",") + `]}`
	}
	onlyThis := strings.Replace(lockoutPolicy, `"Resource":"*"`, `"Resource":"`+arn+`"`, 1)
	ofAccount := strings.Replace(lockoutPolicy, `"Principal":"*"`, `"Principal":{"AWS":"arn:aws:iam::111122223333:root"}`, 1)
	both := strings.Replace(lockoutPolicy, "[", `[{"Effect":"Allow","Principal":"*","Action":"secretsmanager:GetSecretValue","Resource":"*"},`, 1)
	for _, c := range []struct {
		name    string
		s       *service.Service
		id      string
		policy  string
		answer  string
		code    string
		errText string
	}{
		{name: "without a secret", policy: sharePolicy, answer: passed},
		{name: "with one", id: "db", policy: sharePolicy, answer: passed},
		{name: "broad access", id: "db", policy: everyonePolicy, answer: failed(broad)},
		{name: "lock-out", id: arn, policy: lockoutPolicy, answer: failed(locked)},
		{name: "lock-out of a secret to come", policy: lockoutPolicy, answer: failed(locked)},
		{name: "both", id: "db", policy: both, answer: failed(broad, locked)},
		{name: "lock-out of this secret", id: "db", policy: onlyThis, answer: failed(locked)},
		{name: "lock-out of whichever secret", policy: onlyThis, answer: passed},
		{name: "lock-out of another account", id: "db", policy: ofAccount, answer: passed},
		{name: "lock-out of the caller's account", s: h.As(service.Caller{Region: "eu-west-1", Account: "111122223333"}), policy: ofAccount, answer: failed(locked)},
		{name: "no policy", id: "db", policy: "hello", code: "MalformedPolicyDocumentException", errText: syntaxText},
		{name: "no principal", policy: strings.Replace(sharePolicy, "arn:aws:iam::111122223333:role/app", "x", 1), code: "MalformedPolicyDocumentException", errText: principalText},
		{name: "no such secret", id: "nowhere", policy: sharePolicy, code: "ResourceNotFoundException", errText: notFoundText},
		{name: "a bad name", id: "no such*name", policy: sharePolicy, code: "ValidationException", errText: nameText},
		{name: "nothing", id: "db", code: "ValidationException", errText: "1 validation error detected: Value null at 'resourcePolicy' failed to satisfy constraint: Member must not be null"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.s == nil {
				c.s = h.Service
			}
			out, err := c.s.ValidateResourcePolicy(t.Context(), service.ValidateResourcePolicyInput{SecretID: c.id, ResourcePolicy: c.policy})
			if c.code != "" {
				wantErr(t, err, c.code, c.errText)
				return
			}
			if got := encoded(t, out, err); got != c.answer {
				t.Errorf("got  %s\nwant %s", got, c.answer)
			}
		})
	}
	if h.record("db").Policy != "" {
		t.Error("validating attached the policy")
	}
	if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "db"}); err != nil {
		t.Fatal(err)
	}
	_, err := h.ValidateResourcePolicy(t.Context(), service.ValidateResourcePolicyInput{SecretID: "db", ResourcePolicy: sharePolicy})
	wantErr(t, err, "InvalidRequestException", deletedText)
}

func TestResourcePolicyOfAReplica(t *testing.T) {
	const replicaText = "Operation not permitted on a replica secret. Call must be made in primary secret's region."
	h := open(t, service.Config{})
	must(t, make1(h.Service, "db", "v1", "eu-west-1"))
	must(t, putPolicy(h.Service, "db", sharePolicy, nil))
	there := in(h.Service, "eu-west-1")
	get := func() string {
		t.Helper()
		out, err := there.GetResourcePolicy(t.Context(), service.GetResourcePolicyInput{SecretID: "db"})
		must(t, err)
		return out.ResourcePolicy
	}
	if got := get(); got != sharePolicy {
		t.Errorf("the replica has %q", got)
	}
	wantErr(t, putPolicy(there, "db", everyonePolicy, nil), "InvalidParameterException", replicaText)
	_, err := there.DeleteResourcePolicy(t.Context(), service.DeleteResourcePolicyInput{SecretID: "db"})
	wantErr(t, err, "InvalidParameterException", replicaText)
	must(t, second(h.DeleteResourcePolicy(t.Context(), service.DeleteResourcePolicyInput{SecretID: "db"})))
	if got := get(); got != "" {
		t.Errorf("the replica still has %q", got)
	}
}
