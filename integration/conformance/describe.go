package conformance

import "time"

var describeRules = on("DescribeSecret",
	rule{"leaves out all that was never set", recorded("test_secret_tags, test_rotate_secret_invalid_lambda_arn"), func(p *Probe) {
		p.Describe(p.Secret(M{"SecretString": nil})).Exactly("ARN", "Name", "CreatedDate", "LastChangedDate")
	}},
	rule{"has no RotationEnabled until rotation was configured", recorded("test_rotate_secret_invalid_lambda_arn"), func(p *Probe) {
		p.Describe(p.Secret()).Absent("RotationEnabled", "RotationLambdaARN", "RotationRules", "NextRotationDate", "LastRotatedDate")
	}},
	rule{"shows Tags as an empty list once the last tag is gone", recorded("test_secret_tags"), func(p *Probe) {
		s := p.Secret(M{"Tags": L{M{"Key": "k", "Value": "v"}}})
		p.OK("UntagResource", M{"SecretId": s.Name, "TagKeys": L{"k"}})
		p.Describe(s).Is("Tags", L{})
	}},
	rule{"has no KmsKeyId for the default key", api("DescribeSecret"), func(p *Probe) { p.Describe(p.Secret()).Absent("KmsKeyId") }},
	rule{"shows the default key's alias where it was given", "answer of AWS quoted in Terraform issues", func(p *Probe) {
		p.Describe(p.Secret(M{"KmsKeyId": "alias/aws/secretsmanager"})).Is("KmsKeyId", "alias/aws/secretsmanager")
	}},
	rule{"maps versions with labels to them, and no others", recorded("test_deprecated_secret_version_stage"), func(p *Probe) {
		s := p.Secret()
		p.deprecated(s)
		v := p.Put(s, "second", "A", "B")
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT", v: "A B"})
	}},
	rule{"shows an empty version that a rotation asked for", "AWS user guide, Rotation by Lambda function", func(p *Probe) {
		s, pending := p.Stuck()
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT", pending: "AWSPENDING"})
	}},
	rule{"shows when deletion was asked for", api("DeleteSecret"), func(p *Probe) {
		p.Describe(p.Marked()).Within("DeletedDate", time.Now(), time.Minute)
	}},
	rule{"is no access: LastAccessedDate stays absent", api("DescribeSecret"), func(p *Probe) {
		s := p.Secret()
		p.Describe(s)
		p.Describe(s).Absent("LastAccessedDate")
	}},
	rule{"has no PrimaryRegion and no ReplicationStatus without replicas", api("DescribeSecret"), func(p *Probe) {
		p.Describe(p.Secret()).Absent("PrimaryRegion", "ReplicationStatus")
	}},
	rule{"has no OwningService and no Type for a secret of one's own", api("DescribeSecret"), func(p *Probe) {
		p.Describe(p.Secret()).Absent("OwningService", "Type", "ExternalSecretRotationMetadata", "ExternalSecretRotationRoleArn")
	}},
	rule{"answers another account by ARN, where the policy allows", recorded("test_cross_account_access"), func(p *Probe) {
		s, q := p.shared(M{})
		q.OK("DescribeSecret", M{"SecretId": s.ARN}).Is("ARN", s.ARN)
	}},
)

const deprecatedStage = "test_deprecated_secret_version_stage"

// versions lists all versions, by id.
func (p *Probe) versions(s *Secret, deprecated bool) map[string]*Answer {
	in := M{"SecretId": s.Name}
	if deprecated {
		in["IncludeDeprecated"] = true
	}
	a := p.OK("ListSecretVersionIds", in)
	out := map[string]*Answer{}
	for _, v := range a.list("Versions") {
		vid, _ := v["VersionId"].(string)
		out[vid] = a.sub(v)
	}
	return out
}

// underKey expects that a version is encrypted under a key of one's own, or under
// the default key.
func (p *Probe) underKey(s *Secret, version string, own bool) {
	v := p.versions(s, false)[version]
	if v == nil {
		p.Fail("version %s is not listed", version)
	}
	if keys, _ := v.Members["KmsKeyIds"].([]any); len(keys) == 0 || equal(keys, L{"DefaultEncryptionKey"}) == own {
		p.Fail("want a key of one's own: %v, got %s", own, v)
	}
}

var versionRules = on("ListSecretVersionIds",
	rule{"lists each version with id, labels, date and keys", recorded(deprecatedStage), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second")
		got := p.versions(s, false)
		if len(got) != 2 {
			p.Fail("%d versions", len(got))
		}
		got[s.Version].Exactly("VersionId", "VersionStages", "CreatedDate", "KmsKeyIds").Is("VersionStages", L{"AWSPREVIOUS"}).Within("CreatedDate", time.Now(), time.Minute)
		got[v2].Is("VersionStages", L{"AWSCURRENT"})
	}},
	rule{"calls the default key DefaultEncryptionKey", recorded(deprecatedStage), func(p *Probe) {
		s := p.Secret()
		p.versions(s, false)[s.Version].Is("KmsKeyIds", L{"DefaultEncryptionKey"})
	}},
	rule{"shows the key that each version was encrypted with", api("ListSecretVersionIds"), func(p *Probe) {
		s := p.Secret(M{"KmsKeyId": "alias/aws/secretsmanager"})
		if ids, _ := p.versions(s, false)[s.Version].Members["KmsKeyIds"].([]any); len(ids) == 0 {
			p.Fail("no KmsKeyIds")
		}
	}},
	rule{"leaves versions without labels out", recorded(deprecatedStage), func(p *Probe) {
		s := p.Secret()
		v := p.deprecated(s)
		if p.versions(s, false)[v] != nil {
			p.Fail("listed %s", v)
		}
	}},
	rule{"lists versions without labels when asked, without VersionStages", recorded(deprecatedStage), func(p *Probe) {
		s := p.Secret()
		v := p.deprecated(s)
		got := p.versions(s, true)
		if len(got) != 2 || got[v] == nil {
			p.Fail("not listed: %s", v)
		}
		got[v].Exactly("VersionId", "CreatedDate", "KmsKeyIds")
	}},
	rule{"lists no versions of an empty secret", recorded(emptySecret), func(p *Probe) {
		s := p.Secret(M{"SecretString": nil})
		a := p.OK("ListSecretVersionIds", id(p, s)).Is("ARN", s.ARN).Is("Name", s.Name)
		if v, ok := a.Members["Versions"]; ok && !equal(v, L{}) {
			p.Fail("%s", a)
		}
	}},
	rule{"shows the day that a version was last read", api("ListSecretVersionIds"), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second")
		p.Get(s)
		p.Eventually(func() string {
			got := p.versions(s, false)
			if _, ok := got[v2].Members["LastAccessedDate"]; !ok {
				return "no LastAccessedDate"
			}
			if at := got[v2].Time("LastAccessedDate"); !at.Equal(at.Truncate(24 * time.Hour)) {
				return at.String()
			}
			got[s.Version].Absent("LastAccessedDate")
			return ""
		})
	}},
	rule{"gives pages of MaxResults until there is no NextToken", api("ListSecretVersionIds"), func(p *Probe) {
		s := p.Secret()
		p.Put(s, "second", "A")
		p.Put(s, "third", "B")
		got := p.pages("ListSecretVersionIds", M{"SecretId": s.Name, "MaxResults": 2}, "Versions", "VersionId", 2)
		if len(got) != 3 {
			p.Fail("%v", got)
		}
	}},
	rule{"refuses a NextToken that it did not give", api("ListSecretVersionIds"), func(p *Probe) {
		p.Refused("ListSecretVersionIds", M{"SecretId": p.Secret().Name, "NextToken": "bm8gdG9rZW4="}, "InvalidNextTokenException", "")
	}},
	rule{"refuses the NextToken of another secret", inferred, func(p *Probe) {
		a, b := p.Secret(), p.Secret()
		p.Put(a, "second")
		p.Put(b, "second")
		token := p.OK("ListSecretVersionIds", M{"SecretId": a.Name, "MaxResults": 1}).Str("NextToken")
		p.Refused("ListSecretVersionIds", M{"SecretId": b.Name, "MaxResults": 1, "NextToken": token}, "InvalidNextTokenException", "")
	}},
	rule{"keeps versions without labels that are younger than a day", "AWS user guide, Version pruning", func(p *Probe) {
		s := p.Secret()
		for range 12 {
			p.deprecated(s)
		}
		if n := len(p.versions(s, true)); n != 13 {
			p.Fail("%d versions", n)
		}
	}},
	rule{"drops the oldest versions without labels when there are more than about 100", "AWS user guide, Version pruning", func(p *Probe) {
		p.Skip("takes more than a day")
	}},
)
