package explain

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
)

// The parts of a statement are judged by the evaluator itself: each in a
// statement that has nothing else to fail by.

// near returns the statements that a denial for a reason lacked.
func (q *Question) near(reason policy.Reason) []Near {
	own := q.Resource == "" || q.Account == q.Principal.Account
	wanted := map[policy.Reason][]policy.Kind{
		policy.NoIdentityAllow: {policy.IdentityBased},
		policy.NoResourceAllow: {policy.ResourceBased},
		policy.NoBoundaryAllow: {policy.PermissionsBoundary},
		policy.NoSessionAllow:  {policy.SessionPolicy},
	}[reason]
	if reason == policy.NoIdentityAllow && own {
		wanted = append(wanted, policy.ResourceBased) // it alone would do
	}
	var all []Near
	q.each(func(at policy.At, version string, s policy.Statement) {
		if s.Effect != policy.Allow || !slices.Contains(wanted, at.Policy) || !q.acts(version, s) {
			return
		}
		if misses := q.misses(at.Policy, version, s); len(misses) > 0 {
			all = append(all, Near{at, misses})
		}
	})
	return all
}

// misses says why a statement about the action does not apply.
func (q *Question) misses(kind policy.Kind, version string, s policy.Statement) []string {
	var out []string
	if kind == policy.ResourceBased && !q.named(version, s) {
		out = append(out, "it is about other principals")
	}
	if !q.on(version, s) {
		switch {
		case s.NotResource != nil:
			out = append(out, "its NotResource leaves this out")
		case q.Resource == "":
			out = append(out, `its Resource must be "*": the action is not about one secret`)
		default:
			out = append(out, "its Resource does not match")
		}
	}
	for _, c := range s.Conditions {
		if !q.holds(version, s.Effect, c) {
			out = append(out, fmt.Sprintf("its condition %s does not hold: %s", Condition(c), q.values(version, c)))
		}
	}
	return out
}

// Condition writes a condition on one line.
func Condition(c policy.Condition) string {
	return fmt.Sprintf("%s %s [%s]", c.Operator, c.Key, strings.Join(c.Values, ", "))
}

// values says what the keys of a condition are in the request.
func (q *Question) values(version string, c policy.Condition) string {
	var out []string
	for _, k := range keysOf(version, c) {
		switch v := q.valuesOf(k); {
		case len(v) == 1:
			out = append(out, fmt.Sprintf("%s is %s", k, v[0]))
		case len(v) > 1:
			out = append(out, fmt.Sprintf("%s has the values %s", k, strings.Join(v, ", ")))
		case q.unknown(k):
			out = append(out, k+" is not given")
		default:
			out = append(out, k+" has no value")
		}
	}
	return strings.Join(out, ", ")
}

// concerned reports whether a statement is about the request but for its
// conditions.
func (q *Question) concerned(kind policy.Kind, version string, s policy.Statement) bool {
	open := func(r string) bool { return slices.ContainsFunc(variables(version, r), q.unknown) }
	where := slices.ContainsFunc(slices.Concat(s.Resource, s.NotResource), open) || q.on(version, s)
	return where && q.acts(version, s) && (kind != policy.ResourceBased || q.named(version, s))
}

// acts reports whether a statement is about the action.
func (q *Question) acts(version string, s policy.Statement) bool {
	return q.alone(version, policy.Statement{Effect: policy.Allow, Action: s.Action, NotAction: s.NotAction, Resource: []string{"*"}})
}

// on reports whether a statement is about the resource.
func (q *Question) on(version string, s policy.Statement) bool {
	part := policy.Statement{Effect: s.Effect, Action: []string{"*"}, Resource: s.Resource, NotResource: s.NotResource}
	return q.alone(version, part)
}

// holds reports whether a condition of a statement with an effect does.
func (q *Question) holds(version string, effect policy.Effect, c policy.Condition) bool {
	return q.alone(version, policy.Statement{Effect: effect, Action: []string{"*"}, Resource: []string{"*"}, Conditions: []policy.Condition{c}})
}

// alone reports whether a statement applies where it alone is attached to the
// principal.
func (q *Question) alone(version string, s policy.Statement) bool {
	own := *q
	own.Account, own.AttachedMust = q.Principal.Account, false
	v := own.decide(access.Policies{Identity: documents(version, s)}, nil)
	if s.Effect == policy.Deny {
		return v.Reason == policy.DeniedByIdentity
	}
	return v.Reason == policy.AllowedByIdentity
}

// everything is a policy that allows all.
var everything = documents(policy.Version2012, policy.Statement{Effect: policy.Allow, Action: []string{"*"}, Resource: []string{"*"}})

// named reports whether a statement of a resource's policy is about the
// principal, or about his account.
func (q *Question) named(version string, s policy.Statement) bool {
	part := policy.Statement{Effect: s.Effect, Action: []string{"*"}, Resource: []string{"*"}, Principal: s.Principal, NotPrincipal: s.NotPrincipal}
	// To another account's resource every way of being named is enough.
	other := *q
	if other.Resource == "" {
		other.Resource = "arn:aws:secretsmanager:::secret:any"
	}
	v := other.fromOutside(documents(version, part)[0])
	if s.Effect == policy.Deny {
		return v.Reason == policy.DeniedByResource
	}
	return v.Allowed
}

func documents(version string, s policy.Statement) []*policy.Prepared {
	return []*policy.Prepared{policy.Prepare(policy.Document{Version: version, Statements: []policy.Statement{s}})}
}

// keysOf returns the key of a condition, and the keys whose values its own stand
// for.
func keysOf(version string, c policy.Condition) []string {
	keys := []string{c.Key}
	for _, v := range c.Values {
		for _, k := range variables(version, v) {
			if !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	return keys
}

// variables returns the keys of the variables in a text: ${key} and
// ${key, 'default'}.
func variables(version, text string) []string {
	var keys []string
	for version == policy.Version2012 {
		_, rest, ok := strings.Cut(text, "${")
		inner, after, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			break
		}
		text = after
		key, _, _ := strings.Cut(inner, ",")
		if key = strings.TrimSpace(key); strings.Contains(key, ":") {
			keys = append(keys, key)
		}
	}
	return keys
}

// valuesOf returns the values that a request has of a key.
func (q *Question) valuesOf(key string) []string {
	key = policy.KeyName(key)
	if !principals(key) {
		return q.Context[key]
	}
	p := &q.Principal
	v := ""
	switch key {
	case "aws:principalarn":
		if v = p.ARN; p.Issuer != "" {
			v = p.Issuer
		}
	case "aws:principalaccount":
		v = p.Account
	case "aws:principaltype":
		v = string(p.Type)
	case "aws:userid":
		v = p.UserID
	case "aws:username":
		v = p.Username
	default:
		for _, t := range p.Tags {
			if strings.EqualFold(t.Key, key[len(principalTag):]) {
				return []string{t.Value}
			}
		}
	}
	if v == "" {
		return nil
	}
	return []string{v}
}

const principalTag = "aws:principaltag/"

// Principals reports whether a condition key is what a request says of its
// principal, which policy.Context never holds.
func Principals(key string) bool { return principals(policy.KeyName(key)) }

func principals(key string) bool {
	switch key {
	case "aws:principalarn", "aws:principalaccount", "aws:principaltype", "aws:userid", "aws:username":
		return true
	}
	return strings.HasPrefix(key, principalTag)
}
