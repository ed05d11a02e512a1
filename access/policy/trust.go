package policy

import (
	"fmt"
	"slices"
	"strings"
)

// ParseTrust reads the trust policy of a role. Beyond Parse, every statement
// says about whom it is and is about STS's actions, and none names a resource:
// that is the role itself, so that each statement gets "*". The error is an
// *Error.
//
// What AWS takes and Pawl can't heed is refused where it would allow somebody in
// (identity providers); a service as principal is taken and never comes.
//
// Source: IAM user guide, "Grammar of the IAM JSON policy language" and "IAM
// roles: trust policies"; AWS JSON policy elements: NotPrincipal.
func ParseTrust(document string) (Document, error) {
	d, err := Parse(document)
	if err != nil {
		return d, err
	}
	for i := range d.Statements {
		s := &d.Statements[i]
		if err := s.onRole(fmt.Sprintf("Statement[%d]", i)); err != nil {
			return Document{}, err
		}
		s.Resource = []string{"*"}
	}
	return d, nil
}

// onRole checks what IAM asks of a statement that says who may assume a role.
func (s *Statement) onRole(where string) error {
	switch {
	case s.Principal == nil && s.NotPrincipal == nil:
		return syntax(where, "has no Principal: a trust policy says who may assume the role")
	case s.Resource != nil || s.NotResource != nil:
		return syntax(where, "names a resource: a trust policy is about its role; leave Resource out")
	case s.NotPrincipal != nil && s.Effect == Allow:
		return syntax(where+".NotPrincipal", "would let everybody in but a few; write Principal, or Effect Deny")
	case s.NotPrincipal.Anyone():
		return &Error{UnsupportedPrincipal, where + ".NotPrincipal", `is "*": nobody would be left`}
	}
	for _, a := range slices.Concat(s.Action, s.NotAction) {
		if !ofSTS(a) {
			return syntax(where, "has the action %q, which is none of a trust policy's (sts:AssumeRole, sts:TagSession)", short(a))
		}
	}
	who, where := s.Principal, where+".Principal"
	if who == nil {
		who, where = s.NotPrincipal, strings.Replace(where, ".Principal", ".NotPrincipal", 1)
	}
	if who.Federated != nil {
		return &Error{UnsupportedPrincipal, where + ".Federated", "is for identity providers, whom Pawl does not know; name a user, a role or an account"}
	}
	return who.supported(where)
}

// trusting are the actions that trust policies speak of.
// Source: Service authorization reference, "Actions defined by AWS Security Token Service".
var trusting = []string{"AssumeRole", "TagSession", "SetSourceIdentity", "AssumeRoleWithSAML", "AssumeRoleWithWebIdentity", "SetContext"}

// ofSTS reports whether a pattern is of an action of STS on a role.
func ofSTS(pattern string) bool {
	service, name, ok := strings.Cut(pattern, ":")
	if service == "*" {
		return true
	}
	return ok && strings.EqualFold(service, "sts") &&
		(strings.ContainsAny(name, "*?") || slices.ContainsFunc(trusting, func(a string) bool { return strings.EqualFold(a, name) }))
}
