package service

import (
	"cmp"
	"context"
	"errors"
	"maps"

	"github.com/pawlhq/pawl/secrets"
)

// UpdateSecretInput changes what it names, and nothing else. A value becomes
// a new version, whose id is ClientRequestToken.
type UpdateSecretInput struct {
	SecretID           string  `json:"SecretId" aws:"required 1..2048"`
	ClientRequestToken string  `aws:"32..64"`                            // required even without a value
	Description        *string `json:",omitempty" aws:"0..2048"`         // "" takes it off
	KmsKeyID           *string `json:"KmsKeyId,omitempty" aws:"0..2048"` // "" = the default key
	Type               string  `json:",omitempty" aws:"0..256"`          // kind of a partner's secret
	GivenValue
}

// UpdateSecretOutput names the secret; VersionID is empty without a value.
type UpdateSecretOutput struct {
	ARN       string
	Name      string
	VersionID string `json:"VersionId,omitempty"`
}

// UpdateSecret changes a secret's description, key, type or value. A new key
// also takes over the versions that carry AWSCURRENT, AWSPENDING or AWSPREVIOUS;
// others stay with the one they have. If a value of theirs can't be decrypted
// nothing changes. The same token with the same value again
// makes no second version and gives the first answer. Errors:
// InvalidRequestException without a token, for a secret marked for deletion or
// managed by an AWS service, InvalidParameterException,
// ResourceNotFoundException, ResourceExistsException for a token used for
// another value, LimitExceededException, AccessDeniedException,
// EncryptionFailure, DecryptionFailure.
func (s *Service) UpdateSecret(ctx context.Context, in UpdateSecretInput) (*UpdateSecretOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	var v secrets.Value
	sec, err := s.findAlive(ctx, in.SecretID, func() (err error) {
		v, err = in.check()
		return err
	})
	if err != nil {
		return nil, err
	}
	arn := sec.ARN
	key := sec.KMSKeyID
	if in.KmsKeyID != nil {
		key = *in.KmsKeyID
	}
	if in.KmsKeyID != nil || !v.IsZero() {
		if err := s.mayUseKey(sec, key); err != nil {
			return nil, err
		}
	}
	if in.KmsKeyID != nil {
		if err := s.canUseKey(ctx, arn, key); err != nil {
			return nil, err
		}
	}
	a := s.ahead(arn, in.ClientRequestToken, v)
	if !v.IsZero() {
		if err := a.expect(ctx, key); err != nil {
			return nil, err
		}
	}
	// What a version holds never changes, so it can be compared outside of the
	// write; it can only be there by then although it was not yet.
	same := false
	for {
		err = a.write(ctx, func() error {
			_, err := s.change(ctx, arn, func(sec *Secret) (Sealed, error) { return in.apply(s, sec, a, same) })
			return err
		})
		if !errors.Is(err, errTokenUsed) {
			break
		}
		if err := s.sameValue(ctx, arn, in.ClientRequestToken, v); err != nil {
			return nil, err
		}
		same = true
	}
	if err != nil {
		return nil, err
	}
	out := &UpdateSecretOutput{ARN: arn.String(), Name: arn.Name}
	if !v.IsZero() {
		out.VersionID = in.ClientRequestToken
	}
	return out, nil
}

// SetKey is UpdateSecret with nothing but a KmsKeyId, for an operator: an ARN may
// be of any account and region. Errors: as UpdateSecret.
func (s *Service) SetKey(ctx context.Context, id, key string) error {
	token, err := NewVersionID(s.random)
	if err != nil {
		return err
	}
	_, err = s.where(id).UpdateSecret(ctx, UpdateSecretInput{SecretID: id, ClientRequestToken: token, KmsKeyID: &key})
	return err
}

func (in UpdateSecretInput) check() (secrets.Value, error) {
	if err := requireToken(in.ClientRequestToken, in.SecretID); err != nil {
		return secrets.Value{}, err
	}
	return in.value(in.SecretID)
}

// errTokenUsed says that there is a version of the token already, and what it
// holds is not known yet.
var errTokenUsed = errors.New("the token made a version before")

// apply changes sec, with values encrypted ahead. same says that a version of
// the token, if there is one, holds this very value: then the request is a
// repetition.
func (in UpdateSecretInput) apply(s *Service, sec *Secret, a *ahead, same bool) (values Sealed, err error) {
	old, used := sec.Versions.Find(in.ClientRequestToken)
	used = used && !old.Empty && !a.value.IsZero()
	if used {
		if err := s.mayUseKey(sec, old.KeyID); err != nil {
			return nil, err
		}
		if !same {
			return nil, errTokenUsed
		}
	}
	changed := !used
	if in.KmsKeyID != nil && *in.KmsKeyID != sec.KMSKeyID {
		sec.KMSKeyID, changed = *in.KmsKeyID, true
	}
	if in.Description != nil && *in.Description != sec.Description {
		sec.Description, changed = *in.Description, true
	}
	if in.Type != "" && in.Type != sec.Type {
		sec.Type, changed = in.Type, true
	}
	if !used && !a.value.IsZero() {
		if err := s.mayUseKey(sec, sec.KMSKeyID); err != nil {
			return nil, err
		}
		if err := s.addVersion(sec, in.ClientRequestToken, nil, false); err != nil {
			return nil, err
		}
		if values, err = a.fresh(sec.KMSKeyID); err != nil {
			return nil, err
		}
	}
	if in.KmsKeyID != nil {
		values, err = s.takeOver(sec, a, values)
		if err != nil {
			return nil, err
		}
		changed = changed || len(values) > 0
	}
	if !changed {
		return nil, errUnchanged
	}
	sec.Changed = s.now()
	return values, nil
}

// takeOver brings the versions that carry AWS's labels under the secret's key,
// and adds their values to those to be written. Errors: errNotSealed.
func (s *Service) takeOver(sec *Secret, a *ahead, values Sealed) (Sealed, error) {
	out := Sealed{}
	maps.Copy(out, values)
	var missing error
	for i, v := range sec.Versions {
		if v.KeyID == sec.KMSKeyID || !v.Has(secrets.Current) && !v.Has(secrets.Pending) && !v.Has(secrets.Previous) {
			continue
		}
		if !v.Empty {
			if err := s.mayUseKey(sec, v.KeyID); err != nil {
				return nil, err
			}
			missing = cmp.Or(a.again(out, v, sec.KMSKeyID), missing)
		}
		sec.Versions[i].KeyID = sec.KMSKeyID
	}
	return out, missing
}

// change is updateAlive for what only a secret's own user may change.
func (s *Service) change(ctx context.Context, arn secrets.ARN, change func(*Secret) (Sealed, error)) (*Secret, error) {
	return s.updateAlive(ctx, arn, func(sec *Secret) (Sealed, error) {
		if err := unmanaged(sec); err != nil {
			return nil, err
		}
		return change(sec)
	})
}
