package mysql

import (
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"filippo.io/edwards25519"
)

// The authentication plug-ins whose stored form Pawl makes itself, and
// MySQL's old sha256_password, whose it does not.
const (
	nativePlugin  = "mysql_native_password"
	ed25519Plugin = "ed25519"
	sha2Plugin    = "caching_sha2_password"
	sha256Plugin  = "sha256_password"
)

// nativeHash is mysql_native_password's stored form: "*" and the upper-case
// hexadecimal SHA1(SHA1(password)) (MySQL Reference Manual, "Native Pluggable
// Authentication").
func nativeHash(password string) string {
	once := sha1.Sum([]byte(password))
	twice := sha1.Sum(once[:])
	return "*" + strings.ToUpper(hex.EncodeToString(twice[:]))
}

// ed25519Hash is the stored form of MariaDB's ed25519 plug-in: the public key
// whose secret is derived from SHA512(password), in unpadded base64 (MariaDB
// documentation, "Authentication Plugin - ed25519").
func ed25519Hash(password string) string {
	seed := sha512.Sum512([]byte(password))
	secret, err := edwards25519.NewScalar().SetBytesWithClamping(seed[:32])
	if err != nil {
		panic(err) // only for a seed that is not 32 bytes long
	}
	return base64.RawStdEncoding.EncodeToString(new(edwards25519.Point).ScalarBaseMult(secret).Bytes())
}

// saltLen and the range of rounds are caching_sha2_password's (MySQL Reference
// Manual, "Caching SHA-2 Pluggable Authentication",
// caching_sha2_password_digest_rounds).
const (
	saltLen   = 20
	minRounds = 5000
	maxRounds = 0xFFF * 1000
)

// cryptAlphabet is crypt(3)'s base 64.
const cryptAlphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// newSalt makes a salt of 120 random bits in letters that need no quoting.
func newSalt() [saltLen]byte {
	var salt [saltLen]byte
	_, _ = rand.Read(salt[:]) // never fails
	for i, b := range salt {
		salt[i] = cryptAlphabet[b%64]
	}
	return salt
}

// sha2Hash is caching_sha2_password's stored form: "$A$", the rounds in
// thousands as three hexadecimal digits, "$", the salt and the digest.
func sha2Hash(password string, salt [saltLen]byte, rounds int) string {
	thousands := min(max(rounds, minRounds), maxRounds) / 1000
	return fmt.Sprintf("$A$%03X$%s%s", thousands, salt[:], sha256Crypt([]byte(password), salt[:], thousands*1000))
}

// sha2Opens reports whether a stored form of caching_sha2_password is that of a
// password.
func sha2Opens(stored, password string) bool {
	const head = len("$A$005$")
	if len(stored) != head+saltLen+43 || !strings.HasPrefix(stored, "$A$") {
		return false
	}
	thousands, err := strconv.ParseUint(stored[len("$A$"):head-1], 16, 16)
	return err == nil && sha2Hash(password, [saltLen]byte([]byte(stored[head:])), int(thousands)*1000) == stored
}

// sha256Crypt is the digest of "Unix crypt using SHA-256 and SHA-512" (Ulrich
// Drepper, 2008), step by step as specified there but for the salt, which
// MySQL does not cut at 16 bytes.
func sha256Crypt(password, salt []byte, rounds int) string {
	repeat := func(digest [32]byte, n int) []byte { // its bytes, over and over, n of them
		out := make([]byte, n)
		for i := range out {
			out[i] = digest[i%len(digest)]
		}
		return out
	}
	sum := func(parts ...[]byte) [32]byte {
		h := sha256.New()
		for _, p := range parts {
			h.Write(p)
		}
		return [32]byte(h.Sum(nil))
	}

	b := sum(password, salt, password)
	a := [][]byte{password, salt, repeat(b, len(password))}
	for n := len(password); n > 0; n >>= 1 {
		if n&1 == 1 {
			a = append(a, b[:])
		} else {
			a = append(a, password)
		}
	}
	digest := sum(a...)

	var many [][]byte
	for range password {
		many = append(many, password)
	}
	p := repeat(sum(many...), len(password))
	many = many[:0]
	for range 16 + int(digest[0]) {
		many = append(many, salt)
	}
	s := repeat(sum(many...), len(salt))

	h := sha256.New()
	for i := range rounds {
		h.Reset()
		if i%2 == 1 {
			h.Write(p)
		} else {
			h.Write(digest[:])
		}
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		if i%2 == 1 {
			h.Write(digest[:])
		} else {
			h.Write(p)
		}
		h.Sum(digest[:0])
	}
	return cryptEncode(digest)
}

// cryptEncode writes a digest in crypt's base 64, in its order of bytes.
func cryptEncode(d [32]byte) string {
	out := make([]byte, 0, 43)
	put := func(b2, b1, b0 byte, n int) {
		w := uint(b2)<<16 | uint(b1)<<8 | uint(b0)
		for range n {
			out = append(out, cryptAlphabet[w&63])
			w >>= 6
		}
	}
	x, y, z := 0, 10, 20
	for range 10 {
		put(d[x], d[y], d[z], 4)
		x, y, z = z+1, x+1, y+1
	}
	put(0, d[31], d[30], 3)
	return string(out)
}
