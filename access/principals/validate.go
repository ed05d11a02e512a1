package principals

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
)

// Bounds of a principal. Sources: IAM user guide, "IAM and AWS STS quotas";
// IAM API reference, CreateUser, CreateRole, Tag. AWS counts documents in other
// sums; a document may be as long here as one on a secret.
const (
	maxPolicies       = 20
	maxDocument       = 20480 // characters
	maxTags           = 50
	leastMaxSession   = time.Hour
	longestMaxSession = 12 * time.Hour
)

var (
	validAccount    = regexp.MustCompile(`^[0-9]{12}$`)
	validName       = regexp.MustCompile(`^[\w+=,.@-]{1,64}$`)
	validPolicyName = regexp.MustCompile(`^[\w+=,.@-]{1,128}$`)
	validTagText    = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$`)
	// What has the form of a secret access key is not repeated by an error.
	mayBeSecret = regexp.MustCompile(`^[A-Za-z0-9/+=]{40}$`)
)

// check looks at everything about a new principal but the sums of its lists.
func (n *NewPrincipal) check(r *Record) error {
	switch {
	case !validAccount.MatchString(r.Account):
		return invalid("%q is no account", r.Account).WithHint("an account is a number of 12 digits, such as %s", access12)
	case isKeyID(r.Name), isSessionID(r.Name), mayBeSecret.MatchString(r.Name):
		return invalid("a name must not look like an access key").WithHint("choose another name")
	case !validName.MatchString(r.Name):
		return invalid("%q is no name of a principal", r.Name).WithHint("a name has 1 to 64 letters, digits and +=,.@_-")
	case r.Kind != User && r.Kind != Role:
		return invalid("%q is no kind of principal", r.Kind).WithHint("a principal is a %s or a %s", User, Role)
	case r.Kind == Role && r.Trust == "":
		return invalid("role %s needs a trust policy, which says who may assume it", r.Name).WithHint("write one and give it with --trust FILE")
	case r.Kind == User && (r.Trust != "" || r.MaxSession != 0):
		return invalid("user %s takes no trust policy and no longest session: these are a role's", r.Name).WithHint("leave it out, or make a role: --role")
	}
	c := Changes{Policies: n.Policies, Tags: n.Tags, MaxSession: n.MaxSession}
	if n.Boundary != "" {
		c.Boundary = &n.Boundary
	}
	if n.Trust != "" {
		c.Trust = &n.Trust
	}
	return c.check()
}

// access12 is an account as people may write one: AWS's example.
const access12 = "123456789012"

// check looks at what is new, by itself.
func (c *Changes) check() error {
	for i, p := range c.Policies {
		if !validPolicyName.MatchString(p.Name) {
			return invalid("%q is no name of a policy", p.Name).WithHint("a name has 1 to 128 letters, digits and +=,.@_-")
		}
		if slices.ContainsFunc(c.Policies[:i], func(q Policy) bool { return q.Name == p.Name }) {
			return invalid("there are two policies named %q", p.Name).WithHint("give each a name of its own")
		}
		if err := checkDocument(fmt.Sprintf("policy %q", p.Name), p.Document, policy.ParseIdentity); err != nil {
			return err
		}
	}
	if c.Boundary != nil && *c.Boundary != "" {
		if err := checkDocument("the permissions boundary", *c.Boundary, policy.ParseIdentity); err != nil {
			return err
		}
	}
	if c.Trust != nil {
		if err := checkDocument("the trust policy", *c.Trust, policy.ParseTrust); err != nil {
			return err
		}
	}
	if m := c.MaxSession; m != 0 && (m < leastMaxSession || m > longestMaxSession || m%time.Second != 0) {
		return invalid("the longest session of a role can't be %v", m).WithHint("give from 1h to 12h")
	}
	return checkTags(c.Tags)
}

func checkDocument(what, document string, parse func(string) (policy.Document, error)) error {
	if n := utf8.RuneCountInString(document); n > maxDocument {
		return invalid("%s has %d characters; the most is %d", what, n, maxDocument).WithHint("split it into several policies")
	}
	if _, err := parse(document); err != nil {
		return secrets.Errorf(secrets.Invalid, "%s: %w", what, err).WithHint("mend the document; nothing was changed")
	}
	return nil
}

// checkTags looks at each tag by itself, and at their keys together.
// Source: IAM API reference, Tag; user guide, "Rules for tagging in IAM and AWS
// STS".
func checkTags(tags []policy.Tag) error {
	for i, t := range tags {
		switch n := utf8.RuneCountInString(t.Key); {
		case n < 1 || n > 128:
			return invalid("a tag's key has %d characters", n).WithHint("it may have 1 to 128")
		case !validTagText.MatchString(t.Key) || !validTagText.MatchString(t.Value):
			return invalid("tag %q has characters that no tag has", t.Key).WithHint("letters, digits, spaces and _.:/=+-@ are allowed")
		case len(t.Key) >= 4 && strings.EqualFold(t.Key[:4], "aws:"):
			return invalid("tag %q begins with aws:, which is AWS's own", t.Key).WithHint("choose another key")
		case utf8.RuneCountInString(t.Value) > 256:
			return invalid("the value of tag %q has %d characters; the most is 256", t.Key, utf8.RuneCountInString(t.Value)).WithHint("shorten it")
		}
		for _, o := range tags[:i] {
			if strings.EqualFold(o.Key, t.Key) {
				return invalid("tags %q and %q have the same key: upper and lower case make no difference", o.Key, t.Key).WithHint("leave one out")
			}
		}
	}
	if len(tags) > maxTags {
		return invalid("there are %d tags; the most is %d", len(tags), maxTags).WithHint("leave some out")
	}
	return nil
}
