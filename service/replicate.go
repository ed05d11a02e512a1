package service

import (
	"context"
	"regexp"
	"slices"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// ReplicationStatusType is how far a replica is. Its name is AWS's.
type ReplicationStatusType struct {
	Region           string
	KmsKeyID         string `json:"KmsKeyId"`
	Status           ReplicaStatus
	StatusMessage    string    `json:",omitempty"`
	LastAccessedDate time.Time `json:",omitzero"` // the replica's: midnight UTC of the day
}

// replicated is the StatusMessage of a replica in sync.
// Source: AWS CLI, examples of describe-secret.
const replicated = "Replication succeeded"

// ReplicateSecretToRegionsInput asks for replicas. A region that has one already
// gets it anew if it failed, and under another key if KmsKeyID is another.
type ReplicateSecretToRegionsInput struct {
	SecretID                    string              `json:"SecretId" aws:"required 1..2048"`
	AddReplicaRegions           []ReplicaRegionType `aws:"required 1.."`
	ForceOverwriteReplicaSecret bool                `json:",omitempty"` // a secret of this name in such a region ends
}

// ReplicateSecretToRegionsOutput tells of all replicas of the secret.
type ReplicateSecretToRegionsOutput struct {
	ARN               string
	ReplicationStatus []ReplicationStatusType
}

// ReplicateSecretToRegions makes replicas of a secret in other regions, which
// from then on follow it. That one can't be made is no error: its status says
// so. Errors: InvalidParameterException for a region that can't have one and for
// a secret that is a replica itself, InvalidRequestException,
// ResourceNotFoundException.
func (s *Service) ReplicateSecretToRegions(ctx context.Context, in ReplicateSecretToRegionsInput) (*ReplicateSecretToRegionsOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	sec, err = s.updateAlive(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		revision := sec.Revision
		if err := s.planReplicas(sec, in.AddReplicaRegions, in.ForceOverwriteReplicaSecret); err != nil {
			return nil, err
		}
		if sec.Revision == revision {
			return nil, errUnchanged
		}
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	status, err := s.statusNow(ctx, sec.ARN)
	return &ReplicateSecretToRegionsOutput{ARN: sec.ARN.String(), ReplicationStatus: status}, err
}

// MaxReplicas is how many replicas a secret may have: more than any partition of
// AWS's has regions. Here every name of the right form is one.
const MaxReplicas = 64

// planReplicas notes in sec the replicas that were asked for. They are made by
// update, after its commit, and by follow for who writes otherwise. Errors:
// InvalidParameterException, InvalidRequestException, LimitExceededException.
func (s *Service) planReplicas(sec *Secret, add []ReplicaRegionType, force bool) error {
	tooMany := func() error {
		return refuse(limitExceeded, sec.ARN.Name, "A secret can have at most %d replicas.", MaxReplicas)
	}
	if len(add) > MaxReplicas {
		return tooMany()
	}
	planned := slices.Clone(sec.Replicas)
	for i, a := range add {
		twice := slices.ContainsFunc(add[:i], func(o ReplicaRegionType) bool { return o.Region == a.Region })
		if twice || a.Region == sec.ARN.Region || !regionExists(sec.ARN.Partition, a.Region) {
			return refuse(invalidParameter, sec.ARN.Name, "Invalid replica region.").
				WithHint("name regions of the partition %s other than %s, each once; not %q", sec.ARN.Partition, sec.ARN.Region, a.Region)
		}
		r := Replica{Region: a.Region, KMSKeyID: a.KmsKeyID, Status: InProgress, Force: force}
		switch j := slices.IndexFunc(planned, func(r Replica) bool { return r.Region == a.Region }); {
		case j < 0:
			planned = append(planned, r)
		case planned[j].leaving():
			return refuse(invalidRequest, sec.ARN.Name, "The replica in region %s is just being removed or promoted.", a.Region).
				WithHint("try again in a few seconds")
		case planned[j].Status == Failed || a.KmsKeyID != "" && a.KmsKeyID != planned[j].KMSKeyID:
			planned[j] = r
		case planned[j].Status == InProgress:
			planned[j].Force = planned[j].Force || force
		}
	}
	if len(planned) > MaxReplicas {
		return tooMany()
	}
	if !slices.Equal(planned, sec.Replicas) {
		now := s.now()
		sec.Replicas, sec.Changed = planned, now
		revise(sec, now)
	}
	return nil
}

// regions are the patterns of the regions of each partition.
// Source: regionRegex in the partition metadata that AWS's SDKs ship.
var regions = map[string]*regexp.Regexp{
	"aws":        regexp.MustCompile(`^(us|eu|ap|sa|ca|me|af|il|mx)-\w+-\d+$`),
	"aws-cn":     regexp.MustCompile(`^cn-\w+-\d+$`),
	"aws-us-gov": regexp.MustCompile(`^us-gov-\w+-\d+$`),
	"aws-iso":    regexp.MustCompile(`^us-iso-\w+-\d+$`),
	"aws-iso-b":  regexp.MustCompile(`^us-isob-\w+-\d+$`),
	"aws-iso-e":  regexp.MustCompile(`^eu-isoe-\w+-\d+$`),
	"aws-iso-f":  regexp.MustCompile(`^us-isof-\w+-\d+$`),
	"aws-eusc":   regexp.MustCompile(`^eusc-de-\w+-\d+$`),
}

func regionExists(partition, region string) bool {
	p := regions[partition]
	return p != nil && p.MatchString(region)
}

// replicationStatus tells of the replicas of a secret; nil where it has none.
func (s *Service) replicationStatus(ctx context.Context, sec *Secret) []ReplicationStatusType {
	var out []ReplicationStatusType
	for _, r := range sec.Replicas {
		if r.leaving() {
			continue
		}
		t := ReplicationStatusType{Region: r.Region, KmsKeyID: r.KMSKeyID, Status: r.Status, StatusMessage: r.Message}
		if t.KmsKeyID == "" {
			t.KmsKeyID = DefaultKey
		}
		if r.Status == InSync {
			t.StatusMessage = replicated
		}
		if r.Status != Failed {
			t.LastAccessedDate = s.regionOf(r.Region).accessed(ctx, link{primary: sec.ARN, region: r.Region})
		}
		out = append(out, t)
	}
	return out
}

// statusNow is replicationStatus read afresh, and never nil. Whoever asks again
// has what is behind tried again.
func (s *Service) statusNow(ctx context.Context, arn secrets.ARN) ([]ReplicationStatusType, error) {
	s.follow(ctx, arn)
	sec, err := s.store.Find(ctx, secrets.ID{ARN: arn})
	if err != nil {
		return nil, known(err, arn.Name)
	}
	return append([]ReplicationStatusType{}, s.replicationStatus(ctx, sec)...), nil
}

// RemoveRegionsFromReplicationInput says which replicas end.
type RemoveRegionsFromReplicationInput struct {
	SecretID             string   `json:"SecretId" aws:"required 1..2048"`
	RemoveReplicaRegions []string `aws:"required 1.. each:1..128 pattern:region"`
}

// RemoveRegionsFromReplicationOutput tells of the replicas that are left.
type RemoveRegionsFromReplicationOutput struct {
	ARN               string
	ReplicationStatus []ReplicationStatusType
}

// RemoveRegionsFromReplication deletes replicas of a secret at once and for
// good; regions without one do no harm. Errors: InvalidParameterException for a
// secret that is a replica itself, InvalidRequestException,
// ResourceNotFoundException.
func (s *Service) RemoveRegionsFromReplication(ctx context.Context, in RemoveRegionsFromReplicationInput) (*RemoveRegionsFromReplicationOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	sec, err = s.updateAlive(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		return nil, s.leave(sec, func(r *Replica) bool {
			r.Removing = slices.Contains(in.RemoveReplicaRegions, r.Region)
			return r.Removing
		})
	})
	if err != nil {
		return nil, err
	}
	status, err := s.statusNow(ctx, sec.ARN)
	return &RemoveRegionsFromReplicationOutput{ARN: sec.ARN.String(), ReplicationStatus: status}, err
}

// leave marks the replicas that mark chose and changed; update and Follow do the
// rest.
func (s *Service) leave(sec *Secret, mark func(*Replica) bool) error {
	marked := false
	for i := range sec.Replicas {
		if r := &sec.Replicas[i]; !r.leaving() && mark(r) {
			marked = true
		}
	}
	if !marked {
		return errUnchanged
	}
	sec.Changed = s.now()
	revise(sec, sec.Changed)
	return nil
}

// StopReplicationToReplicaInput names a replica in its own region.
type StopReplicationToReplicaInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"`
}

// StopReplicationToReplicaOutput names the secret that it is now.
type StopReplicationToReplicaOutput struct {
	ARN string
}

// StopReplicationToReplica makes a replica a secret of its own, with the ARN and
// the values it has. Should it fail half-way, it is finished in the background,
// and may be called again. It works on a replica whose primary is gone, too.
// Errors: InvalidRequestException for a secret that is no replica (AWS has no
// recorded answer) or is marked for deletion, ResourceNotFoundException.
func (s *Service) StopReplicationToReplica(ctx context.Context, in StopReplicationToReplicaInput) (*StopReplicationToReplicaOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	if sec.PrimaryRegion == "" {
		return nil, refuse(invalidRequest, sec.ARN.Name, "You can only stop replication on a replica secret, in the replica's Region.").
			WithHint("to delete replicas call RemoveRegionsFromReplication on the primary secret")
	}
	l := link{primary: sec.ARN, region: sec.ARN.Region, revision: sec.Revision}
	l.primary.Region = sec.PrimaryRegion
	// The primary first: it would go on writing to what is no longer its.
	primary, err := s.update(ctx, l.primary, func(primary *Secret) (Sealed, error) {
		return nil, s.leave(primary, func(r *Replica) bool {
			r.Stopping = r.Region == l.region
			return r.Stopping
		})
	})
	switch {
	case err == nil:
		l.revision = max(l.revision, primary.Revision)
		// Done by now, unless something failed that the caller should hear of, or the
		// primary does not know this replica.
		err = (sameStore{s}).release(ctx, l)
	case secrets.CodeOf(err) == resourceNotFound:
		// It is gone, or on another server, which may be gone too: whoever promotes
		// must not depend on it.
		if err = (sameStore{s}).promote(ctx, l); err == nil {
			s.tellPrimary(ctx, l)
		}
	}
	if err != nil {
		return nil, known(err, sec.ARN.Name)
	}
	return &StopReplicationToReplicaOutput{ARN: sec.ARN.String()}, nil
}
