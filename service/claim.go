package service

import (
	"context"
	"errors"
	"sync"

	"github.com/pawlhq/pawl/secrets"
)

// Claim is the right to rotate one secret, held by this process until Release.
// It is the rotator's Vault and its Stager. Besides a claim that is gone, a write
// gives Conflict when AWSCURRENT, AWSPENDING or PAWLINTENT is no longer where the
// claimant last saw it (at the claim, by Versions, or by a write of its own):
// somebody put a value or moved a label by hand, or a custom function did, and
// what was decided from the old labels no longer holds.
type Claim struct {
	s        *Service
	arn      secrets.ARN
	rotation secrets.Rotation

	mu    sync.Mutex
	lease Lease // nil once released
	seen  places
	key   string           // that new values are encrypted under
	fresh secrets.Versions // as read at the claim, until somebody asked for them
}

// places are the ids of the versions that carry the labels a rotation goes by.
type places struct{ current, pending, intent string }

func placesOf(vs secrets.Versions) places {
	return places{vs.IDWith(secrets.Current), vs.IDWith(secrets.Pending), vs.IDWith(secrets.Intent)}
}

// Claim claims a secret, at once or not at all. Errors: Conflict while another
// claimant, here or in another process, has it; ResourceNotFoundException;
// InvalidRequestException for one that is marked for deletion;
// InvalidParameterException for a replica, which its primary rotates. An ARN may
// be of any account and region.
func (s *Service) Claim(ctx context.Context, id string) (*Claim, error) {
	s = s.where(id)
	meant, err := secrets.ParseID(id)
	arn := meant.ARN
	if err != nil || meant.ByName {
		sec, err := s.lookUp(ctx, id)
		if err != nil {
			return nil, err
		}
		arn = sec.ARN
	}
	lease, err := s.store.Lock(ctx, arn)
	if err != nil {
		return nil, known(err, arn.Name)
	}
	// Whoever had the lock until now may have changed everything.
	sec, err := s.findAlive(ctx, arn.String())
	if err != nil {
		lease.Release()
		return nil, err
	}
	if err := atPrimary(sec); err != nil {
		lease.Release()
		return nil, err
	}
	c := &Claim{
		s: s, arn: sec.ARN, lease: lease,
		rotation: s.effective(*s.rotationOf(sec)), seen: placesOf(sec.Versions), key: sec.KMSKeyID, fresh: sec.Versions,
	}
	c.rotation.Paused = sec.Rotation != nil && onHold(sec)
	return c, nil
}

// rotationOf returns the secret's rotation, or one on demand by the default
// rules where nobody declared any.
func (s *Service) rotationOf(sec *Secret) *secrets.Rotation {
	r := secrets.Rotation{Source: OnDemand, Since: s.now()}
	if sec.Rotation != nil {
		r = *sec.Rotation
	}
	if r.Source == OnDemand {
		r.Rules = s.rules().defaults
	}
	return &r
}

// effective returns a rotation by the rules it goes by: what the API can't say
// of its own is as the configuration's defaults have it today.
func (s *Service) effective(r secrets.Rotation) secrets.Rotation {
	if r.Source == FromAPI {
		said := r.Rules
		r.Rules = s.rules().defaults
		r.Rules.Strategy, r.Rules.Function = said.Strategy, said.Function
		r.Rules.Schedule, r.Rules.AfterDays, r.Rules.Window = said.Schedule, said.AfterDays, said.Window
	}
	return r
}

// Rotation returns the rotation as it was at the claim, with the rules it goes
// by; the default rules where none was declared. A pause does not show where
// somebody asked for the rotation that is under way.
func (c *Claim) Rotation() secrets.Rotation { return c.rotation }

// ARN returns the secret's.
func (c *Claim) ARN() secrets.ARN { return c.arn }

// Release gives the claim up. Further calls do nothing.
func (c *Claim) Release() {
	c.mu.Lock()
	lease := c.lease
	c.lease = nil
	c.mu.Unlock()
	if lease != nil {
		lease.Release()
	}
}

// Versions reads the versions and their labels afresh. The first call has them
// from the claim itself: should they have changed since, the next write finds
// out.
func (c *Claim) Versions(ctx context.Context) (secrets.Versions, error) {
	if _, err := c.held(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	fresh := c.fresh
	c.fresh = nil
	c.mu.Unlock()
	if fresh != nil {
		return fresh, nil
	}
	sec, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	c.saw(sec)
	return sec.Versions, nil
}

// Value reads a version's value; zero for one that is still empty.
func (c *Claim) Value(ctx context.Context, versionID string) (secrets.Value, error) {
	if _, err := c.held(); err != nil {
		return secrets.Value{}, err
	}
	value, err := c.s.open(ctx, c.arn, versionID)
	if !errors.Is(err, ErrNotFound) && secrets.CodeOf(err) != resourceNotFound {
		return value, c.lost(err)
	}
	sec, err := c.read(ctx)
	if err != nil {
		return secrets.Value{}, err
	}
	if v, ok := sec.Versions.Find(versionID); !ok || !v.Empty {
		return secrets.Value{}, c.moved("version %s is gone", versionID)
	}
	return secrets.Value{}, nil
}

// PutPending stores a new value with the labels AWSPENDING and PAWLINTENT: in
// the empty version id, or in a new version when id is "". It returns the
// version's id. Where somebody filled that version meanwhile it is a Conflict:
// his value must not get PAWLINTENT before it was looked at.
func (c *Claim) PutPending(ctx context.Context, id string, v secrets.Value) (string, error) {
	if err := v.Validate(); err != nil {
		return "", secrets.At(err, c.arn.Name, "", "")
	}
	fresh := id == ""
	if fresh {
		made, err := NewVersionID(c.s.random)
		if err != nil {
			return "", secrets.At(err, c.arn.Name, "", "")
		}
		id = made
	}
	return c.put(ctx, id, fresh, v, secrets.Pending, secrets.Intent)
}

// put stores a value in the version id, which is fresh or empty, with these
// labels.
func (c *Claim) put(ctx context.Context, id string, fresh bool, v secrets.Value, labels ...string) (string, error) {
	c.mu.Lock()
	key := c.key
	c.mu.Unlock()
	// A key that can't be used must stop a rotation here, while no server has
	// heard of the value.
	a := c.s.ahead(c.arn, id, v)
	if err := a.expect(ctx, key); err != nil {
		return "", err
	}
	return id, a.write(ctx, func() error { return c.putPending(ctx, id, fresh, a, labels) })
}

func (c *Claim) putPending(ctx context.Context, id string, fresh bool, a *ahead, labels []string) error {
	return c.change(ctx, func(sec *Secret) (Sealed, error) {
		if err := alive(sec); err != nil {
			return nil, c.moved("it was marked for deletion")
		}
		values, err := a.fresh(sec.KMSKeyID)
		if err != nil {
			return nil, err
		}
		if !fresh {
			old, ok := sec.Versions.Find(id)
			switch {
			case !ok:
				return nil, c.moved("version %s is gone", id)
			case !old.Empty:
				return nil, c.moved("version %s was filled by somebody else", id)
			}
		} else if sec.Rotation.Asked != "" && sec.Rotation.Asked == sec.Versions.IDWith(secrets.Pending) {
			sec.Rotation.Asked = id // it takes that one's place
		}
		return values, c.s.addVersion(sec, id, labels, true)
	})
}

// Stage makes an empty version with the label AWSPENDING, as RotateSecret does,
// for a custom function to fill, and returns its id. Conflict where AWSPENDING is
// on a version that is not AWSCURRENT: a rotation is under way.
func (c *Claim) Stage(ctx context.Context) (versionID string, err error) {
	id, err := NewVersionID(c.s.random)
	if err != nil {
		return "", secrets.At(err, c.arn.Name, "", "")
	}
	err = c.change(ctx, func(sec *Secret) (Sealed, error) {
		if err := alive(sec); err != nil {
			return nil, c.moved("it was marked for deletion")
		}
		if p, ok := sec.Versions.Rotating(); ok {
			return nil, c.moved("a rotation to version %s is under way", p.ID)
		}
		if err := c.s.stage(sec, id); err != nil {
			return nil, err
		}
		// A rotation must never be stopped by too many young versions.
		sec.Versions, _ = sec.Versions.Trim(2 * secrets.MaxVersions)
		sec.Changed = c.s.now()
		return nil, nil
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// StageCopy makes a version with AWSCURRENT's value and the label AWSPENDING, for
// a rotation function to be tested on; its id begins with secrets.CopyPrefix.
// Conflict as Stage.
func (c *Claim) StageCopy(ctx context.Context) (versionID string, err error) {
	c.mu.Lock()
	seen := c.seen
	c.mu.Unlock()
	if seen.pending != "" && seen.pending != seen.current {
		return "", c.moved("a rotation to version %s is under way", seen.pending)
	}
	v, err := c.Value(ctx, seen.current)
	if err != nil {
		return "", err
	}
	id, err := NewVersionID(c.s.random)
	if err != nil {
		return "", secrets.At(err, c.arn.Name, "", "")
	}
	id = secrets.CopyPrefix + id
	if _, err := c.put(ctx, id, true, v, secrets.Pending); err != nil {
		return "", err
	}
	return id, nil
}

// Promote moves AWSCURRENT to the version, where it may be already (a custom
// function moves it itself), notes that a rotation completed and clears its
// attempt record, and takes AWSPENDING off the version unless keepPending, all in
// one write. It works on a secret that was marked for deletion meanwhile too:
// restored, it must hold what the server accepts.
func (c *Claim) Promote(ctx context.Context, versionID string, keepPending bool) error {
	return c.change(ctx, func(sec *Secret) (Sealed, error) {
		if v, ok := sec.Versions.Find(versionID); !ok || v.Empty {
			return nil, c.moved("version %s has no value to promote", versionID)
		}
		versions, err := sec.Versions.Move(secrets.Current, versionID)
		if err == nil && !keepPending && versions.IDWith(secrets.Pending) == versionID {
			versions, err = versions.Move(secrets.Pending, "")
		}
		if err != nil {
			return nil, secrets.At(err, c.arn.Name, "", "")
		}
		sec.Versions, sec.Changed = versions, c.s.now()
		sec.Rotation = c.s.rotationOf(sec)
		sec.Rotation.LastRotated = sec.Changed
		sec.Rotation.Attempt, sec.Rotation.Asked = secrets.Attempt{}, ""
		return nil, nil
	})
}

// MoveLabel puts a label on the version, off any other; "" takes it off
// altogether.
func (c *Claim) MoveLabel(ctx context.Context, label, versionID string) error {
	return c.change(ctx, func(sec *Secret) (Sealed, error) {
		if _, ok := sec.Versions.Find(versionID); !ok && versionID != "" {
			return nil, c.moved("version %s is gone", versionID)
		}
		return nil, c.s.moveLabel(sec, label, versionID)
	})
}

// Save keeps the attempt record. It never conflicts with labels.
func (c *Claim) Save(ctx context.Context, a secrets.Attempt) error {
	lease, err := c.held()
	if err != nil {
		return err
	}
	_, err = c.s.updateBy(ctx, c.arn, lease.Update, func(sec *Secret) (Sealed, error) {
		r := c.s.rotationOf(sec)
		if same(r.Attempt, a) {
			return nil, errUnchanged
		}
		r.Attempt, sec.Rotation = a, r
		return nil, nil
	})
	return c.lost(err)
}

func same(a, b secrets.Attempt) bool {
	return a.Tries == b.Tries && a.NextTry.Equal(b.NextTry) && a.LastError == b.LastError &&
		a.Kind == b.Kind && a.FailingSince.Equal(b.FailingSince)
}

// change is every write of labels and values: it refuses when the labels are
// not where the claimant saw them, and sees where they are afterwards.
func (c *Claim) change(ctx context.Context, change func(*Secret) (Sealed, error)) error {
	lease, err := c.held()
	if err != nil {
		return err
	}
	c.mu.Lock()
	seen := c.seen
	c.mu.Unlock()
	sec, err := c.s.updateBy(ctx, c.arn, lease.Update, func(sec *Secret) (Sealed, error) {
		if placesOf(sec.Versions) != seen {
			return nil, c.moved("its staging labels were moved by somebody else")
		}
		if sec.Rotation == nil {
			// A begun rotation must be known to the scheduler: should this
			// process die, that one finishes it.
			sec.Rotation = c.s.rotationOf(sec)
		}
		return change(sec)
	})
	if err != nil {
		return c.lost(err)
	}
	c.saw(sec)
	return nil
}

func (c *Claim) read(ctx context.Context) (*Secret, error) {
	lease, err := c.held()
	if err != nil {
		return nil, err
	}
	sec, err := lease.Find(ctx)
	return sec, c.lost(err)
}

func (c *Claim) saw(sec *Secret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen, c.key, c.fresh = placesOf(sec.Versions), sec.KMSKeyID, nil
}

func (c *Claim) held() (Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.lease == nil {
		return nil, c.moved("the claim on it was released")
	}
	return c.lease, nil
}

// Context implements rotator.Leased.
func (c *Claim) Context(ctx context.Context) context.Context {
	lease, err := c.held()
	if err != nil {
		ctx, cancel := context.WithCancelCause(ctx)
		cancel(err)
		return ctx
	}
	return lease.Context(ctx)
}

// Confirm implements rotator.Leased.
func (c *Claim) Confirm(ctx context.Context) error {
	lease, err := c.held()
	if err != nil {
		return err
	}
	return c.lost(lease.Confirm(ctx))
}

// lost makes a Conflict of a secret that ended under the claim.
func (c *Claim) lost(err error) error {
	if errors.Is(err, ErrNotFound) || secrets.CodeOf(err) == resourceNotFound {
		return c.moved("it, or the version asked for, was deleted while it was being rotated")
	}
	return secrets.At(err, c.arn.Name, "", "")
}

func (c *Claim) moved(format string, args ...any) error {
	return secrets.At(secrets.Errorf(secrets.Conflict, format, args...), c.arn.Name, "", "")
}
