package config

import (
	"net/url"
	"strings"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// The values of server.tls.client_certificates.
const (
	clientsOptional = "optional"
	clientsRequired = "required"
)

// DefaultRateLimits is how often AWS's quotas a principal has, where the file
// says nothing.
const DefaultRateLimits = 1

func (c *checker) server(s serverYAML) Server {
	out := Server{
		Listen:     value(s.Listen),
		TLS:        c.listenerTLS("server.tls", s.TLS),
		Insecure:   value(s.Insecure),
		RateLimits: either(s.RateLimits, nil, DefaultRateLimits),
	}
	if out.RateLimits < 0 {
		c.add("server.rate_limits", "must be 0 (no limits) or more; 1 is AWS's quotas, 2 is twice them")
	}
	if s.TLS != nil && out.Insecure {
		c.add("server.insecure", "contradicts tls; insecure is for plain HTTP: remove one of the two")
	}
	if s.Listen == nil {
		if s.TLS != nil {
			c.add("server.tls", "means nothing without listen; add listen: 127.0.0.1:4566, or leave tls out")
		}
		return out
	}
	const example = "write for example 127.0.0.1:4566"
	host, port, err := splitListen(out.Listen)
	switch {
	case err != nil:
		c.add("server.listen", "%v; %s", err, example)
	case port == 0:
		c.add("server.listen", "has no port; %s", example)
	case s.TLS == nil && !out.Insecure && !engines.Loopback(host) && !c.unusable("server.insecure") && !c.unusable("server.tls"):
		c.add("server.listen", "is not a loopback address, and without TLS whoever is on the way could read the secrets; "+
			"add server.tls (pawl init --tls makes a certificate), or insecure: true where a proxy in front does TLS")
	}
	return out
}

// splitListen splits host:port; ":4566" is every address.
func splitListen(text string) (host string, port int, err error) {
	if strings.HasPrefix(text, ":") {
		_, port, err = secrets.SplitHost("localhost" + text)
		return "", port, err
	}
	return secrets.SplitHost(text)
}

func (c *checker) listenerTLS(key string, t *listenerYAML) *TLS {
	if t == nil {
		return nil
	}
	out := &TLS{
		CertFile: c.path(key+".cert_file", t.CertFile),
		KeyFile:  c.path(key+".key_file", t.KeyFile),
	}
	if t.ClientCAFile != nil {
		out.ClientCAFile = c.path(key+".client_ca_file", t.ClientCAFile)
		// Whoever names authorities of clients expects that others stay out.
		out.RequireClient = true
	}
	if t.ClientCertificates != nil {
		c.oneOf(key+".client_certificates", *t.ClientCertificates, clientsOptional, clientsRequired)
		out.RequireClient = *t.ClientCertificates == clientsRequired
		if t.ClientCAFile == nil {
			c.add(key+".client_certificates", "needs client_ca_file, the authorities that client certificates are checked by; add it, or leave this out")
		}
	}
	return out
}

func (c *checker) kms(k *kmsYAML) *KMS {
	if k == nil {
		return nil
	}
	out := &KMS{Region: value(k.Region), Endpoint: value(k.Endpoint)}
	if out.Region != "" {
		c.regionName("aws_kms.region", out.Region)
	}
	c.endpoint("aws_kms.endpoint", out.Endpoint, "kms", "data keys go there and come back in the clear")
	return out
}

// endpoint checks the address of an AWS service, or of a server that speaks like
// it; "" is fine. why is what would happen without TLS.
func (c *checker) endpoint(key, address, service, why string) {
	if address == "" {
		return
	}
	u, ok := webAddress(address)
	switch {
	case !ok || u.Path != "" && u.Path != "/":
		c.add(key, "must be the address of a server, such as https://%s.us-east-1.amazonaws.com", service)
	case u.Scheme == "http" && !engines.Loopback(u.Hostname()):
		c.add(key, "must be https:// unless it is a loopback address: %s", why)
	}
}

// webAddress reads http(s)://HOST[:PORT][/PATH]. Anything else in an address may
// be a secret, which does not belong into the file.
func webAddress(address string) (u *url.URL, ok bool) {
	u, err := url.Parse(address)
	return u, err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" &&
		u.User == nil && u.RawQuery == "" && !u.ForceQuery && u.Fragment == ""
}
