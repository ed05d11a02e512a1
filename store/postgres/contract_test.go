package postgres

import (
	"flag"
	"testing"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/storetest"
)

// All of this runs with no more rights than Migrate gives to a running Pawl.
func TestContract(t *testing.T) {
	l := at(t, servers.Postgres15)
	fewerChecks(t)
	storetest.Run(t, func(t testing.TB) service.Store { return l.openChecked(t) })
}

func TestPrincipals(t *testing.T) {
	l := at(t, servers.Postgres15)
	fewerChecks(t)
	storetest.Principals(t, func(t testing.TB) (a, b principals.Store) {
		db := l.database(t)
		return strict(l.open(t, db)), strict(l.open(t, db))
	})
}

func TestKeys(t *testing.T) {
	for _, kind := range []servers.Kind{servers.Postgres15, servers.Postgres18} {
		t.Run(string(kind), func(t *testing.T) {
			l := at(t, kind)
			storetest.Keys(t, func(t testing.TB) (a, b storetest.KeyStore) {
				db := l.database(t)
				return strict(l.open(t, db)), strict(l.open(t, db))
			})
		})
	}
}

// fewerChecks has the state machines of a test run less often than by default: each
// of their steps is some round trips.
func fewerChecks(t *testing.T) {
	t.Helper()
	checks := flag.Lookup("rapid.checks")
	if checks == nil || checks.Value.String() != checks.DefValue {
		return
	}
	if err := checks.Value.Set("25"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = checks.Value.Set(checks.DefValue) })
}

// openChecked opens a store of its own, and looks at the end of the test whether
// what is in the database agrees.
func (l *lab) openChecked(t testing.TB) *Store {
	t.Helper()
	db := l.database(t)
	s := l.open(t, db)
	t.Cleanup(func() { l.checkIntegrity(t, db) })
	return s
}

func (l *lab) checkIntegrity(t testing.TB, db string) {
	t.Helper()
	// The versions of a record that have a value are those with a value.
	wrong := value[int](t, l, db, `SELECT count(*) FROM (
			SELECT s.id, v.id AS version FROM pawl.secrets s, jsonb_to_recordset(coalesce(s.record::jsonb -> 'versions', '[]')) AS v (id text, empty bool)
			WHERE v.empty IS NOT TRUE
		) a FULL JOIN pawl.sealed_values b ON b.secret_id = a.id AND b.version_id = a.version
		WHERE a.id IS NULL OR b.secret_id IS NULL`)
	if wrong != 0 {
		t.Errorf("%d versions have no value, or values no version", wrong)
	}
	// What is out of the record for indexes is what the record says.
	wrong = value[int](t, l, db, `SELECT count(*) FROM pawl.secrets s, LATERAL (SELECT s.record::jsonb AS r) r
		WHERE (created, changed, accessed) <> (coalesce((r->>'created')::bigint, 0), coalesce((r->>'changed')::bigint, 0), coalesce((r->>'accessed')::bigint, 0))
		OR due_at IS DISTINCT FROM (r->>'dueAt')::bigint OR purge_at IS DISTINCT FROM (r->>'purgeAt')::bigint
		OR follow_at IS DISTINCT FROM (r->>'followAt')::bigint`)
	if wrong != 0 {
		t.Errorf("%d secrets have columns that are not what their record says", wrong)
	}
}
