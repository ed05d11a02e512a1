package integration_test

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/config"
)

// newSignedServer starts a server as operators do: TLS by the certificate that
// `pawl init --tls` makes, and users and roles by `pawl access`. A client has no
// credentials until as gives it some. The server must end well with the test.
func newSignedServer(t testing.TB) *apiServer {
	t.Helper()
	g := newGuarded(t, "")
	d := &apiServer{site: g.site, guarded: g, endpoint: g.endpoint, process: g.daemon}
	var trust []string
	until(t, "the line for the certificate", func() bool {
		trust = trustLine.FindStringSubmatch(g.daemon.out.String())
		return trust != nil
	})
	d.vars = map[string]string{"AWS_CA_BUNDLE": trust[1], "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
	return d
}

var trustLine = regexp.MustCompile(`(?m)^export AWS_CA_BUNDLE=(\S+)$`)

// as is the server for a client with these variables beside those it has.
func (d *apiServer) as(vars map[string]string) *apiServer {
	other := *d
	other.vars = maps.Clone(d.vars)
	maps.Copy(other.vars, vars)
	return &other
}

// admin are the variables of a new administrator.
func (d *apiServer) admin() map[string]string {
	d.t.Helper()
	return d.user(fmt.Sprintf("admin-%d", d.process.logged()), "--administrator")
}

// user makes a user, and returns the variables of his access key.
func (d *apiServer) user(name string, args ...string) map[string]string {
	d.t.Helper()
	vars := exports(d.guarded.do(append([]string{"access", "create", name}, args...)...))
	for _, v := range []string{"AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_CONFIG_FILE"} {
		vars[v] = ""
	}
	return vars
}

// role makes a role that a user may assume, and that may do everything to the
// secrets whose names begin with one of these.
func (d *apiServer) role(name, by string, prefixes ...string) (arn string) {
	d.t.Helper()
	trust := d.guarded.policyFile(name+"-trust", `{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:user/`+by+`"},"Action":"sts:AssumeRole"}`)
	d.guarded.do("access", "create", name, "--role", "--trust", trust, "--policy", d.policy(name, prefixes...))
	return "arn:aws:iam::123456789012:role/" + name
}

// policy writes one that allows everything to the secrets whose names begin with
// one of these, and what is about no secret in particular.
func (d *apiServer) policy(file string, prefixes ...string) (path string) {
	d.t.Helper()
	statements := []string{
		allows("secretsmanager:ListSecrets", "*"), allows("secretsmanager:BatchGetSecretValue", "*"), allows("secretsmanager:GetRandomPassword", "*"),
	}
	for _, p := range prefixes {
		statements = append(statements, allows("secretsmanager:*", allSecrets+p+"*"))
	}
	return d.guarded.policyFile(file, strings.Join(statements, ","))
}

// profile are the variables of a client whose profile assumes a role by a user's
// access key.
func (d *apiServer) profile(user map[string]string, role string) map[string]string {
	d.t.Helper()
	return d.configured(fmt.Sprintf(`[profile base]
aws_access_key_id = %s
aws_secret_access_key = %s

[profile pass]
role_arn = %s
role_session_name = pass
source_profile = base
`, user["AWS_ACCESS_KEY_ID"], user["AWS_SECRET_ACCESS_KEY"], role))
}

// credentialProcess are the variables of a client whose profile has Pawl itself
// make sessions of a user.
func (d *apiServer) credentialProcess(user string) map[string]string {
	d.t.Helper()
	return d.configured(fmt.Sprintf("[profile pass]\ncredential_process = %s access session %s --json --config %s\n",
		d.bin, user, filepath.Join(d.dir, config.DefaultFile)))
}

func (d *apiServer) configured(text string) map[string]string {
	d.t.Helper()
	return map[string]string{
		"AWS_CONFIG_FILE": d.guarded.write("aws-config", text), "AWS_PROFILE": "pass",
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_SESSION_TOKEN": "",
	}
}
