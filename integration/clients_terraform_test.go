package integration_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
)

// terraform is Terraform with its AWS provider in a folder of its own.
type terraform struct {
	t    *testing.T
	d    *apiServer
	path string
	dir  string
	env  []string
}

const awsProvider = "registry.terraform.io/hashicorp/aws"

// providerMirror is a folder from which Terraform can install its AWS provider
// without a network: $TF_PLUGIN_DIR, where Terraform itself looks, or one below
// /opt; "" for none.
func providerMirror() string {
	var dirs []string
	if dir := os.Getenv("TF_PLUGIN_DIR"); dir != "" {
		dirs = append(dirs, dir)
	}
	if home, err := os.UserHomeDir(); err == nil {
		dirs = append(dirs, filepath.Join(home, ".terraform.d", "plugins"), filepath.Join(home, ".local", "share", "terraform", "plugins"))
	}
	dirs = append(dirs, "/usr/local/share/terraform/plugins", "/usr/share/terraform/plugins")
	more, _ := filepath.Glob("/opt/*")
	for _, dir := range append(dirs, more...) {
		// Unpacked, or as an archive.
		platform := runtime.GOOS + "_" + runtime.GOARCH
		for _, pattern := range []string{filepath.Join("*", platform), "*_" + platform + ".zip"} {
			if found, _ := filepath.Glob(filepath.Join(dir, awsProvider, pattern)); len(found) > 0 {
				return dir
			}
		}
	}
	return ""
}

// newTerraform finds Terraform and its provider, and starts a server for it.
func newTerraform(t *testing.T, start func(testing.TB) *apiServer) *terraform {
	t.Helper()
	path, err := exec.LookPath("terraform")
	if err != nil {
		missing(t, "there is no terraform in PATH", false)
	}
	mirror := providerMirror()
	if mirror == "" {
		missing(t, "Terraform's AWS provider is in no mirror directory; TF_PLUGIN_DIR can name one", false)
	}
	tf := &terraform{t: t, path: path, dir: t.TempDir()}
	rc := filepath.Join(tf.dir, "terraformrc")
	tf.write("terraformrc", fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", mirror))
	tf.env = []string{"TF_CLI_CONFIG_FILE=" + rc, "TF_IN_AUTOMATION=1", "CHECKPOINT_DISABLE=1"}
	tf.use(start(t))
	return tf
}

// use has Terraform call a server.
func (tf *terraform) use(d *apiServer) {
	tf.d = d
	tf.env = append(slices.Clone(tf.env), d.tool(tf.path).Env...)
}

func (tf *terraform) write(name, text string) {
	tf.t.Helper()
	if err := os.WriteFile(filepath.Join(tf.dir, name), []byte(text), 0o600); err != nil {
		tf.t.Fatal(err)
	}
}

// run runs a command, which must end with this exit code.
func (tf *terraform) run(want int, args ...string) string {
	tf.t.Helper()
	began := time.Now()
	cmd := exec.Command(tf.path, args...)
	cmd.Dir, cmd.Env = tf.dir, tf.env
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		tf.t.Fatal(err)
	}
	kill := time.AfterFunc(4*time.Minute, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tf.t.Fatal(err)
	}
	if code := cmd.ProcessState.ExitCode(); code != want {
		tf.t.Fatalf("terraform %s: exit code %d, want %d:\n%s", strings.Join(args, " "), code, want, &out)
	}
	tf.t.Logf("terraform %s took %v", args[0], time.Since(began).Round(100*time.Millisecond))
	return out.String()
}

// The provider block says only that there is no AWS around; where the API is, it
// gets from the environment as every other client does.
const terraformProvider = `
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
}

variable "login" {
  type      = string
  sensitive = true
}
`

// terraformSecrets is a configuration that uses every resource there is; a
// second apply with other words changes what can be changed in place.
func terraformSecrets(description, tag, value, rate, region string) string {
	return fmt.Sprintf(`
resource "aws_secretsmanager_secret" "plain" {
  name                    = "tf/plain"
  description             = %[1]q
  recovery_window_in_days = 0
  tags                    = { team = %[2]q }
  replica {
    region = %[5]q
  }
}

resource "aws_secretsmanager_secret_version" "plain" {
  secret_id     = aws_secretsmanager_secret.plain.id
  secret_string = %[3]q
}

resource "aws_secretsmanager_secret_policy" "plain" {
  secret_arn = aws_secretsmanager_secret.plain.arn
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = %[2]q
      Effect    = "Allow"
      Principal = { AWS = "arn:aws:iam::123456789012:root" }
      Action    = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
      Resource  = "*"
    }]
  })
}

resource "aws_secretsmanager_secret" "login" {
  name                    = "tf/login"
  recovery_window_in_days = 0
}

resource "aws_secretsmanager_secret_version" "login" {
  secret_id     = aws_secretsmanager_secret.login.id
  secret_string = var.login
}

resource "aws_secretsmanager_secret_rotation" "login" {
  secret_id           = aws_secretsmanager_secret_version.login.secret_id
  rotation_lambda_arn = "arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user"
  rotation_rules {
    schedule_expression = %[4]q
    duration            = "3h"
  }
}

data "aws_secretsmanager_secret_version" "plain" {
  secret_id  = aws_secretsmanager_secret.plain.id
  depends_on = [aws_secretsmanager_secret_version.plain]
}

output "plain" {
  value     = data.aws_secretsmanager_secret_version.plain.secret_string
  sensitive = true
}
`, description, tag, value, rate, region)
}

// TestTerraform applies, finds nothing to change, changes, and destroys, with a
// password of a real PostgreSQL rotated by Pawl's own function in between.
func TestTerraform(t *testing.T) {
	tf := newTerraform(t, newDevServer)
	db := database(t, servers.Postgres15, "terraform")
	login := user(t, db, "terraform_app")
	tf.env = append(tf.env, "TF_VAR_login="+string(login.Value().Reveal()))
	c := newSDK(t, tf.d)

	tf.write("main.tf", terraformProvider+terraformSecrets("the first", "shop", "one", "rate(10 days)", "eu-west-1"))
	tf.run(0, "init", "-no-color", "-input=false")
	tf.run(0, "apply", "-no-color", "-input=false", "-auto-approve")
	first := rotatedTo(t, c, db, "")
	mustNotLogin(t, db, "what Terraform stored", login)
	tf.run(0, "plan", "-no-color", "-input=false", "-detailed-exitcode")
	tf.wants("one")
	described := done[secretsmanager.DescribeSecretOutput](t)(c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("tf/plain")}))
	if aws.ToString(described.Description) != "the first" || len(described.ReplicationStatus) != 1 || described.ReplicationStatus[0].Status != types.StatusTypeInSync {
		t.Errorf("description %q, replicas %v", aws.ToString(described.Description), described.ReplicationStatus)
	}

	tf.write("main.tf", terraformProvider+terraformSecrets("the second", "web", "two", "rate(20 days)", "eu-central-1"))
	if thorough { // each start of the provider costs seconds
		tf.run(2, "plan", "-no-color", "-input=false", "-detailed-exitcode")
	}
	tf.run(0, "apply", "-no-color", "-input=false", "-auto-approve")
	rotatedTo(t, c, db, first)
	if thorough {
		tf.run(0, "plan", "-no-color", "-input=false", "-detailed-exitcode")
	}
	tf.wants("two")
	described = done[secretsmanager.DescribeSecretOutput](t)(c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String("tf/plain")}))
	if aws.ToString(described.Description) != "the second" || len(described.ReplicationStatus) != 1 || aws.ToString(described.ReplicationStatus[0].Region) != "eu-central-1" ||
		len(described.Tags) != 1 || aws.ToString(described.Tags[0].Value) != "web" {
		t.Errorf("description %q, replicas %v, tags %v", aws.ToString(described.Description), described.ReplicationStatus, described.Tags)
	}

	tf.run(0, "destroy", "-no-color", "-input=false", "-auto-approve")
	for _, region := range []string{"us-east-1", "eu-west-1", "eu-central-1"} {
		left := done[secretsmanager.ListSecretsOutput](t)(c.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{IncludePlannedDeletion: aws.Bool(true)},
			func(o *secretsmanager.Options) { o.Region = region }))
		if len(left.SecretList) != 0 {
			t.Errorf("%d secrets are left in %s", len(left.SecretList), region)
		}
	}
}

// wants checks what the data source read.
func (tf *terraform) wants(value string) {
	tf.t.Helper()
	var got string
	if err := json.Unmarshal([]byte(tf.run(0, "output", "-json", "plain")), &got); err != nil || got != value {
		tf.t.Errorf("the data source has %q, %v; want %q", got, err, value)
	}
}

// rotatedTo waits until the login's secret has rotated to a version that is not
// this one, logs in with it, and returns it.
func rotatedTo(t *testing.T, c *sdk, db *workload.Database, not string) (version string) {
	t.Helper()
	id := aws.String("tf/login")
	until(t, "the login to rotate", func() bool {
		described := done[secretsmanager.DescribeSecretOutput](t)(c.DescribeSecret(t.Context(), &secretsmanager.DescribeSecretInput{SecretId: id}))
		pending := false
		for v, labels := range described.VersionIdsToStages {
			pending = pending || slices.Contains(labels, "AWSPENDING")
			if slices.Contains(labels, "AWSCURRENT") {
				version = v
			}
		}
		return described.LastRotatedDate != nil && !pending && version != not
	})
	got := done[secretsmanager.GetSecretValueOutput](t)(c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: id}))
	if *got.VersionId != version {
		t.Errorf("AWSCURRENT is %s, and was %s", *got.VersionId, version)
	}
	login, err := secrets.ParseCredentials(secrets.Text(*got.SecretString))
	if err != nil {
		t.Fatal(err)
	}
	mustLogin(t, db, "AWSCURRENT", login)
	return version
}

// TestTerraformSigned: the provider as it is set up for AWS, certificates and
// credentials from the environment, checks with STS who it is and assumes a role
// that may use just these secrets.
func TestTerraformSigned(t *testing.T) {
	tf := newTerraform(t, newSignedServer)
	base := tf.d.user("base")
	role := tf.d.role("terraform", "base", "tf/")
	tf.use(tf.d.as(base))
	config := func(secret string) string {
		return fmt.Sprintf(`
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {
  skip_metadata_api_check = true
  assume_role {
    role_arn     = %q
    session_name = "apply"
  }
}

data "aws_caller_identity" "me" {}

resource "aws_secretsmanager_secret" "plain" {
  name                    = %q
  recovery_window_in_days = 0
  tags                    = { team = "shop" }
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = data.aws_caller_identity.me.account_id }
      Action    = "secretsmanager:GetSecretValue"
      Resource  = "*"
    }]
  })
}

resource "aws_secretsmanager_secret_version" "plain" {
  secret_id     = aws_secretsmanager_secret.plain.id
  secret_string = "one"
}

output "plain" {
  value = data.aws_caller_identity.me.arn
}
`, role, secret)
	}
	tf.write("main.tf", config("tf/plain"))
	tf.run(0, "init", "-no-color", "-input=false")
	tf.run(0, "apply", "-no-color", "-input=false", "-auto-approve")
	tf.wants("arn:aws:sts::123456789012:assumed-role/terraform/apply")
	if thorough {
		tf.run(0, "plan", "-no-color", "-input=false", "-detailed-exitcode")
	}

	tf.write("main.tf", config("prod/plain"))
	out := tf.run(1, "apply", "-no-color", "-input=false", "-auto-approve")
	if want := "is not authorized to perform: secretsmanager:CreateSecret"; !strings.Contains(strings.Join(strings.Fields(out), " "), want) {
		t.Errorf("want %q in\n%s", want, out)
	}
	if thorough {
		tf.run(0, "destroy", "-no-color", "-input=false", "-auto-approve")
	}
}
