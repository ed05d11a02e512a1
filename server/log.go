package server

import (
	"context"
	"log/slog"
	"time"
)

// logged writes the access log's line.
func (s *Server) logged(e *exchange) {
	ctx := context.Background()
	if !s.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	operation := e.operation
	if operation == "" {
		operation = "unknown"
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs, slog.String("operation", operation))
	if e.who.Account != "" {
		attrs = append(attrs, slog.String("account", e.who.Account), slog.String("region", e.who.Region))
	}
	if e.secret != "" {
		attrs = append(attrs, slog.String("secret", e.secret))
	}
	attrs = append(attrs, slog.Int("status", e.status))
	if e.code != "" {
		attrs = append(attrs, slog.String("code", e.code))
	}
	attrs = append(attrs,
		slog.Duration("took", time.Since(e.start)), slog.Int("received", len(e.body)), slog.Int("sent", e.sent),
		slog.String("request", e.id), slog.String("remote", e.r.RemoteAddr))
	s.log.LogAttrs(ctx, slog.LevelInfo, "request", attrs...)
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
