package lambda

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/pawlhq/pawl/secrets"
)

const (
	testARN   = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/app-AbCdEf"
	testToken = "11111111-2222-4333-8444-555555555555"
)

// TestRead: the events that there are, and what is refused.
func TestRead(t *testing.T) {
	aStep := fmt.Sprintf(`{"Step":"createSecret","SecretId":%q,"ClientRequestToken":%q`, testARN, testToken)
	for _, c := range []struct{ event, want string }{
		{aStep + `}`, "step"},
		{aStep + `,"RotationToken":"r0tat10n"}`, "step"},
		{aStep + `,"SomethingNew":{"a":1}}`, "step"},
		{`{"secret":"prod/app"}`, "whole"},
		{`{"due":true}`, "due"},
		{`{"version":"0","id":"x","detail-type":"Scheduled Event","source":"aws.events","account":"1","time":"t","region":"r","resources":[],"detail":{}}`, "due"},
		{`{"source":"aws.scheduler","detail-type":"Scheduled Event","detail":{}}`, "due"},

		{`{}`, "none that Pawl knows. It takes"},
		{`null`, "it is no JSON object"},
		{`"createSecret"`, "it is no JSON object"},
		{`[]`, "it is no JSON object"},
		{`{"Secret":"prod/app"}`, "none that Pawl knows"}, // names are exact
		{`{"secret":"prod/app","dryRun":true}`, "beside secret it can have no other member"},
		{`{"due":true,"secret":"prod/app"}`, "beside secret it can have no other member"},
		{`{"due":true,"all":true}`, "beside due it can have no other member"},
		{`{"due":false}`, "can only be true"},
		{`{"due":"true"}`, "can only be true"},
		{`{"secret":""}`, "must be the name or the ARN"},
		{`{"secret":["a"]}`, "must be the name or the ARN"},
		{`{"secret":null}`, "must be the name or the ARN"},
		{`{"source":"aws.s3","detail":{}}`, "it has another source"},
		{`{"source":7}`, "it has another source"},
		{`{"Step":"createSecret"}`, "Not there: ClientRequestToken, SecretId."},
		{`{"SecretId":"x","Step":3,"ClientRequestToken":""}`, "Not there: ClientRequestToken, Step."},
	} {
		e, err := read(json.RawMessage(c.event))
		switch e.(type) {
		case step, whole, due:
			if got := strings.TrimPrefix(fmt.Sprintf("%T", e), "lambda."); got != c.want || err != nil {
				t.Errorf("%s: %s, %v; want %s", c.event, got, err, c.want)
			}
		default:
			f := failure(err)
			if f.Type != ValueError || !strings.Contains(f.Message, c.want) {
				t.Errorf("%s: %q; want a ValueError with %q", c.event, f.Message, c.want)
			}
		}
	}
}

// TestCheck: AWS's functions' checks in their order and their words.
func TestCheck(t *testing.T) {
	other := "99999999-2222-4333-8444-555555555555"
	with := func(labels ...string) secrets.Versions {
		return secrets.Versions{{ID: other, Labels: []string{secrets.Current}}, {ID: testToken, Labels: labels}}
	}
	pending := with(secrets.Pending)
	for _, c := range []struct {
		name       string
		step       string
		off        bool
		versions   secrets.Versions
		done, want string
	}{
		{"as it should be", "createSecret", false, pending, "", ""},
		{"off", "createSecret", true, pending, "", "Secret " + testARN + " is not enabled for rotation"},
		{"off goes first", "nonsense", true, nil, "", "Secret " + testARN + " is not enabled for rotation"},
		{"no version", "createSecret", false, secrets.Versions{{ID: other, Labels: []string{secrets.Current}}}, "",
			"Secret version " + testToken + " has no stage for rotation of secret " + testARN + "."},
		{"no label", "createSecret", false, with(), "", "Secret version " + testToken + " has no stage for rotation of secret " + testARN + "."},
		{"current", "finishSecret", false, with(secrets.Current, secrets.Pending),
			"Secret version " + testToken + " already set as AWSCURRENT for secret " + testARN + ".", ""},
		{"current goes before the step", "nonsense", false, with(secrets.Current),
			"Secret version " + testToken + " already set as AWSCURRENT for secret " + testARN + ".", ""},
		{"old token", "setSecret", false, with(secrets.Previous), "",
			"Secret version " + testToken + " not set as AWSPENDING for rotation of secret " + testARN + "."},
		{"pending goes before the step", "nonsense", false, with(secrets.Previous), "",
			"Secret version " + testToken + " not set as AWSPENDING for rotation of secret " + testARN + "."},
		{"unknown step", "createsecret", false, pending, "", "Invalid step parameter createsecret for secret " + testARN},
	} {
		done, err := step{Step: c.step, SecretID: testARN, ClientRequestToken: testToken}.check(c.versions, c.off)
		var f messages.InvokeResponse_Error
		if errors.As(err, &f); done != c.done || f.Message != c.want || (err != nil && f.Type != ValueError) {
			t.Errorf("%s: %q, %v\nwant %q, %q", c.name, done, err, c.done, c.want)
		}
	}
}

// TestRotationTokenIsNotShown: it is a credential.
func TestRotationTokenIsNotShown(t *testing.T) {
	e, err := read(json.RawMessage(fmt.Sprintf(`{"Step":"setSecret","SecretId":%q,"ClientRequestToken":%q,"RotationToken":"c4n4ry"}`, testARN, testToken)))
	if err != nil || e.(step).rotationToken != "c4n4ry" {
		t.Fatalf("%v, %v", e, err)
	}
	for _, shown := range []string{fmt.Sprint(e), fmt.Sprintf("%+v", e), fmt.Sprintf("%#v", e), fmt.Sprint(e.about()...)} {
		if strings.Contains(shown, "c4n4ry") {
			t.Error(shown)
		}
	}
}
