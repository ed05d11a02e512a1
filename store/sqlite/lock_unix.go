//go:build unix

package sqlite

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

var errLocked = errors.New("locked by another process")

// lockRange takes the exclusive lock on n bytes from offset at once, or fails
// with errLocked. The kernel gives it up when the process ends.
func lockRange(f *os.File, offset, n int64) error { return lockAs(unix.F_WRLCK, f, offset, n) }

// lockShared is lockRange for a lock that many share.
func lockShared(f *os.File, offset, n int64) error { return lockAs(unix.F_RDLCK, f, offset, n) }

func lockAs(typ int16, f *os.File, offset, n int64) error {
	err := fcntl(f, typ, offset, n)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return errLocked
	}
	return err
}

func unlockRange(f *os.File, offset, n int64) error { return fcntl(f, unix.F_UNLCK, offset, n) }

func fcntl(f *os.File, typ int16, offset, n int64) error {
	for {
		err := unix.FcntlFlock(f.Fd(), setLock, &unix.Flock_t{
			Type: typ, Whence: io.SeekStart, Start: offset, Len: n,
		})
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
