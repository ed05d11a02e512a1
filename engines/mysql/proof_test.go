package mysql

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// holds is a secret's passwords.
func holds(all ...string) func(context.Context) ([]secrets.Password, error) {
	return func(context.Context) ([]secrets.Password, error) {
		out := []secrets.Password{}
		for _, p := range all {
			out = append(out, secrets.NewPassword(p))
		}
		return out, nil
	}
}

func (r *rig) stored(t *testing.T, user string) string {
	t.Helper()
	return strings.Join(r.column(t, "SELECT HEX(authentication_string) FROM mysql.user WHERE User = "+quote(user)+" ORDER BY Host"), " ")
}

// What the servers store is recognized, and nothing else.
func TestOpens(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		plugins := r.plugins()
		if !r.maria() {
			plugins = append(plugins, sha256Plugin)
		}
		s := r.root(t)
		if err := s.begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, plugin := range plugins {
			for _, password := range []string{"x", "right-1", "ö'\"\\ %", strings.Repeat("long", 30)} {
				user := fresh("opens")
				r.user(t, user, "%", plugin, password)
				r.user(t, user, "10.%", plugin, password+"2")
				rows, err := s.rows(t.Context(), "", user)
				if err != nil || len(rows) != 2 {
					t.Fatal(rows, err)
				}
				for _, c := range []struct {
					secret []string
					ok     bool
				}{
					{[]string{password, password + "2"}, true}, {[]string{"", "other", password + "2", password}, true},
					{[]string{password}, false}, {[]string{password + "2"}, false}, {[]string{}, false}, {[]string{strings.ToUpper(password) + "1", ""}, false},
				} {
					if err := s.known(t.Context(), rows, secrets.Password{}, holds(c.secret...)); (err == nil) != c.ok {
						t.Errorf("%s, of %d passwords: %v", plugin, len(c.secret), err)
					}
				}
			}
		}
	})
	for _, stored := range []string{"", "*", "$A$", "$A$005$" + strings.Repeat("x", 62), "$A$005$" + strings.Repeat("x", 63), "$A$zzz$" + strings.Repeat("x", 63), "$5$", "$5$$", "$5$x"} {
		for _, plugin := range []string{nativePlugin, ed25519Plugin, sha2Plugin, sha256Plugin, "unix_socket"} {
			if opens(plugin, stored, secrets.NewPassword("x")) {
				t.Errorf("%s: %q", plugin, stored)
			}
		}
	}
}

// A superuser changes none of several accounts of a name unless each is known to
// be the secret's.
func TestAccountsOfOtherPeople(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		s := r.root(t)
		user := fresh("other")
		r.user(t, user, "%", "", "mine-1")
		r.user(t, user, "10.%", "", "theirs-1")
		before := r.stored(t, user)
		ask := func(next string, known func(context.Context) ([]secrets.Password, error)) error {
			c := change(user, next)
			c.Known = known
			if err := s.Preflight(t.Context(), c); err != nil {
				if err2 := s.SetPassword(t.Context(), c); err2 == nil || secrets.KindOf(err2) != secrets.KindOf(err) {
					t.Errorf("Preflight: %v; SetPassword: %v", err, err2)
				}
				return err
			}
			return s.SetPassword(t.Context(), c)
		}
		err := ask("second-2", holds("mine-1"))
		want(t, err, secrets.Invalid, account(user, "10.%"), "somebody else's", "AWSCURRENT")
		if strings.Contains(err.Error(), "mine-1") {
			t.Error("a password is in the error")
		}
		unreadable := secrets.Errorf(secrets.Transient, "the store is busy")
		if err := ask("second-2", func(context.Context) ([]secrets.Password, error) { return nil, unreadable }); !errors.Is(err, unreadable) {
			t.Errorf("got %v", err)
		}
		clone := engines.Clone{Original: user, Clone: user + "_clone", Known: holds("mine-1")}
		_, err = s.SyncClone(t.Context(), clone)
		want(t, err, secrets.Invalid, account(user, "10.%"))
		state(t, s, clone, engines.CloneAbsent)
		if after := r.stored(t, user); after != before {
			t.Error("something was changed")
		}

		// Both are known, or a change stopped between the two.
		for _, known := range []func(context.Context) ([]secrets.Password, error){holds("mine-1", "theirs-1"), holds("second-2"), holds("other"), nil} {
			if err := ask("second-2", known); err != nil {
				t.Fatal(err)
			}
		}
		r.do(t, "ALTER USER "+account(user, "10.%")+" IDENTIFIED BY 'third-3'")
		if err := ask("third-3", holds("second-2")); err != nil {
			t.Error(err)
		}
		r.mustLogin(t, user, "third-3")

		// A clone of Pawl's own needs no proof; one of a foreign account of its name
		// would be dropped or changed.
		clone.Known = holds("third-3")
		for range 2 {
			sync(t, s, clone)
		}
		set := change(clone.Clone, "clone-1")
		set.Clone, set.Known = true, clone.Known
		if err := s.SetPassword(t.Context(), set); err != nil {
			t.Fatal(err)
		}
		clone.Known = holds("third-3", "clone-1")
		sync(t, s, clone)
		r.user(t, clone.Clone, "192.168.0.1", "", "theirs-2")
		_, err = s.SyncClone(t.Context(), clone)
		want(t, err, secrets.Invalid, account(clone.Clone, "192.168.0.1"))
		set.Known = clone.Known
		want(t, s.SetPassword(t.Context(), set), secrets.Invalid, account(clone.Clone, "192.168.0.1"))
	})
}
