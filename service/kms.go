package service

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// What names a key of AWS KMS: a UUID or a multi-Region key's id, or an alias.
// Source: AWS KMS API reference, KeyId and AliasName.
var (
	kmsID    = regexp.MustCompile(`^([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|mrk-[0-9a-f]{32})$`)
	kmsAlias = regexp.MustCompile(`^alias/[a-zA-Z0-9:/_-]{1,250}$`)
)

// DefaultKey is the alias of the key that a secret without a key of its own is
// encrypted with.
const DefaultKey = "alias/aws/secretsmanager"

// checkKey refuses a KmsKeyId that can't be a key of the region: a key's id or
// alias, or the ARN of either, is taken and echoed as it was given, "" is the
// default key. Errors: InvalidParameterException, AccessDeniedException for the
// key of another AWS service.
func checkKey(secret, key, region string) error {
	name, isARN := key, false
	if rest, ok := strings.CutPrefix(key, "arn:"); ok {
		p := strings.SplitN(rest, ":", 5) // partition, service, region, account, resource
		if len(p) != 5 || p[0] == "" || p[1] != "kms" || p[2] == "" || p[3] == "" {
			return invalidKey(secret, "Invalid keyId")
		}
		if p[2] != region {
			return invalidKey(secret, "Invalid arn "+p[2]).
				WithHint("a key encrypts in its own region only, and this secret is in %s", region)
		}
		name, isARN = p[4], true
	}
	id, isID := name, !isARN
	if isARN {
		id, isID = strings.CutPrefix(name, "key/")
	}
	switch {
	case key == "":
		return nil
	case strings.HasPrefix(name, "alias/aws/") && name != DefaultKey:
		return refuse(accessDenied, secret, "Access to KMS is not allowed").
			WithHint("of AWS's own keys only %s can be used", DefaultKey)
	case isID && kmsID.MatchString(id), kmsAlias.MatchString(name):
		return nil
	}
	return invalidKey(secret, "Invalid keyId")
}

// canUseKey makes sure that values of a secret can be encrypted under the key
// that a KmsKeyId names, and decrypted again. Errors: as checkKey, and
// EncryptionFailure or DecryptionFailure for a key that is there but disabled.
func (s *Service) canUseKey(ctx context.Context, arn secrets.ARN, key string) error {
	if err := checkKey(arn.Name, key, arn.Region); err != nil {
		return err
	}
	return ofKey(s.sealer.Check(ctx, key, arn.String()), arn, key)
}

// ofKey adds to an error of the Sealer which key it is about, and what can be
// done: AWS's texts say neither.
func ofKey(err error, arn secrets.ARN, key string) error {
	if err == nil {
		return nil
	}
	var e *secrets.Error
	err = secrets.At(inAWSText(err), arn.Name, "", "")
	if !errors.As(err, &e) || isDefaultKey(key) || strings.Contains(e.Error(), key) {
		return err
	}
	if e.Hint == "" {
		e.Hint = "see that it exists, is enabled, and that Pawl may use it"
	}
	e.Hint = "the key is " + key + "; " + e.Hint
	return err
}

// inAWSText gives a failure of encryption AWS's text, which is all that a caller
// of the API is told. What the Sealer says of it, which files and programs the
// keys come from, is for whoever runs Pawl, and becomes the hint.
func inAWSText(err error) error {
	var e *secrets.Error
	if !errors.As(err, &e) || e.Err == nil {
		return err
	}
	text := awsTexts[e.Code]
	if text == "" || strings.HasPrefix(text, e.Err.Error()) {
		return err
	}
	out := *e
	out.Err, out.Hint = errors.New(text), e.Err.Error()
	if e.Hint != "" {
		out.Hint += "; " + e.Hint
	}
	return &out
}

// Source: AWS Secrets Manager API reference, "Errors" of GetSecretValue and
// CreateSecret.
var awsTexts = map[string]string{
	encryptionFailure: "Secrets Manager can't encrypt the protected secret text using the provided KMS key. Check that the KMS key is available, enabled, and not in an invalid state.",
	decryptionFailure: "Secrets Manager can't decrypt the protected secret text using the provided KMS key.",
}

func invalidKey(secret, why string) *secrets.Error {
	return refuse(invalidParameter, secret, "The operation failed because of an invalid KMS key: %s", why)
}

// isDefaultKey reports whether a secret's key is the default one, whether or
// not it was named.
func isDefaultKey(key string) bool {
	return key == "" || key == DefaultKey || strings.HasPrefix(key, "arn:") && strings.HasSuffix(key, ":"+DefaultKey)
}
