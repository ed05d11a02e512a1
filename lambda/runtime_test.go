package lambda_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/store/teststore"
)

func TestMain(m *testing.M) {
	code := teststore.Main(m)
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir)
	}
	os.Exit(code)
}

// binaryDir is where the real binary is built to, once.
var binaryDir string

// bootstrap is the binary as make lambda builds it.
var bootstrap = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "pawl-lambda-")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	// go test runs a test again when a file has changed that it looked at; it
	// knows of no other tie between this package and the program's own.
	sources, err := filepath.Glob(filepath.Join("..", "cmd", "pawl", "*.go"))
	if err != nil || len(sources) == 0 {
		return "", fmt.Errorf("the program's sources: %d found, %v", len(sources), err)
	}
	for _, f := range sources {
		if _, err := os.Stat(f); err != nil {
			return "", err
		}
	}
	path := filepath.Join(dir, "bootstrap")
	cmd := exec.Command("go", "build", "-tags", "lambda.norpc", "-o", path, "github.com/pawlhq/pawl/cmd/pawl")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// function is the binary as a child of a Lambda that a test plays: Lambda's
// Runtime API, as it is documented.
// Source: AWS Lambda developer guide, "Using the Lambda runtime API".
type function struct {
	t       testing.TB
	api     *httptest.Server
	cmd     *exec.Cmd
	launch  func() // starts it, and starts it anew when it has ended
	out     screen
	ended   chan struct{}
	events  chan invocation
	answers chan answer
	n       int
	seen    bytes.Buffer // every answer's body
}

type invocation struct {
	id       string
	event    string
	deadline time.Time
}

// answer is what became of an invocation, or of the start.
type answer struct {
	id      string
	failed  bool
	init    bool
	body    string
	errType string // the header of a failed start
}

// screen is output that can be read while it is written.
type screen struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	more chan struct{} // closed by the next write
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
	return s.buf.Write(p)
}

// await waits until a text is there: what the function logs comes by another way
// than its answers.
func (s *screen) await(t testing.TB, text string) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for {
		s.mu.Lock()
		there := strings.Contains(s.buf.String(), text)
		if s.more == nil {
			s.more = make(chan struct{})
		}
		more := s.more
		s.mu.Unlock()
		if there {
			return
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("the log lacks %q", text)
		}
	}
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buf.String()
}

// startFunction starts the binary with these variables and nothing else but what
// Lambda sets.
func startFunction(t testing.TB, env ...string) *function {
	t.Helper()
	path, err := bootstrap()
	if err != nil {
		t.Fatal(err)
	}
	f := &function{t: t, events: make(chan invocation), answers: make(chan answer, 1)}
	f.api = httptest.NewServer(f)
	dir := t.TempDir()
	f.launch = func() {
		f.cmd, f.ended = exec.Command(path), make(chan struct{})
		f.cmd.Dir = dir
		f.cmd.Env = append([]string{
			"AWS_LAMBDA_RUNTIME_API=" + strings.TrimPrefix(f.api.URL, "http://"),
			"AWS_LAMBDA_FUNCTION_NAME=pawl", "_HANDLER=bootstrap", "LAMBDA_TASK_ROOT=" + dir,
			"PATH=/usr/bin:/bin", "PGPASSWORD=ambient", "PGHOST=192.0.2.1",
		}, env...)
		f.cmd.Stdout, f.cmd.Stderr = &f.out, &f.out
		if err := f.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		go func(cmd *exec.Cmd, ended chan struct{}) {
			defer close(ended)
			_ = cmd.Wait() // the code is in ProcessState
		}(f.cmd, f.ended)
	}
	f.launch()
	t.Cleanup(func() {
		_ = f.cmd.Process.Kill() // it may have ended
		<-f.ended
		f.api.CloseClientConnections()
		f.api.Close()
		if t.Failed() {
			t.Logf("the function's log:\n%s", f.out.String())
		}
	})
	return f
}

const runtimePath = "/2018-06-01/runtime/"

// ServeHTTP is the Runtime API.
func (f *function) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, runtimePath)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method == http.MethodGet && rest == "invocation/next" {
		select {
		case i := <-f.events:
			h := w.Header()
			h.Set("Lambda-Runtime-Aws-Request-Id", i.id)
			h.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(i.deadline.UnixMilli(), 10))
			h.Set("Lambda-Runtime-Invoked-Function-Arn", "arn:aws:lambda:us-east-1:123456789012:function:pawl")
			h.Set("Lambda-Runtime-Trace-Id", "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1")
			_, _ = io.WriteString(w, i.event)
		case <-r.Context().Done():
		}
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil || r.Method != http.MethodPost {
		http.Error(w, "not that", http.StatusBadRequest)
		return
	}
	a := answer{body: string(body), errType: r.Header.Get("Lambda-Runtime-Function-Error-Type")}
	id, what, _ := strings.Cut(strings.TrimPrefix(rest, "invocation/"), "/")
	switch {
	case rest == "init/error":
		a.init, a.failed = true, true
	case what == "response":
		a.id = id
	case what == "error":
		a.id, a.failed = id, true
	default:
		http.NotFound(w, r)
		return
	}
	w.WriteHeader(http.StatusAccepted)
	f.answers <- a
}

// invoke has the function handle one event within a time.
func (f *function) invoke(within time.Duration, event any) answer {
	f.t.Helper()
	text, ok := event.(string)
	if !ok {
		b, err := json.Marshal(event)
		if err != nil {
			f.t.Fatal(err)
		}
		text = string(b)
	}
	f.n++
	id := fmt.Sprintf("8476a536-e9f4-11e8-9739-2dfe598c%04d", f.n)
	i := invocation{id: id, event: text, deadline: time.Now().Add(within)}
	for asked := false; !asked; {
		select {
		case f.events <- i:
			asked = true
		case <-f.ended: // as it may: Lambda starts it again
			f.launch()
			i.deadline = time.Now().Add(within)
		case <-time.After(20 * time.Second):
			f.t.Fatal("the function asks for no event")
		}
	}
	a := f.answer(within + time.Second)
	if a.id != id {
		f.t.Fatalf("the answer to %s is of %s", id, a.id)
	}
	return a
}

func (f *function) answer(within time.Duration) answer {
	f.t.Helper()
	select {
	case a := <-f.answers:
		f.seen.WriteString(a.body + "\n")
		return a
	case <-time.After(within):
		f.t.Fatalf("no answer within %v", within)
		return answer{}
	}
}

// ok is invoke for what must succeed; it returns the answer.
func (f *function) ok(within time.Duration, event any) string {
	f.t.Helper()
	a := f.invoke(within, event)
	if a.failed {
		f.t.Fatalf("%v: %s", event, a.body)
	}
	return a.body
}

// failure is an error as Lambda sees it.
type failure struct {
	Type    string `json:"errorType"`
	Message string `json:"errorMessage"`
}

// fails is invoke for what must fail.
func (f *function) fails(within time.Duration, event any) (e failure) {
	f.t.Helper()
	a := f.invoke(within, event)
	if !a.failed {
		f.t.Fatalf("%v: it succeeded: %s", event, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &e); err != nil {
		f.t.Fatalf("%v: %s", err, a.body)
	}
	return e
}

// refuses checks an error's type and all of its message.
func (f *function) refuses(event any, errType, message string) {
	f.t.Helper()
	if e := f.fails(20*time.Second, event); e.Type != errType || e.Message != message {
		f.t.Errorf("%v\ngot  %s: %s\nwant %s: %s", event, e.Type, e.Message, errType, message)
	}
}
