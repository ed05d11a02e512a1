//go:build linux

package chaos_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/config"
	"github.com/pawlhq/pawl/integration/chaos/link"
	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/postgres"
	"github.com/pawlhq/pawl/store/seal"
)

// world is a store, a target, and the replicas between them. What the tests
// themselves do with either goes by no cable of a replica's.
type world struct {
	t        testing.TB
	store    *servers.Server
	target   *workload.Database
	port     int // of the target in the secrets: the replicas' way there
	replicas []*replica
	atStore  callers
	atTarget callers
	svc      *service.Service // on the store, in this process
	value    func(ctx context.Context, secret, version string) (secrets.Value, error)
	arns     map[string]secrets.ARN
	key      aws.Credentials // of an administrator
	journal  *journal
	users    []user
}

// user is somebody whose password rotates: one secret.
type user struct {
	secret   string
	strategy string // as the configuration calls it
	super    bool   // a superuser sets his password
	every    string // his schedule; "" = on demand
}

// Who the store's users are: whom its schema belongs to, and who Pawl is.
const (
	storeOwner = "pawl_owner"
	storeUser  = "pawl"
	storeName  = "pawl"
)

// newWorld makes one. Its target has written down every password that it was
// given, with the time and the port of who did it.
func newWorld(t testing.TB, storeKind, targetKind servers.Kind, replicas int, users []user) *world {
	t.Helper()
	if _, err := binary(); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, users: users, arns: map[string]secrets.ARN{}}
	w.store = serverOf(t, storeKind, "track_commit_timestamp=on")
	target := serverOf(t, targetKind, "log_min_duration_statement=0", "log_line_prefix=%n %r ")
	database, err := workload.Prepare(t.Context(), target, "shop")
	if err != nil {
		t.Fatal(err)
	}
	w.target = database

	dir := t.TempDir()
	key := filepath.Join(dir, "pawl.key")
	if err := seal.GenerateKeyFile(key, rand.Reader); err != nil {
		t.Fatal(err)
	}
	password := w.makeStore(key)
	for n := range replicas {
		home := filepath.Join(dir, strconv.Itoa(n))
		if err := os.Mkdir(home, 0o700); err != nil {
			t.Fatal(err)
		}
		w.replicas = append(w.replicas, newReplica(t, n, home))
	}
	w.port = w.link(target, gateOf(w.replicas), &w.atTarget, func(r *replica) *link.Gate { return r.target })
	w.makeSecrets()
	w.journal = w.newJournal()
	for _, r := range w.replicas {
		port := w.link(w.store, func(net.Conn) *link.Gate { return r.store }, &w.atStore, func(r *replica) *link.Gate { return r.store })
		if err := os.WriteFile(r.file, []byte(w.configuration(port, key, password)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// link makes a cable to a server, and has those noted who come through it.
func (w *world) link(to *servers.Server, gate func(net.Conn) *link.Gate, noted *callers, of func(*replica) *link.Gate) (port int) {
	w.t.Helper()
	l, err := link.New(net.JoinHostPort(to.Host, strconv.Itoa(to.Port)), gate, func(server net.Conn, g *link.Gate) {
		for _, r := range w.replicas {
			if of(r) == g {
				noted.joined(server, r.n)
			}
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(l.Close)
	return l.Port()
}

// admin connects to a database of the store's server as its superuser.
func (w *world) admin(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg, err := w.store.PostgresConfig(w.store.Admin, w.store.AdminPassword, database)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// dsn is how the store is reached by a port.
func dsn(user string, password string, port int) string {
	u := url.URL{Scheme: "postgres", User: url.User(user), Host: "127.0.0.1:" + strconv.Itoa(port), Path: "/" + storeName, RawQuery: "sslmode=disable"}
	if password != "" {
		u.User = url.UserPassword(user, password)
	}
	return u.String()
}

// makeStore makes the store's database with its two users, and opens it here. It
// returns the file with Pawl's password.
func (w *world) makeStore(key string) (passwordFile string) {
	w.t.Helper()
	ctx := w.t.Context()
	password, ownerPassword := rand.Text(), rand.Text()
	w.exec("postgres",
		"CREATE ROLE "+storeOwner+" LOGIN PASSWORD '"+ownerPassword+"'", "CREATE ROLE "+storeUser+" LOGIN PASSWORD '"+password+"'",
		"CREATE DATABASE "+storeName+" OWNER "+storeOwner)
	if _, _, err := postgres.Migrate(ctx, postgres.Config{DSN: dsn(storeOwner, ownerPassword, w.store.Port)}, storeUser); err != nil {
		w.t.Fatal(err)
	}
	store, err := postgres.Open(ctx, postgres.Config{DSN: dsn(storeUser, password, w.store.Port)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { store.Close() })
	master, err := seal.Source{File: key}.Load(ctx, os.Getenv)
	if err != nil {
		w.t.Fatal(err)
	}
	keys := seal.New(seal.Config{Master: master, Store: store})
	if err := keys.Verify(ctx, store); err != nil {
		w.t.Fatal(err)
	}
	w.value = func(ctx context.Context, secret, version string) (secrets.Value, error) {
		sealed, err := store.Value(ctx, w.arns[secret], version)
		if err != nil {
			return secrets.Value{}, err
		}
		return keys.Open(ctx, w.arns[secret].String(), version, sealed)
	}
	w.svc = service.New(service.Config{Store: store, Sealer: keys, MinimumInterval: time.Second})
	people := principals.New(principals.Config{Store: store, Sealer: keys, Account: config.DefaultAccount})
	defer people.Close()
	_, made, err := people.Create(ctx, principals.NewPrincipal{
		Name: "admin", Policies: []principals.Policy{{Name: "administrator", Document: principals.AdministratorPolicy}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.key = aws.Credentials{AccessKeyID: made.AccessKeyID, SecretAccessKey: made.Secret.Reveal()}
	passwordFile = filepath.Join(filepath.Dir(key), "password")
	if err := os.WriteFile(passwordFile, []byte(password), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return passwordFile
}

// exec runs statements at the store's server as its superuser.
func (w *world) exec(database string, statements ...string) {
	w.t.Helper()
	conn, err := w.admin(w.t.Context(), database)
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(w.t.Context()))
	for _, s := range statements {
		if _, err := conn.Exec(w.t.Context(), s); err != nil {
			w.t.Fatal(err)
		}
	}
}

// root is the secret of the target's superuser.
const root = "root"

// makeSecrets makes the users at the target, and a secret for each.
func (w *world) makeSecrets() {
	w.t.Helper()
	w.create(root, w.target.Superuser())
	for _, u := range w.users {
		c, err := w.target.AddUser(w.t.Context(), u.role())
		if err != nil {
			w.t.Fatal(err)
		}
		w.create(u.secret, c)
	}
}

// role is what the target calls him.
func (u user) role() string { return strings.NewReplacer("/", "_", "-", "_").Replace(u.secret) }

func (w *world) create(name string, c secrets.Credentials) {
	w.t.Helper()
	out, err := w.svc.CreateSecret(w.t.Context(), service.CreateSecretInput{
		Name: name, GivenValue: service.Give(c.WithNumber("port", strconv.Itoa(w.port)).Value()), ClientRequestToken: token(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	id, err := secrets.ParseID(out.ARN)
	if err != nil {
		w.t.Fatal(err)
	}
	w.arns[name] = id.ARN
}

// token is the id of a version to come.
func token() string {
	id, err := service.NewVersionID(rand.Reader)
	if err != nil {
		panic(err) // there is no randomness
	}
	return id
}

// configuration is the file of the replica that reaches the store by a port.
func (w *world) configuration(port int, key, passwordFile string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `store:
  postgres:
    dsn: %s
    password_file: %s
    key_file: %s
server: {listen: 127.0.0.1:4566, rate_limits: 0}
scheduler: {minimum_interval: 1s, workers: 8, per_target: 8}
superusers: [{secret: %s, for: ["*"]}]
secrets:
`, dsn(storeUser, "", port), passwordFile, key, root)
	for _, u := range w.users {
		fmt.Fprintf(&b, "  - {name: %s, strategy: %s", u.secret, u.strategy)
		if u.every != "" {
			fmt.Fprintf(&b, ", schedule: %s", u.every)
		}
		if u.super {
			fmt.Fprintf(&b, ", superuser: %s", root)
		}
		b.WriteString("}\n")
	}
	return b.String()
}

// run starts all replicas and waits until they serve. skews are how wrong the
// first ones' clocks are.
func (w *world) run(skews ...time.Duration) {
	w.t.Helper()
	for i, r := range w.replicas {
		var skew time.Duration
		if i < len(skews) {
			skew = skews[i]
		}
		if err := r.start(skew); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, r := range w.replicas {
		until(w.t, time.Minute, fmt.Sprintf("replica %d to serve", r.n), func() bool {
			if told := r.told(); len(told) > 0 {
				w.t.Fatal(strings.Join(told, "\n"))
			}
			endpoint, _ := r.at()
			return endpoint != ""
		})
	}
}
