package sqlite

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// A process that writes is killed again and again. What it was told is on the
// disk must be there, whole, and its lock must be free at once.
func TestKilledWhileWriting(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pawl.db")
	s := open(t, path)
	if err := s.Create(t.Context(), &service.Secret{ARN: arn(0)}, nil); err != nil {
		t.Fatal(err)
	}
	for w := range writers {
		if err := s.Create(t.Context(), &service.Secret{ARN: logARN(w)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	rounds := 24
	if testing.Short() {
		rounds = 5
	}
	acked := map[int]bool{}
	last, newest := 0, map[int]int{} // of all, and by writer
	for range rounds {
		c := startChild(t, "write", path, strconv.Itoa(last))
		// Die after so many acknowledgements, at any moment between two.
		for wait := 1 + rand.IntN(40); ; wait-- {
			if wait == 0 {
				time.AfterFunc(rand.N(5*time.Millisecond), c.kill)
			}
			line := c.line()
			if line == "" {
				break
			}
			var n, w int
			if _, err := fmt.Sscan(line, &n, &w); err != nil {
				t.Fatalf("the writer said %q", line)
			}
			acked[n], newest[w], last = true, n, max(last, n)
		}
		_ = c.cmd.Wait()

		s, err := Open(t.Context(), path, Options{})
		if err != nil {
			t.Fatal(err)
		}
		claim, err := s.Lock(t.Context(), arn(0))
		if err != nil {
			t.Errorf("the dead process still has its lock: %v", err)
		} else {
			claim.Release()
		}
		// The dead process may have begun more than it acknowledged.
		for n := last + 1; n <= last+writers; n++ {
			if _, err := s.Find(t.Context(), secrets.ID{ARN: arn(n)}); err == nil {
				acked[n], last = true, max(last, n)
			}
		}
		for n := range acked {
			if got, err := s.Value(t.Context(), arn(n), versionID(n)); err != nil || !bytes.Equal(got, valueOf(n)) {
				t.Errorf("write %d was acknowledged and is lost: %v", n, err)
			}
		}
		for w, n := range newest {
			log, err := s.Find(t.Context(), secrets.ID{ARN: logARN(w)})
			if err != nil {
				t.Fatal(err)
			}
			if len(log.Versions) == 0 || log.Versions[len(log.Versions)-1].ID < versionID(n) {
				t.Errorf("the log of writer %d ends before its acknowledged version %d", w, n)
			}
			for _, v := range log.Versions {
				if _, err := s.Value(t.Context(), logARN(w), v.ID); err != nil {
					t.Errorf("a version in the log has no value: %v", err)
				}
			}
		}
		checkIntegrity(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("%d acknowledged writes over %d kills", len(acked), rounds)
}

func checkIntegrity(t testing.TB, s *Store) {
	t.Helper()
	var report string
	if err := s.readers.QueryRow("PRAGMA integrity_check").Scan(&report); err != nil || report != "ok" {
		t.Errorf("integrity: %s %v", report, err)
	}
	var lost int
	if err := s.readers.QueryRow(`SELECT (SELECT count(*) FROM sealed_values) - count(DISTINCT value_id)
		FROM versions JOIN sealed_values ON sealed_values.id = value_id`).Scan(&lost); err != nil || lost != 0 {
		t.Errorf("%d values belong to no version; %v", lost, err)
	}
}

func TestTwoProcessesWrite(t *testing.T) {
	const rounds = 150
	path := filepath.Join(t.TempDir(), "pawl.db")
	s := open(t, path)
	if err := s.Create(t.Context(), &service.Secret{ARN: arn(0), Description: "0"}, nil); err != nil {
		t.Fatal(err)
	}
	counters := []*child{startChild(t, "count", path, strconv.Itoa(rounds)), startChild(t, "count", path, strconv.Itoa(rounds))}
	for range rounds {
		_, err := s.Update(t.Context(), arn(0), func(sec *service.Secret) (service.Sealed, error) {
			n, err := strconv.Atoi(sec.Description)
			sec.Description = strconv.Itoa(n + 1)
			return nil, err
		})
		if err != nil {
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
	sec, err := s.Find(t.Context(), secrets.ID{ARN: arn(0)})
	if err != nil {
		t.Fatal(err)
	}
	if want := strconv.Itoa(3 * rounds); sec.Description != want {
		t.Errorf("%s of %s updates are there", sec.Description, want)
	}
	checkIntegrity(t, s)
}

func TestManyProcessesMakeTheStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pawl.db")
	var makers []*child
	for n := range 5 {
		makers = append(makers, startChild(t, "create", path, strconv.Itoa(n)))
	}
	for _, c := range makers {
		if line := c.line(); line != "" {
			t.Error(line)
		}
		if err := c.cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
	s := open(t, path)
	for n := range makers {
		if _, err := s.Find(t.Context(), secrets.ID{ARN: arn(n)}); err != nil {
			t.Errorf("secret %d: %v", n, err)
		}
	}
}

func TestLockOfAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pawl.db")
	s := open(t, path)
	for n := range 2 {
		if err := s.Create(t.Context(), &service.Secret{ARN: arn(n)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	c := startChild(t, "hold", path)
	if line := c.line(); line != "held" {
		t.Fatal(line)
	}
	_, err := s.Lock(t.Context(), arn(0))
	if secrets.KindOf(err) != secrets.Conflict {
		t.Fatalf("error %v is not a Conflict", err)
	}
	for _, want := range []string{strconv.Itoa(c.cmd.Process.Pid), arn(0).Name, "another living process"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %s", err, want)
		}
	}
	claim, err := s.Lock(t.Context(), arn(1))
	if err != nil {
		t.Fatalf("the lock of another secret: %v", err)
	}
	claim.Release()
	c.kill()
	_ = c.cmd.Wait()
	claim, err = s.Lock(t.Context(), arn(0))
	if err != nil {
		t.Fatalf("the lock of a dead process: %v", err)
	}
	claim.Release()
}
