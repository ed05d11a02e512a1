package secrets

import (
	"slices"
	"strings"
)

// Pairing is the operator's word that the superuser kept in one secret may
// change the users of others. Only the operator can give it: whoever may write a
// secret must not be able to aim a superuser at a user, or a server, of his
// choice.
type Pairing struct {
	Secret string   // name or ARN of the superuser's secret
	For    []string // names of the secrets he may serve, where * stands for any characters, / too
	Hosts  []string // further host[:port] where he may act, besides his own
}

// Covers reports whether the pairing is for secrets of this name.
func (p Pairing) Covers(secretName string) bool {
	return slices.ContainsFunc(p.For, func(pattern string) bool { return Glob(pattern, secretName) })
}

// SameServer reports whether addr (host:port) is the declared host[:port]. A
// declared host without a port stands for all its ports; names compare without
// regard to case. What is no host is no server's.
func SameServer(declared, addr string) bool {
	dh, dp, err1 := SplitHost(declared)
	ah, ap, err2 := SplitHost(addr)
	return err1 == nil && err2 == nil && strings.EqualFold(dh, ah) && (dp == 0 || dp == ap)
}

// Glob reports whether name matches pattern, in which * stands for any number
// of any characters and every other character for itself.
func Glob(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return pattern == name
	}
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	// Between both ends, taking each part where it first occurs never spoils a
	// later one.
	middle := name[len(first) : len(name)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		_, rest, ok := strings.Cut(middle, part)
		if !ok {
			return false
		}
		middle = rest
	}
	return true
}
