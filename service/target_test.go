package service

import (
	"strconv"
	"testing"
)

func TestTargetsAreBounded(t *testing.T) {
	var ts targets
	for i := range maxTargets + 100 {
		arn := strconv.Itoa(i)
		ts.put(arn, target{version: "v", addr: "db:5432"})
		ts.put(arn, target{version: "v", addr: "db:5433"})
		if addr, ok := ts.get(arn, target{version: "v"}); !ok || addr != "db:5433" {
			t.Fatalf("%d: %q, %v", i, addr, ok)
		}
	}
	if n := len(ts.m); n != maxTargets {
		t.Errorf("%d are remembered", n)
	}
	if _, ok := ts.get(strconv.Itoa(maxTargets+99), target{version: "another"}); ok {
		t.Error("another version has the target of the first")
	}
}
