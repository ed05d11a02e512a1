package conformance

import (
	"encoding/base64"
	"fmt"
	"time"
)

const (
	currentPending = "test_update_secret_version_stages_current_pending"
	putStages      = "test_put_secret_value_with_version_stages"
	noValue        = "You must provide either SecretString or SecretBinary."
)

var putRules = on("PutSecretValue",
	rule{"without labels makes the version current and the old one previous", recorded(putStages), func(p *Probe) {
		s := p.Secret()
		token := p.Token()
		a := p.OK("PutSecretValue", M{"SecretId": s.Name, "ClientRequestToken": token, "SecretString": "second"})
		a.Is("VersionId", token).Is("VersionStages", L{"AWSCURRENT"}).Is("ARN", s.ARN).Is("Name", s.Name)
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", token: "AWSCURRENT"})
	}},
	rule{"leaves the version before the previous one without labels", recorded(putStages), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second")
		v3 := p.Put(s, "third")
		p.Stages(s, map[string]string{v2: "AWSPREVIOUS", v3: "AWSCURRENT"})
	}},
	rule{"with labels other than AWSCURRENT leaves the current version current", recorded(putStages), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "SAMPLESTAGE1", "SAMPLESTAGE0")
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT", v2: "SAMPLESTAGE0 SAMPLESTAGE1"})
		p.Get(s).Is("SecretString", "first")
	}},
	rule{"answers exactly the labels that were given", recorded(putStages), func(p *Probe) {
		s := p.Secret()
		p.OK("PutSecretValue", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "SecretString": "x", "VersionStages": L{"A", "B"}}).
			Labels("VersionStages", "A", "B")
		p.OK("PutSecretValue", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "SecretString": "x", "VersionStages": L{"AWSCURRENT", "A"}}).
			Labels("VersionStages", "AWSCURRENT", "A")
	}},
	rule{"moves the labels that are elsewhere", recorded(putStages), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "A", "B")
		v3 := p.Put(s, "third", "A")
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT", v2: "B", v3: "A"})
	}},
	rule{"takes any label, also one that begins with AWS", recorded("test_non_versioning_version_stages_no_replacement"), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "AWSSOMETHING", "any/ä*")
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT", v2: "AWSSOMETHING any/ä*"})
	}},
	rule{"moves AWSPENDING from the version that has it", recorded(currentPending), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "AWSCURRENT", "AWSPENDING")
		v3 := p.Put(s, "third", "AWSPENDING")
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", v2: "AWSCURRENT", v3: "AWSPENDING"})
	}},
	rule{"takes AWSPENDING off the former current version", recorded(currentPending), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "AWSCURRENT", "AWSPENDING")
		v3 := p.Put(s, "third")
		p.Stages(s, map[string]string{v2: "AWSPREVIOUS", v3: "AWSCURRENT"})
	}},
	rule{"takes AWSPENDING off a version that was never current", recorded(currentPending + "_cycle"), func(p *Probe) {
		s := p.Secret()
		p.Put(s, "second", "AWSPENDING")
		v3 := p.Put(s, "third")
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", v3: "AWSCURRENT"})
	}},
	rule{"leaves custom labels on the versions that were current and previous", recorded(currentPending + "_cycle_custom_stages_2"), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "AWSCURRENT", "PUT0")
		v3 := p.Put(s, "third", "AWSCURRENT", "PUT1")
		v4 := p.Put(s, "fourth")
		p.Stages(s, map[string]string{v2: "PUT0", v3: "AWSPREVIOUS PUT1", v4: "AWSCURRENT"})
	}},
	rule{"makes the first value of a secret current", recorded(emptySecret), func(p *Probe) {
		s := p.Secret(M{"SecretString": nil})
		v := p.Put(s, "first")
		p.Stages(s, map[string]string{v: "AWSCURRENT"})
	}},
	rule{"makes the first value of a secret current whatever labels are asked for", api("PutSecretValue"), func(p *Probe) {
		s := p.Secret(M{"SecretString": nil})
		v := p.Put(s, "first", "CUSTOM")
		p.Stages(s, map[string]string{v: "AWSCURRENT CUSTOM"})
	}},
	rule{"keeps binary", api("PutSecretValue"), func(p *Probe) {
		s, value := p.Secret(), base64.StdEncoding.EncodeToString([]byte{0xff, 0})
		p.OK("PutSecretValue", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "SecretBinary": value})
		p.Get(s).Is("SecretBinary", value).Absent("SecretString")
	}},
	rule{"refuses a request without a value", "answer of AWS quoted in several issues", func(p *Probe) {
		p.Refused("PutSecretValue", M{"SecretId": p.Secret().Name, "ClientRequestToken": p.Token()}, "InvalidRequestException", noValue)
	}},
	rule{"refuses an empty value", "answer of AWS quoted in several issues", func(p *Probe) {
		p.Refused("PutSecretValue", M{"SecretId": p.Secret().Name, "ClientRequestToken": p.Token(), "SecretString": ""}, "InvalidRequestException", noValue)
	}},
	rule{"refuses text and binary together", api("PutSecretValue"), func(p *Probe) {
		p.Refused("PutSecretValue", M{"SecretId": p.Secret().Name, "ClientRequestToken": p.Token(), "SecretString": "a", "SecretBinary": "YQ=="},
			"InvalidParameterException", bothValues)
	}},
	rule{"refuses a missing ClientRequestToken", recorded("test_no_client_request_token[PutSecretValue]"), func(p *Probe) {
		p.Refused("PutSecretValue", M{"SecretId": p.Name(), "SecretString": "x"}, "InvalidRequestException", noToken)
	}},
	rule{"answers the same token and value again as the first time, and changes nothing", reused, func(p *Probe) {
		s := p.Secret()
		in := M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "SecretString": "second"}
		first := p.OK("PutSecretValue", in)
		before := p.Describe(s)
		p.pause(20 * time.Millisecond)
		again := p.OK("PutSecretValue", in)
		if !equal(again.Members, first.Members) {
			p.Fail("%s, then %s", first, again)
		}
		if after := p.Describe(s); !equal(after.Members, before.Members) {
			p.Fail("%s, then %s", before, after)
		}
	}},
	rule{"refuses the same token with another value", reused, func(p *Probe) {
		s := p.Secret()
		p.Refused("PutSecretValue", M{"SecretId": s.Name, "ClientRequestToken": s.Version, "SecretString": "other"},
			"ResourceExistsException", tokenUsed(s.Version, s.ARN))
	}},
	rule{"refuses the same token with the same bytes as binary", inferred, func(p *Probe) {
		s := p.Secret(M{"SecretString": "a"})
		p.Refused("PutSecretValue", M{"SecretId": s.Name, "ClientRequestToken": s.Version, "SecretBinary": "YQ=="},
			"ResourceExistsException", tokenUsed(s.Version, s.ARN))
	}},
	rule{"scopes tokens to one secret", api("PutSecretValue"), func(p *Probe) {
		a, b := p.Secret(), p.Secret()
		p.OK("PutSecretValue", M{"SecretId": b.Name, "ClientRequestToken": a.Version, "SecretString": "other"})
	}},
	rule{"makes a version of a value that is the same, under a new token", localstack("test_last_updated_date"), func(p *Probe) {
		s := p.Secret()
		v := p.Put(s, "first")
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", v: "AWSCURRENT"})
	}},
	rule{"moves LastChangedDate", localstack("test_last_updated_date"), func(p *Probe) {
		s := p.Secret()
		p.moves(s, func() { p.Put(s, "second") })
	}},
	rule{"fills the empty version that a rotation asked for", api("PutSecretValue"), func(p *Probe) {
		s, pending := p.Stuck()
		p.OK("PutSecretValue", M{"SecretId": s.Name, "ClientRequestToken": pending, "SecretString": "filled", "VersionStages": L{"AWSPENDING"}}).
			Is("VersionId", pending).Labels("VersionStages", "AWSPENDING")
		p.OK("GetSecretValue", M{"SecretId": s.Name, "VersionStage": "AWSPENDING"}).Is("SecretString", "filled")
		p.Get(s).Is("SecretString", "first")
	}},
	rule{"accepts 20 labels on all versions together and refuses more", quotas, func(p *Probe) {
		s := p.Secret()
		var labels []string
		for i := range 19 {
			labels = append(labels, fmt.Sprintf("L%d", i))
		}
		p.Put(s, "second", labels...)
		p.Refused("PutSecretValue", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "SecretString": "x", "VersionStages": L{"ONE-MORE"}},
			"LimitExceededException", "")
		p.Put(s, "fourth", "L1", "L2")
	}},
	rule{"refuses another account under the default key", recorded("test_cross_account_access"), func(p *Probe) {
		s, q := p.shared(M{})
		q.Refused("PutSecretValue", M{"SecretId": s.ARN, "ClientRequestToken": p.Token(), "SecretString": "x"}, "InvalidRequestException", defaultKey)
	}},
	rule{"accepts the RotationToken of a function", model, func(p *Probe) {
		p.OK("PutSecretValue", M{"SecretId": p.Secret().Name, "ClientRequestToken": p.Token(), "SecretString": "x", "RotationToken": p.Token()})
	}},
)

// moves expects that an act moves LastChangedDate on.
func (p *Probe) moves(s *Secret, act func()) {
	before := p.Describe(s).Time("LastChangedDate")
	p.pause(20 * time.Millisecond)
	act()
	if after := p.Describe(s).Time("LastChangedDate"); !after.After(before) {
		p.Fail("LastChangedDate stays %s", after)
	}
}
