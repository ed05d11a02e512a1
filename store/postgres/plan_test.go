package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/service"
)

// fillQuickly makes n secrets, each with two values, half of them due, and a
// thousand users with keys, as a program that writes no records does.
func (l *lab) fillQuickly(t testing.TB, db string, n int) {
	t.Helper()
	l.exec(t, db,
		fmt.Sprintf(`INSERT INTO pawl.secrets (account, region, name, suffix, partition, record, created, changed, accessed,
			due_at, purge_at, follow_at, current_version, mark)
			SELECT '123456789012', 'eu-west-1', 'team-' || i %% 100 || '/db-' || i, 'AbC123', 'aws', '{"versions":[{"id":"1"},{"id":"2"}]}',
			i * 7919 %% %[1]d, i * 6469 %% %[1]d, CASE WHEN i %% 3 = 0 THEN 0 ELSE i * 104729 %% %[1]d END,
			CASE WHEN i %% 2 = 0 THEN i * 1299709 %% %[1]d END, CASE WHEN i %% 50 = 0 THEN i END, CASE WHEN i %% 50 = 1 THEN i END, '2', i
			FROM generate_series(1::bigint, %[1]d) i`, n),
		"INSERT INTO pawl.sealed_values SELECT s.id, v, '\\x00' FROM pawl.secrets s, unnest(ARRAY['1', '2']) v",
		`INSERT INTO pawl.principals (account, name, record) SELECT '123456789012', 'user-' || i, '{}' FROM generate_series(1, 1000) i`,
		`INSERT INTO pawl.access_keys (id, principal_id) SELECT 'AKIA' || id, id FROM pawl.principals`,
	)
}

// planCase is a statement, with parameters as SQL has them, and the index it has to
// use; sorts is whether it may sort.
type planCase struct {
	query, args, index string
	sorts              bool
}

func planCases() []planCase {
	const who = "'123456789012', 'eu-west-1'"
	cases := []planCase{
		{findQuery, who + ", 'team-7/db-7'", "secrets_account_region_name_key", false},
		{readQuery, who + ", 'team-7/db-7'", "secrets_account_region_name_key", false},
		{valueQuery, who + ", 'team-7/db-7', 'AbC123', 'aws', '2'", "sealed_values_pkey", false},
		{dueQuery, "15000, -9223372036854775808, '', '', '', 100", "secrets_due", false},
		{dueQuery, "15000, 7000, 'team-7/db-7', " + who + ", 1000", "secrets_due", false},
		{backlogQuery, "15000, 10000", "secrets_due", false},
		{purgeableQuery, "15000, 100", "secrets_purge", false},
		{behindQuery, "15000, 100", "secrets_follow", false},
		{placesQuery, "", "secrets_account_region_name_key", false},
		{fewQuery, who + ", 'team-7', 'team-8', 1001", "secrets_account_region_name_key", false},
		{principalQuery, "'123456789012', 'user-7'", "principals_account_name_key", false},
		{holderQuery, "'AKIA7'", "access_keys_pkey", false},
		{everyoneQuery, "'', '', 100", "principals_account_name_key", false},
		{accountQuery, "'123456789012', 'user-7', 100", "principals_account_name_key", false},
		{usesQuery, "'{AKIA7,AKIA8}'", "access_keys_pkey", false},
		{namedKeysQuery, "", "named_keys_alias_key", false},
		{resealQuery, "7, '1', 100", "sealed_values_pkey", false},
		{emptyQuery, "7, '{1}'", "sealed_values_pkey", false},
		{removeQuery, who + ", 'team-7/db-7', 'AbC123', 'aws'", "secrets_account_region_name_key", false},
	}
	for l, query := range listQueries {
		args, index := who, []string{"secrets_account_region_name_key", "secrets_created", "secrets_changed", "secrets_accessed"}[l.order]
		if l.prefixed {
			args += ", 'team-7', 'team-8'"
		}
		if l.resumed && l.order != service.ByName {
			args += ", 7000"
		}
		if l.resumed {
			args += ", 'team-7/db-7'"
		}
		if l.few {
			index = "secrets_account_region_name_key"
		}
		cases = append(cases, planCase{query, args + ", 100", index, l.few})
	}
	return cases
}

// No statement may look at more rows than it needs, or sort them: neither with its
// parameters nor without, and whatever the statistics are.
func TestQueryPlans(t *testing.T) {
	l := at(t, servers.Postgres15)
	db := l.database(t)
	s := l.open(t, db)
	check := func(when string) {
		t.Helper()
		conn, err := s.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		for _, mode := range []string{"force_generic_plan", "force_custom_plan"} {
			if _, err := conn.Exec(t.Context(), "SET plan_cache_mode = "+mode); err != nil {
				t.Fatal(err)
			}
			for i, c := range planCases() {
				plan := explain(t, conn, fmt.Sprintf("p%s%d", mode[6:7], i), c)
				// Of the leases, all that there are: as many as there are rotations now.
				tables := strings.ReplaceAll(plan, "Seq Scan on leases", "")
				bad := strings.Contains(tables, "Seq Scan on") || strings.Contains(plan, "Bitmap") || strings.Contains(plan, "Sort") && !c.sorts
				if bad || !strings.Contains(plan, c.index) {
					t.Errorf("%s, %s: not by %s alone:\n%s\n%s", when, mode, c.index, c.query, plan)
				}
			}
			if _, err := conn.Exec(t.Context(), "DEALLOCATE ALL"); err != nil {
				t.Fatal(err)
			}
		}
		if err := conn.Conn().Close(t.Context()); err != nil { // it does not know of DEALLOCATE
			t.Error(err)
		}
	}
	check("empty")
	l.fillQuickly(t, db, 20000)
	check("filled, without statistics")
	l.exec(t, db, "ANALYZE")
	check("filled")
}

func explain(t *testing.T, conn *pgxpool.Conn, name string, c planCase) string {
	t.Helper()
	run := func(sql string) string {
		results, err := conn.Conn().PgConn().Exec(context.Background(), sql).ReadAll()
		if err != nil {
			t.Fatalf("%v in %s", err, sql)
		}
		var b strings.Builder
		for _, r := range results {
			for _, row := range r.Rows {
				fmt.Fprintf(&b, "%s\n", row[0])
			}
		}
		return b.String()
	}
	run("PREPARE " + name + " AS " + c.query)
	execute := "EXECUTE " + name
	if c.args != "" {
		execute += "(" + c.args + ")"
	}
	return run("EXPLAIN " + execute)
}
