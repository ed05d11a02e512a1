package recent

import (
	"testing"

	"pgregory.net/rapid"
)

// TestCacheIsBounded: whatever is put, it holds no more than its limit, what it
// gives is what was put last, and what is in use stays.
func TestCacheIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := Cache[int, int]{Limit: 40}
		last := map[int]int{}
		for i := range rapid.IntRange(1, 200).Draw(t, "n") {
			k := rapid.IntRange(0, 20).Draw(t, "key")
			if rapid.Bool().Draw(t, "put") {
				last[k] = i
				c.Put(k, i, rapid.IntRange(1, 25).Draw(t, "weight"))
			} else if v, ok := c.Get(k); ok && v != last[k] {
				t.Fatalf("key %d: got %d, want %d", k, v, last[k])
			}
			weight, young := 0, 0
			for _, w := range c.young {
				young += w.weight
			}
			for _, w := range c.elder {
				weight += w.weight
			}
			if young != c.weight || young > 20 || weight > 20 {
				t.Fatalf("young %d (counted %d), elder %d", young, c.weight, weight)
			}
		}
	})
	c := Cache[int, int]{Limit: 10}
	for i := range 100 {
		c.Put(i, i, 1)
		c.Put(-1, -1, 1)
		if _, ok := c.Get(-1); !ok {
			t.Fatal("what is in use was forgotten")
		}
	}
	if c.Put(1000, 1, 6); c.Len() > 10 {
		t.Error("it holds too much")
	}
	if _, ok := c.Get(1000); ok {
		t.Error("it holds what is too large")
	}
}
