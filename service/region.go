package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
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

// regionOf returns where the replicas in a region are: in the store of their
// primaries, unless the configuration says that another server has them.
func (s *Service) regionOf(name string) region {
	if there := s.serverOf(name); there != nil {
		return otherServer{s, name, there}
	}
	return sameStore{s}
}

// hopeless is why a replica failed for good, as its StatusMessage says it.
type hopeless string

func (h hopeless) Error() string { return string(h) }

// lacking are the versions whose values a replica needs and nobody gave.
type lacking []string

func (l lacking) Error() string { return fmt.Sprintf("%d values are needed", len(l)) }

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

	// Of one that another server sent: the values that it sent along, all that
	// value knows; whether these are a part of the versions alone; and whether the
	// sender may end a secret that is in the way.
	given map[string]secrets.Value
	part  bool
	may   func(*Secret) error
	// later is told the revision of a replica that is left as it is.
	later func(revision int64)
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
		sec := &Secret{ARN: of.replica(), Created: now}
		if of.given == nil { // else its primary is in no store that could be looked into
			sec.FollowAt = now.Add(confirmAfter)
		}
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
		of.leave(rec)
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
			of.leave(sec)
			return nil, errUnchanged
		}
		if lacks := of.lacks(sec); of.given != nil && len(lacks) > 0 {
			return nil, lacks
		}
		if !of.part && slices.ContainsFunc(of.missing(sec), func(id string) bool { return values[id] == nil }) {
			return nil, errAgain
		}
		of.into(sec)
		return values, nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
}

func (of snapshot) leave(rec *Secret) {
	if of.later != nil {
		of.later(rec.Revision)
	}
}

// makeWay ends the secret that has the replica's name, if it may: errAgain says
// that it did.
func (here sameStore) makeWay(ctx context.Context, of snapshot, arn secrets.ARN) error {
	_, err := here.s.store.Update(ctx, arn, func(sec *Secret) (Sealed, error) {
		ordinary := sec.PrimaryRegion == "" && len(sec.Replicas) == 0
		switch {
		case expired(sec, here.s.now()):
		case sec.ARN == of.replica() && sec.Revision-of.revision > promotion/2:
			return nil, hopeless(fmt.Sprintf("Replication failed: The secret was promoted in region %s and is no replica any more. "+
				"Remove the region from replication here, or delete the secret there first.", of.region))
		case !of.force || !ordinary:
			return nil, hopeless(fmt.Sprintf("Replication failed: Secret name %s already exists in region %s.", arn.Name, of.region))
		}
		if of.may != nil {
			if err := of.may(sec); err != nil {
				return nil, err
			}
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
	ids := of.missing(rec)
	if of.given != nil {
		if lacks := of.lacks(rec); len(lacks) > 0 {
			return nil, lacks
		}
		ids = slices.Sorted(maps.Keys(of.given)) // the record may have changed since it was read
	}
	values := Sealed{}
	for _, id := range ids {
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

// promotion is by how much the revision of a replica rises that becomes a secret
// of its own without its primary, which may be gone, or live on and not know: so
// that nothing the primary sends from then on, to overwrite it by force even, is
// newer; while what is made of it later is newer than the primary.
const promotion = 1 << 32

// promote is release where the primary can't be told first.
func (here sameStore) promote(ctx context.Context, l link) error {
	_, err := here.s.store.Update(ctx, l.replica(), func(sec *Secret) (Sealed, error) {
		if !l.is(sec) {
			return nil, errUnchanged
		}
		sec.PrimaryRegion, sec.FollowAt, sec.Changed = "", time.Time{}, here.s.now()
		sec.Revision += promotion
		return nil, nil
	})
	if errors.Is(err, errUnchanged) {
		return nil
	}
	return err
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
		same := ok && !old.Empty && old.Created.UnixMilli() == v.Created.UnixMilli() && old.KeyID == of.key
		if !v.Empty && !same {
			ids = append(ids, v.ID)
		}
	}
	return ids
}

// lacks returns those of the missing ones that were not given.
func (of snapshot) lacks(rec *Secret) lacking {
	return slices.DeleteFunc(of.missing(rec), func(id string) bool { return !of.given[id].IsZero() })
}

// into makes a record what the replica should be, or adds a part to it. What is
// its own stays: when it was made, its key, and when it and its versions were
// read.
func (of snapshot) into(sec *Secret) {
	if of.part {
		of.add(sec)
		return
	}
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

// mostParts is how many versions a replica has at most while parts of it arrive: its
// own and those of its primary, and what may have been pruned there meanwhile.
const mostParts = 8 * secrets.MaxVersions

// add adds versions to a record, or their values under another key. What earlier
// parts brought goes where it is more than a primary can have: it is asked for
// again if it is needed.
func (of snapshot) add(sec *Secret) {
	if len(sec.Versions)+len(of.Versions) > mostParts {
		sec.Versions = slices.DeleteFunc(sec.Versions, func(v secrets.Version) bool { return len(v.Labels) == 0 })
	}
	sec.PrimaryRegion = of.primary.Region
	for _, v := range of.Versions {
		v.KeyID = of.key
		i := slices.IndexFunc(sec.Versions, func(old secrets.Version) bool { return old.ID == v.ID })
		if i < 0 {
			sec.Versions = append(sec.Versions, v)
			continue
		}
		v.Labels, v.Accessed = sec.Versions[i].Labels, sec.Versions[i].Accessed
		sec.Versions[i] = v
	}
}
