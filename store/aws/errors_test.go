package aws

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/pawlhq/pawl/secrets"
)

// TestErrors: what AWS answers, and what a person reads.
func TestErrors(t *testing.T) {
	w := newWorld(t)
	arn := w.create("prod/app", "x")
	const kms = `add to the policy of who calls: {"Effect":"Allow","Action":"kms:Decrypt","Resource":"*","Condition":{"StringEquals":{"kms:ViaService":"secretsmanager.us-east-1.amazonaws.com"}}}`
	for _, c := range []struct {
		name  string
		do    fault
		kind  secrets.Kind
		code  string
		parts []string
	}{
		{"throttled", throttles, secrets.Transient, "ThrottlingException", []string{"Rate exceeded", "store.aws.rate_limits"}},
		{"throttled by another name", answers(400, "RequestThrottled", "slow"), secrets.Transient, "RequestThrottled", nil},
		{"500", fails, secrets.Transient, "InternalServiceError", []string{"on the server side (GetSecretValue, request 7a1c)"}},
		{"408", answers(408, "RequestTimeoutException", "late"), secrets.Transient, "RequestTimeoutException", nil},
		{"503 of a proxy", func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) {
			w.WriteHeader(503)
			_, _ = w.Write([]byte("busy " + canary))
		}, secrets.Transient, "", []string{"HTTP 503 Service Unavailable without saying why", "a proxy in between"}},
		{"403 of a proxy", func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) {
			w.WriteHeader(403)
			_, _ = w.Write([]byte(`{"` + canary + `":1}`))
		}, secrets.Invalid, "", []string{"HTTP 403 Forbidden without saying why"}},
		{"no JSON", func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) {
			_, _ = w.Write([]byte(canary))
		}, secrets.Transient, "", []string{"the answer can't be read"}},
		{"half an answer", func(w http.ResponseWriter, _ func() *httptest.ResponseRecorder) {
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte(`{"SecretString":"` + canary))
			panic(http.ErrAbortHandler)
		}, secrets.Transient, "", nil},
		{"cut", cuts, secrets.Transient, "", []string{"can this machine reach it?"}},
		{"expired", answers(400, "ExpiredTokenException", "The security token included in the request is expired"), secrets.Denied, "ExpiredTokenException", []string{"is expired; get fresh credentials: AWS_ACCESS_KEY_ID"}},
		{"unknown key", answers(400, "UnrecognizedClientException", "The security token included in the request is invalid."), secrets.Denied, "UnrecognizedClientException", []string{"get fresh credentials"}},
		{"wrong secret key", answers(403, "InvalidSignatureException", "The request signature we calculated does not match"), secrets.Denied, "InvalidSignatureException", []string{"AWS_SECRET_ACCESS_KEY"}},
		{"wrong clock", answers(403, "InvalidSignatureException", "Signature expired: a is now earlier than b"), secrets.Denied, "InvalidSignatureException", []string{"is the clock of this machine right?"}},
		{"KMS, as AWS says it", answers(400, "AccessDeniedException", "Access to KMS is not allowed"), secrets.Denied, "AccessDeniedException", []string{kms}},
		{"KMS, named", answers(400, "AccessDeniedException", "User: u is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:us-east-1:123456789012:key/1 because no identity-based policy allows the kms:Decrypt action"),
			secrets.Denied, "AccessDeniedException", []string{`{"Effect":"Allow","Action":"kms:Decrypt","Resource":"arn:aws:kms:us-east-1:123456789012:key/1"}`}},
		{"denied", answers(400, "AccessDeniedException", "User: u is not authorized to perform: secretsmanager:GetSecretValue on resource: "+arn+" because no identity-based policy allows the secretsmanager:GetSecretValue action"),
			secrets.Denied, "AccessDeniedException", []string{`{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"` + arn + `"}`, "docs/aws.md"}},
		{"denied, without a reason", answers(400, "AccessDeniedException", ""), secrets.Denied, "AccessDeniedException", []string{`{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:us-east-1:*:secret:prod/app-??????"}`}},
		{"denied explicitly", answers(400, "AccessDeniedException", "User: u is not authorized to perform: secretsmanager:GetSecretValue on resource: r with an explicit deny in a service control policy"),
			secrets.Denied, "AccessDeniedException", []string{"an explicit deny in service control policy refuses it"}},
		{"key disabled", answers(400, "DecryptionFailure", "Secrets Manager can't decrypt the protected secret text using the provided KMS key."), secrets.Invalid, "DecryptionFailure", []string{"aws kms describe-key"}},
		{"too many labels", answers(400, "LimitExceededException", "too many"), secrets.Invalid, "LimitExceededException", []string{"at most 20 staging labels"}},
		{"anything else", answers(400, "InvalidRequestException", "You can't."), secrets.Invalid, "InvalidRequestException", []string{"You can't."}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w.proxy.on("", 99, c.do)
			defer w.proxy.mend()
			_, err := w.api.value(t.Context(), "prod/app", "")
			wantKind(t, err, c.kind, append(c.parts, `secret "prod/app": `+w.api.server+": ")...)
			if secrets.CodeOf(err) != c.code {
				t.Errorf("code %q, want %q", secrets.CodeOf(err), c.code)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

// TestRightsMissing: each operation's denial names the statement to add, and that
// very statement helps.
func TestRightsMissing(t *testing.T) {
	w := newWorld(t)
	w.create("s", "x")
	w.put("s", "v2", "y", secrets.Pending)
	ctx := t.Context()
	arn := w.claim("s").id
	var allowed []string
	for _, op := range []struct {
		name string
		do   func() error
	}{
		{opDescribe, func() error { _, err := w.api.describe(ctx, arn); return err }},
		{opValue, func() error { _, err := w.api.value(ctx, arn, tok("v2")); return err }},
		{opPut, func() error { _, err := w.api.put(ctx, arn, tok("v3"), val("x"), []string{"other"}, ""); return err }},
		{opStage, func() error { return w.api.stage(ctx, arn, secrets.Pending, tok("v2"), "") }},
		{opTag, func() error { return w.api.tag(ctx, arn, attemptTags(secrets.Attempt{Tries: 1})) }},
		{opUntag, func() error { return w.api.untag(ctx, arn, []string{TagAttempt}) }},
	} {
		w.allow(strings.Join(append([]string{`{"Effect":"Allow","Action":"secretsmanager:ListSecrets","Resource":"*"}`}, allowed...), ","))
		err := op.do()
		wantKind(t, err, secrets.Denied, "not authorized to perform: secretsmanager:"+op.name)
		_, statement, _ := strings.Cut(err.Error(), "who calls: ")
		statement, _, _ = strings.Cut(statement, " (docs")
		if !json.Valid([]byte(statement)) {
			t.Fatalf("%s: no statement in %v", op.name, err)
		}
		allowed = append(allowed, statement)
		w.allow(strings.Join(allowed, ","))
		if err := op.do(); err != nil {
			t.Errorf("%s with %s: %v", op.name, statement, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	environment(t)
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, c := range []struct {
		name   string
		env    map[string]string
		config Config
		parts  []string
	}{
		{"no region", nil, Config{}, []string{"no AWS region", "store.aws.region", "AWS_REGION=us-east-1"}},
		{"a bad region", nil, Config{Region: "us-east-1.evil.example"}, []string{"not the name of an AWS region"}},
		{"a bad endpoint", nil, Config{Region: "us-east-1", Endpoint: "localhost:4566"}, []string{"store.aws.endpoint is not the address of a server", "https://"}},
		{"no such profile", nil, Config{Region: "us-east-1", Profile: "prod"}, []string{`no AWS profile "prod"`, "aws configure list-profiles"}},
		{"no credentials", map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"},
			Config{Region: "us-east-1"}, []string{"no AWS credentials were found", "store.aws.profile"}},
		{"an endpoint that nobody could reach", map[string]string{"AWS_CA_BUNDLE": "/nowhere.pem"}, Config{Region: "us-east-1"}, []string{"AWS_CA_BUNDLE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for k, v := range c.env {
				t.Setenv(k, v)
			}
			_, err := Open(t.Context(), c.config)
			wantKind(t, err, secrets.Invalid, c.parts...)
		})
	}
}

// TestEndpoints: requests go where the file says, and nowhere else.
func TestEndpoints(t *testing.T) {
	environment(t)
	t.Setenv("AWS_ENDPOINT_URL", "https://elsewhere.example")
	t.Setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "https://elsewhere.example")
	t.Setenv("AWS_REGION", "eu-central-1")
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{}, "secretsmanager.eu-central-1.amazonaws.com"},
		{Config{Region: "cn-north-1"}, "secretsmanager.cn-north-1.amazonaws.com.cn"},
		{Config{Endpoint: "https://vpce-1.secretsmanager.eu-central-1.vpce.amazonaws.com"}, "vpce-1.secretsmanager.eu-central-1.vpce.amazonaws.com"},
	} {
		s, err := Open(t.Context(), c.config)
		if err != nil || s.api.server != c.want {
			t.Errorf("%+v: %v", c.config, err)
		}
	}
}

// TestProfile: the credentials of a profile that can't be had name the command
// that mends it, at the start and later.
func TestProfile(t *testing.T) {
	w := newWorld(t)
	w.create("s", "x")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	script := t.TempDir() + "/credentials.sh"
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write(os.Getenv("AWS_CONFIG_FILE"), "[profile prod]\nregion = us-east-1\ncredential_process = /bin/sh "+script+"\n")
	write(script, "exit 3\n")
	_, err := open(t.Context(), Config{Profile: "prod", Endpoint: w.url})
	wantKind(t, err, secrets.Invalid, "getting AWS credentials", "aws sso login --profile prod")

	// They work, and run out at once.
	soon := time.Now().Add(time.Second).UTC().Format(time.RFC3339)
	write(script, `echo '{"Version":1,"AccessKeyId":"`+keyID+`","SecretAccessKey":"`+keySecret+`","Expiration":"`+soon+`"}'`)
	s := w.another(func(c *Config) { c.Region, c.Profile = "", "prod" })
	if s.Region() != "us-east-1" {
		t.Errorf("region %q", s.Region())
	}
	if _, err := s.api.describe(t.Context(), "s"); err != nil {
		t.Fatal(err)
	}
	write(script, "exit 3\n")
	s.api.client.Options().Credentials.(signer).CredentialsProvider.(interface{ Invalidate() }).Invalidate()
	_, err = s.api.describe(t.Context(), "s")
	wantKind(t, err, secrets.Denied, `secret "s"`, "getting AWS credentials", "aws sso login --profile prod")
	if err := s.api.stage(t.Context(), "s", "X", "", tok("v1")); secrets.KindOf(err) != secrets.Denied {
		t.Errorf("a write that was never sent: %v (%s)", err, secrets.KindOf(err))
	}
}

// TestNobodyThere: what was never sent is not in doubt.
func TestNobodyThere(t *testing.T) {
	w := newWorld(t)
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	s := w.another(func(c *Config) { c.Endpoint = gone.URL })
	wantKind(t, s.api.stage(t.Context(), "s", "X", "", tok("v1")), secrets.Transient, "refused", "can this machine reach it?")
	s = w.another(func(c *Config) { c.Endpoint = strings.Replace(w.url, "http://", "https://", 1) })
	wantKind(t, s.api.stage(t.Context(), "s", "X", "", tok("v1")), secrets.Invalid, "does not speak TLS")
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	defer secure.Close()
	s = w.another(func(c *Config) { c.Endpoint = secure.URL })
	wantKind(t, s.api.stage(t.Context(), "s", "X", "", tok("v1")), secrets.Invalid, "AWS_CA_BUNDLE")

	// Nobody answers until the caller's time is over.
	ctx, cancel := context.WithCancel(t.Context())
	w.proxy.on("", 99, func(http.ResponseWriter, func() *httptest.ResponseRecorder) { cancel(); panic(http.ErrAbortHandler) })
	_, err := w.api.describe(ctx, "s")
	wantKind(t, err, secrets.Transient)
	if ctx.Err() == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("%v", err)
	}
	wantKind(t, w.api.stage(ctx, "s", "X", "", tok("v1")), secrets.Transient)
}

// TestTimeRunsOut: where the caller's time ends between two tries, the error says
// what the tries met, and not the time alone; and it is still the time's error, by
// which others know that nobody gave the secret up.
func TestTimeRunsOut(t *testing.T) {
	w := newWorld(t)
	w.create("s", "x")
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	patient := func(o *secretsmanager.Options) {
		o.Retryer = retryer(func(o *retry.StandardOptions) {
			o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return time.Minute, nil })
		})
	}
	for endpoint, parts := range map[string][]string{
		gone.URL: {"connection refused", "can this machine reach it?"},
		w.url:    {"Rate exceeded", "store.aws.rate_limits"},
	} {
		s, err := open(t.Context(), Config{Region: "us-east-1", Endpoint: endpoint, RateLimits: 1000}, patient)
		if err != nil {
			t.Fatal(err)
		}
		w.proxy.on("", 99, throttles)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err = s.api.describe(ctx, "s")
		wantKind(t, err, secrets.Transient, append(parts, "no answer in time (context deadline exceeded), and before that: ")...)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		wantKind(t, s.api.stage(ctx, "s", "X", "", tok("v1")), secrets.Transient, "no answer in time: context deadline exceeded")
		cancel()
	}
}
