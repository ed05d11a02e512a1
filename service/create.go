package service

import (
	"context"
	"errors"
	"slices"

	"github.com/pawlhq/pawl/secrets"
)

// CreateSecretInput is a new secret, with or without a first value.
type CreateSecretInput struct {
	Name               string `aws:"required 1..512"`
	ClientRequestToken string `aws:"32..64"` // the first version's id; required even without a value
	Description        string `json:",omitempty" aws:"0..2048"`
	KmsKeyID           string `json:"KmsKeyId,omitempty" aws:"0..2048"`
	GivenValue
	Tags                        []Tag               `json:",omitempty"`
	Type                        string              `json:",omitempty" aws:"0..256"` // kind of a partner's secret
	AddReplicaRegions           []ReplicaRegionType `json:",omitempty" aws:"1.."`
	ForceOverwriteReplicaSecret bool                `json:",omitempty"` // a secret of this name in such a region ends
}

// ReplicaRegionType asks for a replica. Its name is AWS's.
type ReplicaRegionType struct {
	Region   string `json:",omitempty" aws:"1..128 pattern:region"`
	KmsKeyID string `json:"KmsKeyId,omitempty" aws:"0..2048"` // "" = the region's default key
}

// CreateSecretOutput names the secret; VersionID is empty without a value.
type CreateSecretOutput struct {
	ARN       string
	Name      string
	VersionID string `json:"VersionId,omitempty"`

	ReplicationStatus []ReplicationStatusType `json:",omitempty"`
}

// CreateSecret makes a secret. The same token with the same value again gives
// the first answer; a secret made without a value has no version that would
// remember the token, so making it again is refused. Errors: ValidationException
// for a bad name, InvalidRequestException without a token or for a name that is
// scheduled for deletion, InvalidParameterException, ResourceExistsException,
// AccessDeniedException for a key that is not the caller's to use,
// EncryptionFailure and DecryptionFailure for one that is disabled.
func (s *Service) CreateSecret(ctx context.Context, in CreateSecretInput) (*CreateSecretOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	if err := secrets.ValidateName(in.Name); err != nil {
		return nil, err
	}
	if err := s.mayCreate(in); err != nil {
		return nil, err
	}
	v, err := in.check()
	if err != nil {
		return nil, err
	}
	if err := checkKey(in.Name, in.KmsKeyID, s.at.Region); err != nil {
		return nil, err
	}
	// The name can become free between the two looks at it; not for ever.
	for range 3 {
		out, err := s.create(ctx, in, v)
		if !errors.Is(err, ErrExists) {
			return out, known(err, in.Name)
		}
		out, err = s.existing(ctx, in, v)
		if !errors.Is(err, ErrNotFound) {
			return out, known(err, in.Name)
		}
	}
	return nil, alreadyExists(in.Name)
}

func alreadyExists(name string) error {
	return refuse(resourceExists, name, "The operation failed because the secret %s already exists.", name).
		WithHint("give it a new value: pawl secret put %s --value-file F", name)
}

// mayCreate asks the caller's guard. To it the secret is a new one, even if the
// name is taken.
func (s *Service) mayCreate(in CreateSecretInput) error {
	if err := s.allowed(nil, in.Name); err != nil {
		return err
	}
	if len(in.Tags) > 0 {
		if err := s.allowedTo(tagResource, nil, in.Name); err != nil {
			return err
		}
	}
	if len(in.AddReplicaRegions) > 0 {
		return s.allowedTo(replicateSecretToRegions, nil, in.Name)
	}
	return nil
}

func (in CreateSecretInput) check() (secrets.Value, error) {
	if err := requireToken(in.ClientRequestToken, in.Name); err != nil {
		return secrets.Value{}, err
	}
	if _, err := setTags(in.Name, nil, in.Tags); err != nil {
		return secrets.Value{}, err
	}
	return in.value(in.Name)
}

func (s *Service) create(ctx context.Context, in CreateSecretInput, v secrets.Value) (*CreateSecretOutput, error) {
	arn, err := secrets.NewARN(s.at.Partition, s.at.Region, s.at.Account, in.Name, s.random)
	if err != nil {
		return nil, err
	}
	if in.KmsKeyID != "" {
		if err := s.canUseKey(ctx, arn, in.KmsKeyID); err != nil {
			return nil, err
		}
	}
	now := s.now()
	sec := &Secret{
		ARN: arn, Description: in.Description, KMSKeyID: in.KmsKeyID,
		Type: in.Type, Created: now, Changed: now,
	}
	if len(in.Tags) > 0 {
		sec.Tags = slices.Clone(in.Tags)
	}
	out := &CreateSecretOutput{ARN: arn.String(), Name: arn.Name}
	var values Sealed
	if !v.IsZero() {
		if err := s.addVersion(sec, in.ClientRequestToken, nil, false); err != nil {
			return nil, err
		}
		if values, err = s.seal(ctx, in.KmsKeyID, arn, in.ClientRequestToken, v); err != nil {
			return nil, err
		}
		sec.ValueChanged = now
		out.VersionID = in.ClientRequestToken
	}
	if d, ok := s.declaration(in.Name); ok && s.atHome() {
		d.apply(sec, now)
	}
	sec.DueAt = s.nextDue(sec, now)
	if err := s.planReplicas(sec, in.AddReplicaRegions, in.ForceOverwriteReplicaSecret); err != nil {
		return nil, err
	}
	if err := s.store.Create(ctx, sec, values); err != nil {
		return nil, err
	}
	if len(sec.Replicas) > 0 {
		s.follow(ctx, arn)
		if out.ReplicationStatus, err = s.statusNow(ctx, arn); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// existing answers a creation whose name is taken. ErrNotFound means that it is
// free now.
func (s *Service) existing(ctx context.Context, in CreateSecretInput, v secrets.Value) (*CreateSecretOutput, error) {
	id := secrets.ID{ByName: true, ARN: secrets.ARN{
		Partition: s.at.Partition, Region: s.at.Region, Account: s.at.Account, Name: in.Name,
	}}
	sec, err := s.store.Find(ctx, id)
	if err != nil {
		return nil, err
	}
	switch {
	case expired(sec, s.now()):
		if err := s.end(ctx, sec.ARN, s.now()); err != nil {
			return nil, err
		}
		return nil, ErrNotFound
	case !sec.Deleted.IsZero():
		return nil, refuse(invalidRequest, in.Name, "You can't create this secret because a secret with this name is already scheduled for deletion.").
			WithHint("bring it back with: pawl secret restore %s; or end it now with: pawl secret delete %s --force", in.Name, in.Name)
	}
	used, ok := sec.Versions.Find(in.ClientRequestToken)
	if !ok || used.Empty || v.IsZero() {
		return nil, alreadyExists(in.Name)
	}
	if err := s.sameValue(ctx, sec.ARN, used.ID, v); err != nil {
		return nil, err
	}
	return &CreateSecretOutput{
		ARN: sec.ARN.String(), Name: sec.ARN.Name, VersionID: used.ID, ReplicationStatus: s.replicationStatus(ctx, sec),
	}, nil
}
