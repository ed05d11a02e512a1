package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	smallHeap = 8 << 20 // bytes alive
	rarely    = 400     // per cent of a small heap that may become garbage
	asUsual   = 100     // Go's own default
)

// collectRarely lets a small heap grow to a multiple before it is collected, and
// a large one as usual. By Go's default a server that keeps next to nothing
// alive collects hundreds of times a second when it is busy, which costs it
// an eighth of its requests; here that is traded for at most 32 MB. Whoever sets
// GOGC decides himself.
func collectRarely() {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(rarely)
	now := rarely
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var watch func(*[64]byte)
	// The runtime calls the finalizer after a collection: that is when there is
	// a new size to look at.
	watch = func(*[64]byte) {
		metrics.Read(sample)
		want := asUsual
		if sample[0].Value.Uint64() < smallHeap {
			want = rarely
		}
		if want != now {
			debug.SetGCPercent(want)
			now = want
		}
		runtime.SetFinalizer(new([64]byte), watch)
	}
	runtime.SetFinalizer(new([64]byte), watch)
}
