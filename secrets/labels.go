package secrets

import (
	"slices"
	"sort"
	"strings"
	"time"
)

// Staging labels with a meaning. Every other label is the user's own.
const (
	Current  = "AWSCURRENT"  // the version that readers get; on exactly one version once any exists
	Previous = "AWSPREVIOUS" // the version that was current before
	Pending  = "AWSPENDING"  // the version a rotation is making
	// Intent is Pawl's own label: the newest version whose value may have
	// reached a server. It is never removed, only moved.
	Intent = "PAWLINTENT"
)

// CopyPrefix begins the id of a version that is a copy of AWSCURRENT, made for a
// rotation function to be tested on: it is never rotated to.
const CopyPrefix = "pawl-test-"

// Limits of versions and labels.
// Source: AWS Secrets Manager user guide, "Quotas" and "Version pruning".
const (
	MaxLabels       = 20             // labels on all versions of a secret together
	MaxLabelLength  = 256            // characters
	MaxVersions     = 100            // beyond it, versions without labels are pruned
	MinDeprecation  = 24 * time.Hour // a version younger than this is never pruned
	MinVersionIDLen = 32
	MaxVersionIDLen = 64
)

// Version is what is known of a version besides its value.
type Version struct {
	ID       string
	Created  time.Time
	Accessed time.Time // day of the last read, midnight UTC; zero if never read
	Labels   []string  // in the order they were attached
	KeyID    string    // the key its value is encrypted with; "" = the default key
	Empty    bool      // asked for by a rotation, no value yet
}

// Has reports whether the version carries the label.
func (v Version) Has(label string) bool { return slices.Contains(v.Labels, label) }

// Versions are all versions of one secret. Its methods are the staging-label
// rules of AWS Secrets Manager (user guide, "What's in a Secrets Manager
// secret"; API reference, PutSecretValue and UpdateSecretVersionStage) as pure
// functions: they return a changed copy and leave the receiver as it was.
type Versions []Version

// Find returns the version with this id.
func (vs Versions) Find(id string) (Version, bool) {
	for _, v := range vs {
		if v.ID == id {
			return v, true
		}
	}
	return Version{}, false
}

// With returns the version that carries the label.
func (vs Versions) With(label string) (Version, bool) {
	for _, v := range vs {
		if v.Has(label) {
			return v, true
		}
	}
	return Version{}, false
}

// Rotating returns the version that a rotation under way rotates to: the one with
// AWSPENDING, unless that is AWSCURRENT already, or a copy for a test.
func (vs Versions) Rotating() (Version, bool) {
	v, ok := vs.With(Pending)
	if !ok || v.Has(Current) || strings.HasPrefix(v.ID, CopyPrefix) {
		return Version{}, false
	}
	return v, true
}

// IDWith returns the id of the version that carries the label, or "".
func (vs Versions) IDWith(label string) string {
	v, _ := vs.With(label)
	return v.ID
}

func (vs Versions) clone() Versions {
	out := make(Versions, len(vs))
	for i, v := range vs {
		v.Labels = slices.Clone(v.Labels)
		out[i] = v
	}
	return out
}

// detach takes label off whichever version has it, in place.
func (vs Versions) detach(label string) {
	for i := range vs {
		vs[i].Labels = slices.DeleteFunc(vs[i].Labels, func(l string) bool { return l == label })
	}
}

// attach puts label on the version with the id, in place, off any other.
func (vs Versions) attach(label, id string) {
	for i := range vs {
		if vs[i].ID == id {
			if !vs[i].Has(label) {
				vs.detach(label)
				vs[i].Labels = append(vs[i].Labels, label)
			}
			return
		}
	}
}

// makeCurrent moves AWSCURRENT to id and AWSPREVIOUS to the version that was
// current. Other labels stay where they are.
func (vs Versions) makeCurrent(id string) {
	old := vs.IDWith(Current)
	if old == id {
		return
	}
	if v, _ := vs.Find(id); v.Has(Previous) {
		vs.detach(Previous)
	}
	vs.attach(Current, id)
	if old != "" {
		vs.attach(Previous, old)
	}
}

// Put adds a version, or fills an empty one of the same id, and attaches
// labels. No labels means AWSCURRENT; the first value of a secret becomes
// AWSCURRENT whatever was asked. A new version that becomes current also takes
// AWSPENDING off every other version: a value put by hand abandons a running
// rotation. Errors: Invalid for a bad label or id, with Code
// LimitExceededException beyond 20 labels.
func (vs Versions) Put(v Version, labels []string) (Versions, error) {
	if err := ValidateVersionID(v.ID); err != nil {
		return nil, err
	}
	if len(labels) == 0 {
		labels = []string{Current}
	}
	for _, l := range labels {
		if err := ValidateLabel(l); err != nil {
			return nil, err
		}
	}
	out := vs.clone()
	if i := slices.IndexFunc(out, func(o Version) bool { return o.ID == v.ID }); i >= 0 {
		if !out[i].Empty {
			e := Errorf(Invalid, "version %s exists already", v.ID)
			e.Code = "ResourceExistsException"
			return nil, e
		}
		v.Labels = out[i].Labels
		out[i] = v
	} else {
		v.Labels = nil
		out = append(out, v)
	}
	becomesCurrent := !v.Empty && (slices.Contains(labels, Current) || vs.IDWith(Current) == "")
	if becomesCurrent {
		out.makeCurrent(v.ID)
	}
	if becomesCurrent && out.IDWith(Pending) != v.ID {
		out.detach(Pending)
	}
	for _, l := range labels {
		if l != Current {
			out.attach(l, v.ID)
		}
	}
	return out, out.checkLimit()
}

// Move is UpdateSecretVersionStage: it attaches label to version `to`, taking
// it off the one that has it; an empty `to` takes it off altogether. Moving
// AWSCURRENT moves AWSPREVIOUS along and leaves AWSPENDING where it is; it can't
// be taken off, nor moved to a version without a value. Whether the caller named
// the right version to take it from is the caller's check. Errors: Invalid.
func (vs Versions) Move(label, to string) (Versions, error) {
	if err := ValidateLabel(label); err != nil {
		return nil, err
	}
	out := vs.clone()
	if to == "" {
		if label == Current {
			e := Errorf(Invalid, "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.")
			e.Code = "InvalidParameterException"
			return nil, e
		}
		out.detach(label)
		return out, nil
	}
	v, ok := out.Find(to)
	if !ok {
		e := Errorf(Invalid, "Not a valid version: %s", to)
		e.Code = "InvalidParameterException"
		return nil, e
	}
	if label == Current {
		if v.Empty {
			e := Errorf(Invalid, "version %s has no value yet and can't become AWSCURRENT", to)
			e.Code = "InvalidRequestException"
			return nil, e
		}
		out.makeCurrent(to)
	} else {
		out.attach(label, to)
	}
	return out, out.checkLimit()
}

// Prune returns the versions to keep and the ids to drop: of more than 100
// versions, those without labels go, oldest first, but never one younger than
// 24 hours.
func (vs Versions) Prune(now time.Time) (keep Versions, drop []string) {
	return vs.drop(len(vs)-MaxVersions, func(v Version) bool { return now.Sub(v.Created) >= MinDeprecation })
}

// Trim is Prune without regard to age: of more than most versions, those
// without labels go, oldest first.
func (vs Versions) Trim(most int) (keep Versions, drop []string) {
	return vs.drop(len(vs)-most, func(Version) bool { return true })
}

// drop takes n versions away, or as many as have no label and may go, oldest
// first.
func (vs Versions) drop(n int, may func(Version) bool) (keep Versions, drop []string) {
	if n <= 0 {
		return vs, nil
	}
	var old Versions
	for _, v := range vs {
		if len(v.Labels) == 0 && may(v) {
			old = append(old, v)
		}
	}
	sort.SliceStable(old, func(i, j int) bool { return old[i].Created.Before(old[j].Created) })
	for _, v := range old[:min(n, len(old))] {
		drop = append(drop, v.ID)
	}
	for _, v := range vs {
		if !slices.Contains(drop, v.ID) {
			keep = append(keep, v)
		}
	}
	return keep, drop
}

func (vs Versions) checkLimit() error {
	n := 0
	for _, v := range vs {
		n += len(v.Labels)
		if v.Has(Intent) {
			n-- // Pawl's own, which nobody is charged for
		}
	}
	if n > MaxLabels {
		e := Errorf(Invalid, "a secret has at most %d staging labels over all its versions", MaxLabels)
		e.Code = "LimitExceededException"
		return e.WithHint("take a label off first: pawl secret stage NAME LABEL --remove")
	}
	return nil
}

// ValidateLabel checks a staging label: 1 to 256 characters, any of them.
func ValidateLabel(label string) error {
	if n := len([]rune(label)); n < 1 || n > MaxLabelLength {
		e := Errorf(Invalid, "a staging label has 1 to %d characters; this one has %d", MaxLabelLength, n)
		e.Code = "ValidationException"
		return e
	}
	return nil
}

// ValidateVersionID checks a version id, which is the ClientRequestToken that
// made the version: 32 to 64 characters, any of them, not only UUIDs.
func ValidateVersionID(id string) error {
	if n := len([]rune(id)); n < MinVersionIDLen || n > MaxVersionIDLen {
		e := Errorf(Invalid, "a version id has %d to %d characters; this one has %d", MinVersionIDLen, MaxVersionIDLen, n)
		e.Code = "ValidationException"
		return e
	}
	return nil
}
