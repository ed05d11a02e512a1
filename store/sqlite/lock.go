package sqlite

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"sync"

	"github.com/pawlhq/pawl/secrets"
)

// lockFile is a file of which each secret owns eight bytes. A claim on the
// secret is the kernel's lock on those bytes, which ends with the process; in
// them stands, for the error message of whoever comes second, the process id of
// the claimant. The file is opened once per process, however many stores use
// it: where locks belong to the process, a second descriptor would not be kept
// out, and closing it would give up the locks of the first.
//
// The first eight bytes are no secret's, and stand for the store itself: every
// process that has it open shares a lock on them, and who puts another database in
// its place has them alone.
type lockFile struct {
	path string
	mu   sync.Mutex
	file *os.File
	held map[int64]bool
	// Guarded by lockFiles:
	refs  int  // open stores and claims
	alone bool // by one who replaces the store
}

const (
	slot = 8
	// whole is the number of the bytes that stand for the store.
	whole = 0
)

var lockFiles = struct {
	sync.Mutex
	byPath map[string]*lockFile
}{byPath: make(map[string]*lockFile)}

// openLockFile opens or makes the lock file at path, which is absolute and free of
// symbolic links. Errors: Transient while somebody is replacing the store.
func openLockFile(path string) (*lockFile, error) {
	lockFiles.Lock()
	defer lockFiles.Unlock()
	l := lockFiles.byPath[path]
	if l == nil {
		var err error
		if l, err = newLockFile(path); err != nil {
			return nil, err
		}
		if err := lockShared(l.file, whole, slot); err != nil {
			_ = l.file.Close()
			if errors.Is(err, errLocked) {
				return nil, beingReplaced(path)
			}
			return nil, noLocks(path, err)
		}
		lockFiles.byPath[path] = l
	}
	if l.alone {
		return nil, beingReplaced(path)
	}
	l.refs++
	return l, nil
}

// aloneWith opens or makes the lock file at path for one who replaces the store.
// Errors: Conflict while anybody has the store open.
func aloneWith(path string) (*lockFile, error) {
	lockFiles.Lock()
	defer lockFiles.Unlock()
	inUse := secrets.Errorf(secrets.Conflict, "the store %s is in use: a Pawl has it open", strings.TrimSuffix(path, ".lock")).
		WithHint("stop every pawl serve on it, and run it again; to see who has it open: fuser %s", path)
	if lockFiles.byPath[path] != nil {
		return nil, inUse
	}
	l, err := newLockFile(path)
	if err != nil {
		return nil, err
	}
	if err := lockRange(l.file, whole, slot); err != nil {
		_ = l.file.Close()
		if errors.Is(err, errLocked) {
			return nil, inUse
		}
		return nil, noLocks(path, err)
	}
	l.refs, l.alone = 1, true
	lockFiles.byPath[path] = l
	return l, nil
}

func newLockFile(path string) (*lockFile, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "opening the lock file: %w", err).
			WithHint("run Pawl as the owner of the store, and make the folder writable for him")
	}
	return &lockFile{path: path, file: f, held: make(map[int64]bool)}, nil
}

func beingReplaced(path string) error {
	return secrets.Errorf(secrets.Transient, "the store %s is being restored", strings.TrimSuffix(path, ".lock")).
		WithHint("try again when pawl restore has ended")
}

func noLocks(path string, err error) error {
	return secrets.Errorf(secrets.Invalid, "locking in %s: %w", path, err).
		WithHint("keep the store on a local disk whose file system has locks")
}

// close lets go of the file; the last user closes it.
func (l *lockFile) close() error {
	lockFiles.Lock()
	defer lockFiles.Unlock()
	if l.refs--; l.refs > 0 {
		return nil
	}
	delete(lockFiles.byPath, l.path)
	return l.file.Close()
}

// claim locks the bytes of secret id at once, or fails with a Conflict.
func (l *lockFile) claim(id int64) (release func(), err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[id] {
		return nil, secrets.Errorf(secrets.Conflict, "this process (%d) is rotating it already", os.Getpid()).
			WithHint("wait until that rotation ends")
	}
	switch err := lockRange(l.file, id*slot, slot); {
	case errors.Is(err, errLocked):
		if pid := l.claimant(id); pid != 0 {
			return nil, secrets.Errorf(secrets.Conflict, "another living process (%d) is rotating it", pid).
				WithHint("wait until it ends, or stop process %d", pid)
		}
		return nil, secrets.Errorf(secrets.Conflict, "another living process is rotating it").
			WithHint("wait until it ends; to see who has the file open: fuser %s", l.path)
	case err != nil:
		return nil, noLocks(l.path, err)
	}
	l.held[id] = true
	l.sign(id, os.Getpid())
	lockFiles.Lock()
	l.refs++
	lockFiles.Unlock()
	return sync.OnceFunc(func() { l.release(id) }), nil
}

func (l *lockFile) release(id int64) {
	l.mu.Lock()
	l.sign(id, 0)
	// It fails only for a descriptor that is closed, and then the lock is gone.
	_ = unlockRange(l.file, id*slot, slot)
	delete(l.held, id)
	l.mu.Unlock()
	_ = l.close()
}

// sign writes the claimant's process id. Only a message depends on it, so a
// full disk does not matter.
func (l *lockFile) sign(id int64, pid int) {
	_, _ = l.file.WriteAt(binary.BigEndian.AppendUint64(nil, uint64(pid)), id*slot)
}

// claimant reads what sign wrote; 0 means unknown.
func (l *lockFile) claimant(id int64) uint64 {
	var b [slot]byte
	if _, err := l.file.ReadAt(b[:], id*slot); err != nil {
		return 0
	}
	return binary.BigEndian.Uint64(b[:])
}
