//go:build unix

package servertest

import (
	"bufio"
	"io"
	"math/rand/v2"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// Killed runs a command again and again, and kills it at a random instant within
// limit, then within three times that, and so on, after it wrote its first line, until
// it ends by itself. look, unless it is nil, is called after each kill. Where the
// command fails, so does the test.
func Killed(t testing.TB, limit time.Duration, command func() *exec.Cmd, look func()) {
	t.Helper()
	for ; ; limit *= 3 {
		cmd := command()
		says, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		out := bufio.NewReader(says)
		begun, _ := out.ReadString('\n')
		kill := time.AfterFunc(rand.N(limit), func() { _ = cmd.Process.Signal(syscall.SIGKILL) })
		rest, _ := io.ReadAll(out)
		err = cmd.Wait()
		kill.Stop()
		switch {
		case err == nil:
			return
		case !cmd.ProcessState.Sys().(syscall.WaitStatus).Signaled():
			t.Fatalf("%v: %s%s", err, begun, rest)
		}
		if look != nil {
			look()
		}
	}
}
