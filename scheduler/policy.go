package scheduler

import (
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// FullJitter is a backoff.BackOff that doubles: before the n-th further try
// (n = 0, 1, 2 …) it waits a time drawn evenly between Floor and
// min(Cap, Base·2ⁿ), so that those who failed together don't come back
// together. It never gives up; a context or its user does. One FullJitter
// serves one loop.
//
// After Transient and Unknown errors, with 1 s, 5 min and 100 ms:
//
//	tries failed   waits at least   at most   on average
//	 1             100 ms             1 s       0.55 s
//	 2             100 ms             2 s       1.05 s
//	 3             100 ms             4 s       2.05 s
//	 4             100 ms             8 s       4.05 s
//	 5             100 ms            16 s       8.05 s
//	 6             100 ms            32 s      16.05 s
//	 7             100 ms            64 s      32.05 s
//	 8             100 ms           128 s      64.05 s
//	 9             100 ms           256 s     128.05 s
//	10 and more    100 ms           300 s     150.05 s
//
// Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog.
type FullJitter struct {
	Base, Cap, Floor time.Duration
	Random           func() float64 // in [0, 1)

	tries int
}

// soon is the policy for what waiting may cure. An unfinished single-user
// rotation keeps applications out, so it begins with a second.
func soon(random func() float64) *FullJitter {
	return &FullJitter{Base: time.Second, Cap: 5 * time.Minute, Floor: 100 * time.Millisecond, Random: random}
}

// NextBackOff returns the next wait.
func (f *FullJitter) NextBackOff() time.Duration {
	d := f.Delay(f.tries, f.Random())
	f.tries++
	return d
}

// Reset begins anew with the shortest waits.
func (f *FullJitter) Reset() { f.tries = 0 }

// Delay returns the wait before the n-th further try (from 0) for a random
// number in [0, 1).
func (f *FullJitter) Delay(n int, random float64) time.Duration {
	most := doubled(f.Base, n, f.Cap)
	if most <= f.Floor {
		return most
	}
	return f.Floor + time.Duration(random*float64(most-f.Floor))
}

// doubled returns min(most, base·2ⁿ).
func doubled(base time.Duration, n int, most time.Duration) time.Duration {
	for ; n > 0 && base < most; n-- {
		base *= 2
	}
	return min(base, most)
}

// After Denied and Invalid only a person can help, and every further try costs
// the server a failed login: lateness is better than a locked account. The
// waits, of which up to a tenth is taken off at random:
//
//	tries failed   1        2        3     4     5     6     7      8 and more
//	waits          15 min   30 min   1 h   2 h   4 h   8 h   16 h   24 h
//
// A person who has mended the cause does not wait: `pawl rotate` by name minds
// no next try.
const (
	patience     = 15 * time.Minute
	mostPatience = 24 * time.Hour
)

// maxErrorText bounds, in bytes, the error text that is stored.
const maxErrorText = 2000

// hopeless reports whether waiting alone will not cure an error of that kind.
func hopeless(k secrets.Kind) bool { return k == secrets.Denied || k == secrets.Invalid }

// failed returns the record of a failure: last is the one before, zero where
// all was well. Tries counts the failures in a row for which the same policy
// holds, because thirty refused connections are no reason to wait a day after
// the first refused password; FailingSince is when the first of all was.
func failed(last secrets.Attempt, err error, now time.Time, random float64) secrets.Attempt {
	kind := secrets.KindOf(err)
	a := secrets.Attempt{Tries: 1, Kind: kind, LastError: oneLine(err), FailingSince: now}
	if last.Tries > 0 {
		a.FailingSince = last.FailingSince
		if hopeless(last.Kind) == hopeless(kind) {
			a.Tries = last.Tries + 1
		}
	}
	if hopeless(kind) {
		wait := doubled(patience, a.Tries-1, mostPatience)
		a.NextTry = now.Add(wait - time.Duration(random*float64(wait/10)))
	} else {
		a.NextTry = now.Add(soon(nil).Delay(a.Tries-1, random))
	}
	return a
}

func oneLine(err error) string { return secrets.OneLine(err, maxErrorText) }
