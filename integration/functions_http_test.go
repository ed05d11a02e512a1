package integration_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/events"
	"github.com/pawlhq/pawl/integration/lambdas"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies/function"
)

// receiver is a rotation function at a URL, as docs/functions.md has them: it
// checks each request's signature, and takes none twice.
type receiver struct {
	key secrets.Password

	mu    sync.Mutex
	do    func(r *http.Request, e lambdas.Event) error
	seen  map[string]bool // Pawl-Delivery
	heard []*http.Request // with bodies that can be read
}

func (s *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err == nil {
		err = function.Verify(s.key, r.Header, body, time.Now(), 0)
	}
	s.mu.Lock()
	again := s.seen[r.Header.Get(function.HeaderDelivery)]
	if err == nil {
		s.seen[r.Header.Get(function.HeaderDelivery)] = true
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.heard = append(s.heard, r)
	}
	do := s.do
	s.mu.Unlock()
	var e lambdas.Event
	switch {
	case err != nil, again:
		http.Error(w, "that is not Pawl's, or it came before", http.StatusUnauthorized)
	case json.Unmarshal(body, &e) != nil:
		http.Error(w, "no event", http.StatusBadRequest)
	default:
		if err := do(r, e); err != nil {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_ = json.NewEncoder(w).Encode(map[string]string{"errorType": "ValueError", "errorMessage": err.Error()})
		}
	}
}

// TestHTTPFunction: an endpoint that does the steps for whoever signs with the
// shared key, once.
func TestHTTPFunction(t *testing.T) {
	key := strings.Repeat("0123456789abcdef", 4)
	at := &receiver{key: secrets.NewPassword(key), seen: map[string]bool{}}
	server := httptest.NewServer(at)
	defer server.Close()
	f := newFunctions(t, "by_http", "  named: [{name: vendor, url: "+server.URL+"/rotate, key_file: vendor.key, timeout: 20s}]\n")
	function := steps{f.as(f.rotator, nil)}
	at.do = func(r *http.Request, e lambdas.Event) error { return function.do(r.Context(), e) }
	f.write("vendor.key", key+"\n")
	cred := user(t, f.db, "by_http")
	f.create("app", cred.Value())
	f.rotated("app", f.rotate("app", "vendor"))
	if len(at.heard) != 4 || at.heard[0].URL.Path != "/rotate" || at.heard[0].Header.Get("Content-Type") != "application/json" {
		t.Fatalf("heard %d requests: %v", len(at.heard), at.heard)
	}

	// Who overheard a request can't send it again.
	old := at.heard[0]
	again, err := http.NewRequest(http.MethodPost, server.URL+"/rotate", old.Body)
	if err != nil {
		t.Fatal(err)
	}
	again.Header = old.Header
	resp, err := http.DefaultClient.Do(again)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized || len(at.heard) != 5 {
		t.Errorf("%s, %d requests", resp.Status, len(at.heard))
	}

	// With another key Pawl is nobody to it, and is told so once; with the right
	// one the same version goes on.
	before := f.current("app")
	f.write("vendor.key", strings.Repeat("f", 64))
	version := f.rotate("app", "")
	s := f.failing("app")
	if s.Kind != "denied" || !strings.Contains(s.LastError, "has it the key that is in the function's key_file, and do both clocks agree?") || strings.Contains(s.LastError, key) {
		t.Errorf("%s: %s", s.Kind, s.LastError)
	}
	if now := f.current("app"); !now.Password().Equal(before.Password()) || f.db.Login(t.Context(), now) != nil {
		t.Error("AWSCURRENT has changed, or is locked out")
	}
	f.write("vendor.key", key)
	f.again("app", version)
	f.rotated("app", version)

	// Nobody there, and then somebody again.
	at.mu.Lock()
	at.do = func(*http.Request, lambdas.Event) error { panic(http.ErrAbortHandler) } // the connection breaks
	at.mu.Unlock()
	version = f.rotate("app", "")
	if s := f.failing("app"); s.Kind != "unknown" || !strings.Contains(s.LastError, "it may have done the step") {
		t.Errorf("%s: %s", s.Kind, s.LastError)
	}
	at.mu.Lock()
	at.do = func(r *http.Request, e lambdas.Event) error { return function.do(r.Context(), e) }
	at.mu.Unlock()
	f.rotated("app", version)
	f.hears("app", events.RotationFailed, events.RotationSucceeded)
}
