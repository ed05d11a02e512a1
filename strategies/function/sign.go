package function

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// The headers of a signed request.
const (
	HeaderTimestamp = "Pawl-Timestamp" // seconds since 1970, UTC
	// HeaderDelivery, in hexadecimal, is another for each request: who remembers it for as long
	// as a timestamp is good refuses a request that is sent again.
	HeaderDelivery  = "Pawl-Delivery"
	HeaderSignature = "Pawl-Signature" // v1= and the signature in hexadecimal
)

// DefaultTolerance is how far the clocks of Pawl and a function may differ.
const DefaultTolerance = 5 * time.Minute

const signatureVersion = "v1="

// signature is HMAC-SHA256 over timestamp, delivery and body, with full stops in
// between.
func signature(key secrets.Password, timestamp, delivery string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(key.Reveal()))
	mac.Write([]byte(timestamp + "." + delivery + "."))
	mac.Write(body)
	return mac.Sum(nil)
}

// sign adds the headers that Verify looks at.
func sign(h http.Header, key secrets.Password, now time.Time, delivery string, body []byte) {
	timestamp := strconv.FormatInt(now.Unix(), 10)
	h.Set(HeaderTimestamp, timestamp)
	h.Set(HeaderDelivery, delivery)
	h.Set(HeaderSignature, signatureVersion+hex.EncodeToString(signature(key, timestamp, delivery, body)))
}

// Verify is for those who write a rotation function in Go that HTTP calls: it
// reports whether a request was signed with key, no longer ago or ahead than
// tolerance (0 = DefaultTolerance). Errors are Denied. It does not find out
// whether the request came before: to that end remember its Pawl-Delivery.
func Verify(key secrets.Password, h http.Header, body []byte, now time.Time, tolerance time.Duration) error {
	if key.IsEmpty() {
		return secrets.Errorf(secrets.Denied, "there is no key to verify the request with")
	}
	if tolerance == 0 {
		tolerance = DefaultTolerance
	}
	for _, name := range []string{HeaderTimestamp, HeaderDelivery, HeaderSignature} {
		if len(h.Values(name)) != 1 || h.Get(name) == "" {
			return secrets.Errorf(secrets.Denied, "the request has not exactly one %s", name)
		}
	}
	// A full stop in it would let a part of the body pass for the delivery's.
	if _, err := hex.DecodeString(h.Get(HeaderDelivery)); err != nil {
		return secrets.Errorf(secrets.Denied, "the request's %s is not hexadecimal", HeaderDelivery)
	}
	timestamp, text := h.Get(HeaderTimestamp), h.Get(HeaderSignature)
	seconds, err := strconv.ParseInt(timestamp, 10, 64)
	if err != nil {
		return secrets.Errorf(secrets.Denied, "the request's %s is not a number of seconds", HeaderTimestamp)
	}
	if len(text) < len(signatureVersion) || text[:len(signatureVersion)] != signatureVersion {
		return secrets.Errorf(secrets.Denied, "the request's %s does not begin with %s", HeaderSignature, signatureVersion)
	}
	got, err := hex.DecodeString(text[len(signatureVersion):])
	if err != nil || !hmac.Equal(got, signature(key, timestamp, h.Get(HeaderDelivery), body)) {
		return secrets.Errorf(secrets.Denied, "the request was not signed with this key").
			WithHint("is it the one in the key_file of Pawl's configuration, and is the body the one that was received, byte by byte?")
	}
	// Last, so that only Pawl learns what this clock says.
	if age := now.Sub(time.Unix(seconds, 0)); age > tolerance || age < -tolerance {
		return secrets.Errorf(secrets.Denied, "the request was signed %v ago", age.Round(time.Second)).
			WithHint("it was sent again by somebody, or one of the two clocks is wrong")
	}
	return nil
}
