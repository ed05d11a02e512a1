package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

// age-keys makes all keys of ./pawl.yaml's store an hour older, as if somebody
// had waited with what has to wait.
func scriptAgeKeys(ts *testscript.TestScript, neg bool, args []string) {
	a := openApp(ts)
	defer a.Close()
	ts.Check(a.store.ChangeNamedKeys(context.Background(), func(keys []seal.NamedKey) ([]seal.NamedKey, error) {
		for i := range keys {
			keys[i].Created = keys[i].Created.Add(-time.Hour)
			for j := range keys[i].Generations {
				g := &keys[i].Generations[j]
				g.Created = g.Created.Add(-time.Hour)
			}
		}
		return keys, nil
	}))
}

func TestProgressIsALineAtATime(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out)
	p.report(0, 10)
	if out.Len() > 0 {
		t.Errorf("it begins with %q", &out)
	}
	p.last = time.Now().Add(-time.Minute)
	p.report(4, 10)
	p.report(5, 10)
	p.end()
	if got := out.String(); got != "4 of 10 values\n" {
		t.Errorf("it shows %q", got)
	}
}

// A re-wrap that is stopped ends with the exit code of what may be run again, and
// the next one finishes it.
func TestAStoppedRewrap(t *testing.T) {
	cfg, err := temporary(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	a, err := assemble(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.svc.CreateSecret(t.Context(), service.CreateSecretInput{Name: "s", ClientRequestToken: newToken(), GivenValue: service.Give(secrets.Text(canary))}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.keys.RotateMaster(t.Context()); err != nil {
		t.Fatal(err)
	}
	cmd := &cobra.Command{}
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	if err := a.rewrap(stopped, cmd); codeOf(err) != exitRetry || !strings.Contains(err.Error(), "pawl key rewrap") {
		t.Errorf("stopped: %v", err)
	}
	if err := a.rewrap(t.Context(), cmd); err != nil || out.String() != "Moved 1 of 1 values to their key's newest generation.\n" {
		t.Errorf("%q, %v", &out, err)
	}
}

// Who stops a re-wrap is told how far it was and how to go on, and that nothing
// is lost.
func TestUnfinished(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for _, c := range []struct {
		ctx  context.Context
		err  error
		code int
		want []string
	}{
		{stopped, stopped.Err(), exitRetry, []string{"stopped after 3 of 9 were done", "can be read as before", "pawl key rewrap"}},
		{t.Context(), secrets.Errorf(secrets.Invalid, "the disk is full").WithHint("make room"), exitPerson, []string{"3 of 9", "the disk is full", "make room"}},
		{t.Context(), errors.New("odd"), exitRetry, []string{"odd", "pawl key rewrap"}},
	} {
		err := unfinished(c.ctx, c.err, "3 of 9 were done")
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q lacks %q", err, want)
			}
		}
		if codeOf(err) != c.code {
			t.Errorf("%v: exit code %d", err, codeOf(err))
		}
	}
	if err := unfinished(stopped, nil, ""); err != nil {
		t.Error(err)
	}
}
