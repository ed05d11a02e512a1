//go:build linux

package chaos_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	people = 20
	every  = 5 * time.Second // each of them rotates
	// slack is the time that replicas and rotations have to come to rest when
	// nothing troubles them any more: a lease, and waits between tries.
	slack = time.Minute
	// leastEvery is the time in which each user must have rotated once, on average,
	// whatever happened.
	leastEvery = 40 * time.Second
	// checkFor is how long may be thought about one history of labels.
	checkFor = 20 * time.Second
	// collectEvery is how often the journal is read, before the store forgets.
	collectEvery = 2 * time.Second
)

// crowd is twenty users: a third change their own password, a third have a
// superuser do it, a third are two users in turn.
func crowd() []user {
	us := make([]user, people)
	for i := range us {
		us[i] = user{secret: fmt.Sprintf("db/%02d", i), strategy: secrets.SingleUser, every: fmt.Sprintf("rate(%d seconds)", int(every.Seconds()))}
		switch i % 3 {
		case 1:
			us[i].super = true
		case 2:
			us[i].super, us[i].strategy = true, secrets.AlternatingUsers
		}
	}
	return us
}

// settings are the run's: its length and its seed.
func settings(t *testing.T) (length time.Duration, seed uint64) {
	t.Helper()
	var err error
	length, seed = time.Minute, uint64(time.Now().UnixNano())%1_000_000
	if s := os.Getenv("PAWL_CHAOS"); s != "" {
		if length, err = time.ParseDuration(s); err != nil || length < 20*time.Second {
			t.Fatalf("PAWL_CHAOS=%s: write how long, from 20s on, such as 10m", s)
		}
	}
	if s := os.Getenv("PAWL_CHAOS_SEED"); s != "" {
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("PAWL_CHAOS_SEED=%s: write a number, as it is printed", s)
		}
	}
	return length, seed
}

// TestChaos is the whole.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute")
	}
	length, seed := settings(t)
	storeKind, targetKind := kinds(t, seed%2 == 1)
	w := newWorld(t, storeKind, targetKind, 3, crowd())
	w.run()
	faults := plan(seed, length, len(w.replicas))
	t.Logf("%v of chaos, PAWL_CHAOS_SEED=%d: %d faults; the store is PostgreSQL %s, the target %s", length, seed, len(faults), w.store.Version, w.target.Server.Version)

	s, l := &storm{w: w}, newLoad(w)
	ctx, stop := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { l.run(ctx) })
	group.Go(func() { w.collect(ctx) })
	s.rage(t.Context(), faults)
	s.sleep(t.Context(), length)

	v := &verdict{world: w, storm: s, load: l, length: length, seed: seed, plan: faults}
	v.settle()
	v.logIn()
	stop()
	group.Wait()
	for _, r := range w.replicas {
		r.kill()
	}
	v.judge()
	t.Log("\n" + v.table())
	if s := v.longest; s.lasted > takeoverLimit {
		var b strings.Builder
		v.story(&b, violation{secret: s.secret, at: s.from.Add(s.lasted / 2)}, s.lasted)
		t.Logf("why %s could not log in for %v:\n%s", s.secret, s.lasted, &b)
	}
	if len(v.violations) > 0 || len(s.bad) > 0 {
		t.Errorf("what was promised was broken; again: PAWL_CHAOS_SEED=%d PAWL_CHAOS=%v go test -run TestChaos ./integration/chaos\n%s", seed, length, v.explain())
	}
}

// collect reads the journal now and then: the store forgets old versions.
func (w *world) collect(ctx context.Context) {
	each(ctx, collectEvery, func() { _ = w.journal.read(ctx) }) // the store may be starting; the last time counts
}

// verdict is what is known in the end.
type verdict struct {
	*world
	storm  *storm
	load   *load
	length time.Duration
	seed   uint64
	plan   []fault

	violations []violation
	rotations  int
	fewest     int
	sets       int // passwords set at the target
	undecided  int
	claims     int
	taken      []takeover
	settled    time.Duration
	longest    spell
}

func (v *verdict) add(vs ...violation) { v.violations = append(v.violations, vs...) }

// settle waits until what the last fault left unfinished is finished, while clients
// go on.
func (v *verdict) settle() {
	began := time.Now()
	for _, r := range v.replicas {
		r.wake()
	}
	open := func() (names []string) {
		if err := v.journal.read(context.WithoutCancel(v.t.Context())); err != nil {
			return []string{err.Error()}
		}
		for _, u := range v.users {
			states := v.journal.of(u.secret)
			last := states[len(states)-1]
			pending := last.labels[secrets.Pending]
			if pending != "" && last.at.Before(began) {
				names = append(names, u.secret)
			}
		}
		return names
	}
	for {
		left := open()
		if len(left) == 0 {
			break
		}
		if v.settled = time.Since(began); v.settled > slack {
			for _, name := range left {
				v.add(violation{lost, name, began, fmt.Sprintf("its rotation was not finished within %v after the last fault", slack)})
			}
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	v.settled = time.Since(began)
}

// logIn logs in as each user with AWSCURRENT. A single user's is refused for the
// moments in which it changes, but not for long.
func (v *verdict) logIn() {
	var group sync.WaitGroup
	var mu sync.Mutex
	defer group.Wait()
	for _, u := range v.users {
		group.Go(func() {
			var err error
			for deadline := time.Now().Add(slack); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
				var out *service.GetSecretValueOutput
				var c secrets.Credentials
				if out, err = v.svc.GetSecretValue(v.t.Context(), service.GetSecretValueInput{SecretID: u.secret}); err == nil {
					c, err = secrets.ParseCredentials(out.Value)
				}
				if err == nil {
					err = v.target.Login(v.t.Context(), c)
				}
				if err == nil {
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			v.add(violation{lost, u.secret, time.Now(), fmt.Sprintf("in the end AWSCURRENT does not log in (refused: %v): %v", workload.Refused(err), err)})
		})
	}
}

// judge holds everything that was written down against what was promised.
func (v *verdict) judge() {
	t := v.t
	changes, err := v.journal.changes()
	if err == nil {
		err = v.journal.read(t.Context())
	}
	var claims []claim
	if err == nil {
		claims, err = v.journal.claims(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	v.claims, v.taken = len(claims), takeovers(claims, v.storm.blows)
	for _, r := range v.replicas {
		for _, told := range r.told() {
			v.add(violation{misbehaved, fmt.Sprintf("replica %d", r.n), time.Now(), told})
		}
	}
	v.add(v.load.odd...)
	reads := map[string][]read{}
	for _, r := range v.load.seen {
		reads[r.secret] = append(reads[r.secret], r)
	}
	v.fewest = 1 << 30
	for _, u := range v.users {
		states := v.journal.of(u.secret)
		v.judgeUser(u, states, changes, reads[u.secret])
	}
	for _, h := range v.load.histories {
		switch ok, decided := h.linearizable(checkFor); {
		case !decided:
			v.undecided++
		case !ok:
			v.add(violation{disorder, h.secret, h.operations[0].start, "one process that does one thing after the other could not have given the last of these answers; " + h.broken(checkFor).tail(40)})
		}
	}
	slices.SortStableFunc(v.violations, func(a, b violation) int { return a.at.Compare(b.at) })
}

func (v *verdict) judgeUser(u user, states []state, changes []change, reads []read) {
	for _, r := range reads {
		if bad := judgeRead(states, r); bad != nil {
			v.add(*bad)
		}
	}
	for _, c := range changes {
		if c.role != u.role() && c.role != u.role()+"_clone" {
			continue
		}
		v.sets++
		if bad := judgeChange(u.secret, states, c, v.journal.versionOf(c, states)); bad != nil {
			v.add(*bad)
		}
	}
	v.add(judgeSchedule(u.secret, states, schedule{every, func(id string) bool { return v.load.asked[id] }})...)
	for _, l := range v.load.logins[u.secret] {
		if bad := judgeLogin(states, l, u.strategy == secrets.SingleUser); bad != nil {
			v.add(*bad)
		}
	}
	if s := longestSpell(v.load.logins[u.secret]); s.lasted > v.longest.lasted {
		v.longest = s
	}
	n := rotations(states)
	v.rotations += n
	v.fewest = min(v.fewest, n)
	if least := max(1, int(v.length/leastEvery)); n < least {
		v.add(violation{standstill, u.secret, v.storm.began, fmt.Sprintf("it rotated %d times in %v; %d times were due at least", n, v.length, least)})
	}
}

// table is what is printed.
func (v *verdict) table() string {
	var b strings.Builder
	row := func(what string, format string, args ...any) {
		fmt.Fprintf(&b, "  %-34s %s\n", what, fmt.Sprintf(format, args...))
	}
	row("seed", "%d", v.seed)
	row("length", "%v", v.length)
	for _, t := range troubles {
		row(string(t), "%d", v.storm.done[t])
	}
	row("rotations", "%d; of one user %d at least", v.rotations, v.fewest)
	row("passwords set at the target", "%d", v.sets)
	row("reads", "%d", v.load.reads.Load())
	row("writes of labels", "%d", v.load.writes.Load())
	row("requests without an answer", "%d", v.load.unanswered.Load())
	logins := 0
	for _, ls := range v.load.logins {
		logins += len(ls)
	}
	row("logins of applications", "%d; %d failed otherwise", logins, v.load.failures.Load())
	if v.longest.lasted > 0 {
		row("longest without a login", "%v (%s)", v.longest.lasted.Round(time.Millisecond), v.longest.secret)
	}
	row("claims", "%d; %d taken over from who was silent", v.claims, len(v.taken))
	if len(v.taken) > 0 {
		most := slices.MaxFunc(v.taken, func(a, b takeover) int { return cmp.Compare(a.took, b.took) })
		row("  the longest", "%v after %s of replica %d (%s)", most.took.Round(time.Millisecond), most.blow.trouble, most.blow.replica, most.secret)
		most = slices.MaxFunc(v.taken, func(a, b takeover) int { return cmp.Compare(a.late, b.late) })
		row("  the latest", "%v after its claim had ended (%s)", most.late.Round(time.Millisecond), most.secret)
	}
	row("at rest after the last fault", "%v", v.settled.Round(10*time.Millisecond))
	row("histories of labels checked", "%d; %d not decided", len(v.load.histories), v.undecided)
	b.WriteString("  violations\n")
	for _, p := range promises {
		n := 0
		for _, bad := range v.violations {
			if bad.promise == p {
				n++
			}
		}
		row("  "+p, "%d", n)
	}
	return b.String()
}

// explain is what it takes to understand the first violations: what was done to
// the replicas, and what the secret's own story is around then.
func (v *verdict) explain() string {
	const most, around = 5, 20 * time.Second
	var b strings.Builder
	for _, bad := range v.storm.bad {
		fmt.Fprintln(&b, "the test itself:", bad)
	}
	for i, bad := range v.violations {
		if i == most {
			fmt.Fprintf(&b, "and %d more\n", len(v.violations)-most)
			break
		}
		fmt.Fprintf(&b, "\n%v\n", bad)
		v.story(&b, bad, around)
	}
	b.WriteString("\nthe faults:\n")
	for _, f := range v.plan {
		fmt.Fprintf(&b, "  %s %v\n", v.storm.began.Add(f.at).UTC().Format("15:04:05.000"), f)
	}
	return b.String()
}

// story is what store and target have written down of a secret around a violation,
// in the order of time, and what the replicas logged of it.
func (v *verdict) story(b *strings.Builder, bad violation, around time.Duration) {
	states := v.journal.of(bad.secret)
	if len(states) == 0 || bad.promise == disorder {
		return
	}
	type line struct {
		at   time.Time
		text string
	}
	var lines []line
	near := func(at time.Time) bool { return at.Sub(bad.at).Abs() < around }
	for _, s := range states {
		if near(s.at) {
			lines = append(lines, line{s.at, fmt.Sprintf("store:  replica %d leaves the labels %v", s.writer, s.labels)})
		}
	}
	changes, _ := v.journal.changes()
	i := slices.IndexFunc(v.users, func(u user) bool { return u.secret == bad.secret })
	for _, c := range changes {
		if i >= 0 && strings.HasPrefix(c.role, v.users[i].role()) && near(c.at) {
			lines = append(lines, line{c.at, fmt.Sprintf("target: replica %d sets the password of %s to version %s", c.replica, c.role, v.journal.versionOf(c, states))})
		}
	}
	slices.SortStableFunc(lines, func(a, b line) int { return a.at.Compare(b.at) })
	for _, l := range lines {
		fmt.Fprintf(b, "  %s %s\n", l.at.UTC().Format("15:04:05.000000"), l.text)
	}
	for _, r := range v.replicas {
		for _, l := range r.about(bad.secret, bad.at.Add(-around), bad.at.Add(around)) {
			fmt.Fprintf(b, "  replica %d: %s\n", r.n, l)
		}
	}
}
