package integration_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/pawlhq/pawl/secrets"
)

// lookedAt is what `pawl status NAME --json` says.
type lookedAt struct {
	State, Kind, LastError string
	Tries                  int
	FailingSince, NextTry  time.Time
}

// status looks at one secret, from an empty folder.
func (c *cloud) status(t *testing.T, name string) lookedAt {
	t.Helper()
	all := jsonOf[[]lookedAt](c, c.elsewhere(t, pairing), "status", name)
	if len(all) != 1 {
		t.Fatalf("%d of them", len(all))
	}
	return all[0]
}

// TestAWSThrottled: the account's writes are used up by somebody else for long. The
// failures are on record in the secret's tags, so that whoever looks, wherever,
// sees since when; a value that was stored is the one that is gone on with, by
// another process with an empty disk; and the record goes with the success.
func TestAWSThrottled(t *testing.T) {
	t.Parallel()
	c := newCloud(t, "aws_throttled")
	const name = "prod/app/throttled"
	first := user(t, c.db, "at_single")
	c.tagged(name, first.Value(), "pawl:schedule", "rate(30 days)")
	mend := c.gate.on(opPut, name, -1, throttles)
	var since time.Time
	for try := 1; try <= 2; try++ {
		r := c.at(c.elsewhere(t, ""), "rotate", name, "--timeout", "2s")
		if r.code != 3 || !strings.Contains(r.err, "Rate exceeded") {
			t.Fatalf("exit code %d: %s", r.code, r.err)
		}
		s := c.status(t, name)
		if s.State != "failing" || s.Kind != "transient" || s.Tries < try || s.NextTry.IsZero() || !strings.Contains(s.LastError, "Rate exceeded") {
			t.Errorf("%+v", s)
		}
		if try == 1 {
			since = s.FailingSince
		} else if !s.FailingSince.Equal(since) {
			t.Errorf("failing since %v, and then since %v", since, s.FailingSince)
		}
		if !regexp.MustCompile(`^\d+ transient since 20\S+Z next 20\S+Z$`).MatchString(c.tags(name)["pawl:attempt"]) {
			t.Errorf("%q", c.tags(name)["pawl:attempt"])
		}
	}
	if c.holder(name, secrets.Pending) != "" || c.db.Login(t.Context(), first) != nil {
		t.Error("something has changed although nothing could be stored")
	}

	// Now stored and set, but not promoted: throttled, and the process killed.
	mend()
	mend = c.gate.on(opStage, name, -1, throttles)
	p := c.elsewhere(t, "").start("rotate", name)
	until(t, "the value to be stored and set", func() bool {
		pending, err := c.get(t.Context(), name, secrets.Pending)
		return err == nil && c.db.Login(t.Context(), pending) == nil
	})
	p.kill()
	mend()
	stored := c.holder(name, secrets.Pending)
	if s := c.status(t, name); s.State != "failing" || !s.FailingSince.Equal(since) {
		t.Errorf("%+v", s)
	}
	d := c.elsewhere(t, "").serve() // what is unfinished minds no window, but the next try
	until(t, "the daemon to finish it", func() bool { return c.holder(name, secrets.Current) == stored })
	until(t, "the record to go", func() bool { return c.tags(name)["pawl:attempt"]+c.tags(name)["pawl:error"] == "" })
	d.stop()
	c.resting(t, name)
	if s := c.status(t, name); s.State != "ok" {
		t.Errorf("%+v", s)
	}
}

// byHand is a person who stores a value of a secret past Pawl, and moves labels as
// it is done by hand.
func (c *cloud) byHand(name string, v secrets.Credentials, stages ...string) (version string) {
	c.t.Helper()
	version = c.token()
	_, err := c.sdk.PutSecretValue(c.background(), &secretsmanager.PutSecretValueInput{
		SecretId: &name, SecretString: aws.String(string(v.Value().Reveal())), ClientRequestToken: &version, VersionStages: stages,
	})
	if err != nil {
		c.t.Error(err)
	}
	return version
}

// TestAWSLabelsMoved: a person stores a value of his own while Pawl is between any
// two calls. What he stored is never overwritten: it stays AWSCURRENT, or Pawl's
// next value is made from it. Whichever it is, the server accepts it.
func TestAWSLabelsMoved(t *testing.T) {
	t.Parallel()
	c := newCloud(t, "aws_moved")
	mustSet := func(v secrets.Credentials) {
		if err := c.db.Exec(c.background(), "ALTER ROLE "+v.Username()+" PASSWORD '"+v.Password().Reveal()+"'"); err != nil {
			t.Error(err)
		}
	}
	type way struct {
		name   string
		call   string
		nth    int
		at     func(func()) fault
		set    bool     // he has set a password of his own at the server, too
		stages []string // that he gives it
		stays  bool     // his value is AWSCURRENT in the end
	}
	ways := []way{
		{"note before it is stored", opPut, 1, before, false, nil, false},
		{"note after it is stored", opPut, 1, then, false, nil, false},
		{"note before the promotion", opStage, 1, before, false, nil, false},
		{"note after the promotion", opStage, 1, then, false, nil, false},
		{"password before it is stored", opPut, 1, before, true, nil, false},
		{"password before the promotion", opStage, 1, before, true, nil, false},
		{"all labels before the promotion", opStage, 1, before, true, []string{secrets.Current, secrets.Pending}, true},
		{"all labels after the promotion", opStage, 1, then, true, []string{secrets.Current, secrets.Pending}, true},
		{"password at the end", opStage, 2, then, true, nil, true},
	}
	for _, way := range ways {
		c.tagged("prod/app/"+asName(way.name), user(t, c.db, "am_"+asName(way.name)).Value())
	}
	sideBySide(t, 4, ways, func(w way) string { return w.name }, func(t *testing.T, way way) {
		c := c.in(t)
		secret := "prod/app/" + asName(way.name)
		var his string
		for range way.nth - 1 {
			c.gate.on(way.call, secret, 1, forwards)
		}
		c.gate.on(way.call, secret, 1, way.at(func() {
			v := c.current(secret).With("note", "by hand")
			if way.set {
				v = v.With("password", "Chosen-by-a-person")
				mustSet(v)
			}
			his = c.byHand(secret, v, way.stages...)
		}))
		s := c.elsewhere(t, "")
		r := c.at(s, "rotate", secret)
		if his == "" {
			t.Fatalf("nobody came in between: exit code %d: %s", r.code, r.err)
		}
		if r.code != 0 && r.code != 4 {
			t.Errorf("exit code %d: %s", r.code, r.err)
		}
		if r.code != 0 {
			if r = c.at(s, "rotate", secret); r.code != 0 {
				t.Errorf("the next one: exit code %d: %s", r.code, r.err)
			}
		}
		c.resting(t, secret)
		now := c.current(secret)
		if note, _ := now.Get("note"); note != "by hand" {
			t.Errorf("what he stored is gone: %v", c.stages(secret))
		}
		if stays := c.holder(secret, secrets.Current) == his; stays != way.stays {
			t.Errorf("his value is current: %v; exit code %d: %s%s", stays, r.code, r.out, r.err)
		}
	})
}

// asName is a name of a test as names of secrets and users may be.
func asName(name string) string { return strings.ReplaceAll(name, " ", "_") }

// TestAWSDeleted: the secret is deleted, or marked for it, between any two calls. It
// is said so, and what to type where that helps; a secret that is restored goes on.
func TestAWSDeleted(t *testing.T) {
	t.Parallel()
	c := newCloud(t, "aws_deleted")
	type way struct {
		name string
		call string
		at   func(func()) fault
		gone bool
	}
	ways := []way{
		{"marked before it is stored", opPut, before, false},
		{"marked after it is stored", opPut, then, false},
		{"marked before the promotion", opStage, before, false},
		{"marked after the promotion", opStage, then, false},
		{"gone before it is read", opValue, before, true},
		{"gone before it is stored", opPut, before, true},
		{"gone before the promotion", opStage, before, true},
	}
	for _, way := range ways {
		c.tagged("prod/app/"+asName(way.name), user(t, c.db, "ad_"+asName(way.name)).Value(), "pawl:schedule", "rate(30 days)")
	}
	sideBySide(t, 4, ways, func(w way) string { return w.name }, func(t *testing.T, way way) {
		c := c.in(t)
		secret := "prod/app/" + asName(way.name)
		c.gate.on(way.call, secret, 1, way.at(func() {
			in := &secretsmanager.DeleteSecretInput{SecretId: &secret}
			if way.gone {
				in.ForceDeleteWithoutRecovery = aws.Bool(true)
			}
			if _, err := c.sdk.DeleteSecret(c.background(), in); err != nil {
				t.Error(err)
			}
		}))
		s := c.elsewhere(t, "")
		r := c.at(s, "rotate", secret)
		want := regexp.MustCompile(`it was marked for deletion while it was being rotated; bring it back: aws secretsmanager restore-secret --secret-id ` + secret + ` |it is marked for deletion; bring it back`)
		if way.gone {
			want = regexp.MustCompile(`it was deleted while it was being rotated|can't find the specified secret`)
		}
		if r.code != 1 && r.code != 4 || !want.MatchString(r.err) {
			t.Errorf("exit code %d: %s", r.code, r.err)
		}
		if way.gone {
			if r := c.at(s, "rotate", secret); r.code != 1 || !strings.Contains(r.err, "pawl secret list") {
				t.Errorf("the next one: exit code %d: %s", r.code, r.err)
			}
			return
		}
		if r := c.at(s, "rotate", secret); r.code != 1 || !strings.Contains(r.err, "restore-secret") {
			t.Errorf("the next one: exit code %d: %s", r.code, r.err)
		}
		if _, err := c.sdk.RestoreSecret(c.background(), &secretsmanager.RestoreSecretInput{SecretId: &secret}); err != nil {
			t.Fatal(err)
		}
		if r := c.at(s, "rotate", secret); r.code != 0 {
			t.Errorf("restored: exit code %d: %s", r.code, r.err)
		}
		c.resting(t, secret)
	})
}
