package service_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func TestUpdateSecretVersionStage(t *testing.T) {
	const (
		removeCurrent = "You can only move staging label AWSCURRENT to a different secret version. It can't be completely removed."
		pawls         = "Staging label PAWLINTENT belongs to Pawl, which keeps in it what the server may know; it can't be set, moved or removed by hand."
		start         = "v1[AWSPREVIOUS] v2[AWSCURRENT] v3[AWSPENDING X]"
	)
	attached := func(label, id string) string {
		return "The parameter RemoveFromVersionId can't be empty. Staging label " + label + " is currently attached to version " + tok(id) + ", so you must explicitly reference that version in RemoveFromVersionId."
	}
	for _, c := range []struct {
		name, label, to, from string
		text                  string // "" = allowed
		labels                string
		writes                int64
	}{
		{"finish a rotation", "AWSCURRENT", "v3", "v2", "", "v1[] v2[AWSPREVIOUS] v3[AWSPENDING X AWSCURRENT]", 1},
		{"roll back", "AWSCURRENT", "v1", "v2", "", "v1[AWSCURRENT] v2[AWSPREVIOUS] v3[AWSPENDING X]", 1},
		{"move a label", "X", "v1", "v3", "", "v1[AWSPREVIOUS X] v2[AWSCURRENT] v3[AWSPENDING]", 1},
		{"a new label", "NEW", "v1", "", "", "v1[AWSPREVIOUS NEW] v2[AWSCURRENT] v3[AWSPENDING X]", 1},
		{"remove a label", "AWSPENDING", "", "v3", "", "v1[AWSPREVIOUS] v2[AWSCURRENT] v3[X]", 1},
		{"already there", "AWSCURRENT", "v2", "", "", start, 0},
		{"already there, asked again", "AWSCURRENT", "v2", "v1", "", start, 0},
		{"from unnamed", "AWSCURRENT", "v3", "", attached("AWSCURRENT", "v2"), start, 0},
		{"from unnamed, custom", "X", "v1", "", attached("X", "v3"), start, 0},
		{"from the wrong one", "AWSCURRENT", "v3", "v1", "Version stage AWSCURRENT not found in version " + tok("v1"), start, 0},
		{"off the wrong one", "X", "", "v1", "Version stage X not found in version " + tok("v1"), start, 0},
		{"off where it is not", "NEW", "", "v1", "Version stage NEW not found in version " + tok("v1"), start, 0},
		{"remove current", "AWSCURRENT", "", "v2", removeCurrent, start, 0},
		{"remove current, unnamed", "AWSCURRENT", "", "", removeCurrent, start, 0},
		{"to an unknown version", "X", "v9", "v3", "Not a valid version: " + tok("v9"), start, 0},
		{"from an unknown version", "X", "v1", "v9", "Not a valid version: " + tok("v9"), start, 0},
		{"neither", "X", "", "", "You must provide MoveToVersionId or RemoveFromVersionId.", start, 0},
		{"Pawl's label", "PAWLINTENT", "v1", "", pawls, start, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, service.Config{})
			h.create("s", "one")
			h.put("s", "v2")
			h.put("s", "v3", "AWSPENDING", "X")
			h.clock.add(time.Hour)
			was, before := h.store.writes.Load(), h.record("s")
			in := service.UpdateSecretVersionStageInput{SecretID: "s", VersionStage: c.label}
			if c.to != "" {
				in.MoveToVersionID = tok(c.to)
			}
			if c.from != "" {
				in.RemoveFromVersionID = tok(c.from)
			}
			out, err := h.UpdateSecretVersionStage(t.Context(), in)
			if c.text != "" {
				wantErr(t, err, "InvalidParameterException", c.text)
			} else if err != nil || out.Name != "s" || out.ARN != before.ARN.String() {
				t.Errorf("got %+v, %v", out, err)
			}
			sec := h.record("s")
			if got := render(sec.Versions); got != c.labels {
				t.Errorf("labels are %s, want %s", got, c.labels)
			}
			if got := h.store.writes.Load() - was; got != c.writes {
				t.Errorf("%d writes, want %d", got, c.writes)
			}
			current := sec.Versions.IDWith("AWSCURRENT") != before.Versions.IDWith("AWSCURRENT")
			if current == sec.ValueChanged.Equal(before.ValueChanged) {
				t.Error("the time of the current value is wrong")
			}
			if (c.writes > 0) == sec.Changed.Equal(before.Changed) {
				t.Error("LastChangedDate is wrong")
			}
		})
	}
}

func TestStagesHaveALimit(t *testing.T) {
	h := open(t, service.Config{})
	h.create("s", "one")
	for i := range 19 {
		if _, err := h.UpdateSecretVersionStage(t.Context(), service.UpdateSecretVersionStageInput{SecretID: "s", VersionStage: fmt.Sprint("L", i), MoveToVersionID: tok("v1")}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := h.UpdateSecretVersionStage(t.Context(), service.UpdateSecretVersionStageInput{SecretID: "s", VersionStage: "L20", MoveToVersionID: tok("v1")})
	wantErr(t, err, "LimitExceededException", "a secret has at most 20 staging labels over all its versions")
	_, err = h.UpdateSecretVersionStage(t.Context(), service.UpdateSecretVersionStageInput{SecretID: "s"})
	wantErr(t, err, "ValidationException", "1 validation error detected: Value null at 'versionStage' failed to satisfy constraint: Member must not be null")
	h.emptyVersion("s", "void")
	_, err = h.UpdateSecretVersionStage(t.Context(), service.UpdateSecretVersionStageInput{SecretID: "s", VersionStage: "AWSCURRENT", MoveToVersionID: tok("void"), RemoveFromVersionID: tok("v1")})
	wantErr(t, err, "InvalidRequestException", "version "+tok("void")+" has no value yet and can't become AWSCURRENT")
}

// book is one secret as naively as it can be kept: what each version holds, and
// where each label is.
type book struct {
	there   bool
	deleted bool
	purge   time.Time
	values  map[string]string
	at      map[string]string // label → version
}

func (b *book) usable() bool { return b.there && !b.deleted }

func (b *book) current(id string) {
	was := b.at["AWSCURRENT"]
	if was == id {
		return
	}
	b.at["AWSCURRENT"] = id
	if b.at["AWSPREVIOUS"] == id {
		delete(b.at, "AWSPREVIOUS")
	}
	if was != "" {
		b.at["AWSPREVIOUS"] = was
	}
}

func (b *book) put(id, value string, labels []string) bool {
	if old, used := b.values[id]; used {
		return old == value
	}
	at := maps.Clone(b.at)
	if len(labels) == 0 {
		labels = []string{"AWSCURRENT"}
	}
	if b.at["AWSCURRENT"] == "" || slices.Contains(labels, "AWSCURRENT") {
		b.current(id)
		delete(b.at, "AWSPENDING")
	}
	for _, l := range labels {
		if l != "AWSCURRENT" {
			b.at[l] = id
		}
	}
	if len(b.at) > 20 {
		b.at = at
		return false
	}
	b.values[id] = value
	return true
}

func (b *book) move(label, to, from string) bool {
	holder := b.at[label]
	known := func(id string) bool { _, ok := b.values[id]; return id == "" || ok }
	switch {
	case to == "" && (label == "AWSCURRENT" || from == ""), !known(to), !known(from):
		return false
	case to != "" && holder == to:
	case holder != from:
		return false
	case to == "":
		delete(b.at, label)
	case label == "AWSCURRENT":
		b.current(to)
	case holder == "" && len(b.at) == 20:
		return false
	default:
		b.at[label] = to
	}
	return true
}

// Any sequence of operations leaves the real store as the book has it.
func TestOperationsAgainstModel(t *testing.T) {
	h := open(t, service.Config{})
	run := 0
	ids := []string{tok("v1"), tok("v2"), tok("v3"), tok("v4"), tok("v5"), tok("v6")}
	labels := []string{"AWSCURRENT", "AWSPREVIOUS", "AWSPENDING", "A", "B"}
	for i := range 16 {
		labels = append(labels, fmt.Sprint("L", i))
	}
	anyID, anyLabel := rapid.SampledFrom(ids), rapid.OneOf(rapid.SampledFrom(labels[:5]), rapid.SampledFrom(labels))
	maybe := rapid.SampledFrom(append([]string{""}, ids...))
	value := rapid.SampledFrom([]string{"one", "two"})
	rapid.Check(t, func(rt *rapid.T) {
		run++
		name := fmt.Sprint("secret", run)
		b := &book{}
		ctx := t.Context()
		// agree compares whether a call was allowed.
		agree := func(rt *rapid.T, allowed bool, err error) {
			if allowed != (err == nil) {
				rt.Fatalf("allowed by the book: %v, but: %v", allowed, err)
			}
		}
		end := func() {
			if b.deleted && !h.clock.now().Before(b.purge) {
				*b = book{}
			}
		}
		rt.Repeat(map[string]func(*rapid.T){
			"create": func(rt *rapid.T) {
				id, v := anyID.Draw(rt, "id"), value.Draw(rt, "value")
				_, err := h.CreateSecret(ctx, service.CreateSecretInput{Name: name, ClientRequestToken: id, GivenValue: service.Give(secrets.Text(v))})
				old, used := b.values[id]
				agree(rt, !b.there || b.usable() && used && old == v, err)
				if !b.there {
					*b = book{there: true, values: map[string]string{id: v}, at: map[string]string{"AWSCURRENT": id}}
				}
			},
			"put": func(rt *rapid.T) {
				id, v, ls := anyID.Draw(rt, "id"), value.Draw(rt, "value"), rapid.SliceOfN(anyLabel, 0, 20).Draw(rt, "labels")
				_, err := h.PutSecretValue(ctx, service.PutSecretValueInput{SecretID: name, ClientRequestToken: id, GivenValue: service.Give(secrets.Text(v)), VersionStages: ls})
				agree(rt, b.usable() && b.put(id, v, ls), err)
			},
			"move": func(rt *rapid.T) {
				label, to, from := anyLabel.Draw(rt, "label"), maybe.Draw(rt, "to"), maybe.Draw(rt, "from")
				if rapid.Bool().Draw(rt, "name the holder") {
					from = b.at[label]
				}
				_, err := h.UpdateSecretVersionStage(ctx, service.UpdateSecretVersionStageInput{SecretID: name, VersionStage: label, MoveToVersionID: to, RemoveFromVersionID: from})
				agree(rt, b.usable() && b.move(label, to, from), err)
			},
			"delete": func(rt *rapid.T) {
				days := int64(rapid.IntRange(7, 8).Draw(rt, "days"))
				_, err := h.DeleteSecret(ctx, service.DeleteSecretInput{SecretID: name, RecoveryWindowInDays: &days})
				agree(rt, b.usable(), err)
				if b.usable() {
					b.deleted, b.purge = true, h.clock.now().AddDate(0, 0, int(days))
				}
			},
			"force": func(rt *rapid.T) {
				if !rapid.Bool().Draw(rt, "really") {
					rt.Skip()
				}
				_, err := h.DeleteSecret(ctx, service.DeleteSecretInput{SecretID: name, ForceDeleteWithoutRecovery: true})
				agree(rt, true, err)
				*b = book{}
			},
			"restore": func(rt *rapid.T) {
				_, err := h.RestoreSecret(ctx, service.RestoreSecretInput{SecretID: name})
				agree(rt, b.there, err)
				b.deleted = false
			},
			"purge": func(rt *rapid.T) {
				if _, err := h.Purge(ctx, h.clock.now()); err != nil {
					rt.Fatal(err)
				}
			},
			"wait": func(rt *rapid.T) {
				h.clock.add(time.Duration(rapid.SampledFrom([]int{1, 24, 168}).Draw(rt, "hours")) * time.Hour)
				end()
			},
			"": func(rt *rapid.T) {
				d, err := h.DescribeSecret(ctx, service.DescribeSecretInput{SecretID: name})
				agree(rt, b.there, err)
				if err != nil {
					return
				}
				at := map[string]string{}
				for id, ls := range d.VersionIDsToStages {
					for _, l := range ls {
						at[l] = id
					}
				}
				if !maps.Equal(at, b.at) {
					rt.Fatalf("labels are %v, the book has %v", at, b.at)
				}
				if d.DeletedDate.IsZero() == b.deleted {
					rt.Fatalf("deleted %v, the book has %v", d.DeletedDate, b.deleted)
				}
				all, err := h.ListSecretVersionIDs(ctx, service.ListSecretVersionIDsInput{SecretID: name, IncludeDeprecated: true})
				if err != nil || len(all.Versions) != len(b.values) {
					rt.Fatalf("%d versions, the book has %d (%v)", len(all.Versions), len(b.values), err)
				}
				for id, want := range b.values {
					out, err := h.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: name, VersionID: id})
					agree(rt, !b.deleted, err)
					if err == nil && string(out.Value.Reveal()) != want {
						rt.Fatalf("version %s has another value", strings.TrimRight(id, "."))
					}
				}
			},
		})
	})
}
