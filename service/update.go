package service

import (
	"context"
	"errors"

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
// others stay with the one they have. The same token with the same value again
// makes no second version and gives the first answer. Errors:
// InvalidRequestException without a token, for a secret marked for deletion or
// managed by an AWS service, InvalidParameterException,
// ResourceNotFoundException, ResourceExistsException for a token used for
// another value, LimitExceededException, AccessDeniedException,
// EncryptionFailure, DecryptionFailure.
func (s *Service) UpdateSecret(ctx context.Context, in UpdateSecretInput) (*UpdateSecretOutput, error) {
	v, err := in.check()
	if err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	arn := sec.ARN
	if in.KmsKeyID != nil {
		if err := checkKey(arn.Name, *in.KmsKeyID, arn.Region); err != nil {
			return nil, err
		}
	}
	var values Sealed
	if !v.IsZero() {
		if err := s.mayUseKey(sec, sec.KMSKeyID); err != nil {
			return nil, err
		}
		if values, err = s.seal(ctx, sec.KMSKeyID, arn, in.ClientRequestToken, v); err != nil {
			return nil, err
		}
	}
	// What a version holds never changes, so it can be compared outside of the
	// write; it can only be there by then although it was not yet.
	same := false
	for {
		_, err = s.change(ctx, arn, func(sec *Secret) (Sealed, error) { return in.apply(s, sec, values, same) })
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

func (in UpdateSecretInput) check() (secrets.Value, error) {
	if err := Check(in, nil); err != nil {
		return secrets.Value{}, err
	}
	if err := requireToken(in.ClientRequestToken, in.SecretID); err != nil {
		return secrets.Value{}, err
	}
	return in.value(in.SecretID)
}

// errTokenUsed says that there is a version of the token already, and what it
// holds is not known yet.
var errTokenUsed = errors.New("the token made a version before")

// apply changes sec. same says that a version of the token, if there is one,
// holds this very value: then the request is a repetition.
func (in UpdateSecretInput) apply(s *Service, sec *Secret, values Sealed, same bool) (Sealed, error) {
	old, used := sec.Versions.Find(in.ClientRequestToken)
	used = used && !old.Empty && values != nil
	if used && !same {
		return nil, errTokenUsed
	}
	changed := !used
	rekey := in.KmsKeyID != nil && *in.KmsKeyID != sec.KMSKeyID
	if rekey {
		sec.KMSKeyID, changed = *in.KmsKeyID, true
	}
	if in.Description != nil && *in.Description != sec.Description {
		sec.Description, changed = *in.Description, true
	}
	if in.Type != "" && in.Type != sec.Type {
		sec.Type, changed = in.Type, true
	}
	if !changed {
		return nil, errUnchanged
	}
	if used {
		values = nil
	}
	if values != nil {
		if err := s.addVersion(sec, in.ClientRequestToken, nil, false); err != nil {
			return nil, err
		}
	}
	if rekey {
		for i, v := range sec.Versions {
			if v.Has(secrets.Current) || v.Has(secrets.Pending) || v.Has(secrets.Previous) {
				sec.Versions[i].KeyID = sec.KMSKeyID
			}
		}
	}
	sec.Changed = s.now()
	return values, nil
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
