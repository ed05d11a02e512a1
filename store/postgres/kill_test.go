package postgres

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var children = map[string]func(args []string) error{"write": childWrite, "count": childCount, "migrate": childMigrate}

type child struct {
	cmd *exec.Cmd
	out *bufio.Scanner
}

// startChild runs a job in another process. Its first argument is a DSN; the
// password comes in a variable.
func startChild(t *testing.T, job string, c Config, args ...string) *child {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &child{cmd: exec.Command(exe, append([]string{c.DSN}, args...)...)}
	p.cmd.Env = append(os.Environ(), childEnv+"="+job, "PAWL_TEST_PASSWORD="+c.Password.Reveal())
	p.cmd.Stderr = os.Stderr
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	return p
}

// line waits for the next line; "" is the end.
func (p *child) line() string {
	p.out.Scan()
	return p.out.Text()
}

// kill sends SIGKILL. Lines that were written before can still be read.
func (p *child) kill() { _ = p.cmd.Process.Kill() }

func childConfig(args []string) Config {
	return Config{DSN: args[0], Password: secrets.NewPassword(os.Getenv("PAWL_TEST_PASSWORD"))}
}

// writers is how many goroutines of childWrite share its store.
const writers = 3

func valueOf(n int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%07d ", n), 2500) }

func logARN(writer int) secrets.ARN {
	a := arn(0)
	a.Name = fmt.Sprintf("log/%d", writer)
	return a
}

// childWrite numbers its writes from args[1] on and prints each number once the
// write was acknowledged. Every number is a secret of its own, and the newest
// version of its writer's log.
func childWrite(args []string) error {
	ctx := context.Background()
	s, err := Open(ctx, childConfig(args))
	if err != nil {
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
					if err := s.Create(ctx, &service.Secret{ARN: arn(n), Versions: secrets.Versions{v}}, service.Sealed{v.ID: valueOf(n)}); err != nil {
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

// A process that writes is killed again and again, once together with the server.
// What it was told is on the disk must be there, whole.
func TestKilledWhileWriting(t *testing.T) {
	l := alone(t, servers.Postgres15)
	db := l.database(t)
	s := l.open(t, db)
	for w := range writers {
		if err := s.Create(t.Context(), &service.Secret{ARN: logARN(w)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	rounds := 6
	if testing.Short() {
		rounds = 3
	}
	acked := map[int]bool{}
	last, newest := 0, map[int]int{} // of all, and by writer
	for round := range rounds {
		c := startChild(t, "write", l.config(db), strconv.Itoa(last))
		// Die after so many acknowledgements, at any moment between two.
		for wait := 1 + rand.IntN(40); ; wait-- {
			if wait == 0 {
				if round == 1 {
					if err := l.Kill(); err != nil {
						t.Fatal(err)
					}
				}
				time.AfterFunc(rand.N(5*time.Millisecond), c.kill)
			}
			line := c.line()
			if line == "" || round == 1 && strings.HasPrefix(line, "error: ") {
				break
			}
			var n, w int
			if _, err := fmt.Sscan(line, &n, &w); err != nil {
				t.Fatalf("the writer said %q", line)
			}
			acked[n], newest[w], last = true, n, max(last, n)
		}
		_ = c.cmd.Wait()
		if round == 1 {
			if err := l.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		l.awaitNobody(t, db)

		// The dead process may have begun more than it acknowledged.
		for n := last + 1; n <= last+writers; n++ {
			if _, err := s.Find(t.Context(), secrets.ID{ARN: arn(n)}); err == nil {
				acked[n], last = true, max(last, n)
			}
		}
		for n := range acked {
			if got, err := s.readValue(t.Context(), arn(n), versionID(n)); err != nil || !bytes.Equal(got, valueOf(n)) {
				t.Errorf("write %d was acknowledged and is lost: %v", n, err)
			}
		}
		for w, n := range newest {
			found, err := s.readSecret(t.Context(), placeOf(logARN(w)))
			if err != nil {
				t.Fatal(err)
			}
			log, err := found.decode()
			if err != nil {
				t.Fatal(err)
			}
			if len(log.Versions) == 0 || log.Versions[len(log.Versions)-1].ID < versionID(n) {
				t.Errorf("the log of writer %d ends before its acknowledged version %d", w, n)
			}
		}
		l.checkIntegrity(t, db)
		if t.Failed() {
			break
		}
	}
	t.Logf("%d acknowledged writes over %d kills", len(acked), rounds)
}

// alone starts a server for one test, which may be killed.
func alone(t testing.TB, kind servers.Kind) *lab {
	t.Helper()
	l := &lab{Server: servertest.Start(t, kind, servers.Options{})}
	l.makeRoles(t)
	return l
}

// awaitNobody waits until the server has noticed that a dead process is gone:
// until no session does anything.
func (l *lab) awaitNobody(t testing.TB, db string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		busy := value[int](t, l, db, "SELECT count(*) FROM pg_stat_activity WHERE usename = $1 AND state <> 'idle'", runner)
		if busy == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d sessions are still at work", busy)
		}
	}
}

// childCount adds one to the description of arn(0), args[1] times.
func childCount(args []string) error {
	ctx := context.Background()
	s, err := Open(ctx, childConfig(args))
	if err != nil {
		return err
	}
	rounds, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	for range rounds {
		if _, err := s.Update(ctx, arn(0), countOne); err != nil {
			return err
		}
	}
	return s.Close()
}

func countOne(sec *service.Secret) (service.Sealed, error) {
	n, err := strconv.Atoi(sec.Description)
	sec.Description = strconv.Itoa(n + 1)
	return nil, err
}

func TestManyProcessesWrite(t *testing.T) {
	const rounds = 50
	l := at(t, servers.Postgres15)
	db := l.database(t)
	s := l.open(t, db)
	if err := s.Create(t.Context(), &service.Secret{ARN: arn(0), Description: "0"}, nil); err != nil {
		t.Fatal(err)
	}
	counters := []*child{startChild(t, "count", l.config(db), strconv.Itoa(rounds)), startChild(t, "count", l.config(db), strconv.Itoa(rounds))}
	for range rounds {
		if _, err := s.Update(t.Context(), arn(0), countOne); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range counters {
		if line := c.line(); line != "" {
			t.Error(line)
		}
		if err := c.cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	if got, want := description(t, s, arn(0)), strconv.Itoa(3*rounds); got != want {
		t.Errorf("%s of %s updates are there", got, want)
	}
}

// childMigrate makes the schema, and prints from and to.
func childMigrate(args []string) error {
	from, to, err := Migrate(context.Background(), childConfig(args), runner)
	if err == nil {
		fmt.Println(from, to)
	}
	return err
}
