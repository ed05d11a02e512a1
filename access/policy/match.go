package policy

import (
	"slices"
	"strings"
)

// matches reports whether s is what a pattern with * (any text, also none) and
// ? (one character) means.
func matches(text, s string) bool {
	p := compile(text, syntaxOf{wildcards: true})
	return p.plain(s)
}

// onAction reports whether the statement is about one of Secrets Manager's
// actions.
func (s *Statement) onAction(name string) bool {
	match := func(pattern string) bool {
		return matches(strings.ToLower(pattern), strings.ToLower("secretsmanager:"+name))
	}
	if s.NotAction != nil {
		return !slices.ContainsFunc(s.NotAction, match)
	}
	return slices.ContainsFunc(s.Action, match)
}

// actionSet returns which actions the statement is about, one bit for each.
func (s *Statement) actionSet() (set uint32) {
	for i, a := range actions {
		if s.onAction(a) {
			set |= 1 << i
		}
	}
	return set
}

// onSecretOf reports whether the statement surely is about the secret with this
// ARN; "" is a secret that is not known yet.
func (s *Statement) onSecretOf(arn string) bool {
	match := func(pattern string) bool {
		return strings.Trim(pattern, "*") == "" || arn != "" && matches(pattern, arn)
	}
	if s.NotResource != nil {
		return arn != "" && !slices.ContainsFunc(s.NotResource, match)
	}
	return slices.ContainsFunc(s.Resource, match)
}
