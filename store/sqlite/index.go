//go:build unix

package sqlite

import (
	"encoding/binary"
	"errors"
	"os"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

// walIndex is the file beside the database in which SQLite keeps what its
// write-ahead log holds: PATH-shm, which the processes share as memory. Its
// header changes with every commit, whoever makes it, after that is on the disk
// and before anybody can know of it. So while the header is what it was, the
// database is too, and to find that out costs next to nothing.
//
// The file is opened once per process, however many stores use it, and closed
// when SQLite has closed it for all of them: SQLite's own locks on it belong to
// the process, and closing any descriptor would give them up.
//
// Source: SQLite documentation, "WAL-mode File Format", "WAL-Index Header".
type walIndex struct {
	path   string
	file   *os.File // nil until SQLite has made it
	memory []byte   // the beginning of the file
	refs   int      // stores that are open or being opened; guarded by walIndexes
}

var walIndexes = struct {
	sync.Mutex
	byPath map[string]*walIndex
}{byPath: make(map[string]*walIndex)}

// useIndex is called before SQLite opens the database whose path, absolute and
// free of symbolic links, is given; release after it has closed it.
func useIndex(path string) *walIndex {
	walIndexes.Lock()
	defer walIndexes.Unlock()
	x := walIndexes.byPath[path]
	if x == nil {
		x = &walIndex{path: path}
		walIndexes.byPath[path] = x
	}
	x.refs++
	return x
}

// open returns the file's memory, once SQLite has begun to use it. The error may
// be ignored: then there are no headers.
func (x *walIndex) open() (memory []byte, err error) {
	walIndexes.Lock()
	defer walIndexes.Unlock()
	if x.file == nil {
		if x.file, err = os.Open(x.path + "-shm"); err != nil {
			x.file = nil
			return nil, err
		}
	}
	if x.memory == nil {
		x.memory, err = unix.Mmap(int(x.file.Fd()), 0, os.Getpagesize(), unix.PROT_READ, unix.MAP_SHARED)
	}
	return x.memory, err
}

func (x *walIndex) release() error {
	walIndexes.Lock()
	defer walIndexes.Unlock()
	if x.refs--; x.refs > 0 {
		return nil
	}
	delete(walIndexes.byPath, x.path)
	var err error
	if x.memory != nil {
		err = unix.Munmap(x.memory)
	}
	if x.file != nil {
		err = errors.Join(err, x.file.Close())
	}
	return err
}

// walHeader is the header. It is there twice, lest anybody take one for true that
// is just being written: the second is written first.
type walHeader [2][48]byte

// The format of the header that is known here, and where it says so, in the byte
// order of the machine; and the byte that says that there is a header.
const (
	walIndexVersion = 3007000
	walIsInit       = 12
)

// readHeader reads the header of a walIndex. ok is false where there is none that
// can be gone by, and where the memory is gone: the file was cut short by somebody
// who should not, or the store closed meanwhile.
func readHeader(memory []byte) (h walHeader, ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	h[0], h[1] = [48]byte(memory), [48]byte(memory[48:])
	return h, h[0] == h[1] && binary.NativeEndian.Uint32(h[0][:]) == walIndexVersion && h[0][walIsInit] != 0
}
