package aws

import (
	"context"
	"slices"
	"sync"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// kept are the records of failures that could not be written to tags: what this
// process knows of them counts more than the tags.
type kept struct {
	mu     sync.Mutex
	by     map[secrets.ARN]secrets.Attempt // the zero one: there is no failure, whatever the tags say
	warned bool
}

// keep remembers a record; first reports whether it is the first that could not
// be written.
func (k *kept) keep(arn secrets.ARN, a secrets.Attempt) (first bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.by == nil {
		k.by = map[secrets.ARN]secrets.Attempt{}
	}
	k.by[arn] = a
	first, k.warned = !k.warned, true
	return first
}

// drop forgets a record: the tags are right again.
func (k *kept) drop(arn secrets.ARN) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.by, arn)
}

// lay puts what is remembered of a secret over the tags of its record.
func (k *kept) lay(r *record) {
	k.mu.Lock()
	a, ok := k.by[r.ARN]
	k.mu.Unlock()
	if ok {
		r.Tags = withAttempt(r.Tags, a)
	}
}

// withAttempt returns the tags with the record of a failure in place of the one
// they had; without any for the zero record.
func withAttempt(tags []service.Tag, a secrets.Attempt) []service.Tag {
	var out []service.Tag
	for _, t := range tags {
		if t.Key != TagAttempt && t.Key != TagError {
			out = append(out, t)
		}
	}
	if a.Tries > 0 {
		out = append(out, attemptTags(a)...)
	}
	return out
}

// Save keeps the record of a failure in tags of the secret, and takes them off
// for the zero record. Where tags may not be written the record is kept in memory.
func (c *Claim) Save(ctx context.Context, a secrets.Attempt) error {
	if err := c.held(); err != nil {
		return err
	}
	c.mu.Lock()
	had := c.rec.Tags
	c.mu.Unlock()
	want := withAttempt(had, a)
	if slices.Equal(of(want), of(had)) {
		return nil
	}
	var err error
	if a.Tries > 0 {
		err = c.s.api.tag(ctx, c.id, attemptTags(a))
	} else {
		err = c.s.api.untag(ctx, c.id, []string{TagAttempt, TagError})
	}
	switch {
	case err == nil:
		c.s.kept.drop(c.arn)
	case secrets.CodeOf(err) == resourceNotFound, secrets.CodeOf(err) == invalidRequest:
		return c.lost(ctx, err)
	case secrets.CodeOf(err) == accessDenied, secrets.KindOf(err) == secrets.Invalid:
		// Not allowed, or 50 tags already: the rotation itself is no worse for it.
		if c.s.kept.keep(c.arn, a) {
			c.s.log.Warn("the record of a failure can't be kept in the secret's tags; in memory it lasts as long as this process",
				"secret", c.arn.Name, "error", err.Error())
		}
	default:
		return c.lost(ctx, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rec.Tags = want
	return nil
}

// of picks from tags those that are the record of a failure.
func of(tags []service.Tag) []service.Tag {
	var out []service.Tag
	for _, t := range tags {
		if t.Key == TagAttempt || t.Key == TagError {
			out = append(out, t)
		}
	}
	return out
}
