package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/pawlhq/pawl/server"
)

// scriptExports: exports sets the variables that the last standard output sets in
// a shell.
func scriptExports(ts *testscript.TestScript, neg bool, args []string) {
	found := regexp.MustCompile(`(?m)[ ](AWS_[A-Z_]+)=(\S+)`).FindAllStringSubmatch(ts.ReadFile("stdout"), -1)
	if len(found) == 0 {
		ts.Fatalf("nothing is exported")
	}
	for _, m := range found {
		ts.Setenv(m[1], m[2])
	}
}

// scriptAWS: aws ARGS… runs the AWS command line at the server, with nothing of
// AWS's but what the script has set.
func scriptAWS(ts *testscript.TestScript, neg bool, args []string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	path, err := exec.LookPath("aws")
	ts.Check(err)
	cmd := exec.CommandContext(ctx, path, append(args, "--endpoint-url", ts.Getenv("ENDPOINT"))...)
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "AWS_") && !strings.HasPrefix(strings.ToLower(kv), "http") && !strings.HasPrefix(kv, "REQUESTS_CA_BUNDLE") {
			cmd.Env = append(cmd.Env, kv)
		}
	}
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION",
		"AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_EC2_METADATA_DISABLED"} {
		if v := ts.Getenv(name); v != "" {
			cmd.Env = append(cmd.Env, name+"="+v)
		}
	}
	cmd.Env = append(cmd.Env, "AWS_MAX_ATTEMPTS=1")
	cmd.Stdout, cmd.Stderr = ts.Stdout(), ts.Stderr()
	if err := cmd.Run(); (err != nil) != neg {
		ts.Fatalf("aws: %v", err)
	}
}

// scriptNoAWS fails where the AWS command line must be there.
func scriptNoAWS(ts *testscript.TestScript, neg bool, args []string) {
	if os.Getenv("CI") != "" {
		ts.Fatalf("there is no AWS command line (aws) in PATH: run `make servers`")
	}
}

// scriptTakenUp: taken-up FILE waits until the server shows the certificate in a
// file.
func scriptTakenUp(ts *testscript.TestScript, neg bool, args []string) {
	block, _ := pem.Decode([]byte(ts.ReadFile(args[0])))
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		var shown []byte
		conn, err := tls.Dial("tcp", ts.Getenv("ADDR"), &tls.Config{InsecureSkipVerify: true, VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			shown = raw[0]
			return nil
		}})
		ts.Check(err)
		conn.Close()
		if bytes.Equal(shown, block.Bytes) {
			return
		}
	}
	ts.Fatalf("the server does not show it")
}

// TestURL: clients are told an address that its certificate is good for.
func TestURL(t *testing.T) {
	for _, c := range []struct {
		listens string
		names   string // of the certificate; "" = plain HTTP
		want    string
	}{
		{"127.0.0.1", "", "http://127.0.0.1:PORT"},
		{"0.0.0.0", "", "http://127.0.0.1:PORT"},
		{"127.0.0.1", "localhost 127.0.0.1", "https://127.0.0.1:PORT"},
		{"127.0.0.1", "a.example.com", "https://a.example.com:PORT"},
		{"127.0.0.1", "*.example.com a.example.com", "https://a.example.com:PORT"},
		{"127.0.0.1", "*.example.com", "https://127.0.0.1:PORT"},
		{"0.0.0.0", "b.example.com localhost 127.0.0.1", "https://b.example.com:PORT"},
		{"0.0.0.0", "127.0.0.1", "https://127.0.0.1:PORT"},
	} {
		l, err := net.Listen("tcp", c.listens+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		at := &listening{Listener: l}
		if c.names != "" {
			dir := t.TempDir()
			cert, key, err := server.SelfSigned(strings.Fields(c.names), time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(dir+"/c", append(cert, key...), 0o600); err != nil {
				t.Fatal(err)
			}
			if at.tls, err = server.NewTLS(server.TLSConfig{CertFile: dir + "/c", KeyFile: dir + "/c"}); err != nil {
				t.Fatal(err)
			}
		}
		_, port, _ := net.SplitHostPort(l.Addr().String())
		if got := at.url(); got != strings.Replace(c.want, "PORT", port, 1) {
			t.Errorf("%s with %q: %s, want %s", c.listens, c.names, got, c.want)
		}
	}
}

func TestShellWord(t *testing.T) {
	for in, want := range map[string]string{
		"/etc/pawl/pawl-tls.crt": "/etc/pawl/pawl-tls.crt",
		"/home/a b/x":            "'/home/a b/x'",
		"/it's/$HOME":            `'/it'\''s/$HOME'`,
		"":                       "''",
	} {
		if got := shellWord(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
		out, err := exec.Command("sh", "-c", "printf %s "+shellWord(in)).Output()
		if err != nil || string(out) != in {
			t.Errorf("a shell reads %q as %q, %v", in, out, err)
		}
	}
}
