package function_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies/function"
)

const functionARN = "arn:aws:lambda:eu-west-1:123456789012:function:rotate"

// lambdaServer speaks the Invoke API. A test says what it answers.
type lambdaServer struct {
	*httptest.Server
	mu     sync.Mutex
	asked  []*http.Request
	told   []string
	answer http.HandlerFunc
}

// next forgets what was asked and says what to answer from now on.
func (s *lambdaServer) next(answer http.HandlerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.told, s.answer = nil, nil, answer
}

func (s *lambdaServer) requests() ([]*http.Request, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked, s.told
}

func newLambda(t *testing.T, answer http.HandlerFunc) (*lambdaServer, *function.Lambda) {
	t.Helper()
	credentials(t)
	s := &lambdaServer{answer: answer}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		s.mu.Lock()
		s.asked, s.told = append(s.asked, r), append(s.told, string(b))
		answer := s.answer
		s.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(s.Close)
	api, err := function.NewInvokeAPI(t.Context(), function.LambdaConfig{Endpoint: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	return s, &function.Lambda{API: api, ARN: functionARN}
}

// credentials makes an environment in which there are some, and endpoints that
// must not be used.
func credentials(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDPAWL")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-of-pawl")
	t.Setenv("AWS_REGION", "")
	none := filepath.Join(t.TempDir(), "none")
	t.Setenv("AWS_CONFIG_FILE", none)
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", none)
	t.Setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
	t.Setenv("AWS_ENDPOINT_URL_LAMBDA", "http://127.0.0.1:1")
}

// functionFails answers as the API does for a function that failed.
func functionFails(payload string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		io.WriteString(w, payload)
	}
}

func exception(status int, code, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-ErrorType", code)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]string{"Type": "User", "Message": message, "message": message})
	}
}

func TestInvoke(t *testing.T) {
	s, l := newLambda(t, func(http.ResponseWriter, *http.Request) {})
	l.ARN += ":live"
	if err := l.Call(t.Context(), event); err != nil {
		t.Fatal(err)
	}
	if err := l.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked, told := s.requests()
	for i, how := range []string{"RequestResponse", "DryRun"} {
		r := asked[i]
		path, _ := url.PathUnescape(r.URL.EscapedPath())
		if r.Method != "POST" || path != "/2015-03-31/functions/"+functionARN+"/invocations" || r.URL.Query().Get("Qualifier") != "live" {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		if r.Header.Get("X-Amz-Invocation-Type") != how || r.Header.Get("X-Amz-Log-Type") == "Tail" ||
			!strings.Contains(r.Header.Get("Authorization"), "/eu-west-1/lambda/aws4_request") {
			t.Errorf("asked with %v", r.Header)
		}
	}
	if told[0] != body || told[1] != "" {
		t.Errorf("told %q", told)
	}
}

// What a function that succeeded returns is its own business.
func TestAFunctionMayReturnAnything(t *testing.T) {
	s, l := newLambda(t, nil)
	for what, answer := range map[string]http.HandlerFunc{
		"nothing":   func(http.ResponseWriter, *http.Request) {},
		"no JSON":   func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{{{") },
		"an error":  func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"errorType":"X"}`) },
		"100 MB":    func(w http.ResponseWriter, _ *http.Request) { flood(w) },
		"cut short": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "100") },
	} {
		s.next(answer)
		if err := l.Call(t.Context(), event); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// flood writes 100 MB or until nobody reads.
func flood(w io.Writer) {
	block := []byte(strings.Repeat("spam and eggs\n", 1<<12))
	for n := 0; n < 100<<20; n += len(block) {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

func TestFunctionErrors(t *testing.T) {
	s, l := newLambda(t, nil)
	for what, c := range map[string]struct {
		payload string
		kind    secrets.Kind
		texts   []string
	}{
		"python":      {`{"errorMessage":"Unable to log into database","errorType":"ValueError","requestId":"r","stackTrace":["  File /var/task/x.py\n"]}`, secrets.Invalid, []string{functionARN + " failed: ValueError: Unable to log into database", "!File", "aws logs tail /aws/lambda/rotate --region eu-west-1"}},
		"own error":   {`{"errorMessage":"password authentication failed","errorType":"OperationalError"}`, secrets.Denied, []string{"OperationalError: password authentication failed"}},
		"says so":     {`{"errorMessage":"a lock","errorType":"DatabaseTransientError"}`, secrets.Transient, []string{"a lock"}},
		"timed out":   {`{"errorMessage":"2026-11-28T12:04:07Z 698aba69-5b39 Task timed out after 3.00 seconds"}`, secrets.Transient, []string{"Task timed out after 3.00 seconds"}},
		"timed out 2": {`{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 5ded4dda Error: Task timed out after 3.00 seconds"}`, secrets.Transient, []string{"timed out"}},
		"exited":      {`{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 59f8 Error: Runtime exited with error: signal: killed"}`, secrets.Transient, []string{"signal: killed"}},
		"not there":   {`{"errorType":"Runtime.ImportModuleError","errorMessage":"Unable to import module 'app'"}`, secrets.Invalid, []string{"import"}},
		"too large":   {`{"errorType":"Function.ResponseSizeTooLarge","errorMessage":"Response payload size exceeded"}`, secrets.Invalid, nil},
		"about it":    {`{"errorType":"Refused","errorMessage":"Task timed out after 3.00 seconds, it said"}`, secrets.Denied, nil},
		"no JSON":     {`<html>a secret</html>`, secrets.Denied, []string{"not the JSON object", "!secret"}},
		"nothing":     {``, secrets.Denied, []string{"failed"}},
		"other JSON":  {`{"password":"a secret"}`, secrets.Denied, []string{"!secret"}},
		"a long one":  {`{"errorMessage":"` + strings.Repeat("long ", 100_000) + `"}`, secrets.Denied, []string{"long long", "…"}},
		"100 MB":      {strings.Repeat("spam and eggs\n", 100<<20/14), secrets.Invalid, []string{"answers more than 1048576 bytes", "!spam"}},
	} {
		t.Run(what, func(t *testing.T) {
			s.next(functionFails(c.payload))
			want(t, l.Call(t.Context(), event), c.kind, c.texts...)
		})
	}
}

func TestNoValueInWhatAFunctionSays(t *testing.T) {
	_, l := newLambda(t, functionFails(`{"errorType":"OperationalError","errorMessage":"FATAL: can't log in with {\"password\": \"hunt\\\"er22\"} as app: hunt\"er22"}`))
	r := function.Rotation{Caller: l}
	err := r.Do(t.Context(), "setSecret", secret, version, holds([]secrets.Value{secrets.Text(`{"username":"app","password":"hunt\"er22"}`)}))
	want(t, err, secrets.Denied, `can't log in with {"password": "[redacted]"} as app: [redacted]`, "!hunt")
}

func TestExceptions(t *testing.T) {
	s, l := newLambda(t, nil)
	for what, c := range map[string]struct {
		answer http.HandlerFunc
		kind   secrets.Kind
		texts  []string
	}{
		"throttled":      {exception(429, "TooManyRequestsException", "Rate Exceeded."), secrets.Transient, []string{"Rate Exceeded", "concurrency"}},
		"being updated":  {exception(409, "ResourceConflictException", "The operation cannot be performed at this time."), secrets.Transient, nil},
		"within AWS":     {exception(500, "ServiceException", "An error occurred."), secrets.Transient, nil},
		"EC2":            {exception(502, "EC2ThrottledException", "throttled"), secrets.Transient, nil},
		"new 5xx":        {exception(500, "BrandNewException", "?"), secrets.Transient, []string{"BrandNewException"}},
		"no right":       {exception(403, "AccessDeniedException", "User: arn:aws:iam::1:user/pawl is not authorized to perform: lambda:InvokeFunction"), secrets.Denied, []string{"not authorized", `"Action": "lambda:InvokeFunction"`, functionARN}},
		"KMS":            {exception(502, "KMSAccessDeniedException", "no kms"), secrets.Denied, []string{"the function's own role"}},
		"bad key":        {exception(403, "InvalidSignatureException", "The request signature we calculated does not match"), secrets.Denied, []string{"functions.profile"}},
		"expired":        {exception(403, "ExpiredTokenException", "The security token included in the request is expired"), secrets.Denied, []string{"expired"}},
		"not there":      {exception(404, "ResourceNotFoundException", "Function not found: x"), secrets.Invalid, []string{"aws lambda get-function --function-name " + functionARN}},
		"new 4xx":        {exception(400, "BrandNewException", "?"), secrets.Invalid, nil},
		"a proxy's page": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", http.StatusServiceUnavailable) }, secrets.Transient, []string{"503", "!<html>"}},
		"no Lambda API":  {func(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }, secrets.Invalid, []string{"404"}},
		"100 MB":         {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(502); flood(w) }, secrets.Transient, []string{"502"}},
		"redirect": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/", http.StatusTemporaryRedirect)
		}, secrets.Invalid, []string{"307"}},
	} {
		t.Run(what, func(t *testing.T) {
			s.next(c.answer)
			err := l.Call(t.Context(), event)
			want(t, err, c.kind, append(c.texts, "arn:aws:lambda", "!operation error")...)
			if asked, _ := s.requests(); len(asked) != 1 {
				t.Errorf("asked %d times", len(asked))
			}
			if err := l.Check(t.Context()); secrets.KindOf(err) != c.kind {
				t.Errorf("the dry run: %v", err)
			}
		})
	}
	s.next(exception(501, "NotImplemented", "invocation-type: DryRun is not supported"))
	if err := l.Check(t.Context()); err != nil {
		t.Errorf("without dry runs: %v", err)
	}
}

func TestNoAnswer(t *testing.T) {
	s, l := newLambda(t, func(w http.ResponseWriter, _ *http.Request) {
		c, _, _ := http.NewResponseController(w).Hijack()
		c.Close()
	})
	want(t, l.Call(t.Context(), event), secrets.Unknown, "before the function "+functionARN+" answered")
	if asked, _ := s.requests(); len(asked) != 1 {
		t.Errorf("asked %d times", len(asked))
	}
	want(t, l.Check(t.Context()), secrets.Transient, functionARN)
	s.next(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Function-Error", "Unhandled")
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, `{"errorType":`)
	})
	want(t, l.Call(t.Context(), event), secrets.Unknown, "cut off")
	s.Close()
	want(t, l.Call(t.Context(), event), secrets.Transient, "connection refused", "!operation error")
	l.ARN = "arn:aws:iam::123456789012:role/x"
	want(t, l.Call(t.Context(), event), secrets.Invalid, "is not the ARN of a Lambda function")
}

func TestTheFunctionHangs(t *testing.T) {
	hang := make(chan struct{})
	_, l := newLambda(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-hang:
		}
	})
	defer close(hang)
	r := function.Rotation{Caller: l, Limit: 50 * time.Millisecond}
	want(t, r.Do(t.Context(), "setSecret", secret, version, none), secrets.Transient, "did not end in time", "one step may take 50ms")
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(50*time.Millisecond, cancel)
	want(t, l.Call(ctx, event), secrets.Transient, "stopped while")
}

func TestWhoCalls(t *testing.T) {
	none := map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
	login := filepath.Join(t.TempDir(), "config")
	os.WriteFile(login, []byte("[profile broken]\ncredential_process = /bin/false\n[profile good]\naws_access_key_id = AKIDGOOD\naws_secret_access_key = good\n"), 0o600)
	for what, c := range map[string]struct {
		env     map[string]string
		profile string
		kind    secrets.Kind
		text    string
	}{
		"nobody":  {none, "", secrets.Denied, "no AWS credentials were found"},
		"broken":  {map[string]string{"AWS_CONFIG_FILE": login}, "broken", secrets.Denied, "getting AWS credentials"},
		"unknown": {map[string]string{"AWS_CONFIG_FILE": login}, "unknown", secrets.Invalid, "functions.profile"},
		"good":    {map[string]string{"AWS_CONFIG_FILE": login}, "good", 0, "AKIDGOOD"},
	} {
		t.Run(what, func(t *testing.T) {
			s, l := newLambda(t, func(http.ResponseWriter, *http.Request) {})
			for name, v := range c.env {
				t.Setenv(name, v)
			}
			api, err := function.NewInvokeAPI(t.Context(), function.LambdaConfig{Endpoint: s.URL, Profile: c.profile})
			if err == nil {
				l.API = api
				err = l.Call(t.Context(), event)
			}
			asked, _ := s.requests()
			if c.kind == 0 {
				if err != nil || !strings.Contains(asked[0].Header.Get("Authorization"), c.text) {
					t.Errorf("%v %v", err, asked)
				}
				return
			}
			want(t, err, c.kind, c.text)
			if len(asked) > 0 {
				t.Error("asked all the same")
			}
		})
	}
	credentials(t)
	for _, endpoint := range []string{"127.0.0.1:4566", "ftp://x", "http://", "http://u:p@127.0.0.1"} {
		_, err := function.NewInvokeAPI(t.Context(), function.LambdaConfig{Endpoint: endpoint})
		want(t, err, secrets.Invalid, "functions.endpoint", "!u:p")
	}
}

// hosts is the client of the API, with the network replaced.
type hosts struct {
	function.InvokeAPI
	seen []string
}

func (h *hosts) Invoke(ctx context.Context, in *lambda.InvokeInput, opts ...func(*lambda.Options)) (*lambda.InvokeOutput, error) {
	return h.InvokeAPI.Invoke(ctx, in, append(opts, func(o *lambda.Options) { o.HTTPClient = h })...)
}

func (h *hosts) Do(r *http.Request) (*http.Response, error) {
	h.seen = append(h.seen, r.URL.Scheme+"://"+r.URL.Host)
	return &http.Response{StatusCode: 200, Body: http.NoBody, Header: http.Header{}}, nil
}

// Without an endpoint it is AWS's own, in the function's region, whatever the
// environment says.
func TestAWSsOwnEndpoint(t *testing.T) {
	credentials(t)
	api, err := function.NewInvokeAPI(t.Context(), function.LambdaConfig{})
	if err != nil {
		t.Fatal(err)
	}
	h := &hosts{InvokeAPI: api}
	for _, region := range []string{"eu-west-1", "cn-north-1"} {
		l := function.Lambda{API: h, ARN: strings.Replace(functionARN, "eu-west-1", region, 1)}
		if err := l.Call(t.Context(), event); err != nil {
			t.Errorf("%s: %v", region, err)
		}
	}
	if !slices.Equal(h.seen, []string{"https://lambda.eu-west-1.amazonaws.com", "https://lambda.cn-north-1.amazonaws.com.cn"}) {
		t.Errorf("asked %v", h.seen)
	}
}
