package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/scheduler"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// stale is how old the last look for due secrets may be; it happens every second.
const stale = 30 * time.Second

// socketPath is where the daemon on this store answers `pawl healthcheck`.
// A socket beside the store needs no port, so any number of daemons get along.
// Where the store is no file it is beside the configuration.
func socketPath(cfg *config.Config) string {
	if cfg.Store.SQLite == nil {
		return cfg.Path + ".sock"
	}
	return cfg.Store.SQLite.Path + ".sock"
}

// health answers GET /healthz.
func (a *app) health(sched *scheduler.Scheduler) http.Handler {
	mux := http.NewServeMux()
	began := time.Now() // the first look is still to come then
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		last := sched.LastScan()
		if last.Before(began) {
			last = began
		}
		if age := time.Since(last); age > stale {
			http.Error(w, fmt.Sprintf("no look for due secrets since %v", age.Round(time.Second)), http.StatusServiceUnavailable)
			return
		}
		// AWS need not be asked again: what it did not tell would be no look.
		if a.own != nil {
			ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
			defer cancel()
			if _, err := a.svc.Due(ctx, time.Now(), service.DueAfter{}, 1); err != nil {
				http.Error(w, "the store does not answer", http.StatusServiceUnavailable)
				a.log.Error("health: the store does not answer", "store", storeName(a.cfg), "error", err)
				return
			}
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// healthSocket answers GET /healthz on the socket of socketPath.
type healthSocket struct {
	http *http.Server
	path string // "" = nobody listens
}

func (a *app) serveHealth(handler http.Handler) *healthSocket {
	h := &healthSocket{http: &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second}}
	path := socketPath(a.cfg)
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		c.Close()
		a.log.Warn("another daemon serves this store; healthcheck asks that one", "socket", path)
		return h
	}
	_ = os.Remove(path) // left by a daemon that was killed
	l, err := net.Listen("unix", path)
	if err != nil {
		// Too long a path, or a file system without sockets: everything else works.
		if a.cfg.Server.Listen != "" {
			a.log.Info("no health socket; healthcheck asks at server.listen", "error", err)
		} else {
			a.log.Warn("no health socket; healthcheck will say that this daemon does not answer", "error", err)
		}
		return h
	}
	h.path = path
	_ = os.Chmod(path, 0o600)
	go func() {
		if err := h.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("health server ended", "error", err)
		}
	}()
	return h
}

func (h *healthSocket) Close() {
	_ = h.http.Close()
	if h.path != "" {
		_ = os.Remove(h.path)
	}
}

func newHealthcheck(g *globals) *cobra.Command {
	return &cobra.Command{
		Use:     "healthcheck",
		Short:   "Ask the daemon on this store whether it is well",
		Long:    "Exit code 0 when the daemon is well, 1 when it is not or does not answer.",
		Example: "  pawl healthcheck --config /etc/pawl/pawl.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := g.hereOnly(cmd); err != nil {
				return err
			}
			path, err := config.Find(g.config)
			if err != nil {
				return usage(err)
			}
			cfg, err := config.Load(path)
			if err != nil {
				return usage(err)
			}
			if err := askHealth(cmd.Context(), cfg); err != nil {
				hint := "is it running? pawl serve --config " + cfg.Path
				if _, answers := errors.AsType[unwell](err); answers {
					hint = "its log says why"
				}
				return failed(secrets.Errorf(secrets.Denied, "the daemon is not well: %w", err).WithHint("%s", hint))
			}
			fmt.Fprintln(cmd.OutOrStdout(), "ok")
			return nil
		},
	}
}

// unwell is what a daemon says that is not well.
type unwell string

func (u unwell) Error() string { return "it answers: " + string(u) }

// askHealth asks by the socket, or by server.listen where there is no socket.
func askHealth(ctx context.Context, cfg *config.Config) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	network, addr, scheme := "unix", socketPath(cfg), "http"
	transport := &http.Transport{Proxy: nil}
	if _, err := os.Stat(addr); err != nil && cfg.Server.Listen != "" {
		network, addr = "tcp", cfg.Server.Listen
		if cfg.Server.TLS != nil {
			scheme = "https"
			if transport.TLSClientConfig, err = trustOwn(cfg.Server.TLS); err != nil {
				return err
			}
		}
	}
	transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}
	client := http.Client{Transport: transport}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://pawl/healthz", nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("asking at %s: %w", addr, errors.Unwrap(err))
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
	if resp.StatusCode != http.StatusOK {
		return unwell(bytes.TrimSpace(body))
	}
	return nil
}

// trustOwn trusts the certificate that the daemon is to show, whoever issued it
// and whatever it is for, and no other.
func trustOwn(t *config.TLS) (*tls.Config, error) {
	if t.RequireClient {
		return nil, errors.New("its socket is not there, and server.listen wants a client certificate, which healthcheck has none of")
	}
	text, err := os.ReadFile(t.CertFile)
	if err != nil {
		return nil, fmt.Errorf("reading its certificate: %w", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s holds no certificate in PEM", t.CertFile)
	}
	own, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the certificate in %s is damaged: %w", t.CertFile, err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "pawl"}
	c.RootCAs.AddCert(own)
	switch {
	case len(own.DNSNames) > 0:
		c.ServerName = strings.Replace(own.DNSNames[0], "*", "pawl", 1)
	case len(own.IPAddresses) > 0:
		c.ServerName = own.IPAddresses[0].String()
	}
	return c, nil
}
