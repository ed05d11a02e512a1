package rotator

import "github.com/pawlhq/pawl/secrets"

// action is what a (re)start does next. The labels alone decide it: see
// docs/architecture.md, "The labels are the state".
type action int

const (
	// rest: nothing is under way.
	rest action = iota
	// create: a version was asked for and is still empty.
	create
	// resume: between create and finish; the value may have reached the server.
	resume
	// settle: a value that lost AWSPENDING may have reached the server.
	settle
	// takeOver: somebody else put a pending value that Pawl has not tried yet.
	takeOver
	// finish: promoted, follow-ups open.
	finish
)

// decide reads from the labels what to do, and with which version.
func decide(vs secrets.Versions) (action, string) {
	current := vs.IDWith(secrets.Current)
	// An abandoned value comes first: until it is settled nobody knows which
	// password the server holds, and the next value would cover the trace.
	if v, ok := vs.With(secrets.Intent); ok &&
		!v.Has(secrets.Current) && !v.Has(secrets.Previous) && !v.Has(secrets.Pending) {
		return settle, v.ID
	}
	p, ok := vs.With(secrets.Pending)
	switch {
	case !ok:
		return rest, ""
	case p.ID == current:
		return finish, p.ID
	case p.Empty:
		return create, p.ID
	case p.Has(secrets.Intent):
		return resume, p.ID
	default:
		return takeOver, p.ID
	}
}
