package policy

import (
	"regexp"
	"strings"
)

// Parse reads a policy of any kind. Unknown elements, elements that come twice
// and documents beyond 81,920 bytes are refused. The error is an *Error.
func Parse(document string) (Document, error) {
	root, err := read(document)
	if err != nil {
		return Document{}, err
	}
	d := Document{Version: Version2008}
	found := false
	err = root.members(func(name string, v node) (err error) {
		switch name {
		case "Version":
			if d.Version, err = v.word(); err == nil && d.Version != Version2012 && d.Version != Version2008 {
				err = syntax(name, "is %q; write %q", short(d.Version), Version2012)
			}
		case "Id":
			d.ID, err = v.word()
		case "Statement":
			found = true
			d.Statements, err = statements(v)
		default:
			err = unknown(v, "Version, Id, Statement")
		}
		return err
	})
	if err == nil && !found {
		err = syntax("", "has no Statement")
	}
	if err != nil {
		return Document{}, err
	}
	return d, nil
}

func unknown(v node, known string) error {
	return syntax(v.element, "is no element of a policy here (%s; upper and lower case matter)", known)
}

func statements(n node) ([]Statement, error) {
	items := n.oneOrMore()
	if len(items) == 0 {
		return nil, syntax(n.element, "is an empty list")
	}
	var all []Statement
	sids := map[string]bool{}
	for _, item := range items {
		s, err := statement(item)
		if err != nil {
			return nil, err
		}
		if s.Sid != "" && sids[s.Sid] {
			return nil, syntax(item.element, "has the Sid %q of another statement", short(s.Sid))
		}
		sids[s.Sid] = true
		all = append(all, s)
	}
	return all, nil
}

func statement(n node) (Statement, error) {
	var s Statement
	err := n.members(func(name string, v node) (err error) {
		switch name {
		case "Sid":
			s.Sid, err = v.word()
		case "Effect":
			var effect string
			if effect, err = v.word(); err == nil && effect != string(Allow) && effect != string(Deny) {
				err = syntax(v.element, "is %q, neither Allow nor Deny", short(effect))
			}
			s.Effect = Effect(effect)
		case "Principal":
			s.Principal, err = principals(v)
		case "NotPrincipal":
			s.NotPrincipal, err = principals(v)
		case "Action":
			s.Action, err = patterns(v, action, "* or service:action")
		case "NotAction":
			s.NotAction, err = patterns(v, action, "* or service:action")
		case "Resource":
			s.Resource, err = patterns(v, resource, "* or an ARN")
		case "NotResource":
			s.NotResource, err = patterns(v, resource, "* or an ARN")
		case "Condition":
			s.Conditions, err = conditions(v)
		default:
			err = unknown(v, "Sid, Effect, Principal, NotPrincipal, Action, NotAction, Resource, NotResource, Condition")
		}
		return err
	})
	if err != nil {
		return s, err
	}
	switch {
	case s.Effect == "":
		err = syntax(n.element, "has no Effect")
	case s.Action == nil && s.NotAction == nil:
		err = syntax(n.element, "has no Action")
	case s.Action != nil && s.NotAction != nil:
		err = syntax(n.element, "has both Action and NotAction")
	case s.Resource != nil && s.NotResource != nil:
		err = syntax(n.element, "has both Resource and NotResource")
	case s.Principal != nil && s.NotPrincipal != nil:
		err = syntax(n.element, "has both Principal and NotPrincipal")
	}
	return s, err
}

// The service of an action can't be a pattern, unless all is one.
var (
	action   = regexp.MustCompile(`^(\*|\*:\*|[A-Za-z0-9-]+:[A-Za-z0-9*?]+)$`)
	resource = regexp.MustCompile(`^(\*|arn(:[^:]*){4}:.+)$`)
)

func patterns(n node, form *regexp.Regexp, want string) ([]string, error) {
	all, err := n.words()
	for _, p := range all {
		if !form.MatchString(p) {
			return nil, syntax(n.element, "has %q, which is not %s", short(p), want)
		}
	}
	return all, err
}

func principals(n node) (*Principals, error) {
	if n.kind == text {
		if n.text != "*" {
			return nil, syntax(n.element, `is %q; write "*" or {"AWS": …}`, short(n.text))
		}
		return &Principals{AWS: []string{"*"}}, nil
	}
	p := &Principals{}
	err := n.members(func(name string, v node) (err error) {
		switch name {
		case "AWS":
			p.AWS, err = v.words()
		case "Service":
			p.Service, err = v.words()
		case "Federated":
			p.Federated, err = v.words()
		case "CanonicalUser":
			p.CanonicalUser, err = v.words()
		default:
			err = unknown(v, "AWS, Service, Federated, CanonicalUser")
		}
		return err
	})
	if err == nil && len(n.names) == 0 {
		err = syntax(n.element, "names nobody")
	}
	return p, err
}

// conditions reads a Condition element. An empty one is no condition.
func conditions(n node) ([]Condition, error) {
	var all []Condition
	err := n.members(func(name string, keys node) error {
		op, ok := parseOperator(name)
		if !ok {
			return syntax(keys.element, "is no condition operator")
		}
		return keys.members(func(key string, v node) error {
			if i := strings.IndexByte(key, ':'); i < 1 || i == len(key)-1 {
				return syntax(v.element, "is no condition key (aws:SourceIp)")
			}
			values, err := op.values(v)
			all = append(all, Condition{op, key, values})
			return err
		})
	})
	return all, err
}
