package policy

import (
	"bytes"
	"encoding/base64"
	"net/netip"
	"strings"
	"time"
)

// clause is a Condition, read once.
type clause struct {
	op      Operator
	key     key
	negated bool
	// test compares a value of the request with those of the policy: whether one
	// matches, and if not, whether that is certain. It isn't where a variable has
	// no value or the request's value is not of the operator's type.
	test func(e *evaluation, v string) (matched, known bool)
	// null are the values of a Null operator: true for a key that must be missing.
	null []bool
}

// prepareCondition reads a condition. Variables mean something in texts, ARNs
// and booleans.
// Source: IAM user guide, "IAM JSON policy elements: Condition operators".
func prepareCondition(c Condition, variables bool) clause {
	p := clause{op: c.Operator, key: keyOf(c.Key), negated: c.Operator.Negated()}
	name := strings.Replace(c.Operator.Name, "Not", "", 1)
	switch operators[strings.ToLower(c.Operator.Name)].family {
	case ofText:
		p.test = textTest(c.Values, syntaxOf{wildcards: name == "StringLike", variables: variables, fold: name == "StringEqualsIgnoreCase"})
	case ofNumbers:
		p.test = orderTest(c.Values, strings.TrimPrefix(name, "Numeric"), finite)
	case ofDates:
		p.test = orderTest(c.Values, strings.TrimPrefix(name, "Date"), seconds)
	case ofBooleans:
		if c.Operator.Name == "Null" {
			for _, v := range c.Values {
				if strings.EqualFold(v, "true") || strings.EqualFold(v, "false") {
					p.null = append(p.null, strings.EqualFold(v, "true"))
				}
			}
			break
		}
		p.test = textTest(c.Values, syntaxOf{variables: variables, fold: true})
	case ofBinary:
		p.test = binaryTest(c.Values)
	case ofAddresses:
		p.test = addressTest(c.Values)
	case ofARNs:
		p.test = arnTest(c.Values, variables)
	}
	return p
}

// holds reports whether the condition is true, in a statement that denies or
// allows. Where IAM's documentation leaves open what an unresolved variable, a
// malformed value or a key with several values under an operator without set
// means, an Allow is not given and a Deny stands.
func (c *clause) holds(e *evaluation, deny bool) bool {
	values := e.values(c.key)
	if c.test == nil { // Null
		for _, missing := range c.null {
			if missing == (len(values) == 0) {
				return true
			}
		}
		return false
	}
	if len(values) == 0 {
		switch {
		case c.op.IfExists || c.op.Set == ForAllValues:
			return true
		case c.op.Set == ForAnyValue:
			return false
		}
		return c.negated
	}
	if c.op.Set != Single && empty(values) {
		return c.op.Set == ForAllValues
	}
	every := c.op.Set == ForAllValues || c.op.Set == Single && !deny
	for _, v := range values {
		if c.holdsFor(e, v, deny) != every {
			return !every
		}
	}
	return every
}

// holdsFor reports whether the condition is true of one value of the key.
func (c *clause) holdsFor(e *evaluation, v string, deny bool) bool {
	matched, known := c.test(e, v)
	if !c.negated {
		return matched
	}
	return !matched && (known || deny)
}

// empty reports whether there is nothing in the values: what IAM calls an empty
// data set.
func empty(values []string) bool {
	for _, v := range values {
		if v != "" {
			return false
		}
	}
	return true
}

func textTest(values []string, s syntaxOf) func(*evaluation, string) (bool, bool) {
	all := make([]pattern, len(values))
	for i, v := range values {
		all[i] = compile(v, s)
	}
	return func(e *evaluation, v string) (bool, bool) { return matchAny(all, e, v) }
}

// orderTest compares numbers, or dates as numbers.
func orderTest(values []string, relation string, read func(string) (float64, bool)) func(*evaluation, string) (bool, bool) {
	var bounds []float64
	for _, v := range values {
		if x, ok := read(v); ok {
			bounds = append(bounds, x)
		}
	}
	return func(_ *evaluation, v string) (bool, bool) {
		x, ok := read(v)
		if !ok {
			return false, false
		}
		for _, b := range bounds {
			var is bool
			switch relation {
			case "Equals":
				is = x == b
			case "LessThan":
				is = x < b
			case "LessThanEquals":
				is = x <= b
			case "GreaterThan":
				is = x > b
			case "GreaterThanEquals":
				is = x >= b
			}
			if is {
				return true, true
			}
		}
		return false, true
	}
}

// seconds reads a date as seconds since 1970. A number is a year if it has four
// digits, as in the W3C's note, else such seconds already.
func seconds(v string) (float64, bool) {
	for _, form := range dates {
		if t, err := time.Parse(form, v); err == nil {
			return float64(t.Unix()) + float64(t.Nanosecond())/1e9, true
		}
	}
	return finite(v)
}

func binaryTest(values []string) func(*evaluation, string) (bool, bool) {
	var all [][]byte
	for _, v := range values {
		if b, err := base64.StdEncoding.DecodeString(v); err == nil {
			all = append(all, b)
		}
	}
	return func(_ *evaluation, v string) (bool, bool) {
		b, err := base64.StdEncoding.DecodeString(v)
		if err != nil {
			return false, false
		}
		for _, a := range all {
			if bytes.Equal(a, b) {
				return true, true
			}
		}
		return false, true
	}
}

func addressTest(values []string) func(*evaluation, string) (bool, bool) {
	var all []netip.Prefix
	for _, v := range values {
		p, ok := addresses(v)
		if !ok {
			continue
		}
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		all = append(all, p)
	}
	return func(e *evaluation, v string) (bool, bool) {
		a, ok := e.addressOf(v)
		if !ok {
			return false, false
		}
		for _, p := range all {
			if p.Contains(a) {
				return true, true
			}
		}
		return false, true
	}
}

// The parts of an ARN, the last with all its colons.
const arnParts = 6

// arnTest compares ARNs part by part; Equals means the same as Like. The text *
// alone is any ARN.
func arnTest(values []string, variables bool) func(*evaluation, string) (bool, bool) {
	var all [][]pattern
	anything := false
	for _, v := range values {
		anything = anything || v == "*"
		var parts []pattern
		for _, part := range splitARN(v) {
			parts = append(parts, compile(part, syntaxOf{wildcards: true, variables: variables}))
		}
		if len(parts) == arnParts {
			all = append(all, parts)
		}
	}
	return func(e *evaluation, v string) (bool, bool) {
		var parts [arnParts]string
		for i := range parts[:arnParts-1] {
			var colon bool
			if parts[i], v, colon = strings.Cut(v, ":"); !colon {
				return false, false
			}
		}
		parts[arnParts-1] = v
		if anything {
			return true, true
		}
		known := true
		for _, want := range all {
			same := true
			for i := range want {
				m, k := want[i].match(e, parts[i])
				same, known = same && m, known && k
			}
			if same {
				return true, true
			}
		}
		return false, known
	}
}

// splitARN cuts a pattern of an ARN at its first five colons, but for those in
// a variable.
func splitARN(s string) []string {
	var parts []string
	start, inside := 0, false
	for i := 0; i < len(s) && len(parts) < arnParts-1; i++ {
		switch {
		case strings.HasPrefix(s[i:], "${"):
			inside = true
		case s[i] == '}':
			inside = false
		case s[i] == ':' && !inside:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}
