package policy

import (
	"net/netip"
	"slices"
	"strings"
)

// Request is what somebody wants to do.
type Request struct {
	Action    string // secretsmanager:GetSecretValue
	Resource  string // the ARN, or what was asked for; "" or "*" where an action has no resource
	Principal Principal
	Context   Keys // nil = there are none
}

// Keys are the condition keys of a request. What the request says of the
// principal (aws:PrincipalArn, PrincipalAccount, PrincipalType, PrincipalTag/…,
// aws:userid, aws:username) is taken from Principal, and never asked for here.
type Keys interface {
	// Values returns the values of a key, whose name is as KeyName makes it; none
	// where the request hasn't it. They are not changed by either side.
	Values(name string) []string
}

// Principal is who asks.
type Principal struct {
	ARN     string // a session's is arn:aws:sts::…:assumed-role/<role>/<session>
	Account string // 12 digits
	Type    PrincipalType
	// Issuer is the ARN of the role that a session assumed, path included, or of
	// the user who federated; "" for users and the root user.
	Issuer   string
	UserID   string // aws:userid; "" = none
	Username string // aws:username; "" = none, as in sessions of roles
	Tags     []Tag  // aws:PrincipalTag/…, of the user or role and of the session; keys differ in more than case
}

// Tag is a tag of a principal.
type Tag struct{ Key, Value string }

// PrincipalType is a kind of principal, the value of aws:PrincipalType.
type PrincipalType string

// The kinds of principals.
const (
	RootUser      PrincipalType = "Account" // may do all that is not denied, within the account
	User          PrincipalType = "User"
	AssumedRole   PrincipalType = "AssumedRole"
	FederatedUser PrincipalType = "FederatedUser"
)

// Context is Keys that were all written down before: names as KeyName makes them,
// so use Add. A key with an empty list counts as missing.
type Context map[string][]string

// Values implements Keys.
func (c Context) Values(name string) []string { return c[name] }

// Add gives a key further values. Two names that differ only in case are one
// key: a secret's tags Team and team make a key of two values.
func (c Context) Add(name string, values ...string) {
	name = KeyName(name)
	c[name] = append(c[name], values...)
}

// key is a condition key.
type key struct {
	of   source
	name string // in lower case; of a tag: the tag's
}

type source int

const (
	ofContext source = iota
	ofARN
	ofAccount
	ofType
	ofUserID
	ofUsername
	ofTag
)

// KeyName returns the one form of a condition key's name, in which upper and
// lower case make no difference: lower case. Two names have the same form if and
// only if strings.EqualFold holds, by which tags are found: were there a letter
// in which the two differ, who may not set a tag could set it by another name.
func KeyName(name string) string { return strings.Map(folded, name) }

func keyOf(name string) key {
	name = KeyName(name)
	switch name {
	case "aws:principalarn":
		return key{of: ofARN}
	case "aws:principalaccount":
		return key{of: ofAccount}
	case "aws:principaltype":
		return key{of: ofType}
	case "aws:userid":
		return key{of: ofUserID}
	case "aws:username":
		return key{of: ofUsername}
	}
	if tag, ok := strings.CutPrefix(name, "aws:principaltag/"); ok {
		return key{ofTag, tag}
	}
	return key{ofContext, name}
}

// evaluation is a request being judged.
type evaluation struct {
	Request
	action  string    // in lower case
	bounded bool      // the principal has a permissions boundary
	value   [1]string // room for values

	parsed  string // the address read last, and what it is
	address netip.Addr
	valid   bool
}

// addressOf reads an IP address, an IPv4 one in IPv6's form as IPv4.
func (e *evaluation) addressOf(v string) (netip.Addr, bool) {
	if v == "" || v != e.parsed {
		a, err := netip.ParseAddr(v)
		e.parsed, e.address, e.valid = v, a.Unmap().WithZone(""), err == nil
	}
	return e.address, e.valid
}

// values returns the values of a key, none if the request hasn't it. They are
// good until the next call.
func (e *evaluation) values(k key) []string {
	if k.of == ofContext {
		return e.asked(k.name)
	}
	v, ok := e.own(k)
	if !ok {
		return nil
	}
	e.value[0] = v
	return e.value[:]
}

// single returns the value of a key that has exactly one: only these can stand
// for a variable.
func (e *evaluation) single(k key) (string, bool) {
	if k.of != ofContext {
		return e.own(k)
	}
	if v := e.asked(k.name); len(v) == 1 {
		return v[0], true
	}
	return "", false
}

// asked returns the values of a key that is not of the principal.
func (e *evaluation) asked(name string) []string {
	if e.Context == nil {
		return nil
	}
	return e.Context.Values(name)
}

// own returns what a request says of its principal.
func (e *evaluation) own(k key) (string, bool) {
	p := &e.Principal
	var v string
	switch k.of {
	case ofARN:
		// A session's key holds the role.
		if v = p.ARN; p.Type == AssumedRole {
			v = p.Issuer
		}
	case ofAccount:
		v = p.Account
	case ofType:
		v = string(p.Type)
	case ofUserID:
		v = p.UserID
	case ofUsername:
		v = p.Username
	case ofTag:
		for i := range p.Tags {
			if strings.EqualFold(p.Tags[i].Key, k.name) {
				return p.Tags[i].Value, true
			}
		}
		return "", false
	}
	return v, v != ""
}

// grant is how a statement of a resource's policy names the principal.
type grant int

const (
	unnamed   grant = iota
	delegated       // his account: its own policies decide further
	limited         // his role, or the user who federated: boundary and session policy limit it
	direct          // himself, or everybody
)

// named are the principals of an element, sorted by what they are.
type named struct {
	anyone   bool
	accounts []string
	arns     []string
}

// namedIn reads an element. Services and other kinds that no caller of Pawl is
// are left out.
func namedIn(p *Principals) named {
	n := named{anyone: p.Anyone()}
	if p == nil {
		return n
	}
	for _, a := range p.AWS {
		switch parts := strings.Split(a, ":"); {
		case account.MatchString(a):
			n.accounts = append(n.accounts, a)
		case len(parts) == 6 && parts[0] == "arn" && parts[2] == "iam" && account.MatchString(parts[4]) && parts[5] == "root":
			n.accounts = append(n.accounts, parts[4])
		case a != "*":
			n.arns = append(n.arns, a)
		}
	}
	return n
}

// names returns the strongest way in which the element names the principal.
// Source: IAM user guide, "AWS JSON policy elements: Principal".
func (n *named) names(p *Principal) grant {
	switch {
	case n.anyone, p.ARN != "" && slices.Contains(n.arns, p.ARN):
		return direct
	case p.Issuer != "" && slices.Contains(n.arns, p.Issuer):
		return limited
	case slices.Contains(n.accounts, p.Account):
		if p.Type == RootUser {
			return direct
		}
		return delegated
	}
	return unnamed
}

// exempts reports whether a NotPrincipal leaves the principal out of a Deny:
// only if it names him, his role and his account, and nobody set a permissions
// boundary on him.
// Source: IAM user guide, "AWS JSON policy elements: NotPrincipal" and
// "Permissions boundaries for IAM entities".
func (n *named) exempts(e *evaluation) bool {
	p := &e.Principal
	if e.bounded {
		return false
	}
	return n.anyone || slices.Contains(n.accounts, p.Account) &&
		(p.Type == RootUser || slices.Contains(n.arns, p.ARN)) &&
		(p.Issuer == "" || slices.Contains(n.arns, p.Issuer))
}
