package function

import (
	"strings"
	"testing"

	"github.com/pawlhq/pawl/secrets"
)

func TestErrorTypes(t *testing.T) {
	for kind, names := range map[secrets.Kind]string{
		secrets.Transient: `Sandbox.Timedout Function.TimedOut Runtime.ExitError Runtime.OutOfMemory
			Transient MyTransient DatabaseTransientError app.errors.LockTimeout TimeoutError TimeoutException
			ThrottlingException com.amazonaws.lambda#ThrottlingException EC2ThrottledException TooManyRequestsException
			botocore.exceptions.ReadTimeoutError java.net.ConnectException ConnectionRefusedError ECONNREFUSED`,
		secrets.Invalid: `ValueError KeyError TypeError json.decoder.JSONDecodeError java.lang.IllegalArgumentException
			Runtime.ImportModuleError Runtime.HandlerNotFound com.example.Outer$IllegalStateException
			ResourceNotFoundException Function.ResponseSizeTooLarge ReferenceError`,
	} {
		for _, name := range strings.Fields(names) {
			if k, known := kindOf(name); k != kind || !known {
				t.Errorf("%s: %v, %v", name, k, known)
			}
		}
	}
	for _, name := range []string{"", "Error", "Exception", "OperationalError", "psycopg2.OperationalError", "errorString", "AccessDeniedException", "TransientX", "ValueErrorX", "timeouts", "."} {
		if k, known := kindOf(name); k != secrets.Denied || known {
			t.Errorf("%s: %v, %v", name, k, known)
		}
	}
}

func TestReadFailure(t *testing.T) {
	for _, c := range []struct {
		in, kind, message string
		ok                bool
	}{
		{`{"errorType":"ValueError","errorMessage":"no","stackTrace":["secret"],"requestId":"1"}`, "ValueError", "no", true},
		{`{"errorMessage":"no"}`, "", "no", true},
		{`{"errorType":"X"}`, "X", "", true},
		{`{"errorType":"X","errorMessage":{"password":"p"}}`, "X", "", true},
		{`{"errorMessage":null}`, "", "", true},
		{`{"errorType":7}`, "", "", false},
		{`{}`, "", "", false}, {`[]`, "", "", false}, {`"x"`, "", "", false}, {``, "", "", false}, {`{"errorMessage":"x"`, "", "", false}, {`null`, "", "", false},
	} {
		kind, message, ok := readFailure([]byte(c.in))
		if kind != c.kind || message != c.message || ok != c.ok {
			t.Errorf("%s: %q %q %v", c.in, kind, message, ok)
		}
	}
}

func TestFailureIsALine(t *testing.T) {
	text := func(kind, message string) string {
		return fail(secrets.Denied, failure{what: "it failed", kind: kind, message: message}).Error()
	}
	for _, c := range []struct{ kind, message, want string }{
		{"", "", "it failed and did not say why"},
		{"X", "", "it failed: X"},
		{"", "m", "it failed: m"},
		{"X", "a\nb\r\n\tc  d\x00e\u202ef\u2028g \x1b[31mred\x1b[0m\x1b]0;title\a\xff!", "it failed: X: a b c d ef g red ]0;title !"},
		{strings.Repeat("T", 101), "m", "it failed: m"},
		{"", strings.Repeat("é", 1024), "it failed: " + strings.Repeat("é", 500) + "…"},
		{"", strings.Repeat("é", 500), "it failed: " + strings.Repeat("é", 500)},
		{"", strings.Repeat("é ", 1<<20), "it failed: " + strings.Repeat("é ", 250) + "…"},
	} {
		if got := text(c.kind, c.message); got != c.want {
			t.Errorf("%q %.40q: %q, want %q", c.kind, c.message, got, c.want)
		}
	}
}

// A value that the bound cuts must not be shown as far as it goes.
func TestRedactionComesBeforeTheCut(t *testing.T) {
	var hide redactor
	hide.add("correct horse battery staple")
	for n := range 600 {
		message := strings.Repeat("x", n) + "correct horse battery staple"
		if got := hide.error(fail(secrets.Denied, failure{what: "f", message: message})).Error(); strings.Contains(got, "corr") {
			t.Fatalf("%d: %s", n, got)
		}
	}
	for n := maxMessage - 40; n < maxMessage; n++ {
		message := strings.Repeat(" ", n) + "correct horse battery staple"
		if got := hide.error(fail(secrets.Denied, failure{what: "f", message: message})).Error(); strings.Contains(got, "corr") && n < maxMessage-3 {
			t.Fatalf("%d: %s", n, got)
		}
	}
}

// TestConnectionStrings: the function may have been let in by a password that Pawl
// does not know.
func TestConnectionStrings(t *testing.T) {
	for said, shown := range map[string]string{
		"bad DSN host=db user=root password=r00t-pw dbname=app":    "bad DSN host=db user=root password=[redacted] dbname=app",
		"bad DSN Server=db;User Id=sa;Password=r00t-pw;Encrypt":    "bad DSN Server=db;User Id=sa;Password=[redacted];Encrypt",
		"bad DSN password='r00t pw' user=root":                     "bad DSN password=[redacted] user=root",
		"can't parse postgres://root:r00t-pw@db:5432/app":          "can't parse postgres://root:[redacted]@db:5432/app",
		"Access denied for user 'root'@'db' (using password: YES)": "Access denied for user 'root'@'db' (using password: YES)",
		"see https://docs.example.com:8443/rotate?x=a@b":           "see https://docs.example.com:8443/rotate?x=a@b",
	} {
		if got := fail(secrets.Denied, failure{what: "it failed", message: said}).Error(); got != "it failed: "+shown {
			t.Errorf("got  %s\nwant it failed: %s", got, shown)
		}
	}
}
