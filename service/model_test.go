package service_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// book is one secret as naively as it can be kept: what each version holds, and
// where each label is.
type book struct {
	there       bool
	deleted     bool
	purge       time.Time
	description string
	tags        map[string]string
	values      map[string]string
	at          map[string]string // label → version
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
	word := rapid.SampledFrom([]string{"", "x", "y"})
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
			"create empty": func(rt *rapid.T) {
				_, err := h.CreateSecret(ctx, service.CreateSecretInput{Name: name, ClientRequestToken: anyID.Draw(rt, "id")})
				agree(rt, !b.there, err)
				if !b.there {
					*b = book{there: true, values: map[string]string{}, at: map[string]string{}}
				}
			},
			"put": func(rt *rapid.T) {
				id, v, ls := anyID.Draw(rt, "id"), value.Draw(rt, "value"), rapid.SliceOfN(anyLabel, 0, 20).Draw(rt, "labels")
				_, err := h.PutSecretValue(ctx, service.PutSecretValueInput{SecretID: name, ClientRequestToken: id, GivenValue: service.Give(secrets.Text(v)), VersionStages: ls})
				agree(rt, b.usable() && b.put(id, v, ls), err)
			},
			"update": func(rt *rapid.T) {
				in := service.UpdateSecretInput{SecretID: name, ClientRequestToken: anyID.Draw(rt, "id")}
				v := ""
				if rapid.Bool().Draw(rt, "with a value") {
					v = value.Draw(rt, "value")
					in.GivenValue = service.Give(secrets.Text(v))
				}
				if rapid.Bool().Draw(rt, "with a description") {
					in.Description = new(word.Draw(rt, "description"))
				}
				out, err := h.UpdateSecret(ctx, in)
				allowed := b.usable() && (v == "" || b.put(in.ClientRequestToken, v, nil))
				agree(rt, allowed, err)
				if allowed && in.Description != nil {
					b.description = *in.Description
				}
				if allowed && (out.VersionID == in.ClientRequestToken) != (v != "") {
					rt.Fatalf("VersionId is %s", out.VersionID)
				}
			},
			"move": func(rt *rapid.T) {
				label, to, from := anyLabel.Draw(rt, "label"), maybe.Draw(rt, "to"), maybe.Draw(rt, "from")
				if rapid.Bool().Draw(rt, "name the holder") {
					from = b.at[label]
				}
				_, err := h.UpdateSecretVersionStage(ctx, service.UpdateSecretVersionStageInput{SecretID: name, VersionStage: label, MoveToVersionID: to, RemoveFromVersionID: from})
				agree(rt, b.usable() && b.move(label, to, from), err)
			},
			"tag": func(rt *rapid.T) {
				k, v := rapid.SampledFrom([]string{"k", "K"}).Draw(rt, "key"), word.Draw(rt, "value")
				agree(rt, b.usable(), h.TagResource(ctx, service.TagResourceInput{SecretID: name, Tags: []service.Tag{{Key: k, Value: v}}}))
				if b.usable() {
					if b.tags == nil {
						b.tags = map[string]string{}
					}
					b.tags[k] = v
				}
			},
			"untag": func(rt *rapid.T) {
				k := rapid.SampledFrom([]string{"k", "K"}).Draw(rt, "key")
				agree(rt, b.usable(), h.UntagResource(ctx, service.UntagResourceInput{SecretID: name, TagKeys: []string{k}}))
				if b.usable() {
					delete(b.tags, k)
				}
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
				if b.deleted && !h.clock.now().Before(b.purge) {
					*b = book{}
				}
			},
			"": func(rt *rapid.T) {
				b.sameDescription(ctx, rt, h, name)
				b.sameValues(ctx, rt, h, name)
			},
		})
	})
}

// sameDescription compares what is told of the secret with the book.
func (b *book) sameDescription(ctx context.Context, t *rapid.T, h *house, name string) {
	d, err := h.DescribeSecret(ctx, service.DescribeSecretInput{SecretID: name})
	if b.there != (err == nil) {
		t.Fatalf("in the book: %v, but: %v", b.there, err)
	}
	list, err := h.ListSecrets(ctx, service.ListSecretsInput{Filters: byName(name), IncludePlannedDeletion: true, SortBy: "name"})
	if err != nil || b.there != (len(list.SecretList) > 0 && list.SecretList[0].Name == name) {
		t.Fatalf("in the book: %v, listed: %+v, %v", b.there, list, err)
	}
	if !b.there {
		return
	}
	at := map[string]string{}
	for id, ls := range d.VersionIDsToStages {
		for _, l := range ls {
			at[l] = id
		}
	}
	tags := map[string]string{}
	for _, tag := range d.Tags {
		tags[tag.Key] = tag.Value
	}
	if !maps.Equal(at, b.at) || !maps.Equal(tags, b.tags) || (d.Tags == nil) != (b.tags == nil) {
		t.Fatalf("labels are %v and tags %v, the book has %v and %v", at, tags, b.at, b.tags)
	}
	if d.DeletedDate.IsZero() == b.deleted || d.Description != b.description {
		t.Fatalf("deleted %v, described %q, the book has %v, %q", d.DeletedDate, d.Description, b.deleted, b.description)
	}
}

// sameValues compares each version's value with the book's.
func (b *book) sameValues(ctx context.Context, t *rapid.T, h *house, name string) {
	batch, err := h.BatchGetSecretValue(ctx, service.BatchGetSecretValueInput{SecretIDList: []string{name}})
	if err != nil || len(batch.SecretValues)+len(batch.Errors) != 1 {
		t.Fatalf("a batch of one: %+v, %v", batch, err)
	}
	readable := b.usable() && b.at["AWSCURRENT"] != ""
	if readable != (len(batch.SecretValues) == 1) || readable && string(batch.SecretValues[0].Value.Reveal()) != b.values[b.at["AWSCURRENT"]] {
		t.Fatalf("in the book it is readable: %v; %+v", readable, batch)
	}
	if !b.there {
		return
	}
	all, err := h.ListSecretVersionIDs(ctx, service.ListSecretVersionIDsInput{SecretID: name, IncludeDeprecated: true})
	if err != nil || len(all.Versions) != len(b.values) {
		t.Fatalf("%d versions, the book has %d (%v)", len(all.Versions), len(b.values), err)
	}
	for id, want := range b.values {
		out, err := h.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: name, VersionID: id})
		if b.deleted == (err == nil) {
			t.Fatalf("version %s: %v", short(id), err)
		}
		if err == nil && string(out.Value.Reveal()) != want {
			t.Fatalf("version %s has another value", short(id))
		}
	}
}

// sound checks what is true of the labels of every secret at every moment.
func sound(vs secrets.Versions) error {
	at := map[string]string{}
	values := 0
	for _, v := range vs {
		if !v.Empty {
			values++
		}
		for _, l := range v.Labels {
			if at[l] != "" {
				return fmt.Errorf("%s is on %s and %s", l, at[l], v.ID)
			}
			at[l] = v.ID
		}
	}
	current, _ := vs.With(secrets.Current)
	switch {
	case values > 0 && current.ID == "":
		return errors.New("no version is current")
	case current.Empty:
		return errors.New("the current version has no value")
	case current.ID != "" && at[secrets.Previous] == current.ID:
		return errors.New("the current version is its own predecessor")
	case len(at) > secrets.MaxLabels:
		return fmt.Errorf("%d labels", len(at))
	}
	return nil
}

// Clients that know nothing of each other leave every secret sound at every
// moment, get only the errors that their clashing explains, and find each value
// that was said to be stored.
func TestOperationsTogether(t *testing.T) {
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			h := open(t, service.Config{})
			names := []string{"a", "b"}
			var mu sync.Mutex
			stored := map[string]string{} // name + version → value
			var clients sync.WaitGroup
			for c := range 6 {
				clients.Go(func() {
					client := &client{h: h, r: rand.New(rand.NewPCG(seed, uint64(c))), id: c, names: names}
					for range 40 {
						name, token, err := client.act(t.Context())
						if code := secrets.CodeOf(err); err != nil && !slices.Contains([]string{"ResourceNotFoundException", "InvalidRequestException", "InvalidParameterException", "ResourceExistsException"}, code) {
							t.Errorf("client %d: %v (%s)", c, err, code)
						}
						if err == nil && token != "" {
							mu.Lock()
							stored[name+token] = "value of " + token
							mu.Unlock()
						}
						for _, name := range names {
							sec, err := h.store.Find(t.Context(), secrets.ID{ByName: true, ARN: secrets.ARN{Region: "us-east-1", Account: "123456789012", Name: name}})
							if err != nil {
								continue // not created yet
							}
							if err := sound(sec.Versions); err != nil {
								t.Errorf("%s: %v: %s", name, err, render(sec.Versions))
							}
						}
					}
				})
			}
			clients.Wait()
			for _, name := range names {
				if _, err := h.RestoreSecret(t.Context(), service.RestoreSecretInput{SecretID: name}); err != nil {
					t.Error(err)
				}
				for _, v := range h.record(name).Versions {
					if want := stored[name+v.ID]; want == "" || h.value(name, short(v.ID)) != want {
						t.Errorf("version %s of %s holds what nobody was told of", short(v.ID), name)
					}
					delete(stored, name+v.ID)
				}
			}
			if len(stored) > 0 {
				t.Errorf("%d values that were said to be stored are gone", len(stored))
			}
		})
	}
}

// client makes calls by the draw of its own lots.
type client struct {
	h     *house
	r     *rand.Rand
	id    int
	made  int
	names []string
}

// act makes one call. token is the version it made, if it made one.
func (c *client) act(ctx context.Context) (name, token string, err error) {
	name = c.names[c.r.IntN(len(c.names))]
	c.made++
	fresh := tok(fmt.Sprintf("c%d-%d", c.id, c.made))
	given := service.Give(secrets.Text("value of " + fresh))
	switch c.r.IntN(12) {
	case 0, 1:
		_, err = c.h.CreateSecret(ctx, service.CreateSecretInput{Name: name, ClientRequestToken: fresh, GivenValue: given})
		return name, fresh, err
	case 2, 3, 4:
		stages := [][]string{nil, {"AWSPENDING"}, {"A", "B"}, {"AWSCURRENT", "A"}}[c.r.IntN(4)]
		_, err = c.h.PutSecretValue(ctx, service.PutSecretValueInput{SecretID: name, ClientRequestToken: fresh, GivenValue: given, VersionStages: stages})
		return name, fresh, err
	case 5:
		_, err = c.h.UpdateSecret(ctx, service.UpdateSecretInput{SecretID: name, ClientRequestToken: fresh, GivenValue: given, Description: new(fresh)})
		return name, fresh, err
	case 6, 7:
		d, err := c.h.DescribeSecret(ctx, service.DescribeSecretInput{SecretID: name})
		if err != nil {
			return name, "", err
		}
		label := []string{"AWSCURRENT", "AWSCURRENT", "AWSPENDING", "A"}[c.r.IntN(4)]
		in := service.UpdateSecretVersionStageInput{SecretID: name, VersionStage: label}
		for id, ls := range d.VersionIDsToStages {
			if slices.Contains(ls, label) {
				in.RemoveFromVersionID = id
			}
			in.MoveToVersionID = id
		}
		return name, "", second(c.h.UpdateSecretVersionStage(ctx, in))
	case 8:
		return name, "", second(c.h.DeleteSecret(ctx, service.DeleteSecretInput{SecretID: name}))
	case 9:
		return name, "", second(c.h.RestoreSecret(ctx, service.RestoreSecretInput{SecretID: name}))
	case 10:
		if c.r.IntN(2) == 0 {
			return name, "", c.h.UntagResource(ctx, service.UntagResourceInput{SecretID: name, TagKeys: []string{"k"}})
		}
		return name, "", c.h.TagResource(ctx, service.TagResourceInput{SecretID: name, Tags: []service.Tag{{Key: "k", Value: fresh}}})
	default:
		out, err := c.h.BatchGetSecretValue(ctx, service.BatchGetSecretValueInput{SecretIDList: c.names})
		if err != nil {
			return name, "", err
		}
		for _, v := range out.SecretValues {
			if string(v.Value.Reveal()) != "value of "+v.VersionID || !strings.HasPrefix(v.VersionID, "c") {
				return name, "", fmt.Errorf("version %s of %s has another one's value", short(v.VersionID), v.Name)
			}
		}
		return name, "", nil
	}
}
