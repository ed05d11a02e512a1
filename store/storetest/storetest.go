// Package storetest is the contract of service.Store as tests, for every store
// to pass.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Run runs the whole suite. open returns a store with nothing in it, and sees
// to it that the store is closed when the test ends.
func Run(t *testing.T, open func(t testing.TB) service.Store) {
	for _, c := range slices.Concat(recordTests, queryTests, listingTests, readingTests, concurrencyTests, machineTests) {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

type testCase struct {
	name string
	run  func(t *testing.T, s service.Store)
}

const (
	account = "123456789012"
	region  = "eu-west-1"
)

// noon is the instant most records are from.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

func arnOf(name string) secrets.ARN {
	return secrets.ARN{Partition: "aws", Region: region, Account: account, Name: name, Suffix: "AbC123"}
}

// versionID makes the n-th version id.
func versionID(n int) string { return fmt.Sprintf("%032d", n) }

// version makes a version with a value.
func version(n int, labels ...string) secrets.Version {
	return secrets.Version{ID: versionID(n), Created: noon.Add(time.Duration(n) * time.Second), Labels: labels}
}

// sealed makes the encrypted value of the n-th version.
func sealed(n int) []byte { return fmt.Appendf(nil, "sealed\x00%d", n) }

func plain(name string) *service.Secret {
	return &service.Secret{ARN: arnOf(name), Created: noon, Changed: noon}
}

// full makes a record in which no field is zero, as a test makes sure.
func full(name string) (*service.Secret, service.Sealed) {
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	s := &service.Secret{
		ARN:         arnOf(name),
		Description: "Robert'); DROP TABLE secrets;-- \"\\ \n\t¿日本語 🔑",
		KMSKeyID:    "alias/key",
		Tags:        []service.Tag{{Key: "z", Value: "first"}, {Key: "a", Value: ""}, {Key: "ключ", Value: "<&>\u2028\"\\"}},
		Created:     at(1), Changed: at(2), Accessed: at(3), Deleted: at(4), PurgeAt: at(5), ValueChanged: at(6), DueAt: at(7),
		Rotation: &secrets.Rotation{
			Rules: secrets.RotationRules{
				Strategy: secrets.AlternatingUsers, Engine: "postgres", Superuser: "prod/root", Schedule: "rate(4 hours)", Window: "3h",
				Hosts: []string{"replica:5432"}, AdminHost: "primary", PropagationTimeout: 1500 * time.Millisecond,
				TLS: secrets.TLSRules{Mode: secrets.TLSVerifyFull, CAFile: "ca.pem"}, CheckQuery: "SELECT '%'", PlainPassword: true, AdoptClone: true,
				AfterDays: 30, Function: "arn:aws:lambda:eu-west-1:123456789012:function:pawl-alternating-users",
				Password: secrets.PasswordRules{
					Length: 20, ExcludeCharacters: "\"'\\", ExcludeNumbers: true, ExcludePunctuation: true, ExcludeUppercase: true,
					ExcludeLowercase: true, IncludeSpace: true, AllowMissingTypes: true,
				},
			},
			Enabled: true, Source: "file pawl.yaml:12", Paused: true, Asked: versionID(1), Since: at(16), LastRotated: at(8),
			Attempt: secrets.Attempt{Tries: 3, NextTry: at(9), LastError: "refused: \x1b[0m", Kind: secrets.Denied, FailingSince: at(10)},
		},
		Versions: secrets.Versions{
			{ID: versionID(2), Created: at(11), Accessed: at(12), Labels: []string{secrets.Current, "ÜBER", "a b,c"}, KeyID: "alias/other"},
			{ID: versionID(1), Created: at(13), Accessed: at(14), Labels: []string{secrets.Previous}, KeyID: "x"},
			{ID: strings.Repeat("☃", 64), Created: at(15), Labels: []string{secrets.Pending}, Empty: true},
		},
		Policy: "{\n\t\"Version\": \"2012-10-17\" }\n", Type: "SnowflakePat", OwningService: "rds",
		External: &service.External{
			Metadata: []service.ExternalSecretRotationMetadataItem{{Key: "<b>", Value: "2"}, {Key: "a", Value: "1"}},
			RoleARN:  "arn:aws:iam::123456789012:role/partner",
		},
		PrimaryRegion: "us-east-1",
		Replicas: []service.Replica{
			{Region: "us-west-2", KMSKeyID: "alias/there", Status: service.Failed, Message: "\u2028 no", Force: true, Removing: true, Stopping: true},
			{Region: "eu-central-1", Status: service.InSync},
		},
		Revision: 1 << 60, FollowAt: at(17),
	}
	return s, service.Sealed{versionID(2): sealed(2), versionID(1): sealed(1)}
}

func create(t testing.TB, s service.Store, sec *service.Secret, values service.Sealed) *service.Secret {
	t.Helper()
	if err := s.Create(t.Context(), sec, values); err != nil {
		t.Fatalf("creating %s: %v", sec.ARN, err)
	}
	return sec
}

func find(t testing.TB, s service.Store, a secrets.ARN) *service.Secret {
	t.Helper()
	sec, err := s.Find(t.Context(), secrets.ID{ARN: a})
	if err != nil {
		t.Fatalf("finding %s: %v", a, err)
	}
	if p, ok := s.(service.Peeker); ok {
		same, err := p.Peek(t.Context(), secrets.ID{ARN: a})
		if err != nil {
			t.Fatalf("peeking at %s: %v", a, err)
		}
		wantRecord(t, same, sec)
	}
	return sec
}

func update(t testing.TB, s service.Store, a secrets.ARN, change func(*service.Secret) (service.Sealed, error)) *service.Secret {
	t.Helper()
	sec, err := s.Update(t.Context(), a, change)
	if err != nil {
		t.Fatalf("updating %s: %v", a, err)
	}
	return sec
}

func wantValue(t testing.TB, s service.Store, a secrets.ARN, id string, want []byte) {
	t.Helper()
	got, err := s.Value(t.Context(), a, id)
	switch {
	case want == nil && !errors.Is(err, service.ErrNotFound):
		t.Errorf("the value of version %s: error %v instead of ErrNotFound", id, err)
	case want != nil && err != nil:
		t.Errorf("the value of version %s: %v", id, err)
	case string(got) != string(want):
		t.Errorf("the value of version %s has %d bytes that are not the %d that were put", id, len(got), len(want))
	}
}

func wantRecord(t testing.TB, got, want *service.Secret) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("the record is different (-want +got):\n%s", d)
	}
}

func wantKind(t testing.TB, err error, want secrets.Kind) {
	t.Helper()
	if secrets.KindOf(err) != want || err == nil {
		t.Errorf("error %v is %v, not %v", err, secrets.KindOf(err), want)
	}
}

func wantErr(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v instead of %v", err, want)
	}
}

// canceled is a context that has ended.
func canceled(t testing.TB) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
