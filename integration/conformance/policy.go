package conformance

import (
	"fmt"
	"strings"
)

const (
	syntaxError        = "This resource policy contains a syntax error."
	unsupported        = "This resource policy contains an unsupported principal."
	unsupportedService = "This resource policy contains an unsupported service principal."
	policyRecorded     = "test_resource_policy"
)

// statement is a policy of one statement; members replace those of an Allow of
// reading for the account.
func (p *Probe) statement(members M) string {
	s := with(M{
		"Effect":    "Allow",
		"Principal": M{"AWS": fmt.Sprintf("arn:%s:iam::%s:root", p.partition, p.account)},
		"Action":    "secretsmanager:GetSecretValue",
		"Resource":  "*",
	}, members)
	return compact(M{"Version": "2012-10-17", "Statement": L{s}})
}

// Policy is a policy that gives the caller's account what it has anyway.
func (p *Probe) Policy() string { return p.statement(M{}) }

// syntax are documents that are no resource policies.
var syntax = []struct {
	what   string
	policy func(p *Probe) string
}{
	{"no JSON", func(*Probe) string { return "allow everything" }},
	{"a list", func(*Probe) string { return "[]" }},
	{"a text", func(*Probe) string { return `"policy"` }},
	{"an object without statements", func(*Probe) string { return `{"Version": "2012-10-17"}` }},
	{"an Effect that there is not", func(p *Probe) string { return p.statement(M{"Effect": "Maybe"}) }},
	{"a statement without Effect", func(p *Probe) string { return p.statement(M{"Effect": nil}) }},
	{"a statement without Principal", func(p *Probe) string { return p.statement(M{"Principal": nil}) }},
	{"a statement without Action", func(p *Probe) string { return p.statement(M{"Action": nil}) }},
	{"an element that there is not", func(p *Probe) string { return p.statement(M{"Colour": "red"}) }},
	{"an action without a service", func(p *Probe) string { return p.statement(M{"Action": "GetSecretValue"}) }},
	{"a Version that there is not", func(p *Probe) string { return strings.Replace(p.Policy(), "2012-10-17", "2019-01-01", 1) }},
	{"a condition operator that there is not", func(p *Probe) string {
		return p.statement(M{"Condition": M{"StringSimilar": M{"aws:username": "a"}}})
	}},
}

// breadth are policies that BlockPublicPolicy refuses, and that it lets pass.
var breadth = []struct {
	what   string
	source string
	broad  bool
	policy func(p *Probe) string
}{
	{"everybody", policies, true, func(p *Probe) string { return p.statement(M{"Principal": "*"}) }},
	{"everybody as AWS", policies, true, func(p *Probe) string { return p.statement(M{"Principal": M{"AWS": "*"}}) }},
	{"everybody in a list", policies, true, func(p *Probe) string { return p.statement(M{"Principal": M{"AWS": L{"*"}}}) }},
	{"everybody but one", inferred, true, func(p *Probe) string {
		return p.statement(M{"Principal": nil, "NotPrincipal": M{"AWS": fmt.Sprintf("arn:%s:iam::%s:root", p.partition, p.account)}})
	}},
	{"everybody with a source that is any", inferred, true, func(p *Probe) string {
		return p.statement(M{"Principal": "*", "Condition": M{"ArnLike": M{"aws:SourceArn": "*"}}})
	}},
	{"everybody from anywhere", inferred, true, func(p *Probe) string {
		return p.statement(M{"Principal": "*", "Condition": M{"IpAddress": M{"aws:SourceIp": "0.0.0.0/0"}}})
	}},
	{"one's own account", policies, false, func(p *Probe) string { return p.Policy() }},
	{"nobody: a Deny of everybody", policies, false, func(p *Probe) string {
		return p.statement(M{"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:DeleteSecret"})
	}},
	{"everybody of one account, by aws:SourceAccount", policies, false, func(p *Probe) string {
		return p.statement(M{"Principal": "*", "Condition": M{"StringEquals": M{"aws:SourceAccount": p.account}}})
	}},
	{"everybody of one organisation, by aws:PrincipalOrgID", inferred, false, func(p *Probe) string {
		return p.statement(M{"Principal": "*", "Condition": M{"StringEquals": M{"aws:PrincipalOrgID": "o-a1b2c3d4e5"}}})
	}},
	{"everybody through one endpoint, by aws:SourceVpce", policies, false, func(p *Probe) string {
		return p.statement(M{"Principal": "*", "Condition": M{"StringEquals": M{"aws:SourceVpce": "vpce-1a2b3c4d"}}})
	}},
}

var policyRules = append(on("PutResourcePolicy",
	rule{"keeps the policy as a text", recorded(policyRecorded), func(p *Probe) {
		s, policy := p.Secret(), p.Policy()
		p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": policy}).Exactly("ARN", "Name").Is("ARN", s.ARN).Is("Name", s.Name)
		p.OK("GetResourcePolicy", id(p, s)).Exactly("ARN", "Name", "ResourcePolicy").Is("ResourcePolicy", policy)
	}},
	rule{"keeps the policy byte for byte", inferred, func(p *Probe) {
		s := p.Secret()
		policy := " " + strings.Replace(p.Policy(), ":", " :\n\t", 1) + "\n"
		p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": policy})
		p.OK("GetResourcePolicy", id(p, s)).Is("ResourcePolicy", policy)
	}},
	rule{"replaces the policy there was", api("PutResourcePolicy"), func(p *Probe) {
		s, second := p.Secret(), p.statement(M{"Action": "secretsmanager:DescribeSecret"})
		p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": p.Policy()})
		p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": second})
		p.OK("GetResourcePolicy", id(p, s)).Is("ResourcePolicy", second)
	}},
	rule{"accepts everybody as principal when not told otherwise", recorded(policyRecorded), func(p *Probe) {
		p.OK("PutResourcePolicy", M{"SecretId": p.Secret().Name, "ResourcePolicy": p.statement(M{"Principal": "*"})})
	}},
	rule{"accepts everybody as principal with BlockPublicPolicy false", terraformRelies, func(p *Probe) {
		p.OK("PutResourcePolicy", M{"SecretId": p.Secret().Name, "ResourcePolicy": p.statement(M{"Principal": "*"}), "BlockPublicPolicy": false})
	}},
	rule{"refuses a principal that is no ARN and no account", policies, func(p *Probe) {
		p.Refused("PutResourcePolicy", M{"SecretId": p.Secret().Name, "ResourcePolicy": p.statement(M{"Principal": M{"AWS": "somebody"}})},
			"MalformedPolicyDocumentException", unsupported)
	}},
	rule{"refuses a service principal that there is not", policies, func(p *Probe) {
		p.Refused("PutResourcePolicy", M{"SecretId": p.Secret().Name, "ResourcePolicy": p.statement(M{"Principal": M{"Service": "no such service"}})},
			"MalformedPolicyDocumentException", unsupportedService)
	}},
	rule{"keeps the old policy when it refuses the new one", inferred, func(p *Probe) {
		s, policy := p.Secret(), p.Policy()
		p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": policy})
		p.Refused("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": "{}"}, "MalformedPolicyDocumentException", syntaxError)
		p.OK("GetResourcePolicy", id(p, s)).Is("ResourcePolicy", policy)
	}},
	rule{"accepts several statements, lists and conditions", policies, func(p *Probe) {
		s := p.Secret()
		root := fmt.Sprintf("arn:%s:iam::%s:root", p.partition, p.account)
		policy := compact(M{"Version": "2012-10-17", "Id": "both", "Statement": L{
			M{"Sid": "Read", "Effect": "Allow", "Principal": M{"AWS": L{root, p.account}}, "Action": L{"secretsmanager:Get*", "secretsmanager:DescribeSecret"}, "Resource": L{s.ARN},
				"Condition": M{"StringEquals": M{"secretsmanager:VersionStage": L{"AWSCURRENT"}}, "Bool": M{"aws:SecureTransport": "true"}}},
			M{"Sid": "Keep", "Effect": "Deny", "Principal": "*", "Action": "secretsmanager:DeleteSecret", "Resource": "*",
				"Condition": M{"StringNotEquals": M{"aws:PrincipalAccount": p.account}}},
		}})
		p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": policy})
	}},
), append(on("GetResourcePolicy",
	rule{"has no ResourcePolicy where there is none", api("GetResourcePolicy"), func(p *Probe) {
		s := p.Secret()
		p.OK("GetResourcePolicy", id(p, s)).Exactly("ARN", "Name").Is("ARN", s.ARN)
	}},
	rule{"answers the policy of a secret without a value", api("GetResourcePolicy"), func(p *Probe) {
		s := p.Secret(M{"SecretString": nil})
		p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": p.Policy()})
		p.OK("GetResourcePolicy", id(p, s)).Is("ResourcePolicy", p.Policy())
	}},
), on("DeleteResourcePolicy",
	rule{"takes the policy away", recorded(policyRecorded), func(p *Probe) {
		s := p.Secret()
		p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": p.Policy()})
		p.OK("DeleteResourcePolicy", id(p, s)).Exactly("ARN", "Name").Is("ARN", s.ARN).Is("Name", s.Name)
		p.OK("GetResourcePolicy", id(p, s)).Absent("ResourcePolicy")
	}},
	rule{"succeeds where there is no policy", api("DeleteResourcePolicy"), func(p *Probe) {
		p.OK("DeleteResourcePolicy", id(p, p.Secret()))
	}},
)...)...)

// validateRules are what PutResourcePolicy and ValidateResourcePolicy find in a
// policy.
func validateRules() []Rule {
	var put, validate []rule
	for _, s := range syntax {
		put = append(put, rule{"refuses " + s.what, policies, func(p *Probe) {
			p.Refused("PutResourcePolicy", M{"SecretId": p.Secret().Name, "ResourcePolicy": s.policy(p)}, "MalformedPolicyDocumentException", syntaxError)
		}})
	}
	for _, b := range breadth {
		if b.broad {
			put = append(put, rule{"with BlockPublicPolicy refuses " + b.what, b.source, func(p *Probe) {
				s := p.Secret()
				p.Refused("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": b.policy(p), "BlockPublicPolicy": true}, "PublicPolicyException", "")
				p.OK("GetResourcePolicy", id(p, s)).Absent("ResourcePolicy")
			}})
		} else {
			put = append(put, rule{"with BlockPublicPolicy accepts " + b.what, b.source, func(p *Probe) {
				p.OK("PutResourcePolicy", M{"SecretId": p.Secret().Name, "ResourcePolicy": b.policy(p), "BlockPublicPolicy": true})
			}})
		}
	}
	validate = append(validate,
		rule{"passes a policy without a secret", api("ValidateResourcePolicy"), func(p *Probe) {
			p.OK("ValidateResourcePolicy", M{"ResourcePolicy": p.Policy()}).
				Exactly("PolicyValidationPassed", "ValidationErrors").Is("PolicyValidationPassed", true).Is("ValidationErrors", L{})
		}},
		rule{"fails a policy for everybody, and says by which check", api("ValidateResourcePolicy"), func(p *Probe) {
			a := p.OK("ValidateResourcePolicy", M{"ResourcePolicy": p.statement(M{"Principal": "*"})}).Is("PolicyValidationPassed", false)
			errs := a.list("ValidationErrors")
			if len(errs) == 0 {
				p.Fail("%s", a)
			}
			for _, e := range errs {
				a.sub(e).Exactly("CheckName", "ErrorMessage")
			}
		}},
		rule{"refuses a document that is no policy", api("ValidateResourcePolicy"), func(p *Probe) {
			p.Refused("ValidateResourcePolicy", M{"ResourcePolicy": "not a policy"}, "MalformedPolicyDocumentException", "")
		}},
		rule{"stores nothing", api("ValidateResourcePolicy"), func(p *Probe) {
			s := p.Secret()
			p.OK("ValidateResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": p.Policy()})
			p.OK("GetResourcePolicy", id(p, s)).Absent("ResourcePolicy")
		}},
	)
	return append(on("PutResourcePolicy", put...), on("ValidateResourcePolicy", validate...)...)
}
