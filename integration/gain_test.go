package integration_test

import (
	"fmt"
	"testing"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// attacks are what somebody may try who can write one secret, move its labels
// and have it rotated, to get the password of another user, the victim, changed
// by the superuser who serves that secret. desired is the victim with the
// password that the attacker would like.
var attacks = []struct {
	name  string
	mount func(c *crash, desired secrets.Credentials)
}{
	{"AWSCURRENT names the victim", func(c *crash, desired secrets.Credentials) {
		c.put("app", desired.Value())
	}},
	{"after a rotation was abandoned", func(c *crash, desired secrets.Credentials) {
		c.pend("app", c.next.Value())
		c.put("app", desired.Value())
	}},
	{"after a rotation was abandoned that was set", func(c *crash, desired secrets.Credentials) {
		c.pend("app", c.next.Value())
		c.atServer(c.next)
		c.put("app", desired.Value())
	}},
	{"during a rotation", func(c *crash, desired secrets.Credentials) {
		c.pend("app", c.next.Value())
		c.stage("app", secrets.Current, c.put("app", desired.Value(), "MINE"))
	}},
	{"a pending value names the victim", func(c *crash, desired secrets.Credentials) {
		c.put("app", desired.Value(), secrets.Pending)
	}},
	{"a pending value that was dropped, the same in AWSCURRENT", func(c *crash, desired secrets.Credentials) {
		c.put("app", desired.Value(), secrets.Pending)
		c.run("app", rotator.Options{})
		c.put("app", desired.With("password", fresh(c.t)).Value())
	}},
	{"AWSCURRENT and a pending value, which was dropped", func(c *crash, desired secrets.Credentials) {
		c.put("app", desired.With("password", fresh(c.t)).Value())
		c.put("app", desired.Value(), secrets.Pending)
		c.run("app", rotator.Options{})
		c.stage("app", secrets.Pending, "")
	}},
	{"a pending value, then AWSPREVIOUS, with a user of one's own in AWSCURRENT", func(c *crash, desired secrets.Credentials) {
		c.put("app", desired.With("password", fresh(c.t)).Value(), secrets.Pending)
		c.run("app", rotator.Options{})
		c.put("app", desired.Value())
		c.put("app", c.first.Value())
	}},
	{"the version that a rotation is about to fill", func(c *crash, desired secrets.Credentials) {
		id := c.emptyPending("app")
		c.run("app", onStep(rotator.CreateSecret, func() {
			_, err := c.svc.PutSecretValue(c.t.Context(), service.PutSecretValueInput{
				SecretID: "app", GivenValue: service.Give(desired.Value()), ClientRequestToken: id, VersionStages: []string{secrets.Pending},
			})
			if err != nil {
				c.t.Error(err)
			}
		}))
	}},
	{"that version, dropped, the same in AWSCURRENT", func(c *crash, desired secrets.Credentials) {
		id := c.emptyPending("app")
		c.run("app", onStep(rotator.CreateSecret, func() {
			_, err := c.svc.PutSecretValue(c.t.Context(), service.PutSecretValueInput{
				SecretID: "app", GivenValue: service.Give(desired.With("password", fresh(c.t)).Value()), ClientRequestToken: id, VersionStages: []string{secrets.Pending},
			})
			if err != nil {
				c.t.Error(err)
			}
		}))
		c.put("app", desired.Value())
	}},
}

// TestNobodyGains: a superuser is never aimed at a user whose password the
// secret's writer did not know.
func TestNobodyGains(t *testing.T) {
	for _, kind := range both {
		for w, way := range ways {
			if !way.superuser {
				continue
			}
			for _, attack := range attacks {
				t.Run(fmt.Sprintf("%s/%s/%s", kind, way.name, attack.name), func(t *testing.T) {
					c := newCrash(t, kind, w, 2)
					victim := newUser(t, c.db)
					account := victim.Username()
					if !kind.IsPostgres() {
						account += "@%"
					}
					was := accounts(t, c.db)[account]
					desired := c.first.With("username", victim.Username()).With("password", fresh(t))

					attack.mount(c, desired)
					for _, o := range []rotator.Options{{ResumeOnly: true}, {}, {}} {
						_, _, err := c.run("app", o)
						if kind := secrets.KindOf(err); err != nil && kind != secrets.Denied && kind != secrets.Invalid {
							t.Errorf("want a refusal: %v", err)
						}
						if err == nil && !o.ResumeOnly && c.current("app").Username() == victim.Username() {
							t.Error("rotated the victim")
						}
					}
					if accounts(t, c.db)[account] != was {
						t.Error("the victim's account was changed")
					}
					mustLogin(t, c.db, "the victim", victim)
					mustNotLogin(t, c.db, "the victim with the attacker's password", desired)
				})
			}
		}
	}
}
