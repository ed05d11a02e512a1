package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// readSettingsRevision asks the database.
func (s *Store) readSettingsRevision(ctx context.Context) (revision int64, err error) {
	err = s.pool.QueryRow(ctx, "SELECT revision FROM pawl.settings").Scan(&revision)
	return revision, s.classify(err)
}

// changeSettings runs a transaction that keeps all other writers of settings out:
// the row of their revision is locked before anything is read. A COMMIT that was not
// answered has left its mark, or was followed by others. taken is the error of what
// must be unique and is not.
func (s *Store) changeSettings(ctx context.Context, read func(*pgx.Batch), write func(*pgx.Batch) error, taken error) error {
	const lock = "SELECT revision, mark FROM pawl.settings FOR NO KEY UPDATE"
	var before, last int64
	mark := newMark()
	defer s.wroteSettings()
	return s.transact(ctx, &transaction{
		taken: taken,
		read: func(b *pgx.Batch) {
			b.Queue(lock).QueryRow(func(row pgx.Row) error { return row.Scan(&before, &last) })
			if read != nil {
				read(b)
			}
		},
		write: func(b *pgx.Batch) error {
			queued := b.Len()
			err := write(b)
			if err == nil && b.Len() > queued {
				b.Queue("UPDATE pawl.settings SET mark = $1", mark)
			}
			return err
		},
		look: func(b *pgx.Batch) func() outcome {
			var now, by int64
			b.Queue(lock).QueryRow(func(row pgx.Row) error { return row.Scan(&now, &by) })
			return func() outcome {
				switch {
				case by == mark:
					return kept
				case now == before:
					return dropped
				}
				return nobodyKnows
			}
		},
	})
}
