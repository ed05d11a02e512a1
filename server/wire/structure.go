package wire

import (
	"reflect"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// A structure is the plan of a Go structure: its members in order, those of
// embedded structures in the place of these.
type structure struct {
	members []*member
	named   map[string]*member
}

type member struct {
	name  string // in JSON
	quote []byte // the name as it is written, with its colon
	path  step
	index []int
	*codec
	absent func(v reflect.Value) bool // it is left out
}

// The two names of a secrets.Value that is called Value.
const (
	valueMember  = "Value"
	textMember   = "SecretString"
	binaryMember = "SecretBinary"
)

func newStructure(t reflect.Type) *structure {
	s := &structure{named: map[string]*member{}}
	for _, f := range reflect.VisibleFields(t) {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || !f.IsExported() || tag == "-" {
			continue
		}
		name := tag
		if name == "" {
			name = f.Name
		}
		absent := absence(f.Type, options)
		if f.Type == reflect.TypeFor[secrets.Value]() && name == valueMember {
			s.add(textMember, f, secretValue(false), func(v reflect.Value) bool { return absent(v) || binary(v) })
			s.add(binaryMember, f, secretValue(true), func(v reflect.Value) bool { return absent(v) || !binary(v) })
			continue
		}
		s.add(name, f, codecOf(f.Type), absent)
	}
	return s
}

func binary(v reflect.Value) bool { return v.Addr().Interface().(*secrets.Value).IsBinary() }

func (s *structure) add(name string, f reflect.StructField, c *codec, absent func(reflect.Value) bool) {
	m := &member{
		name: name, quote: append(appendText(nil, name), ':'), index: f.Index, codec: c, absent: absent,
		path: step{name: strings.ToLower(name[:1]) + name[1:]},
	}
	if s.named[name] != nil {
		panic("wire: two members are called " + name)
	}
	s.members, s.named[name] = append(s.members, m), m
}

// absence says when a member is left out: without a value always, and as its
// tag's options ask for, with encoding/json's meaning.
func absence(t reflect.Type, options string) func(reflect.Value) bool {
	empty, zero := false, false
	for o := range strings.SplitSeq(options, ",") {
		empty, zero = empty || o == "omitempty", zero || o == "omitzero"
	}
	switch k := t.Kind(); {
	case t == reflect.TypeFor[time.Time]():
		return func(v reflect.Value) bool { return v.Addr().Interface().(*time.Time).IsZero() }
	case hidden(t), k == reflect.Struct && zero:
		return reflect.Value.IsZero
	case k == reflect.Slice && empty, k == reflect.Map && empty:
		return func(v reflect.Value) bool { return v.Len() == 0 }
	case k == reflect.Slice, k == reflect.Map, k == reflect.Pointer:
		return reflect.Value.IsNil
	case zero, empty && k != reflect.Struct:
		return reflect.Value.IsZero
	}
	return func(reflect.Value) bool { return false }
}

// hidden reports whether t is one of the redacted types. Their zero is no
// value at all; an empty value is not zero.
func hidden(t reflect.Type) bool {
	c := codecOf(t)
	return c == passwords || t.Kind() == reflect.Struct && (t == reflect.TypeFor[secrets.Value]() ||
		t.NumField() == 1 && t.Field(0).Anonymous && t.Field(0).Type == reflect.TypeFor[secrets.Value]())
}

func (s *structure) codec() *codec { return &codec{s.encode, s.decode} }

func (s *structure) encode(b []byte, v reflect.Value) []byte {
	b = append(b, '{')
	first := true
	for _, m := range s.members {
		f := field(v, m.index)
		if m.absent(f) {
			continue
		}
		if !first {
			b = append(b, ',')
		}
		first = false
		b = m.encode(append(b, m.quote...), f)
	}
	return append(b, '}')
}

func field(v reflect.Value, index []int) reflect.Value {
	for _, i := range index {
		v = v.Field(i)
	}
	return v
}

func (s *structure) decode(d *decoder, v reflect.Value) error {
	if d.next() != '{' {
		return d.unfit(wantsStructure)
	}
	if err := d.enter(); err != nil {
		return err
	}
	v.SetZero()
	for first := true; ; first = false {
		more, err := d.more('}', first)
		if err != nil || !more {
			return err
		}
		name, err := d.key()
		if err != nil {
			return err
		}
		m := s.named[string(name)]
		if m == nil {
			if err := d.skip(); err != nil {
				return err
			}
			continue
		}
		d.path = append(d.path, m.path)
		if d.sent != nil {
			d.forget()
		}
		err = m.read(d, field(v, m.index))
		d.path = d.path[:len(d.path)-1]
		if err != nil {
			return err
		}
	}
}
