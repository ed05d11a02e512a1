package aws

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// empties is AWS's answer for a version that has no value yet.
var empties = answers(400, resourceNotFound, "Secrets Manager can't find the specified secret value for VersionId")

// TestEmptyVersions: what was asked for and has no value is known from reading
// it, and only what may be so is read.
func TestEmptyVersions(t *testing.T) {
	w := newWorld(t)
	w.create("s", "old")
	if _, err := w.own.StartRotation(t.Context(), service.StartRotationInput{SecretID: "s", ClientRequestToken: tok("asked")}); err != nil {
		t.Fatal(err)
	}
	c := w.claim("s")
	vs, err := c.Versions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if v, _ := vs.Find(tok("asked")); !v.Empty || !v.Has(secrets.Pending) {
		t.Errorf("%+v", vs)
	}
	if v, err := c.Value(t.Context(), tok("asked")); err != nil || !v.IsZero() {
		t.Errorf("%v, %v", v, err)
	}
	if id, err := c.PutPending(t.Context(), tok("asked"), val("new")); err != nil || id != tok("asked") {
		t.Errorf("%s, %v", id, err)
	}
	if vs, err = c.Versions(t.Context()); err != nil || labelled(vs) != "CURRENT=v1 PENDING=asked PAWLINTENT=asked" {
		t.Errorf("%s, %v", labelled(vs), err)
	}
	if v, _ := vs.Find(tok("asked")); v.Empty || v.Created.IsZero() {
		t.Errorf("%+v", v)
	}
	want := []string{opDescribe, opValue, opPut, opDescribe}
	if got := w.proxy.counted(); !slices.Equal(got, want) {
		t.Errorf("the requests are %v, want %v", got, want)
	}
	if err := c.Promote(t.Context(), tok("asked"), false); err != nil {
		t.Fatal(err)
	}
	c.Release()

	// Somebody else fills it: before the put, and in the middle of it.
	for i, labels := range [][]string{{secrets.Pending}, {secrets.Pending, Intent}} {
		name := fmt.Sprint("t", i)
		w.create(name, "old")
		if _, err := w.own.StartRotation(t.Context(), service.StartRotationInput{SecretID: name, ClientRequestToken: tok("asked")}); err != nil {
			t.Fatal(err)
		}
		c := w.claim(name)
		if _, err := c.Versions(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.put(name, "asked", "theirs", labels...)
		id, err := c.PutPending(t.Context(), tok("asked"), val("ours"))
		if len(labels) == 1 {
			wantKind(t, err, secrets.Conflict, "filled by somebody else")
			continue
		}
		v, verr := c.Value(t.Context(), id)
		if err != nil || verr != nil || string(v.Reveal()) != "theirs" {
			t.Errorf("another rotator's value: %s, %v, %v", id, err, verr)
		}
	}
}

// TestUnreadableForAMoment: a version that another rotator has just put is waited
// for; one that stays unreadable is Transient.
func TestUnreadableForAMoment(t *testing.T) {
	w := newWorld(t)
	w.create("s", "old")
	other := claimOf(t, w.another(), "s")
	c := w.claim("s")
	id, err := other.PutPending(t.Context(), "", val("theirs"))
	if err != nil {
		t.Fatal(err)
	}
	w.proxy.on(opValue, 2, empties)
	if got, err := c.PutPending(t.Context(), "", val("ours")); err != nil || got != id {
		t.Errorf("%s, %v", got, err)
	}
	w.proxy.on(opValue, 2, empties)
	third := claimOf(t, w.another(), "s")
	if v, err := third.Value(t.Context(), id); err != nil || !v.Equal(val("theirs")) {
		t.Errorf("%v, %v", v, err)
	}
	w.proxy.on(opValue, 99, empties)
	fourth := claimOf(t, w.another(), "s")
	_, err = fourth.Value(t.Context(), id)
	wantKind(t, err, secrets.Transient, "can't be read yet")
	_, err = fourth.Value(t.Context(), tok("nowhere"))
	wantKind(t, err, secrets.Conflict, "is gone")
}

// TestDeletedMeanwhile: a secret that ends under a claim is a Conflict, wherever
// that is noticed.
func TestDeletedMeanwhile(t *testing.T) {
	w := newWorld(t)
	n := 0
	for _, c := range []struct {
		name string
		do   func(context.Context, *Claim) error
		read bool // it works on one that is only marked
	}{
		{"Versions", func(ctx context.Context, c *Claim) error { _, err := c.Versions(ctx); return err }, true},
		{"Value", func(ctx context.Context, c *Claim) error { _, err := c.Value(ctx, tok("v1")); return err }, false},
		{"PutPending", func(ctx context.Context, c *Claim) error { _, err := c.PutPending(ctx, "", val("x")); return err }, false},
		{"MoveLabel", func(ctx context.Context, c *Claim) error { return c.MoveLabel(ctx, secrets.Intent, tok("v2")) }, false},
		{"Promote", func(ctx context.Context, c *Claim) error { return c.Promote(ctx, tok("v2"), false) }, false},
		{"Save", func(ctx context.Context, c *Claim) error { return c.Save(ctx, secrets.Attempt{Tries: 1}) }, false},
	} {
		for _, atOnce := range []bool{true, false} {
			t.Run(fmt.Sprint(c.name, atOnce), func(t *testing.T) {
				n++
				name := fmt.Sprint("s", n)
				w.create(name, "old")
				w.put(name, "v2", "x", secrets.Pending)
				claim := claimOf(t, w.Store, name)
				if _, err := claim.Versions(t.Context()); err != nil {
					t.Fatal(err)
				}
				w.remove(name, atOnce)
				err := c.do(t.Context(), claim)
				switch {
				case atOnce:
					wantKind(t, err, secrets.Conflict, "it was deleted while it was being rotated")
				case !c.read:
					wantKind(t, err, secrets.Conflict, "marked for deletion while it was being rotated", "restore-secret --secret-id "+name)
				case err != nil:
					t.Error(err)
				}
			})
		}
	}
}

// TestSave: the record of a failure is in the secret's tags until a rotation
// succeeds, and costs no request where it does not change.
func TestSave(t *testing.T) {
	w := newWorld(t)
	w.create("s", "old", service.Tag{Key: "team", Value: "a"})
	at := w.clock.Now().UTC()
	a := secrets.Attempt{Tries: 2, Kind: secrets.Denied, LastError: "refused", FailingSince: at, NextTry: at.Add(time.Hour)}
	c := w.claim("s")
	w.proxy.counted()
	for range 2 {
		if err := c.Save(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	if got := attemptOf(w.tags("s")); got != a {
		t.Errorf("%+v, want %+v", got, a)
	}
	c.Release()
	c = claimOf(t, w.another(), "s") // another process knows
	if got := c.Rotation().Attempt; got != a {
		t.Errorf("%+v, want %+v", got, a)
	}
	id, err := c.PutPending(t.Context(), "", val("new"))
	if err == nil {
		err = c.Promote(t.Context(), id, false)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := w.tags("s"); len(got) != 1 || got[0].Key != "team" {
		t.Errorf("after success the tags are %v", got)
	}
	if err := c.Save(t.Context(), secrets.Attempt{}); err != nil {
		t.Error(err)
	}
	want := []string{opTag, opDescribe, opPut, opStage, opStage, opUntag}
	if got := w.proxy.counted(); !slices.Equal(got, want) {
		t.Errorf("the requests are %v, want %v", got, want)
	}
}

// TestSaveWithoutTheRight: where tags may not be written, the record lasts as
// long as the process, and that is said once.
func TestSaveWithoutTheRight(t *testing.T) {
	w := newWorld(t)
	for _, s := range []string{"s", "t"} {
		w.create(s, "old")
	}
	w.allow(`{"Effect":"Allow","NotAction":["secretsmanager:TagResource","secretsmanager:UntagResource"],"Resource":"*"}`)
	a := secrets.Attempt{Tries: 1, Kind: secrets.Invalid, LastError: "no", FailingSince: w.clock.Now().UTC(), NextTry: w.clock.Now().UTC()}
	for _, s := range []string{"s", "t"} {
		c := w.claim(s)
		if err := c.Save(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		c.Release()
		c = w.claim(s)
		if got := c.Rotation().Attempt; got != a {
			t.Errorf("%+v", got)
		}
		if err := c.Save(t.Context(), secrets.Attempt{}); err != nil {
			t.Fatal(err)
		}
		c.Release()
		c = w.claim(s)
		if got := c.Rotation().Attempt; got != (secrets.Attempt{}) {
			t.Errorf("%+v", got)
		}
		c.Release()
	}
	if log := w.log.String(); strings.Count(log, "in memory it lasts") != 1 || !strings.Contains(log, `\"Action\":\"secretsmanager:TagResource\"`) {
		t.Errorf("the log: %s", log)
	}
	// With the right again, the tags are what counts.
	w.allow(`{"Effect":"Allow","Action":"*","Resource":"*"}`)
	c := w.claim("s")
	if err := c.Save(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if got := attemptOf(w.tags("s")); got != a {
		t.Errorf("%+v", got)
	}
	// A rotation that is promoted has succeeded, tags or no tags.
	id, err := c.PutPending(t.Context(), "", val("new"))
	if err != nil {
		t.Fatal(err)
	}
	w.proxy.on(opUntag, 99, throttles)
	if err := c.Promote(t.Context(), id, false); err != nil {
		t.Error(err)
	}
}

// TestClaimVersion: the version is the driver's, and the token goes along.
func TestClaimVersion(t *testing.T) {
	w := newWorld(t)
	w.create("s", "old", service.Tag{Key: TagStrategy, Value: secrets.AlternatingUsers})
	if _, err := w.own.StartRotation(t.Context(), service.StartRotationInput{SecretID: "s", ClientRequestToken: tok("theirs")}); err != nil {
		t.Fatal(err)
	}
	c, err := w.ClaimVersion(t.Context(), "s", tok("theirs"), "rotation-token-"+strings.Repeat("x", 40))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Release()
	if c.Tag(TagStrategy) != secrets.AlternatingUsers || c.Tag("other") != "" {
		t.Error("tags")
	}
	var token string
	w.proxy.mu.Lock()
	next := w.proxy.next
	w.proxy.next = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, token, _ = strings.Cut(string(body), `"RotationToken":"`)
		token, _, _ = strings.Cut(token, `"`)
		again := r.Clone(r.Context())
		again.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(rw, again)
	})
	w.proxy.mu.Unlock()
	if id, err := c.PutPending(t.Context(), "", val("new")); err != nil || id != tok("theirs") {
		t.Errorf("%s, %v", id, err)
	}
	if token != "rotation-token-"+strings.Repeat("x", 40) {
		t.Errorf("the token was %q", token)
	}
	_, err = c.PutPending(t.Context(), "", val("another"))
	wantKind(t, err, secrets.Conflict)
	if err := c.Promote(t.Context(), tok("theirs"), true); err != nil {
		t.Fatal(err)
	}
	if got := labelled(w.versions("s")); got != "CURRENT=theirs PREVIOUS=v1 PENDING=theirs PAWLINTENT=theirs" {
		t.Error(got)
	}
}

// TestClaimKeepsItsWord: whoever else moves labels and puts values, and whatever
// breaks in between: nil means done, Transient not done, and no other label than
// those asked for is moved.
func TestClaimKeepsItsWord(t *testing.T) {
	w := newWorld(t)
	fewerChecks(t, 40)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		name := fmt.Sprint("s", n)
		w.create(name, "old")
		versions := []string{tok("v1")}
		var c *Claim
		claim := func() {
			if c == nil {
				got, err := w.Claim(context.Background(), name)
				if err != nil {
					rt.Fatal(err)
				}
				c = got
			}
		}
		defer func() {
			w.proxy.mend()
			if c != nil {
				c.Release()
			}
		}()
		faults := []fault{throttles, fails, cuts, loses, failsAfter, doubles, forward, forward, forward}
		steps := rapid.IntRange(5, 25).Draw(rt, "steps")
		for i := range steps {
			op := opStage
			label := rapid.SampledFrom([]string{secrets.Pending, secrets.Intent}).Draw(rt, "label")
			to := rapid.SampledFrom(append([]string{""}, versions...)).Draw(rt, "to")
			act := rapid.SampledFrom([]string{"person puts", "person moves", "claim puts", "claim moves", "claim promotes", "claim looks"}).Draw(rt, "act")
			if act == "claim puts" {
				op = opPut
			}
			f := rapid.SampledFrom(faults).Draw(rt, "fault")
			times := rapid.SampledFrom([]int{1, 2, maxAttempts}).Draw(rt, "times")
			var err error
			var done func(vs secrets.Versions) bool
			before := w.versions(name)
			switch act {
			case "person puts":
				id := tok(fmt.Sprintf("hand%d", i))
				w.put(name, id, "by hand", rapid.SampledFrom([]string{secrets.Pending, secrets.Current, Intent}).Draw(rt, "as"))
				versions = append(versions, id)
				continue
			case "person moves":
				if to != w.holder(name, label) {
					w.stage(name, label, to)
				}
				continue
			}
			claim()
			w.proxy.on(op, times, f)
			switch act {
			case "claim puts":
				var id string
				id, err = c.PutPending(context.Background(), "", val(fmt.Sprint(i)))
				if err == nil && !slices.Contains(versions, id) {
					versions = append(versions, id)
				}
				done = func(vs secrets.Versions) bool {
					return vs.IDWith(secrets.Pending) == id && vs.IDWith(secrets.Intent) == id && id != "" && vs.IDWith(secrets.Current) == before.IDWith(secrets.Current)
				}
			case "claim moves":
				err = c.MoveLabel(context.Background(), label, to)
				seen := c.labels()
				done = func(vs secrets.Versions) bool {
					// Where it was already as far as the claim has seen, it asks nobody.
					return vs.IDWith(label) == to || seen.IDWith(label) == to && labelled(vs) == labelled(before)
				}
			case "claim promotes":
				pending := c.labels().IDWith(secrets.Pending)
				if pending == "" || pending == c.labels().IDWith(secrets.Current) {
					w.proxy.mend()
					continue
				}
				err = c.Promote(context.Background(), pending, true)
				done = func(vs secrets.Versions) bool { return vs.IDWith(secrets.Current) == pending }
			case "claim looks":
				var vs secrets.Versions
				if vs, err = c.Versions(context.Background()); err == nil {
					vs, err = c.Versions(context.Background())
				}
				done = func(now secrets.Versions) bool { return labelled(now) == labelled(vs) }
			}
			w.proxy.mend()
			now := w.versions(name)
			switch kind := secrets.KindOf(err); {
			case err == nil:
				if !done(now) {
					rt.Fatalf("%s said it was done: %s → %s", act, labelled(before), labelled(now))
				}
			case kind == secrets.Conflict:
				if labelled(now) != labelled(before) {
					rt.Fatalf("%s, refused, moved labels: %s → %s: %v", act, labelled(before), labelled(now), err)
				}
				c.Release()
				c = nil
			case kind == secrets.Transient:
				if labelled(now) != labelled(before) {
					rt.Fatalf("%s said it was not done: %s → %s: %v", act, labelled(before), labelled(now), err)
				}
			default:
				rt.Fatalf("%s: %v (%s)", act, err, kind)
			}
		}
	})
}
