// Package explain says why policies allow or deny something: which statement
// decided, which ones nearly did, and which condition keys could turn the
// verdict. The verdict itself is access/policy's, the same that the server acts
// on; nothing here decides anything.
package explain

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
)

// Question is what somebody wants to do, as access.Principal.Decide takes it.
type Question struct {
	Principal access.Principal
	Action    string // secretsmanager:GetSecretValue
	Resource  string // an ARN; "" for an action without one
	Account   string // whose the resource is
	Attached  *policy.Prepared
	// AttachedMust: the policy on the resource must allow in any case, as that of a
	// role must; elsewhere the principal's own are enough within an account.
	AttachedMust bool
	Context      policy.Context
	// Unknown reports whether a request could have a condition key that Context
	// has no value of; the name is in lower case. Nil = none could.
	Unknown func(key string) bool
}

// Answer is a verdict, and why.
type Answer struct {
	policy.Verdict
	// Statements are those that decided: none where nothing allows, two where the
	// principal's and the resource's account both must.
	Statements []policy.At
	// MayAllow and MayDeny say of a verdict that some value of the Unknown keys
	// could turn it; DependsOn are these keys, as policies write them.
	MayAllow, MayDeny bool
	DependsOn         []string
	// Near are the statements that would have allowed it but for what Misses say.
	Near []Near
}

// Near is a statement that is about the action, and does not apply.
type Near struct {
	policy.At
	Misses []string
}

// Explain judges what is asked.
func Explain(q Question) Answer {
	a := Answer{Verdict: q.decide(q.Principal.Policies, q.Attached)}
	if a.Statement.Policy != policy.NoPolicy {
		a.Statements = append(a.Statements, a.Statement)
	}
	switch {
	case a.Reason == policy.AllowedByBoth:
		// The principal's side is what decides where only that is asked.
		own := q
		own.Account, own.AttachedMust = q.Principal.Account, false
		if v := own.decide(q.Principal.Policies, nil); v.Statement.Policy == policy.IdentityBased {
			a.Statements = append([]policy.At{v.Statement}, a.Statements...)
		}
	case a.Reason == policy.AllowedByIdentity && q.AttachedMust:
		a.Statements = append(a.Statements, q.fromOutside(q.Attached).Statement)
		a.Reason = policy.AllowedByBoth
	}
	a.DependsOn = q.dependsOn()
	if len(a.DependsOn) > 0 {
		a.MayAllow = !a.Allowed && q.assuming(policy.Allow).Allowed
		a.MayDeny = a.Allowed && !q.assuming(policy.Deny).Allowed
	}
	if !a.Allowed && a.Reason < policy.DeniedByIdentity {
		a.Near = q.near(a.Reason)
	}
	return a
}

func (q *Question) decide(p access.Policies, attached *policy.Prepared) policy.Verdict {
	who := q.Principal
	who.Policies = p
	v := who.Decide(q.Action, q.Resource, q.Account, attached, q.Context)
	explicit := !v.Allowed && v.Reason >= policy.DeniedByIdentity
	if q.AttachedMust && !explicit && !q.fromOutside(attached).Allowed {
		v = policy.Verdict{Reason: policy.NoResourceAllow}
	}
	return v
}

// fromOutside judges by the policy on the resource alone: as if it were another
// account's, and the principal's own policies allowed all.
func (q *Question) fromOutside(attached *policy.Prepared) policy.Verdict {
	who := q.Principal
	who.Policies = access.Policies{Identity: everything}
	if q.Principal.Policies.Boundary != nil {
		who.Policies.Boundary = everything[0] // a NotPrincipal spares nobody who has one
	}
	return who.Decide(q.Action, q.Resource, another, attached, q.Context)
}

// another is no principal's account.
const another = ""

// group is policies of one kind.
type group struct {
	kind policy.Kind
	all  []*policy.Prepared
}

// groups are all policies that have a say.
func (q *Question) groups() []group {
	p := q.Principal.Policies
	return []group{
		{policy.IdentityBased, p.Identity}, {policy.PermissionsBoundary, one(p.Boundary)},
		{policy.SessionPolicy, p.Session}, {policy.ResourceBased, one(q.Attached)},
	}
}

func one(p *policy.Prepared) []*policy.Prepared {
	if p == nil {
		return nil
	}
	return []*policy.Prepared{p}
}

// each calls visit with every statement that has a say.
func (q *Question) each(visit func(at policy.At, version string, s policy.Statement)) {
	for _, g := range q.groups() {
		for d, doc := range g.all {
			for i, s := range doc.Document.Statements {
				visit(policy.At{Policy: g.kind, Document: d, Index: i, Sid: s.Sid}, doc.Document.Version, s)
			}
		}
	}
}

// dependsOn returns the unknown keys in what is about the request but for
// conditions, each once.
func (q *Question) dependsOn() []string {
	var keys []string
	add := func(key string) {
		if q.unknown(key) && !slices.ContainsFunc(keys, func(k string) bool { return strings.EqualFold(k, key) }) {
			keys = append(keys, key)
		}
	}
	q.each(func(at policy.At, version string, s policy.Statement) {
		if !q.concerned(at.Policy, version, s) {
			return
		}
		for _, r := range slices.Concat(s.Resource, s.NotResource) {
			for _, v := range variables(version, r) {
				add(v)
			}
		}
		for _, c := range s.Conditions {
			for _, k := range keysOf(version, c) {
				add(k)
			}
		}
	})
	return keys
}

func (q *Question) unknown(key string) bool {
	key = policy.KeyName(key)
	return q.Unknown != nil && len(q.Context[key]) == 0 && !principals(key) && q.Unknown(key)
}

// assuming judges as if all that depends on unknown keys were so that the
// request gets that effect.
func (q *Question) assuming(effect policy.Effect) policy.Verdict {
	p := q.Principal.Policies
	turned := access.Policies{Identity: q.turn(p.Identity, effect), Session: q.turn(p.Session, effect)}
	if p.Boundary != nil {
		turned.Boundary = q.turn([]*policy.Prepared{p.Boundary}, effect)[0]
	}
	var attached *policy.Prepared
	if q.Attached != nil {
		attached = q.turn([]*policy.Prepared{q.Attached}, effect)[0]
	}
	return q.decide(turned, attached)
}

// turn returns the documents with what depends on unknown keys decided: it holds
// in statements of the effect, and in the others it does not.
func (q *Question) turn(docs []*policy.Prepared, effect policy.Effect) []*policy.Prepared {
	var out []*policy.Prepared
	for _, doc := range docs {
		d := doc.Document
		d.Statements = slices.Clone(d.Statements)
		for i := range d.Statements {
			s := &d.Statements[i]
			open := func(c policy.Condition) bool { return slices.ContainsFunc(keysOf(d.Version, c), q.unknown) }
			hole := func(r string) bool { return slices.ContainsFunc(variables(d.Version, r), q.unknown) }
			where := slices.ContainsFunc(slices.Concat(s.Resource, s.NotResource), hole)
			switch {
			case !where && !slices.ContainsFunc(s.Conditions, open):
			case s.Effect == effect:
				s.Conditions = slices.DeleteFunc(slices.Clone(s.Conditions), open)
				if where {
					s.Resource, s.NotResource = []string{"*"}, nil
				}
			default:
				s.Action, s.NotAction = []string{"none:none"}, nil
			}
		}
		out = append(out, policy.Prepare(d))
	}
	return out
}

// Raw returns a statement as its document has it, or nil if it has none there.
func Raw(document string, index int) json.RawMessage {
	var d struct{ Statement json.RawMessage }
	if json.Unmarshal([]byte(document), &d) != nil {
		return nil
	}
	var all []json.RawMessage
	if json.Unmarshal(d.Statement, &all) != nil {
		all = []json.RawMessage{d.Statement} // a single one needs no list
	}
	if index < 0 || index >= len(all) {
		return nil
	}
	return all[index]
}

// About reports whether a statement is about an action on a resource, whoever
// does it and under whatever conditions.
func About(version string, s policy.Statement, action, resource string) bool {
	q := Question{Action: action, Resource: resource}
	return q.acts(version, s) && q.on(version, s)
}
