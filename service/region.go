package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// region is where a replica is kept. Each of its methods may be called again, by
// several at once, and with what is out of date by now.
type region interface {
	// apply makes the replica equal to the snapshot, and makes it where there is
	// none; a replica made from a later one is left as it is. Errors: hopeless
	// where trying again is useless.
	apply(ctx context.Context, of snapshot) error
	// remove deletes the replica; release makes it a secret of its own. What is
	// no replica of that primary, or one from after the link's revision, is left
	// as it is; that nothing is there is no error.
	remove(ctx context.Context, l link) error
	release(ctx context.Context, l link) error
	// accessed is the day the replica was last read; zero if never.
	accessed(ctx context.Context, l link) time.Time
}

// regionOf returns where the replicas in a region are. All are in the store of
// their primaries; this is where one on another server would come in.
func (s *Service) regionOf(string) region { return sameStore{s} }

// hopeless is why a replica failed for good, as its StatusMessage says it.
type hopeless string

func (h hopeless) Error() string { return string(h) }

// link is a replica as its primary saw it at a revision.
type link struct {
	primary  secrets.ARN
	region   string // the replica's
	revision int64
}

// replica is the ARN of the replica: name and suffix are the primary's.
func (l link) replica() secrets.ARN {
	a := l.primary
	a.Region = l.region
	return a
}

// is reports whether a record is that replica.
func (l link) is(sec *Secret) bool {
	return sec.ARN == l.replica() && sec.PrimaryRegion == l.primary.Region
}

// snapshot is what a replica should be.
type snapshot struct {
	link
	*copied

	key                   string // of the replica's own
	force                 bool   // a secret of this name that is in the way ends
	changed, valueChanged time.Time
	value                 func(ctx context.Context, versionID string) (secrets.Value, error)
}

func (s *Service) snapshot(sec *Secret, r Replica) snapshot {
	return snapshot{
		link:   link{primary: sec.ARN, region: r.Region, revision: sec.Revision},
		copied: copyOf(sec), key: r.KMSKeyID, force: r.Force,
		changed: sec.Changed, valueChanged: sec.ValueChanged,
		value: func(ctx context.Context, versionID string) (secrets.Value, error) {
			v, err := s.open(ctx, sec.ARN, versionID)
			if errors.Is(err, ErrNotFound) {
				err = secrets.Errorf(secrets.Conflict, "version %s went while it was being copied", versionID)
			}
			return v, err
		},
	}
}

// sameStore is a region in the store of its primaries.
type sameStore struct{ s *Service }

// confirmAfter is when a replica just made is looked at again. Whoever made it
// has long noticed by then, if he lives, that it was given up meanwhile.
const confirmAfter = time.Minute

var errAgain = errors.New("the replica changed while it was being written")

func (here sameStore) apply(ctx context.Context, of snapshot) error {
	if err := checkKey(of.primary.Name, of.key, of.region); err != nil {
		return withoutKey(err)
	}
	var err error
	for range 5 {
		err = here.tryApply(ctx, of)
		if !errors.Is(err, errAgain) && !errors.Is(err, ErrExists) && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return secrets.Errorf(secrets.Transient, "writing the replica in %s: %w", of.region, err)
}

// withoutKey makes hopeless of an error that is of a key, for which a person is
// needed: there is no such key, or it can't be used, or no longer.
func withoutKey(err error) error {
	switch secrets.CodeOf(err) {
	case invalidParameter, accessDenied, encryptionFailure, decryptionFailure:
		return hopeless("Replication failed: " + textOf(err))
	}
	return err
}

func (here sameStore) tryApply(ctx context.Context, of snapshot) error {
	rec, err := here.s.store.Find(ctx, secrets.ID{ByName: true, ARN: of.replica()})
	switch {
	case errors.Is(err, ErrNotFound):
		now := here.s.now()
		sec := &Secret{ARN: of.replica(), Created: now, FollowAt: now.Add(confirmAfter)}
		values, err := here.seal(ctx, of, sec)
		if err != nil {
			return err
		}
		of.into(sec)
		return here.s.store.Create(ctx, sec, values)
	case err != nil:
		return err
	case !of.is(rec):
		return here.makeWay(ctx, of, rec.ARN)
	case rec.Revision >= of.revision:
		return nil
	}
	values, err := here.seal(ctx, of, rec)
	if err != nil {
		return err
	}
	_, err = here.s.store.Update(ctx, rec.ARN, func(sec *Secret) (Sealed, error) {
		switch {
		case !of.is(sec):
			return nil, errAgain
		case sec.Revision >= of.revision:
			return nil, errUnchanged
		}
		for _, v := range of.missing(sec) {
			if values[v] == nil {
				return nil, errAgain
			}
		}
		of.into(sec)
		return values, nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

// makeWay ends the secret that has the replica's name, if it may: errAgain says
// that it did.
func (here sameStore) makeWay(ctx context.Context, of snapshot, arn secrets.ARN) error {
	_, err := here.s.store.Update(ctx, arn, func(sec *Secret) (Sealed, error) {
		ordinary := sec.PrimaryRegion == "" && len(sec.Replicas) == 0
		if !expired(sec, here.s.now()) && !(of.force && ordinary) {
			return nil, hopeless(fmt.Sprintf("Replication failed: Secret name %s already exists in region %s.", arn.Name, of.region))
		}
		return nil, ErrRemove
	})
	if err == nil {
		return errAgain
	}
	return err
}

// seal encrypts for the replica the values it does not have. A key that it has
// not had yet is checked, even if there is nothing to encrypt.
func (here sameStore) seal(ctx context.Context, of snapshot, rec *Secret) (Sealed, error) {
	if rec.Revision == 0 || rec.KMSKeyID != of.key {
		if err := here.s.canUseKey(ctx, of.replica(), of.key); err != nil {
			return nil, withoutKey(err)
		}
	}
	values := Sealed{}
	for _, id := range of.missing(rec) {
		v, err := of.value(ctx, id)
		if err != nil {
			return nil, withoutKey(err)
		}
		sealed, err := here.s.seal(ctx, of.key, of.replica(), id, v)
		if err != nil {
			return nil, withoutKey(err)
		}
		values[id] = sealed[id]
	}
	return values, nil
}

func (here sameStore) remove(ctx context.Context, l link) error {
	return here.change(ctx, l, func(*Secret) error { return ErrRemove })
}

func (here sameStore) release(ctx context.Context, l link) error {
	return here.change(ctx, l, func(sec *Secret) error {
		sec.PrimaryRegion, sec.FollowAt, sec.Changed = "", time.Time{}, here.s.now()
		return nil
	})
}

func (here sameStore) change(ctx context.Context, l link, change func(*Secret) error) error {
	_, err := here.s.store.Update(ctx, l.replica(), func(sec *Secret) (Sealed, error) {
		if !l.is(sec) || sec.Revision > l.revision {
			return nil, errUnchanged
		}
		return nil, change(sec)
	})
	if errors.Is(err, errUnchanged) || errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

func (here sameStore) accessed(ctx context.Context, l link) time.Time {
	rec, err := here.s.store.Find(ctx, secrets.ID{ARN: l.replica()})
	if err != nil || !l.is(rec) {
		return time.Time{}
	}
	return rec.Accessed
}

// missing returns the versions whose values a record needs to become a replica:
// those it does not have, and those under another key. A version's value never
// changes, but its id can be used again once it was pruned.
func (of snapshot) missing(rec *Secret) (ids []string) {
	for _, v := range of.Versions {
		old, ok := rec.Versions.Find(v.ID)
		same := ok && !old.Empty && old.Created.Equal(v.Created) && old.KeyID == of.key
		if !v.Empty && !same {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// into makes a record what the replica should be. What is its own stays: when it
// was made, its key, and when it and its versions were read.
func (of snapshot) into(sec *Secret) {
	versions := slices.Clone(of.Versions)
	for i := range versions {
		old, _ := sec.Versions.Find(versions[i].ID)
		versions[i].Accessed, versions[i].KeyID = old.Accessed, of.key
	}
	sec.Description, sec.Policy, sec.Type, sec.OwningService = of.Description, of.Policy, of.Type, of.OwningService
	sec.Tags, sec.Versions = slices.Clone(of.Tags), versions
	sec.KMSKeyID, sec.PrimaryRegion, sec.Revision = of.key, of.primary.Region, of.revision
	sec.Changed, sec.ValueChanged = of.changed, of.valueChanged
}
