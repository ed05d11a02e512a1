package access

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestAWSCommandLine: botocore signs, as the real AWS command line does.
func TestAWSCommandLine(t *testing.T) {
	path, err := exec.LookPath("aws")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no AWS command line (aws) in PATH: run `make servers`")
		}
		t.Skip("there is no AWS command line (aws) in PATH")
	}
	k := newKeys()
	session := k.known["ASIAEXAMPLE"]
	session.Expires = time.Now().Add(time.Hour)
	k.known["ASIAEXAMPLE"] = session
	s := serve(t, NewVerifier(VerifierConfig{Keys: k, Regions: []string{goodRegion}}))
	for name, c := range map[string]struct{ id, secret, token, region, want string }{
		"a key":            {exampleKey, exampleSecret, "", goodRegion, "arn:aws:iam::123456789012:user/ada"},
		"a session":        {"ASIAEXAMPLE", "session-secret", sessionToken, goodRegion, "arn:aws:sts::123456789012:assumed-role/app/web"},
		"another secret":   {exampleKey, "another", "", goodRegion, "(InvalidSignatureException) when calling the GetSecretValue operation: " + differs},
		"no session token": {"ASIAEXAMPLE", "session-secret", "", goodRegion, "(UnrecognizedClientException) when calling the GetSecretValue operation: " + invalidToken},
		"another region": {exampleKey, exampleSecret, "", "us-east-1",
			"(InvalidSignatureException) when calling the GetSecretValue operation: Credential should be scoped to a valid region, not 'us-east-1'."},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, path, "secretsmanager", "get-secret-value", "--secret-id", "prod/db é", "--query", "ARN", "--output", "text", "--endpoint-url", s.URL)
			for _, v := range os.Environ() {
				if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(strings.ToLower(v), "http") {
					cmd.Env = append(cmd.Env, v)
				}
			}
			cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID="+c.id, "AWS_SECRET_ACCESS_KEY="+c.secret, "AWS_REGION="+c.region, "AWS_DEFAULT_REGION="+c.region,
				"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_MAX_ATTEMPTS=1", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=", "LC_ALL=C.UTF-8")
			if c.token != "" {
				cmd.Env = append(cmd.Env, "AWS_SESSION_TOKEN="+c.token)
			}
			out, err := cmd.CombinedOutput()
			got := strings.TrimSpace(string(out))
			if failed := strings.HasPrefix(c.want, "("); failed != (err != nil) || !strings.Contains(got, c.want) {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}
