package lambda

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/scheduler"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/aws"
)

// atATime is how many secrets of a schedule rotate at a time.
const atATime = scheduler.DefaultPerTarget

// onePatience is how long one secret of a schedule is tried before the next one
// gets its turn.
const onePatience = time.Minute

func (e whole) about() []any     { return []any{"secret", e.secret} }
func (e whole) late(*work) error { return outOfTime(e.secret, "", invokeAgain) }

// do rotates the secret until it is done or the time is over.
func (e whole) do(ctx context.Context, w *work) (any, error) {
	r := w.runner(&one{})
	r.Notify = func(_ string, err error, wait time.Duration) { w.again(w.log, err, wait) }
	res, err := r.UntilDone(ctx, e.secret, w.options(w.log))
	if err != nil {
		return nil, resumable(ctx, secrets.At(err, e.secret, "", ""), invokeAgain)
	}
	s := &summary{}
	s.done(e.secret, res)
	return s.answer(), nil
}

func (w *work) again(log *slog.Logger, err error, wait time.Duration) {
	log.Warn("failed; trying again", "error", secrets.OneLine(err, maxText), "wait", wait.Round(time.Millisecond).String())
}

func (due) about() []any { return nil }

func (e due) late(*work) error {
	e.summary.cut()
	if err := e.summary.failure(); err != nil {
		return err
	}
	return outOfTime("", "", invokeAgain) // it was still listing
}

// do rotates what is due: what is unfinished first, then the oldest.
func (e due) do(ctx context.Context, w *work) (any, error) {
	found, err := w.due(ctx)
	if err != nil {
		return nil, err
	}
	w.log.Info("due", "secrets", len(found))
	s := e.summary
	s.expect(found)
	queue := make(chan service.Due)
	var workers sync.WaitGroup
	for range min(atATime, len(found)) {
		workers.Go(func() {
			for d := range queue {
				w.one(ctx, s, d)
			}
		})
	}
	for _, d := range found {
		select {
		case queue <- d:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(queue)
	workers.Wait()
	if left := s.leave(); left > 0 {
		w.log.Warn("the invocation's time was not enough for all that is due", "left", left)
	}
	return s.answer(), s.failure()
}

// due lists afresh what is due. A listing that was made before the process was
// frozen says nothing of now.
func (w *work) due(ctx context.Context) ([]service.Due, error) {
	now := w.h.Rotator.Clock.Now()
	var found []service.Due
	err := w.h.Store.Plan(ctx, time.Time{}, func(r service.RotationStatus) error {
		switch {
		case r.Paused:
		case r.Problem != "":
			w.log.Warn("left alone: "+r.Problem, "secret", r.Name)
		case !r.At.IsZero() && !r.At.After(now):
			found = append(found, service.Due{ARN: r.ARN, Unfinished: r.Unfinished, At: r.At, Window: r.Window})
		case r.Window.Contains(now) && !r.Attempt.NextTry.After(now):
			// At is put off within the window so that not all come at once. Whoever
			// is invoked once an hour may see the window's first half alone.
			found = append(found, service.Due{ARN: r.ARN, At: r.Window.Open, Window: r.Window})
		}
		return nil
	})
	slices.SortStableFunc(found, func(a, b service.Due) int {
		if a.Unfinished != b.Unfinished {
			if a.Unfinished {
				return -1
			}
			return 1
		}
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ARN.Name, b.ARN.Name))
	})
	return found, err
}

// one rotates one of the secrets that are due.
func (w *work) one(ctx context.Context, s *summary, d service.Due) {
	if ctx.Err() != nil {
		return // it stays where it is: not begun
	}
	name := d.ARN.Name
	log := w.log.With("secret", name)
	s.begin(name)
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(w.h.patience, onePatience))
	defer cancel()
	this := one{isDown: s.isDown}
	var hopeless error
	r := w.runner(&this)
	// A server that does not answer two secrets' rotations won't answer the
	// others': nobody waits for it any more.
	r.Notify = func(_ string, err error, wait time.Duration) {
		w.again(log, err, wait)
		if s.down(name, err) {
			hopeless = err
			cancel()
		}
	}
	answer, err := w.safely(func() (any, error) { return r.DueUntilDone(ctx, d, w.options(log)) })
	if err == nil {
		res := answer.(rotator.Result)
		log.Info(string(res.Outcome), "version", res.Version)
		s.done(name, res)
		return
	}
	kind := secrets.KindOf(err)
	if kind == secrets.Transient || kind == secrets.Unknown {
		s.down(name, err)
	}
	if hopeless != nil && kind == secrets.KindOf(hopeless) {
		err = hopeless // without what the waiting added
	}
	err = secrets.At(err, name, "", "")
	log.Error(secrets.OneLine(err, maxText), "errorType", typeOf(kind))
	s.failed(name, err, this.attempt.NextTry)
}

// one is what is known of one secret's rotation besides what the store knows.
type one struct {
	attempt secrets.Attempt        // the last record of a failure
	isDown  func(addr string) bool // nil = no server is known to be down
}

// runner runs whole rotations, by the operator's rules.
func (w *work) runner(o *one) *scheduler.Runner {
	return &scheduler.Runner{Plan: plan{Store: w.h.Store, h: w.h, one: o}, Rotator: w.rotator(), Log: w.log}
}

// plan is the store as the scheduler's.
type plan struct {
	*aws.Store
	h   *Handler
	one *one
}

// Claim claims a secret.
func (p plan) Claim(ctx context.Context, id string) (scheduler.Claim, error) {
	c, err := p.Store.Claim(ctx, id)
	if err != nil {
		return nil, err // not c: a nil *aws.Claim is no nil Claim
	}
	return ruled{Claim: c, p: p}, nil
}

// ruled is a claim under the operator's rules.
type ruled struct {
	*aws.Claim
	p plan
}

// Rotation returns the claim's, under the operator's rules.
func (c ruled) Rotation() secrets.Rotation {
	r := c.Claim.Rotation()
	r.Rules = c.p.h.rules(r.Rules)
	return r
}

// Save remembers the record, too.
func (c ruled) Save(ctx context.Context, a secrets.Attempt) error {
	c.p.one.attempt = a
	return c.Claim.Save(ctx, a)
}

// Value reads a value. It is Transient for one of a server that is down: before
// it is read nobody knows where the secret's user is.
func (c ruled) Value(ctx context.Context, versionID string) (secrets.Value, error) {
	v, err := c.Claim.Value(ctx, versionID)
	if err != nil || c.p.one.isDown == nil {
		return v, err
	}
	at := c.Rotation().Rules.AdminHost
	if creds, perr := secrets.ParseCredentials(v); perr == nil && at == "" {
		at = creds.Server(c.p.h.DefaultPort(cmp.Or(c.Rotation().Rules.Engine, creds.Engine())))
	}
	if at != "" && c.p.one.isDown(at) {
		e := secrets.Errorf(secrets.Transient, "the server did not answer the rotations of other secrets; this one was not tried").
			WithHint("look at the errors of those")
		return secrets.Value{}, secrets.At(e, "", "", at)
	}
	return v, nil
}

// server is where an error happened, "" for nowhere in particular.
func server(err error) string {
	var e *secrets.Error
	if errors.As(err, &e) {
		return e.Server
	}
	return ""
}
