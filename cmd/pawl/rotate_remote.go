package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/client"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	// remoteAtOnce is how many rotations are waited for at a time. How many run
	// at a time the server decides.
	remoteAtOnce = 16
	// lookEvery is how often a server is asked how far a rotation is.
	lookEvery = 200 * time.Millisecond
	// retryEvery is how long after a failure of the server itself, or of the
	// checks of a dry run, it is asked again.
	retryEvery = time.Second
	// settled is for how many looks in a row a version must be without label and
	// without failure until it counts as given up: the record of a failure is
	// written after the labels.
	settled = 15
)

// remote has a server rotate, and waits for it.
type remote struct {
	server *client.Client
	show   *stepPrinter
}

// rotate asks for a rotation, and follows it until it has ended, has failed in a
// way that needs a person, or ctx ends.
func (r *remote) rotate(ctx context.Context, t task) (rotator.Result, error) {
	began := time.Now()
	res, err := r.run(ctx, t)
	res.Took = time.Since(began)
	return res, err
}

func (r *remote) run(ctx context.Context, t task) (rotator.Result, error) {
	if t.o.DryRun {
		return r.check(ctx, t.name)
	}
	if t.due != nil {
		// The server's own daemon rotates what is due, too.
		if due, err := r.stillDue(ctx, t); err != nil || !due {
			return rotator.Result{Outcome: rotator.AtRest}, err
		}
	}
	res := rotator.Result{Outcome: rotator.Rotated}
	token := newToken()
	err := r.patiently(ctx, retryEvery, func() error {
		out, err := r.server.StartRotation(ctx, service.StartRotationInput{SecretID: t.name, ClientRequestToken: token})
		if err == nil {
			res.Version = out.VersionID
		}
		return err
	})
	if err != nil {
		return res, err
	}
	if res.Version != token {
		res.Outcome = rotator.Resumed
	}
	r.show.line("%s: rotating at the server, version %s …", t.name, res.Version)
	f := follower{remote: r, name: t.name, version: res.Version}
	return res, r.patiently(ctx, lookEvery, func() error { return f.look(ctx) })
}

// check has the server run the checks of a rotation.
func (r *remote) check(ctx context.Context, name string) (res rotator.Result, err error) {
	err = r.patiently(ctx, retryEvery, func() error {
		out, err := r.server.TestRotation(ctx, service.TestRotationInput{SecretID: name})
		if err != nil {
			return err
		}
		if out.Error != "" {
			return told(out.Name, out.Error, kindNamed(out.Kind))
		}
		res.Outcome = rotator.Outcome(out.Outcome)
		return nil
	})
	return res, err
}

func (r *remote) stillDue(ctx context.Context, t task) (due bool, err error) {
	err = r.patiently(ctx, retryEvery, func() error {
		out, err := r.server.ListRotations(ctx, service.ListRotationsInput{SecretIDs: []string{t.name}})
		if err == nil && len(out.Rotations) == 1 {
			now := out.Rotations[0]
			due = !now.At.IsZero() && !now.At.After(time.Now()) && now.Unfinished == t.due.Unfinished
		}
		return err
	})
	return due, err
}

// errNotYet says that there is nothing wrong and nothing done.
var errNotYet = errors.New("not yet")

// patiently calls f until it succeeds, gives an error that waiting won't cure, or
// ctx ends. When time runs out the error has the kind of the last failure.
func (r *remote) patiently(ctx context.Context, every time.Duration, f func() error) error {
	var last error
	for {
		err := f()
		switch kind := secrets.KindOf(err); {
		case err == nil:
			return nil
		case errors.Is(err, errNotYet):
		case ctx.Err() != nil: // cut off: what went before says more
			if last == nil {
				last = err
			}
		case kind != secrets.Transient && kind != secrets.Unknown:
			return err
		default:
			if last == nil || last.Error() != err.Error() {
				r.show.line("%v; waiting", err)
			}
			last = err
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return ranOut(ctx, last)
		}
	}
}

func ranOut(ctx context.Context, last error) error {
	why := "stopped waiting"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		why = "time ran out"
	}
	if last == nil {
		return secrets.Errorf(secrets.Transient, "%s; the rotation goes on at the server", why).
			WithHint("see how it is: pawl status")
	}
	return secrets.Prefixed(last, "%s", why)
}

// follower looks at one rotation.
type follower struct {
	*remote
	name, version string
	gone          int // looks in a row in which the version had no label
}

// look returns nil when the version has been promoted and nothing is left to do,
// errNotYet while it is under way, and the failure of the last try.
func (f *follower) look(ctx context.Context) error {
	d, err := f.server.DescribeSecret(ctx, service.DescribeSecretInput{SecretID: f.name})
	if err != nil {
		return err
	}
	labels := d.VersionIDsToStages[f.version]
	pending := slices.Contains(labels, secrets.Pending)
	if !pending && (slices.Contains(labels, secrets.Current) || slices.Contains(labels, secrets.Previous)) {
		return nil
	}
	list, err := f.server.ListRotations(ctx, service.ListRotationsInput{SecretIDs: []string{f.name}})
	if err != nil {
		return err
	}
	// StartRotation left no next try: where there is one, this rotation failed.
	if len(list.Rotations) == 1 && !list.Rotations[0].Attempt.NextTry.IsZero() {
		a := list.Rotations[0].Attempt
		return told(d.Name, a.LastError, a.Kind)
	}
	if pending {
		f.gone = 0
		return errNotYet
	}
	if f.gone++; f.gone < settled {
		return errNotYet
	}
	return secrets.Errorf(secrets.Conflict, "the rotation was given up: its version %s has lost its labels, most likely because somebody stored another value", f.version).
		WithHint("see what is there: pawl secret versions %s", d.Name)
}

// told makes an error of what a server says of one of its own, in whose text the
// secret is named already.
func told(secret, text string, kind secrets.Kind) error {
	return &secrets.Error{Kind: kind, Secret: secret, Err: errors.New(strings.TrimPrefix(text, fmt.Sprintf("secret %q: ", secret)))}
}

// kindNamed is the kind of this name; Unknown for one that this version does not
// know.
func kindNamed(name string) secrets.Kind {
	for _, k := range []secrets.Kind{secrets.Transient, secrets.Denied, secrets.Invalid, secrets.Conflict} {
		if k.String() == name {
			return k
		}
	}
	return secrets.Unknown
}
