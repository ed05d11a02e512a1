package function

import (
	"encoding/json"
	"fmt"
	"html"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
)

func hiding(values ...string) *redactor {
	r := new(redactor)
	for _, v := range values {
		r.value(secrets.Text(v))
	}
	return r
}

func TestWhatIsHidden(t *testing.T) {
	const pem = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\nkqhkiG9w0BAQEF\n-----END PRIVATE KEY-----\n"
	object := func(pairs ...any) string {
		m := map[string]any{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
		b, _ := json.Marshal(m)
		return string(b)
	}
	for _, c := range []struct{ value, text, want string }{
		{"bare-password", "login with bare-password failed", "login with [redacted] failed"},
		{"bare-password\n", "login with bare-password failed", "login with [redacted] failed"},
		{"abc", "the abc of it", "the abc of it"}, // three characters can't be hidden
		{`{"password":"hunter22"}`, `bad: {"password":"hunter22"}`, "bad: [redacted]"},
		{`{"password":"hunter22"}`, "hunter22hunter22 hunter2", "[redacted][redacted] hunter2"},
		{`{"password":"hunter22","password":"second22"}`, "hunter22 second22", "[redacted] [redacted]"},
		{`{"password":"hunter22","username":"app-user","host":"db.example.com","port":"5432","engine":"postgres"}`,
			"app-user at db.example.com:5432 with hunter22, postgres", "app-user at db.example.com:5432 with [redacted], postgres"},
		{`{"password":"app-user","username":"app-user"}`, "app-user", "[redacted]"},
		{`{"pin":123456,"port":5432}`, "123456 at 5432", "[redacted] at 5432"},
		{`{"a":{"b":[{"c":"deep-down"}]},"broken`, "deep-down", "[redacted]"},
		{`{"short":"hunter","long":"hunter-hunter"}`, "hunter-hunter hunter", "[redacted] [redacted]"},
		{`"a-json-string"`, "a-json-string", "[redacted]"},
		{object("key", pem), "openssl: MIIEvQIBADANBg", "openssl: [redacted]"},
		{object("key", pem), "it is " + strings.ReplaceAll(pem, "\n", `\n`), "it is [redacted]"},
		{"postgres://app:hunter22@db.example.com/app", "FATAL: hunter22 at db.example.com", "FATAL: [redacted] at db.example.com"},
		{object("url", "postgres://app:hunter%2F22@db/app"), "hunter/22 and hunter%2f22", "[redacted] and [redacted]"},
		{"postgres://app:a/b@c:d@db/app", "password a/b@c:d is wrong", "password [redacted] is wrong"},
		{"host=db.example.com password=hunter22 dbname=app", "hunter22 at db.example.com", "[redacted] at db.example.com"},
		{"DB_HOST=db.example.com\nDB_PASSWORD='hunter22'\n", "hunter22 at db.example.com", "[redacted] at db.example.com"},
		{"bare-password", "b64 " + "YmFyZS1wYXNzd29yZA==", "b64 [redacted]=="},
		// The ways in which one password is written.
		{object("p", `a"b\c/d é€😀 <&>`), `a"b\c/d é€😀 <&>`, "[redacted]"},
		{object("p", `a"b\c/d é€😀 <&>`), `"a\"b\\c/d é€😀 <&>"`, `"[redacted]"`},
		{object("p", `a"b\c/d é€😀 <&>`), `"a\"b\\c\/d \u00e9\u20AC\ud83d\ude00 \u003c\u0026\u003e"`, `"[redacted]"`},
		{object("p", `a"b\c/d é€😀 <&>`), `"{\"p\": \"a\\\"b\\\\c/d \\u00e9\\u20ac\\ud83d\\ude00 <&>\"}"`, `"{\"p\": \"[redacted]\"}"`},
		{object("p", `a"b\c/d é€😀 <&>`), `'a"b\\c/d \xe9\u20ac\U0001f600 <&>'`, `'[redacted]'`},
		{object("p", `a"b\c/d é€😀 <&>`), "u:" + url.QueryEscape(`a"b\c/d é€😀 <&>`) + "@h", "u:[redacted]@h"},
		{object("p", `a"b\c/d é€😀 <&>`), "u:" + strings.ToLower(url.PathEscape(`a"b\c/d é€😀 <&>`)) + "@h", "u:[redacted]@h"},
		{object("p", `a"b\c/d é€😀 <&>`), html.EscapeString(`a"b\c/d é€😀 <&>`), "[redacted]"},
		{object("p", "tab\tand\nline"), `tab\tand\nline or tab\\tand\\nline`, "[redacted] or [redacted]"},
		{object("p", `C:\new\table`), `C:\new\table and C:\\new\\table`, "[redacted] and [redacted]"},
	} {
		if got := hiding(c.value).clean(c.text, false); got != c.want {
			t.Errorf("%q with %q hidden:\n%q, want\n%q", c.text, c.value, got, c.want)
		}
	}
}

// encode writes each character in one of the ways of writing it.
func encode(t *rapid.T, s string) string {
	var b strings.Builder
	for _, r := range s {
		switch way := rapid.IntRange(0, 5).Draw(t, "way"); {
		case way == 1:
			for _, c := range []byte(string(r)) {
				fmt.Fprintf(&b, "%%%02X", c)
			}
		case way == 2 && r < 0x10000:
			fmt.Fprintf(&b, `\u%04x`, r)
		case way == 3 && r < 0x10000:
			fmt.Fprintf(&b, `\\u%04X`, r)
		case way == 4:
			quoted, _ := json.Marshal(string(r))
			b.Write(quoted[1 : len(quoted)-1])
		case way == 5:
			b.WriteString(html.EscapeString(string(r)))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func TestHiddenInEveryMixtureOfEscapes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		secret := rapid.StringOfN(rapid.RuneFrom([]rune(`ab1"'\/%+&<> é€😀n`+"\n")), leastHidden, 30, -1).Draw(t, "secret")
		r := new(redactor)
		r.add(secret)
		encoded := encode(t, secret)
		if got := r.clean("«"+encoded+"»", false); got != "«"+redacted+"»" {
			t.Fatalf("%q as %q: %q", secret, encoded, got)
		}
		// Cut anywhere behind the least that is hidden, nothing of it is left.
		runes := []rune(secret)
		raw := "«" + string(runes)
		cut := rapid.IntRange(len("«"+string(runes[:leastHidden])), len(raw)).Draw(t, "cut")
		for cut < len(raw) && raw[cut]&0xc0 == 0x80 {
			cut++
		}
		if got := r.clean(raw[:cut], true); got != "«"+redacted {
			t.Fatalf("%q cut to %q: %q", secret, raw[:cut], got)
		}
	})
}

func TestCutWithinAnEscape(t *testing.T) {
	r := new(redactor)
	r.add(`hunter"22Ω`)
	for _, c := range []struct{ text, want string }{
		{`x hunter\`, "x [redacted]"}, {`x hunter"22\u03`, "x [redacted]"}, {`x hunter"22%CE`, "x [redacted]"}, {`x hunter&quo`, "x [redacted]"},
		{`x hun`, "x hun"}, {`x hunter!`, "x hunter!"}, {`x hunter"23`, `x hunter"23`},
	} {
		if got := r.clean(c.text, true); got != c.want {
			t.Errorf("%q: %q, want %q", c.text, got, c.want)
		}
		if got := r.clean(c.text, false); got != c.text {
			t.Errorf("%q: %q although it was whole", c.text, got)
		}
	}
}

// Neither a secret nor a message is a way to keep the machine busy.
func TestHostileTextsAreReadQuickly(t *testing.T) {
	for _, unit := range []string{"a", `\`, `\u0061`} {
		long := strings.Repeat(unit, secrets.MaxValueBytes/len(unit))
		r := new(redactor)
		r.add(long[:1500] + "!")
		r.value(secrets.Text(long))
		message, cut := bounded(long, false)
		begun := time.Now()
		r.clean(message, cut)
		if took := time.Since(begun); took > 30*time.Second {
			t.Errorf("%q: %v", unit, took)
		}
	}
}
