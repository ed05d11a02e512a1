package main

import (
	"strings"
	"testing"
	"time"
)

// TestStoreStatus: what is bounded says so, and a claim that is over is told from
// one that keeps others out.
func TestStoreStatus(t *testing.T) {
	since := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	ahead := 61.25
	s := storeStatus{
		Skew:  &ahead,
		Store: "PostgreSQL at db:5432, database pawl", Server: "10.0.0.7:5432", Version: "18.4", Schema: 3,
		Places: []placeView{{"123456789012", "us-east-1", mostCounted}, {"123456789012", "eu-west-1", 7}}, More: true,
		Due: mostCounted, Oldest: &since,
		Leases: &[]leaseView{
			{name: "prod/app", By: "a:12", Silent: 1.25, Left: 13.75},
			{name: "prod/gone", By: "b:7", Silent: 20, Left: -5},
		},
	}
	var out strings.Builder
	if err := s.print(&out); err != nil {
		t.Fatal(err)
	}
	const want = `Store   PostgreSQL at db:5432, database pawl
Server  10.0.0.7:5432, version 18.4
Clock   this machine's is 1m1.3s ahead of the database's
Schema  version 3
Due     1000000 or more, the oldest since 2030-01-02 03:04:05Z

ACCOUNT       REGION     SECRETS
123456789012  us-east-1  1000000 or more
123456789012  eu-west-1  7
… and more accounts and regions than these 100

ROTATING   BY    SILENT FOR  CLAIM
prod/app   a:12  1.2s        ends in 13.8s, if he stays silent
prod/gone  b:7   20.0s       is over: free for the next
`
	if out.String() != want {
		t.Errorf("got\n%s", out.String())
	}
}
