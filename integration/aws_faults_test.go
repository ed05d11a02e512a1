package integration_test

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// faulty is what happens to one of the calls of a rotation.
type faulty struct {
	call    string // of a clean rotation, the second UpdateSecretVersionStage by its number
	fault   string
	lasting bool // until it is mended, or for one call with all that the SDK repeats; else once
}

func (f faulty) String() string {
	often := "once"
	if f.lasting {
		often = "lasting"
	}
	return fmt.Sprintf("%s/%s/%s", f.call, f.fault, often)
}

// arm has the gate do it to a secret's calls.
func (f faulty) arm(p *gate, secret string) (mend func()) {
	operation, second := strings.CutSuffix(f.call, " 2")
	if second {
		p.on(operation, secret, 1, forwards)
	}
	n := 1
	switch {
	case f.lasting && f.fault == "answer lost":
		n = 6
	case f.lasting:
		n = -1
	}
	return p.on(operation, secret, n, faults[f.fault])
}

var faults = map[string]fault{
	"throttled": throttles, "failing": failing, "unavailable": unavailable,
	"request lost": losesRequest, "answer lost": losesAnswer, "slow": slow(time.Second),
}

// TestAWSFaults: whatever happens to any of the five calls of a rotation, it goes
// on by itself where it happens once. Where it lasts, it ends by exit code 3, and
// the next command finishes it; alternating users are never locked out meanwhile.
func TestAWSFaults(t *testing.T) {
	t.Parallel()
	c := newCloud(t, "aws_faults")
	c.tagged("root/db", c.db.Superuser().Value())
	var all []faulty
	for _, call := range []string{opStage, opStage + " 2", opPut, opDescribe, opValue} {
		for _, fault := range slices.Sorted(maps.Keys(faults)) {
			all = append(all, faulty{call, fault, false})
			switch fault {
			case "throttled", "request lost", "answer lost":
				all = append(all, faulty{call, fault, true})
			}
		}
	}
	first := map[bool]int{true: 0, false: 1} // those take longest
	slices.SortStableFunc(all, func(a, b faulty) int { return cmp.Compare(first[a.lasting], first[b.lasting]) })
	names := regexp.MustCompile(`[^a-z0-9]+`)
	users := map[faulty]secrets.Credentials{} // made one after the other: PostgreSQL wants its grants so
	for _, f := range all {
		users[f] = user(t, c.db, names.ReplaceAllString(strings.ToLower("f "+f.String()), "_"))
	}
	sideBySide(t, 12, all, faulty.String, func(t *testing.T, f faulty) {
		c := c.in(t)
		secret := "prod/app/" + names.ReplaceAllString(strings.ToLower(f.String()), "-")
		if !f.lasting {
			c.tagged(secret, users[f].Value())
			f.arm(c.gate, secret)
			c.rotates(c.elsewhere(t, ""), secret)
			return
		}
		c.tagged(secret, users[f].Value(), "pawl:strategy", "alternating-users", "pawl:superuser", "root/db")
		mend := f.arm(c.gate, secret)
		was := c.holder(secret, secrets.Current)
		r := c.at(c.elsewhere(t, pairing), "rotate", secret, "--timeout", "1500ms")
		pending := c.holder(secret, secrets.Pending)
		mend()
		if err := c.db.Login(t.Context(), c.current(secret)); err != nil {
			t.Errorf("locked out: %v", err)
		}
		if r.code == 0 && f.fault == "answer lost" && c.holder(secret, secrets.Current) != was {
			c.resting(t, secret) // it looked, and found that it was done
			return
		}
		if r.code != 3 {
			t.Errorf("exit code %d: %s%s", r.code, r.out, r.err)
		}
		if r := c.at(c.elsewhere(t, pairing), "rotate", secret); r.code != 0 {
			t.Errorf("exit code %d: %s%s", r.code, r.out, r.err)
		}
		c.resting(t, secret)
		switch now := c.holder(secret, secrets.Current); {
		case now == was:
			t.Error("AWSCURRENT has not moved")
		case pending != "" && now != pending:
			t.Errorf("version %s was stored, and %s is current: it made a new one", pending, now)
		}
		if _, found := c.tags(secret)["pawl:attempt"]; found {
			t.Error("the record of the failure is still there")
		}
	})
}
