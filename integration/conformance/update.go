package conformance

import "time"

const updateDescription = "test_update_secret_description"

var updateRules = on("UpdateSecret",
	rule{"with a value makes a current version and answers its id", recorded("test_create_and_update_secret"), func(p *Probe) {
		s, token := p.Secret(), p.Token()
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": token, "SecretString": "second"}).
			Exactly("ARN", "Name", "VersionId").Is("VersionId", token)
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", token: "AWSCURRENT"})
		p.Get(s).Is("SecretString", "second")
	}},
	rule{"with a binary value makes a current version", api("UpdateSecret"), func(p *Probe) {
		s := p.Secret()
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "SecretBinary": "AAE="})
		p.Get(s).Is("SecretBinary", "AAE=").Absent("SecretString")
	}},
	rule{"of the description makes no version and answers no VersionId", recorded(updateDescription), func(p *Probe) {
		s := p.Secret()
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "Description": "new"}).Exactly("ARN", "Name")
		p.Describe(s).Is("Description", "new")
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT"})
	}},
	rule{"of nothing at all succeeds", recorded(updateDescription), func(p *Probe) {
		s := p.Secret()
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token()}).Exactly("ARN", "Name")
	}},
	rule{"leaves what is not given as it was", api("UpdateSecret"), func(p *Probe) {
		s := p.Secret(M{"Description": "kept", "KmsKeyId": "alias/aws/secretsmanager", "Tags": L{M{"Key": "k", "Value": "v"}}})
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "SecretString": "second"})
		p.Describe(s).Is("Description", "kept").Is("KmsKeyId", "alias/aws/secretsmanager").tagged(map[string]string{"k": "v"})
	}},
	rule{"takes an empty description for none", api("UpdateSecret"), func(p *Probe) {
		s := p.Secret(M{"Description": "old"})
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "Description": ""})
		p.Describe(s).Absent("Description")
	}},
	rule{"of the key makes no version and answers no VersionId", api("UpdateSecret"), func(p *Probe) {
		s := p.Secret()
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "KmsKeyId": "alias/aws/secretsmanager"}).Exactly("ARN", "Name")
		p.Describe(s).Is("KmsKeyId", "alias/aws/secretsmanager")
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT"})
	}},
	rule{"to the empty key returns to the default one, which is not shown", "answer of AWS quoted in Terraform issues", func(p *Probe) {
		s := p.Secret(M{"KmsKeyId": "alias/aws/secretsmanager"})
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "KmsKeyId": ""})
		p.Describe(s).Absent("KmsKeyId")
		p.Get(s).Is("SecretString", "first")
	}},
	rule{"of the key brings the versions that AWS's labels are on under the new one, and no others", api("UpdateSecret"), func(p *Probe) {
		key := p.OwnKey()
		s := p.Secret()
		labelled := p.Put(s, "labelled", "BLUE")
		second := p.Put(s, "second")
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "KmsKeyId": key}).Exactly("ARN", "Name")
		p.underKey(s, second, true)
		p.underKey(s, s.Version, true)
		p.underKey(s, labelled, false)
		for version, value := range map[string]string{s.Version: "first", labelled: "labelled", second: "second"} {
			p.OK("GetSecretValue", M{"SecretId": s.Name, "VersionId": version}).Is("SecretString", value)
		}
		p.underKey(s, p.Put(s, "third"), true)
	}},
	rule{"refuses a missing ClientRequestToken", recorded("test_no_client_request_token[UpdateSecret]"), func(p *Probe) {
		p.Refused("UpdateSecret", M{"SecretId": p.Name(), "SecretString": "x"}, "InvalidRequestException", noToken)
	}},
	rule{"refuses text and binary together", api("UpdateSecret"), func(p *Probe) {
		p.Refused("UpdateSecret", M{"SecretId": p.Secret().Name, "ClientRequestToken": p.Token(), "SecretString": "a", "SecretBinary": "YQ=="},
			"InvalidParameterException", bothValues)
	}},
	rule{"answers the same token and value again with the same VersionId", moto("test_update_same_secret_value_with_same_token"), func(p *Probe) {
		s := p.Secret()
		in := M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "SecretString": "second"}
		first := p.OK("UpdateSecret", in)
		if again := p.OK("UpdateSecret", in); !equal(again.Members, first.Members) {
			p.Fail("%s, then %s", first, again)
		}
	}},
	rule{"refuses the same token with another value", reused, func(p *Probe) {
		s := p.Secret()
		p.Refused("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": s.Version, "SecretString": "other"},
			"ResourceExistsException", tokenUsed(s.Version, s.ARN))
	}},
	rule{"of a value that is the same is a change, under a new token", localstack("test_last_updated_date"), func(p *Probe) {
		s := p.Secret()
		p.moves(s, func() {
			p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "SecretString": "first"})
		})
	}},
	rule{"makes a version of a value that is the same, under a new token", inferred, func(p *Probe) {
		s, token := p.Secret(), p.Token()
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": token, "SecretString": "first"}).Is("VersionId", token)
	}},
	rule{"moves LastChangedDate with a description", api("DescribeSecret"), func(p *Probe) {
		s := p.Secret()
		p.moves(s, func() {
			p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "Description": "new"})
		})
	}},
	rule{"takes AWSPENDING off every other version", recorded(currentPending), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "AWSCURRENT", "AWSPENDING")
		token := p.Token()
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": token, "SecretString": "third"})
		p.Stages(s, map[string]string{v2: "AWSPREVIOUS", token: "AWSCURRENT"})
	}},
	rule{"leaves custom labels where they are", recorded(currentPending + "_cycle_custom_stages_1"), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "AWSCURRENT", "KEEP")
		token := p.Token()
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": token, "SecretString": "third"})
		p.Stages(s, map[string]string{v2: "AWSPREVIOUS KEEP", token: "AWSCURRENT"})
	}},
	rule{"makes the first value of an empty secret current", recorded(emptySecret), func(p *Probe) {
		s, token := p.Secret(M{"SecretString": nil}), p.Token()
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": token, "SecretString": "first"}).Is("VersionId", token)
		p.Stages(s, map[string]string{token: "AWSCURRENT"})
	}},
	rule{"can't change the name: another Name is ignored", model, func(p *Probe) {
		s := p.Secret()
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "Name": s.Name + "-new"}).Is("Name", s.Name)
		p.lost(s.Name + "-new")
	}},
	rule{"changes nothing when it refuses", inferred, func(p *Probe) {
		s := p.Secret()
		before := p.Describe(s)
		p.pause(20 * time.Millisecond)
		p.Refused("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": s.Version, "SecretString": "other", "Description": "new"}, "ResourceExistsException", "")
		if after := p.Describe(s); !equal(after.Members, before.Members) {
			p.Fail("%s, then %s", before, after)
		}
	}},
	rule{"refuses a KMS key that can't be one", "answer of AWS quoted in several issues", func(p *Probe) {
		p.Refused("UpdateSecret", M{"SecretId": p.Secret().Name, "ClientRequestToken": p.Token(), "KmsKeyId": "no key at all"},
			"InvalidParameterException", "The operation failed because of an invalid KMS key: Invalid keyId")
	}},
)
