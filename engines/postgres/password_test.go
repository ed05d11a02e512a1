package postgres

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
)

// TestVerifierAgainstRFC7677 takes the RFC's example exchange and checks, as a
// server would from the verifier alone, the client's proof and its own
// signature.
func TestVerifierAgainstRFC7677(t *testing.T) {
	const authMessage = "n=user,r=rOprNGfwEbeRWgbNEkqO," +
		"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096," +
		"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	v, err := verifier("pencil", salt, 4096)
	if err != nil {
		t.Fatal(err)
	}
	head, keys, _ := strings.Cut(strings.TrimPrefix(v, "SCRAM-SHA-256$"), "$")
	if head != "4096:W22ZaJ0SNY7soEsUEjb6gQ==" {
		t.Fatalf("iterations and salt are %q", head)
	}
	stored64, server64, _ := strings.Cut(keys, ":")
	storedKey, _ := base64.StdEncoding.DecodeString(stored64)
	serverKey, _ := base64.StdEncoding.DecodeString(server64)
	mac := func(key []byte) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(authMessage))
		return h.Sum(nil)
	}
	if got := base64.StdEncoding.EncodeToString(mac(serverKey)); got != "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=" {
		t.Errorf("server signature is %s", got)
	}
	proof, _ := base64.StdEncoding.DecodeString("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
	clientKey := make([]byte, len(proof))
	for i, b := range mac(storedKey) {
		clientKey[i] = b ^ proof[i]
	}
	if sum := sha256.Sum256(clientKey); !hmac.Equal(sum[:], storedKey) {
		t.Error("the example's proof does not fit the stored key")
	}
}

func TestVerifierNeedsNoQuoting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, err := newVerifier(rapid.StringN(1, 50, 200).Draw(t, "password"), 1)
		if err != nil {
			t.Fatal(err)
		}
		if !hashLike.MatchString(v) || strings.ContainsAny(v, "'\\\"\x00 ") {
			t.Fatalf("%q", v)
		}
	})
}

func TestIterations(t *testing.T) {
	for reported, want := range map[string]int{"": 4096, "4096": 4096, "10000": 10000, "0": 4096, "-1": 4096, "x": 4096} {
		if got := iterationsOf(reported); got != want {
			t.Errorf("%q: %d, want %d", reported, got, want)
		}
	}
}

func TestPrepare(t *testing.T) {
	for _, c := range []struct{ password, want string }{
		{"simple", "simple"},
		{" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~", " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"},
		{"tab\tand\x01control", "tab\tand\x01control"},
		{"Straße-été", "Straße-été"},
		{"密码🔑", "密码🔑"},
		{"e\u0301te\u0301", "été"}, // decomposed: both profiles compose it
		{"", ""},
		{"nul\x00", ""},
		{"\xff\xfe", ""},
		{"no\u00a0break", ""},    // a space to some
		{"soft\u00adhyphen", ""}, // nothing to some
		{"zero\u200bwidth", ""},
		{"ＡＢＣ", ""},           // full width: ABC to some
		{"\ufb01nger", ""},    // the ligature fi
		{"x\u00b2", ""},       // superscript two
		{"\u212bngstrom", ""}, // Ångström sign, beyond Latin: left alone
	} {
		got, err := prepare(secrets.NewPassword(c.password))
		switch {
		case got != c.want:
			t.Errorf("%q: %q, want %q", c.password, got, c.want)
		case (err != nil) != (c.want == ""):
			t.Errorf("%q: error is %v", c.password, err)
		case err != nil && (secrets.KindOf(err) != secrets.Invalid || !secrets.Policy(err)):
			t.Errorf("%q: %v is not a matter of policy", c.password, err)
		case err != nil && c.password != "" && strings.Contains(err.Error(), c.password):
			t.Errorf("the error shows the password")
		}
	}
}

func TestPlainLiteralRefusesHashes(t *testing.T) {
	for _, p := range []string{
		"md5" + strings.Repeat("0a", 16),
		"SCRAM-SHA-256$4096:c2FsdA==$a:b",
	} {
		if _, err := plainLiteral(p); secrets.KindOf(err) != secrets.Invalid || err == nil {
			t.Errorf("%q: %v", p, err)
		}
	}
	if _, err := plainLiteral("md5 is old"); err != nil {
		t.Error(err)
	}
}

// TestQuoting has the server read back what was quoted, under both readings of
// backslashes.
func TestQuoting(t *testing.T) {
	onEach(t, func(t *testing.T, f *fixture) {
		for _, setting := range []string{"on", "off"} {
			f.exec(f.admin, "SET standard_conforming_strings = "+setting)
			rapid.Check(t, func(t *rapid.T) {
				s := rapid.StringOf(rapid.OneOf(
					rapid.SampledFrom([]rune(`'"\$%?;-/*é 漢`+"\n\t")), rapid.RuneFrom(nil, unicode.L, unicode.N, unicode.P, unicode.S))).Draw(t, "text")
				alias := rapid.StringOfN(rapid.SampledFrom([]rune(`a'"\$%?é `)), 1, 20, 60).Draw(t, "alias")
				results, err := f.admin.PgConn().Exec(f.ctx(), "SELECT "+quoteLiteral(s)+" AS "+quoteIdent(alias)).ReadAll()
				if err != nil {
					t.Fatal(err)
				}
				if got := string(results[0].Rows[0][0]); got != s {
					t.Fatalf("%q came back as %q", s, got)
				}
				if got := results[0].FieldDescriptions[0].Name; got != alias {
					t.Fatalf("name %q came back as %q", alias, got)
				}
			})
		}
	})
}
