package service

import (
	"context"

	iam "github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
)

// Guard decides what one caller's request may do to secrets. It knows which
// action the request is, and what it says. Its refusals are
// AccessDeniedException, in AWS's words.
type Guard interface {
	// May is asked about every secret that the request is about: after bounds
	// were checked and the secret was looked up, and before the caller is told
	// anything, even that there is none. secretID is what the request calls it;
	// sec is nil where there is no such secret.
	May(sec *Secret, secretID string) error
	// MayDo is May for a further action that the request takes part in, such as
	// reading a superuser's secret.
	MayDo(action string, sec *Secret, secretID string) error
}

// allowed asks the caller's guard, if he has one.
func (s *Service) allowed(sec *Secret, secretID string) error {
	if s.at.Guard == nil {
		return nil
	}
	return s.at.Guard.May(sec, secretID)
}

// Look returns the secret that a SecretId means, of any account and region if it
// is an ARN, and the ARN it has; the one it would have, with ?????? for a suffix,
// where there is none: sec is nil then. It is for an operator who asks what
// policies say, and asks no guard. Errors: ValidationException for what can't be
// a SecretId, and those of the store.
func (s *Service) Look(ctx context.Context, secretID string) (sec *Secret, arn secrets.ARN, err error) {
	panic("not there yet")
}

// AddConditionKeys adds what policies can ask about a secret:
// secretsmanager:SecretId, SecretPrimaryRegion, ResourceTag/…,
// resource/AllowRotationLambdaArn, resource/Type, and aws:ResourceTag/….
// Source: service authorization reference, "Condition keys for AWS Secrets
// Manager".
func (sec *Secret) AddConditionKeys(c iam.Context) {
	panic("not there yet")
}
