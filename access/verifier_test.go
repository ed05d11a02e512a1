package access

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/pawlhq/pawl/secrets"
)

func TestVerifier(t *testing.T) {
	v, k := verifierAt(noon)
	want := k.known[exampleKey].Principal
	want.Region, want.AccessKey = goodRegion, exampleKey
	for name, change := range map[string]func(*forgery){
		"as it is": func(*forgery) {},
		"as little as may be signed": func(f *forgery) {
			f.signed = []string{"host", "x-amz-date", "x-amz-target"}
		},
		"the body's hash":     func(f *forgery) { f.add("X-Amz-Content-Sha256", hash(f.body)) },
		"a query":             func(f *forgery) { f.query = "a=1&b=%20" },
		"a longer path":       func(f *forgery) { f.path = "/a/b" },
		"no body":             func(f *forgery) { f.body = ""; f.set("Content-Length", "0") },
		"spaces in a header":  func(f *forgery) { f.add("X-Amz-User-Agent", "  a   b  ") },
		"a repeated header":   func(f *forgery) { f.add("Accept", "b"); f.headers = append(f.headers, [2]string{"accept", "a"}) },
		"an empty header":     func(f *forgery) { f.add("Accept", "") },
		"five minutes early":  func(f *forgery) { f.dated(noon.Add(5 * time.Minute)) },
		"five minutes late":   func(f *forgery) { f.dated(noon.Add(-5 * time.Minute)) },
		"names in capitals":   func(f *forgery) { f.signed = []string{"Host", "X-Amz-Date", "X-Amz-Target"} },
		"with a date of HTTP": func(f *forgery) { f.headers = append(f.headers, [2]string{"Date", "Mon, 01 Jan 2001 00:00:00 GMT"}) },
		"only a date of HTTP": func(f *forgery) {
			f.drop("X-Amz-Date")
			f.headers = append(f.headers, [2]string{"Date", noon.Format(http.TimeFormat)})
			f.signed = []string{"date", "host", "x-amz-target"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := good()
			change(f)
			if _, got, err := authenticate(t, v, f.raw(nil)); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// TestTextsOfRefusal: every text of the service's, and of two faults the one
// that comes first.
func TestTextsOfRefusal(t *testing.T) {
	const age = "(20260304T120000Z - 5 min.)"
	token := func(f *forgery, s string) { f.add("X-Amz-Security-Token", s) }
	session := func(f *forgery) { f.id, f.secret = "ASIAEXAMPLE", "session-secret" }
	old := func(f *forgery) { f.dated(noon.Add(-5*time.Minute - time.Second)) }
	for _, c := range []struct {
		name       string
		change     func(*forgery)
		code, text string
	}{
		{"nothing", func(f *forgery) { f.sentAuth = "Basic YTpi" }, missingToken, "Missing Authentication Token"},
		{"too old", old, invalidSignature, "Signature expired: 20260304T115459Z is now earlier than 20260304T115500Z " + age},
		{"a day old", func(f *forgery) { f.dated(noon.AddDate(0, 0, -1)) }, invalidSignature, "Signature expired: 20260303T120000Z is now earlier than 20260304T115500Z " + age},
		{"too new", func(f *forgery) { f.dated(noon.Add(5*time.Minute + time.Second)) }, invalidSignature,
			"Signature not yet current: 20260304T120501Z is still later than 20260304T120500Z (20260304T120000Z + 5 min.)"},
		{"host unsigned", func(f *forgery) { f.signed = []string{"x-amz-date", "x-amz-target"} }, invalidSignature, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."},
		{"target unsigned", func(f *forgery) { f.signed = []string{"host", "x-amz-date"} }, invalidSignature, "'x-amz-target' must be a 'SignedHeader' in the AWS Authorization."},
		{"an unsigned header added", func(f *forgery) { f.headers = append(f.headers, [2]string{"x-AMZ-extra", "1"}) }, invalidSignature, "'x-amz-extra' must be a 'SignedHeader' in the AWS Authorization."},
		{"several unsigned", func(f *forgery) { f.signed = []string{"host"} }, invalidSignature, "'x-amz-date' must be a 'SignedHeader' in the AWS Authorization."},
		{"algorithm", func(f *forgery) { f.algorithm = "AWS4-ECDSA-P256-SHA256" }, incompleteSignature, "Unsupported AWS 'algorithm': 'AWS4-ECDSA-P256-SHA256' (only AWS4-HMAC-SHA256 for now). "},
		{"region", func(f *forgery) { f.region = "us-east-1" }, invalidSignature, "Credential should be scoped to a valid region, not 'us-east-1'. "},
		{"service", func(f *forgery) { f.svc = "s3" }, invalidSignature, "Credential should be scoped to correct service: 'secretsmanager'. "},
		{"terminator", func(f *forgery) { f.end = "aws5" }, invalidSignature, "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5'. "},
		{"day", func(f *forgery) { f.day = "20260303" }, invalidSignature,
			"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20260303' != '20260304', from '20260304T120000Z'."},
		{"unknown key", func(f *forgery) { f.id = "NOBODY" }, unrecognizedClient, invalidToken},
		{"no key", func(f *forgery) { f.id = "" }, unrecognizedClient, invalidToken},
		{"a key no longer valid", func(f *forgery) { f.id = "OLD" }, unrecognizedClient, invalidToken},
		{"a token with a long-term key", func(f *forgery) { token(f, sessionToken) }, unrecognizedClient, invalidToken},
		{"no token", session, unrecognizedClient, invalidToken},
		{"another token", func(f *forgery) { session(f); token(f, sessionToken+"x") }, unrecognizedClient, invalidToken},
		{"another secret", func(f *forgery) { f.secret = "another" }, invalidSignature, differs},
		{"no secret", func(f *forgery) { f.secret = "" }, invalidSignature, differs},
		{"payload not signed", func(f *forgery) { f.add("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") }, invalidSignature, differs},
		{"another payload", func(f *forgery) { f.add("X-Amz-Content-Sha256", hash("{}")) }, invalidSignature, differs},
		// The order.
		{"old before host", func(f *forgery) { old(f); f.signed = []string{"x-amz-date"} }, invalidSignature, "Signature expired: 20260304T115459Z is now earlier than 20260304T115500Z " + age},
		{"host before algorithm", func(f *forgery) { f.algorithm = "AWS4-X"; f.signed = []string{"x-amz-date"} }, invalidSignature, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."},
		{"scope before key", func(f *forgery) { f.svc, f.id = "s3", "NOBODY" }, invalidSignature, "Credential should be scoped to correct service: 'secretsmanager'. "},
		{"key before signature", func(f *forgery) { f.id, f.secret = "NOBODY", "another" }, unrecognizedClient, invalidToken},
		{"token before signature", func(f *forgery) { session(f); f.secret = "another" }, unrecognizedClient, invalidToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, _ := verifierAt(noon, goodRegion)
			f := good()
			c.change(f)
			r, got, err := authenticate(t, v, f.raw(nil))
			wantDenied(t, err, c.code, c.text)
			if !reflect.DeepEqual(got, Principal{}) {
				t.Errorf("a principal with a refusal: %+v", got)
			}
			sayNothing(t, r, f, err)
		})
	}
}

// sayNothing fails if an error says what helps to forge the next request.
func sayNothing(t testing.TB, r *http.Request, f *forgery, err error) {
	t.Helper()
	known := good()
	known.secret = exampleSecret
	for what, s := range map[string]string{
		"the secret": exampleSecret, "the session's secret": "session-secret", "the token": sessionToken,
		"the signature": f.sign(), "the right signature": known.sign(), "the header": r.Header.Get("Authorization"),
	} {
		if err != nil && strings.Contains(err.Error(), s) {
			t.Errorf("%s is in %q", what, err)
		}
	}
}

func TestSession(t *testing.T) {
	f := good()
	f.id, f.secret = "ASIAEXAMPLE", "session-secret"
	f.add("X-Amz-Security-Token", sessionToken)
	for _, c := range []struct {
		at         time.Time
		code, text string
	}{
		{noon, "", ""}, {noon.Add(time.Hour - time.Second), "", ""},
		{noon.Add(time.Hour), expiredToken, tokenExpired}, {noon.AddDate(1, 0, 0), expiredToken, tokenExpired},
	} {
		v, k := verifierAt(c.at)
		f.dated(c.at)
		_, p, err := authenticate(t, v, f.raw(nil))
		if c.code != "" {
			wantDenied(t, err, c.code, c.text)
			continue
		}
		want := k.known["ASIAEXAMPLE"].Principal
		want.Region, want.AccessKey = goodRegion, "ASIAEXAMPLE"
		if err != nil || !reflect.DeepEqual(p, want) {
			t.Errorf("at %v: %+v, %v", c.at, p, err)
		}
	}
}

func TestKeysDecideEachRequest(t *testing.T) {
	v, k := verifierAt(noon)
	raw := good().raw(nil)
	if _, _, err := authenticate(t, v, raw); err != nil {
		t.Fatal(err)
	}
	if n := v.derived.Len(); n != 1 {
		t.Errorf("%d signing keys are remembered, want 1", n)
	}
	// Another secret under the same id: the old one's derived key is no good.
	key := k.known[exampleKey]
	key.Secret = secrets.NewPassword("rotated")
	k.known[exampleKey] = key
	_, _, err := authenticate(t, v, raw)
	wantDenied(t, err, invalidSignature, differs)
	f := good()
	f.secret = "rotated"
	if _, _, err := authenticate(t, v, f.raw(nil)); err != nil {
		t.Error(err)
	}
	delete(k.known, exampleKey)
	_, _, err = authenticate(t, v, f.raw(nil))
	wantDenied(t, err, unrecognizedClient, invalidToken)

	for id, fails := range map[string]error{exampleKey: secrets.Errorf(secrets.Transient, "the store is locked"), "BROKEN": nil, "ANOTHER": nil} {
		k.fails = fails
		f := good()
		if f.id = id; id == "BROKEN" {
			f.secret = ""
		}
		_, p, err := authenticate(t, v, f.raw(nil))
		if secrets.CodeOf(err) != "InternalServiceError" || secrets.KindOf(err) == secrets.Denied || p.ARN != "" {
			t.Errorf("%s: %+v, %v", id, p, err)
		}
		if fails != nil && (!errors.Is(err, fails) || secrets.KindOf(err) != secrets.Transient) {
			t.Errorf("the cause is lost: %v", err)
		}
	}
}

// TestStrangersAskNothing: what can be refused without the store is.
func TestStrangersAskNothing(t *testing.T) {
	v, k := verifierAt(noon, goodRegion)
	for _, change := range []func(*forgery){
		func(f *forgery) { f.dated(noon.AddDate(-1, 0, 0)) },
		func(f *forgery) { f.region = "us-east-1" },
		func(f *forgery) { f.id = strings.Repeat("k", 129) },
		func(f *forgery) { f.id = "a'b" },
	} {
		f := good()
		change(f)
		if _, _, err := authenticate(t, v, f.raw(nil)); err == nil {
			t.Error("taken")
		}
	}
	if k.asked != 0 {
		t.Errorf("asked for keys %d times", k.asked)
	}
	for i := range 100 {
		f := good()
		f.secret, f.region = "another", goodRegion
		f.dated(noon.Add(time.Duration(i) * time.Second))
		if _, _, err := authenticate(t, v, f.raw(nil)); err == nil {
			t.Error("taken")
		}
	}
	if n := v.derived.Len(); n != 0 {
		t.Errorf("bad signatures left %d keys in the cache", n)
	}
	// A secret that was put in the id's place is not repeated.
	f := good()
	f.id = strings.Repeat("S", 40)
	if _, _, err := authenticate(t, v, f.raw(nil)); err == nil || strings.Contains(err.Error(), f.id) {
		t.Errorf("got %v", err)
	}
}

// sdkRequest is a request as aws-sdk-go-v2 sends it.
func sdkRequest(t testing.TB, url string, at time.Time, creds aws.Credentials, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, v := range map[string]string{
		"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": goodTarget, "User-Agent": "aws-sdk-go-v2/1", "Accept-Encoding": "identity",
		"Amz-Sdk-Invocation-Id": "2f7a4e0e-93c9-4d5c-8f2a-1f6d7d0f3c11", "Amz-Sdk-Request": "attempt=1; max=3",
	} {
		r.Header.Set(name, v)
	}
	if err := v4.NewSigner().SignHTTP(context.Background(), creds, r, hash(body), "secretsmanager", goodRegion, at); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestSDKSigner(t *testing.T) {
	v, _ := verifierAt(noon)
	s := serve(t, v)
	long := aws.Credentials{AccessKeyID: exampleKey, SecretAccessKey: exampleSecret}
	for name, c := range map[string]struct {
		path  string
		creds aws.Credentials
		body  string
		arn   string
	}{
		"a key":       {"/", long, goodBody, "arn:aws:iam::123456789012:user/ada"},
		"a session":   {"/", aws.Credentials{AccessKeyID: "ASIAEXAMPLE", SecretAccessKey: "session-secret", SessionToken: sessionToken}, goodBody, "arn:aws:sts::123456789012:assumed-role/app/web"},
		"no body":     {"/", long, "", "arn:aws:iam::123456789012:user/ada"},
		"a large one": {"/", long, `{"SecretString":"` + strings.Repeat("é", 65536) + `"}`, "arn:aws:iam::123456789012:user/ada"},
		"a query":     {"/?b=2&a=1&a=%C3%A9&c=x+y", long, goodBody, "arn:aws:iam::123456789012:user/ada"},
		"a path":      {"/a%20b/%E1%88%B4", long, goodBody, "arn:aws:iam::123456789012:user/ada"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := http.DefaultClient.Do(sdkRequest(t, s.URL+c.path, noon, c.creds, c.body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got, _ := io.ReadAll(resp.Body); string(got) != `{"ARN":"`+c.arn+`"}` {
				t.Errorf("got %s", got)
			}
		})
	}
}

// serve answers every request with the principal's ARN, or the refusal.
func serve(t testing.TB, v *Verifier) *httptest.Server {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		p, err := v.Authenticate(r, body)
		var e *secrets.Error
		if errors.As(err, &e) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"__type":"`+e.Code+`","message":`+strconv.Quote(e.Err.Error())+`}`)
			return
		}
		_, _ = io.WriteString(w, `{"ARN":"`+p.ARN+`"}`)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestVerifierAtOnce(t *testing.T) {
	v, _ := verifierAt(noon)
	v.derived.Limit = 4
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 50 {
				f := good()
				f.region = "eu-west-" + strconv.Itoa(1+(i*j)%7)
				if i%2 == 1 {
					f.secret = "another"
				}
				if _, _, err := authenticate(t, v, f.raw(nil)); (err == nil) != (i%2 == 0) {
					t.Errorf("%d/%d: %v", i, j, err)
				}
			}
		})
	}
	all.Wait()
	if n := v.derived.Len(); n > 4 {
		t.Errorf("%d keys", n)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	v, _ := verifierAt(noon)
	r, body := read(b, good().raw(nil))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Authenticate(r, body); err != nil {
			b.Fatal(err)
		}
	}
}
