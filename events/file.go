package events

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/pawlhq/pawl/secrets"
)

// File appends events to a file, one line of JSON each, in CloudTrail's shape.
// Several processes may append to one file: each line is one write, which the
// system puts at the end as a whole. A file that was moved away, as logrotate
// does, is made anew. It is safe for use by many goroutines.
type File struct {
	path string
	log  *slog.Logger
	id   func() string // of an event

	mu   sync.Mutex
	file *os.File // nil when closed
	torn bool     // the file ends within a line, which the next must not go on with
}

// OpenFile opens or makes the file, readable by its owner alone. log hears of
// what can't be written; nil = slog.Default(). Errors are Invalid: the file can't
// be written.
func OpenFile(path string, log *slog.Logger) (*File, error) {
	if log == nil {
		log = slog.Default()
	}
	f := &File{path: path, log: log, id: uuid.NewString}
	err := f.open()
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "the file of events can't be opened: %w", err).
			WithHint("see that the folder %s exists and that Pawl's user may write there, or name another under events: file: in the configuration file", filepath.Dir(path))
	}
	f.torn = endsTorn(path)
	return f, nil
}

// open opens the file that is at the path now. f.mu is held, or nobody else has
// f yet. On an error f stays as it was.
func (f *File) open() error {
	file, err := os.OpenFile(f.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if f.file != nil {
		f.file.Close() // everything is written by now
	}
	f.file, f.torn = file, false
	return nil
}

// inFlight is longer than any write of a line takes.
const inFlight = 20 * time.Millisecond

// endsTorn reports whether a file does not end with the end of a line: somebody
// died, or the disk was full, while he wrote. Another process that is writing at
// this moment looks the same at first.
func endsTorn(path string) bool {
	size, torn := tail(path)
	if !torn {
		return false
	}
	time.Sleep(inFlight)
	now, torn := tail(path)
	return torn && now == size
}

// tail returns a file's size and whether it ends within a line.
func tail(path string) (size int64, torn bool) {
	file, err := os.Open(path)
	if err != nil {
		return 0, false // it is for writing only: nobody can tell
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return 0, false
	}
	var last [1]byte
	n, _ := file.ReadAt(last[:], info.Size()-1)
	return info.Size(), n == 1 && last[0] != '\n'
}

// moved reports whether the path has another file by now, or none.
func (f *File) moved() bool {
	there, err := os.Stat(f.path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	mine, err := f.file.Stat()
	return err == nil && !os.SameFile(there, mine)
}

// Hear appends the event. What can't be written is logged, the event with it.
func (f *File) Hear(_ context.Context, e Event) {
	b, err := line(e, f.id())
	if err == nil {
		err = f.append(b)
	}
	if err != nil {
		f.log.Error("an event could not be written to its file", "file", f.path, "error", err, "event", string(b))
	}
}

func (f *File) append(line []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return fs.ErrClosed
	}
	if f.moved() {
		if err := f.open(); err != nil {
			return err // not into the one that was moved away: it may be compressed, or gone
		}
	}
	if f.torn {
		line = append([]byte{'\n'}, line...)
	}
	n, err := f.file.Write(line)
	if n > 0 {
		f.torn = n < len(line)
	}
	return err
}

// Close closes the file. Events that come later are logged as not written.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.file == nil {
		return nil
	}
	file := f.file
	f.file = nil
	return file.Close()
}
