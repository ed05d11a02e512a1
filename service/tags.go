package service

import (
	"context"
	"slices"
	"strings"
)

// MaxTags is how many tags a secret may have.
// Source: AWS Secrets Manager user guide, "Quotas".
const MaxTags = 50

// TagResourceInput adds tags or overwrites those of the same key.
type TagResourceInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"`
	Tags     []Tag  `aws:"required"`
}

// TagResource adds or overwrites tags. Errors: InvalidParameterException (more
// than 50 tags, a key given twice, a key that begins with aws:),
// InvalidRequestException, ResourceNotFoundException.
func (s *Service) TagResource(ctx context.Context, in TagResourceInput) error {
	if err := Check(in, nil); err != nil {
		return err
	}
	return s.changeTags(ctx, in.SecretID, func(sec *Secret) (err error) {
		sec.Tags, err = setTags(sec.ARN.Name, sec.Tags, in.Tags)
		return err
	})
}

// UntagResourceInput removes tags by their keys.
type UntagResourceInput struct {
	SecretID string   `json:"SecretId" aws:"required 1..2048"`
	TagKeys  []string `aws:"required each:1..128"`
}

// UntagResource removes tags; keys that are not there do no harm. Errors:
// InvalidParameterException (a key that begins with aws:),
// InvalidRequestException, ResourceNotFoundException.
func (s *Service) UntagResource(ctx context.Context, in UntagResourceInput) error {
	if err := Check(in, nil); err != nil {
		return err
	}
	return s.changeTags(ctx, in.SecretID, func(sec *Secret) error {
		for _, k := range in.TagKeys {
			if err := userTag(sec.ARN.Name, k); err != nil {
				return err
			}
		}
		sec.Tags = slices.DeleteFunc(sec.Tags, func(t Tag) bool { return slices.Contains(in.TagKeys, t.Key) })
		return nil
	})
}

func (s *Service) changeTags(ctx context.Context, secretID string, change func(*Secret) error) error {
	sec, err := s.findAlive(ctx, secretID)
	if err != nil {
		return err
	}
	_, err = s.change(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		if err := change(sec); err != nil {
			return nil, err
		}
		// Whose rights go by the secret's tags must not lose them by his own doing.
		if err := s.allowed(sec, secretID); err != nil {
			return nil, err
		}
		sec.Changed = s.now()
		return nil, nil
	})
	return err
}

// setTags returns old with the new tags added or overwritten.
func setTags(secret string, old, add []Tag) ([]Tag, error) {
	if len(add) > MaxTags { // in any case too many, and a long list would keep other writers waiting
		return nil, tooManyTags(secret)
	}
	tags := slices.Clone(old)
	for i, t := range add {
		if err := userTag(secret, t.Key); err != nil {
			return nil, err
		}
		same := func(o Tag) bool { return o.Key == t.Key }
		if slices.ContainsFunc(add[:i], same) {
			return nil, refuse(invalidParameter, secret, "Duplicate tag key: '%s'.", t.Key)
		}
		if j := slices.IndexFunc(tags, same); j >= 0 {
			tags[j].Value = t.Value
		} else {
			tags = append(tags, t)
		}
	}
	if len(tags) > MaxTags {
		return nil, tooManyTags(secret)
	}
	return tags, nil
}

func tooManyTags(secret string) error {
	return refuse(invalidParameter, secret, "A secret can have at most %d tags.", MaxTags)
}

// userTag refuses the keys that AWS keeps for itself.
func userTag(secret, key string) error {
	if strings.HasPrefix(strings.ToLower(key), "aws:") {
		return refuse(invalidParameter, secret, "You can't modify system tags. Tag key: '%s'.", key)
	}
	return nil
}
