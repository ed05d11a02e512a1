package principals

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
)

// Changes are what Update changes: nil members stay as they are.
type Changes struct {
	Policies   []Policy      // replace those of the same name, and add the others
	Without    []string      // names of policies to take off
	Boundary   *string       // "" takes it off
	Trust      *string       // a role's
	Tags       []policy.Tag  // replace those of the same key, and add the others
	Untag      []string      // keys
	MaxSession time.Duration // 0 = as it is
}

// Update changes a principal. Errors: as Create and Find.
func (d *Directory) Update(ctx context.Context, ref string, c Changes) (*Record, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	return d.change(ctx, ref, func(r *Record) (err error) {
		if (c.Trust != nil || c.MaxSession != 0) && r.Kind != Role {
			return invalid("user %s takes no trust policy and no longest session: these are a role's", r.Name).
				WithHint("leave it out, or make a role: pawl access create NAME --role --trust FILE")
		}
		if r.Policies, err = mergePolicies(r.Policies, c.Policies, c.Without); err != nil {
			return err
		}
		if r.Tags, err = mergeTags(r.Tags, c.Tags, c.Untag); err != nil {
			return err
		}
		if c.Boundary != nil {
			r.Boundary = *c.Boundary
		}
		if c.Trust != nil {
			r.Trust = *c.Trust
		}
		if c.MaxSession != 0 {
			r.MaxSession = c.MaxSession
		}
		return nil
	})
}

// SetDisabled disables or enables a principal, or one access key by its id.
func (d *Directory) SetDisabled(ctx context.Context, ref string, disabled bool) (*Record, error) {
	return d.change(ctx, ref, func(r *Record) error {
		if !isKeyID(ref) {
			r.Disabled = disabled
			return nil
		}
		i := r.key(ref)
		if i < 0 {
			return ErrNotFound
		}
		r.Keys[i].Disabled = disabled
		return nil
	})
}

// Delete removes a principal with his keys, or one access key by its id. It
// returns the record as it was, or as it is without the key.
func (d *Directory) Delete(ctx context.Context, ref string) (*Record, error) {
	return d.change(ctx, ref, func(r *Record) error {
		if !isKeyID(ref) {
			return ErrRemove
		}
		i := r.key(ref)
		if i < 0 {
			return ErrNotFound
		}
		r.Keys = slices.Delete(r.Keys, i, i+1)
		return nil
	})
}

// EndSessions makes all session credentials of a principal that were made until
// now no good.
func (d *Directory) EndSessions(ctx context.Context, ref string) (*Record, error) {
	now := d.now().UTC()
	return d.change(ctx, ref, func(r *Record) error {
		r.SessionsSince = now
		r.Sessions++
		return nil
	})
}

// RotateKey gives a user a further access key; the old one stays good beside
// it. Errors: Invalid for one who has MaxKeys, naming them with their last use,
// and for a role.
func (d *Directory) RotateKey(ctx context.Context, ref string) (*Record, *Credentials, error) {
	r, err := d.Find(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	if r.Kind == Role {
		return nil, nil, invalid("role %s has no access keys: it is assumed", r.Name).
			WithHint("make credentials of a session: pawl access session %s", r.Name)
	}
	for {
		if len(r.Keys) >= MaxKeys {
			return nil, nil, d.tooManyKeys(ctx, r)
		}
		key, secret, err := d.newKey(ctx, r)
		if err != nil {
			return nil, nil, err
		}
		changed, err := d.changeRecord(ctx, r, func(r *Record) error {
			if len(r.Keys) >= MaxKeys { // somebody was quicker
				return errFull
			}
			r.Keys = append(r.Keys, key)
			return nil
		})
		switch {
		case err == nil:
			return changed, &Credentials{AccessKeyID: key.ID, Secret: secret, ARN: r.ARN(), UserID: r.ID}, nil
		case errors.Is(err, ErrExists): // the id: once in 2^80 times
		case errors.Is(err, errFull), errors.Is(err, ErrNotFound):
			if r, err = d.Find(ctx, ref); err != nil {
				return nil, nil, err
			}
		default:
			return nil, nil, err
		}
	}
}

var errFull = errors.New("the user has all the access keys he may have")

func (d *Directory) tooManyKeys(ctx context.Context, r *Record) error {
	ids := make([]string, len(r.Keys))
	for i, k := range r.Keys {
		ids[i] = k.ID
	}
	used, err := d.LastUses(ctx, ids...)
	if err != nil {
		return err
	}
	// The one to delete is the one that nobody misses.
	idlest := slices.MinFunc(ids, func(a, b string) int { return used[a].Compare(used[b]) })
	for i, k := range r.Keys {
		when := "never used"
		if at, ok := used[k.ID]; ok {
			when = "last used " + at.UTC().Format("2006-01-02 15:04 UTC")
		}
		ids[i] = k.String() + ", " + when
	}
	return invalid("user %s has %d access keys, which is the most: %s", r.Name, len(r.Keys), strings.Join(ids, "; ")).
		WithHint("delete the one that nobody uses any more: pawl access delete %s", idlest)
}

// change changes whom ref means.
func (d *Directory) change(ctx context.Context, ref string, change func(*Record) error) (*Record, error) {
	r, err := d.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	r, err = d.changeRecord(ctx, r, change)
	if errors.Is(err, ErrNotFound) {
		return nil, missing(ref)
	}
	return r, err
}

// changeRecord changes a principal who was found, but not another one who has
// got his name since: that is ErrNotFound.
func (d *Directory) changeRecord(ctx context.Context, found *Record, change func(*Record) error) (*Record, error) {
	return d.store.ChangePrincipal(ctx, found.Account, found.Name, func(r *Record) error {
		if r.ID != found.ID {
			return ErrNotFound
		}
		return change(r)
	})
}

// mergePolicies returns old without some and with others added, or replaced
// where they have the same name.
func mergePolicies(old, add []Policy, without []string) ([]Policy, error) {
	all := slices.Clone(old)
	for _, name := range without {
		n := len(all)
		if all = slices.DeleteFunc(all, func(p Policy) bool { return p.Name == name }); len(all) == n {
			return nil, invalid("there is no policy %q to take off; there is %s", name, names(old)).WithHint("see what there is with: pawl access show")
		}
	}
	for _, p := range add {
		if i := slices.IndexFunc(all, func(q Policy) bool { return q.Name == p.Name }); i >= 0 {
			all[i] = p
		} else {
			all = append(all, p)
		}
	}
	if len(all) > maxPolicies {
		return nil, invalid("that makes %d policies; the most is %d", len(all), maxPolicies).WithHint("put several statements into one document")
	}
	return all, nil
}

func names(policies []Policy) string {
	if len(policies) == 0 {
		return "none"
	}
	var all []string
	for _, p := range policies {
		all = append(all, p.Name)
	}
	return strings.Join(all, ", ")
}

// mergeTags returns old without some keys and with other tags added, or replaced
// where they have the same key.
func mergeTags(old, add []policy.Tag, without []string) ([]policy.Tag, error) {
	all := slices.DeleteFunc(slices.Clone(old), func(t policy.Tag) bool {
		return slices.ContainsFunc(without, func(key string) bool { return strings.EqualFold(t.Key, key) })
	})
	if all = withTags(all, add); len(all) > maxTags {
		return nil, invalid("that makes %d tags; the most is %d", len(all), maxTags).WithHint("take some off first: pawl access update --untag")
	}
	return all, nil
}

// withTags returns old with other tags, of which those of the same key win. Keys
// that differ only in case are the same.
// Source: IAM user guide, "Rules for tagging in IAM and AWS STS".
func withTags(old, add []policy.Tag) []policy.Tag {
	if len(add) == 0 {
		return old
	}
	all := slices.Clone(old)
	for _, t := range add {
		if i := slices.IndexFunc(all, func(o policy.Tag) bool { return strings.EqualFold(o.Key, t.Key) }); i >= 0 {
			all[i] = t
		} else {
			all = append(all, t)
		}
	}
	return all
}

func invalid(format string, args ...any) *secrets.Error {
	return secrets.Errorf(secrets.Invalid, format, args...)
}
