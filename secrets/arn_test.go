package secrets

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"
)

const nameAlphabet = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/_+=.@!-"

func TestValidateName(t *testing.T) {
	for _, name := range []string{"a", "prod/db", "//x//", "rds!db-1", nameAlphabet, strings.Repeat("x", 512)} {
		if err := ValidateName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{"", "a b", "a:b", "ü", "a\x00", "a\n", "a*", strings.Repeat("x", 513)} {
		err := ValidateName(name)
		if KindOf(err) != Invalid || CodeOf(err) != "ValidationException" {
			t.Errorf("%q: %v (%s)", name, err, CodeOf(err))
		}
	}
	want := "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
	if err := ValidateName("a b"); err.Error() != want {
		t.Errorf("got %q", err)
	}
}

func TestParseID(t *testing.T) {
	const pre = "arn:aws:secretsmanager:us-east-1:123456789012:secret:"
	full := func(name, suffix string) ARN {
		return ARN{"aws", "us-east-1", "123456789012", name, suffix}
	}
	for _, c := range []struct {
		id   string
		want ID
	}{
		{"prod/db", ID{ARN{Name: "prod/db"}, true}},
		{"db-a1b2c3", ID{ARN{Name: "db-a1b2c3"}, true}}, // a plain name is never split
		{pre + "db-AbC123", ID{full("db", "AbC123"), false}},
		{pre + "db", ID{full("db", ""), true}},
		{pre + "my-db", ID{full("my-db", ""), true}},
		{pre + "db-a1b2", ID{full("db-a1b2", ""), true}},
		{pre + "db-a1b2c3-", ID{full("db-a1b2c3-", ""), true}},
		{pre + "db-a1b2c34", ID{full("db-a1b2c34", ""), true}},
		{pre + "db-a1b2c3-XyZ987", ID{full("db-a1b2c3", "XyZ987"), false}},
		{pre + "-a1b2c3", ID{full("-a1b2c3", ""), true}},
		{"arn:aws-cn:secretsmanager:cn-north-1:1:secret:x-abcdef", ID{ARN{"aws-cn", "cn-north-1", "1", "x", "abcdef"}, false}},
	} {
		got, err := ParseID(c.id)
		if err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v; want %+v", c.id, got, err, c.want)
		}
	}
	for _, id := range []string{
		"", "a b", "arn:", "arn:aws:s3:::bucket", "arn:aws:secretsmanager:us-east-1:1:policy:x",
		"arn:aws:secretsmanager:us-east-1:1:secret:", "arn:aws:secretsmanager::1:secret:x", "arn:aws:secretsmanager:us-east-1::secret:x",
		"arn::secretsmanager:us-east-1:1:secret:x", pre + "a:b", pre + "a b",
	} {
		if _, err := ParseID(id); KindOf(err) != Invalid || CodeOf(err) != "ValidationException" {
			t.Errorf("%q: %v (%s)", id, err, CodeOf(err))
		}
	}
}

// A name that ends in a hyphen and six characters can't be told from a whole
// ARN by its partial one: AWS's own trap.
func TestPartialARNTrap(t *testing.T) {
	a := ARN{"aws", "us-east-1", "1", "db-a1b2c3", "XyZ987"}
	for id, want := range map[string]bool{
		"db-a1b2c3": true,
		a.String():  true,
		"arn:aws:secretsmanager:us-east-1:1:secret:db-a1b2c3":        false,
		"arn:aws:secretsmanager:us-east-1:1:secret:db-a1b2c3-XyZ988": false,
		"arn:aws:secretsmanager:us-east-2:1:secret:db-a1b2c3-XyZ987": false,
		"arn:aws:secretsmanager:us-east-1:2:secret:db-a1b2c3-XyZ987": false,
		"arn:aws-cn:secretsmanager:us-east-1:1:secret:db-a1b2c3":     false,
		"DB-a1b2c3": false,
		"db":        false,
	} {
		parsed, err := ParseID(id)
		if err != nil {
			t.Fatal(err)
		}
		if got := parsed.Matches(a); got != want {
			t.Errorf("%s: matches %v, want %v", id, got, want)
		}
	}
}

func TestNewARN(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOfN(rapid.RuneFrom([]rune(nameAlphabet)), 1, 100, -1).Draw(t, "name")
		a, err := NewARN("aws", "us-east-1", "000000000000", name, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		id, err := ParseID(a.String())
		if err != nil || id.ByName || id.ARN != a || !id.Matches(a) {
			t.Fatalf("%s read again: %+v, %v", a, id, err)
		}
		if byName, err := ParseID(name); !strings.HasPrefix(name, "arn:") && (err != nil || !byName.Matches(a)) {
			t.Fatalf("not found by its name %s: %v", name, err)
		}
	})
}

// Bytes that would favour some characters are passed over.
func TestNewARNIsFair(t *testing.T) {
	a, err := NewARN("aws", "r", "1", "n", bytes.NewReader([]byte{255, 248, 0, 61, 62, 247, 250, 123, 124}))
	if err != nil || a.Suffix != "A9A9"+"9A" {
		t.Errorf("got %q, %v", a.Suffix, err)
	}
	for _, r := range []io.Reader{strings.NewReader("abc"), iotest.ErrReader(errors.New("no entropy"))} {
		if _, err := NewARN("aws", "r", "1", "n", r); err == nil {
			t.Error("made an ARN of too little randomness")
		}
	}
}
