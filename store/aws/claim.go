package aws

import (
	"context"
	"os"
	"sync"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// claims are the secrets that this process is rotating, by name.
type claims struct {
	mu   sync.Mutex
	held map[string]bool
}

// take claims a secret, at once or not at all.
func (c *claims) take(name string) (release func(), ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[name] {
		return nil, false
	}
	if c.held == nil {
		c.held = map[string]bool{}
	}
	c.held[name] = true
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.held, name)
	}, true
}

// Claim claims a secret, by name or ARN, within this process: AWS has no leases.
// Rotators of other processes that race with this one make the version id that
// this one makes, and go on with the value that was there first. Errors: Conflict
// while this process rotates it already; ResourceNotFoundException; Invalid for
// one that AWS itself rotates, that is marked for deletion, managed by a service,
// or a replica.
func (s *Store) Claim(ctx context.Context, id string) (*Claim, error) {
	return s.claim(ctx, id, "", "")
}

// ClaimVersion is Claim for one step of a rotation that AWS Secrets Manager
// drives: the pending version has that id whatever else there is, and
// rotationToken goes with its value. RotationEnabled and AWSPENDING are the
// caller's to check, see Claim.Enabled.
func (s *Store) ClaimVersion(ctx context.Context, id, versionID, rotationToken string) (*Claim, error) {
	if err := secrets.ValidateVersionID(versionID); err != nil {
		return nil, secrets.At(err, nameOf(id), "", "")
	}
	return s.claim(ctx, id, versionID, rotationToken)
}

func (s *Store) claim(ctx context.Context, id, versionID, rotationToken string) (_ *Claim, err error) {
	meant, err := secrets.ParseID(id)
	if err != nil {
		return nil, err
	}
	release, ok := s.claims.take(meant.ARN.Name)
	if !ok {
		e := secrets.Errorf(secrets.Conflict, "this process (%d) is rotating it already", os.Getpid()).
			WithHint("wait until that rotation ends")
		return nil, secrets.At(e, meant.ARN.Name, "", "")
	}
	defer func() {
		if err != nil {
			release()
		}
	}()
	r, err := s.find(ctx, id)
	if err != nil {
		return nil, s.unclaimed(id, err)
	}
	asked := *r
	if versionID != "" {
		asked.enabled = false // that AWS rotates it is how the caller came here
	}
	if err = s.leftAlone(&asked); err == nil {
		err = s.recall(ctx, &asked)
	}
	var rotation secrets.Rotation
	if err == nil {
		rotation, err = s.rotation(&asked)
	}
	if err != nil {
		s.learn(r)
		return nil, secrets.At(err, r.ARN.Name, "", "")
	}
	return &Claim{
		s: s, arn: r.ARN, id: r.ARN.String(), versionID: versionID, rotationToken: rotationToken,
		rotation: rotation, release: release, rec: *r, fresh: true,
		values: map[string]secrets.Value{}, made: datesOf(r.Versions),
	}, nil
}

// find reads what there is to know of a secret but its values.
func (s *Store) find(ctx context.Context, id string) (*record, error) {
	out, err := s.api.describe(ctx, id)
	if err != nil {
		return nil, err
	}
	r, err := described(out)
	if err != nil {
		return nil, secrets.At(err, nameOf(id), "", s.api.server)
	}
	s.kept.lay(r)
	return r, nil
}

// Claim is the right to rotate one secret in this process, until Release. It is
// the scheduler's Claim and the rotator's Vault. A label is moved only from where
// it was seen: where it is no more, the secret is read again, and unless it is
// where it should be the answer is Conflict.
//
// AWS can't promote and see whether AWSPENDING is still there in one call.
// Promote therefore moves AWSCURRENT first and takes AWSPENDING off after; where
// that was gone, another rotator gave the version up meanwhile, and the error is
// rotator.ErrGivenUp.
//
// Requests of a clean rotation of a single user: DescribeSecret, GetSecretValue,
// PutSecretValue, and UpdateSecretVersionStage twice.
type Claim struct {
	s             *Store
	arn           secrets.ARN
	id            string // the ARN as a text
	versionID     string // that AWS's rotation makes; "" = this is none
	rotationToken string
	rotation      secrets.Rotation

	mu      sync.Mutex
	release func() // nil once released
	rec     record // as it was last seen, with what this claim has done since
	fresh   bool   // read at the claim, and nobody has asked for the versions yet
	values  map[string]secrets.Value
	made    map[string]time.Time // when versions were made, as far as that is known
	tried   struct {             // the last derived id that PutPending used
		current string
		n       int
	}
}

// ARN returns the secret's.
func (c *Claim) ARN() secrets.ARN { return c.arn }

// Rotation returns the rules and the history as they were at the claim.
func (c *Claim) Rotation() secrets.Rotation { return c.rotation }

// Enabled reports whether AWS's own rotation is on; configured is false where it
// never was.
func (c *Claim) Enabled() (enabled, configured bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.enabled, c.rec.configured
}

// Tag returns the value of one of the secret's tags, "" for none.
func (c *Claim) Tag(key string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.tag(key)
}

// Release gives the claim up. Further calls do nothing.
func (c *Claim) Release() {
	c.mu.Lock()
	release, rec := c.release, c.rec
	c.release = nil
	rec.Versions = c.dated()
	current, known := c.values[rec.Versions.IDWith(secrets.Current)]
	clear(c.values)
	c.mu.Unlock()
	if release == nil {
		return
	}
	if c.versionID == "" { // what AWS drives is on nobody's list here
		c.s.learn(&rec)
		if known {
			c.s.located(c.arn, c.rotation.Rules, current)
		}
	}
	release()
}

// datesOf are when versions were made, as far as it is known.
func datesOf(vs secrets.Versions) map[string]time.Time {
	made := map[string]time.Time{}
	for _, v := range vs {
		if !v.Created.IsZero() {
			made[v.ID] = v.Created
		}
	}
	return made
}

// dated are the versions with the dates that are known of them. c.mu is held.
func (c *Claim) dated() secrets.Versions {
	vs := make(secrets.Versions, 0, len(c.rec.Versions))
	for _, v := range c.rec.Versions {
		if at := c.made[v.ID]; !at.IsZero() {
			v.Created = at
		}
		vs = append(vs, v)
	}
	return vs
}

// Versions reads the versions and their labels afresh; the first call has them
// from the claim itself. Versions that have no label are not among them; when one
// was made is known only of those whose value this claim has read or put.
func (c *Claim) Versions(ctx context.Context) (secrets.Versions, error) {
	if err := c.held(); err != nil {
		return nil, err
	}
	c.mu.Lock()
	fresh := c.fresh
	c.fresh = false
	c.mu.Unlock()
	if !fresh {
		if err := c.look(ctx); err != nil {
			return nil, err
		}
	}
	if err := c.markEmpty(ctx); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.dated(), nil
}

// markEmpty finds out of a version that may be empty whether it is: only its
// value tells. What has the Intent was put with a value, and what is or was
// AWSCURRENT has one.
func (c *Claim) markEmpty(ctx context.Context) error {
	c.mu.Lock()
	v, ok := c.rec.Versions.With(secrets.Pending)
	_, read := c.values[v.ID]
	c.mu.Unlock()
	if !ok || read || v.Has(secrets.Intent) || v.Has(secrets.Current) || v.Has(secrets.Previous) {
		return nil
	}
	got, err := c.s.api.value(ctx, c.id, v.ID)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil:
		c.keep(got)
		return nil
	case secrets.CodeOf(err) == resourceNotFound:
		for i := range c.rec.Versions {
			if c.rec.Versions[i].ID == v.ID {
				c.rec.Versions[i].Empty = true
			}
		}
		return nil
	}
	return err
}

// keep remembers what was read. c.mu is held.
func (c *Claim) keep(v *version) {
	c.values[v.ID], c.made[v.ID] = v.value, v.Created
}

// A version that another rotator has just put may be unreadable for a moment:
// that long the readings of its value wait for it.
const (
	readTries = 4
	readWait  = 100 * time.Millisecond // before the second; doubled for each further one
)

// Value reads a version's value; zero for one that is still empty. What this
// claim put or read before comes from memory.
func (c *Claim) Value(ctx context.Context, versionID string) (secrets.Value, error) {
	if err := c.held(); err != nil {
		return secrets.Value{}, err
	}
	c.mu.Lock()
	v, known := c.values[versionID]
	seen, _ := c.rec.Versions.Find(versionID)
	c.mu.Unlock()
	if known || seen.Empty {
		return v, nil
	}
	got, err := c.s.api.value(ctx, c.id, versionID)
	if secrets.CodeOf(err) == resourceNotFound {
		// Is the secret gone, or the version, or is it empty?
		if err := c.look(ctx); err != nil {
			return secrets.Value{}, err
		}
		c.mu.Lock()
		seen, known = c.rec.Versions.Find(versionID)
		c.mu.Unlock()
		switch {
		case !known:
			return secrets.Value{}, c.moved("version %s is gone", versionID)
		case !seen.Has(secrets.Intent) && !seen.Has(secrets.Current) && !seen.Has(secrets.Previous):
			return secrets.Value{}, nil
		}
		got, err = c.readSoon(ctx, versionID)
	}
	if err != nil {
		return secrets.Value{}, c.lost(ctx, err)
	}
	if seen.Has(secrets.Current) {
		c.s.located(c.arn, c.rotation.Rules, got.value)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(got)
	return got.value, nil
}

// readSoon reads a value that is there, as labels or a refusal have shown, though
// it may not be readable yet. Errors: Transient where it is not for longer.
func (c *Claim) readSoon(ctx context.Context, versionID string) (*version, error) {
	for try := 0; ; try++ {
		got, err := c.s.api.value(ctx, c.id, versionID)
		if err == nil || secrets.CodeOf(err) != resourceNotFound {
			return got, err
		}
		if try == readTries-1 {
			e := secrets.Errorf(secrets.Transient, "version %s is there, but its value can't be read yet", versionID)
			return nil, secrets.At(e, c.arn.Name, "", c.s.api.server)
		}
		if err := nap(ctx, readWait<<try); err != nil {
			return nil, err
		}
	}
}

// look reads the secret afresh. Errors: Conflict where it is gone.
func (c *Claim) look(ctx context.Context) error {
	r, err := c.s.find(ctx, c.id)
	if secrets.CodeOf(err) == resourceNotFound {
		return c.deleted()
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rec, c.fresh = *r, false
	return nil
}

// labels are the versions as last seen.
func (c *Claim) labels() secrets.Versions {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rec.Versions
}

// place notes that a label is on a version now, or on none.
func (c *Claim) place(label, versionID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.rec.Versions.Find(versionID); !ok && versionID != "" {
		c.rec.Versions = append(c.rec.Versions[:len(c.rec.Versions):len(c.rec.Versions)], secrets.Version{ID: versionID})
	}
	// That there are too many labels is AWS's to say.
	if vs, _ := c.rec.Versions.Move(label, versionID); vs != nil {
		c.rec.Versions = vs
	}
}

func (c *Claim) held() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.release == nil {
		return c.moved("the claim on it was released")
	}
	return nil
}

// lost makes a Conflict of a secret that ended under the claim.
func (c *Claim) lost(ctx context.Context, err error) error {
	switch secrets.CodeOf(err) {
	case resourceNotFound:
		return c.deleted()
	case invalidRequest:
		// What a secret that is marked for deletion refuses, and other things.
		if lerr := c.look(ctx); lerr != nil && secrets.KindOf(lerr) == secrets.Conflict {
			return lerr
		}
		c.mu.Lock()
		marked := !c.rec.Deleted.IsZero()
		c.mu.Unlock()
		if marked {
			e := secrets.Errorf(secrets.Conflict, "it was marked for deletion while it was being rotated").
				WithHint("bring it back: aws secretsmanager restore-secret --secret-id %s --region %s", c.arn.Name, c.arn.Region)
			return secrets.At(e, c.arn.Name, "", "")
		}
	}
	return secrets.At(err, c.arn.Name, "", "")
}

func (c *Claim) deleted() error { return c.moved("it was deleted while it was being rotated") }

func (c *Claim) moved(format string, args ...any) error {
	return secrets.At(secrets.Errorf(secrets.Conflict, format, args...), c.arn.Name, "", "")
}
