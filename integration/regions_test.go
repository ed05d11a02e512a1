package integration_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/pawlhq/pawl/integration/servers"
)

const otherRegion = "eu-west-1"

// TestRegionsOnOtherServers: two Pawls, as docs/regions.md has them made, each
// with a region of its own. What is written in one is read in the other; an outage
// of the other is caught up with; a key that was replaced is read again; and when
// the first is gone, the secret is promoted where its replica is.
func TestRegionsOnOtherServers(t *testing.T) {
	eu := newGuarded(t, "region: "+otherRegion+"\n")
	at, err := url.Parse(eu.endpoint)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		t.Fatal(err)
	}
	there, nowhere := &servers.Server{Host: "127.0.0.1", Port: port}, &servers.Server{Host: "127.0.0.1", Port: 1}
	way := newProxy(t, there)

	policy := eu.policyFile("replicate", allows("pawl:*Replica", "arn:aws:secretsmanager:"+otherRegion+":"+homeAccount+":secret:*"))
	made := eu.do("access", "create", "us-pawl", "--policy", policy, "--json")
	key := filepath.Join(t.TempDir(), "eu-key.json")
	keep := func(text string) {
		t.Helper()
		if err := os.WriteFile(key, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keep(made)
	us := newGuarded(t, fmt.Sprintf("regions: {%s: {endpoint: 'https://%s', ca_file: '%s', credentials_file: '%s'}}\n",
		otherRegion, way.addr(), filepath.Join(eu.dir, "pawl-tls.crt"), key))

	home, away := us.as(us.admin, nil), eu.as(eu.admin, nil)
	ctx, app := t.Context(), "app"
	inEU := func(o *secretsmanager.Options) { o.Region = otherRegion }
	read := func() string {
		out, err := away.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &app}, inEU)
		if err != nil {
			return codeOf(err)
		}
		return *out.SecretString
	}
	put := func(value string) {
		t.Helper()
		if _, err := home.PutSecretValue(ctx, &secretsmanager.PutSecretValueInput{SecretId: &app, SecretString: &value}); err != nil {
			t.Fatal(err)
		}
	}
	status := func() (status types.StatusType, message string) {
		out, err := home.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &app})
		if err != nil || len(out.ReplicationStatus) != 1 {
			t.Fatalf("%+v, %v", out, err)
		}
		s := out.ReplicationStatus[0]
		if s.StatusMessage != nil {
			message = *s.StatusMessage
		}
		return s.Status, message
	}
	says := func(want types.StatusType, part string) {
		t.Helper()
		until(t, fmt.Sprintf("%s (%s)", want, part), func() bool {
			s, m := status()
			return s == want && strings.Contains(m, part)
		})
	}

	value, region := "one", otherRegion
	if _, err := home.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &app, SecretString: &value, AddReplicaRegions: []types.ReplicaRegionType{{Region: &region}}}); err != nil {
		t.Fatal(err)
	}
	says(types.StatusTypeInSync, "Replication succeeded")
	if got := read(); got != "one" {
		t.Errorf("the replica has %q", got)
	}
	put("two")
	until(t, "the new value there", func() bool { return read() == "two" })

	// The way is cut: the writer does not notice, the status and the log do.
	way.to(nowhere)
	us.daemon.signal(syscall.SIGHUP) // ends the connections that are open
	us.daemon.await("configuration read again")
	put("three")
	says(types.StatusTypeInProgress, way.addr())
	us.daemon.await("the region's server can't be used.*" + otherRegion)
	if got := read(); got != "two" {
		t.Errorf("the replica has %q", got)
	}
	way.to(there)
	says(types.StatusTypeInSync, "")
	us.daemon.await("answers again")
	if got := read(); got != "three" {
		t.Errorf("the replica has %q", got)
	}

	// Its key is replaced there: the old one is refused, and the new one read.
	old := credentialsIn(t, made).AccessKeyID
	fresh := eu.do("access", "rotate-key", "us-pawl", "--json")
	eu.do("access", "delete", old, "--yes")
	put("four")
	says(types.StatusTypeInProgress, "not, or no longer, one of that server's")
	keep(fresh)
	us.daemon.signal(syscall.SIGHUP)
	says(types.StatusTypeInSync, "")

	// The first is gone. The replica, which nobody could write, becomes a secret.
	us.daemon.signal(syscall.SIGSTOP)
	if r := eu.cli("secret", "put", app, "--value-file", eu.write("five", "five")); r.code != 1 || !strings.Contains(r.err, "replica") {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	eu.do("secret", "promote", app)
	eu.do("secret", "put", app, "--value-file", eu.write("five", "five"))
	us.daemon.signal(syscall.SIGCONT)
	put("six")
	says(types.StatusTypeFailed, "was promoted in region "+otherRegion)
	if got := read(); got != "five" {
		t.Errorf("the promoted secret has %q", got)
	}
	for _, g := range []*guarded{us, eu} {
		for _, secret := range []string{"one", "two", "three", "four", "six"} {
			if strings.Contains(g.daemon.err.String(), `"`+secret+`"`) {
				t.Errorf("the log has a value")
			}
		}
		if strings.Contains(g.daemon.err.String(), credentialsIn(t, fresh).SecretAccessKey) {
			t.Error("the log has a key")
		}
	}
}
