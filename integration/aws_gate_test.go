package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// gate stands before the cloud. It knows who asks for what, counts it, and can
// get into its way. Requests pass as they are, with the host name that they were
// signed for.
type gate struct {
	url string

	mu    sync.Mutex
	asked []asked
	rules []*rule
}

// asked is one request.
type asked struct{ operation, secret string }

// rule is what happens to the next n requests of an operation about a secret.
type rule struct {
	operation, secret string // "" = any
	n                 int    // negative = all
	do                fault
}

// fault answers a request in place of the cloud, which it may ask by forward.
type fault func(w http.ResponseWriter, forward func() *httptest.ResponseRecorder)

// newGate starts one; it ends with the test.
func newGate(t testing.TB, g *guarded) *gate {
	t.Helper()
	to, err := url.Parse(g.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	over := g.http.Clone()
	over.MaxIdleConnsPerHost = 64
	t.Cleanup(over.CloseIdleConnections)
	p := &gate{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		p.meets(asked{strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager."), secretIn(body)})(w, func() *httptest.ResponseRecorder {
			// What is lost on the way back was done all the same.
			out := r.Clone(context.WithoutCancel(t.Context()))
			out.URL.Scheme, out.URL.Host, out.RequestURI = to.Scheme, to.Host, ""
			out.Body = io.NopCloser(bytes.NewReader(body))
			rec := httptest.NewRecorder()
			resp, err := over.RoundTrip(out)
			if err != nil {
				rec.WriteHeader(http.StatusBadGateway)
				return rec
			}
			defer resp.Body.Close()
			maps.Copy(rec.Header(), resp.Header)
			rec.WriteHeader(resp.StatusCode)
			if _, err := io.Copy(rec, resp.Body); err != nil {
				panic(http.ErrAbortHandler)
			}
			return rec
		})
	}))
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of connections that are cut here
	s.Start()
	t.Cleanup(func() {
		s.CloseClientConnections() // who hangs would hang for long
		s.Close()
	})
	p.url = s.URL
	return p
}

// secretIn is the name of the secret that a request is about, "" for none.
func secretIn(body []byte) string {
	var in struct{ SecretId string }
	if json.Unmarshal(body, &in) != nil {
		return ""
	}
	if id, err := secrets.ParseID(in.SecretId); err == nil {
		return id.ARN.Name
	}
	return in.SecretId
}

func (p *gate) meets(a asked) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, a)
	for _, r := range p.rules {
		if r.n != 0 && (r.operation == "" || r.operation == a.operation) && (r.secret == "" || r.secret == a.secret) {
			r.n--
			return r.do
		}
	}
	return forwards
}

// on has the next n requests of an operation about a secret meet a fault, all with
// a negative n. mend ends it.
func (p *gate) on(operation, secret string, n int, do fault) (mend func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := &rule{operation, secret, n, do}
	p.rules = append(p.rules, r)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		r.n = 0
	}
}

// counted returns the operations about a secret since it was last asked, in order;
// "" = those about none.
func (p *gate) counted(secret string) (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = slices.DeleteFunc(p.asked, func(a asked) bool {
		if a.secret == secret {
			out = append(out, a.operation)
		}
		return a.secret == secret
	})
	return out
}

func pass(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), rec.Header())
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes()) // who asked may have gone
}

// forwards is no fault.
func forwards(w http.ResponseWriter, forward func() *httptest.ResponseRecorder) { pass(w, forward()) }

// says is a refusal in AWS's form, without having asked.
func says(status int, code, text string) fault {
	return func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) {
		w.Header().Set("X-Amzn-Requestid", "5e2d")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"__type":%q,"message":%q}`, code, text)
	}
}

var (
	throttles   = says(400, "ThrottlingException", "Rate exceeded")
	unavailable = says(503, "ServiceUnavailable", "Service is unavailable")
	failing     = says(500, "InternalServiceError", "An error occurred on the server side.")
)

// vanish cuts the connection.
func vanish(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// losesRequest cuts the connection before the cloud hears of it.
func losesRequest(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) { vanish(w) }

// losesAnswer cuts it after the cloud has done what was asked.
func losesAnswer(w http.ResponseWriter, forward func() *httptest.ResponseRecorder) {
	forward()
	vanish(w)
}

// slow answers late.
func slow(by time.Duration) fault {
	return func(w http.ResponseWriter, forward func() *httptest.ResponseRecorder) {
		time.Sleep(by)
		pass(w, forward())
	}
}

// then does something when the cloud has answered, before anybody hears of it.
func then(do func()) fault {
	return func(w http.ResponseWriter, forward func() *httptest.ResponseRecorder) {
		rec := forward()
		do()
		pass(w, rec)
	}
}

// before does something before the cloud is asked.
func before(do func()) fault {
	return func(w http.ResponseWriter, forward func() *httptest.ResponseRecorder) {
		do()
		pass(w, forward())
	}
}
