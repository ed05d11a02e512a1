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
	Description string `json:",omitempty"`
	KmsKeyID    string `json:"KmsKeyId,omitempty"`

	RotationEnabled  *bool          `json:",omitempty"` // nil until rotation was first configured
	RotationRules    *RotationRules `json:",omitempty"`
	LastRotatedDate  time.Time      `json:",omitzero"`
	NextRotationDate time.Time      `json:",omitzero"` // the last second of the window; past while rotation keeps failing

	CreatedDate      time.Time
	LastChangedDate  time.Time
	LastAccessedDate time.Time `json:",omitzero"` // midnight UTC of the day
	DeletedDate      time.Time `json:",omitzero"`

	Tags []Tag `json:",omitzero"` // nil until the first tag, then never nil again
}

// RotationRules is AWS's view of a schedule.
type RotationRules struct {
	AutomaticallyAfterDays int    `json:",omitempty"` // computed where ScheduleExpression says when
	Duration               string `json:",omitempty"`
	ScheduleExpression     string `json:",omitempty"`
}

// DescribeSecretInput names a secret.
type DescribeSecretInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"`
}

// DescribeSecretOutput is everything about a secret but its values.
type DescribeSecretOutput struct {
	Metadata
	VersionIDsToStages map[string][]string `json:"VersionIdsToStages,omitempty"`
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
	return &DescribeSecretOutput{s.metadata(sec), stages(sec.Versions)}, nil
}

func (s *Service) metadata(sec *Secret) Metadata {
	m := Metadata{
		ARN: sec.ARN.String(), Name: sec.ARN.Name, Description: sec.Description, KmsKeyID: sec.KMSKeyID,
		CreatedDate: sec.Created, LastChangedDate: sec.Changed, LastAccessedDate: sec.Accessed, DeletedDate: sec.Deleted,
		Tags: sec.Tags,
	}
	r := sec.Rotation
	if r == nil {
		return m
	}
	m.LastRotatedDate = r.LastRotated
	if r.Source == OnDemand {
		return m
	}
	on := r.Enabled && !r.Paused
	m.RotationEnabled = &on
	schedule, length, err := readRules(r.Rules, s.rules().minimum)
	if r.Rules.Schedule != "" {
		m.RotationRules = &RotationRules{Duration: r.Rules.Window, ScheduleExpression: r.Rules.Schedule}
	}
	if err != nil || schedule.IsZero() {
		return m
	}
	from := anchor(sec)
	m.RotationRules.AutomaticallyAfterDays = schedule.AutomaticallyAfterDays(from)
	if on && sec.Deleted.IsZero() && sec.Versions.IDWith(secrets.Current) != "" {
		m.NextRotationDate = schedule.WindowAt(schedule.NextFrom(from), length).NextRotationDate()
	}
	return m
}

// stages maps the versions that have labels to them; nil for none.
func stages(vs secrets.Versions) map[string][]string {
	var m map[string][]string
	for _, v := range vs {
		if len(v.Labels) > 0 {
			if m == nil {
				m = map[string][]string{}
			}
			m[v.ID] = v.Labels
		}
	}
	return m
}
