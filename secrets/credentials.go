package secrets

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
)

// Credentials are the JSON object of a database secret (AWS Secrets Manager
// user guide, "JSON structure of AWS Secrets Manager secrets"): engine, host,
// username, password, and optionally port, dbname, ssl, masterarn. Fields that
// Pawl does not know survive a rotation unchanged and in their order, and port
// stays the number or the string it was. Credentials are immutable and print
// as [redacted]. The zero Credentials are "none".
type Credentials struct{ f **[]field } // two pointers: see Value

type field struct {
	key string
	raw json.RawMessage
}

// ParseCredentials reads a secret's value. Errors are Invalid and never quote
// the value: binary values, text that is not one JSON object, a key given twice
// (readers disagree on which one counts).
func ParseCredentials(v Value) (Credentials, error) {
	if v.IsZero() {
		return Credentials{}, Errorf(Invalid, "the secret has no value")
	}
	if v.IsBinary() {
		return Credentials{}, Errorf(Invalid, "the secret value is binary; a rotated secret is a JSON object").WithHint(likeThis)
	}
	bad := func(what string) (Credentials, error) {
		return Credentials{}, Errorf(Invalid, "the secret value is not a JSON object: %s", what).WithHint(likeThis)
	}
	dec := json.NewDecoder(bytes.NewReader(v.payload().data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return bad("it does not start with {")
	}
	fields := []field{}
	for dec.More() {
		t, err := dec.Token()
		key, ok := t.(string)
		if err != nil || !ok {
			return bad("a syntax error at byte " + strconv.FormatInt(dec.InputOffset(), 10))
		}
		var raw json.RawMessage
		if dec.Decode(&raw) != nil {
			return bad("a syntax error at byte " + strconv.FormatInt(dec.InputOffset(), 10))
		}
		if slices.ContainsFunc(fields, func(f field) bool { return f.key == key }) {
			return bad("a key stands in it twice")
		}
		fields = append(fields, field{key, raw})
	}
	if t, err := dec.Token(); err != nil || t != json.Delim('}') {
		return bad("it is cut off")
	}
	if _, err := dec.Token(); err != io.EOF {
		return bad("something follows the object")
	}
	return credentials(fields), nil
}

const likeThis = `store one like {"engine":"postgres","host":"db.example.com","username":"app","password":"…"}`

// NewCredentials makes credentials from keys and string values, in order:
// NewCredentials("engine", "postgres", "host", h, …).
func NewCredentials(pairs ...string) Credentials {
	c := credentials(nil)
	for i := 0; i+1 < len(pairs); i += 2 {
		c = c.With(pairs[i], pairs[i+1])
	}
	return c
}

func credentials(fs []field) Credentials {
	inner := &fs
	return Credentials{&inner}
}

// IsZero reports whether there are no credentials at all.
func (c Credentials) IsZero() bool { return c.f == nil }

func (c Credentials) fields() []field {
	if c.f == nil {
		return nil
	}
	return **c.f
}

// Get returns a field's text: a JSON string's content, a number or boolean as
// it is written. ok is false for a missing field, null, object or array.
func (c Credentials) Get(key string) (text string, ok bool) {
	for _, f := range c.fields() {
		if f.key != key {
			continue
		}
		if f.raw[0] == '"' {
			err := json.Unmarshal(f.raw, &text)
			return text, err == nil
		}
		if f.raw[0] == '{' || f.raw[0] == '[' || string(f.raw) == "null" {
			return "", false
		}
		return string(f.raw), true
	}
	return "", false
}

func (c Credentials) get(key string) string { s, _ := c.Get(key); return s }

// Engine returns the "engine" key.
func (c Credentials) Engine() string { return c.get("engine") }

// Host returns the "host" key.
func (c Credentials) Host() string { return c.get("host") }

// Username returns the "username" key.
func (c Credentials) Username() string { return c.get("username") }

// Password returns the "password" key.
func (c Credentials) Password() Password { return NewPassword(c.get("password")) }

// Database returns the "dbname" key.
func (c Credentials) Database() string { return c.get("dbname") }

// MasterARN returns the "masterarn" key: the superuser's secret.
func (c Credentials) MasterARN() string { return c.get("masterarn") }

// Port returns the "port" key, a JSON number or string, or def where there is
// none. The error is Invalid.
func (c Credentials) Port(def int) (int, error) {
	s, ok := c.Get("port")
	if !ok || s == "" {
		return def, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > 65535 {
		return 0, Errorf(Invalid, "the secret's \"port\" is not a port number from 1 to 65535")
	}
	return n, nil
}

// SSL returns the "ssl" key: a boolean or the word, in any case. set is false
// where it is absent or anything else, as AWS's rotation functions read it.
func (c Credentials) SSL() (on, set bool) {
	switch strings.ToLower(c.get("ssl")) {
	case "true":
		return true, true
	case "false":
		return false, true
	}
	return false, false
}

// Server returns host:port for messages.
func (c Credentials) Server(defaultPort int) string {
	port, err := c.Port(defaultPort)
	if err != nil {
		return c.Host()
	}
	return net.JoinHostPort(c.Host(), strconv.Itoa(port))
}

// Require checks that each key is present with a non-empty text. The error is
// Invalid and names the keys that are missing, in AWS's words.
func (c Credentials) Require(keys ...string) error {
	for _, k := range keys {
		if c.get(k) == "" {
			return Errorf(Invalid, "%s key is missing from secret JSON", k).
				WithHint("store the whole JSON object anew: pawl secret put NAME --value-file -")
		}
	}
	return nil
}

// With returns credentials in which key has the text value, at its place or,
// when new, at the end. Where the field was a number and the text is one too,
// it stays a number.
func (c Credentials) With(key, text string) Credentials {
	out := slices.Clone(c.fields())
	i := slices.IndexFunc(out, func(f field) bool { return f.key == key })
	if i < 0 {
		out = append(out, field{key, quote(text)})
		return credentials(out)
	}
	raw := quote(text)
	if isNumber(string(out[i].raw)) && isNumber(text) {
		raw = json.RawMessage(text)
	}
	out[i] = field{key, raw}
	return credentials(out)
}

// WithNumber is With for a field that shall be a JSON number where digits are
// one.
func (c Credentials) WithNumber(key, digits string) Credentials {
	out := c.With(key, digits)
	fs := out.fields() // a copy of our own
	i := slices.IndexFunc(fs, func(f field) bool { return f.key == key })
	if isNumber(digits) {
		fs[i].raw = json.RawMessage(digits)
	}
	return out
}

// isNumber reports whether text is one JSON number and nothing else.
func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "0123456789+-.eE") == "" && json.Valid([]byte(text))
}

// Value renders the credentials as a text value.
func (c Credentials) Value() Value {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, f := range c.fields() {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(quote(f.key))
		b.WriteByte(':')
		b.Write(f.raw)
	}
	b.WriteByte('}')
	return hide(payload{data: b.Bytes()})
}

// String returns [redacted].
func (c Credentials) String() string { return redacted }

// GoString returns [redacted].
func (c Credentials) GoString() string { return redacted }

// Format writes [redacted] for every verb.
func (c Credentials) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue returns [redacted].
func (c Credentials) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON writes "[redacted]": whoever must send the credentials reveals
// their Value.
func (c Credentials) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// quote encodes s as a JSON string, leaving < > & as they are.
func quote(s string) json.RawMessage {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always encodes
	return bytes.TrimRight(b.Bytes(), "\n")
}
