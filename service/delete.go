package service

import (
	"context"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Bounds of a recovery window, in days.
// Source: AWS Secrets Manager API reference, DeleteSecret.
const (
	MinRecoveryDays     = 7
	MaxRecoveryDays     = 30
	DefaultRecoveryDays = 30
)

// DeleteSecretInput says which secret ends, and when.
type DeleteSecretInput struct {
	SecretID                   string `json:"SecretId" aws:"required 1..2048"`
	RecoveryWindowInDays       *int64 `json:",omitempty"` // 7 to 30; nil = 30
	ForceDeleteWithoutRecovery bool   `json:",omitempty"` // at once and for good
}

// DeleteSecretOutput tells when the secret ends, or ended.
type DeleteSecretOutput struct {
	ARN          string
	Name         string
	DeletionDate time.Time
}

// DeleteSecret marks a secret for deletion after its recovery window, or
// removes it at once, which also succeeds for one that does not exist. Errors:
// InvalidParameterException for the window, for a replica and for a primary that
// has replicas, InvalidRequestException when it is marked already or managed by
// an AWS service, ResourceNotFoundException without force.
func (s *Service) DeleteSecret(ctx context.Context, in DeleteSecretInput) (*DeleteSecretOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	days := int64(DefaultRecoveryDays)
	if in.RecoveryWindowInDays != nil {
		days = *in.RecoveryWindowInDays
	}
	sec, err := s.find(ctx, in.SecretID, func() error {
		switch {
		case in.RecoveryWindowInDays != nil && in.ForceDeleteWithoutRecovery:
			return refuse(invalidParameter, in.SecretID, "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
		case days < MinRecoveryDays, days > MaxRecoveryDays:
			return refuse(invalidParameter, in.SecretID, "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
		}
		return nil
	})
	if in.ForceDeleteWithoutRecovery {
		return s.forceDelete(ctx, in.SecretID, sec, err)
	}
	if err != nil {
		return nil, err
	}
	sec, err = s.change(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		if err := alone(sec); err != nil {
			return nil, err
		}
		now := s.now()
		sec.Deleted, sec.Changed, sec.PurgeAt = now, now, now.AddDate(0, 0, int(days))
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return &DeleteSecretOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name, DeletionDate: sec.PurgeAt}, nil
}

// forceDelete removes what find found.
func (s *Service) forceDelete(ctx context.Context, secretID string, sec *Secret, err error) (*DeleteSecretOutput, error) {
	var arn secrets.ARN
	switch {
	case err == nil:
		arn = sec.ARN
		_, err := s.update(ctx, arn, func(sec *Secret) (Sealed, error) {
			if err := ours(sec); err != nil {
				return nil, err
			}
			if err := alone(sec); err != nil {
				return nil, err
			}
			return nil, ErrRemove
		})
		if err != nil && secrets.CodeOf(err) != resourceNotFound {
			return nil, err
		}
	case secrets.CodeOf(err) == resourceNotFound:
		// The answer looks as if it had existed, as AWS's does.
		id, err := s.at.meant(secretID)
		if err != nil {
			return nil, err
		}
		if arn = id.ARN; id.ByName {
			if arn, err = secrets.NewARN(arn.Partition, arn.Region, arn.Account, arn.Name, s.random); err != nil {
				return nil, err
			}
		}
	default:
		return nil, err
	}
	return &DeleteSecretOutput{ARN: arn.String(), Name: arn.Name, DeletionDate: s.now()}, nil
}

// ours refuses a replica, and a secret that an AWS service keeps for its user.
func ours(sec *Secret) error {
	if err := atPrimary(sec); err != nil {
		return err
	}
	return unmanaged(sec)
}

// alone refuses a primary that has replicas.
func alone(sec *Secret) error {
	if len(sec.Replicas) == 0 {
		return nil
	}
	regions := make([]string, len(sec.Replicas))
	for i, r := range sec.Replicas {
		regions[i] = r.Region
	}
	return refuse(invalidParameter, sec.ARN.Name, "You can't delete secret %s that still has replica regions [%s].", sec.ARN, strings.Join(regions, ", ")).
		WithHint("remove them first, with RemoveRegionsFromReplication")
}

// RestoreSecretInput names a secret.
type RestoreSecretInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"`
}

// RestoreSecretOutput names the secret.
type RestoreSecretOutput struct {
	ARN  string
	Name string
}

// RestoreSecret takes the mark for deletion off; without one it changes
// nothing. Errors: ResourceNotFoundException, InvalidParameterException for a
// replica, InvalidRequestException for one that an AWS service manages.
func (s *Service) RestoreSecret(ctx context.Context, in RestoreSecretInput) (*RestoreSecretOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.find(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	sec, err = s.update(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		now := s.now()
		if expired(sec, now) {
			return nil, ErrNotFound
		}
		if err := ours(sec); err != nil {
			return nil, err
		}
		if sec.Deleted.IsZero() {
			return nil, errUnchanged
		}
		sec.Deleted, sec.PurgeAt, sec.Changed = time.Time{}, time.Time{}, now
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return &RestoreSecretOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name}, nil
}
