package config

import "time"

// Bounds and defaults of store.aws.
const (
	defaultRefresh = 5 * time.Minute
	minRefresh     = 10 * time.Second
	maxRefresh     = 24 * time.Hour

	// defaultAWSRateLimits leaves half of the quotas, which are the account's, to
	// its applications.
	defaultAWSRateLimits = 0.5
)

// aws checks AWS Secrets Manager as the store.
func (c *checker) aws(s awsYAML) *AWS {
	const at = "store.aws."
	out := &AWS{
		Region: value(s.Region), Profile: value(s.Profile), Endpoint: value(s.Endpoint),
		Discover:   value(s.Discover),
		Refresh:    time.Duration(either(s.Refresh, nil, span(defaultRefresh))),
		RateLimits: either(s.RateLimits, nil, defaultAWSRateLimits),
	}
	if out.Region != "" {
		c.regionName(at+"region", out.Region)
	}
	c.endpoint(at+"endpoint", out.Endpoint, "secretsmanager", "secrets go there and come back in the clear")
	if out.Refresh < minRefresh || out.Refresh > maxRefresh {
		c.add(at+"refresh", "must be from 10s to 24h")
	}
	if out.RateLimits <= 0 || out.RateLimits > 1 {
		c.add(at+"rate_limits", "must be more than 0 and at most 1, which is all of the account's quotas")
	}
	return out
}

// withAWS refuses what means nothing while AWS keeps the secrets, and settles
// their region.
func (c *checker) withAWS(f fileYAML, out *Config) {
	const useless = "is of no use with store.aws: "
	aws := out.Store.AWS
	if f.Account != nil {
		c.add("account", useless+"the account is that of the AWS credentials; leave it out")
	}
	switch {
	case f.Region == nil:
	case aws.Region == "":
		c.regionName("region", *f.Region)
		aws.Region = *f.Region
	case *f.Region != aws.Region:
		c.add("region", "is another one than store.aws.region; leave it out here")
	}
	out.Region = aws.Region
	switch {
	case f.Server.Listen != nil:
		c.add("server.listen", useless+"AWS serves the API itself; leave it out")
	case f.Server != (serverYAML{}):
		c.add("server", useless+"AWS serves the API itself; leave it out")
	}
	if f.KMS != nil {
		c.add("aws_kms", useless+"AWS encrypts each secret by the key it has there (KmsKeyId); leave it out")
	}
	if len(f.Regions) > 0 {
		c.add("regions", useless+"AWS replicates secrets itself; leave it out")
	}
	if f.Functions != nil {
		c.add("functions", useless+rotatedByAWS)
	}
}

// rotatedByAWS says where functions belong with AWS as the store.
const rotatedByAWS = "it is AWS that calls functions for secrets at AWS; leave it out and use " +
	"aws secretsmanager rotate-secret --secret-id NAME --rotation-lambda-arn ARN"
