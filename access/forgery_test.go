package access

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"pgregory.net/rapid"
)

// TestTampering: what was signed and what arrives differ.
func TestTampering(t *testing.T) {
	for name, change := range map[string]func(*forgery){
		"body":               func(f *forgery) { f.body = `{"SecretId":"prod/dc"}` },
		"target":             func(f *forgery) { f.set("X-Amz-Target", "secretsmanager.DeleteSecret") },
		"target in capitals": func(f *forgery) { f.set("X-Amz-Target", strings.ToUpper(goodTarget)) },
		"a second target": func(f *forgery) {
			f.headers = append(f.headers, [2]string{"x-amz-target", "secretsmanager.DeleteSecret"})
		},
		"a second target in front": func(f *forgery) {
			f.headers = slices.Insert(f.headers, 0, [2]string{"X-AMZ-TARGET", "secretsmanager.DeleteSecret"})
		},
		"the same target twice":    func(f *forgery) { f.headers = append(f.headers, [2]string{"X-Amz-Target", goodTarget}) },
		"no target":                func(f *forgery) { f.drop("X-Amz-Target") },
		"a second date":            func(f *forgery) { f.headers = append(f.headers, [2]string{"X-Amz-Date", "20260304T120000Z"}) },
		"a later date":             func(f *forgery) { f.set("X-Amz-Date", "20260304T120100Z") },
		"a second authorization":   func(f *forgery) { f.headers = append(f.headers, [2]string{"authorization", "AWS4-HMAC-SHA256 x=y"}) },
		"content type":             func(f *forgery) { f.set("Content-Type", "application/json") },
		"a second content type":    func(f *forgery) { f.headers = append(f.headers, [2]string{"content-type", "text/plain"}) },
		"host":                     func(f *forgery) { f.set("Host", "pawl.example:4567") },
		"host in capitals":         func(f *forgery) { f.set("Host", "PAWL.example:4566") },
		"another host in the line": func(f *forgery) { f.path = "http://evil.example/" },
		"method":                   func(f *forgery) { f.method = "PUT" },
		"path":                     func(f *forgery) { f.path = "/x" },
		"path in another case":     func(f *forgery) { f.path = "/%2F" },
		"query":                    func(f *forgery) { f.query = "Action=DeleteSecret" },
		"a broken query":           func(f *forgery) { f.query = "%" },
		"a token":                  func(f *forgery) { f.add("X-Amz-Security-Token", sessionToken) },
		"region":                   func(f *forgery) { f.region = "eu-west-2" },
		"key of the same secret":   func(f *forgery) { f.id = "OLD" },
		"an unsigned header":       func(f *forgery) { f.headers = append(f.headers, [2]string{"X-Amz-Extra", "1"}) },
		"a header signed later":    func(f *forgery) { f.add("X-Amz-Extra", "1") },
		"a header not sent":        func(f *forgery) { f.signed = append(f.signed, "x-amz-zzz") },
		"a header not signed":      func(f *forgery) { f.signed = f.signed[1:] },
		"an empty name":            func(f *forgery) { f.signed = append([]string{""}, f.signed...) },
		"unsorted":                 func(f *forgery) { slices.Reverse(f.signed) },
		"a name twice":             func(f *forgery) { f.signed = append(f.signed, "x-amz-target") },
		"a name in two cases":      func(f *forgery) { f.signed = append(f.signed, "X-Amz-Target") },
		"chunked":                  func(f *forgery) { f.drop("Content-Length"); f.set("Transfer-Encoding", "chunked"); f.body = "" },
		"signature in capitals":    func(f *forgery) { f.sentSignature = strings.ToUpper(good().sign()) },
		"half a signature":         func(f *forgery) { f.sentSignature = good().sign()[:32] },
		"one character more":       func(f *forgery) { f.sentSignature = good().sign() + "0" },
		"zeros":                    func(f *forgery) { f.sentSignature = strings.Repeat("0", 64) },
	} {
		t.Run(name, func(t *testing.T) {
			v, _ := verifierAt(noon)
			f := good()
			change(f)
			raw := f.raw(good())
			if name == "chunked" {
				raw += "0\r\n\r\n"
			}
			r, p, err := authenticate(t, v, raw)
			var e *secrets.Error
			if !errors.As(err, &e) || e.Kind != secrets.Denied || e.Code == "" || p.ARN != "" {
				t.Errorf("got %+v, %v", p, err)
			}
			sayNothing(t, r, f, err)
		})
	}
}

// TestMalformedThoughSigned: who knows the secret is refused too where the
// request means two things.
func TestMalformedThoughSigned(t *testing.T) {
	for name, change := range map[string]func(*forgery){
		"two targets": func(f *forgery) {
			f.headers = append(f.headers, [2]string{"X-Amz-Target", "secretsmanager.DeleteSecret"})
		},
		"two dates":        func(f *forgery) { f.headers = append(f.headers, [2]string{"X-Amz-Date", f.at}) },
		"unsorted":         func(f *forgery) { slices.Reverse(f.signed) },
		"a name twice":     func(f *forgery) { f.signed = append(f.signed, "x-amz-target") },
		"host twice":       func(f *forgery) { f.signed = slices.Insert(f.signed, 2, "host") },
		"a header missing": func(f *forgery) { f.signed = append(f.signed, "x-amz-zzz") },
	} {
		f := good()
		change(f)
		v, _ := verifierAt(noon)
		_, _, err := authenticate(t, v, f.raw(nil))
		t.Log(name)
		wantDenied(t, err, invalidSignature, differs)
	}
	// Spellings that only a caller inside the process can make.
	v, _ := verifierAt(noon)
	for name, value := range map[string]string{"x-amz-target": goodTarget, "Host": goodHost, "content-TYPE": "application/x-amz-json-1.1"} {
		r, body := read(t, good().raw(nil))
		r.Header[name] = []string{value}
		t.Log(name)
		_, err := v.Authenticate(r, body)
		wantDenied(t, err, invalidSignature, differs)
	}
	// A second Authorization, of which the first is in order.
	_, _, err := authenticate(t, v, strings.Replace(good().raw(nil), "\n\n", "\nAuthorization: AWS4-HMAC-SHA256 x=y\n\n", 1))
	wantDenied(t, err, invalidSignature, differs)
	// Signed, but taken away on its way.
	f, signed := good(), good()
	signed.add("X-Zzz", "22")
	f.signed = signed.signed
	_, _, err = authenticate(t, v, f.raw(signed))
	wantDenied(t, err, invalidSignature, differs)
	// The length of a body that tells none.
	f, signed = good(), good()
	signed.set("Content-Length", "-1")
	f.drop("Content-Length")
	f.set("Transfer-Encoding", "chunked")
	raw, _ := strings.CutSuffix(f.raw(signed), goodBody)
	_, _, err = authenticate(t, v, raw+"16\r\n"+goodBody+"\r\n0\r\n\r\n")
	wantDenied(t, err, invalidSignature, differs)
}

// TestHowManyAreSigned: the limit is on the names, however many there are to
// look for.
func TestHowManyAreSigned(t *testing.T) {
	v, _ := verifierAt(noon)
	f := good()
	for len(f.signed) < maxSigned {
		f.add("A"+strings.Repeat("b", len(f.signed)), "1")
	}
	if _, _, err := authenticate(t, v, f.raw(nil)); err != nil {
		t.Error(err)
	}
	f.add("Z", "1")
	_, _, err := authenticate(t, v, f.raw(nil))
	wantDenied(t, err, invalidSignature, differs)
}

// TestReplay: a request that was overheard is good for five minutes.
func TestReplay(t *testing.T) {
	raw := good().raw(nil)
	for after, ok := range map[time.Duration]bool{
		0: true, 5 * time.Minute: true, 5*time.Minute + 999*time.Millisecond: true, 5*time.Minute + time.Second: false, 24 * time.Hour: false,
		-5 * time.Minute: true, -5*time.Minute - time.Second: false, -24 * time.Hour: false,
	} {
		v, _ := verifierAt(noon.Add(after).In(time.FixedZone("", 3600)))
		if _, _, err := authenticate(t, v, raw); (err == nil) != ok {
			t.Errorf("%v later: %v", after, err)
		}
	}
	// Across midnight the scope's day is the request's, not ours.
	f := good()
	f.dated(time.Date(2026, 3, 4, 23, 59, 0, 0, time.UTC))
	v, _ := verifierAt(time.Date(2026, 3, 5, 0, 1, 0, 0, time.UTC))
	if _, _, err := authenticate(t, v, f.raw(nil)); err != nil {
		t.Error(err)
	}
}

// signedParts are the places of a raw request that the signature covers, each
// a byte long: everything but names of headers, the protocol's version, white
// space, and headers that are not signed.
func signedParts(raw string) (places []int) {
	part := func(s string) {
		i := strings.Index(raw, s)
		for j := range len(s) {
			places = append(places, i+j)
		}
	}
	f := good()
	part("POST")
	part("/?x=1&yy=2")
	for _, h := range f.headers[:len(f.headers)-1] { // the last is User-Agent
		part(h[1])
	}
	part(exampleKey + "/20260304/eu-west-1/secretsmanager/aws4_request")
	part(f.body)
	i := strings.Index(raw, "Signature=") + len("Signature=")
	for j := range 64 {
		places = append(places, i+j)
	}
	return places
}

// TestEveryByteCounts: any other byte in any signed place makes a request fail.
func TestEveryByteCounts(t *testing.T) {
	f := good()
	f.query = "x=1&yy=2"
	raw := f.raw(nil)
	places := signedParts(raw)
	v, _ := verifierAt(noon)
	if _, _, err := authenticate(t, v, raw); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		place := rapid.SampledFrom(places).Draw(t, "place")
		c := rapid.Byte().Filter(func(c byte) bool { return c != raw[place] }).Draw(t, "byte")
		r, body, ok := parse(raw[:place] + string([]byte{c}) + raw[place+1:])
		if !ok {
			return // it is no request any more
		}
		if _, err := v.Authenticate(r, body); err == nil {
			t.Fatalf("%q instead of %q at %d was taken", c, raw[place], place)
		}
	})
}

// parse reads a raw request, with \n for line ends, as a server does.
func parse(raw string) (*http.Request, []byte, bool) {
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	if err != nil {
		return nil, nil, false
	}
	body, err := io.ReadAll(r.Body)
	return r, body, err == nil
}

// TestTruncated: a request that ends early, at every length.
func TestTruncated(t *testing.T) {
	raw := good().raw(nil)
	v, _ := verifierAt(noon)
	for n := range len(raw) {
		if r, body, ok := parse(raw[:n]); ok {
			if _, err := v.Authenticate(r, body); err == nil {
				t.Fatalf("the first %d of %d bytes were taken", n, len(raw))
			}
		}
	}
}

// TestOverTheWire sends hostile requests to a real server, whose parser is
// stricter than ReadRequest.
func TestOverTheWire(t *testing.T) {
	v, _ := verifierAt(noon)
	s := serve(t, v)
	for name, c := range map[string]struct {
		change func(*forgery)
		want   string // in the answer
	}{
		"in order": {func(*forgery) {}, `user/ada"`},
		"two targets": {func(f *forgery) {
			f.headers = append(f.headers, [2]string{"X-AMZ-Target", "secretsmanager.DeleteSecret"})
		}, invalidSignature},
		"two hosts":         {func(f *forgery) { f.headers = append(f.headers, [2]string{"Host", "evil.example"}) }, "400 Bad Request"},
		"two lengths":       {func(f *forgery) { f.headers = append(f.headers, [2]string{"Content-Length", "2"}) }, "400 Bad Request"},
		"a shorter length":  {func(f *forgery) { f.set("Content-Length", "2") }, invalidSignature},
		"a space in a name": {func(f *forgery) { f.headers = append(f.headers, [2]string{"X-Amz-Target ", "a"}) }, "400 Bad Request"},
		"an underscore":     {func(f *forgery) { f.headers = append(f.headers, [2]string{"X_Amz_Target", "a"}) }, `user/ada"`},
		"chunks and length": {func(f *forgery) {
			f.headers = append(f.headers, [2]string{"Transfer-Encoding", "chunked"})
			f.body = "0\n\n"
		}, invalidSignature},
	} {
		t.Run(name, func(t *testing.T) {
			f := good()
			c.change(f)
			if got := exchange(t, s.Listener.Addr().String(), f.raw(good())); !strings.Contains(got, c.want) {
				t.Errorf("got %q, want %q in it", got, c.want)
			}
		})
	}
}

// exchange sends raw bytes and returns the first answer.
func exchange(t *testing.T, addr, raw string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	head, body, _ := strings.Cut(raw, "\n\n")
	if _, err := io.WriteString(c, strings.ReplaceAll(head, "\n", "\r\n")+"\r\n\r\n"+strings.ReplaceAll(body, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.Status + "\n" + string(b)
}

// FuzzAuthenticate: a stranger, who does not know the secret, gets nothing
// accepted but a request that was signed for them to see.
func FuzzAuthenticate(f *testing.F) {
	plain, query := good(), good()
	query.query = "a=1&b=2"
	f.Add(plain.raw(nil))
	f.Add(query.raw(nil))
	for _, change := range []func(*forgery){
		func(x *forgery) { x.secret = "another" },
		func(x *forgery) { x.id = "ASIAEXAMPLE"; x.add("X-Amz-Security-Token", "t") },
		func(x *forgery) { x.add("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD") },
		func(x *forgery) { x.query = "a=%zz;b" },
		func(x *forgery) { x.path = "//a/../%2e%2E/ሴ" },
		func(x *forgery) { x.signed = []string{"", "host", "host"} },
		func(x *forgery) {
			x.sentAuth = "AWS4-HMAC-SHA256 Credential=" + scope + ",SignedHeaders=;host;,Signature=="
		},
		func(x *forgery) { x.headers = append(x.headers, [2]string{"X-Amz-Target", "b"}) },
	} {
		x := good()
		change(x)
		f.Add(x.raw(nil))
	}
	v, _ := verifierAt(noon)
	f.Fuzz(func(t *testing.T, raw string) {
		r, body, ok := parse(raw)
		if !ok {
			return
		}
		p, err := v.Authenticate(r, body)
		if err != nil {
			var e *secrets.Error
			if !errors.As(err, &e) || (e.Kind != secrets.Denied && e.Code != "InternalServiceError") || p.ARN != "" {
				t.Fatalf("%v is no refusal", err)
			}
			return
		}
		if r.Method != "POST" || r.Host != goodHost || string(body) != goodBody || r.Header.Get("X-Amz-Target") != goodTarget ||
			r.Header.Get("X-Amz-Date") != plain.at || p.AccessKey != exampleKey || r.URL.Query().Get("a") != "" && r.URL.Query().Get("b") != "2" {
			t.Fatalf("%+v was taken: %q", p, raw)
		}
	})
}
