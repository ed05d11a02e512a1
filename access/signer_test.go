package access

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
)

// A second signer, which signs whatever it is told to. It shares no code with
// the verifier.

const (
	goodHost   = "pawl.example:4566"
	goodTarget = "secretsmanager.GetSecretValue"
	goodBody   = `{"SecretId":"prod/db"}`
	goodRegion = "eu-west-1"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

// forgery is a request to be signed. What is signed and what is sent are the
// same until a test makes them differ.
type forgery struct {
	method, path, query string
	headers             [][2]string // as sent, in order; without Authorization
	body                string

	id, secret              string
	at                      string
	day, region, svc, end   string
	signed                  []string // as in SignedHeaders
	algorithm               string
	sentSignature, sentAuth string // sent in place of the right one
}

// good is a request that is in order at noon.
func good() *forgery {
	return &forgery{
		method: "POST", path: "/",
		headers: [][2]string{
			{"Host", goodHost}, {"Content-Type", "application/x-amz-json-1.1"}, {"Content-Length", fmt.Sprint(len(goodBody))},
			{"X-Amz-Date", "20260304T120000Z"}, {"X-Amz-Target", goodTarget}, {"User-Agent", "hand/1"},
		},
		body: goodBody,
		id:   exampleKey, secret: exampleSecret,
		at: "20260304T120000Z", day: "20260304", region: goodRegion, svc: "secretsmanager", end: "aws4_request",
		signed:    []string{"content-length", "content-type", "host", "x-amz-date", "x-amz-target"},
		algorithm: "AWS4-HMAC-SHA256",
	}
}

func (f *forgery) dated(at time.Time) {
	f.at = at.Format("20060102T150405Z")
	f.day = f.at[:8]
	f.set("X-Amz-Date", f.at)
}

// set replaces a header, or adds it.
func (f *forgery) set(name, value string) {
	for i := range f.headers {
		if f.headers[i][0] == name {
			f.headers[i][1] = value
			return
		}
	}
	f.headers = append(f.headers, [2]string{name, value})
}

// add sends and signs one more header.
func (f *forgery) add(name, value string) {
	f.headers = append(f.headers, [2]string{name, value})
	f.signed = append(f.signed, strings.ToLower(name))
	slices.Sort(f.signed)
}

func (f *forgery) drop(name string) {
	f.headers = slices.DeleteFunc(f.headers, func(h [2]string) bool { return h[0] == name })
}

func mac(key, message string) string {
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(message))
	return string(h.Sum(nil))
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// sign returns the signature of what the forgery holds now. Query and path are
// taken to be canonical.
func (f *forgery) sign() string {
	lines := ""
	for _, name := range f.signed {
		var values []string
		for _, h := range f.headers {
			if strings.EqualFold(h[0], name) {
				values = append(values, strings.Join(strings.Fields(h[1]), " "))
			}
		}
		lines += strings.ToLower(name) + ":" + strings.Join(values, ",") + "\n"
	}
	canonical := strings.Join([]string{f.method, f.path, f.query, lines, strings.ToLower(strings.Join(f.signed, ";")), hash(f.body)}, "\n")
	scope := strings.Join([]string{f.day, f.region, f.svc, f.end}, "/")
	key := mac(mac(mac(mac("AWS4"+f.secret, f.day), f.region), f.svc), f.end)
	return hex.EncodeToString([]byte(mac(key, strings.Join([]string{f.algorithm, f.at, scope, hash(canonical)}, "\n"))))
}

// raw is the request on the wire, with a signature of signedAs (nil = itself).
func (f *forgery) raw(signedAs *forgery) string {
	if signedAs == nil {
		signedAs = f
	}
	s := f.sentSignature
	if s == "" {
		s = signedAs.sign()
	}
	auth := f.sentAuth
	if auth == "" {
		auth = fmt.Sprintf("%s Credential=%s/%s/%s/%s/%s, SignedHeaders=%s, Signature=%s",
			f.algorithm, f.id, f.day, f.region, f.svc, f.end, strings.Join(f.signed, ";"), s)
	}
	target := f.path
	if f.query != "" {
		target += "?" + f.query
	}
	b := f.method + " " + target + " HTTP/1.1\n"
	for _, h := range f.headers {
		b += h[0] + ": " + h[1] + "\n"
	}
	return b + "Authorization: " + auth + "\n\n" + f.body
}

// keys is a Keys of a test.
type keys struct {
	mu    sync.Mutex
	known map[string]Key
	fails error
	asked int
}

const sessionToken = "FwoGZXIvYXdzEXAMPLE=="

func newKeys() *keys {
	return &keys{known: map[string]Key{
		exampleKey: {ID: exampleKey, Secret: secrets.NewPassword(exampleSecret), Principal: Principal{
			Account: "123456789012", ARN: "arn:aws:iam::123456789012:user/ada", UserID: "AIDAEXAMPLE", Tags: []policy.Tag{{Key: "team", Value: "red"}},
		}},
		"ASIAEXAMPLE": {ID: "ASIAEXAMPLE", Secret: secrets.NewPassword("session-secret"), SessionToken: secrets.NewPassword(sessionToken), Expires: noon.Add(time.Hour),
			Principal: Principal{Account: "123456789012", ARN: "arn:aws:sts::123456789012:assumed-role/app/web", TokenIssued: noon}},
		"OLD":     {ID: "OLD", Secret: secrets.NewPassword(exampleSecret), Expires: noon},
		"BROKEN":  {ID: "BROKEN"},
		"ANOTHER": {ID: exampleKey, Secret: secrets.NewPassword(exampleSecret)},
	}}
}

func (k *keys) AccessKey(_ context.Context, id string, _ secrets.Password) (Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	if k.fails != nil {
		return Key{}, k.fails
	}
	key, ok := k.known[id]
	if !ok {
		return Key{}, fmt.Errorf("access key %s: %w", id, ErrNoKey)
	}
	return key, nil
}

func verifierAt(now time.Time, regions ...string) (*Verifier, *keys) {
	k := newKeys()
	return NewVerifier(VerifierConfig{Keys: k, Now: func() time.Time { return now }, Regions: regions}), k
}

func authenticate(t testing.TB, v *Verifier, raw string) (*http.Request, Principal, error) {
	t.Helper()
	r, body := read(t, raw)
	p, err := v.Authenticate(r, body)
	return r, p, err
}
