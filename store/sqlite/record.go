package sqlite

import (
	"encoding/json"
	"time"
	"unicode/utf8"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// A record travels as the values of its columns, in the order of these lists,
// and each value is nil, int64 or string. So what a change touched is found by
// comparing values with ==.
var (
	secretColumns  = []string{"partition", "region", "account", "name", "suffix", "description", "kms_key_id", "tags", "created", "changed", "accessed", "deleted", "purge_at", "value_changed", "due_at", "rotation", "policy", "type", "owning_service", "external", "primary_region", "replicas", "revision", "follow_at"}
	versionColumns = []string{"seq", "created", "accessed", "labels", "key_id", "value_id"}
)

// Places in versionColumns.
const (
	seqColumn   = 0
	valueColumn = 5
)

// stored is a secret as it is in the database.
type stored struct {
	id       int64
	cols     []any
	versions []storedVersion
}

type storedVersion struct {
	id     string
	cols   []any
	filled bool   // has a value
	sealed []byte // the value, if it was read too; not among the columns
}

// values returns those that were read.
func (r *stored) values() service.Sealed {
	out := service.Sealed{}
	for _, v := range r.versions {
		if v.sealed != nil {
			out[v.id] = v.sealed
		}
	}
	return out
}

func (r *stored) version(id string) *storedVersion {
	for i := range r.versions {
		if r.versions[i].id == id {
			return &r.versions[i]
		}
	}
	return nil
}

// decode makes the record that r is. An error means that the database holds
// what Pawl never wrote there.
func (r *stored) decode() (*service.Secret, error) {
	d := reader{cols: r.cols}
	s := &service.Secret{ARN: secrets.ARN{
		Partition: d.text(), Region: d.text(), Account: d.text(), Name: d.text(), Suffix: d.text(),
	}}
	s.Description, s.KMSKeyID = d.text(), d.text()
	var tags [][2]string
	if d.json(&tags) {
		s.Tags = make([]service.Tag, len(tags))
		for i, t := range tags {
			s.Tags[i] = service.Tag{Key: t[0], Value: t[1]}
		}
	}
	s.Created, s.Changed, s.Accessed, s.Deleted = d.time(), d.time(), d.time(), d.time()
	s.PurgeAt, s.ValueChanged, s.DueAt = d.time(), d.time(), d.time()
	var rotation secrets.Rotation
	if d.json(&rotation) {
		s.Rotation = &rotation
	}
	s.Policy, s.Type, s.OwningService = d.text(), d.text(), d.text()
	var external service.External
	if d.json(&external) {
		s.External = &external
	}
	s.PrimaryRegion = d.text()
	d.json(&s.Replicas)
	s.Revision, s.FollowAt = d.int(), d.time()
	for _, v := range r.versions {
		dv := reader{cols: v.cols[1:]}
		out := secrets.Version{ID: v.id, Empty: !v.filled, Created: dv.time(), Accessed: dv.time()}
		var labels []string
		if dv.json(&labels); len(labels) > 0 {
			out.Labels = labels
		}
		out.KeyID = dv.text()
		if dv.err != nil {
			return nil, secrets.Errorf(secrets.Invalid, "version %s in the database: %w", v.id, dv.err).WithHint(remedyDamaged)
		}
		s.Versions = append(s.Versions, out)
	}
	if d.err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "secret %q in the database: %w", s.ARN.Name, d.err).WithHint(remedyDamaged)
	}
	return s, nil
}

// reader takes column values one after another and keeps the first error.
type reader struct {
	cols []any
	err  error
}

func (d *reader) next() any {
	v := d.cols[0]
	d.cols = d.cols[1:]
	return v
}

func (d *reader) text() string {
	s, _ := d.next().(string)
	return s
}

func (d *reader) int() int64 {
	n, _ := d.next().(int64)
	return n
}

func (d *reader) time() time.Time {
	if us, ok := d.next().(int64); ok {
		return time.UnixMicro(us).UTC()
	}
	return time.Time{}
}

// json reads into v, and reports whether there was anything.
func (d *reader) json(v any) bool {
	s, ok := d.next().(string)
	if !ok {
		return false
	}
	if err := json.Unmarshal([]byte(s), v); err != nil && d.err == nil {
		d.err = err
	}
	return true
}

// encode renders a record for the database, keeping the order numbers of
// versions that old has already. The error is Invalid: a text is not UTF-8, or
// versions contradict themselves.
func encode(id int64, s *service.Secret, values service.Sealed, old *stored) (stored, error) {
	var w writer
	a := s.ARN
	for _, text := range []string{a.Partition, a.Region, a.Account, a.Name, a.Suffix, s.Description, s.KMSKeyID} {
		w.text(text)
	}
	if s.Tags == nil {
		w.put(nil)
	} else {
		tags := make([][2]string, len(s.Tags))
		for i, t := range s.Tags {
			w.check(t.Key, t.Value)
			tags[i] = [2]string{t.Key, t.Value}
		}
		w.json(tags)
	}
	for _, t := range []time.Time{s.Created, s.Changed, s.Accessed, s.Deleted, s.PurgeAt, s.ValueChanged, s.DueAt} {
		w.time(t)
	}
	if s.Rotation == nil {
		w.put(nil)
	} else {
		r := *s.Rotation
		for _, t := range []*time.Time{&r.Since, &r.LastRotated, &r.Attempt.NextTry, &r.Attempt.FailingSince} {
			*t = micro(*t)
		}
		w.json(r)
	}
	for _, text := range []string{s.Policy, s.Type, s.OwningService} {
		w.text(text)
	}
	if s.External == nil {
		w.put(nil)
	} else {
		w.json(s.External)
	}
	w.text(s.PrimaryRegion)
	if len(s.Replicas) == 0 {
		w.put(nil)
	} else {
		w.json(s.Replicas)
	}
	w.put(s.Revision)
	w.time(s.FollowAt)
	out := stored{id: id, cols: w.cols}
	seq := int64(0)
	for _, v := range s.Versions {
		if out.version(v.ID) != nil {
			return stored{}, secrets.Errorf(secrets.Invalid, "secret %q would have version %s twice", a.Name, v.ID)
		}
		_, given := values[v.ID]
		was := old.version(v.ID)
		if had := was != nil && was.filled; v.Empty == (given || had) {
			return stored{}, secrets.Errorf(secrets.Invalid, "version %s of secret %q: whether it is empty and whether it has a value do not agree", v.ID, a.Name)
		}
		seq++
		if was != nil {
			seq = max(seq, was.cols[seqColumn].(int64))
		}
		wv := writer{err: w.err}
		wv.check(v.ID)
		wv.put(seq)
		wv.time(v.Created)
		wv.time(v.Accessed)
		wv.check(v.Labels...)
		wv.json(append([]string{}, v.Labels...))
		wv.text(v.KeyID)
		if was != nil {
			wv.put(was.cols[valueColumn])
		} else {
			wv.put(nil) // writeVersions knows more
		}
		w.err = wv.err
		out.versions = append(out.versions, storedVersion{id: v.ID, cols: wv.cols, filled: !v.Empty})
	}
	for id, sealed := range values {
		if out.version(id) == nil || len(sealed) == 0 {
			return stored{}, secrets.Errorf(secrets.Invalid, "secret %q: a value for version %s, which it does not have, or an empty one", a.Name, id)
		}
	}
	if w.err != nil {
		return stored{}, secrets.Errorf(secrets.Invalid, "secret %q: %w", a.Name, w.err)
	}
	return out, nil
}

// writer collects column values and keeps the first error.
type writer struct {
	cols []any
	err  error
}

func (w *writer) put(v any) { w.cols = append(w.cols, v) }

func (w *writer) text(s string) {
	w.check(s)
	w.put(s)
}

func (w *writer) check(texts ...string) {
	for _, s := range texts {
		if !utf8.ValidString(s) && w.err == nil {
			w.err = secrets.Errorf(secrets.Invalid, "%q is not UTF-8", s)
		}
	}
}

func (w *writer) time(t time.Time) {
	if t.IsZero() {
		w.put(nil)
	} else {
		w.put(t.UnixMicro())
	}
}

func (w *writer) json(v any) {
	b, err := json.Marshal(v)
	if err != nil && w.err == nil {
		w.err = err
	}
	w.put(string(b))
}

// micro is t as the database would give it back.
func micro(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMicro(t.UnixMicro()).UTC()
}
