package conformance

import "time"

const getErrors = "test_get_secret_value_errors"

func noVersion(id string) string {
	return "Secrets Manager can't find the specified secret value for VersionId: " + id
}

func noStage(label string) string {
	return "Secrets Manager can't find the specified secret value for staging label: " + label
}

var getRules = on("GetSecretValue",
	rule{"answers AWSCURRENT when nothing else is asked for", api("GetSecretValue"), func(p *Probe) {
		s := p.Secret()
		v := p.Put(s, "second")
		p.Get(s).Is("SecretString", "second").Is("VersionId", v).Labels("VersionStages", "AWSCURRENT")
	}},
	rule{"answers a version by its id", api("GetSecretValue"), func(p *Probe) {
		s := p.Secret()
		p.Put(s, "second")
		p.OK("GetSecretValue", M{"SecretId": s.Name, "VersionId": s.Version}).Is("SecretString", "first").Labels("VersionStages", "AWSPREVIOUS")
	}},
	rule{"answers a version by its label", api("GetSecretValue"), func(p *Probe) {
		s := p.Secret()
		p.Put(s, "second")
		p.OK("GetSecretValue", M{"SecretId": s.Name, "VersionStage": "AWSPREVIOUS"}).Is("SecretString", "first").Is("VersionId", s.Version)
	}},
	rule{"answers a version by id and label together", api("GetSecretValue"), func(p *Probe) {
		s := p.Secret()
		p.OK("GetSecretValue", M{"SecretId": s.Name, "VersionId": s.Version, "VersionStage": "AWSCURRENT"}).Is("SecretString", "first")
	}},
	rule{"refuses a label that is not on the version named", recorded(getErrors), func(p *Probe) {
		s := p.Secret()
		p.Put(s, "second")
		p.Refused("GetSecretValue", M{"SecretId": s.Name, "VersionId": s.Version, "VersionStage": "AWSCURRENT"},
			"InvalidRequestException", "You provided a VersionStage that is not associated to the provided VersionId.")
	}},
	rule{"does not find a version that is not there", recorded(getErrors), func(p *Probe) {
		s, v := p.Secret(), p.Token()
		p.Refused("GetSecretValue", M{"SecretId": s.Name, "VersionId": v}, "ResourceNotFoundException", noVersion(v))
	}},
	rule{"does not find a label that is not there", recorded(getErrors), func(p *Probe) {
		s := p.Secret()
		p.Refused("GetSecretValue", M{"SecretId": s.Name, "VersionStage": "AWSPREVIOUS"}, "ResourceNotFoundException", noStage("AWSPREVIOUS"))
		p.Refused("GetSecretValue", M{"SecretId": s.Name, "VersionStage": "CUSTOM"}, "ResourceNotFoundException", noStage("CUSTOM"))
	}},
	rule{"tells labels apart by case", secretOf, func(p *Probe) {
		s := p.Secret()
		p.Refused("GetSecretValue", M{"SecretId": s.Name, "VersionStage": "awscurrent"}, "ResourceNotFoundException", noStage("awscurrent"))
	}},
	rule{"does not find the value of a version that a rotation has yet to fill", "AWS rotation templates rely on it", func(p *Probe) {
		s, pending := p.Stuck()
		p.Refused("GetSecretValue", M{"SecretId": s.Name, "VersionStage": "AWSPENDING"}, "ResourceNotFoundException", "")
		p.Refused("GetSecretValue", M{"SecretId": s.Name, "VersionId": pending}, "ResourceNotFoundException", "")
		p.Refused("GetSecretValue", M{"SecretId": s.Name, "VersionId": pending, "VersionStage": "AWSPENDING"}, "ResourceNotFoundException", "")
	}},
	rule{"answers a version without labels by its id", inferred, func(p *Probe) {
		s := p.Secret()
		v := p.deprecated(s)
		p.OK("GetSecretValue", M{"SecretId": s.Name, "VersionId": v}).Is("SecretString", "unlabelled")
	}},
	rule{"dates the version, not the secret", api("GetSecretValue"), func(p *Probe) {
		s := p.Secret()
		created := p.Describe(s).Time("CreatedDate")
		p.pause(20 * time.Millisecond)
		p.Put(s, "second")
		if !p.Get(s).Time("CreatedDate").After(created) {
			p.Fail("the second version is as old as the secret")
		}
		p.OK("GetSecretValue", M{"SecretId": s.Name, "VersionId": s.Version}).Within("CreatedDate", created, time.Second)
	}},
	rule{"notes the day of the last reading, at midnight UTC", localstack("test_last_accessed_date"), func(p *Probe) {
		s := p.Secret()
		p.Describe(s).Absent("LastAccessedDate")
		before := time.Now().UTC().Truncate(24 * time.Hour)
		p.Get(s)
		p.Eventually(func() string {
			d := p.Describe(s)
			if _, ok := d.Members["LastAccessedDate"]; !ok {
				return "no LastAccessedDate"
			}
			if got := d.Time("LastAccessedDate"); !got.Equal(before) && !got.Equal(before.AddDate(0, 0, 1)) {
				return d.String()
			}
			return ""
		})
	}},
	rule{"does not move LastChangedDate", api("DescribeSecret"), func(p *Probe) {
		s := p.Secret()
		changed := p.Describe(s).Time("LastChangedDate")
		p.pause(20 * time.Millisecond)
		p.Get(s)
		p.Describe(s).Within("LastChangedDate", changed, 0)
	}},
	rule{"refuses another account under the default key", recorded("test_cross_account_access"), func(p *Probe) {
		s, q := p.shared(M{})
		q.Refused("GetSecretValue", M{"SecretId": s.ARN}, "InvalidRequestException", defaultKey)
	}},
	rule{"answers another account under a key of one's own, where the policy allows", others, func(p *Probe) {
		s, q := p.shared(M{"KmsKeyId": p.OwnKey()})
		q.OK("GetSecretValue", M{"SecretId": s.ARN}).Is("ARN", s.ARN).Is("SecretString", "first")
	}},
	rule{"keeps text as it was, whatever is in it", api("GetSecretValue"), func(p *Probe) {
		for _, v := range []string{" ", "\n", "{\"a\": 1 , \"b\":\"<&>\"}", "\u2028\u00a0🔑\u0007", `\u0041`} {
			p.Get(p.Secret(M{"SecretString": v})).Is("SecretString", v)
		}
	}},
)

const defaultKey = "You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."

// shared makes a secret whose policy allows everything to everybody, and
// returns the Probe as another account.
func (p *Probe) shared(members M) (*Secret, *Probe) {
	q := p.OtherAccount()
	s := p.Secret(members)
	p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"secretsmanager:*","Resource":"*"}]}`})
	return s, q
}

// deprecated adds a version to a secret and takes its labels away.
func (p *Probe) deprecated(s *Secret) (version string) {
	version = p.Put(s, "unlabelled", "TEMPORARY")
	p.OK("UpdateSecretVersionStage", M{"SecretId": s.Name, "VersionStage": "TEMPORARY", "RemoveFromVersionId": version})
	return version
}
