package integration_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/pawlhq/pawl/integration/lambdas"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
)

// steps is a rotation function in Go that does everything right: a PostgreSQL
// user changes his own password.
type steps struct{ sdk *secretsmanager.Client }

func (s steps) do(ctx context.Context, e lambdas.Event) error {
	current, err := s.read(ctx, e.SecretId, secrets.Current, nil)
	if err != nil {
		return err
	}
	pending, err := s.read(ctx, e.SecretId, secrets.Pending, &e.ClientRequestToken)
	if codeOf(err) == "ResourceNotFoundException" && e.Step == "createSecret" {
		value := current.With("password", "made for "+e.ClientRequestToken).Value()
		_, err = s.sdk.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{
			SecretId: &e.SecretId, ClientRequestToken: &e.ClientRequestToken,
			SecretString: aws.String(string(value.Reveal())), VersionStages: []string{secrets.Pending},
		})
		return err
	}
	if err != nil {
		return err
	}
	switch db := databaseOf(current); e.Step {
	case "createSecret":
		return nil
	case "setSecret":
		if db.Login(ctx, pending) == nil {
			return nil
		}
		return db.ExecAs(ctx, current, fmt.Sprintf("ALTER ROLE %s PASSWORD '%s'", pending.Username(), pending.Password().Reveal()))
	case "testSecret":
		return db.Login(ctx, pending)
	case "finishSecret":
		d, err := s.sdk.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &e.SecretId})
		if err != nil {
			return err
		}
		for version, stages := range d.VersionIdsToStages {
			if slices.Contains(stages, secrets.Current) && version != e.ClientRequestToken {
				_, err = s.sdk.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
					SecretId: &e.SecretId, VersionStage: aws.String(secrets.Current), MoveToVersionId: &e.ClientRequestToken, RemoveFromVersionId: &version,
				})
			}
		}
		return err
	}
	return errors.New("unknown step " + e.Step)
}

func (s steps) read(ctx context.Context, id, stage string, version *string) (secrets.Credentials, error) {
	out, err := s.sdk.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &id, VersionId: version, VersionStage: &stage})
	if err != nil {
		return secrets.Credentials{}, err
	}
	return secrets.ParseCredentials(secrets.Text(*out.SecretString))
}

// databaseOf is the database that a secret is for, as who has nothing but the
// secret knows it.
func databaseOf(c secrets.Credentials) *workload.Database {
	port, _ := c.Port(5432)
	return &workload.Database{Name: c.Database(), Server: &servers.Server{Kind: servers.Postgres15, Host: c.Host(), Port: port}}
}

// programVariable has the test's own binary be a rotation function that is a
// command: it does what the file NAME.does in its folder says. The variable's value
// is NAME.
const programVariable = "PAWL_TEST_FUNCTION"

// What a program does, besides the step or instead of it.
const (
	hangs     = "hangs"     // with a child, and writes both their numbers into NAME.pids
	hangsSet  = "hangs set" // the same, at setSecret
	idles     = "idles"
	floods    = "floods"     // prints 100 MB twice
	tells     = "tells"      // the password
	spies     = "spies"      // writes its environment into NAME.env
	trespass  = "trespass"   // writes what other requests were answered into NAME.answers
	waits     = "waits"      // for a vendor who is not there: says that it may pass
	elsewhere = "else/where" // the secret that it must not get at
	flood     = 100 << 20
)

// programMain is such a program's main. What it returns is the exit code.
func programMain(name string) int {
	var e lambdas.Event
	if err := json.NewDecoder(os.Stdin).Decode(&e); err != nil {
		return explain(err)
	}
	does, _ := os.ReadFile(name + ".does")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cfg, err := awsconfig.LoadDefaultConfig(ctx) // the environment has all it needs
	if err != nil {
		return explain(err)
	}
	s := steps{secretsmanager.NewFromConfig(cfg, func(o *secretsmanager.Options) { o.Retryer = aws.NopRetryer{} })}
	switch does := string(does); {
	case does == hangs, does == hangsSet && e.Step == "setSecret":
		child := exec.Command("sleep", "600")
		if err := child.Start(); err != nil {
			return explain(err)
		}
		// By renaming: whoever waits for the file finds both numbers in it.
		err := os.WriteFile(name+".new", fmt.Appendf(nil, "%d %d", os.Getpid(), child.Process.Pid), 0o600)
		if err = errors.Join(err, os.Rename(name+".new", name+".pids")); err != nil {
			return explain(err)
		}
		_ = child.Wait()
	case does == idles:
		return 0
	case does == floods && e.Step == "createSecret":
		line := []byte(strings.Repeat("x", 1<<20-1) + "\n")
		for _, w := range []io.Writer{os.Stdout, os.Stderr} {
			b := bufio.NewWriterSize(w, len(line))
			for range flood / len(line) {
				_, _ = b.Write(line)
			}
			_ = b.Flush()
		}
	case does == tells:
		c, err := s.read(ctx, e.SecretId, secrets.Current, nil)
		if err != nil {
			return explain(err)
		}
		fmt.Fprintf(os.Stderr, "the server does not take {\"password\": %q}\n", c.Password().Reveal())
		return 1
	case does == waits:
		return explain(&lambdas.Failure{Type: "ConnectionRefusedError", Message: "nobody listens at the vendor's"})
	case does == spies:
		if err := os.WriteFile(name+".env", []byte(strings.Join(os.Environ(), "\n")), 0o600); err != nil {
			return explain(err)
		}
	case does == trespass:
		out, _ := json.Marshal(s.trespass(ctx, e.SecretId))
		if err := os.WriteFile(name+".answers", out, 0o600); err != nil {
			return explain(err)
		}
	}
	if err := s.do(ctx, e); err != nil {
		return explain(err)
	}
	return 0
}

// trespass tries what is none of a rotation's business, and what is, and returns
// the exceptions that it got.
func (s steps) trespass(ctx context.Context, own string) map[string]string {
	tried := map[string]string{}
	try := func(what string, _ any, err error) { tried[what] = codeOf(err) }
	another := aws.String(elsewhere)
	read := func(id *string) (*secretsmanager.GetSecretValueOutput, error) {
		return s.sdk.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: id})
	}
	out, err := read(another)
	try("read another", out, err)
	described, err := s.sdk.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: another})
	try("describe another", described, err)
	put, err := s.sdk.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: another, SecretString: aws.String("mine")})
	try("write another", put, err)
	list, err := s.sdk.ListSecrets(ctx, &secretsmanager.ListSecretsInput{})
	try("list", list, err)
	gone, err := s.sdk.DeleteSecret(ctx, &secretsmanager.DeleteSecretInput{SecretId: &own})
	try("delete its own", gone, err)
	policy, err := s.sdk.PutResourcePolicy(ctx, &secretsmanager.PutResourcePolicyInput{SecretId: &own, ResourcePolicy: aws.String(policyOf(""))})
	try("let others in", policy, err)
	out, err = read(aws.String("root"))
	try("read the superuser's", out, err)
	put, err = s.sdk.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: aws.String("root"), SecretString: aws.String("mine")})
	try("write the superuser's", put, err)
	out, err = read(&own)
	try("read its own", out, err)
	random, err := s.sdk.GetRandomPassword(ctx, &secretsmanager.GetRandomPasswordInput{})
	try("make a password", random, err)
	return tried
}

// explain prints why, as a rotation function does that is a command.
func explain(err error) int {
	why := map[string]string{"errorMessage": err.Error()}
	var f *lambdas.Failure
	if errors.As(err, &f) {
		why = map[string]string{"errorType": f.Type, "errorMessage": f.Message}
	}
	out, _ := json.Marshal(why)
	fmt.Println(string(out))
	return 1
}
