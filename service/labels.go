package service

import (
	"context"
	"slices"

	"github.com/pawlhq/pawl/secrets"
)

// UpdateSecretVersionStageInput moves a label from one version to another, or
// takes it off where MoveToVersionID is empty.
type UpdateSecretVersionStageInput struct {
	SecretID            string `json:"SecretId" aws:"required 1..2048"`
	VersionStage        string `aws:"required 1..256"`
	MoveToVersionID     string `json:"MoveToVersionId,omitempty" aws:"32..64"`
	RemoveFromVersionID string `json:"RemoveFromVersionId,omitempty" aws:"32..64"`
}

// UpdateSecretVersionStageOutput names the secret.
type UpdateSecretVersionStageOutput struct {
	ARN  string
	Name string
}

// UpdateSecretVersionStage moves or removes a staging label. A label that is
// on a version is moved only by a caller who names that version in
// RemoveFromVersionID; one that is already where it should be stays, and
// nothing is written. PAWLINTENT is Pawl's own and can't be changed by hand.
// Errors: InvalidParameterException, InvalidRequestException,
// LimitExceededException, ResourceNotFoundException.
func (s *Service) UpdateSecretVersionStage(ctx context.Context, in UpdateSecretVersionStageInput) (*UpdateSecretVersionStageOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID, in.complete)
	if err != nil {
		return nil, err
	}
	sec, err = s.change(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		if err := in.check(sec.Versions); err != nil {
			return nil, secrets.At(err, sec.ARN.Name, "", "")
		}
		return nil, s.moveLabel(sec, in.VersionStage, in.MoveToVersionID)
	})
	if err != nil {
		return nil, err
	}
	return &UpdateSecretVersionStageOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name}, nil
}

// complete refuses what can't be done to any secret.
func (in UpdateSecretVersionStageInput) complete() error {
	if err := refuseIntent(in.SecretID, in.VersionStage); err != nil {
		return err
	}
	if in.MoveToVersionID == "" && in.RemoveFromVersionID == "" && in.VersionStage != secrets.Current {
		return refuse(invalidParameter, in.SecretID, "You must provide MoveToVersionId or RemoveFromVersionId.")
	}
	return nil
}

// check refuses a move whose caller is wrong about where the label is.
func (in UpdateSecretVersionStageInput) check(vs secrets.Versions) error {
	label, to, from := in.VersionStage, in.MoveToVersionID, in.RemoveFromVersionID
	if label == secrets.Current && to == "" {
		_, err := vs.Move(label, "") // the rule's own words
		return err
	}
	holder := vs.IDWith(label)
	for _, id := range []string{to, from} {
		if _, ok := vs.Find(id); id != "" && !ok {
			return refuse(invalidParameter, "", "Not a valid version: %s", id)
		}
	}
	switch {
	case to != "" && to == holder: // done already, perhaps by this very request
	case from == "" && holder != "":
		return refuse(invalidParameter, "", "The parameter RemoveFromVersionId can't be empty. Staging label %s is currently attached to version %s, so you must explicitly reference that version in RemoveFromVersionId.", label, holder)
	case from != holder:
		return refuse(invalidParameter, "", "Version stage %s not found in version %s", label, from)
	}
	return nil
}

// moveLabel moves or removes a label within sec; errUnchanged where it is in
// place.
func (s *Service) moveLabel(sec *Secret, label, to string) error {
	if sec.Versions.IDWith(label) == to {
		return errUnchanged
	}
	versions, err := sec.Versions.Move(label, to)
	if err != nil {
		return secrets.At(err, sec.ARN.Name, "", "")
	}
	sec.Versions, sec.Changed = versions, s.now()
	return nil
}

// shown returns the labels of a version that the caller gets to see.
func (s *Service) shown(v secrets.Version) []string {
	if s.at.Own || !v.Has(secrets.Intent) {
		return v.Labels
	}
	var out []string
	for _, l := range v.Labels {
		if l != secrets.Intent {
			out = append(out, l)
		}
	}
	return out
}

// refuseIntent keeps the label that says what a server may have heard out of
// everybody's hands but the rotator's.
func refuseIntent(secret string, labels ...string) error {
	if !slices.Contains(labels, secrets.Intent) {
		return nil
	}
	return refuse(invalidParameter, secret, "Staging label %s belongs to Pawl, which keeps in it what the server may know; it can't be set, moved or removed by hand.", secrets.Intent)
}
