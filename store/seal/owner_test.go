//go:build unix

package seal

import (
	"os"
	"syscall"
	"testing"
)

// An administrator who rotates the key of a daemon leaves the file the daemon's.
func TestTheKeyFileKeepsItsOwner(t *testing.T) {
	h := newHouse(t)
	k := h.start()
	uid, gid := uint32(os.Geteuid()), uint32(os.Getegid())
	if uid == 0 { // nobody else can give a file away
		uid, gid = 12345, 23456
		if err := os.Chown(h.path, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	must[string](t)(k.RotateMaster(t.Context()))
	info, err := os.Stat(h.path)
	if err != nil {
		t.Fatal(err)
	}
	if is := info.Sys().(*syscall.Stat_t); is.Uid != uid || is.Gid != gid || info.Mode() != 0o600 {
		t.Errorf("owner %d, group %d, mode %v", is.Uid, is.Gid, info.Mode())
	}
}
