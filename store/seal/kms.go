package seal

import (
	"context"
	"encoding/binary"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// KMS makes and opens data keys: AWS KMS, whose encryption context binds each to
// a secret's ARN and a version id. awskms has the real one.
type KMS interface {
	// GenerateDataKey makes a data key of 32 bytes under the key that a KmsKeyId
	// names. Errors: those of Keyring.Check.
	GenerateDataKey(ctx context.Context, key, arn, versionID string) (plain, wrapped []byte, err error)
	// Decrypt opens a data key. Errors: those of Keyring.Open.
	Decrypt(ctx context.Context, wrapped []byte, arn, versionID string) (plain []byte, err error)
}

// kmsKeyTime is how long a data key of AWS KMS is used without asking again.
const kmsKeyTime = 5 * time.Minute

// accessCheck is the version id in the encryption context when a key is tried.
// Source: AWS Secrets Manager user guide, "Secret encryption and decryption".
const accessCheck = "RequestToValidateKeyAccess"

func (k *Keyring) sealKMS(ctx context.Context, key, arn, versionID string, v secrets.Value) ([]byte, error) {
	data, wrapped, err := k.kms.GenerateDataKey(ctx, key, arn, versionID)
	if err != nil {
		return nil, err
	}
	if len(data) != keyLen || len(wrapped) == 0 || len(wrapped) > 1<<16-1 {
		return nil, cannotEncrypt("AWS KMS gave a data key of %d bytes, wrapped in %d", len(data), len(wrapped)).
			WithHint("look at what answers as AWS KMS (aws_kms.endpoint)")
	}
	out := make([]byte, 0, head2Len+len(wrapped)+boxExtra+v.Len())
	out = append(out, format2, typeOf(v))
	out = binary.BigEndian.AppendUint16(out, uint16(len(wrapped)))
	out = append(out, wrapped...)
	return sealBox(out, data, format2, arn, versionID, v)
}

func (k *Keyring) checkKMS(ctx context.Context, key, arn string) error {
	_, wrapped, err := k.kms.GenerateDataKey(ctx, key, arn, accessCheck)
	if err != nil {
		return err
	}
	_, err = k.kms.Decrypt(ctx, wrapped, arn, accessCheck)
	return err
}

func (k *Keyring) openKMS(ctx context.Context, arn, versionID string, wrapped []byte) ([]byte, error) {
	// Only secrets name keys. What else is sealed may come from anybody (a session
	// token), and nobody shall have Pawl ask AWS KMS at will.
	if !strings.HasPrefix(arn, "arn:") {
		return nil, damaged(arn, versionID)
	}
	if k.kms == nil {
		return nil, failure("version %s of %s is encrypted by AWS KMS, and none is configured", versionID, arn).
			WithHint("put aws_kms: {} back into the configuration file")
	}
	data, err := k.kms.Decrypt(ctx, wrapped, arn, versionID)
	if err != nil {
		return nil, err
	}
	if len(data) != keyLen {
		return nil, failure("AWS KMS opened a data key of %d bytes for version %s of %s", len(data), versionID, arn).
			WithHint("look at what answers as AWS KMS (aws_kms.endpoint)")
	}
	return data, nil
}
