package access

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
)

// This file is Signature Version 4 as arithmetic: request → canonical request →
// string to sign → signature. It decides nothing.
//
// Source: IAM user guide, "Create a signed AWS API request".

// signedHeader is one line of a canonical request.
type signedHeader struct {
	name   string   // in lower case
	values []string // nil = it is only one
	one    string
}

// headersOf appends the headers that were signed to found, which is empty.
// net/http keeps two of them outside of r.Header: Host always, Content-Length in
// part. It returns them, or what is wrong with them as a hint for people: a signed
// header that was not sent, two spellings of one name, an order that is not the
// canonical one (unsorted, or a name repeated).
func headersOf(found []signedHeader, r *http.Request, signed []string) (_ []signedHeader, wrong string) {
	const host, length = "host", "content-length"
	for i, name := range signed {
		if i > 0 && name <= signed[i-1] {
			return found, "SignedHeaders must be sorted, each name once"
		}
		found = append(found, signedHeader{name: name})
	}
	for name, values := range r.Header {
		i := slices.IndexFunc(signed, func(s string) bool { return len(s) == len(name) && strings.EqualFold(s, name) })
		switch {
		case i < 0:
		case found[i].values != nil, found[i].name == host:
			return found, "a signed header was sent in two ways"
		default:
			found[i].values = values
		}
	}
	for i := range found {
		switch h := &found[i]; {
		case h.name == host:
			h.one = r.Host
		case len(h.values) > 0:
		case h.name == length && r.ContentLength >= 0:
			h.values, h.one = nil, strconv.FormatInt(r.ContentLength, 10)
		default:
			return found, "a signed header did not arrive; does a proxy remove it?"
		}
	}
	return found, ""
}

// appendCanonical appends the canonical request. hash is the lower-case
// hexadecimal SHA-256 of the body. It reports false for a request that has no
// canonical form: a query with broken escapes, a line break in a header.
func appendCanonical(b []byte, r *http.Request, headers []signedHeader, hash []byte) ([]byte, bool) {
	b = append(append(b, r.Method...), '\n')
	b = append(appendPath(b, r.URL), '\n')
	b, ok := appendQuery(b, r.URL.RawQuery)
	if !ok {
		return b, false
	}
	b = append(b, '\n')
	for _, h := range headers {
		b = append(append(b, h.name...), ':')
		for i := range max(1, len(h.values)) {
			v := h.one
			if h.values != nil {
				v = h.values[i]
			}
			if strings.IndexByte(v, '\r') >= 0 || strings.IndexByte(v, '\n') >= 0 {
				return b, false
			}
			if i > 0 {
				b = append(b, ',')
			}
			b = appendCollapsed(b, v)
		}
		b = append(b, '\n')
	}
	b = append(b, '\n')
	for i, h := range headers {
		if i > 0 {
			b = append(b, ';')
		}
		b = append(b, h.name...)
	}
	return append(append(b, '\n'), hash...), true
}

// appendCollapsed appends a header's value without spaces at its ends, and with
// one where there are several.
func appendCollapsed(b []byte, v string) []byte {
	v = strings.Trim(v, " \t")
	if !strings.Contains(v, "  ") {
		return append(b, v...)
	}
	for i := range len(v) {
		if v[i] != ' ' || v[i-1] != ' ' { // a trimmed value begins with no space
			b = append(b, v[i])
		}
	}
	return b
}

// appendPath appends the canonical URI: the path as it was on the wire, without
// relative and empty segments, encoded (once more: all services but S3 do so).
func appendPath(b []byte, u *url.URL) []byte {
	if u.Path == "/" || u.Path == "" {
		return append(b, '/')
	}
	wire := u.RawPath // kept where it differs from what EscapedPath makes
	if wire == "" {
		wire = u.EscapedPath()
	}
	clean := path.Clean("/" + wire)
	if strings.HasSuffix(wire, "/") && clean != "/" {
		clean += "/"
	}
	return appendEncoded(b, clean, "/")
}

// appendQuery appends the parameters sorted by encoded name, then by value. It
// reports false for a query that can't be decoded.
func appendQuery(b []byte, raw string) ([]byte, bool) {
	if raw == "" {
		return b, true
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return b, false
	}
	type pair struct{ name, value string }
	var pairs []pair
	for name, vs := range values {
		for _, v := range vs {
			pairs = append(pairs, pair{string(appendEncoded(nil, name, "")), string(appendEncoded(nil, v, ""))})
		}
	}
	slices.SortFunc(pairs, func(x, y pair) int {
		return cmp.Or(strings.Compare(x.name, y.name), strings.Compare(x.value, y.value))
	})
	for i, p := range pairs {
		if i > 0 {
			b = append(b, '&')
		}
		b = append(append(append(b, p.name...), '='), p.value...)
	}
	return b, true
}

// appendEncoded percent-encodes every byte but RFC 3986's unreserved ones and
// those of keep.
func appendEncoded(b []byte, s, keep string) []byte {
	const digits = "0123456789ABCDEF"
	keep += "-._~"
	for i := range len(s) {
		c := s[i]
		if (c|0x20 >= 'a' && c|0x20 <= 'z') || (c >= '0' && c <= '9') || strings.IndexByte(keep, c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

// appendToSign appends what the signature is made of. at has dateTime's form, and
// its day is the scope's.
func appendToSign(b []byte, at, region, service string, canonical []byte) []byte {
	sum := sha256.Sum256(canonical)
	b = append(append(b, algorithm...), '\n')
	b = append(append(b, at...), '\n')
	b = append(append(b, at[:len("yyyymmdd")]...), '/')
	b = append(append(b, region...), '/')
	b = append(append(b, service...), '/')
	b = append(append(b, terminator...), '\n')
	return hex.AppendEncode(b, sum[:])
}

// signingKey derives the key of one day, region and service from a secret
// access key.
func signingKey(secret, day, region, service string) [sha256.Size]byte {
	k := keyed([]byte("AWS4"+secret), []byte(day))
	for _, s := range []string{region, service, terminator} {
		k = keyed(k[:], []byte(s))
	}
	return k
}

// sign returns the signature in lower-case hexadecimal.
func sign(key [sha256.Size]byte, toSign []byte) (s [2 * sha256.Size]byte) {
	sum := keyedShort(key, toSign)
	hex.Encode(s[:], sum[:])
	return s
}

func keyed(key, message []byte) (sum [sha256.Size]byte) {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	h.Sum(sum[:0])
	return sum
}

// keyedShort is keyed for each request: for a key shorter than a block, and
// without memory to be collected.
// Source: RFC 2104.
func keyedShort(key [sha256.Size]byte, message []byte) [sha256.Size]byte {
	var inner [sha256.BlockSize + 256]byte
	var outer [sha256.BlockSize + sha256.Size]byte
	for i := range sha256.BlockSize {
		var k byte
		if i < len(key) {
			k = key[i]
		}
		inner[i], outer[i] = k^0x36, k^0x5c
	}
	sum := sha256.Sum256(append(inner[:sha256.BlockSize], message...))
	copy(outer[sha256.BlockSize:], sum[:])
	return sha256.Sum256(outer[:])
}
