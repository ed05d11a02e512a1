package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pawlhq/pawl/access/explain"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server"
	"github.com/pawlhq/pawl/service"
)

// assumeRole is the one action on roles.
const assumeRole = "sts:AssumeRole"

// withoutSecret are the actions that are not about one secret.
var withoutSecret = []string{"secretsmanager:BatchGetSecretValue", "secretsmanager:GetRandomPassword", "secretsmanager:ListSecrets", "pawl:ListRotations"}

// alsoNeeded are what some actions take besides.
var alsoNeeded = map[string]string{
	"secretsmanager:BatchGetSecretValue":    "it takes GetSecretValue on each of the secrets too, and ListSecrets where they are named by filters",
	"secretsmanager:CreateSecret":           "with tags it takes TagResource too, with replicas ReplicateSecretToRegions",
	"secretsmanager:ValidateResourcePolicy": "it takes PutResourcePolicy too",
	"secretsmanager:RotateSecret":           "it takes GetSecretValue on the superuser's secret too, where the rotation uses one",
	"pawl:StartRotation":                    "it takes GetSecretValue on the superuser's secret too, where the rotation uses one",
}

// actionNamed returns the action that a person means: all of it, or without the
// service. Errors are of usage.
func actionNamed(name string) (string, error) {
	var all []string
	for _, a := range append(server.Actions(), assumeRole) {
		_, short, _ := strings.Cut(a, ":")
		if strings.EqualFold(a, name) || strings.EqualFold(short, name) {
			return a, nil
		}
		all = append(all, short)
	}
	for _, short := range all {
		if len(name) > 2 && strings.HasPrefix(strings.ToLower(short), strings.ToLower(name)) {
			return "", usage(fmt.Errorf("there is no action %q; did you mean %s?", name, short))
		}
	}
	return "", usage(fmt.Errorf("there is no action %q; there are: %s", name, strings.Join(all, ", ")))
}

// subject is what an action is about.
type subject struct {
	resource, account, region string // of none where the action is not about one
	document                  string // the policy on it; "" = none
	attached                  *policy.Prepared
	title                     string          // of that policy
	sec                       *service.Secret // where it is one that exists
	keys                      policy.Context
	notes                     []string
}

// secret is the subject that a SecretId is to svc's caller.
func (a *app) secret(ctx context.Context, svc *service.Service, action, secretID string) (*subject, error) {
	sec, arn, err := svc.Look(ctx, secretID)
	if err != nil {
		return nil, err
	}
	s := &subject{region: arn.Region, account: arn.Account, title: "the secret's resource policy", keys: policy.Context{}}
	switch {
	case action == "secretsmanager:CreateSecret":
		// It is decided on the ARN that is to be, whatever there is already.
		arn.Suffix, sec = "??????", nil
		s.keys.Add("secretsmanager:Name", arn.Name)
	case sec == nil:
		(&service.Secret{ARN: arn}).AddConditionKeys(s.keys)
		s.notes = append(s.notes, fmt.Sprintf("there is no secret %s; this is as if it were made, without tags and without a policy of its own", secretID))
	}
	s.resource = arn.String()
	s.keys.Add("aws:ResourceAccount", arn.Account)
	if sec == nil {
		return s, nil
	}
	s.sec = sec
	sec.AddConditionKeys(s.keys)
	if s.document = sec.Policy; s.document != "" {
		d, err := policy.ParseResource(s.document)
		if err != nil {
			return nil, secrets.Errorf(secrets.Invalid, "the resource policy of %s: %w", arn.Name, err)
		}
		s.attached = policy.Prepare(d)
	}
	return s, nil
}

// role is the subject that a role is to who would assume it.
func (a *app) role(ctx context.Context, ref string) (*subject, error) {
	r, err := a.people.Find(ctx, ref)
	if err == nil && r.Kind != principals.Role {
		err = secrets.Errorf(secrets.Invalid, "%s is no role, and only roles are assumed", a.called(r))
	}
	if err != nil {
		return nil, err
	}
	s := &subject{resource: r.ARN(), account: r.Account, region: a.cfg.Region, title: trustPolicy, document: r.Trust, keys: policy.Context{}}
	for _, t := range r.Tags {
		s.keys.Add("aws:ResourceTag/"+t.Key, t.Value)
		s.keys.Add("iam:ResourceTag/"+t.Key, t.Value)
	}
	d, err := policy.ParseTrust(r.Trust)
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "the trust policy of %s: %w", a.called(r), err)
	}
	if s.attached = policy.Prepare(d); r.Disabled {
		s.notes = append(s.notes, a.called(r)+" is disabled, and nobody assumes it")
	}
	return s, nil
}

// because says a reason to people, by what the policy on the subject is.
func (s *subject) because(r policy.Reason) string {
	if s.title == trustPolicy {
		return strings.ReplaceAll(r.String(), policy.ResourceBased.String(), "trust policy")
	}
	return r.String()
}

const trustPolicy = "the role's trust policy"

// otherwise are what could keep an allowed request from its end, but policies.
func (s *subject) otherwise(action, account string) (notes []string) {
	if more := alsoNeeded[action]; more != "" {
		notes = append(notes, more)
	}
	value := action == "secretsmanager:GetSecretValue" || action == "secretsmanager:PutSecretValue"
	if value && s.sec != nil && s.account != account && s.sec.KMSKeyID == "" {
		notes = append(notes, "the value is encrypted by the default key, which other accounts can't use: pawl key create alias/NAME, then UpdateSecret with that as the KmsKeyId")
	}
	if s.sec != nil && !s.sec.Deleted.IsZero() {
		notes = append(notes, "the secret is marked for deletion: pawl secret restore "+s.sec.ARN.Name)
	}
	return notes
}

// somebody is a principal as it would call.
type somebody struct {
	record *principals.Record
	key    *principals.AccessKey // where a key was named
	arn    string                // of a session that was named
}

// somebody finds who is meant: by name, ARN, the id of a key, or the ARN of a
// role's session as it stands in a refusal.
func (a *app) somebody(ctx context.Context, ref string) (*somebody, error) {
	s := &somebody{}
	if strings.Contains(ref, ":assumed-role/") {
		s.arn = ref
	}
	var err error
	if s.record, err = a.people.Find(ctx, ref); err != nil {
		return nil, err
	}
	for i := range s.record.Keys {
		if k := &s.record.Keys[i]; k.ID == ref {
			s.key = k
		}
	}
	return s, nil
}

// off says why the principal's requests are refused whatever policies say; ""
// if they are not.
func (a *app) off(s *somebody) string {
	switch {
	case s.record.Disabled:
		return fmt.Sprintf("%s is disabled: pawl access enable %s", a.called(s.record), a.ref(s.record))
	case s.key != nil && s.key.Disabled:
		return fmt.Sprintf("access key %s is disabled: pawl access enable %[1]s", s.key.ID)
	}
	return ""
}

// explain judges what somebody would do to a subject, now.
func (a *app) explain(ctx context.Context, who *somebody, action string, s *subject, given policy.Context, now time.Time) (explain.Answer, error) {
	p, err := a.people.Principal(ctx, who.record, s.region)
	if err != nil {
		return explain.Answer{}, err
	}
	keys := policy.Context{}
	if who.arn != "" {
		p.ARN = who.arn
		p.UserID = who.record.ID + ":" + who.arn[strings.LastIndexByte(who.arn, '/')+1:]
	}
	if who.record.Kind == principals.Role {
		keys.Add("aws:TokenIssueTime", now.UTC().Format(time.RFC3339))
		keys.Add("aws:MultiFactorAuthPresent", "false")
	}
	keys.Add("aws:SecureTransport", "true")
	keys.Add("aws:CurrentTime", now.UTC().Format(time.RFC3339))
	keys.Add("aws:EpochTime", strconv.FormatInt(now.Unix(), 10))
	keys.Add("aws:RequestedRegion", s.region)
	keys.Add("aws:ViaAWSService", "false")
	keys.Add("aws:PrincipalIsAWSService", "false")
	for _, more := range []policy.Context{s.keys, given} {
		for k, v := range more {
			keys[k] = v
		}
	}
	return explain.Explain(explain.Question{
		Principal: p, Action: action, Resource: s.resource, Account: s.account, Attached: s.attached, AttachedMust: action == assumeRole,
		Context: keys, Unknown: func(key string) bool { return unknownTo(action, key) },
	}), nil
}

// unknownTo reports whether a request for an action could have a condition key
// that can't be known beforehand.
func unknownTo(action, key string) bool {
	return server.OfRequest(action, key) ||
		action == assumeRole && (strings.HasPrefix(key, "sts:") || strings.HasPrefix(key, "aws:requesttag/") || key == "aws:tagkeys")
}

// contextFlag reads --context KEY=VALUE; a key that comes again has several
// values. Errors are of usage.
func contextFlag(args []string) (policy.Context, error) {
	c := policy.Context{}
	for _, arg := range args {
		k, v, ok := strings.Cut(arg, "=")
		switch {
		case !ok || !strings.Contains(k, ":"):
			return nil, usage(fmt.Errorf("--context %q is not KEY=VALUE, such as aws:SourceIp=10.0.0.1", arg))
		case explain.Principals(k):
			return nil, usage(fmt.Errorf("--context %s: this is the principal's own, and can't be given; its tags: pawl access update NAME --tag KEY=VALUE", k))
		}
		c.Add(k, v)
	}
	return c, nil
}

// statementView is a statement that a verdict came from, or nearly.
type statementView struct {
	Policy    string // its name, or what it is
	Kind      string
	Index     int    // from 0
	Sid       string `json:",omitempty"`
	Statement json.RawMessage
	Misses    []string `json:",omitempty"` // why it does not apply
}

// statement returns a statement with where it is.
func statement(r *principals.Record, s *subject, at policy.At) statementView {
	v := statementView{Kind: at.Policy.String(), Index: at.Index, Sid: at.Sid}
	document := ""
	switch at.Policy {
	case policy.IdentityBased:
		if at.Document < len(r.Policies) {
			p := r.Policies[at.Document]
			v.Policy, document = p.Name, p.Document
		}
	case policy.PermissionsBoundary:
		v.Policy, document = "the permissions boundary", r.Boundary
	case policy.ResourceBased:
		v.Policy, document = s.title, s.document
	}
	v.Statement = explain.Raw(document, at.Index)
	return v
}

// place says where the statement is, to people.
func (v statementView) place() string {
	p := v.Policy
	if v.Kind == policy.IdentityBased.String() {
		p = "policy " + p
	}
	p += fmt.Sprintf(", Statement[%d]", v.Index)
	if v.Sid != "" {
		p += fmt.Sprintf(" %q", v.Sid)
	}
	return p
}

// noSecret is for an action without a secret that got one, or the other way
// round. Errors are of usage.
func noSecret(action string, has bool) error {
	_, short, _ := strings.Cut(action, ":")
	switch without := slices.Contains(withoutSecret, action); {
	case without && has && action != "pawl:ListRotations":
		return usage(fmt.Errorf("%s is not about one secret; leave the secret out", short))
	case !without && !has && action == assumeRole:
		return usage(errors.New("which role? pawl access check PRINCIPAL AssumeRole ROLE"))
	case !without && !has:
		return usage(fmt.Errorf("which secret? pawl access check PRINCIPAL %s SECRET", short))
	}
	return nil
}
