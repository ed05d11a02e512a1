//go:build unix

package secrets

import (
	"io/fs"
	"os"
	"syscall"
)

// OwnersAlone reports whether a file that holds a secret is its owner's alone. One of
// root's that a group may read counts as well, where this process is not root's:
// that is how a container's platform hands a file to a program that is not root
// (Kubernetes documentation, "fsGroup"). PostgreSQL takes its server's key so, too.
func OwnersAlone(info fs.FileInfo) bool {
	is, ok := info.Sys().(*syscall.Stat_t)
	return ownersAlone(info.Mode().Perm(), ok && is.Uid == 0, os.Geteuid() == 0)
}

func ownersAlone(mode fs.FileMode, ofRoot, isRoot bool) bool {
	return mode&0o077 == 0 || ofRoot && !isRoot && mode&0o037 == 0
}
