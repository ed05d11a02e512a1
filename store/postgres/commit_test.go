package postgres

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// What a cutter does with what a client sends next.
const (
	passes int32 = iota
	losesRequest
	losesAnswer
)

// cutter stands between a store and its server, and cuts a connection when told to.
type cutter struct {
	next    atomic.Int32 // what is done with what is sent next, once
	refuses atomic.Bool  // whoever comes or says something now
}

// cut opens a store behind a cutter.
func cut(t *testing.T, l *lab, db string) (*Store, *cutter) {
	t.Helper()
	c := &cutter{}
	port := servertest.Proxy(t, func() *servers.Server { return l.Server }, c.serve)
	config := l.config(db)
	config.MaxConnections = 1 // whoever looks what became of a COMMIT needs no second one
	config.DSN = fmt.Sprintf("host=127.0.0.1 port=%d user=%s dbname=%s", port, runner, db)
	return openStore(t, config), c
}

func (c *cutter) serve(client, server net.Conn) {
	if c.refuses.Load() {
		return
	}
	var discard atomic.Bool
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		defer client.Close()
		buf := make([]byte, 64<<10)
		for {
			n, err := server.Read(buf)
			if err != nil || discard.Load() {
				return
			}
			if _, err := client.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if err != nil {
			if errors.Is(err, io.EOF) {
				server.Close()
			}
			return
		}
		what := c.next.Swap(passes)
		if what == losesRequest || what == passes && c.refuses.Load() {
			return
		}
		discard.Store(what == losesAnswer)
		if _, err := server.Write(buf[:n]); err != nil {
			return
		}
		if what == losesAnswer {
			<-answered // so the server has done it
			return
		}
	}
}

func describing(text string) func(*service.Secret) (service.Sealed, error) {
	return func(sec *service.Secret) (service.Sealed, error) {
		sec.Description = text
		return nil, nil
	}
}

func description(t *testing.T, s *Store, a secrets.ARN) string {
	t.Helper()
	sec, err := s.readSecret(t.Context(), placeOf(a))
	if errors.Is(err, service.ErrNotFound) {
		return "not there"
	}
	if err != nil {
		t.Fatal(err)
	}
	got, err := sec.decode()
	if err != nil {
		t.Fatal(err)
	}
	return got.Description
}

// A COMMIT that is not answered is found out about.
func TestUnansweredUpdate(t *testing.T) {
	l := at(t, servers.Postgres15)
	db := l.database(t)
	s, c := cut(t, l, db)
	if err := s.Create(t.Context(), &service.Secret{ARN: arn(0), Description: "first"}, nil); err != nil {
		t.Fatal(err)
	}
	runs := 0
	update := func(text string, then func()) error {
		if _, err := s.Update(t.Context(), arn(0), describing("warm")); err != nil { // statements are prepared now
			t.Fatal(err)
		}
		runs = 0
		_, err := s.Update(t.Context(), arn(0), func(sec *service.Secret) (service.Sealed, error) {
			runs++
			sec.Description = text
			then()
			return nil, nil
		})
		if runs != 1 {
			t.Errorf("change ran %d times", runs)
		}
		return err
	}
	t.Run("it was done", func(t *testing.T) {
		if err := update("kept", func() { c.next.Store(losesAnswer) }); err != nil {
			t.Error(err)
		}
		if got := description(t, s, arn(0)); got != "kept" {
			t.Errorf("the description is %q", got)
		}
	})
	t.Run("it was not", func(t *testing.T) {
		err := update("lost", func() { c.next.Store(losesRequest) })
		wantError(t, err, secrets.Transient, "broke the connection")
		if got := description(t, s, arn(0)); got != "warm" {
			t.Errorf("the description is %q", got)
		}
	})
	t.Run("the secret was removed", func(t *testing.T) {
		if err := s.Create(t.Context(), &service.Secret{ARN: arn(1)}, nil); err != nil {
			t.Fatal(err)
		}
		for i, what := range []int32{passes, losesAnswer} { // the first one has the statement prepared
			_, err := s.Update(t.Context(), arn(1-i), func(*service.Secret) (service.Sealed, error) {
				c.next.Store(what)
				return nil, service.ErrRemove
			})
			if err != nil {
				t.Error(err)
			}
		}
		if got := description(t, s, arn(0)); got != "not there" {
			t.Errorf("the description is %q", got)
		}
	})
	t.Run("nobody can say", func(t *testing.T) {
		if err := s.Create(t.Context(), &service.Secret{ARN: arn(0)}, nil); err != nil {
			t.Fatal(err)
		}
		s.lookTime = 300 * time.Millisecond
		err := update("kept after all", func() {
			c.refuses.Store(true)
			c.next.Store(losesAnswer)
		})
		wantError(t, err, secrets.Unknown, "nobody can say")
		c.refuses.Store(false)
		if got := description(t, s, arn(0)); got != "kept after all" {
			t.Errorf("the description is %q", got)
		}
	})
}

func TestWhatBecame(t *testing.T) {
	for _, c := range []struct {
		before, now int64
		mine        bool
		want        outcome
	}{
		{4, 5, true, kept},
		{4, 4, false, dropped},     // nothing was written since
		{4, 5, false, dropped},     // the next write was another's, of a row as it was before
		{4, 6, false, nobodyKnows}, // the first of two may have been this one
		{4, 9, false, nobodyKnows},
	} {
		if got := whatBecame(c.before, c.now, c.mine); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

// A connection that breaks before change has run has changed nothing, and another
// one is tried.
func TestUpdateBeginsAgain(t *testing.T) {
	l := at(t, servers.Postgres15)
	s, c := cut(t, l, l.database(t))
	if err := s.Create(t.Context(), &service.Secret{ARN: arn(0)}, nil); err != nil {
		t.Fatal(err)
	}
	for _, what := range []int32{losesRequest, losesAnswer} {
		if _, err := s.Update(t.Context(), arn(0), describing("warm")); err != nil {
			t.Fatal(err)
		}
		c.next.Store(what)
		runs := 0
		_, err := s.Update(t.Context(), arn(0), func(sec *service.Secret) (service.Sealed, error) {
			runs++
			sec.Description = fmt.Sprint(what)
			return nil, nil
		})
		if got := description(t, s, arn(0)); err != nil || runs != 1 || got != fmt.Sprint(what) {
			t.Errorf("after %d runs the description is %q, error %v", runs, got, err)
		}
	}
}

func TestUnansweredCreateAndRemove(t *testing.T) {
	l := at(t, servers.Postgres15)
	s, c := cut(t, l, l.database(t))
	sec := func(n int, suffix string) *service.Secret {
		a := arn(n)
		a.Suffix = suffix
		return &service.Secret{ARN: a, Versions: secrets.Versions{{ID: versionID(1)}}}
	}
	sealed := service.Sealed{versionID(1): {1}}
	if err := s.Create(t.Context(), sec(0, "AbC123"), sealed); err != nil {
		t.Fatal(err)
	}
	for i, what := range []int32{losesRequest, losesAnswer} {
		n := 10 + i
		c.next.Store(what)
		if err := s.Create(t.Context(), sec(n, "AbC123"), sealed); err != nil {
			t.Errorf("create %d: %v", n, err)
		}
		if v, err := s.readValue(t.Context(), arn(n), versionID(1)); err != nil || string(v) != "\x01" {
			t.Errorf("the value is %q, error %v", v, err)
		}
		c.next.Store(what)
		if err := s.Create(t.Context(), sec(n, "ZyX987"), sealed); !errors.Is(err, service.ErrExists) {
			t.Errorf("another one of the name: %v", err)
		}
		if err := s.Remove(t.Context(), arn(0)); i == 0 && err != nil || i > 0 && !errors.Is(err, service.ErrNotFound) {
			t.Error(err)
		}
		c.next.Store(what)
		if err := s.Remove(t.Context(), arn(n)); err != nil {
			t.Errorf("remove %d: %v", n, err)
		}
		if err := s.Remove(t.Context(), arn(n)); !errors.Is(err, service.ErrNotFound) {
			t.Errorf("remove %d twice: %v", n, err)
		}
		c.next.Store(what)
		if err := s.Keep(t.Context(), "x", []byte{byte(n)}); err != nil {
			t.Errorf("keep: %v", err)
		}
		if v, err := s.Remember(t.Context(), "x", nil); err != nil || string(v) != string([]byte{byte(n)}) {
			t.Errorf("kept is %q, error %v", v, err)
		}
	}
}

func TestUnansweredChangeOfSettings(t *testing.T) {
	l := at(t, servers.Postgres15)
	s, c := cut(t, l, l.database(t))
	if err := s.CreatePrincipal(t.Context(), &principals.Record{Account: "1", Name: "a"}); err != nil {
		t.Fatal(err)
	}
	tag := func(key string, then func()) error {
		_, err := s.ChangePrincipal(t.Context(), "1", "a", func(r *principals.Record) error {
			r.Tags = append(r.Tags, policy.Tag{Key: key})
			then()
			return nil
		})
		return err
	}
	tags := func() (keys string) {
		t.Helper()
		r, err := s.Principal(t.Context(), "1", "a")
		if err != nil {
			t.Fatal(err)
		}
		for _, t := range r.Tags {
			keys += t.Key
		}
		return keys
	}
	nothing := func() {}
	if err := tag("a", nothing); err != nil {
		t.Fatal(err)
	}
	if err := tag("b", func() { c.next.Store(losesAnswer) }); err != nil || tags() != "ab" {
		t.Errorf("the tags are %q, error %v", tags(), err)
	}
	if err := tag("c", nothing); err != nil {
		t.Fatal(err)
	}
	err := tag("d", func() { c.next.Store(losesRequest) })
	wantError(t, err, secrets.Transient)
	if tags() != "abc" {
		t.Errorf("the tags are %q", tags())
	}
}
