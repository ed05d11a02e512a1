package principals

import (
	"context"
	"github.com/pawlhq/pawl/access/recent"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"
)

// uses keeps when access keys were last used: each once an hour, written one
// after the other beside the requests. What can't be written is dropped: a disk
// that takes no more must not lock anybody out.
type uses struct {
	write func(ctx context.Context, keyID string, at time.Time) error
	noted recent.Cache[string, *use]

	mu      sync.Mutex
	waiting map[string]time.Time
	closed  bool
	writing bool
	writer  sync.WaitGroup
}

// use is what is remembered of a key's.
type use struct {
	offset int64 // where in the hour its hour begins, lest all keys be written at once
	hour   atomic.Int64
}

const (
	maxNoted   = 65536 // keys
	maxWaiting = 4096  // uses
	writeTime  = 10 * time.Second
)

func (u *uses) note(id string, at time.Time) {
	seen, ok := u.noted.Get(id)
	if !ok {
		h := fnv.New32a()
		_, _ = h.Write([]byte(id))
		seen = &use{offset: int64(h.Sum32() % 3600)}
		u.noted.Put(id, seen, 1)
	}
	hour := (at.Unix() + seen.offset) / 3600
	if was := seen.hour.Load(); was == hour || !seen.hour.CompareAndSwap(was, hour) {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || len(u.waiting) >= maxWaiting {
		seen.hour.Store(0) // the next use tries again
		return
	}
	if u.waiting == nil {
		u.waiting = map[string]time.Time{}
	}
	u.waiting[id] = at
	if !u.writing {
		u.writing = true
		u.writer.Go(u.writeAll)
	}
}

// writeAll writes until nothing waits.
func (u *uses) writeAll() {
	for {
		u.mu.Lock()
		batch := u.waiting
		u.waiting = nil
		u.writing = len(batch) > 0
		u.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for id, at := range batch {
			ctx, cancel := context.WithTimeout(context.Background(), writeTime)
			_ = u.write(ctx, id, at)
			cancel()
		}
	}
}

func (u *uses) close() {
	u.mu.Lock()
	u.closed = true
	u.mu.Unlock()
	u.writer.Wait()
}
