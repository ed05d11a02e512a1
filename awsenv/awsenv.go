// Package awsenv reads what the environment has for calls of AWS: region,
// credentials, CA certificates. Whoever calls a service of AWS's, or a server that
// speaks its protocol, begins here.
package awsenv

import (
	"context"
	"errors"
	"net/url"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/aws/smithy-go"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// Place is what a configuration says of a service, each "" for what the environment
// says.
type Place struct {
	Region  string
	Profile string // of ~/.aws
	// Endpoint is where the service is, where it is not AWS's. The environment's
	// are not minded, nor is this one put into the configuration: that is for who
	// makes a client of it.
	Endpoint string
}

// Load reads the configuration that the AWS command line would use. It asks AWS
// for nothing. Errors are Invalid.
func (p Place) Load(ctx context.Context) (aws.Config, error) {
	var options []func(*config.LoadOptions) error
	if p.Region != "" {
		options = append(options, config.WithRegion(p.Region))
	}
	if p.Profile != "" {
		options = append(options, config.WithSharedConfigProfile(p.Profile))
	}
	if u, err := url.Parse(p.Endpoint); err == nil && engines.Loopback(u.Hostname()) {
		// Who calls a server of his own machine need not wait until there turns out
		// to be no cloud around it.
		options = append(options, config.WithEC2IMDSClientEnableState(imds.ClientDisabled))
	}
	env, err := config.LoadDefaultConfig(ctx, options...)
	var noProfile config.SharedConfigProfileNotExistError
	switch {
	case errors.As(err, &noProfile):
		return env, secrets.Errorf(secrets.Invalid, "there is no AWS profile %q", noProfile.Profile).
			WithHint("look at AWS_PROFILE and the configuration, and at the ones there are: aws configure list-profiles")
	case err != nil:
		return env, secrets.Errorf(secrets.Invalid, "the AWS configuration of this environment: %w", err).
			WithHint("look at AWS_PROFILE, AWS_CONFIG_FILE, AWS_SHARED_CREDENTIALS_FILE and AWS_CA_BUNDLE")
	}
	return env, nil
}

// ParseEndpoint reads the address of a server: scheme, host and port, and nothing
// else; ok is false for what is none.
func ParseEndpoint(text string) (u *url.URL, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, false
	}
	return u, true
}

var region = regexp.MustCompile(`^([a-z]+-)+[0-9]+$`)

// IsRegion reports whether a text can be the name of a region.
func IsRegion(text string) bool { return region.MatchString(text) }

// NoCredentials reports whether an error says that there are no credentials
// anywhere. The SDK's chain ends at the metadata of a virtual machine; that it found
// nothing there says just that.
func NoCredentials(err error) bool {
	var last *smithy.OperationError
	return errors.As(err, &last) && last.Service() == "ec2imds"
}
