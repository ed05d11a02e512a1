package integration_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"
	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// both are one server of either family, where the rest is the same.
var both = []servers.Kind{servers.Postgres15, servers.MariaDB}

// session is the administrator's connection, for what must be read or held.
type session struct {
	pg *pgx.Conn
	my *sql.Conn
}

func admin(t testing.TB, d *workload.Database) session {
	t.Helper()
	s := d.Server
	if s.Kind.IsPostgres() {
		cfg, err := s.PostgresConfig(s.Admin, s.AdminPassword, d.Name)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := pgx.ConnectConfig(context.WithoutCancel(t.Context()), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close(context.Background()) })
		return session{pg: conn}
	}
	cfg, err := s.MySQLConfig(s.Admin, s.AdminPassword, "")
	if err != nil {
		t.Fatal(err)
	}
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	pool := sql.OpenDB(connector)
	conn, err := pool.Conn(context.WithoutCancel(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { errors.Join(conn.Close(), pool.Close()) })
	return session{my: conn}
}

func (s session) exec(t testing.TB, statements ...string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // cleaning up, too
	for _, q := range statements {
		var err error
		if s.pg != nil {
			_, err = s.pg.Exec(ctx, q)
		} else {
			_, err = s.my.ExecContext(ctx, q)
		}
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
}

// pairs reads a query of two text columns.
func (s session) pairs(t testing.TB, query string) map[string]string {
	t.Helper()
	out := map[string]string{}
	var key, value string
	var err error
	if s.pg != nil {
		rows, e := s.pg.Query(t.Context(), query)
		if e != nil {
			t.Fatal(e)
		}
		_, err = pgx.ForEachRow(rows, []any{&key, &value}, func() error { out[key] = value; return nil })
	} else {
		rows, e := s.my.QueryContext(t.Context(), query)
		if e != nil {
			t.Fatal(e)
		}
		defer rows.Close()
		for rows.Next() {
			if err := rows.Scan(&key, &value); err != nil {
				t.Fatal(err)
			}
			out[key] = value
		}
		err = rows.Err()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// accounts are all users of the server with everything it keeps of them, the
// password's hash among it.
func accounts(t testing.TB, d *workload.Database) map[string]string {
	t.Helper()
	query := `SELECT CONCAT(User, '@', Host), CONCAT_WS('|', plugin, HEX(authentication_string), account_locked, password_expired,
		password_last_changed, User_attributes) FROM mysql.user`
	switch {
	case d.Server.Kind.IsPostgres():
		query = `SELECT rolname, a::text || coalesce(shobj_description(oid, 'pg_authid'), '') FROM pg_authid a`
	case d.Server.Kind == servers.MariaDB:
		query = `SELECT CONCAT(User, '@', Host), Priv FROM mysql.global_priv`
	}
	return admin(t, d).pairs(t, query)
}

// differing names the accounts in which two states of a server differ.
func differing(a, b map[string]string) []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		if v, ok := b[name]; !ok || v != a[name] {
			out = append(out, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(b)) {
		if _, ok := a[name]; !ok {
			out = append(out, name)
		}
	}
	return out
}

// fresh is a password that no server and no secret knows.
func fresh(t testing.TB) string {
	t.Helper()
	pw, err := secrets.PasswordRules{ExcludePunctuation: true}.Generate(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pw
}

// setByHand sets a user's password as an administrator would.
func setByHand(t testing.TB, d *workload.Database, user, password string) {
	t.Helper()
	statement := "ALTER USER '" + user + "'@'%' IDENTIFIED BY '" + password + "'"
	if d.Server.Kind.IsPostgres() {
		statement = `ALTER ROLE "` + user + `" PASSWORD '` + password + "'"
	}
	if err := d.Exec(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// mustLogin logs in with the bare driver.
func mustLogin(t testing.TB, d *workload.Database, what string, c secrets.Credentials) {
	t.Helper()
	if err := d.Login(t.Context(), c); err != nil {
		t.Errorf("%s (%s) does not log in: %v", what, c.Username(), err)
	}
}

// mustNotLogin wants the server to refuse the credential.
func mustNotLogin(t testing.TB, d *workload.Database, what string, c secrets.Credentials) {
	t.Helper()
	if err := d.Login(t.Context(), c); !workload.Refused(err) {
		t.Errorf("%s (%s) should be refused, got: %v", what, c.Username(), err)
	}
}

// until polls a condition at a real server.
func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in time", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// server is the address that errors name.
func server(d *workload.Database) string {
	return net.JoinHostPort(d.Server.Host, strconv.Itoa(d.Server.Port))
}

// holder returns the version that carries a label, or "".
func (p *pawl) holder(name, label string) string {
	p.t.Helper()
	for id, labels := range p.stages(name) {
		if slices.Contains(labels, label) {
			return id
		}
	}
	return ""
}

// atRest checks that nothing is under way: the first row of the table in
// docs/architecture.md.
func (p *pawl) atRest(name string) {
	p.t.Helper()
	intent := p.holder(name, secrets.Intent)
	switch {
	case p.holder(name, secrets.Pending) != "":
	case intent == "", intent == p.holder(name, secrets.Current), intent == p.holder(name, secrets.Previous):
		return
	}
	p.t.Errorf("not at rest: %v", p.stages(name))
}

// moved reports in what two listings of labels differ; PAWLINTENT on AWSCURRENT
// says the same as its absence.
func moved(before, after map[string][]string) string {
	plain := func(stages map[string][]string) map[string][]string {
		out := map[string][]string{}
		for id, labels := range stages {
			labels = slices.Clone(labels)
			if slices.Contains(labels, secrets.Current) {
				labels = slices.DeleteFunc(labels, func(l string) bool { return l == secrets.Intent })
			}
			slices.Sort(labels)
			out[id] = labels
		}
		return out
	}
	return cmp.Diff(plain(before), plain(after))
}

// versions counts all versions, also those without labels.
func (p *pawl) versions(name string) int {
	p.t.Helper()
	out, err := p.svc.ListSecretVersionIDs(p.t.Context(), service.ListSecretVersionIDsInput{SecretID: name, IncludeDeprecated: true})
	if err != nil {
		p.t.Fatal(err)
	}
	return len(out.Versions)
}

// stage moves a label as `pawl secret stage` does; to "" takes it off.
func (p *pawl) stage(name, label, to string) {
	p.t.Helper()
	_, err := p.svc.UpdateSecretVersionStage(p.t.Context(), service.UpdateSecretVersionStageInput{
		SecretID: name, VersionStage: label, MoveToVersionID: to, RemoveFromVersionID: p.holder(name, label),
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

// pend leaves a value as a rotation that died right after createSecret does.
func (p *pawl) pend(name string, v secrets.Value) string {
	p.t.Helper()
	claim, err := p.svc.Claim(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	defer claim.Release()
	id, err := claim.PutPending(p.t.Context(), "", v)
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// emptyPending leaves what asking for a rotation leaves: AWSPENDING on a version
// without a value.
func (p *pawl) emptyPending(name string) string {
	p.t.Helper()
	claim, err := p.svc.Claim(p.t.Context(), name)
	if err != nil {
		p.t.Fatal(err)
	}
	arn := claim.ARN()
	claim.Release()
	id := p.token()
	_, err = p.store.Update(p.t.Context(), arn, func(sec *service.Secret) (_ service.Sealed, err error) {
		sec.Versions, err = sec.Versions.Put(secrets.Version{ID: id, Created: time.Now().UTC(), Empty: true}, []string{secrets.Pending})
		return nil, err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return id
}

// run rotates once and reports what people would see: the notes, the error.
func (p *pawl) run(name string, o rotator.Options) (res rotator.Result, seen string, err error) {
	report := o.Report
	o.Report = func(e rotator.Event) {
		seen += e.Note + "\n"
		if report != nil {
			report(e)
		}
	}
	res, err = p.runner.Once(p.t.Context(), name, o)
	if err != nil {
		seen += err.Error()
	}
	return res, seen, err
}

// mustFail runs once and wants an error of a kind that says all of the texts.
func (p *pawl) mustFail(name string, o rotator.Options, kind secrets.Kind, texts ...string) {
	p.t.Helper()
	_, _, err := p.run(name, o)
	wantError(p.t, err, kind, texts...)
}

func wantError(t testing.TB, err error, kind secrets.Kind, texts ...string) {
	t.Helper()
	if err == nil || secrets.KindOf(err) != kind {
		t.Errorf("want an error of kind %s, got: %v", kind, err)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("want %q in: %v", text, err)
		}
	}
}

// mustEnd runs once and wants an outcome.
func (p *pawl) mustEnd(name string, o rotator.Options, want rotator.Outcome) {
	p.t.Helper()
	res, seen, err := p.run(name, o)
	if err != nil || res.Outcome != want {
		p.t.Fatalf("%q, want %q; %s", res.Outcome, want, seen)
	}
}

// onStep calls f once, when a step begins.
func onStep(step string, f func()) rotator.Options {
	done := false
	return rotator.Options{Report: func(e rotator.Event) {
		if e.Step == step && !e.Done && e.Note == "" && !done {
			done = true
			f()
		}
	}}
}

// commons are databases that many tests use, each with users of its own.
var commons = struct {
	sync.Mutex
	of    map[servers.Kind]*workload.Database
	users int
}{of: map[servers.Kind]*workload.Database{}}

func common(t testing.TB, kind servers.Kind) *workload.Database {
	t.Helper()
	commons.Lock()
	defer commons.Unlock()
	if commons.of[kind] == nil {
		commons.of[kind] = database(t, kind, "common")
	}
	return commons.of[kind]
}

// newName is a user name that no other test has, of n characters if they do.
func newName(n int) string {
	commons.Lock()
	defer commons.Unlock()
	commons.users++
	return fmt.Sprintf("u%0*d", max(n-1, 1), commons.users)
}

// newUser makes a user of a name that no other test has. One at a time: PostgreSQL
// does not take two grants on one schema at once.
func newUser(t testing.TB, d *workload.Database) secrets.Credentials {
	t.Helper()
	name := newName(0)
	commons.Lock()
	defer commons.Unlock()
	return user(t, d, name)
}
