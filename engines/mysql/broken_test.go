package mysql

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
)

// startProxy stands between a session and its server and, when the client sends
// a statement that changes a password, lets on do something to it instead.
func startProxy(t *testing.T, r *rig, on func(client, server net.Conn, packet []byte)) engines.Endpoint {
	t.Helper()
	at := r.endpoint()
	at.Port = servertest.Proxy(t, func() *servers.Server { return r.Server }, func(client, server net.Conn) {
		go io.Copy(client, server)
		buffer := make([]byte, 64<<10)
		for {
			n, err := client.Read(buffer)
			if err != nil {
				return
			}
			packet := buffer[:n]
			if bytes.Contains(packet, []byte("ALTER USER")) || bytes.Contains(packet, []byte("SET PASSWORD")) {
				on(client, server, packet)
				continue
			}
			if _, err := server.Write(packet); err != nil {
				return
			}
		}
	})
	return at
}

// Whatever breaks after the change was sent leaves it unknown whether it was
// made: both outcomes happen here.
func TestBrokenConnection(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for _, c := range []struct {
			name    string
			on      func(client, server net.Conn, packet []byte)
			limit   time.Duration
			applied bool
		}{
			{"the answer is lost", func(client, server net.Conn, packet []byte) {
				client.Close() // first, so that the answer cannot slip through
				server.Write(packet)
			}, time.Minute, true},
			{"the statement is lost", func(client, server net.Conn, packet []byte) { client.Close() }, time.Minute, false},
			{"the answer never comes", func(client, server net.Conn, packet []byte) {}, engines.SendMargin + 300*time.Millisecond, false},
		} {
			for _, self := range []bool{false, true} {
				user := fresh("cut")
				r.user(t, user, "%", "", "first-1")
				as := engines.Login{Username: r.Admin, Password: secrets.NewPassword(r.AdminPassword)}
				if self {
					as = engines.Login{Username: user, Password: secrets.NewPassword("first-1")}
				}
				ctx, cancel := context.WithTimeout(t.Context(), c.limit)
				s, err := r.engine.Dial(ctx, startProxy(t, r, c.on), as)
				if err != nil {
					t.Fatal(err)
				}
				change := change(user, "second-2")
				change.Self = self
				want(t, s.SetPassword(ctx, change), secrets.Unknown, "after the change was sent")
				cancel()
				s.Close()
				password := "first-1"
				if c.applied {
					password = "second-2"
				}
				within(t, 20*time.Second, c.name, func() bool { return r.login(t, user, password) == nil })
			}
		}
	})
}

// Nothing is sent when the caller's time is about to end, or has ended.
func TestTooLate(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		user := fresh("late")
		r.user(t, user, "%", "", "first-1")
		at := startProxy(t, r, func(client, server net.Conn, packet []byte) { t.Error("something was sent") })
		s, err := r.engine.Dial(t.Context(), at, engines.Login{Username: r.Admin, Password: secrets.NewPassword(r.AdminPassword)})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		ctx, cancel := context.WithTimeout(t.Context(), engines.SendMargin*9/10)
		defer cancel()
		want(t, s.SetPassword(ctx, change(user, "second-2")), secrets.Transient, "too little time")
		cancel()
		want(t, s.SetPassword(ctx, change(user, "second-2")), secrets.Transient)
		_, err = s.(engines.Cloner).SyncClone(ctx, engines.Clone{Original: user, Clone: user + "_clone"})
		want(t, err, secrets.Transient)
		r.mustLogin(t, user, "first-1")
	})
}

// Each change is confirmed right before it is sent; where that is refused nothing
// is sent, and the error is not the server's.
func TestConfirm(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		user := fresh("claimed")
		r.user(t, user, "%", "", "first-1")
		c := engines.Clone{Original: user, Clone: user + "_clone"}
		asked, lost := 0, error(secrets.Errorf(secrets.Conflict, "the claim was lost"))
		confirm := func(context.Context) error { asked++; return lost }
		change := change(user, "second-2")
		change.Confirm, c.Confirm = confirm, confirm
		s := r.root(t)
		refused := func(err error) {
			t.Helper()
			if err != lost || asked != 1 {
				t.Errorf("error %v, asked %d times", err, asked)
			}
			asked = 0
		}
		refused(s.SetPassword(t.Context(), change))
		_, err := s.SyncClone(t.Context(), c)
		refused(err)
		if state, err := s.FindClone(t.Context(), c); err != nil || state != engines.CloneAbsent {
			t.Errorf("the clone is %v, error %v", state, err)
		}
		r.mustLogin(t, user, "first-1")
		lost = nil
		if _, err := s.SyncClone(t.Context(), c); err != nil || asked == 0 {
			t.Fatalf("error %v, asked %d times", err, asked)
		}
		asked = 0
		if _, err := s.SyncClone(t.Context(), c); err != nil || asked != 0 {
			t.Errorf("nothing differs: error %v, asked %d times", err, asked)
		}
		lost = secrets.Errorf(secrets.Conflict, "the claim was lost")
		refused(s.LockClone(t.Context(), c))
		lost = nil
		if err := s.SetPassword(t.Context(), change); err != nil || asked != 1 {
			t.Errorf("error %v, asked %d times", err, asked)
		}
		r.mustLogin(t, user, "second-2")
	})
}
