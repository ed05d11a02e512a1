package conformance

import "strings"

// What a password is made of.
const (
	lower       = "abcdefghijklmnopqrstuvwxyz"
	upper       = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	digits      = "0123456789"
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)

func (p *Probe) randomPassword(in M) string {
	return p.OK("GetRandomPassword", in).Exactly("RandomPassword").Str("RandomPassword")
}

// has expects that a password has characters of a set, or none.
func (p *Probe) has(password, set string, want bool) {
	if strings.ContainsAny(password, set) != want {
		p.Fail("characters of %q: want %v in %q", set, want, password)
	}
}

func passwordRules() []Rule {
	rules := []rule{
		{"has 32 characters when not told otherwise", api("GetRandomPassword"), func(p *Probe) {
			if got := p.randomPassword(M{}); len(got) != 32 {
				p.Fail("%d characters", len(got))
			}
		}},
		{"has small and capital letters, digits and punctuation, and no space, when not told otherwise", api("GetRandomPassword"), func(p *Probe) {
			for range 20 {
				got := p.randomPassword(M{})
				for _, set := range []string{lower, upper, digits, punctuation} {
					p.has(got, set, true)
				}
				p.has(got, " ", false)
			}
		}},
		{"has each type however short it is", api("GetRandomPassword"), func(p *Probe) {
			for range 20 {
				got := p.randomPassword(M{"PasswordLength": 4})
				for _, set := range []string{lower, upper, digits, punctuation} {
					p.has(got, set, true)
				}
			}
		}},
		{"uses all 32 characters of punctuation and no others", api("GetRandomPassword"), func(p *Probe) {
			got := p.randomPassword(M{"PasswordLength": 4096})
			for _, c := range punctuation {
				p.has(got, string(c), true)
			}
			if rest := strings.Trim(got, lower+upper+digits+punctuation); rest != "" {
				p.Fail("characters %q", rest)
			}
		}},
		{"has as many characters as it is told", model, func(p *Probe) {
			for _, n := range []int{4, 33, 4096} {
				if got := p.randomPassword(M{"PasswordLength": n}); len(got) != n {
					p.Fail("%d characters instead of %d", len(got), n)
				}
			}
		}},
		{"leaves ExcludeCharacters out", localstack("test_get_random_exclude_characters_and_symbols"), func(p *Probe) {
			p.has(p.randomPassword(M{"PasswordLength": 4096, "ExcludeCharacters": "abcXYZ019!@ \\\""}), "abcXYZ019!@ \\\"", false)
		}},
		{"has spaces with IncludeSpace", api("GetRandomPassword"), func(p *Probe) {
			p.has(p.randomPassword(M{"PasswordLength": 4096, "IncludeSpace": true}), " ", true)
		}},
		{"requires no space even with IncludeSpace", "moto and cdk-preflight agree", func(p *Probe) {
			p.has(p.randomPassword(M{"PasswordLength": 4, "IncludeSpace": true, "ExcludeCharacters": " "}), " ", false)
		}},
		{"refuses a length below the number of required types", preflight, func(p *Probe) {
			p.Refused("GetRandomPassword", M{"PasswordLength": 3}, "InvalidParameterException", "Password length is too short based on the required types.")
		}},
		{"accepts a length of 1 where no type is required", model, func(p *Probe) {
			if got := p.randomPassword(M{"PasswordLength": 1, "RequireEachIncludedType": false}); len(got) != 1 {
				p.Fail("%q", got)
			}
		}},
		{"accepts a length of 1 where one type is left", preflight, func(p *Probe) {
			got := p.randomPassword(M{"PasswordLength": 1, "ExcludeUppercase": true, "ExcludeLowercase": true, "ExcludePunctuation": true})
			p.has(got, digits, true)
		}},
		{"refuses a required type without a character left", preflight, func(p *Probe) {
			p.Refused("GetRandomPassword", M{"ExcludeCharacters": digits}, "InvalidParameterException", "All characters of the desired type have been excluded.")
		}},
		{"accepts a type without a character left where it is not required", preflight, func(p *Probe) {
			p.has(p.randomPassword(M{"ExcludeCharacters": digits, "RequireEachIncludedType": false}), digits, false)
		}},
		{"refuses rules that leave no character at all", preflight, func(p *Probe) {
			p.Refused("GetRandomPassword", M{"ExcludeNumbers": true, "ExcludePunctuation": true, "ExcludeUppercase": true, "ExcludeLowercase": true},
				"InvalidParameterException", "All characters have been excluded from selection.")
		}},
		{"gives another password each time", api("GetRandomPassword"), func(p *Probe) {
			if a, b := p.randomPassword(M{}), p.randomPassword(M{}); a == b {
				p.Fail("twice %q", a)
			}
		}},
	}
	for _, e := range []struct{ member, set string }{
		{"ExcludeNumbers", digits}, {"ExcludePunctuation", punctuation}, {"ExcludeUppercase", upper}, {"ExcludeLowercase", lower},
	} {
		rules = append(rules, rule{e.member + " leaves them out and keeps the other types", api("GetRandomPassword"), func(p *Probe) {
			got := p.randomPassword(M{"PasswordLength": 512, e.member: true})
			for _, set := range []string{lower, upper, digits, punctuation} {
				p.has(got, set, set != e.set)
			}
		}})
	}
	return on("GetRandomPassword", rules...)
}
