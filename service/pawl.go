package service

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// What AWS has no operation for, Pawl's own have: those of this file. On the
// wire they are in the same place as AWS's, under the prefix pawl.

// maxFollowing bounds how many rotations of one secret ListRotations foretells.
const maxFollowing = 99

// ListRotationsInput asks for one page of rotations, or for those of some
// secrets.
type ListRotationsInput struct {
	// SecretIDs are the secrets asked for; none = all of the account and region.
	SecretIDs []string `json:"SecretIds,omitempty" aws:"1..100 each:1..2048"`
	// PlanUntil, where set, asks for the rotations that follow until then.
	PlanUntil  time.Time `json:",omitzero"`
	MaxResults *int64    `json:",omitempty" aws:"1..100"` // nil = 100
	NextToken  string    `json:",omitempty" aws:"1..4096"`
}

// ListRotationsOutput is one page, in byte order of the name, or in the order of
// SecretIDs. NextToken is empty on the last one.
type ListRotationsOutput struct {
	Rotations []RotationStatus
	NextToken string `json:",omitempty"`
}

// ListRotations tells of every secret of the account and region that has a
// rotation how it is and when it is next, whoever declared it; of the secrets
// asked for, those that have none are left out. Errors:
// ResourceNotFoundException for a secret asked for, InvalidNextTokenException.
func (s *Service) ListRotations(ctx context.Context, in ListRotationsInput) (*ListRotationsOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	if len(in.SecretIDs) == 0 {
		if err := s.allowed(nil, ""); err != nil {
			return nil, err
		}
	}
	bound := []any{"ListRotations", s.at, in.SecretIDs, in.PlanUntil}
	after, err := startAt(in.NextToken, bound)
	if err != nil {
		return nil, err
	}
	out := &ListRotationsOutput{Rotations: []RotationStatus{}}
	add := func(sec *Secret) {
		r := s.status(sec)
		if !in.PlanUntil.IsZero() {
			r.Following = s.Following(r, in.PlanUntil, maxFollowing)
		}
		out.Rotations = append(out.Rotations, r)
	}
	if len(in.SecretIDs) > 0 {
		for _, id := range in.SecretIDs {
			sec, err := s.find(ctx, id)
			if err != nil {
				return nil, err
			}
			if rotates(sec) {
				add(sec)
			}
		}
		return out, nil
	}
	found, next, err := s.page(ctx, Listing{Order: ByName, After: after}, pageOf(in.MaxResults, 100), false, rotates)
	if err != nil {
		return nil, err
	}
	for _, sec := range found {
		add(sec)
	}
	if next != nil {
		out.NextToken = makeToken(next.pack(), bound)
	}
	return out, nil
}

// PauseRotationInput names a secret.
type PauseRotationInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"`
}

// PauseRotationOutput names the secret.
type PauseRotationOutput struct {
	ARN  string
	Name string
}

// PauseRotation is Pause. Errors: as Pause.
func (s *Service) PauseRotation(ctx context.Context, in PauseRotationInput) (*PauseRotationOutput, error) {
	sec, err := s.setPaused(ctx, in.SecretID, true)
	if err != nil {
		return nil, err
	}
	return &PauseRotationOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name}, nil
}

// ResumeRotationInput names a secret.
type ResumeRotationInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"`
}

// ResumeRotationOutput names the secret.
type ResumeRotationOutput struct {
	ARN  string
	Name string
}

// ResumeRotation is Resume. Errors: as Resume.
func (s *Service) ResumeRotation(ctx context.Context, in ResumeRotationInput) (*ResumeRotationOutput, error) {
	sec, err := s.setPaused(ctx, in.SecretID, false)
	if err != nil {
		return nil, err
	}
	s.tell(sec.ARN, true)
	return &ResumeRotationOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name}, nil
}

// StartRotationInput asks for one rotation.
type StartRotationInput struct {
	SecretID           string `json:"SecretId" aws:"required 1..2048"`
	ClientRequestToken string `json:",omitempty" aws:"32..64"` // the id of the version that the rotation makes
}

// StartRotationOutput names the version that the rotation makes.
type StartRotationOutput struct {
	ARN       string
	Name      string
	VersionID string `json:"VersionId"`
}

// StartRotation asks for one rotation of a secret, by whatever rules it has, and
// by the default rules where nobody declared any; also of one whose schedule is
// paused or off. The configuration stays as it is. It goes on after the answer,
// as RotateSecret's does. A rotation that is under way already is gone on with
// at once, and the answer names its version. Errors: InvalidParameterException
// without token and for one that another version has, InvalidRequestException
// for partners' and managed secrets and for one marked for deletion,
// ResourceNotFoundException, also for a secret without a value.
func (s *Service) StartRotation(ctx context.Context, in StartRotationInput) (*StartRotationOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID, func() error { return needToken(in.ClientRequestToken, in.SecretID) })
	if err != nil {
		return nil, err
	}
	id := in.ClientRequestToken
	sec, err = s.updateRotated(ctx, sec, in.SecretID, s.rulesNow, nil, func(sec *Secret) (Sealed, error) {
		if err := rotatable(sec, ""); err != nil {
			return nil, err
		}
		if err := hasValue(sec); err != nil {
			return nil, err
		}
		sec.Rotation = s.rotationOf(sec)
		if sec.Type != "" && sec.Rotation.Rules.Function == "" && !declared(sec.Rotation) {
			return nil, cannotRotatePartners(sec)
		}
		if v, ok := sec.Versions.Rotating(); ok {
			id = v.ID
		}
		begun, err := s.ask(sec, id, true)
		if err != nil {
			return nil, err
		}
		if sec.Versions.IDWith(secrets.Pending) == id && sec.Rotation.Asked != id {
			sec.Rotation.Asked, begun = id, true
		}
		if !begun {
			return nil, errUnchanged
		}
		sec.Changed = s.now()
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	s.tell(sec.ARN, true)
	return &StartRotationOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name, VersionID: id}, nil
}

// TestRotationInput names a secret.
type TestRotationInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"`
}

// TestRotationOutput tells what a rotation would do (Outcome), or why it would
// fail (Error and its Kind).
type TestRotationOutput struct {
	ARN     string
	Name    string
	Outcome string `json:",omitempty"`
	Error   string `json:",omitempty"`
	Kind    string `json:",omitempty"` // denied, invalid …
}

// TestRotation runs the checks of a rotation and answers when they are done.
// Nothing is changed. Errors: InvalidRequestException where no daemon rotates,
// and for a secret marked for deletion; ResourceNotFoundException.
func (s *Service) TestRotation(ctx context.Context, in TestRotationInput) (*TestRotationOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	if err := s.mayHaveRotated(ctx, sec, in.SecretID, s.rulesNow(sec)); err != nil {
		return nil, err
	}
	daemon, ok := s.daemon.get()
	if !ok {
		return nil, refuse(invalidRequest, sec.ARN.Name, "No daemon rotates the secrets of this server, so nothing can be tested.")
	}
	out := &TestRotationOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name}
	if out.Outcome, err = daemon.Check(ctx, sec.ARN); err != nil {
		out.Outcome, out.Error, out.Kind = "", err.Error(), secrets.KindOf(err).String()
	}
	return out, nil
}
