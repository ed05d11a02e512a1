package postgres

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/pawlhq/pawl/secrets"
)

// How long the parts of a transaction may take. The server's own limits on a
// session are shorter than what waits for them here, so that its answer comes.
const (
	beginTime = 10 * time.Second
	endTime   = 10 * time.Second
	lookTime  = 5 * time.Second // for finding out what became of a COMMIT
)

// transaction is one that reads, decides and writes, in two round trips: what it
// reads is sent along with BEGIN, what it writes along with COMMIT.
type transaction struct {
	// read queues what is read. What comes first locks the row that all who write
	// the same thing lock. It is called again where a connection breaks before there
	// is an answer; so are the functions that it gives to the batch. Their errors
	// end the transaction.
	read func(*pgx.Batch)
	// write decides what is written, once, when read has been answered. Its error is
	// returned as it is, and nothing is written. What it queues is sent at once with
	// COMMIT: only an error of the server's own takes it back.
	write func(*pgx.Batch) error
	// taken is the error of what must be unique and is not; nil = that can't be.
	taken error
	// touches are the places of secrets that are written.
	touches []place
	// look finds out, after a COMMIT that was not answered, whether what was written
	// is there. It gets a batch within a transaction of its own, in which it locks
	// the same row, so that it waits for the one in question; the outcome is read
	// when the batch has been answered. nil = what was written may be written again:
	// then such an error is Transient.
	look func(*pgx.Batch) (outcome func() outcome)
}

// outcome is what became of a COMMIT that was not answered.
type outcome int

const (
	nobodyKnows outcome = iota
	kept
	dropped
)

// transact runs a transaction. When it returns nil, what was written is on the
// server's disk. An error of kind Unknown says that nobody knows.
func (s *Store) transact(ctx context.Context, t *transaction) error {
	conn, err := s.begin(ctx, t.read)
	if err != nil {
		return err
	}
	free := sync.OnceFunc(func() { // also when write panics
		rollback(ctx, conn)
		conn.Release()
	})
	defer free()
	b := &pgx.Batch{}
	if err := t.write(b); err != nil {
		return err
	}
	s.writing(t.touches...)
	defer s.wrote(t.touches...)
	err = commit(ctx, conn, b)
	if err == nil {
		return nil
	}
	free() // whoever looks needs one, and as many may look as there are
	if refused(err) {
		var pe *pgconn.PgError
		if t.taken != nil && errors.As(err, &pe) && pe.Code == uniqueViolation {
			return t.taken
		}
		return s.classify(err)
	}
	err = s.classify(err)
	if t.look == nil {
		return secrets.Prefixed(err, "it may have been written or not")
	}
	switch s.look(ctx, t.look) {
	case kept:
		return nil
	case dropped:
		return err
	}
	return nobodyCanSay(err)
}

// begin begins a transaction and reads. A connection that breaks meanwhile has
// changed nothing, so that another one is tried.
func (s *Store) begin(ctx context.Context, read func(*pgx.Batch)) (*pgxpool.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, beginTime)
	defer cancel()
	for try := 1; ; try++ {
		conn, err := s.pool.Acquire(ctx)
		if err != nil {
			return nil, s.classify(err)
		}
		b := &pgx.Batch{}
		b.Queue("begin")
		read(b)
		err = conn.SendBatch(ctx, b).Close()
		if err == nil {
			return conn, nil
		}
		rollback(ctx, conn)
		conn.Release()
		again := lost(err) && try < 4 && ctx.Err() == nil
		err = s.classify(err)
		if !again {
			return nil, err
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(time.Duration(try) * 20 * time.Millisecond)):
		}
	}
}

// commit writes and commits. Whoever waits for it may give up; it goes on.
func commit(ctx context.Context, conn *pgxpool.Conn, b *pgx.Batch) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	b.Queue("commit").Exec(func(tag pgconn.CommandTag) error {
		if tag.String() == "ROLLBACK" {
			return pgx.ErrTxCommitRollback
		}
		return nil
	})
	return conn.SendBatch(ctx, b).Close()
}

// rollback ends a transaction that is open; where that fails, the pool closes its
// connection.
func rollback(ctx context.Context, conn *pgxpool.Conn) {
	if pc := conn.Conn().PgConn(); pc.IsClosed() || pc.TxStatus() == 'I' {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	_, _ = conn.Exec(ctx, "rollback")
}

// look finds out what became of a COMMIT. Its own transaction has something to
// write down, the lock of a row, so that its COMMIT is answered when the server
// has everything before it on its disk, and its replicas have where they must.
func (s *Store) look(ctx context.Context, ask func(*pgx.Batch) func() outcome) outcome {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.lookTime)
	defer cancel()
	for {
		err := func() error {
			conn, err := s.pool.Acquire(ctx)
			if err != nil {
				return err
			}
			defer conn.Release()
			b := &pgx.Batch{}
			b.Queue("begin")
			found := ask(b)
			if err := commit(ctx, conn, b); err != nil {
				rollback(ctx, conn)
				return err
			}
			return &answer{found()}
		}()
		var a *answer
		if errors.As(err, &a) {
			return a.outcome
		}
		_ = s.classify(err) // notes what broke
		if !pause(ctx) {
			return nobodyKnows
		}
	}
}

// answer carries an outcome out of a function that returns errors.
type answer struct{ outcome }

func (*answer) Error() string { return "" }

// newMark is what a write is known by.
func newMark() int64 { return rand.Int64() }
