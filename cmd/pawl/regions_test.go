package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/config"
)

// The credentials of another server's user are what `pawl access create --json`
// printed there, with all of his policies.
func TestCredentialsWithPolicies(t *testing.T) {
	t.Chdir(t.TempDir())
	resources := strings.Repeat(`"arn:aws:secretsmanager:eu-west-1:123456789012:secret:app/*",`, 80)
	policy := `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "pawl:*Replica", "Resource": [` + strings.TrimSuffix(resources, ",") + `]}]}`
	if err := os.WriteFile("policy.json", []byte(policy), 0o600); err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	for _, args := range [][]string{{"init"}, {"access", "create", "us", "--policy", "policy.json", "--json"}} {
		printed.Reset()
		cmd := newRoot()
		cmd.SetArgs(args)
		cmd.SetOut(&printed)
		cmd.SetErr(new(bytes.Buffer))
		if err := cmd.ExecuteContext(t.Context()); err != nil {
			t.Fatal(args, err)
		}
	}
	file := filepath.Join(t.TempDir(), "key.json")
	if err := os.WriteFile(file, printed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	places := placesOf(&config.Config{Regions: map[string]config.Region{"eu-west-1": {CredentialsFile: file}}})
	text, err := places["eu-west-1"].Credentials()
	if err != nil || !strings.Contains(text.Reveal(), "SecretAccessKey") {
		t.Errorf("%d bytes: %v", printed.Len(), err)
	}
}
