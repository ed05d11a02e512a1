package policy

import "fmt"

// Verdict is what the policies say of a request.
type Verdict struct {
	Allowed   bool
	Reason    Reason
	Statement At // that decided; the zero At where none did
}

// At is where a statement is.
type At struct {
	Policy   Kind
	Document int    // which of several policies of the kind, from 0
	Index    int    // of the statement in its document, from 0
	Sid      string // "" = none
}

// Kind is a kind of policy.
type Kind int

// The kinds of policies.
const (
	NoPolicy Kind = iota
	IdentityBased
	ResourceBased
	PermissionsBoundary
	SessionPolicy
)

// String names the kind as AWS's texts do.
func (k Kind) String() string {
	return [...]string{"none", "identity-based policy", "resource-based policy", "permissions boundary", "session policy"}[k]
}

// Reason is why a request is allowed or denied.
type Reason int

// The reasons, first those of a denial.
const (
	NoIdentityAllow Reason = iota
	NoResourceAllow
	NoBoundaryAllow
	NoSessionAllow
	DeniedByIdentity
	DeniedByResource
	DeniedByBoundary
	DeniedBySession
	AllowedByIdentity
	AllowedByResource
	AllowedByBoth // across accounts; Statement is the resource's
	AllowedAsRoot // the account's root user needs no policy
)

var explicit = map[Kind]Reason{
	IdentityBased: DeniedByIdentity, ResourceBased: DeniedByResource, PermissionsBoundary: DeniedByBoundary, SessionPolicy: DeniedBySession,
}

// kinds are the policies that the reasons of a denial speak of, in order.
var kinds = [...]Kind{IdentityBased, ResourceBased, PermissionsBoundary, SessionPolicy}

// String says the reason to people.
func (r Reason) String() string {
	switch r {
	case AllowedByIdentity:
		return "an identity-based policy allows it"
	case AllowedByResource:
		return "a resource-based policy allows it"
	case AllowedByBoth:
		return "an identity-based and a resource-based policy allow it"
	case AllowedAsRoot:
		return "the root user of an account may do everything in it"
	case DeniedByIdentity:
		return "explicit deny in an identity-based policy"
	}
	if r >= DeniedByIdentity {
		return fmt.Sprintf("explicit deny in a %s", kinds[r-DeniedByIdentity])
	}
	return fmt.Sprintf("no %s allows it", kinds[r])
}

// Denial returns the text of AWS's AccessDeniedException for a verdict that
// does not allow, "" for one that does. resource is the secret's ARN, or what
// was asked for if there is no such secret; "" or "*" leaves it out, as for
// actions without resource.
//
// DeniedByResource tells the caller that the secret exists. Who must not learn
// that from a caller without any Allow evaluates again without Resource and, if
// that denies too, gives that text.
//
// Source: IAM user guide, "Troubleshoot access denied error messages".
func (v Verdict) Denial(action, resource, callerARN string) string {
	if v.Allowed {
		return ""
	}
	s := "User: " + callerARN + " is not authorized to perform: " + action
	if resource != "" && resource != "*" {
		s += " on resource: " + resource
	}
	if v.Reason >= DeniedByIdentity {
		return s + " with an " + v.Reason.String()
	}
	return s + " because no " + kinds[v.Reason].String() + " allows the " + action + " action"
}
