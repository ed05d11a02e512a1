package client

import (
	"context"
	"errors"
	"net/http"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// FromEnvironment makes a Client for an endpoint with the region, credentials
// and CA certificates that the AWS command line would use: AWS_ACCESS_KEY_ID,
// AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION or AWS_DEFAULT_REGION,
// AWS_PROFILE with the files in ~/.aws, AWS_CA_BUNDLE, and the rest of the
// SDK's chain. Of the endpoints that the environment names none is minded.
//
// It gets the credentials once, so that what is missing is found before
// anything is asked of anybody. Errors are Invalid.
func FromEnvironment(ctx context.Context, endpoint string) (*Client, error) {
	u, err := parseEndpoint(endpoint)
	if err != nil {
		return nil, err
	}
	var options []func(*config.LoadOptions) error
	if engines.Loopback(u.Hostname()) {
		// Who calls a server of his own machine need not wait until there
		// turns out to be no cloud around it.
		options = append(options, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	env, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "the AWS configuration of this environment: %w", err).
			WithHint("look at AWS_PROFILE, AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE and AWS_CA_BUNDLE")
	}
	c := Config{Endpoint: endpoint, Region: env.Region, Credentials: env.Credentials, Transport: http.DefaultTransport}
	if b, ok := env.HTTPClient.(*awshttp.BuildableClient); ok {
		c.Transport = b.GetTransport()
	}
	out, err := New(c)
	if err != nil {
		return nil, err
	}
	if _, err := env.Credentials.Retrieve(ctx); err != nil {
		return nil, noCredentials(err)
	}
	return out, nil
}

// noCredentials explains why there is nothing to sign with. The SDK's chain ends
// at the metadata of a virtual machine; that it found nothing there says only
// that there was nothing anywhere.
func noCredentials(err error) error {
	var last *smithy.OperationError
	if !errors.As(err, &last) || last.Service() != "ec2imds" {
		return secrets.Errorf(secrets.Invalid, "getting AWS credentials: %w", err).
			WithHint("look at AWS_PROFILE, AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE")
	}
	return secrets.Errorf(secrets.Invalid, "no AWS credentials were found to sign requests with").
		WithHint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for pawl serve --dev any will do: AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test")
}
