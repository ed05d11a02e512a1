package conformance_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/engines/postgres"
	"github.com/pawlhq/pawl/integration/conformance"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/scheduler"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/teststore"
	"github.com/pawlhq/pawl/strategies"
)

// house is Pawl as `pawl serve` puts it together but for who may call: a store on
// disk, the daemon, and the API on a listener.
type house struct {
	dir   string
	store teststore.Store
	keys  *seal.Keyring
	svc   *service.Service
}

// build makes a house; anyKey has the keys that secrets name come into being.
func build(t *testing.T, anyKey bool) *house {
	h := &house{dir: t.TempDir()}
	master, err := seal.Source{File: teststore.KeyFile(t)}.Load(t.Context(), nil)
	must(t, err)
	h.store = teststore.New(t).Open(t)
	h.keys = seal.New(seal.Config{Master: master, Store: h.store, CreateMissing: anyKey})
	must(t, h.keys.Verify(t.Context(), h.store))

	h.svc = service.New(service.Config{Store: h.store, Sealer: h.keys})
	registry := engines.NewRegistry(postgres.New())
	sched := scheduler.New(scheduler.Config{
		Purge: h.svc.Purge, Follow: h.svc.Follow,
		Runner: &scheduler.Runner{
			Plan: scheduler.FromService(h.svc),
			Log:  slog.New(slog.DiscardHandler),
			Rotator: &rotator.Rotator{Clock: clockwork.NewRealClock(), Steps: func(rules secrets.RotationRules) rotator.Steps {
				return strategies.NewUsers(strategies.Config{Engines: registry, Random: rand.Reader, Clock: clockwork.NewRealClock()}, rules)
			}},
		},
	})
	h.svc.Attach(sched)
	must(t, sched.Start(t.Context()))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		must(t, sched.Stop(ctx))
	})
	return h
}

// serve opens the doors and returns the address.
func (h *house) serve(t *testing.T, c server.Config) (addr string) {
	c.Service = h.svc
	api := server.New(c)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- api.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		must(t, api.Shutdown(ctx))
		must(t, <-ended)
	})
	return l.Addr().String()
}

// left says where in the store there are secrets.
func (h *house) left(t *testing.T) func() []service.Place {
	return func() []service.Place {
		places, err := h.store.Places(context.Background())
		must(t, err)
		return places
	}
}

const otherAccount = "210987654321"

// target is what all runs have.
func target(t *testing.T, url string, trust *x509.CertPool) conformance.Target {
	return conformance.Target{
		URL: url, Region: "us-east-1", ReplicaRegion: "eu-west-1",
		Function:    "arn:aws:lambda:{region}:{account}:function:pawl-single-user",
		PartnerRole: "arn:aws:iam::{account}:role/partner",
		Key:         "alias/conformance",
		Rotatable:   users(t),
		Client: &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			MaxIdleConnsPerHost: 32, TLSClientConfig: &tls.Config{RootCAs: trust},
		}},
	}
}

// dev is `pawl serve --dev`.
func dev(t *testing.T) (conformance.Target, func() []service.Place) {
	h := build(t, true)
	c := target(t, "http://"+h.serve(t, server.Config{Auth: access.Dev{}}), nil)
	c.Credentials = aws.Credentials{AccessKeyID: access.DevAccount, SecretAccessKey: "dev"}
	c.Other = &aws.Credentials{AccessKeyID: otherAccount, SecretAccessKey: "dev"}
	c.Unverified = true
	return c, h.left(t)
}

// signed is `pawl serve` with a self-signed certificate and principals of its
// own. It has no quotas: AWS's would have the rules wait for each other.
func signed(t *testing.T) (conformance.Target, func() []service.Place) {
	h := build(t, false)
	_, err := h.keys.CreateKey(t.Context(), "alias/conformance")
	must(t, err)
	people := principals.New(principals.Config{Store: h.store, Sealer: h.keys, Account: access.DevAccount})
	t.Cleanup(people.Close)
	everything := []principals.Policy{{Name: "administrator", Document: principals.AdministratorPolicy}}
	credentials := func(c *principals.Credentials, err error) aws.Credentials {
		must(t, err)
		return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.Secret.Reveal(), SessionToken: c.SessionToken.Reveal()}
	}
	user := func(n principals.NewPrincipal) *aws.Credentials {
		_, c, err := people.Create(t.Context(), n)
		out := credentials(c, err)
		return &out
	}
	admin := user(principals.NewPrincipal{Name: "admin", Policies: everything})
	other := user(principals.NewPrincipal{Name: "admin", Account: otherAccount, Policies: everything})
	nobody := user(principals.NewPrincipal{Name: "nobody"})
	_, _, err = people.Create(t.Context(), principals.NewPrincipal{
		Name: "operator", Kind: principals.Role, Policies: everything,
		Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + access.DevAccount + `"},"Action":"sts:AssumeRole"}]}`,
	})
	must(t, err)
	session := credentials(people.Session(t.Context(), "operator", principals.NewSession{Name: "conformance"}))

	files, trust := certificate(t, h.dir)
	addr := h.serve(t, server.Config{Auth: access.NewVerifier(access.VerifierConfig{Keys: people}), TLS: files.Config()})
	c := target(t, "https://"+addr, trust)
	c.Credentials, c.Other, c.Denied, c.Session = *admin, other, nobody, &session
	return c, h.left(t)
}

// certificate makes a self-signed one, and what trusts it.
func certificate(t *testing.T, dir string) (*server.TLS, *x509.CertPool) {
	pem, key, err := server.SelfSigned([]string{"127.0.0.1"}, time.Now())
	must(t, err)
	c := server.TLSConfig{CertFile: filepath.Join(dir, "tls.crt"), KeyFile: filepath.Join(dir, "tls.key")}
	must(t, os.WriteFile(c.CertFile, pem, 0o644))
	must(t, os.WriteFile(c.KeyFile, key, 0o600))
	files, err := server.NewTLS(c)
	must(t, err)
	trust := x509.NewCertPool()
	trust.AppendCertsFromPEM(pem)
	return files, trust
}

// users makes database users whose passwords can be rotated; nil on a machine
// without a database server.
func users(t *testing.T) func() (string, bool) {
	if installed, _ := servers.Find(servers.AnyPostgres); !installed {
		return nil
	}
	name := "conformance_" + strings.ToLower(rand.Text()[:8]) // with -count the server is the same
	db, err := workload.Prepare(t.Context(), servertest.Shared(t, servers.AnyPostgres), name)
	must(t, err)
	var mu sync.Mutex // PostgreSQL does not take two grants on one schema at a time
	n := 0
	return func() (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		n++
		c, err := db.AddUser(t.Context(), fmt.Sprintf("%s_%d", name, n))
		if err != nil {
			t.Error(err)
			return "", false
		}
		return string(c.Value().Reveal()), true
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
