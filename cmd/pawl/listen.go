package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server"
)

// defaultListen is where `pawl serve --dev` listens when nobody says where: the
// port that AWS emulators are expected at.
const defaultListen = "127.0.0.1:4566"

// drain is how long requests under way may go on when the daemon stops.
const drain = 5 * time.Second

// dev are the flags of `pawl serve --dev`.
type dev struct {
	on     bool
	listen string
}

// open opens the store that the daemon serves. Without --config a dev server
// looks for no file: it makes a store of its own, which remove takes away.
func (d dev) open(g *globals, cmd *cobra.Command) (a *app, remove func(), err error) {
	if !d.on || g.config != "" {
		a, err = g.open(cmd)
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
		a, err = assemble(cmd.Context(), cfg, log)
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

// listener opens the API's port; nil where there is to be none. Errors are of
// usage.
func (d dev) listener(cfg *config.Config) (net.Listener, error) {
	addr, by := cfg.Server.Listen, "server.listen"
	switch {
	case d.listen != "":
		addr, by = d.listen, "--listen"
	case addr == "" && d.on:
		addr, by = defaultListen, "pawl serve --dev"
	}
	switch {
	case addr == "":
		return nil, nil
	case !d.on:
		return nil, usage(fmt.Errorf("server.listen is set in %s, and there is no authentication yet: whoever reaches %s could read every secret. "+
			"For development and tests: pawl serve --dev --config %s. For a daemon that only rotates remove server.listen; pawl healthcheck asks it through a socket", cfg.Path, addr, cfg.Path))
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, usage(fmt.Errorf("%s %q is not HOST:PORT; write for example %s", by, addr, defaultListen))
	}
	if !engines.Loopback(host) {
		return nil, usage(notLoopback(by, addr))
	}
	l, err := net.Listen("tcp", addr)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, usage(fmt.Errorf("%s: the port of %s is in use already; choose another: pawl serve --dev --listen 127.0.0.1:0 takes a free one", by, addr))
	case err != nil:
		var op *net.OpError
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, usage(fmt.Errorf("%s: listening on %s: %w", by, addr, err))
	}
	// A name means what this machine's resolver says.
	if at, ok := l.Addr().(*net.TCPAddr); !ok || !at.IP.IsLoopback() {
		l.Close()
		return nil, usage(notLoopback(by, addr))
	}
	return l, nil
}

func notLoopback(by, addr string) error {
	return fmt.Errorf("%s %s is no loopback address, and a dev server lets everybody read everything; write for example %s", by, addr, defaultListen)
}

// api is the API's server while it runs; the zero one is none.
type api struct {
	server *server.Server
	ended  chan error
}

// serveAPI serves the API on l, and tells out how to reach it.
func (a *app) serveAPI(l net.Listener, health http.Handler, out io.Writer) *api {
	s := &api{
		server: server.New(server.Config{Service: a.svc, Auth: access.Dev{}, Log: a.log, Health: health}),
		ended:  make(chan error, 1),
	}
	collectRarely()
	go func() { s.ended <- s.server.Serve(l) }()
	key := "test"
	if a.cfg.Account != access.DevAccount {
		key = a.cfg.Account // where the file's secrets are
	}
	fmt.Fprintf(out, `export AWS_ENDPOINT_URL_SECRETS_MANAGER=http://%s
# Any credentials will do, for example:
export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=test AWS_REGION=%s AWS_DEFAULT_REGION=%[3]s
`, l.Addr(), key, a.cfg.Region)
	return s
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
