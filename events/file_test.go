package events

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/pawlhq/pawl/secrets"
)

func open(t *testing.T, path string) (*File, *bytes.Buffer) {
	t.Helper()
	log := &bytes.Buffer{}
	f, err := OpenFile(path, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, log
}

func event(version string) Event {
	return Event{Name: RotationSucceeded, Secret: arn, Time: at, Version: version}
}

// versions reads a file of events and returns the versions they are about.
func versions(t *testing.T, path string) (all []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(b)) {
		var r record
		if err := json.Unmarshal([]byte(l), &r); err != nil || !strings.HasSuffix(l, "\n") {
			t.Fatalf("%s: %q: %v", path, l, err)
		}
		all = append(all, r.AdditionalEventData.Version)
	}
	return all
}

func want(t *testing.T, path string, all ...string) {
	t.Helper()
	if got := versions(t, path); fmt.Sprint(got) != fmt.Sprint(all) {
		t.Errorf("%s has %v, want %v", path, got, all)
	}
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	f, log := open(t, path)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	f.Hear(t.Context(), event("1"))
	other, _ := open(t, path)
	other.Hear(t.Context(), event("2"))
	Listeners{f, other}.Hear(t.Context(), event("3"))
	want(t, path, "1", "2", "3", "3")

	// Moved away, as logrotate does, with a new file at once or later.
	moved := path + ".1"
	rename(t, path, moved)
	f.Hear(t.Context(), event("4"))
	other.Hear(t.Context(), event("5"))
	want(t, moved, "1", "2", "3", "3")
	want(t, path, "4", "5")
	rename(t, path, moved)
	if err := os.WriteFile(path, nil, 0o640); err != nil {
		t.Fatal(err)
	}
	other.Hear(t.Context(), event("6"))
	f.Hear(t.Context(), event("7"))
	want(t, path, "6", "7")
	// Emptied in place, as copytruncate does.
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	f.Hear(t.Context(), event("8"))
	want(t, path, "8")
	if log.Len() > 0 {
		t.Error(log)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

// TestTornLine: what somebody left half written costs no line but its own.
func TestTornLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(path, []byte("{}\n{\"half"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, _ := open(t, path)
	f.Hear(t.Context(), event("1"))
	f.Hear(t.Context(), event("2"))
	b, err := os.ReadFile(path)
	lines := strings.Split(string(b), "\n")
	if err != nil || len(lines) != 5 || lines[1] != `{"half` || !json.Valid([]byte(lines[2])) || !json.Valid([]byte(lines[3])) {
		t.Errorf("%q, %v", b, err)
	}
}

func TestFileThatCannotBeOpened(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, filepath.Join(dir, "none", "events.jsonl")} {
		_, err := OpenFile(path, nil)
		if secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "events: file:") {
			t.Error(err)
		}
	}
}

// TestWhatCannotBeWritten is in the log, whole.
func TestWhatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	f, log := open(t, filepath.Join(dir, "events.jsonl"))
	rename(t, dir, dir+".gone")
	f.Hear(t.Context(), event("lost"))
	if s := log.String(); !strings.Contains(s, "level=ERROR") || !strings.Contains(s, "lost") || !strings.Contains(s, "RotationSucceeded") || !strings.Contains(s, "no such file") {
		t.Error(s)
	}
	rename(t, dir+".gone", dir)
	f.Hear(t.Context(), event("kept"))
	want(t, filepath.Join(dir, "events.jsonl"), "kept")
	log.Reset()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	f.Hear(t.Context(), event("late"))
	if s := log.String(); !strings.Contains(s, "closed") || !strings.Contains(s, "late") {
		t.Error(s)
	}
}

// TestFullDisk: a device that takes nothing.
func TestFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("this system has no /dev/full")
	}
	f, log := open(t, "/dev/full")
	f.Hear(t.Context(), event("lost"))
	if s := log.String(); !strings.Contains(s, "no space left") || !strings.Contains(s, "lost") {
		t.Error(s)
	}
}

const (
	writers = 4   // processes, each with as many goroutines
	each    = 150 // events of a goroutine
)

// TestManyProcesses: processes that write into one file, which is moved away
// meanwhile, tear no line and lose none.
func TestManyProcesses(t *testing.T) {
	if path := os.Getenv("PAWL_TEST_EVENTS"); path != "" {
		writeEvents(t, path, os.Getenv("PAWL_TEST_WRITER"))
		return
	}
	path := filepath.Join(t.TempDir(), "events.jsonl")
	var wg sync.WaitGroup
	for n := range writers {
		cmd := exec.Command(os.Args[0], "-test.run=^TestManyProcesses$")
		cmd.Env = append(os.Environ(), "PAWL_TEST_EVENTS="+path, fmt.Sprint("PAWL_TEST_WRITER=", n))
		wg.Go(func() {
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	wg.Wait()
	files, err := filepath.Glob(path + "*")
	if err != nil || len(files) < each/moveEvery {
		t.Fatal(files, err)
	}
	seen := map[string]int{}
	for _, f := range files {
		for _, v := range versions(t, f) {
			seen[v]++
		}
	}
	for w := range writers {
		for g := range writers {
			for n := range each {
				if v := fmt.Sprintf("%d-%d-%d", w, g, n); seen[v] != 1 {
					t.Errorf("%s is there %d times", v, seen[v])
				}
			}
		}
	}
}

const moveEvery = 15 // events of one goroutine, which moves the file away

func writeEvents(t *testing.T, path, writer string) {
	f, log := open(t, path)
	var wg sync.WaitGroup
	for g := range writers {
		wg.Go(func() {
			for n := range each {
				e := event(fmt.Sprintf("%s-%d-%d", writer, g, n))
				e.Error = strings.Repeat("x", 1000+n)
				f.Hear(context.Background(), e)
				if writer == "0" && g == 0 && n%moveEvery == 0 {
					rename(t, path, fmt.Sprint(path, ".", n)) // it is there: this event made it
				}
			}
		})
	}
	wg.Wait()
	if log.Len() > 0 {
		t.Error(log)
	}
}
