package principals

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
)

// NewSession is what session credentials are to be.
type NewSession struct {
	Name     string        // of the session; "" = pawl, or the name of who asks
	Duration time.Duration // 0 = one hour; 15 minutes to 12 hours
	Policy   string        // a document that limits the session; "" = none
	Tags     []policy.Tag  // of the session, besides those of the principal
	// AssumeRole's: what policies can ask of the request (aws:SourceIp …; nil =
	// nothing), and its ExternalId.
	Context    policy.Keys
	ExternalID string
}

// session is what a session token says, sealed for its access key: nothing of a
// session is in the store. It has no policies of the principal's: those are read
// for each request.
type session struct {
	Account  string // whose session it is
	Owner    string // his name
	ID       string // and his id: who gets his name later is another
	Sessions int64  // his Record.Sessions
	Name     string `json:",omitempty"` // of the session
	Secret   string // the secret access key
	Issued   int64  // Unix seconds
	Expires  int64
	Policy   string       `json:",omitempty"`
	Tags     []policy.Tag `json:",omitempty"`

	issued time.Time
}

// String says whose session it is, and no secret.
func (s session) String() string { return "a session of " + s.Owner }

// GoString is String.
func (s session) GoString() string { return s.String() }

const (
	defaultSession = "pawl"
	sessionAs      = "pawl:session" // what a token is sealed for, beside its access key's id
	maxToken       = 8192           // characters of a session token
)

// Bounds of a session. Source: STS API reference, AssumeRole.
const (
	leastSession   = 15 * time.Minute
	longestSession = 12 * time.Hour
	usualSession   = time.Hour
	maxSessionDoc  = 2048 // characters
)

var validSession = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)

// Session makes session credentials of a user, who stays who he is, or of a role,
// for an operator, whom no trust policy binds. Errors: as Find, and Invalid with
// Code ValidationError, MalformedPolicyDocument or PackedPolicyTooLarge.
func (d *Directory) Session(ctx context.Context, ref string, n NewSession) (*Credentials, error) {
	r, err := d.Find(ctx, ref)
	if err != nil {
		return nil, err
	}
	if n.Name == "" {
		n.Name = defaultSession
	}
	if err := n.check(); err != nil {
		return nil, err
	}
	if r.Disabled {
		return nil, invalid("%s %s is disabled: no session would be good", r.Kind, r.Name).WithHint("pawl access enable %s", r.Name)
	}
	return d.newSession(ctx, r, n)
}

// check looks at all that can be said without knowing whose session it is. Its
// texts are AWS's.
func (n *NewSession) check() error {
	if !validSession.MatchString(n.Name) {
		return unfit("'%s' at 'roleSessionName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\w+=,.@-]{2,64}", cut(n.Name)).
			WithHint("a session's name has 2 to 64 letters, digits and +=,.@_-")
	}
	switch {
	case n.Duration == 0:
	case n.Duration < leastSession:
		return unfit("'%d' at 'durationSeconds' failed to satisfy constraint: Member must have value greater than or equal to %d", int(n.Duration.Seconds()), int(leastSession.Seconds())).
			WithHint("give from 15m to 12h")
	case n.Duration > longestSession:
		return unfit("'%d' at 'durationSeconds' failed to satisfy constraint: Member must have value less than or equal to %d", int(n.Duration.Seconds()), int(longestSession.Seconds())).
			WithHint("give from 15m to 12h")
	}
	if utf8.RuneCountInString(n.Policy) > maxSessionDoc {
		return unfit("at 'policy' failed to satisfy constraint: Member must have length less than or equal to %d", maxSessionDoc).
			WithHint("the policy only needs to say what of the principal's rights the session keeps")
	}
	if n.Policy != "" {
		if _, err := policy.ParseIdentity(n.Policy); err != nil {
			return coded("MalformedPolicyDocument", secrets.Errorf(secrets.Invalid, "the policy of the session: %w", err).WithHint("mend the document"))
		}
	}
	if err := checkTags(n.Tags); err != nil {
		return coded("ValidationError", err)
	}
	return nil
}

func unfit(format string, args ...any) *secrets.Error {
	e := invalid("1 validation error detected: Value "+format, args...)
	e.Code = "ValidationError"
	return e
}

func coded(code string, err error) error {
	var e *secrets.Error
	if errors.As(err, &e) {
		e.Code = code
	}
	return err
}

// cut is a text as an error may repeat it.
func cut(s string) string {
	const most = 64
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}

// newSession makes credentials of what was checked. Errors: Invalid, Code
// ValidationError for a role whose sessions must be shorter.
func (d *Directory) newSession(ctx context.Context, r *Record, n NewSession) (*Credentials, error) {
	duration := n.Duration
	if duration == 0 {
		duration = usualSession
	}
	if longest := max(r.MaxSession, usualSession); r.Kind == Role && duration > longest {
		e := invalid("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.").
			WithHint("ask for at most %v, or allow more: pawl access update %s --max-session", longest, r.Name)
		e.Code = "ValidationError"
		return nil, e
	}
	id, err := d.newID(sessionPrefix, idLength)
	if err != nil {
		return nil, err
	}
	secret, err := d.newSecret()
	if err != nil {
		return nil, err
	}
	issued := d.now().UTC().Truncate(time.Second)
	s := session{
		Account: r.Account, Owner: r.Name, ID: r.ID, Sessions: r.Sessions, Name: n.Name, Secret: secret.Reveal(),
		Issued: issued.Unix(), Expires: issued.Add(duration).Unix(), Policy: n.Policy, Tags: n.Tags, issued: issued,
	}
	token, err := d.sealToken(ctx, id, &s)
	if err != nil {
		return nil, err
	}
	p, err := d.as(r, &s)
	if err != nil {
		return nil, err
	}
	return &Credentials{
		AccessKeyID: id, Secret: secret, SessionToken: secrets.NewPassword(token), Expires: issued.Add(duration),
		ARN: p.ARN, UserID: p.UserID,
	}, nil
}

func (d *Directory) sealToken(ctx context.Context, id string, s *session) (string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return "", err
	}
	sealed, err := d.sealer.Seal(ctx, "", sessionAs, id, secrets.Owned(text, true))
	if err != nil {
		return "", secrets.Prefixed(err, "encrypt the session token")
	}
	d.format.learn(sealed)
	token := base64.StdEncoding.EncodeToString(sealed)
	if len(token) > maxToken {
		e := invalid("Packed size of session policy and tags consumes %d%% of allotted space.", (100*len(token)+maxToken-1)/maxToken).
			WithHint("give the session fewer or shorter tags, or a shorter policy")
		e.Code = "PackedPolicyTooLarge"
		return "", e
	}
	return token, nil
}

// sessionKey returns the key of a session, by its token alone, if the principal
// is still the one whose session it is.
func (d *Directory) sessionKey(ctx context.Context, id string, token secrets.Password) (access.Key, error) {
	s, err := d.openToken(ctx, id, token.Reveal())
	if err != nil {
		return access.Key{}, err
	}
	r, err := d.store.Principal(ctx, s.Account, s.Owner)
	if errors.Is(err, ErrNotFound) {
		return access.Key{}, noKey(id)
	}
	if err != nil {
		return access.Key{}, err
	}
	if r.ID != s.ID || r.Disabled || r.Sessions != s.Sessions {
		return access.Key{}, noKey(id)
	}
	p, err := d.as(r, s)
	if err != nil {
		return access.Key{}, err
	}
	return access.Key{
		ID: id, Secret: secrets.NewPassword(s.Secret), SessionToken: token,
		Principal: p, Expires: time.Unix(s.Expires, 0).UTC(),
	}, nil
}

// openToken reads a session token that a stranger may have sent. ErrNoKey for
// whatever we didn't make for this access key.
func (d *Directory) openToken(ctx context.Context, id, token string) (*session, error) {
	if len(token) > maxToken {
		return nil, noKey(id)
	}
	sealed, err := base64.StdEncoding.Strict().DecodeString(token)
	// The decoder skips line breaks; a token has none.
	if err != nil || strings.ContainsAny(token, "\r\n") {
		return nil, noKey(id)
	}
	if ours, err := d.format.is(ctx, d.sealer, sealed); err != nil || !ours {
		if err == nil {
			err = noKey(id)
		}
		return nil, err
	}
	text, err := d.sealer.Open(ctx, sessionAs, id, sealed)
	if secrets.KindOf(err) == secrets.Invalid && err != nil {
		return nil, noKey(id)
	}
	if err != nil {
		return nil, secrets.Prefixed(err, "decrypt the session token of %s", id)
	}
	var s session
	if err := json.Unmarshal(text.Reveal(), &s); err != nil {
		return nil, noKey(id)
	}
	s.issued = time.Unix(s.Issued, 0).UTC()
	return &s, nil
}

// ownFormat knows the first byte of what the Sealer's default key seals: the
// format. Session tokens are given to a Sealer to open that come from strangers,
// and a Sealer may know formats that name whichever key of a key service: a
// stranger's own key there would open what he sealed with it, and he would be
// whom he wants. So only tokens in the format of our own are opened.
type ownFormat struct{ known atomic.Int32 } // 0 = not known yet, else the byte + 1

func (f *ownFormat) learn(sealed []byte) {
	if len(sealed) > 0 {
		f.known.Store(int32(sealed[0]) + 1)
	}
}

func (f *ownFormat) is(ctx context.Context, s Sealer, sealed []byte) (bool, error) {
	if f.known.Load() == 0 {
		sample, err := s.Seal(ctx, "", sessionAs, "format", secrets.Text("sample"))
		if err != nil {
			return false, secrets.Prefixed(err, "encrypt a session token")
		}
		f.learn(sample)
	}
	return len(sealed) > 0 && int32(sealed[0])+1 == f.known.Load(), nil
}
