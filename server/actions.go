package server

import (
	"maps"
	"slices"
	"strings"
)

// Actions returns the action of every operation there is, as policies write it:
// secretsmanager:GetSecretValue and so on, in order.
func Actions() []string {
	set := map[string]bool{}
	for _, o := range operations {
		set[o.action] = true
	}
	return slices.Sorted(maps.Keys(set))
}

// OfRequest reports whether nothing but a request for an action says what the
// values of a condition key are, whose name is in lower case: nobody knows them
// before there is one.
func OfRequest(action, key string) bool {
	switch key {
	case "aws:sourceip", "aws:useragent", "aws:tokenissuetime", "aws:multifactorauthpresent":
		return true
	}
	op, ours := strings.CutPrefix(action, "secretsmanager:")
	return ours && slices.ContainsFunc(requestKeys, func(k requestKey) bool {
		name := strings.ToLower(k.name)
		same := key == name || name == requestTag && strings.HasPrefix(key, requestTag)
		return same && slices.Contains(strings.Fields(k.actions), op)
	})
}
