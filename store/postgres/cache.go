package postgres

import (
	"sync"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// cache keeps the records and the encrypted values that were read last. Each is
// true of a moment after its query was begun, and is used for no longer than
// fresh after that: so long at most what another process wrote goes unseen, if no
// notice of it comes sooner. While this process writes a secret, who asks for it gets
// a query of his own, and nothing of it is kept; nor is what was being read when that
// began. So what is written here is seen at once, and who has seen it sees no more
// what was before.
type cache struct {
	limit int           // bytes, about
	fresh time.Duration // 0 = nothing is answered from memory
	now   func() time.Time

	mu sync.Mutex
	// What is used moves to young; when that is half of what may be kept, it
	// becomes old, and what was old and not used since is forgotten.
	young, old map[mark]*entry
	size       int // of young
	// The queries under way that may be joined, and whose results may be kept.
	records map[mark]*flight[*entry]
	values  map[valueMark]*flight[[]byte]
	writers map[mark]int // how many of this process write there now
}

const (
	cacheLimit = 32 << 20
	// freshTime and what it takes to read are less than MaxStale.
	freshTime = 700 * time.Millisecond
)

// place is where a secret is; at one time there is one in it.
type place struct{ account, region, name string }

func placeOf(a secrets.ARN) place { return place{a.Account, a.Region, a.Name} }

// mark stands for a place, the same in every process: FNV-1a of 64 bits. Two
// places may have the same; then they displace each other.
type mark uint64

func (p place) mark() mark {
	const prime = 1099511628211
	h := uint64(14695981039346656037)
	for _, s := range [...]string{p.account, p.region, p.name} {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * prime
		}
		h *= prime // as of a zero byte, which ends it
	}
	return mark(h)
}

type valueMark struct {
	arn     secrets.ARN
	version string
}

// entry is a secret. What it points to is never altered, but for values.
type entry struct {
	secret *service.Secret
	values service.Sealed // those that were asked for; guarded by the cache
	size   int
	at     time.Time // before its query was sent
	got    time.Time // when the answer was there
}

func newCache() *cache {
	return &cache{
		limit: cacheLimit, fresh: freshTime, now: time.Now,
		young: map[mark]*entry{}, records: map[mark]*flight[*entry]{}, values: map[valueMark]*flight[[]byte]{},
		writers: map[mark]int{},
	}
}

// find returns the secret in p, to be copied before it is altered; nil = it is not
// known.
func (c *cache) find(p place) *service.Secret {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entry(p.mark(), now); e != nil && placeOf(e.secret.ARN) == p {
		return e.secret
	}
	return nil
}

// value returns the encrypted value of a version; nil = it is not known.
func (c *cache) value(a secrets.ARN, versionID string) []byte {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.entry(placeOf(a).mark(), now); e != nil && e.secret.ARN == a {
		return e.values[versionID]
	}
	return nil
}

// entry returns what is known under m and fresh.
func (c *cache) entry(m mark, now time.Time) *entry {
	e := c.young[m]
	if e == nil {
		if e = c.old[m]; e == nil {
			return nil
		}
	}
	if since(e.at, now) >= c.fresh {
		c.remove(m)
		return nil
	}
	if c.old[m] != nil {
		delete(c.old, m)
		c.put(m, e)
	}
	return e
}

func (c *cache) put(m mark, e *entry) {
	c.young[m] = e
	if c.size += e.size; c.size > c.limit/2 {
		c.old, c.young, c.size = c.young, map[mark]*entry{}, 0
	}
}

func (c *cache) remove(m mark) {
	if e := c.young[m]; e != nil {
		c.size -= e.size
		delete(c.young, m)
	}
	delete(c.old, m)
}

// record returns a query of the secret in p to wait for: one that is under way
// already and fresh, or one that read is begun for. read must not run for long
// after that, for somebody waits.
func (c *cache) record(p place, read func() (*service.Secret, service.Sealed, error)) *flight[*entry] {
	m, now := p.mark(), c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.records[m]; f != nil && since(f.begun, now) < c.fresh {
		return f
	}
	f := newFlight[*entry](now)
	if c.writers[m] == 0 {
		c.records[m] = f
	}
	go func() {
		var e *entry
		sec, values, err := read()
		if err == nil {
			e = newEntry(sec, values, now)
			e.got = c.now()
		}
		c.keep(m, f, e)
		f.land(e, err)
	}()
	return f
}

// sealed is record for the value of a version. A query that was begun before the
// record was there is not joined: it may not know of a value encrypted anew that the
// record is from after.
func (c *cache) sealed(a secrets.ARN, versionID string, read func() ([]byte, error)) *flight[[]byte] {
	v, m, now := valueMark{a, versionID}, placeOf(a).mark(), c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entry(m, now)
	if f := c.values[v]; f != nil && e != nil && !f.begun.Before(e.got) && since(f.begun, now) < c.fresh {
		return f
	}
	f := newFlight[[]byte](now)
	if e != nil {
		c.values[v] = f
	}
	go func() {
		sealed, err := read()
		c.keepValue(v, f, e, m, sealed)
		f.land(sealed, err)
	}()
	return f
}

// keep ends a flight and takes in what it brought, unless something was written
// meanwhile.
func (c *cache) keep(m mark, f *flight[*entry], e *entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.records[m] != f {
		return
	}
	delete(c.records, m)
	if e != nil && e.size < c.limit/8 {
		c.remove(m)
		c.put(m, e)
	}
}

// keepValue is keep for a value of the secret that was there when its query was
// begun: it must not come to a record that is newer.
func (c *cache) keepValue(v valueMark, f *flight[[]byte], e *entry, m mark, sealed []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values[v] != f {
		return
	}
	delete(c.values, v)
	_, known := e.values[v.version]
	if known || sealed == nil || e.secret.ARN != v.arn || c.young[m] != e && c.old[m] != e {
		return
	}
	c.remove(m)
	if e.size += service.VersionWeight + len(sealed); e.size < c.limit/8 {
		e.values[v.version] = sealed
		c.put(m, e)
	}
}

// writing is called before this process writes what has the mark, and wrote after it.
func (c *cache) writing(m mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writers[m]++
	c.drop(m)
}

func (c *cache) wrote(m mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writers[m]--; c.writers[m] == 0 {
		delete(c.writers, m)
	}
}

// forget takes out what is known under the marks, and keeps out what is being
// read: a query that is begun later is the next to come in.
func (c *cache) forget(marks ...mark) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drop(marks...)
}

func (c *cache) drop(marks ...mark) {
	for _, m := range marks {
		c.remove(m)
		delete(c.records, m)
	}
	for v := range c.values {
		m := placeOf(v.arn).mark()
		for _, gone := range marks {
			if m == gone {
				delete(c.values, v)
			}
		}
	}
}

// empty forgets everything.
func (c *cache) empty() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.young, c.old, c.size = map[mark]*entry{}, nil, 0
	clear(c.records)
	clear(c.values)
}

func newEntry(sec *service.Secret, values service.Sealed, at time.Time) *entry {
	e := &entry{secret: sec, values: values, size: sec.Weight(), at: at}
	if e.values == nil {
		e.values = service.Sealed{}
	}
	for _, v := range values {
		e.size += service.VersionWeight + len(v)
	}
	return e
}
