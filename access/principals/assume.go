package principals

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
)

// maxChained is how long a session may last that a session of a role makes.
// Source: IAM user guide, "Roles terms and concepts", role chaining.
const maxChained = time.Hour

const maxExternalID = 1224

var (
	anyRoleARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]{12}:role/[!-~]{1,512}$`)
	// 2 to maxExternalID characters. Source: STS API reference, AssumeRole.
	validExternalID = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)
)

// AssumeRole makes session credentials of a role for a caller whom its trust
// policy allows, and whom his own policies do where he is of another account or
// the trust policy names but the account. Errors: Denied with Code AccessDenied
// and STS's text, which is the same for a role that there is not; Code
// ValidationError, and those of Session.
func (d *Directory) AssumeRole(ctx context.Context, caller access.Principal, roleARN string, n NewSession) (*Credentials, error) {
	if n.Name == "" {
		n.Name = sessionNameOf(&caller)
	}
	if !anyRoleARN.MatchString(roleARN) {
		e := invalid("%s is invalid", cut(roleARN)).WithHint("a role's ARN is arn:aws:iam::ACCOUNT:role/NAME")
		e.Code = "ValidationError"
		return nil, e
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	if id := n.ExternalID; id != "" && (len(id) > maxExternalID || !validExternalID.MatchString(id)) {
		return nil, unfit("at 'externalId' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@:\\/-]{2,1224}").
			WithHint("an ExternalId has 2 to 1224 letters, digits and +=,.@:/-_")
	}
	if caller.Type == policy.AssumedRole && n.Duration > maxChained {
		e := invalid("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.").
			WithHint("ask for at most 1h, or assume the role as a user")
		e.Code = "ValidationError"
		return nil, e
	}
	r, err := d.look(ctx, roleARN)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, mayNotAssume(&caller, "sts:AssumeRole", roleARN)
	case err != nil:
		return nil, err
	case r.Disabled:
		return nil, mayNotAssume(&caller, "sts:AssumeRole", roleARN)
	}
	trust, err := d.prepare(r, document{trust: true, text: r.Trust}, "the trust policy")
	if err != nil {
		return nil, err
	}
	c := n.context(r)
	if !mayAssume(&caller, "sts:AssumeRole", r, trust, c) {
		return nil, mayNotAssume(&caller, "sts:AssumeRole", roleARN)
	}
	// Tags of a session are rights by themselves wherever policies ask for them.
	if len(n.Tags) > 0 && !mayAssume(&caller, "sts:TagSession", r, trust, c) {
		return nil, mayNotAssume(&caller, "sts:TagSession", roleARN)
	}
	return d.newSession(ctx, r, n)
}

// sessionNameOf is what a session is called after the caller.
func sessionNameOf(caller *access.Principal) string {
	name := caller.Username
	if name == "" {
		name = caller.ARN[strings.LastIndexAny(caller.ARN, "/:")+1:]
	}
	if !validSession.MatchString(name) {
		return defaultSession
	}
	return name
}

// everything allows all, as the policy of a principal would.
var everything = []*policy.Prepared{policy.Prepare(policy.Document{
	Version:    policy.Version2012,
	Statements: []policy.Statement{{Effect: policy.Allow, Action: []string{"*"}, Resource: []string{"*"}}},
})}

// mayAssume judges by the trust policy and by the caller's own. Unlike other
// policies on resources, a trust policy must allow in any case: what the caller's
// own policies allow within the account is not enough, nor is being its root.
// Source: IAM user guide, "Policy evaluation logic", and "Cross-account policy
// evaluation logic".
func mayAssume(caller *access.Principal, action string, r *Record, trust *policy.Prepared, c policy.Keys) bool {
	// The trust policy alone: from another account both sides must allow, and this
	// caller's side does.
	const another = ""
	alone := *caller
	alone.Policies = access.Policies{Identity: everything}
	return alone.Decide(action, r.ARN(), another, trust, c).Allowed &&
		caller.Decide(action, r.ARN(), r.Account, trust, c).Allowed
}

// asking is what policies can ask of a request to assume a role: of the role and
// the session, and what the request said besides.
type asking struct {
	policy.Context
	request policy.Keys
}

// Values implements policy.Keys.
func (a asking) Values(name string) []string {
	if v := a.Context.Values(name); len(v) > 0 || a.request == nil {
		return v
	}
	return a.request.Values(name)
}

// context returns what policies can ask.
// Source: Service authorization reference, "Condition keys for AWS Security Token
// Service".
func (n *NewSession) context(r *Record) policy.Keys {
	c := policy.Context{}
	c.Add("sts:RoleSessionName", n.Name)
	if n.ExternalID != "" {
		c.Add("sts:ExternalId", n.ExternalID)
	}
	for _, t := range n.Tags {
		c.Add("aws:RequestTag/"+t.Key, t.Value)
		c.Add("aws:TagKeys", t.Key)
	}
	for _, t := range r.Tags {
		c.Add("aws:ResourceTag/"+t.Key, t.Value)
		c.Add("iam:ResourceTag/"+t.Key, t.Value)
	}
	return asking{c, n.Context}
}

// mayNotAssume is STS's refusal. It is the same for a role that is not there.
func mayNotAssume(caller *access.Principal, action, roleARN string) error {
	return &secrets.Error{
		Kind: secrets.Denied, Code: "AccessDenied",
		Err:  errors.New("User: " + caller.ARN + " is not authorized to perform: " + action + " on resource: " + roleARN),
		Hint: "both the role's trust policy and, for another account or if it names but the account, the caller's own must allow it: pawl access show",
	}
}
