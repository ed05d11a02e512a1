//go:build unix && !linux

package servers

import "syscall"

// dieWithParent has no counterpart here: after a SIGKILL of this process its
// servers live on.
func dieWithParent(*syscall.SysProcAttr) {}
