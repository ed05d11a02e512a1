package conformance

import (
	"encoding/base64"
	"fmt"
	"strings"
	"time"
)

const emptySecret = "test_create_secret_version_from_empty_secret"

var createRules = on("CreateSecret",
	rule{"makes the token the id of the first version, and that AWSCURRENT", api("CreateSecret"), func(p *Probe) {
		token := p.Token()
		s := p.Secret(M{"ClientRequestToken": token})
		if s.Version != token {
			p.Fail("VersionId %s for the token %s", s.Version, token)
		}
		p.Stages(s, map[string]string{token: "AWSCURRENT"})
	}},
	rule{"without a value makes no version and answers no VersionId", recorded(emptySecret), func(p *Probe) {
		s := &Secret{Name: p.Name()}
		p.OK("CreateSecret", M{"Name": s.Name, "ClientRequestToken": p.Token()}).Exactly("ARN", "Name")
		p.Describe(s).Exactly("ARN", "Name", "CreatedDate", "LastChangedDate")
		p.Refused("GetSecretValue", id(p, s), "ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: AWSCURRENT")
	}},
	rule{"keeps binary", api("CreateSecret"), func(p *Probe) {
		value := base64.StdEncoding.EncodeToString([]byte{0, 1, 0xfe, 0xff})
		s := p.Secret(M{"SecretString": nil, "SecretBinary": value})
		p.Get(s).Is("SecretBinary", value).Absent("SecretString")
	}},
	rule{"refuses text and binary together", api("CreateSecret"), func(p *Probe) {
		p.Refused("CreateSecret", M{"Name": p.Name(), "ClientRequestToken": p.Token(), "SecretString": "a", "SecretBinary": "YQ=="},
			"InvalidParameterException", bothValues)
	}},
	rule{"takes an empty description for none", terraformRelies, func(p *Probe) {
		p.Describe(p.Secret(M{"Description": ""})).Absent("Description")
	}},
	rule{"keeps description, tags and key as given", api("CreateSecret"), func(p *Probe) {
		tags := L{M{"Key": "b", "Value": "2"}, M{"Key": "a", "Value": ""}}
		d := p.Describe(p.Secret(M{"Description": "för alla", "KmsKeyId": "alias/aws/secretsmanager", "Tags": tags}))
		d.Is("Description", "för alla").Is("KmsKeyId", "alias/aws/secretsmanager")
		d.tagged(map[string]string{"a": "", "b": "2"})
	}},
	rule{"dates creation and last change alike", api("DescribeSecret"), func(p *Probe) {
		d := p.Describe(p.Secret())
		d.Within("CreatedDate", time.Now(), time.Minute)
		d.Within("LastChangedDate", d.Time("CreatedDate"), time.Second)
	}},
	rule{"refuses a missing ClientRequestToken", recorded("test_no_client_request_token[CreateSecret]"), func(p *Probe) {
		p.Refused("CreateSecret", M{"Name": p.Name(), "SecretString": "x"}, "InvalidRequestException", noToken)
	}},
	rule{"accepts tokens of 32 and of 64 characters that are no UUIDs", model + "; Terraform sends such", func(p *Probe) {
		for _, token := range []string{"terraform-" + x(22), strings.Repeat("ä ", 32)} {
			if s := p.Secret(M{"ClientRequestToken": token}); s.Version != token {
				p.Fail("VersionId %q", s.Version)
			}
		}
	}},
	rule{"answers the same token and value again as the first time", moto("test_create_duplicate_secret_with_same_token"), func(p *Probe) {
		in := M{"Name": p.Name(), "ClientRequestToken": p.Token(), "SecretString": "x"}
		first := p.OK("CreateSecret", in)
		if again := p.OK("CreateSecret", in); !equal(again.Members, first.Members) {
			p.Fail("%s, then %s", first, again)
		}
	}},
	rule{"refuses the same token with another value", reused, func(p *Probe) {
		s := p.Secret()
		p.Refused("CreateSecret", M{"Name": s.Name, "ClientRequestToken": s.Version, "SecretString": "other"},
			"ResourceExistsException", tokenUsed(s.Version, s.ARN))
	}},
	rule{"refuses a name that is taken", recorded("test_secret_exists_snapshots"), func(p *Probe) {
		s := p.Secret()
		p.Refused("CreateSecret", M{"Name": s.Name, "ClientRequestToken": p.Token(), "SecretString": "first"},
			"ResourceExistsException", "The operation failed because the secret "+s.Name+" already exists.")
	}},
	rule{"refuses a name that is taken also without a value", recorded("test_secret_exists_snapshots"), func(p *Probe) {
		s := p.Secret()
		p.Refused("CreateSecret", M{"Name": s.Name, "ClientRequestToken": p.Token()},
			"ResourceExistsException", "The operation failed because the secret "+s.Name+" already exists.")
	}},
	rule{"refuses the name of a secret that is marked for deletion", recorded("test_exp_raised_on_creation_of_secret_scheduled_for_deletion"), func(p *Probe) {
		s := p.Marked()
		p.Refused("CreateSecret", M{"Name": s.Name, "ClientRequestToken": p.Token(), "SecretString": "x"},
			"InvalidRequestException", "You can't create this secret because a secret with this name is already scheduled for deletion.")
	}},
	rule{"refuses a tag key given twice", api("CreateSecret"), func(p *Probe) {
		p.Refused("CreateSecret", M{"Name": p.Name(), "ClientRequestToken": p.Token(),
			"Tags": L{M{"Key": "k", "Value": "1"}, M{"Key": "k", "Value": "2"}}}, "InvalidParameterException", "")
	}},
	rule{"refuses system tags", inferred, func(p *Probe) {
		p.Refused("CreateSecret", M{"Name": p.Name(), "ClientRequestToken": p.Token(), "Tags": L{M{"Key": "aws:k", "Value": "1"}}},
			"InvalidParameterException", "You can't modify system tags. Tag key: 'aws:k'.")
	}},
	rule{"accepts 50 tags and refuses 51", quotas, func(p *Probe) {
		var tags L
		for i := range 50 {
			tags = append(tags, M{"Key": fmt.Sprintf("k%d", i), "Value": "v"})
		}
		if n := len(p.Describe(p.Secret(M{"Tags": tags})).list("Tags")); n != 50 {
			p.Fail("%d tags", n)
		}
		p.Refused("CreateSecret", M{"Name": p.Name(), "ClientRequestToken": p.Token(), "Tags": append(tags, M{"Key": "k50", "Value": "v"})}, "", "")
	}},
	rule{"encrypts under the key that is named, and says which", api("CreateSecret"), func(p *Probe) {
		key := p.OwnKey()
		s := p.Secret(M{"KmsKeyId": key})
		p.Describe(s).Is("KmsKeyId", key)
		p.Get(s).Is("SecretString", "first")
		p.underKey(s, s.Version, true)
	}},
	rule{"refuses a KMS key that can't be one", "answer of AWS quoted in several issues", func(p *Probe) {
		p.Refused("CreateSecret", M{"Name": p.Name(), "ClientRequestToken": p.Token(), "SecretString": "x", "KmsKeyId": "no key at all"},
			"InvalidParameterException", "The operation failed because of an invalid KMS key: Invalid keyId")
	}},
	rule{"refuses a KMS key of another region", preflight, func(p *Probe) {
		other := "eu-north-1"
		if p.region == other {
			other = "eu-west-1"
		}
		key := "arn:" + p.partition + ":kms:" + other + ":" + p.account + ":key/" + p.Token()
		p.Refused("CreateSecret", M{"Name": p.Name(), "ClientRequestToken": p.Token(), "SecretString": "x", "KmsKeyId": key},
			"InvalidParameterException", "The operation failed because of an invalid KMS key: Invalid arn "+other)
	}},
	rule{"accepts a name of 512 characters", model, func(p *Probe) {
		word := p.Word()
		s := p.Secret(M{"Name": p.Named(word + x(512-len(word)))})
		p.Describe(s).Is("Name", s.Name)
	}},
	rule{"accepts a description of 2048 characters", model, func(p *Probe) {
		text := strings.Repeat("ä", 2048)
		p.Describe(p.Secret(M{"Description": text})).Is("Description", text)
	}},
	rule{"accepts a text of 65536 characters", model, func(p *Probe) {
		p.Get(p.Secret(M{"SecretString": x(65536)})).Is("SecretString", x(65536))
	}},
	rule{"accepts binary of 65536 bytes", model, func(p *Probe) {
		value := base64.StdEncoding.EncodeToString(make([]byte, 65536))
		p.Get(p.Secret(M{"SecretString": nil, "SecretBinary": value})).Is("SecretBinary", value)
	}},
	rule{"makes nothing when it refuses", inferred, func(p *Probe) {
		name := p.Name()
		p.Refused("CreateSecret", M{"Name": name, "ClientRequestToken": p.Token(), "SecretString": "a", "SecretBinary": "YQ=="}, "InvalidParameterException", "")
		p.lost(name)
	}},
	rule{"answers ReplicationStatus with replicas", api("CreateSecret"), func(p *Probe) {
		region := p.InReplicaRegion().region
		a := p.OK("CreateSecret", M{"Name": p.Name(), "ClientRequestToken": p.Token(), "SecretString": "x", "AddReplicaRegions": L{M{"Region": region}}})
		a.Exactly("ARN", "Name", "VersionId", "ReplicationStatus")
		if l := a.list("ReplicationStatus"); len(l) != 1 || l[0]["Region"] != region {
			p.Fail("%s", a)
		}
	}},
	rule{"refuses its own region as a replica's", preflight, func(p *Probe) {
		p.Refused("CreateSecret", M{"Name": p.Name(), "ClientRequestToken": p.Token(), "AddReplicaRegions": L{M{"Region": p.region}}},
			"InvalidParameterException", "Invalid replica region.")
	}},
	rule{"refuses a region that does not exist as a replica's", preflight, func(p *Probe) {
		p.Refused("CreateSecret", M{"Name": p.Name(), "ClientRequestToken": p.Token(), "AddReplicaRegions": L{M{"Region": "xx-nowhere-9"}}},
			"InvalidParameterException", "Invalid replica region.")
	}},
)

func tokenUsed(token, arn string) string {
	return "You can't use ClientRequestToken " + token + " because that value is already in use for a version of secret " + arn + "."
}

// tagged expects exactly these tags.
func (a *Answer) tagged(want map[string]string) {
	got := map[string]string{}
	for _, t := range a.list("Tags") {
		a.sub(t).Exactly("Key", "Value")
		got[t["Key"].(string)] = t["Value"].(string)
	}
	if !equal(got, want) {
		a.p.Fail("want the tags %v, got %s", want, a)
	}
}
