package service_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	takenText = "Replication failed: Secret name s already exists in region eu-west-1."
)

func TestRegionsOfReplicas(t *testing.T) {
	invalid := "InvalidParameterException: Invalid replica region."
	pattern := "ValidationException: 1 validation error detected: Value 'EU' at 'addReplicaRegions.1.member.region' failed to satisfy constraint: Member must satisfy regular expression pattern: ^([a-z]+-)+\\d+$"
	for _, c := range []struct {
		home string
		add  []string
		want string
	}{
		{"us-east-1", []string{"eu-west-1"}, ""},
		{"us-east-1", []string{"eu-west-1", "ap-southeast-2", "il-central-1", "mx-central-1"}, ""},
		{"us-east-1", []string{"us-east-1"}, invalid},
		{"us-east-1", []string{"eu-west-1", "us-east-1"}, invalid},
		{"us-east-1", []string{"eu-west-1", "eu-west-1"}, invalid},
		{"us-east-1", []string{""}, invalid},
		{"us-east-1", []string{"xx-west-1"}, invalid},
		{"us-east-1", []string{"mars-1"}, invalid},
		{"us-east-1", []string{"cn-north-1"}, invalid},
		{"us-east-1", []string{"us-gov-west-1"}, invalid},
		{"us-east-1", []string{"us-iso-east-1"}, invalid},
		{"us-east-1", []string{"EU"}, pattern},
		{"us-east-1", nil, "ValidationException: 1 validation error detected: Value null at 'addReplicaRegions' failed to satisfy constraint: Member must not be null"},
		{"cn-north-1", []string{"cn-northwest-1"}, ""},
		{"cn-north-1", []string{"us-east-1"}, invalid},
		{"us-gov-west-1", []string{"us-gov-east-1"}, ""},
		{"us-gov-west-1", []string{"us-west-1"}, invalid},
		{"us-isob-east-1", []string{"us-isob-west-1"}, ""},
	} {
		h := open(t, service.Config{})
		s := in(h.Service, c.home)
		must(t, make1(s, "s", "v1"))
		err := replicate(s, "s", false, c.add...)
		got := ""
		if err != nil {
			got = secrets.CodeOf(err) + ": " + text(err)
		}
		if got != c.want {
			t.Errorf("%s to %v:\n got %s\nwant %s", c.home, c.add, got, c.want)
		}
		_, err = s.CreateSecret(t.Context(), service.CreateSecretInput{Name: "new", ClientRequestToken: tok("v1"), AddReplicaRegions: regionsOf(c.add...)})
		if created := err == nil; created != (c.want == "" || c.add == nil) {
			t.Errorf("creating in %s with %v: %v", c.home, c.add, err)
		}
		if c.want == "" {
			continue
		}
		if out, err := s.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"}); err != nil || out.ReplicationStatus != nil || out.PrimaryRegion != "" {
			t.Errorf("refused, but left %+v (error %v)", out, err)
		}
	}
}

// text is what err says on the wire.
func text(err error) string {
	if e, ok := err.(*secrets.Error); ok {
		return e.Err.Error()
	}
	return err.Error()
}

func TestAReplicaIsReadOnly(t *testing.T) {
	h := open(t, service.Config{})
	must(t, make1(h.Service, "s", "v1", "eu-west-1"))
	eu, ctx := in(h.Service, "eu-west-1"), t.Context()
	for name, do := range map[string]func() error{
		"PutSecretValue":       func() error { return put(eu, "s", "v2") },
		"PutSecretValue again": func() error { return put(eu, "s", "v1") },
		"UpdateSecret": func() error {
			return second(eu.UpdateSecret(ctx, service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("v2")}))
		},
		"UpdateSecretVersionStage": func() error {
			return second(eu.UpdateSecretVersionStage(ctx, service.UpdateSecretVersionStageInput{SecretID: "s", VersionStage: "X", MoveToVersionID: tok("v1")}))
		},
		"TagResource": func() error {
			return eu.TagResource(ctx, service.TagResourceInput{SecretID: "s", Tags: []service.Tag{{Key: "k"}}})
		},
		"UntagResource": func() error {
			return eu.UntagResource(ctx, service.UntagResourceInput{SecretID: "s", TagKeys: []string{"k"}})
		},
		"DeleteSecret": func() error {
			return second(eu.DeleteSecret(ctx, service.DeleteSecretInput{SecretID: "s"}))
		},
		"DeleteSecret by force": func() error {
			return second(eu.DeleteSecret(ctx, service.DeleteSecretInput{SecretID: "s", ForceDeleteWithoutRecovery: true}))
		},
		"RestoreSecret": func() error {
			return second(eu.RestoreSecret(ctx, service.RestoreSecretInput{SecretID: "s"}))
		},
		"RotateSecret": func() error {
			return second(eu.RotateSecret(ctx, service.RotateSecretInput{SecretID: "s", ClientRequestToken: tok("v2")}))
		},
		"CancelRotateSecret": func() error {
			return second(eu.CancelRotateSecret(ctx, service.CancelRotateSecretInput{SecretID: "s"}))
		},
		"ReplicateSecretToRegions":     func() error { return replicate(eu, "s", false, "ap-south-1") },
		"RemoveRegionsFromReplication": func() error { return remove(eu, "s", "ap-south-1") },
		"Pause":                        func() error { return eu.Pause(ctx, "s") },
		"Resume":                       func() error { return eu.Resume(ctx, "s") },
		"Claim":                        func() error { return second(eu.Claim(ctx, "s")) },
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, do(), "InvalidParameterException", replicaText) })
	}
	got, err := eu.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: "s"})
	if err != nil || string(got.Value.Reveal()) != "value of v1" || !strings.Contains(got.ARN, ":eu-west-1:") {
		t.Errorf("got %v, %v", got, err)
	}
	if err := second(eu.ListSecretVersionIDs(ctx, service.ListSecretVersionIDsInput{SecretID: "s"})); err != nil {
		t.Error(err)
	}
	if err := second(eu.DescribeSecret(ctx, service.DescribeSecretInput{SecretID: "s"})); err != nil {
		t.Error(err)
	}
	wantErr(t, make1(eu, "s", "other"), "ResourceExistsException", "The operation failed because the secret s already exists.")
}

func TestAPrimaryIsNotDeleted(t *testing.T) {
	h := open(t, service.Config{})
	must(t, make1(h.Service, "s", "v1", "eu-west-1", "ap-south-1"))
	arn := h.record("s").ARN.String()
	for _, force := range []bool{false, true} {
		err := second(h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s", ForceDeleteWithoutRecovery: force}))
		wantErr(t, err, "InvalidParameterException", "You can't delete secret "+arn+" that still has replica regions [eu-west-1, ap-south-1].")
	}
	must(t, remove(h.Service, "s", "eu-west-1", "ap-south-1", "sa-east-1"))
	must(t, second(h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s"})))
	wantErr(t, replicate(h.Service, "s", false, "eu-west-1"), "InvalidRequestException", deletedText)
	wantErr(t, remove(h.Service, "s", "eu-west-1"), "InvalidRequestException", deletedText)
	wantErr(t, stop(h.Service, "s"), "InvalidRequestException", deletedText)
}

func TestRemoveAndStop(t *testing.T) {
	h := open(t, service.Config{})
	must(t, make1(h.Service, "s", "v1", "eu-west-1"))
	out, err := h.RemoveRegionsFromReplication(t.Context(), service.RemoveRegionsFromReplicationInput{SecretID: "s", RemoveReplicaRegions: []string{"eu-west-1"}})
	must(t, err)
	b, err := json.Marshal(out)
	must(t, err)
	if want := `{"ARN":"` + h.record("s").ARN.String() + `","ReplicationStatus":[]}`; string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
	wantErr(t, remove(h.Service, "s"), "ValidationException", "1 validation error detected: Value null at 'removeReplicaRegions' failed to satisfy constraint: Member must not be null")
	wantErr(t, remove(h.Service, "s", "EU"), "ValidationException", "1 validation error detected: Value 'EU' at 'removeReplicaRegions.1.member' failed to satisfy constraint: Member must satisfy regular expression pattern: ^([a-z]+-)+\\d+$")
	for _, err := range []error{remove(h.Service, "nowhere", "eu-west-1"), replicate(h.Service, "nowhere", false, "eu-west-1"), stop(h.Service, "nowhere"), stop(in(h.Service, "eu-west-1"), "s")} {
		wantErr(t, err, "ResourceNotFoundException", notFoundText)
	}
	wantErr(t, stop(h.Service, "s"), "InvalidRequestException", "You can only stop replication on a replica secret, in the replica's Region.")

	// A promoted one is a secret like any other, and its primary knows nothing of it.
	must(t, replicate(h.Service, "s", false, "eu-west-1", "ap-south-1"))
	must(t, put(h.Service, "s", "v2", secrets.Pending))
	eu := in(h.Service, "eu-west-1")
	before := h.find(t, service.DefaultAccount, "eu-west-1", "s")
	must(t, stop(eu, "s"))
	sec := h.find(t, service.DefaultAccount, "eu-west-1", "s")
	if diff := cmp.Diff(h.content(t, before), h.content(t, sec)); diff != "" || sec.ARN != before.ARN {
		t.Error(diff)
	}
	if sec.PrimaryRegion != "" || !sec.DueAt.IsZero() || !sec.FollowAt.IsZero() {
		t.Errorf("promoted: %+v", sec)
	}
	wantErr(t, stop(eu, "s"), "InvalidRequestException", "You can only stop replication on a replica secret, in the replica's Region.")
	h.wantReplicas(t, "ap-south-1 InSync")
	must(t, put(eu, "s", "v3"))
	must(t, replicate(eu, "s", false, "sa-east-1"))
	must(t, put(h.Service, "s", "v4"))
	if got := render(h.find(t, service.DefaultAccount, "eu-west-1", "s").Versions); got != "v1[AWSPREVIOUS] v2[] v3[AWSCURRENT]" {
		t.Errorf("the promoted one has %s", got)
	}
	must(t, second(h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})))
}

// A name that is taken makes a replica fail, and nothing else.
func TestANameTakenInTheOtherRegion(t *testing.T) {
	delete := func(force bool) func(*testing.T, *service.Service) {
		return func(t *testing.T, eu *service.Service) {
			must(t, second(eu.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s", ForceDeleteWithoutRecovery: force})))
		}
	}
	none := func(*testing.T, *service.Service) {}
	for _, c := range []struct {
		name  string
		there func(t *testing.T, eu *service.Service)
		force bool
		later time.Duration
		want  service.ReplicaStatus
	}{
		{"a secret", none, false, 0, service.Failed},
		{"a secret, by force", none, true, 0, service.InSync},
		{"one marked for deletion", delete(false), false, 0, service.Failed},
		{"one marked for deletion, by force", delete(false), true, 0, service.InSync},
		{"one that has ended", delete(false), false, 31 * 24 * time.Hour, service.InSync},
		{"a primary, by force", func(t *testing.T, eu *service.Service) { must(t, replicate(eu, "s", false, "ap-south-1")) }, true, 0, service.Failed},
		{"another's replica, by force", func(t *testing.T, eu *service.Service) {
			delete(true)(t, eu)
			must(t, make1(in(eu, "ap-south-1"), "s", "v2", "eu-west-1"))
		}, true, 0, service.Failed},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, service.Config{})
			eu := in(h.Service, "eu-west-1")
			must(t, make1(eu, "s", "other"))
			c.there(t, eu)
			h.clock.add(c.later)
			out, err := h.CreateSecret(t.Context(), service.CreateSecretInput{
				Name: "s", ClientRequestToken: tok("v1"), GivenValue: service.Give(secrets.Text("value of v1")),
				AddReplicaRegions: regionsOf("eu-west-1"), ForceOverwriteReplicaSecret: c.force,
			})
			must(t, err)
			want := service.ReplicationStatusType{Region: "eu-west-1", KmsKeyID: "alias/aws/secretsmanager", Status: c.want, StatusMessage: "Replication succeeded"}
			if c.want == service.Failed {
				want.StatusMessage = takenText
			}
			if diff := cmp.Diff([]service.ReplicationStatusType{want}, out.ReplicationStatus); diff != "" {
				t.Error(diff)
			}
			h.consistent(t, service.DefaultAccount, "s")
			if c.want == service.InSync {
				return
			}
			// It is not tried again by itself, nor by a change; only when asked for.
			must(t, put(h.Service, "s", "v2"))
			h.calm(t)
			h.wantReplicas(t, "eu-west-1 Failed")
			if c.force {
				return
			}
			delete(true)(t, eu)
			h.calm(t)
			h.wantReplicas(t, "eu-west-1 Failed")
			must(t, replicate(h.Service, "s", false, "eu-west-1"))
			h.wantReplicas(t, "eu-west-1 InSync")
			h.consistent(t, service.DefaultAccount, "s")
		})
	}
}

func TestTheKeyOfAReplica(t *testing.T) {
	h := open(t, service.Config{})
	must(t, make1(h.Service, "s", "v1"))
	with := func(key string) []service.ReplicationStatusType {
		out, err := h.ReplicateSecretToRegions(t.Context(), service.ReplicateSecretToRegionsInput{SecretID: "s", AddReplicaRegions: []service.ReplicaRegionType{{Region: "eu-west-1", KmsKeyID: key}}})
		must(t, err)
		return out.ReplicationStatus
	}
	keys := func() (out []string) {
		sec := h.find(t, service.DefaultAccount, "eu-west-1", "s")
		for _, v := range sec.Versions {
			out = append(out, v.KeyID)
		}
		return append(out, sec.KMSKeyID)
	}
	bad := "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
	want := []service.ReplicationStatusType{{Region: "eu-west-1", KmsKeyID: bad, Status: service.Failed,
		StatusMessage: "Replication failed: The operation failed because of an invalid KMS key: Invalid arn us-east-1"}}
	if diff := cmp.Diff(want, with(bad)); diff != "" {
		t.Error(diff)
	}
	if h.find(t, service.DefaultAccount, "eu-west-1", "s") != nil {
		t.Error("a failed replica was made")
	}
	want = []service.ReplicationStatusType{{Region: "eu-west-1", KmsKeyID: "alias/one", Status: service.InSync, StatusMessage: "Replication succeeded"}}
	if diff := cmp.Diff(want, with("alias/one")); diff != "" {
		t.Error(diff)
	}
	must(t, put(h.Service, "s", "v2"))
	if diff := cmp.Diff([]string{"alias/one", "alias/one", "alias/one"}, keys()); diff != "" {
		t.Error(diff)
	}
	with("") // no other key: as it is
	sealed, err := h.store.Value(t.Context(), h.find(t, service.DefaultAccount, "eu-west-1", "s").ARN, tok("v1"))
	must(t, err)
	with("alias/two")
	if diff := cmp.Diff([]string{"alias/two", "alias/two", "alias/two"}, keys()); diff != "" {
		t.Error(diff)
	}
	again, err := h.store.Value(t.Context(), h.find(t, service.DefaultAccount, "eu-west-1", "s").ARN, tok("v1"))
	must(t, err)
	if string(sealed) == string(again) {
		t.Error("the value is not encrypted anew")
	}
	h.consistent(t, service.DefaultAccount, "s")
}

func TestWhatAReplicaFollows(t *testing.T) {
	h := open(t, service.Config{})
	must(t, make1(h.Service, "s", "v1", "eu-west-1"))
	made := h.clock.now()
	eu := in(h.Service, "eu-west-1")
	get := func(s *service.Service) {
		must(t, second(s.GetSecretValue(t.Context(), service.GetSecretValueInput{SecretID: "s"})))
	}
	get(eu)
	h.clock.add(48 * time.Hour)
	revision := h.record("s").Revision
	follows := func(what string, want bool, do func() error) {
		t.Helper()
		must(t, do())
		sec := h.record("s")
		if got := sec.Revision != revision; got != want {
			t.Errorf("%s: followed %v, want %v", what, got, want)
		}
		if !sec.FollowAt.IsZero() || sec.Replicas[0].Status != service.InSync {
			t.Errorf("%s: left behind: %v, %+v", what, sec.FollowAt, sec.Replicas)
		}
		revision = sec.Revision
		h.consistent(t, service.DefaultAccount, "s")
	}
	change := func(change func(*service.Secret)) func() error {
		return func() error {
			return second(service.Change(h.Service, t.Context(), h.record("s").ARN, func(sec *service.Secret) (service.Sealed, error) {
				change(sec)
				return nil, nil
			}))
		}
	}
	follows("a value", true, func() error { return put(h.Service, "s", "v2") })
	follows("a pending value", true, func() error { return put(h.Service, "s", "v3", secrets.Pending) })
	follows("the same request again", false, func() error { return put(h.Service, "s", "v2") })
	follows("a label", true, func() error {
		return second(h.UpdateSecretVersionStage(t.Context(), service.UpdateSecretVersionStageInput{SecretID: "s", VersionStage: "X", MoveToVersionID: tok("v1")}))
	})
	follows("a tag", true, func() error {
		return h.TagResource(t.Context(), service.TagResourceInput{SecretID: "s", Tags: []service.Tag{{Key: "k", Value: "v"}}})
	})
	follows("no tag any more", true, func() error {
		return h.UntagResource(t.Context(), service.UntagResourceInput{SecretID: "s", TagKeys: []string{"k"}})
	})
	follows("a description", true, change(func(s *service.Secret) { s.Description = "d" }))
	follows("a policy", true, change(func(s *service.Secret) { s.Policy = "{}" }))
	follows("a partner's kind", true, change(func(s *service.Secret) { s.Type = "DatadogApiKey" }))
	follows("a reading", false, func() error { get(h.Service); return nil })
	follows("a rotation", false, change(func(s *service.Secret) { s.Rotation = &secrets.Rotation{Source: "api", Enabled: true} }))
	follows("Pawl's own label", false, change(func(s *service.Secret) { s.Versions, _ = s.Versions.Move(secrets.Intent, tok("v1")) }))
	follows("a version gone", true, change(func(s *service.Secret) { s.Versions = s.Versions[:2] }))
	// An id that was pruned can be used again, for another value.
	follows("the id again", true, func() error {
		h.clock.add(time.Second)
		return second(h.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v3"), GivenValue: service.Give(secrets.Text("value of v3"))}))
	})

	sec := h.find(t, service.DefaultAccount, "eu-west-1", "s")
	v1, _ := sec.Versions.Find(tok("v1"))
	if day := made.Truncate(24 * time.Hour); !sec.Accessed.Equal(day) || !v1.Accessed.Equal(day) {
		t.Errorf("the replica was read on %v, its version on %v, want %v", sec.Accessed, v1.Accessed, day)
	}
	if !sec.Created.Equal(made) || !sec.DueAt.IsZero() {
		t.Errorf("the replica: created %v, due %v", sec.Created, sec.DueAt)
	}
	out, err := h.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
	must(t, err)
	want := []service.ReplicationStatusType{{Region: "eu-west-1", KmsKeyID: "alias/aws/secretsmanager", Status: service.InSync, StatusMessage: "Replication succeeded", LastAccessedDate: made.Truncate(24 * time.Hour)}}
	if diff := cmp.Diff(want, out.ReplicationStatus); diff != "" || out.PrimaryRegion != "us-east-1" {
		t.Errorf("primary region %q, %s", out.PrimaryRegion, diff)
	}
	replica, err := eu.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
	if err != nil || replica.PrimaryRegion != "us-east-1" || replica.ReplicationStatus != nil {
		t.Errorf("replica: %+v (error %v)", replica, err)
	}
}

// An id used again within the millisecond, or by a clock set back, would be
// taken for the old value; any other time tells them apart.
func TestAVersionIDUsedAgainWhileBehind(t *testing.T) {
	h := open(t, service.Config{})
	must(t, make1(h.Service, "s", "v1", "eu-west-1"))
	must(t, put(h.Service, "s", "v2", "X"))
	// While nobody follows, v2 goes and comes again with another value.
	dead := func() *service.Service {
		s, _ := h.process(func(n int) fault {
			if n == 0 {
				return after
			}
			return fine
		})
		return s
	}
	_, _ = service.Change(dead(), t.Context(), h.record("s").ARN, func(sec *service.Secret) (service.Sealed, error) {
		sec.Versions = sec.Versions[:1]
		return nil, nil
	})
	h.clock.add(time.Second)
	_ = second(dead().PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: service.Give(secrets.Text("another value"))}))
	h.calm(t)
	if got := h.plain(t, h.find(t, service.DefaultAccount, "eu-west-1", "s").ARN, tok("v2")); got != "another value" {
		t.Errorf("the replica has %q", got)
	}
}

// down is the real store with a region that can't be written to.
type down struct {
	service.Store
	region string
}

func (d *down) Create(ctx context.Context, s *service.Secret, values service.Sealed) error {
	if s.ARN.Region == d.region {
		return errDie
	}
	return d.Store.Create(ctx, s, values)
}

func (d *down) Update(ctx context.Context, arn secrets.ARN, change func(*service.Secret) (service.Sealed, error)) (*service.Secret, error) {
	if arn.Region == d.region {
		return nil, errDie
	}
	return d.Store.Update(ctx, arn, change)
}

// A region that can't be written to hurts neither the caller nor the others, and
// is tried again at growing intervals.
func TestARegionThatIsDown(t *testing.T) {
	h := open(t, service.Config{})
	store := &down{h.store.Store, "eu-west-1"}
	s := service.New(service.Config{Store: store, Sealer: h.keys, Now: h.clock.now})
	must(t, make1(s, "s", "v1", "eu-west-1", "ap-south-1"))
	must(t, put(s, "s", "v2"))
	h.wantReplicas(t, "eu-west-1 InProgress", "ap-south-1 InSync")
	if got := render(h.find(t, service.DefaultAccount, "ap-south-1", "s").Versions); got != "v1[AWSPREVIOUS] v2[AWSCURRENT]" {
		t.Errorf("the other region has %s", got)
	}
	wait := func() time.Duration { return h.record("s").FollowAt.Sub(h.clock.now()) }
	for _, want := range []time.Duration{10, 10, 20, 40, 80, 160, 320, 600, 600} {
		want *= time.Second
		if got := wait(); got != want {
			t.Errorf("tried again after %v, want %v", got, want)
		}
		h.clock.add(want - time.Second)
		if err := s.Follow(t.Context(), h.clock.now()); err != nil {
			t.Errorf("tried too early: %v", err)
		}
		h.clock.add(time.Second)
		wantKind(t, s.Follow(t.Context(), h.clock.now()), secrets.Transient, `secret "s"`)
	}
	store.region = ""
	must(t, replicate(s, "s", false, "eu-west-1")) // who asks does not wait
	h.wantReplicas(t, "eu-west-1 InSync", "ap-south-1 InSync")
	h.consistent(t, service.DefaultAccount, "s")

	// So is what is to be removed; until then the primary stays.
	store.region = "eu-west-1"
	must(t, remove(s, "s", "eu-west-1"))
	out, err := s.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"})
	if err != nil || len(out.ReplicationStatus) != 1 {
		t.Errorf("%+v (error %v)", out, err)
	}
	wantErr(t, replicate(s, "s", false, "eu-west-1"), "InvalidRequestException", "The replica in region eu-west-1 is just being removed or promoted.")
	if err := stop(in(s, "eu-west-1"), "s"); err == nil {
		t.Error("promoted what can't be written to")
	}
	store.region = ""
	h.calm(t)
	h.wantReplicas(t, "ap-south-1 InSync")
	if h.find(t, service.DefaultAccount, "eu-west-1", "s") != nil {
		t.Error("the replica is still there")
	}
}

// The caller's giving up after his write does not keep replicas from following.
func TestACallerWhoGivesUp(t *testing.T) {
	h := open(t, service.Config{})
	must(t, make1(h.Service, "s", "v1", "eu-west-1"))
	s, m := h.process(nil)
	ctx, cancel := context.WithCancel(t.Context())
	m.fate = func(int) fault { cancel(); return fine }
	_, err := s.PutSecretValue(ctx, service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("v2"), GivenValue: service.Give(secrets.Text("value of v2"))})
	if err != nil && secrets.KindOf(err) != secrets.Transient {
		t.Error(err)
	}
	if _, ok := h.record("s").Versions.Find(tok("v2")); ok {
		h.wantReplicas(t, "eu-west-1 InSync")
		h.consistent(t, service.DefaultAccount, "s")
	}
}

// Who has no replicas pays nothing for them.
func TestASecretWithoutReplicasPaysNothing(t *testing.T) {
	h := open(t, service.Config{})
	s, m := h.process(nil)
	for _, c := range []struct {
		name  string
		calls int
		do    func() error
	}{
		{"create", 1, func() error { return make1(s, "s", "v1") }},
		{"put", 2, func() error { return put(s, "s", "v2") }},
		{"tag", 2, func() error {
			return s.TagResource(t.Context(), service.TagResourceInput{SecretID: "s", Tags: []service.Tag{{Key: "k"}}})
		}},
		{"describe", 1, func() error {
			return second(s.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "s"}))
		}},
		{"delete", 2, func() error {
			return second(s.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s", ForceDeleteWithoutRecovery: true}))
		}},
	} {
		before := m.calls
		must(t, c.do())
		if got := m.calls - before; got != c.calls {
			t.Errorf("%s: %d calls of the store, want %d", c.name, got, c.calls)
		}
	}
}

// Accounts have nothing to do with each other.
func TestReplicasStayInTheirAccount(t *testing.T) {
	h := open(t, service.Config{})
	other := h.As(service.Caller{Region: "eu-west-1", Account: "210987654321"})
	must(t, make1(other, "s", "theirs"))
	must(t, make1(h.Service, "s", "v1", "eu-west-1"))
	h.wantReplicas(t, "eu-west-1 InSync")
	h.consistent(t, service.DefaultAccount, "s")
	if got := render(h.find(t, "210987654321", "eu-west-1", "s").Versions); got != "theirs[AWSCURRENT]" {
		t.Errorf("the other account has %s", got)
	}
}
