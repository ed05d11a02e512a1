package link

import (
	"io"
	"net"
	"strconv"
	"testing"
	"time"
)

// echo answers with what it hears, and hangs up when its client does.
func echo(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			}()
		}
	}()
	return l.Addr().String()
}

func dial(t *testing.T, g *Gate) *net.TCPConn {
	t.Helper()
	k, err := New(echo(t), func(net.Conn) *Gate { return g }, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(k.Port())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.TCPConn)
}

func say(t *testing.T, c net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
}

func hear(t *testing.T, c net.Conn, want string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Fatalf("heard %q, %v, want %q", got, err, want)
	}
}

func silent(t *testing.T, c net.Conn) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Fatal("something came")
	} else if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
		t.Fatal(err)
	}
}

func TestCutHoldsAndDelivers(t *testing.T) {
	g := &Gate{}
	c := dial(t, g)
	say(t, c, "before")
	hear(t, c, "before")
	g.Cut()
	say(t, c, "held")
	if err := c.CloseWrite(); err != nil { // held too
		t.Fatal(err)
	}
	silent(t, c)
	g.Heal()
	hear(t, c, "held")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("the end did not come: %d, %v", n, err)
	}
}

func TestSlow(t *testing.T) {
	g := &Gate{}
	c := dial(t, g)
	g.Slow(20 * time.Millisecond)
	began := time.Now()
	say(t, c, "x")
	hear(t, c, "x")
	if took := time.Since(began); took < 40*time.Millisecond {
		t.Errorf("there and back in %v", took)
	}
}

func TestWatch(t *testing.T) {
	g := &Gate{}
	c := dial(t, g)
	hold := make(chan struct{})
	g.Watch(func(fromClient bool, b []byte) bool {
		if fromClient && string(b) == "wait" {
			<-hold
		}
		return string(b) != "lost"
	})
	say(t, c, "wait")
	silent(t, c)
	close(hold)
	hear(t, c, "wait")
	say(t, c, "lost")
	silent(t, c)
	say(t, c, "after")
	hear(t, c, "after")
}
