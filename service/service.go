// Package service is AWS Secrets Manager's rules in process: its operations,
// with its member names, its exceptions and its texts, over a Store and a
// Sealer; and the rotation side of the house: what is due, who may rotate it
// now, and what a rotation left behind. It knows no HTTP and no SQL.
package service

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Config is what a Service is made of. Store and Sealer are required.
type Config struct {
	Store  Store
	Sealer Sealer
	Now    func() time.Time // nil = time.Now
	Random io.Reader        // nil = crypto/rand

	// Region and Account are those of the Service that New returns: of the
	// configuration file's secrets and of the command line. Defaults:
	// us-east-1, 123456789012.
	Region, Account string

	// MinimumInterval is the least time between two scheduled rotations of one
	// secret; 0 = secrets.AWSMinimumInterval.
	MinimumInterval time.Duration
	// CatchUp makes a missed window up at once instead of in the same hours of
	// the next day.
	CatchUp bool
	// DefaultRules are for a secret that is rotated on demand and that nobody
	// declared a rotation for.
	DefaultRules secrets.RotationRules
	// Functions are the custom rotation functions; nil = there are none.
	Functions Functions
	// Regions are the regions whose replicas are on other servers; nil = none.
	Regions Regions
	// DefaultPort returns the port of a kind of server for secrets without one,
	// so that a target is always host:port; nil, or 0, leaves the host alone.
	DefaultPort func(engine string) int
}

// Service is Secrets Manager's operations. Its errors are *secrets.Error: Code
// is the name of AWS's exception and the text of Err is AWS's own; Secret and
// Hint are for people and not part of the wire's text. It is safe for
// concurrent use, also by several processes on one store.
//
// A Service acts for one Caller. As returns the same Service for another.
type Service struct {
	*core
	at Caller
}

// Caller is for whom, and so where, a Service acts: secrets are looked up by
// name, made and listed in this account and region.
type Caller struct {
	Partition, Region, Account string
	// Own: Pawl itself asks. It is also shown PAWLINTENT, which others are not:
	// to them a version carries what it would carry at AWS, and a tool that
	// tidies up every label it sees (Terraform does) never meets one it can't
	// remove.
	Own bool
	// Guard is asked what the caller may do; nil = everything, as for Pawl itself
	// and for whoever can read the store anyway.
	Guard Guard `json:"-"`
}

// As returns the Service as c sees it. It costs nothing to speak of.
func (s *Service) As(c Caller) *Service {
	return &Service{core: s.core, at: c.whole()}
}

// whole is the Caller with his partition.
func (c Caller) whole() Caller {
	if c.Partition == "" {
		c.Partition = secrets.PartitionOf(c.Region)
	}
	return c
}

// Caller returns for whom the Service acts.
func (s *Service) Caller() Caller { return s.at }

// atHome reports whether the Service acts where the configuration file's
// secrets are.
func (s *Service) atHome() bool {
	return s.at.Region == s.config.Region && s.at.Account == s.config.Account
}

// core is what the Services of all callers share.
type core struct {
	store   Store
	peeker  Peeker // the store, if it is one
	sealer  Sealer
	clock   func() time.Time
	random  io.Reader
	config  Config
	targets targets
	daemon  attached

	following chan struct{} // held by who follows
	lagging   chan struct{} // see Lagging
	outages   outages

	mu       sync.RWMutex
	policy   policy
	declared map[string]Declaration // by the secret's name
}

// policy is the part of the configuration that can change while running.
type policy struct {
	minimum  time.Duration
	catchUp  bool
	defaults secrets.RotationRules
}

// Where a Service acts unless it is told otherwise. The account is the one of
// AWS's own examples.
const (
	DefaultRegion  = "us-east-1"
	DefaultAccount = "123456789012"
)

// New makes a Service.
func New(c Config) *Service {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Random == nil {
		c.Random = rand.Reader
	}
	if c.Region == "" {
		c.Region = DefaultRegion
	}
	if c.Account == "" {
		c.Account = DefaultAccount
	}
	s := &Service{core: &core{store: c.Store, sealer: c.Sealer, clock: c.Now, random: c.Random, config: c}}
	s.peeker, _ = c.Store.(Peeker)
	s.following, s.lagging = make(chan struct{}, 1), make(chan struct{}, 1)
	if c.Regions != nil {
		s.outages.heard, s.outages.overdue = c.Regions.Heard, true
	}
	s = s.As(Caller{Region: c.Region, Account: c.Account, Own: true})
	s.Reconfigure(c.MinimumInterval, c.CatchUp, c.DefaultRules)
	return s
}

// Reconfigure changes MinimumInterval, CatchUp and DefaultRules of the Config
// while the Service is in use. What is planned already follows at the next
// Declare.
func (s *Service) Reconfigure(minimum time.Duration, catchUp bool, defaults secrets.RotationRules) {
	if minimum == 0 {
		minimum = secrets.AWSMinimumInterval
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.policy = policy{minimum, catchUp, defaults}
}

func (s *core) rules() policy {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.policy
}

// now is the time in UTC, in the milliseconds that AWS's dates have.
func (s *core) now() time.Time { return s.clock().UTC().Truncate(time.Millisecond) }

// find returns the secret that a SecretId means, if the caller may do to it what
// he is about to. It is how operations come to a secret that a request names.
// rules are what the operation asks of the request alone: they are asked after
// the caller's rights, and before he is told whether there is such a secret.
func (s *Service) find(ctx context.Context, secretID string, rules ...func() error) (*Secret, error) {
	return s.findTo(ctx, "", secretID, rules...)
}

// findTo is find for a further action.
func (s *Service) findTo(ctx context.Context, action, secretID string, rules ...func() error) (*Secret, error) {
	sec, err := s.seek(ctx, secretID)
	return s.judged(sec, err, action, secretID, rules...)
}

// peekTo is findTo for who only looks: the record is not to be altered.
func (s *Service) peekTo(ctx context.Context, action, secretID string) (*Secret, error) {
	if s.peeker == nil {
		return s.findTo(ctx, action, secretID)
	}
	sec, err := s.seekBy(ctx, secretID, s.peeker.Peek)
	return s.judged(sec, err, action, secretID)
}

// judged is what seek returned, if the caller may have it.
func (s *Service) judged(sec *Secret, err error, action, secretID string, rules ...func() error) (*Secret, error) {
	if err != nil && secrets.CodeOf(err) != resourceNotFound {
		return nil, err
	}
	if denied := s.allowedTo(action, sec, secretID); denied != nil {
		return nil, denied
	}
	for _, rule := range rules {
		if broken := rule(); broken != nil {
			return nil, broken
		}
	}
	return sec, err
}

// seek is find for whoever may know. A secret whose recovery window is over has
// ended, whether or not it was purged yet.
func (s *Service) seek(ctx context.Context, secretID string) (*Secret, error) {
	return s.seekBy(ctx, secretID, s.store.Find)
}

func (s *Service) seekBy(ctx context.Context, secretID string, find func(context.Context, secrets.ID) (*Secret, error)) (*Secret, error) {
	id, err := s.at.meant(secretID)
	if err != nil {
		return nil, err
	}
	if id.ARN.Region != s.at.Region {
		return nil, notFound(secretID) // AWS looks in no other region, whatever the ARN says
	}
	sec, err := find(ctx, id)
	if err != nil {
		return nil, known(err, secretID)
	}
	if !sec.PurgeAt.IsZero() && expired(sec, s.now()) {
		return nil, notFound(secretID)
	}
	return sec, nil
}

// lookUp is find for a SecretId that no request's Check has seen.
func (s *Service) lookUp(ctx context.Context, secretID string) (*Secret, error) {
	if err := Check(DescribeSecretInput{secretID}, nil); err != nil {
		return nil, err
	}
	return s.findAlive(ctx, secretID)
}

// findAlive is find for what a secret marked for deletion refuses.
func (s *Service) findAlive(ctx context.Context, secretID string, rules ...func() error) (*Secret, error) {
	sec, err := s.find(ctx, secretID, rules...)
	if err != nil {
		return nil, err
	}
	return sec, alive(sec)
}

func expired(sec *Secret, now time.Time) bool {
	return !sec.PurgeAt.IsZero() && !now.Before(sec.PurgeAt)
}

// errUnchanged, returned by a change, says that there is nothing to write.
var errUnchanged = errors.New("nothing to change")

// update is the one way to write an existing secret. After change it keeps what
// is derived from the rest: when AWSCURRENT last moved, when the scheduler
// should look next, and whether replicas are behind; after the commit it has
// them follow.
func (s *Service) update(ctx context.Context, arn secrets.ARN, change func(*Secret) (Sealed, error)) (*Secret, error) {
	return s.updateBy(ctx, arn, func(ctx context.Context, change func(*Secret) (Sealed, error)) (*Secret, error) {
		return s.store.Update(ctx, arn, change)
	}, change)
}

// updater is Store.Update of one secret.
type updater func(ctx context.Context, change func(*Secret) (Sealed, error)) (*Secret, error)

// updateBy is update by the updater of the secret.
func (s *Service) updateBy(ctx context.Context, arn secrets.ARN, by updater, change func(*Secret) (Sealed, error)) (*Secret, error) {
	var seen *Secret
	behind := false
	sec, err := by(ctx, func(sec *Secret) (Sealed, error) {
		seen = sec
		current, watched := sec.Versions.IDWith(secrets.Current), watch(sec)
		values, err := change(sec)
		if err != nil {
			return nil, err
		}
		now := s.now()
		if sec.Versions.IDWith(secrets.Current) != current {
			sec.ValueChanged = now
			if sec.Rotation != nil {
				// What failed before failed with another value.
				sec.Rotation.Attempt = secrets.Attempt{}
			}
		}
		sec.DueAt = s.nextDue(sec, now)
		behind = watched(now)
		return values, nil
	})
	switch {
	case errors.Is(err, errUnchanged):
		return seen, nil
	case err == nil && behind:
		s.follow(ctx, arn)
	}
	return sec, known(err, arn.Name)
}

// updateAlive is update for what a secret marked for deletion refuses, and a
// replica: either may have come since the secret was looked up.
func (s *Service) updateAlive(ctx context.Context, arn secrets.ARN, change func(*Secret) (Sealed, error)) (*Secret, error) {
	return s.update(ctx, arn, func(sec *Secret) (Sealed, error) {
		if err := alive(sec); err != nil {
			return nil, err
		}
		if err := atPrimary(sec); err != nil {
			return nil, err
		}
		return change(sec)
	})
}

// seal encrypts a value for a version, under the key that a KmsKeyId names.
func (s *Service) seal(ctx context.Context, key string, arn secrets.ARN, versionID string, v secrets.Value) (Sealed, error) {
	b, err := s.sealer.Seal(ctx, key, arn.String(), versionID, v)
	if err != nil {
		return nil, ofKey(err, arn, key)
	}
	return Sealed{versionID: b}, nil
}

// open reads and decrypts the value of a version that has one. What does not
// open is read once more: it may have been encrypted anew since, and its old key
// been thrown away.
func (s *Service) open(ctx context.Context, arn secrets.ARN, versionID string) (secrets.Value, error) {
	return s.openNamed(ctx, arn, arn.String(), versionID)
}

// openNamed is open where the ARN is at hand as a text.
func (s *Service) openNamed(ctx context.Context, arn secrets.ARN, text, versionID string) (secrets.Value, error) {
	b, err := s.store.Value(ctx, arn, versionID)
	if err != nil {
		return secrets.Value{}, err
	}
	v, err := s.sealer.Open(ctx, text, versionID, b)
	if err == nil {
		return v, nil
	}
	if secrets.CodeOf(err) == decryptionFailure {
		switch fresh, gone := s.valueNow(ctx, arn, versionID); {
		case errors.Is(gone, ErrNotFound):
			return secrets.Value{}, gone
		case gone == nil && !bytes.Equal(fresh, b):
			v, err = s.sealer.Open(ctx, text, versionID, fresh)
		}
	}
	return v, secrets.At(inAWSText(err), arn.Name, "", "")
}

// valueNow is the store's Value as new as its records are.
func (s *Service) valueNow(ctx context.Context, arn secrets.ARN, versionID string) ([]byte, error) {
	if _, err := s.store.Find(ctx, secrets.ID{ARN: arn}); err != nil {
		return nil, err
	}
	return s.store.Value(ctx, arn, versionID)
}

// pageSize is how many secrets are read from the store at a time.
const pageSize = 250

// each calls visit for every secret of the account and region in byte order of
// the name, in bounded memory. Those that have ended are left out.
func (s *Service) each(ctx context.Context, after string, visit func(*Secret) error) error {
	for {
		page, err := s.store.List(ctx, Listing{
			Account: s.at.Account, Region: s.at.Region, After: Position{Name: after}, N: pageSize,
		})
		if err != nil {
			return err
		}
		now := s.now()
		for _, sec := range page {
			if expired(sec, now) {
				continue
			}
			if err := visit(sec); err != nil {
				return err
			}
		}
		if len(page) < pageSize {
			return nil
		}
		after = page[len(page)-1].ARN.Name
	}
}

// NewVersionID makes a random UUID (RFC 9562, version 4): a ClientRequestToken
// for callers that have none of their own.
func NewVersionID(random io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("making a version id: %w", err)
	}
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:]), nil
}
