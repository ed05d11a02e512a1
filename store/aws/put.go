package aws

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

const (
	// maxGivenUp is how many values made from one AWSCURRENT may have been given
	// up. It is more than AWS keeps of versions without labels for longer than a
	// day: what fails for weeks, three values at a time, never comes to it.
	maxGivenUp = 128
	// findOutTime bounds finding out what became of a write, also where the
	// caller's time is over.
	findOutTime = 5 * time.Second
)

// findOut is the context of finding out what became of a write.
func findOut(ctx context.Context) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return ctx, func() {}
	}
	return context.WithTimeout(context.WithoutCancel(ctx), findOutTime)
}

// PutPending is the Vault's. Its id, where none is given, is derived from the
// ARN, the version that is AWSCURRENT, and the number of values given up since.
func (c *Claim) PutPending(ctx context.Context, id string, v secrets.Value) (string, error) {
	if err := c.held(); err != nil {
		return "", err
	}
	if err := v.Validate(); err != nil {
		return "", secrets.At(err, c.arn.Name, "", "")
	}
	if id == "" {
		id = c.versionID
	}
	if id != "" {
		ok, err := c.putAs(ctx, id, v)
		if err == nil && !ok {
			err = c.moved("version %s was filled by somebody else", id)
		}
		return id, err
	}
	c.mu.Lock()
	current := c.rec.Versions.IDWith(secrets.Current)
	n := 0
	if c.tried.current == current {
		n = c.tried.n + 1 // who asks again has looked at that one
	}
	c.mu.Unlock()
	if current == "" {
		return "", secrets.At(secrets.Errorf(secrets.Invalid, "the secret has no value yet").
			WithHint("store one: pawl secret put %s --value-file -", c.arn.Name), c.arn.Name, "", "")
	}
	for ; n < maxGivenUp; n++ {
		id := derivedID(c.arn, current, n)
		ok, err := c.putAs(ctx, id, v)
		if err != nil {
			return "", err
		}
		c.mu.Lock()
		c.tried.current, c.tried.n = current, n
		c.mu.Unlock()
		if ok {
			return id, nil
		}
	}
	return "", secrets.At(secrets.Errorf(secrets.Invalid, "%d values made from the version that is AWSCURRENT were given up within a day", maxGivenUp).
		WithHint("see why they fail, then store the present value again, which begins anew: pawl secret put %s --value-file -", c.arn.Name), c.arn.Name, "", "")
}

// putAs puts a value under an id, or finds that another rotator's value is there
// for the same rotation; both are ok. It is not where the version was there
// before and is as the caller has seen it. Errors: Conflict where it is there and
// has changed since.
func (c *Claim) putAs(ctx context.Context, id string, v secrets.Value) (ok bool, err error) {
	seen, _ := c.labels().Find(id)
	has, err := c.s.api.put(ctx, c.id, id, v, []string{secrets.Pending, secrets.Intent}, c.rotationToken)
	exists := err == nil || secrets.CodeOf(err) == resourceExists
	switch {
	case err == nil && pending(has):
		c.stored(&version{Version: secrets.Version{ID: id, Created: c.s.now()}, value: v})
		return true, nil
	case !exists && secrets.KindOf(err) != secrets.Unknown:
		return false, c.lost(ctx, err)
	}
	fctx, cancel := findOut(ctx)
	defer cancel()
	there, rerr := c.read(fctx, id, exists)
	switch {
	case secrets.CodeOf(rerr) == resourceNotFound:
		if err := c.look(fctx); err != nil && secrets.KindOf(err) == secrets.Conflict {
			return false, err
		}
		return false, ofKind(secrets.Transient, err) // it is known by now that it was not done
	case rerr != nil && exists:
		return false, c.lost(fctx, rerr)
	case rerr != nil:
		return false, err
	}
	switch {
	case slices.Equal(roles(seen), roles(there.Version)):
		return false, nil
	case !pending(there.Labels):
		// Somebody has taken it further, or given it up, since the labels were seen.
		if err := c.look(fctx); err != nil {
			return false, err
		}
		return false, c.moved("version %s was made by somebody else meanwhile", id)
	}
	c.stored(there) // this claim's own, whose answer was lost, or another rotator's
	return true, nil
}

// pending reports whether a version with these labels is one that a rotation has
// made and not ended.
func pending(labels []string) bool {
	v := secrets.Version{Labels: labels}
	return v.Has(secrets.Pending) && v.Has(secrets.Intent) && !v.Has(secrets.Current)
}

// read reads a version; there: it is known to be there.
func (c *Claim) read(ctx context.Context, id string, there bool) (*version, error) {
	if there {
		return c.readSoon(ctx, id)
	}
	return c.s.api.value(ctx, c.id, id)
}

// stored notes a version that has AWSPENDING and the Intent.
func (c *Claim) stored(v *version) {
	c.mu.Lock()
	c.keep(v)
	for i := range c.rec.Versions {
		if c.rec.Versions[i].ID == v.ID {
			c.rec.Versions[i].Empty = false
		}
	}
	c.mu.Unlock()
	c.place(secrets.Pending, v.ID)
	c.place(secrets.Intent, v.ID)
}

// roles are those labels of a version that a rotation goes by.
func roles(v secrets.Version) []string {
	var out []string
	for _, l := range []string{secrets.Current, secrets.Previous, secrets.Pending, secrets.Intent} {
		if v.Has(l) {
			out = append(out, l)
		}
	}
	return out
}

// ofKind is err as another kind, when more is known.
func ofKind(kind secrets.Kind, err error) error {
	var e *secrets.Error
	if !errors.As(err, &e) {
		return err
	}
	out := *e
	out.Kind = kind
	return &out
}
