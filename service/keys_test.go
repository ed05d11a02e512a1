package service_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// ledger is the real Sealer; it remembers under which key it sealed what, and
// has keys that can't be used.
type ledger struct {
	service.Sealer
	mu       sync.Mutex
	sealed   map[string]string // KmsKeyId by sealed bytes
	missing  map[string]bool   // keys that are not there
	disabled map[string]bool   // keys that are
	seals    int
}

func refusal(code, text string) error {
	e := secrets.Errorf(secrets.Invalid, "%s", text)
	e.Code = code
	return e
}

const (
	noKeyText = "The operation failed because of an invalid KMS key: Invalid keyId"
	cantSeal  = "Secrets Manager can't encrypt the protected secret text using the provided KMS key."
	cantOpen  = "Secrets Manager can't decrypt the protected secret text using the provided KMS key."
)

func (l *ledger) Check(ctx context.Context, key, arn string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.missing[key] {
		return refusal("InvalidParameterException", noKeyText)
	}
	if l.disabled[key] {
		return refusal("EncryptionFailure", cantSeal)
	}
	return nil
}

func (l *ledger) Seal(ctx context.Context, key, arn, versionID string, v secrets.Value) ([]byte, error) {
	if err := l.Check(ctx, key, arn); err != nil {
		return nil, err
	}
	b, err := l.Sealer.Seal(ctx, key, arn, versionID, v)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sealed[string(b)] = key
	l.seals++
	return b, err
}

func (l *ledger) Open(ctx context.Context, arn, versionID string, sealed []byte) (secrets.Value, error) {
	l.mu.Lock()
	key := l.sealed[string(sealed)]
	gone := l.missing[key] || l.disabled[key]
	l.mu.Unlock()
	if gone {
		return secrets.Value{}, refusal("DecryptionFailure", cantOpen)
	}
	return l.Sealer.Open(ctx, arn, versionID, sealed)
}

func withLedger(t *testing.T) (*house, *ledger) {
	h := open(t, service.Config{})
	l := &ledger{Sealer: h.keys, sealed: map[string]string{}, missing: map[string]bool{}, disabled: map[string]bool{}}
	h.Service = service.New(service.Config{Store: h.store, Sealer: l, Now: h.clock.now})
	return h, l
}

// keys renders under which key each value is: "v1:alias/a v2:". A record that
// says otherwise fails the test.
func (l *ledger) keys(h *house, name string) string {
	h.t.Helper()
	sec := h.record(name)
	var out []string
	for _, v := range sec.Versions {
		if v.Empty {
			continue
		}
		b, err := h.store.Value(h.t.Context(), sec.ARN, v.ID)
		if err != nil {
			h.t.Fatal(err)
		}
		key, ok := l.sealed[string(b)]
		if !ok || key != v.KeyID {
			h.t.Errorf("version %s is under key %q, and its record says %q", short(v.ID), key, v.KeyID)
		}
		out = append(out, short(v.ID)+":"+key)
	}
	return strings.Join(out, " ")
}

func (h *house) updateKey(name, key string) error {
	return second(h.UpdateSecret(h.t.Context(), service.UpdateSecretInput{SecretID: name, ClientRequestToken: tok("unused"), KmsKeyID: &key}))
}

func TestAKeyThatCantBeUsed(t *testing.T) {
	h, l := withLedger(t)
	l.missing["alias/none"], l.disabled["alias/off"] = true, true
	for key, want := range map[string][2]string{
		"alias/none": {"InvalidParameterException", noKeyText},
		"alias/off":  {"EncryptionFailure", cantSeal},
	} {
		for _, v := range []string{"", "x"} {
			_, err := h.CreateSecret(t.Context(), service.CreateSecretInput{
				Name: "s", ClientRequestToken: tok("v1"), KmsKeyID: key, GivenValue: service.Give(secrets.Text(v)),
			})
			wantErr(t, err, want[0], want[1])
			wantKind(t, err, secrets.Invalid, key) // for people
		}
	}
	h.create("s", "x")
	before := h.record("s")
	for key, want := range map[string][2]string{
		"alias/none": {"InvalidParameterException", noKeyText},
		"alias/off":  {"EncryptionFailure", cantSeal},
	} {
		wantErr(t, h.updateKey("s", key), want[0], want[1])
	}
	// What is under a key that went, or was disabled, stays as it is.
	must(t, h.updateKey("s", "alias/a"))
	h.put("s", "v2")
	l.disabled["alias/a"] = true
	moved := h.record("s")
	if cmp.Equal(before, moved) {
		t.Fatal("nothing was changed")
	}
	wantErr(t, h.updateKey("s", "alias/b"), "DecryptionFailure", cantOpen)
	_, err := h.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v3"), GivenValue: service.Give(secrets.Text("y"))})
	wantErr(t, err, "EncryptionFailure", cantSeal)
	if diff := cmp.Diff(moved, h.record("s")); diff != "" {
		t.Error("a refused operation changed something:", diff)
	}
}

// A rotation of a secret whose key can't be used ends before a server could hear
// of the new value, and says which key it is.
func TestARotationWithoutItsKey(t *testing.T) {
	h, l := withLedger(t)
	h.create("s", `{"username":"u"}`)
	must(t, h.updateKey("s", "alias/a"))
	l.disabled["alias/a"] = true
	before := h.record("s")
	c := claim(t, h, "s")
	_, err := c.PutPending(t.Context(), "", secrets.Text("new"))
	wantErr(t, err, "EncryptionFailure", cantSeal)
	wantKind(t, err, secrets.Invalid, "alias/a")
	if diff := cmp.Diff(before, h.record("s")); diff != "" {
		t.Error(diff)
	}
	l.disabled["alias/a"] = false
	if _, err := c.PutPending(t.Context(), "", secrets.Text("new")); err != nil {
		t.Error(err)
	}
}

// Whatever happens between the sealing and the write: a record names the key
// that its value is under.
func TestTheKeyChangesUnderAWrite(t *testing.T) {
	h, l := withLedger(t)
	h.create("s", "x")
	rekey := func(key string) func() {
		return func() { must(t, h.updateKey("s", key)) }
	}
	h.store.pending = rekey("alias/a")
	h.put("s", "v2")
	if got := l.keys(h, "s"); got != "v1:alias/a v2:alias/a" {
		t.Errorf("keys are %s", got)
	}
	h.store.pending = rekey("alias/b")
	must(t, second(h.UpdateSecret(t.Context(), service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("v3"), GivenValue: service.Give(secrets.Text("z"))})))
	if got := l.keys(h, "s"); got != "v1:alias/b v2:alias/b v3:alias/b" {
		t.Errorf("keys are %s", got)
	}
	c := claim(t, h, "s")
	h.store.pending = rekey("alias/c")
	id, err := c.PutPending(t.Context(), "", secrets.Text("new"))
	must(t, err)
	if got := l.keys(h, "s"); got != "v1:alias/b v2:alias/c v3:alias/c "+id+":alias/c" {
		t.Errorf("keys are %s", got)
	}
	// Labels that move, and values that come, while a new key takes over.
	h.store.pending = func() {
		must(t, second(h.UpdateSecretVersionStage(t.Context(), service.UpdateSecretVersionStageInput{
			SecretID: "s", VersionStage: "AWSCURRENT", MoveToVersionID: tok("v1"), RemoveFromVersionID: tok("v3")})))
		h.store.pending = func() { h.put("s", "v5", "AWSPENDING") }
	}
	must(t, h.updateKey("s", "alias/d"))
	if got := l.keys(h, "s"); got != "v1:alias/d v2:alias/c v3:alias/d "+id+":alias/c v5:alias/d" {
		t.Errorf("keys are %s", got)
	}
	// Another key each time: it gives up and changes nothing.
	n := 0
	var again func()
	again = func() {
		n++
		must(t, h.updateKey("s", fmt.Sprint("alias/e", n)))
		h.store.pending = again
	}
	h.store.pending = again
	_, err = h.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v6"), GivenValue: service.Give(secrets.Text("y"))})
	h.store.pending = nil
	wantKind(t, err, secrets.Transient, "changed again and again")
	if _, ok := h.record("s").Versions.Find(tok("v6")); ok {
		t.Error("it was put all the same")
	}
}

// A new key makes no version, leaves values as they are, and does nothing the
// second time; a version that gets a label of AWS's back is caught up with.
func TestANewKeyTakesOver(t *testing.T) {
	h, l := withLedger(t)
	h.create("s", "one")
	h.put("s", "v2")
	h.put("s", "v3")
	h.emptyVersion("s", "void", "AWSPENDING")
	must(t, h.updateKey("s", "alias/a"))
	if got := l.keys(h, "s"); got != "v1: v2:alias/a v3:alias/a" {
		t.Errorf("keys are %s", got)
	}
	if got := h.labels("s"); got != "v1[] v2[AWSPREVIOUS] v3[AWSCURRENT] void[AWSPENDING]" {
		t.Errorf("labels are %s", got)
	}
	seals := l.seals
	must(t, h.updateKey("s", "alias/a"))
	if l.seals != seals {
		t.Error("what is under the key already was encrypted again")
	}
	h.put("s", "void", "AWSPENDING")
	must(t, second(h.UpdateSecretVersionStage(t.Context(), service.UpdateSecretVersionStageInput{
		SecretID: "s", VersionStage: "AWSCURRENT", MoveToVersionID: tok("v1"), RemoveFromVersionID: tok("v3")})))
	if got := l.keys(h, "s"); got != "v1: v2:alias/a v3:alias/a void:alias/a" {
		t.Errorf("keys are %s", got)
	}
	must(t, h.updateKey("s", "alias/a"))
	if got := l.keys(h, "s"); got != "v1:alias/a v2:alias/a v3:alias/a void:alias/a" {
		t.Errorf("keys are %s", got)
	}
	for token, want := range map[string]string{"v1": "one", "v2": "value of v2", "v3": "value of v3", "void": "value of void"} {
		if got := h.value("s", token); got != want {
			t.Errorf("%s is %q", token, got)
		}
	}
}

func TestAReplicaWithoutItsKey(t *testing.T) {
	h, l := withLedger(t)
	h.create("s", "x")
	l.missing["alias/none"], l.disabled["alias/off"] = true, true
	status := func() service.ReplicationStatusType {
		d, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
		must(t, err)
		return d.ReplicationStatus[0]
	}
	replicate := func(key string) service.ReplicationStatusType {
		must(t, second(h.ReplicateSecretToRegions(t.Context(), service.ReplicateSecretToRegionsInput{
			SecretID: "s", AddReplicaRegions: []service.ReplicaRegionType{{Region: "eu-west-1", KmsKeyID: key}}})))
		return status()
	}
	failed := func(key, text string) service.ReplicationStatusType {
		return service.ReplicationStatusType{Region: "eu-west-1", KmsKeyID: key, Status: service.Failed, StatusMessage: "Replication failed: " + text}
	}
	for key, text := range map[string]string{"alias/none": noKeyText, "alias/off": cantSeal} {
		if diff := cmp.Diff(failed(key, text), replicate(key)); diff != "" {
			t.Error(diff)
		}
	}
	if got := replicate("alias/one"); got.Status != service.InSync {
		t.Errorf("it is %+v", got)
	}
	// A key that is disabled later fails the replica with the next value, and not
	// the write at the primary.
	l.disabled["alias/one"] = true
	h.put("s", "v2")
	if diff := cmp.Diff(failed("alias/one", cantSeal), status()); diff != "" {
		t.Error(diff)
	}
	must(t, h.Follow(t.Context(), h.clock.now().Add(time.Hour)))
	delete(l.disabled, "alias/one")
	if got := replicate("alias/one"); got.Status != service.InSync {
		t.Errorf("it is %+v", got)
	}
}

// Another account can bring no value under the default key, nor away from it,
// and learns nothing of one by guessing.
func TestTheDefaultKeyOfAnotherAccount(t *testing.T) {
	h, l := withLedger(t)
	const text = "You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key."
	arn := h.create("s", "x")
	other := h.As(service.Caller{Region: "us-east-1", Account: "210987654321"})
	update := func(key, token, value string) error {
		return second(other.UpdateSecret(t.Context(), service.UpdateSecretInput{SecretID: arn, ClientRequestToken: tok(token), KmsKeyID: &key, GivenValue: service.Give(secrets.Text(value))}))
	}
	before := h.record("s")
	wantErr(t, update("alias/a", "unused", ""), "InvalidRequestException", text)
	must(t, h.updateKey("s", "alias/a"))
	must(t, update("alias/b", "unused", ""))
	for _, key := range []string{"", "alias/aws/secretsmanager"} {
		wantErr(t, update(key, "unused", ""), "InvalidRequestException", text)
		wantErr(t, update(key, "v2", "y"), "InvalidRequestException", text)
	}
	if got := l.keys(h, "s"); got != "v1:alias/b" || len(before.Versions) != 1 {
		t.Errorf("keys are %s", got)
	}
	must(t, h.updateKey("s", ""))
	for _, value := range []string{"x", "wrong"} {
		_, err := other.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: arn, ClientRequestToken: tok("v1"), GivenValue: service.Give(secrets.Text(value))})
		wantErr(t, err, "InvalidRequestException", text)
		_, err = other.UpdateSecret(t.Context(), service.UpdateSecretInput{SecretID: arn, ClientRequestToken: tok("v1"), GivenValue: service.Give(secrets.Text(value))})
		wantErr(t, err, "InvalidRequestException", text)
	}
}
