package conformance

import (
	"encoding/json"
	"fmt"
	"time"
)

// decoded reads JSON that a rule wrote itself.
func decoded(b []byte) (v any) {
	if err := json.Unmarshal(b, &v); err != nil {
		panic(err)
	}
	return v
}

var deleteRules = on("DeleteSecret",
	rule{"ends a secret after 30 days when not told otherwise", api("DeleteSecret"), func(p *Probe) {
		s := p.Secret()
		p.OK("DeleteSecret", id(p, s)).Is("ARN", s.ARN).Is("Name", s.Name).Within("DeletionDate", time.Now().AddDate(0, 0, 30), time.Hour+time.Minute)
	}},
	rule{"ends a secret after 7 to 30 days as told", api("DeleteSecret"), func(p *Probe) {
		for _, days := range []int{7, 30} {
			a := p.OK("DeleteSecret", M{"SecretId": p.Secret().Name, "RecoveryWindowInDays": days})
			a.Within("DeletionDate", time.Now().AddDate(0, 0, days), time.Hour+time.Minute)
		}
	}},
	rule{"refuses a window of other lengths", api("DeleteSecret"), func(p *Probe) {
		s := p.Secret()
		for _, days := range []int{-1, 0, 6, 31, 1000} {
			p.Refused("DeleteSecret", M{"SecretId": s.Name, "RecoveryWindowInDays": days},
				"InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
		}
		p.Describe(s).Absent("DeletedDate")
	}},
	rule{"refuses force and a window together", api("DeleteSecret"), func(p *Probe) {
		s := p.Secret()
		p.Refused("DeleteSecret", M{"SecretId": s.Name, "RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": true},
			"InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")
		p.Get(s)
	}},
	rule{"with force ends a secret at once, or within seconds", api("DeleteSecret"), func(p *Probe) {
		s := p.Secret()
		p.OK("DeleteSecret", M{"SecretId": s.Name, "ForceDeleteWithoutRecovery": true}).
			Exactly("ARN", "Name", "DeletionDate").Is("ARN", s.ARN).Within("DeletionDate", time.Now(), time.Hour)
		p.Eventually(func() string {
			if a := p.Call("DescribeSecret", id(p, s)); a.Code() != "ResourceNotFoundException" {
				return a.String()
			}
			return ""
		})
	}},
	rule{"with force succeeds for a secret that does not exist", localstack("test_delete_non_existent_secret_returns_as_if_secret_exists"), func(p *Probe) {
		name := p.Name()
		p.OK("DeleteSecret", M{"SecretId": name, "ForceDeleteWithoutRecovery": true}).Exactly("ARN", "Name", "DeletionDate").Is("Name", name)
	}},
	rule{"with force ends a secret that is marked already", recorded("test_force_delete_deleted_secret"), func(p *Probe) {
		s := p.Marked()
		p.OK("DeleteSecret", M{"SecretId": s.Name, "ForceDeleteWithoutRecovery": true}).Is("ARN", s.ARN)
		p.Eventually(func() string {
			if a := p.Call("DescribeSecret", id(p, s)); a.Code() != "ResourceNotFoundException" {
				return a.String()
			}
			return ""
		})
	}},
	rule{"with ForceDeleteWithoutRecovery false is a deletion like any other", model, func(p *Probe) {
		s := p.Secret()
		p.OK("DeleteSecret", M{"SecretId": s.Name, "ForceDeleteWithoutRecovery": false, "RecoveryWindowInDays": 7})
		p.Describe(s).Time("DeletedDate")
	}},
	rule{"keeps the versions of a marked secret", api("RestoreSecret"), func(p *Probe) {
		s := p.Marked()
		if n := len(p.OK("ListSecretVersionIds", id(p, s)).list("Versions")); n != 1 {
			p.Fail("%d versions", n)
		}
	}},
	rule{"refuses a primary that has replicas", cloudNuke, func(p *Probe) {
		s, q := p.Replicated()
		text := fmt.Sprintf("You can't delete secret %s that still has replica regions [%s].", s.ARN, q.region)
		p.Refused("DeleteSecret", id(p, s), "InvalidParameterException", text)
		p.Refused("DeleteSecret", M{"SecretId": s.Name, "ForceDeleteWithoutRecovery": true}, "InvalidParameterException", text)
	}},
	rule{"lets the name go when the recovery window is over", api("DeleteSecret"), func(p *Probe) { p.Skip("takes a week") }},
)

var restoreRules = on("RestoreSecret",
	rule{"brings a marked secret back with its values", recorded("test_secret_restore"), func(p *Probe) {
		s := p.Marked()
		p.OK("RestoreSecret", id(p, s)).Exactly("ARN", "Name").Is("ARN", s.ARN).Is("Name", s.Name)
		p.Describe(s).Absent("DeletedDate")
		p.Get(s).Is("SecretString", "first")
	}},
	rule{"succeeds for a secret that is not marked", inferred, func(p *Probe) {
		s := p.Secret()
		p.OK("RestoreSecret", id(p, s)).Is("ARN", s.ARN)
		p.Get(s)
	}},
	rule{"allows another deletion afterwards", recorded("test_secret_restore"), func(p *Probe) {
		s := p.Marked()
		p.OK("RestoreSecret", id(p, s))
		p.OK("DeleteSecret", id(p, s))
	}},
	rule{"does not find what was ended by force", api("RestoreSecret"), func(p *Probe) {
		s := p.Secret()
		p.OK("DeleteSecret", M{"SecretId": s.Name, "ForceDeleteWithoutRecovery": true})
		p.Eventually(func() string {
			if a := p.Call("RestoreSecret", id(p, s)); a.Code() != "ResourceNotFoundException" {
				return a.String()
			}
			return ""
		})
	}},
	rule{"keeps tags, description and policy", api("RestoreSecret"), func(p *Probe) {
		s := p.Secret(M{"Description": "d", "Tags": L{M{"Key": "k", "Value": "v"}}})
		p.OK("PutResourcePolicy", M{"SecretId": s.Name, "ResourcePolicy": p.Policy()})
		p.OK("DeleteSecret", id(p, s))
		p.OK("RestoreSecret", id(p, s))
		p.Describe(s).Is("Description", "d").tagged(map[string]string{"k": "v"})
		p.OK("GetResourcePolicy", id(p, s)).Is("ResourcePolicy", p.Policy())
	}},
)
