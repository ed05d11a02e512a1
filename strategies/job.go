// Package strategies holds what a rotation changes: which user gets the new
// password, and who sets it. A strategy knows nothing of staging labels (that
// is the rotator's business) and nothing of SQL (that is the engines').
package strategies

import (
	"context"
	"slices"

	"github.com/pawlhq/pawl/secrets"
)

// Job is one rotation of one secret as a strategy sees it. The rotator fills it
// from the versions' labels.
type Job struct {
	ARN       secrets.ARN // the secret's
	VersionID string      // of the pending version; "" until it exists

	Current secrets.Value // AWSCURRENT
	Pending secrets.Value // the value being rotated to; zero until created

	// Resumed says that Pending may have reached the server already: Set probes
	// before it changes anything.
	Resumed bool
	// Previous returns the AWSPREVIOUS value, zero if there is none, and History
	// the values of all versions but the pending one, newest first. They are read
	// only where a doubt must be settled: each may be a request that is paid for.
	// Never nil when a strategy sees them.
	Previous func(context.Context) (secrets.Value, error)
	History  func(context.Context) ([]secrets.Value, error)
	// Confirm makes sure that the right to rotate the secret is held, and will be
	// until what is sent now has come to its end at the server: Guard says when
	// that is. It goes with each change to the engine, which calls it on an open
	// session, right before each statement that changes anything: a session that was
	// opened again needs it anew. Never nil when a strategy sees it. Errors: Conflict,
	// Transient.
	Confirm func(context.Context) error
	// Report tells the person who waits what is happening, or what could not be
	// done; never nil when a strategy sees it.
	Report func(note string)
}

// maxKnown is how many passwords of a secret speak for accounts. Who may write it
// must not have guesses tried by the hundred.
const maxKnown = 6

// known returns the newest passwords that the secret holds, whoever's they are.
func (j *Job) known(ctx context.Context) ([]secrets.Password, error) {
	prev, err := j.Previous(ctx)
	if err != nil {
		return nil, err
	}
	values, err := j.History(ctx)
	if err != nil {
		return nil, err
	}
	var out []secrets.Password
	for _, v := range append([]secrets.Value{j.Current, j.Pending, prev}, values...) {
		c, err := secrets.ParseCredentials(v)
		if err == nil && !slices.ContainsFunc(out, c.Password().Equal) && len(out) < maxKnown {
			out = append(out, c.Password())
		}
	}
	return out, nil
}
