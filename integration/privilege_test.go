package integration_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/client"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// burglar is who may do everything to the secrets dev/*, and nothing to prod/*,
// whose database servers are the same ones. He has the SDK, a user of his own at
// the server, and a plan to get the password of prod's user changed.
type burglar struct {
	*guarded
	t     *testing.T
	who   aws.Credentials
	sdk   *secretsmanager.Client
	ours  *client.Client // for Pawl's own operations
	got   *recorder
	place *place
	n     int
	// strategy is the one by which his secret is to be rotated in the end.
	strategy string
	id       string // his secret
	prod     string // prod's secret, of the victim
	victim   secrets.Credentials
	desired  secrets.Credentials // the victim with the password that he would like
	// byHand has an operator rotate the secret, too: after a secret was changed
	// under its hands, the daemon waits for some seconds.
	byHand bool
}

// place is a database server that prod and dev share.
type place struct {
	db       *workload.Database
	suffix   string              // of the superusers' secrets
	prodRoot secrets.Credentials // prod/root<suffix>
	devRoot  secrets.Credentials // dev/root<suffix>
}

// recorder keeps all that a client gets.
type recorder struct {
	over http.RoundTripper
	mu   sync.Mutex
	all  bytes.Buffer
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.over.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.all, "%v%s\n", resp.Header, body)
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, err
}

// shared are what is made one at a time: users of a server.
var shared sync.Mutex

// newPlace makes a database, and the superuser that dev has at its server.
func newPlace(t *testing.T, g *guarded, suffix string, db *workload.Database) *place {
	t.Helper()
	p := &place{db: db, suffix: suffix, prodRoot: db.Superuser()}
	name, pw := "dev_root_"+db.Name, fresh(t)
	statements := []string{"CREATE USER '" + name + "'@'%' IDENTIFIED BY '" + pw + "'", "GRANT ALL ON *.* TO '" + name + "'@'%' WITH GRANT OPTION"}
	if db.Server.Kind.IsPostgres() {
		statements = []string{"CREATE ROLE " + name + " SUPERUSER LOGIN PASSWORD '" + pw + "'"}
	}
	if err := db.Exec(t.Context(), statements...); err != nil {
		t.Fatal(err)
	}
	p.devRoot = p.prodRoot.With("username", name).With("password", pw)
	g.create("prod/root"+suffix, p.prodRoot.Value())
	g.create("dev/root"+suffix, p.devRoot.Value())
	return p
}

// addUser makes a user of the server.
func (p *place) addUser(t *testing.T, name string) secrets.Credentials {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	return user(t, p.db, name)
}

func (b *burglar) prodRoot() string { return "prod/root" + b.place.suffix }
func (b *burglar) devRoot() string  { return "dev/root" + b.place.suffix }

// own is a user of the burglar's own at the server.
func (b *burglar) own() secrets.Credentials {
	b.t.Helper()
	return b.place.addUser(b.t, fmt.Sprintf("own_%s_%d", b.place.db.Name, b.n))
}

// arn is a secret's, as an operator knows it; policies keep nobody from knowing
// it too.
func (b *burglar) arn(name string) string {
	b.t.Helper()
	d, err := b.svc.DescribeSecret(b.t.Context(), service.DescribeSecretInput{SecretID: name})
	if err != nil {
		b.t.Fatal(err)
	}
	return d.ARN
}

// try notes whether an operation was done. Every refusal is fine; what is none is
// a failure of the test.
func (b *burglar) try(_ any, err error) bool {
	b.t.Helper()
	switch codeOf(err) {
	case "ThrottlingException", "InternalServiceError":
		b.t.Error(err)
	case "":
		if err != nil {
			b.t.Error(err)
		}
	}
	return err == nil
}

// refused wants an operation to be refused for want of rights.
func (b *burglar) refused(_ any, err error) {
	b.t.Helper()
	if codeOf(err) != forbidden {
		b.t.Errorf("got %v, want %s", err, forbidden)
	}
}

// must wants an operation to be done: without it the plan means nothing.
func (b *burglar) must(_ any, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Error(err)
	}
}

// text is a secret's value as the API has it.
func text(c secrets.Credentials) *string { return aws.String(string(c.Value().Reveal())) }

// create makes his secret.
func (b *burglar) create(c secrets.Credentials) {
	b.t.Helper()
	b.must(b.sdk.CreateSecret(b.t.Context(), &secretsmanager.CreateSecretInput{Name: &b.id, SecretString: text(c)}))
}

// put stores a value in it.
func (b *burglar) put(c secrets.Credentials, stages ...string) (version string) {
	b.t.Helper()
	out, err := b.sdk.PutSecretValue(b.t.Context(), &secretsmanager.PutSecretValueInput{SecretId: &b.id, SecretString: text(c), VersionStages: stages})
	if !b.try(out, err) {
		return ""
	}
	return *out.VersionId
}

// stage moves a label, or with "" takes it off.
func (b *burglar) stage(label, to string) {
	b.t.Helper()
	in := &secretsmanager.UpdateSecretVersionStageInput{SecretId: &b.id, VersionStage: &label}
	if to != "" {
		in.MoveToVersionId = &to
	}
	if from := b.holder(b.id, label); from != "" {
		in.RemoveFromVersionId = &from
	}
	b.try(b.sdk.UpdateSecretVersionStage(b.t.Context(), in))
}

// functionARN is one of Pawl's own functions.
func functionARN(strategy, region string) *string {
	return aws.String("arn:aws:lambda:" + region + ":" + homeAccount + ":function:pawl-" + strategy)
}

// rotate asks for a rotation by a strategy, "" = whichever it has, and waits for
// how it ends.
func (b *burglar) rotate(strategy string) {
	b.t.Helper()
	b.try(b.sdk.RotateSecret(b.t.Context(), b.rotation(strategy)))
	b.settle()
}

func (b *burglar) rotation(strategy string) *secretsmanager.RotateSecretInput {
	in := &secretsmanager.RotateSecretInput{SecretId: &b.id}
	if strategy != "" {
		in.RotationLambdaARN = functionARN(strategy, homeRegion)
	}
	return in
}

// goOn asks for a rotation, or for the one that is under way to be tried at once,
// and waits for how it ends.
func (b *burglar) goOn() {
	b.t.Helper()
	b.try(b.ours.StartRotation(b.t.Context(), service.StartRotationInput{SecretID: b.id, ClientRequestToken: b.token()}))
	b.settle()
}

// settle waits until no rotation of his secret is under way, or the one that is
// has been tried and is to be tried again later.
func (b *burglar) settle() {
	b.t.Helper()
	if b.byHand {
		b.cli("rotate", b.id)
	}
	b.settleAt(b.svc)
}

// settleAt is settle for where a service acts.
func (b *burglar) settleAt(svc *service.Service) {
	b.t.Helper()
	until(b.t, "the end of a rotation", func() bool {
		out, err := svc.ListRotations(b.t.Context(), service.ListRotationsInput{SecretIDs: []string{b.id}})
		if err != nil || len(out.Rotations) == 0 {
			return true
		}
		r := out.Rotations[0]
		return !r.Unfinished || !r.Attempt.NextTry.IsZero()
	})
}

// push has his secret rotated in every way there is.
func (b *burglar) push(strategy string) {
	b.t.Helper()
	b.try(b.sdk.RotateSecret(b.t.Context(), b.rotation(strategy)))
	b.goOn()
	b.try(b.ours.TestRotation(b.t.Context(), service.TestRotationInput{SecretID: b.id}))
	b.rotate("")
}

// TestPrivilege: whoever may do everything to dev/* and nothing to prod/* gets
// nothing of prod's changed, and sees no value of prod's, though dev and prod are
// on one database server and its superusers are at hand: by the real API, with
// the real SDK, on real servers.
func TestPrivilege(t *testing.T) {
	g := newGuarded(t, `
superusers:
  - {secret: prod/root-postgres, for: ["prod/*"]}
  - {secret: prod/root-mariadb, for: ["prod/*"]}
  - {secret: dev/root-postgres, for: ["dev/*"]}
  - {secret: dev/root-mariadb, for: ["dev/*"]}
`)
	who := g.enrol("burglar", burglary)
	places := []*place{}
	for _, kind := range both {
		suffix := "-mariadb"
		if kind.IsPostgres() {
			suffix = "-postgres"
		}
		places = append(places, newPlace(t, g, suffix, database(t, kind, "privilege")))
	}
	var all []attempt
	for _, pl := range plans {
		for _, p := range places {
			for _, strategy := range []string{secrets.SingleUser, secrets.AlternatingUsers} {
				if pl.only == "" || pl.only == strategy {
					all = append(all, attempt{p, pl, strategy, len(all)})
				}
			}
		}
	}
	sideBySide(t, 12, all, attempt.String, func(t *testing.T, a attempt) { a.run(t, g, who) })
	// What he may do, he can: his own user, by dev's superuser.
	for i, p := range places {
		for j, strategy := range []string{secrets.SingleUser, secrets.AlternatingUsers} {
			t.Run("allowed"+p.suffix+"/"+strategy, func(t *testing.T) {
				b := newBurglar(t, g, who, p, 1000+2*i+j)
				b.create(b.own().With("masterarn", b.devRoot()))
				was := b.current(b.id)
				b.rotate(strategy)
				now := b.current(b.id)
				if now.Password().Equal(was.Password()) {
					t.Error("not rotated")
				}
				mustLogin(t, p.db, "his user", now)
			})
		}
	}
	silent(t, g, places...)
}

// burglary is what the burglar may do: more than one who is to keep secrets and
// have them rotated.
const burglary = `{"Effect":"Allow","Action":["secretsmanager:*","pawl:*"],"Resource":"` + allSecrets + `dev/*"},
	{"Effect":"Allow","Action":["secretsmanager:BatchGetSecretValue","secretsmanager:ListSecrets","secretsmanager:GetRandomPassword","iam:PassRole"],"Resource":"*"}`

// attempt is a plan at a place.
type attempt struct {
	*place
	plan
	strategy string
	n        int
}

func (a attempt) String() string {
	return string(a.db.Server.Kind) + "/" + a.strategy + "/" + a.name
}

func newBurglar(t *testing.T, g *guarded, who aws.Credentials, p *place, n int) *burglar {
	t.Helper()
	b := &burglar{guarded: g.in(t), t: t, who: who, place: p, n: n, got: &recorder{over: g.http}}
	b.id, b.prod = fmt.Sprintf("dev/app%d", n), fmt.Sprintf("prod/app%d", n)
	b.sdk, b.ours = g.as(who, b.got), g.asPawl(who, b.got)
	return b
}

// run tries the plan, and looks at prod before and after.
func (a attempt) run(t *testing.T, g *guarded, who aws.Credentials) {
	b := newBurglar(t, g, who, a.place, a.n)
	b.strategy = a.strategy
	name := fmt.Sprintf("prod_%s_%d", a.db.Name, a.n)
	if a.victim != "" {
		name = fmt.Sprintf(a.victim, a.db.Name, a.n)
	}
	b.victim = a.addUser(t, name)
	b.desired = b.victim.With("password", fresh(t))
	b.guarded.create(b.prod, b.victim.Value())
	before := b.lookAtProd()

	a.mount(b)
	b.push(a.strategy)

	if diff := cmp.Diff(before, b.lookAtProd()); diff != "" {
		t.Errorf("prod is changed: %s", diff)
	}
	mustLogin(t, a.db, "the victim", b.victim)
	mustNotLogin(t, a.db, "the victim with the burglar's password", b.desired)
	b.got.mu.Lock()
	defer b.got.mu.Unlock()
	if i, leaked := contains(b.got.all.String(), []string{b.victim.Password().Reveal(), a.prodRoot.Password().Reveal()}); leaked {
		t.Errorf("he has seen a password of prod's: %d", i)
	}
}

// lookAtProd is prod's user as the server keeps him, and what the store has of the
// two secrets.
func (b *burglar) lookAtProd() []any {
	b.t.Helper()
	account := b.victim.Username()
	if !b.place.db.Server.Kind.IsPostgres() {
		account += "@%"
	}
	seen := []any{accounts(b.t, b.place.db)[account]}
	if seen[0] == "" {
		b.t.Error("there is no such account")
	}
	for _, id := range []string{b.prod, b.prodRoot()} {
		d, err := b.svc.DescribeSecret(b.t.Context(), service.DescribeSecretInput{SecretID: id})
		if err != nil {
			b.t.Fatal(err)
		}
		p, err := b.svc.GetResourcePolicy(b.t.Context(), service.GetResourcePolicyInput{SecretID: id})
		if err != nil {
			b.t.Fatal(err)
		}
		seen = append(seen, *d, *p)
	}
	return seen
}

// silent checks that the daemon has logged no password.
func silent(t *testing.T, g *guarded, places ...*place) {
	t.Helper()
	var passwords []string
	for _, p := range places {
		passwords = append(passwords, p.prodRoot.Password().Reveal(), p.devRoot.Password().Reveal())
	}
	if i, leaked := contains(g.daemon.err.String(), passwords); leaked {
		t.Errorf("a superuser's password is in the log: %d", i)
	}
}

// tap stands between clients and the place's server, and keeps what they say.
func (b *burglar) tap() (port int, heard *screen) {
	heard = &screen{}
	port = servertest.Proxy(b.t, func() *servers.Server { return b.place.db.Server }, func(client, server net.Conn) {
		go func() {
			_, _ = io.Copy(client, server)
			client.Close()
		}()
		_, _ = io.Copy(server, io.TeeReader(client, heard))
	})
	return port, heard
}
