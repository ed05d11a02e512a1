package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ParseResource reads a policy attached to a secret. Beyond Parse, every
// statement says about whom it is and on what, and its actions are Secrets
// Manager's. Whether an account, role or user really exists is not asked. The
// error is an *Error.
//
// Source: Secrets Manager user guide, "Resource-based policies"; IAM user guide,
// "AWS JSON policy elements: Principal".
func ParseResource(document string) (Document, error) {
	d, err := Parse(document)
	if err != nil {
		return d, err
	}
	for i := range d.Statements {
		if err := d.Statements[i].onSecret(fmt.Sprintf("Statement[%d]", i)); err != nil {
			return Document{}, err
		}
	}
	return d, nil
}

// onSecret checks what Secrets Manager asks of a statement.
func (s *Statement) onSecret(where string) error {
	if s.Principal == nil && s.NotPrincipal == nil {
		return syntax(where, "has no Principal: a policy on a secret says whom it is about")
	}
	if s.Resource == nil && s.NotResource == nil {
		return syntax(where, `has no Resource: write "*", which is the secret itself`)
	}
	for _, a := range slices.Concat(s.Action, s.NotAction) {
		if !secretsManagers(a) {
			return syntax(where, "has the action %q, which is none of Secrets Manager's (secretsmanager:GetSecretValue, secretsmanager:*)", short(a))
		}
	}
	if s.NotPrincipal.Anyone() {
		return &Error{UnsupportedPrincipal, where + ".NotPrincipal", `is "*": nobody would be left`}
	}
	if err := s.Principal.supported(where + ".Principal"); err != nil {
		return err
	}
	return s.NotPrincipal.supported(where + ".NotPrincipal")
}

// actions are all of Secrets Manager's.
// Source: Service authorization reference, "Actions defined by AWS Secrets Manager".
var actions = []string{
	"BatchGetSecretValue", "CancelRotateSecret", "CreateSecret", "DeleteResourcePolicy", "DeleteSecret", "DescribeSecret",
	"GetRandomPassword", "GetResourcePolicy", "GetSecretValue", "ListSecretVersionIds", "ListSecrets", "PutResourcePolicy",
	"PutSecretValue", "RemoveRegionsFromReplication", "ReplicateSecretToRegions", "RestoreSecret", "RotateSecret",
	"StopReplicationToReplica", "TagResource", "UntagResource", "UpdateSecret", "UpdateSecretVersionStage", "ValidateResourcePolicy",
}

// secretsManagers reports whether a pattern is of an action of Secrets Manager:
// all, one of the known, or one with wildcards.
func secretsManagers(pattern string) bool {
	service, name, ok := strings.Cut(pattern, ":")
	if service == "*" {
		return true
	}
	return ok && strings.EqualFold(service, "secretsmanager") &&
		(strings.ContainsAny(name, "*?") || slices.ContainsFunc(actions, func(a string) bool { return strings.EqualFold(a, name) }))
}

var (
	account = regexp.MustCompile(`^[0-9]{12}$`)
	// A user or role may have a path; a session has two names; none can be a
	// pattern.
	principalARN = regexp.MustCompile(`^arn:aws[a-z-]*:(iam::[0-9]{12}:(root|(user|role)/([!-~]+/)?[\w+=,.@-]+)|` +
		`sts::[0-9]{12}:(assumed-role/[\w+=,.@-]+/[\w+=,.@-]+|federated-user/[\w+=,.@-]+))$`)
	servicePrincipal = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*\.amazonaws\.com(\.cn)?$`)
)

// supported checks that the principals are of a kind that can be let to a
// secret. Nil is.
func (p *Principals) supported(where string) error {
	if p == nil {
		return nil
	}
	for _, a := range p.AWS {
		if a != "*" && !account.MatchString(a) && (!principalARN.MatchString(a) || strings.ContainsAny(a, "*?")) {
			return &Error{UnsupportedPrincipal, where + ".AWS", fmt.Sprintf(
				`is %q; write "*", an account number, or the ARN of an account's root, a user, a role or a session, without wildcards`, short(a))}
		}
	}
	for _, s := range p.Service {
		if !servicePrincipal.MatchString(s) {
			return &Error{UnsupportedService, where + ".Service", fmt.Sprintf("is %q; a service is lambda.amazonaws.com or the like", short(s))}
		}
	}
	switch {
	case p.Federated != nil:
		return &Error{UnsupportedPrincipal, where + ".Federated", "is for the trust policies of roles; name the role instead"}
	case p.CanonicalUser != nil:
		return &Error{UnsupportedPrincipal, where + ".CanonicalUser", "is for the policies of buckets; name the account instead"}
	}
	return nil
}
