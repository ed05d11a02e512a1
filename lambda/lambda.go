// Package lambda is Pawl as an AWS Lambda function. It takes the event by which
// AWS Secrets Manager has a rotation function do one step, an event that names a
// secret to rotate as a whole, and those of a schedule, which have all that is
// due rotated. The steps are the rotator's, the same as everywhere.
package lambda

import (
	"context"
	"encoding/json"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/aws/aws-lambda-go/lambdacontext"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/aws"
)

// Config is what a Handler is made of. Store and Rotator are required.
type Config struct {
	// Store has Rules as its Defaults and discovers secrets by their tags.
	Store   *aws.Store
	Rotator *rotator.Rotator
	// Rules are the operator's. Strategy and Superuser, where he says them, hold
	// against the secret's own tags; an empty Strategy leaves it to the tag
	// pawl:strategy, and without one it is single-user.
	Rules secrets.RotationRules
	// DefaultPort is the port of a kind of server, for secrets without one; nil =
	// not known.
	DefaultPort func(engine string) int
	Log         *slog.Logger // nil = slog.Default()
	// Reserve is how long before the invocation's end no password begins to be
	// set any more; 0 = 10 s, or a third of the time there is if that is less.
	Reserve time.Duration
}

// Handler handles invocations.
type Handler struct {
	Config
	// patience is how long one secret of a schedule is tried; 0 = a minute.
	patience time.Duration
}

// New makes a Handler.
func New(c Config) *Handler {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.DefaultPort == nil {
		c.DefaultPort = func(string) int { return 0 }
	}
	return &Handler{Config: c}
}

// Handle handles one invocation; its context ends when the invocation's time
// does. The answer to a step is null, to anything else a Summary.
//
// An error is always a messages.InvokeResponse_Error. Its Type is ValueError for
// an event that is refused, else the name of an error's kind: Transient, Unknown,
// Denied, Invalid, Conflict. It never has a secret value in it. One that says
// ShouldExit has the process end: something did not stop in time, and must not go
// on in the background of another invocation.
func (h *Handler) Handle(ctx context.Context, event json.RawMessage) (any, error) {
	log := h.Log.With(ids(ctx)...)
	asked, err := read(event)
	if err != nil {
		return nil, h.failed(log, err)
	}
	return h.do(ctx, log, asked)
}

// do does what is asked for, within the invocation's time.
func (h *Handler) do(ctx context.Context, log *slog.Logger, asked event) (any, error) {
	t := h.times(ctx)
	ctx, cancel := t.bound(ctx)
	defer cancel()
	w := &work{h: h, log: log.With(asked.about()...), times: t}

	type end struct {
		answer any
		err    error
	}
	done := make(chan end, 1)
	go func() {
		answer, err := w.safely(func() (any, error) { return asked.do(ctx, w) })
		done <- end{answer, err}
	}()
	select {
	case e := <-done:
		if e.err != nil {
			return nil, h.failed(w.log, e.err)
		}
		return e.answer, nil
	case <-t.late:
		f := failure(asked.late(w))
		f.ShouldExit = true
		return nil, h.failed(w.log, f)
	}
}

// failed logs an error and makes it Lambda's.
func (h *Handler) failed(log *slog.Logger, err error) error {
	f := failure(err)
	log.Error(f.Message, "errorType", f.Type)
	return f
}

// work is one invocation.
type work struct {
	h       *Handler
	log     *slog.Logger
	times   times
	stepped bool // it does one step, which log names
}

// safely calls f; a panic becomes an error that shows no value.
func (w *work) safely(f func() (any, error)) (answer any, err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		text := secrets.Thrown(p)
		w.log.Error("panic", "panic", text, "stack", string(debug.Stack()))
		answer, err = nil, secrets.Errorf(secrets.Unknown, "a bug stopped the invocation: panic: %s", text).
			WithHint("the labels keep where the rotation is; please report it with the stack in the log")
	}()
	return f()
}

// options has what happens in a run logged.
func (w *work) options(log *slog.Logger) rotator.Options {
	return rotator.Options{Report: func(e rotator.Event) {
		log := log
		if !w.stepped {
			log = log.With("step", e.Step)
			if e.Version != "" {
				log = log.With("version", e.Version)
			}
		}
		switch {
		case e.Note != "":
			log.Info(e.Note)
		case e.Done:
			log.Info("step done", "took", e.Took.Round(time.Millisecond).String())
		default:
			log.Debug("step begun")
		}
	}}
}

// rotator is the Rotator with time-outs that suit the time there is.
func (w *work) rotator() *rotator.Rotator {
	r := *w.h.Rotator
	if s := w.times.step; s > 0 && (r.StepTimeout == 0 || s < r.StepTimeout) {
		r.StepTimeout = s
	}
	return &r
}

// ids says which invocation this is, for the log.
func ids(ctx context.Context) (attrs []any) {
	if lc, ok := lambdacontext.FromContext(ctx); ok {
		attrs = append(attrs, "requestId", lc.AwsRequestID)
	}
	// The key is aws-lambda-go's.
	if trace, _ := ctx.Value("x-amzn-trace-id").(string); trace != "" {
		attrs = append(attrs, "traceId", trace)
	}
	return attrs
}

// times are an invocation's.
type times struct {
	stop time.Time        // when nothing is begun any more; zero = no end
	step time.Duration    // how long one step may take; 0 = as long as ever
	late <-chan time.Time // when it is time to answer, whatever is under way; nil = never
}

const (
	mostReserve = 10 * time.Second
	mostMargin  = time.Second     // for the last word: an answer that comes too late is none
	leastStep   = 3 * time.Second // engines send no change in a step's last second
)

func (h *Handler) times(ctx context.Context) times {
	end, ok := ctx.Deadline()
	if !ok {
		return times{}
	}
	left := max(time.Until(end), 0)
	reserve := h.Reserve
	if reserve == 0 {
		reserve = min(mostReserve, left/3)
	}
	return times{
		stop: end.Add(-reserve),
		step: min(max(left/4, leastStep), rotator.DefaultStepTimeout),
		late: time.After(left - min(mostMargin, left/10)),
	}
}

// bound gives what is begun in an invocation its time.
func (t times) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.stop.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(ctx, t.stop)
}
