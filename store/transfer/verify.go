package transfer

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/aws"
)

// item is a secret as it was at one moment.
type item struct {
	record *service.Secret
	values map[string]secrets.Value // by version id; those that are empty have none
}

// reserved is what begins the keys of tags that nobody but AWS may set.
const reserved = "aws:"

// rounds is how often a secret that changes while it is compared is copied again.
const rounds = 4

// verify compares one secret on both sides, and copies it again where it changed.
func (c *Copier) verify(ctx context.Context, arn secrets.ARN) error {
	until := time.Now().Add(c.Wait)
	for round := 0; ; {
		equal, err := c.equal(ctx, arn)
		if err != nil {
			return err
		}
		c.mu.Lock()
		known := c.here[c.hash(arn)]
		if equal {
			c.r.Verified++
		}
		c.mu.Unlock()
		if equal {
			if !known {
				c.note(arn, same, "")
			}
			return nil
		}
		if round == rounds {
			c.differs(arn, "it is not the same on both sides; does it keep changing?")
			return nil
		}
		o, reason, err := c.one(ctx, arn)
		switch {
		case err != nil:
			return err
		case o == vanished:
			return nil
		case o == busy && time.Now().Before(until):
			// Others are verified meanwhile. What ends the waiting is the rotation.
			if err := nap(ctx, 250*time.Millisecond); err != nil {
				return err
			}
			continue
		case o == busy:
			c.mu.Lock()
			c.r.Busy = append(c.r.Busy, Problem{nameOf(arn), reason})
			c.mu.Unlock()
			return nil
		case o == refused || o == failed || o == skipped:
			c.note(arn, o, reason)
			return nil
		}
		round++
		if !known {
			c.note(arn, o, reason)
		} else if o == updated || o == copied {
			c.mu.Lock()
			c.r.Again++
			c.mu.Unlock()
		}
	}
}

func (c *Copier) differs(arn secrets.ARN, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.r.Different = append(c.r.Different, Problem{nameOf(arn), reason})
}

// equal reads a secret on both sides.
func (c *Copier) equal(ctx context.Context, arn secrets.ARN) (bool, error) {
	it, err := c.From.read(ctx, arn)
	if err == nil {
		var was *item
		if was, err = c.To.read(ctx, arn); err == nil {
			return c.digest(it) == c.digest(was), nil
		}
	}
	// Not there, or something about it: one says what.
	if errors.Is(err, service.ErrNotFound) || secrets.KindOf(err) == secrets.Invalid {
		return false, nil
	}
	return false, err
}

// gone finds what was copied, and is at the source no more.
func (c *Copier) gone(ctx context.Context, seen map[uint64]bool) error {
	left := maps.Clone(c.here)
	maps.DeleteFunc(left, func(h uint64, _ bool) bool { return seen[h] })
	if len(left) == 0 || !c.whole() {
		return nil // an AWS has other ARNs
	}
	return c.To.each(ctx, func(arn secrets.ARN) error {
		if left[c.hash(arn)] {
			c.r.Gone = append(c.r.Gone, nameOf(arn))
		}
		return nil
	})
}

// digest is of all that both ends keep of a secret. It is keyed, with a key of
// this run alone, because a digest of a value would help whoever guesses it.
//
// Left out is when somebody last read it, and what is derived from the rest.
func (c *Copier) digest(it *item) [sha256.Size]byte {
	h := hmac.New(sha256.New, c.key)
	if c.whole() {
		r := *it.record
		r.Accessed, r.DueAt, r.FollowAt = time.Time{}, time.Time{}, time.Time{}
		r.Versions = slices.Clone(r.Versions)
		for i := range r.Versions {
			r.Versions[i].Accessed = time.Time{}
			if len(r.Versions[i].Labels) == 0 {
				r.Versions[i].Labels = nil
			}
		}
		hashJSON(h, r)
		for _, v := range r.Versions {
			hashValue(h, it.values[v.ID])
		}
	} else {
		hashJSON(h, []any{it.record.ARN.Name, it.record.Description, tagsOf(it.record)})
		for _, v := range labelled(it) {
			hashJSON(h, []any{v.ID, slices.Sorted(slices.Values(v.Labels))})
			hashValue(h, it.values[v.ID])
		}
	}
	return [sha256.Size]byte(h.Sum(nil))
}

func hashJSON(h hash.Hash, v any) {
	text, _ := json.Marshal(v) // of types that always can be
	hashBytes(h, text)
}

func hashValue(h hash.Hash, v secrets.Value) {
	kind := byte(0)
	switch {
	case v.IsBinary():
		kind = 2
	case !v.IsZero():
		kind = 1
	}
	h.Write([]byte{kind})
	v.Use(func(data []byte) { hashBytes(h, data) })
}

func hashBytes(h hash.Hash, b []byte) {
	_ = binary.Write(h, binary.BigEndian, uint64(len(b)))
	h.Write(b)
}

// labelled are the versions that an AWS can have: with a value, and a label. By id.
func labelled(it *item) secrets.Versions {
	var out secrets.Versions
	for _, v := range it.record.Versions {
		if _, filled := it.values[v.ID]; filled && len(v.Labels) > 0 {
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b secrets.Version) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// tagsOf are the tags that go along to or from an AWS, by key: not those that only
// AWS sets, nor the record of a failure, which is true of one place alone.
func tagsOf(r *service.Secret) []service.Tag {
	out := []service.Tag{}
	for _, t := range r.Tags {
		if !strings.HasPrefix(t.Key, reserved) && t.Key != aws.TagAttempt && t.Key != aws.TagError {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b service.Tag) int { return strings.Compare(a.Key, b.Key) })
	return out
}

func nap(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
