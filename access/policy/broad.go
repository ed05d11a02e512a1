package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Public reports whether the policy of a secret lets everybody in, and by what.
// A statement does that if it allows something to "*", or to everyone but some,
// and neither a condition of its own nor a Deny keeps this to fixed values of a
// key that says whence a request comes.
//
// Source: Secrets Manager user guide, "Managing a resource-based policy for a
// secret" (SourceArn, SourceAccount, SourceVpc, SourceVpce); Amazon S3 user
// guide, "The meaning of 'public'", whose analysis AWS calls the same, for the
// rest.
func (d Document) Public() (public bool, why string) {
	fences := d.fences()
	for i := range d.Statements {
		s := &d.Statements[i]
		if s.Effect != Allow || !s.Principal.Anyone() && s.NotPrincipal == nil {
			continue
		}
		if slices.ContainsFunc(s.Conditions, narrows) || fenced(s, fences) {
			continue
		}
		whom := "everybody"
		if s.NotPrincipal != nil {
			whom = "everybody but a few (NotPrincipal)"
		}
		why := fmt.Sprintf("Statement[%d] allows %s, and no condition narrows that to fixed values of a key like aws:PrincipalOrgID", i, whom)
		for _, c := range s.Conditions {
			if narrowing[strings.ToLower(c.Key)] {
				why = fmt.Sprintf("Statement[%d] allows %s, and its %s of %s does not narrow that to fixed values", i, whom, c.Operator, c.Key)
			}
		}
		return true, why
	}
	return false, ""
}

// narrowing are the condition keys, in lower case, whose values only some
// callers can have.
var narrowing = map[string]bool{
	"aws:sourcearn": true, "aws:sourceaccount": true, "aws:sourcevpc": true, "aws:sourcevpce": true,
	"aws:principalorgid": true, "aws:principalarn": true, "aws:principalaccount": true, sourceIP: true,
}

const sourceIP = "aws:sourceip"

// narrows reports whether a condition of an Allow holds for few callers only. It
// must not hold where the key is missing, so IfExists and ForAllValues are out.
func narrows(c Condition) bool {
	return !c.Operator.Negated() && !c.Operator.IfExists && c.Operator.Set != ForAllValues && c.fixed()
}

// fence is a Deny that leaves some actions to few callers only.
type fence struct {
	*Statement
	actions uint32
}

// fences returns the statements that deny something to everybody except to few
// callers: Deny … StringNotEquals aws:SourceVpce.
func (d Document) fences() []fence {
	var all []fence
	for i := range d.Statements {
		s := &d.Statements[i]
		// What is left is what one of the conditions leaves.
		leaves := func(c Condition) bool { return !c.Operator.Negated() || c.Operator.Set != Single || !c.fixed() }
		if s.Effect == Deny && s.Principal.Anyone() && len(s.Conditions) > 0 && !slices.ContainsFunc(s.Conditions, leaves) {
			all = append(all, fence{s, s.actionSet()})
		}
	}
	return all
}

// fenced reports whether one of the fences takes back all that an Allow gives.
func fenced(allow *Statement, fences []fence) bool {
	if len(fences) == 0 {
		return false
	}
	given := allow.actionSet()
	return slices.ContainsFunc(fences, func(f fence) bool {
		return given&^f.actions == 0 && (f.onSecretOf("") || f.Resource != nil && slices.Equal(f.Resource, allow.Resource))
	})
}

// fixed reports whether the condition compares a narrowing key with values that
// stand for themselves: no wildcard, no variable, no wide range of addresses.
func (c Condition) fixed() bool {
	key := strings.ToLower(c.Key)
	switch f := operators[strings.ToLower(c.Operator.Name)].family; {
	case !narrowing[key]:
		return false
	case key == sourceIP && f != ofAddresses, key != sourceIP && f != ofText && f != ofARNs:
		return false
	}
	return !slices.ContainsFunc(c.Values, func(v string) bool {
		if key == sourceIP {
			return wide(v)
		}
		return v == "" || strings.ContainsAny(v, "*?") || strings.Contains(v, "${")
	})
}

// wide reports whether a range of addresses is as good as everybody: broader
// than /8, or /32 for IPv6.
func wide(v string) bool {
	p, ok := addresses(v)
	switch {
	case ok && p.Addr().Is4():
		return p.Bits() < 8
	case ok && p.Addr().Is4In6(): // ::ffff:0:0/96 is all of IPv4
		return p.Bits() < 96+8
	default:
		return !ok || p.Bits() < 32
	}
}

// LocksOut reports whether the policy of a secret forbids its own account,
// without any condition, both to replace and to delete the policy, and by what.
// arn is the secret's, or "" if it is not known yet.
func (d Document) LocksOut(account, arn string) (locked bool, why string) {
	open := []string{"PutResourcePolicy", "DeleteResourcePolicy"}
	var by []string
	for i := range d.Statements {
		s := &d.Statements[i]
		if s.Effect != Deny || len(s.Conditions) > 0 || !s.onWholeAccount(account) || !s.onSecretOf(arn) {
			continue
		}
		before := len(open)
		if open = slices.DeleteFunc(open, s.onAction); len(open) < before {
			by = append(by, fmt.Sprintf("Statement[%d]", i))
		}
	}
	if len(open) > 0 {
		return false, ""
	}
	return true, strings.Join(by, " and ") + " denies everybody in account " + account + " to change this policy again"
}

// onWholeAccount reports whether nobody in an account is left out of the
// statement.
func (s *Statement) onWholeAccount(account string) bool {
	if s.NotPrincipal != nil {
		return !slices.ContainsFunc(s.NotPrincipal.AWS, func(p string) bool {
			return p == account || strings.Contains(p, "::"+account+":")
		})
	}
	return s.Principal.Anyone() || slices.ContainsFunc(s.Principal.AWS, func(p string) bool {
		return p == account || strings.HasSuffix(p, ":iam::"+account+":root")
	})
}
