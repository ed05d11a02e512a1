package sqlite

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/storetest"
)

// No statement of a reader may look at more rows than it needs, or sort them.
func TestQueryPlans(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "pawl.db"))
	plan := func(query string) (steps []string) {
		t.Helper()
		args := make([]any, strings.Count(query, "?"))
		rows, err := s.readers.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, args...)
		if err != nil {
			t.Fatalf("%v in %s", err, query)
		}
		defer rows.Close()
		for rows.Next() {
			var id, parent, unused int
			var step string
			if err := rows.Scan(&id, &parent, &unused, &step); err != nil {
				t.Fatal(err)
			}
			steps = append(steps, step)
		}
		if err := rows.Err(); err != nil || len(steps) == 0 {
			t.Fatalf("%d steps, error %v", len(steps), err)
		}
		return steps
	}
	check := func(query string, allowed ...string) {
		t.Helper()
	steps:
		for _, step := range plan(query) {
			for _, ok := range allowed {
				if strings.HasPrefix(step, ok) {
					continue steps
				}
			}
			if strings.Contains(step, "TEMP B-TREE") || strings.HasPrefix(step, "SCAN") {
				t.Errorf("%s: %s", step, query)
			}
		}
	}
	uses := func(query, index string) {
		t.Helper()
		if steps := strings.Join(plan(query), "; "); !strings.Contains(steps, index) {
			t.Errorf("%s does not use %s: %s", query, index, steps)
		}
	}
	checkAll := func() {
		for l, query := range listQueries {
			var bounds string // beyond account and region
			column := []string{"name", "created", "changed", "accessed_or_1970"}[l.order]
			op := map[bool]string{false: ">", true: "<"}[l.descending]
			switch {
			case l.prefixed && (l.few || l.order == service.ByName):
				bounds = " AND name>? AND name<?"
			case l.resumed && l.order == service.ByName:
				bounds = " AND name" + op + "?"
			case l.resumed:
				bounds = " AND (" + column + ",name)" + op + "(?,?)"
			}
			uses(query, "(account=? AND region=?"+bounds+")")
			if l.few { // no more than that are sorted
				check(query, "USE TEMP B-TREE FOR ORDER BY")
			} else {
				check(query)
			}
		}
		for _, query := range []string{findQuery, readQuery, valueQuery, idQuery} {
			check(query)
		}
		for _, query := range []string{principalQuery, holderQuery, accountQuery, everyoneQuery, namedKeysQuery, resealQuery} {
			check(query, "SCAN named_keys USING INDEX") // all of them
		}
		uses(everyoneQuery, "((account,name)>(?,?))")
		uses(resealQuery, "((secret_id,id)>(?,?))")
		check(usesQuery, "SCAN json_each VIRTUAL TABLE")
		check(fewQuery, "SCAN (subquery")
		check(versionsQuery, "SCAN json_each VIRTUAL TABLE")
		check(placesQuery, "SCAN (subquery", "SCAN place", "SCAN secrets USING COVERING INDEX") // of these one row
		uses(placesQuery, "(account=? AND region>?)")
		uses(placesQuery, "(account>?)")
		for query, index := range map[string]string{dueQuery: "secrets_due", purgeableQuery: "secrets_purge", behindQuery: "secrets_follow"} {
			check(query)
			uses(query, "INDEX "+index)
		}
		uses(dueQuery, "((due_at,name,account,region)>(?,?,?,?) AND due_at<?)")
		check(backlogQuery, "SCAN (subquery")
		uses(backlogQuery, "COVERING INDEX secrets_due")
	}
	checkAll()
	// Nor once there is something, and statistics of it.
	if err := storetest.Fill(t.Context(), s, 200, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.w.exec("ANALYZE"); err != nil {
		t.Fatal(err)
	}
	checkAll()
}
