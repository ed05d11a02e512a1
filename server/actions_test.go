package server

import (
	"slices"
	"testing"
)

func TestActions(t *testing.T) {
	all := Actions()
	if !slices.IsSorted(all) || !slices.Contains(all, "secretsmanager:GetSecretValue") || !slices.Contains(all, "pawl:StartRotation") || len(all) != 32 {
		t.Errorf("%d actions: %q", len(all), all)
	}
}

func TestOfRequest(t *testing.T) {
	for _, c := range []struct {
		action, key string
		want        bool
	}{
		{"secretsmanager:GetSecretValue", "aws:sourceip", true},
		{"pawl:StartRotation", "aws:useragent", true},
		{"secretsmanager:GetSecretValue", "secretsmanager:versionstage", true},
		{"secretsmanager:DescribeSecret", "secretsmanager:versionstage", false},
		{"pawl:GetSecretValue", "secretsmanager:versionstage", false},
		{"secretsmanager:TagResource", "aws:requesttag/team", true},
		{"secretsmanager:TagResource", "aws:tagkeys", true},
		{"secretsmanager:UntagResource", "aws:tagkeys", true},
		{"secretsmanager:UntagResource", "aws:requesttag/team", false},
		{"secretsmanager:GetSecretValue", "secretsmanager:secretid", false},
		{"secretsmanager:GetSecretValue", "aws:resourcetag/team", false},
		{"secretsmanager:GetSecretValue", "aws:principalorgid", false},
		{"secretsmanager:GetSecretValue", "aws:currenttime", false},
	} {
		if got := OfRequest(c.action, c.key); got != c.want {
			t.Errorf("OfRequest(%s, %s) = %v", c.action, c.key, got)
		}
	}
}
