// Package recent remembers what was used last, within a bound.
package recent

import "sync"

// Cache remembers values that cost something to make. It holds at most its Limit,
// in the units of weight that Put is told: two generations, of which the elder is
// forgotten when the younger is full, so that what is in use stays.
type Cache[K comparable, V any] struct {
	Limit int

	mu           sync.RWMutex
	young, elder map[K]weighed[V]
	weight       int // of young
}

type weighed[V any] struct {
	value  V
	weight int
}

// Get returns what is remembered of k. It is good for concurrent use, as all
// methods are.
func (c *Cache[K, V]) Get(k K) (V, bool) {
	c.mu.RLock()
	w, ok := c.young[k]
	old := false
	if !ok {
		w, old = c.elder[k]
	}
	c.mu.RUnlock()
	if old { // in use: it outlives the elder generation
		c.Put(k, w.value, w.weight)
	}
	return w.value, ok || old
}

// Put remembers a value in place of an older one. What would fill half the cache
// by itself is not remembered.
func (c *Cache[K, V]) Put(k K, v V, weight int) {
	half := c.Limit / 2
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.elder, k)
	if was, ok := c.young[k]; ok {
		delete(c.young, k)
		c.weight -= was.weight
	}
	if weight > half {
		return
	}
	if c.young == nil || c.weight+weight > half {
		c.elder, c.young, c.weight = c.young, map[K]weighed[V]{}, 0
	}
	c.young[k] = weighed[V]{v, weight}
	c.weight += weight
}

// Len is how many values are remembered.
func (c *Cache[K, V]) Len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.young) + len(c.elder)
}
