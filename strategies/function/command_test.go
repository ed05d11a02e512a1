//go:build unix

package function_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies/function"
)

// script is a command that runs a shell's script. The shell is the program: a
// file that was only just written can't be run while another test forks.
func script(t *testing.T, text string) *function.Command {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "rotate.sh")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &function.Command{Args: []string{"/bin/sh", path}, Dir: dir, Environment: environment("PATH=/usr/bin:/bin")}
}

func environment(vars ...string) func(context.Context, function.Event) ([]string, error) {
	return func(context.Context, function.Event) ([]string, error) { return vars, nil }
}

// read is what a script wrote into its directory.
func read(t *testing.T, c *function.Command, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// gone waits until a process has ended whose number a script wrote down.
func gone(t *testing.T, c *function.Command, name string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, c, name)))
	if err != nil {
		t.Fatal(err)
	}
	// It is dead at once, but a zombie until init has looked.
	for deadline := time.Now().Add(10 * time.Second); syscall.Kill(pid, 0) == nil && !zombie(pid); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %d of %s lives", pid, name)
		}
	}
}

func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(after, "Z")
}

func TestCommandIsToldAndGivenNothingElse(t *testing.T) {
	t.Setenv("PAWL_TEST_OWN", "must not be seen")
	c := script(t, `cat >event; env | grep -v -e '^PWD=' -e '^_=' -e '^SHLVL=' -e '^OLDPWD=' | sort >env; pwd >dir; echo "$# $0" >args`)
	var asked function.Event
	c.Environment = func(_ context.Context, e function.Event) ([]string, error) {
		asked = e
		return []string{"PATH=/usr/bin:/bin", "AWS_REGION=eu-west-1", "EMPTY="}, nil
	}
	if err := c.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := c.Call(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c, "event"); got != body || asked != event {
		t.Errorf("told %s, asked for %+v", got, asked)
	}
	if got := read(t, c, "env"); got != "AWS_REGION=eu-west-1\nEMPTY=\nPATH=/usr/bin:/bin\n" {
		t.Errorf("environment:\n%s", got)
	}
	if got := read(t, c, "args"); got != "0 "+c.Args[1]+"\n" {
		t.Errorf("arguments: %s", got)
	}
	c.Environment = nil
	if err := c.Call(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	if got := read(t, c, "env"); strings.Contains(got, "PAWL_TEST_OWN") || strings.Contains(got, "HOME=") {
		t.Errorf("environment without any:\n%s", got)
	}
	c.Environment = func(context.Context, function.Event) ([]string, error) {
		return nil, secrets.Errorf(secrets.Denied, "no such role")
	}
	want(t, c.Call(t.Context(), event), secrets.Denied, "no such role")
}

func TestCommandFails(t *testing.T) {
	for what, c := range map[string]struct {
		script string
		kind   secrets.Kind
		texts  []string
	}{
		"silent":          {`exit 3`, secrets.Denied, []string{"the command /bin/sh failed with exit code 3 and did not say why", "standard error"}},
		"says why":        {`echo one >&2; echo 'FATAL: no such user' >&2; echo >&2; exit 1`, secrets.Denied, []string{"exit code 1: FATAL: no such user", "!one"}},
		"no newline":      {`printf 'FATAL: %s' here >&2; exit 1`, secrets.Denied, []string{"FATAL: here"}},
		"JSON":            {`echo '{"errorType":"ValueError","errorMessage":"bad \u0041"}'; echo noise >&2; exit 1`, secrets.Invalid, []string{"ValueError: bad A", "!noise"}},
		"JSON over lines": {`printf '{\n"errorType": "KeyError",\n"errorMessage": "x"\n}\n'; exit 1`, secrets.Invalid, []string{"KeyError: x"}},
		"JSON at the end": {`echo log; echo '{"errorType":"LockTimeout","errorMessage":"busy"}'; echo; exit 1`, secrets.Transient, []string{"busy", "!log"}},
		"bad JSON":        {`echo '{"errorType":"ValueError",'; echo why >&2; exit 1`, secrets.Denied, []string{"why", "!ValueError"}},
		"not its payload": {`echo '{"password":"hunter22"}'; exit 1`, secrets.Denied, []string{"!hunter22"}},
		"try again":       {`echo busy >&2; exit 75`, secrets.Transient, []string{"busy"}},
		"not found":       {`no-such-program`, secrets.Invalid, []string{"exit code 127", "no-such-program"}},
		"killed":          {`kill -9 $$`, secrets.Transient, []string{"killed by a signal (killed)", "memory"}},
		"killed below":    {`sh -c 'kill -9 $$'; exit $?`, secrets.Transient, []string{"exit code 137"}},
		"escapes":         {`printf '\033[31mred\033[0m\a\000\r\n' >&2; exit 1`, secrets.Denied, []string{"exit code 1: red"}},
		"its password":    {`echo "psql: $DB_PASSWORD is wrong" >&2; exit 1`, secrets.Denied, []string{"psql: [redacted] is wrong"}},
	} {
		t.Run(what, func(t *testing.T) {
			cmd := script(t, c.script)
			cmd.Environment = environment("PATH=/usr/bin:/bin", "DB_PASSWORD=hunter22")
			want(t, cmd.Call(t.Context(), event), c.kind, append(c.texts, "!hunter22")...)
		})
	}
}

func TestCommandSucceedsWhateverItPrints(t *testing.T) {
	for what, text := range map[string]string{
		"an error":       `echo '{"errorType":"ValueError","errorMessage":"x"}'; echo x >&2`,
		"garbage":        `head -c 1000000 /dev/urandom; head -c 100000 /dev/urandom >&2`,
		"nothing read":   `exec <&-`,
		"closed outputs": `exec >&- 2>&-`,
	} {
		if err := script(t, text).Call(t.Context(), event); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestCommandPrintsTooMuch(t *testing.T) {
	for what, source := range map[string]string{"lines": `yes 'spam and eggs'`, "no line": `cat /dev/zero | tr '\0' x`} {
		t.Run(what, func(t *testing.T) {
			c := script(t, source+` | head -c 100000000; `+source+` | head -c 100000000 >&2; echo >&2; printf '\n{"errorType":"ValueError","errorMessage":"the end"}'; exit 1`)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			want(t, c.Call(t.Context(), event), secrets.Invalid, "ValueError: the end", "!spam")
			runtime.ReadMemStats(&after)
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 8<<20 {
				t.Errorf("%d bytes for what is not kept", grown)
			}
		})
	}
}

func TestValuesInWhatACommandPrints(t *testing.T) {
	values := []secrets.Value{secrets.Text(`{"username":"app","password":"hunt\"er22"}`)}
	for _, text := range []string{
		`echo 'FATAL: app is not let in with hunt"er22' >&2; exit 1`,
		`echo 'FATAL: app is not let in with hunt%22er22' >&2; exit 1`,
		`printf '%s' '{"errorMessage":"FATAL: app is not let in with {\"password\": \"hunt\\\"er22\"}"}'; exit 1`,
		// The value stands where the message is cut.
		`(printf 'FATAL: app '; head -c 2000 /dev/zero | tr '\0' ' '; echo 'hunt"er22 hunt"er22 hunt"er22 hunt"er22') >&2; exit 1`,
	} {
		r := function.Rotation{Caller: script(t, text)}
		want(t, r.Do(t.Context(), "setSecret", secret, version, holds(values)), secrets.Denied, "FATAL: app ", "!hunt")
	}
}

// A command that hangs is killed with all its children, whatever they ignore and
// whatever they hold.
func TestCommandHangs(t *testing.T) {
	c := script(t, `trap '' TERM INT HUP
(trap '' TERM INT HUP; sh -c 'echo $$ >grandchild; touch ready; while :; do sleep 60; done') &
echo $$ >child
wait`)
	r := function.Rotation{Caller: c, Limit: time.Hour}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(c.Dir, "ready")); err == nil {
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	err := r.Do(ctx, "setSecret", secret, version, none)
	want(t, err, secrets.Transient, "stopped while the command /bin/sh ran")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the cause is lost: %v", err)
	}
	gone(t, c, "child")
	gone(t, c, "grandchild")

	r = function.Rotation{Caller: script(t, `sleep 60`), Limit: 100 * time.Millisecond}
	want(t, r.Do(t.Context(), "setSecret", secret, version, none), secrets.Transient, "did not end in time", "one step may take 100ms")
}

// What a command leaves behind in its family is killed when it ends; what has
// left the family does not hold Pawl up.
func TestCommandLeavesChildren(t *testing.T) {
	begun := time.Now()
	c := script(t, `sh -c 'echo $$ >child; exec sleep 60' & while [ ! -s child ]; do sleep 0.01; done; exit 0`)
	if err := c.Call(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	gone(t, c, "child")
	if _, err := os.Stat("/usr/bin/setsid"); err == nil {
		c = script(t, `setsid sh -c 'echo $$ >child; exec sleep 60' & while [ ! -s child ]; do sleep 0.01; done; exit 0`)
		if err := c.Call(t.Context(), event); err != nil {
			t.Fatal(err)
		}
		pid, _ := strconv.Atoi(strings.TrimSpace(read(t, c, "child")))
		syscall.Kill(pid, syscall.SIGKILL)
		gone(t, c, "child")
	}
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("waited %v for them", took)
	}
}

func TestCommandsThatCantBeRun(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for what, c := range map[string]struct {
		command function.Command
		text    string
	}{
		"nothing":        {function.Command{}, "empty"},
		"an empty name":  {function.Command{Args: []string{""}}, "empty"},
		"no file":        {function.Command{Args: []string{filepath.Join(dir, "none")}}, "no such file"},
		"no name":        {function.Command{Args: []string{"no-such-program-anywhere"}}, "no such file"},
		"a directory":    {function.Command{Args: []string{dir}}, "can't be run"},
		"not executable": {function.Command{Args: []string{file("data", "x", 0o600)}}, "not executable"},
		"no directory":   {function.Command{Args: []string{"/bin/sh"}, Dir: filepath.Join(dir, "none")}, "no directory"},
		"a file as one":  {function.Command{Args: []string{"/bin/sh"}, Dir: file("file", "x", 0o600)}, "no directory"},
	} {
		t.Run(what, func(t *testing.T) {
			want(t, c.command.Check(t.Context()), secrets.Invalid, c.text)
			want(t, c.command.Call(t.Context(), event), secrets.Invalid, c.text)
		})
	}
	for what, c := range map[string]struct {
		command function.Command
		text    string
	}{
		"no interpreter": {function.Command{Args: []string{file("script", "#!/no/such/interpreter\n", 0o700)}}, "interpreter"},
		"no program":     {function.Command{Args: []string{file("text", "\x01\x02", 0o700)}}, "no script"},
		"bad argument":   {function.Command{Args: []string{"/bin/sh", "a\x00b"}}, "arguments"},
	} {
		t.Run(what, func(t *testing.T) {
			if err := c.command.Check(t.Context()); err != nil {
				t.Error(err)
			}
			want(t, c.command.Call(t.Context(), event), secrets.Invalid, c.text)
		})
	}
	// A path below Dir.
	file("relative", "#!/bin/sh\nexit 0\n", 0o700)
	c := function.Command{Args: []string{"./relative"}, Dir: dir}
	if err := errors.Join(c.Check(t.Context()), c.Call(t.Context(), event)); err != nil {
		t.Error(err)
	}
}

// A process that dies takes the commands that it runs with it.
func TestCommandDiesWithPawl(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux does that")
	}
	const variable = "PAWL_TEST_COMMAND"
	if dir := os.Getenv(variable); dir != "" {
		c := function.Command{Args: []string{"/bin/sh", "-c", "echo $$ >child; exec sleep 60"}, Dir: dir, Environment: environment("PATH=/usr/bin:/bin")}
		go c.Call(context.Background(), event)
		for {
			if b, _ := os.ReadFile(filepath.Join(dir, "child")); len(b) > 0 {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	c := &function.Command{Args: []string{os.Args[0], "-test.run=^TestCommandDiesWithPawl$"}, Dir: t.TempDir()}
	c.Environment = environment(variable + "=" + c.Dir)
	want(t, c.Call(t.Context(), event), secrets.Transient, "killed by a signal")
	gone(t, c, "child")
}

func TestEventJSON(t *testing.T) {
	b, err := json.Marshal(function.Event{Step: "createSecret", SecretID: "arn", ClientRequestToken: "t", RotationToken: "r"})
	if err != nil || string(b) != `{"Step":"createSecret","SecretId":"arn","ClientRequestToken":"t","RotationToken":"r"}` {
		t.Errorf("%s %v", b, err)
	}
}
