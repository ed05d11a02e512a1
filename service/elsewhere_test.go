package service_test

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

func TestAReplicaOnAnotherServer(t *testing.T) {
	p, ctx := openPair(t), t.Context()
	must(t, make1(p.us.Service, "s", "v1", "eu-west-1"))
	p.wantStatus(t, "s", service.InProgress, "")
	if n := p.toEU.took(); n != 0 {
		t.Errorf("the writer waited for %d requests", n)
	}
	select {
	case <-p.us.Lagging():
	default:
		t.Error("nobody was told that there is something to follow")
	}
	p.follow(t)
	p.wantStatus(t, "s", service.InSync, "Replication succeeded")
	p.wantEqual(t, "s")
	p.toEU.took()
	for _, c := range []struct {
		name     string
		do       func() error
		requests int
		values   int // sent along
	}{
		{"a new value", func() error { return put(p.us.Service, "s", "v2") }, 2, 1},
		{"a value without labels of AWS's", func() error { return put(p.us.Service, "s", "v3", "MINE") }, 2, 1},
		{"a label", func() error {
			return second(p.us.UpdateSecretVersionStage(ctx, service.UpdateSecretVersionStageInput{SecretID: "s", VersionStage: secrets.Current, MoveToVersionID: tok("v1"), RemoveFromVersionID: tok("v2")}))
		}, 1, 0},
		{"tags", func() error {
			return p.us.TagResource(ctx, service.TagResourceInput{SecretID: "s", Tags: []service.Tag{{Key: "k", Value: "v"}, {Key: "empty"}}})
		}, 1, 0},
		{"no tags", func() error {
			return p.us.UntagResource(ctx, service.UntagResourceInput{SecretID: "s", TagKeys: []string{"k", "empty"}})
		}, 1, 0},
		{"a policy", func() error { return putPolicy(p.us.Service, "s", sharePolicy, nil) }, 1, 0},
		{"a description", func() error {
			return second(p.us.UpdateSecret(ctx, service.UpdateSecretInput{SecretID: "s", ClientRequestToken: tok("d"), Description: new("what it is")}))
		}, 1, 0},
		{"an empty version", func() error {
			return second(service.Change(p.us.Service, ctx, p.primary(t, "s").ARN, func(sec *service.Secret) (_ service.Sealed, err error) {
				sec.Versions, err = sec.Versions.Put(secrets.Version{ID: tok("e"), Created: p.us.clock.now(), Empty: true}, []string{secrets.Pending})
				return nil, err
			}))
		}, 1, 0},
		{"a binary value", func() error {
			return second(p.us.PutSecretValue(ctx, service.PutSecretValueInput{SecretID: "s", ClientRequestToken: tok("b"), GivenValue: service.Give(secrets.Binary([]byte{0, 255, '"'}))}))
		}, 2, 1},
		{"another key", func() error {
			return second(p.us.ReplicateSecretToRegions(ctx, service.ReplicateSecretToRegionsInput{SecretID: "s", AddReplicaRegions: []service.ReplicaRegionType{{Region: "eu-west-1", KmsKeyID: "alias/theirs"}}}))
		}, 2, 4},
	} {
		p.us.clock.add(time.Second)
		must(t, c.do())
		p.follow(t)
		values := 0
		for _, in := range p.toEU.applied {
			for _, v := range in.Versions {
				if !v.SecretString.IsZero() || !v.SecretBinary.IsZero() {
					values++
				}
			}
		}
		if n := p.toEU.took(); n != c.requests || values != c.values {
			t.Errorf("%s: %d requests with %d values, want %d with %d", c.name, n, values, c.requests, c.values)
		}
		p.wantStatus(t, "s", service.InSync, "")
		p.wantEqual(t, "s")
	}
	if v, _ := p.replica(t, "s").Versions.Find(tok("b")); v.KeyID != "alias/theirs" {
		t.Errorf("the replica is under %q", v.KeyID)
	}
	// There it is a replica like any other, for as long as its server lives.
	wantErr(t, put(p.eu.Service, "s", "v9"), "InvalidParameterException", replicaText)
	p.eu.clock.add(24 * time.Hour)
	p.follow(t)
	p.wantEqual(t, "s")
	must(t, remove(p.us.Service, "s", "eu-west-1"))
	p.follow(t)
	if p.replica(t, "s") != nil || len(p.primary(t, "s").Replicas) > 0 {
		t.Error("the replica is still there")
	}
	must(t, second(p.us.DeleteSecret(ctx, service.DeleteSecretInput{SecretID: "s"})))
}

// What is too large for one request comes in several, and until the last of them
// the replica stays what it was.
func TestManyLargeValues(t *testing.T) {
	p := openPair(t)
	must(t, make1(p.us.Service, "s", "v1", "eu-west-1"))
	p.follow(t)
	p.toEU.took()
	const n = 12
	for i := range n {
		large := strings.Repeat("\x01", secrets.MaxValueBytes) // each byte is six on the wire
		if i%2 == 0 {
			large = strings.Repeat("x", secrets.MaxValueBytes)
		}
		must(t, second(p.us.PutSecretValue(t.Context(), service.PutSecretValueInput{
			SecretID: "s", ClientRequestToken: tok(fmt.Sprint("large", i)), GivenValue: service.Give(secrets.Text(large)), VersionStages: []string{fmt.Sprint("L", i)},
		})))
	}
	p.follow(t)
	p.wantStatus(t, "s", service.InSync, "")
	p.wantEqual(t, "s")
	parts := 0
	for _, in := range p.toEU.applied {
		if in.Part {
			parts++
		}
	}
	if parts < n/2-1 || p.toEU.took() != parts+2 {
		t.Errorf("%d parts", parts)
	}
}

func TestReplicasThatCannotBe(t *testing.T) {
	for _, c := range []struct {
		name  string
		there func(t *testing.T, p *pair)
		add   service.ReplicaRegionType
		force bool
		want  string // "" = it can
	}{
		{"name taken", func(t *testing.T, p *pair) { must(t, make1(p.eu.Service, "s", "other")) }, service.ReplicaRegionType{}, false, takenText},
		{"name taken, by force", func(t *testing.T, p *pair) { must(t, make1(p.eu.Service, "s", "other")) }, service.ReplicaRegionType{}, true, ""},
		{"marked for deletion", func(t *testing.T, p *pair) {
			must(t, make1(p.eu.Service, "s", "other"))
			must(t, second(p.eu.DeleteSecret(t.Context(), service.DeleteSecretInput{SecretID: "s"})))
		}, service.ReplicaRegionType{}, false, takenText},
		{"no such key", func(_ *testing.T, p *pair) {
			p.toEU.to = service.New(service.Config{Store: p.eu.store, Sealer: seal.New(seal.Config{Master: p.eu.master, Store: p.eu.file}), Now: p.eu.clock.now, Region: "eu-west-1"})
		}, service.ReplicaRegionType{KmsKeyID: "alias/none"}, false, "Replication failed: "},
		{"key of another region", func(*testing.T, *pair) {}, service.ReplicaRegionType{KmsKeyID: "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"}, false,
			"Replication failed: The operation failed because of an invalid KMS key: Invalid arn us-east-1"},
		{"another account", func(_ *testing.T, p *pair) {
			p.toEU.to = p.eu.As(service.Caller{Region: "eu-west-1", Account: "999999999999"})
		}, service.ReplicaRegionType{}, false, "Replication failed: The secret is of account 123456789012, and the access key of account 999999999999: replication needs a key of the secret's account."},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := openPair(t)
			must(t, make1(p.us.Service, "s", "v1"))
			c.there(t, p)
			before := p.replica(t, "s")
			c.add.Region = "eu-west-1"
			must(t, second(p.us.ReplicateSecretToRegions(t.Context(), service.ReplicateSecretToRegionsInput{
				SecretID: "s", AddReplicaRegions: []service.ReplicaRegionType{c.add}, ForceOverwriteReplicaSecret: c.force,
			})))
			p.follow(t)
			if c.want == "" {
				p.wantStatus(t, "s", service.InSync, "")
				p.wantEqual(t, "s")
				return
			}
			p.wantStatus(t, "s", service.Failed, c.want)
			if diff := cmp.Diff(before, p.replica(t, "s")); diff != "" {
				t.Error(diff)
			}
			// By itself it is not tried again.
			must(t, put(p.us.Service, "s", "v2"))
			p.toEU.took()
			p.us.clock.add(time.Hour)
			p.follow(t)
			if n := p.toEU.took(); n != 0 {
				t.Errorf("%d more requests", n)
			}
		})
	}
}

// While a server is away one request in a while asks for it, however many secrets
// wait; and when it is back they all catch up at once.
func TestAnOutageIsNoticedOnce(t *testing.T) {
	p := openPair(t)
	const n = 300
	for i := range n {
		must(t, make1(p.us.Service, fmt.Sprint("s", i), "v1", "eu-west-1"))
	}
	p.toEU.cut = errCut
	p.follow(t)
	if first := p.toEU.took(); first > 32 {
		t.Errorf("%d requests before it was known", first)
	}
	p.wantStatus(t, "s0", service.InProgress, "Replication is behind: connection refused, since 2026-03-04 10:20:30 UTC")
	for range 10 {
		must(t, put(p.us.Service, "s7", fmt.Sprint("w", p.us.clock.now().Unix())))
		p.us.clock.add(5 * time.Second)
		p.follow(t)
		if again := p.toEU.took(); again != 1 {
			t.Fatalf("%d requests while it is away", again)
		}
	}
	// One that refuses the key is not hammered.
	p.toEU.set(func() {
		p.toEU.cut = &secrets.Error{Kind: secrets.Denied, Code: "UnrecognizedClientException", Err: errors.New("the key is not valid")}
	})
	asked := 0
	for range 24 {
		p.us.clock.add(5 * time.Second)
		p.follow(t)
		asked += p.toEU.took()
	}
	if asked < 2 || asked > 3 {
		t.Errorf("asked %d times in two minutes", asked)
	}
	p.toEU.set(func() { p.toEU.cut = nil })
	p.us.clock.add(time.Minute)
	p.follow(t)
	// On a machine that has much to do some did not get a place in time.
	for i := range n {
		for try := 0; try < 10; try++ {
			if s, _ := p.status(t, fmt.Sprint("s", i)); s == service.InSync {
				break
			}
			p.us.clock.add(10 * time.Second)
			p.follow(t)
		}
		if s, m := p.status(t, fmt.Sprint("s", i)); s != service.InSync {
			t.Fatalf("s%d is %s: %s", i, s, m)
		}
	}
	p.wantEqual(t, "s7")
	if got := len(p.known.heard); got != 2 || p.known.heard[1] != "eu-west-1 <nil>" {
		t.Errorf("heard %q", p.known.heard)
	}
	// Replaced by the configuration it is asked at once.
	p.toEU.set(func() { p.toEU.cut = errCut })
	must(t, put(p.us.Service, "s0", "v2"))
	p.follow(t)
	p.wantStatus(t, "s0", service.InProgress, "since")
	p.known.mu.Lock()
	p.known.to["eu-west-1"] = &way{to: p.eu.Service, calls: map[string]int{}}
	p.known.mu.Unlock()
	p.follow(t)
	p.wantStatus(t, "s0", service.InSync, "")
}

// A process that starts looks at what others put off before it.
func TestANewProcessCatchesUp(t *testing.T) {
	p := openPair(t)
	must(t, make1(p.us.Service, "s", "v1", "eu-west-1"))
	p.toEU.cut = errCut
	p.follow(t)
	p.toEU.set(func() { p.toEU.cut = nil })
	started := service.New(service.Config{Store: p.us.store, Sealer: p.us.keys, Now: p.us.clock.now, Regions: p.known})
	must(t, started.Follow(t.Context(), p.us.clock.now()))
	p.wantStatus(t, "s", service.InSync, "")
	p.wantEqual(t, "s")
}

// Only what is the matter with a secret alone waits for itself alone.
func TestARefusalIsOneSecretsAlone(t *testing.T) {
	p := openPair(t)
	must(t, make1(p.us.Service, "mine", "v1", "eu-west-1"))
	must(t, make1(p.us.Service, "theirs", "v1", "eu-west-1"))
	p.toEU.to = p.eu.As(service.Caller{Region: "eu-west-1", Account: service.DefaultAccount, Guard: refusing{"theirs"}})
	err := p.us.Follow(t.Context(), p.us.clock.now())
	wantKind(t, err, secrets.Denied, "not yours")
	p.wantStatus(t, "mine", service.InSync, "")
	p.wantStatus(t, "theirs", service.InProgress, "not yours")
	p.toEU.to = p.eu.Service
	p.us.clock.add(10 * time.Second)
	p.follow(t)
	p.wantStatus(t, "theirs", service.InSync, "")
}

// A server that answers and can't make one replica now, because a key of AWS KMS
// does not answer there perhaps, is not away: the others do not wait for that one.
func TestWhatOneReplicaLacksNowKeepsNobodyWaiting(t *testing.T) {
	p := openPair(t)
	must(t, make1(p.us.Service, "bad", "v1", "eu-west-1"))
	for i := range 5 {
		must(t, make1(p.us.Service, fmt.Sprint("s", i), "v1", "eu-west-1"))
	}
	p.toEU.fault = func(in any) error {
		if a, ok := in.(service.ApplyReplicaInput); ok && strings.Contains(a.SecretID, ":bad-") {
			return &secrets.Error{Kind: secrets.Transient, Code: "InternalServiceError", Err: errors.New("the key does not answer")}
		}
		return nil
	}
	err := p.us.Follow(t.Context(), p.us.clock.now())
	wantKind(t, err, secrets.Transient, "the key does not answer")
	p.wantStatus(t, "bad", service.InProgress, "the key does not answer")
	must(t, make1(p.us.Service, "later", "v1", "eu-west-1"))
	for _, name := range []string{"s0", "s1", "s2", "s3", "s4", "later"} {
		p.follow(t)
		p.wantStatus(t, name, service.InSync, "")
	}
	if len(p.known.heard) > 0 {
		t.Errorf("the log says %q", p.known.heard)
	}
	p.toEU.set(func() { p.toEU.fault = nil })
	p.us.clock.add(10 * time.Second)
	p.follow(t)
	p.wantStatus(t, "bad", service.InSync, "")
}

// refusing is a guard that refuses a secret.
type refusing struct{ name string }

func (r refusing) May(sec *service.Secret, id string) error { return r.MayDo("", sec, id) }
func (r refusing) MayDo(_ string, _ *service.Secret, id string) error {
	if strings.Contains(id, r.name) {
		return &secrets.Error{Kind: secrets.Denied, Code: "AccessDeniedException", Err: errors.New("not yours")}
	}
	return nil
}

func TestPromote(t *testing.T) {
	t.Run("the primary hears of it", func(t *testing.T) {
		p := openPair(t)
		must(t, make1(p.us.Service, "s", "v1", "eu-west-1"))
		p.follow(t)
		must(t, stop(p.eu.Service, "s"))
		if sec := p.replica(t, "s"); sec.PrimaryRegion != "" || p.eu.plain(t, sec.ARN, tok("v1")) != "value of v1" {
			t.Errorf("promoted: %+v", sec)
		}
		p.wantStatus(t, "s", "", "")
		must(t, put(p.eu.Service, "s", "there"))
		must(t, put(p.us.Service, "s", "here"))
		p.toEU.took()
		p.us.clock.add(time.Hour)
		p.follow(t)
		if n := p.toEU.took(); n != 0 {
			t.Errorf("the primary sent %d requests", n)
		}
	})
	for _, force := range []bool{false, true} {
		t.Run(fmt.Sprint("the primary is gone, and comes back, force ", force), func(t *testing.T) {
			p := openPair(t)
			must(t, make1(p.us.Service, "s", "v1", "eu-west-1"))
			if force {
				// It was never told that it succeeded, and so goes on to overwrite.
				must(t, remove(p.us.Service, "s", "eu-west-1"))
				p.follow(t)
				must(t, replicate(p.us.Service, "s", true, "eu-west-1"))
				p.toEU.lost = lostLast
			}
			p.follow(t)
			p.toEU.lost = nil
			p.toUS.cut = errCut
			must(t, stop(p.eu.Service, "s"))
			must(t, put(p.eu.Service, "s", "there"))
			p.us.clock.add(time.Hour)
			for i := range 3 {
				must(t, put(p.us.Service, "s", fmt.Sprint("here", i)))
			}
			p.follow(t)
			p.follow(t)
			p.wantStatus(t, "s", service.Failed, "was promoted in region eu-west-1")
			if got := p.replica(t, "s").Versions.IDWith(secrets.Current); short(got) != "there" {
				t.Errorf("the promoted secret has %s", short(got))
			}
			// Asking again does not change that.
			must(t, replicate(p.us.Service, "s", true, "eu-west-1"))
			p.follow(t)
			p.wantStatus(t, "s", service.Failed, "was promoted in region eu-west-1")
			must(t, remove(p.us.Service, "s", "eu-west-1"))
			p.follow(t)
			if p.replica(t, "s") == nil {
				t.Fatal("the promoted secret is gone")
			}
			// The other way round: the old primary becomes the replica.
			p.toUS.cut = nil
			p.eu.clock.add(time.Minute)
			p.follow(t)
			must(t, replicate(p.eu.Service, "s", true, "us-east-1"))
			p.follow(t)
			now := p.primary(t, "s")
			if now.PrimaryRegion != "eu-west-1" || p.us.content(t, now) != p.eu.content(t, p.replica(t, "s")) {
				t.Errorf("the old primary is %+v", now)
			}
		})
	}
}

// What arrives in parts does not pile up, however many there are of them.
func TestPartsDoNotPileUp(t *testing.T) {
	h := open(t, service.Config{Region: "eu-west-1"})
	in := service.ApplyReplicaInput{
		SecretID: "arn:aws:secretsmanager:eu-west-1:123456789012:secret:s-AbCdEf", PrimaryRegion: "us-east-1", Revision: 3, LastChangedDate: h.clock.now(),
	}
	apply := func() *service.ApplyReplicaOutput {
		t.Helper()
		out, err := h.ApplyReplica(t.Context(), in)
		if err != nil || out.Failed != "" {
			t.Fatalf("%+v, %v", out, err)
		}
		return out
	}
	in.Part = true
	for part := range 12 {
		in.Versions = nil
		for i := range secrets.MaxVersions {
			in.Versions = append(in.Versions, service.ReplicaVersion{VersionID: tok(fmt.Sprint(part, ".", i)), CreatedDate: h.clock.now(), GivenValue: service.Give(secrets.Text("x"))})
		}
		apply()
	}
	if n := len(h.find(t, service.DefaultAccount, "eu-west-1", "s").Versions); n > 8*secrets.MaxVersions {
		t.Errorf("it has %d versions", n)
	}
	in.Part, in.Versions = false, in.Versions[:1]
	in.Versions[0].VersionStages, in.Versions[0].GivenValue = []string{secrets.Current}, service.GivenValue{}
	if out := apply(); len(out.Missing) != 0 || len(h.find(t, service.DefaultAccount, "eu-west-1", "s").Versions) != 1 {
		t.Errorf("%+v", out)
	}
}

// What another server says is not taken at any length.
func TestALongRefusal(t *testing.T) {
	p := openPair(t)
	must(t, make1(p.us.Service, "s", "v1", "eu-west-1"))
	p.toEU.set(func() {
		p.toEU.fault = func(any) error {
			return &secrets.Error{Kind: secrets.Invalid, Code: "InvalidParameterException", Err: errors.New(strings.Repeat("no\n", 1<<20))}
		}
	})
	p.follow(t)
	if s, m := p.status(t, "s"); s != service.Failed || len(m) > 1100 || strings.Contains(m, "\n") {
		t.Errorf("%s, %d bytes", s, len(m))
	}
}

// Only a replica on another server can be forgotten: one in this store would be
// nobody's.
func TestForgetReplicaOfThisStore(t *testing.T) {
	h := open(t, service.Config{})
	must(t, make1(h.Service, "s", "v1", "eu-west-1"))
	must(t, h.Follow(t.Context(), h.clock.now()))
	_, err := h.ForgetReplica(t.Context(), service.ForgetReplicaInput{SecretID: "s", ReplicaRegion: "eu-west-1"})
	wantErr(t, err, "InvalidRequestException", "The replica in region eu-west-1 is on this server.")
	must(t, put(h.Service, "s", "v2"))
	must(t, h.Follow(t.Context(), h.clock.now()))
	if got := h.find(t, service.DefaultAccount, "eu-west-1", "s").Versions.IDWith(secrets.Current); short(got) != "v2" {
		t.Errorf("the replica has %s", short(got))
	}
}

// A primary that came out of an older backup does not overwrite what may be the
// only copy of a newer password.
func TestAPrimaryThatWentBack(t *testing.T) {
	p := openPair(t)
	must(t, make1(p.us.Service, "s", "v1", "eu-west-1"))
	p.follow(t)
	old := p.primary(t, "s").Revision
	must(t, put(p.us.Service, "s", "newer"))
	must(t, put(p.us.Service, "s", "newest"))
	p.follow(t)
	must(t, second(p.us.file.Update(t.Context(), p.primary(t, "s").ARN, func(sec *service.Secret) (service.Sealed, error) {
		sec.Revision = old
		sec.Versions = sec.Versions[:1]
		sec.Versions[0].Labels = []string{secrets.Current}
		return nil, nil
	})))
	must(t, put(p.us.Service, "s", "other"))
	p.follow(t)
	p.wantStatus(t, "s", service.Failed, "is of a later state than this secret")
	if got := p.replica(t, "s").Versions.IDWith(secrets.Current); short(got) != "newest" {
		t.Errorf("the replica has %s", short(got))
	}
	must(t, stop(p.eu.Service, "s"))
}

// Whatever arrives late does nothing.
func TestOldRevisionsNeverWin(t *testing.T) {
	p, ctx := openPair(t), t.Context()
	must(t, make1(p.us.Service, "s", "v1", "eu-west-1"))
	p.follow(t)
	for i := range 3 {
		must(t, put(p.us.Service, "s", fmt.Sprint("w", i)))
		p.follow(t)
	}
	all := slices.Clone(p.toEU.applied)
	for _, in := range all {
		for _, part := range []bool{false, true} {
			if in.Part = part; part {
				in.Versions = []service.ReplicaVersion{{VersionID: tok("late"), CreatedDate: p.us.clock.now(), GivenValue: service.Give(secrets.Text("late"))}}
			}
			if _, err := p.eu.ApplyReplica(ctx, in); err != nil {
				t.Error(err)
			}
		}
		if in.Revision == p.primary(t, "s").Revision {
			continue
		}
		if _, err := p.eu.RemoveReplica(ctx, service.RemoveReplicaInput{SecretID: in.SecretID, PrimaryRegion: "us-east-1", Revision: in.Revision}); err != nil {
			t.Error(err)
		}
	}
	for _, region := range []string{"ap-south-1"} { // another primary's
		if _, err := p.eu.RemoveReplica(ctx, service.RemoveReplicaInput{SecretID: all[0].SecretID, PrimaryRegion: region, Revision: 1 << 40}); err != nil {
			t.Error(err)
		}
	}
	p.wantEqual(t, "s")
}

// What no primary would send is refused.
func TestApplyReplicaRefuses(t *testing.T) {
	h := open(t, service.Config{Region: "eu-west-1"})
	const arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:s-AbCdEf"
	good := func() service.ApplyReplicaInput {
		return service.ApplyReplicaInput{SecretID: arn, PrimaryRegion: "us-east-1", Revision: 3, LastChangedDate: h.clock.now(), Versions: []service.ReplicaVersion{
			{VersionID: tok("v1"), VersionStages: []string{secrets.Current}, CreatedDate: h.clock.now(), GivenValue: service.Give(secrets.Text("x"))},
		}}
	}
	for name, change := range map[string]func(in *service.ApplyReplicaInput){
		"by name":            func(in *service.ApplyReplicaInput) { in.SecretID = "s" },
		"by part of the ARN": func(in *service.ApplyReplicaInput) { in.SecretID = strings.TrimSuffix(arn, "-AbCdEf") },
		"another region":     func(in *service.ApplyReplicaInput) { in.SecretID = strings.Replace(arn, "eu-west-1", "us-west-1", 1) },
		"another partition":  func(in *service.ApplyReplicaInput) { in.SecretID = strings.Replace(arn, "arn:aws:", "arn:aws-cn:", 1) },
		"another account": func(in *service.ApplyReplicaInput) {
			in.SecretID = strings.Replace(arn, "123456789012", "999999999999", 1)
		},
		"a name that is none": func(in *service.ApplyReplicaInput) { in.SecretID = strings.Replace(arn, ":s-", ":s s-", 1) },
		"a longer name than there are": func(in *service.ApplyReplicaInput) {
			in.SecretID = strings.Replace(arn, ":s-", ":"+strings.Repeat("s", 513)+"-", 1)
		},
		"no name":          func(in *service.ApplyReplicaInput) { in.SecretID = strings.Replace(arn, ":s-", ":-", 1) },
		"no region":        func(in *service.ApplyReplicaInput) { in.PrimaryRegion = "us east" },
		"a label too long": func(in *service.ApplyReplicaInput) { in.Versions[0].VersionStages[0] = strings.Repeat("L", 257) },
		"a value too long": func(in *service.ApplyReplicaInput) {
			in.Versions[0].GivenValue = service.Give(secrets.Binary(make([]byte, 65537)))
		},
		"its own region":  func(in *service.ApplyReplicaInput) { in.PrimaryRegion = "eu-west-1" },
		"no policy":       func(in *service.ApplyReplicaInput) { in.ResourcePolicy = "{" },
		"tags twice":      func(in *service.ApplyReplicaInput) { in.Tags = []service.Tag{{Key: "k"}, {Key: "k"}} },
		"a version twice": func(in *service.ApplyReplicaInput) { in.Versions = append(in.Versions, in.Versions[0]) },
		"a label twice": func(in *service.ApplyReplicaInput) {
			in.Versions = append(in.Versions, in.Versions[0])
			in.Versions[1].VersionID = tok("v2")
		},
		"Pawl's own label":   func(in *service.ApplyReplicaInput) { in.Versions[0].VersionStages[0] = secrets.Intent },
		"a value and none":   func(in *service.ApplyReplicaInput) { in.Versions[0].Empty = true },
		"a part with labels": func(in *service.ApplyReplicaInput) { in.Part = true },
		"no revision":        func(in *service.ApplyReplicaInput) { in.Revision = 0 },
		// Promoted, its revision would be less than any of its old primary's.
		"the last revision": func(in *service.ApplyReplicaInput) { in.Revision = math.MaxInt64 },
		"too many tags": func(in *service.ApplyReplicaInput) {
			for i := range service.MaxTags + 1 {
				in.Tags = append(in.Tags, service.Tag{Key: fmt.Sprint(i)})
			}
		},
	} {
		in := good()
		change(&in)
		if _, err := h.ApplyReplica(t.Context(), in); secrets.KindOf(err) != secrets.Invalid || secrets.CodeOf(err) == "" {
			t.Errorf("%s: %v", name, err)
		}
		if h.find(t, service.DefaultAccount, "eu-west-1", "s") != nil {
			t.Fatalf("%s: it is there", name)
		}
	}
	out, err := h.ApplyReplica(t.Context(), good())
	if err != nil || len(out.Missing) > 0 || out.Failed != "" {
		t.Fatalf("%+v, %v", out, err)
	}
	said, err := h.DescribeReplica(t.Context(), service.DescribeReplicaInput{SecretID: arn})
	if diff := cmp.Diff(&service.DescribeReplicaOutput{ARN: arn, PrimaryRegion: "us-east-1", Revision: 3}, said); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	_, err = h.DescribeReplica(t.Context(), service.DescribeReplicaInput{SecretID: strings.Replace(arn, "AbCdEf", "fEdCbA", 1)})
	wantErr(t, err, "ResourceNotFoundException", notFoundText)
}
