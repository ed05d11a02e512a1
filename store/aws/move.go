package aws

import (
	"context"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

// MoveLabel is the Vault's.
func (c *Claim) MoveLabel(ctx context.Context, label, versionID string) error {
	if err := c.held(); err != nil {
		return err
	}
	return c.move(ctx, label, c.labels().IDWith(label), versionID)
}

// move moves a label from one version to another; either may be "". Where AWS
// does not do it, or does not say whether it did, the labels tell: it is done,
// by whomever; or it can be done still; or it is a Conflict.
func (c *Claim) move(ctx context.Context, label, from, to string) error {
	if from == to {
		return nil
	}
	err := c.s.api.stage(ctx, c.id, label, from, to)
	if err == nil {
		c.place(label, to)
		return nil
	}
	unknown := secrets.KindOf(err) == secrets.Unknown
	if !unknown && secrets.CodeOf(err) != invalidParameter {
		return c.lost(ctx, err)
	}
	fctx, cancel := findOut(ctx)
	defer cancel()
	if lerr := c.look(fctx); lerr != nil {
		return unread(err, lerr)
	}
	switch holder := c.labels().IDWith(label); {
	case holder == to:
		return nil
	case holder != from:
		return c.relabelled()
	case unknown:
		return ofKind(secrets.Transient, err)
	}
	return err
}

// unread is the error where a label was not moved, or nobody knows, and its place
// can't be read either.
func unread(err, reading error) error {
	switch kind := secrets.KindOf(reading); {
	case kind == secrets.Conflict, kind != secrets.Transient && secrets.KindOf(err) != secrets.Unknown:
		return reading
	}
	return ofKind(secrets.Unknown, err)
}

func (c *Claim) relabelled() error {
	return c.moved("its staging labels were moved by somebody else")
}

// Promote is the Vault's.
func (c *Claim) Promote(ctx context.Context, versionID string, keepPending bool) error {
	if err := c.held(); err != nil {
		return err
	}
	vs := c.labels()
	if vs.IDWith(secrets.Pending) != versionID {
		return c.relabelled()
	}
	if err := c.move(ctx, secrets.Current, vs.IDWith(secrets.Current), versionID); err != nil {
		return err
	}
	var err error
	if !keepPending {
		err = c.unpend(ctx, versionID)
	}
	c.succeeded(ctx)
	return err
}

// unpend takes AWSPENDING off a version that is AWSCURRENT by now. That it is off
// already is no success: nobody but this claim was to take it off, or another
// rotator that promoted the same version, or one that gave the version up. Even
// where an answer was lost, who it was can't be told.
func (c *Claim) unpend(ctx context.Context, versionID string) error {
	// The promotion may have read the labels again.
	if c.labels().IDWith(secrets.Pending) == versionID {
		err := c.s.api.stage(ctx, c.id, secrets.Pending, versionID, "")
		if err == nil {
			c.place(secrets.Pending, "")
			return nil
		}
		unknown := secrets.KindOf(err) == secrets.Unknown
		if !unknown && secrets.CodeOf(err) != invalidParameter {
			return c.lost(ctx, err)
		}
		fctx, cancel := findOut(ctx)
		defer cancel()
		if lerr := c.look(fctx); lerr != nil {
			return unread(err, lerr)
		}
		if c.labels().IDWith(secrets.Pending) == versionID {
			if unknown {
				return ofKind(secrets.Transient, err)
			}
			return err
		}
	}
	if vs := c.labels(); vs.IDWith(secrets.Pending) != "" || vs.IDWith(secrets.Current) != versionID {
		return c.relabelled()
	}
	return secrets.At(secrets.Errorf(secrets.Conflict, "version %s is AWSCURRENT, but AWSPENDING was off it already: %w", versionID, rotator.ErrGivenUp),
		c.arn.Name, "", "")
}

// succeeded clears the record of failures, as far as that can be done: the
// rotation is over all the same.
func (c *Claim) succeeded(ctx context.Context) {
	if err := c.Save(ctx, secrets.Attempt{}); err != nil {
		c.s.log.Warn("the record of earlier failures could not be taken off the secret's tags",
			"secret", c.arn.Name, "error", err.Error())
	}
}
