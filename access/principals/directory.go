package principals

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/recent"
	"github.com/pawlhq/pawl/secrets"
)

// Sealer encrypts what must not be in a store, or in a session token, in the
// clear. A service.Sealer is one.
type Sealer interface {
	Seal(ctx context.Context, key, arn, versionID string, v secrets.Value) ([]byte, error)
	Open(ctx context.Context, arn, versionID string, sealed []byte) (secrets.Value, error)
}

// Config is what a Directory is made of. Store, Sealer and Account are required.
type Config struct {
	Store Store
	// Sealer's default key must be one that Pawl itself holds: see ownFormat.
	Sealer  Sealer
	Account string           // of names that are no ARN
	Now     func() time.Time // nil = time.Now
	Random  io.Reader        // nil = crypto/rand
}

// Directory is the principals of a store. It is an access.Keys, and safe for
// concurrent use, also by several processes on one store. Its errors are
// *secrets.Error, and say what to type next.
type Directory struct {
	store   Store
	sealer  Sealer
	account string
	now     func() time.Time
	random  io.Reader

	found     recent.Cache[string, *found]             // by access key id
	documents recent.Cache[document, *policy.Prepared] // by their text, so that it is always right
	uses      uses
	format    ownFormat
}

var (
	_ access.Keys     = (*Directory)(nil)
	_ access.UseNoter = (*Directory)(nil)
)

// What is remembered at most, in bytes, about. Documents are counted twice where
// they are a holder's too.
const (
	maxFound     = 64 << 20
	maxDocuments = 64 << 20
)

// New makes a Directory.
func New(c Config) *Directory {
	d := &Directory{
		store: c.Store, sealer: c.Sealer, account: c.Account, now: c.Now, random: c.Random,
		found:     recent.Cache[string, *found]{Limit: maxFound},
		documents: recent.Cache[document, *policy.Prepared]{Limit: maxDocuments},
	}
	if d.now == nil {
		d.now = time.Now
	}
	if d.random == nil {
		d.random = rand.Reader
	}
	d.uses = uses{write: d.store.NoteUse, noted: recent.Cache[string, *use]{Limit: maxNoted}}
	return d
}

// ARN returns a principal's: arn:aws:iam::<account>:user/<name> or …:role/<name>.
func (r *Record) ARN() string {
	return "arn:aws:iam::" + r.Account + ":" + string(r.Kind) + "/" + r.Name
}

// NewPrincipal is who is to be created.
type NewPrincipal struct {
	Account    string // "" = the Directory's
	Name       string
	Kind       Kind // "" = User
	Policies   []Policy
	Boundary   string
	Trust      string // a role's; required there
	Tags       []policy.Tag
	MaxSession time.Duration
	WithoutKey bool // a user without an access key
}

// Credentials are an access key in the clear. They print redacted.
type Credentials struct {
	AccessKeyID  string
	Secret       secrets.Password
	SessionToken secrets.Password // empty for a long-term key
	Expires      time.Time        // zero = never
	ARN          string           // of the principal they make
	UserID       string
}

// Create makes a user or a role; a user gets an access key, whose secret is in
// the answer and nowhere else in the clear. Errors: Invalid for a name, a
// document or a tag that can't be (naming which, and where), and for a name that
// is taken.
func (d *Directory) Create(ctx context.Context, n NewPrincipal) (*Record, *Credentials, error) {
	r, err := d.record(n)
	if err != nil {
		return nil, nil, err
	}
	for {
		var creds *Credentials
		if r.Kind == User && !n.WithoutKey {
			key, secret, err := d.newKey(ctx, r)
			if err != nil {
				return nil, nil, err
			}
			r.Keys = []AccessKey{key}
			creds = &Credentials{AccessKeyID: key.ID, Secret: secret, ARN: r.ARN(), UserID: r.ID}
		}
		err := d.store.CreatePrincipal(ctx, r)
		if err == nil {
			return r, creds, nil
		}
		if !errors.Is(err, ErrExists) {
			return nil, nil, err
		}
		// The name's owner, or by a chance of one in 2^80 that of the key's id.
		owner, err := d.store.Principal(ctx, r.Account, r.Name)
		if err == nil {
			return nil, nil, invalid("there is a %s named %q in account %s already", owner.Kind, r.Name, r.Account).
				WithHint("choose another name, or change the one there is: pawl access show %s", r.Name)
		}
		if !errors.Is(err, ErrNotFound) {
			return nil, nil, err
		}
	}
}

// record makes the record of a new principal, without keys.
func (d *Directory) record(n NewPrincipal) (*Record, error) {
	r := &Record{
		Account: n.Account, Name: n.Name, Kind: n.Kind, Created: d.now().UTC().Truncate(time.Second),
		Boundary: n.Boundary, Trust: n.Trust, MaxSession: n.MaxSession,
	}
	if r.Account == "" {
		r.Account = d.account
	}
	if r.Kind == "" {
		r.Kind = User
	}
	if err := n.check(r); err != nil {
		return nil, err
	}
	var err error
	if r.Policies, err = mergePolicies(nil, n.Policies, nil); err != nil {
		return nil, err
	}
	if r.Tags, err = mergeTags(nil, n.Tags, nil); err != nil {
		return nil, err
	}
	prefix := "AIDA"
	if r.Kind == Role {
		prefix = "AROA"
	}
	if r.ID, err = d.newID(prefix, 17); err != nil {
		return nil, err
	}
	return r, nil
}

var (
	principalARN = regexp.MustCompile(`^arn:aws:iam::([0-9]{12}):(user|role)/([\w+=,.@-]{1,64})$`)
	sessionARN   = regexp.MustCompile(`^arn:aws:sts::([0-9]{12}):assumed-(role)/([\w+=,.@-]{1,64})/[\w+=,.@-]{2,64}$`)
)

// Find returns a principal by name, ARN (also the ARN of a role's session) or the
// id of an access key. Errors: Invalid where there is none.
func (d *Directory) Find(ctx context.Context, ref string) (*Record, error) {
	r, err := d.look(ctx, ref)
	if errors.Is(err, ErrNotFound) {
		return nil, missing(ref)
	}
	return r, err
}

// look is Find that leaves ErrNotFound.
func (d *Directory) look(ctx context.Context, ref string) (*Record, error) {
	switch {
	case isKeyID(ref):
		return d.store.Holder(ctx, ref)
	case strings.HasPrefix(ref, "arn:"):
		m := principalARN.FindStringSubmatch(ref)
		if m == nil {
			m = sessionARN.FindStringSubmatch(ref)
		}
		if m == nil {
			return nil, ErrNotFound
		}
		r, err := d.store.Principal(ctx, m[1], m[3])
		if err == nil && string(r.Kind) != m[2] {
			return nil, ErrNotFound
		}
		return r, err
	case !validName.MatchString(ref):
		return nil, ErrNotFound
	}
	return d.store.Principal(ctx, d.account, ref)
}

// missing is the error for a principal or key that there is not.
func missing(ref string) error {
	switch {
	case isSessionID(ref):
		return invalid("%s is the key of a session, and these are not kept", ref).WithHint("name the user or role whose session it is: pawl access list")
	case mayBeSecret.MatchString(ref):
		return invalid("there is no principal or access key of that name").WithHint("was it a secret access key? Give its id, AKIA…: pawl access list")
	}
	return invalid("there is no principal or access key %q", ref).WithHint("see who there is with: pawl access list; a principal of another account is found by ARN")
}

// Each calls yield with every principal of an account, "" = of all, by account
// and name. An error of yield ends it and is returned.
func (d *Directory) Each(ctx context.Context, account string, yield func(*Record) error) error {
	const page = 200
	var after Place
	for {
		records, err := d.store.Principals(ctx, account, after, page)
		if err != nil {
			return err
		}
		for _, r := range records {
			if err := yield(r); err != nil {
				return err
			}
			after = Place{r.Account, r.Name}
		}
		if len(records) < page {
			return nil
		}
	}
}

// LastUses returns when access keys were last used, to the hour.
func (d *Directory) LastUses(ctx context.Context, keyIDs ...string) (map[string]time.Time, error) {
	return d.store.LastUses(ctx, keyIDs)
}

// Used implements access.UseNoter: it keeps when a key was last used, to the
// hour, and later than now, so that nobody waits for it.
func (d *Directory) Used(id string) {
	if isKeyID(id) {
		d.uses.note(id, d.now())
	}
}

// Close returns when the last uses that were noted are written, and makes Used do
// nothing. Call it before the store is closed; all else of the Directory goes on.
func (d *Directory) Close() { d.uses.close() }

// key returns where a record has an access key, -1 = nowhere.
func (r *Record) key(id string) int {
	return slices.IndexFunc(r.Keys, func(k AccessKey) bool { return k.ID == id })
}

// AdministratorPolicy is the document of who may do everything.
const AdministratorPolicy = `{
  "Version": "2012-10-17",
  "Statement": [{"Sid": "Everything", "Effect": "Allow", "Action": ["secretsmanager:*", "pawl:*", "sts:*", "iam:PassRole", "lambda:InvokeFunction"], "Resource": "*"}]
}`
