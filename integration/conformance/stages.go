package conformance

// move calls UpdateSecretVersionStage.
func (p *Probe) move(s *Secret, label, from, to string) *Answer {
	in := M{"SecretId": s.Name, "VersionStage": label}
	if from != "" {
		in["RemoveFromVersionId"] = from
	}
	if to != "" {
		in["MoveToVersionId"] = to
	}
	return p.Call("UpdateSecretVersionStage", in)
}

// moved is move that must succeed.
func (p *Probe) moved(s *Secret, label, from, to string) {
	if a := p.move(s, label, from, to); a.Status != 200 {
		p.Fail("%s", a)
	}
}

const (
	cycle          = currentPending + "_cycle"
	neverRemoved   = "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed."
	moveCurrent    = "test_update_secret_version_stages_current_previous"
	removeRequired = "moto test checked against AWS: moving AWSCURRENT without RemoveFromVersionId"
)

func mustName(label, version string) string {
	return "The parameter RemoveFromVersionId can't be empty. Staging label " + label + " is currently attached to version " + version +
		", so you must explicitly reference that version in RemoveFromVersionId."
}

var stageRules = on("UpdateSecretVersionStage",
	rule{"answers ARN and name", recorded("test_update_secret_version_stages_return_type"), func(p *Probe) {
		s := p.Secret()
		p.move(s, "A", "", s.Version).Exactly("ARN", "Name").Is("ARN", s.ARN).Is("Name", s.Name)
	}},
	rule{"moving AWSCURRENT moves AWSPREVIOUS along", recorded(moveCurrent), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "NEXT")
		p.moved(s, "AWSCURRENT", s.Version, v2)
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", v2: "AWSCURRENT NEXT"})
		p.Get(s).Is("SecretString", "second")
	}},
	rule{"moving AWSCURRENT back swaps the two", recorded(moveCurrent), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second")
		p.moved(s, "AWSCURRENT", v2, s.Version)
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT", v2: "AWSPREVIOUS"})
	}},
	rule{"moving AWSCURRENT to a third version takes AWSPREVIOUS off the old previous one", recorded(moveCurrent), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second")
		v3 := p.Put(s, "third", "THIRD")
		p.moved(s, "AWSCURRENT", v2, v3)
		p.Stages(s, map[string]string{v2: "AWSPREVIOUS", v3: "AWSCURRENT THIRD"})
	}},
	rule{"moving AWSCURRENT to the pending version leaves AWSPENDING on it", recorded(currentPending), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "AWSPENDING")
		p.moved(s, "AWSCURRENT", s.Version, v2)
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", v2: "AWSCURRENT AWSPENDING"})
	}},
	rule{"goes through a whole cycle of pending, current and previous", recorded(cycle), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "AWSPENDING")
		p.moved(s, "AWSCURRENT", s.Version, v2)
		v3 := p.Put(s, "third", "AWSPENDING")
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", v2: "AWSCURRENT", v3: "AWSPENDING"})
		p.moved(s, "AWSCURRENT", v2, v3)
		p.Stages(s, map[string]string{v2: "AWSPREVIOUS", v3: "AWSCURRENT AWSPENDING"})
	}},
	rule{"leaves custom labels on the version that was current", recorded(cycle + "_custom_stages_1"), func(p *Probe) {
		s := p.Secret()
		p.moved(s, "KEEP", "", s.Version)
		v2 := p.Put(s, "second", "AWSPENDING")
		p.moved(s, "AWSCURRENT", s.Version, v2)
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS KEEP", v2: "AWSCURRENT AWSPENDING"})
	}},
	rule{"leaves custom labels on the version that was previous", recorded(cycle + "_custom_stages_2"), func(p *Probe) {
		s := p.Secret()
		p.moved(s, "KEEP", "", s.Version)
		v2 := p.Put(s, "second")
		v3 := p.Put(s, "third", "AWSPENDING")
		p.moved(s, "AWSCURRENT", v2, v3)
		p.Stages(s, map[string]string{s.Version: "KEEP", v2: "AWSPREVIOUS", v3: "AWSCURRENT AWSPENDING"})
	}},
	rule{"attaches a label that is nowhere without RemoveFromVersionId", api("UpdateSecretVersionStage"), func(p *Probe) {
		s := p.Secret()
		p.moved(s, "CUSTOM", "", s.Version)
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT CUSTOM"})
	}},
	rule{"moves a custom label between versions", api("UpdateSecretVersionStage"), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "CUSTOM")
		p.moved(s, "CUSTOM", v2, s.Version)
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT CUSTOM"})
	}},
	rule{"moves AWSPENDING and AWSPREVIOUS by hand", api("UpdateSecretVersionStage"), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second")
		v3 := p.Put(s, "third", "AWSPENDING")
		p.moved(s, "AWSPREVIOUS", s.Version, v3)
		p.moved(s, "AWSPENDING", v3, s.Version)
		p.Stages(s, map[string]string{s.Version: "AWSPENDING", v2: "AWSCURRENT", v3: "AWSPREVIOUS"})
	}},
	rule{"refuses to move AWSCURRENT without RemoveFromVersionId", removeRequired, func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "NEXT")
		p.move(s, "AWSCURRENT", "", v2).Refused("InvalidParameterException", mustName("AWSCURRENT", s.Version))
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT", v2: "NEXT"})
	}},
	rule{"refuses to move a custom label without RemoveFromVersionId", api("UpdateSecretVersionStage"), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second", "CUSTOM")
		p.move(s, "CUSTOM", "", s.Version).Refused("InvalidParameterException", mustName("CUSTOM", v2))
	}},
	rule{"refuses a RemoveFromVersionId that does not have the label", api("UpdateSecretVersionStage"), func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second")
		v3 := p.Put(s, "third", "NEXT")
		p.move(s, "AWSCURRENT", s.Version, v3).Refused("InvalidParameterException", "")
		p.Stages(s, map[string]string{s.Version: "AWSPREVIOUS", v2: "AWSCURRENT", v3: "NEXT"})
	}},
	rule{"does nothing for a label that is already there", inferred, func(p *Probe) {
		s := p.Secret()
		p.moved(s, "AWSCURRENT", "", s.Version)
		p.moved(s, "AWSCURRENT", s.Version, s.Version)
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT"})
	}},
	rule{"refuses to remove AWSCURRENT altogether", terraformRelies, func(p *Probe) {
		s := p.Secret()
		p.move(s, "AWSCURRENT", s.Version, "").Refused("InvalidParameterException", neverRemoved)
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT"})
	}},
	rule{"removes a custom label", api("UpdateSecretVersionStage"), func(p *Probe) {
		s := p.Secret()
		p.moved(s, "CUSTOM", "", s.Version)
		p.moved(s, "CUSTOM", s.Version, "")
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT"})
	}},
	rule{"removes AWSPENDING and AWSPREVIOUS", terraformRelies, func(p *Probe) {
		s := p.Secret()
		v2 := p.Put(s, "second")
		v3 := p.Put(s, "third", "AWSPENDING")
		p.moved(s, "AWSPREVIOUS", s.Version, "")
		p.moved(s, "AWSPENDING", v3, "")
		p.Stages(s, map[string]string{v2: "AWSCURRENT"})
	}},
	rule{"gives a version without labels a label again", inferred, func(p *Probe) {
		s := p.Secret()
		v := p.deprecated(s)
		p.moved(s, "BACK", "", v)
		p.Stages(s, map[string]string{s.Version: "AWSCURRENT", v: "BACK"})
	}},
	rule{"refuses to move a label to a version that does not exist", "another emulator's text", func(p *Probe) {
		s, v := p.Secret(), p.Token()
		p.move(s, "CUSTOM", "", v).Refused("InvalidParameterException", "Not a valid version: "+v)
	}},
	rule{"refuses to take a label off a version that does not have it", "another emulator's text", func(p *Probe) {
		s := p.Secret()
		p.move(s, "CUSTOM", s.Version, "").Refused("InvalidParameterException", "Version stage CUSTOM not found in version "+s.Version)
	}},
	rule{"makes no version", api("UpdateSecretVersionStage"), func(p *Probe) {
		s := p.Secret()
		p.moved(s, "CUSTOM", "", s.Version)
		if n := len(p.OK("ListSecretVersionIds", M{"SecretId": s.Name, "IncludeDeprecated": true}).list("Versions")); n != 1 {
			p.Fail("%d versions", n)
		}
	}},
	rule{"moves LastChangedDate", "AWS API reference, DescribeSecret", func(p *Probe) {
		s := p.Secret()
		p.moves(s, func() { p.moved(s, "CUSTOM", "", s.Version) })
	}},
	rule{"refuses a label beyond 20 on all versions together", quotas, func(p *Probe) {
		s := p.Secret()
		labels := []string{}
		for _, c := range "ABCDEFGHIJKLMNOPQRS" {
			labels = append(labels, string(c))
		}
		p.Put(s, "second", labels...)
		p.move(s, "T", "", s.Version).Refused("LimitExceededException", "")
	}},
)
