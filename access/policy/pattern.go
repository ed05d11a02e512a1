package policy

import (
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What a rune of a pattern can be beside itself.
const (
	many rune = -1 - iota // *: any text, also none
	one                   // ?: one character
	hole                  // the value of the next variable
)

// syntaxOf says what means more than itself in a text, and how it is compared.
type syntaxOf struct {
	wildcards bool // * and ?
	variables bool // ${…}
	fold      bool // without regard to case
}

// pattern is a text of a policy, read once. Its wildcards match colons too:
// AWS keeps them within a segment of an ARN unless they end it, which for a
// secret, whose ARN has six colons and none in its name, comes to the same.
type pattern struct {
	prefix string   // what it starts with, literally; unused where fold is set
	rest   []rune   // what follows
	least  int      // characters that rest stands for at least, without its variables
	chunks []string // the texts between the *s of rest, where rest has but these
	vars   []variable
	fold   bool
}

// variable is ${key} or ${key, 'default'}.
type variable struct {
	key      key
	fallback string
	defaults bool // fallback is to be used where the request has no such key
}

// compile reads a text. What looks like a variable but isn't well-formed is
// text.
func compile(text string, s syntaxOf) pattern {
	p := pattern{fold: s.fold}
	for text != "" {
		if s.variables && strings.HasPrefix(text, "${") {
			if inner, after, ok := strings.Cut(text[2:], "}"); ok {
				text = after
				switch inner {
				case "*", "?", "$": // themselves
					p.rest = append(p.rest, rune(inner[0]))
				default:
					p.vars = append(p.vars, variableOf(inner))
					p.rest = append(p.rest, hole)
				}
				continue
			}
		}
		r, n := utf8.DecodeRuneInString(text)
		text = text[n:]
		switch {
		case s.wildcards && r == '*':
			r = many
		case s.wildcards && r == '?':
			r = one
		case s.fold:
			r = folded(r)
		}
		p.rest = append(p.rest, r)
	}
	if !s.fold {
		n := 0
		for n < len(p.rest) && p.rest[n] >= 0 {
			n++
		}
		p.prefix, p.rest = string(p.rest[:n]), p.rest[n:]
		if !slices.Contains(p.rest, one) && !slices.Contains(p.rest, hole) {
			p.chunks = chunksOf(p.rest)
		}
	}
	for _, r := range p.rest {
		if r >= 0 || r == one {
			p.least++
		}
	}
	return p
}

// chunksOf cuts a pattern at its *s.
func chunksOf(rest []rune) []string {
	var all []string
	for {
		i := slices.Index(rest, many)
		if i < 0 {
			return append(all, string(rest))
		}
		all = append(all, string(rest[:i]))
		rest = rest[i+1:]
	}
}

func variableOf(inner string) variable {
	name, rest, comma := strings.Cut(inner, ",")
	v := variable{key: keyOf(strings.TrimSpace(name))}
	if rest = strings.TrimSpace(rest); comma && len(rest) >= 2 && rest[0] == '\'' && rest[len(rest)-1] == '\'' {
		v.fallback, v.defaults = rest[1:len(rest)-1], true
	}
	return v
}

// plain reports whether s matches a pattern without variables.
func (p *pattern) plain(s string) bool {
	if !strings.HasPrefix(s, p.prefix) {
		return false
	}
	s = s[len(p.prefix):]
	switch last := len(p.chunks) - 1; {
	case last < 0:
		return p.least <= len(s) && glob(p.rest, s, p.fold)
	case last == 0:
		return s == p.chunks[0]
	default: // The first is empty: rest starts with a *.
		for _, c := range p.chunks[1:last] {
			i := strings.Index(s, c)
			if i < 0 {
				return false
			}
			s = s[i+len(c):]
		}
		return strings.HasSuffix(s, p.chunks[last])
	}
}

// match reports whether s matches; the value of a variable stands for itself,
// whatever is in it. known is false if a variable has no value, or several:
// then nothing matches.
func (p *pattern) match(e *evaluation, s string) (matched, known bool) {
	if len(p.vars) == 0 {
		return p.plain(s), true
	}
	if len(p.rest) == 1 && p.prefix == "" && !p.fold { // the most common form: ${key}
		value, ok := p.vars[0].value(e)
		return ok && value == s, ok
	}
	// All the variables are read even if the start differs: known is of them all.
	// But what would be longer than s is not put together: a policy can name a long
	// value a thousand times.
	var room [160]rune
	full, next, least := room[:0], 0, p.least
	for _, r := range p.rest {
		if r != hole {
			full = append(full, r)
			continue
		}
		value, ok := p.vars[next].value(e)
		next++
		if !ok {
			return false, false
		}
		if least += utf8.RuneCountInString(value); least > len(s) {
			continue
		}
		for _, r := range value {
			if p.fold {
				r = folded(r)
			}
			full = append(full, r)
		}
	}
	if least > len(s)-len(p.prefix) || !strings.HasPrefix(s, p.prefix) {
		return false, true
	}
	return glob(full, s[len(p.prefix):], p.fold), true
}

// value returns what stands for the variable.
func (v *variable) value(e *evaluation) (string, bool) {
	if value, ok := e.single(v.key); ok {
		return value, true
	}
	return v.fallback, v.defaults
}

// matchAny reports whether s matches one of the patterns, and if not, whether
// the variables of all had values.
func matchAny(all []pattern, e *evaluation, s string) (matched, known bool) {
	known = true
	for i := range all {
		m, k := all[i].match(e, s)
		if m {
			return true, true
		}
		known = known && k
	}
	return false, known
}

// glob matches all of s, in time linear in len(p)*len(s) at worst.
func glob(p []rune, s string, fold bool) bool {
	star, mark := -1, 0 // the last * and where what it stands for ends
	i, j := 0, 0
	for j < len(s) {
		if i < len(p) && p[i] == many {
			if i == len(p)-1 {
				return true
			}
			star, mark = i, j
			i++
			continue
		}
		r, n := rune(s[j]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRuneInString(s[j:])
		}
		if fold {
			r = folded(r)
		}
		switch {
		case i < len(p) && (p[i] == one || p[i] == r):
			i++
			j += n
		case star >= 0:
			_, n = utf8.DecodeRuneInString(s[mark:])
			mark += n
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == many {
		i++
	}
	return i == len(p)
}

// folded maps all forms of a letter to one.
func folded(r rune) rune {
	least := r
	if r >= utf8.RuneSelf {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
	}
	if 'A' <= least && least <= 'Z' {
		least += 'a' - 'A'
	}
	return least
}
