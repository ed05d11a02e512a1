package service_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func TestDeleteSecret(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "x")
	for _, days := range []int64{-1, 0, 6, 31} {
		_, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s", RecoveryWindowInDays: &days})
		wantErr(t, err, "InvalidParameterException", "The RecoveryWindowInDays value must be between 7 and 30 days (inclusive).")
	}
	_, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s", RecoveryWindowInDays: new(int64(7)), ForceDeleteWithoutRecovery: true})
	wantErr(t, err, "InvalidParameterException", "You can't use ForceDeleteWithoutRecovery in conjunction with RecoveryWindowInDays.")

	h.clock.add(time.Minute)
	now := h.clock.now()
	for days, want := range map[int64]time.Time{7: now.AddDate(0, 0, 7), 30: now.AddDate(0, 0, 30), 0: now.AddDate(0, 0, 30)} {
		in := service.DeleteSecretInput{SecretID: "s"}
		if days > 0 {
			in.RecoveryWindowInDays = &days
		}
		out, err := h.DeleteSecret(t.Context(), in)
		if diff := cmp.Diff(&service.DeleteSecretOutput{ARN: arn, Name: "s", DeletionDate: want}, out); err != nil || diff != "" {
			t.Error(err, diff)
		}
		sec := h.record("s")
		if !sec.Deleted.Equal(now) || !sec.Changed.Equal(now) || !sec.PurgeAt.Equal(want) || !sec.DueAt.IsZero() {
			t.Errorf("stored %+v", sec)
		}
		d, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
		if err != nil || !d.DeletedDate.Equal(now) {
			t.Errorf("described as %+v, %v", d, err)
		}
		if _, err := h.RestoreSecret(t.Context(), service.RestoreSecretInput{SecretID: "s"}); err != nil {
			t.Fatal(err)
		}
		if h.value("s", "v1") != "x" {
			t.Error("the value did not survive")
		}
	}
	writes := h.store.writes.Load()
	if _, err := h.RestoreSecret(t.Context(), service.RestoreSecretInput{SecretID: "s"}); err != nil || h.store.writes.Load() != writes {
		t.Errorf("restoring what is not deleted: %v", err)
	}
}

func TestForceDelete(t *testing.T) {
	h := open(t, service.Config{})
	arn := h.create("s", "x")
	force := func(id string) (*service.DeleteSecretOutput, error) {
		return h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: id, ForceDeleteWithoutRecovery: true})
	}
	if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s"}); err != nil {
		t.Fatal(err)
	}
	out, err := force("s") // also when it is scheduled
	if err != nil || out.ARN != arn || !out.DeletionDate.Equal(h.clock.now()) {
		t.Errorf("got %+v, %v", out, err)
	}
	if again := h.create("s", "y"); again == arn {
		t.Error("the new secret has the old one's ARN")
	}
	_, err = h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: arn})
	wantErr(t, err, "ResourceNotFoundException", notFoundText)

	// One that does not exist looks as if it had.
	out, err = force("never")
	if err != nil || out.Name != "never" || !strings.HasPrefix(out.ARN, "arn:aws:secretsmanager:us-east-1:123456789012:secret:never-") {
		t.Errorf("got %+v, %v", out, err)
	}
	out, err = force(arn)
	if err != nil || out.ARN != arn || out.Name != "s" {
		t.Errorf("got %+v, %v", out, err)
	}
	if h.value("s", "v1") != "y" {
		t.Error("the new secret was deleted by the old one's ARN")
	}
	_, err = force("a b")
	wantErr(t, err, "ValidationException", nameText)
}

func TestPurge(t *testing.T) {
	h := open(t, service.Config{})
	for _, name := range []string{"a", "b", "c", "d"} {
		h.create(name, "x")
	}
	for name, days := range map[string]int64{"a": 7, "b": 8, "d": 7} {
		if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: name, RecoveryWindowInDays: &days}); err != nil {
			t.Fatal(err)
		}
	}
	purge := func(want ...string) {
		t.Helper()
		names, err := h.Purge(t.Context(), h.clock.now())
		slices.Sort(names)
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("purged %v, %v; want %v", names, err, want)
		}
	}
	h.clock.add(7*24*time.Hour - time.Millisecond)
	purge()
	if _, err := h.RestoreSecret(t.Context(), service.RestoreSecretInput{SecretID: "d"}); err != nil {
		t.Fatal(err)
	}
	h.clock.add(time.Millisecond)
	purge("a")
	purge()
	h.clock.add(365 * 24 * time.Hour)
	purge("b")
	for _, name := range []string{"c", "d"} {
		if h.value(name, "v1") != "x" {
			t.Error(name, "was purged")
		}
	}
	if _, err := h.store.Find(t.Context(), secrets.ID{ByName: true, ARN: secrets.ARN{Region: "us-east-1", Account: "123456789012", Name: "a"}}); err != service.ErrNotFound {
		t.Errorf("a is still stored: %v", err)
	}
}

// The window may end between the look at the secret and its restoring; a purge
// that has begun must not take a secret that was said to be restored.
func TestRestoreComesTooLate(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s"}); err != nil {
		t.Fatal(err)
	}
	h.clock.add(30*24*time.Hour - time.Second)
	h.store.pending = func() { h.clock.add(time.Second) }
	_, err := h.RestoreSecret(t.Context(), service.RestoreSecretInput{SecretID: "s"})
	wantErr(t, err, "ResourceNotFoundException", notFoundText)
	if h.record("s").Deleted.IsZero() {
		t.Error("it was restored after its end")
	}
}

func TestTags(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "x")
	tag := func(pairs ...string) error {
		in := service.TagResourceInput{SecretID: "s"}
		for i := 0; i < len(pairs); i += 2 {
			in.Tags = append(in.Tags, service.Tag{Key: pairs[i], Value: pairs[i+1]})
		}
		return h.TagResource(t.Context(), in)
	}
	untag := func(keys ...string) error {
		return h.UntagResource(t.Context(), service.UntagResourceInput{SecretID: "s", TagKeys: keys})
	}
	shown := func() []service.Tag {
		d, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
		if err != nil {
			t.Fatal(err)
		}
		return d.Tags
	}
	check := func(err error, want []service.Tag) {
		t.Helper()
		if diff := cmp.Diff(want, shown()); err != nil || diff != "" {
			t.Error(err, diff)
		}
		if !h.record("s").Changed.Equal(h.clock.now()) {
			t.Error("LastChangedDate did not move")
		}
		h.clock.add(time.Second)
	}
	if shown() != nil {
		t.Error("tags before the first")
	}
	check(tag("b", "1", "a", ""), []service.Tag{{Key: "b", Value: "1"}, {Key: "a"}})
	check(tag("a", "2", "B", "3"), []service.Tag{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "B", Value: "3"}})
	check(untag("b", "nowhere"), []service.Tag{{Key: "a", Value: "2"}, {Key: "B", Value: "3"}})
	check(untag("a", "B"), []service.Tag{}) // emptied, not absent

	wantErr(t, tag("aws:x", "1"), "InvalidParameterException", "You can't modify system tags. Tag key: 'aws:x'.")
	wantErr(t, tag("ok", "1", "AWS:x", "1"), "InvalidParameterException", "You can't modify system tags. Tag key: 'AWS:x'.")
	wantErr(t, untag("aws:x"), "InvalidParameterException", "You can't modify system tags. Tag key: 'aws:x'.")
	wantErr(t, tag("k", "1", "k", "2"), "InvalidParameterException", "Duplicate tag key: 'k'.")
	wantErr(t, tag("k", strings.Repeat("v", 257)), "ValidationException", "1 validation error detected: Value '"+strings.Repeat("v", 257)+"' at 'tags.1.member.value' failed to satisfy constraint: Member must have length less than or equal to 256")
	wantErr(t, untag("k", ""), "ValidationException", "1 validation error detected: Value '' at 'tagKeys.2.member' failed to satisfy constraint: Member must have length greater than or equal to 1")
	if len(shown()) != 0 {
		t.Error("a refused call left a tag")
	}
	var fifty []string
	for i := range 50 {
		fifty = append(fifty, string(rune('A'+i)), "x")
	}
	if err := tag(fifty...); err != nil {
		t.Fatal(err)
	}
	wantErr(t, tag("one more", ""), "InvalidParameterException", "A secret can have at most 50 tags.")
	if err := tag("A", "overwritten"); err != nil {
		t.Error(err)
	}
}

func TestGetRandomPassword(t *testing.T) {
	h := open(t, service.Config{})
	get := func(in service.GetRandomPasswordInput) (string, error) {
		out, err := h.GetRandomPassword(t.Context(), in)
		if err != nil {
			return "", err
		}
		b, err := out.MarshalJSON()
		if p := out.RandomPassword.Reveal(); err != nil || !strings.HasPrefix(string(b), `{"RandomPassword":"`) {
			t.Errorf("%d characters as JSON: %v", len(p), err)
		}
		return out.RandomPassword.Reveal(), nil
	}
	const (
		lower, upper, digits = "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
		marks                = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
	)
	for range 20 {
		p, err := get(service.GetRandomPasswordInput{})
		if err != nil || len(p) != 32 || strings.Contains(p, " ") {
			t.Fatalf("%d characters, %v", len(p), err)
		}
		for _, set := range []string{lower, upper, digits, marks} {
			if !strings.ContainsAny(p, set) {
				t.Fatal("a type is missing")
			}
		}
	}
	p, err := get(service.GetRandomPasswordInput{PasswordLength: new(int64(4096)), ExcludePunctuation: true, ExcludeUppercase: true, ExcludeNumbers: true, ExcludeCharacters: "abc", IncludeSpace: true})
	if err != nil || len(p) != 4096 || strings.Trim(p, lower[3:]+" ") != "" || !strings.Contains(p, " ") {
		t.Errorf("%d characters, %v", len(p), err)
	}
	if p, err := get(service.GetRandomPasswordInput{PasswordLength: new(int64(1)), RequireEachIncludedType: new(false), ExcludeLowercase: true}); err != nil || len(p) != 1 || strings.ContainsAny(p, lower) {
		t.Errorf("%d characters, %v", len(p), err)
	}
	for _, c := range []struct {
		in         service.GetRandomPasswordInput
		code, text string
	}{
		{service.GetRandomPasswordInput{PasswordLength: new(int64(3))}, "InvalidParameterException", "Password length is too short based on the required types."},
		{service.GetRandomPasswordInput{ExcludeCharacters: digits}, "InvalidParameterException", "All characters of the desired type have been excluded."},
		{service.GetRandomPasswordInput{ExcludeLowercase: true, ExcludeNumbers: true, ExcludePunctuation: true, ExcludeUppercase: true}, "InvalidParameterException", "All characters have been excluded from selection."},
		{service.GetRandomPasswordInput{PasswordLength: new(int64(0))}, "ValidationException", "1 validation error detected: Value '0' at 'passwordLength' failed to satisfy constraint: Member must have value greater than or equal to 1"},
		{service.GetRandomPasswordInput{PasswordLength: new(int64(4097))}, "ValidationException", "1 validation error detected: Value '4097' at 'passwordLength' failed to satisfy constraint: Member must have value less than or equal to 4096"},
	} {
		_, err := get(c.in)
		wantErr(t, err, c.code, c.text)
	}
}
