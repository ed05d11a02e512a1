// Package wire is the encoding of Secrets Manager's requests and answers: AWS
// JSON 1.1, for the types of package service, used by Pawl's server and by its
// own client. It follows encoding/json's tags and differs from it where AWS
// does: member names are matched exactly, dates are numbers of epoch seconds
// with milliseconds, a member without a value is left out and never null, and
// secret values, which every other road redacts, are written in the clear.
//
// Sources: the AWS JSON 1.1 protocol in the Smithy documentation; the texts of
// errors are those that AWS's JSON services answer.
package wire

import (
	"fmt"
	"reflect"
	"unicode/utf8"

	"github.com/pawlhq/pawl/secrets"
)

// What goes over HTTP beside the body.
const (
	ContentType  = "application/x-amz-json-1.1"
	TargetHeader = "X-Amz-Target" // its value: <prefix>.<operation>
)

// Marshal encodes a structure, or a pointer to one. Members have their json
// tag's name or else Go's, embedded structures are flattened, omitempty and
// omitzero are honoured; nil, the zero time and no value are always left out.
// A secrets.Value in a member called Value becomes SecretString or SecretBinary.
//
// It panics at a type that has no encoding here (interfaces, floats, channels):
// that is a mistake in the program.
func Marshal(v any) ([]byte, error) { return Append(nil, v) }

// Append is Marshal to the end of b.
func Append(b []byte, v any) ([]byte, error) {
	r := reflect.ValueOf(v)
	switch {
	case r.Kind() == reflect.Pointer && !r.IsNil():
		r = r.Elem()
	case r.Kind() == reflect.Struct:
		p := reflect.New(r.Type()).Elem() // what is encoded must be addressable
		p.Set(r)
		r = p
	}
	if r.Kind() != reflect.Struct {
		return b, fmt.Errorf("wire: %T is not a structure", v)
	}
	return codecOf(r.Type()).encode(b, r), nil
}

// Unmarshal decodes a JSON object into the structure that into points to.
// Unknown members are ignored, null is the same as absent, of a member that
// comes twice the last one counts. It keeps no part of body.
//
// sent names the members that were there but are as empty in Go as if they had
// not been: an empty text or list, a zero, a false. The names are paths as service.Check
// takes them ("filters.1.member.key"); nil when there are none.
//
// Errors are Invalid with Code SerializationException, and never hold a part of
// body. Those of the wrong type have AWS's text; what is no JSON, or nested
// deeper than 64, has none.
func Unmarshal(body []byte, into any) (sent map[string]bool, err error) {
	r := reflect.ValueOf(into)
	if r.Kind() != reflect.Pointer || r.IsNil() || r.Elem().Kind() != reflect.Struct {
		return nil, fmt.Errorf("wire: %T is not a pointer to a structure", into)
	}
	if !utf8.Valid(body) {
		return nil, malformed()
	}
	d := decoders.Get().(*decoder)
	defer d.release()
	d.data = body
	switch d.next() {
	case '{':
		err = codecOf(r.Elem().Type()).decode(d, r.Elem())
	case '[':
		err = serialization(listText)
	default:
		err = malformed()
	}
	if err == nil && (d.next() != end || d.pos != len(body)) {
		err = malformed()
	}
	if err != nil {
		return nil, err
	}
	return d.sent, nil
}

// The texts of a SerializationException, as measured on AWS's JSON services:
// with a full stop, or without.
const (
	listText       = "Start of list found where not expected"
	structureText  = "Start of structure or map found where not expected."
	wantsList      = "Expected list or null" // a scalar where a list belongs
	wantsStructure = "Expected null"         // a scalar where a structure belongs
)

func serialization(text string) error {
	e := secrets.Errorf(secrets.Invalid, "%s", text)
	e.Code = "SerializationException"
	return e
}

// malformed is the error of what AWS answers without a text.
func malformed() error {
	return &secrets.Error{Kind: secrets.Invalid, Code: "SerializationException"}
}
