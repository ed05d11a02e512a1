//go:build unix

package config

import (
	"io/fs"
	"syscall"
)

// trusted reports whether a file is the user's or root's, and not everybody's to
// write.
func trusted(info fs.FileInfo, user int) bool {
	is, ok := info.Sys().(*syscall.Stat_t)
	return ok && (int(is.Uid) == user || is.Uid == 0) && info.Mode().Perm()&0o002 == 0
}
