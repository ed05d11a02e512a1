//go:build linux

package chaos_test

import (
	"fmt"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// What must never be.
const (
	duplicate    = "duplicate rotations"
	unknownValue = "passwords that no version has"
	lost         = "lost passwords"
	lockedOut    = "applications locked out"
	staleRead    = "stale reads"
	disorder     = "labels out of order"
	misbehaved   = "processes that misbehaved"
	standstill   = "users that did not rotate"
)

var promises = []string{duplicate, unknownValue, lost, lockedOut, staleRead, disorder, misbehaved, standstill}

// violation is a promise that was broken.
type violation struct {
	promise string
	secret  string
	at      time.Time
	text    string
}

func (v violation) String() string {
	return fmt.Sprintf("%s: %s: %s %s", v.promise, v.secret, v.at.UTC().Format("15:04:05.000000"), v.text)
}

// read is a value that a client got.
type read struct {
	secret, version string
	process         int
	start, end      time.Time
}

// judgeRead: what was read was AWSCURRENT at some time since stale before it was
// asked for. states are the secret's.
func judgeRead(states []state, r read) *violation {
	for i, s := range states {
		ended := i+1 < len(states) && states[i+1].at.Before(r.start.Add(-stale))
		if s.labels[secrets.Current] == r.version && !ended && !s.at.After(r.end) {
			return nil
		}
	}
	return &violation{staleRead, r.secret, r.start, fmt.Sprintf("process %d answered until %s with version %s; AWSCURRENT was %s when it was asked",
		r.process, r.end.UTC().Format("15:04:05.000000"), r.version, stateAt(states, r.start).labels[secrets.Current])}
}

// judgeChange: a password is set at the target only while the store says that it
// is being set: as the pending value, or as AWSCURRENT's, to take another one back.
// Whoever is late, because he was paused or cut off, is one who sets it at another
// time, be it the same password. version is the one whose password it is.
func judgeChange(secret string, states []state, c change, version string) *violation {
	v := &violation{at: c.at, secret: secret}
	if version == "" {
		v.promise, v.text = unknownValue, fmt.Sprintf("replica %d set a password of %s that no version has", c.replica, c.role)
		return v
	}
	for _, s := range during(states, c.at.Add(-clockGrain), c.at.Add(clockGrain)) {
		if mayBeSet(s.labels, version) {
			return nil
		}
	}
	v.promise = duplicate
	v.text = fmt.Sprintf("replica %d set the password of %s to that of version %s while the labels were %v", c.replica, c.role, version, stateAt(states, c.at).labels)
	return v
}

// mayBeSet is the table of docs/architecture.md: when a rotation sends a version's
// password.
func mayBeSet(labels map[string]string, version string) bool {
	current, pending, intent, previous := labels[secrets.Current], labels[secrets.Pending], labels[secrets.Intent], labels[secrets.Previous]
	switch version {
	case pending:
		return intent == pending // between create and finish; or promoted, and to be accepted
	case current:
		return intent != "" && intent != current && intent != previous && intent != pending // an abandoned value is settled
	}
	return false
}

// during are the states that were there at some time of an interval.
func during(states []state, from, to time.Time) []state {
	var out []state
	for i, s := range states {
		if !s.at.After(to) && (i+1 == len(states) || !states[i+1].at.Before(from)) {
			out = append(out, s)
		}
	}
	return out
}

// schedule is how often a secret rotates, and what it rotates beside that: versions
// that somebody asked for by name.
type schedule struct {
	every time.Duration
	asked func(version string) bool
}

// punctual is how far apart two replicas' ideas of the database's time may be.
const punctual = 500 * time.Millisecond

// judgeSchedule: of two rotations by the schedule the second is not begun before
// its time: two replicas that both see a secret due rotate it once.
func judgeSchedule(secret string, states []state, by schedule) (vs []violation) {
	var promoted state
	for i := 1; i < len(states); i++ {
		s, before := states[i], states[i-1]
		if now := s.labels[secrets.Current]; now != before.labels[secrets.Current] {
			promoted = s
		}
		begun := s.labels[secrets.Pending]
		if begun == "" || begun == before.labels[secrets.Pending] || promoted.secret == "" || by.asked(begun) {
			continue
		}
		if s.writer == nobody || promoted.writer == nobody {
			continue
		}
		if gap := s.at.Sub(promoted.at); gap < by.every-punctual {
			vs = append(vs, violation{duplicate, secret, s.at, fmt.Sprintf(
				"replica %d began version %s %v after replica %d promoted the one before; it is to rotate each %v", s.writer, begun, gap, promoted.writer, by.every)})
		}
	}
	return vs
}

// login is what became of an application that logged in with what it had just
// read.
type login struct {
	read
	until   time.Time // from the end of the read
	refused bool      // else it went through
}

// judgeLogin: AWSCURRENT logs in, but for a single user while his password is
// changing.
func judgeLogin(states []state, l login, single bool) *violation {
	if !l.refused {
		return nil
	}
	changing := false
	for _, s := range during(states, l.end, l.until) {
		if s.labels[secrets.Current] != l.version {
			return nil // it was AWSCURRENT
		}
		intent := s.labels[secrets.Intent]
		changing = changing || intent != "" && intent != l.version && intent != s.labels[secrets.Previous]
	}
	if single && changing {
		return nil
	}
	return &violation{lockedOut, l.secret, l.end, fmt.Sprintf("version %s is AWSCURRENT and was refused until %s", l.version, l.until.UTC().Format("15:04:05.000000"))}
}

// spell is how long an application could not log in.
type spell struct {
	secret string
	from   time.Time
	lasted time.Duration
}

// longestSpell of an application's logins, in the order of time; its last login
// must have gone through.
func longestSpell(logins []login) (longest spell) {
	var since time.Time
	for _, l := range logins {
		switch {
		case l.refused && since.IsZero():
			since = l.end
		case !l.refused && !since.IsZero():
			if d := l.until.Sub(since); d > longest.lasted {
				longest = spell{l.secret, since, d}
			}
			since = time.Time{}
		}
	}
	return longest
}

// blow is a replica that was killed, paused or cut off, and when.
type blow struct {
	replica int
	at      time.Time
	trouble trouble
}

// takeover is a claim that was taken from a replica that was silent.
type takeover struct {
	claim
	blow blow          // why it was silent; the zero one = nobody knows
	took time.Duration // since the blow
	late time.Duration // since its claim had ended
}

// takeovers finds out what had become of those whom claims were taken from: the
// first blow since they had them.
func takeovers(claims []claim, blows []blow) (out []takeover) {
	of := map[int64]claim{}
	for _, c := range claims {
		of[c.epoch] = c
		before, ok := of[c.taken]
		if !ok {
			continue
		}
		t := takeover{claim: c, late: c.at.Sub(c.ended)}
		for _, b := range blows {
			first := t.took == 0 || b.at.Before(t.blow.at)
			if b.replica == before.replica && b.at.Before(c.at) && b.at.After(before.at) && first {
				t.blow, t.took = b, c.at.Sub(b.at)
			}
		}
		out = append(out, t)
	}
	return out
}

// rotations is how often AWSCURRENT moved to what a replica promoted.
func rotations(states []state) (n int) {
	for i := 1; i < len(states); i++ {
		if states[i].labels[secrets.Current] != states[i-1].labels[secrets.Current] && states[i].writer != nobody {
			n++
		}
	}
	return n
}
