package integration_test

import (
	"bufio"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// letter is a request in bytes, signed by a signer that signs whatever it is told
// to. It shares no code with Pawl's verifier.
type letter struct {
	line         string // POST / HTTP/1.1
	headers      [][2]string
	body         string
	key          aws.Credentials
	at           time.Time
	day          string // of the scope; "" = at's
	region, name string // of the scope
	end          string
	signed       []string
	after        string // what follows the body
}

const (
	coveted  = "the-coveted-value"
	amzDate  = "20060102T150405Z"
	getValue = "secretsmanager.GetSecretValue"
	getBody  = `{"SecretId":"wanted"}`
)

// newLetter asks for the value, as it should.
func newLetter(g *guarded, key aws.Credentials) *letter {
	l := &letter{line: "POST / HTTP/1.1", body: getBody, key: key, region: homeRegion, name: "secretsmanager", end: "aws4_request",
		signed: []string{"content-length", "content-type", "host", "x-amz-date", "x-amz-target"}}
	l.headers = [][2]string{{"Host", strings.TrimPrefix(g.endpoint, "https://")}, {"Content-Type", "application/x-amz-json-1.1"},
		{"Content-Length", fmt.Sprint(len(l.body))}, {"X-Amz-Date", ""}, {"X-Amz-Target", getValue}, {"User-Agent", "letter"}}
	l.dated(time.Now())
	return l
}

func (l *letter) dated(at time.Time) {
	l.at = at.UTC()
	l.set("X-Amz-Date", l.at.Format(amzDate))
}

// set replaces a header; add puts one behind the others; drop takes one away.
func (l *letter) set(name, value string) {
	for i := range l.headers {
		if l.headers[i][0] == name {
			l.headers[i][1] = value
			return
		}
	}
	l.add(name, value)
}

func (l *letter) add(name, value string) { l.headers = append(l.headers, [2]string{name, value}) }

func (l *letter) drop(name string) {
	l.headers = slices.DeleteFunc(l.headers, func(h [2]string) bool { return h[0] == name })
}

// sign signs one more header.
func (l *letter) sign(name string) {
	l.signed = append(l.signed, name)
	slices.Sort(l.signed)
}

func (l *letter) unsign(name string) {
	l.signed = slices.DeleteFunc(l.signed, func(s string) bool { return s == name })
}

// authorization signs the letter as it is now.
func (l *letter) authorization() string {
	hash := func(s string) string {
		sum := sha256.Sum256([]byte(s))
		return hex.EncodeToString(sum[:])
	}
	mac := func(key, message string) string {
		h := hmac.New(sha256.New, []byte(key))
		h.Write([]byte(message))
		return string(h.Sum(nil))
	}
	method, rest, _ := strings.Cut(l.line, " ")
	target, _, _ := strings.Cut(rest, " ")
	path, query, _ := strings.Cut(target, "?")
	lines := ""
	for _, name := range l.signed {
		var values []string
		for _, h := range l.headers {
			if strings.EqualFold(h[0], name) {
				values = append(values, strings.Join(strings.Fields(h[1]), " "))
			}
		}
		lines += name + ":" + strings.Join(values, ",") + "\n"
	}
	names := strings.Join(l.signed, ";")
	canonical := strings.Join([]string{method, path, query, lines, names, hash(l.body)}, "\n")
	day, at := l.day, l.at.Format(amzDate)
	if day == "" {
		day = at[:8]
	}
	scope := strings.Join([]string{day, l.region, l.name, l.end}, "/")
	key := mac(mac(mac(mac("AWS4"+l.key.SecretAccessKey, day), l.region), l.name), l.end)
	signature := hex.EncodeToString([]byte(mac(key, "AWS4-HMAC-SHA256\n"+at+"\n"+scope+"\n"+hash(canonical))))
	return "AWS4-HMAC-SHA256 Credential=" + l.key.AccessKeyID + "/" + scope + ", SignedHeaders=" + names + ", Signature=" + signature
}

// raw is the letter on the wire, with an Authorization header; "" = without.
func (l *letter) raw(authorization string) string {
	b := l.line + "\r\n"
	for _, h := range l.headers {
		b += h[0] + ": " + h[1] + "\r\n"
	}
	if authorization != "" {
		b += "Authorization: " + authorization + "\r\n"
	}
	return b + "\r\n" + l.body + l.after
}

// unsignedDelete is a request that would end the secret.
const unsignedDelete = "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-amz-json-1.1\r\nX-Amz-Target: secretsmanager.DeleteSecret\r\nContent-Length: 21\r\n\r\n" + getBody

const deleteSecret = "secretsmanager.DeleteSecret"

// hostile are letters to which the answer must hold no value and that must do
// nothing. before changes what is signed, after what was signed.
var hostile = []struct {
	name          string
	before, after func(*letter)
	reads         bool // the value is in the first answer: what is wrong comes behind
	cut           bool // the sender ends it there
	short         int  // and so many bytes earlier
}{
	{name: "in order", reads: true},

	// Clocks.
	{name: "five minutes old", before: func(l *letter) { l.dated(l.at.Add(-5*time.Minute - 2*time.Second)) }},
	{name: "from another day", before: func(l *letter) { l.dated(l.at.AddDate(0, 0, -1)) }},
	{name: "from the future", before: func(l *letter) { l.dated(l.at.Add(6 * time.Minute)) }},
	{name: "made younger", before: func(l *letter) { l.dated(l.at.Add(-time.Hour)) }, after: func(l *letter) { l.dated(time.Now()) }},
	{name: "made younger by Date", before: func(l *letter) { l.dated(l.at.Add(-time.Hour)) }, after: func(l *letter) { l.add("Date", time.Now().UTC().Format(http.TimeFormat)) }},
	{name: "a second date", after: func(l *letter) { l.add("X-Amz-Date", time.Now().UTC().Format(amzDate)) }},
	{name: "another day in the scope", before: func(l *letter) { l.day = "20200101" }},

	// Scopes.
	{name: "another region", before: func(l *letter) { l.region = "eu-west-1" }}, // where there is no such secret
	{name: "no region", before: func(l *letter) { l.region = "moon" }},
	{name: "STS's scope", before: func(l *letter) { l.name = "sts" }},
	{name: "S3's scope", before: func(l *letter) { l.name = "s3" }},
	{name: "another end", before: func(l *letter) { l.end = "aws5_request" }},
	{name: "somebody else's key", before: func(l *letter) { l.key.AccessKeyID = "AKIAIOSFODNN7EXAMPLE" }},
	{name: "a wrong secret", before: func(l *letter) { l.key.SecretAccessKey += "x" }},
	{name: "the key's id as its secret", before: func(l *letter) { l.key.SecretAccessKey = l.key.AccessKeyID }},
	{name: "an empty secret", before: func(l *letter) { l.key.SecretAccessKey = "" }},

	// What was signed, and what arrives.
	{name: "another body", after: func(l *letter) { l.body = strings.Replace(getBody, "wanted", "hunted", 1) }},
	{name: "another target", after: func(l *letter) { l.set("X-Amz-Target", deleteSecret) }},
	{name: "another host", after: func(l *letter) { l.set("Host", "secretsmanager.us-east-1.amazonaws.com") }},
	{name: "a host in the line", after: func(l *letter) { l.line = "POST http://example.com/ HTTP/1.1" }},
	{name: "another path", after: func(l *letter) { l.line = "POST /x HTTP/1.1" }},
	{name: "a query", after: func(l *letter) { l.line = "POST /?Action=DeleteSecret HTTP/1.1" }},
	{name: "a broken query", after: func(l *letter) { l.line = "POST /?%zz;a=b HTTP/1.1" }},
	{name: "no path", after: func(l *letter) { l.line = "POST * HTTP/1.1" }},
	{name: "GET", after: func(l *letter) { l.line = "GET / HTTP/1.1" }},
	{name: "a method in lower case", after: func(l *letter) { l.line = "post / HTTP/1.1" }},
	{name: "a method in lower case, signed", before: func(l *letter) { l.line = "post / HTTP/1.1" }},
	{name: "CONNECT", before: func(l *letter) { l.line = "CONNECT 127.0.0.1:22 HTTP/1.1" }},
	{name: "a method by header", before: func(l *letter) { l.line = "GET / HTTP/1.1"; l.add("X-HTTP-Method-Override", "POST") }},
	{name: "HTTP/1.0 without a host", after: func(l *letter) { l.line = "POST / HTTP/1.0"; l.drop("Host") }},
	{name: "HTTP/1.1 without a host", after: func(l *letter) { l.drop("Host") }},
	{name: "HTTP/2 in the clear", after: func(l *letter) { l.line = "PRI * HTTP/2.0" }},
	{name: "HTTP/3", after: func(l *letter) { l.line = "POST / HTTP/3.0" }},
	{name: "no version", after: func(l *letter) { l.line = "POST /" }},

	// Headers.
	{name: "two hosts", after: func(l *letter) { l.add("Host", "example.com") }},
	{name: "the same host twice", after: func(l *letter) { l.add("Host", l.headers[0][1]) }},
	{name: "an empty host", after: func(l *letter) { l.set("Host", "") }},
	{name: "host not signed", before: func(l *letter) { l.unsign("host") }},
	{name: "a second target", after: func(l *letter) { l.add("X-Amz-Target", deleteSecret) }},
	{name: "a second target, signed", before: func(l *letter) { l.add("x-amz-target", deleteSecret) }},
	{name: "a second target in front, signed", before: func(l *letter) { l.headers = slices.Insert(l.headers, 0, [2]string{"X-AMZ-TARGET", deleteSecret}) }},
	{name: "the same target twice, signed", before: func(l *letter) { l.add("X-Amz-Target", getValue) }},
	{name: "target not signed", before: func(l *letter) { l.unsign("x-amz-target") }},
	{name: "date not signed", before: func(l *letter) { l.unsign("x-amz-date") }},
	{name: "an x-amz header not signed", before: func(l *letter) { l.add("X-Amz-Meta", "1") }},
	{name: "a session token not signed", before: func(l *letter) { l.add("X-Amz-Security-Token", "abc") }},
	{name: "a session token for a long-term key", before: func(l *letter) { l.add("X-Amz-Security-Token", "abc"); l.sign("x-amz-security-token") }},
	{name: "an unsigned body", before: func(l *letter) {
		l.add("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
		l.sign("x-amz-content-sha256")
	}},
	{name: "a body that came in chunks of AWS's", before: func(l *letter) {
		l.add("X-Amz-Content-Sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD")
		l.sign("x-amz-content-sha256")
	}},
	{name: "a space behind a name", after: func(l *letter) { l.add("X-Amz-Target ", deleteSecret) }},
	{name: "a tab behind a name", after: func(l *letter) { l.add("X-Amz-Target\t", deleteSecret) }},
	{name: "a space before a name", after: func(l *letter) {
		l.headers = slices.Insert(l.headers, 0, [2]string{" X-Amz-Target", deleteSecret})
	}},
	{name: "no name", after: func(l *letter) { l.add("", deleteSecret) }},
	{name: "a header that goes on", after: func(l *letter) { l.set("X-Amz-Target", "secretsmanager.\r\n DeleteSecret") }},
	{name: "a signed header that goes on", after: func(l *letter) { l.set("X-Amz-Target", getValue+"\r\n\tx") }},
	{name: "NUL in a value", after: func(l *letter) { l.set("X-Amz-Target", getValue+"\x00") }},
	{name: "CR in a value", after: func(l *letter) { l.set("User-Agent", "x\rX-Amz-Target: "+deleteSecret) }},
	{name: "a name with underscores", after: func(l *letter) { l.add("X_Amz_Target", deleteSecret) }, reads: true}, // means nothing here
	{name: "a header within a header that goes on", after: func(l *letter) { l.set("User-Agent", "x\r\n X-Amz-Target: "+deleteSecret) }, reads: true},

	// Authorization.
	{name: "a second authorization", after: func(l *letter) {
		l.add("Authorization", "AWS4-HMAC-SHA256 Credential=x, SignedHeaders=host, Signature=y")
	}},
	{name: "the same authorization twice", after: func(l *letter) { l.add("Authorization", l.authorization()) }},
	{name: "Basic before it", after: func(l *letter) {
		l.headers = slices.Insert(l.headers, 0, [2]string{"Authorization", "Basic YWRtaW46YWRtaW4="})
	}},
	{name: "in the query", after: func(l *letter) {
		l.line = "POST /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=" + l.key.AccessKeyID + "&X-Amz-Signature=00&X-Amz-SignedHeaders=host HTTP/1.1"
	}},

	// Bodies, and what stands behind them.
	{name: "two lengths", after: func(l *letter) { l.add("Content-Length", "2") }},
	{name: "the same length twice", after: func(l *letter) { l.headers[2][1] += ", " + l.headers[2][1] }},
	{name: "a negative length", after: func(l *letter) { l.set("Content-Length", "-1") }},
	{name: "a length with a sign", after: func(l *letter) { l.set("Content-Length", "+21") }},
	{name: "a length in hex", after: func(l *letter) { l.set("Content-Length", "0x15") }},
	{name: "shorter than signed", after: func(l *letter) { l.set("Content-Length", "2") }},
	{name: "shorter than signed, the length not signed", before: func(l *letter) { l.unsign("content-length") }, after: func(l *letter) { l.set("Content-Length", "2") }},
	{name: "longer than sent", before: func(l *letter) { l.unsign("content-length") }, after: func(l *letter) { l.set("Content-Length", "2000") }, cut: true},
	{name: "cut in the body", cut: true, short: 1},
	{name: "cut before the body", cut: true, short: len(getBody)},
	{name: "cut before the headers' end", cut: true, short: len(getBody) + 2},
	{name: "cut in the signature", cut: true, short: len(getBody) + 14},
	{name: "chunks and a length", after: func(l *letter) {
		l.add("Transfer-Encoding", "chunked")
		l.body = "15\r\n" + getBody + "\r\n0\r\n\r\n"
	}},
	{name: "chunks and a length, which is right too", after: func(l *letter) { l.add("Transfer-Encoding", "chunked"); l.body = "0\r\n\r\n" }},
	{name: "chunks of another kind", after: func(l *letter) { l.add("Transfer-Encoding", "xchunked") }},
	{name: "chunks twice", after: func(l *letter) {
		l.drop("Content-Length")
		l.add("Transfer-Encoding", "chunked")
		l.add("Transfer-Encoding", "chunked")
		l.body = "15\r\n" + getBody + "\r\n0\r\n\r\n"
	}},
	{name: "identity and chunks", after: func(l *letter) { l.add("Transfer-Encoding", "identity, chunked"); l.body = "0\r\n\r\n" }},
	{name: "a chunk cut off", before: func(l *letter) { l.unsign("content-length"); l.drop("Content-Length") }, after: func(l *letter) {
		l.add("Transfer-Encoding", "chunked")
		l.body = "15\r\n" + getBody
	}, cut: true},
	{name: "a target in the trailer", before: func(l *letter) { l.unsign("content-length"); l.drop("Content-Length") }, after: func(l *letter) {
		l.add("Trailer", "X-Amz-Target")
		l.add("Transfer-Encoding", "chunked")
		l.body = "15\r\n" + getBody + "\r\n0\r\nX-Amz-Target: " + deleteSecret + "\r\n\r\n"
	}, reads: true},
	{name: "a request behind it", after: func(l *letter) { l.after = unsignedDelete }, reads: true},
	{name: "a request behind it by the same signature", after: func(l *letter) {
		next := *l
		next.headers = slices.Clone(l.headers)
		next.set("X-Amz-Target", deleteSecret)
		l.after = next.raw(l.authorization())
	}, reads: true},
	{name: "a request in a body that is too long", before: func(l *letter) { l.unsign("content-length") }, after: func(l *letter) {
		l.set("Content-Length", "0")
		l.body = unsignedDelete
	}},
	{name: "a request behind the last chunk", after: func(l *letter) {
		l.add("Transfer-Encoding", "chunked")
		l.body = "0\r\n\r\n" + unsignedDelete
	}},
	{name: "a request behind a refused one", before: func(l *letter) { l.key.SecretAccessKey += "x" }, after: func(l *letter) { l.after = unsignedDelete }},
}

// TestHostileRequests: over TLS, by the byte. Nothing but what was signed is
// done, and only once for each signature that arrives.
func TestHostileRequests(t *testing.T) {
	g := newGuarded(t, "")
	g.create("wanted", secrets.Text(coveted))
	key := g.enrol("reader", allows("secretsmanager:*", "*"))
	look := func() service.DescribeSecretOutput {
		t.Helper()
		d, err := g.svc.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "wanted"})
		if err != nil {
			t.Fatal(err)
		}
		d.LastAccessedDate = time.Time{}
		return *d
	}
	before := look()
	all := make([]int, len(hostile))
	for i := range all {
		all[i] = i
	}
	sideBySide(t, 16, all, func(i int) string { return hostile[i].name }, func(t *testing.T, i int) {
		how := hostile[i]
		l := newLetter(g, key)
		if how.before != nil {
			how.before(l)
		}
		authorization := l.authorization()
		if how.after != nil {
			how.after(l)
		}
		raw := l.raw(authorization)
		answered(t, g, i, raw[:len(raw)-how.short], how.cut, how.reads)
	})
	t.Run("heard by somebody else", func(t *testing.T) { replayed(t, g, len(all), key) })
	t.Run("without TLS", func(t *testing.T) {
		l := newLetter(g, key)
		c := dialled(t, strings.TrimPrefix(g.endpoint, "https://"), len(all)+1)
		defer c.Close()
		if _, err := io.WriteString(c, l.raw(l.authorization())); err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(c); !strings.HasPrefix(string(b), "HTTP/1.0 400 ") || strings.Contains(string(b), coveted) {
			t.Errorf("%s", b)
		}
	})
	t.Run("old TLS", func(t *testing.T) {
		old := g.trust.Clone()
		old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		c := tls.Client(dialled(t, strings.TrimPrefix(g.endpoint, "https://"), len(all)+2), old)
		defer c.Close()
		if err := c.Handshake(); err == nil {
			t.Error("a handshake by TLS 1.1")
		}
	})
	if diff := cmp.Diff(before, look()); diff != "" {
		t.Errorf("the secret is changed: %s", diff)
	}
	for _, secret := range []string{coveted, key.SecretAccessKey} {
		if strings.Contains(g.daemon.err.String(), secret) {
			t.Error("the value or the key is in the log")
		}
	}
}

// dialled connects from an address of its own where there are several: who fails
// often is made to wait.
func dialled(t *testing.T, addr string, n int) net.Conn {
	t.Helper()
	d := net.Dialer{Timeout: 20 * time.Second}
	if runtime.GOOS == "linux" {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 2, 0, byte(n+1))}
	}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// answers sends bytes over a connection of their own and returns all answers. The
// connection ends with one more request, which asks for that, or is cut.
func answers(t *testing.T, g *guarded, n int, raw string, cut bool) (statuses []int, bodies []string) {
	t.Helper()
	c := tls.Client(dialled(t, strings.TrimPrefix(g.endpoint, "https://"), n), g.trust)
	defer c.Close()
	if !cut {
		raw += "GET /the-last-one HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
	}
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	if cut {
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	for in := bufio.NewReader(c); ; {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			return statuses, bodies // it was closed
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		statuses, bodies = append(statuses, resp.StatusCode), append(bodies, string(b))
	}
}

// answered wants no good answer, or the value in the first and no good one else.
func answered(t *testing.T, g *guarded, n int, raw string, cut, reads bool) {
	t.Helper()
	statuses, bodies := answers(t, g, n, raw, cut)
	if !cut && len(statuses) == 0 {
		t.Error("no answer")
	}
	for i, status := range statuses {
		has := strings.Contains(bodies[i], coveted)
		switch {
		case i == 0 && reads:
			if status != http.StatusOK || !has {
				t.Errorf("refused: %d %s", status, bodies[i])
			}
		case status < 400 || has:
			t.Errorf("answer %d is %d %s", i+1, status, bodies[i])
		}
	}
	if reads && len(statuses) == 0 {
		t.Error("no answer")
	}
}

// replayed: the very bytes of a request that was answered are worth nothing when
// five minutes are over. So as not to wait for these it is a request that was a
// long time on its way.
func replayed(t *testing.T, g *guarded, n int, key aws.Credentials) {
	t.Helper()
	raw, good := "", false
	for left := 2 * time.Second; !good; left *= 2 { // a busy machine may be too late
		if left > time.Minute {
			t.Fatal("it was refused from the start")
		}
		l := newLetter(g, key)
		l.dated(time.Now().Add(left - 5*time.Minute))
		raw = l.raw(l.authorization())
		statuses, bodies := answers(t, g, n, raw, false)
		good = len(statuses) > 0 && statuses[0] == http.StatusOK && strings.Contains(bodies[0], coveted)
	}
	until(t, "it to be refused", func() bool {
		statuses, bodies := answers(t, g, n, raw, false)
		if len(statuses) == 0 {
			t.Fatal("no answer")
		}
		return statuses[0] == http.StatusBadRequest && strings.Contains(bodies[0], "Signature expired") && !strings.Contains(bodies[0], coveted)
	})
}
