package seal

import (
	"crypto/cipher"
	"sync"
	"time"
)

// dataKey is an unwrapped data key, ready to open its value.
type dataKey struct {
	aead  cipher.AEAD
	until time.Time // it is not used after that; zero = it never grows old
}

// dataKeys keeps the data keys that were used last: by what wraps them together
// with the secret's ARN and the version's id, so that a row that was copied
// elsewhere finds nothing. It has at most maxDataKeys, of about 1.2 KB each.
type dataKeys struct {
	mu sync.Mutex
	// What is used moves to young; when that is half of what may be kept, it
	// becomes old, and what was old and not used since is forgotten.
	young, old map[string]*dataKey
}

const maxDataKeys = 4096

// find returns the data key of a value, nil if it is not here.
func (c *dataKeys) find(bound []byte, now func() time.Time) *dataKey {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.young[string(bound)]
	if d == nil {
		if d = c.old[string(bound)]; d == nil {
			return nil
		}
		delete(c.old, string(bound))
		c.put(string(bound), d)
	}
	if !d.until.IsZero() && now().After(d.until) {
		delete(c.young, string(bound))
		delete(c.old, string(bound))
		return nil
	}
	return d
}

func (c *dataKeys) keep(bound []byte, d *dataKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.old, string(bound))
	c.put(string(bound), d)
}

func (c *dataKeys) put(bound string, d *dataKey) {
	if len(c.young) >= maxDataKeys/2 || c.young == nil {
		c.old, c.young = c.young, map[string]*dataKey{}
	}
	c.young[bound] = d
}
