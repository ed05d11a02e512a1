package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// selfSignedFor is how long a self-signed certificate is good: the most that
// clients take (Apple's limit for certificates of one's own authorities).
const selfSignedFor = 825 * 24 * time.Hour

var hostName = regexp.MustCompile(`^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$`)

// IsHostName reports whether a certificate can be for this name.
func IsHostName(h string) bool { return len(h) <= 253 && hostName.MatchString(h) }

// SelfSigned makes a key (ECDSA, P-256) and a certificate for hosts, names or IP
// addresses of which there is at least one, both in PEM. It is its own authority
// and nobody else's: who trusts it trusts this server and nothing more. Errors
// are Invalid: a host that is none.
func SelfSigned(hosts []string, now time.Time) (certificate, key []byte, err error) {
	c := &x509.Certificate{
		// Clients' clocks are not all right.
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(selfSignedFor - time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, // and no authority over others
	}
	for _, h := range hosts {
		ip := net.ParseIP(strings.Trim(h, "[]"))
		switch {
		case ip != nil:
			c.IPAddresses = append(c.IPAddresses, ip)
		case IsHostName(h):
			c.DNSNames = append(c.DNSNames, h)
		default:
			return nil, nil, secrets.Errorf(secrets.Invalid, "%q is no host name and no IP address", h).
				WithHint("write it without scheme and port, such as secrets.example.com")
		}
	}
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	// Positive and of at most 20 bytes: RFC 5280, section 4.1.2.2.
	if c.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, nil, fmt.Errorf("making a serial number: %w", err)
	}
	c.SerialNumber.Add(c.SerialNumber, big.NewInt(1))
	// Two of them in one bundle are not to be taken for each other.
	c.Subject = pkix.Name{Organization: []string{"Pawl"}, CommonName: fmt.Sprintf("self-signed %x", c.SerialNumber)}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &secret.PublicKey, secret)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certificate: %w", err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(secret)
	if err != nil {
		return nil, nil, fmt.Errorf("writing a key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}
