// Package client calls a running Pawl, or AWS Secrets Manager itself, over
// HTTP: the operations of package service with the same inputs and outputs, so
// that who works on a store can work on a server instead.
//
// Errors are *secrets.Error as the service's are: Code is AWS's exception, the
// text of Err AWS's own, Secret and Hint are added here.
package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/cenkalti/backoff/v4"

	"github.com/pawlhq/pawl/awsenv"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server/wire"
)

const (
	// signingName is the service in a signature's scope.
	signingName = "secretsmanager"
	// answerTime bounds one try of an operation that the server answers at once.
	answerTime = 30 * time.Second
	// maxAnswer bounds an answer, in bytes: twenty values of 65,536 characters in
	// escapes, and room.
	maxAnswer = 16 << 20
	// wantsTLS is how Go's server begins its answer to plain HTTP where it speaks
	// TLS.
	wantsTLS = "Client sent an HTTP request to an HTTPS server"
	// tries is how often a request is sent at most.
	tries = 4
)

// Config is what a Client is made of. Endpoint, Region and Credentials are
// required.
type Config struct {
	Endpoint    string // http://127.0.0.1:4566
	Store       bool   // see AWS
	Region      string // where the requests act
	Credentials aws.CredentialsProvider
	Transport   http.RoundTripper // nil = http.DefaultTransport
	Timer       backoff.Timer     // waits between tries; nil = real time
}

// Client calls one server. It is safe for concurrent use unless Timer is set.
type Client struct {
	config Config
	server string // host:port, for errors
	signer *v4.Signer
	http   *http.Client
}

// New makes a Client. Errors are Invalid: the endpoint or the region is none.
func New(c Config) (*Client, error) {
	u, err := parseEndpoint(c.Endpoint)
	if err != nil {
		return nil, err
	}
	if err := checkRegion(c.Region); err != nil {
		return nil, err
	}
	c.Endpoint = u.Scheme + "://" + u.Host + "/"
	return &Client{
		config: c, server: u.Host, signer: v4.NewSigner(),
		http: &http.Client{
			Transport: c.Transport,
			// A request holds values and a signature: it goes where it was meant to.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// parseEndpoint reads a server's address.
func parseEndpoint(text string) (*url.URL, error) {
	u, ok := awsenv.ParseEndpoint(text)
	if !ok {
		return nil, secrets.Errorf(secrets.Invalid, "the endpoint is not the address of a server").
			WithHint("write it as http://127.0.0.1:4566: scheme, host and port, and nothing else")
	}
	return u, nil
}

// An operation is what is called.
type operation struct {
	target string // secretsmanager.GetSecretValue
	// once: sent again after its first answer was lost, it would fail or do
	// something else. All others give the same answer again, by their token or
	// by their nature.
	once bool
	// slow: the server answers when the work is done, in the caller's time.
	slow bool
}

// call sends one request about a secret, again and again while that may help,
// and reads the answer into a new Out.
func call[Out any](ctx context.Context, c *Client, op operation, secret string, in any) (*Out, error) {
	body, err := wire.Marshal(in)
	if err != nil {
		return nil, err
	}
	defer clear(body) // it may hold a value
	policy := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(100*time.Millisecond), backoff.WithMaxInterval(2*time.Second),
		backoff.WithRandomizationFactor(0), backoff.WithMaxElapsedTime(0))
	var out *Out
	var last error
	err = backoff.RetryNotifyWithTimer(func() error {
		answer, err := c.send(ctx, op, body)
		if err == nil {
			out = new(Out)
			err = c.read(answer, out)
		}
		if err != nil && last != nil && ctx.Err() != nil && secrets.KindOf(err) == secrets.Transient {
			return err // cut off: what went before says more
		}
		if last = err; err != nil && secrets.KindOf(err) != secrets.Transient {
			return backoff.Permanent(err)
		}
		return err
	}, backoff.WithContext(backoff.WithMaxRetries(fullJitter{policy}, tries-1), ctx), nil, c.config.Timer)
	if err != nil {
		return nil, c.explain(last, secret) // err, where ctx ended meanwhile, says less
	}
	return out, nil
}

// fullJitter waits a random part of what the policy says.
type fullJitter struct{ backoff.BackOff }

func (j fullJitter) NextBackOff() time.Duration {
	d := j.BackOff.NextBackOff()
	if d <= 0 {
		return d // Stop
	}
	return rand.N(d)
}

// send sends one request once and returns the answer's body. Errors: Transient
// where sending it again may help and does no harm, Unknown where it may have
// taken effect and must not be sent again.
func (c *Client) send(ctx context.Context, op operation, body []byte) ([]byte, error) {
	if !op.slow {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, answerTime)
		defer cancel()
	}
	var left atomic.Bool // the request, or a part of it, was sent
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteHeaders: func() { left.Store(true) },
	})
	req, err := c.request(ctx, op, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	var answer []byte
	if err == nil {
		defer resp.Body.Close()
		answer, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	}
	if err != nil {
		return nil, c.broken(ctx, err, op.once && left.Load())
	}
	if resp.StatusCode == http.StatusBadRequest && bytes.HasPrefix(answer, []byte(wantsTLS)) {
		return nil, &secrets.Error{Kind: secrets.Invalid, Server: c.server, Err: errors.New("it speaks TLS, and was sent plain HTTP"),
			Hint: "write the endpoint with https://"}
	}
	if resp.StatusCode != http.StatusOK {
		fault := wire.ReadFault(resp.StatusCode, answer)
		if op.once && resp.StatusCode >= 500 {
			fault.Kind = secrets.Unknown
		}
		return nil, fault
	}
	return answer, nil
}

// request makes a signed request.
func (c *Client) request(ctx context.Context, op operation, body []byte) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.config.Endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	// The transport would send a request again by itself where it thinks that
	// nobody has seen it; when to do so is decided here.
	req.GetBody = nil
	req.Header.Set("Content-Type", wire.ContentType)
	req.Header.Set(wire.TargetHeader, op.target)
	req.Header.Set("User-Agent", "pawl")
	cred, err := c.config.Credentials.Retrieve(ctx)
	if err != nil {
		return nil, noCredentials(err)
	}
	hash := sha256.Sum256(body)
	err = c.signer.SignHTTP(ctx, cred, req, hex.EncodeToString(hash[:]), signingName, c.config.Region, time.Now())
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "signing the request: %w", err)
	}
	return req, nil
}

// read decodes an answer; an empty one is that of an operation without any.
func (c *Client) read(answer []byte, into any) error {
	defer clear(answer)
	if len(answer) == 0 {
		return nil
	}
	if _, err := wire.Unmarshal(answer, into); err != nil {
		// Nothing of err: it was made for requests.
		return &secrets.Error{Kind: secrets.Invalid, Server: c.server, Err: errors.New("the answer can't be read"),
			Hint: "is this Pawl, and of the same version?"}
	}
	return nil
}

// broken classifies the end of a connection.
func (c *Client) broken(ctx context.Context, err error, maybeDone bool) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the URL: the server is named anyway
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	e := &secrets.Error{Kind: secrets.Transient, Server: c.server, Err: err}
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		e.Kind, e.Hint = secrets.Invalid, "name the certificate authority's PEM file by AWS_CA_BUNDLE"
	case errors.Is(err, http.ErrSchemeMismatch):
		e.Kind, e.Hint = secrets.Invalid, "it does not speak TLS: write the endpoint with http://"
	case maybeDone:
		e.Kind, e.Err = secrets.Unknown, fmt.Errorf("the connection broke before the answer: %w", err)
		e.Hint = "it may have been done: look, and do it again if it was not"
	case ctx.Err() != nil:
		e.Err = fmt.Errorf("no answer in time: %w", err)
	case c.config.Store:
		e.Hint = "can this machine reach it? Look at store.aws in the configuration, and at HTTPS_PROXY"
	default:
		e.Hint = "is the server running? See: pawl help serve"
	}
	return e
}
