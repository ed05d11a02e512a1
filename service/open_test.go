package service_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

// slowReader is the real store; once, something happens after it read a value
// and before the reader has it.
type slowReader struct {
	service.Store
	meanwhile func()
}

func (s *slowReader) Value(ctx context.Context, arn secrets.ARN, versionID string) ([]byte, error) {
	b, err := s.Store.Value(ctx, arn, versionID)
	if do := s.meanwhile; do != nil {
		s.meanwhile = nil
		do()
	}
	return b, err
}

// TestAKeyThrownAwayWhileAValueIsRead: who has the old bytes of a value that was
// encrypted anew, and never knew the old key, reads the new ones.
func TestAKeyThrownAwayWhileAValueIsRead(t *testing.T) {
	h := open(t, service.Config{})
	ring := func() *seal.Keyring {
		k := seal.New(seal.Config{Master: h.master, Store: h.file, Now: h.clock.now, Settle: time.Second})
		if err := k.Verify(t.Context(), h.file); err != nil {
			t.Fatal(err)
		}
		return k
	}
	reader, keeper := ring(), ring()
	if _, err := keeper.CreateKey(t.Context(), "alias/app"); err != nil {
		t.Fatal(err)
	}
	h.Service = service.New(service.Config{Store: h.store, Sealer: keeper, Now: h.clock.now})
	h.create("s", "x")
	if err := h.updateKey("s", "alias/app"); err != nil {
		t.Fatal(err)
	}
	before, err := h.store.Value(t.Context(), h.record("s").ARN, tok("v1"))
	if err != nil {
		t.Fatal(err)
	}
	slow := &slowReader{Store: h.store, meanwhile: func() {
		if _, err := keeper.RotateKey(t.Context(), "alias/app"); err != nil {
			t.Error(err)
		}
		h.clock.add(time.Minute)
		if err := keeper.Rewrap(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}}
	got, err := service.New(service.Config{Store: slow, Sealer: reader, Now: h.clock.now}).
		GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"})
	if err != nil || !got.Value.Equal(secrets.Text("x")) {
		t.Error(err)
	}
	// It was as hard as that: the old bytes open no more.
	if _, err := reader.Open(t.Context(), h.record("s").ARN.String(), tok("v1"), before); secrets.CodeOf(err) != "DecryptionFailure" {
		t.Errorf("the old key is still known: %v", err)
	}
}

// damage puts bytes that don't open in the place of the first version's value.
func (h *house) damage(arn secrets.ARN, b []byte) {
	h.t.Helper()
	_, err := h.store.Update(h.t.Context(), arn, func(*service.Secret) (service.Sealed, error) { return service.Sealed{tok("v1"): b}, nil })
	if err != nil {
		h.t.Fatal(err)
	}
}

// TestWhyAKeyIsNoUse: a caller of the API reads AWS's text and nothing of Pawl's
// files and keys; whoever runs Pawl reads the rest.
func TestWhyAKeyIsNoUse(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	arn := h.record("s").ARN
	other := open(t, service.Config{})
	b, err := other.keys.Seal(t.Context(), "", arn.String(), tok("v1"), secrets.Text("x"))
	if err != nil {
		t.Fatal(err)
	}
	h.damage(arn, b)
	_, err = h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"})
	wantErr(t, err, "DecryptionFailure", cantOpen)
	if text := err.Error(); !strings.Contains(text, "pawl.key") || !strings.Contains(text, "put the key file back") {
		t.Errorf("it says nothing of the key: %s", text)
	}
	out, err := h.BatchGetSecretValue(t.Context(), service.BatchGetSecretValueInput{SecretIDList: []string{"s"}})
	if err != nil || len(out.Errors) != 1 || out.Errors[0].Message != cantOpen {
		t.Errorf("%v, %+v", err, out)
	}
	status, err := h.ReplicateSecretToRegions(t.Context(), service.ReplicateSecretToRegionsInput{
		SecretID: "s", AddReplicaRegions: []service.ReplicaRegionType{{Region: "eu-west-1"}},
	})
	if err != nil || len(status.ReplicationStatus) != 1 || status.ReplicationStatus[0].StatusMessage != "Replication failed: "+cantOpen {
		t.Errorf("%v, %+v", err, status)
	}
}

// TestLongListsAreRefused: what can't be is refused before it is looked at one by
// one with all other writers waiting.
func TestLongListsAreRefused(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	const many = 40_000
	tags := make([]service.Tag, many)
	regions := make([]service.ReplicaRegionType, many)
	for i := range many {
		tags[i].Key = fmt.Sprint(i)
		name := ""
		for n := i; n > 0; n /= 26 {
			name += string(rune('a' + n%26))
		}
		regions[i].Region = "us-x" + name + "-1"
	}
	began := time.Now()
	err := h.TagResource(t.Context(), service.TagResourceInput{SecretID: "s", Tags: tags})
	wantErr(t, err, "InvalidParameterException", "A secret can have at most 50 tags.")
	replicate := func(regions []service.ReplicaRegionType) error {
		return second(h.ReplicateSecretToRegions(t.Context(), service.ReplicateSecretToRegionsInput{SecretID: "s", AddReplicaRegions: regions}))
	}
	const tooMany = "A secret can have at most 64 replicas."
	wantErr(t, replicate(regions), "LimitExceededException", tooMany)
	_, err = h.CreateSecret(t.Context(), service.CreateSecretInput{Name: "t", ClientRequestToken: tok("v1"), AddReplicaRegions: regions})
	wantErr(t, err, "LimitExceededException", tooMany)
	_, err = h.RotateSecret(t.Context(), service.RotateSecretInput{
		SecretID: "s", ClientRequestToken: tok("v2"), ExternalSecretRotationMetadata: slices.Repeat([]service.ExternalSecretRotationMetadataItem{{Key: "k", Value: "v"}}, 51),
	})
	wantErr(t, err, "InvalidParameterException", "ExternalSecretRotationMetadata can have at most 50 items.")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := replicate(slices.Clone(regions[:2])); err != nil {
		t.Error(err)
	}
	wantErr(t, replicate(regions[2:service.MaxReplicas+1]), "LimitExceededException", tooMany)
}
