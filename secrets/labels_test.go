package secrets

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// tid makes a version id of legal length from a short name.
func tid(name string) string { return name + strings.Repeat("-", MinVersionIDLen-len(name)) }

// labelling renders where labels are: "v1[AWSCURRENT X] v2[]".
func labelling(vs Versions) string {
	var out []string
	for _, v := range vs {
		ls := slices.Sorted(slices.Values(v.Labels))
		out = append(out, strings.TrimRight(v.ID, "-")+"["+strings.Join(ls, " ")+"]")
	}
	return strings.Join(out, " ")
}

// step is one call: a Put of a new version ("v2"), with labels, or a Move of a
// label.
type step struct {
	put   string
	empty bool
	move  string
	to    string
	with  []string
}

// What was recorded on AWS, or is documented, call by call.
func TestLabelsAsRecorded(t *testing.T) {
	put := func(id string, labels ...string) step { return step{put: id, with: labels} }
	empty := func(id string, labels ...string) step { return step{put: id, with: labels, empty: true} }
	move := func(label, to string) step { return step{move: label, to: to} }
	for _, c := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"the first value is current", []step{put("v1")}, "v1[AWSCURRENT]"},
		{"the first value is current whatever was asked", []step{put("v1", "MINE")}, "v1[AWSCURRENT MINE]"},
		{"the second takes current, the first is previous", []step{put("v1"), put("v2")}, "v1[AWSPREVIOUS] v2[AWSCURRENT]"},
		{"the third leaves the first without a label", []step{put("v1"), put("v2"), put("v3")}, "v1[] v2[AWSPREVIOUS] v3[AWSCURRENT]"},
		{"custom labels leave current alone", []step{put("v1"), put("v2", "A", "B")}, "v1[AWSCURRENT] v2[A B]"},
		{"current and a custom label", []step{put("v1", "AWSCURRENT", "X"), put("v2", "AWSCURRENT", "X")}, "v1[AWSPREVIOUS] v2[AWSCURRENT X]"},
		{"custom labels stay on the version that was current", []step{put("v1", "PUT0"), put("v2"), put("v3")}, "v1[PUT0] v2[AWSPREVIOUS] v3[AWSCURRENT]"},
		{"a pending version", []step{put("v1"), put("v2", "AWSPENDING")}, "v1[AWSCURRENT] v2[AWSPENDING]"},
		{"a newer pending version", []step{put("v1"), put("v2", "AWSPENDING"), put("v3", "AWSPENDING")}, "v1[AWSCURRENT] v2[] v3[AWSPENDING]"},
		{"pending moves off the current version", []step{put("v1"), put("v2", "AWSPENDING"), move("AWSCURRENT", "v2"), put("v3", "AWSPENDING")}, "v1[AWSPREVIOUS] v2[AWSCURRENT] v3[AWSPENDING]"},
		{"moving current to the pending version keeps pending", []step{put("v1"), put("v2", "AWSPENDING"), move("AWSCURRENT", "v2")}, "v1[AWSPREVIOUS] v2[AWSCURRENT AWSPENDING]"},
		{"a put takes pending off the version that was current", []step{put("v1"), put("v2", "AWSPENDING"), move("AWSCURRENT", "v2"), put("v3")}, "v1[] v2[AWSPREVIOUS] v3[AWSCURRENT]"},
		{"a put abandons a running rotation", []step{put("v1"), put("v2", "AWSPENDING"), put("v3")}, "v1[AWSPREVIOUS] v2[] v3[AWSCURRENT]"},
		{"but leaves Pawl's mark of it", []step{put("v1"), put("v2", "AWSPENDING", Intent), put("v3")}, "v1[AWSPREVIOUS] v2[PAWLINTENT] v3[AWSCURRENT]"},
		{"a rollback swaps current and previous", []step{put("v1"), put("v2"), move("AWSCURRENT", "v1")}, "v1[AWSCURRENT] v2[AWSPREVIOUS]"},
		{"a rollback further leaves the middle bare", []step{put("v1"), put("v2"), put("v3"), move("AWSCURRENT", "v1")}, "v1[AWSCURRENT] v2[] v3[AWSPREVIOUS]"},
		{"current onto itself", []step{put("v1"), put("v2"), move("AWSCURRENT", "v2")}, "v1[AWSPREVIOUS] v2[AWSCURRENT]"},
		{"a label moves", []step{put("v1"), put("v2", "X"), move("X", "v1")}, "v1[AWSCURRENT X] v2[]"},
		{"a label is taken off", []step{put("v1"), put("v2", "X"), move("X", "")}, "v1[AWSCURRENT] v2[]"},
		{"a label that is nowhere is taken off", []step{put("v1"), move("X", "")}, "v1[AWSCURRENT]"},
		{"labels differ in case", []step{put("v1"), put("v2", "awscurrent")}, "v1[AWSCURRENT] v2[awscurrent]"},
		{"an unknown AWS label is custom", []step{put("v1"), put("v2", "AWSSOMETHING")}, "v1[AWSCURRENT] v2[AWSSOMETHING]"},
		{"an empty version can't be the first value", []step{empty("v1", "AWSPENDING")}, "v1[AWSPENDING]"},
		{"a rotation fills its empty version", []step{put("v1"), empty("v2", "AWSPENDING"), put("v2", "AWSPENDING")}, "v1[AWSCURRENT] v2[AWSPENDING]"},
		{"filled without labels it is current, still pending", []step{put("v1"), empty("v2", "AWSPENDING"), put("v2")}, "v1[AWSPREVIOUS] v2[AWSCURRENT AWSPENDING]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var vs Versions
			for _, s := range c.steps {
				var err error
				if s.put != "" {
					vs, err = vs.Put(Version{ID: tid(s.put), Empty: s.empty}, s.with)
				} else {
					to := s.to
					if to != "" {
						to = tid(to)
					}
					vs, err = vs.Move(s.move, to)
				}
				if err != nil {
					t.Fatalf("%+v: %v", s, err)
				}
			}
			if got := labelling(vs); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestLabelsRefuse(t *testing.T) {
	vs, err := Versions{}.Put(Version{ID: tid("v1")}, nil)
	if err != nil {
		t.Fatal(err)
	}
	vs, err = vs.Put(Version{ID: tid("void"), Empty: true}, []string{Pending})
	if err != nil {
		t.Fatal(err)
	}
	many := make([]string, MaxLabels)
	for i := range many {
		many[i] = fmt.Sprint("L", i)
	}
	first := func(_ Versions, err error) error { return err }
	for _, c := range []struct {
		name, code, text string
		err              error
	}{
		{"removing current", "InvalidParameterException", "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed.", first(vs.Move(Current, ""))},
		{"unknown version", "InvalidParameterException", "Not a valid version: " + tid("v9"), first(vs.Move("X", tid("v9")))},
		{"current to an empty version", "InvalidRequestException", "has no value yet", first(vs.Move(Current, tid("void")))},
		{"no label", "ValidationException", "1 to 256 characters", first(vs.Move("", tid("v1")))},
		{"long label", "ValidationException", "has 257", first(vs.Move(strings.Repeat("é", 257), tid("v1")))},
		{"empty label in a put", "ValidationException", "1 to 256 characters", first(vs.Put(Version{ID: tid("v2")}, []string{""}))},
		{"short id", "ValidationException", "has 31", first(vs.Put(Version{ID: strings.Repeat("x", 31)}, nil))},
		{"long id", "ValidationException", "has 65", first(vs.Put(Version{ID: strings.Repeat("x", 65)}, nil))},
		{"an id that has a value", "ResourceExistsException", "exists already", first(vs.Put(Version{ID: tid("v1")}, nil))},
		{"a put beyond 20 labels", "LimitExceededException", "at most 20", first(vs.Put(Version{ID: tid("v2")}, many))},
	} {
		if KindOf(c.err) != Invalid || CodeOf(c.err) != c.code || !strings.Contains(c.err.Error(), c.text) {
			t.Errorf("%s: got %v (%s, %s), want %s with %q", c.name, c.err, KindOf(c.err), CodeOf(c.err), c.code, c.text)
		}
	}
	// 64 characters that are not one byte each, and no UUID, are an id.
	if _, err := vs.Put(Version{ID: strings.Repeat("ü", 64)}, nil); err != nil {
		t.Error(err)
	}
}

// model is the rules once more, as naively as they can be put: where each label
// is.
type model struct {
	at    map[string]string // label → version
	empty map[string]bool   // every version, and whether it has no value
}

func (m *model) copy() *model { return &model{maps.Clone(m.at), maps.Clone(m.empty)} }

func (m *model) current(id string) {
	was, any := m.at["AWSCURRENT"]
	if was == id {
		return
	}
	m.at["AWSCURRENT"] = id
	if m.at["AWSPREVIOUS"] == id {
		delete(m.at, "AWSPREVIOUS")
	}
	if any {
		m.at["AWSPREVIOUS"] = was
	}
}

// within keeps the limit; PAWLINTENT is free.
func (m *model) within() bool {
	n := len(m.at)
	if _, ok := m.at[Intent]; ok {
		n--
	}
	return n <= 20
}

func (m *model) put(id string, empty bool, labels []string) bool {
	if has, ok := m.empty[id]; ok && !has {
		return false
	}
	m.empty[id] = empty
	if len(labels) == 0 {
		labels = []string{"AWSCURRENT"}
	}
	_, any := m.at["AWSCURRENT"]
	if !empty && (!any || slices.Contains(labels, "AWSCURRENT")) {
		m.current(id)
		if m.at["AWSPENDING"] != id {
			delete(m.at, "AWSPENDING")
		}
	}
	for _, l := range labels {
		if l != "AWSCURRENT" {
			m.at[l] = id
		}
	}
	return m.within()
}

func (m *model) move(label, to string) bool {
	empty, ok := m.empty[to]
	switch {
	case to == "" && label == "AWSCURRENT", to != "" && !ok, label == "AWSCURRENT" && empty:
		return false
	case to == "":
		delete(m.at, label)
	case label == "AWSCURRENT":
		m.current(to)
	default:
		m.at[label] = to
	}
	return m.within()
}

func TestLabelsAgainstModel(t *testing.T) {
	ids := make([]string, 9)
	for i := range ids {
		ids[i] = tid(fmt.Sprint("v", i))
	}
	labels := []string{Current, Previous, Pending, Intent}
	for i := range 20 {
		labels = append(labels, fmt.Sprint("L", i))
	}
	anyLabel := rapid.OneOf(rapid.SampledFrom(labels[:4]), rapid.SampledFrom(labels))
	rapid.Check(t, func(t *rapid.T) {
		var vs Versions
		m := &model{map[string]string{}, map[string]bool{}}
		// try runs one call on both and compares; a refused call changes nothing.
		try := func(t *rapid.T, call func() (Versions, error), naive func(*model) bool) {
			before := vs.clone()
			got, err := call()
			if !reflect.DeepEqual(before, vs.clone()) {
				t.Fatal("the receiver was changed")
			}
			next := m.copy()
			if allowed := naive(next); allowed != (err == nil) {
				t.Fatalf("allowed by the model: %v, but the error is %v", allowed, err)
			}
			if err == nil {
				vs, m = got, next
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				id := rapid.SampledFrom(ids).Draw(t, "id")
				ls := rapid.SliceOfN(anyLabel, 0, 20).Draw(t, "labels")
				// What the service makes empty is never to be current at once.
				empty := rapid.Bool().Draw(t, "empty") && len(ls) > 0 && !slices.Contains(ls, Current)
				try(t, func() (Versions, error) { return vs.Put(Version{ID: id, Empty: empty}, ls) },
					func(m *model) bool { return m.put(id, empty, ls) })
			},
			"move": func(t *rapid.T) {
				label := anyLabel.Draw(t, "label")
				to := rapid.SampledFrom(append([]string{""}, ids...)).Draw(t, "to")
				try(t, func() (Versions, error) { return vs.Move(label, to) },
					func(m *model) bool { return m.move(label, to) })
			},
			"": func(t *rapid.T) {
				seen := map[string]string{}
				for _, v := range vs {
					for _, l := range v.Labels {
						if other, twice := seen[l]; twice {
							t.Fatalf("%s is on %s and %s", l, other, v.ID)
						}
						seen[l] = v.ID
					}
				}
				if !maps.Equal(seen, m.at) {
					t.Fatalf("labels are %v, the model has %v", seen, m.at)
				}
				for id, empty := range m.empty {
					if v, ok := vs.Find(id); !ok || v.Empty != empty {
						t.Fatalf("version %s: there %v, empty %v; the model says empty %v", id, ok, v.Empty, empty)
					}
				}
				if v, ok := vs.With(Current); ok && v.Empty {
					t.Fatal("AWSCURRENT is on a version without a value")
				}
			},
		})
	})
}

func unlabelled(vs Versions) (n int) {
	for _, v := range vs {
		if len(v.Labels) == 0 {
			n++
		}
	}
	return n
}

func TestPrune(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	rapid.Check(t, func(t *rapid.T) {
		var vs Versions
		for i := range rapid.IntRange(0, 130).Draw(t, "n") {
			v := Version{ID: tid(fmt.Sprint("v", i)), Created: now.Add(-time.Duration(rapid.IntRange(0, 48*60).Draw(t, "age")) * time.Minute)}
			if i < 20 && rapid.Bool().Draw(t, "labelled") {
				v.Labels = []string{fmt.Sprint("L", i)}
			}
			vs = append(vs, v)
		}
		keep, drop := vs.Prune(now)
		if len(keep)+len(drop) != len(vs) {
			t.Fatalf("%d kept and %d dropped of %d", len(keep), len(drop), len(vs))
		}
		prunable := func(v Version) bool { return len(v.Labels) == 0 && now.Sub(v.Created) >= 24*time.Hour }
		var newestDropped time.Time
		for _, id := range drop {
			v, _ := vs.Find(id)
			if _, kept := keep.Find(id); kept || !prunable(v) {
				t.Fatalf("%s must not be dropped: %+v", id, v)
			}
			if v.Created.After(newestDropped) {
				newestDropped = v.Created
			}
		}
		if len(drop) > 0 && len(keep) < MaxVersions {
			t.Fatalf("%d are left, fewer than %d", len(keep), MaxVersions)
		}
		for _, v := range keep {
			if prunable(v) && (len(keep) > MaxVersions || v.Created.Before(newestDropped)) {
				t.Fatalf("%s should have gone", v.ID)
			}
		}
		// Trim minds no age, and keeps the newest of those without a label.
		most := rapid.IntRange(0, 130).Draw(t, "most")
		keep, drop = vs.Trim(most)
		if want := min(max(len(vs)-most, 0), unlabelled(vs)); len(drop) != want || len(keep)+len(drop) != len(vs) {
			t.Fatalf("trimmed to %d: %d dropped, want %d", most, len(drop), want)
		}
		for _, id := range drop {
			gone, _ := vs.Find(id)
			for _, v := range keep {
				if len(gone.Labels) > 0 || len(v.Labels) == 0 && v.Created.Before(gone.Created) {
					t.Fatalf("trimmed to %d: %s went, %s stayed", most, gone.ID, v.ID)
				}
			}
		}
	})
}

func TestUnfinished(t *testing.T) {
	for _, c := range []struct {
		labels string // of versions, separated by /
		want   bool
	}{
		{"", false},
		{"AWSCURRENT", false},
		{"AWSCURRENT PAWLINTENT", false},
		{"AWSCURRENT/AWSPREVIOUS PAWLINTENT", false},
		{"AWSCURRENT/AWSPENDING", true},
		{"AWSCURRENT/AWSPENDING PAWLINTENT", true},
		{"AWSCURRENT AWSPENDING PAWLINTENT", true},
		{"AWSCURRENT/PAWLINTENT", true},
		{"AWSCURRENT/AWSPREVIOUS/PAWLINTENT MINE", true},
	} {
		var vs Versions
		for i, ls := range strings.Split(c.labels, "/") {
			vs = append(vs, Version{ID: tid(fmt.Sprint(i)), Labels: strings.Fields(ls)})
		}
		if got := vs.Unfinished(); got != c.want {
			t.Errorf("%s: unfinished %v, want %v", c.labels, got, c.want)
		}
	}
}
