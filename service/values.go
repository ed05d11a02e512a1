package service

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// SecretText is a SecretString member: a JSON string on the way in, redacted on
// every way out.
type SecretText struct{ secrets.Value }

// UnmarshalJSON reads a JSON string; null is absent.
func (t *SecretText) UnmarshalJSON(b []byte) error {
	var p *string
	if err := json.Unmarshal(b, &p); err != nil || p == nil {
		return err
	}
	t.Value = secrets.Text(*p)
	return nil
}

// SecretBlob is a SecretBinary member: standard base64 on the way in, redacted
// on every way out.
type SecretBlob struct{ secrets.Value }

// UnmarshalJSON reads base64 in a JSON string; null is absent.
func (t *SecretBlob) UnmarshalJSON(b []byte) error {
	var p *string
	if err := json.Unmarshal(b, &p); err != nil || p == nil {
		return err
	}
	data, err := base64.StdEncoding.DecodeString(*p)
	if err != nil {
		return errors.New("SecretBinary is not base64") // without a part of it
	}
	t.Value = secrets.Binary(data)
	return nil
}

// GivenValue is the value in a request, as one of two members.
type GivenValue struct {
	SecretString SecretText `json:"SecretString,omitzero" aws:"1..65536 secret"`
	SecretBinary SecretBlob `json:"SecretBinary,omitzero" aws:"1..65536 secret"`
}

// Give makes a GivenValue of a value.
func Give(v secrets.Value) GivenValue {
	if v.IsBinary() {
		return GivenValue{SecretBinary: SecretBlob{v}}
	}
	return GivenValue{SecretString: SecretText{v}}
}

// value returns the one that was given, or the zero Value.
func (g GivenValue) value(secret string) (secrets.Value, error) {
	v := g.SecretString.Value
	switch {
	case v.IsZero():
		v = g.SecretBinary.Value
	case !g.SecretBinary.IsZero():
		return secrets.Value{}, refuse(invalidParameter, secret, "You can't specify both a binary secret value and a string secret value in the same secret.")
	}
	if v.Len() == 0 {
		return secrets.Value{}, nil
	}
	return v, secrets.At(v.Validate(), secret, "", "")
}

// GetSecretValueInput says which version to read: neither id nor label means
// AWSCURRENT.
type GetSecretValueInput struct {
	SecretID     string `json:"SecretId" aws:"required 1..2048"`
	VersionID    string `json:"VersionId,omitempty" aws:"32..64"`
	VersionStage string `json:"VersionStage,omitempty" aws:"1..256"`
}

// GetSecretValueOutput is a version with its value. As JSON it shows the value
// (SecretString or SecretBinary): that is its purpose. Printed or logged it
// does not.
type GetSecretValueOutput struct {
	ARN           string
	Name          string
	VersionID     string `json:"VersionId"`
	Value         secrets.Value
	VersionStages []string
	CreatedDate   time.Time // the version's
}

// MarshalJSON writes AWS's members, the value in the clear.
func (o GetSecretValueOutput) MarshalJSON() ([]byte, error) {
	out := struct {
		ARN           string
		Name          string
		VersionID     string   `json:"VersionId"`
		SecretString  *string  `json:",omitempty"`
		SecretBinary  []byte   `json:",omitempty"`
		VersionStages []string `json:",omitempty"`
		CreatedDate   time.Time
	}{o.ARN, o.Name, o.VersionID, nil, nil, o.VersionStages, o.CreatedDate}
	if b := o.Value.Reveal(); o.Value.IsBinary() {
		out.SecretBinary = b
	} else {
		text := string(b)
		out.SecretString = &text
	}
	return json.Marshal(out)
}

// LogValue keeps the value out of logs, which would use MarshalJSON.
func (o GetSecretValueOutput) LogValue() slog.Value {
	return slog.GroupValue(slog.String("ARN", o.ARN), slog.String("VersionId", o.VersionID), slog.Any("value", o.Value))
}

// GetSecretValue reads a version's value and notes the day of the reading.
// Errors: ResourceNotFoundException for a secret, version or label that is
// missing and for a version still empty; InvalidRequestException for a label
// that is not on the version named, for a secret marked for deletion, and for
// another account's under the default key; DecryptionFailure.
func (s *Service) GetSecretValue(ctx context.Context, in GetSecretValueInput) (*GetSecretValueOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.peekTo(ctx, "", in.SecretID)
	if err == nil {
		err = alive(sec)
	}
	if err != nil {
		return nil, err
	}
	return s.read(ctx, sec, in.VersionID, in.VersionStage)
}

// read is GetSecretValue of a secret that was found, or only looked at.
func (s *Service) read(ctx context.Context, sec *Secret, id, label string) (*GetSecretValueOutput, error) {
	v, err := pick(sec, id, label)
	if err != nil {
		return nil, err
	}
	if err := s.mayUseKey(sec, v.KeyID); err != nil {
		return nil, err
	}
	arn := sec.ARN.String()
	value, err := s.openNamed(ctx, sec.ARN, arn, v.ID)
	if errors.Is(err, ErrNotFound) {
		return nil, valueless(sec, id, label) // pruned between the two reads
	}
	if err != nil {
		return nil, err
	}
	s.noteAccess(ctx, sec, v)
	return &GetSecretValueOutput{
		ARN: arn, Name: sec.ARN.Name, VersionID: v.ID,
		Value: value, VersionStages: slices.Clone(s.shown(v)), CreatedDate: v.Created,
	}, nil
}

// mayUseKey refuses a value of another account's secret under the default key,
// which only its own account can use.
func (s *Service) mayUseKey(sec *Secret, key string) error {
	if sec.ARN.Account == s.at.Account || !isDefaultKey(key) {
		return nil
	}
	return refuse(invalidRequest, sec.ARN.Name, "You can't access a secret from a different AWS account if you encrypt the secret with the default KMS service key.")
}

// pick chooses the version to read: neither id nor label means AWSCURRENT.
func pick(sec *Secret, id, label string) (v secrets.Version, err error) {
	if id == "" {
		label = cmp.Or(label, secrets.Current)
	}
	which := id
	if which == "" {
		which = sec.Versions.IDWith(label)
	}
	v, ok := sec.Versions.Find(which)
	switch {
	case ok && label != "" && !v.Has(label):
		err = refuse(invalidRequest, sec.ARN.Name, "You provided a VersionStage that is not associated to the provided VersionId.")
	case !ok, v.Empty:
		err = valueless(sec, id, label)
	}
	return v, err
}

// valueless says that the version that pick would choose has no value.
func valueless(sec *Secret, id, label string) error {
	what, asked := "VersionId", id
	if id == "" {
		what, asked = "staging label", cmp.Or(label, secrets.Current)
	}
	return refuse(resourceNotFound, sec.ARN.Name, "Secrets Manager can't find the specified secret value for %s: %s", what, asked)
}

// noteAccess records the day of a reading, at most once a day for each version.
// It is a nicety: a store that can't be written to must not keep readers from
// their secrets, so its errors are dropped.
func (s *Service) noteAccess(ctx context.Context, sec *Secret, v secrets.Version) {
	today := s.now().Truncate(24 * time.Hour)
	if !sec.Accessed.Before(today) && !v.Accessed.Before(today) {
		return
	}
	_, _ = s.update(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		noted := !sec.Accessed.Before(today)
		sec.Accessed = today
		for i := range sec.Versions {
			if sec.Versions[i].ID == v.ID {
				noted = noted && !sec.Versions[i].Accessed.Before(today)
				sec.Versions[i].Accessed = today
			}
		}
		if noted {
			return nil, errUnchanged
		}
		return nil, nil
	})
}

// PutSecretValueInput is a new version. Its id is ClientRequestToken.
type PutSecretValueInput struct {
	SecretID           string `json:"SecretId" aws:"required 1..2048"`
	ClientRequestToken string `aws:"32..64"`
	GivenValue
	VersionStages []string `json:",omitempty" aws:"1..20 each:1..256"`            // none = AWSCURRENT
	RotationToken string   `json:",omitempty" aws:"36..256 pattern:token secret"` // of a function in another account; not used
}

// PutSecretValueOutput names the version and the labels now on it.
type PutSecretValueOutput struct {
	ARN           string
	Name          string
	VersionID     string `json:"VersionId"`
	VersionStages []string
}

// PutSecretValue adds a version, or fills the empty one of that id. The same
// token with the same value again changes nothing and gives the first answer.
// Errors: InvalidRequestException without token or value or for a secret
// marked for deletion, InvalidParameterException, ResourceNotFoundException,
// ResourceExistsException for a token used for another value,
// LimitExceededException beyond 20 labels or some 100 versions,
// EncryptionFailure, DecryptionFailure.
func (s *Service) PutSecretValue(ctx context.Context, in PutSecretValueInput) (*PutSecretValueOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	var v secrets.Value
	sec, err := s.findAlive(ctx, in.SecretID, func() (err error) {
		v, err = in.check()
		return err
	})
	if err != nil {
		return nil, err
	}
	a := s.ahead(sec.ARN, in.ClientRequestToken, v)
	if err := a.expect(ctx, sec.KMSKeyID); err != nil {
		return nil, err
	}
	used := false
	var after *Secret
	err = a.write(ctx, func() (err error) {
		after, err = s.change(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
			if err := s.mayUseKey(sec, sec.KMSKeyID); err != nil {
				return nil, err
			}
			if old, ok := sec.Versions.Find(in.ClientRequestToken); ok && !old.Empty {
				used = true
				return nil, cmp.Or(s.mayUseKey(sec, old.KeyID), errUnchanged)
			}
			values, err := a.fresh(sec.KMSKeyID)
			if err != nil {
				return nil, err
			}
			return values, s.addVersion(sec, in.ClientRequestToken, in.VersionStages, false)
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if used {
		if err := s.sameValue(ctx, after.ARN, in.ClientRequestToken, v); err != nil {
			return nil, err
		}
	}
	made, _ := after.Versions.Find(in.ClientRequestToken)
	return &PutSecretValueOutput{ARN: after.ARN.String(), Name: after.ARN.Name, VersionID: made.ID, VersionStages: s.shown(made)}, nil
}

func (in PutSecretValueInput) check() (secrets.Value, error) {
	if err := requireToken(in.ClientRequestToken, in.SecretID); err != nil {
		return secrets.Value{}, err
	}
	if err := refuseIntent(in.SecretID, in.VersionStages...); err != nil {
		return secrets.Value{}, err
	}
	v, err := in.value(in.SecretID)
	if err == nil && v.IsZero() {
		err = refuse(invalidRequest, in.SecretID, "You must provide either SecretString or SecretBinary.")
	}
	return v, err
}

// addVersion puts a version into sec and prunes old ones. Where too many are
// left, because they are too young to be pruned, it gives
// LimitExceededException; not so for a rotation of Pawl's own, which must never
// be stopped by that: there the oldest go however young they are.
func (s *Service) addVersion(sec *Secret, id string, labels []string, rotating bool) error {
	now := s.now()
	before := len(sec.Versions)
	versions, err := sec.Versions.Put(secrets.Version{ID: id, Created: now, KeyID: sec.KMSKeyID}, labels)
	if err != nil {
		return secrets.At(err, sec.ARN.Name, "", "")
	}
	versions, _ = versions.Prune(now)
	if rotating {
		versions, _ = versions.Trim(2 * secrets.MaxVersions)
	} else if len(versions) > secrets.MaxVersions && len(versions) > before {
		return refuse(limitExceeded, sec.ARN.Name, "The secret has %d versions already, and none that could be removed.", before).
			WithHint("versions without a staging label are removed when they are %d hours old", secrets.MinDeprecation/time.Hour)
	}
	sec.Versions, sec.Changed = versions, now
	return nil
}

// sameValue refuses a token that was used before for another value.
func (s *Service) sameValue(ctx context.Context, arn secrets.ARN, token string, v secrets.Value) error {
	old, err := s.open(ctx, arn, token)
	if err != nil {
		return known(err, arn.Name)
	}
	if !old.Equal(v) {
		return tokenInUse(token, arn)
	}
	return nil
}

// Credentials reads and parses the AWSCURRENT value of a secret, as Pawl itself
// needs it (a superuser's secret); LastAccessedDate stays as it was. Errors: as
// GetSecretValue, and Invalid for a value that is not a JSON object.
func (s *Service) Credentials(ctx context.Context, id string) (secrets.Credentials, secrets.ARN, error) {
	sec, err := s.lookUp(ctx, id)
	if err != nil {
		return secrets.Credentials{}, secrets.ARN{}, err
	}
	v, err := pick(sec, "", secrets.Current)
	if err != nil {
		return secrets.Credentials{}, secrets.ARN{}, err
	}
	value, err := s.open(ctx, sec.ARN, v.ID)
	if errors.Is(err, ErrNotFound) {
		err = valueless(sec, "", secrets.Current)
	}
	if err != nil {
		return secrets.Credentials{}, secrets.ARN{}, err
	}
	cred, err := secrets.ParseCredentials(value)
	return cred, sec.ARN, secrets.At(err, sec.ARN.Name, "", "")
}
