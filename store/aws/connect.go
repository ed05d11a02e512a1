package aws

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"

	"github.com/pawlhq/pawl/awsenv"
	"github.com/pawlhq/pawl/secrets"
)

const (
	// answerTime bounds one request. AWS answers in a fraction of a second; the
	// SDK alone would wait for ever.
	answerTime = 10 * time.Second
	// Requests are sent up to maxAttempts times, with waits of up to 2, 4, 5, 5
	// and 5 s between them, half of that on average: within one step of a
	// rotation. What takes longer is for the scheduler.
	maxAttempts = 6
	maxBackoff  = 5 * time.Second
)

// option changes the SDK's client.
type option = func(*secretsmanager.Options)

// connect loads the SDK's configuration: what the file says, and for the rest
// what the AWS command line would use, but for endpoints: nobody's AWS_ENDPOINT_URL
// sends secrets elsewhere. It gets the credentials once, so that missing ones are
// found at the start.
func connect(ctx context.Context, c Config, change ...option) (*api, error) {
	endpoint, err := parseEndpoint(c.Endpoint)
	if err != nil {
		return nil, err
	}
	env, err := awsenv.Place{Region: c.Region, Profile: c.Profile, Endpoint: c.Endpoint}.Load(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case env.Region == "":
		return nil, secrets.Errorf(secrets.Invalid, "no AWS region is set").
			WithHint("say where the secrets are: store.aws.region in the configuration, or AWS_REGION=us-east-1")
	case !awsenv.IsRegion(env.Region):
		return nil, secrets.Errorf(secrets.Invalid, "%q is not the name of an AWS region", env.Region).
			WithHint("say where the secrets are: store.aws.region in the configuration, or AWS_REGION=us-east-1")
	}
	a := &api{
		limits: newLimits(cmp.Or(c.RateLimits, DefaultRateLimits)), region: env.Region,
		profile: cmp.Or(c.Profile, os.Getenv("AWS_PROFILE")),
	}
	signer := signer{env.Credentials}
	if b, ok := env.HTTPClient.(*awshttp.BuildableClient); ok {
		env.HTTPClient = b.WithTimeout(answerTime)
	} else if env.HTTPClient == nil {
		env.HTTPClient = awshttp.NewBuildableClient().WithTimeout(answerTime)
	}
	a.client = secretsmanager.NewFromConfig(env, append([]option{func(o *secretsmanager.Options) {
		o.Credentials = signer
		o.HTTPClient = sender{o.HTTPClient}
		o.Logger = logging.Nop{} // it would write to the standard error
		o.BaseEndpoint = nil
		if endpoint != nil {
			o.BaseEndpoint = aws.String(endpoint.String())
			o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
			o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
		}
		o.Retryer = retryer(func(*retry.StandardOptions) {})
		o.APIOptions = append(o.APIOptions, a.limits.paced)
	}}, change...)...)
	if a.server, err = serverOf(ctx, a.client.Options()); err != nil {
		return nil, err
	}
	if _, err := signer.Retrieve(ctx); err != nil {
		e := a.noCredentials(err)
		e.Kind, e.Server = secrets.Invalid, ""
		return nil, e
	}
	return a, nil
}

// sender is an HTTP client whose requests' bodies are no io.WriterTo. The SDK's are,
// and once the SDK has closed one, which it does when the answer begins, it says EOF
// where a WriterTo must not: the transport would take that for a failure and hang up
// within the answer.
type sender struct{ secretsmanager.HTTPClient }

func (s sender) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body = struct {
			io.Reader
			io.Closer
		}{req.Body, req.Body}
	}
	return s.HTTPClient.Do(req)
}

// parseEndpoint reads the address of who speaks Secrets Manager's protocol; nil
// for none.
func parseEndpoint(text string) (*url.URL, error) {
	if text == "" {
		return nil, nil
	}
	u, ok := awsenv.ParseEndpoint(text)
	if !ok {
		return nil, secrets.Errorf(secrets.Invalid, "store.aws.endpoint is not the address of a server").
			WithHint("write it as https://vpce-0123.secretsmanager.us-east-1.vpce.amazonaws.com: scheme, host and port, and nothing else")
	}
	return u, nil
}

// serverOf is the host of the endpoint that requests go to, for errors.
func serverOf(ctx context.Context, o secretsmanager.Options) (string, error) {
	at, err := o.EndpointResolverV2.ResolveEndpoint(ctx, secretsmanager.EndpointParameters{
		Region:       aws.String(o.Region),
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
		Endpoint:     o.BaseEndpoint,
	})
	if err != nil {
		return "", secrets.Errorf(secrets.Invalid, "AWS's endpoint of Secrets Manager in %s: %w", o.Region, err).
			WithHint("look at AWS_USE_FIPS_ENDPOINT and AWS_USE_DUALSTACK_ENDPOINT, or name the endpoint: store.aws.endpoint")
	}
	return at.URI.Host, nil
}

// retryer is the SDK's standard one. It takes LimitExceededException for
// throttling; Secrets Manager says so of too many labels or versions, which stay
// too many. And it takes a server that can't be trusted for a broken connection.
func retryer(change func(*retry.StandardOptions)) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = maxAttempts, maxBackoff
		o.Backoff = retry.NewExponentialJitterBackoff(maxBackoff)
		o.Retryables = append([]retry.IsErrorRetryable{retry.IsErrorRetryableFunc(func(err error) aws.Ternary {
			var said smithy.APIError
			if errors.As(err, &said) && said.ErrorCode() == limitExceeded || untrusted(err) {
				return aws.FalseTernary
			}
			return aws.UnknownTernary
		})}, o.Retryables...)
		change(o)
	})
}

// signer gets the credentials that requests are signed with, and marks the errors
// of getting them: the SDK mixes them with those of the request.
type signer struct{ aws.CredentialsProvider }

// Retrieve returns the credentials.
func (s signer) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if s.CredentialsProvider == nil {
		return aws.Credentials{}, &credentialsError{errors.New("there is no source of them")}
	}
	c, err := s.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return c, &credentialsError{err}
	}
	return c, nil
}

type credentialsError struct{ error }

func (e *credentialsError) Unwrap() error { return e.error }
