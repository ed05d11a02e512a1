package access

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// The exceptions of authentication.
// Source: AWS API references, "Common Errors".
const (
	missingToken        = "MissingAuthenticationTokenException"
	incompleteSignature = "IncompleteSignatureException"
	invalidSignature    = "InvalidSignatureException"
	unrecognizedClient  = "UnrecognizedClientException"
	expiredToken        = "ExpiredTokenException"
)

// What a signature's scope ends with.
const (
	service    = "secretsmanager"
	terminator = "aws4_request"
	algorithm  = "AWS4-HMAC-SHA256"
)

// The form of X-Amz-Date: ISO 8601, basic, in UTC.
const dateTime = "20060102T150405Z"

// Credential is what a request says of its signature. Nothing of it is proved.
type Credential struct {
	AccessKey     string   // as sent; may be empty, and then is nobody's
	Date          string   // yyyymmdd, the day of At
	Region        string   // looks like a region
	Service       string   // secretsmanager
	SignedHeaders []string // in lower case, in the order they were signed
	Signature     string   // as sent, never empty
	At            time.Time
	Stamp         string // At in the form of X-Amz-Date
}

// ParseAuthorization reads the Authorization header of Signature Version 4:
//
//	AWS4-HMAC-SHA256 Credential=<key>/<yyyymmdd>/<region>/secretsmanager/aws4_request, SignedHeaders=a;b, Signature=<hex>
//
// and the request's time from X-Amz-Date, else from Date. It checks all that
// can be checked without knowing a key, in AWS's order. Errors:
// MissingAuthenticationTokenException (no such header),
// IncompleteSignatureException (parts are missing or malformed),
// InvalidSignatureException (the scope is not ours).
//
// Source: IAM user guide, "Elements of an AWS API request signature" and
// "Troubleshoot Signature Version 4 signing for AWS API requests".
func ParseAuthorization(r *http.Request) (Credential, error) {
	return parseAuthorization(r, ours{service, isRegion}, func(time.Time, []string) error { return nil })
}

// first returns the first value of a header, whose name is in HTTP's usual form.
func first(h http.Header, name string) string {
	if values := h[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// ours is what a credential may be scoped to.
type ours struct {
	service string
	region  func(string) bool
}

// parseAuthorization is ParseAuthorization for another scope.
// dated checks what AWS checks between the form of the date and the algorithm:
// the request's age and which headers were signed.
func parseAuthorization(r *http.Request, scoped ours, dated func(at time.Time, signed []string) error) (Credential, error) {
	header := first(r.Header, "Authorization")
	used, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !strings.HasPrefix(used, "AWS4-") {
		return Credential{}, denied(missingToken, "Missing Authentication Token").
			WithHint("sign the request: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and do not use --no-sign-request")
	}
	g, err := parameters(header, rest)
	if err != nil {
		return Credential{}, err
	}
	date := first(r.Header, "X-Amz-Date")
	if date == "" {
		date = first(r.Header, "Date")
	}
	if err := complete(header, g, date); err != nil {
		return Credential{}, err
	}
	at, stamp, err := parseDate(date)
	if err != nil {
		return Credential{}, err
	}
	signed := strings.Split(strings.ToLower(g.signedHeaders), ";")
	if err := dated(at, signed); err != nil {
		return Credential{}, err
	}
	if used != algorithm {
		return Credential{}, denied(incompleteSignature, "Unsupported AWS 'algorithm': '%s' (only %s for now). ", used, algorithm)
	}
	var scope [5]string
	n := 0
	for part := range strings.SplitSeq(g.credential, "/") {
		if n < len(scope) {
			scope[n] = part
		}
		n++
	}
	if n != len(scope) {
		return Credential{}, denied(incompleteSignature,
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '%s'", withoutKey(strings.Split(g.credential, "/"))).
			WithHint("a key id has no slashes: was the secret access key put in its place?")
	}
	c := Credential{
		AccessKey: scope[0], Date: scope[1], Region: scope[2], Service: scope[3],
		SignedHeaders: signed, Signature: g.signature, At: at, Stamp: stamp,
	}
	return c, c.checkScope(scope[4], scoped)
}

// given are the parameters of the header that mean something.
type given struct{ credential, signature, signedHeaders string }

// parameters reads `name=value, name=value`.
func parameters(header, list string) (g given, err error) {
	for pair := range strings.SplitSeq(list, ",") {
		pair = strings.TrimSpace(pair)
		if pair == "" {
			continue
		}
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return g, denied(incompleteSignature,
				"Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '%s'.", hashed(header))
		}
		switch name {
		case "Credential":
			g.credential = value
		case "Signature":
			g.signature = value
		case "SignedHeaders":
			g.signedHeaders = value
		}
	}
	return g, nil
}

// complete says in one text all that the header lacks. AWS used to repeat the
// header in it and now repeats a hash, so that a signature, or the password of
// another scheme, can't be read in a log.
func complete(header string, g given, date string) error {
	var lacks strings.Builder
	for _, p := range [...][2]string{{"Credential", g.credential}, {"Signature", g.signature}, {"SignedHeaders", g.signedHeaders}} {
		if p[1] == "" {
			lacks.WriteString("Authorization header requires '" + p[0] + "' parameter. ")
		}
	}
	if date == "" {
		lacks.WriteString("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ")
	}
	if lacks.Len() == 0 {
		return nil
	}
	return denied(incompleteSignature, "%s(Hashed with SHA-256 and encoded with Base64) Authorization=%s", lacks.String(), hashed(header))
}

func hashed(header string) string {
	sum := sha256.Sum256([]byte(header))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// parseDate reads the time of a request, and returns how dateTime writes it; a
// Date header may have HTTP's form.
func parseDate(s string) (at time.Time, stamp string, err error) {
	if t, ok := parseStamp(s); ok {
		return t, s, nil
	}
	if t, err := http.ParseTime(s); err == nil {
		return t.UTC(), t.UTC().Format(dateTime), nil
	}
	return time.Time{}, "", denied(incompleteSignature, "Date must be in ISO-8601 'basic format'. Got '%s'. See http://en.wikipedia.org/wiki/ISO_8601", s)
}

// parseStamp reads dateTime's form and no other: time.Parse takes fractions of a
// second, which SigV4 does not know, and three times as long.
func parseStamp(s string) (time.Time, bool) {
	if len(s) != len(dateTime) || s[8] != 'T' || s[15] != 'Z' {
		return time.Time{}, false
	}
	ok := true
	number := func(from, to int) (n int) {
		for _, c := range []byte(s[from:to]) {
			ok = ok && '0' <= c && c <= '9'
			n = 10*n + int(c-'0')
		}
		return n
	}
	year, month, day := number(0, 4), number(4, 6), number(6, 8)
	hour, minute, second := number(9, 11), number(11, 13), number(13, 15)
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	// What is out of range makes another date.
	ok = ok && month >= 1 && month <= 12 && day >= 1 && t.Day() == day && hour < 24 && minute < 60 && second < 60
	return t, ok
}

// withoutKey is a malformed credential as it may be shown: where there are too
// many slashes, a secret access key may stand in the key id's place.
func withoutKey(scope []string) string {
	if n := len(scope); n > 5 {
		scope = append([]string{"***"}, scope[n-4:]...)
	}
	return strings.Join(scope, "/")
}

// maxRegion is far more characters than any region has.
const maxRegion = 64

// isRegion reports whether s looks like a region: words of lower-case letters
// and a number, joined by hyphens.
func isRegion(s string) bool {
	i := strings.LastIndexByte(s, '-')
	if i < 1 || i == len(s)-1 || len(s) > maxRegion {
		return false
	}
	for _, c := range []byte(s[i+1:]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	before := byte('-')
	for _, c := range []byte(s[:i+1]) {
		if (c < 'a' || c > 'z') && (c != '-' || before == '-') {
			return false
		}
		before = c
	}
	return true
}

// checkScope says in one text all that is wrong with the credential's scope.
func (c Credential) checkScope(end string, scoped ours) error {
	var wrong strings.Builder
	if !scoped.region(c.Region) {
		wrong.WriteString("Credential should be scoped to a valid region, not '" + c.Region + "'. ")
	}
	if c.Service != scoped.service {
		wrong.WriteString("Credential should be scoped to correct service: '" + scoped.service + "'. ")
	}
	if end != terminator {
		wrong.WriteString("Credential should be scoped with a valid terminator: '" + terminator + "', not '" + end + "'. ")
	}
	if day := c.Stamp[:len("yyyymmdd")]; c.Date != day {
		wrong.WriteString("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '" +
			c.Date + "' != '" + day + "', from '" + c.Stamp + "'.")
	}
	if wrong.Len() == 0 {
		return nil
	}
	return denied(invalidSignature, "%s", wrong.String())
}

// denied makes an error. What a stranger sent is repeated up to a length.
func denied(code, format string, args ...any) *secrets.Error {
	const most = 1024
	for i, a := range args {
		if text, ok := a.(string); ok && len(text) > most {
			args[i] = strings.ToValidUTF8(text[:most], "") + "…"
		}
	}
	e := secrets.Errorf(secrets.Denied, format, args...)
	e.Code = code
	return e
}
