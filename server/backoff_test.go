package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDelays(t *testing.T) {
	for n, want := range map[int]time.Duration{
		1: 0, 20: 0, 21: 100 * time.Millisecond, 22: 200 * time.Millisecond, 24: 800 * time.Millisecond,
		25: 1600 * time.Millisecond, 26: 2 * time.Second, 31: 2 * time.Second, 32: 2 * time.Second, 1_000_000: 2 * time.Second,
	} {
		if got := delayOf(n); got != want {
			t.Errorf("failure %d: %v, want %v", n, got, want)
		}
	}
}

func TestAddresses(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.1:99":                "192.0.2.1/32",
		"[::ffff:192.0.2.1]:99":       "192.0.2.1/32",
		"[2001:db8:1:2:3:4:5:6]:99":   "2001:db8:1:2::/64",
		"[fe80::1%eth0]:99":           "fe80::/64",
		"@":                           "invalid Prefix",
		"":                            "invalid Prefix",
		"192.0.2.1":                   "invalid Prefix",
		"[2001:db8:1:2:ffff::6]:1024": "2001:db8:1:2::/64",
	} {
		if got := addressOf(remote).String(); got != want {
			t.Errorf("%q: %s, want %s", remote, got, want)
		}
	}
}

// testBackoff runs in a bubble whose time passes by itself.
func testBackoff(t *testing.T, test func(t *testing.T, b *backoff, log *logs)) {
	synctest.Test(t, func(t *testing.T) {
		log := &logs{}
		b := newBackoff(slog.New(slog.NewTextHandler(log, nil)), time.Now)
		defer b.stop()
		test(t, b, log)
		if b.delayed != 0 {
			t.Errorf("%d are still delayed", b.delayed)
		}
	})
}

// took is how long the answer to a failure was held back.
func (b *backoff) took(ctx context.Context, remote string) (d time.Duration, held, crowded bool) {
	at := time.Now()
	held, crowded = b.failed(ctx, remote)
	return time.Since(at), held, crowded
}

func TestFailuresAreHeldBack(t *testing.T) {
	testBackoff(t, func(t *testing.T, b *backoff, log *logs) {
		for n := 1; n <= 30; n++ {
			d, held, crowded := b.took(t.Context(), fmt.Sprintf("192.0.2.1:%d", n))
			if d != delayOf(n) || held != (n > 20) || crowded {
				t.Errorf("failure %d: %v, held back: %t, crowded: %t", n, d, held, crowded)
			}
		}
		if d, held, _ := b.took(t.Context(), "192.0.2.2:1"); d != 0 || held {
			t.Errorf("another client waited %v", d)
		}
		if log.String() != "" {
			t.Errorf("logged before the minute is over: %s", log)
		}
		time.Sleep(time.Minute) // of the bubble
		line := `address=192.0.2.1 failures=30 within=1m0s`
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, line) || !strings.Contains(got, "level=WARN") {
			t.Errorf("want one line with %s:\n%s", line, got)
		}
		if d, held, _ := b.took(t.Context(), "192.0.2.1:1"); d != 0 || held {
			t.Errorf("in the next minute it waited %v", d)
		}
	})
}

// Two clients, one after the other, over several minutes: a line for each of
// the minutes in which one was held back, and nothing is remembered afterwards.
func TestReports(t *testing.T) {
	testBackoff(t, func(t *testing.T, b *backoff, log *logs) {
		const minutes = 3
		for range minutes {
			for range 21 {
				b.failed(t.Context(), "192.0.2.1:1")
			}
			time.Sleep(20 * time.Second)
			for range 22 {
				b.failed(t.Context(), "[2001:db8::1]:1")
			}
			time.Sleep(failureSpan - 20*time.Second)
		}
		time.Sleep(2 * failureSpan)
		got := log.String()
		for _, line := range []string{"address=192.0.2.1 failures=21", "address=2001:db8::/64 failures=22"} {
			if strings.Count(got, line) != minutes {
				t.Errorf("want %d lines of %s:\n%s", minutes, line, got)
			}
		}
		if b.next != nil || strings.Count(got, "\n") != 2*minutes {
			t.Errorf("it goes on: %s", got)
		}
	})
}

func TestDelaysEnd(t *testing.T) {
	fail := func(b *backoff, ctx context.Context) chan time.Duration {
		for range 30 {
			b.count(addressOf("192.0.2.1:1"))
		}
		b.delayed = 0 // those above do not wait
		took := make(chan time.Duration, 1)
		go func() {
			d, _, _ := b.took(ctx, "192.0.2.1:1")
			took <- d
		}()
		synctest.Wait()
		return took
	}
	t.Run("when the client goes away", func(t *testing.T) {
		testBackoff(t, func(t *testing.T, b *backoff, _ *logs) {
			ctx, cancel := context.WithCancel(t.Context())
			took := fail(b, ctx)
			cancel()
			if d := <-took; d != 0 {
				t.Errorf("after %v", d)
			}
		})
	})
	t.Run("when the server stops", func(t *testing.T) {
		testBackoff(t, func(t *testing.T, b *backoff, log *logs) {
			took := fail(b, t.Context())
			b.stop()
			b.stop()
			if d := <-took; d != 0 {
				t.Errorf("after %v", d)
			}
			if d, held, _ := b.took(t.Context(), "192.0.2.1:1"); d != 0 || held {
				t.Errorf("afterwards: %v", d)
			}
			if got := log.String(); strings.Count(got, "failures=31") != 1 {
				t.Errorf("the count is lost: %s", got)
			}
		})
	})
}

func TestWaitingIsBounded(t *testing.T) {
	testBackoff(t, func(t *testing.T, b *backoff, _ *logs) {
		const client = "192.0.2.1:1"
		for range 100 {
			b.count(addressOf(client))
		}
		b.delayed = 0
		done := make(chan time.Duration, maxDelayed)
		for range maxDelayed {
			go func() {
				d, _, crowded := b.took(t.Context(), client)
				if crowded {
					t.Error("crowded too early")
				}
				done <- d
			}()
		}
		synctest.Wait()
		if d, held, crowded := b.took(t.Context(), client); d != 0 || !held || !crowded {
			t.Errorf("one more: %v, held back: %t, crowded: %t", d, held, crowded)
		}
		if d, held, _ := b.took(t.Context(), "192.0.2.9:1"); d != 0 || held {
			t.Errorf("another client: %v", d)
		}
		for range maxDelayed {
			if d := <-done; d != lastDelay {
				t.Errorf("%v", d)
			}
		}
	})
}

// Clients beyond the bound are counted too; one that was held back is logged
// when it is forgotten, and is the last to be.
func TestClientsAreBounded(t *testing.T) {
	testBackoff(t, func(t *testing.T, b *backoff, log *logs) {
		const most = 500
		b.most = most
		for range 21 {
			b.failed(t.Context(), "192.0.2.1:1")
		}
		for i := range 2 * most {
			b.failed(t.Context(), fmt.Sprintf("10.%d.%d.1:1", i/256, i%256))
		}
		if n := len(b.clients); n > most {
			t.Errorf("%d clients", n)
		}
		if d, _, _ := b.took(t.Context(), "192.0.2.1:1"); d != delayOf(22) {
			t.Errorf("the one that fails most was forgotten: %v", d)
		}
		if log.String() != "" {
			t.Errorf("%s", log)
		}
		// No client that was held back goes without a line.
		for i := range 2 * most {
			for range 21 {
				b.count(addressOf(fmt.Sprintf("10.%d.%d.2:1", i/256, i%256)))
			}
			b.delayed = 0
		}
		held := 0
		for _, c := range b.clients {
			if c.failures > freeFailures {
				held++
			}
		}
		if n := strings.Count(log.String(), "failures=2"); n+held != 2*most+1 || len(b.clients) > most {
			t.Errorf("%d in the log, %d of %d clients still held back", n, held, len(b.clients))
		}
	})
}

// Over HTTP: the failures of a client with a broken key wait, everybody else's
// requests from the same address do not, and the audit has twenty lines and a
// count.
func TestBrokenClientBehindAnAddress(t *testing.T) {
	r := start(t, Config{}, nil)
	const missing = `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`
	at := time.Now()
	for range freeFailures + 2 {
		r.want(post("GetSecretValue", "", `{"SecretId":"s"}`), 400, missing)
	}
	if d := time.Since(at); d < firstDelay+2*firstDelay {
		t.Errorf("22 failures took %v", d)
	}
	waits := make(chan answer, 1)
	go func() { waits <- r.send(post("GetSecretValue", "", `{"SecretId":"s"}`)) }()
	within(t, "delayed answers", func() bool {
		r.backoff.mu.Lock()
		defer r.backoff.mu.Unlock()
		return r.backoff.delayed == 1
	})
	r.call("ListSecrets", `{}`)
	select {
	case <-waits:
		t.Error("the answer to a failure overtook it")
	default:
	}
	if a := <-waits; a.StatusCode != 400 || a.body != missing || a.Close {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	r.backoff.mu.Lock()
	r.backoff.delayed += maxDelayed
	r.backoff.mu.Unlock()
	if a := r.send(post("GetSecretValue", "", `{"SecretId":"s"}`)); a.StatusCode != 400 || a.body != missing || !a.Close {
		t.Errorf("crowded: %d %s, the connection ends: %t", a.StatusCode, a.body, a.Close)
	}
	r.call("ListSecrets", `{}`)
	r.backoff.stop()
	log := r.log.String()
	if n := strings.Count(log, "verdict=refused"); n != freeFailures {
		t.Errorf("%d lines", n)
	}
	if !strings.Contains(log, "address=127.0.0.1 failures=24") {
		t.Errorf("no count: %s", log)
	}
}
