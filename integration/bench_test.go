package integration_test

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/workload"
	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
)

const (
	pairs   = 9 // interleaved measurements of Pawl and of the floor
	batches = 6 // rotations of each secret in one measurement, 10 where there is one secret
)

// BenchmarkRotations measures verified rotations a second on PostgreSQL, and in
// the same run, in turn, a floor: a bare driver that does the same logins and
// statements with a password of its own, and keeps nothing. It reports the
// medians and the median of the ratios, pair by pair.
func BenchmarkRotations(b *testing.B) {
	for _, superuser := range []bool{true, false} {
		for _, atOnce := range []int{1, 16} {
			name := fmt.Sprintf("self/%dx", atOnce)
			if superuser {
				name = fmt.Sprintf("superuser/%dx", atOnce)
			}
			b.Run(name, func(b *testing.B) {
				db := benchDatabase(b)
				ours, floor := newOurs(b, db, superuser, atOnce), newFloor(b, db, superuser, atOnce)
				ours.run(b)
				floor.run(b) // both warm
				for b.Loop() {
					var rates, floors, ratios []float64
					for n := range pairs {
						var r, f float64
						if n%2 == 0 { // who goes first takes turns too
							r, f = ours.run(b), floor.run(b)
						} else {
							f, r = floor.run(b), ours.run(b)
						}
						rates, floors, ratios = append(rates, r), append(floors, f), append(ratios, r/f)
					}
					b.ReportMetric(median(rates), "rotations/s")
					b.ReportMetric(median(floors), "floor/s")
					b.ReportMetric(median(ratios), "of-floor")
					b.ReportMetric(0, "ns/op")
				}
			})
		}
	}
}

var benchOnce = sync.OnceValues(func() (*servers.Server, error) {
	return servers.Start(context.Background(), servers.Postgres15, servers.Options{Args: []string{"-c", "max_connections=200"}})
})

var benchDatabases int

func benchDatabase(b *testing.B) *workload.Database {
	b.Helper()
	s, err := benchOnce()
	if err != nil {
		b.Fatal(err)
	}
	benchDatabases++
	d, err := workload.Prepare(b.Context(), s, fmt.Sprintf("bench%d", benchDatabases))
	if err != nil {
		b.Fatal(err)
	}
	return d
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}

// contender rotates one user per lane, all lanes at once.
type contender struct {
	lanes  int
	rotate func(ctx context.Context, lane int) error
}

// run returns rotations per second.
func (c contender) run(b *testing.B) float64 {
	b.Helper()
	each := batches
	if c.lanes == 1 {
		each = 10
	}
	start := time.Now()
	errs := make(chan error, c.lanes)
	for lane := range c.lanes {
		go func() {
			var err error
			for n := 0; n < each && err == nil; n++ {
				err = c.rotate(b.Context(), lane)
			}
			errs <- err
		}()
	}
	for range c.lanes {
		if err := <-errs; err != nil {
			b.Fatal(err)
		}
	}
	return float64(c.lanes*each) / time.Since(start).Seconds()
}

// newOurs is Pawl, whole: store, encryption, claims, labels.
func newOurs(b *testing.B, db *workload.Database, superuser bool, lanes int) contender {
	p := newPawl(b)
	p.create("root", db.Superuser().Value())
	for lane := range lanes {
		name := fmt.Sprintf("app%d", lane)
		p.create(name, user(b, db, fmt.Sprintf("%s_ours%d", db.Name, lane)).Value())
		rules := secrets.RotationRules{Strategy: secrets.SingleUser}
		if superuser {
			rules.Superuser = "root"
		}
		p.declare(name, rules)
	}
	return contender{lanes, func(ctx context.Context, lane int) error {
		_, err := p.runner.Once(ctx, fmt.Sprintf("app%d", lane), rotator.Options{})
		return err
	}}
}

// newFloor is a bare driver: the logins and statements of a rotation and
// nothing else.
func newFloor(b *testing.B, db *workload.Database, superuser bool, lanes int) contender {
	users := make([]string, lanes)
	passwords := make([]string, lanes)
	for lane := range lanes {
		c := user(b, db, fmt.Sprintf("%s_floor%d", db.Name, lane))
		users[lane], passwords[lane] = c.Username(), c.Password().Reveal()
	}
	guards := map[string]string{"statement_timeout": "10000", "lock_timeout": "10000", "idle_session_timeout": "10000",
		"idle_in_transaction_session_timeout": "10000", "default_transaction_read_only": "off"}
	dial := func(ctx context.Context, user, pw string, params map[string]string) (*pgconn.PgConn, error) {
		cfg, err := db.Server.PostgresConfig(user, pw, db.Name)
		if err != nil {
			return nil, err
		}
		for k, v := range params {
			cfg.RuntimeParams[k] = v
		}
		return pgconn.ConnectConfig(ctx, &cfg.Config)
	}
	const who = "SELECT session_user, current_user"
	const preflight = `SELECT pg_is_in_recovery(), session_user, current_user, me.rolsuper, me.rolcreaterole,
		t.oid IS NOT NULL, t.rolsuper, t.rolreplication, t.rolcanlogin, coalesce(t.rolvaliduntil <= now(), false),
		pg_has_role(current_user, t.oid, 'MEMBER WITH ADMIN OPTION')
		FROM pg_roles me LEFT JOIN pg_roles t ON t.rolname = '%s' WHERE me.rolname = current_user`
	exec := func(ctx context.Context, c *pgconn.PgConn, sql string) error {
		_, err := c.Exec(ctx, sql).ReadAll()
		return err
	}
	return contender{lanes, func(ctx context.Context, lane int) error {
		user := users[lane]
		conn, err := dial(ctx, user, passwords[lane], guards)
		if err != nil {
			return err
		}
		if err := exec(ctx, conn, who); err != nil {
			return err
		}
		if superuser {
			conn.Close(ctx)
			if conn, err = dial(ctx, db.Server.Admin, db.Server.AdminPassword, guards); err != nil {
				return err
			}
		}
		if err := exec(ctx, conn, fmt.Sprintf(preflight, user)); err != nil {
			return err
		}
		pw := rand.Text()
		if err := exec(ctx, conn, "ALTER ROLE "+pgx.Identifier{user}.Sanitize()+" PASSWORD '"+verifier(pw)+"'"); err != nil {
			return err
		}
		conn.Close(ctx)
		passwords[lane] = pw
		if conn, err = dial(ctx, user, pw, nil); err != nil {
			return err
		}
		defer conn.Close(ctx)
		return exec(ctx, conn, who)
	}}
}

// verifier is what a client that keeps the plain password out of the statement
// has to work out (RFC 5803).
func verifier(pw string) string {
	salt := make([]byte, 16)
	rand.Read(salt)
	salted, err := pbkdf2.Key(sha256.New, pw, salt, 4096, 32)
	if err != nil {
		panic(err)
	}
	mac := func(text string) []byte {
		m := hmac.New(sha256.New, salted)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	stored := sha256.Sum256(mac("Client Key"))
	b64 := base64.StdEncoding.EncodeToString
	return "SCRAM-SHA-256$4096:" + b64(salt) + "$" + b64(stored[:]) + ":" + b64(mac("Server Key"))
}
