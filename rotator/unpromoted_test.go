package rotator_test

import (
	"context"
	"testing"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

// forbidden is a claim whose owner may store values and move no label.
type forbidden struct{ *proc }

func (f forbidden) Promote(context.Context, string, bool) error {
	return secrets.Errorf(secrets.Denied, "not authorized to move AWSCURRENT")
}

func (f forbidden) MoveLabel(context.Context, string, string) error {
	return secrets.Errorf(secrets.Denied, "not authorized to move a label")
}

// TestMayNotPromote: who may not move AWSCURRENT leaves a server that accepts it,
// and a version that goes on once he may.
func TestMayNotPromote(t *testing.T) {
	for _, alternating := range []bool{false, true} {
		w := newWorld(alternating)
		p := &proc{w: w}
		for range 2 { // the second time it resumes
			p.seen, p.tried = nil, -1
			_, err := p.rotator().Run(context.Background(), forbidden{p}, secrets.RotationRules{}, rotator.Options{})
			if secrets.KindOf(err) != secrets.Denied {
				t.Errorf("error %v", err)
			}
			current, _ := w.versions.With(secrets.Current)
			if !w.login(w.values[current.ID]) {
				t.Errorf("alternating %v: the server refuses AWSCURRENT: %s", alternating, w.tell(nil))
			}
		}
		pending := w.versions.IDWith(secrets.Pending)
		if err := p.run(rotator.Options{}); err != nil || w.versions.IDWith(secrets.Current) != pending || w.broken() != "" {
			t.Errorf("%v; %s", err, w.tell(nil))
		}
	}
}
