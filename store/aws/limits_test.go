package aws

import (
	"context"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// TestLimits: who has used up his part waits, and where there is no time for that
// is told so at once; other quotas are not touched.
func TestLimits(t *testing.T) {
	for _, op := range []string{opDescribe, opValue, opList, opVersions, opPut, opStage, opTag, opUntag} {
		if _, ok := quotaOf[op]; !ok {
			t.Errorf("%s has no quota", op)
		}
	}
	l := newLimits(0.02) // one write a second
	if err := l.wait(t.Context(), opPut); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	wantKind(t, l.wait(short, opStage), secrets.Transient, "UpdateSecretVersionStage was not sent", "store.aws.rate_limits")
	if took := time.Since(began); took > 80*time.Millisecond {
		t.Errorf("it took %v to say so", took)
	}
	for range 150 {
		if err := l.wait(short, opValue); err != nil {
			t.Fatal(err)
		}
	}
	l.set(2)
	if err := l.wait(t.Context(), opStage); err != nil { // it waits 10 ms
		t.Error(err)
	}
}

// TestPaced: the SDK's own retries are within the quotas too, and what was not
// sent for want of one was not done.
func TestPaced(t *testing.T) {
	w := newWorld(t)
	w.create("s", "x")
	s := w.another(func(c *Config) { c.RateLimits = 0.06 }) // three writes at once, three a second
	w.proxy.on(opStage, 99, throttles)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	w.proxy.counted()
	err := s.api.stage(ctx, "s", "X", "", tok("v1"))
	wantKind(t, err, secrets.Transient, `secret "s"`, "used up its part")
	if got := w.proxy.counted(); len(got) != 3 {
		t.Errorf("sent %v", got)
	}
	s.Reconfigure(Config{RateLimits: 1000})
	w.proxy.mend()
	if err := s.api.stage(t.Context(), "s", "X", "", tok("v1")); err != nil {
		t.Error(err)
	}
}
