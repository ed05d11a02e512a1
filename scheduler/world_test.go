package scheduler

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/strategies"
)

// open is a Sealer that does not seal.
type open struct{}

func (open) Check(context.Context, string, string) error { return nil }
func (open) Seal(_ context.Context, _, _, _ string, v secrets.Value) ([]byte, error) {
	return v.Reveal(), nil
}
func (open) Open(_ context.Context, _, _ string, b []byte) (secrets.Value, error) {
	return secrets.Text(string(b)), nil
}

// servers are the database servers of a test, by host name.
type servers struct {
	mu        sync.Mutex
	passwords map[string]string // by user
	now, most map[string]int    // runs at a host, "" = at all
	contacts  map[string]int    // runs that reached a host
	sets      map[string]int    // passwords set, by user
	// at, where set for a host, is called in each step there.
	at map[string]func(ctx context.Context, secret, step string) error
}

func newServers() *servers {
	return &servers{
		passwords: map[string]string{}, now: map[string]int{}, most: map[string]int{},
		contacts: map[string]int{}, sets: map[string]int{},
		at: map[string]func(context.Context, string, string) error{},
	}
}

func (s *servers) script(host string, f func(ctx context.Context, secret, step string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at[host] = f
}

func (s *servers) get(m map[string]int, key string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return m[key]
}

// down is a script for a server that refuses connections.
func down(_ context.Context, _, _ string) error {
	return secrets.Errorf(secrets.Transient, "connection refused")
}

// frozen is a script for a server that accepts and never answers.
func frozen(thaw <-chan struct{}, entered chan<- string) func(context.Context, string, string) error {
	return func(ctx context.Context, secret, _ string) error {
		entered <- secret
		select {
		case <-thaw:
			return nil
		case <-ctx.Done():
			return secrets.Errorf(secrets.Transient, "no answer: %w", ctx.Err())
		}
	}
}

// steps is a rotator.Steps at these servers.
type steps struct {
	s    *servers
	host string // where this run is; "" = nowhere yet
}

func (p *steps) step(ctx context.Context, j *strategies.Job, step string) (cur, pend secrets.Credentials, err error) {
	if cur, err = secrets.ParseCredentials(j.Current); err != nil {
		return
	}
	if !j.Pending.IsZero() {
		if pend, err = secrets.ParseCredentials(j.Pending); err != nil {
			return
		}
	}
	p.s.mu.Lock()
	if p.host == "" {
		p.host = cur.Host()
		p.s.contacts[p.host]++
		for _, h := range []string{p.host, ""} {
			p.s.now[h]++
			p.s.most[h] = max(p.s.most[h], p.s.now[h])
		}
	}
	at := p.s.at[p.host]
	p.s.mu.Unlock()
	if at != nil {
		err = secrets.At(at(ctx, j.ARN.Name, step), "", "", p.host+":5432")
	}
	return
}

func (p *steps) Close() {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.host != "" {
		p.s.now[p.host]--
		p.s.now[""]--
	}
}

func (p *steps) accepts(c secrets.Credentials) bool {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.s.passwords[c.Username()] == c.Password().Reveal()
}

func (p *steps) set(c secrets.Credentials) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.s.passwords[c.Username()] = c.Password().Reveal()
	p.s.sets[c.Username()]++
}

func refused(host string) error {
	e := secrets.Errorf(secrets.Denied, "password refused")
	e.Server = host + ":5432"
	return e
}

func (p *steps) Check(ctx context.Context, j *strategies.Job) error {
	cur, _, err := p.step(ctx, j, "check")
	if err == nil && !p.accepts(cur) {
		err = refused(p.host)
	}
	return err
}

func (p *steps) Create(_ context.Context, j *strategies.Job) (secrets.Value, error) {
	cur, err := secrets.ParseCredentials(j.Current)
	if err != nil {
		return secrets.Value{}, err
	}
	return cur.With("password", cur.Password().Reveal()+"+").Value(), nil
}

func (p *steps) Adapt(j *strategies.Job) (secrets.Value, error) { return j.Pending, nil }

func (p *steps) Probe(ctx context.Context, j *strategies.Job) (bool, error) {
	_, pend, err := p.step(ctx, j, "probe")
	return err == nil && p.accepts(pend), err
}

func (p *steps) Set(ctx context.Context, j *strategies.Job) error {
	_, pend, err := p.step(ctx, j, "set")
	if err == nil {
		err = j.Confirm(ctx)
	}
	if err == nil {
		p.set(pend)
	}
	return err
}

func (p *steps) Test(ctx context.Context, j *strategies.Job) error {
	_, pend, err := p.step(ctx, j, "test")
	if err == nil && !p.accepts(pend) {
		err = refused(p.host)
	}
	return err
}

func (p *steps) Restore(ctx context.Context, j *strategies.Job) error {
	cur, _, err := p.step(ctx, j, "restore")
	if err == nil {
		err = j.Confirm(ctx)
	}
	if err == nil {
		p.set(cur)
	}
	return err
}

func (p *steps) Holds(*strategies.Job) bool                    { return false }
func (p *steps) TestTimeout(login time.Duration) time.Duration { return login }

// testClock is a fake clock that clockwork does not know for one, so that
// contexts with a time-out are the standard library's.
type testClock struct{ *clockwork.FakeClock }

// world is a service over a store, servers, and a scheduler between them.
type world struct {
	t       *testing.T
	clock   testClock
	store   *memory
	svc     *service.Service
	servers *servers
	runner  *Runner
	sched   *Scheduler
	done    chan Done
	log     *bytes.Buffer // read it when nothing runs
	names   []string
	arns    map[string]secrets.ARN

	abandoned string // a version
}

// midnight is when the world begins. Rotations are due from 04:00 on: with a
// window of four hours all have their turn by 05:00.
var midnight = time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC)

func newWorld(t *testing.T, workers, perTarget int) *world {
	m := newMemory()
	w := worldOn(t, m, open{}, workers, perTarget)
	w.store = m
	return w
}

func worldOn(t *testing.T, store service.Store, sealer service.Sealer, workers, perTarget int) *world {
	w := &world{
		t: t, clock: testClock{clockwork.NewFakeClockAt(midnight)}, servers: newServers(),
		done: make(chan Done, 20_000), log: &bytes.Buffer{}, arns: map[string]secrets.ARN{},
	}
	w.svc = service.New(service.Config{Store: store, Sealer: sealer, Now: w.clock.Now})
	rot := &rotator.Rotator{Clock: w.clock, Steps: func(secrets.RotationRules) rotator.Steps { return &steps{s: w.servers} }}
	w.runner = &Runner{
		Plan: FromService(w.svc), Rotator: rot, Random: func() float64 { return 0.5 },
		Log: slog.New(slog.NewTextHandler(&locked{w: w.log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	w.sched = New(Config{Runner: w.runner, Workers: workers, PerTarget: perTarget, OnDone: func(d Done) { w.done <- d }})
	return w
}

type locked struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

var fourHours = secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: "rate(4 hours)", Window: "4h"}

// add makes secrets that rotate at the host, declared by rules.
func (w *world) add(rules secrets.RotationRules, host string, names ...string) {
	w.t.Helper()
	w.declare(rules, names...)
	w.create(host, names...)
}

// create makes secrets that rotate at the host.
func (w *world) create(host string, names ...string) {
	w.t.Helper()
	for _, name := range names {
		first := name + "-first-password"
		c := secrets.NewCredentials("engine", "fake", "host", host, "username", name, "password", first)
		w.servers.mu.Lock()
		w.servers.passwords[name] = first
		w.servers.mu.Unlock()
		out, err := w.svc.CreateSecret(w.t.Context(), service.CreateSecretInput{
			Name: name, ClientRequestToken: fmt.Sprintf("%032d", len(w.arns)), GivenValue: service.Give(c.Value()),
		})
		if err != nil {
			w.t.Fatal(err)
		}
		id, err := secrets.ParseID(out.ARN)
		if err != nil {
			w.t.Fatal(err)
		}
		w.arns[name] = id.ARN
	}
}

// declare keeps the declarations there are, and adds these.
func (w *world) declare(rules secrets.RotationRules, names ...string) {
	w.t.Helper()
	w.names = append(w.names, names...)
	var ds []service.Declaration
	for _, n := range w.names {
		ds = append(ds, service.Declaration{Name: n, Rules: rules, Source: "file pawl.yaml:1"})
	}
	if _, err := w.svc.Declare(w.t.Context(), ds); err != nil {
		w.t.Fatal(err)
	}
}

func numbered(prefix string, n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprintf("%s%05d", prefix, i))
	}
	return names
}

// at sets the clock to an hour of the first day.
func (w *world) at(hour float64) {
	w.t.Helper()
	d := midnight.Add(time.Duration(hour * float64(time.Hour))).Sub(w.clock.Now())
	if d < 0 {
		w.t.Fatal("the clock does not go back")
	}
	w.clock.Advance(d)
}

// open lets the workers work, without triggers.
func (w *world) open() {
	ctx, cancel := context.WithCancel(w.t.Context())
	w.sched.open(ctx)
	w.t.Cleanup(func() {
		drained := w.sched.pool.close()
		cancel()
		<-drained
	})
}

// settle waits until no worker is left.
func (w *world) settle() {
	w.t.Helper()
	p := w.sched.pool
	p.mu.Lock()
	idle := p.idle()
	p.mu.Unlock()
	receive(w.t, idle)
}

// finish scans as often as the pool asks for it, and never else, until n runs
// have ended well.
func (w *world) finish(n int) {
	w.t.Helper()
	timeout := time.After(2 * time.Minute)
	for n > 0 {
		select {
		case d := <-w.done:
			if d.Err != nil || d.Result.Outcome != rotator.Rotated {
				w.t.Fatalf("%s: %q, %v", d.Secret.Name, d.Result.Outcome, d.Err)
			}
			n--
		case <-w.sched.wake:
			w.scan()
		case <-timeout:
			w.t.Fatalf("%d left", n)
		}
	}
	w.settle()
}

// rotations waits for n ends of runs.
func (w *world) rotations(n int) (ds []Done) {
	w.t.Helper()
	timeout := time.After(time.Minute)
	for len(ds) < n {
		select {
		case d := <-w.done:
			ds = append(ds, d)
		case <-timeout:
			w.t.Fatalf("%d of %d runs ended", len(ds), n)
		}
	}
	return ds
}

// succeed waits for n ends of runs and wants all to be good.
func (w *world) succeed(n int) {
	w.t.Helper()
	for _, d := range w.rotations(n) {
		if d.Err != nil || d.Result.Outcome != rotator.Rotated {
			w.t.Fatalf("%s: %q, %v", d.Secret.Name, d.Result.Outcome, d.Err)
		}
	}
}

// idle wants that no run ended unheard of and none is under way.
func (w *world) idle() {
	w.t.Helper()
	if names := w.sched.pool.names(); len(names) > 0 {
		w.t.Fatalf("still running: %v", names)
	}
	select {
	case d := <-w.done:
		w.t.Fatalf("an unexpected run of %s: %q, %v", d.Secret.Name, d.Result.Outcome, d.Err)
	default:
	}
}

func (w *world) scan() { w.sched.Scan(w.t.Context()) }

// state returns what the store has of a secret.
func (w *world) state(name string) *service.Secret {
	w.t.Helper()
	s, err := w.store.Find(w.t.Context(), secrets.ID{ARN: w.arns[name]})
	if err != nil {
		w.t.Fatal(err)
	}
	return s
}

// serves wants the server to accept what AWSCURRENT holds.
func (w *world) serves(name string) {
	w.t.Helper()
	c, _, err := w.svc.Credentials(w.t.Context(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	if !(&steps{s: w.servers}).accepts(c) {
		w.t.Errorf("%s: the server does not accept AWSCURRENT", name)
	}
}

// receive waits for one value.
func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(time.Minute):
		t.Fatal("nothing came in a minute")
		panic("unreachable")
	}
}

var errBoom = errors.New("boom")
