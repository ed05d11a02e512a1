package access

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
)

// The credentials of AWS's Signature Version 4 test suite and of the examples
// in its documentation.
const (
	exampleKey    = "AKIDEXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
)

// read parses a request as a server gets it; lines may end in \n.
func read(t testing.TB, raw string) (*http.Request, []byte) {
	t.Helper()
	head, body, _ := strings.Cut(raw, "\n\n")
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n" + body)))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r, b
}

func signatureOf(t testing.TB, r *http.Request, body []byte, signed, region, service string) (canonical, signature string) {
	t.Helper()
	headers, wrong := headersOf(nil, r, strings.Split(signed, ";"))
	if wrong != "" {
		t.Fatal(wrong)
	}
	sum := sha256.Sum256(body)
	c, ok := appendCanonical(nil, r, headers, hex.AppendEncode(nil, sum[:]))
	if !ok {
		t.Fatal("no canonical form")
	}
	at := r.Header.Get("X-Amz-Date")
	s := sign(signingKey(exampleSecret, at[:8], region, service), appendToSign(nil, at, region, service, c))
	return string(c), string(s[:])
}

func TestKeyedShort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := [sha256.Size]byte(rapid.SliceOfN(rapid.Byte(), sha256.Size, sha256.Size).Draw(t, "key"))
		message := rapid.SliceOfN(rapid.Byte(), 0, 600).Draw(t, "message")
		if keyedShort(key, message) != keyed(key[:], message) {
			t.Fatal("it is no HMAC")
		}
	})
}

// TestPublishedVectors: requests and signatures of AWS's test suite, service
// "service". Left out are those that net/http would not let through as they are
// (a path with a space; a header folded over lines, which it unfolds with
// spaces where the suite has commas) and those for presigned requests.
func TestPublishedVectors(t *testing.T) {
	const (
		hostDate = "host;x-amz-date"
		vanilla  = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
		letters  = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	)
	for _, c := range []struct{ name, line, headers, body, signed, want string }{
		{"get-vanilla", "GET /", "", "", hostDate, vanilla},
		{"post-vanilla", "POST /", "", "", hostDate, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"get-unreserved", "GET /" + letters, "", "", hostDate, "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
		{"get-utf8", "GET /ሴ", "", "", hostDate, "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"},
		{"get-relative", "GET /example/..", "", "", hostDate, vanilla},
		{"get-relative-relative", "GET /example1/example2/../..", "", "", hostDate, vanilla},
		{"get-slash", "GET //", "", "", hostDate, vanilla},
		{"get-slash-dot-slash", "GET /./", "", "", hostDate, vanilla},
		{"get-slash-pointless-dot", "GET /./example", "", "", hostDate, "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
		{"get-slashes", "GET //example//", "", "", hostDate, "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
		{"get-vanilla-empty-query-key", "GET /?Param1=value1", "", "", hostDate, "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		{"get-vanilla-query-order-key-case", "GET /?Param2=value2&Param1=value1", "", "", hostDate, "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"get-vanilla-query-order-encoded", "GET /?Param-3=Value3&Param=Value2&%E1%88%B4=Value1", "", "", hostDate, "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
		{"get-vanilla-query-unreserved", "GET /?" + letters + "=" + letters, "", "", hostDate, "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
		{"get-vanilla-utf8-query", "GET /?ሴ=bar", "", "", hostDate, "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
		{"post-vanilla-query", "POST /?Param1=value1", "", "", hostDate, "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
		{"post-header-key-sort", "POST /", "My-Header1:value1\n", "", "host;my-header1;x-amz-date", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
		{"get-header-key-duplicate", "GET /", "My-Header1:value2\nMy-Header1:value2\nMy-Header1:value1\n", "", "host;my-header1;x-amz-date", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
		{"get-header-value-order", "GET /", "My-Header1:value4\nMy-Header1:value1\nMy-Header1:value3\nMy-Header1:value2\n", "", "host;my-header1;x-amz-date", "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
		{"get-header-value-trim", "GET /", "My-Header1: value1\nMy-Header2: \"a   b   c\"\n", "", "host;my-header1;my-header2;x-amz-date", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		{"get-vanilla-with-session-token", "GET /", "X-Amz-Security-Token:6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267\n", "", "host;x-amz-date;x-amz-security-token",
			"07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"},
		{"post-x-www-form-urlencoded", "POST /", "Content-Type:application/x-www-form-urlencoded\nContent-Length:13\n" +
			"X-Amz-Content-Sha256:9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e\n", "Param1=value1",
			"content-length;content-type;host;x-amz-content-sha256;x-amz-date", "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, body := read(t, c.line+" HTTP/1.1\nHost:example.amazonaws.com\n"+c.headers+"X-Amz-Date:20150830T123600Z\n\n"+c.body)
			if canonical, got := signatureOf(t, r, body, c.signed, "us-east-1", "service"); got != c.want {
				t.Errorf("got %s, want %s of\n%s", got, c.want, canonical)
			}
		})
	}
}

// TestDocumentedExample: every step of the example in AWS's documentation, a
// ListUsers of IAM.
func TestDocumentedExample(t *testing.T) {
	r, body := read(t, "GET /?Action=ListUsers&Version=2010-05-08 HTTP/1.1\nHost: iam.amazonaws.com\n"+
		"Content-Type: application/x-www-form-urlencoded; charset=utf-8\nX-Amz-Date: 20150830T123600Z\n\n")
	canonical, signature := signatureOf(t, r, body, "content-type;host;x-amz-date", "us-east-1", "iam")
	sum := sha256.Sum256([]byte(canonical))
	key := signingKey(exampleSecret, "20150830", "us-east-1", "iam")
	for what, x := range map[string][2]string{
		"canonical request": {canonical, "GET\n/\nAction=ListUsers&Version=2010-05-08\ncontent-type:application/x-www-form-urlencoded; charset=utf-8\nhost:iam.amazonaws.com\n" +
			"x-amz-date:20150830T123600Z\n\ncontent-type;host;x-amz-date\ne3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
		"its hash":    {hex.EncodeToString(sum[:]), "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"},
		"signing key": {hex.EncodeToString(key[:]), "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9"},
		"signature":   {signature, "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
	} {
		if x[0] != x[1] {
			t.Errorf("%s: got\n%s\nwant\n%s", what, x[0], x[1])
		}
	}
}

func TestCanonicalParts(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a": "a", "  a  b ": "a b", "\t a\tb \t": "a\tb", "a    b  c": "a b c", "   ": "",
	} {
		if got := string(appendCollapsed(nil, in)); got != want {
			t.Errorf("value %q: got %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"/": "/", "": "/", "/a/": "/a/", "/a//b/./c/../d": "/a/b/d", "/..": "/", "/a%2Fb": "/a%252Fb", "/%E1%88%B4": "/%25E1%2588%25B4", "/a b": "/a%20b",
	} {
		u := &url.URL{Path: in}
		if p, err := url.ParseRequestURI(in); err == nil {
			u = p
		}
		if got := string(appendPath(nil, u)); got != want {
			t.Errorf("path %q: got %q, want %q", in, got, want)
		}
	}
	for in, want := range map[string]string{
		"": "", "b&a": "a=&b=", "a=2&a=1&a=10": "a=1&a=10&a=2", "a=b%20c&A=b+c": "A=b%20c&a=b%20c", "a=%2f%2F": "a=%2F%2F", "&&a=1&": "a=1", "a==": "a=%3D", "é=1": "%C3%A9=1",
	} {
		if got, ok := appendQuery(nil, in); !ok || string(got) != want {
			t.Errorf("query %q: got %q, %v, want %q", in, got, ok, want)
		}
	}
	for _, in := range []string{"a=%", "a=%zz", "a;b", "%4"} {
		if got, ok := appendQuery(nil, in); ok {
			t.Errorf("query %q is %q", in, got)
		}
	}
	r, body := read(t, "GET / HTTP/1.1\nHost: h\n\n")
	if _, ok := appendCanonical(nil, r, []signedHeader{{name: "a", values: []string{"1\nhost:evil"}}}, body); ok {
		t.Error("a line break in a header was taken")
	}
}

func TestSigningKeysAreBounded(t *testing.T) {
	var s signingKeys
	s.Limit = 10
	secret, other := secrets.NewPassword("a"), secrets.NewPassword("b")
	used := signingScope{"used", "20260304", "eu-west-1"}
	s.put(used, secret, [32]byte{1})
	for i := range 100 {
		s.put(signingScope{"k" + strconv.Itoa(i), "20260304", "eu-west-1"}, secret, [32]byte{2})
		if n := s.Len(); n > 10 {
			t.Fatalf("%d keys", n)
		}
		if k, ok := s.get(used, secret); !ok || k != [32]byte{1} {
			t.Fatalf("a key in use was forgotten after %d others", i+1)
		}
	}
	if _, ok := s.get(signingScope{"k0", "20260304", "eu-west-1"}, secret); ok {
		t.Error("nothing was forgotten")
	}
	if _, ok := s.get(used, other); ok {
		t.Error("the key of another secret")
	}
	s.put(used, other, [32]byte{3})
	if k, ok := s.get(used, other); !ok || k != [32]byte{3} {
		t.Error("the key of the new secret is missing")
	}
	for _, near := range []signingScope{{"used", "20260305", "eu-west-1"}, {"used", "20260304", "eu-west-2"}, {"use", "20260304", "eu-west-1"}} {
		if _, ok := s.get(near, other); ok {
			t.Errorf("%v has a key", near)
		}
	}
}
