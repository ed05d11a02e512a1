package principals_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
)

func wantNotAuthorized(t *testing.T, err error, text string) {
	t.Helper()
	var e *secrets.Error
	if !errors.As(err, &e) || e.Kind != secrets.Denied || e.Code != "AccessDenied" || e.Err.Error() != text {
		t.Errorf("got  %v (%s)\nwant %s", err, secrets.CodeOf(err), text)
	}
}

// TestAssumeRole is who may assume a role, by IAM's documented logic.
func TestAssumeRole(t *testing.T) {
	h := newHouse(t)
	assume := allow("assume", "sts:AssumeRole")
	callers := map[string]access.Principal{"root": {Account: account, ARN: "arn:aws:iam::111122223333:root", Type: policy.RootUser}}
	add := func(name string, c *principals.Credentials) { callers[name] = use(t, h.Directory, c) }
	for name, n := range map[string]principals.NewPrincipal{
		"plain":   {},
		"free":    {Policies: []principals.Policy{assume}},
		"stopped": {Policies: []principals.Policy{assume, {Name: "stop", Document: strings.Replace(assume.Document, "Allow", "Deny", 1)}}},
		"bound":   {Policies: []principals.Policy{assume}, Boundary: allow("", read).Document},
		"far":     {Account: other},
		"farfree": {Account: other, Policies: []principals.Policy{assume}},
	} {
		n.Name = name
		_, creds := h.make(t, n)
		add(name, creds)
	}
	h.role(t, "first", trust(`"*"`))
	h.role(t, "firstfree", trust(`"*"`), assume)
	add("session", h.session(t, "first", principals.NewSession{Name: "s1"}))
	add("sessionfree", h.session(t, "firstfree", principals.NewSession{Name: "s1"}))
	add("usersession", h.session(t, "free", principals.NewSession{}))
	add("userlimited", h.session(t, "free", principals.NewSession{Policy: allow("", read).Document}))
	arn := func(s string) string { return `{"AWS": "arn:aws:` + s + `"}` }

	for i, c := range []struct {
		trust string
		may   string // the callers, in the order of all
	}{
		{trust(arn("iam::111122223333:user/nobody")), ""},
		// Himself: his own policies need not.
		{trust(arn("iam::111122223333:user/plain")), "plain"},
		{trust(arn("iam::111122223333:user/stopped")), ""},
		{trust(arn("iam::111122223333:user/bound")), "bound"},
		// His account: his own policies must. Being root is enough.
		{trust(`{"AWS": "111122223333"}`), "free root sessionfree usersession"},
		{trust(arn("iam::111122223333:root")), "free root sessionfree usersession"},
		// Another account's: both.
		{trust(`{"AWS": "444455556666"}`), "farfree"},
		{trust(arn("iam::444455556666:user/far")), ""},
		{trust(arn("iam::444455556666:user/farfree")), "farfree"},
		// Everybody: of this account without more, of others with.
		{trust(`"*"`), "bound farfree free plain root session sessionfree usersession"},
		// A role, and one of its sessions.
		{trust(arn("iam::111122223333:role/first")), "session"},
		{trust(arn("sts::111122223333:assumed-role/first/s1")), "session"},
		{trust(arn("sts::111122223333:assumed-role/first/s2")), ""},
		{trust(`{"Service": "ec2.amazonaws.com"}`), ""},
		// A user's own policies alone are never enough.
		{strings.Replace(trust(`"*"`), "sts:AssumeRole", "sts:TagSession", 1), ""},
		{strings.Replace(trust(`"*"`), "Allow", "Deny", 1), ""},
		{strings.Replace(trust(`"*"`), "sts:AssumeRole", "sts:*", 1), "bound farfree free plain root session sessionfree usersession"},
		{`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*"},
			{"Effect": "Deny", "Principal": {"AWS": "arn:aws:iam::111122223333:user/plain"}, "Action": "sts:AssumeRole"}]}`, "bound farfree free root session sessionfree usersession"},
		{`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole",
			"Condition": {"StringEquals": {"sts:ExternalId": "x-1", "sts:RoleSessionName": "job", "aws:ResourceTag/team": "red", "aws:UserAgent": "u"}}}]}`,
			"bound farfree free plain root session sessionfree usersession"},
		{`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"sts:ExternalId": "x-2"}}}]}`, ""},
		{`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sts:AssumeRole", "Condition": {"StringEquals": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/first"}}}]}`, "session"},
	} {
		name := fmt.Sprint("r", i)
		role, _ := h.make(t, principals.NewPrincipal{Name: name, Kind: principals.Role, Trust: c.trust, Tags: []policy.Tag{{Key: "team", Value: "red"}}})
		request := policy.Context{}
		request.Add("aws:UserAgent", "u")
		for who, caller := range callers {
			creds, err := h.AssumeRole(t.Context(), caller, role.ARN(), principals.NewSession{Name: "job", ExternalID: "x-1", Context: request})
			if want := strings.Contains(" "+c.may+" ", " "+who+" "); want != (err == nil) {
				t.Errorf("%s by %s: %v, want %v", c.trust, who, err, want)
			}
			if err != nil {
				wantNotAuthorized(t, err, "User: "+caller.ARN+" is not authorized to perform: sts:AssumeRole on resource: "+role.ARN())
				continue
			}
			if p := use(t, h.Directory, creds); p.ARN != "arn:aws:sts::111122223333:assumed-role/"+name+"/job" || p.Issuer != role.ARN() {
				t.Errorf("got %+v", p)
			}
		}
	}
}

func TestAssumeRoleRefuses(t *testing.T) {
	h := newHouse(t)
	_, creds := h.user(t, "ada", allow("assume", "sts:*"))
	ada := use(t, h.Directory, creds)
	open := h.role(t, "open", trust(`"*"`))
	h.make(t, principals.NewPrincipal{Name: "long", Kind: principals.Role, Trust: trust(`"*"`), MaxSession: 4 * time.Hour})
	off := h.role(t, "off", trust(`"*"`))
	if _, err := h.SetDisabled(t.Context(), "off", true); err != nil {
		t.Fatal(err)
	}
	// A role that there is not, one that is disabled, a user's name: all the same.
	for _, arn := range []string{"arn:aws:iam::111122223333:role/none", off.ARN(), "arn:aws:iam::111122223333:role/ada", "arn:aws:iam::444455556666:role/open", "arn:aws-cn:iam::111122223333:role/open", "arn:aws:iam::111122223333:role/a/open"} {
		_, err := h.AssumeRole(t.Context(), ada, arn, principals.NewSession{})
		wantNotAuthorized(t, err, "User: arn:aws:iam::111122223333:user/ada is not authorized to perform: sts:AssumeRole on resource: "+arn)
	}
	for _, arn := range []string{"", "open", "arn:aws:iam::111122223333:user/ada", "arn:aws:iam::1:role/open", "arn:aws:iam::111122223333:role/", "arn:aws:iam::111122223333:role/a b"} {
		_, err := h.AssumeRole(t.Context(), ada, arn, principals.NewSession{})
		wantInvalid(t, err, arn+" is invalid")
	}
	_, err := h.AssumeRole(t.Context(), ada, open.ARN(), principals.NewSession{Duration: 2 * time.Hour})
	wantInvalid(t, err, "MaxSessionDuration")
	_, err = h.AssumeRole(t.Context(), ada, open.ARN(), principals.NewSession{ExternalID: "x"})
	wantInvalid(t, err, "externalId")
	_, err = h.AssumeRole(t.Context(), ada, open.ARN(), principals.NewSession{Duration: time.Minute})
	wantInvalid(t, err, "durationSeconds")

	// A role's session makes sessions of one hour at most.
	longARN := "arn:aws:iam::111122223333:role/long"
	if c, err := h.AssumeRole(t.Context(), ada, longARN, principals.NewSession{Duration: 4 * time.Hour}); err != nil || !c.Expires.Equal(h.clock.now().Add(4*time.Hour)) {
		t.Errorf("got %+v, %v", c, err)
	}
	c, err := h.AssumeRole(t.Context(), ada, open.ARN(), principals.NewSession{})
	if err != nil || c.ARN != "arn:aws:sts::111122223333:assumed-role/open/ada" {
		t.Fatalf("got %+v, %v", c, err)
	}
	chained := use(t, h.Directory, c)
	_, err = h.AssumeRole(t.Context(), chained, longARN, principals.NewSession{Duration: time.Hour + time.Second})
	wantInvalid(t, err, "role chaining")
	if c, err := h.AssumeRole(t.Context(), chained, longARN, principals.NewSession{}); err != nil || c.ARN != "arn:aws:sts::111122223333:assumed-role/long/ada" {
		t.Errorf("got %+v, %v", c, err)
	}
}

// TestTagSession: tags of a session are a right of their own.
func TestTagSession(t *testing.T) {
	h := newHouse(t)
	_, creds := h.user(t, "ada")
	ada := use(t, h.Directory, creds)
	h.role(t, "untagged", trust(`"*"`))
	h.role(t, "tagged", `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole", "sts:TagSession"],
		"Condition": {"StringEquals": {"aws:RequestTag/team": ["red", "blue"]}, "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}}]}`)
	ask := func(role string, tags ...policy.Tag) error {
		c, err := h.AssumeRole(t.Context(), ada, "arn:aws:iam::111122223333:role/"+role, principals.NewSession{Tags: tags})
		if err == nil && len(use(t, h.Directory, c).Tags) != len(tags) {
			t.Error("the session has other tags")
		}
		return err
	}
	red := policy.Tag{Key: "team", Value: "red"}
	if err := errors.Join(ask("untagged"), ask("tagged", red)); err != nil {
		t.Error(err)
	}
	wantNotAuthorized(t, ask("untagged", red), "User: "+ada.ARN+" is not authorized to perform: sts:TagSession on resource: arn:aws:iam::111122223333:role/untagged")
	for _, tags := range [][]policy.Tag{{}, {{Key: "team", Value: "green"}}, {red, {Key: "more", Value: "x"}}} {
		if err := ask("tagged", tags...); secrets.CodeOf(err) != "AccessDenied" {
			t.Errorf("%v: %v", tags, err)
		}
	}
}

// TestTagsByAnotherName: a tag that policies find by a name is asked for by that
// name, also where its letters are others: ſ is an s without regard to case.
func TestTagsByAnotherName(t *testing.T) {
	h := newHouse(t)
	_, creds := h.user(t, "ada")
	ada := use(t, h.Directory, creds)
	h.role(t, "tagged", `{"Version": "2012-10-17", "Statement": [
		{"Effect": "Allow", "Principal": "*", "Action": ["sts:AssumeRole", "sts:TagSession"]},
		{"Effect": "Deny", "Principal": "*", "Action": "sts:TagSession", "Condition": {"StringEquals": {"aws:RequestTag/access": "all"}}}]}`)
	for _, key := range []string{"access", "Access", "acceſs", "acceſſ"} {
		_, err := h.AssumeRole(t.Context(), ada, "arn:aws:iam::111122223333:role/tagged", principals.NewSession{Tags: []policy.Tag{{Key: key, Value: "all"}}})
		if secrets.CodeOf(err) != "AccessDenied" {
			t.Errorf("%s: %v", key, err)
		}
	}
}
