package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// The operations of Secrets Manager, by the names that its protocol has for them.
const (
	opDescribe = "DescribeSecret"
	opValue    = "GetSecretValue"
	opList     = "ListSecrets"
	opVersions = "ListSecretVersionIds"
	opPut      = "PutSecretValue"
	opStage    = "UpdateSecretVersionStage"
	opTag      = "TagResource"
	opUntag    = "UntagResource"
)

// pawlIntent is secrets.Intent by the name it has at AWS.
const pawlIntent = "pawl:intent"

// cloud is a Pawl behind signatures and policies that stands for AWS Secrets
// Manager, with a gate of ours in front of it, and a database whose users' secrets
// are there. Who rotates them has no more rights than docs/aws.md publishes.
type cloud struct {
	*guarded
	gate *gate
	db   *workload.Database
	sdk  *secretsmanager.Client // the administrator's, past the gate
	user aws.Credentials        // who rotates
	said *screen                // all that commands printed
}

func newCloud(t *testing.T, name string) *cloud {
	t.Helper()
	c := &cloud{db: database(t, servers.AnyPostgres, name), guarded: newGuarded(t, ""), said: &screen{}}
	c.gate = newGate(t, c.guarded)
	c.sdk = c.as(c.admin, nil)
	c.user = c.enrol("rotator", publishedRights(t))
	t.Cleanup(func() { c.tellNothing(t) })
	return c
}

// publishedRights are the statements of the policy that docs/aws.md publishes.
func publishedRights(t *testing.T) string {
	t.Helper()
	var all []json.RawMessage
	for _, s := range publishedPolicy(t) {
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	return string(bytes.Join(rawTexts(all), []byte(",")))
}

func rawTexts(all []json.RawMessage) (out [][]byte) {
	for _, r := range all {
		out = append(out, r)
	}
	return out
}

// statement is one of a policy.
type statement struct {
	Sid, Effect string
	Action      any
	Resource    any
	Condition   any `json:",omitempty"`
}

// publishedPolicy is the first policy in docs/aws.md. Its account and region are
// those of the sites here, its secrets those with names like prod/app/db, and the
// superuser's is root/db.
func publishedPolicy(t *testing.T) []statement {
	t.Helper()
	var doc struct{ Statement []statement }
	for _, b := range blocks(t, "docs/aws.md") {
		if b.kind != "json" {
			continue
		}
		if err := json.Unmarshal([]byte(b.text), &doc); err != nil {
			t.Fatalf("docs/aws.md:%d: %v", b.line, err)
		}
		return doc.Statement
	}
	t.Fatal("docs/aws.md has no policy")
	return nil
}

// elsewhere is a folder on another machine: nothing but a configuration with AWS as
// the store, which ends with these lines, and the rotator's credentials.
func (c *cloud) elsewhere(t testing.TB, lines string) *site {
	t.Helper()
	return c.elsewhereAs(t, c.user, c.gate.url, lines)
}

// elsewhereAs is elsewhere with others' credentials, and another endpoint.
func (c *cloud) elsewhereAs(t testing.TB, who aws.Credentials, endpoint, lines string) *site {
	t.Helper()
	dir := t.TempDir()
	s := &site{
		pawl: &pawl{t: t, store: c.store, svc: c.svc}, dir: dir, bin: c.bin,
		env: append(variables(who), "HOME="+dir),
	}
	store := fmt.Sprintf("store: {aws: {region: %s, endpoint: %q, discover: true}}\n", homeRegion, endpoint)
	if err := os.WriteFile(s.file(), []byte(store+lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// variables are credentials as an environment has them.
func variables(who aws.Credentials) []string {
	var out []string
	for name, v := range map[string]string{"AWS_ACCESS_KEY_ID": who.AccessKeyID, "AWS_SECRET_ACCESS_KEY": who.SecretAccessKey, "AWS_SESSION_TOKEN": who.SessionToken} {
		if v != "" {
			out = append(out, name+"="+v)
		}
	}
	return out
}

// at runs a command in a site; what it prints is looked through in the end.
func (c *cloud) at(s *site, args ...string) result {
	s.t.Helper()
	r := s.cli(args...)
	fmt.Fprintln(c.said, r.out, r.err)
	return r
}

// background is a context that also lasts while a test cleans up.
func (c *cloud) background() context.Context { return context.WithoutCancel(c.t.Context()) }

// tellNothing checks that no password that any secret ever had is in what commands
// printed, or in a tag.
func (c *cloud) tellNothing(t *testing.T) {
	said := c.said.String() + c.daemon.err.String()
	in := &secretsmanager.ListSecretsInput{}
	for {
		out, err := c.sdk.ListSecrets(c.background(), in)
		if err != nil {
			t.Error(err)
			return
		}
		for _, s := range out.SecretList {
			all := said
			for _, tag := range s.Tags {
				all += "\n" + *tag.Value
			}
			if i, found := contains(all, c.passwords(*s.Name)); found {
				t.Errorf("password %d of %s is told", i, *s.Name)
			}
		}
		if out.NextToken == nil {
			return
		}
		in.NextToken = out.NextToken
	}
}

// passwords are those of all versions of a secret.
func (c *cloud) passwords(name string) (out []string) {
	c.t.Helper()
	in := service.ListSecretVersionIDsInput{SecretID: name, IncludeDeprecated: true}
	for {
		all, err := c.svc.ListSecretVersionIDs(c.background(), in)
		if err != nil {
			c.t.Fatal(err)
		}
		for _, v := range all.Versions {
			got, err := c.svc.GetSecretValue(c.background(), service.GetSecretValueInput{SecretID: name, VersionID: v.VersionID})
			if err != nil {
				c.t.Fatal(err)
			}
			if cred, err := secrets.ParseCredentials(got.Value); err == nil && cred.Password().Reveal() != "" {
				out = append(out, cred.Password().Reveal())
			}
		}
		if in.NextToken = all.NextToken; in.NextToken == "" {
			return out
		}
	}
}

// tagged makes a secret with tags, given as key and value by turns.
func (c *cloud) tagged(name string, v secrets.Value, tags ...string) {
	c.t.Helper()
	in := &secretsmanager.CreateSecretInput{Name: &name, SecretString: aws.String(string(v.Reveal()))}
	for pair := range slices.Chunk(tags, 2) {
		in.Tags = append(in.Tags, types.Tag{Key: &pair[0], Value: &pair[1]})
	}
	if _, err := c.sdk.CreateSecret(c.background(), in); err != nil {
		c.t.Fatal(err)
	}
}

// tags are a secret's.
func (c *cloud) tags(name string) map[string]string {
	c.t.Helper()
	out, err := c.sdk.DescribeSecret(c.background(), &secretsmanager.DescribeSecretInput{SecretId: &name})
	if err != nil {
		c.t.Fatal(err)
	}
	tags := map[string]string{}
	for _, tag := range out.Tags {
		tags[*tag.Key] = *tag.Value
	}
	return tags
}

// resting checks that nothing is under way at a secret: no version is pending, and
// the intent is where no password is in doubt. The secret's AWSCURRENT logs in.
func (c *cloud) resting(t testing.TB, name string) {
	t.Helper()
	stages := c.stages(name)
	if intent := c.holder(name, pawlIntent); c.holder(name, secrets.Pending) != "" ||
		intent != "" && intent != c.holder(name, secrets.Current) && intent != c.holder(name, secrets.Previous) {
		t.Errorf("%s is not at rest: %v", name, stages)
	}
	if err := c.db.Login(c.background(), c.current(name)); err != nil {
		t.Errorf("%s: AWSCURRENT does not log in: %v", name, err)
	}
}

// rotates runs `pawl rotate NAME`, which must end well, and checks that it did.
func (c *cloud) rotates(s *site, name string, more ...string) result {
	s.t.Helper()
	before := c.holder(name, secrets.Current)
	r := c.at(s, append([]string{"rotate", name}, more...)...)
	if r.code != 0 {
		s.t.Errorf("rotate %s: exit code %d: %s%s", name, r.code, r.out, r.err)
	}
	if c.holder(name, secrets.Current) == before {
		s.t.Errorf("rotate %s: AWSCURRENT is what it was: %s", name, r.err)
	}
	c.resting(s.t, name)
	return r
}

// in is c for a subtest.
func (c *cloud) in(t *testing.T) *cloud {
	return &cloud{guarded: c.guarded.in(t), gate: c.gate, db: c.db, sdk: c.sdk, user: c.user, said: c.said}
}

// jsonOf runs a command that must print JSON, and reads that.
func jsonOf[T any](c *cloud, s *site, args ...string) (out T) {
	s.t.Helper()
	r := c.at(s, append(args, "--json")...)
	if err := json.Unmarshal([]byte(r.out), &out); err != nil {
		s.t.Fatalf("pawl %q: exit code %d: %v: %s%s", args, r.code, err, r.out, r.err)
	}
	return out
}

// logOf is where a daemon's log goes that costs the tests nothing.
func (c *cloud) logOf(s *site) *os.File {
	s.t.Helper()
	f, err := os.Create(filepath.Join(s.dir, "serve.log"))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		f.Close()
		if text, err := os.ReadFile(f.Name()); err == nil {
			_, _ = c.said.Write(text)
		}
	})
	return f
}

// writeProfile makes a profile `rotator` of the credentials that a site has.
func writeProfile(t testing.TB, s *site) {
	t.Helper()
	dir := filepath.Join(s.dir, ".aws")
	text := "[rotator]\n"
	for _, kv := range s.env {
		if name, v, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "AWS_ACCESS") || strings.HasPrefix(name, "AWS_SECRET") || strings.HasPrefix(name, "AWS_SESSION") {
			text += strings.ToLower(name) + " = " + v + "\n"
		}
	}
	s.env = slices.DeleteFunc(s.env, func(kv string) bool {
		return strings.Contains(kv, "_ACCESS_KEY") || strings.HasPrefix(kv, "AWS_SESSION")
	})
	if err := errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "credentials"), []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
}

func replaceIn(t testing.TB, file, old, with string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte(old)) {
		t.Fatalf("%s has no %q", file, old)
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte(old), []byte(with)), 0o600); err != nil {
		t.Fatal(err)
	}
}
