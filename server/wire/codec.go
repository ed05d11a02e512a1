package wire

import (
	"encoding"
	"encoding/base64"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// A codec writes and reads one Go type. The values it is given are addressable.
type codec struct {
	encode func(b []byte, v reflect.Value) []byte
	// decode reads a value that is not null. It overwrites all of v.
	decode func(d *decoder, v reflect.Value) error
}

// null or a value.
func (c *codec) read(d *decoder, v reflect.Value) error {
	if d.next() == 'n' {
		v.SetZero()
		return d.literal("null")
	}
	return c.decode(d, v)
}

var (
	codecs   sync.Map // reflect.Type → *codec
	textType = reflect.TypeFor[encoding.TextMarshaler]()
)

// codecOf makes the codec of a type once.
func codecOf(t reflect.Type) *codec {
	if c, ok := codecs.Load(t); ok {
		return c.(*codec)
	}
	c, _ := codecs.LoadOrStore(t, newCodec(t))
	return c.(*codec)
}

func newCodec(t reflect.Type) *codec {
	switch t {
	case reflect.TypeFor[time.Time]():
		return dates
	case reflect.TypeFor[service.SecretText](), reflect.TypeFor[service.SecretBlob](), reflect.TypeFor[secrets.Value]():
		return secretValue(t == reflect.TypeFor[service.SecretBlob]())
	case reflect.TypeFor[secrets.Password]():
		return passwords
	}
	if t.Implements(textType) {
		return marshalers
	}
	switch t.Kind() {
	case reflect.String:
		return texts
	case reflect.Bool:
		return booleans
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return integers(t)
	case reflect.Pointer:
		return pointers(codecOf(t.Elem()))
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return blobs
		}
		return lists(codecOf(t.Elem()))
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return maps(t, codecOf(t.Elem()))
		}
	case reflect.Struct:
		return newStructure(t).codec()
	}
	panic("wire: no encoding for " + t.String())
}

var texts = &codec{
	encode: func(b []byte, v reflect.Value) []byte { return appendText(b, v.String()) },
	decode: func(d *decoder, v reflect.Value) error {
		if d.next() != '"' {
			return d.unfit("a String")
		}
		s, err := d.text()
		v.SetString(string(s))
		if err == nil && len(s) == 0 {
			d.noteEmpty()
		}
		return err
	},
}

var booleans = &codec{
	encode: func(b []byte, v reflect.Value) []byte { return strconv.AppendBool(b, v.Bool()) },
	decode: func(d *decoder, v reflect.Value) error {
		switch d.next() {
		case 't':
			v.SetBool(true)
			return d.literal("true")
		case 'f':
			v.SetBool(false)
			d.noteEmpty()
			return d.literal("false")
		}
		return d.unfit("a Boolean")
	},
}

func integers(t reflect.Type) *codec {
	target := "an Integer"
	if t.Kind() == reflect.Int64 {
		target = "a Long"
	}
	return &codec{
		encode: func(b []byte, v reflect.Value) []byte { return strconv.AppendInt(b, v.Int(), 10) },
		decode: func(d *decoder, v reflect.Value) error {
			if c := d.next(); c != '-' && (c < '0' || c > '9') {
				return d.unfit(target)
			}
			n, err := d.integer()
			if err == nil && v.OverflowInt(n) {
				err = malformed()
			}
			v.SetInt(n)
			if err == nil && n == 0 {
				d.noteEmpty()
			}
			return err
		},
	}
}

// dates are numbers of seconds since 1970, in milliseconds; on the way in, any
// number up to the year 9999.
var dates = &codec{
	encode: func(b []byte, v reflect.Value) []byte {
		ms := v.Addr().Interface().(*time.Time).UnixMilli()
		if ms < 0 {
			b, ms = append(b, '-'), -ms
		}
		b = strconv.AppendInt(b, ms/1000, 10)
		if ms %= 1000; ms != 0 {
			b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
		}
		return b
	},
	decode: func(d *decoder, v reflect.Value) error {
		if c := d.next(); c != '-' && (c < '0' || c > '9') {
			return d.unfit("a Timestamp")
		}
		b, _, err := d.number()
		if err != nil {
			return err
		}
		const most = 253402300800 // 10000-01-01
		f, err := strconv.ParseFloat(string(b), 64)
		if err != nil || f <= -most || f >= most {
			return malformed()
		}
		*v.Addr().Interface().(*time.Time) = time.UnixMilli(int64(math.Round(f * 1000))).UTC()
		return nil
	},
}

// marshalers go as the text they make of themselves; an ARN is one.
var marshalers = &codec{
	encode: func(b []byte, v reflect.Value) []byte {
		s, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			panic("wire: " + v.Type().String() + " does not become text")
		}
		return appendText(b, s)
	},
	decode: func(d *decoder, v reflect.Value) error {
		if d.next() != '"' {
			return d.unfit("a String")
		}
		s, err := d.text()
		if err != nil {
			return err
		}
		if v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText(s) != nil {
			return malformed() // the error may hold the text
		}
		return nil
	},
}

// secretValue is a text or, if binary, base64, in the clear.
func secretValue(binary bool) *codec {
	inner := func(v reflect.Value) *secrets.Value {
		switch p := v.Addr().Interface().(type) {
		case *service.SecretText:
			return &p.Value
		case *service.SecretBlob:
			return &p.Value
		default:
			return p.(*secrets.Value)
		}
	}
	c := &codec{
		encode: func(b []byte, v reflect.Value) []byte {
			inner(v).Use(func(data []byte) {
				if binary {
					b = appendBase64(b, data)
				} else {
					b = appendText(b, data)
				}
			})
			return b
		},
		decode: func(d *decoder, v reflect.Value) error {
			if d.next() != '"' {
				return d.unfit("a String")
			}
			s, err := d.text()
			if err == nil {
				*inner(v) = secrets.Text(string(s))
			}
			return err
		},
	}
	if binary {
		c.decode = func(d *decoder, v reflect.Value) error {
			data, err := d.base64()
			if err == nil {
				*inner(v) = secrets.Binary(data)
			}
			clear(data)
			return err
		}
	}
	return c
}

var passwords = &codec{
	encode: func(b []byte, v reflect.Value) []byte {
		return appendText(b, v.Addr().Interface().(*secrets.Password).Reveal())
	},
	decode: func(d *decoder, v reflect.Value) error {
		if d.next() != '"' {
			return d.unfit("a String")
		}
		s, err := d.text()
		*v.Addr().Interface().(*secrets.Password) = secrets.NewPassword(string(s))
		return err
	},
}

var blobs = &codec{
	encode: func(b []byte, v reflect.Value) []byte { return appendBase64(b, v.Bytes()) },
	decode: func(d *decoder, v reflect.Value) error {
		b, err := d.base64()
		v.SetBytes(b)
		return err
	},
}

// base64 reads standard base64 with padding. The bytes are the caller's.
func (d *decoder) base64() ([]byte, error) {
	if d.next() != '"' {
		return nil, d.unfit("a Blob")
	}
	s, err := d.text()
	if err != nil {
		return nil, err
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
	n, err := base64.StdEncoding.Decode(b, s)
	if err != nil {
		return nil, malformed()
	}
	return b[:n], nil
}

func appendBase64(b, data []byte) []byte {
	return append(base64.StdEncoding.AppendEncode(append(b, '"'), data), '"')
}

func pointers(of *codec) *codec {
	return &codec{
		encode: func(b []byte, v reflect.Value) []byte {
			if v.IsNil() {
				return append(b, "null"...) // in a list; as a member it is left out
			}
			return of.encode(b, v.Elem())
		},
		decode: func(d *decoder, v reflect.Value) error {
			p := reflect.New(v.Type().Elem())
			v.Set(p)
			return of.decode(d, p.Elem())
		},
	}
}

func lists(of *codec) *codec {
	return &codec{
		encode: func(b []byte, v reflect.Value) []byte {
			b = append(b, '[')
			for i := range v.Len() {
				if i > 0 {
					b = append(b, ',')
				}
				b = of.encode(b, v.Index(i))
			}
			return append(b, ']')
		},
		decode: func(d *decoder, v reflect.Value) error {
			if c := d.next(); c != '[' {
				if c == '{' {
					return serialization(structureText)
				}
				return d.unfit(wantsList)
			}
			if err := d.enter(); err != nil {
				return err
			}
			list := reflect.MakeSlice(v.Type(), 0, 0)
			for first := true; ; first = false {
				more, err := d.more(']', first)
				if err != nil {
					return err
				}
				if !more {
					break
				}
				if d.next() == 'n' { // AWS leaves null out of a list
					if err := d.literal("null"); err != nil {
						return err
					}
					continue
				}
				n := list.Len()
				list = reflect.Append(list, reflect.Zero(v.Type().Elem()))
				d.path = append(d.path, step{index: n + 1})
				err = of.decode(d, list.Index(n))
				d.path = d.path[:len(d.path)-1]
				if err != nil {
					return err
				}
			}
			if v.Set(list); list.Len() == 0 {
				d.noteEmpty()
			}
			return nil
		},
	}
}

func maps(t reflect.Type, of *codec) *codec {
	return &codec{
		encode: func(b []byte, v reflect.Value) []byte {
			keys := v.MapKeys()
			slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
			b = append(b, '{')
			item := reflect.New(t.Elem()).Elem()
			for i, k := range keys {
				if i > 0 {
					b = append(b, ',')
				}
				item.Set(v.MapIndex(k))
				b = of.encode(append(appendText(b, k.String()), ':'), item)
			}
			return append(b, '}')
		},
		decode: func(d *decoder, v reflect.Value) error {
			if d.next() != '{' {
				return d.unfit(wantsStructure)
			}
			if err := d.enter(); err != nil {
				return err
			}
			v.Set(reflect.MakeMap(t))
			for first := true; ; first = false {
				more, err := d.more('}', first)
				if err != nil || !more {
					return err
				}
				k, err := d.key()
				if err != nil {
					return err
				}
				name := string(k)
				item := reflect.New(t.Elem()).Elem()
				d.path = append(d.path, step{name: name})
				err = of.read(d, item)
				d.path = d.path[:len(d.path)-1]
				if err != nil {
					return err
				}
				v.SetMapIndex(reflect.ValueOf(name).Convert(t.Key()), item)
			}
		},
	}
}
