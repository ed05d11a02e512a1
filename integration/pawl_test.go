// Package integration_test rotates real passwords on real servers, through the
// whole of Pawl.
package integration_test

import (
	"context"
	"crypto/rand"
	"log/slog"
	mathrand "math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/engines/mysql"
	"github.com/pawlhq/pawl/engines/postgres"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/scheduler"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/teststore"
	"github.com/pawlhq/pawl/strategies"
)

func TestMain(m *testing.M) {
	if name := os.Getenv(programVariable); name != "" {
		os.Exit(programMain(name))
	}
	code := teststore.Main(m)
	removeBinary()
	os.Exit(code)
}

// thorough: PAWL_THOROUGH is set, as `make soak` does. Without it the longest
// tests run a part of their cases, another one each time.
var thorough = os.Getenv("PAWL_THOROUGH") != ""

var turn = mathrand.IntN(1 << 20)

// chosen picks every n-th case for this run.
func chosen(i, n int) bool { return thorough || (i+turn)%n == 0 }

// partly is how often to do something: all of it, or a part where not thorough.
func partly(all, part int) int {
	if thorough {
		return all
	}
	return part
}

// pawl is the program put together in this process, on a store of its own.
type pawl struct {
	t        testing.TB
	store    service.Store
	svc      *service.Service
	runner   *scheduler.Runner
	pairings []secrets.Pairing
	declared []service.Declaration
}

func newPawl(t testing.TB) *pawl {
	t.Helper()
	store, keys := teststore.Open(t)
	p := &pawl{t: t, store: store}
	p.svc = service.New(service.Config{
		Store: store, Sealer: keys, MinimumInterval: time.Second,
		DefaultRules: secrets.RotationRules{Strategy: secrets.SingleUser},
	})
	registry := engines.NewRegistry(append(mysql.New(), postgres.New())...)
	p.runner = &scheduler.Runner{
		Plan: scheduler.FromService(p.svc),
		Log:  slog.New(slog.DiscardHandler),
		Rotator: &rotator.Rotator{Clock: clockwork.NewRealClock(), Steps: func(rules secrets.RotationRules) rotator.Steps {
			return strategies.NewUsers(strategies.Config{
				Engines: registry, Random: rand.Reader, Clock: clockwork.NewRealClock(),
				Superusers: strategies.Superusers{Pairings: p.pairings, Credentials: p.svc.CredentialsNear},
			}, rules)
		}},
	}
	return p
}

// create stores a secret.
func (p *pawl) create(name string, v secrets.Value) {
	p.t.Helper()
	_, err := p.svc.CreateSecret(p.t.Context(), service.CreateSecretInput{Name: name, GivenValue: service.Give(v), ClientRequestToken: p.token()})
	if err != nil {
		p.t.Fatal(err)
	}
}

// put stores a value of a secret that exists.
func (p *pawl) put(name string, v secrets.Value, stages ...string) string {
	p.t.Helper()
	id := p.token()
	_, err := p.svc.PutSecretValue(p.t.Context(), service.PutSecretValueInput{SecretID: name, GivenValue: service.Give(v), ClientRequestToken: id, VersionStages: stages})
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

func (p *pawl) token() string {
	id, err := service.NewVersionID(rand.Reader)
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// declare adds a rotation as a line of the configuration file would.
func (p *pawl) declare(name string, r secrets.RotationRules) {
	p.t.Helper()
	p.declared = append(p.declared, service.Declaration{Name: name, Rules: r, Source: "file pawl.yaml:1"})
	if _, err := p.svc.Declare(p.t.Context(), p.declared); err != nil {
		p.t.Fatal(err)
	}
}

// get reads AWSCURRENT, or another stage.
func (p *pawl) get(ctx context.Context, name, stage string) (secrets.Credentials, error) {
	out, err := p.svc.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: name, VersionStage: stage})
	if err != nil {
		return secrets.Credentials{}, err
	}
	return secrets.ParseCredentials(out.Value)
}

func (p *pawl) current(name string) secrets.Credentials {
	p.t.Helper()
	c, err := p.get(p.t.Context(), name, "")
	if err != nil {
		p.t.Fatal(err)
	}
	return c
}

// rotate rotates once and must succeed.
func (p *pawl) rotate(name string) rotator.Result {
	p.t.Helper()
	res, err := p.runner.Once(p.t.Context(), name, rotator.Options{Report: func(e rotator.Event) {
		if e.Note != "" {
			p.t.Logf("%s: %s", e.Step, e.Note)
		}
	}})
	if err != nil {
		p.t.Fatal(err)
	}
	return res
}

// stages lists the labels of a secret's versions that have any.
func (p *pawl) stages(name string) map[string][]string {
	p.t.Helper()
	d, err := p.svc.DescribeSecret(p.t.Context(), service.DescribeSecretInput{SecretID: name})
	if err != nil {
		p.t.Fatal(err)
	}
	return d.VersionIDsToStages
}

// database makes a database of its own on the run's shared server.
func database(t testing.TB, kind servers.Kind, name string, o ...servers.Options) *workload.Database {
	t.Helper()
	return prepared(t, servertest.Shared(t, kind, o...), name)
}

func prepared(t testing.TB, s *servers.Server, name string) *workload.Database {
	t.Helper()
	d, err := workload.Prepare(t.Context(), s, name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func user(t testing.TB, d *workload.Database, name string) secrets.Credentials {
	t.Helper()
	c, err := d.AddUser(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
