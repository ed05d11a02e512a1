// Package access says who calls: it reads the Authorization header of a request
// and names the principal behind it. What a principal may do is the business of
// access/policy.
//
// Errors are *secrets.Error of kind Denied. Code is AWS's exception and the
// text of Err is AWS's own.
package access

import (
	"cmp"
	"net"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
)

// Principal is who calls, and where the call acts.
type Principal struct {
	Account   string // 12 digits
	Region    string // of the credential scope
	ARN       string // arn:aws:iam::<account>:root, …:user/<name>, arn:aws:sts::<account>:assumed-role/<role>/<session>
	AccessKey string // the key's id, never a secret

	Type     policy.PrincipalType // aws:PrincipalType of policies
	Issuer   string               // the ARN of the role that a session assumed; "" for users and the root user
	UserID   string               // aws:userid; "" for Dev's
	Username string               // aws:username; a user's name
	Tags     []policy.Tag         // aws:PrincipalTag, of the user or role and of the session; not to be changed
	// TokenIssued is aws:TokenIssueTime: when the session credentials were made;
	// zero for a long-term key.
	TokenIssued time.Time

	Policies Policies
}

// Policies are all that are attached to a principal. They are not to be changed.
type Policies struct {
	Identity []*policy.Prepared
	Boundary *policy.Prepared // nil = none
	Session  []*policy.Prepared
}

// Decide judges what the principal wants to do to a resource of an account, with
// attached, the policy on the resource, where it has one. resource and account
// are empty for actions without one.
func (p *Principal) Decide(action, resource, account string, attached *policy.Prepared, c policy.Keys) policy.Verdict {
	return policy.Evaluate(policy.Policies{
		Identity: p.Policies.Identity, Boundary: p.Policies.Boundary, Session: p.Policies.Session,
		Resource: attached, ResourceAccount: account,
	}, policy.Request{
		Action: action, Resource: resource, Context: c,
		Principal: policy.Principal{
			ARN: p.ARN, Account: p.Account, Type: p.Type, Issuer: p.Issuer,
			UserID: p.UserID, Username: p.Username, Tags: p.Tags,
		},
	})
}

// Dev authenticates as `pawl serve --dev` does: everybody who sends well-formed
// credentials is the root user of an account. Signatures are NOT checked, nor
// the request's age, nor a session token: an access key of any name with any
// secret will do. It must only ever listen on the loopback interface, and it takes only
// requests that were sent to a loopback name: a web page that had its own name
// point here could read every secret otherwise (DNS rebinding).
type Dev struct {
	Service string // the one a credential must be scoped to; "" = secretsmanager
}

// DevAccount is the account of everybody whose access key is not itself the
// number of an account.
const DevAccount = "123456789012"

var accountNumber = regexp.MustCompile(`^[0-9]{12}$`)

// isKeyID reports whether s can be an access key's id: 1 to 128 letters, digits
// and _.- of ASCII.
func isKeyID(s string) bool {
	const others = "_.-"
	for i := range len(s) {
		c := s[i]
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte(others, c) < 0 {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 128
}

// Authenticate names the principal of a request: region from the credential
// scope, account DevAccount or, where the access key is a number of 12 digits,
// that account. The body is not looked at. Errors: those of ParseAuthorization,
// and UnrecognizedClientException for a key id that no key can have and for a
// Host that is no loopback name.
func (d Dev) Authenticate(r *http.Request, _ []byte) (Principal, error) {
	if !loopback(r.Host) {
		return Principal{}, denied(unrecognizedClient, "A development server takes requests to localhost only, not to '%s'.", r.Host).
			WithHint("use the address that pawl serve --dev printed")
	}
	c, err := parseAuthorization(r, ours{cmp.Or(d.Service, service), isRegion}, func(time.Time, []string) error { return nil })
	if err != nil {
		return Principal{}, err
	}
	if !isKeyID(c.AccessKey) {
		return Principal{}, denied(unrecognizedClient, invalidToken).
			WithHint("any access key of letters, digits and _.- will do here: AWS_ACCESS_KEY_ID=dev AWS_SECRET_ACCESS_KEY=dev")
	}
	p := Principal{Account: DevAccount, Region: c.Region, AccessKey: c.AccessKey, Type: policy.RootUser}
	if accountNumber.MatchString(c.AccessKey) {
		p.Account = c.AccessKey
	}
	p.ARN = "arn:" + secrets.PartitionOf(p.Region) + ":iam::" + p.Account + ":root"
	return p, nil
}

// loopback reports whether a Host header names this machine: an address of
// 127.0.0.0/8, [::1], localhost or a name under it (RFC 6761, section 6.3).
func loopback(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
