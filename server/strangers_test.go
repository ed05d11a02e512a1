package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// TestLargeBodiesAreCounted: of bodies that are larger than nearly all are, only
// some are in memory at one time, whoever sends them; others get in all the same.
func TestLargeBodiesAreCounted(t *testing.T) {
	r := start(t, Config{}, func(s *Server) { s.patience = 10 * time.Millisecond })
	r.create("s")
	sized := func(n int) string {
		return post("DescribeSecret", signed, `{"SecretId":"s","x":"`+strings.Repeat("x", n)+`"}`)
	}
	var slow []net.Conn
	for range largeBodies {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		raw := sized(maxBody - 100)
		if _, err := io.WriteString(c, raw[:smallBody+1000]); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, c)
	}
	within(t, "the places", func() bool { return len(r.large) == largeBodies })
	const rateExceeded = `{"__type":"ThrottlingException","message":"Rate exceeded"}`
	r.want(sized(maxBody-100), 400, rateExceeded)
	if a := r.send(sized(smallBody / 2)); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for _, c := range slow {
		c.Close()
	}
	within(t, "the places", func() bool { return len(r.large) == 0 })
	if a := r.send(sized(maxBody - 100)); a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	// One who waits gets the place of one who leaves.
	p := make(places, 1)
	p <- struct{}{}
	go func() { <-p }()
	if !p.take(20 * time.Second) {
		t.Error("nobody got the place that was free")
	}
}

// TestStrangersGetShortAnswers: what nobody signed for is not repeated at length.
func TestStrangersGetShortAnswers(t *testing.T) {
	r := start(t, Config{STSAuth: access.Dev{Service: "sts"}}, nil)
	long := strings.Repeat(`"<&`, 5000)
	for name, raw := range map[string]string{
		"action":  form(forSTS, "Action="+long+version),
		"version": form(forSTS, "Action=GetCallerIdentity&Version="+long),
		"date":    post("ListSecrets", strings.Replace(signed, "20240611T101112Z", long, 1), `{}`),
		"region":  post("ListSecrets", strings.Replace(signed, "us-east-1", strings.Repeat("us-", 5000)+"1", 1), `{}`),
		"scope":   post("ListSecrets", strings.Replace(signed, "aws4_request", strings.ReplaceAll(long, ",", ""), 1), `{}`),
		"host":    strings.Replace(post("ListSecrets", signed, `{}`), "Host: localhost", "Host: "+strings.Repeat("host.", 5000), 1),
	} {
		if a := r.send(raw); a.StatusCode == 200 || len(a.body) > 8<<10 {
			t.Errorf("%s: %d, %d bytes", name, a.StatusCode, len(a.body))
		}
	}
	if a := r.send(form(forSTS, "Action=GetCallerIdentity"+version+"&x="+strings.Repeat("x", maxForm))); a.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a form of %d bytes: %d", maxForm, a.StatusCode)
	}
}

// keyless is a Sealer whose keys are no use, and that says why.
type keyless struct{ service.Sealer }

func (keyless) Open(context.Context, string, string, []byte) (secrets.Value, error) {
	e := secrets.Errorf(secrets.Invalid, "sealed with key 0123; the key file /etc/pawl/pawl.key with key 4567: %w", errors.New("vault says: no"))
	e.Code = "DecryptionFailure"
	return secrets.Value{}, e
}

// TestWhyAKeyIsNoUseIsInTheLog: and only there.
func TestWhyAKeyIsNoUseIsInTheLog(t *testing.T) {
	var store service.Store
	r := start(t, Config{Service: openService(t, func(s service.Store) service.Store { store = s; return s })}, nil)
	r.create("s")
	broken := start(t, Config{Service: service.New(service.Config{Store: store, Sealer: keyless{}})}, nil)
	broken.want(post("GetSecretValue", signed, `{"SecretId":"s"}`), 400,
		`{"__type":"DecryptionFailure","Message":"Secrets Manager can't decrypt the protected secret text using the provided KMS key."}`)
	if log := broken.log.String(); !strings.Contains(log, "/etc/pawl/pawl.key") || !strings.Contains(log, "vault says: no") || !strings.Contains(log, "secret=s") {
		t.Errorf("%s", log)
	}
}
