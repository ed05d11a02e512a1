package service

import (
	"slices"
	"strings"
	"unicode"
)

// Filter narrows a listing: a secret passes when one of Values matches; several
// filters, also of one key, must all pass. A ! before a value turns it round.
//
//	name, tag-key, tag-value,          begins with the value, case-sensitive
//	primary-region, owning-service
//	description                        each word of the value begins a word of it
//	all                                the same over name, description and tags
//
// Sources: AWS Secrets Manager API reference, Filter; for description, which is
// documented as a prefix, and for what a word is, what AWS's answers show.
type Filter struct {
	Key    string   `aws:"enum:filter-key"`
	Values []string `aws:"1..10 each:0..512 pattern:filter"`
}

// A matcher says whether a secret passes all filters of a listing.
type matcher []func(*Secret) bool

func (m matcher) passes(sec *Secret) bool {
	for _, f := range m {
		if !f(sec) {
			return false
		}
	}
	return true
}

// compile makes a matcher of filters, and the prefix that every name which
// passes has. Errors: InvalidParameterException for a filter without key or
// values.
func compile(fs []Filter) (m matcher, prefix string, err error) {
	for _, f := range fs {
		fields, known := filterFields[f.Key]
		if !known {
			return nil, "", refuse(invalidParameter, "", "Invalid filter key").
				WithHint("filter by one of: %s", strings.Join(enums["filter-key"], ", "))
		}
		if len(f.Values) == 0 {
			return nil, "", refuse(invalidParameter, "", "Invalid filter values for key: %s", f.Key)
		}
		if f.Key == "name" && len(f.Values) == 1 && !strings.HasPrefix(f.Values[0], "!") {
			// Of two prefixes of one name the longer one begins with the other;
			// where it does not, the filters themselves let nothing pass.
			if len(f.Values[0]) > len(prefix) {
				prefix = f.Values[0]
			}
		}
		m = append(m, fields.filter(f.Values))
	}
	return m, prefix, nil
}

// filterField is what a key looks at, and how.
type filterField struct {
	of      func(*Secret) []string
	byWords bool
}

var filterFields = map[string]filterField{
	"name":           {of: func(s *Secret) []string { return []string{s.ARN.Name} }},
	"tag-key":        {of: func(s *Secret) []string { return tagTexts(s.Tags, true, false) }},
	"tag-value":      {of: func(s *Secret) []string { return tagTexts(s.Tags, false, true) }},
	"primary-region": {of: func(s *Secret) []string { return unlessEmpty(primaryRegion(s)) }},
	"owning-service": {of: func(s *Secret) []string { return unlessEmpty(s.OwningService) }},
	"description":    {of: func(s *Secret) []string { return unlessEmpty(s.Description) }, byWords: true},
	"all": {of: func(s *Secret) []string {
		return append(tagTexts(s.Tags, true, true), s.ARN.Name, s.Description)
	}, byWords: true},
}

func tagTexts(tags []Tag, keys, values bool) []string {
	var out []string
	for _, t := range tags {
		if keys {
			out = append(out, t.Key)
		}
		if values {
			out = append(out, t.Value)
		}
	}
	return out
}

func unlessEmpty(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// filter makes the test for values of which one must match.
func (f filterField) filter(values []string) func(*Secret) bool {
	type wanted struct {
		prefix  string
		words   []string
		negated bool
	}
	ws := make([]wanted, len(values))
	for i, v := range values {
		ws[i].prefix, ws[i].negated = strings.CutPrefix(v, "!")
		ws[i].words = words(ws[i].prefix)
	}
	return func(sec *Secret) bool {
		texts := f.of(sec)
		if f.byWords {
			var all []string
			for _, t := range texts {
				all = append(all, words(t)...)
			}
			texts = all
		}
		return slices.ContainsFunc(ws, func(w wanted) bool {
			if f.byWords {
				return beginWords(w.words, texts) != w.negated
			}
			return slices.ContainsFunc(texts, func(t string) bool { return strings.HasPrefix(t, w.prefix) }) != w.negated
		})
	}
}

// beginWords reports whether each of parts begins one of all words. A value
// without a word in it matches nothing.
func beginWords(parts, all []string) bool {
	for _, p := range parts {
		if !slices.ContainsFunc(all, func(w string) bool { return strings.HasPrefix(w, p) }) {
			return false
		}
	}
	return len(parts) > 0
}

// words splits a text at everything that is neither letter nor digit and at
// changes of case: "prod/AppBeta" is prod, app, beta. Of several capitals before
// a small letter the last one begins the next word: "COMPANYthings" is compan,
// ythings.
func words(text string) []string {
	var out []string
	for field := range strings.FieldsFuncSeq(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.IsMark(r) }) {
		rs := []rune(field)
		start := 0
		for i := 1; i < len(rs); i++ {
			rises := unicode.IsUpper(rs[i]) && !unicode.IsUpper(rs[i-1])
			falls := unicode.IsUpper(rs[i]) && i+1 < len(rs) && unicode.IsLower(rs[i+1])
			if rises || falls {
				out = append(out, strings.ToLower(string(rs[start:i])))
				start = i
			}
		}
		out = append(out, strings.ToLower(string(rs[start:])))
	}
	return out
}

// primaryRegion returns where the primary of a replicated secret is; "" for one
// that is not replicated.
func primaryRegion(sec *Secret) string {
	if slices.ContainsFunc(sec.Replicas, func(r Replica) bool { return !r.leaving() }) {
		return sec.ARN.Region
	}
	return sec.PrimaryRegion
}
