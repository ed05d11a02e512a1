package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/storetest"
)

// While nobody commits, the clock is read once; after every commit, of whatever
// store and of whatever, it is read again.
func TestTheClockIsReadAfterCommits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pawl.db")
	s, other := open(t, path), open(t, path)
	read, readings := s.clock.read, 0
	s.clock.read = func() (ticks, error) { readings++; return read() }
	look := func() ticks {
		t.Helper()
		before := readings
		first, err := s.clock.now(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			if at, err := s.clock.now(t.Context()); err != nil || at != first {
				t.Fatalf("the clock went from %v to %v, error %v", first, at, err)
			}
		}
		if n := readings - before; n > 1 {
			t.Fatalf("it was read %d times", n)
		}
		return first
	}
	if look(); readings != 1 {
		t.Fatalf("it was read %d times", readings)
	}
	if err := storetest.Fill(t.Context(), other, 10, nil); err != nil {
		t.Fatal(err)
	}
	was := look()
	for n := range 100 {
		by := []*Store{s, other}[n%2]
		var err error
		want := was
		switch n % 5 {
		case 0:
			err = by.CreatePrincipal(t.Context(), &principals.Record{Account: "1", Name: fmt.Sprint(n)})
			want.settings++
		case 4: // the log is written back, and begins anew
			err = by.w.run("PRAGMA wal_checkpoint(TRUNCATE)")
		default:
			_, err = by.Update(t.Context(), storetest.FillARN(n%10), func(sec *service.Secret) (service.Sealed, error) {
				sec.Description = fmt.Sprint(n)
				return nil, nil
			})
			want.secrets++
		}
		if err != nil {
			t.Fatal(err)
		}
		at := look()
		if at.secrets < want.secrets || at.settings < want.settings {
			t.Fatalf("after %d the clock shows %v, and it was %v", n, at, was)
		}
		was = at
	}
}

// A reading is never older than a commit that was over before it was asked for.
func TestHeadersMakeNoReadingOlder(t *testing.T) {
	var n atomic.Int64 // commits
	c := clock{
		read: func() (ticks, error) { return ticks{secrets: n.Load()}, nil },
		header: func() (h walHeader, ok bool) {
			binary.NativeEndian.PutUint64(h[0][:], uint64(n.Load()))
			return h, true
		},
	}
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range 500 {
				least := n.Load()
				if i%4 == 0 {
					least = n.Add(1)
				}
				if got, err := c.now(t.Context()); err != nil || got.secrets < least {
					t.Errorf("a reading of %d, error %v, for a call when it was %d", got, err, least)
				}
			}
		})
	}
	wg.Wait()
}

func TestHeadersThatAreNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pawl.db")
	s := open(t, path)
	if err := s.CreatePrincipal(t.Context(), &principals.Record{Account: "1", Name: "a"}); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(path + "-shm")
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := readHeader(good); !ok {
		t.Fatal("the real one is none")
	}
	for what, spoil := range map[string]func(b []byte){
		"another format":    func(b []byte) { b[0], b[48] = b[0]+1, b[48]+1 },
		"not made yet":      func(b []byte) { b[walIsInit], b[48+walIsInit] = 0, 0 },
		"half written":      func(b []byte) { b[48+20]++ },
		"nothing but zeros": func(b []byte) { clear(b) },
	} {
		b := bytes.Clone(good)
		spoil(b)
		if _, ok := readHeader(b); ok {
			t.Errorf("%s: it is one", what)
		}
	}
}

// Memory that is gone is no header, and the clock is read instead.
func TestHeadersThatAreGone(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(int64(os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	memory, err := unix.Mmap(int(f.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	if _, ok := readHeader(memory); ok {
		t.Error("there is a header")
	}
	c := clock{read: func() (ticks, error) { return ticks{1, 2}, nil }, header: func() (walHeader, bool) { return readHeader(memory) }}
	for range 2 {
		if at, err := c.now(t.Context()); err != nil || at != (ticks{1, 2}) {
			t.Errorf("the clock shows %v, error %v", at, err)
		}
	}
	failed := errors.New("mine")
	c.read = func() (ticks, error) { return ticks{}, failed }
	if _, err := c.now(t.Context()); !errors.Is(err, failed) {
		t.Errorf("error %v", err)
	}
}

// SQLite's locks belong to the process, and closing a descriptor gives them up:
// they are all still there when one of two stores is closed.
func TestClosingLeavesLocks(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux tells which locks there are")
	}
	path := filepath.Join(t.TempDir(), "pawl.db")
	s, other := open(t, path), open(t, path)
	info, err := os.Stat(path + "-shm")
	if err != nil {
		t.Fatal(err)
	}
	inode := fmt.Sprintf(":%d ", info.Sys().(*syscall.Stat_t).Ino)
	held := func() (n int) {
		t.Helper()
		locks, err := os.ReadFile("/proc/locks")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(locks)) {
			if strings.Contains(line, inode) && strings.Contains(line, fmt.Sprintf(" %d ", os.Getpid())) {
				n++
			}
		}
		return n
	}
	if held() == 0 {
		t.Fatal("SQLite holds no lock on its shared memory: this test shows nothing")
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if held() == 0 {
		t.Error("closing a store gave up the locks of another")
	}
	if _, err := s.clock.now(t.Context()); err != nil || s.clock.last.Load() == nil {
		t.Errorf("the other store lost its headers; error %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	walIndexes.Lock()
	defer walIndexes.Unlock()
	if walIndexes.byPath[s.path] != nil {
		t.Error("the file is still open")
	}
}
