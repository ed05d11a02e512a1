package access

import (
	"crypto/sha256"
	"sync"

	"github.com/pawlhq/pawl/secrets"
)

// signingKeys remembers derived signing keys, which cost four HMACs to make. It
// holds at most its limit: two generations, of which the elder is forgotten when
// the younger is full, so that keys in use stay. Only keys that verified a
// signature are put in: a stranger can't push out the others.
type signingKeys struct {
	limit int

	mu           sync.RWMutex
	young, elder map[signingScope]derived
}

type signingScope struct{ accessKey, day, region string }

type derived struct {
	secret secrets.Password // that it was derived from
	key    [sha256.Size]byte
}

// get returns the key of a scope, if it was derived from this very secret.
func (s *signingKeys) get(scope signingScope, secret secrets.Password) (key [sha256.Size]byte, ok bool) {
	s.mu.RLock()
	d, young := s.young[scope]
	if !young {
		d, ok = s.elder[scope]
	}
	s.mu.RUnlock()
	if !(young || ok) || !d.secret.Equal(secret) {
		return key, false
	}
	if !young {
		s.put(scope, secret, d.key) // in use: it outlives the elder generation
	}
	return d.key, true
}

// put remembers a key. An older secret's key of the same scope is replaced.
func (s *signingKeys) put(scope signingScope, secret secrets.Password, key [sha256.Size]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.young[scope]; !known && len(s.young) >= s.limit/2 || s.young == nil {
		s.elder, s.young = s.young, make(map[signingScope]derived)
	}
	delete(s.elder, scope)
	s.young[scope] = derived{secret, key}
}

func (s *signingKeys) len() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.young) + len(s.elder)
}
