package principals

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
)

// Principal returns a record as it is when it calls: with its policies. A role
// is as a session named pawl.
func (d *Directory) Principal(_ context.Context, r *Record, region string) (access.Principal, error) {
	var s *session
	if r.Kind == Role {
		s = &session{Name: defaultSession, issued: d.now().UTC().Truncate(time.Second)}
	}
	p, err := d.as(r, s)
	p.Region = region
	return p, err
}

// as returns a record as it calls: a user as himself, with or without session
// credentials, a role in a session.
func (d *Directory) as(r *Record, s *session) (access.Principal, error) {
	p := access.Principal{
		Account: r.Account, ARN: r.ARN(), Type: policy.User, UserID: r.ID, Username: r.Name,
		Tags: slices.Clip(r.Tags),
	}
	for _, doc := range r.Policies {
		ready, err := d.prepare(r, document{text: doc.Document}, "policy "+strconv.Quote(doc.Name))
		if err != nil {
			return access.Principal{}, err
		}
		p.Policies.Identity = append(p.Policies.Identity, ready)
	}
	var err error
	if r.Boundary != "" {
		if p.Policies.Boundary, err = d.prepare(r, document{text: r.Boundary}, "the permissions boundary"); err != nil {
			return access.Principal{}, err
		}
	}
	if s == nil {
		return p, nil
	}
	p.TokenIssued = s.issued
	// A session's tags win; there may be as many again as the principal has.
	p.Tags = withTags(p.Tags, s.Tags)
	if s.Policy != "" {
		// Not by the cache: it is of one session only.
		doc, err := policy.ParseIdentity(s.Policy)
		if err != nil {
			return access.Principal{}, unreadable(r, "the policy of his session", err)
		}
		p.Policies.Session = []*policy.Prepared{policy.Prepare(doc)}
	}
	if r.Kind == Role {
		p.Type, p.Issuer, p.Username = policy.AssumedRole, p.ARN, ""
		p.ARN = "arn:aws:sts::" + r.Account + ":assumed-role/" + r.Name + "/" + s.Name
		p.UserID = r.ID + ":" + s.Name
	}
	return p, nil
}

// document is the text of a policy and how it is to be read.
type document struct {
	trust bool
	text  string
}

// prepare makes a record's document ready. It was read before it was stored; if
// it can't be read now, nobody can say what he may do, and so he may nothing.
func (d *Directory) prepare(r *Record, doc document, what string) (*policy.Prepared, error) {
	if ready, ok := d.documents.Get(doc); ok {
		return ready, nil
	}
	parse := policy.ParseIdentity
	if doc.trust {
		parse = policy.ParseTrust
	}
	parsed, err := parse(doc.text)
	if err != nil {
		return nil, unreadable(r, what, err)
	}
	ready := policy.Prepare(parsed)
	d.documents.Put(doc, ready, weightOfOne+len(doc.text)+ready.Weight())
	return ready, nil
}

func unreadable(r *Record, what string, err error) error {
	return secrets.Errorf(secrets.Invalid, "%s of %s %s can't be read: %w", what, r.Kind, r.Name, err).
		WithHint("replace it with: pawl access update %s", r.Name)
}

// Administrator reports whether somebody can sign requests who may do
// everything to all secrets of the Directory's account: an enabled user, with an
// enabled key, whose policies allow it from this machine, over TLS, now.
func (d *Directory) Administrator(ctx context.Context) (bool, error) {
	errDone := errors.New("there is one")
	err := d.Each(ctx, d.account, func(r *Record) error {
		if r.Kind != User || r.Disabled || !slices.ContainsFunc(r.Keys, func(k AccessKey) bool { return !k.Disabled }) {
			return nil
		}
		p, err := d.as(r, nil)
		if err != nil {
			return nil // he can sign, but whatever he asks for fails
		}
		if d.mayAll(&p) {
			return errDone
		}
		return nil
	})
	if errors.Is(err, errDone) {
		return true, nil
	}
	return false, err
}

// mayAll tries what only an administrator may, on secrets of two regions that
// have nothing in common.
func (d *Directory) mayAll(p *access.Principal) bool {
	now := d.now().UTC()
	for _, region := range []string{"us-east-1", "eu-central-1"} {
		c := policy.Context{}
		c.Add("aws:RequestedRegion", region)
		c.Add("aws:SecureTransport", "true")
		c.Add("aws:SourceIp", "127.0.0.1")
		c.Add("aws:ViaAWSService", "false")
		c.Add("aws:CurrentTime", now.Format(time.RFC3339))
		c.Add("aws:EpochTime", strconv.FormatInt(now.Unix(), 10))
		arn := "arn:aws:secretsmanager:" + region + ":" + d.account + ":secret:" + region + "/any-A1b2C3"
		for _, action := range []string{"secretsmanager:CreateSecret", "secretsmanager:GetSecretValue", "secretsmanager:PutResourcePolicy", "pawl:PauseRotation"} {
			if !p.Decide(action, arn, d.account, nil, c).Allowed {
				return false
			}
		}
	}
	return true
}
