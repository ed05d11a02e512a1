package service_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func TestUpdateSecret(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "one")
	h.put("s", "v2", "AWSPENDING")
	update := func(in service.UpdateSecretInput) *service.UpdateSecretOutput {
		t.Helper()
		h.clock.add(time.Minute)
		in.SecretID = "s"
		if in.ClientRequestToken == "" {
			in.ClientRequestToken = tok("unused")
		}
		out, err := h.UpdateSecret(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		if !h.record("s").Changed.Equal(h.clock.now()) {
			t.Error("LastChangedDate did not move")
		}
		return out
	}
	none := &service.UpdateSecretOutput{ARN: arn, Name: "s"}
	for _, c := range []struct {
		in         service.UpdateSecretInput
		want, kind string // description, type
	}{
		{service.UpdateSecretInput{}, "", ""},
		{service.UpdateSecretInput{Description: new("the db")}, "the db", ""},
		{service.UpdateSecretInput{Type: "SnowflakePat"}, "the db", "SnowflakePat"},
		{service.UpdateSecretInput{Description: new("")}, "", "SnowflakePat"},
		{service.UpdateSecretInput{GivenValue: service.Give(secrets.Text("")), Description: new("x")}, "x", "SnowflakePat"}, // an empty value is none
	} {
		if diff := cmp.Diff(none, update(c.in)); diff != "" {
			t.Error(diff)
		}
		d, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
		if err != nil || d.Description != c.want || d.Type != c.kind {
			t.Errorf("%+v: %+v, %v", c.in, d, err)
		}
		if got := h.labels("s"); got != "v1[AWSCURRENT] v2[AWSPENDING]" {
			t.Errorf("labels are %s", got)
		}
	}
	// A value becomes current, as by a put, and equals or not.
	want := &service.UpdateSecretOutput{ARN: arn, Name: "s", VersionID: tok("v3")}
	if diff := cmp.Diff(want, update(service.UpdateSecretInput{ClientRequestToken: tok("v3"), GivenValue: service.Give(secrets.Text("one"))})); diff != "" {
		t.Error(diff)
	}
	if got := h.labels("s"); got != "v1[AWSPREVIOUS] v2[] v3[AWSCURRENT]" {
		t.Errorf("labels are %s", got)
	}
	if sec := h.record("s"); !sec.ValueChanged.Equal(h.clock.now()) || sec.Description != "x" {
		t.Errorf("stored %+v", sec)
	}
	h.emptyVersion("s", "void", "AWSPENDING")
	update(service.UpdateSecretInput{ClientRequestToken: tok("void"), GivenValue: service.Give(secrets.Binary([]byte{1}))})
	if out, err := h.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"}); err != nil || out.VersionID != tok("void") || !out.Value.Equal(secrets.Binary([]byte{1})) {
		t.Errorf("got %+v, %v", out, err)
	}
}

// A token used before is a repetition, or a mistake.
func TestUpdateSecretAgain(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "one")
	h.put("s", "v2")
	update := func(value string, in service.UpdateSecretInput) (*service.UpdateSecretOutput, error) {
		h.clock.add(time.Minute)
		in.SecretID, in.ClientRequestToken, in.GivenValue = "s", tok("v1"), service.Give(secrets.Text(value))
		return h.UpdateSecret(t.Context(), in)
	}
	before := h.record("s")
	out, err := update("one", service.UpdateSecretInput{})
	if diff := cmp.Diff(&service.UpdateSecretOutput{ARN: arn, Name: "s", VersionID: tok("v1")}, out); err != nil || diff != "" {
		t.Error(err, diff)
	}
	_, err = update("other", service.UpdateSecretInput{Description: new("new"), KmsKeyID: new("alias/x")})
	wantErr(t, err, "ResourceExistsException", "You can't use ClientRequestToken "+tok("v1")+" because that value is already in use for a version of secret "+arn+".")
	if diff := cmp.Diff(before, h.record("s")); diff != "" {
		t.Error("a repeated or refused update changed something:", diff)
	}
	// What it says beside the value is done all the same.
	if _, err := update("one", service.UpdateSecretInput{Description: new("new")}); err != nil {
		t.Error(err)
	}
	sec := h.record("s")
	if sec.Description != "new" || !sec.Changed.Equal(h.clock.now()) || render(sec.Versions) != "v1[AWSPREVIOUS] v2[AWSCURRENT]" {
		t.Errorf("stored %+v", sec)
	}
	// Somebody else's version of that token may come while the update is made.
	for value, code := range map[string]string{"value of v3": "", "mine": "ResourceExistsException"} {
		h := open(t, service.Config{})
		h.create("s", "one")
		h.store.pending = func() { h.put("s", "v3") }
		_, err := h.UpdateSecret(t.Context(), service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("v3"), GivenValue: service.Give(secrets.Text(value))})
		if secrets.CodeOf(err) != code || len(h.record("s").Versions) != 2 {
			t.Errorf("%s: %v", value, err)
		}
	}
}

func TestUpdateSecretRefuses(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "one")
	before := h.record("s")
	text := service.Give(secrets.Text("x"))
	both := service.GivenValue{SecretString: text.SecretString, SecretBinary: service.SecretBlob{Value: secrets.Binary([]byte("x"))}}
	for _, c := range []struct {
		name, code, text string
		in               service.UpdateSecretInput
	}{
		{"no token", "InvalidRequestException", tokenText, service.UpdateSecretInput{SecretID: "nowhere", GivenValue: text}},
		{"no token, no value", "InvalidRequestException", tokenText, service.UpdateSecretInput{SecretID: "s", Description: new("x")}},
		{"both values", "InvalidParameterException", bothText, service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: both}},
		{"a bad key", "InvalidParameterException", "The operation failed because of an invalid KMS key: Invalid keyId", service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("v2"), Description: new("x"), KmsKeyID: new("mine")}},
		{"a key elsewhere", "InvalidParameterException", "The operation failed because of an invalid KMS key: Invalid arn eu-west-1", service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: text, KmsKeyID: new("arn:aws:kms:eu-west-1:123456789012:alias/x")}},
		{"another service's key", "AccessDeniedException", "Access to KMS is not allowed", service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("v2"), KmsKeyID: new("alias/aws/s3")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := h.UpdateSecret(t.Context(), c.in)
			wantErr(t, err, c.code, c.text)
			if diff := cmp.Diff(before, h.record("s")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A new key takes over the versions with AWS's labels, and all that follow.
func TestUpdateSecretKey(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	h.put("s", "v2", "MINE")
	for _, id := range []string{"v3", "v4"} {
		h.put("s", id)
	}
	h.put("s", "v5", "AWSPENDING")
	keys := func(want string) {
		t.Helper()
		out, err := h.ListSecretVersionIDs(t.Context(), service.ListSecretVersionIDsInput{SecretID: "s", IncludeDeprecated: true})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, v := range out.Versions {
			got += short(v.VersionID) + fmt.Sprint(v.KmsKeyIDs)
		}
		if got != want {
			t.Errorf("keys are %s, want %s", got, want)
		}
	}
	update := func(key, token string, v service.GivenValue) {
		t.Helper()
		if _, err := h.UpdateSecret(t.Context(), service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok(token), KmsKeyID: &key, GivenValue: v}); err != nil {
			t.Fatal(err)
		}
		d, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
		if err != nil || d.KmsKeyID != key {
			t.Errorf("described as %+v, %v", d, err)
		}
		for _, id := range []string{"v1", "v2", "v3", "v4", "v5"} {
			h.value("s", id)
		}
	}
	const d = "DefaultEncryptionKey"
	keys("v1[" + d + "]v2[" + d + "]v3[" + d + "]v4[" + d + "]v5[" + d + "]")
	update("alias/a", "unused", service.GivenValue{})
	keys("v1[" + d + "]v2[" + d + "]v3[alias/a]v4[alias/a]v5[alias/a]")
	h.clock.add(time.Second)
	update("alias/b", "v6", service.Give(secrets.Text("new")))
	keys("v1[" + d + "]v2[" + d + "]v3[alias/a]v4[alias/b]v5[alias/a]v6[alias/b]")
	update("", "unused", service.GivenValue{})
	keys("v1[" + d + "]v2[" + d + "]v3[alias/a]v4[" + d + "]v5[alias/a]v6[" + d + "]")
	update("alias/aws/secretsmanager", "unused", service.GivenValue{}) // named, it stays visible
}

// What an AWS service manages is changed by that service only.
func TestManagedSecrets(t *testing.T) {
	const managed = "This secret is managed by an AWS service, and you must use that service to update it."
	for _, c := range calls() {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, service.Config{})
			h.create("s", `{"username":"u"}`)
			h.change("s", func(sec *service.Secret) { sec.OwningService = "rds" })
			before := h.record("s")
			switch c.name {
			case "GetSecretValue", "DescribeSecret", "ListSecretVersionIds", "Credentials":
				if err := c.do(h, "s"); err != nil {
					t.Error(err)
				}
			case "PutSecretValue", "UpdateSecret", "UpdateSecretVersionStage", "TagResource", "UntagResource", "DeleteSecret", "RestoreSecret":
				wantErr(t, c.do(h, "s"), "InvalidRequestException", managed)
				if diff := cmp.Diff(before, h.record("s")); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
	h := open(t, service.Config{})
	h.create("s", "x")
	h.change("s", func(sec *service.Secret) { sec.OwningService = "rds" })
	_, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s", ForceDeleteWithoutRecovery: true})
	wantErr(t, err, "InvalidRequestException", managed)
	h.value("s", "v1")
}
