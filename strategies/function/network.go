package function

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"

	"github.com/pawlhq/pawl/secrets"
)

// noticed has a request tell whether any of it was sent.
func noticed(ctx context.Context) (context.Context, *atomic.Bool) {
	sent := new(atomic.Bool)
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}), sent
}

// stay follows no redirect: a function is called where the operator said.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// broken classifies what kept a call from an answer; who is called, sent whether
// it may have been told.
func broken(ctx context.Context, who string, err error, sent bool) error {
	if e := over(ctx, who); e != nil {
		return e
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the URL may have a password, or a token
	}
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	var dns *net.DNSError
	var op *net.OpError
	switch {
	case errors.As(err, &certificate):
		return secrets.Errorf(secrets.Invalid, "%s can't be trusted: %w", who, certificate.Err).
			WithHint("give it a certificate for the name it is called by, and Pawl's machine its certificate authority (SSL_CERT_FILE; for the Lambda API also AWS_CA_BUNDLE)")
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, &plain):
		return secrets.Errorf(secrets.Invalid, "%s does not speak TLS", who).WithHint("write its address with http://")
	case sent:
		return secrets.Errorf(secrets.Unknown, "the connection broke before %s answered: %w", who, err).
			WithHint("it may have done the step; the rotation is tried again from its first step, which does no harm")
	case errors.As(err, &dns):
		return secrets.Errorf(secrets.Transient, "%s can't be called: cannot look up host %q: %s", who, dns.Name, dns.Err).
			WithHint("check the host name in its address")
	case errors.As(err, &op):
		return secrets.Errorf(secrets.Transient, "%s can't be called: %w", who, op).
			WithHint("is it running, and may this machine connect to it?")
	}
	return secrets.Errorf(secrets.Transient, "%s can't be called: %w", who, err).
		WithHint("can this machine reach it?")
}
