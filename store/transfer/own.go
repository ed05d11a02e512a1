package transfer

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

// OwnStore is a store of Pawl's own.
type OwnStore interface {
	service.Store
	principals.Store
	seal.Store
}

// Own is a store of Pawl's own as an End.
type Own struct {
	Store OwnStore
	Keys  *seal.Keyring
	// Place, where set, is the account and region that requests without others mean.
	// Only from there secrets go to an AWS, and only there they come from one.
	Place service.Place
	// only: to or from an AWS.
	only bool
}

// toward prepares both ends for each other.
func toward(from, to End) {
	for _, ends := range [][2]End{{from, to}, {to, from}} {
		if own, ok := ends[0].(*Own); ok {
			_, both := ends[1].(*Own)
			own.only = !both
		}
	}
}

func (o *Own) atOnce() int { return 16 }

func (o *Own) each(ctx context.Context, yield func(secrets.ARN) error) error {
	places := []service.Place{o.Place}
	if !o.only {
		var err error
		if places, err = o.Store.Places(ctx); err != nil {
			return err
		}
	}
	const page = 500
	for _, p := range places {
		l := service.Listing{Account: p.Account, Region: p.Region, N: page}
		for {
			found, err := o.Store.List(ctx, l)
			if err != nil {
				return err
			}
			for _, s := range found {
				if err := yield(s.ARN); err != nil {
					return err
				}
			}
			if len(found) < page {
				break
			}
			l.After = l.Order.PositionOf(found[len(found)-1])
		}
	}
	return nil
}

func (o *Own) read(ctx context.Context, arn secrets.ARN) (*item, error) {
	arn.Partition, arn.Suffix = "", "" // whichever has the name
	for again := 0; ; again++ {
		s, err := o.Store.Find(ctx, secrets.ID{ARN: arn, ByName: true})
		if err != nil {
			return nil, err
		}
		it := &item{record: s, values: map[string]secrets.Value{}}
		for _, v := range s.Versions {
			if v.Empty {
				continue
			}
			sealed, err := o.Store.Value(ctx, s.ARN, v.ID)
			if errors.Is(err, service.ErrNotFound) && again < 5 {
				it = nil // a version that was removed since the record was read
				break
			}
			if err != nil {
				return nil, secrets.Prefixed(err, "version %s", v.ID)
			}
			if it.values[v.ID], err = o.Keys.Open(ctx, s.ARN.String(), v.ID, sealed); err != nil {
				return nil, err
			}
		}
		if it != nil {
			return it, nil
		}
	}
}

func (o *Own) claim(ctx context.Context, arn secrets.ARN) (func(), error) {
	lease, err := o.Store.Lock(ctx, arn)
	if err != nil {
		return nil, err
	}
	return lease.Release, nil
}

func (o *Own) fits(it *item) (string, error) {
	if o.only {
		if reason := misfit(it.record); reason != "" {
			return reason, nil
		}
		if a := it.record.ARN; a.Account != o.Place.Account || a.Region != o.Place.Region {
			return "", secrets.Errorf(secrets.Invalid, "the secrets of AWS are of account %s in %s, and the destination is configured for account %s in %s", a.Account, a.Region, o.Place.Account, o.Place.Region).
				WithHint("write into the destination's configuration: account: %q and region: %s", a.Account, a.Region)
		}
	}
	return "", nil
}

func (o *Own) write(ctx context.Context, it, was *item) error {
	s := it.record
	if o.only && was != nil {
		var err error
		if s, err = onto(it, was); err != nil {
			return err
		}
	}
	sealed := service.Sealed{}
	for _, v := range s.Versions {
		value, filled := it.values[v.ID]
		if !filled || was.has(s.ARN, v, value) {
			continue
		}
		b, err := o.Keys.Seal(ctx, v.KeyID, s.ARN.String(), v.ID, value)
		if err != nil {
			return secrets.Prefixed(err, "encrypt version %s at the destination", v.ID)
		}
		sealed[v.ID] = b
	}
	if was == nil {
		return o.create(ctx, s, sealed)
	}
	lease, err := o.Store.Lock(ctx, was.record.ARN)
	if err != nil {
		return secrets.Prefixed(err, "at the destination")
	}
	defer lease.Release()
	gone := was.record.ARN != s.ARN
	_, err = lease.Update(ctx, func(there *service.Secret) (service.Sealed, error) {
		if !unchanged(there, was.record) {
			return nil, secrets.Errorf(secrets.Conflict, "it changed at the destination meanwhile").WithHint("stop what uses the destination")
		}
		if gone {
			return nil, service.ErrRemove
		}
		*there = *s
		return sealed, nil
	})
	if err == nil && gone {
		err = o.create(ctx, s, sealed)
	}
	return err
}

// onto is what a secret becomes that comes from an AWS for another time: what an AWS
// does not have of it (its ARN, key, policy, rotation, replicas) stays as it is here.
func onto(it, was *item) (*service.Secret, error) {
	from, s := it.record, was.record.Clone()
	if s.PrimaryRegion != "" {
		return nil, secrets.Errorf(secrets.Invalid, "at the destination it is a replica of the secret in %s", s.PrimaryRegion).
			WithHint("copy to its primary, or promote it first: pawl secret promote %s", s.ARN.Name)
	}
	s.Description, s.Tags, s.Type = from.Description, from.Tags, from.Type
	s.Changed, s.ValueChanged = from.Changed, from.ValueChanged
	s.Versions = slices.Clone(from.Versions)
	for i := range s.Versions {
		v := &s.Versions[i]
		v.KeyID = s.KMSKeyID
		if old, ok := was.record.Versions.Find(v.ID); ok && it.values[v.ID].Equal(was.values[v.ID]) {
			v.KeyID, v.Accessed, v.Created = old.KeyID, old.Accessed, old.Created
		}
	}
	if len(s.Replicas) > 0 {
		for i := range s.Replicas {
			if r := &s.Replicas[i]; r.Status == service.InSync {
				r.Status = service.InProgress
			}
		}
		s.Revision++
		s.FollowAt = from.Changed
	}
	return s, nil
}

func (o *Own) create(ctx context.Context, s *service.Secret, sealed service.Sealed) error {
	err := o.Store.Create(ctx, s, sealed)
	if errors.Is(err, service.ErrExists) {
		return secrets.Errorf(secrets.Conflict, "another one of this name was made at the destination meanwhile").
			WithHint("stop what uses the destination")
	}
	return err
}

// has reports whether a version is there with its value, under its key.
func (it *item) has(arn secrets.ARN, v secrets.Version, value secrets.Value) bool {
	if it == nil || it.record.ARN != arn {
		return false
	}
	mine, ok := it.record.Versions.Find(v.ID)
	return ok && mine.KeyID == v.KeyID && it.values[v.ID].Equal(value)
}

// unchanged reports whether a record is the one that was read.
func unchanged(a, b *service.Secret) bool {
	return a.Changed.Equal(b.Changed) && a.Revision == b.Revision && slices.EqualFunc(a.Versions, b.Versions, func(x, y secrets.Version) bool {
		return x.ID == y.ID && x.Empty == y.Empty && slices.Equal(x.Labels, y.Labels)
	})
}

// settings copies named keys and principals.
func (c *Copier) settings(ctx context.Context, from, to *Own) (err error) {
	if c.r.Keys, c.r.KeysTaken, err = to.Keys.TakeKeys(ctx, from.Keys, c.DryRun); err != nil {
		return err
	}
	const page = 100
	for after := (principals.Place{}); ; {
		found, err := from.Store.Principals(ctx, "", after, page)
		if err != nil {
			return err
		}
		for _, r := range found {
			if err := c.principal(ctx, from, to, r); err != nil {
				return secrets.Prefixed(err, "copy %s %s", r.Kind, r.Name)
			}
			after = principals.Place{Account: r.Account, Name: r.Name}
		}
		if len(found) < page {
			return nil
		}
	}
}

func (c *Copier) principal(ctx context.Context, from, to *Own, r *principals.Record) error {
	c.r.Principals++
	refuse := func(reason string) {
		c.r.Refused = append(c.r.Refused, Problem{string(r.Kind) + " " + r.Name, reason})
	}
	next, err := principals.Resealed(ctx, r, from.Keys, to.Keys)
	if err != nil {
		return err
	}
	there, err := to.Store.Principal(ctx, r.Account, r.Name)
	switch {
	case errors.Is(err, principals.ErrNotFound):
		c.r.PrincipalsTaken++
		if c.DryRun {
			return nil
		}
		err = to.Store.CreatePrincipal(ctx, next)
	case err != nil:
		return err
	case there.ID != r.ID && !c.Overwrite:
		refuse("another one of this name is at the destination: delete that one (pawl access delete " + r.Name + "), or overwrite it (--overwrite)")
		return nil
	default:
		equal, err := c.samePrincipal(ctx, from, to, r, there)
		if err != nil {
			return err
		}
		if equal {
			return c.uses(ctx, from, to, r)
		}
		c.r.PrincipalsTaken++
		if c.DryRun {
			return nil
		}
		_, err = to.Store.ChangePrincipal(ctx, r.Account, r.Name, func(there *principals.Record) error {
			*there = *next
			return nil
		})
		if err != nil && !errors.Is(err, principals.ErrExists) {
			return err
		}
	}
	if errors.Is(err, principals.ErrExists) {
		refuse("an access key of this id is somebody else's at the destination")
		return nil
	}
	if err != nil {
		return err
	}
	return c.uses(ctx, from, to, r)
}

// uses copies when access keys were last used.
func (c *Copier) uses(ctx context.Context, from, to *Own, r *principals.Record) error {
	if len(r.Keys) == 0 || c.DryRun {
		return nil
	}
	var ids []string
	for _, k := range r.Keys {
		ids = append(ids, k.ID)
	}
	used, err := from.Store.LastUses(ctx, ids)
	if err != nil {
		return err
	}
	had, err := to.Store.LastUses(ctx, ids)
	if err != nil {
		return err
	}
	for id, at := range used {
		if had[id].Before(at) {
			if err := to.Store.NoteUse(ctx, id, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// samePrincipal compares two principals, their access keys decrypted.
func (c *Copier) samePrincipal(ctx context.Context, from, to *Own, a, b *principals.Record) (bool, error) {
	mine, err := principals.SecretsOf(ctx, a, from.Keys)
	if err != nil {
		return false, err
	}
	theirs, err := principals.SecretsOf(ctx, b, to.Keys)
	if err != nil {
		return false, err
	}
	return a.SameButSealed(b) && maps.EqualFunc(mine, theirs, secrets.Value.Equal), nil
}
