package service

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Metadata is what DescribeSecret and ListSecrets both tell of a secret. What
// is not set is absent from its JSON.
type Metadata struct {
	ARN         string
	Name        string
	Type        string `json:",omitempty"` // of a partner's secret
	Description string `json:",omitempty"`
	KmsKeyID    string `json:"KmsKeyId,omitempty"` // absent for the default key

	RotationEnabled                *bool                                `json:",omitempty"` // nil until rotation was first configured
	RotationLambdaARN              string                               `json:",omitempty"` // Pawl's own rotations have one too
	RotationRules                  *RotationRules                       `json:",omitempty"`
	ExternalSecretRotationMetadata []ExternalSecretRotationMetadataItem `json:",omitempty"`
	ExternalSecretRotationRoleArn  string                               `json:",omitempty"`
	LastRotatedDate                time.Time                            `json:",omitzero"`
	NextRotationDate               time.Time                            `json:",omitzero"` // the last second of the window; past while rotation keeps failing

	CreatedDate      time.Time
	LastChangedDate  time.Time
	LastAccessedDate time.Time `json:",omitzero"` // midnight UTC of the day
	DeletedDate      time.Time `json:",omitzero"`

	Tags          []Tag  `json:",omitzero"`  // nil until the first tag, then never nil again
	OwningService string `json:",omitempty"` // the AWS service that manages it
	PrimaryRegion string `json:",omitempty"` // only while it is replicated, on both ends
}

// RotationRules is AWS's view of a schedule. In an answer AutomaticallyAfterDays
// is computed where ScheduleExpression says when.
type RotationRules struct {
	AutomaticallyAfterDays int64  `json:",omitempty" aws:"1..1000"`
	Duration               string `json:",omitempty" aws:"2..3 pattern:duration"`
	ScheduleExpression     string `json:",omitempty" aws:"1..256 pattern:expression"`
}

// DescribeSecretInput names a secret.
type DescribeSecretInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"`
}

// DescribeSecretOutput is everything about a secret but its values.
type DescribeSecretOutput struct {
	Metadata
	VersionIDsToStages map[string][]string     `json:"VersionIdsToStages,omitempty"`
	ReplicationStatus  []ReplicationStatusType `json:",omitempty"` // only of a primary
}

// DescribeSecret tells what is known of a secret, also of one that is marked
// for deletion. Errors: ResourceNotFoundException.
func (s *Service) DescribeSecret(ctx context.Context, in DescribeSecretInput) (*DescribeSecretOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.find(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	return &DescribeSecretOutput{s.metadata(sec), s.stages(sec.Versions), s.replicationStatus(ctx, sec)}, nil
}

func (s *Service) metadata(sec *Secret) Metadata {
	m := Metadata{
		ARN: sec.ARN.String(), Name: sec.ARN.Name, Type: sec.Type, Description: sec.Description, KmsKeyID: sec.KMSKeyID,
		CreatedDate: sec.Created, LastChangedDate: sec.Changed, LastAccessedDate: sec.Accessed, DeletedDate: sec.Deleted,
		Tags: sec.Tags, OwningService: sec.OwningService, PrimaryRegion: primaryRegion(sec),
	}
	if e := sec.External; e != nil {
		m.ExternalSecretRotationMetadata, m.ExternalSecretRotationRoleArn = e.Metadata, e.RoleARN
	}
	if r := sec.Rotation; r != nil {
		m.LastRotatedDate = r.LastRotated
		if r.Source != OnDemand {
			s.describeRotation(sec, &m)
		}
	}
	return m
}

// describeRotation fills in what a declared rotation shows of itself.
func (s *Service) describeRotation(sec *Secret, m *Metadata) {
	r := sec.Rotation
	on := r.Enabled && !r.Paused
	m.RotationEnabled, m.RotationLambdaARN = &on, functionOf(sec)
	if !r.Rules.Scheduled() {
		return
	}
	m.RotationRules = &RotationRules{
		AutomaticallyAfterDays: int64(r.Rules.AfterDays), Duration: r.Rules.Window, ScheduleExpression: r.Rules.Schedule,
	}
	if schedule, _, err := readRules(r.Rules, s.rules().minimum); err == nil && r.Rules.AfterDays == 0 {
		m.RotationRules.AutomaticallyAfterDays = int64(schedule.AutomaticallyAfterDays(anchor(sec)))
	}
	m.NextRotationDate = s.nextRotationDate(sec, s.now())
}

// stages maps the versions that have labels to them; nil for none.
func (s *Service) stages(vs secrets.Versions) map[string][]string {
	var m map[string][]string
	for _, v := range vs {
		if labels := s.shown(v); len(labels) > 0 {
			if m == nil {
				m = map[string][]string{}
			}
			m[v.ID] = labels
		}
	}
	return m
}
