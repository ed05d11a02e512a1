package server

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// BenchmarkGetSecretValue reads a value of 1 KB over loopback with 32
// connections, access log included, and compares with what net/http alone does
// with the same client in the same run: of-floor is the share of its requests
// per second.
func BenchmarkGetSecretValue(b *testing.B) {
	r := start(b, Config{Log: slog.New(slog.NewJSONHandler(io.Discard, nil))}, nil)
	r.call("CreateSecret", `{"Name":"bench","ClientRequestToken":"`+token+`","SecretString":"`+strings.Repeat("x", 800)+`"}`)
	request := []byte(post("GetSecretValue", signed, `{"SecretId":"bench"}`))
	body := []byte(r.send(string(request)).body)

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	floor := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body)
	})}
	go func() { _ = floor.Serve(l) }()
	defer floor.Close()

	const connections = 32
	hammer(b, r.addr, request, connections, 2*connections)
	hammer(b, l.Addr().String(), request, connections, 2*connections)
	b.ResetTimer()
	ours := hammer(b, r.addr, request, connections, b.N)
	b.StopTimer()
	theirs := hammer(b, l.Addr().String(), request, connections, b.N)
	b.ReportMetric(float64(b.N)/ours.Seconds(), "req/s")
	b.ReportMetric(float64(b.N)/theirs.Seconds(), "floor-req/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "of-floor")
}

// hammer sends n requests, each connection one after the other's answer.
func hammer(b *testing.B, addr string, request []byte, connections, n int) time.Duration {
	b.Helper()
	var group sync.WaitGroup
	failed := make(chan error, connections)
	begin := time.Now()
	for i := range connections {
		share := n / connections
		if i < n%connections {
			share++
		}
		group.Go(func() {
			if err := ask(addr, request, share); err != nil {
				failed <- err
			}
		})
	}
	group.Wait()
	took := time.Since(begin)
	close(failed)
	for err := range failed {
		b.Fatal(err)
	}
	return took
}

// ask is a client that costs next to nothing.
func ask(addr string, request []byte, n int) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReader(c)
	for range n {
		if _, err := c.Write(request); err != nil {
			return err
		}
		length := 0
		for first := true; ; first = false {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return err
			}
			if first && !bytes.Contains(line, []byte(" 200 ")) {
				return fmt.Errorf("answer: %s", line)
			}
			if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
					return err
				}
			}
			if len(bytes.TrimSpace(line)) == 0 {
				break
			}
		}
		if _, err := in.Discard(length); err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkPath is what a request costs beside net/http and the store:
// everything from ServeHTTP on, over a store that has its answer at hand.
func BenchmarkPath(b *testing.B) {
	r := start(b, Config{
		Log:     slog.New(slog.NewJSONHandler(io.Discard, nil)),
		Service: openService(b, func(s service.Store) service.Store { return &atHand{Store: s} }),
	}, nil)
	r.create("bench")
	const body = `{"SecretId":"bench"}`
	for _, operation := range []string{"GetSecretValue", "DescribeSecret"} {
		b.Run(operation, func(b *testing.B) {
			req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(post(operation, signed, body))))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				req.Body = io.NopCloser(strings.NewReader(body))
				w := nowhere{header: http.Header{}}
				if r.ServeHTTP(&w, req); w.status != 200 {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// atHand remembers the last secret and value that were read.
type atHand struct {
	service.Store
	mu     sync.Mutex
	secret *service.Secret
	value  []byte
}

func (a *atHand) Find(ctx context.Context, id secrets.ID) (sec *service.Secret, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.secret == nil || a.secret.Accessed.IsZero() {
		a.secret, err = a.Store.Find(ctx, id)
	}
	return a.secret, err
}

func (a *atHand) Value(ctx context.Context, arn secrets.ARN, version string) (value []byte, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.value == nil {
		a.value, err = a.Store.Value(ctx, arn, version)
	}
	return a.value, err
}

type nowhere struct {
	header http.Header
	status int
}

func (n *nowhere) Header() http.Header         { return n.header }
func (n *nowhere) WriteHeader(status int)      { n.status = status }
func (n *nowhere) Write(b []byte) (int, error) { return len(b), nil }
