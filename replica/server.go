package replica

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"sync"

	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/pawlhq/pawl/awsenv"
	"github.com/pawlhq/pawl/client"
	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Server is another Pawl. It implements service.Server. Its errors say what to do
// about them in the words of this server's configuration.
type Server struct {
	region string
	place  Place

	mu        sync.Mutex
	client    *client.Client // nil = nothing was read yet
	transport *http.Transport
}

func newServer(region string, p Place) *Server { return &Server{region: region, place: p} }

// connections are kept open to a server: as many replicas as are written to at
// one time.
const connections = 32

// reach returns the client, and makes it if need be.
func (s *Server) reach(context.Context) (*client.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client != nil {
		return s.client, nil
	}
	u, ok := awsenv.ParseEndpoint(s.place.Endpoint)
	switch {
	case !ok:
		return nil, secrets.Errorf(secrets.Invalid, "%s is not the address of a server", s.key("endpoint")).
			WithHint("write it as https://secrets.example.com:4566: scheme, host and port, and nothing else")
	case u.Scheme != "https" && !engines.Loopback(u.Hostname()):
		return nil, secrets.Errorf(secrets.Invalid, "%s is plain HTTP, by which whoever is on the way could read the secrets", s.key("endpoint")).
			WithHint("write it with https://, and give that server a certificate: pawl help init")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = connections
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if s.place.CAFile != "" {
		pem, err := os.ReadFile(s.place.CAFile)
		if err != nil {
			return nil, secrets.Errorf(secrets.Invalid, "%s: %w", s.key("ca_file"), err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, secrets.Errorf(secrets.Invalid, "%s: there is no certificate in %s", s.key("ca_file"), s.place.CAFile).
				WithHint("it takes a PEM file: -----BEGIN CERTIFICATE-----")
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	text, err := s.place.Credentials()
	if err != nil {
		return nil, err
	}
	key, err := parse(text)
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "%s, %s: %w", s.key("credentials_file"), s.place.CredentialsFile, err).
			WithHint("make an access key at that server: pawl access create NAME --policy FILE --json, and put its output into the file")
	}
	c, err := client.New(client.Config{
		Endpoint: s.place.Endpoint, Region: s.region, Transport: transport,
		Credentials: credentials.NewStaticCredentialsProvider(key.id, key.secret.Reveal(), key.token.Reveal()),
	})
	if err != nil {
		return nil, err
	}
	s.client, s.transport = c, transport
	return c, nil
}

func (s *Server) key(name string) string { return "regions." + s.region + "." + name }

// forget has files read again for the next request.
func (s *Server) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.transport != nil {
		s.transport.CloseIdleConnections()
	}
	s.client, s.transport = nil, nil
}

// ask sends one request.
func ask[In, Out any](ctx context.Context, s *Server, in In, do func(*client.Client, context.Context, In) (*Out, error)) (*Out, error) {
	c, err := s.reach(ctx)
	if err != nil {
		return nil, err
	}
	out, err := do(c, ctx, in)
	if err != nil {
		return nil, s.explain(err)
	}
	return out, nil
}

// ApplyReplica implements service.Server.
func (s *Server) ApplyReplica(ctx context.Context, in service.ApplyReplicaInput) (*service.ApplyReplicaOutput, error) {
	return ask(ctx, s, in, (*client.Client).ApplyReplica)
}

// RemoveReplica implements service.Server.
func (s *Server) RemoveReplica(ctx context.Context, in service.RemoveReplicaInput) (*service.RemoveReplicaOutput, error) {
	return ask(ctx, s, in, (*client.Client).RemoveReplica)
}

// DescribeReplica implements service.Server.
func (s *Server) DescribeReplica(ctx context.Context, in service.DescribeReplicaInput) (*service.DescribeReplicaOutput, error) {
	return ask(ctx, s, in, (*client.Client).DescribeReplica)
}

// ForgetReplica implements service.Server.
func (s *Server) ForgetReplica(ctx context.Context, in service.ForgetReplicaInput) (*service.ForgetReplicaOutput, error) {
	return ask(ctx, s, in, (*client.Client).ForgetReplica)
}

// explain names the server, and says what to do in the configuration's words: the
// client's are for a person with an AWS environment.
func (s *Server) explain(err error) error {
	var e *secrets.Error
	if !errors.As(err, &e) {
		e = &secrets.Error{Kind: secrets.KindOf(err), Err: err}
	}
	out := *e
	out.Secret = ""
	if u, ok := awsenv.ParseEndpoint(s.place.Endpoint); ok {
		out.Server = u.Host
	}
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &certificate):
		out.Hint = "name the authority of its certificate by " + s.key("ca_file") + ", and the server by a name in the certificate"
	case out.Code == "AccessDeniedException":
		out.Hint = "the key in " + s.place.CredentialsFile + " needs a policy there that allows pawl:*Replica on the secret, and must be of the secret's account"
	case out.Code == "UnknownOperationException":
		out.Hint = "is it Pawl, and of this version? Look at " + s.key("endpoint")
	case out.Code == "InvalidSignatureException":
		s.forget()
		out.Hint = "are the clocks of both machines right, and is the key in " + s.place.CredentialsFile + " whole?"
	case out.Code != "" && out.Kind == secrets.Denied:
		s.forget() // somebody may have put another key into the file
		out.Hint = "the key in " + s.place.CredentialsFile + " is not, or no longer, one of that server's: make one there, pawl access rotate-key, and put it into the file"
	case out.Code == "" && out.Kind == secrets.Transient:
		out.Hint = "is it running, and can this machine reach it? Look at " + s.key("endpoint")
	}
	return &out
}
