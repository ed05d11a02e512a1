// Package lambdas stands in for AWS Lambda in tests: a server that speaks the
// Invoke API and runs rotation functions, in Go or in Python, as Lambda would.
package lambdas

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Event is what a rotation function is told.
type Event struct {
	Step, SecretId, ClientRequestToken string
}

// Func is a function. What it returns is the payload of the answer; an error is
// reported as Lambda reports one that the function raised, and a *Failure as it
// says.
type Func func(ctx context.Context, payload []byte) ([]byte, error)

// Failure is a function's error with a type.
type Failure struct{ Type, Message string }

func (f *Failure) Error() string { return f.Type + ": " + f.Message }

// Server runs functions by name.
type Server struct {
	URL string

	mu        sync.Mutex
	functions map[string]Func
	events    []Event
}

// Start starts a Server, which ends with the test.
func Start(t testing.TB) *Server {
	s := &Server{functions: map[string]Func{}}
	h := httptest.NewServer(s)
	s.URL = h.URL
	t.Cleanup(h.Close)
	return s
}

// Put makes a function, or replaces it.
func (s *Server) Put(name string, f Func) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.functions[name] = f
}

// Remove has the function be there no more.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.functions, name)
}

// Events are the events that functions got so far.
func (s *Server) Events() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Event(nil), s.events...)
}

// ServeHTTP is the Invoke API: POST /2015-03-31/functions/NAME/invocations.
// Source: AWS Lambda API reference, "Invoke".
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, "/2015-03-31/functions/")
	name, ok2 := strings.CutSuffix(rest, "/invocations")
	if r.Method != http.MethodPost || !ok || !ok2 {
		http.NotFound(w, r)
		return
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 ") {
		fault(w, http.StatusForbidden, "MissingAuthenticationTokenException", "Missing Authentication Token")
		return
	}
	if i := strings.LastIndex(name, ":function:"); i >= 0 {
		name = name[i+len(":function:"):]
	}
	name, _, _ = strings.Cut(name, ":")
	payload, err := io.ReadAll(io.LimitReader(r.Body, 6<<20))
	if err != nil {
		return
	}
	s.mu.Lock()
	f := s.functions[name]
	s.mu.Unlock()
	if f == nil {
		fault(w, http.StatusNotFound, "ResourceNotFoundException", "Function not found: "+name)
		return
	}
	if r.Header.Get("X-Amz-Invocation-Type") == "DryRun" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	var e Event
	if json.Unmarshal(payload, &e) == nil {
		s.mu.Lock()
		s.events = append(s.events, e)
		s.mu.Unlock()
	}
	out, err := f(r.Context(), payload)
	if err != nil {
		failure, ok := err.(*Failure)
		if !ok {
			failure = &Failure{"Error", err.Error()}
		}
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		out, _ = json.Marshal(map[string]any{
			"errorMessage": failure.Message, "errorType": failure.Type,
			"stackTrace": []string{"  File \"/var/task/lambda_function.py\", line 1, in lambda_handler\n"},
		})
	}
	w.Header().Set("X-Amz-Executed-Version", "$LATEST")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(out)
}

func fault(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("X-Amzn-ErrorType", code)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"Type":"User","Message":%q}`, text)
}
