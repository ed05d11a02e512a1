package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// No statement about leases waits for a row that somebody else has locked: a process
// that stopped in the middle of a transaction would hold up all the others'. What is
// locked is skipped, and asked about again.
//
// Nor does one join what it has made with what it was asked for: without an index
// that takes as long as the square of their number. They are put together here.
const (
	// claimQuery returns the secrets that there are, by the place in what was asked
	// for, with the claims that there were, and then the claims that it got. It makes the rows that there are not, and takes over those that have
	// ended, and those of this process of which it does not know: the answer to an
	// earlier request was lost. Rows are made in the order of the secrets, because two
	// that make the same wait for each other.
	claimQuery = `WITH asked AS (
			SELECT a.n, a.again, s.id
			FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::boolean[])
				WITH ORDINALITY AS a (account, region, name, suffix, partition, again, n)
			JOIN pawl.secrets s ON s.account = a.account AND s.region = a.region AND s.name = a.name
				AND s.suffix = a.suffix AND s.partition = a.partition
		), ended AS (
			SELECT l.secret_id FROM asked JOIN pawl.leases l ON l.secret_id = asked.id
			WHERE l.until <= clock_timestamp() OR asked.again AND l.owner = $7
			FOR UPDATE OF l SKIP LOCKED
		), taken AS (
			UPDATE pawl.leases l SET epoch = nextval('pawl.lease_epochs'), owner = $7, holder = $8, beat = 0, until = clock_timestamp() + $9::interval
			FROM ended WHERE l.secret_id = ended.secret_id RETURNING l.secret_id, l.epoch
		), made AS (
			INSERT INTO pawl.leases (secret_id, epoch, owner, holder, beat, until)
			SELECT asked.id, nextval('pawl.lease_epochs'), $7, $8, 0, clock_timestamp() + $9::interval FROM asked
			WHERE NOT EXISTS (SELECT FROM pawl.leases l WHERE l.secret_id = asked.id) ORDER BY asked.id
			ON CONFLICT (secret_id) DO NOTHING RETURNING secret_id, epoch
		)
		SELECT asked.n, asked.id, l.epoch, l.holder, l.beat, (1000000 * extract(epoch FROM l.until - clock_timestamp()))::bigint
			FROM asked LEFT JOIN pawl.leases l ON l.secret_id = asked.id
		UNION ALL SELECT 0, secret_id, epoch, NULL, NULL, NULL FROM taken
		UNION ALL SELECT 0, secret_id, epoch, NULL, NULL, NULL FROM made`

	// releaseQuery returns the claims that were there, and then those that are gone:
	// the others were locked.
	releaseQuery = `WITH mine AS (
			SELECT l.secret_id, l.epoch FROM unnest($1::bigint[], $2::bigint[]) AS m (id, epoch)
			JOIN pawl.leases l ON l.secret_id = m.id AND l.epoch = m.epoch AND l.owner = $3
		), free AS (
			SELECT l.secret_id FROM mine JOIN pawl.leases l ON l.secret_id = mine.secret_id AND l.epoch = mine.epoch
			WHERE l.owner = $3 FOR UPDATE OF l SKIP LOCKED
		), gone AS (
			DELETE FROM pawl.leases l USING free WHERE l.secret_id = free.secret_id RETURNING l.epoch
		)
		SELECT epoch, true FROM mine UNION ALL SELECT epoch, false FROM gone`

	// sweepQuery removes what the dead left and nobody took over.
	sweepQuery = `DELETE FROM pawl.leases WHERE secret_id IN (
		SELECT secret_id FROM pawl.leases WHERE until < now() - interval '1 hour' FOR UPDATE SKIP LOCKED)`
	sweepEvery = time.Hour
)

// request is one of the claimer's, for all who came since the last one.
type request struct {
	wanted map[secrets.ARN]*wanted
	given  []*giving
	sweep  bool
	sent   time.Time // right before the last try
}

// wanted is a claim, and what became of it.
type wanted struct {
	again bool // this process has no such claim that it knows of
	id    int64
	got   bool
	epoch int64
	held  *service.Held // by somebody else
	given bool          // somebody has it
}

// send makes the request, in one transaction: what is given up is free for who asks
// for it in the same one. It may be sent again.
func (s *Store) send(ctx context.Context, r *request) error {
	b := &pgx.Batch{}
	if r.sweep {
		b.Queue(sweepQuery)
	}
	if len(r.given) > 0 {
		var ids, epochs []int64
		for _, g := range r.given {
			g.locked = false
			ids, epochs = append(ids, g.lease.id), append(epochs, g.lease.epoch)
		}
		b.Queue(releaseQuery, ids, epochs, s.owner).Query(r.released)
	}
	var order []*wanted
	if len(r.wanted) > 0 {
		var columns [5][]string
		var again []bool
		for a, w := range r.wanted {
			*w = wanted{again: w.again}
			order, again = append(order, w), append(again, w.again)
			for i, v := range [5]string{a.Account, a.Region, a.Name, a.Suffix, a.Partition} {
				columns[i] = append(columns[i], v)
			}
		}
		b.Queue(claimQuery, columns[0], columns[1], columns[2], columns[3], columns[4], again, s.owner, s.holder, s.leaseTime).
			Query(func(rows pgx.Rows) error { return claimed(order, rows) })
	}
	r.sent = time.Now()
	return s.own.SendBatch(ctx, b).Close()
}

// released reads the answer to releaseQuery.
func (r *request) released(rows pgx.Rows) error {
	there := map[int64]bool{}
	var epoch int64
	var is bool
	_, err := pgx.ForEachRow(rows, []any{&epoch, &is}, func() error {
		there[epoch] = is
		return nil
	})
	for _, g := range r.given {
		g.locked = there[g.lease.epoch]
	}
	return err
}

// claimed reads the answer to claimQuery.
func claimed(order []*wanted, rows pgx.Rows) error {
	byID := make(map[int64]*wanted, len(order))
	var n, id int64
	var epoch, beat, left *int64
	var holder *string
	_, err := pgx.ForEachRow(rows, []any{&n, &id, &epoch, &holder, &beat, &left}, func() error {
		if n == 0 {
			w := byID[id]
			w.got, w.epoch = true, *epoch
			return nil
		}
		w := order[n-1]
		w.id, byID[id] = id, w
		if epoch != nil && *left > 0 {
			w.held = &service.Held{By: *holder, Epoch: *epoch, Beat: *beat, Left: time.Duration(*left) * time.Microsecond}
		}
		return nil
	})
	return err
}
