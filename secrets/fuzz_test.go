package secrets

import (
	"strings"
	"testing"
	"time"
)

// A schedule that is accepted opens again and again, each time later, at least
// the minimum apart, and fits its own windows; whatever else is sent gets an
// Invalid.
func FuzzParseSchedule(f *testing.F) {
	for _, s := range []string{
		"rate(4 hours)", "rate(1 day)", "rate(999 days)", "rate(10 minutes)", "rate(0 days)", "rate(-1 hours)", "rate(99999999999999999999 days)",
		"cron(0 /8 * * ? *)", "cron(0 2/10 * * ? *)", "cron(0 16 1,15 * ? *)", "cron(0 1 ? 1/3 SUN#1 *)", "cron(0 17 L * ? *)", "cron(0 8 ? * MON-FRI *)",
		"cron(0 0 29 2 ? *)", "cron(0 0 31 2 ? *)", "cron(0 0 ? 2 MON#5 *)", "cron(* * * * * *)", "cron(0 0 30-31 FEB,APR ? *)", "cron()", "rate()", "(", "", "cron(0 0 ? * SAT-SUN *)",
		"rate(4 hours)\x00", "RATE(4 hours)", "cron(0 24 * * ? *)", "cron(0 0 ? * L *)", "cron(0 0 ? * 1L *)",
	} {
		f.Add(s, int64(4*60))
		f.Add(s, int64(1))
	}
	f.Fuzz(func(t *testing.T, expression string, minutes int64) {
		minimum := time.Duration(min(max(minutes, 1), 24*60)) * time.Minute
		s, err := ParseSchedule(expression, minimum)
		if err != nil {
			if KindOf(err) != Invalid {
				t.Fatalf("%q: %v is not Invalid", expression, err)
			}
			return
		}
		if again, err := ParseSchedule(s.String(), minimum); err != nil || again != s {
			t.Fatalf("%q reads back as another: %v", expression, err)
		}
		last := s.Next(time.Date(2026, 2, 27, 23, 59, 59, 0, time.UTC))
		for range 5 {
			next := s.Next(last)
			if gap := next.Sub(last); gap < minimum && last.Day() == next.Day() {
				t.Fatalf("%q opens %v after %v", expression, gap, last)
			}
			if w := s.WindowAt(last, 0); !w.Close.After(w.Open) || w.Close.After(next) {
				t.Fatalf("%q: the window %v reaches %v", expression, w, next)
			}
			last = next
		}
	})
}

// What is read as an ARN is written as it was, and finds itself.
func FuzzParseID(f *testing.F) {
	for _, id := range []string{
		"prod/db", "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db-AbCdEf", "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db",
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:db-a1b2c3", "arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:a-b-c-AbCdEf",
		"arn:", "arn:::::::", "arn:aws:secretsmanager:::secret:x", "arn:aws:s3:us-east-1:123456789012:secret:x-AbCdEf", "", "-", "/", "rds!db-1", "ü", "a\x00b",
		"arn:aws:secretsmanager:us-east-1:123456789012:secret:-AbCdEf", strings.Repeat("x", 513),
	} {
		f.Add(id)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, err := ParseID(text)
		if err != nil {
			if KindOf(err) != Invalid || CodeOf(err) != "ValidationException" {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		if ValidateName(id.ARN.Name) != nil {
			t.Fatalf("%q has the name %q", text, id.ARN.Name)
		}
		if id.ARN.Region == "" {
			if !id.ByName || id.ARN.Name != text {
				t.Fatalf("%q reads as %+v", text, id)
			}
			return
		}
		if got := id.ARN.String(); got != text {
			t.Fatalf("%q is written %q", text, got)
		}
		if !id.Matches(id.ARN) {
			t.Fatalf("%q does not find itself", text)
		}
	})
}
