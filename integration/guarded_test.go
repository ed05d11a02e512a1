package integration_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"github.com/pawlhq/pawl/client"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/secrets"
)

// guarded is the real binary as people run it: made by `pawl init --tls`, its
// API behind TLS and signatures. The pawl in it is another process on the same
// store, and an operator's: policies do not bind it.
type guarded struct {
	*site
	daemon   *process
	endpoint string // https://127.0.0.1:PORT
	trust    *tls.Config
	admin    aws.Credentials
	http     *http.Transport
}

// The account and region of a site.
const (
	homeAccount = config.DefaultAccount
	homeRegion  = config.DefaultRegion
	allSecrets  = "arn:aws:secretsmanager:*:" + homeAccount + ":secret:"
)

var exported = regexp.MustCompile(`(?m)^export (AWS_ACCESS_KEY_ID|AWS_SECRET_ACCESS_KEY|AWS_ENDPOINT_URL_SECRETS_MANAGER)=(\S+)$`)

// exports reads the lines that a command prints for a shell.
func exports(out string) map[string]string {
	vars := map[string]string{}
	for _, m := range exported.FindAllStringSubmatch(out, -1) {
		vars[m[1]] = m[2]
	}
	return vars
}

// newGuarded starts one without rate limits, whose configuration ends with these
// lines and whose environment has these variables. It must end well with the test.
func newGuarded(t testing.TB, lines string, env ...string) *guarded {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	g := &guarded{site: &site{pawl: &pawl{t: t}, dir: t.TempDir(), bin: bin, env: env}}
	made := exports(g.init("--tls"))
	g.admin = aws.Credentials{AccessKeyID: made["AWS_ACCESS_KEY_ID"], SecretAccessKey: made["AWS_SECRET_ACCESS_KEY"]}
	file := strings.Replace(g.over(config.TemplateTLS(config.DefaultListen)), "\nserver:\n", "\nserver:\n  rate_limits: 0\n", 1)
	g.write(config.DefaultFile, file+lines)

	g.look()

	certificate, err := os.ReadFile(filepath.Join(g.dir, config.DefaultCertFile))
	if err != nil {
		t.Fatal(err)
	}
	g.trust = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}
	if !g.trust.RootCAs.AppendCertsFromPEM(certificate) {
		t.Fatal("no certificate")
	}
	g.http = &http.Transport{TLSClientConfig: g.trust, MaxIdleConnsPerHost: 32}
	t.Cleanup(g.http.CloseIdleConnections)

	g.daemon = g.serve("--listen", "127.0.0.1:0")
	until(t, "the line to export", func() bool {
		g.endpoint = exports(g.daemon.out.String())["AWS_ENDPOINT_URL_SECRETS_MANAGER"]
		return g.endpoint != ""
	})
	t.Cleanup(g.daemon.stop)
	return g
}

// write writes a file into the site's folder and returns its path.
func (g *guarded) write(name, text string) string {
	g.t.Helper()
	path := filepath.Join(g.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		g.t.Fatal(err)
	}
	return path
}

// policyFile writes a policy of these statements into a file.
func (g *guarded) policyFile(name, statements string) string {
	g.t.Helper()
	return g.write(name+".json", policyOf(statements))
}

func policyOf(statements string) string {
	return `{"Version":"2012-10-17","Statement":[` + statements + `]}`
}

// allows is a statement of an identity-based policy.
func allows(action, resource string) string {
	return `{"Effect":"Allow","Action":"` + action + `","Resource":"` + resource + `"}`
}

// enrol makes a user with a policy, which has his name, of these statements.
func (g *guarded) enrol(name, statements string, more ...string) aws.Credentials {
	g.t.Helper()
	return credentialsIn(g.t, g.do(append([]string{"access", "create", name, "--json", "--policy", g.policyFile(name, statements)}, more...)...))
}

// credentialsIn reads the credentials in the JSON that a command prints.
func credentialsIn(t testing.TB, out string) aws.Credentials {
	t.Helper()
	type made struct{ AccessKeyId, SecretAccessKey, SessionToken string }
	var v struct {
		made
		Credentials made
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatal(err)
	}
	c := v.Credentials
	if c.AccessKeyId == "" {
		c = v.made
	}
	if c.AccessKeyId == "" || c.SecretAccessKey == "" {
		t.Fatal("there are no credentials in the answer")
	}
	return aws.Credentials{AccessKeyID: c.AccessKeyId, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
}

func static(c aws.Credentials) aws.CredentialsProvider {
	return credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
}

// from is a transport of its own for somebody, with an address of its own too
// where the system has more than one of this machine: the server tells apart by
// it who keeps failing to authenticate, and makes him wait.
func (g *guarded) from(n int) *http.Transport {
	t := g.http.Clone()
	if runtime.GOOS == "linux" {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(n>>8), byte(n))}}
		t.DialContext = dialer.DialContext
	}
	g.t.Cleanup(t.CloseIdleConnections)
	return t
}

// in is g for a subtest: what fails is that one's failure.
func (g *guarded) in(t *testing.T) *guarded {
	mine := *g
	mine.site = g.site.in(t)
	return &mine
}

// as is the SDK for Go with somebody's credentials. It sends each request once,
// through a transport; nil = the site's.
func (g *guarded) as(c aws.Credentials, over http.RoundTripper) *secretsmanager.Client {
	if over == nil {
		over = g.http
	}
	return secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: &g.endpoint, Region: homeRegion, Credentials: static(c),
		HTTPClient: &http.Client{Transport: over, Timeout: time.Minute}, Retryer: aws.NopRetryer{},
	})
}

// asPawl is Pawl's own client, for the operations that AWS has not.
func (g *guarded) asPawl(c aws.Credentials, over http.RoundTripper) *client.Client {
	g.t.Helper()
	out, err := client.New(client.Config{Endpoint: g.endpoint, Region: homeRegion, Credentials: static(c), Transport: over})
	if err != nil {
		g.t.Fatal(err)
	}
	return out
}

// codeOf is the exception that an SDK or Pawl's client got, "" for none.
func codeOf(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return secrets.CodeOf(err)
}

// sideBySide runs subtests, so many of them at a time: they wait for a server
// more than they work.
func sideBySide[T any](t *testing.T, n int, all []T, name func(T) string, test func(*testing.T, T)) {
	var wg sync.WaitGroup
	places := make(chan struct{}, n)
	for _, one := range all {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			t.Run(name(one), func(t *testing.T) { test(t, one) })
		})
	}
	wg.Wait()
}
