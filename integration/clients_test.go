package integration_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The clients that people have, unchanged, against the real binary: here the AWS
// command line and boto3, in the neighbouring files the SDK for Go with AWS's
// caching client, and Terraform; by HTTP against a development server, and signed
// by HTTPS against one as operators run it.

// apiServer is a `pawl serve` on a free port, with a store of its own.
type apiServer struct {
	*site
	endpoint string            // http://127.0.0.1:PORT, or https://…
	vars     map[string]string // of a client's environment, beside those of isolated
	process  *process
	guarded  *guarded // nil = a development server
}

var exportLine = regexp.MustCompile(`(?m)^export AWS_ENDPOINT_URL_SECRETS_MANAGER=(https?://127\.0\.0\.1:\d+)$`)

// newDevServer starts a development server. It must end well with the test.
func newDevServer(t testing.TB) *apiServer {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	d := &apiServer{site: &site{pawl: &pawl{t: t}, dir: t.TempDir(), bin: bin}}
	d.listen("--dev")
	return d
}

// listen starts the server and waits until it serves.
func (d *apiServer) listen(args ...string) {
	d.t.Helper()
	d.process = d.start(append([]string{"serve", "--listen", "127.0.0.1:0"}, args...)...)
	d.process.await("pawl serves")
	until(d.t, "the line to export", func() bool {
		m := exportLine.FindStringSubmatch(d.process.out.String())
		if m != nil {
			d.endpoint = m[1]
		}
		return m != nil
	})
	d.t.Cleanup(d.process.stop)
}

// isolated is an environment in which a client finds this server and nothing
// of AWS's that this machine may have.
func (d *apiServer) isolated() map[string]string {
	env := map[string]string{
		"AWS_ENDPOINT_URL_SECRETS_MANAGER": d.endpoint, "AWS_ENDPOINT_URL_STS": d.endpoint, "AWS_ENDPOINT_URL": "",
		"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "",
		"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1",
		"AWS_CONFIG_FILE": filepath.Join(d.dir, "none"), "AWS_SHARED_CREDENTIALS_FILE": filepath.Join(d.dir, "none"),
		"AWS_PROFILE": "", "AWS_CA_BUNDLE": "", "AWS_EC2_METADATA_DISABLED": "true",
		"HTTP_PROXY": "", "http_proxy": "", "HTTPS_PROXY": "", "https_proxy": "",
	}
	maps.Copy(env, d.vars)
	return env
}

// tool is a program in that environment.
func (d *apiServer) tool(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Dir = d.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + d.dir, "TMPDIR=" + os.TempDir(), "AWS_PAGER="}
	for name, v := range d.isolated() {
		if v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	return cmd
}

// missing skips the test, and fails it under CI where the tool is one that
// `make servers` installs.
func missing(t testing.TB, what string, installed bool) {
	t.Helper()
	if installed && os.Getenv("CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// awsCLIs are the AWS command lines in PATH, each program once.
func awsCLIs() (paths []string) {
	var seen []os.FileInfo
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path, err := exec.LookPath(filepath.Join(dir, "aws"))
		if err != nil {
			continue
		}
		info, err := os.Stat(path)
		if err != nil || slices.ContainsFunc(seen, func(s os.FileInfo) bool { return os.SameFile(s, info) }) {
			continue
		}
		seen, paths = append(seen, info), append(paths, path)
	}
	return paths
}

// TestAWSCommandLine: the commands that people type. The first command line in
// PATH runs them (without PAWL_THOROUGH: most of them), by a user whose policy
// allows him these secrets and no others; further ones run a few: each call costs
// most of a second.
func TestAWSCommandLine(t *testing.T) {
	found := awsCLIs()
	if len(found) == 0 {
		missing(t, "there is no AWS command line (aws) in PATH: run `make servers`", true)
	}
	for i, path := range found {
		t.Run(path, func(t *testing.T) {
			d := newDevServer(t)
			c := &awsCLI{t: t, d: d, path: path}
			t.Log(c.version())
			c.brief()

			signed := newSignedServer(t)
			shop := signed.user("shop", "--policy", signed.policy("shop", "brief", "none", "cli/", "other"))
			c.d = signed.as(shop)
			c.brief()
			if i > 0 {
				return
			}
			c.values()
			if chosen(0, 2) {
				c.listing()
			}
			if chosen(1, 2) {
				c.metadata()
			}
			c.deletion()
			c.denied()
			c.roles(shop)
		})
	}
}

// denied: what is not the caller's he learns nothing about.
func (c *awsCLI) denied() {
	(&awsCLI{c.t, c.d.as(c.d.admin()), c.path}).ok("create-secret", "--name", "prod/db", "--secret-string", "x")
	for _, name := range []string{"prod/db", "prod/none"} {
		c.refused("(AccessDeniedException) when calling the GetSecretValue operation: User: arn:aws:iam::123456789012:user/shop is not authorized to perform: "+
			"secretsmanager:GetSecretValue on resource: "+name+" because no identity-based policy allows the secretsmanager:GetSecretValue action",
			"get-secret-value", "--secret-id", name)
	}
}

// roles: a role assumed by hand, and by a profile.
func (c *awsCLI) roles(user map[string]string) {
	arn := c.d.role("reader", "shop", "brief")
	out, err := c.d.tool(c.path, "sts", "assume-role", "--endpoint-url", c.d.endpoint, "--role-arn", arn, "--role-session-name", "by-hand", "--output", "json").Output()
	if err != nil {
		c.t.Fatalf("assume-role: %v: %s", err, stderrOf(err))
	}
	var answer struct {
		AssumedRoleUser struct{ Arn string }
		Credentials     struct{ AccessKeyId, SecretAccessKey, SessionToken string } //nolint:revive // AWS's names
	}
	if err := json.Unmarshal(out, &answer); err != nil {
		c.t.Fatal(err)
	}
	c.is(answer.AssumedRoleUser.Arn, "arn:aws:sts::123456789012:assumed-role/reader/by-hand")
	k := answer.Credentials
	c.d = c.d.as(map[string]string{"AWS_ACCESS_KEY_ID": k.AccessKeyId, "AWS_SECRET_ACCESS_KEY": k.SecretAccessKey, "AWS_SESSION_TOKEN": k.SessionToken})
	c.ok("create-secret", "--name", "brief", "--secret-string", "by hand")
	c.refused("(AccessDeniedException)", "get-secret-value", "--secret-id", "cli/b")
	if !c.knowsVariables() {
		return
	}
	c.d = c.d.as(c.d.profile(user, arn))
	c.is(c.text("SecretString", "get-secret-value", "--secret-id", "brief"), "by hand")
	c.refused("User: arn:aws:sts::123456789012:assumed-role/reader/pass is not authorized", "get-secret-value", "--secret-id", "cli/b")
}

var cliVersion = regexp.MustCompile(`^aws-cli/(\d+)\.(\d+)\.`)

// knowsVariables reports whether the command line minds AWS_ENDPOINT_URL_STS.
func (c *awsCLI) knowsVariables() bool {
	m := cliVersion.FindStringSubmatch(c.version())
	if m == nil {
		c.t.Fatalf("version %q", c.version())
	}
	minor := must(strconv.Atoi(m[2]))
	return m[1] == "1" && minor >= 29 || m[1] == "2" && minor >= 13
}

func stderrOf(err error) []byte {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.Stderr
	}
	return nil
}

type awsCLI struct {
	t    *testing.T
	d    *apiServer
	path string
}

func (c *awsCLI) version() string {
	out, err := c.d.tool(c.path, "--version").CombinedOutput()
	if err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

// call runs an operation. Command lines from before July 2023 know the endpoint
// only by its flag.
func (c *awsCLI) call(args ...string) (stdout, stderr string, err error) {
	cmd := c.d.tool(c.path, append([]string{"secretsmanager", "--endpoint-url", c.d.endpoint}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

// text is what an operation answers, by a query.
func (c *awsCLI) text(query string, args ...string) string {
	c.t.Helper()
	out, errOut, err := c.call(append(args, "--query", query, "--output", "text")...)
	if err != nil {
		c.t.Fatalf("%q: %v: %s", args, err, errOut)
	}
	return strings.TrimSuffix(out, "\n")
}

func (c *awsCLI) ok(args ...string) map[string]any {
	c.t.Helper()
	out, errOut, err := c.call(append(args, "--output", "json")...)
	if err != nil {
		c.t.Fatalf("%q: %v: %s", args, err, errOut)
	}
	var answer map[string]any
	if out != "" {
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			c.t.Fatalf("%q: %v", args, err)
		}
	}
	return answer
}

// refused is an operation that must be refused with these words.
func (c *awsCLI) refused(words string, args ...string) {
	c.t.Helper()
	_, errOut, err := c.call(args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || !strings.Contains(errOut, words) {
		c.t.Errorf("%q: %v: %s\nwant %s", args, err, errOut, words)
	}
}

func (c *awsCLI) is(got, want string) {
	c.t.Helper()
	if got != want {
		c.t.Errorf("got %q, want %q", got, want)
	}
}

func (c *awsCLI) brief() {
	c.ok("create-secret", "--name", "brief", "--secret-string", "ö")
	c.is(c.text("[SecretString,VersionStages[0]]", "get-secret-value", "--secret-id", "brief"), "ö\tAWSCURRENT")
	c.refused("(ResourceNotFoundException) when calling the GetSecretValue operation: Secrets Manager can't find the specified secret.", "get-secret-value", "--secret-id", "none")
	c.ok("delete-secret", "--secret-id", "brief", "--force-delete-without-recovery")
}

func (c *awsCLI) values() {
	const value = `{"username":"app","password":"pa ss'w\"ö"}`
	arn := c.text("ARN", "create-secret", "--name", "cli/app", "--description", "the shop", "--secret-string", value, "--tags", "Key=team,Value=shop")
	if !regexp.MustCompile(`^arn:aws:secretsmanager:us-east-1:123456789012:secret:cli/app-[A-Za-z0-9]{6}$`).MatchString(arn) {
		c.t.Errorf("ARN %s", arn)
	}
	c.is(c.text("SecretString", "get-secret-value", "--secret-id", "cli/app"), value)
	c.is(c.text("SecretString", "get-secret-value", "--secret-id", arn), value)
	first := c.text("VersionId", "get-secret-value", "--secret-id", "cli/app")

	blob := filepath.Join(c.d.dir, "blob")
	if err := os.WriteFile(blob, []byte{0, 255, 10, 13, 128}, 0o600); err != nil {
		c.t.Fatal(err)
	}
	c.is(c.text("VersionStages", "put-secret-value", "--secret-id", "cli/app", "--secret-binary", "fileb://"+blob), "AWSCURRENT")
	c.is(c.text("SecretBinary", "get-secret-value", "--secret-id", "cli/app"), "AP8KDYA=")
	c.is(c.text("SecretString", "get-secret-value", "--secret-id", "cli/app", "--version-stage", "AWSPREVIOUS"), value)
	second := c.text("VersionId", "get-secret-value", "--secret-id", "cli/app")
	c.ok("update-secret-version-stage", "--secret-id", "cli/app", "--version-stage", "AWSCURRENT", "--move-to-version-id", first, "--remove-from-version-id", second)
	c.is(c.text("VersionId", "get-secret-value", "--secret-id", "cli/app"), first)
	c.is(c.text("length(Versions)", "list-secret-version-ids", "--secret-id", "cli/app"), "2")
	c.is(c.text("VersionId", "update-secret", "--secret-id", "cli/app", "--description", "another"), "None")
	c.is(c.text("length(RandomPassword)", "get-random-password", "--password-length", "40", "--exclude-punctuation"), "40")

	c.refused("(ResourceNotFoundException)", "get-secret-value", "--secret-id", "cli/app", "--region", "eu-west-1")
	c.refused("(ResourceExistsException) when calling the CreateSecret operation: The operation failed because the secret cli/app already exists.", "create-secret", "--name", "cli/app", "--secret-string", "x")
	c.refused("(ValidationException)", "create-secret", "--name", "a name", "--secret-string", "x")
}

func (c *awsCLI) listing() {
	for _, n := range []string{"cli/b", "other"} {
		c.ok("create-secret", "--name", n, "--secret-string", n)
	}
	c.is(c.text("sort(SecretList[].Name)", "list-secrets", "--filters", "Key=name,Values=cli/"), "cli/app\tcli/b")
	c.is(c.text("SecretList[].Name", "list-secrets", "--filters", "Key=tag-key,Values=team"), "cli/app")
	// The command line pages by itself, one secret at a time.
	all := strings.Fields(c.text("SecretList[].Name", "list-secrets", "--page-size", "1"))
	slices.Sort(all)
	c.is(strings.Join(all, " "), "cli/app cli/b other")
}

func (c *awsCLI) metadata() {
	c.ok("tag-resource", "--secret-id", "cli/app", "--tags", "Key=tier,Value=1", "Key=team,Value=web")
	c.ok("untag-resource", "--secret-id", "cli/app", "--tag-keys", "tier")
	d := c.ok("describe-secret", "--secret-id", "cli/app")
	want := []any{map[string]any{"Key": "team", "Value": "web"}}
	if got, _ := json.Marshal(d["Tags"]); string(got) != string(must(json.Marshal(want))) || d["Description"] != "another" {
		c.t.Errorf("described: %v", d)
	}
	const policy = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"secretsmanager:GetSecretValue","Resource":"*"}]}`
	c.ok("put-resource-policy", "--secret-id", "cli/app", "--resource-policy", policy, "--block-public-policy")
	c.is(c.text("ResourcePolicy", "get-resource-policy", "--secret-id", "cli/app"), policy)
	c.ok("delete-resource-policy", "--secret-id", "cli/app")

	c.ok("replicate-secret-to-regions", "--secret-id", "cli/app", "--add-replica-regions", "Region=eu-west-1")
	until(c.t, "the replica", func() bool {
		return c.text("ReplicationStatus[].[Region,Status]", "describe-secret", "--secret-id", "cli/app") == "eu-west-1\tInSync"
	})
	c.is(c.text("PrimaryRegion", "describe-secret", "--secret-id", "cli/app", "--region", "eu-west-1"), "us-east-1")
	c.refused("(InvalidParameterException)", "put-secret-value", "--secret-id", "cli/app", "--secret-string", "x", "--region", "eu-west-1")
	c.ok("remove-regions-from-replication", "--secret-id", "cli/app", "--remove-replica-regions", "eu-west-1")
	c.refused("(ResourceNotFoundException)", "describe-secret", "--secret-id", "cli/app", "--region", "eu-west-1")
}

func (c *awsCLI) deletion() {
	c.ok("delete-secret", "--secret-id", "cli/app", "--recovery-window-in-days", "7")
	c.refused("(InvalidRequestException) when calling the GetSecretValue operation: You can't perform this operation on the secret because it was marked for deletion.", "get-secret-value", "--secret-id", "cli/app")
	c.ok("restore-secret", "--secret-id", "cli/app")
	c.ok("delete-secret", "--secret-id", "cli/app", "--force-delete-without-recovery")
	c.refused("(ResourceNotFoundException)", "describe-secret", "--secret-id", "cli/app")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestBoto3: the SDK for Python; signed with the session credentials that a
// profile gets from `pawl access session`.
func TestBoto3(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		missing(t, "there is no python3 in PATH", false)
	}
	t.Run("dev", func(t *testing.T) { boto3(t, newDevServer(t), python) })
	t.Run("signed", func(t *testing.T) {
		d := newSignedServer(t)
		d.user("shop", "--policy", d.policy("shop", "py/"))
		boto3(t, d.as(d.credentialProcess("shop")), python)
	})
}

func boto3(t *testing.T, d *apiServer, python string) {
	t.Helper()
	if out, err := d.tool(python, "-c", "import boto3; print(boto3.__version__)").CombinedOutput(); err != nil {
		missing(t, "python3 has no boto3", false)
	} else {
		t.Logf("boto3 %s", bytes.TrimSpace(out))
	}
	cmd := d.tool(python, "-c", boto3Script)
	out := &screen{}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	if err := cmd.Wait(); err != nil || !strings.HasSuffix(out.String(), "all is well\n") {
		t.Errorf("%v: %s", err, out)
	}
}

const boto3Script = `
import datetime, os
import boto3
from botocore.exceptions import ClientError

c = boto3.client("secretsmanager", endpoint_url=os.environ["AWS_ENDPOINT_URL_SECRETS_MANAGER"])

made = c.create_secret(Name="py/app", SecretString="one", Description="d", Tags=[{"Key": "team", "Value": "shop"}])
assert made["Name"] == "py/app" and len(made["VersionId"]) == 36, made
got = c.get_secret_value(SecretId=made["ARN"])
assert got["SecretString"] == "one" and got["VersionStages"] == ["AWSCURRENT"], got
age = datetime.datetime.now(datetime.timezone.utc) - got["CreatedDate"]
assert abs(age.total_seconds()) < 60, age

blob = bytes(range(256))
c.put_secret_value(SecretId="py/app", SecretBinary=blob, VersionStages=["AWSCURRENT", "BLUE"])
assert c.get_secret_value(SecretId="py/app", VersionStage="BLUE")["SecretBinary"] == blob
assert c.get_secret_value(SecretId="py/app", VersionStage="AWSPREVIOUS")["SecretString"] == "one"

for n in range(25):
    c.create_secret(Name="py/many-%02d" % n, SecretString=str(n))
pages = list(c.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": ["py/many-"]}], PaginationConfig={"PageSize": 10}))
names = [s["Name"] for p in pages for s in p["SecretList"]]
assert names == ["py/many-%02d" % n for n in range(25)] and len(pages) == 3, (len(pages), names)
batch = c.batch_get_secret_value(SecretIdList=["py/many-03", "py/none"])
assert [v["SecretString"] for v in batch["SecretValues"]] == ["3"], batch
assert batch["Errors"][0]["ErrorCode"] == "ResourceNotFoundException", batch

try:
    c.get_secret_value(SecretId="py/none")
    raise AssertionError("a secret that is not there was read")
except c.exceptions.ResourceNotFoundException as e:
    assert e.response["Error"]["Message"] == "Secrets Manager can't find the specified secret.", e
    assert e.response["ResponseMetadata"]["HTTPStatusCode"] == 400 and e.response["ResponseMetadata"]["RequestId"], e
try:
    c.put_secret_value(SecretId="py/app", SecretString="a", SecretBinary=b"b")
    raise AssertionError("two values were taken")
except c.exceptions.InvalidParameterException:
    pass
try:
    c.describe_secret(SecretId="x" * 2049)
    raise AssertionError("too long a name was taken")
except ClientError as e:
    assert e.response["Error"]["Code"] == "ValidationException", e

c.untag_resource(SecretId="py/app", TagKeys=["team"])
assert c.describe_secret(SecretId="py/app")["Tags"] == []
c.delete_secret(SecretId="py/app", ForceDeleteWithoutRecovery=True)
print("all is well")
`
