package server

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// audited sends a request and returns its line in the log, which must be there
// when the answer is.
func (r *running) audited(raw string) (line string, a answer) {
	r.t.Helper()
	before := r.log.String()
	a = r.send(raw)
	line = r.log.String()[len(before):]
	if strings.Count(line, "\n") != 1 {
		r.t.Fatalf("not one line for one request: %q", line)
	}
	return strings.TrimSuffix(line, "\n"), a
}

func TestAudit(t *testing.T) {
	r := start(t, Config{}, nil)
	lines := func(raw string, parts ...string) {
		t.Helper()
		line, a := r.audited(raw)
		for _, part := range append(parts, "level=INFO msg=request verdict=", fmt.Sprintf(" status=%d ", a.StatusCode),
			" request="+a.Header.Get("X-Amzn-Requestid"), " took=", " remote=127.0.0.1:", fmt.Sprintf(" sent=%d ", len(a.body)), " tls=false") {
			if !strings.Contains(line+" ", part) {
				t.Errorf("no %q in %s", part, line)
			}
		}
	}
	const who = " principal=arn:aws:iam::123456789012:root key=AKID account=123456789012 region=us-east-1 "
	arn := r.create("prod/db")
	lines(post("GetSecretValue", signed, `{"SecretId":"prod/db"}`), "verdict=allowed action=secretsmanager:GetSecretValue secret=prod/db"+who+"status=200 ", " received=22 ")
	lines(post("DescribeSecret", signed, `{"SecretId":"`+arn+`"}`), " secret="+arn+" ")
	lines(post("CreateSecret", signed, `{"Name":"prod/db","ClientRequestToken":"`+strings.Repeat("x", 32)+`"}`),
		"verdict=failed action=secretsmanager:CreateSecret secret=prod/db"+who+"status=400 code=ResourceExistsException ")
	lines(post("GetSecretValue", "", `{"SecretId":"prod/db"}`), "verdict=refused action=secretsmanager:GetSecretValue status=400 code=MissingAuthenticationTokenException ")
	lines(post("GetSecretValue", strings.Replace(signed, ", Signature", ", Sign", 1), `{}`), "verdict=refused action=secretsmanager:GetSecretValue key=AKID status=400 code=IncompleteSignatureException ")
	lines(post("GetSecretValue", strings.Replace(signed, "AKID", "999999999999", 1), `{"SecretId":"`+arn+`"}`),
		"verdict=denied action=secretsmanager:GetSecretValue secret="+arn+" principal=arn:aws:iam::999999999999:root key=999999999999 ", " code=AccessDeniedException ")
	lines(strings.Replace(post("Nothing", signed, `{}`), "Nothing", "x\ty=z", 1), "verdict=failed action=unknown status=400 code=UnknownOperationException ")
	lines(post("GetSecretValue", signed+"Content-Encoding: x\r\n", strings.Repeat("x", maxBody+1)), "verdict=failed action=secretsmanager:GetSecretValue status=413 code=RequestEntityTooLargeException ")
	// What can't name a secret may be one.
	for _, id := range []string{canary + " ", `{\"password\":\"` + canary + `\"}`, canary + strings.Repeat("x", maxLogged), canary + "é", canary + `\n`} {
		lines(post("GetSecretValue", signed, `{"SecretId":"`+id+`"}`), " action=secretsmanager:GetSecretValue"+who+"status=400 code=")
	}
	// Nor is a key what can't be one. Both of these are the secret of a key, set in
	// the wrong place.
	for _, key := range []string{canary + "AlrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", canary + "AlrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY"} {
		lines(post("GetSecretValue", strings.Replace(signed, "AKID", key, 1), `{"SecretId":"prod/db"}`), " action=secretsmanager:GetSecretValue ")
	}
	quiet := start(t, Config{Log: slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelWarn}))}, nil)
	before := r.log.String()
	quiet.call("ListSecrets", `{}`)
	if after := r.log.String(); after != before {
		t.Errorf("logged though nobody listens: %s", after[len(before):])
	}
}

func TestAuditOfTLS(t *testing.T) {
	s := startTLS(t, nil)
	c, err := tls.Dial("tcp", s.addr, &tls.Config{RootCAs: s.ca.pool(), ServerName: "pawl.test"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, post("ListSecrets", signed, `{}`)); err != nil {
		t.Fatal(err)
	}
	if a, err := read(bufio.NewReader(c)); err != nil || a.StatusCode != 200 {
		t.Fatalf("%v %v", err, a)
	}
	if log := s.log.String(); !strings.Contains(log, "verdict=allowed action=secretsmanager:ListSecrets ") || !strings.Contains(log, " tls=true") {
		t.Errorf("%s", log)
	}
}

// A store that fails is no caller's fault, whoever calls.
func TestAuditOfWhatFails(t *testing.T) {
	r := start(t, Config{Service: openService(t, func(s service.Store) service.Store { return broken{s, secrets.Errorf(secrets.Transient, "busy")} })}, nil)
	r.send(post("DescribeSecret", signed, `{"SecretId":"s"}`))
	if log := r.log.String(); strings.Count(log, "\n") != 2 || !strings.Contains(log, "verdict=failed action=secretsmanager:DescribeSecret secret=s ") {
		t.Errorf("%s", log)
	}
}

func TestClaimedKeys(t *testing.T) {
	const scope = "/20240611/us-east-1/secretsmanager/aws4_request"
	for header, want := range map[string]string{
		"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE" + scope + ", SignedHeaders=host, Signature=00": "AKIAIOSFODNN7EXAMPLE",
		"AWS4-HMAC-SHA256 Credential=AKIA_.-" + scope:                                                     "AKIA_.-",
		"": "", "Bearer x": "", "Credential=": "", "Credential=/": "", "Credential=" + scope: "",
		"AWS4-HMAC-SHA256 Credential=AKIA":                               "",
		"AWS4-HMAC-SHA256 Credential=" + strings.Repeat("A", 33) + scope: "",
		"AWS4-HMAC-SHA256 Credential=" + strings.Repeat("A", 32) + scope: strings.Repeat("A", 32),
		"AWS4-HMAC-SHA256 Credential=wJalr/XUtnFEMI" + scope:             "",
		"AWS4-HMAC-SHA256 Credential=wJalr+XUtnFEMI" + scope:             "",
		"AWS4-HMAC-SHA256 Credential=AK\nIA" + scope:                     "",
		"AWS4-HMAC-SHA256 Credential=AKIA \"" + scope:                    "",
		"AWS4-HMAC-SHA256 Credential=AKIA:" + scope:                      "",
	} {
		if got := claimedKey(header); got != want {
			t.Errorf("%q: %q, want %q", header, got, want)
		}
	}
}
