package strategies

import (
	"context"
	"slices"
	"strings"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// CloneSuffix marks the second user of a pair, as AWS's rotation functions name
// it (AWS Secrets Manager user guide, "Alternating users").
const CloneSuffix = "_clone"

// IsClone reports whether the name is a clone's.
func IsClone(user string) bool {
	return strings.HasSuffix(user, CloneSuffix) && len(user) > len(CloneSuffix)
}

// Toggle returns the other user of the pair.
func Toggle(user string) string {
	if IsClone(user) {
		return strings.TrimSuffix(user, CloneSuffix)
	}
	return user + CloneSuffix
}

// checkPair makes sure that both users can exist.
func (u *Users) checkPair(current, target string) error {
	if err := u.engine.CheckUsername(target); err != nil {
		return secrets.Errorf(secrets.Invalid, "unable to clone user %q: %w", current, err).
			WithHint("use a shorter user name, or strategy: single-user")
	}
	return nil
}

// pair orders the two users of a job into original and clone.
func (u *Users) pair(j *Job, cur secrets.Credentials, target string) engines.Clone {
	c := engines.Clone{Original: cur.Username(), Clone: target, Database: cur.Database(), Confirm: j.Confirm}
	if IsClone(cur.Username()) {
		c.Original, c.Clone = c.Clone, c.Original
	}
	if !u.adopts(c.Clone) {
		c.Known = j.known
	}
	return c
}

// adopts reports whether the operator answers for a user: as a clone that Pawl did
// not make.
func (u *Users) adopts(user string) bool { return u.rules.AdoptClone && u.cloneOf(user) != "" }

// checkClone makes sure that the two users are a pair that Pawl made, or may
// make, and that the session may set the other one's password.
func (u *Users) checkClone(ctx context.Context, j *Job, cur secrets.Credentials, target string) error {
	c := u.pair(j, cur, target)
	cloner, ok := u.admin.(engines.Cloner)
	if !ok {
		return secrets.Errorf(secrets.Invalid, "engine %q cannot alternate users", u.engine.Facts().Names[0]).
			WithHint("use strategy: single-user")
	}
	state, err := cloner.FindClone(ctx, c)
	if err != nil {
		return err
	}
	if state == engines.CloneForeign && !u.rules.AdoptClone && u.proven != c.Clone {
		owned, err := u.ownsUser(ctx, j, cur, target)
		if err != nil {
			return err
		}
		if !owned {
			return secrets.Errorf(secrets.Invalid, "user %q exists already, and Pawl did not make it as the clone of %q", c.Clone, c.Original).
				WithHint("if it may be taken over (its password and rights are replaced), set adopt_clone: true; else rename or drop it")
		}
	}
	u.proven = c.Clone
	if state == engines.CloneAbsent {
		// Its rights are the original's: check that the session may set those.
		target = c.Original
	}
	change := u.change(j, target, secrets.Password{}, cur)
	change.Clone = target == c.Clone // an undo may have locked it
	return u.admin.Preflight(ctx, change)
}

// ownsUser reports whether the secret holds a password of this user that the
// server accepts now. That the secret names him is no proof by itself, since
// whoever may write the secret can write it. A few of the newest passwords are
// tried: an interrupted rotation may have left one that never was set.
func (u *Users) ownsUser(ctx context.Context, j *Job, cur secrets.Credentials, user string) (bool, error) {
	prev, err := j.Previous(ctx)
	if err != nil {
		return false, err
	}
	values, err := j.History(ctx)
	if err != nil {
		return false, err
	}
	values = append([]secrets.Value{prev}, values...)
	if !j.Resumed { // else it was tried already
		values = append([]secrets.Value{j.Pending}, values...)
	}
	var tried []secrets.Password
	for _, v := range values {
		c, err := secrets.ParseCredentials(v)
		if err != nil || c.Username() != user || c.Server(0) != cur.Server(0) || slices.ContainsFunc(tried, c.Password().Equal) {
			continue
		}
		if ok, err := u.accepts(ctx, c); err != nil || ok {
			return ok, err
		}
		if tried = append(tried, c.Password()); len(tried) == maxProofs {
			break
		}
	}
	return false, nil
}

// maxProofs is how many passwords ownsUser tries: each refusal is a failed login.
const maxProofs = 3

// syncClone brings the clone in line with its original before its password is
// set, so that whoever can log in as the clone finds all its rights. When the
// original's turn has come there is nothing to do: it is the model, and is never
// changed but for its password. It returns whether the pending user is the
// clone.
func (u *Users) syncClone(ctx context.Context, j *Job, cur, pend secrets.Credentials) (bool, error) {
	c := u.pair(j, cur, pend.Username())
	if pend.Username() == c.Original {
		return false, nil
	}
	warnings, err := u.admin.(engines.Cloner).SyncClone(ctx, c)
	for _, w := range warnings {
		j.Report("warning: " + w)
	}
	return true, err
}
