//go:build linux

package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestDeleteAsksOnATerminal: only yes deletes.
func TestDeleteAsksOnATerminal(t *testing.T) {
	t.Chdir(t.TempDir())
	var out heard
	must := func(want int, args ...string) {
		t.Helper()
		if code := run(t.Context(), args, nil, &out, &out); code != want {
			t.Fatalf("%q: exit code %d: %s", args, code, out.String())
		}
	}
	must(exitDone, "init")
	must(exitDone, "access", "create", "shop")
	for _, c := range []struct {
		answer string
		code   int
		says   string
	}{
		{"\n", exitPerson, "nothing was deleted"},
		{"no\n", exitPerson, "nothing was deleted"},
		{"\x04", exitPerson, "no answer, and nothing was deleted"}, // Ctrl-D
		{"yes\n", exitDone, "Deleted user shop"},
	} {
		must(exitDone, "access", "show", "shop")
		con := newConsole(t)
		code := make(chan int)
		go func() { code <- con.run("access", "delete", "shop") }()
		con.await("for good? There is no way back. [yes/no] ")
		fmt.Fprint(con.ours, c.answer)
		if got := <-code; got != c.code {
			t.Errorf("%q: exit code %d", c.answer, got)
		}
		con.await(c.says)
		if !strings.Contains(con.text(), "Delete user shop with AKIA") {
			t.Errorf("%q: the screen: %s", c.answer, con.text())
		}
	}
	must(exitPerson, "access", "show", "shop")
}
