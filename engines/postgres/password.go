package postgres

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/pawlhq/pawl/secrets"
)

const (
	saltBytes         = 16   // what PostgreSQL itself uses
	defaultIterations = 4096 // PostgreSQL's, and the least that RFC 7677 allows
)

// verifier makes the text by which PostgreSQL stores a SCRAM-SHA-256 password
// (PostgreSQL documentation, "pg_authid"; RFC 5802 §3, RFC 7677):
//
//	SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>
//
// It consists of base64, "$", ":" and "-", so there is nothing in it to quote.
// The server takes it as it is, whatever its password_encryption says.
func verifier(password string, salt []byte, iterations int) (string, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", err
	}
	mac := func(text string) []byte {
		h := hmac.New(sha256.New, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	storedKey := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(storedKey[:]), b64(mac("Server Key"))), nil
}

// newVerifier makes a verifier with a fresh salt.
func newVerifier(password string, iterations int) (string, error) {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails: crypto/rand
	return verifier(password, salt, iterations)
}

// iterationsOf reads scram_iterations as a server of version 16 or newer
// reports it at login; older ones know only the default.
func iterationsOf(reported string) int {
	if n, err := strconv.Atoi(reported); err == nil && n > 0 {
		return n
	}
	return defaultIterations
}

// invisible are the characters that SASLprep maps to nothing (RFC 3454, table
// B.1) and that some clients therefore hash and others leave out.
var invisible = &unicode.RangeTable{R16: []unicode.Range16{
	{Lo: 0x00AD, Hi: 0x00AD, Stride: 1}, {Lo: 0x034F, Hi: 0x034F, Stride: 1}, {Lo: 0x1806, Hi: 0x1806, Stride: 1},
	{Lo: 0x180B, Hi: 0x180D, Stride: 1}, {Lo: 0x200B, Hi: 0x200D, Stride: 1}, {Lo: 0x2060, Hi: 0x2060, Stride: 1},
	{Lo: 0xFE00, Hi: 0xFE0F, Stride: 1}, {Lo: 0xFEFF, Hi: 0xFEFF, Stride: 1},
}}

// prepare returns the bytes of a password that go into the hash, such that
// every client that is given the password logs in.
//
// Clients disagree beyond ASCII: libpq and the server do SASLprep (RFC 4013:
// compatibility normal form), others a newer profile (RFC 8265: canonical
// normal form), others nothing at all. They agree on text that is in
// compatibility normal form already and holds no character that one of them
// drops or takes for a space. Latin letters with combining marks come out the
// same by both profiles too, and are hashed composed, as both do. Everything
// else is refused as Invalid, with Policy: another password will do.
func prepare(p secrets.Password) (string, error) {
	s := p.Reveal()
	refuse := func(why string) (string, error) {
		e := secrets.Errorf(secrets.Invalid, "the new password %s", why).
			WithHint("let Pawl generate one, or use ASCII characters only")
		e.Policy = true
		return "", e
	}
	switch {
	case s == "":
		return refuse("is empty, which PostgreSQL takes for no password at all")
	case strings.ContainsRune(s, 0):
		return refuse("has a NUL in it")
	case !utf8.ValidString(s):
		return refuse("is not UTF-8")
	}
	latin, plain := true, true // plain: nothing that only some clients change
	for _, r := range s {
		latin = latin && (r < 0x0221 || r >= 0x0300 && r <= 0x033F)
		plain = plain && (r < utf8.RuneSelf || !unicode.Is(invisible, r) && !unicode.Is(unicode.Z, r) && !unicode.Is(unicode.C, r))
	}
	switch c := norm.NFC.String(s); {
	case !plain:
		return refuse("has an invisible or white-space character beyond ASCII, on which clients disagree")
	case c == s && norm.NFKC.IsNormalString(s):
		return s, nil
	case latin && norm.NFKC.String(s) == c:
		return c, nil
	}
	return refuse("has characters beyond ASCII that clients normalise differently")
}

// hashLike are the texts that the server stores as they are instead of hashing
// them (PostgreSQL documentation, "CREATE ROLE": an already encrypted string).
var hashLike = regexp.MustCompile(`^(md5[0-9a-f]{32}|SCRAM-SHA-256\$.*)$`)

// plainLiteral quotes a password for the operator who allowed it to be sent in
// the clear.
func plainLiteral(password string) (string, error) {
	if hashLike.MatchString(password) {
		e := secrets.Errorf(secrets.Invalid, "the new password looks like a hash; sent in the clear the server would take it for one")
		e.Policy = true
		return "", e.WithHint("choose another password")
	}
	return quoteLiteral(password), nil
}

// quoteIdent quotes a name that checkName has seen.
func quoteIdent(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

// quoteLiteral quotes a string without NUL so that it means the same with
// standard_conforming_strings on and off.
func quoteLiteral(s string) string {
	s = strings.ReplaceAll(s, `'`, `''`)
	if !strings.Contains(s, `\`) {
		return `'` + s + `'`
	}
	return `E'` + strings.ReplaceAll(s, `\`, `\\`) + `'`
}
