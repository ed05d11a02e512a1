package client

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const canary = "C4nary-Pa55word"

// at makes a Client of a server that answers by h, and counts the requests. Its
// waits are over at once.
func at(t *testing.T, h http.HandlerFunc) (*Client, *atomic.Int32) {
	t.Helper()
	var n atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return toward(t, s.URL), &n
}

func toward(t *testing.T, url string) *Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	c, err := New(Config{
		Endpoint: url, Region: "eu-west-1", Transport: transport, Timer: &noWait{},
		Credentials: credentials.NewStaticCredentialsProvider("AKID", "SECRETKEY", "TOKEN"),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// noWait is a timer whose time is always up.
type noWait struct {
	c     chan time.Time
	asked []time.Duration
}

func (n *noWait) Start(d time.Duration) {
	n.c = make(chan time.Time, 1)
	n.c <- time.Time{}
	n.asked = append(n.asked, d)
}
func (n *noWait) Stop()               {}
func (n *noWait) C() <-chan time.Time { return n.c }

func fault(w http.ResponseWriter, status int, body string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body)
}

func TestRequest(t *testing.T) {
	c, _ := at(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		for name, want := range map[string]string{
			"X-Amz-Target":         "secretsmanager.GetSecretValue",
			"Content-Type":         "application/x-amz-json-1.1",
			"X-Amz-Security-Token": "TOKEN",
			"X-Amz-Date":           r.Header.Get("X-Amz-Date"),
		} {
			if got := r.Header.Get(name); got == "" || got != want {
				t.Errorf("%s: %q, want %q", name, got, want)
			}
		}
		if auth := r.Header.Get("Authorization"); !regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=AKID/\d{8}/eu-west-1/secretsmanager/aws4_request, SignedHeaders=content-length;content-type;host;x-amz-date;x-amz-security-token;x-amz-target, Signature=[0-9a-f]{64}$`).MatchString(auth) {
			t.Errorf("Authorization: %s", auth)
		}
		if r.Method != http.MethodPost || r.URL.Path != "/" || string(body) != `{"SecretId":"prod/app","VersionStage":"AWSPREVIOUS"}` {
			t.Errorf("%s %s %s", r.Method, r.URL, body)
		}
		_, _ = io.WriteString(w, `{"ARN":"arn","Name":"prod/app","SecretString":"`+canary+`","CreatedDate":1.5,"More":[{}]}`)
	})
	out, err := c.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "prod/app", VersionStage: "AWSPREVIOUS"})
	if err != nil {
		t.Fatal(err)
	}
	if out.Name != "prod/app" || string(out.Value.Reveal()) != canary || out.CreatedDate.UnixMilli() != 1500 {
		t.Errorf("%+v", out)
	}
}

// TestRetries: what may pass is tried again, but never what could then be refused
// because it was done already.
func TestRetries(t *testing.T) {
	hangUp := func(w http.ResponseWriter, _ *http.Request) { panic(http.ErrAbortHandler) }
	answer := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fault(w, status, body) }
	}
	const missing = `{"__type":"com.amazon#ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`
	const internal = `{"__type":"InternalServiceError","Message":"An error occurred on the server side."}`
	const throttled = `{"__type":"ThrottlingException","message":"Rate exceeded"}`
	for _, c := range []struct {
		name         string
		fails        http.HandlerFunc
		read, delete int32 // requests, where it always fails
		kind         secrets.Kind
		deletes      secrets.Kind
	}{
		{"500", answer(500, internal), 4, 1, secrets.Transient, secrets.Unknown},
		{"503 of a proxy", answer(503, "busy "+canary), 4, 1, secrets.Transient, secrets.Unknown},
		{"throttling", answer(400, throttled), 4, 4, secrets.Transient, secrets.Transient},
		{"the connection breaks", hangUp, 4, 1, secrets.Transient, secrets.Unknown},
		{"not found", answer(400, missing), 1, 1, secrets.Invalid, secrets.Invalid},
		{"denied", answer(400, `{"__type":"AccessDeniedException","Message":"User: x is not authorized"}`), 1, 1, secrets.Denied, secrets.Denied},
		{"a signature", answer(400, `{"__type":"InvalidSignatureException","message":"Signature expired: a is now earlier than b"}`), 1, 1, secrets.Denied, secrets.Denied},
		{"no JSON", answer(200, canary), 1, 1, secrets.Invalid, secrets.Invalid},
		{"another JSON", answer(200, `["`+canary+`"]`), 1, 1, secrets.Invalid, secrets.Invalid},
		{"an echo", answer(404, `{"`+canary+`":1}`), 1, 1, secrets.Invalid, secrets.Invalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			client, n := at(t, c.fails)
			_, err := client.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "prod/app", GivenValue: service.Give(secrets.Text(canary))})
			if err == nil || secrets.KindOf(err) != c.kind || n.Load() != c.read || strings.Contains(err.Error(), canary) {
				t.Errorf("put: %d requests, %v: %v", n.Load(), secrets.KindOf(err), err)
			}
			n.Store(0)
			_, err = client.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "prod/app"})
			if err == nil || secrets.KindOf(err) != c.deletes || n.Load() != c.delete || strings.Contains(err.Error(), canary) {
				t.Errorf("delete: %d requests, %v: %v", n.Load(), secrets.KindOf(err), err)
			}

			// And where it passes, the answer is that of the next try.
			if c.read > 1 {
				client, n = at(t, func(w http.ResponseWriter, r *http.Request) {
					if n.Load() < 3 {
						c.fails(w, r)
					}
				})
				if err := client.TagResource(t.Context(), service.TagResourceInput{SecretID: "prod/app"}); err != nil || n.Load() != 3 {
					t.Errorf("tag: %d requests: %v", n.Load(), err)
				}
			}
		})
	}
}

// TestWaits: full jitter under 100, 150 and 225 ms.
func TestWaits(t *testing.T) {
	for range 50 {
		c, _ := at(t, func(w http.ResponseWriter, _ *http.Request) { fault(w, 500, "") })
		_ = c.Pause(t.Context(), "x")
		asked := c.config.Timer.(*noWait).asked
		if len(asked) != tries-1 {
			t.Fatalf("%d waits", len(asked))
		}
		for i, most := range []time.Duration{100, 150, 225} {
			if asked[i] < 0 || asked[i] >= most*time.Millisecond {
				t.Errorf("wait %d: %v", i, asked[i])
			}
		}
	}
}

// TestErrorText is what a person sees.
func TestErrorText(t *testing.T) {
	for _, c := range []struct {
		status     int
		body, want string
	}{
		{400, `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`,
			`secret "prod/app": Secrets Manager can't find the specified secret; see the names there are: pawl secret list --endpoint URL`},
		{400, `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret value for staging label: X"}`,
			`secret "prod/app": Secrets Manager can't find the specified secret value for staging label: X`},
		{400, `{"__type":"InvalidRequestException","Message":"You can't perform this operation on the secret because it was marked for deletion."}`,
			`secret "prod/app": You can't perform this operation on the secret because it was marked for deletion; bring it back: pawl secret restore prod/app --endpoint URL`},
		{400, `{"__type":"InvalidSignatureException","message":"Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z"}`,
			`Signature expired: 20260101T000000Z is now earlier than 20260101T001000Z; is the clock of this machine right?`},
		{400, `{"__type":"ExpiredTokenException","message":"The security token included in the request is expired"}`,
			`The security token included in the request is expired; get fresh credentials for AWS_SESSION_TOKEN`},
		{400, `{"__type":"UnknownOperationException"}`,
			`secret "prod/app": UnknownOperationException; the server at HOST can't do that: is it Pawl, and of this version?`},
		{200, `nonsense`, `HOST: the answer can't be read; is this Pawl, and of the same version?`},
		{301, ``, `the server answers HTTP 301 Moved Permanently without saying why; is there a proxy in between, or something else than Pawl at this address?`},
	} {
		client, _ := at(t, func(w http.ResponseWriter, _ *http.Request) { fault(w, c.status, c.body) })
		_, err := client.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "prod/app"})
		url := strings.TrimSuffix(client.config.Endpoint, "/")
		want := strings.NewReplacer("URL", url, "HOST", client.server).Replace(c.want)
		if err == nil || err.Error() != want {
			t.Errorf("%s\n got: %v\nwant: %s", c.body, err, want)
		}
	}
}

// TestNoRedirect: a request goes nowhere but to its endpoint.
func TestNoRedirect(t *testing.T) {
	_, elsewhere := at(t, func(http.ResponseWriter, *http.Request) {})
	other, hits := at(t, func(http.ResponseWriter, *http.Request) {})
	client, _ := at(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.config.Endpoint, http.StatusTemporaryRedirect)
	})
	_, err := client.RestoreSecret(t.Context(), service.RestoreSecretInput{SecretID: "prod/app"})
	if err == nil || hits.Load()+elsewhere.Load() != 0 {
		t.Errorf("%d requests went elsewhere: %v", hits.Load(), err)
	}
}

// TestUnreachable: nothing was sent, so that even a deletion may be tried again.
func TestUnreachable(t *testing.T) {
	s := httptest.NewServer(nil)
	s.Close()
	client := toward(t, s.URL)
	_, err := client.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "prod/app"})
	if secrets.KindOf(err) != secrets.Transient || !strings.HasSuffix(err.Error(), "connection refused; is the server running? See: pawl help serve") {
		t.Errorf("%v", err)
	}
	if n := len(client.config.Timer.(*noWait).asked); n != tries-1 {
		t.Errorf("%d waits", n)
	}
}

// TestTLS: a certificate that nobody vouches for, and none at all.
func TestTLS(t *testing.T) {
	s := httptest.NewUnstartedServer(nil)
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of the handshake that is broken off
	s.StartTLS()
	defer s.Close()
	if err := toward(t, s.URL).Resume(t.Context(), "x"); secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), "AWS_CA_BUNDLE") {
		t.Errorf("%v", err)
	}
	plain, _ := at(t, func(http.ResponseWriter, *http.Request) {})
	if err := toward(t, "https://"+plain.server).Resume(t.Context(), "x"); secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), "http://") {
		t.Errorf("%v", err)
	}
}

// TestEnd: a context that ends is no answer in time, and is not waited on.
func TestEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	release := make(chan struct{})
	client, n := at(t, func(http.ResponseWriter, *http.Request) { cancel(); <-release })
	defer close(release)
	_, err := client.TestRotation(ctx, service.TestRotationInput{SecretID: "x"})
	if secrets.KindOf(err) != secrets.Transient || !errors.Is(err, context.Canceled) || n.Load() != 1 {
		t.Errorf("%d requests: %v", n.Load(), err)
	}
}

// TestPlan reads all pages.
func TestPlan(t *testing.T) {
	client, n := at(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), "NextToken") {
			_, _ = io.WriteString(w, `{"Rotations":[{"Name":"b"}]}`)
			return
		}
		_, _ = io.WriteString(w, `{"Rotations":[{"Name":"a"}],"NextToken":"more"}`)
	})
	var names []string
	err := client.Plan(t.Context(), time.Time{}, func(r service.RotationStatus) error {
		names = append(names, r.Name)
		return nil
	})
	if err != nil || strings.Join(names, "") != "ab" || n.Load() != 2 {
		t.Errorf("%v, %d requests: %v", names, n.Load(), err)
	}
	stop := errors.New("stop")
	if err := client.Plan(t.Context(), time.Time{}, func(service.RotationStatus) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

func TestNew(t *testing.T) {
	keys := credentials.NewStaticCredentialsProvider("a", "b", "")
	for endpoint, ok := range map[string]bool{
		"http://127.0.0.1:4566": true, "https://pawl.example.com/": true, "http://[::1]:80": true,
		"": false, "127.0.0.1:4566": false, "localhost:4566": false, "ftp://h": false, "http://": false, "http://:80": false,
		"http://u:" + canary + "@h": false, "http://h/p": false, "http://h?q": false, "http://h#f": false, "http://h:" + canary: false,
	} {
		_, err := New(Config{Endpoint: endpoint, Region: "us-east-1", Credentials: keys})
		if (err == nil) != ok || err != nil && (secrets.KindOf(err) != secrets.Invalid || strings.Contains(err.Error(), canary)) {
			t.Errorf("%q: %v", endpoint, err)
		}
	}
	for region, ok := range map[string]bool{"us-east-1": true, "us-gov-west-1": true, "": false, "us-east": false, "US-EAST-1": false, "x/1": false} {
		if _, err := New(Config{Endpoint: "http://h", Region: region, Credentials: keys}); (err == nil) != ok {
			t.Errorf("region %q: %v", region, err)
		}
	}
}

// failing credentials stop before anything is sent.
func TestNoCredentials(t *testing.T) {
	client, n := at(t, func(http.ResponseWriter, *http.Request) {})
	client.config.Credentials = aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
		return aws.Credentials{}, errors.New("the profile is gone")
	})
	if err := client.Resume(t.Context(), "x"); secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), "the profile is gone") || n.Load() != 0 {
		t.Errorf("%d requests: %v", n.Load(), err)
	}
}
