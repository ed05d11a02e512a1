package policy

import "fmt"

// ParseIdentity reads an identity-based policy, a permissions boundary or a
// session policy. Beyond Parse, every statement says on what it is, and none
// says about whom. The error is an *Error.
//
// Source: IAM user guide, "Grammar of the IAM JSON policy language" and "AWS
// JSON policy elements: Principal".
func ParseIdentity(document string) (Document, error) {
	d, err := Parse(document)
	if err != nil {
		return d, err
	}
	for i := range d.Statements {
		s, where := &d.Statements[i], fmt.Sprintf("Statement[%d]", i)
		switch {
		case s.Principal != nil || s.NotPrincipal != nil:
			return Document{}, syntax(where, "has a Principal: this policy is about whom it is attached to")
		case s.Resource == nil && s.NotResource == nil:
			return Document{}, syntax(where, `has no Resource: write an ARN, or "*" for all`)
		}
	}
	return d, nil
}
