package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// listed returns the names that a listing finds, in its order, through all
// pages. in must narrow it to the rule's own secrets.
func (p *Probe) listed(in M) []string {
	return p.pages("ListSecrets", in, "SecretList", "Name", 100)
}

// Lists waits until a listing finds exactly these names; ordered says that they
// must come in this order.
func (p *Probe) Lists(in M, ordered bool, want ...string) {
	want = slices.Clone(want)
	if !ordered {
		slices.Sort(want)
	}
	p.Eventually(func() string {
		got := p.listed(in)
		if !ordered {
			slices.Sort(got)
		}
		if !slices.Equal(got, want) {
			return fmt.Sprintf("%s finds %v, not %v", compact(in), got, want)
		}
		return ""
	})
}

// byName is a filter for names with a prefix.
func byName(prefix string) M { return filter("name", prefix) }

func filter(key string, values ...string) M { return M{"Key": key, "Values": values} }

// three makes three secrets, one after the other, whose names begin alike and
// are not in the order of their creation.
func (p *Probe) three() (prefix string, names []string) {
	prefix = p.Name()
	for _, n := range []string{"-b", "-c", "-a"} {
		names = append(names, p.Secret(M{"Name": p.Named(prefix + n)}).Name)
		p.pause(10 * time.Millisecond)
	}
	return prefix, names
}

// entry waits for a secret's entry in a listing.
func (p *Probe) entry(s *Secret, more M) *Answer {
	var a *Answer
	p.Eventually(func() string {
		got := p.OK("ListSecrets", with(M{"Filters": L{byName(s.Name)}}, more))
		l := got.list("SecretList")
		if len(l) != 1 {
			return got.String()
		}
		a = got.sub(l[0])
		return ""
	})
	return a
}

var listRules = on("ListSecrets",
	rule{"has entries with what DescribeSecret tells, and SecretVersionsToStages", api("ListSecrets"), func(p *Probe) {
		s := p.Secret(M{"Description": "d", "KmsKeyId": "alias/aws/secretsmanager", "Tags": L{M{"Key": "k", "Value": "v"}}})
		e := p.entry(s, M{})
		e.Exactly("ARN", "Name", "Description", "KmsKeyId", "Tags", "CreatedDate", "LastChangedDate", "SecretVersionsToStages")
		e.Is("ARN", s.ARN).Is("SecretVersionsToStages", M{s.Version: L{"AWSCURRENT"}}).tagged(map[string]string{"k": "v"})
		d := p.Describe(s)
		e.Within("CreatedDate", d.Time("CreatedDate"), 0).Within("LastChangedDate", d.Time("LastChangedDate"), 0)
	}},
	rule{"leaves out all that was never set", recorded("test_secret_tags"), func(p *Probe) {
		p.entry(p.Secret(M{"SecretString": nil}), M{}).Exactly("ARN", "Name", "CreatedDate", "LastChangedDate")
	}},
	rule{"shows LastAccessedDate at midnight UTC", localstack("test_last_accessed_date"), func(p *Probe) {
		s := p.Secret()
		p.Get(s)
		p.Eventually(func() string {
			e := p.entry(s, M{})
			if _, ok := e.Members["LastAccessedDate"]; !ok {
				return "no LastAccessedDate"
			}
			if at := e.Time("LastAccessedDate"); !at.Equal(at.Truncate(24 * time.Hour)) {
				return at.String()
			}
			return ""
		})
	}},
	rule{"leaves secrets that are marked for deletion out", api("ListSecrets"), func(p *Probe) {
		prefix, names := p.three()
		p.OK("DeleteSecret", M{"SecretId": names[1]})
		p.Lists(M{"Filters": L{byName(prefix)}}, false, names[0], names[2])
	}},
	rule{"lists secrets that are marked for deletion when asked, with DeletedDate", api("ListSecrets"), func(p *Probe) {
		p.entry(p.Marked(), M{"IncludePlannedDeletion": true}).Within("DeletedDate", time.Now(), time.Minute)
	}},
	rule{"answers a listing that finds nothing with an empty list", api("ListSecrets"), func(p *Probe) {
		p.OK("ListSecrets", M{"Filters": L{byName(p.Name())}}).Exactly("SecretList").Is("SecretList", L{})
	}},
	rule{"sorts by creation, oldest first, when not told otherwise", localstack("test_call_lists_secrets_multiple_times"), func(p *Probe) {
		prefix, names := p.three()
		p.Lists(M{"Filters": L{byName(prefix)}}, true, names...)
	}},
	rule{"sorts by creation, newest first, with SortOrder desc", api("ListSecrets"), func(p *Probe) {
		prefix, names := p.three()
		slices.Reverse(names)
		p.Lists(M{"Filters": L{byName(prefix)}, "SortOrder": "desc"}, true, names...)
	}},
	rule{"sorts by name", api("ListSecrets"), func(p *Probe) {
		prefix, _ := p.three()
		p.Lists(M{"Filters": L{byName(prefix)}, "SortBy": "name"}, true, prefix+"-a", prefix+"-b", prefix+"-c")
		p.Lists(M{"Filters": L{byName(prefix)}, "SortBy": "name", "SortOrder": "desc"}, true, prefix+"-c", prefix+"-b", prefix+"-a")
	}},
	rule{"sorts by creation when asked", api("ListSecrets"), func(p *Probe) {
		prefix, names := p.three()
		p.Lists(M{"Filters": L{byName(prefix)}, "SortBy": "created-date", "SortOrder": "asc"}, true, names...)
	}},
	rule{"sorts by last change", api("ListSecrets"), func(p *Probe) {
		prefix, names := p.three()
		p.OK("UpdateSecret", M{"SecretId": names[0], "ClientRequestToken": p.Token(), "Description": "later"})
		p.Lists(M{"Filters": L{byName(prefix)}, "SortBy": "last-changed-date", "SortOrder": "asc"}, true, names[1], names[2], names[0])
	}},
	rule{"sorts by last access", api("ListSecrets"), func(p *Probe) {
		prefix, names := p.three()
		p.OK("GetSecretValue", M{"SecretId": names[0]})
		p.Eventually(func() string {
			got := p.listed(M{"Filters": L{byName(prefix)}, "SortBy": "last-accessed-date", "SortOrder": "asc"})
			if len(got) != 3 || got[2] != names[0] {
				return fmt.Sprint(got)
			}
			return ""
		})
	}},
	rule{"gives pages of MaxResults until there is no NextToken", api("ListSecrets"), func(p *Probe) {
		prefix, names := p.three()
		p.Eventually(func() string {
			got := p.pages("ListSecrets", M{"Filters": L{byName(prefix)}, "MaxResults": 1}, "SecretList", "Name", 1)
			if !slices.Equal(got, names) {
				return fmt.Sprint(got)
			}
			return ""
		})
	}},
	rule{"goes on in the order asked for from page to page", api("ListSecrets"), func(p *Probe) {
		prefix, _ := p.three()
		p.Eventually(func() string {
			got := p.pages("ListSecrets", M{"Filters": L{byName(prefix)}, "MaxResults": 2, "SortBy": "name", "SortOrder": "desc"}, "SecretList", "Name", 2)
			if want := []string{prefix + "-c", prefix + "-b", prefix + "-a"}; !slices.Equal(got, want) {
				return fmt.Sprint(got)
			}
			return ""
		})
	}},
	rule{"accepts MaxResults of 1 and of 100", model, func(p *Probe) {
		for _, n := range []int{1, 100} {
			p.OK("ListSecrets", M{"Filters": L{byName(p.Name())}, "MaxResults": n})
		}
	}},
	rule{"refuses a NextToken that it did not give", api("ListSecrets"), func(p *Probe) {
		p.Refused("ListSecrets", M{"NextToken": "bm8gdG9rZW4="}, "InvalidNextTokenException", "")
	}},
	rule{"refuses a NextToken with other filters", inferred, func(p *Probe) {
		prefix, _ := p.three()
		var token string
		p.Eventually(func() string {
			a := p.OK("ListSecrets", M{"Filters": L{byName(prefix)}, "MaxResults": 1})
			token, _ = a.Members["NextToken"].(string)
			if token == "" {
				return "no NextToken"
			}
			return ""
		})
		p.Refused("ListSecrets", M{"Filters": L{byName("other")}, "MaxResults": 1, "NextToken": token}, "InvalidNextTokenException", "")
	}},
	rule{"lists the caller's account and region alone", api("ListSecrets"), func(p *Probe) {
		q := p.OtherAccount()
		s := p.Secret()
		p.Lists(M{"Filters": L{byName(s.Name)}}, false, s.Name)
		q.Lists(M{"Filters": L{byName(s.Name)}}, false)
		p.InReplicaRegion().Lists(M{"Filters": L{byName(s.Name)}}, false)
	}},
	rule{"lists a replica in its own region, without ReplicationStatus", api("ListSecrets"), func(p *Probe) {
		s, q := p.Replicated()
		e := q.entry(s, M{}).Absent("ReplicationStatus")
		e.Is("ARN", arnIn(s.ARN, q.region)).Is("PrimaryRegion", p.region)
		p.entry(s, M{}).Absent("ReplicationStatus").Is("PrimaryRegion", p.region)
	}},
)

// finding is one filter on a few secrets that differ in one thing.
type finding struct {
	name, source string
	// secrets maps the end of a secret's name to what makes it special; WORD in
	// texts stands for a word that only the rule's secrets have.
	secrets map[string]M
	filters func(word, prefix string) L
	want    []string // ends of names
}

const words = "test_with_filter_with_value_with_multiple_words"

func described(d string) M { return M{"Description": d} }
func tag(k, v string) M    { return M{"Tags": L{M{"Key": k, "Value": v}}} }

// within narrows filters to the rule's own secrets.
func within(filters ...M) func(word, prefix string) L {
	return func(word, prefix string) L {
		l := L{byName(prefix)}
		for _, f := range filters {
			var values []string
			for _, v := range f["Values"].([]string) {
				values = append(values, strings.ReplaceAll(v, "WORD", word))
			}
			l = append(l, M{"Key": f["Key"], "Values": values})
		}
		return l
	}
}

var findings = []finding{
	{"name: finds by the beginning of the name", moto("test_with_name_filter"), map[string]M{"-a": {}, "-ab": {}, "-b": {}},
		func(_, prefix string) L { return L{byName(prefix + "-a")} }, []string{"-a", "-ab"}},
	{"name: tells capitals apart", api("Filter"), map[string]M{"-a": {}, "-A": {}},
		func(_, prefix string) L { return L{byName(prefix + "-A")} }, []string{"-A"}},
	{"name: does not find in the middle of a name", api("Filter"), map[string]M{"-a": {}},
		func(_, prefix string) L { return L{byName(prefix), byName(prefix[1:])} }, nil},
	{"name: one of several values is enough", moto("test_with_filter_with_multiple_values"), map[string]M{"-a": {}, "-b": {}, "-c": {}},
		func(_, prefix string) L { return L{filter("name", prefix+"-a", prefix+"-c")} }, []string{"-a", "-c"}},
	{"name: ! turns a value round", api("Filter"), map[string]M{"-a": {}, "-b": {}},
		func(_, prefix string) L { return L{byName(prefix), filter("name", "!"+prefix+"-a")} }, []string{"-b"}},
	{"name given twice: both must match", moto("test_with_duplicate_filter_keys"), map[string]M{"-a": {}, "-ab": {}},
		func(_, prefix string) L { return L{byName(prefix + "-a"), byName(prefix + "-ab")} }, []string{"-ab"}},
	{"tag-key: finds by the beginning of a tag's key", moto("test_with_tag_key_filter"), map[string]M{"-a": tag("WORDteam", "x"), "-b": tag("x", "WORDteam"), "-c": {}},
		within(filter("tag-key", "WORDt")), []string{"-a"}},
	{"tag-key: tells capitals apart", api("Filter"), map[string]M{"-a": tag("WORDteam", "x"), "-b": tag("WORDTeam", "x")},
		within(filter("tag-key", "WORDT")), []string{"-b"}},
	{"tag-key: ! finds secrets without such a tag", api("Filter"), map[string]M{"-a": tag("WORDteam", "x"), "-b": {}},
		within(filter("tag-key", "!WORDteam")), []string{"-b"}},
	{"tag-value: finds by the beginning of a tag's value", moto("test_with_tag_value_filter"), map[string]M{"-a": tag("x", "WORDred"), "-b": tag("WORDred", "x"), "-c": {}},
		within(filter("tag-value", "WORDr")), []string{"-a"}},
	{"tag-value: tells capitals apart", api("Filter"), map[string]M{"-a": tag("x", "WORDred"), "-b": tag("x", "WORDRed")},
		within(filter("tag-value", "WORDr")), []string{"-a"}},
	{"tag-key and tag-value: each may be of another tag", inferred, map[string]M{"-a": {"Tags": L{M{"Key": "WORDk", "Value": "1"}, M{"Key": "2", "Value": "WORDv"}}}, "-b": tag("WORDk", "1")},
		within(filter("tag-key", "WORDk"), filter("tag-value", "WORDv")), []string{"-a"}},
	{"different filters: all must match", moto("test_with_multiple_filters"), map[string]M{"-a": tag("WORDk", "x"), "-b": with(tag("WORDk", "x"), described("WORDd")), "-c": described("WORDd")},
		within(filter("tag-key", "WORDk"), filter("description", "WORDd")), []string{"-b"}},
	{"description: finds a word", moto("test_with_description_filter"), map[string]M{"-a": described("the WORD of it"), "-b": described("another")},
		within(filter("description", "WORD")), []string{"-a"}},
	{"description: finds by the beginning of any word", localstack("test_list_secrets_filtering"), map[string]M{"-a": described("an WORDsecret here"), "-b": described("theWORDsecret")},
		within(filter("description", "WORDsec")), []string{"-a"}},
	{"description: each word of the value must begin a word", moto(words), map[string]M{
		"-a": described("WORDone WORDtwo"), "-b": described("WORDtwo and WORDone"), "-c": described("WORDone"), "-d": described("WORDtwo")},
		within(filter("description", "WORDone WORDtwo")), []string{"-a", "-b"}},
	{"description: does not tell capitals apart", moto(words), map[string]M{"-a": described("The WORD"), "-b": described("none")},
		within(filter("description", "THE")), []string{"-a"}},
	{"description: ! turns a value round", api("Filter"), map[string]M{"-a": described("WORD"), "-b": described("none"), "-c": {}},
		within(filter("description", "!WORD")), []string{"-b", "-c"}},
	{"description given twice: both must match", moto("test_with_duplicate_filter_keys"), map[string]M{"-a": described("WORDone WORDtwo"), "-b": described("WORDone"), "-c": described("WORDtwo")},
		within(filter("description", "WORDone"), filter("description", "WORDtwo")), []string{"-a"}},
	{"all: finds in description, tag keys and tag values", moto("test_with_all_filter"), map[string]M{
		"-a": described("WORD"), "-b": tag("WORD", "x"), "-c": tag("x", "WORD"), "-d": {}},
		within(filter("all", "WORD")), []string{"-a", "-b", "-c"}},
	{"all: finds in the name", moto("test_with_all_filter"), map[string]M{"-WORD": {}, "-other": {}},
		within(filter("all", "WORD")), []string{"-WORD"}},
	{"all: the words of the value may be in different places", moto("test_with_all_filter"), map[string]M{
		"-a": with(described("WORDone"), tag("WORDtwo", "x")), "-b": described("WORDone")},
		within(filter("all", "WORDone WORDtwo")), []string{"-a"}},
	{"all: does not tell capitals apart", moto("test_with_all_filter"), map[string]M{"-a": described("Upper WORD")},
		within(filter("all", "UPPER")), []string{"-a"}},
	{"all: splits words at / - _ + = . @", moto("test_with_all_filter"), map[string]M{
		"-a": described("x/WORD"), "-b": described("x-WORD"), "-c": described("x_WORD"), "-d": described("x+WORD"),
		"-e": described("x=WORD"), "-f": described("x.WORD"), "-g": described("x@WORD")},
		within(filter("all", "WORD")), []string{"-a", "-b", "-c", "-d", "-e", "-f", "-g"}},
	{"all: splits words where the case changes", moto("test_with_all_filter"), map[string]M{"-a": described("WORD AppBeta"), "-b": described("WORD appbeta")},
		within(filter("all", "beta")), []string{"-a"}},
	{"all: does not find the inner part of a word", moto("test_with_all_filter"), map[string]M{"-a": described("xWORD")},
		within(filter("all", "WORD")), nil},
	{"all: a lone + finds nothing", moto("test_with_all_filter"), map[string]M{"-a": described("a + b")},
		within(filter("all", "+")), nil},
	{"all: ! turns a value round", api("Filter"), map[string]M{"-a": described("WORD"), "-b": described("none")},
		within(filter("all", "!WORD")), []string{"-b"}},
	{"owning-service: does not find a secret of one's own", api("Filter"), map[string]M{"-a": {}},
		within(filter("owning-service", "rds")), nil},
	{"primary-region: does not find what is not replicated", api("Filter"), map[string]M{"-a": {}},
		within(filter("primary-region", "us-")), nil},
}

// filterRules are the rules of ListSecrets' filters, which BatchGetSecretValue
// shares.
func filterRules() []Rule {
	var rules []rule
	for _, f := range findings {
		rules = append(rules, rule{f.name, f.source, func(p *Probe) {
			word, prefix := p.Word(), p.Name()
			for end, members := range f.secrets {
				in := M{"Name": p.Named(prefix + strings.ReplaceAll(end, "WORD", word))}
				for k, v := range members {
					b := []byte(strings.ReplaceAll(compact(v), "WORD", word))
					in[k] = decoded(b)
				}
				p.Secret(in)
			}
			var want []string
			for _, end := range f.want {
				want = append(want, prefix+strings.ReplaceAll(end, "WORD", word))
			}
			p.Lists(M{"Filters": f.filters(word, prefix)}, false, want...)
		}})
	}
	rules = append(rules,
		rule{"primary-region: finds replicated secrets, at both ends", api("Filter"), func(p *Probe) {
			s, q := p.Replicated()
			for _, at := range []*Probe{p, q} {
				at.Lists(M{"Filters": L{byName(s.Name), filter("primary-region", p.region)}}, false, s.Name)
			}
		}},
		rule{"refuses a filter without a key", "another emulator's text", func(p *Probe) {
			p.Refused("ListSecrets", M{"Filters": L{M{"Values": L{"a"}}}}, "InvalidParameterException", "Invalid filter key")
		}},
		rule{"refuses a filter without values", "another emulator's text", func(p *Probe) {
			p.Refused("ListSecrets", M{"Filters": L{M{"Key": "name"}}}, "InvalidParameterException", "Invalid filter values for key: name")
		}},
		rule{"accepts 10 filters of 10 values", model, func(p *Probe) {
			var f L
			for range 10 {
				f = append(f, M{"Key": "name", "Values": many(10, p.Name())})
			}
			p.OK("ListSecrets", M{"Filters": f})
		}},
	)
	return on("ListSecrets", rules...)
}
