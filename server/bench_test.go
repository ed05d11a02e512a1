package server

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/integration/load"
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
	rate := func(addr string) float64 {
		got, err := load.Full(b.Context(), addr, connections, time.Second, func(int) []byte { return request })
		if err != nil {
			b.Fatal(err)
		}
		return got.Rate()
	}
	rate(r.addr)
	rate(l.Addr().String()) // both warm
	for b.Loop() {
		ours, theirs := rate(r.addr), rate(l.Addr().String())
		b.ReportMetric(ours, "req/s")
		b.ReportMetric(theirs, "floor-req/s")
		b.ReportMetric(ours/theirs, "of-floor")
		b.ReportMetric(0, "ns/op")
	}
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

// BenchmarkAudit is what the line of a request costs.
func BenchmarkAudit(b *testing.B) {
	s := New(Config{Service: openService(b, nil), Auth: access.Dev{}, Log: slog.New(slog.NewJSONHandler(io.Discard, nil))})
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(post("GetSecretValue", signed, ""))))
	if err != nil {
		b.Fatal(err)
	}
	req.RemoteAddr = "192.0.2.1:40961"
	e := exchange{
		r: req, start: time.Now(), id: newRequestID(), action: "secretsmanager:GetSecretValue", secret: "prod/orders/db", status: 200, sent: 300,
		who: access.Principal{Account: access.DevAccount, Region: "us-east-1", ARN: "arn:aws:iam::123456789012:user/orders", AccessKey: "AKIAIOSFODNN7EXAMPLE"},
	}
	b.ReportAllocs()
	for b.Loop() {
		s.audit(&e)
	}
}
