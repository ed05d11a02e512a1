// Package engines holds what a kind of server must offer for its passwords to
// be rotated. An engine knows how to log in, change a password and copy a user;
// it knows nothing of secrets' labels, schedules or stores. Each kind of server
// has a folder of its own below this one.
package engines

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Engine is one kind of server.
type Engine interface {
	Facts() Facts
	// CheckUsername reports whether the server could have a user of this name.
	// The error is Invalid.
	CheckUsername(name string) error
	// Dial logs in once; there is no retry and no fallback to another host,
	// another credential or weaker TLS. ctx bounds the login only. Errors carry
	// the server's address and are classified: wrong credentials Denied
	// (Authenticated when the refusal proves the password), unreachable or busy
	// Transient, TLS or database name wrong Invalid.
	Dial(ctx context.Context, at Endpoint, as Login) (Session, error)
}

// Session is one logged-in connection. It is used by one goroutine.
type Session interface {
	// Check proves that the session is what it should be: that it acts as the
	// user who logged in (or, for a clone, as the original), and that query,
	// when not empty, runs without error. Errors: Denied, Invalid, Transient.
	Check(ctx context.Context, c Check) error
	// Preflight checks as far as the server can tell without a change that
	// SetPassword would work: a writable primary, the user exists, the session
	// has the right. Errors: Invalid, Denied, Transient.
	Preflight(ctx context.Context, c PasswordChange) error
	// SetPassword changes a user's password in one auto-committed statement.
	// Setting the same password again is harmless. An error after the statement
	// was sent, a time-out included, is Unknown unless the server itself said
	// no. A password that the server's rules refuse is Invalid with Policy.
	SetPassword(ctx context.Context, c PasswordChange) error
	// Close ends the session; it waits briefly at most.
	Close() error
}

// Cloner is what a Session offers besides if it can copy users, for
// alternating-users rotation.
type Cloner interface {
	// FindClone says whether the clone exists and bears Pawl's mark.
	FindClone(ctx context.Context, c Clone) (CloneState, error)
	// SyncClone makes the clone's rights, roles, settings and limits those of
	// the original: what it lacks is added, what it has beyond is taken away;
	// the original is never touched. An absent clone is created locked and
	// marked. It never sets a usable password: that comes last, by SetPassword.
	// warnings name what cannot be copied.
	SyncClone(ctx context.Context, c Clone) (warnings []string, err error)
	// LockClone makes logins of the clone impossible and marks it as Pawl's, so
	// that a later rotation may start over with it.
	LockClone(ctx context.Context, c Clone) error
}

// CloneState is what the server knows of a clone.
type CloneState int

// The states of a clone.
const (
	CloneAbsent  CloneState = iota
	CloneMarked             // exists and bears Pawl's mark
	CloneForeign            // exists without a mark
)

// Clone names the two users of an alternating-users rotation.
type Clone struct {
	Original, Clone string
	Database        string // whose grants and settings matter first; "" = all the server lists
	// Known is of both users what PasswordChange's is of one.
	Known func(context.Context) ([]secrets.Password, error)
	// Confirm is as PasswordChange's.
	Confirm func(context.Context) error
}

// Check is what a session must prove. CloneOf is the original's name when the
// user who logged in is its clone, else "".
type Check struct {
	CloneOf string
	Query   string
}

// PasswordChange is one change of a password.
type PasswordChange struct {
	Username string
	New      secrets.Password
	Old      secrets.Password // the user's present password, when he changes it himself
	Self     bool             // the session belongs to the user himself
	Clone    bool             // the user is a clone: also let it log in
	Plain    bool             // the operator allows the plain password to be sent
	// Known returns passwords that the secret holds. Where a server has several
	// accounts of one name, a superuser may change them only if each has one of
	// these, or New: who could log in as one of them has proved nothing of the
	// others. It is asked only then; nil = the operator answers for all of them.
	Known func(context.Context) ([]secrets.Password, error)
	// Confirm, where set, is asked right before each statement that changes
	// something is sent: see Sendable. Its error is returned as it is.
	Confirm func(context.Context) error
}

// Login is a user name and password.
type Login struct {
	Username string
	Password secrets.Password
}

// Endpoint is one server to log in to.
type Endpoint struct {
	Host     string
	Port     int
	Database string
	TLS      TLS
	// Guard, when not zero, bounds on the server's side how long a statement of
	// this session may run or wait for a lock, and how long the session may sit
	// idle: what a dead or paused Pawl left behind then ends by itself, twice as
	// long after the session last heard of it at the latest.
	Guard time.Duration
}

// Addr returns host:port.
func (e Endpoint) Addr() string { return net.JoinHostPort(e.Host, strconv.Itoa(e.Port)) }

// Facts are what an engine states about its kind of server.
type Facts struct {
	Names           []string // values of a secret's "engine" key it answers to; the first is the usual one
	DefaultPort     int
	DefaultDatabase string // "" = none needed
	PasswordExclude string // characters kept out of new passwords unless the rules say otherwise
}

// Registry finds an engine by a secret's "engine" key.
type Registry map[string]Engine

// NewRegistry makes a registry of engines. It panics when two claim one name:
// that is a programming error.
func NewRegistry(es ...Engine) Registry {
	r := Registry{}
	for _, e := range es {
		for _, n := range e.Facts().Names {
			if _, taken := r[n]; taken {
				panic(fmt.Sprintf("engines: two engines are named %q", n))
			}
			r[n] = e
		}
	}
	return r
}

// Lookup returns the engine of that name. The error is Invalid and lists the
// names there are.
func (r Registry) Lookup(name string) (Engine, error) {
	if e, ok := r[name]; ok {
		return e, nil
	}
	if name == "" {
		return nil, secrets.Errorf(secrets.Invalid, "engine key is missing from secret JSON").
			WithHint("set \"engine\" in the secret or engine: in the configuration to one of: %s", strings.Join(r.Names(), ", "))
	}
	return nil, secrets.Errorf(secrets.Invalid, "unknown engine %q", name).
		WithHint("known engines: %s", strings.Join(r.Names(), ", "))
}

// Names lists every name in alphabetical order.
func (r Registry) Names() []string {
	var ns []string
	for n := range r {
		ns = append(ns, n)
	}
	sort.Strings(ns)
	return slices.Compact(ns)
}
