package wire

import (
	"strconv"
	"sync"
	"unicode/utf16"
	"unicode/utf8"
)

// maxDepth bounds how deep objects and lists nest, unknown members included.
const maxDepth = 64

// end is what next returns behind the last byte; JSON has no such byte outside
// of a text.
const end = 0

// decoder reads a JSON text (RFC 8259) that is known to be UTF-8, from left to
// right. Every method that reads a value starts at its first byte.
type decoder struct {
	data    []byte
	pos     int
	depth   int
	scratch []byte // the last text that had escapes
	path    []step // to the member that is being read
	sent    map[string]bool
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// release gives back a decoder that has read what it was to read. What it read may
// have been a secret.
func (d *decoder) release() {
	clear(d.scratch[:cap(d.scratch)])
	clear(d.path[:cap(d.path)])
	*d = decoder{scratch: d.scratch[:0], path: d.path[:0]}
	if cap(d.scratch) > 128<<10 {
		d.scratch = nil
	}
	decoders.Put(d)
}

// next skips white space and returns the byte there without reading it.
func (d *decoder) next() byte {
	for ; d.pos < len(d.data); d.pos++ {
		switch c := d.data[d.pos]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return end
}

// enter reads the { or [ that begins a value.
func (d *decoder) enter() error {
	if d.depth++; d.depth > maxDepth {
		return malformed()
	}
	d.pos++
	return nil
}

// more stands before the next item of an object or list that closes with c,
// first telling whether none was read yet; it reads the comma, or the end.
func (d *decoder) more(c byte, first bool) (bool, error) {
	switch b := d.next(); {
	case b == c:
		d.pos++
		d.depth--
		return false, nil
	case first:
		return true, nil
	case b != ',':
		return false, malformed()
	}
	d.pos++
	return true, nil // a closing bracket here is no value, so it fails there
}

// key reads a member's name and the colon. The bytes are good until the next
// text is read.
func (d *decoder) key() ([]byte, error) {
	if d.next() != '"' {
		return nil, malformed()
	}
	k, err := d.text()
	if err == nil && d.next() != ':' {
		err = malformed()
	}
	d.pos++
	return k, err
}

// text reads a string. The bytes are good until the next one is read.
func (d *decoder) text() ([]byte, error) {
	d.pos++
	start := d.pos
	for ; d.pos < len(d.data); d.pos++ {
		switch c := d.data[d.pos]; {
		case c == '"':
			d.pos++
			return d.data[start : d.pos-1], nil
		case c == '\\':
			return d.escaped(start)
		case c < ' ':
			return nil, malformed()
		}
	}
	return nil, malformed()
}

// escaped is text from the first escape on.
func (d *decoder) escaped(start int) ([]byte, error) {
	b := append(d.scratch[:0], d.data[start:d.pos]...)
	for d.pos < len(d.data) {
		c := d.data[d.pos]
		d.pos++
		switch {
		case c == '"':
			d.scratch = b
			return b, nil
		case c < ' ':
			return nil, malformed()
		case c != '\\':
			b = append(b, c)
			continue
		case d.pos == len(d.data):
			return nil, malformed()
		}
		c = d.data[d.pos]
		d.pos++
		switch c {
		case '"', '\\', '/':
			b = append(b, c)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r, ok := d.hex()
			if utf16.IsSurrogate(r) {
				var low rune
				ok = ok && d.pos+1 < len(d.data) && d.data[d.pos] == '\\' && d.data[d.pos+1] == 'u'
				if d.pos += 2; ok {
					low, ok = d.hex()
				}
				r = utf16.DecodeRune(r, low)
				ok = ok && r != utf8.RuneError // a surrogate without its other half
			}
			if !ok {
				return nil, malformed()
			}
			b = utf8.AppendRune(b, r)
		default:
			return nil, malformed()
		}
	}
	return nil, malformed()
}

// hex reads the four digits of an escape.
func (d *decoder) hex() (rune, bool) {
	if d.pos+4 > len(d.data) {
		return 0, false
	}
	var r rune
	for _, c := range d.data[d.pos : d.pos+4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	d.pos += 4
	return r, true
}

// number reads a number and tells whether it is written without point and
// exponent.
func (d *decoder) number() (n []byte, whole bool, err error) {
	start := d.pos
	digits := func() bool {
		from := d.pos
		for d.pos < len(d.data) && '0' <= d.data[d.pos] && d.data[d.pos] <= '9' {
			d.pos++
		}
		return d.pos > from
	}
	at := func(chars string) bool {
		for i := range len(chars) {
			if d.pos < len(d.data) && d.data[d.pos] == chars[i] {
				d.pos++
				return true
			}
		}
		return false
	}
	at("-")
	ok, whole := at("0") || digits(), true
	if ok && at(".") {
		ok, whole = digits(), false
	}
	if ok && at("eE") {
		at("+-")
		ok, whole = digits(), false
	}
	if !ok {
		return nil, false, malformed()
	}
	return d.data[start:d.pos], whole, nil
}

// integer reads a number without a fraction, however it is written: 7, 7.0
// and 70e-1 are the same in JSON.
func (d *decoder) integer() (int64, error) {
	b, whole, err := d.number()
	if err != nil {
		return 0, err
	}
	if whole {
		n, err := strconv.ParseInt(string(b), 10, 64)
		if err != nil {
			return 0, malformed() // out of range
		}
		return n, nil
	}
	const exact = 1 << 53
	f, err := strconv.ParseFloat(string(b), 64)
	if err != nil || f < -exact || f > exact || f != float64(int64(f)) {
		return 0, malformed()
	}
	return int64(f), nil
}

// literal reads true, false or null.
func (d *decoder) literal(word string) error {
	if len(d.data)-d.pos < len(word) || string(d.data[d.pos:d.pos+len(word)]) != word {
		return malformed()
	}
	d.pos += len(word)
	return nil
}

// skip reads any value and forgets it.
func (d *decoder) skip() (err error) {
	switch c := d.next(); c {
	case '"':
		_, err = d.text()
	case 't':
		err = d.literal("true")
	case 'f':
		err = d.literal("false")
	case 'n':
		err = d.literal("null")
	case '{', '[':
		if err := d.enter(); err != nil {
			return err
		}
		for first := true; ; first = false {
			more, err := d.more(c+2, first) // } and ] are two after { and [
			if err != nil || !more {
				return err
			}
			if c == '{' {
				if _, err := d.key(); err != nil {
					return err
				}
			}
			if err := d.skip(); err != nil {
				return err
			}
		}
	default:
		_, _, err = d.number()
	}
	return err
}

// unfit is the error for a value of another type than target ("a String"):
// unless it is no value at all. A list or structure is not read to its end.
func (d *decoder) unfit(target string) error {
	kind := ""
	switch d.next() {
	case '{':
		return serialization(structureText)
	case '[':
		return serialization(listText)
	case '"':
		kind = "STRING_VALUE"
	case 't':
		kind = "TRUE_VALUE"
	case 'f':
		kind = "FALSE_VALUE"
	default:
		kind = "NUMBER_VALUE"
	}
	if err := d.skip(); err != nil {
		return err
	}
	if target == wantsList || target == wantsStructure {
		return serialization(target)
	}
	return serialization(kind + " can not be converted to " + target)
}

// A step of a path is a member or, with a zero name, the place in a list.
type step struct {
	name  string
	index int
}

// maxNoted bounds how many members are noted as sent and empty: no request that
// means well has more, and forget looks at all of them.
const maxNoted = 100

// noteEmpty records that the member being read was sent although Go can't tell.
func (d *decoder) noteEmpty() {
	if len(d.sent) == maxNoted {
		return
	}
	if d.sent == nil {
		d.sent = map[string]bool{}
	}
	d.sent[string(d.pathText())] = true
}

// forget takes back what was noted for the member being read, and below: it
// came before, and only this one counts.
func (d *decoder) forget() {
	path := d.pathText()
	for p := range d.sent {
		if len(p) >= len(path) && p[:len(path)] == string(path) && (len(p) == len(path) || p[len(path)] == '.') {
			delete(d.sent, p)
		}
	}
	if len(d.sent) == 0 {
		d.sent = nil
	}
}

func (d *decoder) pathText() []byte {
	var b []byte
	for i, s := range d.path {
		if i > 0 {
			b = append(b, '.')
		}
		if s.name != "" {
			b = append(b, s.name...)
		} else {
			b = append(strconv.AppendInt(b, int64(s.index), 10), ".member"...)
		}
	}
	return b
}
