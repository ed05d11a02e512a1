package conformance_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/access"
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
	"github.com/pawlhq/pawl/store/sqlite"
	"github.com/pawlhq/pawl/strategies"
)

// pawl is Pawl as `pawl serve --dev` puts it together: a store on disk, the
// daemon, and the API on a listener. left says where in the store there are
// secrets.
func pawl(t *testing.T) (target conformance.Target, left func() []service.Place) {
	dir := t.TempDir()
	key := filepath.Join(dir, "pawl.key")
	must(t, seal.GenerateKeyFile(key, rand.Reader))
	keys, err := seal.Load(key)
	must(t, err)
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "pawl.db"), sqlite.Options{Create: true})
	must(t, err)
	t.Cleanup(func() { store.Close() })

	svc := service.New(service.Config{Store: store, Sealer: keys})
	registry := engines.NewRegistry(postgres.New())
	sched := scheduler.New(scheduler.Config{
		Purge: svc.Purge, Follow: svc.Follow,
		Runner: &scheduler.Runner{
			Plan: scheduler.FromService(svc),
			Log:  slog.New(slog.DiscardHandler),
			Rotator: &rotator.Rotator{Clock: clockwork.NewRealClock(), Steps: func(rules secrets.RotationRules) rotator.Steps {
				return strategies.NewUsers(strategies.Config{Engines: registry, Random: rand.Reader, Clock: clockwork.NewRealClock()}, rules)
			}},
		},
	})
	svc.Attach(sched)
	must(t, sched.Start(t.Context()))
	api := server.New(server.Config{Service: svc, Auth: access.Dev{}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- api.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		must(t, api.Shutdown(ctx))
		must(t, <-ended)
		must(t, sched.Stop(ctx))
	})

	left = func() []service.Place {
		places, err := store.Places(context.Background())
		must(t, err)
		return places
	}
	return conformance.Target{
		URL: "http://" + l.Addr().String(), Region: "us-east-1", ReplicaRegion: "eu-west-1",
		Credentials: aws.Credentials{AccessKeyID: access.DevAccount, SecretAccessKey: "dev"},
		Other:       &aws.Credentials{AccessKeyID: "210987654321", SecretAccessKey: "dev"},
		Function:    "arn:aws:lambda:{region}:{account}:function:pawl-single-user",
		PartnerRole: "arn:aws:iam::{account}:role/partner",
		Rotatable:   users(t),
		Unverified:  true,
		Isolated:    true,
		Client:      &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 32}},
	}, left
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
