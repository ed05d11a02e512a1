package service_test

import (
	"fmt"
	"testing"
	"time"

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
