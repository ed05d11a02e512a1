package engines

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"

	"github.com/pawlhq/pawl/secrets"
)

// TLS is how connections to one server are protected, decided once for every
// driver. Nil Config means plain text.
type TLS struct {
	Mode   string // one of the secrets.TLS… modes, never empty
	Config *tls.Config
}

// NewTLS decides the mode for a host: the operator's rule, else the secret's
// "ssl" key (true = verify-full, false = disable), else verify-full, and plain
// only to a loopback address, where nobody can listen in. The server name is
// the declared host. Errors are Invalid: an unknown mode, an unreadable CA file.
func NewTLS(rules secrets.TLSRules, host string, ssl, sslSet bool) (TLS, error) {
	mode := rules.Mode
	switch {
	case mode != "":
	case sslSet && ssl:
		mode = secrets.TLSVerifyFull
	case sslSet:
		mode = secrets.TLSDisable
	case rules.CAFile == "" && Loopback(host):
		mode = secrets.TLSDisable
	default:
		mode = secrets.TLSVerifyFull
	}
	c := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if rules.CAFile != "" {
		pem, err := os.ReadFile(rules.CAFile)
		if err != nil {
			return TLS{}, secrets.Errorf(secrets.Invalid, "tls.ca_file: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return TLS{}, secrets.Errorf(secrets.Invalid, "tls.ca_file %s holds no PEM certificate", rules.CAFile)
		}
	}
	switch mode {
	case secrets.TLSDisable:
		return TLS{Mode: mode}, nil
	case secrets.TLSVerifyFull:
	case secrets.TLSRequire:
		c.InsecureSkipVerify = true
	case secrets.TLSVerifyCA:
		// The chain is verified below, without the host name.
		c.InsecureSkipVerify = true
		roots := c.RootCAs
		c.VerifyConnection = func(s tls.ConnectionState) error {
			o := x509.VerifyOptions{Roots: roots, Intermediates: x509.NewCertPool()}
			for _, cert := range s.PeerCertificates[1:] {
				o.Intermediates.AddCert(cert)
			}
			_, err := s.PeerCertificates[0].Verify(o)
			return err
		}
	default:
		return TLS{}, secrets.Errorf(secrets.Invalid, "tls.mode %q is not one of disable, require, verify-ca, verify-full", mode)
	}
	return TLS{Mode: mode, Config: c}, nil
}

// Loopback reports whether host is this machine by a loopback address.
func Loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// TLSFailure classifies an error of a TLS handshake: a certificate that does
// not verify is Invalid, with what to do. ok is false for any other error.
func TLSFailure(err error) (out *secrets.Error, ok bool) {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	var verify *tls.CertificateVerificationError
	switch {
	case errors.As(err, &unknown):
		return secrets.Errorf(secrets.Invalid, "the server's certificate is signed by an unknown authority").
			WithHint("set tls.ca_file to the authority's PEM file"), true
	case errors.As(err, &host):
		return secrets.Errorf(secrets.Invalid, "the server's certificate is for another host name").
			WithHint("use the certificate's name as host, or tls.mode: verify-ca"), true
	case errors.As(err, &invalid):
		return secrets.Errorf(secrets.Invalid, "the server's certificate is not valid: %w", invalid), true
	case errors.As(err, &verify):
		return secrets.Errorf(secrets.Invalid, "the server's certificate does not verify: %w", verify.Err), true
	}
	return nil, false
}

// NoTLS is the error for a server that declined TLS where it is demanded.
func NoTLS() *secrets.Error {
	return secrets.Errorf(secrets.Invalid, "the server does not offer TLS, and TLS is demanded").
		WithHint("turn TLS on at the server, or allow plain connections with tls.mode: disable")
}
