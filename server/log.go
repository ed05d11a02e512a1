package server

import (
	"context"
	"log/slog"
	"strings"
	"sync"
)

// What became of a request, in the audit line.
const (
	allowed   = "allowed"   // it was done
	denied    = "denied"    // the caller is known, and may not
	refused   = "refused"   // nobody knows who calls
	throttled = "throttled" // the caller has used up a quota
	failed    = "failed"    // anything else
)

// Exceptions that decide what a verdict is, in either protocol.
var verdicts = map[string]string{
	accessDenied: denied, "AccessDenied": denied,
	throttling: throttled, "Throttling": throttled,
}

func (e *exchange) verdict() string {
	switch {
	case e.refused:
		return refused
	case e.status < 300:
		return allowed
	}
	if v, ok := verdicts[e.code]; ok {
		return v
	}
	return failed
}

// audit writes the request's line: who did what to which secret, from where,
// and what became of it. It is written before the answer is sent, so that
// nobody has an answer without a line; only of the failures that one client
// adds to the 20 of a minute there is but a count (backoff).
//
// No value and nothing of a body is in it but names, and these only if they can
// be names. The key of a request that was refused is only what it claims.
func (s *Server) audit(e *exchange) {
	ctx := context.Background()
	if e.unlogged || !s.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	now := s.now()
	room := lines.Get().(*[17]slog.Attr)
	defer lines.Put(room)
	attrs := room[:0]
	add := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	action, key := e.action, e.who.AccessKey
	if action == "" {
		action = "unknown"
	}
	if e.refused {
		key = claimedKey(e.r.Header.Get("Authorization"))
	}
	if len(key) > maxKeyID {
		key = "" // only Dev takes those; a secret access key may stand in the id's place
	}
	add("verdict", e.verdict())
	add("action", action)
	add("secret", e.secret)
	add("role", e.role)
	add("issued", e.issued)
	add("principal", e.who.ARN)
	add("key", key)
	add("account", e.who.Account)
	add("region", e.who.Region)
	attrs = append(attrs, slog.Int("status", e.status))
	add("code", e.code)
	attrs = append(attrs, slog.Duration("took", now.Sub(e.start)), slog.Int("received", e.received), slog.Int("sent", e.sent))
	add("request", e.id)
	add("remote", e.r.RemoteAddr)
	attrs = append(attrs, slog.Bool("tls", e.r.TLS != nil))
	// A group without a name is no group; it spares a copy of all. The line says
	// nothing of where in the source it was written.
	line := slog.NewRecord(now, slog.LevelInfo, "request", 0)
	line.AddAttrs(slog.Attr{Value: slog.GroupValue(attrs...)})
	_ = s.log.Handler().Handle(ctx, line) // a log that can't be written has nobody to tell
}

// lines have room for what the audit says of a request. A handler has written
// the line when it returns, and keeps nothing of it.
var lines = sync.Pool{New: func() any { return new([17]slog.Attr) }}

// maxKeyID is the longest access key id that is logged. AWS's and Pawl's have 20
// characters, a secret access key has 40.
const maxKeyID = 32

// claimedKey returns the access key id of an Authorization header if it can be
// one. A credential with a further slash may hold a secret access key.
func claimedKey(header string) string {
	_, rest, _ := strings.Cut(header, "Credential=")
	rest, _, _ = strings.Cut(rest, ",")
	id, scope, _ := strings.Cut(rest, "/")
	if id == "" || len(id) > maxKeyID || strings.Count(scope, "/") != 3 {
		return ""
	}
	for i := range len(id) {
		if !idChars[id[i]] || strings.IndexByte("-/+=@!:", id[i]) >= 0 && id[i] != '-' {
			return ""
		}
	}
	return id
}

// maxLogged is the longest SecretId that is logged: an ARN with the longest
// name.
const maxLogged = 640

// loggable returns what was sent as a secret's name or ARN if it can be one:
// anything may stand there, a secret value by mistake.
func loggable(id string) string {
	if len(id) > maxLogged {
		return ""
	}
	for i := range len(id) {
		if !idChars[id[i]] {
			return ""
		}
	}
	return id
}

var idChars = func() (ok [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-/_+=.@!:") {
		ok[c] = true
	}
	return ok
}()
