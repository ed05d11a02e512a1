package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/rogpeppe/go-internal/testscript"
)

// served is a `pawl serve` that runs beside a script.
type served struct {
	cmd      *exec.Cmd
	endpoint string // http://127.0.0.1:PORT
	out      bytes.Buffer
	err      heard
	read     chan struct{} // closed when out has been read to its end
}

// startServe starts it and waits for the line that says where it listens.
func startServe(dir string, env []string, args ...string) (*served, error) {
	var bin string
	for _, kv := range env {
		if path, ok := strings.CutPrefix(kv, "PATH="); ok {
			for _, d := range filepath.SplitList(path) {
				if f := filepath.Join(d, "pawl"); bin == "" && isFile(f) {
					bin = f
				}
			}
		}
	}
	s := &served{cmd: exec.Command(bin, append([]string{"serve"}, args...)...), read: make(chan struct{})}
	s.cmd.Dir, s.cmd.Env, s.cmd.Stderr = dir, env, &s.err
	out, err := s.cmd.StdoutPipe()
	if err == nil {
		err = s.cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	lines := bufio.NewReader(out)
	first := make(chan string, 1)
	go func() {
		defer close(s.read)
		line, _ := lines.ReadString('\n')
		s.out.WriteString(line)
		first <- line
		_, _ = io.Copy(&s.out, lines)
	}()
	select {
	case line := <-first:
		if _, url, ok := strings.Cut(strings.TrimSpace(line), "export AWS_ENDPOINT_URL_SECRETS_MANAGER="); ok {
			s.endpoint = url
			return s, nil
		}
	case <-time.After(30 * time.Second):
	}
	_ = s.cmd.Process.Kill()
	_, _ = s.stop()
	return nil, fmt.Errorf("pawl serve does not say where it listens: %s", s.err.String())
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// stop ends it by SIGTERM and returns its exit code, -1 if it had to be killed.
func (s *served) stop() (code int, err error) {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(40*time.Second, func() { _ = s.cmd.Process.Kill() })
	defer kill.Stop()
	<-s.read
	err = s.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return s.cmd.ProcessState.ExitCode(), err
}

// scriptServe: serve ARGS… starts `pawl serve ARGS…` and sets ENDPOINT. It runs
// until `stopped`, or else to the script's end.
func scriptServe(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	if s.served != nil {
		ts.Fatalf("it is served already")
	}
	var env []string
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "GORACE", "PGPASSWORD", "PGHOST"} {
		env = append(env, name+"="+ts.Getenv(name))
	}
	p, err := startServe(ts.MkAbs("."), env, args...)
	ts.Check(err)
	s.served = p
	ts.Setenv("ENDPOINT", p.endpoint)
	_, addr, _ := strings.Cut(p.endpoint, "://")
	ts.Setenv("ADDR", addr)
	ts.Defer(func() {
		if s.served == p {
			_, _ = p.stop()
		}
	})
}

// scriptStopped: stopped ends what serve has started, which must have exit code
// 0, and writes what it printed to serve.out and serve.err.
func scriptStopped(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	p := s.served
	s.served = nil
	code, err := p.stop()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("serve.out"), p.out.Bytes(), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs("serve.err"), []byte(p.err.String()), 0o600))
	s.shown.WriteString(p.out.String() + p.err.String())
	if code != 0 {
		ts.Fatalf("pawl serve ended with exit code %d: %s", code, p.err.String())
	}
}

// scriptFetch: fetch PATH prints the status and body of a GET at the server.
func scriptFetch(ts *testscript.TestScript, neg bool, args []string) {
	c := http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
	defer c.CloseIdleConnections()
	resp, err := c.Get(stateOf(ts).served.endpoint + args[0])
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "%d %s", resp.StatusCode, body)
}

// rotationBy turns on a secret's rotation by a function of Pawl's, through AWS's
// own operation.
func rotationBy(ctx context.Context, ts *testscript.TestScript, function, secret string, now bool) (*secretsmanager.Client, string) {
	c := secretsmanager.New(secretsmanager.Options{
		BaseEndpoint: aws.String(stateOf(ts).served.endpoint), Region: "us-east-1",
		Credentials: credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
	out, err := c.RotateSecret(ctx, &secretsmanager.RotateSecretInput{
		SecretId: &secret, RotationLambdaARN: aws.String("arn:aws:lambda:us-east-1:123456789012:function:" + function),
		RotationRules: &types.RotationRulesType{ScheduleExpression: aws.String("rate(30 days)")}, RotateImmediately: &now,
	})
	ts.Check(err)
	return c, *out.VersionId
}

// scriptRotateLater: rotate-later FUNCTION SECRET turns on a secret's rotation and
// has none begin.
func scriptRotateLater(ts *testscript.TestScript, neg bool, args []string) {
	rotationBy(context.Background(), ts, args[0], args[1], false)
}

// scriptRotateBy: rotate-by FUNCTION SECRET turns on a secret's rotation and waits
// for the first one.
func scriptRotateBy(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, version := rotationBy(ctx, ts, args[0], args[1], true)
	for {
		d, err := c.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &args[1]})
		ts.Check(err)
		labels := d.VersionIdsToStages[version]
		if slices.Contains(labels, "AWSCURRENT") && !slices.Contains(labels, "AWSPENDING") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}
