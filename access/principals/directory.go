package principals

import (
	"context"
	"io"
	"time"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
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
	Store   Store
	Sealer  Sealer
	Account string           // of names that are no ARN
	Now     func() time.Time // nil = time.Now
	Random  io.Reader        // nil = crypto/rand
}

// Directory is the principals of a store. It is an access.Keys, and safe for
// concurrent use, also by several processes on one store. Its errors are
// *secrets.Error, and say what to type next.
type Directory struct{}

// New makes a Directory.
func New(c Config) *Directory { panic("not there yet") }

// ARN returns a principal's: arn:aws:iam::<account>:user/<name> or …:role/<name>.
func (r *Record) ARN() string { panic("not there yet") }

// AccessKey implements access.Keys: of users, and of sessions by their token.
func (d *Directory) AccessKey(ctx context.Context, id string, token secrets.Password) (access.Key, error) {
	panic("not there yet")
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
	panic("not there yet")
}

// Find returns a principal by name, ARN or the id of an access key. Errors:
// Invalid where there is none.
func (d *Directory) Find(ctx context.Context, ref string) (*Record, error) { panic("not there yet") }

// Each calls yield with every principal of an account, "" = of all, by account
// and name. An error of yield ends it and is returned.
func (d *Directory) Each(ctx context.Context, account string, yield func(*Record) error) error {
	panic("not there yet")
}

// Changes are what Update changes: nil members stay as they are.
type Changes struct {
	Policies   []Policy      // replace those of the same name, and add the others
	Without    []string      // names of policies to take off
	Boundary   *string       // "" takes it off
	Trust      *string       // a role's
	Tags       []policy.Tag  // replace those of the same key, and add the others
	Untag      []string      // keys
	MaxSession time.Duration // 0 = as it is
}

// Update changes a principal. Errors: as Create and Find.
func (d *Directory) Update(ctx context.Context, ref string, c Changes) (*Record, error) {
	panic("not there yet")
}

// SetDisabled disables or enables a principal, or one access key by its id.
func (d *Directory) SetDisabled(ctx context.Context, ref string, disabled bool) (*Record, error) {
	panic("not there yet")
}

// Delete removes a principal with his keys, or one access key by its id.
func (d *Directory) Delete(ctx context.Context, ref string) (*Record, error) { panic("not there yet") }

// EndSessions makes all session credentials of a principal that were made until
// now no good.
func (d *Directory) EndSessions(ctx context.Context, ref string) (*Record, error) {
	panic("not there yet")
}

// RotateKey gives a user a further access key; the old one stays good beside
// it. Errors: Invalid for one who has MaxKeys, naming them with their last use,
// and for a role.
func (d *Directory) RotateKey(ctx context.Context, ref string) (*Record, *Credentials, error) {
	panic("not there yet")
}

// LastUses returns when access keys were last used, to the hour.
func (d *Directory) LastUses(ctx context.Context, keyIDs ...string) (map[string]time.Time, error) {
	panic("not there yet")
}

// NewSession is what session credentials are to be.
type NewSession struct {
	Name     string        // of the session; "" = pawl, or the name of who asks
	Duration time.Duration // 0 = one hour; 15 minutes to 12 hours
	Policy   string        // a document that limits the session; "" = none
	Tags     []policy.Tag  // of the session, besides those of the principal
}

// Session makes session credentials of a user, who stays who he is, or of a role,
// for an operator, whom no trust policy binds.
func (d *Directory) Session(ctx context.Context, ref string, n NewSession) (*Credentials, error) {
	panic("not there yet")
}

// AssumeRole makes session credentials of a role for a caller whom its trust
// policy allows, and whom his own policies do where he is of another account or
// the trust policy names but the account. Errors: Denied with Code AccessDenied
// and STS's text, which is the same for a role that there is not; Code
// ValidationError.
func (d *Directory) AssumeRole(ctx context.Context, caller access.Principal, roleARN string, n NewSession) (*Credentials, error) {
	panic("not there yet")
}

// Principal returns a record as it is when it calls: with its policies. A role
// is as a session named pawl.
func (d *Directory) Principal(ctx context.Context, r *Record, region string) (access.Principal, error) {
	panic("not there yet")
}

// Administrator reports whether somebody can sign requests who may do
// everything to all secrets of the Directory's account.
func (d *Directory) Administrator(ctx context.Context) (bool, error) { panic("not there yet") }

// AdministratorPolicy is the document of who may do everything.
const AdministratorPolicy = `{
  "Version": "2012-10-17",
  "Statement": [{"Sid": "Everything", "Effect": "Allow", "Action": ["secretsmanager:*", "pawl:*", "sts:*", "iam:PassRole"], "Resource": "*"}]
}`
