// Package secrets is the ground floor: the words of secret keeping (ARN, name,
// version, staging label, credentials, rotation schedule, error kind) and their
// rules as pure functions. It imports the standard library only and does no
// I/O; clocks and randomness are parameters.
package secrets

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
	"unicode/utf8"
)

// MaxValueBytes is the largest secret value, text or binary.
// Source: AWS Secrets Manager API reference, PutSecretValue.
const MaxValueBytes = 65536

const redacted = "[redacted]"

// Value is a secret's value: text or binary. It prints as [redacted] by every
// road (fmt, slog, encoding/json); only Reveal gives the bytes out. The payload
// sits behind two pointers so that fmt cannot reach it through an unexported
// field of an enclosing struct either: there it calls no methods, and for a verb
// that does not suit a pointer (%s) it follows the first one. The zero Value is
// "no value".
type Value struct{ p **payload }

type payload struct {
	data   []byte
	binary bool
}

// Text makes a text value.
func Text(s string) Value { return hide(payload{data: []byte(s)}) }

// Binary makes a binary value. The bytes are copied.
func Binary(b []byte) Value { return hide(payload{append([]byte(nil), b...), true}) }

// Owned makes a value of bytes that nobody else keeps or alters from now on.
func Owned(b []byte, binary bool) Value { return hide(payload{b, binary}) }

func hide(p payload) Value {
	h := &struct {
		inner *payload
		payload
	}{payload: p}
	h.inner = &h.payload
	return Value{&h.inner}
}

// payload returns what the value holds; the zero payload for no value.
func (v Value) payload() payload {
	if v.p == nil {
		return payload{}
	}
	return **v.p
}

// IsZero reports whether there is no value at all.
func (v Value) IsZero() bool { return v.p == nil }

// IsBinary reports whether the value is binary.
func (v Value) IsBinary() bool { return v.payload().binary }

// Len returns the number of bytes.
func (v Value) Len() int { return len(v.payload().data) }

// Reveal returns a copy of the bytes in the clear. Call it only where the value
// leaves for its reader or for encryption.
func (v Value) Reveal() []byte {
	return append([]byte(nil), v.payload().data...)
}

// Use calls f with the bytes in the clear, which f neither keeps nor alters: it
// spares the copy that Reveal makes.
func (v Value) Use(f func(data []byte)) { f(v.payload().data) }

// Equal compares type and bytes in constant time.
func (v Value) Equal(w Value) bool {
	a, b := v.payload(), w.payload()
	return v.IsZero() == w.IsZero() && a.binary == b.binary && subtle.ConstantTimeCompare(a.data, b.data) == 1
}

// Validate checks the size (1 to 65,536 bytes) and that text is UTF-8. The
// error is Invalid and does not show the value.
func (v Value) Validate() error {
	switch n := v.Len(); {
	case n == 0:
		return Errorf(Invalid, "the secret value is empty")
	case n > MaxValueBytes:
		return Errorf(Invalid, "the secret value has %d bytes; the most is %d", n, MaxValueBytes)
	case !v.IsBinary() && !utf8.Valid(v.payload().data):
		return Errorf(Invalid, "the secret value is not UTF-8 text").WithHint("store it as binary (--binary-file)")
	}
	return nil
}

// String returns [redacted].
func (v Value) String() string { return redacted }

// GoString returns [redacted].
func (v Value) GoString() string { return redacted }

// Format writes [redacted] for every verb.
func (v Value) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue returns [redacted].
func (v Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON writes "[redacted]": whoever must send the value reveals it.
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// Password is one password in the clear, redacted like a Value.
type Password struct{ p *string }

// NewPassword wraps a password.
func NewPassword(s string) Password { return Password{&s} }

// Reveal returns the password in the clear: for a driver, for hashing.
func (p Password) Reveal() string {
	if p.p == nil {
		return ""
	}
	return *p.p
}

// IsEmpty reports whether there is no password, or an empty one.
func (p Password) IsEmpty() bool { return p.p == nil || *p.p == "" }

// Equal compares in constant time.
func (p Password) Equal(q Password) bool {
	return subtle.ConstantTimeCompare([]byte(p.Reveal()), []byte(q.Reveal())) == 1
}

// String returns [redacted].
func (p Password) String() string { return redacted }

// GoString returns [redacted].
func (p Password) GoString() string { return redacted }

// Format writes [redacted] for every verb.
func (p Password) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue returns [redacted].
func (p Password) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalJSON writes "[redacted]".
func (p Password) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }
