package lambda_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/lambda"
	"github.com/pawlhq/pawl/secrets"
)

const schedule = `{"version":"0","id":"53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa","detail-type":"Scheduled Event","source":"aws.events",` +
	`"account":"123456789012","time":"2015-10-08T16:53:06Z","region":"us-east-1","resources":["arn:aws:events:us-east-1:123456789012:rule/pawl"],"detail":{}}`

func summary(t *testing.T, body string) (s lambda.Summary) {
	t.Helper()
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return s
}

func rotated(s lambda.Summary) (names []string) {
	for _, r := range s.Rotated {
		names = append(names, r.Secret)
	}
	slices.Sort(names)
	return names
}

// TestLambdaSecret: the whole rotation of one secret, in one invocation; in two
// where the time of the first is over in the middle.
func TestLambdaSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.start()
	old := w.user("whole")
	arn := w.create(w.svc, "prod/whole", old)
	for _, id := range []string{"prod/whole", arn} {
		s := summary(t, f.ok(soon, map[string]string{"secret": id}))
		now, version := w.current(arn)
		if len(s.Rotated) != 1 || s.Rotated[0].VersionID != version || s.Rotated[0].Outcome != "rotated" || len(s.Failed)+len(s.Left) != 0 {
			t.Errorf("%+v; AWSCURRENT is %s", s, version)
		}
		w.mustLogin("AWSCURRENT", now)
		w.mustNotLogin("AWSPREVIOUS", old)
		old = now
	}

	// The password is set, and then the test's connection hangs.
	w.near.breaks(1, true)
	e := f.fails(4*time.Second, map[string]string{"secret": "prod/whole"})
	if (e.Type != "Transient" && e.Type != "Unknown") || !strings.Contains(e.Message, "the labels keep where the rotation is") {
		t.Errorf("%+v", e)
	}
	made, version := w.get(arn, secrets.Pending)
	w.mustLogin("AWSPENDING", made)
	w.near.heals()
	s := summary(t, f.ok(soon, map[string]string{"secret": "prod/whole"}))
	now, current := w.current(arn)
	if len(s.Rotated) != 1 || s.Rotated[0].Outcome != "resumed" || current != version {
		t.Errorf("%+v; AWSCURRENT is %s, was to be %s", s, current, version)
	}
	w.mustLogin("AWSCURRENT", now)

	w.rotation(arn)
	if e := f.fails(soon, map[string]string{"secret": arn}); e.Type != "Invalid" || !strings.Contains(e.Message, "AWS rotates it already") {
		t.Errorf("%+v", e)
	}
	if e := f.fails(soon, map[string]string{"secret": "prod/absent"}); e.Type != "Invalid" || !strings.Contains(e.Message, "prod/absent") {
		t.Errorf("%+v", e)
	}
}

// TestLambdaSchedule: what is due by its tags is rotated, and nothing else; what
// fails makes the invocation fail, and is told with when it is tried again.
func TestLambdaSchedule(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.start()
	old := map[string]secrets.Credentials{}
	for i := range 3 {
		name := fmt.Sprintf("prod/due%d", i)
		old[name] = w.user(fmt.Sprintf("due%d", i))
		w.create(w.past, name, old[name], "pawl:schedule", "rate(10 days)")
	}
	rest := map[string]secrets.Credentials{}
	for name, tags := range map[string][]string{
		"prod/fresh":  {"pawl:schedule", "rate(10 days)"},
		"prod/paused": {"pawl:schedule", "rate(10 days)", "pawl:paused", "yes"},
		"prod/plain":  nil,
	} {
		svc := w.past
		if name == "prod/fresh" {
			svc = w.svc
		}
		rest[name] = w.user(strings.TrimPrefix(name, "prod/"))
		w.create(svc, name, rest[name], tags...)
	}
	s := summary(t, f.ok(soon, schedule))
	if got := rotated(s); !slices.Equal(got, []string{"prod/due0", "prod/due1", "prod/due2"}) || len(s.Failed)+len(s.Left) != 0 {
		t.Errorf("%+v", s)
	}
	for name, c := range old {
		now, _ := w.current(name)
		w.mustLogin(name, now)
		w.mustNotLogin(name+" before", c)
	}
	for name, c := range rest {
		w.mustLogin(name, c)
	}
	if s := summary(t, f.ok(soon, `{"due":true}`)); len(s.Rotated)+len(s.Failed)+len(s.Left) != 0 {
		t.Errorf("a second time: %+v", s)
	}

	// One that a person must mend, beside one that is well.
	w.create(w.past, "prod/well", w.user("well"), "pawl:schedule", "rate(10 days)")
	w.create(w.past, "prod/wrong", w.user("wrong").With("password", "wrong-wrong-wrong"), "pawl:schedule", "rate(10 days)")
	e := f.fails(soon, schedule)
	s = summary(t, e.Message)
	if e.Type != "Denied" || !slices.Equal(rotated(s), []string{"prod/well"}) || len(s.Failed) != 1 {
		t.Fatalf("%+v", e)
	}
	failed := s.Failed[0]
	if failed.Secret != "prod/wrong" || failed.Kind != "Denied" || failed.NextTry == nil || time.Until(*failed.NextTry) < 10*time.Minute {
		t.Errorf("%+v", failed)
	}
	if s := summary(t, f.ok(soon, schedule)); len(s.Rotated)+len(s.Failed) != 0 {
		t.Errorf("before its next try: %+v", s)
	}

	// A server that is down costs the secrets of the others nothing.
	broken := newNearby(t, w.db.Server)
	broken.breaks(0, false)
	for i := range 7 {
		w.create(w.past, fmt.Sprintf("prod/a-broken%d", i), w.userBy(broken, fmt.Sprintf("broken%d", i)), "pawl:schedule", "rate(10 days)")
	}
	w.create(w.past, "prod/healthy", w.user("healthy"), "pawl:schedule", "rate(10 days)")
	began := time.Now()
	e = f.fails(time.Minute, schedule)
	s = summary(t, e.Message)
	if e.Type != "Transient" || !slices.Equal(rotated(s), []string{"prod/healthy"}) || len(s.Failed) != 7 || !strings.Contains(e.Message, "this one was not tried") {
		t.Errorf("%+v", e)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	broken.heals()
	// They are tried again within seconds; by the time of their tags.
	for i := range 7 {
		f.ok(soon, map[string]string{"secret": fmt.Sprintf("prod/a-broken%d", i)})
	}

	// Of many that are due while the database does not answer, those are left for
	// which there is no time.
	for i := range 8 {
		w.create(w.past, fmt.Sprintf("prod/many%d", i), w.user(fmt.Sprintf("many%d", i)), "pawl:schedule", "rate(10 days)")
	}
	w.near.breaks(0, true)
	s = summary(t, f.fails(3*time.Second, schedule).Message)
	if len(s.Rotated) != 0 || len(s.Failed) == 0 || len(s.Left) == 0 || len(s.Failed)+len(s.Left) != 8 {
		t.Errorf("%+v", s)
	}
}
