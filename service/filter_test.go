package service

import (
	"slices"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pawlhq/pawl/secrets"
)

func TestWords(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"test":                     "test",
		"my test":                  "my test",
		"Mytest":                   "mytest",
		"MyTest":                   "my test",
		"MyTestPhrase":             "my test phrase",
		"myTest":                   "my test",
		"prod/AppBeta/x":           "prod app beta x",
		"a-b_c+d=e.f@g":            "a b c d e f g",
		"uat/COMPANY":              "uat company",
		"COMPANYthings":            "compan ythings",
		"SecretFTag":               "secret f tag",
		"Thirdsecret":              "thirdsecret",
		"+":                        "",
		" -/_+=.@ ":                "",
		"db1 v2":                   "db1 v2",
		"naïve ÜberGröße, schön!":  "naïve über größe schön",
		"A":                        "a",
		"aB":                       "a b",
		"\xff":                     "",
		"the owner's key: say 'x'": "the owner s key say x",
	} {
		if got := strings.Join(words(text), " "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// secretOf makes a record from "name|description|tag=value|tag=value"; a name
// "@region:name" has its primary there.
func secretOf(s string) *Secret {
	p := strings.Split(s, "|")
	sec := &Secret{ARN: secrets.ARN{Region: "us-east-1", Name: p[0]}}
	if region, name, ok := strings.Cut(strings.TrimPrefix(p[0], "@"), ":"); ok && p[0][0] == '@' {
		sec.ARN.Name, sec.PrimaryRegion = name, region
	}
	if service, _, ok := strings.Cut(sec.ARN.Name, "!"); ok {
		sec.OwningService = service
	}
	if len(p) > 1 {
		sec.Description = p[1]
		for _, tag := range p[2:] {
			k, v, _ := strings.Cut(tag, "=")
			sec.Tags = append(sec.Tags, Tag{Key: k, Value: v})
		}
	}
	return sec
}

func TestFilters(t *testing.T) {
	of := func(kv ...string) (fs []Filter) {
		for i := 0; i < len(kv); i += 2 {
			fs = append(fs, Filter{Key: kv[i], Values: strings.Split(kv[i+1], ",")})
		}
		return fs
	}
	camel := []string{"SecretOnea1b2c3", "SecretTwoa1b2c3|DescTwo", "Thirdsecreta1b2c3", "SecretFTaga1b2c3||1=foo", "SecretFValuea1b2c3||foo=v", "nonea1b2c3"}
	special := []string{"prod/AppBeta/f00", "prod_AppBeta_f00", "prod+AppBeta+f00", "prod=AppBeta=f00", "prod.AppBeta.f00", "prod@AppBeta@f00", "prod-AppBeta-f00", "uat/COMPANY/f00", "uat/COMPANYthings/f00"}
	beta := "prod/AppBeta/f00 prod_AppBeta_f00 prod+AppBeta+f00 prod=AppBeta=f00 prod.AppBeta.f00 prod@AppBeta@f00 prod-AppBeta-f00"
	described := []string{"foo|one two", "bar|one and two", "baz|one", "qux|two", "none|unrelated", "void"}
	tagged := []string{"foo||right=right", "bar||right=wrong", "baz||wrong=right", "qux||wrong=wrong", "two||a=1|righteous=x", "none"}
	owned := []string{"rds!db-1", "redshift!x", "plain", "@eu-west-1:copy", "@eu-central-1:other"}
	for _, c := range []struct {
		among   []string
		filters []Filter
		want    string
	}{
		// What AWS was seen to answer.
		{camel, of("all", "SecretOne"), "SecretOnea1b2c3"},
		{camel, of("all", "foo"), "SecretFTaga1b2c3 SecretFValuea1b2c3"},
		{camel, of("all", "Secret"), "SecretOnea1b2c3 SecretTwoa1b2c3 SecretFTaga1b2c3 SecretFValuea1b2c3"},
		{camel, of("all", "secret"), "SecretOnea1b2c3 SecretTwoa1b2c3 SecretFTaga1b2c3 SecretFValuea1b2c3"},
		{camel, of("all", "sec"), "SecretOnea1b2c3 SecretTwoa1b2c3 SecretFTaga1b2c3 SecretFValuea1b2c3"},
		{camel, of("all", "ret"), ""},
		{camel, of("all", "SomeSecret"), ""},
		{camel, of("all", "d"), "SecretTwoa1b2c3"},
		{camel, of("all", "d t"), "SecretTwoa1b2c3"},
		{camel, of("all", "t"), "SecretTwoa1b2c3 Thirdsecreta1b2c3 SecretFTaga1b2c3"},
		{special, of("all", "AppBeta"), beta},
		{special, of("all", "Beta"), beta},
		{special, of("all", "AppBeta,prod"), beta},
		{special, of("all", "+"), ""},
		{special, of("all", "f00"), beta + " uat/COMPANY/f00 uat/COMPANYthings/f00"},
		{special, of("all", "company"), "uat/COMPANY/f00"},
		{special, of("all", "things"), ""},
		{special, of("all", "Ythings"), "uat/COMPANYthings/f00"},
		{special, of("all", "N"), ""},
		{special, of("all", "pany"), ""},
		{described, of("description", "one two"), "foo bar"},
		{described, of("description", "o t"), "foo bar"},
		{described, of("description", "t"), "foo bar qux"},
		{described, of("description", "one", "description", "two"), "foo bar"},
		{[]string{"x|an secret", "y|thesecret", "z|a secret thing"}, of("description", "a secret"), "x z"},
		{[]string{"y|thesecret"}, of("description", "s"), ""},
		// Negation, and what is not there at all.
		{described, of("description", "!o"), "qux none void"},
		{described, of("description", "one,!two"), "foo bar baz none void"},
		{described, of("description", "!one", "description", "!two"), "none void"},
		{described, of("description", "!+"), "foo bar baz qux none void"},
		{described, of("name", "ba", "description", "!two"), "baz"},
		{tagged, of("tag-key", "right", "tag-value", "right"), "foo"},
		{tagged, of("tag-key", "righ"), "foo bar two"},
		{tagged, of("tag-key", "Righ"), ""},
		{tagged, of("tag-key", "ight"), ""},
		{tagged, of("tag-key", "!righ"), "baz qux none"},
		{tagged, of("tag-value", "r,1"), "foo baz two"},
		{tagged, of("tag-value", "!right"), "bar qux two none"},
		{tagged, of("tag-key", "!"), "none"},
		{tagged, of("all", "right"), "foo bar baz two"},
		{tagged, of("all", "wrong right"), "bar baz"},
		{special, of("name", "prod/,uat/C"), "prod/AppBeta/f00 uat/COMPANY/f00 uat/COMPANYthings/f00"},
		{special, of("name", "Prod"), ""},
		{special, of("name", "!prod"), "uat/COMPANY/f00 uat/COMPANYthings/f00"},
		{special, of("name", "!prod,prod/"), "prod/AppBeta/f00 uat/COMPANY/f00 uat/COMPANYthings/f00"},
		{special, of("name", "prod", "name", "!prod/", "name", "prod+"), "prod+AppBeta+f00"},
		{owned, of("owning-service", "r"), "rds!db-1 redshift!x"},
		{owned, of("owning-service", "rds"), "rds!db-1"},
		{owned, of("owning-service", "RDS"), ""},
		{owned, of("owning-service", "!rds"), "redshift!x plain copy other"},
		{owned, of("owning-service", "n/a"), ""},
		{owned, of("primary-region", "eu-"), "copy other"},
		{owned, of("primary-region", "eu-west-1"), "copy"},
		{owned, of("primary-region", "!eu-west-1"), "rds!db-1 redshift!x plain other"},
		{owned, nil, "rds!db-1 redshift!x plain copy other"},
	} {
		m, prefix, err := compile(c.filters)
		if err != nil {
			t.Errorf("%v: %v", c.filters, err)
		}
		var got []string
		for _, s := range c.among {
			sec := secretOf(s)
			if m.passes(sec) {
				got = append(got, sec.ARN.Name)
				if !strings.HasPrefix(sec.ARN.Name, prefix) {
					t.Errorf("%v: %s passes without the prefix %s", c.filters, sec.ARN.Name, prefix)
				}
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%v:\ngot  %s\nwant %s", c.filters, strings.Join(got, " "), c.want)
		}
	}
	// A primary is found where it is, as long as it has a replica.
	primary := secretOf("p")
	primary.Replicas = []Replica{{Region: "eu-west-1"}}
	m, _, _ := compile(of("primary-region", "us-east-1"))
	if !m.passes(primary) {
		t.Error("a primary is not found by its region")
	}
	if primary.Replicas[0].Removing = true; m.passes(primary) {
		t.Error("a primary without replicas is found by its region")
	}
	for key, text := range map[string]string{"": "Invalid filter key", "Name": "Invalid filter key", "name": "Invalid filter values for key: name"} {
		_, _, err := compile([]Filter{{Key: key}})
		if secrets.CodeOf(err) != "InvalidParameterException" || textOf(err) != text {
			t.Errorf("%q: %v", key, err)
		}
	}
}

// No filter breaks on any text, takes long, or disagrees with its negation.
func FuzzFilters(f *testing.F) {
	for _, s := range []string{"", "!", "!!", "+", "a secret", "AppBeta", "COMPANYthings", "É\u0301ß", "\xff\xfe", strings.Repeat("Aa", 256), strings.Repeat("/-", 256)} {
		for _, key := range enums["filter-key"] {
			f.Add(key, s, "prod/AppBeta", "an secret", "tag", "value")
		}
	}
	f.Fuzz(func(t *testing.T, key, value, name, description, tagKey, tagValue string) {
		if _, known := filterFields[key]; !known || max(len(value), len(name), len(description), len(tagKey), len(tagValue)) > 4096 {
			t.Skip()
		}
		sec := &Secret{ARN: secrets.ARN{Name: name}, Description: description, Tags: []Tag{{tagKey, tagValue}}, OwningService: tagValue, PrimaryRegion: tagKey}
		passes := func(v string) bool {
			m, prefix, err := compile([]Filter{{Key: key, Values: []string{v}}})
			if err != nil {
				t.Fatal(err)
			}
			got := m.passes(sec)
			if got && !strings.HasPrefix(name, prefix) {
				t.Errorf("%q passes without the prefix %q", name, prefix)
			}
			return got
		}
		began := time.Now()
		plain := strings.TrimPrefix(value, "!")
		if !strings.HasPrefix(plain, "!") && passes(plain) == passes("!"+plain) {
			t.Errorf("%s: %q and its negation are alike", key, plain)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		// The words of a text hold all its letters and digits and nothing else.
		for _, s := range []string{value, name, description} {
			if !utf8.ValidString(s) {
				continue
			}
			want := strings.ToLower(strings.Join(strings.FieldsFunc(s, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) }), ""))
			if got := strings.Join(words(s), ""); got != want {
				t.Errorf("%q: words %q, want the letters of %q", s, words(s), want)
			}
			if slices.Contains(words(s), "") {
				t.Errorf("%q has an empty word", s)
			}
		}
	})
}
