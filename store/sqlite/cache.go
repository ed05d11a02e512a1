package sqlite

import (
	"maps"
	"sync"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// cache keeps the records and the encrypted values that were read last, true of
// one reading of the database's clock. Who reads asks the clock first, and gets
// only what is as new as that: so nobody sees a state older than the last write
// that was committed before he asked, by whatever process.
//
// A write of this store takes out what it touched; anything else that moved the
// clock empties the cache.
type cache struct {
	limit int // bytes, about

	mu         sync.Mutex
	at         int64 // the reading that the entries are true of, or newer
	newest     int64 // reading that anybody came with
	committing bool
	// What is used moves to young; when that is half of what may be kept, it
	// becomes old, and what was old and not used since is forgotten.
	young, old map[place]*entry
	size       int // of young
}

// place is where a secret is; at one time there is one in it.
type place struct{ account, region, name string }

func placeOf(a secrets.ARN) place { return place{a.Account, a.Region, a.Name} }

// entry is a secret. What it points to is never altered.
type entry struct {
	secret *service.Secret
	values service.Sealed // those that were asked for
	size   int
}

const cacheLimit = 32 << 20

// unknownClock is no reading: nothing is true of it.
const unknownClock = -1

func newCache() *cache {
	c := &cache{limit: cacheLimit}
	c.empty(unknownClock)
	return c
}

// empty forgets everything; what comes will be true of the reading at.
func (c *cache) empty(at int64) {
	c.at, c.young, c.old, c.size = at, map[place]*entry{}, nil, 0
}

// find returns the secret in p as of the reading now or newer, to be copied
// before it is altered. If it isn't there, keep says whether what is read from
// the database from now on may be given to keep.
func (c *cache) find(p place, now int64) (sec *service.Secret, keep bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, keep := c.entry(p, now)
	if e == nil {
		return nil, keep
	}
	return e.secret, false
}

// value is find for the encrypted value of a version. Known is whether the
// answer is there: sealed, or nil for none.
func (c *cache) value(a secrets.ARN, versionID string, now int64) (sealed []byte, known, keep bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, keep := c.entry(placeOf(a), now)
	if e == nil {
		return nil, false, keep
	}
	if v, ok := e.secret.Versions.Find(versionID); !ok || v.Empty || e.secret.ARN != a {
		return nil, true, false
	}
	sealed, known = e.values[versionID]
	return sealed, known, keep
}

// seen returns an encrypted value that is in the cache, without a look
// at the clock: what a version's value opens to never changes. It may have been
// encrypted anew, and then who has seen a record from after that gets the new
// one; so nobody gets any while a reading is about that is newer than the
// entries. nil = it is not there.
func (c *cache) seen(a secrets.ARN, versionID string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.young[placeOf(a)]
	if e == nil || e.secret.ARN != a || c.newest > c.at {
		return nil
	}
	return e.values[versionID]
}

// entry returns what is in p, if the entries are true of now.
func (c *cache) entry(p place, now int64) (e *entry, keep bool) {
	switch {
	case now == unknownClock:
		c.empty(unknownClock) // what he reads next may be newer than all that is here
		return nil, false
	case now > c.at:
		c.newest = max(c.newest, now)
		if c.committing {
			// It may be this store's own write, which takes out what it touched
			// in a moment.
			return nil, false
		}
		c.empty(now)
	}
	if e = c.young[p]; e == nil {
		if e = c.old[p]; e != nil {
			delete(c.old, p)
			c.put(p, e)
		}
	}
	return e, now == c.at
}

func (c *cache) put(p place, e *entry) {
	c.young[p] = e
	if c.size += e.size; c.size > c.limit/2 {
		c.old, c.young, c.size = c.young, map[place]*entry{}, 0
	}
}

// keep takes in what was read from the database after the reading now: a secret
// and some of its values. It owns them from then on.
func (c *cache) keep(sec *service.Secret, values service.Sealed, now int64) {
	e := &entry{secret: sec, values: values, size: sec.Weight()}
	for _, v := range values {
		e.size += service.VersionWeight + len(v)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if now == c.at && e.size < c.limit/8 {
		c.remove(placeOf(sec.ARN))
		c.put(placeOf(sec.ARN), e)
	}
}

// keepValue is keep for a value of a secret that is there.
func (c *cache) keepValue(a secrets.ARN, versionID string, sealed []byte, now int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, _ := c.entry(placeOf(a), now); now != c.at || e == nil || e.secret.ARN != a {
		return
	} else if _, ok := e.values[versionID]; !ok {
		values := service.Sealed{versionID: sealed}
		maps.Copy(values, e.values)
		c.remove(placeOf(a))
		c.put(placeOf(a), &entry{e.secret, values, e.size + service.VersionWeight + len(sealed)})
	}
}

func (c *cache) remove(p place) {
	if e := c.young[p]; e != nil {
		c.size -= e.size
		delete(c.young, p)
	}
	delete(c.old, p)
}

// begin says that this store is about to commit. Until end, readers who find
// that the clock has moved go to the database.
func (c *cache) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committing = true
}

// end follows begin. The commit, if it succeeded, moved the clock from one
// reading to the other, with no other in between, and wrote to touched only.
func (c *cache) end(err error, from, to int64, touched []place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.committing = false
	switch {
	case err != nil: // Who knows what is on the disk?
		c.empty(unknownClock)
	case c.at == from:
		for _, p := range touched {
			c.remove(p)
		}
		c.at = to
	}
}
