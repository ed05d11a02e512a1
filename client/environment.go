package client

import (
	"context"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/pawlhq/pawl/awsenv"
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
	if _, err := parseEndpoint(endpoint); err != nil {
		return nil, err
	}
	return AWS{Endpoint: endpoint}.Connect(ctx)
}

// AWS is AWS Secrets Manager of one region, or who speaks its protocol.
type AWS struct {
	Endpoint string // "" = AWS's own
	Region   string // "" = the environment's or the profile's
	Profile  string // of ~/.aws; "" = the environment's
	// Store: commands act there because their configuration says so, and not by
	// --endpoint; hints know the difference.
	Store bool
}

// Connect makes a Client as FromEnvironment does. It asks AWS for nothing.
// Errors are Invalid.
func (a AWS) Connect(ctx context.Context) (*Client, error) {
	env, err := awsenv.Place{Region: a.Region, Profile: a.Profile, Endpoint: a.Endpoint}.Load(ctx)
	if err != nil {
		return nil, err
	}
	if err := checkRegion(env.Region); err != nil {
		return nil, err
	}
	c := Config{Endpoint: a.Endpoint, Store: a.Store, Region: env.Region, Credentials: env.Credentials, Transport: http.DefaultTransport}
	if c.Endpoint == "" {
		if c.Endpoint, err = endpointOf(ctx, env); err != nil {
			return nil, err
		}
	}
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

// endpointOf is AWS's own endpoint in a region: the one for FIPS, or for IPv6
// too, where the environment or the profile wants that.
func endpointOf(ctx context.Context, env aws.Config) (string, error) {
	o := secretsmanager.NewFromConfig(env).Options()
	at, err := secretsmanager.NewDefaultEndpointResolverV2().ResolveEndpoint(ctx, secretsmanager.EndpointParameters{
		Region:       aws.String(o.Region),
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
	})
	if err != nil {
		return "", secrets.Errorf(secrets.Invalid, "AWS's endpoint of Secrets Manager in %s: %w", o.Region, err).
			WithHint("look at AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT, or name the endpoint: store.aws.endpoint")
	}
	return at.URI.String(), nil
}

// noCredentials explains why there is nothing to sign with.
func noCredentials(err error) error {
	if !awsenv.NoCredentials(err) {
		return secrets.Errorf(secrets.Invalid, "getting AWS credentials: %w", err).
			WithHint("look at AWS_PROFILE, AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE")
	}
	return secrets.Errorf(secrets.Invalid, "no AWS credentials were found to sign requests with").
		WithHint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; for pawl serve --dev any will do: AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test")
}
