package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestAWS(t *testing.T) {
	usual := func(change func(*AWS)) *AWS {
		a := &AWS{Refresh: 5 * time.Minute, RateLimits: 0.5}
		change(a)
		return a
	}
	for text, want := range map[string]*AWS{
		"store: {aws: {}}":                                             usual(func(*AWS) {}),
		"store: {aws: {region: eu-central-1}}":                         usual(func(a *AWS) { a.Region = "eu-central-1" }),
		"region: eu-central-1\nstore: {aws: {}}":                       usual(func(a *AWS) { a.Region = "eu-central-1" }),
		"region: us-gov-west-1\nstore: {aws: {region: us-gov-west-1}}": usual(func(a *AWS) { a.Region = "us-gov-west-1" }),
		"store: {aws: {profile: 'team/admin', endpoint: 'http://127.0.0.1:4566'}}": usual(func(a *AWS) {
			a.Profile, a.Endpoint = "team/admin", "http://127.0.0.1:4566"
		}),
		"store: {aws: {endpoint: 'https://vpce-1.secretsmanager.eu-central-1.vpce.amazonaws.com'}}": usual(func(a *AWS) {
			a.Endpoint = "https://vpce-1.secretsmanager.eu-central-1.vpce.amazonaws.com"
		}),
		"store: {aws: {discover: true, refresh: 24h, rate_limits: 1}}": {Discover: true, Refresh: 24 * time.Hour, RateLimits: 1},
		"store: {aws: {refresh: 10s, rate_limits: 0.01}}":              {Refresh: 10 * time.Second, RateLimits: 0.01},
		"store: {aws: {}}\nserver:\nfunctions:\naws_kms:\n":            usual(func(*AWS) {}),
	} {
		c, err := parse([]byte(text+"\n"), "pawl.yaml", "/pawl.yaml")
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(Store{AWS: want}, c.Store); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
		if c.Account != "" || c.Region != want.Region || c.Server != (Server{}) || c.Functions != nil || c.KMS != nil {
			t.Errorf("%s: %+v", text, c)
		}
	}
}

// TestAWSEntries: rotations are declared as with any store.
func TestAWSEntries(t *testing.T) {
	c := mustLoad(t, `
store: {aws: {region: eu-central-1}}
superusers: [{secret: root, for: ['prod/*']}]
events: {file: logs/events.jsonl}
defaults: {schedule: rate(30 days)}
secrets:
  - {name: prod/a, strategy: alternating-users}
  - {name: b, superuser: 'arn:aws:secretsmanager:eu-central-1:123456789012:secret:root-AbCdEf'}
`)
	if len(c.Secrets) != 2 || c.Secrets[0].Rules.Schedule != "rate(30 days)" || c.Secrets[1].Rules.Superuser == "" || len(c.Superusers) != 1 {
		t.Errorf("%+v", c)
	}
}
