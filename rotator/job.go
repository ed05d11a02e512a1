package rotator

import (
	"context"
	"errors"
	"slices"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/strategies"
)

// job reads the values that every strategy needs; the others are read when it
// asks for them.
func (w *run) job(ctx context.Context, vs secrets.Versions, pending string) (*strategies.Job, error) {
	j := &strategies.Job{ARN: w.v.ARN(), VersionID: pending, Report: w.note, Confirm: w.confirm}
	w.seen, w.current, w.latest = vs, vs.IDWith(secrets.Current), j
	var err error
	if j.Current, err = w.value(ctx, w.current); err != nil {
		return nil, err
	}
	if j.Pending, err = w.value(ctx, pending); err != nil {
		return nil, err
	}
	j.Previous = func(ctx context.Context) (secrets.Value, error) {
		return w.value(ctx, vs.IDWith(secrets.Previous))
	}
	j.History = func(ctx context.Context) ([]secrets.Value, error) {
		var out []secrets.Value
		for _, v := range slices.Backward(vs) {
			if v.ID == j.VersionID || v.Empty {
				continue
			}
			val, err := w.v.Value(ctx, v.ID)
			if err != nil {
				return nil, err
			}
			out = append(out, val)
		}
		return out, nil
	}
	return j, nil
}

// value reads a version's value; zero where there is no such version.
func (w *run) value(ctx context.Context, id string) (secrets.Value, error) {
	if id == "" {
		return secrets.Value{}, nil
	}
	return w.v.Value(ctx, id)
}

// create makes sure that the rotation can succeed and makes the new value
// durable: in the version id, or in one of the vault's choosing when that is "".
func (w *run) create(ctx context.Context, j *strategies.Job, id string) error {
	current := j.Current
	if err := w.steps.Check(ctx, j); err != nil {
		if err := w.fromPrevious(ctx, j, err); err != nil {
			return err
		}
	}
	made, err := w.steps.Create(ctx, j)
	if err == nil && !current.Equal(j.Current) {
		made, err = w.steps.Adapt(&strategies.Job{ARN: j.ARN, Current: current, Pending: made})
	}
	if err != nil {
		return err
	}
	if j.VersionID, err = w.v.PutPending(ctx, id, made); err != nil {
		return err
	}
	// Where another rotator was faster its value counts, if it is for the same
	// user.
	if j.Pending, err = w.v.Value(ctx, j.VersionID); err == nil && !j.Pending.Equal(made) {
		_, err = w.steps.Adapt(j)
	}
	return err
}

// fromPrevious has the rotation go on from AWSPREVIOUS, as the secret's own
// proof, where the server refuses AWSCURRENT and nothing excludes other rotators:
// one that died while two of them disagreed (see race.go) may have left the
// server with the password before. AWS's own functions try that one too. No value
// of the secret's is set: AWSCURRENT may have been written by anybody who wants
// the user to have a password that he knows.
func (w *run) fromPrevious(ctx context.Context, j *strategies.Job, refused error) error {
	if !w.unfenced || !errors.Is(refused, strategies.ErrCurrentRefused) {
		return refused
	}
	// Each try may cost a failed login.
	if refused = w.beaten(ctx, refused); secrets.KindOf(refused) == secrets.Conflict {
		return refused
	}
	prev, err := j.Previous(ctx)
	if err != nil || prev.IsZero() || prev.Equal(j.Current) {
		return refused
	}
	// Compare before connecting: for the same server, and the same user or the
	// other one of the pair.
	if _, err := w.steps.Adapt(&strategies.Job{ARN: j.ARN, Current: j.Current, Pending: prev}); err != nil {
		return refused
	}
	from := *j
	from.Current = prev
	w.steps.Close() // what it opened is AWSCURRENT's
	if err := w.steps.Check(ctx, &from); err != nil {
		return refused
	}
	w.note("warning: the server refuses AWSCURRENT and accepts AWSPREVIOUS; going on from that")
	j.Current = prev
	return nil
}

// takeOver makes a pending value that another tool left Pawl's own. PAWLINTENT
// says of a value that whoever made it knew a password of its user: that is what
// lets a superuser put the user's password back later. Here nobody has proved it
// yet, and whoever may write the secret could have named any user.
func (w *run) takeOver(ctx context.Context, j *strategies.Job) error {
	return w.do(ctx, CreateSecret, j, func(ctx context.Context) error {
		w.note("taking over a pending version that another tool left")
		if _, err := w.steps.Adapt(j); err != nil {
			return err
		}
		err := w.steps.Check(ctx, j)
		w.steps.Close() // what it opened is for the rules' user, not for the value's
		if secrets.KindOf(err) == secrets.Denied && err != nil {
			if ok, perr := w.steps.Probe(ctx, j); perr == nil && ok {
				err = nil // the other tool had come as far as the server
			}
		}
		if err != nil {
			return err
		}
		return w.v.MoveLabel(ctx, secrets.Intent, j.VersionID)
	})
}
