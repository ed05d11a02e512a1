package service_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/teststore"
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

// counted is the real store; it counts the writes that changed something, and
// can do something right before the next one.
type counted struct {
	service.Store
	writes  atomic.Int64
	pending func()
}

func (c *counted) Update(ctx context.Context, arn secrets.ARN, change changer) (*service.Secret, error) {
	return c.count(func(change changer) (*service.Secret, error) { return c.Store.Update(ctx, arn, change) }, change)
}

func (c *counted) Lock(ctx context.Context, arn secrets.ARN) (service.Lease, error) {
	lease, err := c.Store.Lock(ctx, arn)
	if err != nil {
		return nil, err
	}
	return leaseOf{lease, c.count}, nil
}

func (c *counted) count(update updater, change changer) (*service.Secret, error) {
	if before := c.pending; before != nil {
		c.pending = nil
		before()
	}
	sec, err := update(change)
	if err == nil {
		c.writes.Add(1)
	}
	return sec, err
}

type (
	changer = func(*service.Secret) (service.Sealed, error)
	updater = func(changer) (*service.Secret, error)
)

// leaseOf is a claim whose updates have something of its store's around them.
type leaseOf struct {
	service.Lease
	around func(updater, changer) (*service.Secret, error)
}

func (l leaseOf) Update(ctx context.Context, change changer) (*service.Secret, error) {
	return l.around(func(change changer) (*service.Secret, error) { return l.Lease.Update(ctx, change) }, change)
}

func TestMain(m *testing.M) { os.Exit(teststore.Main(m)) }

// house is a Service over a real store of its own.
type house struct {
	*service.Service
	t      testing.TB
	store  *counted
	file   teststore.Store // under it
	clock  *clock
	master *seal.Master
	keys   service.Sealer // with every key that somebody names
}

func open(t testing.TB, config service.Config) *house {
	t.Helper()
	store := teststore.New(t).Open(t)
	master, err := seal.Source{File: teststore.KeyFile(t)}.Load(t.Context(), os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{
		t: t, store: &counted{Store: store}, file: store, master: master,
		clock: &clock{t: time.Date(2026, 3, 4, 10, 20, 30, 0, time.UTC)}, // a Wednesday
	}
	h.keys = seal.New(seal.Config{Master: master, Store: store, CreateMissing: true, Now: h.clock.now})
	config.Store, config.Sealer, config.Now = h.store, h.keys, h.clock.now
	h.Service = service.New(config)
	return h
}

// tok makes a ClientRequestToken from a short name.
func tok(name string) string { return name + strings.Repeat(".", secrets.MinVersionIDLen-len(name)) }

func short(id string) string { return strings.TrimRight(id, ".") }

func (h *house) create(name string, value string) string {
	h.t.Helper()
	out, err := h.CreateSecret(h.t.Context(), service.CreateSecretInput{
		Name: name, ClientRequestToken: tok("v1"), GivenValue: service.Give(secrets.Text(value)),
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out.ARN
}

func (h *house) put(name, token string, stages ...string) {
	h.t.Helper()
	_, err := h.PutSecretValue(h.t.Context(), service.PutSecretValueInput{
		SecretID: name, ClientRequestToken: tok(token), GivenValue: service.Give(secrets.Text("value of " + token)), VersionStages: stages,
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) record(name string) *service.Secret {
	h.t.Helper()
	id := secrets.ID{ByName: true, ARN: secrets.ARN{Partition: "aws", Region: "us-east-1", Account: "123456789012", Name: name}}
	sec, err := h.store.Find(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return sec
}

// emptyVersion makes a version without a value, as a rotation function's does.
func (h *house) emptyVersion(name, token string, stages ...string) {
	h.t.Helper()
	_, err := h.store.Update(h.t.Context(), h.record(name).ARN, func(sec *service.Secret) (_ service.Sealed, err error) {
		sec.Versions, err = sec.Versions.Put(secrets.Version{ID: tok(token), Created: h.clock.now(), Empty: true}, stages)
		return nil, err
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) value(name, token string) string {
	h.t.Helper()
	out, err := h.GetSecretValue(h.t.Context(), service.GetSecretValueInput{SecretID: name, VersionID: tok(token)})
	if err != nil {
		h.t.Fatal(err)
	}
	return string(out.Value.Reveal())
}

// labels renders where the labels are: "v1[AWSPREVIOUS] v2[AWSCURRENT]".
func (h *house) labels(name string) string {
	h.t.Helper()
	return render(h.record(name).Versions)
}

func render(vs secrets.Versions) string {
	var out []string
	for _, v := range vs {
		out = append(out, fmt.Sprintf("%s%v", short(v.ID), v.Labels))
	}
	return strings.Join(out, " ")
}

// wantErr checks AWS's exception and its very text.
func wantErr(t testing.TB, err error, code, text string) {
	t.Helper()
	var e *secrets.Error
	if !errors.As(err, &e) || e.Code != code || e.Err.Error() != text {
		t.Errorf("got  %v (code %s)\nwant %s: %s", err, secrets.CodeOf(err), code, text)
	}
}

func wantKind(t testing.TB, err error, kind secrets.Kind, part string) {
	t.Helper()
	if err == nil || secrets.KindOf(err) != kind || !strings.Contains(err.Error(), part) {
		t.Errorf("got %v (%s), want %s with %q", err, secrets.KindOf(err), kind, part)
	}
}

const (
	notFoundText = "Secrets Manager can't find the specified secret."
	deletedText  = "You can't perform this operation on the secret because it was marked for deletion."
	nameText     = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"
	tokenText    = "You must provide a ClientRequestToken value. We recommend a UUID-type value."
	bothText     = "You can't specify both a binary secret value and a string secret value in the same secret."
)

// call is one operation on a SecretId.
type call struct {
	name  string
	do    func(h *house, id string) error
	alive bool // refuses a secret that is marked for deletion
}

func second[A any](_ A, err error) error { return err }

func calls() []call {
	ctx := context.Background()
	return []call{
		{"GetSecretValue", func(h *house, id string) error {
			return second(h.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: id}))
		}, true},
		{"PutSecretValue", func(h *house, id string) error {
			return second(h.PutSecretValue(ctx, service.PutSecretValueInput{SecretID: id, ClientRequestToken: tok("any"), GivenValue: service.Give(secrets.Text("x"))}))
		}, true},
		{"UpdateSecret", func(h *house, id string) error {
			return second(h.UpdateSecret(ctx, service.UpdateSecretInput{SecretID: id, ClientRequestToken: tok("some"), Description: new("x")}))
		}, true},
		{"UpdateSecretVersionStage", func(h *house, id string) error {
			return second(h.UpdateSecretVersionStage(ctx, service.UpdateSecretVersionStageInput{SecretID: id, VersionStage: "X", MoveToVersionID: tok("v1")}))
		}, true},
		{"DescribeSecret", func(h *house, id string) error {
			return second(h.DescribeSecret(ctx, service.DescribeSecretInput{SecretID: id}))
		}, false},
		{"ListSecretVersionIds", func(h *house, id string) error {
			return second(h.ListSecretVersionIDs(ctx, service.ListSecretVersionIDsInput{SecretID: id}))
		}, false},
		{"TagResource", func(h *house, id string) error {
			return h.TagResource(ctx, service.TagResourceInput{SecretID: id, Tags: []service.Tag{{Key: "k", Value: "v"}}})
		}, true},
		{"UntagResource", func(h *house, id string) error {
			return h.UntagResource(ctx, service.UntagResourceInput{SecretID: id, TagKeys: []string{"k"}})
		}, true},
		{"Credentials", func(h *house, id string) error {
			_, _, err := h.Credentials(ctx, id)
			return err
		}, true},
		{"Claim", func(h *house, id string) error {
			c, err := h.Claim(ctx, id)
			if err == nil {
				c.Release()
			}
			return err
		}, true},
		{"RotateSecret", func(h *house, id string) error {
			return second(h.RotateSecret(ctx, service.RotateSecretInput{
				SecretID: id, ClientRequestToken: tok("r1"), RotationLambdaARN: "arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user",
			}))
		}, true},
		{"CancelRotateSecret", func(h *house, id string) error {
			return second(h.CancelRotateSecret(ctx, service.CancelRotateSecretInput{SecretID: id}))
		}, true},
		{"StartRotation", func(h *house, id string) error {
			return second(h.StartRotation(ctx, service.StartRotationInput{SecretID: id, ClientRequestToken: tok("r1")}))
		}, true},
		{"PutResourcePolicy", func(h *house, id string) error { return putPolicy(h.Service, id, sharePolicy, nil) }, true},
		{"GetResourcePolicy", func(h *house, id string) error {
			return second(h.GetResourcePolicy(ctx, service.GetResourcePolicyInput{SecretID: id}))
		}, true},
		{"DeleteResourcePolicy", func(h *house, id string) error {
			return second(h.DeleteResourcePolicy(ctx, service.DeleteResourcePolicyInput{SecretID: id}))
		}, true},
		{"DeleteSecret", func(h *house, id string) error {
			return second(h.DeleteSecret(ctx, service.DeleteSecretInput{SecretID: id}))
		}, true},
		{"RestoreSecret", func(h *house, id string) error {
			return second(h.RestoreSecret(ctx, service.RestoreSecretInput{SecretID: id}))
		}, false},
	}
}

func TestEveryOperationFindsItsSecret(t *testing.T) {
	for _, c := range calls() {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, service.Config{})
			wantErr(t, c.do(h, "nowhere"), "ResourceNotFoundException", notFoundText)
			wantErr(t, c.do(h, "arn:aws:secretsmanager:us-east-1:123456789012:secret:nowhere-AbCdEf"), "ResourceNotFoundException", notFoundText)
			wantErr(t, c.do(h, "no such*name"), "ValidationException", nameText)
			wantErr(t, c.do(h, ""), "ValidationException", "1 validation error detected: Value null at 'secretId' failed to satisfy constraint: Member must not be null")
			arn := h.create("db-a1b2c3", `{"username":"u"}`)
			partial := arn[:len(arn)-7]
			wantErr(t, c.do(h, partial), "ResourceNotFoundException", notFoundText) // its end reads as a suffix
			wantErr(t, c.do(h, strings.Replace(arn, "us-east-1", "eu-west-1", 1)), "ResourceNotFoundException", notFoundText)
			wantErr(t, c.do(h, strings.ToUpper("db-a1b2c3")), "ResourceNotFoundException", notFoundText)
			for i, id := range []string{"db-a1b2c3", arn} {
				if i == 1 && c.name == "DeleteSecret" {
					break
				}
				if err := c.do(h, id); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			}
			arn = h.create("team/plain", `{"username":"u"}`)
			if err := c.do(h, arn[:len(arn)-7]); err != nil {
				t.Errorf("by partial ARN: %v", err)
			}
		})
	}
}

func TestASecretMarkedForDeletion(t *testing.T) {
	for _, c := range calls() {
		t.Run(c.name, func(t *testing.T) {
			h := open(t, service.Config{})
			h.create("s", `{"username":"u"}`)
			// Whether it was marked before the call or while it looked.
			mark := func() {
				if _, err := h.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s"}); err != nil {
					t.Error(err)
				}
			}
			if c.alive && c.name != "GetSecretValue" && c.name != "GetResourcePolicy" && c.name != "Credentials" && c.name != "Claim" {
				h.store.pending = mark
				wantErr(t, c.do(h, "s"), "InvalidRequestException", deletedText)
			} else {
				mark()
			}
			if c.alive {
				wantErr(t, c.do(h, "s"), "InvalidRequestException", deletedText)
			} else if err := c.do(h, "s"); err != nil {
				t.Error(err)
			}
			if c.name == "RestoreSecret" {
				return
			}
			h.clock.add(30 * 24 * time.Hour)
			wantErr(t, c.do(h, "s"), "ResourceNotFoundException", notFoundText)
		})
	}
}

// readOnly is a store on a disk that can't be written to.
type readOnly struct{ service.Store }

func (readOnly) Update(context.Context, secrets.ARN, func(*service.Secret) (service.Sealed, error)) (*service.Secret, error) {
	return nil, secrets.Errorf(secrets.Invalid, "%w", os.ErrPermission)
}

// pruned is a store whose versions are gone by the time they are read.
type pruned struct{ service.Store }

func (pruned) Value(context.Context, secrets.ARN, string) ([]byte, error) {
	return nil, service.ErrNotFound
}

// locking is a store that somebody else changes right after the lock.
type locking struct {
	service.Store
	then func()
}

func (l *locking) Lock(ctx context.Context, arn secrets.ARN) (service.Lease, error) {
	lease, err := l.Store.Lock(ctx, arn)
	l.then()
	return lease, err
}

// thorough: PAWL_THOROUGH is set, as `make soak` does. Without it the longest
// tests run a part of their cases, another one each time.
var thorough = os.Getenv("PAWL_THOROUGH") != ""

var turn = mathrand.IntN(1 << 20)

// chosen picks every n-th case for this run.
func chosen(i, n int) bool { return thorough || (i+turn)%n == 0 }

// fewerChecks has the property test t make n checks.
func fewerChecks(t *testing.T, n int) {
	f := flag.Lookup("rapid.checks")
	if was := f.Value.String(); !thorough && was == f.DefValue {
		t.Cleanup(func() { _ = f.Value.Set(was) })
		if err := f.Value.Set(strconv.Itoa(n)); err != nil {
			t.Fatal(err)
		}
	}
}
