package postgres

import "time"

// since is how long ago the instant at was, by whichever clock makes it longer:
// the monotonic one stands still where the machine is suspended, and the other
// may be set back.
func since(at, now time.Time) time.Duration {
	return max(now.Sub(at), time.Duration(now.UnixNano()-at.UnixNano()))
}
