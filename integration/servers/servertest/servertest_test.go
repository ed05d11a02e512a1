package servertest

import (
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/pawlhq/pawl/integration/servers"
)

func TestMain(m *testing.M) { os.Exit(Main(m)) }

func TestSharedIsOneServer(t *testing.T) {
	Need(t, servers.Postgres15)
	var wg sync.WaitGroup
	got := make([]*servers.Server, 4)
	for i := range got {
		wg.Go(func() { got[i] = Shared(t, servers.Postgres15) })
	}
	wg.Wait()
	for _, s := range got {
		if s == nil || s != got[0] {
			t.Fatalf("got several servers: %v", got)
		}
	}
	args := servers.Options{Args: []string{"-c", "log_statement=all"}}
	logging := Shared(t, servers.Postgres15, args)
	if logging == got[0] {
		t.Error("other options gave the same server")
	}
	if again := Shared(t, servers.Postgres15, args); again != logging {
		t.Error("the same options gave another server")
	}

	if err := stopAll(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*servers.Server{got[0], logging} {
		if _, err := os.Stat(s.Dir); !os.IsNotExist(err) {
			t.Errorf("%s is left after the run: %v", s.Dir, err)
		}
	}
}

func TestStartStopsWithTheTest(t *testing.T) {
	var s *servers.Server
	t.Run("inner", func(t *testing.T) { s = Start(t, servers.Postgres15, servers.Options{}) })
	if s != nil {
		if err := s.Pause(); err == nil {
			t.Error("the server runs on after its test")
		}
	}
}

// verdict is a testing.TB that notes how a test was ended.
type verdict struct {
	testing.TB
	how, message string
}

func (v *verdict) Helper()           {}
func (v *verdict) Fatal(args ...any) { v.end("fatal", args) }
func (v *verdict) Skip(args ...any)  { v.end("skip", args) }

func (v *verdict) end(how string, args []any) {
	v.how, v.message = how, args[0].(string)
	runtime.Goexit()
}

func TestNeed(t *testing.T) {
	for _, c := range []struct {
		kind    servers.Kind
		ci, how string
	}{
		{"oracle", "", "skip"},
		{"oracle", "true", "fatal"},
	} {
		t.Setenv("CI", c.ci)
		v := &verdict{TB: t}
		done := make(chan struct{})
		go func() {
			defer close(done)
			Need(v, c.kind)
		}()
		<-done
		if v.how != c.how || !strings.Contains(v.message, "make servers") || !strings.Contains(v.message, string(c.kind)) {
			t.Errorf("CI=%q: %q %q, want %q and what to run", c.ci, v.how, v.message, c.how)
		}
	}
}
