package main

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// TestTheDaemonMovesWhatOldKeysEncrypt: a rotation of a key that was interrupted
// before it moved anything is finished by whoever serves the store next.
func TestTheDaemonMovesWhatOldKeysEncrypt(t *testing.T) {
	ctx := t.Context()
	cfg, err := temporary(ctx, t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	a, err := assemble(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	key, err := a.keys.CreateKey(ctx, "alias/app")
	if err != nil {
		t.Fatal(err)
	}
	_, err = a.svc.CreateSecret(ctx, service.CreateSecretInput{Name: "a", KmsKeyID: "alias/app", ClientRequestToken: newToken(),
		GivenValue: service.Give(secrets.Text("value"))})
	if err != nil {
		t.Fatal(err)
	}
	old := key.Generations[0].ID
	under := func(id string) int {
		t.Helper()
		use, err := a.keys.Usage(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return use[id]
	}
	if under(old) != 1 {
		t.Fatal("the value is not under the key")
	}
	if key, err = a.keys.RotateKey(ctx, "alias/app"); err != nil {
		t.Fatal(err)
	}
	stop := a.rewrapping(context.WithoutCancel(ctx))
	for deadline := time.Now().Add(20 * time.Second); under(old) > 0 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	if under(old) != 0 || under(key.Generations[0].ID) != 1 {
		t.Error("the value was not moved")
	}
	out, err := a.svc.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: "a"})
	if err != nil || string(out.Value.Reveal()) != "value" {
		t.Errorf("%v", err)
	}
}
