package transfer

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/aws"
)

// atAWS is Secrets Manager, played by a Pawl, which keeps to its rules.
func atAWS(t *testing.T) (*AWS, *service.Service) {
	t.Helper()
	o := embedded(t)
	svc := service.New(service.Config{Store: o.Store, Sealer: o.Keys, Region: place.Region, Account: place.Account})
	return &AWS{API: svc}, svc
}

// fresh is another End of the same AWS: nothing is remembered in it.
func (a *AWS) fresh() *AWS { return &AWS{API: a.API} }

func here(name string) secrets.ARN {
	return secrets.ARN{Partition: "aws", Region: place.Region, Account: place.Account, Name: name, Suffix: "AbCdEf"}
}

func (o *Own) make(t *testing.T, s *service.Secret, values map[string]secrets.Value) {
	t.Helper()
	s.Created, s.Changed, s.ValueChanged = noon, noon, noon
	sealed := service.Sealed{}
	for i := range s.Versions {
		v := &s.Versions[i]
		v.Created = noon
		if value, ok := values[v.ID]; ok {
			sealed[v.ID] = o.sealed(t, s.ARN, *v, value)
		} else {
			v.Empty = true
		}
	}
	if err := o.Store.Create(t.Context(), s, sealed); err != nil {
		t.Fatal(err)
	}
}

// What an AWS has goes there and comes back; what it does not have is as it was.
func TestToAWSAndBack(t *testing.T) {
	from := embedded(t)
	large := secrets.Binary(bytes.Repeat([]byte{0, 255, '"'}, 1<<16/3))
	from.make(t, &service.Secret{ARN: here("large"), Versions: secrets.Versions{{ID: versionID(1), Labels: []string{secrets.Current}}}},
		map[string]secrets.Value{versionID(1): large})
	from.make(t, &service.Secret{
		ARN: here("prod/db"), Description: "the database", Policy: "{\n}", Tags: []service.Tag{{Key: "team", Value: "a"}},
		Rotation: &secrets.Rotation{Enabled: true, Source: "api", Since: noon, Rules: secrets.RotationRules{Schedule: "rate(4 hours)"}},
		Versions: secrets.Versions{
			{ID: versionID(1), Labels: []string{secrets.Previous}}, {ID: versionID(2), Labels: []string{secrets.Current, "MINE"}},
			{ID: versionID(3), Labels: []string{secrets.Pending, secrets.Intent}}, {ID: versionID(4)},
		},
	}, map[string]secrets.Value{versionID(1): secrets.Text("one"), versionID(2): secrets.Text("two"), versionID(3): secrets.Text("three"), versionID(4): secrets.Text("four")})
	from.make(t, &service.Secret{ARN: here("asked"), Versions: secrets.Versions{
		{ID: versionID(1), Labels: []string{secrets.Current}}, {ID: versionID(2), Labels: []string{secrets.Pending}}}},
		map[string]secrets.Value{versionID(1): secrets.Text("one")})
	from.make(t, &service.Secret{ARN: here("ended"), Deleted: noon, PurgeAt: noon.AddDate(9, 0, 0)}, nil)
	from.make(t, &service.Secret{ARN: here("bare")}, nil)
	there, svc := atAWS(t)
	r := run(t, &Copier{From: from, To: there})
	if r.Copied != 4 || r.Verified != 4 || len(r.Skipped) != 1 || !r.Whole() {
		t.Fatalf("%+v", r)
	}
	d, err := svc.DescribeSecret(t.Context(), service.DescribeSecretInput{SecretID: "prod/db"})
	if err != nil {
		t.Fatal(err)
	}
	if got := d.VersionIDsToStages[versionID(3)]; !slices.Equal(slices.Sorted(slices.Values(got)), []string{secrets.Pending, aws.Intent}) || len(d.VersionIDsToStages) != 3 {
		t.Errorf("at AWS: %v", d.VersionIDsToStages)
	}
	if r := run(t, &Copier{From: from, To: there.fresh()}); r.Same != 4 || r.Copied+r.Updated != 0 || !r.Whole() {
		t.Errorf("once more: %+v", r)
	}

	// Somewhere else, it comes back; and then AWS goes on.
	to := embedded(t)
	if r := run(t, &Copier{From: there.fresh(), To: to}); r.Copied != 4 || !r.Whole() {
		t.Fatalf("back: %+v", r)
	}
	put := func(token, text string) {
		t.Helper()
		_, err := svc.PutSecretValue(t.Context(), service.PutSecretValueInput{SecretID: "large", ClientRequestToken: token, GivenValue: service.Give(secrets.Text(text))})
		if err != nil {
			t.Fatal(err)
		}
	}
	put(versionID(7), "seven")

	// Where it came from, it has all that an AWS does not have.
	arn := here("large")
	_, err = from.Store.Update(t.Context(), arn, func(s *service.Secret) (service.Sealed, error) {
		s.Policy = "{ }"
		s.Rotation = &secrets.Rotation{Enabled: true, Source: "api", Since: noon, Rules: secrets.RotationRules{Schedule: "rate(4 hours)"}}
		s.Replicas = []service.Replica{{Region: "eu-west-1", Status: service.InSync}}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r = run(t, &Copier{From: there.fresh(), To: from})
	if r.Updated != 1 || !r.Whole() {
		t.Fatalf("over what was there: %+v", r)
	}
	it, err := from.read(t.Context(), arn)
	if err != nil {
		t.Fatal(err)
	}
	s := it.record
	if s.ARN != arn || s.Policy != "{ }" || s.Rotation == nil || !it.values[versionID(7)].Equal(secrets.Text("seven")) || !it.values[versionID(1)].Equal(large) || s.Versions.IDWith(secrets.Current) != versionID(7) {
		t.Errorf("%+v", s)
	}
	if len(s.Replicas) != 1 || s.Replicas[0].Status != service.InProgress || s.Revision != 1 || s.FollowAt.IsZero() {
		t.Errorf("its replicas will not follow: %+v, revision %d, at %s", s.Replicas, s.Revision, s.FollowAt.Format(time.RFC3339))
	}

	// One that is about to end is not taken for a copy.
	for _, end := range []End{from, there} {
		in := service.DeleteSecretInput{SecretID: "prod/db"}
		if own, ok := end.(*Own); ok {
			_, err = service.New(service.Config{Store: own.Store, Sealer: own.Keys, Region: place.Region, Account: place.Account}).DeleteSecret(t.Context(), in)
		} else {
			_, err = svc.DeleteSecret(t.Context(), in)
		}
		if err != nil {
			t.Fatal(err)
		}
		c := &Copier{From: to, To: end}
		if _, ok := end.(*Own); ok {
			c.From = there.fresh()
		}
		if r := run(t, c); len(r.Failed) != 1 || r.Whole() {
			t.Errorf("to %T: %+v", end, r)
		}
	}
}
