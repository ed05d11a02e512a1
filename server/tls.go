package server

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

const (
	// certificateCheck is how often the files of a listener are looked at.
	certificateCheck = time.Second
	// expiryWarning is how long before a certificate's end the log begins to say
	// so, once in expiryRepeat.
	expiryWarning = 14 * 24 * time.Hour
	expiryRepeat  = 24 * time.Hour
	// maxPEM bounds a file, in bytes: hundreds of authorities.
	maxPEM = 4 << 20
)

// TLSConfig is what a TLS is made of. CertFile and KeyFile are required.
type TLSConfig struct {
	CertFile, KeyFile string // PEM: the certificate and its intermediates; its private key
	// ClientCAFile, where set, has the authorities of client certificates; without
	// RequireClient a client may also come without one.
	ClientCAFile  string
	RequireClient bool

	Log *slog.Logger     // nil = no log
	Now func() time.Time // nil = time.Now
}

// TLS is the TLS side of a listener. Its files are read again when they change,
// which a handshake finds out, at most once a second: the file that a path leads
// to is another one, or has another time or size, so that renaming a file over it
// counts, and so does a symbolic link that turns. What can't be used is logged
// once and changes nothing: the certificate there was goes on. A connection keeps
// what its handshake agreed on.
type TLS struct {
	c      TLSConfig
	config *tls.Config // what listeners get; asks for current at every handshake

	current atomic.Pointer[loaded]
	checked atomic.Int64 // when the files were last looked at, Unix nanoseconds

	reload sync.Mutex // held by the handshake that looks at the files
	failed string     // the error that was last logged
	warned time.Time  // when the log last said that the certificate ends
}

// loaded is what was read from the files.
type loaded struct {
	config *tls.Config
	leaf   *x509.Certificate
	files  []fs.FileInfo
}

// NewTLS reads the files. Errors are Invalid and name the file: it is missing, it
// is no certificate or key, the two don't belong together, the certificate's time
// is over or has not come.
func NewTLS(c TLSConfig) (*TLS, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	t := &TLS{c: c}
	now := c.Now()
	first, err := t.load(now)
	if err != nil {
		return nil, err
	}
	t.current.Store(first)
	t.checked.Store(now.UnixNano())
	t.config = base()
	t.config.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return t.now().config, nil
	}
	return t, nil
}

// base is what every configuration has: TLS 1.2 and newer with Go's choice of
// ciphers, and HTTP/1.1.
func base() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}}
}

// Config returns what a listener needs. It is not to be changed.
func (t *TLS) Config() *tls.Config { return t.config }

// Leaf returns the certificate that is shown to clients. It is not to be changed.
func (t *TLS) Leaf() *x509.Certificate { return t.current.Load().leaf }

// SelfSigned reports whether the certificate is its own authority, so that
// clients have to be told to trust it.
func (t *TLS) SelfSigned() bool {
	leaf := t.Leaf()
	return bytes.Equal(leaf.RawIssuer, leaf.RawSubject) &&
		leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil
}

// now returns what to serve with. Of many handshakes one looks at the files, and
// the others go on with what there is.
func (t *TLS) now() *loaded {
	now := t.c.Now()
	if now.UnixNano()-t.checked.Load() >= int64(certificateCheck) && t.reload.TryLock() {
		defer t.reload.Unlock()
		t.check(now)
		t.checked.Store(now.UnixNano())
	}
	return t.current.Load()
}

func (t *TLS) check(now time.Time) {
	old := t.current.Load()
	if t.changed(old) {
		next, err := t.load(now)
		switch {
		case err == nil:
			t.current.Store(next)
			t.failed, t.warned = "", time.Time{}
			t.c.Log.Info("the certificate was read again", "file", t.c.CertFile, "expires", next.leaf.NotAfter.UTC())
			old = next
		case err.Error() != t.failed:
			t.failed = err.Error()
			t.c.Log.Error("the certificate was not read again; the old one stays", "error", err)
		}
	}
	if left := old.leaf.NotAfter.Sub(now); left < expiryWarning && now.Sub(t.warned) >= expiryRepeat {
		t.warned = now
		text := "the certificate expires soon; put a new one in its place, it is read without a restart"
		if left <= 0 {
			text = "the certificate has expired: clients refuse to connect; put a new one in its place, it is read without a restart"
		}
		t.c.Log.Warn(text, "file", t.c.CertFile, "expires", old.leaf.NotAfter.UTC())
	}
}

// changed reports whether the files are others than those that were read. One
// that is away for an instant counts as changed; reading it tells.
func (t *TLS) changed(l *loaded) bool {
	for i, path := range t.paths() {
		is, err := os.Stat(path)
		if was := l.files[i]; err != nil || !os.SameFile(was, is) || !was.ModTime().Equal(is.ModTime()) || was.Size() != is.Size() {
			return true
		}
	}
	return false
}

func (t *TLS) paths() []string {
	paths := []string{t.c.CertFile, t.c.KeyFile}
	if t.c.ClientCAFile != "" {
		paths = append(paths, t.c.ClientCAFile)
	}
	return paths
}

// load reads the files and makes a configuration of them.
func (t *TLS) load(now time.Time) (*loaded, error) {
	out := &loaded{config: base()}
	var texts [][]byte
	for i, path := range t.paths() {
		text, info, err := readPEM(path)
		if err != nil {
			key := []string{"cert_file", "key_file", "client_ca_file"}[i]
			return nil, secrets.Errorf(secrets.Invalid, "the file %s (server.tls.%s) can't be read: %w", path, key, err).
				WithHint("put it there and let Pawl's user read it; pawl init --tls makes a certificate for a new store")
		}
		texts, out.files = append(texts, text), append(out.files, info)
	}
	pair, err := t.pair(texts[0], texts[1], now)
	clear(texts[1])
	if err != nil {
		return nil, err
	}
	out.config.Certificates, out.leaf = []tls.Certificate{pair}, pair.Leaf
	if t.c.ClientCAFile != "" {
		out.config.ClientCAs = x509.NewCertPool()
		if !out.config.ClientCAs.AppendCertsFromPEM(texts[2]) {
			return nil, noPEM(t.c.ClientCAFile, "server.tls.client_ca_file", "a certificate")
		}
		out.config.ClientAuth = tls.VerifyClientCertIfGiven
		if t.c.RequireClient {
			out.config.ClientAuth = tls.RequireAndVerifyClientCert
		}
		// A resumed session is not asked for its certificate: without resumption
		// an authority that was taken out of the file is out.
		out.config.SessionTicketsDisabled = true
	}
	return out, nil
}

// pair puts a certificate and its key together.
func (t *TLS) pair(certificate, key []byte, now time.Time) (tls.Certificate, error) {
	if !hasBlock(certificate, func(typ string) bool { return typ == "CERTIFICATE" }) {
		return tls.Certificate{}, noPEM(t.c.CertFile, "server.tls.cert_file", "a certificate")
	}
	if !hasBlock(key, func(typ string) bool {
		return typ == "PRIVATE KEY" || bytes.HasSuffix([]byte(typ), []byte(" PRIVATE KEY"))
	}) {
		return tls.Certificate{}, noPEM(t.c.KeyFile, "server.tls.key_file", "a private key")
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		// Which file is to blame: what is no key itself goes with no certificate.
		if _, parseErr := parseLeaf(certificate); parseErr != nil {
			return tls.Certificate{}, secrets.Errorf(secrets.Invalid, "the certificate in %s (server.tls.cert_file) is damaged: %w", t.c.CertFile, parseErr).
				WithHint("put it back from where it was issued")
		}
		return tls.Certificate{}, secrets.Errorf(secrets.Invalid, "the key in %s (server.tls.key_file) does not go with the certificate in %s: %w", t.c.KeyFile, t.c.CertFile, err).
			WithHint("put the certificate and the key that were made together into these files; the server's own certificate comes first, its intermediates after it, and the key has no passphrase")
	}
	const layout = "2006-01-02 15:04:05 MST"
	switch leaf := pair.Leaf; {
	case now.After(leaf.NotAfter):
		return tls.Certificate{}, secrets.Errorf(secrets.Invalid, "the certificate in %s (server.tls.cert_file) expired at %s", t.c.CertFile, leaf.NotAfter.UTC().Format(layout)).
			WithHint("put a new one in its place")
	case now.Before(leaf.NotBefore):
		return tls.Certificate{}, secrets.Errorf(secrets.Invalid, "the certificate in %s (server.tls.cert_file) is not valid before %s", t.c.CertFile, leaf.NotBefore.UTC().Format(layout)).
			WithHint("is this machine's clock right?")
	}
	return pair, nil
}

func noPEM(path, key, what string) error {
	return secrets.Errorf(secrets.Invalid, "the file %s (%s) holds no %s in PEM", path, key, what[len("a "):]).
		WithHint("a PEM file has lines such as -----BEGIN %s-----", map[string]string{"a certificate": "CERTIFICATE", "a private key": "PRIVATE KEY"}[what])
}

// hasBlock reports whether a PEM text has a block of a type.
func hasBlock(text []byte, is func(typ string) bool) bool {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return false
		}
		if is(block.Type) {
			return true
		}
		text = rest
	}
}

// parseLeaf reads the first certificate of a PEM text.
func parseLeaf(text []byte) (*x509.Certificate, error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("there is none")
		}
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
		text = rest
	}
}

// readPEM reads a file and says which one that was.
func readPEM(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, withoutPath(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, nil, withoutPath(err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxPEM+1))
	switch {
	case err != nil:
		return nil, nil, withoutPath(err)
	case len(text) > maxPEM:
		return nil, nil, fmt.Errorf("it is larger than %d MiB", maxPEM>>20)
	}
	return text, info, nil
}

func withoutPath(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}
