package awskms

import (
	"context"
	"errors"

	"github.com/aws/smithy-go"

	"github.com/pawlhq/pawl/secrets"
)

// The texts are AWS Secrets Manager's own.
// Source: AWS Secrets Manager API reference, "Errors"; the text about the key and
// the one about access are what it answers.
const (
	noEncryption = "Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the KMS key is available, enabled, and not in an invalid state."
	noDecryption = "Secrets Manager can't decrypt the protected secret text using the provided KMS key."
	noKey        = "The operation failed because of an invalid KMS key: Invalid keyId"
	noAccess     = "Access to KMS is not allowed"
)

// verdict is what an answer of AWS KMS means.
type verdict int

const (
	unsure  verdict = iota // waiting may help
	missing                // there is no such key
	unfit                  // it is not one that encrypts data keys
	off                    // disabled, or being deleted
	foreign                // not what the key encrypted, for this secret and version
	denied
	strange // Pawl's own credentials are not good
)

// Source: AWS KMS API reference, "Errors" of GenerateDataKey and Decrypt, and
// "Common errors".
var verdicts = map[string]verdict{
	"NotFoundException":           missing,
	"InvalidArnException":         missing,
	"ValidationException":         missing,
	"InvalidKeyUsageException":    unfit,
	"InvalidGrantTokenException":  denied,
	"AccessDeniedException":       denied,
	"DisabledException":           off,
	"KMSInvalidStateException":    off,
	"InvalidCiphertextException":  foreign,
	"IncorrectKeyException":       foreign,
	"UnrecognizedClientException": strange,
	"InvalidClientTokenId":        strange,
	"IncompleteSignature":         strange,
	"InvalidSignatureException":   strange,
	"MissingAuthenticationToken":  strange,
	"ExpiredTokenException":       strange,
	"OptInRequired":               strange,
}

func verdictOn(err error) verdict {
	var e smithy.APIError
	if errors.As(err, &e) {
		return verdicts[e.ErrorCode()]
	}
	return unsure
}

// encrypting classifies an error of GenerateDataKey.
func encrypting(err error, key string) error {
	switch verdictOn(err) {
	case missing, unfit, foreign:
		return refuse("InvalidParameterException", noKey).
			WithHint("Pawl has no key %s, and AWS KMS says: %s; see pawl key list and aws kms describe-key", key, said(err))
	case off:
		return refuse("EncryptionFailure", noEncryption).
			WithHint("AWS KMS says: %s; run: aws kms enable-key --key-id %s", said(err), key)
	case denied:
		return refuse("AccessDeniedException", noAccess).
			WithHint("allow Pawl kms:GenerateDataKey and kms:Decrypt on %s; AWS KMS says: %s", key, said(err))
	case strange:
		return ownCredentials(err)
	}
	return unreachable(err)
}

// decrypting classifies an error of Decrypt.
func decrypting(err error, arn string) error {
	switch verdictOn(err) {
	case missing, unfit:
		return refuse("DecryptionFailure", noDecryption).
			WithHint("the key that encrypts a value of %s is gone, as AWS KMS says: %s; if it is in another region, name that in aws_kms.region", arn, said(err))
	case foreign:
		return refuse("DecryptionFailure", noDecryption).
			WithHint("AWS KMS does not know the data key of a value of %s: it was altered or copied, or its key is in another region or account (aws_kms.region); AWS KMS says: %s", arn, said(err))
	case off:
		return refuse("DecryptionFailure", noDecryption).
			WithHint("enable the key again, or cancel its deletion; AWS KMS says: %s", said(err))
	case denied:
		return refuse("AccessDeniedException", noAccess).
			WithHint("allow Pawl kms:Decrypt on the key of %s; AWS KMS says: %s", arn, said(err))
	case strange:
		return ownCredentials(err)
	}
	return unreachable(err)
}

func refuse(code, text string) *secrets.Error {
	e := secrets.Errorf(secrets.Invalid, "%s", text)
	e.Code = code
	return e
}

func ownCredentials(err error) error {
	return refuse("AccessDeniedException", noAccess).
		WithHint("AWS KMS does not know Pawl's own AWS credentials: %s; look at AWS_ACCESS_KEY_ID, AWS_PROFILE or the role of the machine", said(err))
}

// unreachable is for what may pass: throttling, a failure inside AWS KMS, the
// network, credentials that can't be had right now.
func unreachable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = errors.New("it did not answer in time")
	} else if text := said(err); text != "" {
		err = errors.New(text)
	}
	return secrets.Errorf(secrets.Transient, "AWS KMS can't be used: %w", err).
		WithHint("try again; if it stays so, look at aws_kms in the configuration file, the network, and Pawl's AWS credentials")
}

// said is what AWS KMS said, "" if it said nothing.
func said(err error) string {
	var e smithy.APIError
	if !errors.As(err, &e) {
		return ""
	}
	if e.ErrorMessage() == "" {
		return e.ErrorCode()
	}
	return e.ErrorCode() + ": " + e.ErrorMessage()
}
