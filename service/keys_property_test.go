package service_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Whatever is put, moved, given another key, rotated and re-wrapped, in whatever
// order, and while something else is being written: every version opens to its
// value, and its record names the key that it is under.
func TestKeysProperty(t *testing.T) {
	fewerChecks(t, 5)
	rapid.Check(t, func(rt *rapid.T) {
		k := openKeyed(t)
		ctx := t.Context()
		values := map[string]string{tok("v1"): "value of v1"}
		k.create("s", "value of v1")
		arn := k.record("s").ARN
		keys := rapid.SampledFrom([]string{"", "alias/a", "alias/b", kmsKey})
		named := rapid.SampledFrom([]string{"alias/a", "alias/b"})
		n := 1
		fresh := func() string { n++; return fmt.Sprint("v", n) }
		try := func(err error) {
			if err != nil {
				rt.Fatal(err)
			}
		}
		steps := map[string]func(*rapid.T){
			"put": func(rt *rapid.T) {
				id := fresh()
				labels := rapid.SampledFrom([][]string{nil, {"AWSPENDING"}, {"MINE"}}).Draw(rt, "labels")
				_, err := k.PutSecretValue(ctx, service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok(id), VersionStages: labels, GivenValue: service.Give(secrets.Text("value of " + id))})
				try(err)
				values[tok(id)] = "value of " + id
			},
			"update": func(rt *rapid.T) {
				in := service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("unused")}
				if rapid.Bool().Draw(rt, "value") {
					id := fresh()
					in.ClientRequestToken, in.GivenValue = tok(id), service.Give(secrets.Text("value of "+id))
					values[tok(id)] = "value of " + id
				}
				if key := keys.Draw(rt, "key"); rapid.Bool().Draw(rt, "rekey") {
					in.KmsKeyID = &key
				}
				_, err := k.UpdateSecret(ctx, in)
				try(err)
			},
			"rotation": func(rt *rapid.T) {
				c, err := k.Claim(ctx, "s")
				try(err)
				defer c.Release()
				id, err := c.PutPending(ctx, "", secrets.Text("pending"))
				if secrets.KindOf(err) == secrets.Conflict {
					return // the labels moved meanwhile
				}
				try(err)
				values[id] = "pending"
				if rapid.Bool().Draw(rt, "promote") {
					try(c.Promote(ctx, id, false))
				}
			},
			"label": func(rt *rapid.T) {
				vs := k.record("s").Versions
				to := rapid.SampledFrom(vs).Draw(rt, "to").ID
				label := rapid.SampledFrom([]string{"AWSCURRENT", "AWSPENDING", "MINE"}).Draw(rt, "label")
				_, err := k.UpdateSecretVersionStage(ctx, service.UpdateSecretVersionStageInput{SecretID: "s", VersionStage: label, MoveToVersionID: to, RemoveFromVersionID: vs.IDWith(label)})
				if secrets.CodeOf(err) != "InvalidParameterException" { // as if it moved meanwhile
					try(err)
				}
			},
			"replicate": func(rt *rapid.T) {
				key := rapid.SampledFrom([]string{"", "alias/a", "alias/b"}).Draw(rt, "key")
				_, err := k.ReplicateSecretToRegions(ctx, service.ReplicateSecretToRegionsInput{SecretID: "s", AddReplicaRegions: []service.ReplicaRegionType{{Region: "eu-west-1", KmsKeyID: key}}})
				try(err)
			},
			"rotate a key": func(rt *rapid.T) {
				_, err := k.ring.RotateKey(ctx, named.Draw(rt, "key"))
				try(err)
			},
			"rotate the master key": func(*rapid.T) { try(second(k.ring.RotateMaster(ctx))) },
			"retire": func(*rapid.T) {
				_, err := k.ring.RetireMaster(ctx, func(context.Context) error { return nil })
				if secrets.KindOf(err) != secrets.Invalid { // as while it is needed
					try(err)
				}
			},
			"rewrap": func(*rapid.T) { try(k.ring.Rewrap(ctx, nil)) },
			"wait":   func(*rapid.T) { k.clock.add(2 * time.Minute) },
		}
		all := slices.Sorted(maps.Keys(steps))
		rt.Repeat(map[string]func(*rapid.T){
			"step": func(rt *rapid.T) {
				step := rapid.SampledFrom(all).Draw(rt, "step")
				// What happens right before its write.
				if between := rapid.SampledFrom(append(all, "nothing", "nothing")).Draw(rt, "between"); between != "nothing" && between != "rotation" {
					k.store.pending = func() { steps[between](rt) }
				}
				steps[step](rt)
				k.store.pending = nil
			},
			"": func(rt *rapid.T) {
				try(k.check(ctx, arn, values))
				eu := arn
				eu.Region = "eu-west-1"
				if len(k.record("s").Replicas) > 0 {
					try(k.check(ctx, eu, values))
				}
			},
		})
	})
}
