package function

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/pawlhq/pawl/secrets"
)

const (
	redacted = "[redacted]"
	// leastHidden is how many characters a text must have to be left out of a
	// message: without those of fewer no message could be read.
	leastHidden = 4
)

// public are the keys of a secret whose texts messages may well repeat, in lower
// case: where it is and whose, but not by what one gets in.
// Source: AWS Secrets Manager user guide, "JSON structure of AWS Secrets Manager
// secrets".
var public = map[string]bool{
	"engine": true, "host": true, "port": true, "dbname": true, "username": true, "ssl": true, "masterarn": true,
	"dbinstanceidentifier": true, "dbclusteridentifier": true, "user_arn": true, "dbidentifier": true, "org": true,
}

// redactor leaves out of a text whatever it was given to hide. The zero redactor
// hides nothing.
type redactor struct{ hidden [][]rune }

// value hides a secret's value: all of it, and if it is JSON the texts and
// numbers in it that are not under a public key.
func (r *redactor) value(v secrets.Value) {
	v.Use(func(data []byte) {
		r.add(base64.RawStdEncoding.EncodeToString(data))
		r.add(base64.RawURLEncoding.EncodeToString(data))
		if !utf8.Valid(data) {
			return
		}
		r.text(string(data))
		dec := json.NewDecoder(bytes.NewReader(data))
		dec.UseNumber()
		// Token by token: where a key stands twice, both count.
		r.tokens(dec, "")
	})
}

// tokens hides what is in the next JSON value, which stands under key. It
// reports whether there was a whole one.
func (r *redactor) tokens(dec *json.Decoder, key string) bool {
	t, err := dec.Token()
	if err != nil {
		return false
	}
	switch t := t.(type) {
	case json.Delim:
		for dec.More() {
			within := key
			if t == '{' {
				k, err := dec.Token()
				if err != nil {
					return false
				}
				within, _ = k.(string)
			}
			if !r.tokens(dec, within) {
				return false
			}
		}
		_, err := dec.Token()
		return err == nil
	case string:
		if !public[strings.ToLower(key)] {
			r.text(t)
		}
	case json.Number:
		if !public[strings.ToLower(key)] {
			r.add(t.String())
		}
	}
	return true
}

// Passwords within a text: a connection string's, a line's of a file of settings,
// a URL's.
var (
	assigned = regexp.MustCompile(`(?i)(?:pass(?:word|wd|phrase)?|pwd|secret|token|key)["']?\s*[=:]\s*["']?([^\s"';&,]+)`)
	inURL    = regexp.MustCompile(`://[^/\s:@]*:(\S+)@`)
)

// text hides a text: as a whole, each of its lines, and the passwords in it.
func (r *redactor) text(s string) {
	r.add(s)
	r.add(strings.TrimSpace(s))
	if strings.Contains(s, "\n") {
		for line := range strings.Lines(s) {
			r.add(strings.TrimSpace(line))
		}
	}
	for _, m := range assigned.FindAllStringSubmatch(s, -1) {
		r.add(m[1])
	}
	for _, m := range inURL.FindAllStringSubmatch(s, -1) {
		r.add(m[1])
		if plain, err := url.PathUnescape(m[1]); err == nil {
			r.add(plain)
		}
	}
}

func (r *redactor) add(s string) {
	if utf8.RuneCountInString(s) >= leastHidden {
		r.hidden = append(r.hidden, []rune(s))
	}
}

// clean returns text without what is hidden, in whatever mixture of the escapes
// of JSON, Python, URLs and HTML it stands there. cut says that the text went
// on: then what it ends with is left out too, if it may be the beginning of
// something hidden.
func (r *redactor) clean(text string, cut bool) string {
	if len(r.hidden) == 0 {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		end := -1
		for _, h := range r.hidden {
			end = max(end, match(text, i, h, cut))
		}
		if end <= i {
			b.WriteByte(text[i])
			i++
			continue
		}
		b.WriteString(redacted)
		i = end
	}
	return b.String()
}

const (
	// longestEscape is how many bytes one character may take, about: a pair of
	// surrogates, each escaped twice.
	longestEscape = 24
	// maxStates bounds the ways to read a text that are followed at once.
	maxStates = 16
)

// match returns where want ends in text if it begins at i, else -1. It follows
// all ways to read the text at once: a backslash may be itself or an escape's.
func match(text string, i int, want []rune, cut bool) int {
	at, next := make([]int, 1, 16), make([]int, 0, 16)
	at[0] = i
	for n, w := range want {
		next = next[:0]
		for _, p := range at {
			next = units(next, text, p, w)
		}
		if len(next) == 0 {
			// Cut in the middle of want, if not in the middle of an escape.
			if cut && n >= leastHidden && slices.Max(at) > len(text)-longestEscape && begins(text[slices.Max(at):]) {
				return len(text)
			}
			return -1
		}
		slices.Sort(next)
		next = slices.Compact(next)
		at, next = next[:min(len(next), maxStates)], at
	}
	return slices.Max(at)
}

// begins reports whether the rest of a text is nothing, or may be an escape that
// was cut.
func begins(rest string) bool {
	return rest == "" || strings.IndexByte(`\%&`, rest[0]) >= 0
}

// units appends to ends where a character ends that is w and stands at p, in
// each of the ways in which it can be written.
func units(ends []int, text string, p int, w rune) []int {
	// Escaped once there is one backslash before it, escaped twice are three.
	for q := p; q < len(text) && q <= p+7; q++ {
		if r, n := utf8.DecodeRuneInString(text[q:]); r == w && (r != utf8.RuneError || n > 1) {
			ends = append(ends, q+n)
		}
		if q > p {
			if r, n := backslashed(text[q:]); n > 0 && r == w {
				ends = append(ends, q+n)
			}
		}
		switch text[q] {
		case '%':
			if r, n := percent(text[q:]); n > 0 && r == w {
				ends = append(ends, q+n)
			}
		case '+':
			if w == ' ' {
				ends = append(ends, q+1)
			}
		case '&':
			for entity, r := range entities {
				if r == w && strings.HasPrefix(text[q:], entity) {
					ends = append(ends, q+len(entity))
				}
			}
		}
		if text[q] != '\\' {
			break
		}
	}
	return ends
}

var entities = map[string]rune{
	"&quot;": '"', "&#34;": '"', "&#39;": '\'', "&#x27;": '\'', "&apos;": '\'', "&amp;": '&', "&lt;": '<', "&gt;": '>',
}

// backslashed reads the escape of which s is what follows the backslash: 0 bytes
// if it is none.
func backslashed(s string) (rune, int) {
	switch s[0] {
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'b':
		return '\b', 1
	case 'f':
		return '\f', 1
	case 'x':
		return digits(s, 1, 2)
	case 'U':
		return digits(s, 1, 8)
	case 'u':
		r, n := digits(s, 1, 4)
		if n == 0 || r < 0xd800 || r > 0xdbff {
			return r, n
		}
		rest := strings.TrimLeft(s[n:], `\`)
		if low, m := digits(rest, 1, 4); m > 0 && rest[0] == 'u' && low >= 0xdc00 && low <= 0xdfff && len(rest) < len(s)-n {
			return (r-0xd800)<<10 + (low - 0xdc00) + 0x10000, len(s) - len(rest) + m
		}
		return 0, 0
	}
	return 0, 0
}

// digits reads so many hexadecimal digits of s from a byte on, and returns where
// they end; 0 if they are none.
func digits(s string, from, count int) (rune, int) {
	if len(s) < from+count {
		return 0, 0
	}
	n, err := strconv.ParseUint(s[from:from+count], 16, 32)
	if err != nil {
		return 0, 0
	}
	return rune(n), from + count
}

// percent reads one character written as %XX for each of its bytes.
func percent(s string) (rune, int) {
	var b []byte
	for n := 0; n+2 < len(s) && s[n] == '%' && len(b) < utf8.UTFMax; n += 3 {
		c, err := strconv.ParseUint(s[n+1:n+3], 16, 8)
		if err != nil {
			break
		}
		b = append(b, byte(c))
		if r, size := utf8.DecodeRune(b); r != utf8.RuneError && size == len(b) {
			return r, n + 3
		}
	}
	return 0, 0
}

// error returns err with nothing hidden in its text and hint. The kind stays.
func (r *redactor) error(err error) error {
	out := secrets.Error{Kind: secrets.KindOf(err), Err: err}
	var e *secrets.Error
	if errors.As(err, &e) {
		out = *e
	}
	if f, ok := out.Err.(*failure); ok {
		out.Err = &failure{r.clean(f.what, false), r.clean(f.kind, false), r.clean(f.message, f.cut), f.cut}
		out.Hint = r.clean(out.Hint, false)
		return &out
	}
	text := err.Error()
	if r.clean(text, false) == text {
		return err
	}
	if out.Err != nil {
		out.Err = errors.New(shown(r.clean(out.Err.Error(), false), maxMessage))
	}
	out.Hint = r.clean(out.Hint, false)
	return &out
}
