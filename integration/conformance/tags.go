package conformance

import "fmt"

const systemTag = "You can't modify system tags. Tag key: 'aws:k'."

var tagRules = append(on("TagResource",
	rule{"adds tags", recorded("test_secret_tags"), func(p *Probe) {
		s := p.Secret()
		p.OK("TagResource", M{"SecretId": s.Name, "Tags": L{M{"Key": "a", "Value": "1"}}})
		p.OK("TagResource", M{"SecretId": s.Name, "Tags": L{M{"Key": "b", "Value": "2"}}})
		p.Describe(s).tagged(map[string]string{"a": "1", "b": "2"})
	}},
	rule{"overwrites the tag of the same key", api("TagResource"), func(p *Probe) {
		s := p.Secret(M{"Tags": L{M{"Key": "a", "Value": "1"}}})
		p.OK("TagResource", M{"SecretId": s.Name, "Tags": L{M{"Key": "a", "Value": "2"}}})
		p.Describe(s).tagged(map[string]string{"a": "2"})
	}},
	rule{"tells keys apart by case", quotas, func(p *Probe) {
		s := p.Secret(M{"Tags": L{M{"Key": "a", "Value": "1"}}})
		p.OK("TagResource", M{"SecretId": s.Name, "Tags": L{M{"Key": "A", "Value": "2"}}})
		p.Describe(s).tagged(map[string]string{"a": "1", "A": "2"})
	}},
	rule{"keeps an empty value", model, func(p *Probe) {
		s := p.Secret()
		p.OK("TagResource", M{"SecretId": s.Name, "Tags": L{M{"Key": "a", "Value": ""}}})
		p.Describe(s).tagged(map[string]string{"a": ""})
	}},
	rule{"accepts keys of 128 and values of 256 characters", model, func(p *Probe) {
		s := p.Secret()
		p.OK("TagResource", M{"SecretId": s.Name, "Tags": L{M{"Key": x(128), "Value": x(256)}}})
		p.Describe(s).tagged(map[string]string{x(128): x(256)})
	}},
	rule{"refuses system tags", "answer of AWS quoted in several issues", func(p *Probe) {
		p.Refused("TagResource", M{"SecretId": p.Secret().Name, "Tags": L{M{"Key": "aws:k", "Value": "v"}}}, "InvalidParameterException", systemTag)
	}},
	rule{"refuses a key given twice", api("TagResource"), func(p *Probe) {
		p.Refused("TagResource", M{"SecretId": p.Secret().Name, "Tags": L{M{"Key": "k", "Value": "1"}, M{"Key": "k", "Value": "2"}}}, "InvalidParameterException", "")
	}},
	rule{"refuses a tag beyond 50, and changes nothing", quotas, func(p *Probe) {
		var tags L
		for i := range 50 {
			tags = append(tags, M{"Key": fmt.Sprintf("k%d", i), "Value": "v"})
		}
		s := p.Secret(M{"Tags": tags})
		p.Refused("TagResource", M{"SecretId": s.Name, "Tags": L{M{"Key": "k0", "Value": "new"}, M{"Key": "k50", "Value": "v"}}}, "", "")
		for _, t := range p.Describe(s).list("Tags") {
			if t["Value"] != "v" {
				p.Fail("%v", t)
			}
		}
		p.OK("TagResource", M{"SecretId": s.Name, "Tags": L{M{"Key": "k0", "Value": "new"}}})
	}},
	rule{"moves LastChangedDate", "answer of AWS in moto issue 4899", func(p *Probe) {
		s := p.Secret()
		p.moves(s, func() { p.OK("TagResource", M{"SecretId": s.Name, "Tags": L{M{"Key": "a", "Value": "1"}}}) })
	}},
), on("UntagResource",
	rule{"removes tags by their keys", recorded("test_secret_tags"), func(p *Probe) {
		s := p.Secret(M{"Tags": L{M{"Key": "a", "Value": "1"}, M{"Key": "b", "Value": "2"}, M{"Key": "c", "Value": "3"}}})
		p.OK("UntagResource", M{"SecretId": s.Name, "TagKeys": L{"a", "c"}})
		p.Describe(s).tagged(map[string]string{"b": "2"})
	}},
	rule{"succeeds for a key that is not there", api("UntagResource"), func(p *Probe) {
		s := p.Secret(M{"Tags": L{M{"Key": "a", "Value": "1"}}})
		p.OK("UntagResource", M{"SecretId": s.Name, "TagKeys": L{"A", "nothing"}})
		p.Describe(s).tagged(map[string]string{"a": "1"})
	}},
	rule{"refuses system tags", inferred, func(p *Probe) {
		p.Refused("UntagResource", M{"SecretId": p.Secret().Name, "TagKeys": L{"aws:k"}}, "InvalidParameterException", systemTag)
	}},
	rule{"moves LastChangedDate", "answer of AWS in moto issue 4899", func(p *Probe) {
		s := p.Secret(M{"Tags": L{M{"Key": "a", "Value": "1"}}})
		p.moves(s, func() { p.OK("UntagResource", M{"SecretId": s.Name, "TagKeys": L{"a"}}) })
	}},
)...)
