package service

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// What one Pawl asks another of replicas that are on it, or of the primary of
// one of its own: AWS has no operations for it, because nobody but AWS itself
// replicates there. Their actions are pawl:…Replica, so that neither
// secretsmanager:* nor a right to write secrets lets anybody use them.

// Server is another Pawl that has the replicas of a region, and the primaries
// that are there. A *client.Client is one, and a *Service.
type Server interface {
	ApplyReplica(ctx context.Context, in ApplyReplicaInput) (*ApplyReplicaOutput, error)
	RemoveReplica(ctx context.Context, in RemoveReplicaInput) (*RemoveReplicaOutput, error)
	DescribeReplica(ctx context.Context, in DescribeReplicaInput) (*DescribeReplicaOutput, error)
	ForgetReplica(ctx context.Context, in ForgetReplicaInput) (*ForgetReplicaOutput, error)
}

// ReplicaVersion is a version of a primary's. Its value is there only where the
// replica is to be given it.
type ReplicaVersion struct {
	VersionID     string   `json:"VersionId" aws:"required 32..64"`
	VersionStages []string `json:",omitempty" aws:"1..20 each:1..256"`
	CreatedDate   time.Time
	Empty         bool `json:",omitempty"` // it has no value
	GivenValue
}

// ApplyReplicaInput is what a replica should be: its primary as it was at a
// revision.
type ApplyReplicaInput struct {
	SecretID         string           `json:"SecretId" aws:"required 1..2048"` // the replica's whole ARN
	PrimaryRegion    string           `aws:"required 1..128 pattern:region"`
	Revision         int64            `aws:"required 1..1000000000000000000"`   // that of a promoted one is still a number
	KmsKeyID         string           `json:"KmsKeyId,omitempty" aws:"0..2048"` // of the replica's own; "" = the default key
	Force            bool             `json:",omitempty"`                       // a secret of this name that is in the way ends
	Description      string           `json:",omitempty" aws:"0..2048"`
	ResourcePolicy   string           `json:",omitempty" aws:"0..20480"`
	Type             string           `json:",omitempty" aws:"0..256"`
	OwningService    string           `json:",omitempty" aws:"0..128"`
	Tags             []Tag            `json:",omitzero"`
	Versions         []ReplicaVersion `json:",omitempty"`
	LastChangedDate  time.Time
	ValueChangedDate time.Time `json:",omitzero"`
	// Part: these are some versions alone, with their values, because all together
	// are too large for one request. They are put beside those that the replica has,
	// without labels; whatever the last request does not name goes with it.
	Part bool `json:",omitempty"`
}

// ApplyReplicaOutput tells what became of it. With neither Missing nor Failed it
// was done, or the replica is that of a later revision.
type ApplyReplicaOutput struct {
	ARN string
	// Revision is the replica's, if it is done.
	Revision int64
	// Missing are the versions whose values are needed; nothing was changed.
	Missing []string `json:",omitempty"`
	// Failed is why there can be no such replica, as a StatusMessage.
	Failed string `json:",omitempty"`
}

// ApplyReplica makes a replica equal to its primary, which is on another server,
// and makes it where there is none; one made from a later revision is left as it
// is. Errors: InvalidParameterException for what can't be a replica of this
// region and of the caller's account.
func (s *Service) ApplyReplica(ctx context.Context, in ApplyReplicaInput) (*ApplyReplicaOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	_, arn, err := s.findReplica(ctx, in.SecretID)
	if err == nil {
		err = in.check(arn)
	}
	if err != nil {
		return nil, err
	}
	out := &ApplyReplicaOutput{ARN: arn.String()}
	of := in.snapshot(arn)
	of.may = func(other *Secret) error { return s.allowed(other, in.SecretID) }
	out.Revision = in.Revision
	of.later = func(revision int64) { out.Revision = revision }
	err = sameStore{s}.apply(ctx, of)
	var never hopeless
	var lacks lacking
	switch {
	case errors.As(err, &never):
		out.Failed, out.Revision = string(never), 0
	case errors.As(err, &lacks):
		out.Missing, out.Revision = lacks, 0
	case err != nil:
		return nil, known(err, arn.Name)
	}
	return out, nil
}

// check refuses what no primary is, whose rules have been kept there already:
// what it says must not make a secret here that nobody can deal with.
func (in ApplyReplicaInput) check(arn secrets.ARN) error {
	bad := func(format string, args ...any) error { return refuse(invalidParameter, arn.Name, format, args...) }
	if in.PrimaryRegion == arn.Region {
		return bad("A replica is in another region than its primary.")
	}
	if in.ResourcePolicy != "" {
		if _, err := parsePolicy(arn.Name, in.ResourcePolicy); err != nil {
			return err
		}
	}
	if len(in.Tags) > MaxTags {
		return tooManyTags(arn.Name)
	}
	for i, t := range in.Tags {
		if slices.ContainsFunc(in.Tags[:i], func(o Tag) bool { return o.Key == t.Key }) {
			return bad("Duplicate tag key: '%s'.", t.Key)
		}
	}
	if most := 2 * secrets.MaxVersions; len(in.Versions) > most {
		return bad("A secret can have at most %d versions.", most)
	}
	ids, labels := map[string]bool{}, map[string]bool{}
	for _, v := range in.Versions {
		if ids[v.VersionID] {
			return bad("The version %s is there twice.", v.VersionID)
		}
		ids[v.VersionID] = true
		for _, l := range v.VersionStages {
			if labels[l] || l == secrets.Intent || in.Part {
				return bad("The staging label %s can't be on version %s.", l, v.VersionID)
			}
			labels[l] = true
		}
		if len(labels) > secrets.MaxLabels {
			return bad("A secret can have at most %d staging labels.", secrets.MaxLabels)
		}
		value, err := v.value(arn.Name)
		if err != nil {
			return err
		}
		if v.Empty && !value.IsZero() || in.Part && value.IsZero() {
			return bad("The version %s must have a value, and an empty one none.", v.VersionID)
		}
	}
	return nil
}

// snapshot is what the request says the replica should be.
func (in ApplyReplicaInput) snapshot(arn secrets.ARN) snapshot {
	of := snapshot{
		link: link{primary: arn, region: arn.Region, revision: in.Revision},
		copied: &copied{
			Description: in.Description, Policy: in.ResourcePolicy, Type: in.Type, OwningService: in.OwningService, Tags: in.Tags,
		},
		key: in.KmsKeyID, force: in.Force, part: in.Part, given: map[string]secrets.Value{},
		changed: in.LastChangedDate, valueChanged: in.ValueChangedDate,
	}
	of.primary.Region = in.PrimaryRegion
	for _, v := range in.Versions {
		of.Versions = append(of.Versions, secrets.Version{ID: v.VersionID, Created: v.CreatedDate, Labels: v.VersionStages, Empty: v.Empty})
		if value, _ := v.value(arn.Name); !value.IsZero() {
			of.given[v.VersionID] = value
		}
	}
	of.value = func(_ context.Context, id string) (secrets.Value, error) { return of.given[id], nil }
	return of
}

// findReplica finds what has the name of a replica that another server asks
// about; nil where there is none. It asks the caller's guard before all else:
// who may not do it learns neither what there is nor what is wrong.
func (s *Service) findReplica(ctx context.Context, secretID string) (sec *Secret, arn secrets.ARN, err error) {
	id, err := s.at.meant(secretID)
	if err != nil {
		return nil, arn, err
	}
	if arn = id.ARN; arn.Region == s.at.Region {
		sec, err = s.store.Find(ctx, secrets.ID{ByName: true, ARN: arn})
		if err != nil && !errors.Is(err, ErrNotFound) {
			return nil, arn, known(err, secretID)
		}
	}
	if err := s.allowed(sec, secretID); err != nil {
		return nil, arn, err
	}
	switch {
	case id.ByName || arn.Suffix == "":
		err = refuse(invalidParameter, secretID, "SecretId must be the whole ARN of a replica.")
	case arn.Region != s.at.Region || arn.Partition != s.at.Partition:
		err = refuse(invalidParameter, secretID, "A request signed for region %s can't be about a replica in region %s.", s.at.Region, arn.Region)
	case arn.Account != s.at.Account:
		err = refuse(invalidParameter, secretID, "The secret is of account %s, and the access key of account %s: replication needs a key of the secret's account.", arn.Account, s.at.Account)
	default:
		err = nil
	}
	return sec, arn, err
}

// RemoveReplicaInput names a replica, and its primary as it was when it gave it up.
type RemoveReplicaInput struct {
	SecretID      string `json:"SecretId" aws:"required 1..2048"` // the replica's whole ARN
	PrimaryRegion string `aws:"required 1..128 pattern:region"`
	Revision      int64  `aws:"required 1.."`
}

// RemoveReplicaOutput names what is a replica no more.
type RemoveReplicaOutput struct {
	ARN string
}

// RemoveReplica deletes a replica. What is no replica of that primary, or one
// from after the revision, is left as it is; that nothing is there is no error.
// Errors: as ApplyReplica.
func (s *Service) RemoveReplica(ctx context.Context, in RemoveReplicaInput) (*RemoveReplicaOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	_, arn, err := s.findReplica(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	l := link{primary: arn, region: arn.Region, revision: in.Revision}
	l.primary.Region = in.PrimaryRegion
	if err := (sameStore{s}).remove(ctx, l); err != nil {
		return nil, known(err, arn.Name)
	}
	return &RemoveReplicaOutput{ARN: arn.String()}, nil
}

// DescribeReplicaInput names a replica.
type DescribeReplicaInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"` // the replica's whole ARN
}

// DescribeReplicaOutput tells which revision of which primary a replica is.
type DescribeReplicaOutput struct {
	ARN           string
	PrimaryRegion string `json:",omitempty"` // absent where it is no replica
	Revision      int64
}

// DescribeReplica tells how far a replica is. It is a cheap question, by which a
// primary's server finds out whether this one is there again. Errors:
// ResourceNotFoundException, and as ApplyReplica.
func (s *Service) DescribeReplica(ctx context.Context, in DescribeReplicaInput) (*DescribeReplicaOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, arn, err := s.findReplica(ctx, in.SecretID)
	switch {
	case err != nil:
		return nil, err
	case sec == nil || sec.ARN != arn || expired(sec, s.now()):
		return nil, notFound(in.SecretID)
	}
	return &DescribeReplicaOutput{ARN: arn.String(), PrimaryRegion: sec.PrimaryRegion, Revision: sec.Revision}, nil
}

// ForgetReplicaInput names a primary, and the region whose replica is none any
// more.
type ForgetReplicaInput struct {
	SecretID      string `json:"SecretId" aws:"required 1..2048"`
	ReplicaRegion string `aws:"required 1..128 pattern:region"`
}

// ForgetReplicaOutput names the primary.
type ForgetReplicaOutput struct {
	ARN string
}

// ForgetReplica has a primary forget a replica that was made a secret of its own
// on another server, so that nothing is written to it any more. Errors:
// ResourceNotFoundException, and InvalidRequestException for a replica in this
// store: nothing would follow its primary any more, nor promote it.
func (s *Service) ForgetReplica(ctx context.Context, in ForgetReplicaInput) (*ForgetReplicaOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.find(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	l := link{primary: sec.ARN, region: in.ReplicaRegion}
	switch here, err := s.store.Find(ctx, secrets.ID{ARN: l.replica()}); {
	case err == nil && l.is(here):
		return nil, refuse(invalidRequest, sec.ARN.Name, "The replica in region %s is on this server.", l.region).
			WithHint("to promote it call StopReplicationToReplica in its region, to delete it RemoveRegionsFromReplication")
	case err != nil && !errors.Is(err, ErrNotFound):
		return nil, known(err, sec.ARN.Name)
	}
	sec, err = s.update(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		n := len(sec.Replicas)
		sec.Replicas = slices.DeleteFunc(sec.Replicas, func(r Replica) bool { return r.Region == in.ReplicaRegion })
		if len(sec.Replicas) == n {
			return nil, errUnchanged
		}
		sec.Changed = s.now()
		// Who is just writing to that region finds that it is not to be settled.
		revise(sec, sec.Changed)
		if !slices.ContainsFunc(sec.Replicas, Replica.open) {
			sec.FollowAt = time.Time{}
		}
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	return &ForgetReplicaOutput{ARN: sec.ARN.String()}, nil
}
