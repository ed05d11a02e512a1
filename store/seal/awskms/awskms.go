// Package awskms has AWS KMS make and open the data keys of a seal.Keyring.
package awskms

import (
	"context"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/pawlhq/pawl/awsenv"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/seal"
)

var _ seal.KMS = (*Client)(nil)

// Config says where AWS KMS is.
type Config struct {
	Region   string // "" = that of each secret, by its ARN
	Endpoint string // "" = AWS's own
	// Timeout is how long a call may take, with what is tried again; 0 = 10
	// seconds.
	Timeout time.Duration
}

const defaultTimeout = 10 * time.Second

// Client is a seal.KMS. It is safe for concurrent use.
type Client struct {
	kms     *kms.Client
	region  string
	timeout time.Duration
}

// New makes a Client with the credentials that the environment has, by the AWS
// SDK's chain; AWS_CA_BUNDLE counts too. Of the endpoints that the environment
// names none is minded: AWS_ENDPOINT_URL may well be Pawl's own. It asks nothing
// of AWS KMS. Errors are Invalid.
func New(ctx context.Context, c Config) (*Client, error) {
	env, err := awsenv.Place{Endpoint: c.Endpoint}.Load(ctx)
	if err != nil {
		return nil, secrets.Prefixed(err, "for AWS KMS")
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	client := kms.NewFromConfig(env, func(o *kms.Options) {
		o.BaseEndpoint = nil
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
	})
	return &Client{client, c.Region, c.Timeout}, nil
}

// GenerateDataKey implements seal.KMS.
func (c *Client) GenerateDataKey(ctx context.Context, key, arn, versionID string) (plain, wrapped []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	out, err := c.kms.GenerateDataKey(ctx, &kms.GenerateDataKeyInput{
		KeyId: aws.String(key), KeySpec: types.DataKeySpecAes256, EncryptionContext: bound(arn, versionID),
	}, c.at(arn))
	if err != nil {
		return nil, nil, encrypting(err, key)
	}
	return out.Plaintext, out.CiphertextBlob, nil
}

// Decrypt implements seal.KMS.
func (c *Client) Decrypt(ctx context.Context, wrapped []byte, arn, versionID string) (plain []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	out, err := c.kms.Decrypt(ctx, &kms.DecryptInput{CiphertextBlob: wrapped, EncryptionContext: bound(arn, versionID)}, c.at(arn))
	if err != nil {
		return nil, decrypting(err, arn)
	}
	return out.Plaintext, nil
}

// bound is the encryption context, which key policies may ask for and CloudTrail
// shows.
// Source: AWS Secrets Manager user guide, "Secret encryption and decryption".
func bound(arn, versionID string) map[string]string {
	return map[string]string{"SecretARN": arn, "SecretVersionId": versionID}
}

// at sends a call to the configured region, or else to that of the secret.
func (c *Client) at(arn string) func(*kms.Options) {
	return func(o *kms.Options) {
		if c.region != "" {
			o.Region = c.region
		} else if p := strings.SplitN(arn, ":", 5); len(p) == 5 && p[3] != "" {
			o.Region = p[3]
		}
	}
}
