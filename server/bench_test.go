package server

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/integration/load"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

// signing is a server as pawl serve makes one, and a user of it who signs.
type signing struct {
	*running
	load.Signer
	at time.Time // of all requests
}

// startSigning has a secret with a value of 1 KB, which the user may read.
func startSigning(b *testing.B) *signing {
	dir := b.TempDir()
	file := filepath.Join(dir, "pawl.key")
	if err := seal.GenerateKeyFile(file, rand.Reader); err != nil {
		b.Fatal(err)
	}
	master, err := seal.Source{File: file}.Load(b.Context(), os.Getenv)
	if err != nil {
		b.Fatal(err)
	}
	store, err := sqlite.Open(b.Context(), filepath.Join(dir, "pawl.db"), sqlite.Options{Create: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { store.Close() })
	keys := seal.New(seal.Config{Master: master, Store: store})
	people := principals.New(principals.Config{Store: store, Sealer: keys, Account: access.DevAccount})
	b.Cleanup(people.Close)
	reader := principals.NewPrincipal{Name: "reader"}
	for name, document := range load.Policies {
		reader.Policies = append(reader.Policies, principals.Policy{Name: name, Document: document})
	}
	_, key, err := people.Create(b.Context(), reader)
	if err != nil {
		b.Fatal(err)
	}
	s := &signing{Signer: load.Signer{KeyID: key.AccessKeyID, Secret: key.Secret.Reveal(), Region: "us-east-1"}, at: time.Now()}
	svc := service.New(service.Config{Store: store, Sealer: keys})
	if _, err := svc.CreateSecret(b.Context(), service.CreateSecretInput{
		Name: "team-00/db-000000", GivenValue: service.Give(secrets.Text(strings.Repeat("x", 850))), ClientRequestToken: token,
		Tags: []service.Tag{{Key: "team", Value: "0"}, {Key: "stage", Value: "production"}},
	}); err != nil {
		b.Fatal(err)
	}
	s.running = start(b, Config{
		Service: svc, Log: slog.New(slog.NewJSONHandler(io.Discard, nil)), RateLimits: 1000,
		Auth: access.NewVerifier(access.VerifierConfig{Keys: people, Now: func() time.Time { return s.at }}),
	}, nil)
	return s
}

func (s *signing) request(operation string) []byte {
	return s.Call("secretsmanager."+operation, `{"SecretId":"team-00/db-000000"}`, s.at)
}

// BenchmarkGetSecretValue reads a value of 1 KB over loopback with 32
// connections, signed, by who has policies, audit included, and compares with
// what net/http alone does with the same client in the same run: of-floor is the
// share of its requests per second.
func BenchmarkGetSecretValue(b *testing.B) {
	s := startSigning(b)
	request := s.request("GetSecretValue")
	body := []byte(s.send(string(request)).body)

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
	rate(s.addr)
	rate(l.Addr().String()) // both warm
	for b.Loop() {
		ours, theirs := rate(s.addr), rate(l.Addr().String())
		b.ReportMetric(ours, "req/s")
		b.ReportMetric(theirs, "floor-req/s")
		b.ReportMetric(ours/theirs, "of-floor")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkPath is what a request costs beside net/http: everything from
// ServeHTTP on.
func BenchmarkPath(b *testing.B) {
	s := startSigning(b)
	for _, operation := range []string{"GetSecretValue", "DescribeSecret"} {
		b.Run(operation, func(b *testing.B) {
			req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(s.request(operation))))
			if err != nil {
				b.Fatal(err)
			}
			body, err := io.ReadAll(req.Body)
			if err != nil {
				b.Fatal(err)
			}
			req.RemoteAddr = "127.0.0.1:40961"
			b.ReportAllocs()
			for b.Loop() {
				req.Body = io.NopCloser(bytes.NewReader(body))
				w := nowhere{header: http.Header{}}
				if s.ServeHTTP(&w, req); w.status != 200 {
					b.Fatal(w.status)
				}
			}
		})
	}
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
