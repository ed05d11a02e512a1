package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/teststore"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(onStores{m})
}

// onStores runs the tests and ends what their stores shared.
type onStores struct{ m *testing.M }

func (s onStores) Run() int { return teststore.Main(s.m) }

// canary stands in every value of these tests; no log may have it.
const canary = "c4n4ry"

// running is a server on a socket of its own, over a real store.
type running struct {
	*Server
	t    testing.TB
	addr string
	log  *logs
	done chan error // Serve's
}

// logs is a log that tests read.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// openService makes a Service over a store in a directory of its own; wrap may
// put something around the store.
func openService(t testing.TB, wrap func(service.Store) service.Store) *service.Service {
	t.Helper()
	return openServiceOf(t, service.Config{}, wrap)
}

// openServiceOf is openService with a configuration.
func openServiceOf(t testing.TB, c service.Config, wrap func(service.Store) service.Store) *service.Service {
	t.Helper()
	file, keys := teststore.Open(t)
	store := service.Store(file)
	if wrap != nil {
		store = wrap(store)
	}
	c.Store, c.Sealer = store, keys
	return service.New(c)
}

// start serves until the test ends. change may alter the server before that.
func start(t testing.TB, c Config, change func(*Server)) *running {
	t.Helper()
	r := &running{t: t, log: &logs{}, done: make(chan error, 1)}
	if c.Service == nil {
		c.Service = openService(t, nil)
	}
	if c.Auth == nil {
		c.Auth = access.Dev{}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.NewTextHandler(r.log, nil))
	}
	r.Server = New(c)
	if change != nil {
		change(r.Server)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	go func() { r.done <- r.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := r.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		if err := <-r.done; err != nil {
			t.Error(err)
		}
		if strings.Contains(r.log.String(), canary) {
			t.Error("a value was logged")
		}
	})
	return r
}

const (
	signed = "Authorization: AWS4-HMAC-SHA256 Credential=AKID/20240611/us-east-1/secretsmanager/aws4_request, SignedHeaders=host;x-amz-date, Signature=0123\r\n" +
		"X-Amz-Date: 20240611T101112Z\r\n"
	target = "X-Amz-Target: secretsmanager."
)

// post is a request in bytes; headers are lines with their ends.
func post(operation, headers, body string) string {
	return "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-amz-json-1.1\r\n" + target + operation + "\r\n" +
		headers + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
}

// answer is what came back.
type answer struct {
	*http.Response
	body string
	raw  string // the header's bytes
}

// send sends bytes over a connection of their own and reads one answer.
func (r *running) send(raw string) answer {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		_, _ = io.WriteString(c, raw) // the server may not want it all
	}()
	a, err := read(bufio.NewReader(c))
	if err != nil && (a.Response == nil || a.ContentLength >= 0) { // net/http's own answers may end in a reset
		r.t.Fatalf("%.80q: %v", raw, err)
	}
	c.Close()
	<-sent
	return a
}

func read(from *bufio.Reader) (a answer, err error) {
	var seen bytes.Buffer
	br := bufio.NewReader(io.TeeReader(from, &seen))
	if a.Response, err = http.ReadResponse(br, nil); err != nil {
		return a, err
	}
	b, err := io.ReadAll(a.Body)
	a.body = string(b)
	a.raw, _, _ = strings.Cut(seen.String(), "\r\n\r\n")
	return a, err
}

// call does an operation that succeeds, and decodes its answer.
func (r *running) call(operation, body string) map[string]any {
	r.t.Helper()
	a := r.send(post(operation, signed, body))
	if a.StatusCode != 200 {
		r.t.Fatalf("%s: %d %s", operation, a.StatusCode, a.body)
	}
	m := map[string]any{}
	if a.body != "" {
		if err := json.Unmarshal([]byte(a.body), &m); err != nil {
			r.t.Fatalf("%s: %v: %s", operation, err, a.body)
		}
	}
	return m
}

// want checks a refusal, byte for byte.
func (r *running) want(raw string, status int, body string) {
	r.t.Helper()
	a := r.send(raw)
	if a.StatusCode != status || a.body != body {
		r.t.Errorf("%.200q\ngot  %d %s\nwant %d %s", raw, a.StatusCode, a.body, status, body)
	}
	r.form(a)
}

// form checks what every answer of the API has.
func (r *running) form(a answer) {
	r.t.Helper()
	if got := a.Header.Get("Content-Type"); got != "application/x-amz-json-1.1" {
		r.t.Errorf("Content-Type %q", got)
	}
	if id := a.Header.Get("X-Amzn-Requestid"); !isUUID(id) {
		r.t.Errorf("request id %q", id)
	}
	if !strings.Contains(a.raw, "\r\nx-amzn-RequestId: ") {
		r.t.Errorf("no x-amzn-RequestId in AWS's spelling:\n%s", a.raw)
	}
	if _, err := http.ParseTime(a.Header.Get("Date")); err != nil {
		r.t.Errorf("Date: %v", err)
	}
	if a.ContentLength != int64(len(a.body)) || a.TransferEncoding != nil {
		r.t.Errorf("Content-Length %d (%v) of %d bytes", a.ContentLength, a.TransferEncoding, len(a.body))
	}
}

func isUUID(s string) bool {
	if len(s) != 36 || s[14] != '4' || !strings.ContainsRune("89ab", rune(s[19])) {
		return false
	}
	for i, c := range s {
		if (i == 8 || i == 13 || i == 18 || i == 23) != (c == '-') || c != '-' && !strings.ContainsRune("0123456789abcdef", c) {
			return false
		}
	}
	return true
}

const token = "01234567-0123-4123-8123-0123456789ab"

// create makes a secret whose value has the canary.
func (r *running) create(name string) (arn string) {
	r.t.Helper()
	out := r.call("CreateSecret", fmt.Sprintf(`{"Name":%q,"ClientRequestToken":%q,"SecretString":"{\"password\":\"%s\"}"}`, name, token, canary))
	return out["ARN"].(string)
}
