package service

import (
	"context"
	"errors"

	iam "github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
)

// The exceptions of resource policies.
// Source: AWS Secrets Manager API reference, PutResourcePolicy.
const (
	malformedPolicy = "MalformedPolicyDocumentException"
	publicPolicy    = "PublicPolicyException"
)

// PutResourcePolicyInput is a policy for a secret, in place of the one it has.
type PutResourcePolicyInput struct {
	SecretID          string `json:"SecretId" aws:"required 1..2048"`
	ResourcePolicy    string `aws:"required 1..20480"` // JSON
	BlockPublicPolicy *bool  `json:",omitempty"`       // refuse a policy that lets everybody in; nil = false
}

// PutResourcePolicyOutput names the secret.
type PutResourcePolicyOutput struct {
	ARN  string
	Name string
}

// PutResourcePolicy attaches a policy to a secret and keeps it byte for byte.
// Errors: MalformedPolicyDocumentException, PublicPolicyException,
// InvalidParameterException for a replica, InvalidRequestException,
// ResourceNotFoundException.
func (s *Service) PutResourcePolicy(ctx context.Context, in PutResourcePolicyInput) (*PutResourcePolicyOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	document, err := parsePolicy(sec.ARN.Name, in.ResourcePolicy)
	if err != nil {
		return nil, err
	}
	if in.BlockPublicPolicy != nil && *in.BlockPublicPolicy {
		if public, why := document.Public(); public {
			return nil, refuse(publicPolicy, sec.ARN.Name, "You can't attach a resource-based policy that allows broad access to the secret.").
				WithHint("%s", why)
		}
	}
	sec, err = s.updateAlive(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		sec.Policy, sec.Changed = in.ResourcePolicy, s.now()
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return &PutResourcePolicyOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name}, nil
}

// GetResourcePolicyInput names a secret.
type GetResourcePolicyInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"`
}

// GetResourcePolicyOutput has the policy as it was put; "" for none.
type GetResourcePolicyOutput struct {
	ARN            string
	Name           string
	ResourcePolicy string `json:",omitempty"`
}

// GetResourcePolicy returns the policy attached to a secret. Errors:
// InvalidRequestException for a secret marked for deletion,
// ResourceNotFoundException.
func (s *Service) GetResourcePolicy(ctx context.Context, in GetResourcePolicyInput) (*GetResourcePolicyOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	return &GetResourcePolicyOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name, ResourcePolicy: sec.Policy}, nil
}

// DeleteResourcePolicyInput names a secret.
type DeleteResourcePolicyInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"`
}

// DeleteResourcePolicyOutput names the secret.
type DeleteResourcePolicyOutput struct {
	ARN  string
	Name string
}

// DeleteResourcePolicy takes the policy off a secret, if it has one. Errors:
// InvalidParameterException for a replica, InvalidRequestException,
// ResourceNotFoundException.
func (s *Service) DeleteResourcePolicy(ctx context.Context, in DeleteResourcePolicyInput) (*DeleteResourcePolicyOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	sec, err = s.updateAlive(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		if sec.Policy == "" {
			return nil, errUnchanged
		}
		sec.Policy, sec.Changed = "", s.now()
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return &DeleteResourcePolicyOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name}, nil
}

// ValidateResourcePolicyInput is a policy, and the secret it is meant for.
type ValidateResourcePolicyInput struct {
	SecretID       string `json:"SecretId,omitempty" aws:"1..2048"`
	ResourcePolicy string `aws:"required 1..20480"`
}

// ValidateResourcePolicyOutput says whether the policy may be attached, and why
// not. ValidationErrors is never nil.
type ValidateResourcePolicyOutput struct {
	PolicyValidationPassed bool
	ValidationErrors       []ValidationErrorsEntry
}

// ValidationErrorsEntry is one check that a policy did not pass.
type ValidationErrorsEntry struct {
	CheckName    string
	ErrorMessage string
}

// The checks of ValidateResourcePolicy. AWS does not document its names; the
// texts are those of its console.
// Source: Secrets Manager user guide, "Managing a resource-based policy for a
// secret".
var (
	broadAccess = ValidationErrorsEntry{"BroadAccess", "This resource policy grants broad access to your secret."}
	lockout     = ValidationErrorsEntry{"Lockout", "Your requested changes will not allow you to manage this secret in the future."}
)

// ValidateResourcePolicy checks a policy without attaching it: whether it lets
// everybody in, and whether it shuts its own account out. Errors:
// MalformedPolicyDocumentException, InvalidRequestException for a secret marked
// for deletion, ResourceNotFoundException.
func (s *Service) ValidateResourcePolicy(ctx context.Context, in ValidateResourcePolicyInput) (*ValidateResourcePolicyOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	account, arn, name := s.at.Account, "", ""
	if in.SecretID == "" {
		if err := s.allowed(nil, ""); err != nil {
			return nil, err
		}
		if err := s.allowedTo(putResourcePolicy, nil, ""); err != nil {
			return nil, err
		}
	} else {
		sec, err := s.find(ctx, in.SecretID)
		if err != nil && secrets.CodeOf(err) != resourceNotFound {
			return nil, err
		}
		if err := s.allowedTo(putResourcePolicy, sec, in.SecretID); err != nil {
			return nil, err
		}
		if err == nil {
			err = alive(sec)
		}
		if err != nil {
			return nil, err
		}
		account, arn, name = sec.ARN.Account, sec.ARN.String(), sec.ARN.Name
	}
	document, err := parsePolicy(name, in.ResourcePolicy)
	if err != nil {
		return nil, err
	}
	out := &ValidateResourcePolicyOutput{ValidationErrors: []ValidationErrorsEntry{}}
	if public, _ := document.Public(); public {
		out.ValidationErrors = append(out.ValidationErrors, broadAccess)
	}
	if locked, _ := document.LocksOut(account, arn); locked {
		out.ValidationErrors = append(out.ValidationErrors, lockout)
	}
	out.PolicyValidationPassed = len(out.ValidationErrors) == 0
	return out, nil
}

// parsePolicy reads a policy for a secret.
func parsePolicy(secret, text string) (iam.Document, error) {
	document, err := iam.ParseResource(text)
	var e *iam.Error
	if errors.As(err, &e) {
		return document, refuse(malformedPolicy, secret, "%s", e.AWS()).WithHint("%s", e)
	}
	return document, err
}
