package access

import (
	"crypto/sha256"

	"github.com/pawlhq/pawl/access/recent"
	"github.com/pawlhq/pawl/secrets"
)

// signingKeys remembers derived signing keys, which cost four HMACs to make.
// Only keys that verified a signature are put in: a stranger can't push out the
// others.
type signingKeys struct {
	recent.Cache[signingScope, derived]
}

type signingScope struct{ accessKey, day, region string }

type derived struct {
	secret secrets.Password // that it was derived from
	key    [sha256.Size]byte
}

// get returns the key of a scope, if it was derived from this very secret.
func (s *signingKeys) get(scope signingScope, secret secrets.Password) (key [sha256.Size]byte, ok bool) {
	d, ok := s.Get(scope)
	if !ok || !d.secret.Equal(secret) {
		return key, false
	}
	return d.key, true
}

// put remembers a key. An older secret's key of the same scope is replaced.
func (s *signingKeys) put(scope signingScope, secret secrets.Password, key [sha256.Size]byte) {
	s.Put(scope, derived{secret, key}, 1)
}
