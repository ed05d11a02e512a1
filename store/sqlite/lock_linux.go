package sqlite

import "golang.org/x/sys/unix"

// setLock takes a lock that belongs to the open file, not to the process, so
// that no code elsewhere in the process can give it up by chance.
const setLock = unix.F_OFD_SETLK
