package service

import (
	"context"
	"strings"

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
	// sec, which is not to be altered, is nil where there is no such secret. Of an
	// action that is about no secret in particular both are empty.
	May(sec *Secret, secretID string) error
	// MayDo is May for a further action that the request takes part in, such as
	// reading a superuser's secret. secretID may be the ARN of something else: a
	// role, a function.
	MayDo(action string, sec *Secret, secretID string) error
}

// The actions that an operation takes part in beside its own.
// Source: service authorization reference, "Actions defined by AWS Secrets
// Manager", dependent actions.
const (
	getSecretValue           = "secretsmanager:GetSecretValue"
	listSecrets              = "secretsmanager:ListSecrets"
	putResourcePolicy        = "secretsmanager:PutResourcePolicy"
	replicateSecretToRegions = "secretsmanager:ReplicateSecretToRegions"
	tagResource              = "secretsmanager:TagResource"
	passRole                 = "iam:PassRole"
	invokeFunction           = "lambda:InvokeFunction"
)

// allowed asks the caller's guard, if he has one.
func (s *Service) allowed(sec *Secret, secretID string) error {
	return s.allowedTo("", sec, secretID)
}

// allowedTo is allowed for a further action; "" is the request's own.
func (s *Service) allowedTo(action string, sec *Secret, secretID string) error {
	switch g := s.at.Guard; {
	case g == nil:
		return nil
	case action == "":
		return g.May(sec, secretID)
	default:
		return g.MayDo(action, sec, secretID)
	}
}

// meant reads a SecretId as the caller means it: a plain name is of his account
// and region. Errors: ValidationException.
func (c Caller) meant(secretID string) (secrets.ID, error) {
	id, err := secrets.ParseID(secretID)
	if err == nil && id.ARN.Region == "" {
		id.ARN.Partition, id.ARN.Region, id.ARN.Account = c.Partition, c.Region, c.Account
		if c.Partition == "" {
			id.ARN.Partition = secrets.PartitionOf(c.Region)
		}
	}
	return id, err
}

// ARNOf returns the ARN that a secret would have which the caller calls
// secretID, with ?????? for a suffix that is not known. Errors:
// ValidationException for what can't be a SecretId.
func (c Caller) ARNOf(secretID string) (secrets.ARN, error) {
	id, err := c.meant(secretID)
	if err == nil && id.ByName {
		id.ARN.Suffix = "??????"
	}
	return id.ARN, err
}

// Look returns the secret that a SecretId means, of any account and region if it
// is an ARN, and the ARN it has; the one it would have, with ?????? for a suffix,
// where there is none: sec is nil then. It is for an operator who asks what
// policies say, and asks no guard. Errors: ValidationException for what can't be
// a SecretId, and those of the store.
func (s *Service) Look(ctx context.Context, secretID string) (sec *Secret, arn secrets.ARN, err error) {
	if arn, err = s.at.ARNOf(secretID); err != nil {
		return nil, secrets.ARN{}, err
	}
	sec, err = s.where(secretID).seek(ctx, secretID)
	switch {
	case err == nil:
		return sec, sec.ARN, nil
	case secrets.CodeOf(err) == resourceNotFound:
		return nil, arn, nil
	}
	return nil, secrets.ARN{}, err
}

// The condition keys of a secret, in lower case; the last two are followed by
// the key of a tag.
const (
	keySecretID      = "secretsmanager:secretid"
	keyPrimaryRegion = "secretsmanager:secretprimaryregion"
	keyFunction      = "secretsmanager:resource/allowrotationlambdaarn"
	keyType          = "secretsmanager:resource/type"
	keyTag           = "secretsmanager:resourcetag/"
	keyGlobalTag     = "aws:resourcetag/"
)

// AddConditionKeys adds what policies can ask about a secret:
// secretsmanager:SecretId, SecretPrimaryRegion, ResourceTag/…,
// resource/AllowRotationLambdaArn, resource/Type, and aws:ResourceTag/….
// Source: service authorization reference, "Condition keys for AWS Secrets
// Manager".
func (sec *Secret) AddConditionKeys(c iam.Context) {
	names := []string{keySecretID, keyPrimaryRegion, keyFunction, keyType}
	for _, t := range sec.Tags {
		names = append(names, keyTag+t.Key, keyGlobalTag+t.Key)
	}
	for _, name := range names {
		if values := sec.ConditionKey(name); values != nil {
			c[iam.KeyName(name)] = values
		}
	}
}

// ConditionKey returns the values of one of those keys, whose name is in lower
// case; nil where the secret hasn't it. Tags whose keys differ only in case are
// one key of several values.
func (sec *Secret) ConditionKey(name string) []string {
	switch name {
	case keySecretID:
		return []string{sec.ARN.String()}
	case keyPrimaryRegion:
		if sec.PrimaryRegion != "" {
			return []string{sec.PrimaryRegion}
		}
		return []string{sec.ARN.Region}
	case keyFunction:
		if sec.Rotation == nil || sec.Rotation.Source == OnDemand {
			return nil
		}
		return unlessEmpty(functionOf(sec))
	case keyType:
		return unlessEmpty(sec.Type)
	}
	tag, ok := strings.CutPrefix(name, keyTag)
	if !ok {
		tag, ok = strings.CutPrefix(name, keyGlobalTag)
	}
	if !ok {
		return nil
	}
	var values []string
	for _, t := range sec.Tags {
		if strings.EqualFold(t.Key, tag) {
			values = append(values, t.Value)
		}
	}
	return values
}
