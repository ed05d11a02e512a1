package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server"
)

// drain is how long requests under way may go on when the daemon stops.
const drain = 5 * time.Second

// dev are the flags of `pawl serve`.
type dev struct {
	on     bool
	listen string
	wait   time.Duration
}

// open opens the store that the daemon serves. Without --config a dev server
// looks for no file: it makes a store of its own, which remove takes away.
func (d dev) open(g *globals, cmd *cobra.Command) (a *app, remove func(), err error) {
	if !d.on || g.config != "" {
		cfg, _, err := g.load(cmd)
		if err == nil {
			err = d.refuse(cfg)
		}
		if err != nil {
			return nil, nil, err
		}
		a, err = g.openWith(cmd, options{anyKey: d.on, wait: d.wait})
		return a, func() {}, err
	}
	log, err := g.logger(cmd.ErrOrStderr())
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "pawl-dev-")
	if err != nil {
		return nil, nil, usage(err)
	}
	remove = func() { _ = os.RemoveAll(dir) }
	cfg, err := temporary(cmd.Context(), dir, "")
	if err == nil {
		a, err = options{anyKey: true}.assemble(cmd.Context(), cfg, log)
	}
	if err != nil {
		remove()
		return nil, nil, usage(err)
	}
	// Here whoever can send a request can read every value, a superuser's
	// too: pairings would keep nobody from anything.
	a.steps.everySuperuser = true
	return a, remove, nil
}

// refuse says what a store at AWS has no use for: an API before it.
func (d dev) refuse(cfg *config.Config) error {
	by := ""
	switch {
	case cfg.Store.AWS == nil:
		return nil
	case d.on:
		by = "--dev"
	case d.listen != "":
		by = "--listen"
	case cfg.Server.Listen != "":
		by = "server.listen"
	default:
		return nil
	}
	return usage(fmt.Errorf("%s serves the API of Pawl's own store, and %s has AWS as the store: ask AWS itself", by, cfg.Path))
}

// listening is the API before it is served.
type listening struct {
	net.Listener
	dev bool
	tls *server.TLS // nil = plain HTTP
}

// listener opens the API's port; nil where there is to be none. Errors are of
// usage: the address, a certificate, nobody there who may do anything.
func (d dev) listener(ctx context.Context, a *app) (*listening, error) {
	addr, by := a.cfg.Server.Listen, "server.listen"
	switch {
	case d.listen != "":
		addr, by = d.listen, "--listen"
	case addr == "" && d.on:
		addr, by = config.DefaultListen, "pawl serve --dev"
	}
	if addr == "" {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, usage(fmt.Errorf("%s %q is not HOST:PORT; write for example %s", by, addr, config.DefaultListen))
	}
	l := &listening{dev: d.on}
	if t := a.cfg.Server.TLS; t != nil && !d.on {
		l.tls, err = server.NewTLS(server.TLSConfig{
			CertFile: t.CertFile, KeyFile: t.KeyFile, ClientCAFile: t.ClientCAFile, RequireClient: t.RequireClient, Log: a.log,
		})
		if err != nil {
			return nil, usage(err)
		}
	}
	// A name means what this machine's resolver says, so that is looked at again.
	here := d.on || l.tls == nil && !a.cfg.Server.Insecure
	if here && !engines.Loopback(host) {
		return nil, usage(d.notLoopback(by, addr))
	}
	if !d.on {
		if err := a.needsAdministrator(ctx); err != nil {
			return nil, err
		}
	}
	l.Listener, err = net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, usage(fmt.Errorf("%s: the port of %s is in use already; choose another: %s --listen 127.0.0.1:0 takes a free one", by, addr, d.command()))
	case err != nil:
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, usage(fmt.Errorf("%s: listening on %s: %w", by, addr, err))
	}
	if at, ok := l.Addr().(*net.TCPAddr); here && (!ok || !at.IP.IsLoopback()) {
		l.Close()
		return nil, usage(d.notLoopback(by, addr))
	}
	return l, nil
}

func (d dev) command() string {
	if d.on {
		return "pawl serve --dev"
	}
	return "pawl serve"
}

func (d dev) notLoopback(by, addr string) error {
	if d.on {
		return fmt.Errorf("%s %s is no loopback address, and a dev server lets everybody read everything; write for example %s", by, addr, config.DefaultListen)
	}
	return fmt.Errorf("%s %s is no loopback address, and without TLS whoever is on the way could read the secrets; "+
		"add server.tls to the configuration (pawl init --tls makes a certificate), or server.insecure: true where a proxy in front does TLS", by, addr)
}

// needsAdministrator makes sure that somebody can use the API, and can let others
// do so.
func (a *app) needsAdministrator(ctx context.Context) error {
	switch there, err := a.people.Administrator(ctx); {
	case err != nil:
		return failed(err)
	case !there:
		return usage(fmt.Errorf("nobody is there who may use the API: it needs an administrator, a user with an access key who may do everything. "+
			"Make one: pawl access create admin --administrator --config %s", a.cfg.Path))
	}
	return nil
}

// api is the API's server while it runs; the zero one is none.
type api struct {
	server *server.Server
	ended  chan error
}

// serveAPI serves the API on l, and tells out how to reach it.
func (a *app) serveAPI(l *listening, health http.Handler, out io.Writer) *api {
	c := server.Config{Service: a.svc, Log: a.log, Now: a.clock.Now, Health: health}
	if l.dev {
		c.Auth, c.STSAuth = access.Dev{}, access.Dev{Service: "sts"}
	} else {
		c.Auth = access.NewVerifier(access.VerifierConfig{Keys: a.people, Now: a.clock.Now})
		c.STS, c.STSAuth = a.people, access.NewVerifier(access.VerifierConfig{Keys: a.people, Now: a.clock.Now, Service: "sts"})
		c.RateLimits = a.cfg.Server.RateLimits
	}
	if l.tls != nil {
		c.TLS = l.tls.Config()
	}
	s := &api{server: server.New(c), ended: make(chan error, 1)}
	collectRarely()
	go func() { s.ended <- s.server.Serve(l.Listener) }()
	fmt.Fprintf(out, "export AWS_ENDPOINT_URL_SECRETS_MANAGER=%s\n", l.url())
	if l.dev {
		key := devKey(a.cfg.Account) // where the file's secrets are
		fmt.Fprintf(out, `# Any credentials will do, for example:
export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=test AWS_REGION=%s AWS_DEFAULT_REGION=%[2]s
`, key, a.cfg.Region)
	}
	if l.tls != nil && l.tls.SelfSigned() {
		fmt.Fprintf(out, "export AWS_CA_BUNDLE=%s\n", shellWord(a.cfg.Server.TLS.CertFile))
	}
	return s
}

func (l *listening) url() string { return urlOf(l.Addr().(*net.TCPAddr), l.tls) }

// reach is how functions on this machine reach the API.
func (l *listening) reach(cfg *config.Config) *reach {
	r := reachAt(l.Addr().(*net.TCPAddr), l.tls, cfg)
	r.dev = l.dev
	return r
}

// dialled is an address of this machine as its own programs dial it.
func dialled(at *net.TCPAddr) *net.TCPAddr {
	if len(at.IP) > 0 && !at.IP.IsUnspecified() {
		return at
	}
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: at.Port}
}

// urlOf is where clients reach a listener: by its address if its certificate is
// good for that, else by the first name in the certificate.
func urlOf(at *net.TCPAddr, t *server.TLS) string {
	scheme, host := "http", dialled(at).IP.String()
	if t != nil {
		scheme = "https"
		leaf := t.Leaf()
		if at.IP.IsUnspecified() || leaf.VerifyHostname(host) != nil {
			for _, name := range leaf.DNSNames {
				if !strings.HasPrefix(name, "*") {
					host = name
					break
				}
			}
		}
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(at.Port))
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:@%+=,-]+$`)

// shellWord writes a word for a shell.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// stop lets the requests under way finish, for a while.
func (s *api) stop(ctx context.Context) error {
	if s.server == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, drain)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		return secrets.Errorf(secrets.Transient, "requests were cut off after %v: %w", drain, err)
	}
	return nil
}
