package main

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// meter shows how far something is with its secrets: on a terminal as a bar in one
// line, elsewhere as a line every few seconds.
type meter struct {
	w     io.Writer
	what  string // copying
	tty   bool
	every time.Duration
	last  time.Time
	shown bool
}

// meterWidth is how wide the bar is.
const meterWidth = 30

func newMeter(w io.Writer, what string) *meter {
	m := &meter{w: w, what: what, every: 5 * time.Second, last: time.Now()}
	if _, m.tty = terminal(w); m.tty {
		m.every = 100 * time.Millisecond
	}
	return m
}

// report tells how many are done, of how many; of 0 while nobody knows yet.
func (m *meter) report(done, total int) {
	now := time.Now()
	if now.Sub(m.last) < m.every {
		return
	}
	m.last, m.shown = now, true
	line := fmt.Sprintf("%s: %d secrets", m.what, done)
	if total > 0 {
		line = fmt.Sprintf("%s: %d of %d secrets (%d %%)", m.what, done, total, 100*done/total)
	}
	if !m.tty {
		fmt.Fprintln(m.w, line)
		return
	}
	if total > 0 {
		full := meterWidth * done / total
		line = "[" + strings.Repeat("#", full) + strings.Repeat(".", meterWidth-full) + "] " + line
	}
	fmt.Fprint(m.w, "\r\x1b[K"+line)
}

// end clears the line that changes.
func (m *meter) end() {
	if m.tty && m.shown {
		fmt.Fprint(m.w, "\r\x1b[K")
	}
}
