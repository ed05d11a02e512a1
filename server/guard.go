package server

import (
	"reflect"
	"strings"
	"sync"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	createSecret         = "secretsmanager:CreateSecret"
	deleteResourcePolicy = "secretsmanager:DeleteResourcePolicy"
	putResourcePolicy    = "secretsmanager:PutResourcePolicy"
	passRole             = "iam:PassRole"
)

// guard is the service.Guard of one request.
//
// It hides what a caller may not know: a refusal names a secret as the request
// did, and where the caller would be refused for a secret of that name that did
// not exist, the reason is that one's. So who has no right to a secret gets the
// same answer whether or not it exists, and whatever its tags and policy say;
// AWS's names the ARN of one that exists.
type guard struct {
	e        *exchange
	op       *operation
	at       service.Caller
	in       reflect.Value   // the request, decoded
	sent     map[string]bool // its members that are empty and yet were sent
	attached *attached
}

// May implements service.Guard.
func (g *guard) May(sec *service.Secret, secretID string) error {
	return g.MayDo(g.op.action, sec, secretID)
}

// MayDo implements service.Guard.
func (g *guard) MayDo(action string, sec *service.Secret, secretID string) error {
	if secretID == "" {
		return g.denial(action, "", g.decide(&asked{guard: g, action: action}, "", "", nil))
	}
	if sec == nil {
		return g.denial(action, secretID, g.ifMissing(action, secretID))
	}
	attached, unreadable := g.attached.get(sec.Policy)
	is := g.decide(&asked{g, action, sec}, sec.ARN.String(), sec.ARN.Account, attached)
	if is.Allowed && (unreadable == nil || action == putResourcePolicy || action == deleteResourcePolicy) {
		return nil
	}
	// Unless something of the secret itself decides, say nothing of it.
	if v := g.ifMissing(action, secretID); !v.Allowed {
		return g.denial(action, secretID, v)
	}
	if unreadable != nil {
		return secrets.At(unreadable, sec.ARN.Name, "", "")
	}
	return g.denial(action, secretID, is)
}

// ifMissing judges what the caller wants to do to something that there is not: to
// a secret, as if it had no tags and no policy, or to a role.
func (g *guard) ifMissing(action, id string) policy.Verdict {
	k := &asked{guard: g, action: action}
	arn, err := g.at.ARNOf(id)
	if err != nil {
		account := ""
		if parts := strings.SplitN(id, ":", 6); len(parts) == 6 {
			account = parts[4]
		}
		return g.decide(k, id, account, nil)
	}
	k.sec = &service.Secret{ARN: arn}
	return g.decide(k, arn.String(), arn.Account, nil)
}

func (g *guard) decide(k *asked, resource, account string, attached *policy.Prepared) policy.Verdict {
	return g.e.who.Decide(k.action, resource, account, attached, k)
}

func (g *guard) denial(action, resource string, v policy.Verdict) error {
	if v.Allowed {
		return nil
	}
	err := secrets.Errorf(secrets.Denied, "%s", v.Denial(action, resource, g.e.who.ARN))
	err.Code = accessDenied
	return err
}

// How many policies attached to secrets are remembered, and what they may weigh
// together.
const (
	maxAttached      = 4096
	maxAttachedBytes = 32 << 20
)

// attached remembers the policies attached to secrets, ready to be evaluated. It
// goes by their texts, so nothing in it is ever out of date.
type attached struct {
	mu    sync.RWMutex
	known map[string]*policy.Prepared
	bytes int
}

// get returns a policy; nil for "". Errors: Invalid for a text that is none, which
// no operation puts there.
func (a *attached) get(text string) (*policy.Prepared, error) {
	if text == "" {
		return nil, nil
	}
	a.mu.RLock()
	p := a.known[text]
	a.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	d, err := policy.ParseResource(text)
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "its resource policy can't be read: %w", err).
			WithHint("nobody gets in until somebody of the account puts another one, or takes it off: aws secretsmanager delete-resource-policy")
	}
	p = policy.Prepare(d)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known == nil {
		a.known = map[string]*policy.Prepared{}
	}
	if a.known[text] == nil {
		a.known[text] = p
		a.bytes += len(text) + p.Weight()
	}
	for old, p := range a.known { // any
		if len(a.known) <= maxAttached && a.bytes <= maxAttachedBytes {
			break
		}
		if old != text {
			delete(a.known, old)
			a.bytes -= len(old) + p.Weight()
		}
	}
	return p, nil
}
