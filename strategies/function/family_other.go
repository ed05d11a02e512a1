//go:build !unix

package function

import (
	"os"
	"os/exec"
)

// Here only the command itself is killed, when its time is over.
func family(*exec.Cmd) {}

func waitAndKill(cmd *exec.Cmd) error { return cmd.Wait() }

func signalOf(*os.ProcessState) string { return "" }
