//go:build linux

package chaos_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// load is what clients do all the while, and what they remember of it.
type load struct {
	w   *world
	api *api

	reads, writes, unanswered, failures atomic.Int64

	mu        sync.Mutex
	seen      []read
	logins    map[string][]login // by secret
	asked     map[string]bool    // versions that RotateSecret was asked for
	histories []*history
	odd       []violation // what a client can see at once to be wrong
}

// How often clients do what they do.
const (
	loginEvery  = 400 * time.Millisecond // each of the applications
	readEvery   = 15 * time.Millisecond  // each of the readers
	lookEvery   = 80 * time.Millisecond  // each of those who write labels
	rotateEvery = 1500 * time.Millisecond
	readers     = 3
	// writersEach write the labels of one secret; after an era they turn to the
	// next, because one long history takes more than twice as long to check as two
	// short ones.
	writersEach = 3
	era         = 10 * time.Second
	labelled    = 2 // secrets at a time
)

func newLoad(w *world) *load {
	return &load{w: w, api: newAPI(w.replicas, w.key), logins: map[string][]login{}, asked: map[string]bool{}}
}

// run runs until ctx ends.
func (l *load) run(ctx context.Context) {
	var group sync.WaitGroup
	for _, u := range l.w.users {
		group.Go(func() { each(ctx, loginEvery, func() { l.logIn(ctx, u) }) })
	}
	for range readers {
		group.Go(func() {
			each(ctx, readEvery, func() { l.read(ctx, l.w.users[rand.IntN(len(l.w.users))].secret) })
		})
	}
	group.Go(func() { each(ctx, rotateEvery, func() { l.ask(ctx, l.w.users[rand.IntN(len(l.w.users))].secret) }) })
	for n := range labelled {
		group.Go(func() {
			for e := 0; ctx.Err() == nil; e++ {
				l.writeLabels(ctx, fmt.Sprintf("labels/%d/%d", n, e))
			}
		})
	}
	group.Wait()
}

// each does something again and again, at random times that are so long apart on
// average.
func each(ctx context.Context, every time.Duration, do func()) {
	for {
		select {
		case <-time.After(rand.N(2 * every)):
			do()
		case <-ctx.Done():
			return
		}
	}
}

// read gets a value from one replica; where there is no answer, from another.
func (l *load) read(ctx context.Context, secret string) (read, secrets.Value, bool) {
	for range len(l.w.replicas) {
		out, who, err := call[service.GetSecretValueOutput](ctx, l.api, l.api.choose(), "GetSecretValue", service.GetSecretValueInput{SecretID: secret})
		if err != nil {
			l.refused("GetSecretValue", secret, who, err)
			continue
		}
		r := read{secret, out.VersionID, who.process, who.start, who.end}
		l.reads.Add(1)
		l.mu.Lock()
		l.seen = append(l.seen, r)
		l.mu.Unlock()
		return r, out.Value, true
	}
	return read{}, secrets.Value{}, false
}

// refused notes an answer that nobody should get.
func (l *load) refused(operation, secret string, who answered, err error) {
	if secrets.KindOf(err) == secrets.Transient {
		l.unanswered.Add(1)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.odd = append(l.odd, violation{misbehaved, secret, who.start, fmt.Sprintf("process %d answers %s: %v", who.process, operation, err)})
}

// logIn is what an application does.
func (l *load) logIn(ctx context.Context, u user) {
	r, value, ok := l.read(ctx, u.secret)
	if !ok {
		return
	}
	c, err := secrets.ParseCredentials(value)
	if err == nil {
		err = l.w.target.Login(ctx, c)
	}
	switch {
	case ctx.Err() != nil:
		return
	case err != nil && !workload.Refused(err):
		l.failures.Add(1) // the target is never troubled; but machines are slow
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.logins[u.secret] = append(l.logins[u.secret], login{r, time.Now(), err != nil})
}

// ask has a secret rotated through the API.
func (l *load) ask(ctx context.Context, secret string) {
	id := token()
	l.mu.Lock()
	l.asked[id] = true
	l.mu.Unlock()
	_, who, err := call[service.RotateSecretOutput](ctx, l.api, l.api.choose(), "RotateSecret", service.RotateSecretInput{SecretID: secret, ClientRequestToken: id})
	if err != nil && secrets.CodeOf(err) != "InvalidRequestException" { // one is under way
		l.refused("RotateSecret", secret, who, err)
	}
}

// writeLabels makes a secret, and has several clients write and look at its labels
// for an era.
func (l *load) writeLabels(ctx context.Context, secret string) {
	first := token()
	for {
		_, err := l.w.svc.CreateSecret(ctx, service.CreateSecretInput{
			Name: secret, GivenValue: service.Give(secrets.Text("x")), ClientRequestToken: first,
		})
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		time.Sleep(100 * time.Millisecond) // the store is starting
	}
	h := &history{secret: secret, initial: places{current: first}}
	l.mu.Lock()
	l.histories = append(l.histories, h)
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, era)
	defer cancel()
	var group sync.WaitGroup
	var mu sync.Mutex // of h and known
	known := []string{first}
	for range writersEach {
		group.Go(func() {
			var last places
			each(ctx, lookEvery, func() {
				mu.Lock()
				a := draw(last, known)
				mu.Unlock()
				o, ok := l.write(ctx, secret, a)
				if !ok {
					return
				}
				if o.verb == describes && o.known {
					last = o.saw
				}
				mu.Lock()
				defer mu.Unlock()
				h.operations = append(h.operations, o)
				if o.verb == puts && o.known && !o.refused {
					known = append(known, o.to)
				}
			})
		})
	}
	group.Wait()
}

// draw is what a client does next who saw the labels there, and knows these
// versions.
func draw(saw places, known []string) asked {
	label := []string{secrets.Current, secrets.Current, blue, green}[rand.IntN(4)]
	switch n := rand.IntN(10); {
	case n < 6:
		return asked{verb: describes}
	case n < 8:
		return asked{verb: puts, label: label, to: token()}
	default:
		return asked{moves, label, known[rand.IntN(len(known))], saw.of(label)}
	}
}

// write does one thing at one replica, and at no other: what had no answer may
// have been done. ok is false for what was not sent.
func (l *load) write(ctx context.Context, secret string, a asked) (operation, bool) {
	// The context's end must not leave it open what became of it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	r := l.api.choose()
	if endpoint, _ := r.at(); endpoint == "" {
		return operation{}, false
	}
	o := operation{asked: a}
	var who answered
	var err error
	switch a.verb {
	case describes:
		var out *service.DescribeSecretOutput
		if out, who, err = call[service.DescribeSecretOutput](ctx, l.api, r, "DescribeSecret", service.DescribeSecretInput{SecretID: secret}); err == nil {
			l.reads.Add(1)
			o.saw, err = placesIn(out.VersionIDsToStages)
		}
	case puts:
		_, who, err = call[service.PutSecretValueOutput](ctx, l.api, r, "PutSecretValue", service.PutSecretValueInput{
			SecretID: secret, ClientRequestToken: a.to, GivenValue: service.Give(secrets.Text("x")), VersionStages: []string{a.label},
		})
	case moves:
		_, who, err = call[service.UpdateSecretVersionStageOutput](ctx, l.api, r, "UpdateSecretVersionStage", service.UpdateSecretVersionStageInput{
			SecretID: secret, VersionStage: a.label, MoveToVersionID: a.to, RemoveFromVersionID: a.from,
		})
	}
	o.process, o.start, o.end = who.process, who.start, who.end
	switch code := secrets.CodeOf(err); {
	case err == nil:
		o.known = true
	case a.verb == puts && code == "LimitExceededException", a.verb == moves && code == "InvalidParameterException":
		o.known, o.refused = true, true
	default:
		l.refused(string(a.verb), secret, who, err)
	}
	if a.verb != describes && o.known {
		l.writes.Add(1)
	}
	return o, true
}
