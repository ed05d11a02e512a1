package scheduler

import "time"

// breakAfter is how many failures in a row open a target's breaker.
const breakAfter = 3

// coolDown says how long a breaker stays open: up to 5 s, 10 s … a minute.
var coolDown = FullJitter{Base: 5 * time.Second, Cap: time.Minute, Floor: time.Second}

// verdict is what a run says about its target.
type verdict int

const (
	silent  verdict = iota // nothing: the target was not reached, or the trouble was elsewhere
	healthy                // the target answered
	sick                   // the target did not answer, or not in time
)

// breaker keeps the workers off one target that does not answer. Closed, it
// lets everything pass; open, nothing until a cool-down is over; then one run,
// the probe, whose verdict closes it or opens it for longer. The zero breaker is
// closed.
type breaker struct {
	fails  int       // in a row, while closed
	opened int       // times in a row it opened; 0 = closed
	until  time.Time // end of the cool-down
	probe  bool      // the probe is on its way
}

func (b *breaker) isOpen() bool { return b.opened > 0 }

// admit reports whether one run may start, and takes it for the probe if the
// breaker is open.
func (b *breaker) admit(now time.Time) bool {
	switch {
	case !b.isOpen():
		return true
	case b.probe || now.Before(b.until):
		return false
	}
	b.probe = true
	return true
}

// record takes the verdict of a run; probe says that it was the probe. It
// reports whether the breaker opened or closed by it.
func (b *breaker) record(v verdict, probe bool, now time.Time, random float64) (changed bool) {
	if probe {
		b.probe = false
	}
	switch {
	case v == healthy:
		changed = b.isOpen()
		*b = breaker{}
	case v == sick && !b.isOpen():
		if b.fails++; b.fails >= breakAfter {
			b.open(now, random)
			changed = true
		}
	case v == sick && probe:
		b.open(now, random)
	}
	return changed
}

func (b *breaker) open(now time.Time, random float64) {
	b.until = now.Add(coolDown.Delay(b.opened, random))
	b.opened++
	b.fails = 0
}

// idle reports whether the breaker holds nothing worth keeping.
func (b *breaker) idle() bool { return *b == breaker{} }
