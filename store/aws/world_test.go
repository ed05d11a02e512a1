package aws

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/teststore"
)

// canary stands in the values of these tests; no error and no log may have it.
const canary = "c4n4ry"

const (
	keyID     = "AKIDOFTHESETESTS"
	keySecret = "the/secret+access/key/of/these/tests"
)

// world is AWS as these tests have it: Pawl's own server, which checks
// signatures and policies, behind a proxy that breaks what it is told to; and
// Stores that reach it by the real SDK.
type world struct {
	t     testing.TB
	own   *service.Service // behind the server, as Pawl itself: who moves things by hand
	clock *clockwork.FakeClock
	url   string
	proxy *proxy
	log   *logs // of the Stores

	mu     sync.Mutex
	policy *policy.Prepared

	*Store
}

// newWorld makes a world with one Store, whose Config change may alter. The
// caller must not be parallel: it sets environment variables.
func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	environment(t)
	file, keys := teststore.Open(t)
	w := &world{t: t, clock: clockwork.NewFakeClockAt(time.Date(2026, 3, 4, 10, 20, 30, 0, time.UTC)), log: &logs{}} // a Wednesday
	w.own = service.New(service.Config{Store: file, Sealer: keys, Now: w.clock.Now})
	w.allow(`{"Effect":"Allow","Action":"*","Resource":"*"}`)
	w.proxy = &proxy{next: server.New(server.Config{Service: w.own, Auth: access.NewVerifier(access.VerifierConfig{Keys: w})})}
	s := httptest.NewUnstartedServer(w.proxy)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of connections that are cut here
	s.Start()
	t.Cleanup(s.Close)
	w.url = s.URL
	w.Store = w.another(change...)
	t.Cleanup(func() {
		if strings.Contains(w.log.String(), canary) {
			t.Errorf("a value was logged: %s", w.log)
		}
	})
	return w
}

// environment leaves nothing of the machine's own in the SDK's configuration.
func environment(t testing.TB) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "") // to have it put back
			_ = os.Unsetenv(name)
		}
	}
	dir := t.TempDir()
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(dir, "config"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(dir, "credentials"))
	t.Setenv("AWS_ACCESS_KEY_ID", keyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", keySecret)
}

// another opens a further Store in this world, as another process would.
func (w *world) another(change ...func(*Config)) *Store {
	w.t.Helper()
	c := Config{
		Region: "us-east-1", Endpoint: w.url, Clock: w.clock, RateLimits: 1000,
		Log: slog.New(slog.NewTextHandler(w.log, nil)),
	}
	for _, f := range change {
		f(&c)
	}
	s, err := open(context.Background(), c, hasty)
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// hasty has the SDK wait for next to nothing between its tries.
func hasty(o *secretsmanager.Options) {
	o.Retryer = retryer(func(o *retry.StandardOptions) {
		o.RateLimiter = ratelimit.None
		o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Millisecond, nil })
	})
}

// AccessKey implements access.Keys: there is one key.
func (w *world) AccessKey(_ context.Context, id string, _ secrets.Password) (access.Key, error) {
	if id != keyID {
		return access.Key{}, access.ErrNoKey
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return access.Key{ID: id, Secret: secrets.NewPassword(keySecret), Principal: access.Principal{
		Account: access.DevAccount, ARN: "arn:aws:iam::" + access.DevAccount + ":user/pawl", Type: policy.User, Username: "pawl",
		Policies: access.Policies{Identity: []*policy.Prepared{w.policy}},
	}}, nil
}

// allow gives the Stores' user these statements, and nothing else.
func (w *world) allow(statements string) {
	w.t.Helper()
	doc, err := policy.ParseIdentity(`{"Version":"2012-10-17","Statement":[` + statements + `]}`)
	if err != nil {
		w.t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.policy = policy.Prepare(doc)
}

// create makes a secret whose first version is v1.
func (w *world) create(name string, value string, tags ...service.Tag) (arn string) {
	w.t.Helper()
	out, err := w.own.CreateSecret(context.Background(), service.CreateSecretInput{
		Name: name, ClientRequestToken: tok("v1"), GivenValue: service.Give(secrets.Text(value)), Tags: tags,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.ARN
}

// put stores a value by hand.
func (w *world) put(name, version, value string, stages ...string) {
	w.t.Helper()
	_, err := w.own.PutSecretValue(context.Background(), service.PutSecretValueInput{
		SecretID: name, ClientRequestToken: tok(version), GivenValue: service.Give(secrets.Text(value)), VersionStages: stages,
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// stage moves a label by hand, wherever it is.
func (w *world) stage(name, label, to string) {
	w.t.Helper()
	_, err := w.own.UpdateSecretVersionStage(context.Background(), service.UpdateSecretVersionStageInput{
		SecretID: name, VersionStage: theirLabel(label), MoveToVersionID: to, RemoveFromVersionID: w.holder(name, label),
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// remove deletes a secret, at once or within a window.
func (w *world) remove(name string, atOnce bool) {
	w.t.Helper()
	if _, err := w.own.DeleteSecret(context.Background(), service.DeleteSecretInput{SecretID: name, ForceDeleteWithoutRecovery: atOnce}); err != nil {
		w.t.Fatal(err)
	}
}

// versions are a secret's as they are at AWS.
func (w *world) versions(name string) secrets.Versions {
	w.t.Helper()
	out, err := w.own.DescribeSecret(context.Background(), service.DescribeSecretInput{SecretID: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return versionsOf(out.VersionIDsToStages)
}

func (w *world) holder(name, label string) string { return w.versions(name).IDWith(label) }

// tags are a secret's as they are at AWS.
func (w *world) tags(name string) []service.Tag {
	w.t.Helper()
	out, err := w.own.DescribeSecret(context.Background(), service.DescribeSecretInput{SecretID: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Tags
}

// value is the value of a version; "" for none.
func (w *world) value(name, versionID string) string {
	out, err := w.own.GetSecretValue(context.Background(), service.GetSecretValueInput{SecretID: name, VersionID: versionID})
	if err != nil {
		return ""
	}
	return string(out.Value.Reveal())
}

// tok makes a ClientRequestToken from a short name; a long one is one.
func tok(name string) string {
	return name + strings.Repeat(".", max(0, secrets.MinVersionIDLen-len(name)))
}

// logs is a log that tests read.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// proxy stands before the server, counts and breaks.
type proxy struct {
	next http.Handler

	mu    sync.Mutex
	calls []string // the operations that were asked for, in order
	rules []*rule
}

// rule is what happens to the next n requests of an operation.
type rule struct {
	operation string // "" = any
	n         int
	do        fault
}

// fault answers a request in place of the server, which it may ask by serve.
type fault func(w http.ResponseWriter, serve func() *httptest.ResponseRecorder)

// on has the next n requests of an operation ("" = any) meet a fault, after the
// ones that were told before.
func (p *proxy) on(operation string, n int, do fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, &rule{operation, n, do})
}

// mend forgets all faults.
func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

// counted returns the operations since it was last asked.
func (p *proxy) counted() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.calls
	p.calls = nil
	return out
}

func (p *proxy) meets(operation string) fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, operation)
	for _, r := range p.rules {
		if r.n > 0 && (r.operation == "" || r.operation == operation) {
			r.n--
			return r.do
		}
	}
	return forward
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	operation := strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "secretsmanager.")
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	p.meets(operation)(w, func() *httptest.ResponseRecorder {
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		rec := httptest.NewRecorder()
		p.next.ServeHTTP(rec, again)
		return rec
	})
}

func pass(w http.ResponseWriter, rec *httptest.ResponseRecorder) {
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	_, _ = w.Write(rec.Body.Bytes())
}

// forward is no fault.
func forward(w http.ResponseWriter, serve func() *httptest.ResponseRecorder) { pass(w, serve()) }

// answers is a refusal, without having asked the server.
func answers(status int, code, text string) fault {
	return func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) {
		w.Header().Set("X-Amzn-Requestid", "7a1c")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"__type":%q,"message":%q}`, code, text)
	}
}

var (
	throttles = answers(400, "ThrottlingException", "Rate exceeded")
	fails     = answers(500, "InternalServiceError", "An error occurred on the server side.")
)

// hangUp cuts the connection.
func hangUp(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// cuts loses the request.
func cuts(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) { hangUp(w) }

// loses loses the answer, after it was done.
func loses(w http.ResponseWriter, serve func() *httptest.ResponseRecorder) {
	serve()
	hangUp(w)
}

// failsAfter answers 500 after it was done.
func failsAfter(w http.ResponseWriter, serve func() *httptest.ResponseRecorder) {
	serve()
	fails(w, serve)
}

// doubles delivers a request twice, and answers as to the second.
func doubles(w http.ResponseWriter, serve func() *httptest.ResponseRecorder) {
	serve()
	pass(w, serve())
}

// first does something right before the server gets the request.
func first(do func()) fault {
	return func(w http.ResponseWriter, serve func() *httptest.ResponseRecorder) {
		do()
		pass(w, serve())
	}
}

// after does something right after the server has answered, before anybody hears
// of it.
func after(do func()) fault {
	return func(w http.ResponseWriter, serve func() *httptest.ResponseRecorder) {
		rec := serve()
		do()
		pass(w, rec)
	}
}

// wantKind checks what an error says, and that it shows no value.
func wantKind(t testing.TB, err error, kind secrets.Kind, parts ...string) {
	t.Helper()
	if err == nil || secrets.KindOf(err) != kind || strings.Contains(fmt.Sprintf("%+v", err), canary) ||
		slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(err.Error(), part) }) {
		t.Errorf("got %v (%s), want %s with %q", err, secrets.KindOf(err), kind, parts)
	}
}

// fewerChecks has the property test t, whose every step is a request, make n
// checks; `make soak` makes all of them.
func fewerChecks(t *testing.T, n int) {
	f := flag.Lookup("rapid.checks")
	if was := f.Value.String(); os.Getenv("PAWL_THOROUGH") == "" && was == f.DefValue {
		t.Cleanup(func() { _ = f.Value.Set(was) })
		if err := f.Value.Set(strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
	}
}
