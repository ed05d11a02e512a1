package strategies

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// Test logs in with the pending credential on every server that an application
// may use and runs the check query there: first where changes are made, which
// must accept it at once, then the secret's own host and the declared further
// hosts, which may lag behind. Errors: Denied, Invalid (waiting will not cure
// it), Transient, and *PropagationError.
func (u *Users) Test(ctx context.Context, j *Job) error {
	pend, err := u.parse(j.Pending)
	if err != nil {
		return err
	}
	cur, err := u.parse(j.Current)
	if err != nil {
		return err
	}
	check := engines.Check{Query: u.rules.CheckQuery}
	if pend.Username() != cur.Username() && IsClone(pend.Username()) && Toggle(pend.Username()) == cur.Username() {
		check.CloneOf = cur.Username()
	}
	primary, err := u.endpoint(pend, u.rules.AdminHost, 0)
	if err != nil {
		return err
	}
	if err := u.login(ctx, primary, pend, check); err != nil {
		return err
	}
	further, err := u.further(pend, primary)
	if err != nil {
		return err
	}
	deadline := u.cfg.Clock.Now().Add(u.propagation())
	for _, e := range further {
		if err := u.await(ctx, j, e, pend, check, deadline); err != nil {
			return err
		}
	}
	return nil
}

// TestTimeout is the longest that Test may take by these rules.
func (u *Users) TestTimeout(login time.Duration) time.Duration {
	return u.propagation() + time.Duration(2+len(u.rules.Hosts))*login
}

func (u *Users) propagation() time.Duration {
	if u.rules.PropagationTimeout > 0 {
		return u.rules.PropagationTimeout
	}
	return DefaultPropagation
}

// further lists the servers besides the primary that must accept a credential.
func (u *Users) further(c secrets.Credentials, primary engines.Endpoint) ([]engines.Endpoint, error) {
	var out []engines.Endpoint
	seen := map[string]bool{primary.Addr(): true}
	for _, h := range append([]string{""}, u.rules.Hosts...) {
		e, err := u.endpoint(c, h, 0)
		if err != nil {
			return nil, err
		}
		if !seen[e.Addr()] {
			seen[e.Addr()] = true
			out = append(out, e)
		}
	}
	return out, nil
}

func (u *Users) login(ctx context.Context, e engines.Endpoint, c secrets.Credentials, check engines.Check) error {
	s, err := u.open(ctx, e, c.Username(), c.Password())
	if err != nil {
		return err
	}
	defer u.goodbye(s)
	return s.Check(ctx, check)
}

// await logs in at a further host until it accepts the credential: at most six
// times, ever further apart, within the propagation time. A host that refuses
// the credential then has not heard of it: *PropagationError.
func (u *Users) await(ctx context.Context, j *Job, e engines.Endpoint, c secrets.Credentials, check engines.Check, deadline time.Time) error {
	pause := u.propagation() / (1<<(maxLogins-1) - 1)
	for try := 1; ; try++ {
		err := u.login(ctx, e, c, check)
		lagging := err != nil && secrets.KindOf(err) == secrets.Denied && !secrets.Authenticated(err)
		if err == nil || !lagging && secrets.KindOf(err) != secrets.Transient {
			return err
		}
		left := deadline.Sub(u.cfg.Clock.Now())
		if try == maxLogins || left <= 0 {
			return &PropagationError{Server: e.Addr(), Err: err}
		}
		if try == 1 {
			j.Report("waiting for " + e.Addr() + " to learn the new credential")
		}
		select {
		case <-ctx.Done():
			return &PropagationError{Server: e.Addr(), Err: err}
		case <-u.cfg.Clock.After(min(pause, left)):
		}
		pause *= 2
	}
}

// PropagationError says that a further host did not accept the new credential
// in time, while the primary does.
type PropagationError struct {
	Server string
	Err    error
}

const propagationHint = "check replication to it, or raise propagation_timeout"

// Error says which host and why, and what to do.
func (e *PropagationError) Error() string {
	why := e.Err.Error()
	if at, ok := e.Err.(*secrets.Error); ok && at.Err != nil {
		why = at.Err.Error() // its place is said already, its advice is for another case
	}
	return "the host " + e.Server + " has not accepted the new credential in time: " + why + "; " + propagationHint
}

// Unwrap returns the error itself in Pawl's terms: waiting may cure it.
func (e *PropagationError) Unwrap() error {
	out := secrets.Errorf(secrets.Transient, "%w", e.Err)
	out.Server = e.Server
	return out.WithHint(propagationHint)
}

// Holds reports whether applications are served while a rotation of this job
// waits between Set and the promotion: with alternating users AWSCURRENT's user
// is untouched; a single user's old password is dead already.
func (u *Users) Holds(j *Job) bool {
	cur, err1 := secrets.ParseCredentials(j.Current)
	pend, err2 := secrets.ParseCredentials(j.Pending)
	return err1 == nil && err2 == nil && cur.Username() != pend.Username()
}

// Restore makes the server accept AWSCURRENT's credential again after a pending
// one that will not be promoted may have reached it, and proves it by a login.
// It is the undo of Set, and settles an interrupted one; it may be called at any
// time. Errors: any kind; Invalid with Policy when the server does not take the
// old password back.
func (u *Users) Restore(ctx context.Context, j *Job) error {
	cur, err := u.parse(j.Current)
	if err != nil {
		return err
	}
	pend, err := secrets.ParseCredentials(j.Pending)
	// Only the other user of this very pair: any other name, or another server,
	// came from whoever may write the secret.
	if err == nil && pend.Username() == Toggle(cur.Username()) && pend.Server(0) == cur.Server(0) {
		switch err := u.restoreOther(ctx, j, cur, pend); {
		case err == nil:
		case secrets.KindOf(err) == secrets.Conflict: // it is another's to do by now
			return err
		default:
			j.Report("warning: the password of the unused user " + pend.Username() + " was left changed: " + err.Error())
		}
	}
	ok, err := u.accepts(ctx, cur)
	if err != nil || ok {
		return err
	}
	if err := u.openForRestore(ctx, j, cur, pend); err != nil {
		return err
	}
	defer u.hangUp()
	change := u.change(j, cur.Username(), cur.Password(), pend)
	change.Clone = u.cloneOf(cur.Username()) != ""
	if err := u.admin.SetPassword(ctx, change); err != nil {
		return err
	}
	u.hangUp()
	if ok, err = u.accepts(ctx, cur); err == nil && !ok {
		err = secrets.Errorf(secrets.Denied, "the server still refuses the AWSCURRENT credential after its password was set again").
			WithHint("set its password by hand and store it: pawl secret put %s --value-file -", j.ARN.Name)
	}
	return err
}

// openForRestore opens a session that can set AWSCURRENT's password: the
// superuser's, or the user's own by the pending password. It does so only for
// the very user and server that the pending value was made for: that pair
// proved itself before the value existed. Anything else in AWSCURRENT came from
// whoever may write the secret, and must not aim a superuser at another's user.
func (u *Users) openForRestore(ctx context.Context, j *Job, cur, pend secrets.Credentials) error {
	u.hangUp()
	if pend.IsZero() || pend.Username() != cur.Username() || pend.Server(0) != cur.Server(0) {
		return secrets.Errorf(secrets.Denied, "the server refuses the AWSCURRENT credential, and an interrupted rotation left nothing that could restore it").
			WithHint("set the password by hand and store it: pawl secret put %s --value-file -", j.ARN.Name)
	}
	at, err := u.endpoint(cur, u.rules.AdminHost, Guard)
	if err != nil {
		return err
	}
	super, err := u.superuser(ctx, j, cur, at)
	if err != nil {
		return err
	}
	by := super
	if u.self = super.IsZero(); u.self {
		by = pend
	}
	u.admin, err = u.open(ctx, at, by.Username(), by.Password())
	if err != nil {
		u.admin = nil
		if !u.self {
			return superuserRefused(err, super.Username())
		}
	}
	return err
}

// restoreOther gives the user who is not AWSCURRENT's the password back that
// AWSPREVIOUS holds for him, since applications may still use it; a clone that
// was made just now is locked.
func (u *Users) restoreOther(ctx context.Context, j *Job, cur, pend secrets.Credentials) error {
	if j.Resumed {
		// The value may never have got as far as the server; then his password
		// is the one he had.
		if reached, err := u.accepts(ctx, pend); err != nil || !reached {
			return err
		}
		// He holds what Pawl made for him after he had proved himself.
		u.proven = u.pair(j, cur, pend.Username()).Clone
	}
	value, err := j.Previous(ctx)
	if err != nil {
		return err
	}
	// Without the check query: its failure may be why there is an undo.
	if err := u.prepare(ctx, j, cur, pend.Username(), ""); err != nil {
		return err
	}
	defer u.hangUp()
	c := u.pair(j, cur, pend.Username())
	prev, err := secrets.ParseCredentials(value)
	if err == nil && prev.Username() == pend.Username() {
		change := u.change(j, pend.Username(), prev.Password(), cur)
		change.Clone = pend.Username() == c.Clone
		return u.admin.SetPassword(ctx, change)
	}
	if pend.Username() == c.Clone {
		return u.admin.(engines.Cloner).LockClone(ctx, c)
	}
	return nil
}
