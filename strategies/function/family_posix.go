//go:build unix && !linux

package function

import (
	"os/exec"
	"syscall"
)

// dieWithParent has no counterpart here: after a SIGKILL of Pawl the command
// goes on.
func dieWithParent(*syscall.SysProcAttr) {}

// waitAndKill waits until the command has ended, and kills what is left of its
// family.
func waitAndKill(cmd *exec.Cmd) error {
	defer killFamily(cmd)
	return cmd.Wait()
}
