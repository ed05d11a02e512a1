package scheduler

import (
	"context"
	"crypto/rand"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

// files are the paths of an embedded store.
type files struct{ db, key string }

func newFiles(t *testing.T) files {
	dir := t.TempDir()
	f := files{filepath.Join(dir, "pawl.db"), filepath.Join(dir, "pawl.key")}
	if err := seal.GenerateKeyFile(f.key, rand.Reader); err != nil {
		t.Fatal(err)
	}
	return f
}

// embedded is a world on the embedded store.
func embedded(t *testing.T, f files, workers, perTarget int) (*world, *sqlite.Store) {
	t.Helper()
	keys, err := seal.Load(f.key)
	if err != nil {
		t.Fatal(err)
	}
	store, err := sqlite.Open(t.Context(), f.db, sqlite.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	return worldOn(t, store, keys, workers, perTarget), store
}

func closed(t *testing.T, store service.Store) {
	t.Helper()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestEmbeddedStore(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := newFiles(t)
	w, store := embedded(t, f, 4, 2)
	defer closed(t, store)
	thaw, setting := make(chan struct{}), make(chan string, 10)
	w.servers.script("slow", inStep("set", setting, thaw))
	w.servers.script("dead", down)
	w.add(fourHours, "slow", numbered("s", 5)...)
	w.add(fourHours, "dead", numbered("d", 20)...)
	w.add(fourHours, "well", numbered("w", 20)...)
	w.at(5)
	w.start()
	ok := 0
	for ok < 20 { // the healthy ones finish while one target hangs and one is dead
		if d := w.rotations(1)[0]; d.Err == nil {
			ok++
		} else if d.Secret.Name[0] != 'd' {
			t.Fatal(d.Err)
		}
	}
	close(thaw)
	for ok < 25 {
		if d := w.rotations(1)[0]; d.Err == nil {
			ok++
		}
	}
	w.stop()
	for _, n := range w.names {
		w.serves(n)
		if sets := w.servers.sets[n]; sets > 1 || n[0] != 'd' && sets != 1 {
			t.Errorf("%s was set %d times", n, sets)
		}
	}
}

// TestRestart wants a scheduler over a reopened store to go on where the last
// one was: nothing twice, nothing forgotten, and patience kept.
func TestRestart(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := newFiles(t)
	w, store := embedded(t, f, 4, 4)
	w.add(fourHours, "db", "good", "interrupted", "refused")
	w.servers.script("db", func(_ context.Context, name, step string) error {
		switch {
		case name == "interrupted" && step == "set":
			return secrets.Errorf(secrets.Unknown, "the line broke")
		case name == "refused":
			return refused("db")
		}
		return nil
	})
	w.at(5)
	w.start()
	w.rotations(3)
	w.stop()
	closed(t, store)

	again, store := embedded(t, f, 4, 4)
	defer closed(t, store)
	again.servers.passwords, again.servers.sets = w.servers.passwords, w.servers.sets
	again.declare(fourHours, w.names...)
	again.at(5)
	again.clock.Advance(time.Minute) // past the next try of interrupted, not of refused
	again.start()
	if d := again.rotations(1)[0]; d.Secret.Name != "interrupted" || d.Result.Outcome != rotator.Resumed || d.Err != nil {
		t.Fatalf("%+v", d)
	}
	again.stop()
	again.idle()
	for _, n := range w.names {
		again.serves(n)
	}
	if s := again.servers.sets; s["good"] != 1 || s["interrupted"] != 1 || s["refused"] != 0 {
		t.Errorf("%v", s)
	}
}

// TestTwoSchedulersOneStore wants each secret rotated once however many
// schedulers look after it.
func TestTwoSchedulersOneStore(t *testing.T) {
	defer goleak.VerifyNone(t)
	f := newFiles(t)
	a, storeA := embedded(t, f, 4, 4)
	defer closed(t, storeA)
	b, storeB := embedded(t, f, 4, 4)
	defer closed(t, storeB)
	a.add(fourHours, "db", numbered("app", 40)...)
	b.servers.passwords, b.servers.sets = a.servers.passwords, a.servers.sets
	b.runner.Rotator = a.runner.Rotator // the same servers
	a.at(5)
	b.at(5)
	a.start()
	b.start()
	for left, timeout := 40, time.After(time.Minute); left > 0; left-- {
		var d Done
		select {
		case d = <-a.done:
		case d = <-b.done:
		case <-timeout:
			t.Fatalf("%d left", left)
		}
		if d.Err != nil {
			t.Fatal(d.Err)
		}
	}
	a.stop()
	b.stop()
	a.idle()
	b.idle()
	for _, n := range a.names {
		a.serves(n)
		if got := a.servers.sets[n]; got != 1 {
			t.Errorf("%s was set %d times", n, got)
		}
	}
}
