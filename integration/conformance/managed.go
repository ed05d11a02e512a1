package conformance

import "strings"

const (
	partners = "AWS user guide, Managed external secrets"
	managed  = "AWS user guide, Secrets managed by other AWS services"
)

// managedRules are about partners' secrets and those of AWS services.
var managedRules = append(append(on("CreateSecret",
	rule{"keeps the Type of a partner's secret", partners, func(p *Probe) {
		p.Describe(p.partner()).Is("Type", partnerType)
	}},
	rule{"makes no secret of a service, whatever its name", managed, func(p *Probe) {
		s := p.Secret(M{"Name": p.Named("rds!pawl-conformance-" + p.Word()), "OwningService": "rds"})
		p.Describe(s).Absent("OwningService")
	}},
), on("UpdateSecret",
	rule{"changes the Type", partners, func(p *Probe) {
		s := p.Secret(M{"SecretString": nil})
		p.OK("UpdateSecret", M{"SecretId": s.Name, "ClientRequestToken": p.Token(), "Type": partnerType}).Exactly("ARN", "Name")
		p.Describe(s).Is("Type", partnerType)
	}},
)...), append(on("ListSecrets",
	rule{"shows the Type of a partner's secret", partners, func(p *Probe) {
		p.entry(p.partner(), M{}).Is("Type", partnerType)
	}},
), on("RotateSecret",
	rule{"keeps a partner's metadata and role", partners, func(p *Probe) {
		s, metadata, role := p.partner(), L{M{"Key": "adminSecretArn", "Value": "x"}}, p.partnerRole()
		if a := p.rotated(s, M{"ExternalSecretRotationMetadata": metadata, "ExternalSecretRotationRoleArn": role, "RotationRules": M{"AutomaticallyAfterDays": 30}}); a.Status != 200 {
			p.Fail("%s", a)
		}
		p.Describe(s).Is("ExternalSecretRotationMetadata", metadata).Is("ExternalSecretRotationRoleArn", role).Is("RotationEnabled", true).Absent("RotationLambdaARN")
	}},
	rule{"shows a partner's metadata and role in listings", partners, func(p *Probe) {
		s, metadata, role := p.partner(), L{M{"Key": "adminSecretArn", "Value": "x"}}, p.partnerRole()
		if a := p.rotated(s, M{"ExternalSecretRotationMetadata": metadata, "ExternalSecretRotationRoleArn": role, "RotationRules": M{"AutomaticallyAfterDays": 30}}); a.Status != 200 {
			p.Fail("%s", a)
		}
		p.Eventually(func() string {
			e := p.entry(s, M{})
			if e.Members["ExternalSecretRotationRoleArn"] != role || !equal(e.Members["ExternalSecretRotationMetadata"], metadata) {
				return e.String()
			}
			return ""
		})
	}},
)...)...)

const partnerType = "SnowflakeKeyPairAuthentication"

// partner makes a partner's secret.
func (p *Probe) partner() *Secret { return p.Secret(M{"Type": partnerType}) }

func (p *Probe) partnerRole() string {
	if p.PartnerRole == "" {
		p.Skip("needs a role for partners' secrets")
	}
	return strings.ReplaceAll(p.PartnerRole, "{account}", p.account)
}
