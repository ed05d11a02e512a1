package secrets

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
)

// Kind says what may be done about an error. It is decided once, at the edge
// where the cause is known (an engine, a store), and everybody above switches
// on it and never on text.
type Kind int

const (
	// Unknown: nobody can say whether the change took effect (the connection
	// broke after it was sent). Never assume: probe, then decide. It is also
	// the kind of an error that nobody classified.
	Unknown Kind = iota
	// Transient: nothing was changed and waiting may cure it. Back off, then
	// do the same step again.
	Transient
	// Denied: credentials or rights were refused. Never hammer: a locked-out
	// account is worse than a late rotation.
	Denied
	// Invalid: the input or the configuration is wrong. Report at once and
	// change nothing.
	Invalid
	// Conflict: somebody else holds the secret or moved its labels. Stop,
	// re-read, start from what is true.
	Conflict
)

// String returns the kind's lower-case name.
func (k Kind) String() string {
	switch k {
	case Transient:
		return "transient"
	case Denied:
		return "denied"
	case Invalid:
		return "invalid"
	case Conflict:
		return "conflict"
	default:
		return "unknown"
	}
}

// Error is an error a person can act on: what failed, on which secret, in
// which step, at which server, and what to type next. It never holds a secret
// value. The zero fields are left out of its text.
type Error struct {
	Kind   Kind
	Secret string // the secret's name
	Step   string // createSecret, setSecret, testSecret, finishSecret
	Server string // host:port
	Hint   string // the next thing to do, a whole phrase
	// Code is the name of the AWS exception this error is on the wire, where
	// it has one of its own (ResourceNotFoundException …).
	Code string
	// Authenticated marks a refusal that a server gives only to somebody who
	// knew the password (account locked, no such database): proof that a
	// password change took effect.
	Authenticated bool
	// Policy marks a password that the server's rules refuse; another value
	// may be accepted.
	Policy bool
	Err    error
}

// Error renders the error on one line: where, what, and the hint.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Secret != "" {
		fmt.Fprintf(&b, "secret %q: ", e.Secret)
	}
	if e.Step != "" {
		b.WriteString(e.Step)
		b.WriteString(": ")
	}
	if e.Server != "" {
		b.WriteString(e.Server)
		b.WriteString(": ")
	}
	if e.Err != nil {
		b.WriteString(e.Err.Error())
	} else {
		b.WriteString(e.Kind.String())
	}
	if e.Hint != "" {
		// AWS's texts are whole sentences.
		return strings.TrimSuffix(b.String(), ".") + "; " + e.Hint
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an error of a kind. The format may wrap a cause with %w.
func Errorf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Err: fmt.Errorf(format, args...)}
}

// WithHint adds the next thing to type and returns e.
func (e *Error) WithHint(format string, args ...any) *Error {
	e.Hint = fmt.Sprintf(format, args...)
	return e
}

// KindOf returns the kind of the outermost *Error in err's chain. A context
// that ended, outside of any *Error, is Transient: whoever sends something that
// changes a server must classify that case itself. Anything else is Unknown.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return Transient
	}
	return Unknown
}

// Authenticated reports whether err proves that the password was right.
func Authenticated(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Authenticated
}

// Policy reports whether err is a server's refusal of the password's form.
func Policy(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Policy
}

// CodeOf returns the AWS exception name that err carries, or "".
func CodeOf(err error) string {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

// Prefixed says something before err's own text, keeping its kind, place and
// hint and saying none of them twice.
func Prefixed(err error, format string, args ...any) *Error {
	text := fmt.Sprintf(format, args...)
	e, ok := err.(*Error)
	if !ok {
		return &Error{Kind: KindOf(err), Err: fmt.Errorf("%s: %w", text, err)}
	}
	out := *e
	out.Err = fmt.Errorf("%s: %w", text, e.Err)
	return &out
}

// At adds to err the place where it happened, keeping its kind and filling
// only what is not yet known. It returns nil for nil.
func At(err error, secret, step, server string) error {
	if err == nil {
		return nil
	}
	var e *Error
	if !errors.As(err, &e) {
		return &Error{Kind: KindOf(err), Secret: secret, Step: step, Server: server, Err: err}
	}
	out := *e
	if err != error(e) {
		// Somebody wrapped the *Error in more text: keep that text, and lift
		// the fields out of it so that they are not said twice.
		out.Err = err
		out.Secret, out.Step, out.Server, out.Hint = "", "", "", ""
	}
	if out.Secret == "" {
		out.Secret = secret
	}
	if out.Step == "" {
		out.Step = step
	}
	if out.Server == "" {
		out.Server = server
	}
	return &out
}

// OneLine is an error's text for a place that has one line of at most so many
// bytes.
func OneLine(err error, most int) string {
	text := strings.ReplaceAll(err.Error(), "\n", "; ") // errors.Join's lines
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// Thrown says of what a panic threw as much as holds no secret for certain: its
// type, or the words of the runtime's own errors.
func Thrown(p any) string {
	if e, ok := p.(runtime.Error); ok {
		return e.Error()
	}
	return fmt.Sprintf("%T", p)
}
