package secrets

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func mustParse(t interface {
	Helper()
	Fatalf(string, ...any)
}, text string) Credentials {
	t.Helper()
	c, err := ParseCredentials(Text(text))
	if err != nil {
		t.Fatalf("%v", err)
	}
	return c
}

func TestParseCredentials(t *testing.T) {
	c := mustParse(t, ` { "engine":"postgres", "host":"db", "port":"5433", "username":"a\"p", "password":"p\u0041<&>", "dbname":"d", "ssl":"TRUE", "masterarn":"root", "extra":{"a":[1,2]}, "n":null } `)
	if c.Engine() != "postgres" || c.Host() != "db" || c.Username() != `a"p` || c.Password().Reveal() != "pA<&>" || c.Database() != "d" || c.MasterARN() != "root" {
		t.Error("a field is wrong")
	}
	if port, err := c.Port(1); port != 5433 || err != nil {
		t.Errorf("port %d, %v", port, err)
	}
	if c.Server(1) != "db:5433" {
		t.Errorf("server %s", c.Server(1))
	}
	if _, ok := c.Get("extra"); ok {
		t.Error("an object has no text")
	}
	if _, ok := c.Get("n"); ok {
		t.Error("null has no text")
	}
	if _, ok := c.Get("absent"); ok {
		t.Error("an absent field has no text")
	}
	if c.IsZero() || !(Credentials{}).IsZero() || mustParse(t, "{}").IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestParseCredentialsRefuses(t *testing.T) {
	const s = "S3CRETPART"
	for _, text := range []string{
		"", s, `"` + s + `"`, `[` + `"` + s + `"]`, `null`, `1`, `{`, `{"password":"` + s, `{"password":"` + s + `"`, `{"a":1,}`, `{,}`, `{"a" 1}`, `{a:1}`,
		`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":1} {"b":2}`, `{"a":1}}`, `{"a":1}]`, `{"a":1}x`, `{"a":01}`, `{"a":tru}`, "{\"a\":\"\x01\"}",
	} {
		c, err := ParseCredentials(Text(text))
		if KindOf(err) != Invalid || !c.IsZero() {
			t.Errorf("%q: %v", text, err)
		} else if strings.Contains(err.Error(), s) {
			t.Errorf("%q: the error quotes the value: %v", text, err)
		}
	}
	if _, err := ParseCredentials(Binary([]byte(`{}`))); KindOf(err) != Invalid {
		t.Errorf("binary: %v", err)
	}
	if _, err := ParseCredentials(Value{}); KindOf(err) != Invalid {
		t.Errorf("no value: %v", err)
	}
}

func TestCredentialsPort(t *testing.T) {
	for text, want := range map[string]int{
		`{}`: 7, `{"port":""}`: 7, `{"port":null}`: 7, `{"port":5432}`: 5432, `{"port":"5432"}`: 5432, `{"port":1}`: 1, `{"port":65535}`: 65535,
		`{"port":0}`: 0, `{"port":65536}`: 0, `{"port":-1}`: 0, `{"port":5432.5}`: 0, `{"port":"x"}`: 0, `{"port":true}`: 0,
	} {
		got, err := mustParse(t, text).Port(7)
		if got != want || (want == 0) != (KindOf(err) == Invalid && err != nil) {
			t.Errorf("%s: %d, %v; want %d", text, got, err, want)
		}
	}
}

func TestCredentialsSSL(t *testing.T) {
	for text, want := range map[string][2]bool{
		`{}`: {}, `{"ssl":true}`: {true, true}, `{"ssl":false}`: {false, true}, `{"ssl":"True"}`: {true, true}, `{"ssl":"FALSE"}`: {false, true},
		`{"ssl":1}`: {}, `{"ssl":"yes"}`: {}, `{"ssl":null}`: {}, `{"ssl":{}}`: {},
	} {
		if on, set := mustParse(t, text).SSL(); on != want[0] || set != want[1] {
			t.Errorf("%s: %v %v", text, on, set)
		}
	}
}

func TestCredentialsRequire(t *testing.T) {
	c := mustParse(t, `{"host":"h","username":"","port":1}`)
	if err := c.Require("host", "port"); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"username", "password"} {
		if err := c.Require("host", key); err == nil || !strings.HasPrefix(err.Error(), key+" key is missing from secret JSON; ") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func TestCredentialsWith(t *testing.T) {
	for _, c := range []struct{ before, key, text, after string }{
		{`{"a":"x","b":1,"c":"y"}`, "a", `q"<é>`, `{"a":"q\"<é>","b":1,"c":"y"}`},
		{`{"a":"x"}`, "b", "new", `{"a":"x","b":"new"}`},
		{`{"port":5432}`, "port", "5433", `{"port":5433}`},
		{`{"port":"5432"}`, "port", "5433", `{"port":"5433"}`},
		// A password that happened to be a number stays one only as a number.
		{`{"p":12}`, "p", "13 ", `{"p":"13 "}`},
		{`{"p":12}`, "p", "007", `{"p":"007"}`},
		{`{"p":12}`, "p", "true", `{"p":"true"}`},
		{`{"p":12}`, "p", "null", `{"p":"null"}`},
		{`{"p":12}`, "p", "[1]", `{"p":"[1]"}`},
		{`{"p":12}`, "p", "{}", `{"p":"{}"}`},
		{`{"p":12}`, "p", "", `{"p":""}`},
		{`{"p":12}`, "p", "-1.5e+3", `{"p":-1.5e+3}`},
		{`{"p":-1}`, "p", "+1", `{"p":"+1"}`},
		{`{"p":null}`, "p", "x", `{"p":"x"}`},
		{`{"p":true}`, "p", "1", `{"p":"1"}`},
	} {
		before := mustParse(t, c.before)
		after := before.With(c.key, c.text)
		if got := string(after.Value().Reveal()); got != c.after {
			t.Errorf("%s with %s = %q: got %s, want %s", c.before, c.key, c.text, got, c.after)
		}
		if got, _ := mustParse(t, c.after).Get(c.key); got != c.text {
			t.Errorf("%s: read back %q", c.after, got)
		}
		if got := string(before.Value().Reveal()); got != c.before {
			t.Errorf("With changed its receiver: %s", got)
		}
	}
}

// drawJSON makes any JSON value, with any legal white space in it.
func drawJSON(t *rapid.T, depth int) string {
	space := rapid.SampledFrom([]string{"", "", " ", "\n\t", "\r"})
	switch rapid.IntRange(0, 5+2*min(depth, 1)).Draw(t, "type") {
	case 0:
		return rapid.SampledFrom([]string{"true", "false", "null"}).Draw(t, "word")
	case 1:
		return strconv.Itoa(rapid.Int().Draw(t, "int"))
	case 2: // as written, not as computed
		return rapid.SampledFrom([]string{"1.0", "1e400", "-0", "0.10", "123456789012345678901234567890", "5E-7"}).Draw(t, "number")
	case 3, 4, 5:
		b, _ := json.Marshal(rapid.String().Draw(t, "string"))
		return string(b)
	case 6:
		var parts []string
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			parts = append(parts, space.Draw(t, "space")+drawJSON(t, depth-1))
		}
		return "[" + strings.Join(parts, ",") + space.Draw(t, "space") + "]"
	default:
		var parts []string
		for i := range rapid.IntRange(0, 3).Draw(t, "n") {
			parts = append(parts, fmt.Sprintf(`"k%d"%s:%s%s`, i, space.Draw(t, "space"), space.Draw(t, "space"), drawJSON(t, depth-1)))
		}
		return "{" + strings.Join(parts, ",") + "}"
	}
}

// Whatever else is in a secret survives a change of its password: every field,
// byte for byte, in its order.
func TestCredentialsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfNDistinct(rapid.OneOf(rapid.SampledFrom([]string{"password", "port", "host", "ssl"}), rapid.String()), 0, 8, rapid.ID[string]).Draw(t, "keys")
		space := rapid.SampledFrom([]string{"", "", " ", "\n"})
		var text strings.Builder
		raws := map[string]string{}
		text.WriteString(space.Draw(t, "space") + "{")
		for i, k := range keys {
			if i > 0 {
				text.WriteString("," + space.Draw(t, "space"))
			}
			raws[k] = drawJSON(t, 2)
			quoted, _ := json.Marshal(k)
			text.WriteString(string(quoted) + space.Draw(t, "space") + ":" + space.Draw(t, "space") + raws[k] + space.Draw(t, "space"))
		}
		text.WriteString("}" + space.Draw(t, "space"))

		c := mustParse(t, text.String())
		check := func(c Credentials, keys []string) {
			again := mustParse(t, string(c.Value().Reveal()))
			if len(again.fields()) != len(keys) {
				t.Fatalf("%d fields of %d", len(again.fields()), len(keys))
			}
			for i, f := range again.fields() {
				if f.key != keys[i] {
					t.Fatalf("field %d is %q, not %q", i, f.key, keys[i])
				}
				if want, ok := raws[f.key]; ok && string(f.raw) != want {
					t.Fatalf("%q is %s, not %s", f.key, f.raw, want)
				}
			}
			if !bytes.Equal(again.Value().Reveal(), c.Value().Reveal()) {
				t.Fatal("rendering is not stable")
			}
		}
		check(c, keys)

		password := rapid.String().Draw(t, "new password")
		changed := c.With("password", password)
		if got, ok := changed.Get("password"); !ok || got != password {
			t.Fatalf("the password read back is %q", got)
		}
		if _, had := raws["password"]; !had {
			keys = append(keys, "password")
		}
		delete(raws, "password")
		check(changed, keys)
	})
}

func TestCredentialsWithNumber(t *testing.T) {
	for digits, want := range map[string]string{"5432": `{"a":"x","port":5432}`, "x": `{"a":"x","port":"x"}`, "": `{"a":"x","port":""}`} {
		before := mustParse(t, `{"a":"x"}`)
		if got := string(before.WithNumber("port", digits).Value().Reveal()); got != want {
			t.Errorf("%q: got %s", digits, got)
		}
		if got := string(before.Value().Reveal()); got != `{"a":"x"}` {
			t.Errorf("WithNumber changed its receiver: %s", got)
		}
	}
}

func TestNewCredentials(t *testing.T) {
	c := NewCredentials("engine", "mysql", "username", "u", "password", "1")
	if got := string(c.Value().Reveal()); got != `{"engine":"mysql","username":"u","password":"1"}` {
		t.Errorf("got %s", got)
	}
}
