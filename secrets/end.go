package secrets

import (
	"context"
	"time"
)

// EndingAt returns ctx as one whose work has to be over by a time that may be put
// off while it is under way, as that of a claim is which is renewed. It does not
// end ctx then: that is for whoever made the claim.
//
// It is no deadline of the context, because what is put off can't be one: package
// context gives no timer to a timeout that is longer than its parent's deadline,
// so that it would never end once the parent's was put off.
func EndingAt(ctx context.Context, end func() time.Time) context.Context {
	return ending{ctx, end}
}

// EndOf returns by when the work of ctx has to be over, as far as is known now:
// its deadline, or what EndingAt said, whichever is sooner; that holds for what was
// made of ctx too, also by context.WithoutCancel. Whoever sends what can't be
// recalled asks right before, and not whether ctx has ended: a process that was
// paused may be quicker than its own timers.
func EndOf(ctx context.Context) (end time.Time, ok bool) {
	end, ok = ctx.Deadline()
	for {
		e, more := ctx.Value(endKey{}).(ending)
		if !more {
			return end, ok
		}
		if at := e.end(); !ok || at.Before(end) {
			end, ok = at, true
		}
		ctx = e.Context
	}
}

type endKey struct{}

type ending struct {
	context.Context
	end func() time.Time
}

func (e ending) Value(key any) any {
	if key == (endKey{}) {
		return e
	}
	return e.Context.Value(key)
}
