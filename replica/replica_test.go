package replica_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/replica"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/teststore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(onStores{m}) }

// onStores runs the tests and ends what their stores shared.
type onStores struct{ m *testing.M }

func (s onStores) Run() int { return teststore.Main(s.m) }

const (
	canary  = "C4nary-Pa55word"
	account = "123456789012"
	us, eu  = "us-east-1", "eu-west-1"
)

// clock is the time, and what a test puts it on by.
type clock struct {
	mu sync.Mutex
	by time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.by)
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by += d
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

// site is a Pawl with a store, principals, and a server behind TLS.
type site struct {
	t       *testing.T
	dir     string
	region  string
	svc     *service.Service
	people  *principals.Directory
	regions *replica.Regions
	clock   *clock // the service's
	log     *logs

	addr   string
	stop   func()
	caFile string
}

func newSite(t *testing.T, region string) *site {
	t.Helper()
	s := &site{t: t, dir: t.TempDir(), region: region, clock: &clock{}, log: &logs{}}
	store, keys := teststore.Open(t)
	s.regions = replica.New(slog.New(slog.NewTextHandler(s.log, nil)), nil)
	s.svc = service.New(service.Config{Store: store, Sealer: keys, Region: region, Regions: s.regions, Now: s.clock.now})
	s.people = principals.New(principals.Config{Store: store, Sealer: keys, Account: account})
	certificate, key, err := server.SelfSigned([]string{"127.0.0.1"}, time.Now())
	must(t, err)
	s.caFile = s.write("cert.pem", string(certificate))
	s.write("key.pem", string(key))
	t.Cleanup(func() {
		s.regions.Close()
		if s.stop != nil {
			s.stop()
		}
		s.people.Close()
		if strings.Contains(s.log.String(), canary) {
			t.Error("a value was logged")
		}
	})
	return s
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (s *site) write(name, text string) (path string) {
	s.t.Helper()
	path = filepath.Join(s.dir, name)
	must(s.t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// serve serves until it is stopped: at the address it had before, if it had one.
func (s *site) serve() {
	s.t.Helper()
	t, err := server.NewTLS(server.TLSConfig{CertFile: s.caFile, KeyFile: filepath.Join(s.dir, "key.pem")})
	must(s.t, err)
	api := server.New(server.Config{
		Service: s.svc, Auth: access.NewVerifier(access.VerifierConfig{Keys: s.people}), Log: slog.New(slog.NewTextHandler(s.log, nil)), TLS: t.Config(),
	})
	if s.addr == "" {
		s.addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", s.addr)
	must(s.t, err)
	s.addr = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- api.Serve(l) }()
	s.stop = func() {
		s.stop = nil
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := errors.Join(api.Shutdown(ctx), <-done); err != nil {
			s.t.Error(err)
		}
	}
}

// the policy of a replicating principal: one statement.
const replicates = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"pawl:*Replica","Resource":"arn:aws:secretsmanager:*:` + account + `:secret:*"}]}`

// enrol makes a user, and a file of its access key.
func (s *site) enrol(name, account, document string) *principals.Credentials {
	s.t.Helper()
	_, key, err := s.people.Create(s.t.Context(), principals.NewPrincipal{Name: name, Account: account, Policies: []principals.Policy{{Name: "p", Document: document}}})
	must(s.t, err)
	return key
}

// place is how another site reaches this one by a key.
func (s *site) place(key *principals.Credentials) replica.Place {
	return replica.Place{
		Endpoint: "https://" + s.addr, CAFile: s.caFile, CredentialsFile: "key.json",
		Credentials: func() (secrets.Password, error) {
			b, err := json.Marshal(map[string]any{"Credentials": map[string]string{"AccessKeyId": key.AccessKeyID, "SecretAccessKey": key.Secret.Reveal()}})
			return secrets.NewPassword(string(b)), err
		},
	}
}

// two are a site of each region, that of us-east-1 replicating into the other.
func two(t *testing.T) (from, to *site) {
	from, to = newSite(t, us), newSite(t, eu)
	to.serve()
	t.Cleanup(from.regions.Close) // before the server, which would wait for connections that are not used yet
	from.regions.Reconfigure(map[string]replica.Place{eu: to.place(to.enrol("replicator", account, replicates))})
	return from, to
}

func token(name string) string { return name + strings.Repeat(".", 36-len(name)) }

func (s *site) create(name string) {
	s.t.Helper()
	_, err := s.svc.CreateSecret(s.t.Context(), service.CreateSecretInput{
		Name: name, ClientRequestToken: token("v1"), GivenValue: service.Give(secrets.Text(canary)), AddReplicaRegions: []service.ReplicaRegionType{{Region: eu}},
	})
	must(s.t, err)
}

func (s *site) follow() {
	s.t.Helper()
	must(s.t, s.svc.Follow(s.t.Context(), s.clock.now()))
}

// status is how the replica of a secret is.
func (s *site) status(name string) service.ReplicationStatusType {
	s.t.Helper()
	out, err := s.svc.DescribeSecret(s.t.Context(), service.DescribeSecretInput{SecretID: name})
	must(s.t, err)
	if len(out.ReplicationStatus) != 1 {
		return service.ReplicationStatusType{}
	}
	return out.ReplicationStatus[0]
}

func (s *site) want(name string, status service.ReplicaStatus, parts ...string) {
	s.t.Helper()
	got := s.status(name)
	for _, p := range parts {
		if !strings.Contains(got.StatusMessage, p) {
			s.t.Errorf("%s says %q, without %q", name, got.StatusMessage, p)
		}
	}
	if got.Status != status || strings.Contains(got.StatusMessage, canary) {
		s.t.Errorf("%s is %s (%s), want %s", name, got.Status, got.StatusMessage, status)
	}
}

func (s *site) value(name string) string {
	out, err := s.svc.GetSecretValue(s.t.Context(), service.GetSecretValueInput{SecretID: name})
	if err != nil {
		return err.Error()
	}
	return string(out.Value.Reveal())
}

func TestReplicatesByTLSAndSignature(t *testing.T) {
	from, to := two(t)
	from.create("prod/app")
	from.follow()
	from.want("prod/app", service.InSync)
	if got := to.value("prod/app"); got != canary {
		t.Errorf("the replica has %q", got)
	}
	_, err := to.svc.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "prod/app", ClientRequestToken: token("v2"), GivenValue: service.Give(secrets.Text("x"))})
	if secrets.CodeOf(err) != "InvalidParameterException" {
		t.Errorf("the replica takes values: %v", err)
	}
	for _, line := range []string{`action=pawl:ApplyReplica`, `principal=arn:aws:iam::` + account + `:user/replicator`} {
		if !strings.Contains(to.log.String(), line) {
			t.Errorf("the audit has no %s", line)
		}
	}
}

func TestAnOutage(t *testing.T) {
	from, to := two(t)
	for i := range 40 {
		from.create(fmt.Sprint("s", i))
	}
	to.stop()
	from.follow()
	from.want("s3", service.InProgress, to.addr, "since ", "regions.eu-west-1.endpoint")
	if n := strings.Count(from.log.String(), "can't be used"); n != 1 {
		t.Errorf("it was logged %d times", n)
	}
	to.serve()
	from.clock.add(10 * time.Second)
	from.follow()
	for i := range 40 {
		from.want(fmt.Sprint("s", i), service.InSync)
	}
	if !strings.Contains(from.log.String(), "answers again") {
		t.Error("that it is back was not logged")
	}
}

func TestPromoteTellsThePrimary(t *testing.T) {
	from, to := two(t)
	from.serve()
	to.regions.Reconfigure(map[string]replica.Place{us: from.place(from.enrol("replicator", account, replicates))})
	from.create("app")
	from.follow()
	_, err := to.svc.StopReplicationToReplica(t.Context(), service.StopReplicationToReplicaInput{SecretID: "app"})
	must(t, err)
	if s := from.status("app"); s.Region != "" {
		t.Errorf("the primary still has %+v", s)
	}
	// One that is gone keeps nobody.
	from.create("orphan")
	from.follow()
	from.stop()
	_, err = to.svc.StopReplicationToReplica(t.Context(), service.StopReplicationToReplicaInput{SecretID: "orphan"})
	must(t, err)
	if out, err := to.svc.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "orphan"}); err != nil || out.PrimaryRegion != "" || to.value("orphan") != canary {
		t.Errorf("%+v %v", out, err)
	}
	must(t, from.svc.TagResource(t.Context(), service.TagResourceInput{SecretID: "orphan", Tags: []service.Tag{{Key: "k"}}}))
	from.follow()
	from.want("orphan", service.Failed, "was promoted in region eu-west-1")
}

// Whatever is wrong with a server or with the way to it, the status names the
// server and what to do, everything waits, and catches up when it was put right.
func TestWhatCanBeWrong(t *testing.T) {
	for _, c := range []struct {
		name  string
		wrong func(from, to *site) replica.Place
		parts []string
	}{
		{"a key that is none", func(_, to *site) replica.Place {
			return to.place(&principals.Credentials{AccessKeyID: "PAWLNOSUCHKEY0000000", Secret: secrets.NewPassword(canary)})
		}, []string{"127.0.0.1:", "key.json is not, or no longer, one of that server's"}},
		{"a wrong secret", func(_, to *site) replica.Place {
			k := *to.enrol("other", account, replicates)
			k.Secret = secrets.NewPassword(canary)
			return to.place(&k)
		}, []string{"127.0.0.1:", "is the key in key.json whole?"}},
		{"an unknown authority", func(_, to *site) replica.Place {
			p := to.place(to.enrol("other", account, replicates))
			p.CAFile = ""
			return p
		}, []string{"127.0.0.1:", "regions.eu-west-1.ca_file"}},
		{"no authority", func(from, to *site) replica.Place {
			p := to.place(to.enrol("other", account, replicates))
			p.CAFile = from.write("empty.pem", "")
			return p
		}, []string{"regions.eu-west-1.ca_file", "there is no certificate in"}},
		{"no credentials", func(_, to *site) replica.Place {
			p := to.place(nil)
			p.Credentials = func() (secrets.Password, error) { return secrets.NewPassword("nothing=" + canary), nil }
			return p
		}, []string{"regions.eu-west-1.credentials_file", "there is no access key in it", "pawl access create"}},
		{"plain HTTP", func(_, to *site) replica.Place {
			p := to.place(to.enrol("other", account, replicates))
			p.Endpoint = "http://192.0.2.1:4566"
			return p
		}, []string{"regions.eu-west-1.endpoint is plain HTTP"}},
		{"another program", func(from, to *site) replica.Place {
			s := httptest.NewServer(http.NotFoundHandler())
			from.t.Cleanup(s.Close)
			p := to.place(to.enrol("other", account, replicates))
			p.Endpoint = s.URL
			return p
		}, []string{"127.0.0.1:", "HTTP 404"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			from, to := newSite(t, us), newSite(t, eu)
			to.serve()
			from.regions.Reconfigure(map[string]replica.Place{eu: c.wrong(from, to)})
			from.create("app")
			from.follow()
			from.want("app", service.InProgress, append(c.parts, "since ")...)
			if got := to.value("app"); !strings.Contains(got, "can't find") {
				t.Errorf("the replica has %q", got)
			}
			from.regions.Reconfigure(map[string]replica.Place{eu: to.place(to.enrol("good", account, replicates))})
			from.follow()
			from.want("app", service.InSync, "Replication succeeded")
		})
	}
}

// Who may do everything to secrets may not replicate for that.
func TestTheRightToReplicate(t *testing.T) {
	const all = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*"}]}`
	from, to := newSite(t, us), newSite(t, eu)
	to.serve()
	for name, key := range map[string]*principals.Credentials{
		"secretsmanager:*": to.enrol("writer", account, all),
		"another account":  to.enrol("stranger", "999999999999", replicates),
		"other secrets":    to.enrol("other", account, strings.Replace(replicates, "secret:*", "secret:dev/*", 1)),
	} {
		from.regions.Reconfigure(map[string]replica.Place{eu: to.place(key)})
		app := "app/" + strings.Map(func(r rune) rune {
			if r >= 'a' && r <= 'z' {
				return r
			}
			return -1
		}, name)
		from.create(app)
		if err := from.svc.Follow(t.Context(), from.clock.now()); secrets.KindOf(err) != secrets.Denied || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
		from.want(app, service.InProgress, "is not authorized to perform: pawl:ApplyReplica", "pawl:*Replica", to.addr)
		if got := to.value(app); !strings.Contains(got, "can't find") {
			t.Errorf("%s: the replica has %q", name, got)
		}
	}
}
