package server

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

// issue makes a certificate and key of a name, in PEM.
func (a *authority) issue(t *testing.T, name string, from, until time.Time) (cert, key []byte) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"pawl.test"},
		NotBefore: from, NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &k.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// clock is a time that tests set.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.ns.Store(time.Now().UnixNano())
	return c
}

func (c *clock) now() time.Time         { return time.Unix(0, c.ns.Load()) }
func (c *clock) pass(d time.Duration)   { c.ns.Add(int64(d)) }
func at(dir string, name string) string { return filepath.Join(dir, name) }
func hour(n time.Duration) time.Time    { return time.Now().Add(n * time.Hour) }

func putBytes(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// replace puts a file in another's place, as editors and tools do.
func replace(t *testing.T, path string, text []byte) {
	t.Helper()
	putBytes(t, path+".new", text)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// secured is a server that speaks TLS over files in dir.
type secured struct {
	*running
	dir   string
	clock *clock
	ca    *authority
}

func startTLS(t *testing.T, change func(*TLSConfig)) *secured {
	t.Helper()
	s := &secured{dir: t.TempDir(), clock: newClock(), ca: newAuthority(t, "servers")}
	cert, key := s.ca.issue(t, "one", hour(-1), hour(24*365))
	putBytes(t, at(s.dir, "crt"), cert)
	putBytes(t, at(s.dir, "key"), key)
	log := &logs{}
	c := TLSConfig{CertFile: at(s.dir, "crt"), KeyFile: at(s.dir, "key"), Log: slog.New(slog.NewTextHandler(log, nil)), Now: s.clock.now}
	if change != nil {
		change(&c)
	}
	files, err := NewTLS(c)
	if err != nil {
		t.Fatal(err)
	}
	s.running = start(t, Config{
		TLS: files.Config(), Log: slog.New(slog.NewTextHandler(log, nil)),
		Health: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.TLS == nil {
				t.Error("a request without TLS")
			}
			_, _ = io.WriteString(w, "well")
		}),
	}, nil)
	s.log = log
	return s
}

// dial makes a handshake and returns the name in the server's certificate.
func (s *secured) dial(change func(*tls.Config)) (string, tls.ConnectionState, error) {
	c := &tls.Config{RootCAs: s.ca.pool(), ServerName: "pawl.test", NextProtos: []string{"h2", "http/1.1"}}
	if change != nil {
		change(c)
	}
	raw, err := net.Dial("tcp", s.addr)
	if err != nil {
		return "", tls.ConnectionState{}, err
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
	conn := tls.Client(raw, c)
	if err := conn.Handshake(); err != nil {
		return "", tls.ConnectionState{}, err
	}
	// With TLS 1.3 a client hears of a refusal of its own certificate only later.
	if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: pawl.test\r\nConnection: close\r\n\r\n"); err != nil {
		return "", tls.ConnectionState{}, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return "", tls.ConnectionState{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && string(body) != "well" {
		s.t.Errorf("answer %q", body)
	}
	state := conn.ConnectionState()
	return state.PeerCertificates[0].Subject.CommonName, state, err
}

func (s *secured) wants(name string) {
	s.t.Helper()
	if got, _, err := s.dial(nil); err != nil || got != name {
		s.t.Errorf("certificate %q, %v; want %q", got, err, name)
	}
}

func TestTLSProtocol(t *testing.T) {
	s := startTLS(t, nil)
	_, state, err := s.dial(nil)
	if err != nil || state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("%x %q, %v", state.Version, state.NegotiatedProtocol, err)
	}
	if _, state, err := s.dial(func(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }); err != nil || state.Version != tls.VersionTLS12 {
		t.Errorf("TLS 1.2: %v", err)
	}
	if _, _, err := s.dial(func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 }); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	if _, _, err := s.dial(func(c *tls.Config) { c.NextProtos = []string{"h2"} }); err == nil {
		t.Error("HTTP/2 alone was taken")
	}
	// Plain HTTP gets an answer that a person understands.
	resp, err := http.Get("http://" + s.addr + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, _ := io.ReadAll(resp.Body); resp.StatusCode != 400 || !strings.Contains(string(body), "HTTPS server") {
		t.Errorf("plain HTTP: %d %s", resp.StatusCode, body)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestTLSReadsItsFilesAgain(t *testing.T) {
	s := startTLS(t, nil)
	s.wants("one")
	second, secondKey := s.ca.issue(t, "two", hour(-1), hour(24*365))
	replace(t, at(s.dir, "crt"), second)
	s.wants("one") // looked at less than a second ago
	s.clock.pass(time.Second)
	s.wants("one") // half of a pair is none
	if !strings.Contains(s.log.String(), "does not go with the certificate in "+at(s.dir, "crt")) {
		t.Errorf("log: %s", s.log)
	}
	replace(t, at(s.dir, "key"), secondKey)
	s.clock.pass(time.Second)
	s.wants("two")

	// What is broken changes nothing, and is logged once.
	for _, broken := range [][]byte{nil, []byte("nonsense"), second[:len(second)/2]} {
		replace(t, at(s.dir, "crt"), broken)
		before := strings.Count(s.log.String(), "level=ERROR")
		for range 3 {
			s.clock.pass(time.Second)
			s.wants("two")
		}
		if got := strings.Count(s.log.String(), "level=ERROR") - before; got > 1 {
			t.Errorf("%d lines about one broken file", got)
		}
	}
	if err := os.Remove(at(s.dir, "crt")); err != nil {
		t.Fatal(err)
	}
	s.clock.pass(time.Second)
	s.wants("two")
	if !strings.Contains(s.log.String(), "can't be read: no such file") {
		t.Errorf("log: %s", s.log)
	}
	over, overKey := s.ca.issue(t, "over", hour(-2), hour(-1))
	replace(t, at(s.dir, "crt"), over)
	replace(t, at(s.dir, "key"), overKey)
	s.clock.pass(time.Second)
	s.wants("two")

	// And the right ones are taken up again, written in place this time.
	third, thirdKey := s.ca.issue(t, "three", hour(-1), hour(24*365))
	putBytes(t, at(s.dir, "crt"), third)
	putBytes(t, at(s.dir, "key"), thirdKey)
	s.clock.pass(time.Second)
	s.wants("three")
	if got := strings.Count(s.log.String(), "the certificate was read again"); got != 2 {
		t.Errorf("read again %d times", got)
	}
	if strings.Contains(s.log.String(), "PRIVATE KEY-----\\n") {
		t.Error("a key is in the log")
	}
}

// TestTLSFromAKubernetesVolume: a secret's files there are links into ..data,
// which is a link that turns.
func TestTLSFromAKubernetesVolume(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "servers")
	version := func(name string) {
		cert, key := ca.issue(t, name, hour(-1), hour(24*365))
		if err := os.Mkdir(at(dir, ".."+name), 0o700); err != nil {
			t.Fatal(err)
		}
		putBytes(t, at(dir, ".."+name+"/tls.crt"), cert)
		putBytes(t, at(dir, ".."+name+"/tls.key"), key)
		_ = os.Remove(at(dir, "..tmp"))
		if err := os.Symlink(".."+name, at(dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(at(dir, "..tmp"), at(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	version("one")
	for _, f := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink("..data/"+f, at(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	s := startTLS(t, func(c *TLSConfig) { c.CertFile, c.KeyFile = at(dir, "tls.crt"), at(dir, "tls.key") })
	s.ca = ca
	s.wants("one")
	version("two")
	s.clock.pass(time.Second)
	s.wants("two")
	if strings.Contains(s.log.String(), "level=ERROR") {
		t.Errorf("log: %s", s.log)
	}
}

// TestTLSReloadsUnderTraffic: no handshake fails while pairs are replaced.
func TestTLSReloadsUnderTraffic(t *testing.T) {
	s := startTLS(t, nil)
	var pairs [4][2][]byte
	for i := range pairs {
		pairs[i][0], pairs[i][1] = s.ca.issue(t, "pair", hour(-1), hour(24*365))
	}
	stop := make(chan struct{})
	var clients sync.WaitGroup
	var handshakes atomic.Int64
	for range 2 {
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, _, err := s.dial(nil); err != nil {
					t.Errorf("a handshake failed: %v", err)
					return
				}
				handshakes.Add(1)
			}
		})
	}
	for i := range 6 {
		replace(t, at(s.dir, "crt"), pairs[i%4][0])
		s.clock.pass(time.Second)
		s.wantsAnything()
		replace(t, at(s.dir, "key"), pairs[i%4][1])
		// A handshake under way may be looking at the files as they were, and the
		// others don't wait for it: the next look finds the pair.
		within(t, "the files", func() bool {
			s.clock.pass(time.Second)
			got, _, err := s.dial(nil)
			return err == nil && got == "pair"
		})
	}
	close(stop)
	clients.Wait()
	if handshakes.Load() == 0 {
		t.Error("there was no traffic")
	}
}

func (s *secured) wantsAnything() {
	s.t.Helper()
	if _, _, err := s.dial(nil); err != nil {
		s.t.Error(err)
	}
}

func TestClientCertificates(t *testing.T) {
	known, other := newAuthority(t, "clients"), newAuthority(t, "others")
	with := func(a *authority, until time.Time) func(*tls.Config) {
		cert, key := a.issue(t, "client", hour(-2), until)
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			t.Fatal(err)
		}
		return func(c *tls.Config) {
			// Whatever the server asks for, this one is shown.
			c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		}
	}
	good, foreign, expired := with(known, hour(1)), with(other, hour(1)), with(known, hour(-1))
	for _, required := range []bool{true, false} {
		dir := t.TempDir()
		putBytes(t, at(dir, "ca"), known.pem)
		s := startTLS(t, func(c *TLSConfig) { c.ClientCAFile, c.RequireClient = at(dir, "ca"), required })
		for _, c := range []struct {
			name   string
			change func(*tls.Config)
			ok     bool
		}{{"none", nil, !required}, {"good", good, true}, {"foreign", foreign, false}, {"expired", expired, false}} {
			if _, _, err := s.dial(c.change); (err == nil) != c.ok {
				t.Errorf("required %v, certificate %s: %v", required, c.name, err)
			}
		}
		// Who was let in, and could resume a session elsewhere, is out when his
		// authority is.
		sessions := tls.NewLRUClientSessionCache(8)
		resuming := func(c *tls.Config) { good(c); c.ClientSessionCache = sessions }
		if _, _, err := s.dial(resuming); err != nil {
			t.Errorf("required %v: %v", required, err)
		}
		replace(t, at(dir, "ca"), other.pem)
		s.clock.pass(time.Second)
		for _, c := range []struct {
			name   string
			change func(*tls.Config)
			ok     bool
		}{{"good before", resuming, false}, {"good before, anew", good, false}, {"foreign before", foreign, true}} {
			if _, _, err := s.dial(c.change); (err == nil) != c.ok {
				t.Errorf("required %v, authorities changed, certificate %s: %v", required, c.name, err)
			}
		}
	}
}

func TestTLSErrors(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "servers")
	cert, key := ca.issue(t, "one", hour(-1), hour(1))
	_, otherKey := ca.issue(t, "other", hour(-1), hour(1))
	over, overKey := ca.issue(t, "over", hour(-2), hour(-1))
	early, earlyKey := ca.issue(t, "early", hour(1), hour(2))
	for name, text := range map[string][]byte{
		"crt": cert, "key": key, "other.key": otherKey, "over.crt": over, "over.key": overKey, "early.crt": early, "early.key": earlyKey,
		"empty": nil, "nonsense": []byte("hello"), "both": append(bytes.Clone(cert), key...),
		"damaged.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("k3y-Mat3rial")}),
		"damaged.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("k3y-Mat3rial")}),
	} {
		putBytes(t, at(dir, name), text)
	}
	for _, c := range []struct{ cert, key, ca, want string }{
		{"crt", "key", "", ""},
		{"both", "both", "crt", ""},
		{"none", "key", "", "the file D/none (server.tls.cert_file) can't be read: no such file or directory; put it there"},
		{"crt", "none", "", "the file D/none (server.tls.key_file) can't be read: no such file or directory"},
		{"crt", "key", "none", "the file D/none (server.tls.client_ca_file) can't be read: no such file or directory"},
		{"", "key", "", "the file D (server.tls.cert_file) can't be read: is a directory"},
		{"empty", "key", "", "the file D/empty (server.tls.cert_file) holds no certificate in PEM; a PEM file has lines such as -----BEGIN CERTIFICATE-----"},
		{"crt", "nonsense", "", "the file D/nonsense (server.tls.key_file) holds no private key in PEM; a PEM file has lines such as -----BEGIN PRIVATE KEY-----"},
		{"key", "crt", "", "the file D/key (server.tls.cert_file) holds no certificate in PEM"},
		{"crt", "key", "nonsense", "the file D/nonsense (server.tls.client_ca_file) holds no certificate in PEM"},
		{"crt", "other.key", "", "the key in D/other.key (server.tls.key_file) does not go with the certificate in D/crt"},
		{"crt", "damaged.key", "", "the key in D/damaged.key (server.tls.key_file) does not go with the certificate in D/crt"},
		{"damaged.crt", "key", "", "the certificate in D/damaged.crt (server.tls.cert_file) is damaged"},
		{"over.crt", "over.key", "", "the certificate in D/over.crt (server.tls.cert_file) expired at 20"},
		{"early.crt", "early.key", "", "the certificate in D/early.crt (server.tls.cert_file) is not valid before 20"},
	} {
		config := TLSConfig{CertFile: at(dir, c.cert), KeyFile: at(dir, c.key)}
		if c.ca != "" {
			config.ClientCAFile = at(dir, c.ca)
		}
		_, err := NewTLS(config)
		if c.want == "" {
			if err != nil {
				t.Errorf("%s with %s: %v", c.cert, c.key, err)
			}
			continue
		}
		if err == nil || secrets.KindOf(err) != secrets.Invalid || !strings.HasPrefix(err.Error(), strings.ReplaceAll(c.want, "D", dir)) && !strings.HasPrefix(strings.ReplaceAll(err.Error(), dir, "D"), c.want) {
			t.Errorf("%s with %s: %v\nwant %s", c.cert, c.key, err, c.want)
		} else if strings.Contains(err.Error(), "k3y") {
			t.Errorf("the error shows what the file holds: %v", err)
		}
	}
}

// TestTLSWarnsOfTheEnd: the log says in time, and once a day, that a certificate
// ends, and that it has ended.
func TestTLSWarnsOfTheEnd(t *testing.T) {
	s := startTLS(t, nil)
	count := func(text string) int { return strings.Count(s.log.String(), text) }
	tried := func(c *tls.Config) { c.Time = s.clock.now }
	look := func() {
		s.clock.pass(time.Second)
		_, _, _ = s.dial(tried)
	}
	look()
	if count("expires soon") != 0 {
		t.Errorf("log: %s", s.log)
	}
	s.clock.pass((365 - 13) * 24 * time.Hour)
	look()
	look()
	if count("expires soon") != 1 {
		t.Errorf("log: %s", s.log)
	}
	s.clock.pass(24 * time.Hour)
	look()
	if count("expires soon") != 2 {
		t.Errorf("log: %s", s.log)
	}
	s.clock.pass(20 * 24 * time.Hour)
	look()
	look()
	if count("has expired") != 1 {
		t.Errorf("log: %s", s.log)
	}
}

func TestSelfSigned(t *testing.T) {
	now := time.Now()
	cert, key, err := SelfSigned([]string{"localhost", "127.0.0.1", "::1", "[2001:db8::7]", "secrets.example.com", "*.example.org"}, now)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	putBytes(t, at(dir, "crt"), cert)
	putBytes(t, at(dir, "key"), key)
	files, err := NewTLS(TLSConfig{CertFile: at(dir, "crt"), KeyFile: at(dir, "key")})
	if err != nil {
		t.Fatal(err)
	}
	leaf := files.Leaf()
	for _, h := range []string{"localhost", "127.0.0.1", "::1", "2001:db8::7", "secrets.example.com", "a.example.org"} {
		if err := leaf.VerifyHostname(h); err != nil {
			t.Error(err)
		}
	}
	if leaf.VerifyHostname("example.net") == nil || leaf.IsCA {
		t.Error("good for more than it is made for")
	}
	if got := leaf.NotAfter.Sub(leaf.NotBefore); got > 825*24*time.Hour || leaf.NotAfter.Before(now.Add(800*24*time.Hour)) {
		t.Errorf("good for %v", got)
	}
	// Whoever trusts the file reaches the server by it.
	s := startTLS(t, func(c *TLSConfig) { c.CertFile, c.KeyFile = at(dir, "crt"), at(dir, "key") })
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	if _, _, err := s.dial(func(c *tls.Config) { c.RootCAs, c.ServerName = roots, "127.0.0.1" }); err != nil {
		t.Error(err)
	}
	if _, _, err := s.dial(func(c *tls.Config) { c.RootCAs, c.ServerName = roots, "example.net" }); err == nil {
		t.Error("another name was taken")
	}
	again, _, err := SelfSigned([]string{"localhost"}, now)
	if err != nil || bytes.Equal(again, cert) {
		t.Errorf("the same again, %v", err)
	}
	for _, bad := range []string{"", "https://example.com", "example.com:443", "a b", "-a", strings.Repeat("a", 64) + ".com", "a..b", "*"} {
		if _, _, err := SelfSigned([]string{bad}, now); err == nil || secrets.KindOf(err) != secrets.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestAHandshakeThatNeverComesEnds: a client that connects and says nothing
// holds its connection for as long as a header may take, not for ever.
func TestAHandshakeThatNeverComesEnds(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "servers")
	cert, key := ca.issue(t, "one", hour(-1), hour(1))
	putBytes(t, at(dir, "crt"), cert)
	putBytes(t, at(dir, "key"), key)
	files, err := NewTLS(TLSConfig{CertFile: at(dir, "crt"), KeyFile: at(dir, "key")})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, Config{TLS: files.Config()}, func(s *Server) { s.http.ReadHeaderTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the server did not close it: %v", err)
	}
}
