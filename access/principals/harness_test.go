package principals_test

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

const (
	account = "111122223333"
	other   = "444455556666"
)

// clock is a time that only a test moves.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// house is a store in a file, with its key and a clock, and a Directory of it.
type house struct {
	*principals.Directory
	store *sqlite.Store
	keys  *seal.Keyring
	path  string
	clock *clock
}

func newHouse(t testing.TB) *house {
	t.Helper()
	dir := t.TempDir()
	keyFile := filepath.Join(dir, "pawl.key")
	if err := seal.GenerateKeyFile(keyFile, rand.Reader); err != nil {
		t.Fatal(err)
	}
	keys, err := seal.Load(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{keys: keys, path: filepath.Join(dir, "pawl.db"), clock: &clock{t: time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)}}
	h.store = h.open(t)
	h.Directory = h.directory(t, h.store)
	return h
}

// open opens the store as another process would.
func (h *house) open(t testing.TB) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), h.path, sqlite.Options{Create: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func (h *house) directory(t testing.TB, s principals.Store) *principals.Directory {
	d := principals.New(principals.Config{Store: s, Sealer: h.keys, Account: account, Now: h.clock.now})
	t.Cleanup(d.Close)
	return d
}

// allow is a policy that allows actions on everything.
func allow(name string, actions ...string) principals.Policy {
	return principals.Policy{Name: name, Document: `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["` +
		strings.Join(actions, `", "`) + `"], "Resource": "*"}]}`}
}

// trust is a trust policy that lets principals assume a role.
func trust(who string) string {
	return `{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": ` + who + `, "Action": "sts:AssumeRole"}]}`
}

const read = "secretsmanager:GetSecretValue"

func (h *house) user(t testing.TB, name string, policies ...principals.Policy) (*principals.Record, *principals.Credentials) {
	t.Helper()
	return h.make(t, principals.NewPrincipal{Name: name, Policies: policies})
}

func (h *house) role(t testing.TB, name, trust string, policies ...principals.Policy) *principals.Record {
	t.Helper()
	r, _ := h.make(t, principals.NewPrincipal{Name: name, Kind: principals.Role, Trust: trust, Policies: policies})
	return r
}

func (h *house) make(t testing.TB, n principals.NewPrincipal) (*principals.Record, *principals.Credentials) {
	t.Helper()
	r, creds, err := h.Create(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return r, creds
}

func (h *house) session(t testing.TB, ref string, n principals.NewSession) *principals.Credentials {
	t.Helper()
	creds, err := h.Session(t.Context(), ref, n)
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

// use looks credentials up as the Verifier does, and fails the test if they are
// no good.
func use(t testing.TB, d *principals.Directory, c *principals.Credentials) access.Principal {
	t.Helper()
	k, err := d.AccessKey(t.Context(), c.AccessKeyID, c.SessionToken)
	if err != nil {
		t.Fatalf("%s: %v", c.AccessKeyID, err)
	}
	if k.ID != c.AccessKeyID || !k.Secret.Equal(c.Secret) || !k.SessionToken.Equal(c.SessionToken) || !k.Expires.Equal(c.Expires) {
		t.Fatalf("%s: another key was found", c.AccessKeyID)
	}
	if k.Principal.ARN != c.ARN || k.Principal.UserID != c.UserID {
		t.Fatalf("%s is of %s (%s), want %s (%s)", c.AccessKeyID, k.Principal.ARN, k.Principal.UserID, c.ARN, c.UserID)
	}
	return k.Principal
}

// refused fails the test unless credentials are no good.
func refused(t testing.TB, d *principals.Directory, c *principals.Credentials) {
	t.Helper()
	k, err := d.AccessKey(t.Context(), c.AccessKeyID, c.SessionToken)
	if !errors.Is(err, access.ErrNoKey) || k.Principal.ARN != "" || !k.Secret.IsEmpty() {
		t.Fatalf("%s: got %q, %v; want no key", c.AccessKeyID, k.Principal.ARN, err)
	}
}

// may reports whether a principal may do something to a secret of his account.
func may(p access.Principal, action string) bool {
	return p.Decide(action, "arn:aws:secretsmanager:eu-west-1:"+p.Account+":secret:prod/db-A1b2C3", p.Account, nil, policy.Context{}).Allowed
}

// tester is a test, also one of rapid's.
type tester interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// wantInvalid fails the test unless err is Invalid, says all the words and what
// to do.
func wantInvalid(t tester, err error, words ...string) {
	t.Helper()
	var e *secrets.Error
	if !errors.As(err, &e) || e.Kind != secrets.Invalid || e.Hint == "" {
		t.Fatalf("got %v (%v), want Invalid with a hint", err, secrets.KindOf(err))
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("%q does not say %q", err, w)
		}
	}
}
