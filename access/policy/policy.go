// Package policy reads IAM policy documents and says what one means for a
// secret. Parse reads the grammar that all policies share; ParseResource adds
// what Secrets Manager asks of a policy attached to a secret, ParseIdentity what
// IAM asks of one attached to a user, role or session. The result is plain data:
// every element is normalised, so that one form of each is left (single texts
// become lists, operators get their canonical names), and nothing that was
// written is lost. Prepare makes it ready for Evaluate, which judges a request.
//
// Source: IAM user guide, "Grammar of the IAM JSON policy language" and the
// pages on the policy elements.
package policy

import "slices"

// The versions of the policy language. Policy variables (${aws:username}) mean
// something only in Version2012.
const (
	Version2012 = "2012-10-17"
	Version2008 = "2008-10-17"
)

// Document is a policy.
type Document struct {
	Version    string // Version2012 or Version2008; the latter where none was written
	ID         string
	Statements []Statement // at least one
}

// Statement is one rule. Of each pair exactly one is set, but that Principal
// and NotPrincipal, and Resource and NotResource, may both be missing outside
// of policies on resources. A list is never empty where it is set.
type Statement struct {
	Sid    string // unique within its document; "" = none
	Effect Effect

	Principal, NotPrincipal *Principals
	// Patterns with * and ?, compared without regard to case: * or
	// service:action.
	Action, NotAction []string
	// Patterns with * and ?, compared with regard to case: * or an ARN.
	Resource, NotResource []string

	// Conditions must all hold. Nil for none.
	Conditions []Condition
}

// Effect is what a statement does when it applies.
type Effect string

// The effects.
const (
	Allow Effect = "Allow"
	Deny  Effect = "Deny"
)

// Principals is whom a statement is about, by kind. The single word "*" is
// AWS: ["*"], which means the same in a policy on a resource.
type Principals struct {
	AWS           []string // *, account numbers, ARNs
	Service       []string // lambda.amazonaws.com
	Federated     []string
	CanonicalUser []string
}

// Anyone reports whether everybody is meant.
func (p *Principals) Anyone() bool { return p != nil && slices.Contains(p.AWS, "*") }

// Condition compares a key of the request's context with values. It holds if
// the operator does for one of the values (a negated operator: for none of
// them).
type Condition struct {
	Operator Operator
	Key      string   // as written; compared without regard to case
	Values   []string // at least one; numbers and booleans as they were written
}

// Cause is which of AWS's three complaints an Error is.
type Cause int

// The causes.
const (
	Syntax Cause = iota
	UnsupportedPrincipal
	UnsupportedService
)

// Error is what is wrong with a policy, and where.
type Error struct {
	Cause Cause
	Where string // Statement[0].Condition.IpAddress.aws:SourceIp; "" = the document itself
	What  string // for people
}

// Error says where and what.
func (e *Error) Error() string {
	if e.Where == "" {
		return "the policy " + e.What
	}
	return e.Where + " " + e.What
}

// AWS returns the text of AWS's MalformedPolicyDocumentException.
// Source: Secrets Manager user guide, "Managing a resource-based policy for a
// secret".
func (e *Error) AWS() string {
	switch e.Cause {
	case UnsupportedPrincipal:
		return "This resource policy contains an unsupported principal."
	case UnsupportedService:
		return "This resource policy contains an unsupported service principal."
	default:
		return "This resource policy contains a syntax error."
	}
}
