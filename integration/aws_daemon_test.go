package integration_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
)

// often lets schedules be in seconds, and pairs a superuser.
const often = "scheduler: {minimum_interval: 1s}\n" + pairing

// applications log in with what AWSCURRENT of these secrets says, again and again.
// stop ends them; none must have been refused.
func (c *cloud) applications(t *testing.T, names ...string) (stop func()) {
	ctx, cancel := context.WithCancel(c.background())
	var wg sync.WaitGroup
	for _, name := range names {
		app := &workload.Application{
			Fetch: func(ctx context.Context) (secrets.Credentials, error) { return c.get(ctx, name, "") },
			Login: c.db.Login, Every: 50 * time.Millisecond,
		}
		wg.Go(func() {
			s := app.Run(ctx)
			if s.Logins == 0 || s.Refusals+s.Failures > 0 {
				t.Errorf("%s: of %d logins %d were refused and %d failed: %v", name, s.Logins+s.Refusals+s.Failures, s.Refusals, s.Failures, s.Last)
			}
		})
	}
	return func() {
		cancel()
		wg.Wait()
	}
}

// theirs makes a secret that AWS itself rotates, some day.
func (c *cloud) theirs(name string, v secrets.Credentials, tags ...string) {
	c.t.Helper()
	c.tagged(name, v.Value(), tags...)
	_, err := c.sdk.RotateSecret(c.background(), &secretsmanager.RotateSecretInput{
		SecretId: &name, RotationLambdaARN: aws.String(lambdaARN("pawl-single-user")), RotateImmediately: aws.Bool(false),
		RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(999)},
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// TestAWSDaemonKilled: a daemon that finds by tags what is to be rotated is killed
// again and again, each time with all that is on its disk, and another one goes on
// elsewhere. Applications of alternating users never notice.
func TestAWSDaemonKilled(t *testing.T) {
	t.Parallel()
	c := newCloud(t, "aws_killed")
	c.tagged("root/db", c.db.Superuser().Value())
	every := []string{"pawl:schedule", "rate(1 second)"}
	both := append([]string{"pawl:strategy", "alternating-users", "pawl:superuser", "root/db"}, every...)
	singles, alternating := []string{"prod/app/single", "prod/app/other"}, []string{"prod/app/both", "prod/app/two"}
	for _, name := range singles {
		c.tagged(name, user(t, c.db, "ak_"+name[len("prod/app/"):]).Value(), every...)
	}
	for _, name := range alternating {
		c.tagged(name, user(t, c.db, "ak_"+name[len("prod/app/"):]).Value(), both...)
	}
	c.tagged("prod/other", user(t, c.db, "ak_unpaired").Value(), both...) // nobody paired that one
	c.theirs("prod/app/theirs", user(t, c.db, "ak_theirs"), every...)
	c.tagged("prod/app/untagged", user(t, c.db, "ak_untagged").Value())
	untouched := map[string]string{}
	for _, name := range []string{"prod/other", "prod/app/theirs", "prod/app/untagged", "root/db"} {
		untouched[name] = c.holder(name, secrets.Current)
	}
	names := append(singles, alternating...)

	stop := c.applications(t, alternating...)
	s := c.elsewhere(t, often)
	p := s.serve()
	s.waitAll(names...)
	p.await(`a secret is left alone.*secret=prod/other.*not paired`)
	p.await(`a secret is left alone.*secret=prod/app/theirs.*AWS rotates it already`)
	if strings.Contains(p.err.String(), "untagged") {
		t.Error("it speaks of a secret that has no tags of its")
	}
	p.kill()

	// At each of the calls, before it or after it was done, and at any instant of
	// what follows a new password's being stored.
	type instant struct {
		call string
		at   func(kill func()) fault
	}
	var instants []instant
	for _, call := range []string{opDescribe, opValue, opPut, opStage} {
		instants = append(instants, instant{call, before}, instant{call, then})
	}
	instants = append(instants, instant{opPut, func(kill func()) fault {
		return then(func() { time.AfterFunc(rand.N(40*time.Millisecond), kill) })
	}}, instant{opStage, func(kill func()) fault {
		return then(func() { time.AfterFunc(rand.N(10*time.Millisecond), kill) })
	}})
	var landed kills
	resumed := 0
	for round, i := range instants {
		was, open := map[string]string{}, false
		for _, name := range names {
			was[name] = c.holder(name, secrets.Current)
			open = open || c.holder(name, secrets.Pending) != ""
		}
		if open {
			resumed++
		}
		s := c.elsewhere(t, often)
		p := s.startLogging(c.logOf(s), "serve")
		mend := c.gate.on(i.call, names[round%len(names)], 1, i.at(func() { _ = p.cmd.Process.Kill() }))
		p.wait()
		mend()
		for i, name := range names {
			landed.count(s, c.db, name, was[name], i >= len(singles))
		}
	}
	t.Logf("kills, by secret: %v; %d starts had something to resume", &landed, resumed)
	if landed.created == 0 || landed.set == 0 || landed.promoted == 0 || resumed == 0 {
		t.Error("no kill landed in some phase of a rotation: this run shows little")
	}

	s = c.elsewhere(t, often)
	p = s.serve()
	s.waitAll(names...)
	p.stop()
	stop()
	if r := c.at(s, "rotate", "--due"); r.code != 0 { // what SIGTERM met before it was set
		t.Errorf("exit code %d: %s%s", r.code, r.out, r.err)
	}
	for _, name := range names {
		c.resting(t, name)
	}
	for name, was := range untouched {
		if c.holder(name, secrets.Current) != was || c.holder(name, pawlIntent) != "" {
			t.Errorf("%s is none of its, and was rotated", name)
		}
	}
}

// TestAWSManyRotators: two daemons and more and more commands, none of which knows
// of the others, rotate the same secrets. There is no lease that would keep them
// apart; they agree all the same.
func TestAWSManyRotators(t *testing.T) {
	c := newCloud(t, "aws_many")
	c.tagged("root/db", c.db.Superuser().Value())
	every := []string{"pawl:schedule", "rate(1 second)"}
	c.tagged("prod/app/self", user(t, c.db, "am_self").Value(), every...)
	c.tagged("prod/app/super", user(t, c.db, "am_super").Value(), append(every, "pawl:superuser", "root/db")...)
	c.tagged("prod/app/both", user(t, c.db, "am_both").Value(), append(every, "pawl:strategy", "alternating-users", "pawl:superuser", "root/db")...)
	names := []string{"prod/app/self", "prod/app/super", "prod/app/both"}

	stop := c.applications(t, "prod/app/both")
	var daemons []*process
	for range 2 {
		s := c.elsewhere(t, often)
		daemons = append(daemons, s.startLogging(c.logOf(s), "serve"))
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	until := time.Now().Add(3 * time.Second)
	for i := range 2 * len(names) {
		name, s := names[i%len(names)], c.elsewhere(t, often)
		wg.Go(func() {
			for time.Now().Before(until) {
				r := c.at(s, "rotate", name)
				mu.Lock()
				codes[r.code]++
				mu.Unlock()
				if r.code != 0 && r.code != 3 && r.code != 4 {
					t.Errorf("rotate %s: exit code %d: %s", name, r.code, r.err)
				}
			}
		})
	}
	wg.Wait()
	for _, d := range daemons {
		d.stop()
	}
	stop()
	t.Logf("exit codes: %v", codes)
	if codes[0] == 0 {
		t.Error("no command rotated anything")
	}
	last := c.elsewhere(t, often)
	for _, name := range names {
		if c.holder(name, secrets.Pending) != "" { // a daemon was stopped before it was set
			c.rotates(last, name)
		}
		c.resting(t, name)
		c.rotates(last, name)
	}
}
