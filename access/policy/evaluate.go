package policy

import (
	"strings"
	"sync"
)

// Prepared is a document made ready to be evaluated, often and by many at once.
type Prepared struct {
	Document   Document
	statements []prepared
	weight     int
}

// Weight is about how many bytes it takes in memory, its document's text
// included. Who remembers documents must not go by the length of their texts: a
// text of nothing but short patterns becomes forty times as much.
func (p *Prepared) Weight() int { return p.weight }

// Prepare reads a document's patterns, operators and variables once.
func Prepare(d Document) *Prepared {
	p := &Prepared{Document: d}
	variables := d.Version == Version2012
	for _, s := range d.Statements {
		ready := prepareStatement(s, variables)
		p.statements = append(p.statements, ready)
		p.weight += ready.weight()
	}
	return p
}

// Policies are all that have a say in one request.
type Policies struct {
	Identity []*Prepared // of the user or role, and of the user's groups
	Boundary *Prepared   // the permissions boundary; nil = none
	Session  []*Prepared // the session's; none = not limited, but for a FederatedUser
	Resource *Prepared   // attached to the secret; nil = none

	ResourceAccount string // whose the resource is; not asked for where an action has no resource
}

// Evaluate judges a request.
//
//   - A Deny in any policy that applies to the request wins.
//   - The root user may do what isn't denied in the own account.
//   - Within one account, an Allow in an identity-based or in the resource's
//     policy is enough. Boundary and session policy limit it, unless the
//     resource's policy names the user or the session itself, or everybody;
//     naming the account gives nothing by itself, it leaves the matter to the
//     account's identity-based policies.
//   - Across accounts both sides must allow, the resource's policy at least to
//     the principal's account.
//   - Everything else is denied.
//
// What no page of IAM's decides falls to the safe side: a statement without
// Resource, or with a Principal in a policy that has none, denies but does not
// allow; a session policy on a plain user, which AWS does not know, always
// limits.
//
// Source: IAM user guide, "Policy evaluation logic", "Cross-account policy
// evaluation logic" and "AWS JSON policy elements: Principal".
func Evaluate(p Policies, r Request) Verdict {
	e := evaluations.Get().(*evaluation)
	defer func() {
		*e = evaluation{}
		evaluations.Put(e)
	}()
	e.Request, e.action, e.bounded = r, strings.ToLower(r.Action), p.Boundary != nil
	if at := p.denies(e); at.Policy != NoPolicy {
		return Verdict{Reason: explicit[at.Policy], Statement: at}
	}
	who := &e.Principal
	root := who.Type == RootUser
	identity, byIdentity := allows(e, IdentityBased, p.Identity)
	byIdentity = byIdentity || root
	shared, how := resourceGrant(e, p.Resource)

	own := r.Resource == "" || r.Resource == "*" || p.ResourceAccount == who.Account
	switch {
	case own && how == direct && !(who.Type == User && len(p.Session) > 0):
		return Verdict{Allowed: true, Reason: AllowedByResource, Statement: shared}
	case !byIdentity && !(own && how >= limited):
		return Verdict{Reason: NoIdentityAllow}
	}
	if p.Boundary != nil {
		if _, ok := allows(e, PermissionsBoundary, []*Prepared{p.Boundary}); !ok {
			return Verdict{Reason: NoBoundaryAllow}
		}
	}
	if len(p.Session) > 0 || who.Type == FederatedUser {
		if _, ok := allows(e, SessionPolicy, p.Session); !ok {
			return Verdict{Reason: NoSessionAllow}
		}
	}
	switch {
	case !own && how == unnamed:
		return Verdict{Reason: NoResourceAllow}
	case !own:
		return Verdict{Allowed: true, Reason: AllowedByBoth, Statement: shared}
	case identity.Policy != NoPolicy:
		return Verdict{Allowed: true, Reason: AllowedByIdentity, Statement: identity}
	case root:
		return Verdict{Allowed: true, Reason: AllowedAsRoot}
	}
	return Verdict{Allowed: true, Reason: AllowedByResource, Statement: shared}
}

// denies returns the first Deny that applies, the caller's own policies first:
// their answer says nothing of the resource.
func (p *Policies) denies(e *evaluation) At {
	for _, group := range []struct {
		kind Kind
		all  []*Prepared
	}{{IdentityBased, p.Identity}, {PermissionsBoundary, []*Prepared{p.Boundary}}, {SessionPolicy, p.Session}, {ResourceBased, []*Prepared{p.Resource}}} {
		if at, ok := find(e, group.kind, group.all, Deny); ok {
			return at
		}
	}
	return At{}
}

// evaluations are kept for the next ones; what is in one goes when it is over.
var evaluations = sync.Pool{New: func() any { return new(evaluation) }}

func allows(e *evaluation, kind Kind, all []*Prepared) (At, bool) { return find(e, kind, all, Allow) }

// find returns the first statement of an effect that applies.
func find(e *evaluation, kind Kind, all []*Prepared, effect Effect) (At, bool) {
	for d, doc := range all {
		if doc == nil {
			continue
		}
		for i := range doc.statements {
			s := &doc.statements[i]
			if s.Effect == effect && s.concerns(e, kind) != unnamed && s.applies(e) {
				return At{kind, d, i, s.Sid}, true
			}
		}
	}
	return At{}, false
}

// resourceGrant returns the Allow of a resource's policy that gives the
// principal most.
func resourceGrant(e *evaluation, doc *Prepared) (best At, how grant) {
	if doc == nil {
		return At{}, unnamed
	}
	for i := range doc.statements {
		s := &doc.statements[i]
		if s.Effect != Allow {
			continue
		}
		if g := s.concerns(e, ResourceBased); g > how && s.applies(e) {
			best, how = At{ResourceBased, 0, i, s.Sid}, g
		}
	}
	return best, how
}

// prepared is a statement, read once.
type prepared struct {
	*Statement
	actions, resources []pattern // of Action or NotAction, Resource or NotResource
	principals         named     // of Principal or NotPrincipal
	conditions         []clause
}

func prepareStatement(s Statement, variables bool) prepared {
	p := prepared{Statement: &s}
	for _, list := range [][]string{s.Action, s.NotAction} {
		for _, a := range list {
			p.actions = append(p.actions, compile(strings.ToLower(a), syntaxOf{wildcards: true}))
		}
	}
	for _, list := range [][]string{s.Resource, s.NotResource} {
		for _, r := range list {
			p.resources = append(p.resources, compile(r, syntaxOf{wildcards: true, variables: variables}))
		}
	}
	p.principals = namedIn(s.Principal)
	if s.NotPrincipal != nil {
		p.principals = namedIn(s.NotPrincipal)
	}
	for _, c := range s.Conditions {
		p.conditions = append(p.conditions, prepareCondition(c, variables))
	}
	return p
}

// What parts of a prepared document take in memory beside their texts, about.
const (
	statementCost = 800
	patternCost   = 200
	numberCost    = 60 // or an address
	conditionCost = 400
)

// weight is about how many bytes the statement takes.
func (s *prepared) weight() int {
	n := statementCost
	add := func(texts []string, each int) {
		for _, t := range texts {
			n += each + 5*len(t) // as a text, and as runes
		}
	}
	for _, list := range [][]string{s.Action, s.NotAction, s.Resource, s.NotResource} {
		add(list, patternCost)
	}
	for _, p := range []*Principals{s.Principal, s.NotPrincipal} {
		if p != nil {
			add(p.AWS, patternCost)
			add(p.Service, patternCost)
		}
	}
	for _, c := range s.Conditions {
		n += conditionCost
		each := patternCost
		switch operators[strings.ToLower(c.Operator.Name)].family {
		case ofARNs:
			each = arnParts * patternCost
		case ofNumbers, ofDates, ofAddresses, ofBinary:
			each = numberCost
		}
		add(c.Values, each)
		add([]string{c.Key}, 0)
	}
	return n
}

// concerns returns how the statement, of a policy of a kind, is about the
// principal.
func (s *prepared) concerns(e *evaluation, kind Kind) grant {
	names := s.Principal != nil || s.NotPrincipal != nil
	switch {
	case names != (kind == ResourceBased): // malformed
		if s.Effect == Deny {
			return direct
		}
		return unnamed
	case kind != ResourceBased:
		return direct
	case s.NotPrincipal == nil:
		return s.principals.names(&e.Principal)
	case s.Effect == Deny && s.principals.exempts(e), s.Effect == Allow && s.principals.names(&e.Principal) != unnamed:
		return unnamed
	}
	return direct
}

// applies reports whether action, resource and conditions are the request's.
func (s *prepared) applies(e *evaluation) bool {
	acts := false
	for i := range s.actions {
		if s.actions[i].plain(e.action) {
			acts = true
			break
		}
	}
	if acts != (s.NotAction == nil) || !s.on(e) {
		return false
	}
	for i := range s.conditions {
		if !s.conditions[i].holds(e, s.Effect == Deny) {
			return false
		}
	}
	return true
}

// on reports whether the statement is about the request's resource.
func (s *prepared) on(e *evaluation) bool {
	asked := e.Resource
	if asked == "" {
		asked = "*"
	}
	matched, known := matchAny(s.resources, e, asked)
	switch {
	case s.Resource != nil:
		return matched
	case s.NotResource != nil:
		return !matched && (known || s.Effect == Deny)
	}
	return s.Effect == Deny
}
