package function_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies/function"
)

var key = secrets.NewPassword("0123456789abcdef0123456789abcdef")

// receiver is a rotation function over HTTP, as one writes it in Go: it does
// only what it is told by requests that are good and new.
type receiver struct {
	mu     sync.Mutex
	seen   map[string]bool
	told   []string
	got    []*http.Request
	answer http.HandlerFunc
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b, _ := io.ReadAll(io.LimitReader(req.Body, 1<<16))
	if err := function.Verify(key, req.Header, b, time.Now(), 0); err != nil {
		http.Error(w, err.Error(), http.StatusUnauthorized)
		return
	}
	id := req.Header.Get(function.HeaderDelivery)
	r.mu.Lock()
	again, answer := r.seen[id], r.answer
	r.seen[id] = true
	if !again {
		r.told, r.got = append(r.told, string(b)), append(r.got, req)
	}
	r.mu.Unlock()
	switch {
	case again:
		http.Error(w, "this request came before", http.StatusForbidden)
	case answer != nil:
		answer(w, req)
	}
}

// next says what to answer from now on.
func (r *receiver) next(answer http.HandlerFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) requests() ([]*http.Request, []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got, r.told
}

func newReceiver(t *testing.T) (*receiver, *function.HTTP, *httptest.Server) {
	r := &receiver{seen: map[string]bool{}}
	s := httptest.NewServer(r)
	t.Cleanup(s.Close)
	return r, &function.HTTP{URL: s.URL + "/rotate?token=hidden", Key: key}, s
}

func TestPost(t *testing.T) {
	r, h, _ := newReceiver(t)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	for range 2 {
		if err := h.Call(t.Context(), event); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Check(t.Context()); err != nil {
		t.Error(err)
	}
	got, told := r.requests()
	if len(told) != 2 || told[0] != body || got[0].Header.Get(function.HeaderDelivery) == got[1].Header.Get(function.HeaderDelivery) {
		t.Fatalf("told %q, %v", told, got)
	}
	req := got[0]
	if req.Method != "POST" || req.RequestURI != "/rotate?token=hidden" || req.Header.Get("Content-Type") != "application/json" || req.UserAgent() != "pawl" {
		t.Errorf("got %s %s %v", req.Method, req.RequestURI, req.Header)
	}
	wrong := *h
	wrong.Key = secrets.NewPassword("another")
	want(t, wrong.Call(t.Context(), event), secrets.Denied, "401 Unauthorized", "not signed with this key", "key_file", "!hidden")
	late := *h
	late.Clock = clockwork.NewFakeClockAt(time.Now().Add(-6 * time.Minute))
	want(t, late.Call(t.Context(), event), secrets.Denied, "was signed 6m")
	again := *h
	again.Random = strings.NewReader(strings.Repeat("x", 32))
	if err := again.Call(t.Context(), event); err != nil {
		t.Error(err)
	}
	want(t, again.Call(t.Context(), event), secrets.Denied, "came before")
	again.Random = strings.NewReader("x")
	want(t, again.Call(t.Context(), event), secrets.Unknown, "id of a request")
}

// What docs tell people to compute is what is sent.
func TestSignatureByHand(t *testing.T) {
	r, h, _ := newReceiver(t)
	if err := h.Call(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	asked, told := r.requests()
	head := asked[0].Header
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	io.WriteString(mac, head.Get("Pawl-Timestamp")+"."+head.Get("Pawl-Delivery")+"."+told[0])
	if got := head.Get("Pawl-Signature"); got != "v1="+hex.EncodeToString(mac.Sum(nil)) {
		t.Errorf("signed %s", got)
	}
	if at, err := strconv.ParseInt(head.Get("Pawl-Timestamp"), 10, 64); err != nil || time.Since(time.Unix(at, 0)) > time.Minute {
		t.Errorf("at %s", head.Get("Pawl-Timestamp"))
	}
}

// Nothing of a signed request can be changed.
func TestVerifyRefusesWhatWasAltered(t *testing.T) {
	r, h, _ := newReceiver(t)
	if err := h.Call(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	asked, _ := r.requests()
	head, now := asked[0].Header, time.Now()
	altered := func(name, value string) http.Header {
		c := head.Clone()
		c.Set(name, value)
		return c
	}
	signature := head.Get(function.HeaderSignature)
	stamp := head.Get(function.HeaderTimestamp)
	for what, c := range map[string]struct {
		key  secrets.Password
		head http.Header
		body string
		now  time.Time
		text string
	}{
		"key":              {secrets.NewPassword("x"), head, body, now, "not signed"},
		"no key":           {secrets.Password{}, head, body, now, "no key"},
		"body":             {key, head, body + " ", now, "not signed"},
		"no body":          {key, head, "", now, "not signed"},
		"timestamp":        {key, altered(function.HeaderTimestamp, stamp+"0"), body, now, "not signed"},
		"timestamp +":      {key, altered(function.HeaderTimestamp, "+"+stamp), body, now, "not signed"},
		"bad timestamp":    {key, altered(function.HeaderTimestamp, "now"), body, now, "seconds"},
		"no timestamp":     {key, altered(function.HeaderTimestamp, ""), body, now, "exactly one"},
		"delivery":         {key, altered(function.HeaderDelivery, "00"), body, now, "not signed"},
		"shifted":          {key, altered(function.HeaderDelivery, head.Get(function.HeaderDelivery)+"."), body, now, "hexadecimal"},
		"no delivery":      {key, altered(function.HeaderDelivery, ""), body, now, "exactly one"},
		"version":          {key, altered(function.HeaderSignature, "v2"+signature[2:]), body, now, "v1="},
		"short":            {key, altered(function.HeaderSignature, signature[:20]), body, now, "not signed"},
		"empty":            {key, altered(function.HeaderSignature, "v1="), body, now, "not signed"},
		"no hex":           {key, altered(function.HeaderSignature, "v1=zz"), body, now, "not signed"},
		"old":              {key, head, body, now.Add(6 * time.Minute), "ago"},
		"from the future":  {key, head, body, now.Add(-6 * time.Minute), "ago"},
		"no header at all": {key, http.Header{}, body, now, "exactly one"},
	} {
		err := function.Verify(c.key, c.head, []byte(c.body), c.now, 0)
		if secrets.KindOf(err) != secrets.Denied || err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v", what, err)
		}
	}
	two := head.Clone()
	two.Add(function.HeaderSignature, signature)
	if function.Verify(key, two, []byte(body), now, 0) == nil {
		t.Error("two signatures are good")
	}
	if err := function.Verify(key, head, []byte(body), now.Add(6*time.Minute), time.Hour); err != nil {
		t.Errorf("with more tolerance: %v", err)
	}
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(body)
		b[rapid.IntRange(0, len(b)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "bits"))
		if function.Verify(key, head, b, now, 0) == nil {
			t.Fatalf("%q is good", b)
		}
	})
}

func TestAnswers(t *testing.T) {
	r, h, _ := newReceiver(t)
	answer := func(status int, media, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.WriteHeader(status)
			io.WriteString(w, text)
		}
	}
	const json = "application/json"
	for what, c := range map[string]struct {
		answer http.HandlerFunc
		kind   secrets.Kind
		texts  []string
	}{
		"200":           {answer(200, json, `{"errorType":"X"}`), 0, nil},
		"204":           {answer(204, "", ""), 0, nil},
		"202, 100 MB":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(202); flood(w) }, 0, nil},
		"explained":     {answer(500, json, `{"errorType":"ValueError","errorMessage":"no such user"}`), secrets.Invalid, []string{"500 Internal Server Error: ValueError: no such user"}},
		"transient":     {answer(500, json, `{"errorType":"LockTimeout","errorMessage":"busy"}`), secrets.Transient, []string{"busy"}},
		"transient 4xx": {answer(409, json, `{"errorType":"LockTimeout","errorMessage":"busy"}`), secrets.Transient, nil},
		"its own":       {answer(500, json, `{"errorType":"Refused","errorMessage":"no"}`), secrets.Denied, []string{"Refused: no"}},
		"500":           {answer(500, "text/html", "<html>secret"), secrets.Denied, []string{"did not say why", "!secret"}},
		"text":          {answer(500, "text/plain; charset=utf-8", "it\x1b[31m broke\nat line 7"), secrets.Denied, []string{"it broke", "!line 7"}},
		"429":           {answer(429, "", ""), secrets.Transient, []string{"429 Too Many Requests"}},
		"502":           {answer(502, "", ""), secrets.Transient, nil},
		"503":           {answer(503, "", ""), secrets.Transient, nil},
		"504":           {answer(504, "", ""), secrets.Transient, nil},
		"403":           {answer(403, json, `{"errorType":"LockTimeout","errorMessage":"who?"}`), secrets.Denied, []string{"who?", "key_file"}},
		"404":           {answer(404, "", ""), secrets.Invalid, []string{"function's url"}},
		"410":           {answer(410, "", ""), secrets.Invalid, nil},
		"400":           {answer(400, json, `{"errorMessage":"what?"}`), secrets.Invalid, []string{"what?"}},
		"600":           {answer(699, "", ""), secrets.Denied, []string{"699"}},
		"500, 100 MB":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500); flood(w) }, secrets.Denied, []string{"spam and eggs"}},
		"redirect": {func(w http.ResponseWriter, req *http.Request) {
			http.Redirect(w, req, "/other", http.StatusSeeOther)
		}, secrets.Invalid, []string{"303", "redirects are not followed"}},
		"the key": {answer(500, "text/plain", "your key is "+key.Reveal()), secrets.Denied, []string{"your key is [redacted]"}},
	} {
		t.Run(what, func(t *testing.T) {
			r.next(c.answer)
			before, _ := r.requests()
			err := h.Call(t.Context(), event)
			if after, _ := r.requests(); len(after) != len(before)+1 {
				t.Errorf("asked %d times", len(after)-len(before))
			}
			if c.kind == 0 {
				if err != nil {
					t.Error(err)
				}
				return
			}
			want(t, err, c.kind, append(c.texts, "the function at http://127.0.0.1:", "!hidden")...)
		})
	}
}

func TestNoOneThere(t *testing.T) {
	r, h, s := newReceiver(t)
	r.next(func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := http.NewResponseController(w).Hijack()
		c.Close()
	})
	want(t, h.Call(t.Context(), event), secrets.Unknown, "before the function at http://127.0.0.1:", "!hidden")
	s.Close()
	for _, err := range []error{h.Call(t.Context(), event), h.Check(t.Context())} {
		want(t, err, secrets.Transient, "connection refused", "!hidden")
	}
	h.URL = "http://nowhere.invalid/"
	for _, err := range []error{h.Call(t.Context(), event), h.Check(t.Context())} {
		want(t, err, secrets.Transient, "nowhere.invalid")
	}
	for _, bad := range []string{"", "rotate.example.com", "ftp://x/", "http://", "http://u:pass word@x/", "http:///x"} {
		h := function.HTTP{URL: bad, Key: key}
		want(t, h.Call(t.Context(), event), secrets.Invalid, "URL", "!pass word")
		want(t, h.Check(t.Context()), secrets.Invalid, "URL", "!pass word")
	}
	h = &function.HTTP{URL: s.URL}
	want(t, h.Check(t.Context()), secrets.Invalid, "key_file")
}

func TestTheEndpointHangs(t *testing.T) {
	hang := make(chan struct{})
	r, h, _ := newReceiver(t)
	r.next(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-req.Context().Done():
		case <-hang:
		}
	})
	defer close(hang)
	limited := function.Rotation{Caller: h, Limit: 50 * time.Millisecond}
	want(t, limited.Do(t.Context(), "setSecret", secret, version, none), secrets.Transient, "did not end in time")

	// It takes the connection and then says nothing.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	h.URL = "https://" + l.Addr().String()
	want(t, limited.Check(t.Context(), secret), secrets.Transient, "did not end in time")
}

func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(&receiver{seen: map[string]bool{}})
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail
	s.StartTLS()
	defer s.Close()
	h := &function.HTTP{URL: s.URL, Key: key}
	for _, err := range []error{h.Call(t.Context(), event), h.Check(t.Context())} {
		want(t, err, secrets.Invalid, "can't be trusted", "certificate authority")
	}
	h.HTTP = s.Client()
	for _, err := range []error{h.Call(t.Context(), event), h.Check(t.Context())} {
		if err != nil {
			t.Error(err)
		}
	}
	s.Client().CloseIdleConnections()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	h = &function.HTTP{URL: strings.Replace(plain.URL, "http:", "https:", 1), Key: key}
	for _, err := range []error{h.Call(t.Context(), event), h.Check(t.Context())} {
		want(t, err, secrets.Invalid, "does not speak TLS", "http://")
	}
}

// TestWhoDoesNotAnswer: who can't be called is named as the server, by which the
// scheduler knows that it is no single secret's trouble; what a function says of
// itself names none.
func TestWhoDoesNotAnswer(t *testing.T) {
	_, h, s := newReceiver(t)
	mux := http.NewServeMux()
	mux.HandleFunc("/busy", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) })
	mux.HandleFunc("/explained", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(503)
		io.WriteString(w, `{"errorType":"OperationalError","errorMessage":"the database sleeps"}`)
	})
	mux.HandleFunc("/cut", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	up := httptest.NewServer(mux)
	defer up.Close()
	s.Close()
	gone := strings.TrimPrefix(s.URL, "http://")
	there := strings.TrimPrefix(up.URL, "http://")
	credentials(t)
	lambda := func(endpoint string) *function.Lambda {
		api, err := function.NewInvokeAPI(t.Context(), function.LambdaConfig{Endpoint: endpoint})
		if err != nil {
			t.Fatal(err)
		}
		return &function.Lambda{API: api, ARN: functionARN}
	}
	throttled := httptest.NewServer(exception(429, "TooManyRequestsException", "Rate Exceeded."))
	defer throttled.Close()
	fails := httptest.NewServer(functionFails(`{"errorType":"OperationalError","errorMessage":"the database sleeps"}`))
	defer fails.Close()
	for _, c := range []struct {
		what   string
		err    error
		server string
	}{
		{"called, nobody there", h.Call(t.Context(), event), gone},
		{"checked, nobody there", h.Check(t.Context()), gone},
		{"a gateway's 503", (&function.HTTP{URL: up.URL + "/busy", Key: h.Key}).Call(t.Context(), event), there},
		{"cut", (&function.HTTP{URL: up.URL + "/cut", Key: h.Key}).Call(t.Context(), event), there},
		{"the function's own 503", (&function.HTTP{URL: up.URL + "/explained", Key: h.Key}).Call(t.Context(), event), ""},
		{"no Lambda", lambda(s.URL).Call(t.Context(), event), gone},
		{"Lambda throttles", lambda(throttled.URL).Call(t.Context(), event), strings.TrimPrefix(throttled.URL, "http://")},
		{"a function of Lambda's fails", lambda(fails.URL).Call(t.Context(), event), ""},
	} {
		var e *secrets.Error
		if !errors.As(c.err, &e) || e.Server != c.server {
			t.Errorf("%s: %v names %+v, want %q", c.what, c.err, e, c.server)
		}
	}
}
