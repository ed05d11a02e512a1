package postgres

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// stored is a secret's row.
type stored struct {
	id     int64
	arn    secrets.ARN
	record string
	writes int64
	// values are those that were read with it.
	values service.Sealed
}

// record is what the column of that name holds, as JSON: so every text comes back
// as it was, also what PostgreSQL's own type for text can't hold.
type record struct {
	Description   string            `json:"description,omitempty"`
	KMSKeyID      string            `json:"kmsKeyId,omitempty"`
	Tags          *[][2]string      `json:"tags,omitempty"` // none = never tagged
	Created       stamp             `json:"created,omitzero"`
	Changed       stamp             `json:"changed,omitzero"`
	Accessed      stamp             `json:"accessed,omitzero"`
	Deleted       stamp             `json:"deleted,omitzero"`
	PurgeAt       stamp             `json:"purgeAt,omitzero"`
	ValueChanged  stamp             `json:"valueChanged,omitzero"`
	DueAt         stamp             `json:"dueAt,omitzero"`
	FollowAt      stamp             `json:"followAt,omitzero"`
	Versions      []version         `json:"versions,omitempty"`
	Rotation      *secrets.Rotation `json:"rotation,omitempty"`
	Policy        string            `json:"policy,omitempty"`
	Type          string            `json:"type,omitempty"`
	OwningService string            `json:"owningService,omitempty"`
	External      *service.External `json:"external,omitempty"`
	PrimaryRegion string            `json:"primaryRegion,omitempty"`
	Replicas      []service.Replica `json:"replicas,omitempty"`
	Revision      int64             `json:"revision,omitempty"`
}

// version is one of a record's, in its order.
type version struct {
	ID       string   `json:"id"`
	Created  stamp    `json:"created,omitzero"`
	Accessed stamp    `json:"accessed,omitzero"`
	Labels   []string `json:"labels,omitempty"`
	KeyID    string   `json:"keyId,omitempty"`
	Empty    bool     `json:"empty,omitempty"`
}

// stamp is a time as the database keeps it: microseconds since 1970 UTC.
type stamp time.Time

func (t stamp) IsZero() bool { return time.Time(t).IsZero() }

func (t stamp) MarshalJSON() ([]byte, error) {
	return strconv.AppendInt(nil, time.Time(t).UnixMicro(), 10), nil
}

func (t *stamp) UnmarshalJSON(b []byte) error {
	us, err := strconv.ParseInt(string(b), 10, 64)
	*t = stamp(time.UnixMicro(us).UTC())
	return err
}

// micros is a column's value of a time; nil = never.
func micros(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	us := t.UnixMicro()
	return &us
}

// micros1970 is micros with what never was as if in 1970.
func micros1970(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// micro is t as the database would give it back.
func micro(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMicro(t.UnixMicro()).UTC()
}

// decode makes the record that r is. An error means that the database holds
// what Pawl never wrote there.
func (r *stored) decode() (*service.Secret, error) {
	var in record
	if err := json.Unmarshal([]byte(r.record), &in); err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "secret %q in the database: %w", r.arn.Name, err).WithHint(remedyDamaged)
	}
	out := &service.Secret{
		ARN: r.arn, Description: in.Description, KMSKeyID: in.KMSKeyID,
		Created: time.Time(in.Created), Changed: time.Time(in.Changed), Accessed: time.Time(in.Accessed), Deleted: time.Time(in.Deleted),
		PurgeAt: time.Time(in.PurgeAt), ValueChanged: time.Time(in.ValueChanged), DueAt: time.Time(in.DueAt), FollowAt: time.Time(in.FollowAt),
		Rotation: in.Rotation, Policy: in.Policy, Type: in.Type, OwningService: in.OwningService, External: in.External,
		PrimaryRegion: in.PrimaryRegion, Replicas: in.Replicas, Revision: in.Revision,
	}
	if in.Tags != nil {
		out.Tags = make([]service.Tag, len(*in.Tags))
		for i, t := range *in.Tags {
			out.Tags[i] = service.Tag{Key: t[0], Value: t[1]}
		}
	}
	if len(in.Versions) > 0 {
		out.Versions = make(secrets.Versions, len(in.Versions))
		for i, v := range in.Versions {
			out.Versions[i] = secrets.Version{
				ID: v.ID, Created: time.Time(v.Created), Accessed: time.Time(v.Accessed), Labels: v.Labels, KeyID: v.KeyID, Empty: v.Empty,
			}
		}
	}
	return out, nil
}

// encode renders a record for the database. had are the versions that have a value
// there, and values those that get one. The error is Invalid: a text is not UTF-8,
// or versions contradict themselves.
func encode(s *service.Secret, values service.Sealed, had map[string]bool) (string, error) {
	var w texts
	a := s.ARN
	w.columns(a.Partition, a.Region, a.Account, a.Name, a.Suffix)
	w.check(s.Description, s.KMSKeyID, s.Policy, s.Type, s.OwningService, s.PrimaryRegion)
	out := record{
		Description: s.Description, KMSKeyID: s.KMSKeyID,
		Created: stamp(s.Created), Changed: stamp(s.Changed), Accessed: stamp(s.Accessed), Deleted: stamp(s.Deleted),
		PurgeAt: stamp(s.PurgeAt), ValueChanged: stamp(s.ValueChanged), DueAt: stamp(s.DueAt), FollowAt: stamp(s.FollowAt),
		Policy: s.Policy, Type: s.Type, OwningService: s.OwningService, External: s.External,
		PrimaryRegion: s.PrimaryRegion, Replicas: s.Replicas, Revision: s.Revision,
	}
	if s.Tags != nil {
		tags := make([][2]string, len(s.Tags))
		for i, t := range s.Tags {
			w.check(t.Key, t.Value)
			tags[i] = [2]string{t.Key, t.Value}
		}
		out.Tags = &tags
	}
	if s.Rotation != nil {
		r := *s.Rotation
		for _, t := range []*time.Time{&r.Since, &r.LastRotated, &r.Attempt.NextTry, &r.Attempt.FailingSince} {
			*t = micro(*t)
		}
		out.Rotation = &r
	}
	seen := make(map[string]bool, len(s.Versions))
	for _, v := range s.Versions {
		if seen[v.ID] {
			return "", secrets.Errorf(secrets.Invalid, "secret %q would have version %s twice", a.Name, v.ID)
		}
		seen[v.ID] = true
		if _, given := values[v.ID]; v.Empty == (given || had[v.ID]) {
			return "", secrets.Errorf(secrets.Invalid, "version %s of secret %q: whether it is empty and whether it has a value do not agree", v.ID, a.Name)
		}
		w.columns(v.ID)
		w.check(v.Labels...)
		w.check(v.KeyID)
		out.Versions = append(out.Versions, version{v.ID, stamp(v.Created), stamp(v.Accessed), v.Labels, v.KeyID, v.Empty})
	}
	for id, sealed := range values {
		if !seen[id] || len(sealed) == 0 {
			return "", secrets.Errorf(secrets.Invalid, "secret %q: a value for version %s, which it does not have, or an empty one", a.Name, id)
		}
	}
	text := w.json(out)
	if w.err != nil {
		return "", secrets.Errorf(secrets.Invalid, "secret %q: %w", a.Name, w.err)
	}
	return text, nil
}

// filled returns the versions that have a value.
func filled(s *service.Secret) map[string]bool {
	out := make(map[string]bool, len(s.Versions))
	for _, v := range s.Versions {
		if !v.Empty {
			out[v.ID] = true
		}
	}
	return out
}

// currentVersion is the id of the version that is AWSCURRENT; nil = none.
func currentVersion(s *service.Secret) *string {
	if v, ok := s.Versions.With(secrets.Current); ok {
		return &v.ID
	}
	return nil
}

// texts checks what goes into the database, and keeps the first error.
type texts struct{ err error }

// check takes what goes into JSON, which would silently mend what is not UTF-8.
func (w *texts) check(all ...string) {
	for _, s := range all {
		if !utf8.ValidString(s) && w.err == nil {
			w.err = secrets.Errorf(secrets.Invalid, "%q is not UTF-8", s)
		}
	}
}

// columns takes what goes into a column of its own, which can't hold every text.
func (w *texts) columns(all ...string) {
	w.check(all...)
	for _, s := range all {
		if !columnText(s) && w.err == nil {
			w.err = secrets.Errorf(secrets.Invalid, "%q has a NUL in it", s)
		}
	}
}

func (w *texts) json(v any) string {
	b, err := json.Marshal(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	return string(b)
}

// columnText reports whether a column can hold all these texts. What it can't hold
// is not there.
func columnText(all ...string) bool {
	for _, s := range all {
		if strings.ContainsRune(s, 0) || !utf8.ValidString(s) {
			return false
		}
	}
	return true
}
