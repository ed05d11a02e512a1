package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/strategies/function"
)

// withFunctions is the program over a store of its own, with more lines in its
// configuration.
func withFunctions(t *testing.T, lines string) *app {
	t.Helper()
	cfg, err := temporary(t.Context(), t.TempDir(), lines)
	if err != nil {
		t.Fatal(err)
	}
	a, err := assemble(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

const lambdas = "arn:aws:lambda:us-east-1:123456789012:function:"

// awsEnvironment has credentials and nothing else of AWS's.
func awsEnvironment(t *testing.T) {
	for name, v := range map[string]string{"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_LAMBDA": "http://127.0.0.1:1"} {
		t.Setenv(name, v)
	}
}

func TestFunctionsHas(t *testing.T) {
	for lines, want := range map[string][]string{ // of mine, mine of another region, yours
		"":                         {},
		"functions: {}\n":          {"mine", "elsewhere", "yours"},
		"functions: {allow: []}\n": {},
		"functions: {allow: ['arn:aws:lambda:*:function:y*']}\n":           {"yours"},
		"functions: {allow: [], named: [{name: mine, command: [true]}]}\n": {"mine"},
	} {
		a := withFunctions(t, lines)
		var got []string
		for _, f := range []struct{ name, arn string }{
			{"mine", lambdas + "mine"}, {"elsewhere", strings.Replace(lambdas, "us-east-1", "eu-west-1", 1) + "mine"}, {"yours", lambdas + "yours"},
		} {
			if a.functions.Has(f.arn) {
				got = append(got, f.name)
			}
			// What may not be called is not called.
			if _, err := a.functions.foreign(secrets.RotationRules{Strategy: secrets.Function, Function: f.arn}); (err == nil) != a.functions.Has(f.arn) {
				t.Errorf("%q: %s: %v", lines, f.name, err)
			}
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%q: %v, want %v", lines, got, want)
		}
	}
}

func TestFunctionsRefuse(t *testing.T) {
	for name, c := range map[string]struct{ lines, arn, want string }{
		"none":        {"functions: {}\n", "", "no rotation function is named"},
		"no section":  {"", lambdas + "x", "add functions: to "},
		"not allowed": {"functions: {allow: []}\n", lambdas + "x", "allow: [\"" + lambdas + "x\"]"},
		"no ARN":      {"functions: {}\n", "arn:aws:sns:us-east-1:123456789012:x", "is not the ARN of a Lambda function"},
		"no key":      {"functions: {named: [{name: x, url: 'http://127.0.0.1:1/', key_file: gone}]}\n", lambdas + "x", "gone: no such file or directory; make one: openssl"},
	} {
		t.Run(name, func(t *testing.T) {
			a := withFunctions(t, c.lines)
			err := callOnce(t, a, c.arn)
			if err == nil || secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
		})
	}
}

// TestFunctionAtURL: requests are signed by the key in the file, whose line has
// an end.
func TestFunctionAtURL(t *testing.T) {
	const key = canary + canary
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := function.Verify(secrets.NewPassword(key), r.Header, body, time.Now(), 0); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
		}
	}))
	defer server.Close()
	a := withFunctions(t, "functions: {named: [{name: x, url: '"+server.URL+"/', key_file: shared.key, timeout: 5s}]}\n")
	file := filepath.Join(filepath.Dir(a.cfg.Path), "shared.key")
	for text, good := range map[string]bool{key + "\n": true, key: true, key + "x\n": false, "\n": false, strings.Repeat("k", mostSecret+1): false} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := callOnce(t, a, lambdas+"x")
		if (err == nil) != good || err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("%d bytes: %v", len(text), err)
		}
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := callOnce(t, a, lambdas+"x"); err == nil || !strings.Contains(err.Error(), "chmod 600 "+file) {
		t.Error(err)
	}
}

func callOnce(t *testing.T, a *app, arn string) error {
	t.Helper()
	f, err := a.functions.foreign(secrets.RotationRules{Strategy: secrets.Function, Function: arn})
	if err != nil {
		return err
	}
	secret := secrets.ARN{Partition: "aws", Region: "us-east-1", Account: "123456789012", Name: "app", Suffix: "AbCdEf"}
	return f.Do(t.Context(), "createSecret", secret, newToken(), func(context.Context) ([]secrets.Value, error) { return nil, nil })
}

// TestLambdaEndpoint: each function is invoked at the configured endpoint, in the
// region of its ARN.
func TestLambdaEndpoint(t *testing.T) {
	awsEnvironment(t)
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, scope, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=test/")
		seen = append(seen, r.Method+" "+r.URL.Path+" "+strings.Split(scope, "/")[1])
		_, _ = io.WriteString(w, "null")
	}))
	defer server.Close()
	a := withFunctions(t, "functions: {endpoint: '"+server.URL+"'}\n")
	for _, region := range []string{"us-east-1", "eu-west-1", "us-east-1"} {
		if err := callOnce(t, a, strings.Replace(lambdas, "us-east-1", region, 1)+"x"); err != nil {
			t.Fatal(err)
		}
	}
	for i, region := range []string{"us-east-1", "eu-west-1", "us-east-1"} {
		if i >= len(seen) || !strings.HasPrefix(seen[i], "POST /2015-03-31/functions/") || !strings.HasSuffix(seen[i], " "+region) {
			t.Fatalf("%q", seen)
		}
	}
	if a.functions.now.Load().lambda == nil {
		t.Error("each call makes a client of its own")
	}
	a.functions.configure(a.cfg) // the file was read again
	if a.functions.now.Load().lambda != nil {
		t.Error("the client of the old file is used")
	}
}

// TestFourSteps: the longest names fit into a session's policy.
func TestFourSteps(t *testing.T) {
	long := secrets.ARN{Partition: "aws-us-gov", Region: "us-gov-west-1", Account: "123456789012", Name: strings.Repeat("n", secrets.MaxNameLength), Suffix: "AbCdEf"}
	for _, superuser := range []secrets.ARN{{}, long} {
		text := fourSteps(long, superuser)
		if _, err := policy.ParseIdentity(text); err != nil || len(text) > 2048 {
			t.Errorf("%d characters: %v", len(text), err)
		}
		if n := strings.Count(text, "GetSecretValue"); n != 1 && superuser == (secrets.ARN{}) || n != 2 && superuser != (secrets.ARN{}) {
			t.Errorf("%d", n)
		}
	}
}

// TestFunctionsSuperuser: a function may read the superuser's secret where the
// operator has paired the two, and no other.
func TestFunctionsSuperuser(t *testing.T) {
	a := withFunctions(t, "functions: {}\nsuperusers: [{secret: root, for: ['prod/*']}]\n")
	create := func(name string, c secrets.Credentials) secrets.ARN {
		t.Helper()
		out, err := a.svc.CreateSecret(t.Context(), service.CreateSecretInput{Name: name, GivenValue: service.Give(c.Value()), ClientRequestToken: newToken()})
		if err != nil {
			t.Fatal(err)
		}
		var arn secrets.ARN
		if err := arn.UnmarshalText([]byte(out.ARN)); err != nil {
			t.Fatal(err)
		}
		return arn
	}
	root := create("root", secrets.NewCredentials("username", "root", "password", canary))
	other := create("other", secrets.NewCredentials("username", "other", "password", canary))
	for name, c := range map[string]struct {
		master string
		want   secrets.ARN
	}{
		"prod/paired":   {root.String(), root},
		"prod/unpaired": {other.String(), secrets.ARN{}},
		"dev/app":       {root.String(), secrets.ARN{}},
		"prod/none":     {"", secrets.ARN{}},
		"prod/gone":     {"nowhere", secrets.ARN{}},
	} {
		arn := create(name, secrets.NewCredentials("username", "app", "password", canary, "masterarn", c.master))
		if got, err := a.functions.superuser(t.Context(), arn); err != nil || got != c.want {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}
