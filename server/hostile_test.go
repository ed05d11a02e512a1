package server

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const badForm400 = `{"__type":"SerializationException"}`

func TestBodies(t *testing.T) {
	r := start(t, Config{}, nil)
	r.create("kept")
	before := r.send(post("ListSecrets", signed, `{}`)).body

	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = io.WriteString(z, `{"SecretId":"kept"}`)
	z.Close()
	chunked := func(body string) string {
		return strings.Replace(post("GetSecretValue", signed+"Transfer-Encoding: chunked\r\n", ""), "Content-Length: 0\r\n", "", 1) + body
	}
	deep := strings.Repeat("[", 100_000)
	for _, body := range []string{
		``, `null`, `"x"`, `7`, `{`, `{"SecretId":"kept"`, `{"SecretId":"kept",}`, `{"SecretId":"kept"}x`, `{"SecretId":"kept"}{}`, `{SecretId:"kept"}`,
		"{\"SecretId\":\"\xff\"}", `{"SecretId":"\ud800"}`, "\xef\xbb\xbf{}", "{\"SecretId\":\"a\nb\"}", `{"SecretId":"kept","x":` + deep, `{"x":` + strings.Repeat(`{"x":`, 100_000),
		zipped.String(),
	} {
		r.want(post("DeleteSecret", signed, body), 400, badForm400)
	}
	r.want(post("DeleteSecret", signed, `[{"SecretId":"kept"}]`), 400, `{"__type":"SerializationException","Message":"Start of list found where not expected"}`)
	r.want(post("GetSecretValue", signed+"Content-Encoding: gzip\r\n", zipped.String()), 400, badForm400)
	r.want(chunked("zz\r\n"), 400, badForm400)
	r.want(chunked("5\r\n{\"Sec\r\n0\r\n\r\n"), 400, badForm400)

	for _, good := range []string{
		post("GetSecretValue", signed, `{"SecretId":"nobody","SecretId":"kept"}`),
		post("GetSecretValue", signed, ` {"SecretId" : "kept" , "Unknown":[{"x":null}]} `+"\r\n"),
		chunked("5\r\n{\"Sec\r\ne;x=y\r\nretId\":\"kept\"}\r\n0\r\n\r\n"),
		post("GetSecretValue", signed+"Content-Encoding: aws-chunked\r\n", `{"SecretId":"kept"}`),
		strings.Replace(post("GetSecretValue", signed, `{"SecretId":"kept"}`), "amz-json-1.1", "amz-json-1.1; charset=UTF-8", 1),
	} {
		if a := r.send(good); a.StatusCode != 200 || !strings.Contains(a.body, canary) {
			t.Errorf("%q: %d", good, a.StatusCode)
		}
	}
	// Who closes in the middle of a request gets no answer that looks good.
	half := post("DeleteSecret", signed, `{"SecretId":"kept"}`)
	for _, n := range []int{1, 30, len(half) - 30, len(half) - 1} {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, half[:n])
		_ = c.(*net.TCPConn).CloseWrite()
		b, _ := io.ReadAll(c)
		c.Close()
		if bytes.HasPrefix(b, []byte("HTTP/1.1 2")) {
			t.Errorf("%d bytes of a request: %s", n, b)
		}
	}
	after := r.send(post("ListSecrets", signed, `{}`)).body
	if day := `"LastAccessedDate":`; strings.Count(after, "{") != strings.Count(before, "{") || strings.Contains(after, "DeletedDate") || !strings.Contains(after, day) {
		t.Errorf("something changed:\n%s\n%s", before, after)
	}
}

func TestHugeRequests(t *testing.T) {
	r := start(t, Config{}, nil)
	const tooLarge413 = `{"__type":"RequestEntityTooLargeException","message":"Request body exceeds the limit of 1048576 bytes."}`
	const hundred = 100 << 20
	head := func(headers string) string {
		return "POST / HTTP/1.1\r\nHost: localhost\r\n" + target + "CreateSecret\r\n" + signed + headers + "\r\n"
	}
	announced := head(fmt.Sprintf("Content-Length: %d\r\n", hundred))

	t.Run("not sent before it is refused", func(t *testing.T) {
		r.want(announced, 413, tooLarge413)
		r.want(head(fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n", hundred)), 413, tooLarge413)
		r.want(head("Content-Length: 9223372036854775807\r\n"), 413, tooLarge413)
	})
	t.Run("one byte too many, and the most there may be", func(t *testing.T) {
		r.want(post("GetSecretValue", signed, `{"SecretId":"`+strings.Repeat("x", maxBody-len(`{"SecretId":""}`)+1)+`"}`), 413, tooLarge413)
		a := r.send(post("GetSecretValue", signed, `{"SecretId":"nowhere","x":"`+strings.Repeat("x", maxBody-len(`{"SecretId":"nowhere","x":""}`))+`"}`))
		if a.StatusCode != 400 || !strings.Contains(a.body, "ResourceNotFoundException") {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	})
	for name, headers := range map[string]string{"announced": announced, "chunked": head("Transfer-Encoding: chunked\r\n")} {
		t.Run("100 MB "+name, func(t *testing.T) {
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			taken := make(chan int, 1)
			go func() {
				n, _ := io.WriteString(c, headers)
				block := bytes.Repeat([]byte("x"), 64<<10)
				if name == "chunked" {
					block = append(append([]byte("10000\r\n"), block...), "\r\n"...)
				}
				for n < hundred {
					k, err := c.Write(block)
					if n += k; err != nil {
						break
					}
				}
				taken <- n
			}()
			a, err := read(bufio.NewReader(c))
			if err != nil || a.StatusCode != 413 || a.body != tooLarge413 || !a.Close {
				t.Errorf("%v: %v", err, a)
			}
			c.Close()
			if n := <-taken; n >= hundred/2 {
				t.Errorf("the server took %d bytes", n)
			}
		})
	}
	t.Run("wrong in very many ways", func(t *testing.T) {
		a := r.send(post("TagResource", signed, `{"SecretId":"s","Tags":[`+strings.Repeat(`{},`, 300_000)+`{}]}`))
		if a.StatusCode != 400 || !strings.Contains(a.body, "'tags.1.member.key'") || len(a.body) > 64<<10 {
			t.Errorf("%d, %d bytes: %.200s", a.StatusCode, len(a.body), a.body)
		}
	})
	t.Run("headers", func(t *testing.T) {
		for _, headers := range []string{"X: " + strings.Repeat("x", 64<<10) + "\r\n", strings.Repeat("X: y\r\n", 20_000)} {
			if a := r.send(post("ListSecrets", signed+headers, `{}`)); a.StatusCode != 431 {
				t.Errorf("%d", a.StatusCode)
			}
		}
		if a := r.send(post("ListSecrets", signed+"X-Amz-Security-Token: "+strings.Repeat("x", 12<<10)+"\r\n", `{}`)); a.StatusCode != 200 {
			t.Errorf("a long session token: %d", a.StatusCode)
		}
	})
	t.Run("contradictions", func(t *testing.T) {
		for _, headers := range []string{"Content-Length: 2\r\nContent-Length: 3\r\n", "Content-Length: -1\r\n", "Content-Length: x\r\n", "Transfer-Encoding: gzip\r\n", "Expect: 200-ok\r\nContent-Length: 2\r\n"} {
			if a := r.send(head(headers) + "{}"); a.StatusCode < 400 {
				t.Errorf("%q: %d %s", headers, a.StatusCode, a.body)
			}
		}
	})
	if a := r.send(post("GetRandomPassword", signed+"Expect: 100-continue\r\n", `{}`)); a.StatusCode != 100 {
		t.Errorf("Expect: %d", a.StatusCode)
	}
	r.call("ListSecrets", `{}`)
}

// Hundreds of connections that send a byte now and then keep nobody waiting,
// and are cut off when their time is up.
func TestSlowClients(t *testing.T) {
	const slow, patience = 300, time.Second
	r := start(t, Config{}, func(s *Server) {
		s.http.ReadHeaderTimeout, s.http.ReadTimeout, s.http.IdleTimeout = patience, patience, patience
	})
	r.create("s")
	body := post("GetSecretValue", signed, `{"SecretId":"s"}`)
	begin := []string{"", "P", body[:40], body[:len(body)-8], "\r\n"}
	cut := make(chan time.Duration, slow)
	for i := range slow {
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, begin[i%len(begin)]); err != nil {
			t.Fatal(err)
		}
		go func() {
			opened := time.Now()
			_ = c.SetReadDeadline(opened.Add(20 * time.Second))
			for range 2 { // the header was late: silence; the body: an answer, then the end
				if _, err := io.Copy(io.Discard, c); err == nil {
					break
				}
			}
			cut <- time.Since(opened)
		}()
	}
	for range 20 {
		if at := time.Now(); r.call("GetSecretValue", `{"SecretId":"s"}`) != nil && time.Since(at) > 5*time.Second {
			t.Errorf("one waited %v", time.Since(at))
		}
	}
	for range slow {
		if d := <-cut; d > 15*time.Second {
			t.Fatalf("a slow client was kept for %v", d)
		}
	}
	r.want(post("GetSecretValue", signed, `{"SecretId":"nowhere"}`), 400, `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`)
}

func TestConnectionsAreCounted(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := limit(inner, 2)
	accepted := make(chan net.Conn)
	ended := make(chan error, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				ended <- err
				return
			}
			accepted <- c
		}
	}()
	for range 3 {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	first, second := <-accepted, <-accepted
	select {
	case <-accepted:
		t.Fatal("a third connection at once")
	case <-time.After(50 * time.Millisecond):
	}
	first.Close()
	first.Close() // frees only one place
	third := <-accepted
	if n := len(l.(*limited).slots); n != 2 {
		t.Errorf("%d places taken", n)
	}
	// Closing ends an Accept that waits for a place, and one that waits for a
	// connection.
	l.Close()
	if err := <-ended; err == nil {
		t.Error("accepted after Close")
	}
	if _, err := l.Accept(); err == nil {
		t.Error("accepted after Close")
	}
	second.Close()
	third.Close()
}
