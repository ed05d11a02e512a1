package scheduler

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cenkalti/backoff/v4"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
)

var _ backoff.BackOff = (*FullJitter)(nil)

func TestFullJitterTable(t *testing.T) {
	most := []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300}
	random := 0.0
	b := soon(func() float64 { return random })
	for n, m := range most {
		for _, r := range []float64{0, 0.5, 0.999999} {
			want := 100*time.Millisecond + time.Duration(r*float64(m*time.Second-100*time.Millisecond))
			if got := b.Delay(n, r); got != want {
				t.Errorf("Delay(%d, %v) = %v, want %v", n, r, got, want)
			}
		}
	}
	if got := b.Delay(1<<30, 0.5); got != 150*time.Second+50*time.Millisecond {
		t.Errorf("after very many tries: %v", got)
	}
	// As a BackOff it goes through the same table, and Reset begins anew.
	for range 2 {
		for n := range most {
			random = float64(n) / 20
			if got, want := b.NextBackOff(), b.Delay(n, random); got != want {
				t.Errorf("NextBackOff %d = %v, want %v", n, got, want)
			}
		}
		b.Reset()
	}
}

func TestFullJitterStaysInBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := FullJitter{
			Base:  time.Duration(rapid.Int64Range(1, int64(time.Hour)).Draw(t, "base")),
			Cap:   time.Duration(rapid.Int64Range(1, int64(100*time.Hour)).Draw(t, "cap")),
			Floor: time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "floor")),
		}
		n := rapid.IntRange(0, 10_000).Draw(t, "n")
		d := f.Delay(n, rapid.Float64Range(0, 0.9999999).Draw(t, "random"))
		if d > f.Cap || d < 0 || d < min(f.Floor, f.Base, f.Cap) {
			t.Fatalf("%v", d)
		}
		if n > 0 && f.Delay(n, 0.5) < f.Delay(n-1, 0.5) {
			t.Fatal("shrinks")
		}
	})
}

func TestFailed(t *testing.T) {
	now := midnight
	denied := secrets.Errorf(secrets.Denied, "refused")
	transient := secrets.Errorf(secrets.Transient, "away")
	for _, c := range []struct {
		name  string
		last  secrets.Attempt
		err   error
		r     float64
		tries int
		wait  time.Duration
	}{
		{"first transient", secrets.Attempt{}, transient, 0, 1, 100 * time.Millisecond},
		{"first unknown", secrets.Attempt{}, errors.New("who knows"), 0.5, 1, 550 * time.Millisecond},
		{"fifth", secrets.Attempt{Tries: 4, Kind: secrets.Unknown}, transient, 0.5, 5, 8050 * time.Millisecond},
		{"first denied", secrets.Attempt{}, denied, 0, 1, 15 * time.Minute},
		{"jitter takes off up to a tenth", secrets.Attempt{}, denied, 0.5, 1, 15*time.Minute - 45*time.Second},
		{"second denied", secrets.Attempt{Tries: 1, Kind: secrets.Denied}, denied, 0, 2, 30 * time.Minute},
		{"invalid after denied", secrets.Attempt{Tries: 2, Kind: secrets.Denied}, secrets.Errorf(secrets.Invalid, "x"), 0, 3, time.Hour},
		{"seventh denied", secrets.Attempt{Tries: 6, Kind: secrets.Denied}, denied, 0, 7, 16 * time.Hour},
		{"eighth denied", secrets.Attempt{Tries: 7, Kind: secrets.Denied}, denied, 0, 8, 24 * time.Hour},
		{"thousandth denied", secrets.Attempt{Tries: 999, Kind: secrets.Denied}, denied, 0, 1000, 24 * time.Hour},
		{"denied after many transients", secrets.Attempt{Tries: 30, Kind: secrets.Transient}, denied, 0, 1, 15 * time.Minute},
		{"transient after many denied", secrets.Attempt{Tries: 30, Kind: secrets.Denied}, transient, 0, 1, 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			since := now
			if c.last.Tries > 0 {
				since = now.Add(-time.Hour)
				c.last.FailingSince = since
			}
			a := failed(c.last, c.err, now, c.r)
			if a.Tries != c.tries || a.NextTry.Sub(now) != c.wait || !a.FailingSince.Equal(since) ||
				a.Kind != secrets.KindOf(c.err) || a.LastError != c.err.Error() {
				t.Errorf("%+v, waits %v", a, a.NextTry.Sub(now))
			}
		})
	}
}

func TestOneLine(t *testing.T) {
	if got := oneLine(errors.Join(errors.New("a"), errors.New("b"))); got != "a; b" {
		t.Errorf("%q", got)
	}
	long := oneLine(fmt.Errorf("%s", strings.Repeat("é", 3000)))
	if len(long) > maxErrorText+3 || !strings.HasSuffix(long, "é…") {
		t.Errorf("%d bytes", len(long))
	}
}

func TestBreaker(t *testing.T) {
	var b breaker
	now := midnight
	at := func(d time.Duration) time.Time { return now.Add(d) }
	// A success in between starts the count anew.
	for _, v := range []verdict{sick, sick, healthy, sick, silent, sick} {
		if b.record(v, false, now, 0) || b.isOpen() {
			t.Fatal("opened too early")
		}
	}
	if !b.record(sick, false, now, 0) || !b.isOpen() {
		t.Fatal("three failures in a row must open it")
	}
	if b.record(sick, false, at(time.Second/2), 0); b.until != at(time.Second) {
		t.Errorf("a straggler moved the end of the cool-down: %v", b.until)
	}
	if b.admit(at(time.Second - 1)) {
		t.Error("admits during the cool-down")
	}
	if !b.admit(at(time.Second)) || b.admit(at(time.Hour)) {
		t.Error("one probe, and only one")
	}
	if b.record(silent, true, at(time.Second), 0); !b.isOpen() || !b.admit(at(time.Second)) {
		t.Error("a probe that says nothing must be followed by another")
	}
	// Each failed probe lengthens the cool-down, up to a minute.
	for i, most := range []time.Duration{10, 20, 40, 60, 60, 60} {
		now = b.until
		if i > 0 && !b.admit(now) {
			t.Fatal("no probe")
		}
		if b.record(sick, true, now, 0.5) {
			t.Error("already open")
		}
		if want := time.Second + (most-1)*time.Second/2; b.until.Sub(now) != want {
			t.Errorf("cool-down %d: %v, want %v", i, b.until.Sub(now), want)
		}
	}
	if !b.admit(b.until) || !b.record(healthy, true, b.until, 0) || b.isOpen() || !b.idle() {
		t.Error("a good probe must close it")
	}
}
