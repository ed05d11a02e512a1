package access

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Keys finds access keys.
type Keys interface {
	// AccessKey returns the key of an id (letters, digits and _.-), or an error
	// that wraps ErrNoKey for one that does not exist or is disabled. Any other
	// error means that nobody can say. It is asked for every request and must be
	// safe for concurrent use; what it returns decides that request, so that a
	// revocation takes effect with the next one.
	//
	// token is the request's session token, "" if it has none: the key of a session
	// may be nowhere but in it. A token that is not this key's must not be believed
	// in anything.
	AccessKey(ctx context.Context, id string, token secrets.Password) (Key, error)
}

// UseNoter is a Keys that keeps when its keys were last used.
type UseNoter interface {
	// Used says that a request with this key's signature was verified just now. It
	// must not block.
	Used(id string)
}

// ErrNoKey is for an access key that does not exist or is disabled.
var ErrNoKey = errors.New("no such access key, or it is disabled")

// Key is an access key and who holds it.
type Key struct {
	ID     string
	Secret secrets.Password // the secret access key; never empty
	// Principal is the holder. Region and AccessKey are the Verifier's to fill.
	Principal Principal
	// SessionToken goes with temporary credentials: requests must carry it. It
	// is empty for a long-term key, whose requests must not carry any.
	SessionToken secrets.Password
	Expires      time.Time // the first instant the key is no good; zero = never
}

// VerifierConfig is what a Verifier is made of. Keys is required.
type VerifierConfig struct {
	Keys Keys
	Now  func() time.Time // nil = time.Now
	// Regions are the ones a credential may be scoped to; empty = all.
	Regions []string
	// Service is the one a credential must be scoped to; "" = secretsmanager.
	Service string
}

// maxSkew is how far a request's clock and ours may be apart. It is 5 minutes
// for Secrets Manager; many other services of AWS take 15.
const maxSkew = 5 * time.Minute

// maxSigned is the most headers that a signature may cover: several times what
// any client signs, and few enough to look up one by one.
const maxSigned = 64

// maxSigningKeys is how many derived keys are remembered (about 200 bytes each).
const maxSigningKeys = 4096

// Texts of AWS's.
const (
	differs      = "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details."
	invalidToken = "The security token included in the request is invalid."
	tokenExpired = "The security token included in the request is expired"
)

// Verifier authenticates by Signature Version 4. It is safe for concurrent use.
type Verifier struct {
	keys    Keys
	uses    UseNoter // nil = nobody keeps them
	now     func() time.Time
	scoped  ours
	derived signingKeys
}

// NewVerifier makes a Verifier.
func NewVerifier(c VerifierConfig) *Verifier {
	v := &Verifier{keys: c.Keys, now: c.Now, scoped: ours{service, isRegion}}
	v.derived.Limit = maxSigningKeys
	v.uses, _ = c.Keys.(UseNoter)
	if v.now == nil {
		v.now = time.Now
	}
	if len(c.Regions) > 0 {
		regions := slices.Clone(c.Regions)
		v.scoped.region = func(s string) bool { return slices.Contains(regions, s) }
	}
	if c.Service != "" {
		v.scoped.service = c.Service
	}
	return v
}

// Authenticate returns the principal who signed a request, whose body was read.
// The signature covers the method, path, query, body, and the headers that the
// request names; host and every x-amz-* header must be among these.
//
// The checks come in this order, and the first that fails is the answer:
//
//  1. MissingAuthenticationTokenException: no AWS4- Authorization
//  2. IncompleteSignatureException: parts are missing, or the date malformed
//  3. InvalidSignatureException: too old, or too new
//  4. InvalidSignatureException: host, or an x-amz-* header, is not signed
//  5. IncompleteSignatureException: another algorithm, a malformed credential
//  6. InvalidSignatureException: the scope
//  7. UnrecognizedClientException: an unknown key
//  8. UnrecognizedClientException, ExpiredTokenException: the session token
//  9. InvalidSignatureException: the signature
//
// Known, by what others measured on DynamoDB, which has the same front end: 1 to
// 7 in this order (of 4 only host), and 9 after 7. Inferred: that x-amz-*
// headers are checked along with host and in the same words; that the token
// comes before the signature (AWS finds a temporary key by its token); that
// whatever is wrong with signed headers otherwise (unsorted, not sent, repeated
// where one value is meant) or with X-Amz-Content-Sha256 counts as a signature
// that differs. Unlike AWS, the answer to that never quotes the canonical
// request: it would repeat a session token.
//
// Errors are *secrets.Error: Denied with these codes, or InternalServiceError
// when Keys failed. None of them holds a secret or a calculated signature.
func (v *Verifier) Authenticate(r *http.Request, body []byte) (Principal, error) {
	now := v.now().UTC()
	c, err := parseAuthorization(r, v.scoped, func(at time.Time, signed []string) error {
		if err := checkAge(at, now); err != nil {
			return err
		}
		return checkCovered(r, signed)
	})
	if err != nil {
		return Principal{}, err
	}
	var token secrets.Password
	if sent := first(r.Header, "X-Amz-Security-Token"); sent != "" {
		token = secrets.NewPassword(sent)
	}
	k, err := v.key(r.Context(), c.AccessKey, token)
	if err != nil {
		return Principal{}, err
	}
	if err := k.checkToken(token, now); err != nil {
		return Principal{}, err
	}
	if err := v.checkSignature(r, body, &c, k.Secret); err != nil {
		return Principal{}, err
	}
	if v.uses != nil {
		v.uses.Used(k.ID)
	}
	p := k.Principal
	p.Region, p.AccessKey = c.Region, k.ID
	return p, nil
}

// checkAge compares in whole seconds, which is all that a request says.
func checkAge(at, now time.Time) error {
	now = now.Truncate(time.Second)
	stamp := func(t time.Time) string { return t.Format(dateTime) }
	if oldest := now.Add(-maxSkew); at.Before(oldest) {
		return denied(invalidSignature, "Signature expired: %s is now earlier than %s (%s - 5 min.)", stamp(at), stamp(oldest), stamp(now)).
			WithHint("set the client's clock, or this server's")
	}
	if newest := now.Add(maxSkew); at.After(newest) {
		return denied(invalidSignature, "Signature not yet current: %s is still later than %s (%s + 5 min.)", stamp(at), stamp(newest), stamp(now)).
			WithHint("set the client's clock, or this server's")
	}
	return nil
}

// checkCovered requires what must be signed to be signed: host, lest a request
// be replayed to another server, and every x-amz-* header, since these change
// what a request means. Headers that mean one thing must come once: the
// signature joins repeated ones, but we would act on the first.
func checkCovered(r *http.Request, signed []string) error {
	if !slices.Contains(signed, "host") {
		return denied(invalidSignature, "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
	}
	if len(signed) > maxSigned {
		return denied(invalidSignature, differs).WithHint("at most %d headers can be signed", maxSigned)
	}
	repeated := len(r.Header["Authorization"]) > 1 || len(r.Header["Date"]) > 1
	unsigned := ""
	for name, values := range r.Header {
		const prefix = "x-amz-"
		if len(name) < len(prefix) || !strings.EqualFold(name[:len(prefix)], prefix) {
			continue
		}
		repeated = repeated || len(values) != 1
		if !slices.ContainsFunc(signed, func(s string) bool { return len(s) == len(name) && strings.EqualFold(s, name) }) {
			if unsigned == "" || name < unsigned { // the first: r.Header has no order
				unsigned = name
			}
		}
	}
	if unsigned != "" {
		return denied(invalidSignature, "'%s' must be a 'SignedHeader' in the AWS Authorization.", strings.ToLower(unsigned)).
			WithHint("does a proxy add this header?")
	}
	if repeated {
		return denied(invalidSignature, differs).WithHint("Authorization, Date and x-amz-* headers must be sent once")
	}
	return nil
}

// key looks an access key up.
func (v *Verifier) key(ctx context.Context, id string, token secrets.Password) (Key, error) {
	if !isKeyID(id) {
		return Key{}, denied(unrecognizedClient, invalidToken).WithHint("the access key id has characters that no key has")
	}
	k, err := v.keys.AccessKey(ctx, id, token)
	if errors.Is(err, ErrNoKey) {
		if len(id) > 32 {
			id = "" // secrets are longer than ids; one may have been put in the id's place
		}
		return Key{}, denied(unrecognizedClient, invalidToken).WithHint("access key '%s' does not exist or is disabled: pawl access list", id)
	}
	if err == nil && (k.ID != id || k.Secret.IsEmpty()) {
		// Whatever went wrong there: an empty secret is one that everybody knows.
		err = errors.New("the key that was found is another one, or has no secret")
	}
	if err != nil {
		return Key{}, &secrets.Error{Kind: secrets.KindOf(err), Code: "InternalServiceError", Err: fmt.Errorf("look up access key %s: %w", id, err)}
	}
	return k, nil
}

// checkToken checks a request's session token (empty = none), and the key's age.
func (k *Key) checkToken(sent secrets.Password, now time.Time) error {
	if !k.SessionToken.Equal(sent) {
		hint := "the session token is not the one of access key %s: AWS_SESSION_TOKEN"
		if k.SessionToken.IsEmpty() {
			hint = "access key %s is a long-term one and takes no session token: unset AWS_SESSION_TOKEN"
		}
		return denied(unrecognizedClient, invalidToken).WithHint(hint, k.ID)
	}
	switch {
	case k.Expires.IsZero() || now.Before(k.Expires):
		return nil
	case k.SessionToken.IsEmpty():
		return denied(unrecognizedClient, invalidToken).WithHint("access key %s is no longer valid", k.ID)
	}
	return denied(expiredToken, tokenExpired).WithHint("get new session credentials: pawl access session")
}

// checkSignature computes the signature as the client should have, and compares.
func (v *Verifier) checkSignature(r *http.Request, body []byte, c *Credential, secret secrets.Password) error {
	w := workspaces.Get().(*workspace)
	defer w.release()
	var wrong string
	w.headers, wrong = headersOf(w.headers[:0], r, c.SignedHeaders)
	if wrong != "" {
		return denied(invalidSignature, differs).WithHint("%s", wrong)
	}
	var hash [2 * sha256.Size]byte
	sum := sha256.Sum256(body)
	hex.Encode(hash[:], sum[:])
	if given, ok := r.Header["X-Amz-Content-Sha256"]; ok && given[0] != string(hash[:]) {
		return denied(invalidSignature, differs).WithHint("X-Amz-Content-Sha256 must be the body's SHA-256 (UNSIGNED-PAYLOAD is not taken)")
	}
	var ok bool
	if w.canonical, ok = appendCanonical(w.canonical[:0], r, w.headers, hash[:]); !ok {
		return denied(invalidSignature, differs).WithHint("the request has no canonical form")
	}
	scope := signingScope{c.AccessKey, c.Date, c.Region}
	key, known := v.derived.get(scope, secret)
	if !known {
		key = signingKey(secret.Reveal(), c.Date, c.Region, c.Service)
	}
	w.toSign = appendToSign(w.toSign[:0], c.Stamp, c.Region, c.Service, w.canonical)
	want := sign(key, w.toSign)
	if subtle.ConstantTimeCompare(want[:], []byte(c.Signature)) != 1 {
		return denied(invalidSignature, differs).
			WithHint("is the secret the one of access key %s? A proxy must pass Host and x-amz-* headers on unchanged", c.AccessKey)
	}
	if !known {
		v.derived.put(scope, secret, key)
	}
	return nil
}

// workspace is what a signature is calculated in.
type workspace struct {
	headers           []signedHeader
	canonical, toSign []byte
}

var workspaces = sync.Pool{New: func() any {
	return &workspace{headers: make([]signedHeader, 0, 16), canonical: make([]byte, 0, 1024), toSign: make([]byte, 0, 256)}
}}

// release gives it back, wiped: a session token is among the headers.
func (w *workspace) release() {
	if cap(w.canonical) > 8<<10 {
		return
	}
	clear(w.headers[:cap(w.headers)])
	clear(w.canonical)
	workspaces.Put(w)
}
