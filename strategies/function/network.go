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

// notice is what is known of a request besides its answer.
type notice struct {
	sent   atomic.Bool            // some of it was
	server atomic.Pointer[string] // host:port that was to be connected to
}

type noticeKey struct{}

// noticed has a request of ctx noticed, if it goes through noticing.
func noticed(ctx context.Context) (context.Context, *notice) {
	n := new(notice)
	return context.WithValue(ctx, noticeKey{}, n), n
}

// noticing is the request with its notice. Not all requests of one context are
// meant: the SDK asks others for credentials.
func noticing(req *http.Request) *http.Request {
	n, ok := req.Context().Value(noticeKey{}).(*notice)
	if !ok {
		return req
	}
	return req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		GetConn:      func(server string) { n.server.Store(&server) },
		WroteHeaders: func() { n.sent.Store(true) },
	}))
}

// at adds to an error the server that was called. That is of use to whoever asks
// whether servers answer.
func (n *notice) at(err error) error {
	if server := n.server.Load(); server != nil {
		return secrets.At(err, "", "", *server)
	}
	return err
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
