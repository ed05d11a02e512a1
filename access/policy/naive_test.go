package policy

import (
	"encoding/base64"
	"net"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// naively says whether a request is allowed, in the plainest way: from the
// documents, with regular expressions, reading everything anew. It shares no
// code with Evaluate but the document's types.
func naively(p Policies, r Request) bool {
	var attached []Document // with the principal himself
	for _, d := range p.Identity {
		attached = append(attached, d.Document)
	}
	var session []Document
	for _, d := range p.Session {
		session = append(session, d.Document)
	}
	n := naive{r, p.Boundary != nil}
	any := func(docs []Document, e Effect) bool {
		for _, d := range docs {
			for _, s := range d.Statements {
				odd := s.Principal != nil || s.NotPrincipal != nil
				if s.Effect == e && (!odd || e == Deny) && n.applies(d, s) {
					return true
				}
			}
		}
		return false
	}
	var boundary []Document
	if p.Boundary != nil {
		boundary = []Document{p.Boundary.Document}
	}
	if any(attached, Deny) || any(boundary, Deny) || any(session, Deny) {
		return false
	}
	himself, hisRole, hisAccount := false, false, false
	if p.Resource != nil {
		for _, s := range p.Resource.Document.Statements {
			if !n.applies(p.Resource.Document, s) {
				continue
			}
			if s.Effect == Deny {
				if n.isDenied(s) {
					return false
				}
				continue
			}
			switch {
			case s.NotPrincipal != nil:
				himself = himself || !n.named(s.NotPrincipal, r.Principal.ARN) && !n.named(s.NotPrincipal, r.Principal.Issuer) && !n.named(s.NotPrincipal, "account")
			case s.Principal != nil:
				himself = himself || n.named(s.Principal, r.Principal.ARN) || r.Principal.Type == RootUser && n.named(s.Principal, "account")
				hisRole = hisRole || n.named(s.Principal, r.Principal.Issuer)
				hisAccount = hisAccount || n.named(s.Principal, "account")
			}
		}
	}
	identity := r.Principal.Type == RootUser || any(attached, Allow)
	inBoundary := p.Boundary == nil || any(boundary, Allow)
	inSession := any(session, Allow) || len(session) == 0 && r.Principal.Type != FederatedUser
	if r.Resource != "" && r.Resource != "*" && p.ResourceAccount != r.Principal.Account {
		return identity && inBoundary && inSession && (himself || hisRole || hisAccount)
	}
	if himself && (r.Principal.Type != User || len(session) == 0) {
		return true
	}
	return (identity || himself || hisRole) && inBoundary && inSession
}

type naive struct {
	Request
	bounded bool
}

func (n naive) isDenied(s Statement) bool {
	if s.NotPrincipal == nil {
		return s.Principal == nil || n.named(s.Principal, n.Principal.ARN) || n.named(s.Principal, n.Principal.Issuer) || n.named(s.Principal, "account")
	}
	exempt := n.named(s.NotPrincipal, "account") && !n.bounded
	if n.Principal.Type != RootUser {
		exempt = exempt && n.named(s.NotPrincipal, n.Principal.ARN)
	}
	if n.Principal.Issuer != "" {
		exempt = exempt && n.named(s.NotPrincipal, n.Principal.Issuer)
	}
	return !exempt
}

func (n naive) named(p *Principals, who string) bool {
	for _, a := range p.AWS {
		switch {
		case a == "*" && who != "", a == who && who != "":
			return true
		case who == "account" && (a == n.Principal.Account || regexp.MustCompile(`^arn:[^:]*:iam::`+n.Principal.Account+`:root$`).MatchString(a)):
			return true
		}
	}
	return false
}

func (n naive) applies(d Document, s Statement) bool {
	action := func(list []string) bool {
		for _, a := range list {
			if like("(?i)", a, n.Action) {
				return true
			}
		}
		return false
	}
	if s.Action != nil && !action(s.Action) || s.NotAction != nil && action(s.NotAction) {
		return false
	}
	asked := n.Resource
	if asked == "" {
		asked = "*"
	}
	if s.Resource == nil && s.NotResource == nil && s.Effect == Allow {
		return false
	}
	hit, sure := false, true
	for _, p := range append(append([]string{}, s.Resource...), s.NotResource...) {
		expr, ok := n.expr(d, p, true)
		sure = sure && ok
		hit = hit || ok && regexp.MustCompile(`(?s)^`+expr+`$`).MatchString(asked)
	}
	if s.Resource != nil && !hit || s.NotResource != nil && (hit || !sure && s.Effect == Allow) {
		return false
	}
	for _, c := range s.Conditions {
		if !n.holds(d, s, c) {
			return false
		}
	}
	return true
}

func (n naive) get(key string) []string {
	p := n.Principal
	one := func(s string) []string {
		if s == "" {
			return nil
		}
		return []string{s}
	}
	switch key = strings.ToLower(key); key {
	case "aws:username":
		return one(p.Username)
	case "aws:userid":
		return one(p.UserID)
	case "aws:principaltype":
		return one(string(p.Type))
	case "aws:principalaccount":
		return one(p.Account)
	case "aws:principalarn":
		if p.Type == AssumedRole {
			return one(p.Issuer)
		}
		return one(p.ARN)
	}
	if strings.HasPrefix(key, "aws:principaltag/") {
		for _, t := range p.Tags {
			if "aws:principaltag/"+strings.ToLower(t.Key) == key {
				return []string{t.Value}
			}
		}
		return nil
	}
	c, _ := n.Context.(Context)
	return c[key]
}

var naiveVariable = regexp.MustCompile(`\$\{[^}]*\}`)

// expr turns a text into a regular expression; false if a variable has no value.
func (n naive) expr(d Document, s string, wild bool) (string, bool) {
	quote := func(s string) string {
		s = regexp.QuoteMeta(s)
		if wild {
			s = strings.ReplaceAll(strings.ReplaceAll(s, `\*`, `.*`), `\?`, `.`)
		}
		return s
	}
	if d.Version != "2012-10-17" {
		return quote(s), true
	}
	out, fine, last := "", true, 0
	for _, at := range naiveVariable.FindAllStringIndex(s, -1) {
		out += quote(s[last:at[0]])
		last = at[1]
		name := s[at[0]+2 : at[1]-1]
		if name == "*" || name == "?" || name == "$" {
			out += regexp.QuoteMeta(name)
			continue
		}
		name, fallback, has := strings.Cut(name, ",")
		fallback = strings.TrimSpace(fallback)
		if v := n.get(strings.TrimSpace(name)); len(v) == 1 {
			out += regexp.QuoteMeta(v[0])
		} else if has && len(fallback) > 1 && strings.HasPrefix(fallback, "'") && strings.HasSuffix(fallback, "'") {
			out += regexp.QuoteMeta(fallback[1 : len(fallback)-1])
		} else {
			fine = false
		}
	}
	return out + quote(s[last:]), fine
}

func like(flags, pattern, s string) bool {
	e := strings.ReplaceAll(strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`), `\?`, `.`)
	return regexp.MustCompile(flags + `(?s)^` + e + `$`).MatchString(s)
}

func (n naive) holds(d Document, s Statement, c Condition) bool {
	have := n.get(c.Key)
	if c.Operator.Name == "Null" {
		for _, v := range c.Values {
			if strings.EqualFold(v, "true") && len(have) == 0 || strings.EqualFold(v, "false") && len(have) > 0 {
				return true
			}
		}
		return false
	}
	not := strings.Contains(c.Operator.Name, "Not")
	if len(have) == 0 {
		if c.Operator.IfExists || c.Operator.Set == "ForAllValues" {
			return true
		}
		return not && c.Operator.Set == ""
	}
	if c.Operator.Set != "" && strings.Join(have, "") == "" {
		return c.Operator.Set == "ForAllValues"
	}
	good := 0
	for _, h := range have {
		hit, doubt := false, false
		for _, v := range c.Values {
			h1, d1 := n.compare(d, strings.Replace(c.Operator.Name, "Not", "", 1), h, v)
			hit, doubt = hit || h1, doubt || d1
		}
		if !not && hit || not && !hit && (!doubt || s.Effect == Deny) {
			good++
		}
	}
	if c.Operator.Set == "ForAllValues" || c.Operator.Set == "" && s.Effect == Allow {
		return good == len(have)
	}
	return good > 0
}

// compare compares a value of the request with one of the policy.
func (n naive) compare(d Document, name, have, want string) (hit, doubt bool) {
	order := func(read func(string) (float64, bool), name string) (bool, bool) {
		h, ok1 := read(have)
		w, ok2 := read(want)
		if !ok1 || !ok2 {
			return false, true
		}
		return map[string]bool{"Equals": h == w, "LessThan": h < w, "LessThanEquals": h <= w, "GreaterThan": h > w, "GreaterThanEquals": h >= w}[name], false
	}
	number := func(s string) (float64, bool) { x, err := strconv.ParseFloat(s, 64); return x, err == nil }
	switch {
	case strings.HasPrefix(name, "Numeric"):
		return order(number, name[len("Numeric"):])
	case strings.HasPrefix(name, "Date"):
		return order(func(s string) (float64, bool) {
			for _, form := range []string{"2006", "2006-01", "2006-01-02", "2006-01-02T15:04Z07:00", "2006-01-02T15:04:05Z07:00"} {
				if t, err := time.Parse(form, s); err == nil {
					return float64(t.Unix()), true
				}
			}
			return number(s)
		}, name[len("Date"):])
	case name == "BinaryEquals":
		h, err1 := base64.StdEncoding.DecodeString(have)
		w, err2 := base64.StdEncoding.DecodeString(want)
		return err1 == nil && err2 == nil && string(h) == string(w), err1 != nil || err2 != nil
	case name == "IpAddress":
		if !strings.Contains(want, "/") {
			want += map[bool]string{true: "/128", false: "/32"}[strings.Contains(want, ":")]
		}
		if lower, bits, _ := strings.Cut(want, "/"); strings.HasPrefix(lower, "::ffff:") {
			b, _ := strconv.Atoi(bits)
			want = strings.TrimPrefix(lower, "::ffff:") + "/" + strconv.Itoa(b-96)
		}
		ip := net.ParseIP(have)
		_, network, err := net.ParseCIDR(want)
		return ip != nil && err == nil && network.Contains(ip), ip == nil || err != nil
	case strings.HasPrefix(name, "Arn"):
		h := strings.SplitN(have, ":", 6)
		if len(h) < 6 {
			return false, true
		}
		if want == "*" {
			return true, false
		}
		// The colons of variables are not the ARN's.
		inside := naiveVariable.FindAllString(want, -1)
		w := strings.SplitN(naiveVariable.ReplaceAllString(want, "\x00"), ":", 6)
		if len(w) < 6 {
			return false, false
		}
		hit = true
		for i := range w {
			for strings.Contains(w[i], "\x00") {
				w[i] = strings.Replace(w[i], "\x00", inside[0], 1)
				inside = inside[1:]
			}
			e, ok := n.expr(d, w[i], true)
			doubt = doubt || !ok
			hit = hit && ok && regexp.MustCompile(`(?s)^`+e+`$`).MatchString(h[i])
		}
		return hit, doubt
	}
	e, ok := n.expr(d, want, name == "StringLike")
	flags := "(?s)"
	if name == "StringEqualsIgnoreCase" || name == "Bool" {
		flags = "(?is)"
	}
	return ok && regexp.MustCompile(flags+`^`+e+`$`).MatchString(have), !ok
}
