package client

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/secrets"
)

// environment is one without anything of AWS's but what is given.
func environment(t *testing.T, set map[string]string) {
	t.Helper()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	for name, v := range map[string]string{"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:2"} {
		t.Setenv(name, v)
	}
	for name, v := range set {
		t.Setenv(name, v)
	}
}

// TestConnectEndpoint: AWS's own, and none that the environment names.
func TestConnectEndpoint(t *testing.T) {
	keys := map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "eu-west-1"}
	with := func(name, value string) map[string]string {
		m := map[string]string{name: value}
		for k, v := range keys {
			m[k] = v
		}
		return m
	}
	for want, c := range map[string]struct {
		at  AWS
		env map[string]string
	}{
		"https://secretsmanager.eu-west-1.amazonaws.com/":      {AWS{}, keys},
		"https://secretsmanager.us-east-2.amazonaws.com/":      {AWS{Region: "us-east-2"}, keys},
		"https://secretsmanager.cn-north-1.amazonaws.com.cn/":  {AWS{Region: "cn-north-1"}, keys},
		"https://secretsmanager-fips.us-east-1.amazonaws.com/": {AWS{Region: "us-east-1"}, with("AWS_USE_FIPS_ENDPOINT", "true")},
		"http://127.0.0.1:3/":                                  {AWS{Endpoint: "http://127.0.0.1:3"}, keys},
	} {
		t.Run(want, func(t *testing.T) {
			environment(t, c.env)
			client, err := c.at.Connect(t.Context())
			if err != nil || client.config.Endpoint != want {
				t.Errorf("%v, %v", client, err)
			}
		})
	}
}

// TestConnectProfile: a profile has region and credentials.
func TestConnectProfile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(file, []byte("[profile rotator]\nregion = ap-south-1\naws_access_key_id = of-the-profile\naws_secret_access_key = x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	environment(t, map[string]string{"AWS_CONFIG_FILE": file})
	client, err := AWS{Profile: "rotator", Store: true}.Connect(t.Context())
	if err != nil || client.config.Region != "ap-south-1" {
		t.Fatalf("%v, %v", client, err)
	}
	if key, err := client.config.Credentials.Retrieve(t.Context()); err != nil || key.AccessKeyID != "of-the-profile" {
		t.Error(key.AccessKeyID, err)
	}
}

func TestConnectRefuses(t *testing.T) {
	keys := map[string]string{"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
	for name, c := range map[string]struct {
		at   AWS
		env  map[string]string
		want string
	}{
		"no region":      {AWS{}, keys, "no region is set"},
		"no credentials": {AWS{Region: "us-east-1"}, nil, "no AWS credentials were found"},
		"no profile":     {AWS{Region: "us-east-1", Profile: "nobody"}, keys, "nobody"},
		"no endpoint":    {AWS{Region: "us-east-1", Endpoint: "127.0.0.1:3"}, keys, "the endpoint is not the address of a server"},
	} {
		t.Run(name, func(t *testing.T) {
			environment(t, c.env)
			_, err := c.at.Connect(t.Context())
			if err == nil || secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
		})
	}
}
