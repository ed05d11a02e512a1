package lambda

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func dues(names ...string) (ds []service.Due) {
	for _, n := range names {
		ds = append(ds, service.Due{ARN: secrets.ARN{Name: n}})
	}
	return ds
}

// TestSummaryCut: what an invocation tells when its time is over in the middle.
func TestSummaryCut(t *testing.T) {
	var s summary
	s.expect(dues("a", "b", "c", "d", "e"))
	for _, name := range []string{"a", "b", "c", "d"} {
		s.begin(name)
	}
	s.done("a", rotator.Result{Outcome: rotator.Rotated, Version: "v"})
	s.done("b", rotator.Result{Outcome: rotator.AtRest}) // another one was faster
	next := time.Date(2030, 1, 2, 3, 4, 5, 6, time.UTC)
	s.failed("c", secrets.Errorf(secrets.Denied, "no\nnever"), next)
	s.cut()
	err := s.failure()
	var got Summary
	if jerr := json.Unmarshal([]byte(failure(err).Message), &got); jerr != nil || failure(err).Type != "Denied" {
		t.Fatalf("%v, %v", err, jerr)
	}
	next = next.Truncate(time.Second)
	want := Summary{
		Rotated: []Rotated{{"a", "v", rotator.Rotated}},
		Failed: []Failed{
			{"c", "Denied", "no; never", &next},
			{Secret: "d", Kind: "Transient", Error: `secret "d": the invocation's time ran out before this ended; the labels keep where the rotation is; invoke the function again; give the function a longer time-out if that happens often`},
		},
		Left: []string{"e"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestSummaryIsBounded: Lambda takes no answer of any length.
func TestSummaryIsBounded(t *testing.T) {
	var s summary
	long := errors.New(string(make([]byte, 10_000)))
	for i := range 3 * maxListed {
		s.failed(fmt.Sprint(i), long, time.Time{})
		s.expect(dues(fmt.Sprint(i, " left")))
	}
	s.leave()
	out := s.answer()
	if len(out.Failed) != maxListed || len(out.Left) != maxListed || out.Unlisted != 4*maxListed {
		t.Errorf("%d failed, %d left, %d unlisted", len(out.Failed), len(out.Left), out.Unlisted)
	}
	if n := len(out.Failed[0].Error); n > maxText+len("…") {
		t.Errorf("a text of %d bytes", n)
	}
}

// TestSummaryDown: a server is down when the rotations of two secrets failed there.
func TestSummaryDown(t *testing.T) {
	var s summary
	at := func(server string) error {
		return secrets.At(secrets.Errorf(secrets.Transient, "refused"), "", "", server)
	}
	for range 2 {
		if s.down("a", at("db:1")) || s.isDown("db:1") {
			t.Error("one secret makes no server down")
		}
	}
	if s.down("b", at("db:2")) || s.down("b", errors.New("nowhere")) || s.down("c", errors.New("nowhere")) {
		t.Error("down is a server of which nobody spoke twice")
	}
	if !s.down("b", at("db:1")) || !s.isDown("DB:1") || s.isDown("db:2") || s.isDown("db:11") || s.isDown("") {
		t.Error("two secrets make a server down, and only that one")
	}
}
