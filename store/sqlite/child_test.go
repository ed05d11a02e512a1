package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// The test binary runs itself as another process: the variable says what to do,
// the arguments follow it.
const childEnv = "PAWL_SQLITE_TEST_CHILD"

func TestMain(m *testing.M) {
	if job := os.Getenv(childEnv); job != "" {
		if err := children[job](os.Args[1:]); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var children = map[string]func(args []string) error{
	"write": childWrite, "count": childCount, "hold": childHold, "open as nobody": childOpenAsNobody, "grep": childGrep, "create": childCreate, "bump": childBump, "tag": childTag,
}

type child struct {
	cmd *exec.Cmd
	out *bufio.Scanner
}

func startChild(t *testing.T, job string, args ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(exe, args...)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+job)
	c.cmd.Stderr = os.Stderr
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewScanner(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	return c
}

// line waits for the next line; "" is the end.
func (c *child) line() string {
	c.out.Scan()
	return c.out.Text()
}

// kill sends SIGKILL. Lines that were written before can still be read.
func (c *child) kill() { _ = c.cmd.Process.Kill() }

// writers is how many goroutines of childWrite share its store.
const writers = 3

func valueOf(n int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%07d ", n), 2500) }

func logARN(writer int) secrets.ARN {
	a := arn(0)
	a.Name = fmt.Sprintf("log/%d", writer)
	return a
}

// childWrite numbers its writes from args[1] on and prints each number once
// the write was acknowledged. It holds the lock of arn(0). Every number is a
// secret of its own, and the newest version of its writer's log.
func childWrite(args []string) error {
	ctx := context.Background()
	s, err := Open(ctx, args[0], Options{})
	if err != nil {
		return err
	}
	if _, err := s.Lock(ctx, arn(0)); err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	var mu sync.Mutex
	next := func() int {
		mu.Lock()
		defer mu.Unlock()
		n++
		return n
	}
	failed := make(chan error, writers)
	for w := range writers {
		go func() {
			failed <- func() error {
				for {
					n := next()
					v := secrets.Version{ID: versionID(n)}
					sec := &service.Secret{ARN: arn(n), Versions: secrets.Versions{v}}
					if err := s.Create(ctx, sec, service.Sealed{v.ID: valueOf(n)}); err != nil {
						return err
					}
					_, err := s.Update(ctx, logARN(w), func(log *service.Secret) (service.Sealed, error) {
						vs := append(log.Versions, v)
						log.Versions = vs[max(0, len(vs)-5):]
						return service.Sealed{v.ID: valueOf(n)}, nil
					})
					if err != nil {
						return err
					}
					fmt.Println(n, w)
				}
			}()
		}()
	}
	return <-failed
}

// childCount adds one to the description of arn(0), args[1] times.
func childCount(args []string) error {
	ctx := context.Background()
	s, err := Open(ctx, args[0], Options{})
	if err != nil {
		return err
	}
	rounds, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for range rounds {
		_, err := s.Update(ctx, arn(0), func(sec *service.Secret) (service.Sealed, error) {
			n, err := strconv.Atoi(sec.Description)
			sec.Description = strconv.Itoa(n + 1)
			return nil, err
		})
		if err != nil {
			return err
		}
	}
	return s.Close()
}

// childHold takes the lock of arn(0) and keeps it until it is killed.
func childHold(args []string) error {
	ctx := context.Background()
	s, err := Open(ctx, args[0], Options{})
	if err != nil {
		return err
	}
	if _, err := s.Lock(ctx, arn(0)); err != nil {
		return err
	}
	fmt.Println("held")
	select {}
}

// childOpenAsNobody opens and writes as a user without rights, and prints the
// kind of the error and the error.
func childOpenAsNobody(args []string) error {
	if os.Getuid() == 0 {
		const nobody = 65534
		if err := errors.Join(syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody)); err != nil {
			return err
		}
	}
	ctx := context.Background()
	s, err := Open(ctx, args[0], Options{Create: true})
	if err == nil {
		_, err = s.Update(ctx, arn(0), func(sec *service.Secret) (service.Sealed, error) {
			sec.Description = "changed"
			return nil, nil
		})
		err = errors.Join(err, s.Close())
	}
	fmt.Println(secrets.KindOf(err), strings.ReplaceAll(fmt.Sprint(err), "\n", " "))
	return nil
}

// childGrep prints whether the file args[0] contains args[1].
func childGrep(args []string) error {
	b, err := os.ReadFile(args[0])
	fmt.Println(bytes.Contains(b, []byte(args[1])))
	return err
}

// childCreate opens or makes the store and creates the secret number args[1].
func childCreate(args []string) error {
	ctx := context.Background()
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	s, err := Open(ctx, args[0], Options{Create: true})
	if err != nil {
		return err
	}
	return errors.Join(s.Create(ctx, &service.Secret{ARN: arn(n)}, nil), s.Close())
}
