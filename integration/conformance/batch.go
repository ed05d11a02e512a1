package conformance

import "slices"

const batchGuide = "AWS user guide, Get a group of secrets in a batch"

// values returns what a batch answered, by name.
func (a *Answer) values() map[string]M {
	out := map[string]M{}
	for _, v := range a.list("SecretValues") {
		name, _ := v["Name"].(string)
		out[name] = v
	}
	return out
}

var batchRules = on("BatchGetSecretValue",
	rule{"answers the AWSCURRENT values of the secrets listed, by name or ARN", api("BatchGetSecretValue"), func(p *Probe) {
		a, b := p.Secret(), p.Secret(M{"SecretString": nil, "SecretBinary": "AAE="})
		v2 := p.Put(a, "second")
		got := p.OK("BatchGetSecretValue", M{"SecretIdList": L{a.Name, b.ARN}})
		values := got.values()
		if len(values) != 2 {
			p.Fail("%s", got)
		}
		got.sub(values[a.Name]).Exactly("ARN", "Name", "VersionId", "SecretString", "VersionStages", "CreatedDate").
			Is("SecretString", "second").Is("VersionId", v2).Is("ARN", a.ARN).Labels("VersionStages", "AWSCURRENT")
		got.sub(values[b.Name]).Exactly("ARN", "Name", "VersionId", "SecretBinary", "VersionStages", "CreatedDate").Is("SecretBinary", "AAE=")
	}},
	rule{"reports a secret that does not exist as GetSecretValue would, beside the others' values", api("BatchGetSecretValue"), func(p *Probe) {
		s, missing := p.Secret(), p.Name()
		a := p.OK("BatchGetSecretValue", M{"SecretIdList": L{missing, s.Name}})
		a.failedFor(missing, "ResourceNotFoundException", notFound)
		if len(a.values()) != 1 {
			p.Fail("%s", a)
		}
	}},
	rule{"reports a secret that is marked for deletion", api("DeleteSecret"), func(p *Probe) {
		s := p.Marked()
		p.OK("BatchGetSecretValue", M{"SecretIdList": L{s.Name}}).failedFor(s.Name, "InvalidRequestException", markedForDelete)
	}},
	rule{"reports a secret without a value", inferred, func(p *Probe) {
		s := p.Secret(M{"SecretString": nil})
		p.OK("BatchGetSecretValue", M{"SecretIdList": L{s.Name}}).failedFor(s.Name, "ResourceNotFoundException", noStage("AWSCURRENT"))
	}},
	rule{"reports a secret that the caller may not read, beside the others' values", api("BatchGetSecretValue"), func(p *Probe) {
		s, shut := p.Secret(), p.Secret()
		p.attach(shut, M{"Effect": "Deny", "Principal": "*"})
		p.atLast(p.denies, "GetSecretValue", id(p, shut))
		a := p.OK("BatchGetSecretValue", M{"SecretIdList": L{shut.Name, s.Name}})
		errs := a.list("Errors")
		if len(errs) != 1 || errs[0]["SecretId"] != shut.Name || errs[0]["ErrorCode"] != "AccessDeniedException" || a.values()[s.Name] == nil {
			p.Fail("%s", a)
		}
	}},
	rule{"names a missing secret as it was asked for", inferred, func(p *Probe) {
		arn := p.Secret().PartialARN() + "-aB3dE6"
		p.OK("BatchGetSecretValue", M{"SecretIdList": L{arn}}).failedFor(arn, "ResourceNotFoundException", notFound)
	}},
	rule{"needs a list or filters", "another emulator's text", func(p *Probe) {
		p.Refused("BatchGetSecretValue", M{}, "InvalidParameterException", "Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	}},
	rule{"refuses a list and filters together", "another emulator's text", func(p *Probe) {
		p.Refused("BatchGetSecretValue", M{"SecretIdList": L{"a"}, "Filters": L{M{"Key": "name", "Values": L{"a"}}}},
			"InvalidParameterException", "Either 'SecretIdList' or 'Filters' must be provided, but not both.")
	}},
	rule{"refuses MaxResults without filters", "another emulator's text", func(p *Probe) {
		p.Refused("BatchGetSecretValue", M{"SecretIdList": L{"a"}, "MaxResults": 2},
			"InvalidParameterException", "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	}},
	rule{"answers the values of the secrets that filters find", batchGuide, func(p *Probe) {
		prefix := p.Name()
		a, b := p.Secret(M{"Name": p.Named(prefix + "a")}), p.Secret(M{"Name": p.Named(prefix + "b")})
		p.Eventually(func() string {
			got := p.OK("BatchGetSecretValue", M{"Filters": L{M{"Key": "name", "Values": L{prefix}}}})
			if v := got.values(); len(v) != 2 || v[a.Name] == nil || v[b.Name] == nil {
				return got.String()
			}
			return ""
		})
	}},
	rule{"answers filters that find nothing with an empty list", inferred, func(p *Probe) {
		p.OK("BatchGetSecretValue", M{"Filters": L{M{"Key": "name", "Values": L{p.Name()}}}}).Is("SecretValues", L{}).Absent("NextToken")
	}},
	rule{"leaves secrets that are marked for deletion out of what filters find", api("ListSecrets"), func(p *Probe) {
		prefix := p.Name()
		s, gone := p.Secret(M{"Name": p.Named(prefix + "a")}), p.Marked(M{"Name": p.Named(prefix + "b")})
		p.Eventually(func() string {
			got := p.OK("BatchGetSecretValue", M{"Filters": L{M{"Key": "name", "Values": L{prefix}}}})
			if v := got.values(); len(v) != 1 || v[s.Name] == nil || v[gone.Name] != nil {
				return got.String()
			}
			return ""
		})
	}},
	rule{"gives pages of MaxResults until there is no NextToken", api("BatchGetSecretValue"), func(p *Probe) {
		prefix := p.Name()
		var want []string
		for _, n := range []string{"a", "b", "c"} {
			want = append(want, p.Secret(M{"Name": p.Named(prefix + n)}).Name)
		}
		p.Eventually(func() string {
			got := p.pages("BatchGetSecretValue", M{"Filters": L{M{"Key": "name", "Values": L{prefix}}}, "MaxResults": 2}, "SecretValues", "Name", 2)
			if slices.Sort(got); !slices.Equal(got, want) {
				return compact(got)
			}
			return ""
		})
	}},
	rule{"refuses a NextToken that it did not give", api("BatchGetSecretValue"), func(p *Probe) {
		p.Refused("BatchGetSecretValue", M{"Filters": L{M{"Key": "name", "Values": L{"a"}}}, "NextToken": "bm8gdG9rZW4="}, "InvalidNextTokenException", "")
	}},
	rule{"accepts 20 secrets at a time", model, func(p *Probe) {
		var ids L
		for range 20 {
			ids = append(ids, p.Name())
		}
		if n := len(p.OK("BatchGetSecretValue", M{"SecretIdList": ids}).list("Errors")); n != 20 {
			p.Fail("%d errors", n)
		}
	}},
)

// failedFor expects an entry in a batch's Errors.
func (a *Answer) failedFor(id, code, text string) {
	for _, e := range a.list("Errors") {
		if e["SecretId"] == id {
			a.sub(e).Exactly("SecretId", "ErrorCode", "Message").Is("ErrorCode", code).Is("Message", text)
			return
		}
	}
	a.p.Fail("want an error for %s, got %s", id, a)
}

// pages calls a paged operation to its end and returns a member of all items.
// No page may be longer than most.
func (p *Probe) pages(operation string, in M, list, member string, most int) []string {
	var all []string
	for {
		a := p.OK(operation, in)
		items := a.list(list)
		if len(items) > most {
			p.Fail("want %d items at most, got %s", most, a)
		}
		for _, i := range items {
			v, _ := i[member].(string)
			all = append(all, v)
		}
		if _, ok := a.Members["NextToken"]; !ok {
			return all
		}
		in = with(in, M{"NextToken": a.Str("NextToken")})
	}
}
