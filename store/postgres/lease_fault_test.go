package postgres

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// hasty has claims end sooner than service.LeaseTime.
func hasty(s *Store, leaseTime, guard time.Duration) *Store {
	s.leaseTime, s.guard = leaseTime, guard
	return s
}

func createSecret(t testing.TB, s *Store, n int) secrets.ARN {
	t.Helper()
	if err := s.Create(t.Context(), &service.Secret{ARN: arn(n)}, nil); err != nil {
		t.Fatal(err)
	}
	return arn(n)
}

func mustLock(t testing.TB, s *Store, a secrets.ARN) service.Lease {
	t.Helper()
	claim, err := s.Lock(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	return claim
}

// lockSoon claims as soon as it can be had.
func lockSoon(t testing.TB, s *Store, a secrets.ARN) service.Lease {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; {
		claim, err := s.Lock(t.Context(), a)
		if err == nil {
			return claim
		}
		if secrets.KindOf(err) != secrets.Conflict || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func describe(claim service.Lease, ctx context.Context, description string) error {
	_, err := claim.Update(ctx, func(sec *service.Secret) (service.Sealed, error) {
		sec.Description = description
		return nil, nil
	})
	return err
}

func init() { children["hold"] = childHold }

// childHold claims arn(0) of the database args[0]. When it is told to, it tries what
// its claim is good for, quicker than any timer, and prints what came of it.
func childHold(args []string) error {
	ctx := context.Background()
	s, err := Open(ctx, Config{DSN: args[0], Password: secrets.NewPassword(runnerPassword)})
	if err != nil {
		return err
	}
	hasty(s, 1500*time.Millisecond, 700*time.Millisecond)
	claim, err := s.Lock(ctx, arn(0))
	if err != nil {
		return err
	}
	claimed := claim.Context(ctx)
	child, cancel := context.WithTimeout(claimed, time.Hour)
	defer cancel()
	fmt.Println("held")
	// A goroutine that was sending all the time, and was stopped anywhere.
	go func() {
		for n := 0; ; n++ {
			if describe(claim, ctx, "by the child") != nil {
				return
			}
		}
	}()
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	end, ok := secrets.EndOf(child)
	late := ok && time.Until(end) < 0
	first := claimed.Err()
	second := child.Err()
	fmt.Println(late, first != nil, second != nil, secrets.KindOf(context.Cause(child)))
	fmt.Println(secrets.KindOf(describe(claim, ctx, "by the dead")), secrets.KindOf(claim.Confirm(ctx)))
	// And with what only the database knows to be over.
	l := claim.(*lease)
	l.mu.Lock()
	l.over, l.begun = nil, time.Now()
	l.mu.Unlock()
	fmt.Println(secrets.KindOf(describe(claim, ctx, "by the dead")))
	return nil
}

func TestPausedHolderWritesNothing(t *testing.T) {
	t.Parallel()
	l := at(t, servers.Postgres15)
	db := l.database(t)
	s := hasty(l.open(t, db), 1500*time.Millisecond, 700*time.Millisecond)
	a := createSecret(t, s, 0)

	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, l.config(db).DSN)
	cmd.Env = append(os.Environ(), childEnv+"=hold")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	want := func(line string) {
		t.Helper()
		if lines.Scan(); lines.Text() != line {
			t.Fatalf("the child says %q instead of %q", lines.Text(), line)
		}
	}
	want("held")
	if _, err := s.Lock(t.Context(), a); service.HeldBy(err) == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", cmd.Process.Pid)) {
		t.Fatalf("error %v does not name process %d", err, cmd.Process.Pid)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// The child may have a transaction open, and its rows locked: then the claim is
	// free when the server has ended that.
	claim := lockSoon(t, s, a)
	if err := describe(claim, t.Context(), "by the living"); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	want("true true true conflict")
	want("conflict conflict")
	want("conflict")
	got, err := strict(s).Find(t.Context(), secrets.ID{ARN: a})
	if err != nil || got.Description != "by the living" {
		t.Errorf("the secret was written %s; error %v", got.Description, err)
	}
	if err := claim.Confirm(t.Context()); err != nil {
		t.Error(err)
	}
	claim.Release()
}

// A claim outlives a cut that is shorter than what it is relied on, and ends in time
// when it is longer.
func TestCutBetweenHolderAndDatabase(t *testing.T) {
	t.Parallel()
	l := at(t, servers.Postgres15)
	db := l.database(t)
	g := newGate(t, l.Server)
	const leaseTime, guard = 3 * time.Second, 1400 * time.Millisecond
	far := hasty(openStore(t, g.config(l, l.config(db))), leaseTime, guard)
	near := hasty(l.open(t, db), leaseTime, guard)
	a := createSecret(t, near, 0)
	claim := mustLock(t, far, a)
	ctx := claim.Context(t.Context())

	// Confirm is on its way when the connection is cut, and finds another one.
	g.cut()
	confirmed := make(chan error)
	go func() { confirmed <- claim.Confirm(t.Context()) }()
	waits(t, far)
	g.mend()
	if err := <-confirmed; err != nil || ctx.Err() != nil {
		t.Fatalf("error %v, %v", err, ctx.Err())
	}
	// Renewals keep it for longer than a lease.
	for end := time.Now().Add(leaseTime); time.Now().Before(end); {
		if _, err := near.Lock(t.Context(), a); secrets.KindOf(err) != secrets.Conflict {
			t.Fatal(err)
		}
	}
	before, _ := secrets.EndOf(ctx)
	g.cut()
	<-ctx.Done()
	if late := time.Since(before); late > time.Second || secrets.KindOf(context.Cause(ctx)) != secrets.Conflict {
		t.Errorf("it ended %v late, because of %v", late, context.Cause(ctx))
	}
	if _, err := near.Lock(t.Context(), a); secrets.KindOf(err) != secrets.Conflict {
		t.Errorf("the claim is free before its guard is over: %v", err)
	}
	if err := claim.Confirm(t.Context()); secrets.KindOf(err) != secrets.Conflict {
		t.Errorf("error %v", err)
	}
	lockSoon(t, near, a).Release()
	g.mend()
	if err := describe(claim, t.Context(), "late"); secrets.KindOf(err) != secrets.Conflict {
		t.Errorf("error %v", err)
	}
	claim.Release()
	mustLock(t, near, a).Release()
}

// waits returns when somebody waits for a renewal.
func waits(t testing.TB, s *Store) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s.desk.Lock()
		n := len(s.confirms)
		s.desk.Unlock()
		if n > 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatal("nobody waits")
		}
	}
}

// The server has made the claim, and its answer is lost: the same process gets it
// when it asks again, and nobody else does.
func TestClaimWhoseAnswerIsLost(t *testing.T) {
	l := at(t, servers.Postgres15)
	db := l.database(t)
	g := newGate(t, l.Server)
	far, near := openStore(t, g.config(l, l.config(db))), l.open(t, db)
	a := createSecret(t, near, 0)
	mustLock(t, far, a).Release() // its connection is there
	lost := g.loseNext()
	claim := mustLock(t, far, a)
	select {
	case <-lost:
	default:
		t.Fatal("no answer was lost")
	}
	_, err := near.Lock(t.Context(), a)
	if service.HeldBy(err) == nil {
		t.Errorf("error %v", err)
	}
	if err := describe(claim, t.Context(), "x"); err != nil {
		t.Error(err)
	}
	// That a claim was given up is told again, too.
	lost = g.loseNext()
	claim.Release()
	<-lost
	mustLock(t, near, a).Release()
}

func TestClaimThatNobodyWaitsForIsFree(t *testing.T) {
	l := at(t, servers.Postgres15)
	db := l.database(t)
	s, other := l.open(t, db), l.open(t, db)
	a := createSecret(t, s, 0)
	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Microsecond)
		claim, err := s.Lock(ctx, a)
		cancel()
		if err == nil {
			claim.Release()
		} else if secrets.KindOf(err) != secrets.Transient {
			t.Fatal(err)
		}
		lockSoon(t, other, a).Release()
	}
}

// Of several who ask for one claim in one request it is for one who still waits; and
// for nobody where the store is closed meanwhile.
func TestClaimIsForWhoWaits(t *testing.T) {
	l := at(t, servers.Postgres15)
	s := l.open(t, l.database(t))
	a := createSecret(t, s, 0)
	request := func(meanwhile func(first *asking)) (first, second *asking) {
		first, second = &asking{arn: a, done: make(chan struct{})}, &asking{arn: a, done: make(chan struct{})}
		s.desk.Lock()
		s.claimer = true // this test
		s.desk.Unlock()
		for _, who := range []*asking{first, second} {
			if err := s.ask(who); err != nil {
				t.Fatal(err)
			}
		}
		meanwhile(first)
		for s.claimOnce() {
		}
		return first, second
	}
	first, second := request(func(first *asking) { s.leave(first) })
	if first.lease != nil && first.lease.lost() == nil || second.err != nil || second.lease == nil {
		t.Fatalf("who waits got %v", second.err)
	}
	second.lease.Release()
	if _, second = request(func(*asking) {
		s.desk.Lock()
		defer s.desk.Unlock()
		s.shut = true
	}); second.err == nil {
		t.Error("a closed store gave a claim")
	}
	if n := value[int](t, l, s.pool.Config().ConnConfig.Database, "SELECT count(*) FROM pawl.leases"); n != 0 {
		t.Errorf("%d claims are left", n)
	}
}

// Somebody stopped in the middle of a transaction that has locked a secret, and the
// claim of another one. Claims wait for neither.
func TestClaimsWaitForNobodysRow(t *testing.T) {
	l := at(t, servers.Postgres15)
	db := l.database(t)
	s, other := l.open(t, db), l.open(t, db)
	for n := range 3 {
		createSecret(t, s, n)
	}
	mine := mustLock(t, s, arn(1)) // will have ended, and its row is locked
	l.expirer(t, db)(t, arn(1))

	config, err := l.PostgresConfig(l.Admin, l.AdminPassword, db)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"SELECT 1 FROM pawl.secrets FOR UPDATE", "SELECT 1 FROM pawl.leases FOR UPDATE"} {
		if _, err := tx.Exec(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	var all sync.WaitGroup
	claims := make([]service.Lease, 3)
	errs := make([]error, 3)
	for n := range 3 {
		all.Go(func() { claims[n], errs[n] = other.Lock(ctx, arn(n)) })
	}
	all.Wait()
	if errs[0] != nil || errs[2] != nil || secrets.KindOf(errs[1]) != secrets.Conflict {
		t.Fatal(errs)
	}
	if err := claims[0].Confirm(ctx); err != nil {
		t.Error(err)
	}
	claims[0].Release()
	claims[2].Release()
	begun := time.Now()
	mine.Release() // waits no longer than farewell
	if took := time.Since(begun); took > farewell+2*time.Second {
		t.Errorf("a release took %v", took)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustLock(t, other, arn(1)).Release()
}

func TestClaimsOutliveARestartOfTheServer(t *testing.T) {
	t.Parallel()
	server := servertest.Start(t, servers.Postgres18, servers.Options{})
	l := &lab{Server: server}
	l.makeRoles(t)
	db := l.database(t)
	s, other := l.open(t, db), l.open(t, db)
	a := createSecret(t, s, 0)
	createSecret(t, s, 1)
	claim := mustLock(t, s, a)
	ctx := claim.Context(t.Context())
	if err := describe(claim, t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	if err := server.Kill(); err != nil {
		t.Fatal(err)
	}
	// What only reads waits for the server to be back; so do claims.
	type result struct {
		what string
		err  error
	}
	results := make(chan result, 10)
	waiting := 0
	ask := func(what string, f func() error) {
		waiting++
		go func() { results <- result{what, f()} }()
	}
	ask("Find", func() error { _, err := strict(other).Find(t.Context(), secrets.ID{ARN: a}); return err })
	ask("Value", func() error {
		_, err := other.Value(t.Context(), a, versionID(1))
		if errors.Is(err, service.ErrNotFound) {
			return nil
		}
		return err
	})
	ask("List", func() error {
		_, err := other.List(t.Context(), service.Listing{Account: a.Account, Region: a.Region, N: 9})
		return err
	})
	ask("SettingsRevision", func() error { _, err := other.SettingsRevision(t.Context()); return err })
	ask("Due", func() error { _, err := other.Due(t.Context(), time.Now(), service.DueAfter{}, 9); return err })
	ask("Confirm", func() error { return claim.Confirm(t.Context()) })
	ask("Lock", func() error {
		claim, err := other.Lock(t.Context(), arn(1))
		if err == nil {
			claim.Release()
		}
		return err
	})
	if err := server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range waiting {
		if r := <-results; r.err != nil {
			t.Errorf("%s: %v", r.what, r.err)
		}
	}
	if ctx.Err() != nil {
		t.Fatal(context.Cause(ctx))
	}
	_, err := other.Lock(t.Context(), a)
	if service.HeldBy(err) == nil {
		t.Errorf("error %v", err)
	}
	if err := describe(claim, t.Context(), "after"); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	mustLock(t, other, a).Release() // Close has given it up
	if _, err := s.Lock(t.Context(), a); secrets.KindOf(err) != secrets.Invalid {
		t.Errorf("a store that is closed: %v", err)
	}
}

// All that writes secrets and claims at once, on few secrets: nobody waits for
// somebody who waits for him.
func TestClaimsAndWritesDoNotDeadlock(t *testing.T) {
	l := at(t, servers.Postgres18)
	db := l.database(t)
	const n = 3
	stores := []*Store{l.open(t, db), l.open(t, db), l.open(t, db)}
	for i := range n {
		createSecret(t, stores[0], i)
	}
	expire := l.expirer(t, db)
	var all sync.WaitGroup
	check := func(what string, err error) {
		switch k := secrets.KindOf(err); {
		case err == nil, k == secrets.Conflict, errors.Is(err, service.ErrNotFound), errors.Is(err, service.ErrExists):
		default:
			t.Errorf("%s: %v", what, err)
		}
	}
	for w := range 9 {
		s := stores[w%len(stores)]
		all.Go(func() {
			for i := range 25 {
				a := arn((w + i) % n)
				claim, err := s.Lock(t.Context(), a)
				check("Lock", err)
				if err == nil {
					check("Confirm", claim.Confirm(t.Context()))
					check("Update", describe(claim, t.Context(), "x"))
					if i%10 == 9 {
						_, err := claim.Update(t.Context(), func(*service.Secret) (service.Sealed, error) { return nil, service.ErrRemove })
						check("removing", err)
					}
					claim.Release()
				}
				_, err = s.Update(t.Context(), a, func(sec *service.Secret) (service.Sealed, error) { return nil, nil })
				check("Update", err)
				if i%5 == 4 {
					check("Remove", s.Remove(t.Context(), arn((w+i+1)%n)))
				}
				for i := range n {
					check("Create", s.Create(t.Context(), &service.Secret{ARN: arn(i)}, nil))
				}
			}
		})
	}
	stop := make(chan struct{})
	var expirer sync.WaitGroup
	expirer.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				expire(t, arn(i%n))
			}
		}
	})
	all.Wait()
	close(stop)
	expirer.Wait()
}
