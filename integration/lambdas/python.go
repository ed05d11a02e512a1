package lambdas

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

//go:embed python/worker.py
var worker []byte

// Rotation functions of the shape that AWS publishes, for PostgreSQL.
var (
	//go:embed python/postgres_single_user.py
	PostgresSingleUser []byte
	//go:embed python/postgres_alternating_users.py
	PostgresAlternatingUsers []byte
)

// FindPython returns a python3 that has what rotation functions import: boto3
// and PyGreSQL. The error says how to get one.
func FindPython() (string, error) {
	for _, p := range []string{"/usr/bin/python3", "python3"} {
		if exec.Command(p, "-c", "import boto3, pgdb").Run() == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("no python3 with boto3 and PyGreSQL: run scripts/servers.sh python")
}

// Python starts a Python program that has a lambda_handler, once, as Lambda
// keeps a function warm. It gets one event at a time, and env as its
// environment. It ends with the test.
func Python(t testing.TB, python string, source []byte, env ...string) Func {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string][]byte{"worker.py": worker, "lambda_function.py": source} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(python, filepath.Join(dir, "worker.py"))
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir}, env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	lines := bufio.NewReader(out)
	var one sync.Mutex
	return func(_ context.Context, payload []byte) ([]byte, error) {
		one.Lock()
		defer one.Unlock()
		if _, err := io.WriteString(in, string(payload)+"\n"); err != nil {
			return nil, err
		}
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil, fmt.Errorf("the Python program ended: %w", err)
		}
		var answer struct {
			Type, Message string
			Result        json.RawMessage
		}
		if err := json.Unmarshal(line, &answer); err != nil {
			return nil, err
		}
		if answer.Type != "" {
			return nil, &Failure{answer.Type, answer.Message}
		}
		return answer.Result, nil
	}
}
