// Package server is Secrets Manager over HTTP: AWS JSON 1.1 on POST /, so that
// the AWS command line and every SDK work against it by nothing but an endpoint
// URL. It decodes, asks who calls, checks, hands the request to package service
// and encodes the answer; it has no rules of its own about secrets.
//
// No value and no body is ever logged.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/service"
)

// Limits on what one client can hold, in bytes and time. All are far above what
// a request needs: the largest legal one is a value of 65,536 characters, each
// written as a pair of escapes.
const (
	maxBody        = 1 << 20
	smallBody      = 96 << 10 // the largest value in base64, and what belongs to it
	largeBodies    = 32       // larger ones at one time
	maxHeader      = 32 << 10
	maxConnections = 4096 // further ones wait to be accepted

	headerTime = 10 * time.Second // for the header to arrive
	readTime   = 30 * time.Second // for the whole request to arrive
	writeTime  = 2 * time.Minute  // from the header's end to the answer's
	idleTime   = 3 * time.Minute  // between requests; longer than SDKs keep a connection
	largeTime  = 5 * time.Second  // for a place for a large body
)

// Authenticator says who sent a request.
type Authenticator interface {
	// Authenticate returns the principal of a request whose body was read.
	// Errors are *secrets.Error with the Code of an AWS exception.
	Authenticate(r *http.Request, body []byte) (access.Principal, error)
}

// Config is what a Server is made of. Service and Auth are required.
type Config struct {
	Service *service.Service
	Auth    Authenticator
	Log     *slog.Logger // nil = no log
	// Health answers GET and HEAD on every path but /; nil = nothing there.
	Health http.Handler
	// TLS is how Serve speaks TLS; nil = plain HTTP. Serve makes it offer HTTP/1.1
	// and nothing else.
	TLS *tls.Config
	// RateLimits are every principal's quotas as a multiple of AWS's; 0 = none.
	RateLimits float64
	// STS makes session credentials for AssumeRole; nil = nobody can assume a role.
	STS STS
	// STSAuth authenticates requests to STS, which are signed for the service sts;
	// nil = there is no STS at this endpoint.
	STSAuth Authenticator
	Now     func() time.Time // nil = time.Now
}

// STS makes session credentials. A *principals.Directory is one.
type STS interface {
	// AssumeRole makes those of a role for who asks. Errors are *secrets.Error
	// with the Code of an STS exception, or without one: then the caller learns
	// nothing but that it failed.
	AssumeRole(ctx context.Context, caller access.Principal, roleARN string, n principals.NewSession) (*principals.Credentials, error)
}

// Server serves the API. It is an http.Handler too.
type Server struct {
	service  *service.Service
	auth     Authenticator
	log      *slog.Logger
	health   http.Handler
	now      func() time.Time
	limits   *limits // nil = none
	backoff  *backoff
	attached attached
	large    places // for bodies larger than smallBody
	patience time.Duration
	sts      STS           // nil = nobody can assume a role
	stsAuth  Authenticator // nil = no STS
	http     *http.Server
	tls      *tls.Config // nil = plain HTTP
}

// New makes a Server.
func New(c Config) *Server {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Server{
		service: c.Service, auth: c.Auth, log: c.Log, health: c.Health, now: c.Now,
		limits: newLimits(c.RateLimits), backoff: newBackoff(c.Log, c.Now),
		large: make(places, largeBodies), patience: largeTime,
		sts: c.STS, stsAuth: c.STSAuth,
	}
	if c.TLS != nil {
		s.tls = c.TLS.Clone()
		s.tls.NextProtos = []string{"http/1.1"}
	}
	only1 := new(http.Protocols)
	only1.SetHTTP1(true)
	s.http = &http.Server{
		Handler:           s,
		Protocols:         only1,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		WriteTimeout:      writeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(c.Log.Handler(), slog.LevelWarn),
	}
	return s
}

// Serve answers on l until Shutdown, and then returns nil at once. It closes l.
func (s *Server) Serve(l net.Listener) error {
	l = limit(l, maxConnections)
	if s.tls != nil {
		l = tls.NewListener(l, s.tls) // outermost: net/http must see a *tls.Conn
	}
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown stops accepting, ends delays, lets the requests under way finish until ctx ends,
// and then cuts them off; the error says that it had to.
func (s *Server) Shutdown(ctx context.Context) error {
	s.backoff.stop()
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close()
	}
	return err
}
