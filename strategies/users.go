package strategies

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// Guard bounds on the server's side what a session that changes something may
// still do after Pawl died or was paused: how long it may sit idle, and how long a
// statement may run. What was sent after Job.Confirm has so come to its end within
// twice this time, and that is shorter than any lease by which another process
// could take the secret over.
const Guard = 7 * time.Second

// DefaultPropagation is how long further hosts may take to accept a new
// credential when the rules do not say.
const DefaultPropagation = 30 * time.Second

// maxLogins is how often Test tries one further host: a refused login counts
// against lock-out rules.
const maxLogins = 6

// Config is what strategies need besides a secret's own rules.
type Config struct {
	Engines    engines.Registry
	Superusers Superusers
	Random     io.Reader
	Clock      clockwork.Clock
}

// Users rotates the password of a database user: the same user's every time
// (single-user), or that of two users in turn (alternating-users). It serves
// one rotation and holds that rotation's connections; Close it.
//
// Which of the two a pending value belongs to is read from the value: another
// user name in it means alternating users, whatever the rules say by now.
type Users struct {
	cfg   Config
	rules secrets.RotationRules

	engine engines.Engine
	admin  engines.Session // the session that will change the password
	self   bool            // admin is the user himself
	proven string          // the clone that proved to be the secret's own in this run
	leave  sync.WaitGroup  // sessions that say goodbye in the background
}

// NewUsers prepares a rotation by the rules of one secret.
func NewUsers(cfg Config, rules secrets.RotationRules) *Users {
	return &Users{cfg: cfg, rules: rules}
}

// Close ends the connections. It does not wait until the servers have noticed.
func (u *Users) Close() { u.hangUp() }

// hangUp ends the session that changes passwords, if one is open.
func (u *Users) hangUp() {
	if u.admin != nil {
		u.goodbye(u.admin)
		u.admin = nil
	}
}

// goodbye closes a session in the background: servers take as long to end a
// session as to do a change.
func (u *Users) goodbye(s engines.Session) {
	u.leave.Go(func() { _ = s.Close() }) // nothing hangs on a goodbye
}

// open logs in. A user may be limited to one connection, and the one before may
// still be leaving: where the server says so, open waits for that and tries
// once more.
func (u *Users) open(ctx context.Context, e engines.Endpoint, user string, pw secrets.Password) (engines.Session, error) {
	as := engines.Login{Username: user, Password: pw}
	s, err := u.engine.Dial(ctx, e, as)
	if secrets.Authenticated(err) && secrets.KindOf(err) == secrets.Transient {
		u.leave.Wait()
		s, err = u.engine.Dial(ctx, e, as)
	}
	return s, err
}

// parse reads credentials and checks what every step needs of them.
func (u *Users) parse(v secrets.Value) (secrets.Credentials, error) {
	if u.rules.Strategy == secrets.Partner {
		return secrets.Credentials{}, secrets.Errorf(secrets.Invalid, "Pawl has no engine for partner secrets and can't rotate it").
			WithHint("make a new credential at the partner and store it: pawl secret put NAME --value-file F")
	}
	c, err := secrets.ParseCredentials(v)
	if err != nil {
		return c, err
	}
	name := u.rules.Engine
	if name == "" {
		name = c.Engine()
	}
	if u.engine, err = u.cfg.Engines.Lookup(name); err != nil {
		return c, err
	}
	if err := c.Require("host", "username", "password"); err != nil {
		return c, err
	}
	if _, err := c.Port(0); err != nil {
		return c, err
	}
	return c, u.engine.CheckUsername(c.Username())
}

// endpoint is where c says its server is, or another host[:port] of the same
// database.
func (u *Users) endpoint(c secrets.Credentials, other string, g time.Duration) (engines.Endpoint, error) {
	f := u.engine.Facts()
	port, err := c.Port(f.DefaultPort)
	if err != nil {
		return engines.Endpoint{}, err
	}
	e := engines.Endpoint{Host: c.Host(), Port: port, Database: c.Database(), Guard: g}
	if e.Database == "" {
		e.Database = f.DefaultDatabase
	}
	if other != "" {
		h, p, err := secrets.SplitHost(other)
		if err != nil {
			return engines.Endpoint{}, secrets.Errorf(secrets.Invalid, "the host %q %w", other, err)
		}
		e.Host = h
		if p != 0 {
			e.Port = p
		}
	}
	ssl, set := c.SSL()
	e.TLS, err = engines.NewTLS(u.rules.TLS, e.Host, ssl, set)
	return e, err
}

// dial logs in with c at the place where changes are made.
func (u *Users) dial(ctx context.Context, c secrets.Credentials, g time.Duration) (engines.Session, error) {
	e, err := u.endpoint(c, u.rules.AdminHost, g)
	if err != nil {
		return nil, err
	}
	return u.open(ctx, e, c.Username(), c.Password())
}

// Check makes sure, without changing anything, that a rotation can succeed: the
// value is complete, the superuser is allowed, AWSCURRENT logs in (so that
// nobody gets a user changed whose password he does not know) and passes the
// check query, the server is a writable primary, and the rights suffice. The
// session it opens is kept for Set. Errors: Invalid, Denied, Transient.
func (u *Users) Check(ctx context.Context, j *Job) error {
	cur, err := u.parse(j.Current)
	if err != nil {
		return err
	}
	target := cur.Username()
	if u.rules.Strategy == secrets.AlternatingUsers {
		target = Toggle(target)
		if err := u.checkPair(cur.Username(), target); err != nil {
			return err
		}
	}
	return u.prepare(ctx, j, cur, target, u.rules.CheckQuery)
}

// prepare opens the session that will set target's password, after AWSCURRENT
// proved that its owner knows the password of the user at stake, and that query,
// if any, runs.
func (u *Users) prepare(ctx context.Context, j *Job, cur secrets.Credentials, target, query string) error {
	at, err := u.endpoint(cur, u.rules.AdminHost, Guard)
	if err != nil {
		return err
	}
	super, err := u.superuser(ctx, j, cur, at)
	if err != nil {
		return err
	}
	alternating := target != cur.Username()
	if alternating && super.IsZero() {
		return secrets.Errorf(secrets.Invalid, "alternating users need a superuser").
			WithHint("name one: superuser: in the configuration, or masterarn in the secret with a pairing under superusers:")
	}

	own, err := u.dial(ctx, cur, Guard)
	if err != nil {
		return currentRefused(err)
	}
	u.hangUp()
	u.admin, u.self = own, true
	if err := own.Check(ctx, engines.Check{CloneOf: u.cloneOf(cur.Username()), Query: query}); err != nil {
		return err
	}
	if !super.IsZero() {
		u.hangUp()
		admin, err := u.open(ctx, at, super.Username(), super.Password())
		if err != nil {
			return superuserRefused(err, super.Username())
		}
		u.admin, u.self = admin, false
	}
	if alternating {
		return u.checkClone(ctx, j, cur, target)
	}
	return u.admin.Preflight(ctx, u.change(j, target, secrets.Password{}, cur))
}

// superuser finds the superuser, if any is named.
func (u *Users) superuser(ctx context.Context, j *Job, cur secrets.Credentials, at engines.Endpoint) (secrets.Credentials, error) {
	s, err := u.cfg.Superusers.For(ctx, j.ARN, u.rules, cur, at.Addr(), u.engine.Facts().DefaultPort)
	if err == nil && !s.IsZero() && s.Username() == cur.Username() {
		// A superuser who rotates himself: he needs nobody else.
		return secrets.Credentials{}, nil
	}
	return s, err
}

// change describes setting a user's password through the open session.
func (u *Users) change(j *Job, user string, pw secrets.Password, own secrets.Credentials) engines.PasswordChange {
	c := engines.PasswordChange{Username: user, New: pw, Self: u.self, Plain: u.rules.PlainPassword}
	if !u.adopts(user) {
		c.Known = j.known
	}
	c.Confirm = j.Confirm
	if u.self {
		c.Old = own.Password()
	}
	return c
}

// cloneOf returns the original of a clone when alternating users are in play,
// and "" for any other user, also one whose name merely ends like a clone's.
func (u *Users) cloneOf(user string) string {
	if u.rules.Strategy == secrets.AlternatingUsers && IsClone(user) {
		return Toggle(user)
	}
	return ""
}

// Create returns the pending value: AWSCURRENT's with a new password, and for
// alternating users the other user's name. It touches no server.
func (u *Users) Create(_ context.Context, j *Job) (secrets.Value, error) {
	cur, err := u.parse(j.Current)
	if err != nil {
		return secrets.Value{}, err
	}
	rules := u.rules.Password
	if rules.ExcludeCharacters == "" {
		rules.ExcludeCharacters = u.engine.Facts().PasswordExclude
	}
	pw, err := rules.Generate(u.cfg.Random)
	if err != nil {
		return secrets.Value{}, secrets.Errorf(secrets.Invalid, "making a password: %w", err).
			WithHint("correct password: in the configuration")
	}
	next := cur.With("password", pw)
	if u.rules.Strategy == secrets.AlternatingUsers {
		next = next.With("username", Toggle(cur.Username()))
	}
	return next.Value(), nil
}

// Adapt returns the pending value as it should be for the present AWSCURRENT:
// its user and password with AWSCURRENT's other fields, which somebody may have
// edited since it was made. It is the same value when nothing changed. A pending
// value for another server or a foreign user is Invalid.
func (u *Users) Adapt(j *Job) (secrets.Value, error) {
	cur, err := u.parse(j.Current)
	if err != nil {
		return secrets.Value{}, err
	}
	pend, err := secrets.ParseCredentials(j.Pending)
	if err != nil {
		return secrets.Value{}, secrets.Errorf(secrets.Invalid, "the AWSPENDING version: %w", err).WithHint(dropPending, j.ARN.Name)
	}
	if err := pend.Require("username", "password"); err != nil {
		return secrets.Value{}, secrets.Errorf(secrets.Invalid, "the AWSPENDING version: %w", err).WithHint(dropPending, j.ARN.Name)
	}
	switch f := u.engine.Facts(); {
	case pend.Username() != cur.Username() && pend.Username() != Toggle(cur.Username()):
		return secrets.Value{}, secrets.Errorf(secrets.Invalid, "attempting to modify user %q other than current user %q or its clone", pend.Username(), cur.Username()).
			WithHint(dropPending, j.ARN.Name)
	case !strings.EqualFold(pend.Server(f.DefaultPort), cur.Server(f.DefaultPort)):
		return secrets.Value{}, secrets.Errorf(secrets.Invalid, "attempting to modify user for host %s other than current host %s", pend.Server(f.DefaultPort), cur.Server(f.DefaultPort)).
			WithHint(dropPending, j.ARN.Name)
	case pend.Engine() != cur.Engine():
		return secrets.Value{}, secrets.Errorf(secrets.Invalid, "the AWSPENDING version is for engine %q, AWSCURRENT for %q", pend.Engine(), cur.Engine()).
			WithHint(dropPending, j.ARN.Name)
	}
	want := cur.With("password", pend.Password().Reveal())
	if pend.Username() != cur.Username() {
		want = want.With("username", pend.Username())
	}
	if want.Value().Equal(pend.Value()) {
		return j.Pending, nil
	}
	return want.Value(), nil
}

const dropPending = "if it is not wanted: pawl secret stage %s AWSPENDING --remove"

// Probe reports whether the server accepts the pending credential. accepted is
// true also when the refusal proves that the password is right. Errors: those
// that decide nothing (Transient, Invalid).
func (u *Users) Probe(ctx context.Context, j *Job) (accepted bool, err error) {
	pend, err := u.parse(j.Pending)
	if err != nil {
		return false, err
	}
	return u.accepts(ctx, pend)
}

func (u *Users) accepts(ctx context.Context, c secrets.Credentials) (bool, error) {
	s, err := u.dial(ctx, c, 0)
	if err == nil {
		u.goodbye(s)
		return true, nil
	}
	switch {
	case secrets.Authenticated(err):
		return true, nil
	case secrets.KindOf(err) == secrets.Denied:
		return false, nil
	}
	return false, err
}

// Set makes the server accept the pending credential. It may be called again
// with the same value at any time. Errors: any kind; Unknown when the change may
// or may not have happened; Invalid with Policy when the server refuses the
// password's form and holds nothing new.
func (u *Users) Set(ctx context.Context, j *Job) error {
	cur, err := u.parse(j.Current)
	if err != nil {
		return err
	}
	pend, err := u.parse(j.Pending)
	if err != nil {
		return err
	}
	alternating := pend.Username() != cur.Username()
	if j.Resumed {
		ok, err := u.accepts(ctx, pend)
		if err != nil {
			return err
		}
		if ok {
			j.Report("the server accepts the pending credential already")
			return nil
		}
		j.Report("the server does not know the pending credential yet; setting it again")
	}
	own := cur
	if u.admin == nil {
		if err := u.prepare(ctx, j, cur, pend.Username(), u.rules.CheckQuery); err != nil {
			if own, err = u.prepareByPrevious(ctx, j, cur, pend, err); err != nil {
				return err
			}
		}
	}
	defer u.hangUp()
	change := u.change(j, pend.Username(), pend.Password(), own)
	if alternating {
		clone, err := u.syncClone(ctx, j, cur, pend)
		if err != nil {
			return err
		}
		change.Clone = clone
	}
	return u.admin.SetPassword(ctx, change)
}

// prepareByPrevious is the last resort of a resumed single-user rotation: when
// the server knows neither the pending nor the current credential, an earlier
// interruption may have left it with the one before. It returns the credentials
// it logged in with.
func (u *Users) prepareByPrevious(ctx context.Context, j *Job, cur, pend secrets.Credentials, because error) (own secrets.Credentials, err error) {
	if !j.Resumed || pend.Username() != cur.Username() ||
		secrets.KindOf(because) != secrets.Denied || secrets.Authenticated(because) {
		return own, because
	}
	value, err := j.Previous(ctx)
	if err != nil {
		return own, err
	}
	prev, err := secrets.ParseCredentials(value)
	// Compare before connecting: no credential goes to a host it was not made for.
	if err != nil || prev.Username() != cur.Username() || prev.Server(0) != cur.Server(0) {
		return own, because
	}
	s, err := u.dial(ctx, prev, Guard)
	if err != nil {
		return own, because
	}
	u.hangUp()
	u.admin, u.self = s, true
	j.Report("the server still knows the AWSPREVIOUS credential; going on from it")
	return prev, nil
}

// ErrCurrentRefused says that the server refuses the AWSCURRENT credential itself,
// and not something that its user may not do.
var ErrCurrentRefused = errors.New("unable to log in with the AWSCURRENT credential")

func currentRefused(err error) error {
	if secrets.KindOf(err) != secrets.Denied || secrets.Authenticated(err) {
		return err
	}
	e := alsoHint(secrets.Prefixed(err, "%v", ErrCurrentRefused),
		"if the password was changed at the server, store the right one: pawl secret put NAME --value-file -")
	e.Err = refusal{e.Err}
	return e
}

// refusal is an error that is ErrCurrentRefused too.
type refusal struct{ error }

func (refusal) Is(target error) bool { return target == ErrCurrentRefused }

func (r refusal) Unwrap() error { return r.error }

func superuserRefused(err error, user string) error {
	if secrets.KindOf(err) != secrets.Denied {
		return err
	}
	return alsoHint(secrets.Prefixed(err, "unable to log in as the superuser %q", user), "check the superuser's secret")
}

// alsoHint adds to what the engine advises already.
func alsoHint(e *secrets.Error, hint string) *secrets.Error {
	if e.Hint != "" {
		hint = e.Hint + "; " + hint
	}
	return e.WithHint("%s", hint)
}
