//go:build unix && !linux

package sqlite

import "golang.org/x/sys/unix"

// setLock takes a lock of the process. lockFile sees to it that the process
// has the file open once only.
const setLock = unix.F_SETLK
