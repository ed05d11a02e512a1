package server

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server/wire"
)

// exchange is one request and its answer.
type exchange struct {
	w     http.ResponseWriter
	r     *http.Request
	start time.Time
	id    string
	query bool // it speaks AWS Query, which is STS's protocol, and not JSON

	who       access.Principal
	operation string // its name; "" while unknown
	action    string // the operation as policies call it
	secret    string // the SecretId or Name as sent, if it can be one
	body      []byte
	received  int
	// What AssumeRole is about: the role as sent, if it can be one, and the id of
	// the access key that was made.
	role, issued string

	refused  bool // the caller could not be authenticated
	unlogged bool // the audit has a count instead of a line
	large    bool // it has one of the places for large bodies
	status   int  // 0 = nothing was answered
	code     string
	sent     int
	headers  [2]string // the answer's, so that each needs no memory of its own
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.health != nil && r.URL.Path != "/" && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		s.health.ServeHTTP(w, r)
		return
	}
	e := exchange{w: w, r: r, start: s.now(), id: newRequestID()}
	defer s.caught(&e)
	if err := s.answer(&e); err != nil {
		s.refuse(&e, err)
	}
}

// answer does a request's steps in AWS's order: operation, size, principal,
// quota, form, bounds, rights, rules. It has not answered where it returns an
// error, and holds no memory for the request then, which may have to wait.
func (s *Server) answer(e *exchange) error {
	op, err := s.route(e)
	if err != nil {
		return err
	}
	if op != nil {
		e.operation, e.action = op.name, op.action
	}
	in, out := buffers.Get().(*[]byte), buffers.Get().(*[]byte)
	defer release(in)
	defer release(out)
	e.body, err = s.readBody(e, *in)
	defer s.dropBody(e)
	*in, e.received = e.body, len(e.body)
	if err != nil {
		return err
	}
	if e.query {
		return s.answerSTS(e, out)
	}
	if err := s.admit(e, s.auth); err != nil {
		return err
	}
	result, err := op.run(s, e)
	if err != nil {
		return err
	}
	if result == nil {
		s.reply(e, http.StatusOK, nil)
		return nil
	}
	b, err := wire.Append((*out)[:0], result)
	*out = b
	if err != nil {
		return err
	}
	s.reply(e, http.StatusOK, b)
	return nil
}

// admit finds out who calls, and takes the request from his quota.
func (s *Server) admit(e *exchange, auth Authenticator) (err error) {
	if e.who, err = auth.Authenticate(e.r, e.body); err != nil {
		// Not so where a store failed: that is no fault of the caller's.
		e.refused = secrets.KindOf(err) == secrets.Denied
		return err
	}
	if !s.limits.allow(&e.who, e.action, e.start) {
		return &refusal{http.StatusBadRequest, throttling, "Rate exceeded"}
	}
	return nil
}

// route finds the operation, or that a request is for STS, whose operations
// stand in the body. Only POST / has any; everything else is answered in the
// same form, with HTTP's own status.
func (s *Server) route(e *exchange) (*operation, error) {
	r := e.r
	if r.URL.Path != "/" && r.URL.Path != "" {
		return nil, &refusal{status: http.StatusNotFound, code: unknownOperation}
	}
	if r.Method != http.MethodPost {
		return nil, &refusal{status: http.StatusMethodNotAllowed, code: unknownOperation}
	}
	op := operations[r.Header.Get(wire.TargetHeader)]
	if op == nil {
		if e.query = s.stsAuth != nil && isForm(r.Header); e.query {
			return nil, nil
		}
		return nil, &refusal{status: http.StatusBadRequest, code: unknownOperation}
	}
	return op, nil
}

// refusal is an answer that is not the service's.
type refusal struct {
	status     int
	code, text string
}

func (r *refusal) Error() string { return r.code + ": " + r.text }

// Exceptions that the layers before the service give.
const (
	unknownOperation = "UnknownOperationException"
	tooLarge         = "RequestEntityTooLargeException"
	timedOut         = "RequestTimeoutException"
	badForm          = "SerializationException"
	accessDenied     = "AccessDeniedException"
	throttling       = "ThrottlingException"
	internal         = "InternalServiceError"

	internalText = "An error occurred on the server side."
)

// readBody reads the body to the end of b. One that is too large is not read
// at all where its length is announced, and not further than the limit
// otherwise. It is taken as it is, whatever Content-Encoding says: no AWS
// client compresses requests to this service.
//
// Nobody knows yet who sends it. So only some bodies may be larger than nearly
// all are, lest strangers fill the memory with them; others wait for a place.
func (s *Server) readBody(e *exchange, b []byte) ([]byte, error) {
	r := e.r
	b = b[:0]
	if r.ContentLength > maxBody {
		return b, errTooLarge
	}
	for {
		if len(b) >= smallBody && !e.large {
			if e.large = s.large.take(s.patience); !e.large {
				return b, &refusal{http.StatusBadRequest, throttling, "Rate exceeded"}
			}
		}
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Body.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case len(b) > maxBody:
			return b, errTooLarge
		case err == nil:
		case err == io.EOF:
			return b, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return b, &refusal{http.StatusRequestTimeout, timedOut, "The request did not arrive in time."}
		default:
			return b, &refusal{status: http.StatusBadRequest, code: badForm}
		}
	}
}

var errTooLarge = &refusal{http.StatusRequestEntityTooLarge, tooLarge, fmt.Sprintf("Request body exceeds the limit of %d bytes.", maxBody)}

// places are so many that can be taken at one time.
type places chan struct{}

// take waits for a place, but not for long.
func (p places) take(patience time.Duration) bool {
	select {
	case p <- struct{}{}:
		return true
	default:
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case p <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// dropBody gives up the body, and its place.
func (s *Server) dropBody(e *exchange) {
	if e.body = nil; e.large {
		e.large = false
		<-s.large
	}
}

// buffers are for bodies. They have held secrets, so what was written into one is
// wiped; a large one is not kept.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

func release(b *[]byte) {
	if cap(*b) > 128<<10 {
		return
	}
	used := len(*b)
	if used == 0 { // or a panic came before anybody could say how much
		used = cap(*b)
	}
	clear((*b)[:used])
	*b = (*b)[:0]
	buffers.Put(b)
}

// refuse answers with an error. What is not an exception of AWS's is told to
// the log and not to the client, who learns that trying again may help. Who
// keeps failing to authenticate has to wait for the answer.
func (s *Server) refuse(e *exchange, err error) {
	h := e.w.Header()
	if e.refused {
		held, crowded := s.backoff.failed(e.r.Context(), e.r.RemoteAddr)
		if e.unlogged = held; crowded {
			h["Connection"] = []string{"close"}
		}
	} else if e.r.Context().Err() != nil {
		// Most likely nobody is there to hear; one who only stopped sending is.
		e.code = "canceled"
		s.fault(e, http.StatusInternalServerError, internal, internalText)
		return
	}
	status, text := http.StatusBadRequest, ""
	var before *refusal
	var known *secrets.Error
	switch {
	case errors.As(err, &before):
		status, e.code, text = before.status, before.code, before.text
	case errors.As(err, &known) && known.Code != "":
		if e.code = known.Code; known.Err != nil {
			text = known.Err.Error()
		}
	}
	unsaid := e.code == "DecryptionFailure" || e.code == "EncryptionFailure" // why a key is no use is not the caller's to know
	level := slog.LevelError
	// Nor why a rotation function can't be called, in more words than AWS's.
	if e.code == accessDenied && e.operation == "RotateSecret" && known != nil && known.Hint != "" {
		unsaid, level = true, slog.LevelWarn
	}
	if e.code == "" || e.code == internal {
		status, e.code, text, unsaid = http.StatusInternalServerError, internal, internalText, true
	}
	if unsaid {
		s.log.LogAttrs(context.Background(), level, "a request failed",
			slog.String("operation", e.operation), slog.String("secret", e.secret), slog.String("request", e.id), slog.Any("error", err))
	}
	switch status {
	case http.StatusMethodNotAllowed:
		h["Allow"] = []string{http.MethodPost}
	case http.StatusRequestEntityTooLarge, http.StatusRequestTimeout:
		h["Connection"] = []string{"close"} // the rest of the body is not wanted
	}
	s.fault(e, status, e.code, text)
}

// fault answers with an exception, in the form of the request's protocol.
func (s *Server) fault(e *exchange, status int, code, text string) {
	if e.query {
		s.faultSTS(e, status, code, text)
		return
	}
	s.reply(e, status, wire.AppendFault(nil, code, text))
}

var contentType = []string{wire.ContentType}

// reply sends the answer, once its line is in the audit.
func (s *Server) reply(e *exchange, status int, body []byte) {
	e.status, e.sent = status, len(body)
	s.audit(e)
	e.headers = [2]string{e.id, strconv.Itoa(len(body))}
	h := e.w.Header()
	h["x-amzn-RequestId"] = e.headers[0:1:1] // AWS's spelling, for clients that look at it
	h["Content-Length"] = e.headers[1:2:2]
	if h["Content-Type"] = contentType; e.query {
		h["Content-Type"] = xmlType
	}
	e.w.WriteHeader(status)
	if len(body) > 0 {
		_, _ = e.w.Write(body) // a client that is gone needs no answer
	}
}

// caught answers after a panic.
func (s *Server) caught(e *exchange) {
	thrown := recover()
	if thrown == nil {
		return
	}
	s.log.LogAttrs(context.Background(), slog.LevelError, "a request panicked; please report this",
		slog.String("operation", e.operation), slog.String("request", e.id), slog.String("panic", secrets.Thrown(thrown)), slog.String("stack", string(debug.Stack())))
	if e.status != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look like a whole one
	}
	e.code = internal
	s.fault(e, http.StatusInternalServerError, internal, internalText)
}

// newRequestID makes a random UUID. It only has to be unlike the others.
func newRequestID() string {
	var b [16]byte
	a, c := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		b[i], b[8+i] = byte(a>>(8*i)), byte(c>>(8*i))
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	var s [36]byte
	hex.Encode(s[:8], b[:4])
	hex.Encode(s[9:13], b[4:6])
	hex.Encode(s[14:18], b[6:8])
	hex.Encode(s[19:23], b[8:10])
	hex.Encode(s[24:], b[10:])
	s[8], s[13], s[18], s[23] = '-', '-', '-', '-'
	return string(s[:])
}
