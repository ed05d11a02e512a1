package mysql

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The values were read from a MariaDB 10.11 that was given the plain password;
// in the other tests the servers judge fresh ones.
func TestKnownHashes(t *testing.T) {
	if got := nativeHash("x"); got != "*B69027D44F6E5EDC07F1AEAD1477967B16F28227" {
		t.Errorf("native: %s", got)
	}
	if got := ed25519Hash("x"); got != "Gv2JI8Env2fd5YGonZ082tX3UAW+yJYldOlj4R1bfK4" {
		t.Errorf("ed25519: %s", got)
	}
}

// What crypt(3) of glibc makes of the same, with salts of up to 16 bytes.
func TestSHA256Crypt(t *testing.T) {
	for _, c := range []struct {
		salt, password string
		rounds         int
		want           string
	}{
		{"saltstring", "Hello world!", 5000, "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"},
		{"saltstringsaltst", "Hello world!", 10000, "3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA"},
		{"abc", "", 5000, "bBHLwRRW2Li0XKaX13kz/g2fkDil4Jx46aNvd.48MS8"},
		{"abc", strings.Repeat("p", 100), 5000, "mudX224s60/Y093xoiatJLfZIl3L/.eHk97DT7WWlt8"},
	} {
		if got := sha256Crypt([]byte(c.password), []byte(c.salt), c.rounds); got != c.want {
			t.Errorf("salt %q, %d rounds: %s, want %s", c.salt, c.rounds, got, c.want)
		}
	}
}

func TestSHA2HashRounds(t *testing.T) {
	salt := [saltLen]byte([]byte("12345678901234567890"))
	for rounds, want := range map[int]string{0: "005", 4999: "005", 5000: "005", 10999: "00A", 17000: "011"} {
		if got := sha2Hash("x", salt, rounds); !strings.HasPrefix(got, "$A$"+want+"$12345678901234567890") {
			t.Errorf("%d rounds: %s", rounds, got)
		}
	}
}

func TestSHA2HashNeedsNoQuoting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		got := sha2Hash(rapid.String().Draw(t, "password"), newSalt(), minRounds)
		if len(got) != 70 {
			t.Fatalf("%d characters", len(got))
		}
		if strings.ContainsAny(got, "'\\\x00") {
			t.Fatal("needs quoting")
		}
	})
}
