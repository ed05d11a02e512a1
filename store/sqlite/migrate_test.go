package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/schema"
	"github.com/pawlhq/pawl/store/storetest"
)

// first makes a store with the schema of the first migration, and a secret in
// it: what the first Pawl left.
func first(t *testing.T) (path string, sec *service.Secret) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pawl.db")
	scripts, err := schema.Scripts(migrations)
	if err != nil {
		t.Fatal(err)
	}
	db := pool(path, "journal_mode(WAL)", "foreign_keys(1)")
	if _, err := locate(path, true); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	for _, script := range []string{
		scripts[0],
		fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = 1", applicationID),
		`INSERT INTO secrets (account, region, name, suffix, partition, description, kms_key_id, tags,
			created, changed, accessed, deleted, purge_at, value_changed, due_at, rotation)
		VALUES ('123456789012', 'eu-west-1', 'prod/db-00001', 'AbC123', 'aws', 'old', 'alias/k', '[["a","1"]]',
			1772366400123456, 1772366400123456, NULL, NULL, NULL, 1772366400123456, 1772366400123456,
			'{"rules":{"strategy":"single-user","schedule":"rate(4 hours)"},"enabled":true,"source":"file pawl.yaml:12","since":"2026-03-01T12:00:00.123456Z"}'),
			('123456789012', 'eu-west-1', 'read', 'AbC123', 'aws', '', '', NULL,
			1772366400123457, 1772366400000000, 1772323200000000, NULL, NULL, NULL, NULL, NULL)`,
		`INSERT INTO versions (secret_id, id, seq, created, accessed, labels, key_id, sealed) VALUES
			(1, '00000002-0000-4000-8000-000000000000', 5, 1772366400123456, NULL, '["AWSCURRENT","PAWLINTENT"]', '', x'0203'),
			(1, '00000003-0000-4000-8000-000000000000', 7, NULL, NULL, '["AWSPENDING"]', '', NULL),
			(1, '00000001-0000-4000-8000-000000000000', 3, 1772366400123456, 1772323200000000, '["AWSPREVIOUS"]', 'k', x'01'),
			(2, '00000001-0000-4000-8000-000000000000', 1, NULL, NULL, '[]', '', x'04')`,
	} {
		if _, err := db.ExecContext(t.Context(), script); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return path, &service.Secret{
		ARN: arn(1), Description: "old", KMSKeyID: "alias/k", Tags: []service.Tag{{Key: "a", Value: "1"}},
		Created: at, Changed: at, ValueChanged: at, DueAt: at,
		Rotation: &secrets.Rotation{Enabled: true, Source: "file pawl.yaml:12", Since: at,
			Rules: secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: "rate(4 hours)"}},
		Versions: secrets.Versions{
			{ID: versionID(1), Created: at, Accessed: at.Truncate(24 * time.Hour), Labels: []string{secrets.Previous}, KeyID: "k"},
			{ID: versionID(2), Created: at, Labels: []string{secrets.Current, secrets.Intent}},
			{ID: versionID(3), Labels: []string{secrets.Pending}, Empty: true},
		},
	}
}

func TestMigration(t *testing.T) {
	path, want := first(t)
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	look := func() {
		t.Helper()
		got, err := s.Find(t.Context(), secrets.ID{ARN: want.ARN})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		read := want.ARN
		read.Name = "read"
		for _, c := range []struct {
			arn     secrets.ARN
			version int
			want    string
		}{{want.ARN, 1, "\x01"}, {want.ARN, 2, "\x02\x03"}, {read, 1, "\x04"}} {
			if v, err := s.Value(t.Context(), c.arn, versionID(c.version)); err != nil || string(v) != c.want {
				t.Errorf("the value of version %d of %s is %q, error %v", c.version, c.arn.Name, v, err)
			}
		}
		if _, err := s.Value(t.Context(), want.ARN, versionID(3)); !errors.Is(err, service.ErrNotFound) {
			t.Errorf("error %v", err)
		}
	}
	look()
	for order, names := range map[service.Order]string{
		service.ByName: "prod/db-00001 read", service.ByCreated: "prod/db-00001 read",
		service.ByChanged: "read prod/db-00001", service.ByAccessed: "prod/db-00001 read",
	} {
		page, err := s.List(t.Context(), service.Listing{Account: want.ARN.Account, Region: want.ARN.Region, Order: order, N: 9})
		if got := namesOf(page); err != nil || got != names {
			t.Errorf("in order %d: %q instead of %q, error %v", order, got, names, err)
		}
	}
	want.Policy, want.Revision, want.FollowAt = "{}", 7, want.DueAt.Add(time.Hour)
	if _, err := s.Update(t.Context(), want.ARN, func(sec *service.Secret) (service.Sealed, error) {
		sec.Policy, sec.Revision, sec.FollowAt = want.Policy, want.Revision, want.FollowAt
		return nil, nil
	}); err != nil {
		t.Fatal(err)
	}
	look()
	if behind, err := s.Behind(t.Context(), want.FollowAt, 9); err != nil || !slices.Equal(behind, []secrets.ARN{want.ARN}) {
		t.Errorf("behind are %v, error %v", behind, err)
	}
	checkIntegrity(t, s)
}

func namesOf(page []*service.Secret) string {
	names := make([]string, len(page))
	for i, sec := range page {
		names[i] = sec.ARN.Name
	}
	return strings.Join(names, " ")
}

// Both ways to list what has a prefix give the same.
func TestListManyWithAPrefix(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "pawl.db"))
	const n = few + 300
	if err := storetest.Fill(t.Context(), s, n, nil); err != nil {
		t.Fatal(err)
	}
	place := service.Listing{Account: service.DefaultAccount, Region: service.DefaultRegion, N: n + 1}
	all, err := s.List(t.Context(), place)
	if err != nil || len(all) != n {
		t.Fatal(len(all), err)
	}
	for _, prefix := range []string{"team-0", "team-000", "team-0021/", "team-9"} {
		for order := service.ByName; order <= service.ByAccessed; order++ {
			for _, descending := range []bool{false, true} {
				l := place
				l.Prefix, l.Order, l.Descending, l.N = prefix, order, descending, 70
				for range 3 {
					got, err := s.List(t.Context(), l)
					if want := storetest.Listed(all, l); err != nil || namesOf(got) != namesOf(want) {
						t.Fatalf("%+v: %d instead of %d, or others; error %v", l, len(got), len(want), err)
					}
					if len(got) > 0 {
						l.After = order.PositionOf(got[len(got)-1])
					}
				}
			}
		}
	}
}
