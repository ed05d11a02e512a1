package server

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server/wire"
	"github.com/pawlhq/pawl/service"
)

// gate is an Authenticator that lets a test hold a request, or throw.
type gate struct {
	access.Dev
	entered chan struct{}
	leave   chan struct{}
	throw   any
}

func (g *gate) Authenticate(r *http.Request, body []byte) (access.Principal, error) {
	if g.throw != nil {
		panic(g.throw)
	}
	g.entered <- struct{}{}
	<-g.leave
	return g.Dev.Authenticate(r, body)
}

// held starts a server and a request that is under way in it.
func held(t *testing.T) (r *running, g *gate, c net.Conn) {
	t.Helper()
	g = &gate{entered: make(chan struct{}), leave: make(chan struct{})}
	r = start(t, Config{Auth: g}, nil)
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, post("GetRandomPassword", signed, `{}`)); err != nil {
		t.Fatal(err)
	}
	<-g.entered
	return r, g, c
}

func refusesConnections(addr string) bool {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return true
		}
		c.Close()
	}
	return false
}

func TestGracefulDrain(t *testing.T) {
	r, g, c := held(t)
	stopped := make(chan error, 1)
	go func() { stopped <- r.Shutdown(context.Background()) }()
	if !refusesConnections(r.addr) {
		t.Fatal("new connections are taken while it drains")
	}
	if err := <-r.done; err != nil {
		t.Errorf("Serve: %v", err)
	}
	r.done <- nil // for the harness
	select {
	case err := <-stopped:
		t.Fatalf("it did not wait for the request: %v", err)
	default:
	}
	close(g.leave)
	a, err := read(bufio.NewReader(c))
	if err != nil || a.StatusCode != 200 || !strings.Contains(a.body, "RandomPassword") || !a.Close {
		t.Errorf("the request under way: %v %v", err, a)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestDrainHasAnEnd(t *testing.T) {
	r, g, c := held(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	if _, err := read(bufio.NewReader(c)); err == nil {
		t.Error("an answer came over a connection that was cut")
	}
	close(g.leave)
}

func TestServeAfterShutdown(t *testing.T) {
	s := New(Config{Service: openService(t, nil), Auth: access.Dev{}})
	if err := s.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != nil {
		t.Errorf("Serve: %v", err)
	}
	s = New(Config{Service: openService(t, nil), Auth: access.Dev{}})
	l.Close()
	if err := s.Serve(l); err == nil {
		t.Error("no error from a listener that is closed")
	}
}

const internal500 = `{"__type":"InternalServiceError","Message":"An error occurred on the server side."}`

func TestPanics(t *testing.T) {
	for thrown, logged := range map[any]string{
		canary:                                  "panic=string",
		&secrets.Error{Err: errors.New(canary)}: "panic=*secrets.Error",
	} {
		r := start(t, Config{Auth: &gate{throw: thrown}}, nil)
		r.want(post("ListSecrets", signed, `{}`), 500, internal500)
		r.want(post("ListSecrets", signed, `{}`), 500, internal500) // still there
		if log := r.log.String(); !strings.Contains(log, logged) || !strings.Contains(log, "gate") || !strings.Contains(log, "status=500") {
			t.Errorf("the log lacks what, where or the answer: %s", log)
		}
	}
	var g *gate
	r := start(t, Config{Auth: g}, nil) // a nil pointer
	r.want(post("ListSecrets", signed, `{}`), 500, internal500)
	if log := r.log.String(); !strings.Contains(log, "nil pointer") {
		t.Errorf("the log does not say what happened: %s", log)
	}
}

// broken is a store that fails.
type broken struct {
	service.Store
	err error
}

func (b broken) Find(context.Context, secrets.ID) (*service.Secret, error) { return nil, b.err }

func TestWhatTheClientNeedNotKnow(t *testing.T) {
	for _, err := range []error{
		secrets.Errorf(secrets.Transient, "the database is busy").WithHint("wait"),
		secrets.Errorf(secrets.Invalid, "the file /var/lib/pawl.db is damaged"),
		errors.New("something"),
		&secrets.Error{Kind: secrets.Transient, Code: "InternalServiceError", Err: errors.New("detail")},
	} {
		r := start(t, Config{Service: openService(t, func(s service.Store) service.Store { return broken{s, err} })}, nil)
		r.want(post("DescribeSecret", signed, `{"SecretId":"team/s"}`), 500, internal500)
		log := r.log.String()
		if first, _, _ := strings.Cut(log, "\n"); !strings.Contains(first, "level=ERROR") || !strings.Contains(first, "team/s") || !strings.Contains(first, "DescribeSecret") || !strings.Contains(log, "status=500 code=InternalServiceError") {
			t.Errorf("the log: %s", log)
		}
	}
	// An exception's hint is for people at the command line.
	hint := secrets.Errorf(secrets.Invalid, "text").WithHint("hint")
	hint.Code, hint.Secret = "InvalidRequestException", "s"
	r := start(t, Config{Service: openService(t, func(s service.Store) service.Store { return broken{s, hint} })}, nil)
	r.want(post("DescribeSecret", signed, `{"SecretId":"s"}`), 400, `{"__type":"InvalidRequestException","Message":"text"}`)
}

func TestHealthIsSomebodyElses(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	r := start(t, Config{Health: mux}, nil)
	get := func(method, path string) answer {
		return r.send(method + " " + path + " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	}
	if a := get("GET", "/healthz"); a.StatusCode != 200 || a.body != "ok" {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := get("GET", "/elsewhere"); a.StatusCode != 404 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := get("POST", "/healthz"); a.StatusCode != 404 || a.body != `{"__type":"UnknownOperationException"}` {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	if a := get("GET", "/"); a.StatusCode != 405 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	r.call("ListSecrets", `{}`)
}

// Every operation of the table has types that the wire can carry, bounds that
// can be read, and AWS's names.
func TestTable(t *testing.T) {
	for name, o := range operations {
		if prefix, op, _ := strings.Cut(name, "."); o.name != op || o.action != prefix+":"+op {
			t.Errorf("%s: %s, %s", name, o.name, o.action)
		}
		for _, typ := range []reflect.Type{o.in, o.out} {
			if _, err := wire.Marshal(reflect.New(typ).Interface()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			members(t, typ, map[reflect.Type]bool{})
		}
		_ = service.Check(reflect.Zero(o.in).Interface(), nil) // panics at a tag it can't read
	}
	if len(operations) != 23+9 {
		t.Errorf("%d operations", len(operations))
	}
}

// members complains of Go's spelling where AWS's belongs.
func members(t *testing.T, typ reflect.Type, seen map[reflect.Type]bool) {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		members(t, typ.Elem(), seen)
	case reflect.Struct:
		if seen[typ] || !strings.HasSuffix(typ.PkgPath(), "/service") {
			return
		}
		seen[typ] = true
		for _, f := range reflect.VisibleFields(typ) {
			tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if tag == "" && !f.Anonymous && (strings.HasSuffix(f.Name, "ID") || strings.HasSuffix(f.Name, "IDs") || strings.Contains(f.Name, "KMS")) {
				t.Errorf("%s.%s goes over the wire under Go's name", typ, f.Name)
			}
			members(t, f.Type, seen)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := newRequestID()
		if !isUUID(id) || seen[id] {
			t.Fatal(id)
		}
		seen[id] = true
	}
}
