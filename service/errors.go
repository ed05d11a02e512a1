package service

import (
	"errors"

	"github.com/pawlhq/pawl/secrets"
)

// The AWS exceptions that the operations give.
// Source: AWS Secrets Manager API reference, "Errors" of each operation.
const (
	resourceNotFound = "ResourceNotFoundException"
	resourceExists   = "ResourceExistsException"
	invalidParameter = "InvalidParameterException"
	invalidRequest   = "InvalidRequestException"
	invalidNextToken = "InvalidNextTokenException"
	validation       = "ValidationException"
	limitExceeded    = "LimitExceededException"
	accessDenied     = "AccessDeniedException"

	encryptionFailure = "EncryptionFailure"
	decryptionFailure = "DecryptionFailure"
)

// refuse makes an error of the exception for a secret; the text is AWS's.
func refuse(code, secret, format string, args ...any) *secrets.Error {
	e := secrets.Errorf(secrets.Invalid, format, args...)
	e.Code, e.Secret = code, secret
	return e
}

func notFound(secret string) error {
	return refuse(resourceNotFound, secret, "Secrets Manager can't find the specified secret.").
		WithHint("see the names there are: pawl secret list")
}

// known gives a store's error its AWS exception and the secret it is about.
func known(err error, secret string) error {
	if errors.Is(err, ErrNotFound) {
		return notFound(secret)
	}
	return secrets.At(err, secret, "", "")
}

// alive refuses a secret that is scheduled for deletion.
func alive(sec *Secret) error {
	if sec.Deleted.IsZero() {
		return nil
	}
	return refuse(invalidRequest, sec.ARN.Name, "You can't perform this operation on the secret because it was marked for deletion.").
		WithHint("bring it back: pawl secret restore %s", sec.ARN.Name)
}

// requireToken refuses a request without a ClientRequestToken.
func requireToken(token, secret string) error {
	if token == "" {
		return refuse(invalidRequest, secret, "You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	}
	return nil
}

// tokenInUse is the answer to a token that made another value before.
func tokenInUse(token string, arn secrets.ARN) error {
	return refuse(resourceExists, arn.Name, "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", token, arn)
}

// unmanaged refuses a secret that an AWS service keeps for its user.
func unmanaged(sec *Secret) error {
	if sec.OwningService == "" {
		return nil
	}
	return refuse(invalidRequest, sec.ARN.Name, "This secret is managed by an AWS service, and you must use that service to update it.")
}

// textOf returns the text that err has on the wire: AWS's, without the place
// and the hint that are for people.
func textOf(err error) string {
	var e *secrets.Error
	if errors.As(err, &e) && e.Err != nil {
		return e.Err.Error()
	}
	return err.Error()
}
