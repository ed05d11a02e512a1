package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	driver "modernc.org/sqlite"
	code "modernc.org/sqlite/lib"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// writerConn is the one connection that writes. Whoever has the turn uses it.
// No statement on it gets a caller's context: waiting happens before a
// transaction, and a transaction that has begun is short and runs to its end.
//
// Writers that stand in line share a transaction, because what a write costs is
// the disk's sync at the end: each makes its change when its turn comes, and
// the last in line commits for all of them.
type writerConn struct {
	path  string
	cache *cache // of the readers
	turn  turn
	db    *sql.DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt // prepared on conn, by text
	wait  time.Duration        // for writers in other processes
	open  *batch               // the transaction that has begun; nil = none
	shut  bool                 // guarded by turn
}

// batch is a transaction with everybody who has a part in it.
type batch struct {
	members int
	touched []place       // whose secrets may have been written
	from    int64         // the clock before the first of them was
	done    chan struct{} // closed after the commit
	err     error         // of the commit; read after done
}

// maxBatch limits how long other processes and the first in line wait.
const maxBatch = 64

// transact runs do in a transaction that excludes every other writer, and
// returns when it is on the disk. An error of do takes back what do did and is
// returned as it is.
func (w *writerConn) transact(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, w.wait)
	defer cancel()
	b, err := w.begin(ctx)
	if err != nil {
		return err
	}
	err = w.join(b, do)
	<-b.done
	// A failed do may have failed because of what others did in the same
	// transaction, so its error counts only if that was kept.
	if b.err != nil {
		return b.err
	}
	return err
}

// begin waits for the turn and sees to it that a transaction is open.
func (w *writerConn) begin(ctx context.Context) (_ *batch, err error) {
	if err := w.turn.take(ctx); err != nil {
		return nil, classify(w.path, err)
	}
	defer func() {
		if err != nil {
			w.turn.pass()
		}
	}()
	if w.shut {
		return nil, classify(w.path, errClosed)
	}
	if w.open == nil {
		if err := w.whenFree(ctx, func() error { return w.run("BEGIN IMMEDIATE") }); err != nil {
			return nil, err
		}
		w.open = &batch{done: make(chan struct{})}
	}
	return w.open, nil
}

// join runs do as a part of b, takes back what it did if it fails or panics,
// and gives up the turn.
func (w *writerConn) join(b *batch, do func() error) (err error) {
	first, kept := b.members == 0, false
	b.members++
	defer func() {
		if !kept {
			w.takeBack(b, first, err)
		}
		w.leave(b)
	}()
	if !first {
		if err := w.run("SAVEPOINT member"); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if !first {
		if err := w.run("RELEASE member"); err != nil {
			return err
		}
	}
	kept = true
	return nil
}

// takeBack undoes the last part of b, which failed with err.
func (w *writerConn) takeBack(b *batch, first bool, err error) {
	if first {
		_ = w.run("ROLLBACK") // fails only if SQLite did it already
		w.end(b, nil)
		return
	}
	back := errors.Join(w.run("ROLLBACK TO member"), w.run("RELEASE member"))
	if back == nil {
		return
	}
	// SQLite has taken back the whole transaction, as it may when the disk is
	// full: nobody's part is kept.
	var cause *driver.Error
	if errors.As(err, &cause) {
		back = err
	}
	_ = w.run("ROLLBACK")
	w.end(b, back)
}

// leave passes the turn, and b with it if somebody is there to take it over;
// otherwise it commits first.
func (w *writerConn) leave(b *batch) {
	if w.open == b {
		if b.members < maxBatch && w.turn.passOn() {
			return
		}
		w.commit(b)
	}
	w.turn.pass()
}

func (w *writerConn) commit(b *batch) {
	var to int64
	var err error
	if len(b.touched) > 0 {
		err = w.one(&to, clockQuery)
	}
	if err == nil {
		w.cache.begin()
		err = w.run("COMMIT")
		w.cache.end(err, b.from, to, b.touched)
	}
	if err != nil {
		_ = w.run("ROLLBACK") // fails only if SQLite did it already
	}
	w.end(b, err)
}

// touch says that the secret with this ARN is about to be written. Writers are
// alone, so what the clock does between the first touch and the commit is
// theirs.
func (w *writerConn) touch(a secrets.ARN) error {
	if len(w.open.touched) == 0 {
		if err := w.one(&w.open.from, clockQuery); err != nil {
			return err
		}
	}
	w.open.touched = append(w.open.touched, placeOf(a))
	return nil
}

// end tells everybody in b how it came out.
func (w *writerConn) end(b *batch, err error) {
	w.open = nil
	b.err = err
	close(b.done)
}

// whenFree repeats try while another process holds the file. It asks often: a
// busy writer leaves gaps of microseconds, and SQLite's own schedule, which
// soon sleeps a tenth of a second, would miss them all.
func (w *writerConn) whenFree(ctx context.Context, try func() error) error {
	for pause := 250 * time.Microsecond; ; pause = min(2*pause, 4*time.Millisecond) {
		err := try()
		var e *driver.Error
		if !errors.As(err, &e) || e.Code()&0xff != code.SQLITE_BUSY {
			return classify(w.path, err)
		}
		select {
		case <-ctx.Done():
			return classify(w.path, err)
		case <-time.After(pause/2 + rand.N(pause/2)):
		}
	}
}

func (w *writerConn) prepare(query string) (*sql.Stmt, error) {
	if stmt := w.stmts[query]; stmt != nil {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(context.Background(), query)
	if err != nil {
		return nil, classify(w.path, err)
	}
	w.stmts[query] = stmt
	return stmt, nil
}

// exec runs a statement and returns how many rows it changed.
func (w *writerConn) exec(query string, args ...any) (int64, error) {
	stmt, err := w.prepare(query)
	if err != nil {
		return 0, err
	}
	r, err := stmt.Exec(args...)
	if err != nil {
		return 0, classify(w.path, err)
	}
	return r.RowsAffected()
}

// one runs a query that has one result, or fails with sql.ErrNoRows.
func (w *writerConn) one(dest any, query string, args ...any) error {
	stmt, err := w.prepare(query)
	if err != nil {
		return err
	}
	err = stmt.QueryRow(args...).Scan(dest)
	if errors.Is(err, sql.ErrNoRows) {
		return err
	}
	return classify(w.path, err)
}

func (w *writerConn) run(query string) error {
	_, err := w.exec(query)
	return err
}

// read returns the secret with exactly this ARN.
func (w *writerConn) read(a secrets.ARN) (*stored, error) {
	found, err := readOne(func() (*sql.Rows, error) {
		stmt, err := w.prepare(readQuery)
		if err != nil {
			return nil, err
		}
		return stmt.Query(a.Account, a.Region, a.Name)
	})
	if err != nil {
		return nil, classify(w.path, err)
	}
	if found == nil || found.cols[0] != a.Partition || found.cols[4] != a.Suffix {
		return nil, service.ErrNotFound
	}
	return found, nil
}

var errClosed = errors.New("the store is closed")

// close waits for whoever is writing. It is called once.
func (w *writerConn) close() error {
	if err := w.turn.take(context.Background()); err != nil {
		return err
	}
	defer w.turn.pass()
	w.shut = true
	if w.open != nil { // it was passed on to us
		w.commit(w.open)
	}
	// Where other processes have the file open, SQLite does not do this by
	// itself. What they are using stays in the log.
	return errors.Join(w.run("PRAGMA wal_checkpoint(PASSIVE)"), w.disconnect())
}

// disconnect closes the connection. With a statement left open SQLite would
// only pretend to, and leave its helper files behind.
func (w *writerConn) disconnect() error {
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}

// turn is a mutex that is passed on in order of arrival, and knows whether
// somebody waits.
type turn struct {
	mu    sync.Mutex
	taken bool
	line  []chan struct{} // each gets one token when its turn comes
}

// take waits for the turn, or until ctx ends.
func (t *turn) take(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	t.mu.Lock()
	if !t.taken {
		t.taken = true
		t.mu.Unlock()
		return nil
	}
	mine := make(chan struct{}, 1)
	t.line = append(t.line, mine)
	t.mu.Unlock()
	select {
	case <-mine:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.line, mine); i >= 0 {
		t.line = slices.Delete(t.line, i, i+1)
		return ctx.Err()
	}
	return nil // it came in the same moment, and is not ours to drop
}

// passOn gives the turn to the next in line, and reports whether there is one;
// if not, the caller keeps it.
func (t *turn) passOn() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.line) == 0 {
		return false
	}
	t.line[0] <- struct{}{}
	t.line = t.line[1:]
	return true
}

// pass gives the turn back.
func (t *turn) pass() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.line) == 0 {
		t.taken = false
		return
	}
	t.line[0] <- struct{}{}
	t.line = t.line[1:]
}
