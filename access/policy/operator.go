package policy

import (
	"encoding/base64"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Operator is a condition operator: [Set:]Name[IfExists].
// Source: IAM user guide, "IAM JSON policy elements: Condition operators".
type Operator struct {
	Set      Set
	Name     string // StringEquals and so on, as AWS spells it
	IfExists bool   // the condition holds where the request has no such key
}

// Set says how the many values of a key in a request are compared.
type Set string

// The values of Set. Source: IAM user guide, "Set operators for multivalued
// context keys".
const (
	Single       Set = ""             // the key has one value
	ForAllValues Set = "ForAllValues" // all of them; holds for a key that isn't there
	ForAnyValue  Set = "ForAnyValue"  // at least one of them
)

// family is the type of an operator's values.
type family int

const (
	ofText family = iota
	ofNumbers
	ofDates
	ofBooleans
	ofBinary
	ofAddresses
	ofARNs
)

// operators are all operators by their names in lower case.
var operators = func() map[string]operatorFacts {
	m := map[string]operatorFacts{}
	for f, names := range map[family]string{
		ofText:      "StringEquals StringNotEquals StringEqualsIgnoreCase StringNotEqualsIgnoreCase StringLike StringNotLike",
		ofNumbers:   "NumericEquals NumericNotEquals NumericLessThan NumericLessThanEquals NumericGreaterThan NumericGreaterThanEquals",
		ofDates:     "DateEquals DateNotEquals DateLessThan DateLessThanEquals DateGreaterThan DateGreaterThanEquals",
		ofBooleans:  "Bool Null",
		ofBinary:    "BinaryEquals",
		ofAddresses: "IpAddress NotIpAddress",
		ofARNs:      "ArnEquals ArnLike ArnNotEquals ArnNotLike",
	} {
		for name := range strings.FieldsSeq(names) {
			m[strings.ToLower(name)] = operatorFacts{name, f}
		}
	}
	return m
}()

type operatorFacts struct {
	name   string
	family family
}

// parseOperator reads an operator, in whatever case.
func parseOperator(s string) (Operator, bool) {
	var op Operator
	if set, rest, ok := strings.Cut(s, ":"); ok {
		switch {
		case strings.EqualFold(set, string(ForAllValues)):
			op.Set = ForAllValues
		case strings.EqualFold(set, string(ForAnyValue)):
			op.Set = ForAnyValue
		default:
			return op, false
		}
		s = rest
	}
	name := strings.ToLower(s)
	name, op.IfExists = strings.CutSuffix(name, "ifexists")
	facts, ok := operators[name]
	op.Name = facts.name
	return op, ok && !(op.Name == "Null" && op.IfExists)
}

// String renders the operator as AWS spells it.
func (o Operator) String() string {
	s := o.Name
	if o.Set != Single {
		s = string(o.Set) + ":" + s
	}
	if o.IfExists {
		s += "IfExists"
	}
	return s
}

// Negated reports whether the operator holds where the values do not match, and
// so also where the request has no such key.
func (o Operator) Negated() bool { return strings.Contains(o.Name, "Not") }

// values reads what the operator compares with: one or many texts, numbers and
// booleans, each of the operator's type.
func (o Operator) values(n node) ([]string, error) {
	var all []string
	f := operators[strings.ToLower(o.Name)].family
	for _, v := range n.oneOrMore() {
		switch v.kind {
		case text, number, boolean:
		default:
			return nil, v.must(text)
		}
		if want := f.refuses(v.text); want != "" {
			return nil, syntax(v.element, "is %q, which is not %s", short(v.text), want)
		}
		all = append(all, v.text)
	}
	if len(all) == 0 {
		return nil, syntax(n.element, "is an empty list")
	}
	return all, nil
}

// dates are the forms of ISO 8601 that W3C's note on date and time lists.
var dates = []string{"2006", "2006-01", "2006-01-02", "2006-01-02T15:04Z07:00", time.RFC3339}

// refuses returns what a value should have been, or "" if it is that.
func (f family) refuses(v string) string {
	switch f {
	case ofNumbers:
		if _, ok := finite(v); !ok {
			return "a number"
		}
	case ofDates:
		if _, ok := finite(v); ok { // seconds since 1970
			return ""
		}
		for _, form := range dates {
			if _, err := time.Parse(form, v); err == nil {
				return ""
			}
		}
		return "a date (2026-03-04T10:20:30Z)"
	case ofBooleans:
		if !strings.EqualFold(v, "true") && !strings.EqualFold(v, "false") && !strings.Contains(v, "${") {
			return "true or false"
		}
	case ofBinary:
		if _, err := base64.StdEncoding.DecodeString(v); err != nil {
			return "base64"
		}
	case ofAddresses:
		if _, ok := addresses(v); !ok {
			return "an IP address or a range of them (203.0.113.0/24)"
		}
	}
	return ""
}

func finite(v string) (float64, bool) {
	x, err := strconv.ParseFloat(v, 64)
	return x, err == nil && !math.IsInf(x, 0) && !math.IsNaN(x)
}

// addresses reads an IP address as a range of one, or a range in CIDR notation.
func addresses(v string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(v); err == nil {
		return p, true
	}
	a, err := netip.ParseAddr(v)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, a.BitLen()), true
}
