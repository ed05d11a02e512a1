package lambda

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
)

func TestReadEnvironment(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ []string
		want    Environment
	}{
		{name: "nothing", environ: []string{"AWS_REGION=eu-central-1", "PATH=/bin"}},
		{"pawl's", []string{
			"PAWL_STRATEGY=alternating-users", "PAWL_LOG_LEVEL=debug",
			"PAWL_RULES=tls: {mode: verify-full}\ncheck_query: select 1",
			`PAWL_SUPERUSERS=[{secret: prod/root, for: ["prod/*"]}]`,
		}, Environment{
			LogLevel: slog.LevelDebug,
			Rules:    secrets.RotationRules{Strategy: secrets.AlternatingUsers, TLS: secrets.TLSRules{Mode: secrets.TLSVerifyFull}, CheckQuery: "select 1"},
			Pairings: []secrets.Pairing{{Secret: "prod/root", For: []string{"prod/*"}}},
		}},
		{"aws's", []string{
			"SECRETS_MANAGER_ENDPOINT=https://secretsmanager.eu-central-1.amazonaws.com",
			`EXCLUDE_CHARACTERS=/@"'\`, "PASSWORD_LENGTH=40", "EXCLUDE_NUMBERS=Yes", "EXCLUDE_PUNCTUATION=1", "EXCLUDE_UPPERCASE=false",
			"EXCLUDE_LOWERCASE=no", "REQUIRE_EACH_INCLUDED_TYPE=False", "PAWL_STRATEGY=",
		}, Environment{
			Endpoint: "https://secretsmanager.eu-central-1.amazonaws.com",
			Rules: secrets.RotationRules{Password: secrets.PasswordRules{
				Length: 40, ExcludeCharacters: `/@"'\`, ExcludeNumbers: true, ExcludePunctuation: true, AllowMissingTypes: true,
			}},
		}},
		{"aws's default", []string{"REQUIRE_EACH_INCLUDED_TYPE=true"}, Environment{}},
		{"one strategy twice", []string{"PAWL_STRATEGY=single-user", "PAWL_RULES=strategy: single-user"},
			Environment{Rules: secrets.RotationRules{Strategy: secrets.SingleUser}}},
	} {
		got, err := ReadEnvironment(c.environ)
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, d)
		}
	}
}

// TestReadEnvironmentSaysAll: every problem at once, none with a value in it.
func TestReadEnvironmentSaysAll(t *testing.T) {
	_, err := ReadEnvironment([]string{
		"PAWL_STRATGY=c4n4ry", "PAWL_CONFIG=c4n4ry", "PAWL_STRATEGY=c4n4ry", "PAWL_LOG_LEVEL=c4n4ry", "PAWL_RULES={tls: {mod: c4n4ry}}",
		"PAWL_SUPERUSERS=[{secret: prod/root}]", "SECRETS_MANAGER_ENDPOINT=c4n4ry", "PASSWORD_LENGTH=c4n4ry", "EXCLUDE_NUMBERS=c4n4ry",
	})
	if err == nil || secrets.KindOf(err) != secrets.Invalid {
		t.Fatal(err)
	}
	text := err.Error()
	for _, want := range []string{
		"PAWL_STRATGY: there is no such variable", "PAWL_CONFIG: there is no such variable", "PAWL_STRATEGY: the strategy must be one of single-user, alternating-users",
		"PAWL_LOG_LEVEL: must be debug", "PAWL_RULES:1", `did you mean "mode"?`, "PAWL_SUPERUSERS", "SECRETS_MANAGER_ENDPOINT: must be an address",
		"PASSWORD_LENGTH: must be a number", "EXCLUDE_NUMBERS: must be true or false",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("want %q in %s", want, text)
		}
	}
	if strings.Contains(text, "c4n4ry") || strings.Contains(text, "\n") {
		t.Error(text)
	}
	for name, environ := range map[string][]string{
		"leave one of them out":                 {"PASSWORD_LENGTH=20", "PAWL_RULES=password: {length: 30}"},
		"says another strategy than PAWL_RULES": {"PAWL_STRATEGY=single-user", "PAWL_RULES=strategy: alternating-users"},
		"All characters have been excluded":     {"EXCLUDE_NUMBERS=true", "EXCLUDE_PUNCTUATION=true", "EXCLUDE_UPPERCASE=true", "EXCLUDE_LOWERCASE=true"},
	} {
		if _, err := ReadEnvironment(environ); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%q: %v", environ, err)
		}
	}
}
