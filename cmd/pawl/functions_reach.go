package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"strings"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server"
	"github.com/pawlhq/pawl/strategies"
	"github.com/pawlhq/pawl/strategies/function"
)

// reach is how a function on this machine reaches the Secrets Manager API.
type reach struct {
	url    string
	caFile string // certificate to trust; "" = those that everybody trusts
	dev    bool   // any credentials will do
}

// variables are reach as AWS's SDKs know it, and SECRETS_MANAGER_ENDPOINT as the
// functions that AWS publishes do.
func (r *reach) variables(region string) []string {
	env := []string{
		"AWS_REGION=" + region, "AWS_DEFAULT_REGION=" + region,
		"SECRETS_MANAGER_ENDPOINT=" + r.url, "AWS_ENDPOINT_URL_SECRETS_MANAGER=" + r.url,
	}
	if r.caFile != "" {
		env = append(env, "AWS_CA_BUNDLE="+r.caFile)
	}
	return env
}

// reach finds the API: the one that this process serves, or else the one at
// server.listen, where a daemon may serve the same store. Errors are Invalid: there
// is none.
func (f *functions) reach(ctx context.Context) (*reach, error) {
	cfg := f.now.Load().cfg
	if r := f.served.Load(); r != nil {
		return r, nil
	}
	if r := listeningAt(ctx, cfg); r != nil {
		return r, nil
	}
	return nil, secrets.Errorf(secrets.Invalid, "the rotation function reaches its secret through the API, and nothing serves it here").
		WithHint("run pawl serve with server.listen set in %s, and have it rotate: pawl rotate NAME --endpoint URL", cfg.Path)
}

// listeningAt is the API at server.listen, nil where nobody listens there.
func listeningAt(ctx context.Context, cfg *config.Config) *reach {
	at, err := net.ResolveTCPAddr("tcp", cfg.Server.Listen)
	if cfg.Server.Listen == "" || err != nil {
		return nil
	}
	d := net.Dialer{Timeout: 2 * time.Second}
	c, err := d.DialContext(ctx, "tcp", dialled(at).String())
	if err != nil {
		return nil
	}
	c.Close()
	t := cfg.Server.TLS
	if t == nil {
		return &reach{url: urlOf(at, nil)}
	}
	shown, err := server.NewTLS(server.TLSConfig{CertFile: t.CertFile, KeyFile: t.KeyFile})
	if err != nil {
		return nil
	}
	return reachAt(at, shown, cfg)
}

// reachAt is the API at an address, by its certificate if it has one.
func reachAt(at *net.TCPAddr, t *server.TLS, cfg *config.Config) *reach {
	r := &reach{url: urlOf(at, t)}
	if t != nil && t.SelfSigned() {
		r.caFile = cfg.Server.TLS.CertFile
	}
	return r
}

// passedOn are the variables of its own that Pawl leaves to a command. What else
// it has may be its own secrets.
var passedOn = []string{"PATH", "HOME", "TMPDIR", "LANG"}

// usualPath is where programs are looked for when nobody says.
const usualPath = "/usr/local/bin:/usr/bin:/bin"

// environment is all the environment that a command gets for one step.
func (f *functions) environment(ctx context.Context, named config.Function, e function.Event) ([]string, error) {
	var arn secrets.ARN
	if err := arn.UnmarshalText([]byte(e.SecretID)); err != nil {
		return nil, err
	}
	at, err := f.reach(ctx)
	if err != nil {
		return nil, err
	}
	var env []string
	for _, name := range passedOn {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		} else if name == "PATH" {
			env = append(env, name+"="+usualPath)
		}
	}
	env = append(env, at.variables(arn.Region)...)
	switch {
	case at.dev:
		env = append(env, "AWS_ACCESS_KEY_ID="+devKey(arn.Account), "AWS_SECRET_ACCESS_KEY=test")
	case named.Role != "":
		vars, err := f.session(ctx, named, arn)
		if err != nil {
			return nil, err
		}
		env = append(env, vars...)
	}
	for _, v := range named.Environment {
		if !strings.Contains(v, "=") {
			value, ok := os.LookupEnv(v)
			if !ok {
				return nil, secrets.Errorf(secrets.Invalid, "the function %s is to get the environment variable %s, which pawl itself does not have", named.Name, v).
					WithHint("set it where pawl is started, or take it out of functions.named")
			}
			v += "=" + value
		}
		env = append(env, v)
	}
	return env, nil
}

// devKey is an access key by which a development server takes one to be of an
// account.
func devKey(account string) string {
	if account != access.DevAccount {
		return account
	}
	return "test"
}

// shortestSession is how long a session lasts at least.
const shortestSession = 15 * time.Minute

// session are the credentials of the function's role for one step: for the four
// steps on this secret, and to read the superuser's if that is paired with it.
func (f *functions) session(ctx context.Context, named config.Function, arn secrets.ARN) ([]string, error) {
	r, err := f.app.people.Find(ctx, named.Role)
	if err == nil && r.Kind != principals.Role {
		err = secrets.Errorf(secrets.Invalid, "%s is a user, not a role", named.Role).
			WithHint("make one: pawl access create NAME --role --trust trust.json --policy policy.json")
	}
	if err != nil {
		return nil, secrets.Prefixed(err, "the role of the function %s", named.Name)
	}
	superuser, err := f.superuser(ctx, arn)
	if err != nil {
		return nil, err
	}
	key, err := f.app.people.Session(ctx, r.ARN(), principals.NewSession{
		Name:     firstBytes("pawl-"+named.Name, 64),
		Duration: max(shortestSession, named.Timeout),
		Policy:   fourSteps(arn, superuser),
	})
	if err != nil {
		return nil, secrets.Prefixed(err, "the role of the function %s", named.Name)
	}
	return []string{
		"AWS_ACCESS_KEY_ID=" + key.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + key.Secret.Reveal(), "AWS_SESSION_TOKEN=" + key.SessionToken.Reveal(),
	}, nil
}

func firstBytes(s string, n int) string { return s[:min(n, len(s))] }

// superuser returns the ARN of the superuser's secret that a secret names as its
// masterarn, zero where there is none or the operator has not paired the two: then
// the function will be told that it may not read it. Errors: Transient.
func (f *functions) superuser(ctx context.Context, arn secrets.ARN) (secrets.ARN, error) {
	current, _, err := f.app.svc.CredentialsNear(ctx, arn, arn.String())
	id := current.MasterARN()
	if err != nil || id == "" {
		return secrets.ARN{}, passing(err) // a value that is no JSON names nobody
	}
	_, super, err := f.app.svc.CredentialsNear(ctx, arn, id)
	if err != nil {
		return secrets.ARN{}, passing(err)
	}
	pairs := strategies.Superusers{Pairings: f.now.Load().cfg.Superusers, Every: f.app.steps.everySuperuser}
	if _, ok := pairs.Paired(arn, super); !ok {
		return secrets.ARN{}, nil
	}
	return super, nil
}

// passing leaves of errors those that waiting may cure.
func passing(err error) error {
	if kind := secrets.KindOf(err); err != nil && (kind == secrets.Transient || kind == secrets.Unknown) {
		return err
	}
	return nil
}

// fourSteps is the policy of a session that rotates one secret.
// Source: AWS Secrets Manager user guide, "Permissions for rotation".
func fourSteps(secret, superuser secrets.ARN) string {
	type statement struct {
		Effect, Resource string
		Action           []string
	}
	allow := func(on string, actions ...string) statement {
		s := statement{Effect: "Allow", Resource: on}
		for _, a := range actions {
			s.Action = append(s.Action, "secretsmanager:"+a)
		}
		return s
	}
	all := []statement{
		allow(secret.String(), "DescribeSecret", "GetSecretValue", "PutSecretValue", "UpdateSecretVersionStage"),
		allow("*", "GetRandomPassword"),
	}
	if superuser != (secrets.ARN{}) {
		all = append(all, allow(superuser.String(), "GetSecretValue"))
	}
	text, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": all})
	if err != nil {
		panic(err) // strings alone
	}
	return string(text)
}
