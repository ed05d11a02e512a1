package function

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/secrets"
)

// HTTP calls a function at a URL: a POST of the event as JSON, signed with a
// shared key (see Verify), to which a status of 2xx says that the step is done.
// Anything else is a failure, which a body {"errorType": …, "errorMessage": …}
// explains. docs/functions.md has the contract, the signature's making included.
type HTTP struct {
	URL    string
	Key    secrets.Password // what both sides sign with
	HTTP   *http.Client     // nil = one that uses no proxy; redirects are not followed
	Clock  clockwork.Clock  // nil = real time
	Random io.Reader        // nil = crypto/rand
}

// maxExplanation is how much of the body of a failure is read.
const maxExplanation = 64 << 10

// direct calls functions by a connection for each call, by no proxy of the
// environment. It waits as long as the caller does.
var direct = &http.Transport{
	DialContext:         (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
	TLSHandshakeTimeout: 10 * time.Second,
	ForceAttemptHTTP2:   true,
	DisableKeepAlives:   true,
}

// client is who sends the requests.
func (h *HTTP) client() *http.Client {
	c := http.Client{Transport: direct}
	if h.HTTP != nil {
		c = *h.HTTP
	}
	c.CheckRedirect = stay
	return &c
}

// address checks URL and Key.
func (h *HTTP) address() (*url.URL, error) {
	u, err := url.Parse(h.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, secrets.Errorf(secrets.Invalid, "the URL of the function is not one of HTTP").
			WithHint("write it as https://rotate.example.com/path")
	}
	if h.Key.IsEmpty() {
		return nil, secrets.Errorf(secrets.Invalid, "there is no key to sign the requests to %s with", whoAt(u)).
			WithHint("put one into the function's key_file: openssl rand -hex 32")
	}
	return u, nil
}

// whoAt names a function by its URL, without what may be a password or a token.
func whoAt(u *url.URL) string {
	return "the function at " + shown((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(), 300)
}

// Call implements Caller.
func (h *HTTP) Call(ctx context.Context, e Event) error {
	u, err := h.address()
	if err != nil {
		return err
	}
	who := whoAt(u)
	ctx, n := noticed(ctx)
	req, err := h.request(ctx, e)
	if err != nil {
		return err
	}
	resp, err := h.client().Do(noticing(req))
	if err != nil {
		return n.at(broken(ctx, who, err, n.sent.Load()))
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return nil
	}
	if resp.StatusCode/100 == 3 {
		return secrets.Errorf(secrets.Invalid, "%s answers %s, and redirects are not followed", who, statusText(resp.StatusCode)).
			WithHint("write the URL at which the function itself answers")
	}
	// What came until the connection broke explains as well as it can.
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxExplanation+1))
	err = h.failed(who, resp, body)
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		if _, _, explained := readFailure(body); !explained {
			return n.at(err) // of who stands before the function
		}
	}
	return err
}

// request makes a signed request.
func (h *HTTP) request(ctx context.Context, e Event) (*http.Request, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.URL, bytes.NewReader(body))
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "the URL of the function is not one of HTTP")
	}
	// The transport would send a request again by itself where it thinks that
	// nobody has seen it; when to do so is not its business.
	req.GetBody = nil
	random := h.Random
	if random == nil {
		random = rand.Reader
	}
	var delivery [16]byte
	if _, err := io.ReadFull(random, delivery[:]); err != nil {
		return nil, fmt.Errorf("making the id of a request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "pawl")
	sign(req.Header, h.Key, orReal(h.Clock).Now(), hex.EncodeToString(delivery[:]), body)
	return req, nil
}

// failed is the error of an answer that is no success.
func (h *HTTP) failed(who string, resp *http.Response, body []byte) error {
	f := failure{what: who + " answers " + statusText(resp.StatusCode)}
	cut := len(body) > maxExplanation
	var ok bool
	if f.kind, f.message, ok = readFailure(body); !ok {
		if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == "text/plain" {
			first, _, more := strings.Cut(strings.TrimSpace(string(body)), "\n")
			f.message, f.cut = first, cut && !more
		}
	}
	var hide redactor
	hide.add(h.Key.Reveal())
	f.message, f.cut = bounded(f.message, f.cut)
	f.message = hide.clean(f.message, f.cut)
	kind, known := kindOf(f.kind)
	if byStatus := kindOfStatus(resp.StatusCode); !known || resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		kind = byStatus
	}
	e := fail(kind, f)
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		e.Hint = "has it the key that is in the function's key_file, and do both clocks agree?"
	case http.StatusNotFound, http.StatusGone, http.StatusMethodNotAllowed:
		e.Hint = "look at the function's url in the configuration file"
	}
	return e
}

// Check implements Caller: somebody listens there, whose certificate is good.
func (h *HTTP) Check(ctx context.Context) error {
	u, err := h.address()
	if err != nil {
		return err
	}
	transport, ok := h.client().Transport.(*http.Transport)
	if !ok || transport.Proxy != nil {
		return nil
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	server := net.JoinHostPort(u.Hostname(), port)
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", server)
	if err != nil {
		return secrets.At(broken(ctx, whoAt(u), err, false), "", "", server)
	}
	defer conn.Close()
	if u.Scheme == "https" {
		c := transport.TLSClientConfig.Clone()
		if c == nil {
			c = &tls.Config{}
		}
		if c.ServerName == "" {
			c.ServerName = u.Hostname()
		}
		if err := tls.Client(conn, c).HandshakeContext(ctx); err != nil {
			return secrets.At(broken(ctx, whoAt(u), err, false), "", "", server)
		}
	}
	return nil
}

func statusText(code int) string {
	return strings.TrimSpace(fmt.Sprintf("%d %s", code, http.StatusText(code)))
}
