package postgres

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

const (
	// createQuery writes a secret and its values, unless its name is taken.
	createQuery = `WITH made AS (
			INSERT INTO pawl.secrets (account, region, name, suffix, partition, record, created, changed, accessed,
				due_at, purge_at, follow_at, current_version, mark)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
			ON CONFLICT (account, region, name) DO NOTHING RETURNING id
		), filled AS (
			INSERT INTO pawl.sealed_values (secret_id, version_id, value)
			SELECT made.id, v.id, v.value FROM made, unnest($15::text[], $16::bytea[]) AS v (id, value)
		) SELECT count(*) FROM made`
	// exactQuery finds a secret that was made by this mark, or has been written since
	// and has its ARN, of which six characters are random.
	exactQuery = `SELECT 1 FROM pawl.secrets WHERE account = $1 AND region = $2 AND name = $3 AND suffix = $4 AND partition = $5
		AND (mark = $6 OR writes > 0) FOR NO KEY UPDATE`

	// readQuery locks the row, but not against who only refers to it: leases.
	readQuery  = "SELECT " + secretColumns + " FROM pawl.secrets s WHERE s.account = $1 AND s.region = $2 AND s.name = $3 FOR NO KEY UPDATE"
	lookQuery  = "SELECT writes, mark FROM pawl.secrets WHERE id = $1 FOR NO KEY UPDATE"
	writeQuery = `UPDATE pawl.secrets SET record = $2, created = $3, changed = $4, accessed = $5, due_at = $6, purge_at = $7,
		follow_at = $8, current_version = $9, mark = $10, writes = writes + 1 WHERE id = $1`
	fillQuery = `INSERT INTO pawl.sealed_values (secret_id, version_id, value)
		SELECT $1, v.id, v.value FROM unnest($2::text[], $3::bytea[]) AS v (id, value)
		ON CONFLICT (secret_id, version_id) DO UPDATE SET value = excluded.value`
	emptyQuery  = "DELETE FROM pawl.sealed_values WHERE secret_id = $1 AND version_id = ANY ($2::text[])"
	deleteQuery = "DELETE FROM pawl.secrets WHERE id = $1"
	removeQuery = `WITH gone AS (
			DELETE FROM pawl.secrets WHERE account = $1 AND region = $2 AND name = $3 AND suffix = $4 AND partition = $5 RETURNING id
		) SELECT count(*) FROM gone`
)

// indexed are the values of a record's columns, from created to current_version.
func indexed(s *service.Secret) []any {
	return []any{
		micros1970(s.Created), micros1970(s.Changed), micros1970(s.Accessed),
		micros(s.DueAt), micros(s.PurgeAt), micros(s.FollowAt), currentVersion(s),
	}
}

// columns are ids and values as the database takes them, in the order of the ids.
func columns(values service.Sealed) (ids []string, sealed [][]byte) {
	ids = slices.Sorted(maps.Keys(values))
	for _, id := range ids {
		sealed = append(sealed, values[id])
	}
	return ids, sealed
}

// Create implements service.Store. It is one statement. Where that is not answered,
// it is sent again: then it waits for the first one to end, and finds itself done if
// the name is taken by this very secret.
func (s *Store) Create(ctx context.Context, sec *service.Secret, values service.Sealed) error {
	text, err := encode(sec, values, nil)
	if err != nil {
		return err
	}
	a, mark := sec.ARN, newMark()
	ids, sealed := columns(values)
	args := append([]any{a.Account, a.Region, a.Name, a.Suffix, a.Partition, text}, indexed(sec)...)
	args = append(args, mark, ids, sealed)
	s.writing(placeOf(a))
	defer s.wrote(placeOf(a))
	var made int
	sent, err := s.once(ctx, createQuery, args, &made)
	if err == nil && made == 0 {
		return service.ErrExists
	}
	if !sent {
		return err
	}
	last := err
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), s.lookTime)
	defer end()
	for {
		_, err := s.once(ctx, createQuery, args, &made)
		if err == nil && made == 0 {
			var one int
			_, err = s.once(ctx, exactQuery, []any{a.Account, a.Region, a.Name, a.Suffix, a.Partition, mark}, &one)
			if errors.Is(err, pgx.ErrNoRows) {
				return service.ErrExists
			}
		}
		if err == nil {
			return nil
		}
		if last = err; !pause(ctx) {
			return nobodyCanSay(last)
		}
	}
}

// once runs a statement that has one result and is a transaction of its own.
// Whoever waits for it may give up; it goes on. sent is whether an error leaves open
// that it was done. No row is pgx.ErrNoRows.
func (s *Store) once(ctx context.Context, query string, args []any, dest ...any) (sent bool, err error) {
	wait, cancel := context.WithTimeout(ctx, beginTime)
	defer cancel()
	conn, err := s.pool.Acquire(wait)
	if err != nil {
		return false, s.classify(err)
	}
	defer conn.Release()
	run, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
	defer cancel()
	err = conn.QueryRow(run, query, args...).Scan(dest...)
	if err == nil || errors.Is(err, pgx.ErrNoRows) {
		return false, err
	}
	return !refused(err), s.classify(err)
}

// Update implements service.Store.
func (s *Store) Update(ctx context.Context, arn secrets.ARN, change func(*service.Secret) (service.Sealed, error)) (*service.Secret, error) {
	return s.update(ctx, arn, nil, change)
}

// update is Update with more to read in its transaction, after the secret is locked
// and before change runs. also may be called again, as the functions that it gives
// to the batch, whose errors end the transaction and are returned as they are.
func (s *Store) update(ctx context.Context, arn secrets.ARN, also func(*pgx.Batch),
	change func(*service.Secret) (service.Sealed, error),
) (out *service.Secret, err error) {
	if !columnText(arn.Account, arn.Region, arn.Name) {
		return nil, service.ErrNotFound
	}
	var old *stored
	t := transaction{touches: []place{placeOf(arn)}}
	t.read = func(b *pgx.Batch) {
		b.Queue(readQuery, arn.Account, arn.Region, arn.Name).QueryRow(func(row pgx.Row) error {
			old = &stored{}
			err := row.Scan(old.dest()...)
			if errors.Is(err, pgx.ErrNoRows) || err == nil && old.arn != arn {
				return service.ErrNotFound
			}
			return err
		})
		if also != nil {
			also(b)
		}
	}
	mark, removed := newMark(), false
	t.write = func(b *pgx.Batch) error {
		sec, err := old.decode()
		if err != nil {
			return err
		}
		had := filled(sec)
		values, err := change(sec)
		if errors.Is(err, service.ErrRemove) {
			out, removed = sec, true
			b.Queue(deleteQuery, old.id)
			return nil
		}
		if err != nil {
			return err
		}
		if sec.ARN != arn {
			return secrets.Errorf(secrets.Invalid, "the ARN of secret %q cannot change", arn.Name)
		}
		next := &stored{arn: arn}
		if next.record, err = encode(sec, values, had); err != nil {
			return err
		}
		if queueChange(b, old, next, sec, values, had, mark); b.Len() == 0 {
			t.touches = nil
		}
		out, err = next.decode()
		return err
	}
	t.look = func(b *pgx.Batch) func() outcome {
		found := nobodyKnows
		b.Queue(lookQuery, old.id).QueryRow(func(row pgx.Row) error {
			var writes, last int64
			err := row.Scan(&writes, &last)
			switch {
			case errors.Is(err, pgx.ErrNoRows):
				if found = nobodyKnows; removed {
					found = kept
				}
				return nil
			case err != nil:
				return err
			}
			found = whatBecame(old.writes, writes, last == mark)
			return nil
		})
		return func() outcome { return found }
	}
	if err := s.transact(ctx, &t); err != nil {
		return nil, err
	}
	return out, nil
}

// whatBecame says what became of a write of a row that had been written so often
// before, and now has been so often, last by this write or not.
func whatBecame(before, now int64, mine bool) outcome {
	switch {
	case mine:
		return kept
	case now <= before+1: // the one after, if there is one, was another
		return dropped
	}
	return nobodyKnows
}

// queueChange queues what makes old, a stored secret, the next one, of which sec is
// the record; nothing where they are the same.
func queueChange(b *pgx.Batch, old, next *stored, sec *service.Secret, values service.Sealed, had map[string]bool, mark int64) {
	var gone []string
	for id := range had {
		if _, ok := sec.Versions.Find(id); !ok {
			gone = append(gone, id)
		}
	}
	if next.record == old.record && len(values) == 0 {
		return
	}
	b.Queue(writeQuery, append(append([]any{old.id, next.record}, indexed(sec)...), mark)...)
	if len(gone) > 0 {
		b.Queue(emptyQuery, old.id, gone)
	}
	if len(values) > 0 {
		ids, sealed := columns(values)
		b.Queue(fillQuery, old.id, ids, sealed)
	}
}

// Remove implements service.Store.
func (s *Store) Remove(ctx context.Context, a secrets.ARN) error {
	if !columnText(a.Account, a.Region, a.Name, a.Suffix, a.Partition) {
		return service.ErrNotFound
	}
	s.writing(placeOf(a))
	defer s.wrote(placeOf(a))
	args := []any{a.Account, a.Region, a.Name, a.Suffix, a.Partition}
	return s.twice(ctx, func(ctx context.Context, before bool) (sent bool, err error) {
		var n int
		sent, err = s.once(ctx, removeQuery, args, &n)
		if err == nil && n == 0 && !before {
			err = service.ErrNotFound
		}
		return sent, err
	})
}

const rememberedQuery = "SELECT value FROM pawl.meta WHERE name = $1"

// Remember keeps value under name unless something is kept there already, and
// returns what is kept there now. It writes only what is new.
func (s *Store) Remember(ctx context.Context, name string, value []byte) (kept []byte, err error) {
	look := func(ctx context.Context) error {
		err := s.pool.QueryRow(ctx, rememberedQuery, name).Scan(&kept)
		if errors.Is(err, pgx.ErrNoRows) {
			return service.ErrNotFound
		}
		return s.classify(err)
	}
	if err := s.retry(ctx, look); !errors.Is(err, service.ErrNotFound) {
		return kept, err
	}
	err = s.twice(ctx, func(ctx context.Context, _ bool) (bool, error) {
		return s.once(ctx, `WITH made AS (
				INSERT INTO pawl.meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING RETURNING name
			) SELECT count(*) FROM made`, []any{name, value}, new(int))
	})
	if err != nil {
		return nil, err
	}
	return kept, s.retry(ctx, look)
}

// Keep implements seal.Store.
func (s *Store) Keep(ctx context.Context, name string, value []byte) error {
	return s.twice(ctx, func(ctx context.Context, _ bool) (bool, error) {
		return s.once(ctx, `WITH made AS (
				INSERT INTO pawl.meta (name, value) VALUES ($1, $2)
				ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE meta.value <> excluded.value RETURNING name
			) SELECT count(*) FROM made`, []any{name, value}, new(int))
	})
}

// twice runs a write that may be done twice, once more where it was sent and not
// answered. before is whether it may have been done already.
func (s *Store) twice(ctx context.Context, write func(ctx context.Context, before bool) (sent bool, err error)) error {
	sent, err := write(ctx, false)
	if !sent {
		return err
	}
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), s.lookTime)
	defer end()
	for sent || secrets.KindOf(err) == secrets.Transient {
		if !pause(ctx) {
			return nobodyCanSay(err)
		}
		if sent, err = write(ctx, true); err == nil {
			return nil
		}
	}
	return err
}

// pause waits a little, and reports whether there is time for another try.
func pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(50*time.Millisecond + rand.N(100*time.Millisecond)):
		return true
	}
}

func nobodyCanSay(err error) error {
	return secrets.Errorf(secrets.Unknown, "nobody can say whether it was written: %w", err).WithHint("look whether it was, when the database is back")
}
