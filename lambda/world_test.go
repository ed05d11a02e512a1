package lambda_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/teststore"
)

const (
	account = "123456789012"
	region  = "us-east-1"
)

// world has Pawl's own server, signed requests and all, in the place of Secrets
// Manager, and a real PostgreSQL. Nobody else rotates here.
type world struct {
	t    testing.TB
	svc  *service.Service // an operator's, whom no policy binds
	past *service.Service // the same a month ago
	db   *workload.Database
	env  []string
	near *nearby

	mu     sync.Mutex
	values []string // all that must never be seen
	calls  []string // what the function has asked of Secrets Manager
}

var databases atomic.Int64

// newWorld makes one whose function has the rights of the documented policy.
func newWorld(t testing.TB) *world {
	t.Helper()
	store, keys := teststore.Open(t)
	w := &world{t: t,
		svc:  service.New(service.Config{Store: store, Sealer: keys}),
		past: service.New(service.Config{Store: store, Sealer: keys, Now: func() time.Time { return time.Now().AddDate(0, -1, -3) }}),
	}
	people := principals.New(principals.Config{Store: store, Sealer: keys, Account: account})
	t.Cleanup(people.Close)
	_, creds, err := people.Create(t.Context(), principals.NewPrincipal{Name: "function", Policies: []principals.Policy{{Name: "lambda", Document: policy(t)}}})
	if err != nil {
		t.Fatal(err)
	}
	secretsManager := server.New(server.Config{
		Service: w.svc, Auth: access.NewVerifier(access.VerifierConfig{Keys: people}), Log: slog.New(slog.DiscardHandler),
	})
	api := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.calls = append(w.calls, strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager."))
		w.mu.Unlock()
		secretsManager.ServeHTTP(rw, r)
	}))
	t.Cleanup(api.Close)
	w.env = []string{
		"SECRETS_MANAGER_ENDPOINT=" + api.URL, "AWS_REGION=" + region,
		"AWS_ACCESS_KEY_ID=" + creds.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + creds.Secret.Reveal(),
	}
	w.hide(creds.Secret.Reveal())
	db, err := workload.Prepare(t.Context(), servertest.Shared(t, servers.AnyPostgres), fmt.Sprintf("lambda%d", databases.Add(1)))
	if err != nil {
		t.Fatal(err)
	}
	w.db, w.near = db, newNearby(t, db.Server)
	return w
}

// policy is the one of the examples, for the secrets prod/*.
func policy(t testing.TB) string {
	b, err := os.ReadFile(filepath.Join("..", "docs", "examples", "lambda", "policy.json"))
	if err != nil {
		t.Fatal(err)
	}
	const all = "arn:aws:secretsmanager:" + region + ":" + account + ":secret:"
	return strings.NewReplacer("${secrets}", all+"prod/*", "${superuser}", all+"root/*").Replace(string(b))
}

// asked returns the calls since it was last called, in their order.
func (w *world) asked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	return calls
}

func (w *world) hide(value string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.values = append(w.values, value)
}

// start starts the function in this world; nothing that it says may have a value
// in it.
func (w *world) start(env ...string) *function {
	w.t.Helper()
	f := startFunction(w.t, append(env, w.env...)...)
	w.t.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		said := f.out.String() + f.seen.String()
		for _, v := range w.values {
			if strings.Contains(said, v) {
				w.t.Error("a value was shown")
			}
		}
	})
	return f
}

// user makes a user of the database, who is reached through the network that a
// test can break.
func (w *world) user(name string) secrets.Credentials { return w.userBy(w.near, name) }

func (w *world) userBy(n *nearby, name string) secrets.Credentials {
	w.t.Helper()
	c, err := w.db.AddUser(w.t.Context(), w.db.Name+"_"+name)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.WithNumber("port", fmt.Sprint(n.port))
}

func (w *world) superuser() secrets.Credentials {
	return w.db.Superuser().WithNumber("port", fmt.Sprint(w.near.port))
}

// create stores a secret, now or a month ago, and returns its ARN.
func (w *world) create(svc *service.Service, name string, c secrets.Credentials, tags ...string) string {
	w.t.Helper()
	w.hide(c.Password().Reveal())
	in := service.CreateSecretInput{Name: name, GivenValue: service.Give(c.Value()), ClientRequestToken: newToken()}
	for i := 0; i < len(tags); i += 2 {
		in.Tags = append(in.Tags, service.Tag{Key: tags[i], Value: tags[i+1]})
	}
	out, err := svc.CreateSecret(w.t.Context(), in)
	if err != nil {
		w.t.Fatal(err)
	}
	return out.ARN
}

func newToken() string {
	id, err := service.NewVersionID(rand.Reader)
	if err != nil {
		panic(err)
	}
	return id
}

// rotation turns a secret's rotation on at AWS, which stages an empty version, and
// returns the event of one of its steps.
func (w *world) rotation(arn string) func(step string) map[string]string {
	w.t.Helper()
	token := newToken()
	_, err := w.svc.RotateSecret(w.t.Context(), service.RotateSecretInput{
		SecretID: arn, ClientRequestToken: token,
		RotationLambdaARN: "arn:aws:lambda:" + region + ":" + account + ":function:pawl-single-user",
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.hide(rotationToken)
	return func(step string) map[string]string {
		return map[string]string{"Step": step, "SecretId": arn, "ClientRequestToken": token, "RotationToken": rotationToken}
	}
}

const rotationToken = "r0tat10n-t0ken-5d41402abc4b2a76b9719d911017c592"

// current reads AWSCURRENT.
func (w *world) current(id string) (secrets.Credentials, string) { return w.get(id, secrets.Current) }

func (w *world) get(id, stage string) (secrets.Credentials, string) {
	w.t.Helper()
	out, err := w.svc.GetSecretValue(w.t.Context(), service.GetSecretValueInput{SecretID: id, VersionStage: stage})
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := secrets.ParseCredentials(out.Value)
	if err != nil {
		w.t.Fatal(err)
	}
	w.hide(c.Password().Reveal())
	return c, out.VersionID
}

func (w *world) mustLogin(what string, c secrets.Credentials) {
	w.t.Helper()
	if err := w.db.Login(w.t.Context(), c); err != nil {
		w.t.Errorf("%s: %v", what, err)
	}
}

func (w *world) mustNotLogin(what string, c secrets.Credentials) {
	w.t.Helper()
	if w.db.Login(w.t.Context(), c) == nil {
		w.t.Errorf("%s logs in", what)
	}
}

// nearby is the network between the function and the database.
type nearby struct {
	port  int
	state atomic.Int64 // how many connections get through from now on; below zero: all
	hang  atomic.Bool  // the others hang, instead of being closed
	stop  chan struct{}
}

func newNearby(t testing.TB, s *servers.Server) *nearby {
	n := &nearby{stop: make(chan struct{})}
	n.state.Store(-1)
	t.Cleanup(func() { close(n.stop) })
	n.port = servertest.Proxy(t, func() *servers.Server { return s }, n.serve)
	return n
}

func (n *nearby) serve(client, database net.Conn) {
	if n.state.Load() >= 0 && n.state.Add(-1) < 0 {
		n.state.Store(0)
		if n.hang.Load() {
			// Until the client has had enough of it.
			_, _ = io.Copy(io.Discard, client)
		}
		return
	}
	ctx, done := context.WithCancel(context.Background())
	go func() {
		defer done()
		_, _ = io.Copy(database, client)
	}()
	go func() {
		defer done()
		_, _ = io.Copy(client, database)
	}()
	select {
	case <-ctx.Done():
	case <-n.stop:
	}
}

// breaks lets some more connections through, and then none; those hang or end.
func (n *nearby) breaks(after int64, hang bool) {
	n.hang.Store(hang)
	n.state.Store(after)
}

func (n *nearby) heals() { n.state.Store(-1) }
