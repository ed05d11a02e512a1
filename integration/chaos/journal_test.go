//go:build linux

package chaos_test

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// state is a secret as a transaction left it, from the store's own mouth.
type state struct {
	secret string
	at     time.Time // of the commit, by the store's clock, which is the tests' own
	writer int       // the replica, or nobody
	labels map[string]string
	// versions are all there are, oldest first.
	versions []string
}

// change is a password that the target has set.
type change struct {
	at       time.Time // when it was done, to clockGrain
	role     string
	replica  int
	verifier string
}

// journal is what store and target have written down of what was done to them.
type journal struct {
	w *world

	mu     sync.Mutex
	last   int64 // of chaos.writes that was read
	seen   map[int64]bool
	states map[string][]state
	values map[string]secrets.Credentials // by version: each is kept, the store forgets
	wanted map[string]string              // versions whose values are still to be read → secret
}

// newJournal has the store note every write of a secret, in the transaction that
// makes it.
func (w *world) newJournal() *journal {
	w.t.Helper()
	w.exec(storeName,
		"CREATE SCHEMA chaos",
		"CREATE TABLE chaos.writes (n bigserial PRIMARY KEY, name text NOT NULL, record text NOT NULL, port int)",
		`CREATE FUNCTION chaos.wrote() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
			INSERT INTO chaos.writes (name, record, port) VALUES (NEW.name, NEW.record, inet_client_port());
			RETURN NULL;
		END $$`,
		"CREATE TRIGGER chaos AFTER INSERT OR UPDATE ON pawl.secrets FOR EACH ROW EXECUTE FUNCTION chaos.wrote()",
		"INSERT INTO chaos.writes (name, record) SELECT name, record FROM pawl.secrets",
		"CREATE TABLE chaos.claims (epoch bigint PRIMARY KEY, name text NOT NULL, port int, taken bigint, ended timestamptz, at timestamptz NOT NULL DEFAULT clock_timestamp())",
		`CREATE FUNCTION chaos.claimed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
			IF TG_OP = 'INSERT' THEN
				INSERT INTO chaos.claims (epoch, name, port) SELECT NEW.epoch, name, inet_client_port() FROM pawl.secrets WHERE id = NEW.secret_id;
			ELSIF OLD.epoch <> NEW.epoch THEN
				INSERT INTO chaos.claims (epoch, name, port, taken, ended) SELECT NEW.epoch, name, inet_client_port(), OLD.epoch, OLD.until FROM pawl.secrets WHERE id = NEW.secret_id;
			END IF;
			RETURN NULL;
		END $$`,
		"CREATE TRIGGER chaos AFTER INSERT OR UPDATE ON pawl.leases FOR EACH ROW EXECUTE FUNCTION chaos.claimed()")
	j := &journal{w: w, seen: map[int64]bool{}, states: map[string][]state{}, values: map[string]secrets.Credentials{}, wanted: map[string]string{}}
	if err := j.read(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	return j
}

// late is how many numbers of writes may be given out while one of them waits for
// its commit.
const late = 1000

// read reads what is new in the store: what was written, and the values. Writes of
// one secret are numbered in the order of their commits, because its row is
// locked; those of two may come late.
func (j *journal) read(ctx context.Context) error {
	conn, err := j.w.admin(ctx, storeName)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	j.mu.Lock()
	defer j.mu.Unlock()
	rows, err := conn.Query(ctx, `SELECT n, name, record, port, pg_xact_commit_timestamp(xmin) FROM chaos.writes WHERE n > $1 ORDER BY n`, j.last-late)
	if err != nil {
		return err
	}
	var n int64
	var s state
	var record string
	var port *int
	_, err = pgx.ForEachRow(rows, []any{&n, &s.secret, &record, &port, &s.at}, func() error {
		if j.seen[n] {
			return nil
		}
		s := s
		if s.writer = nobody; port != nil {
			s.writer = j.w.atStore.whose(*port, s.at)
		}
		vs, err := versionsOf(record)
		if err != nil {
			return err
		}
		s.labels = map[string]string{}
		for _, v := range vs {
			s.versions = append(s.versions, v.ID)
			for _, l := range v.Labels {
				s.labels[l] = v.ID
			}
			if _, ok := j.values[v.ID]; !ok && !v.Empty {
				j.wanted[v.ID] = s.secret
			}
		}
		j.states[s.secret] = append(j.states[s.secret], s)
		j.seen[n], j.last = true, max(j.last, n)
		return nil
	})
	if err != nil {
		return err
	}
	for id, name := range j.wanted {
		if slices.ContainsFunc(j.w.users, func(u user) bool { return u.secret == name }) {
			// Past the service, which would note that it was read.
			v, err := j.w.value(ctx, name, id)
			if err == nil {
				j.values[id], err = secrets.ParseCredentials(v)
			}
			if err != nil && !errors.Is(err, service.ErrNotFound) { // else it was given up
				return fmt.Errorf("the value of version %s of %s: %w", id, name, err)
			}
		}
		delete(j.wanted, id)
	}
	return nil
}

// of returns what became of a secret.
func (j *journal) of(secret string) []state {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.states[secret])
}

// claim is one of a secret: whoever's it is that it was taken from did not give it
// up.
type claim struct {
	epoch   int64
	secret  string
	replica int
	at      time.Time
	taken   int64     // the epoch of who had it; 0 = nobody
	ended   time.Time // that one, by the store's clock
}

// claims are all there were, in order.
func (j *journal) claims(ctx context.Context) (out []claim, err error) {
	conn, err := j.w.admin(ctx, storeName)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "SELECT epoch, name, coalesce(port, 0), at, coalesce(taken, 0), coalesce(ended, at) FROM chaos.claims ORDER BY epoch")
	if err != nil {
		return nil, err
	}
	var c claim
	var port int
	_, err = pgx.ForEachRow(rows, []any{&c.epoch, &c.secret, &port, &c.at, &c.taken, &c.ended}, func() error {
		c.replica = j.w.atStore.whose(port, c.at)
		out = append(out, c)
		return nil
	})
	return out, err
}

// stateAt is the last of some states that was there at a time, or the first.
func stateAt(states []state, at time.Time) state {
	i, _ := slices.BinarySearchFunc(states, at, func(s state, at time.Time) int {
		if s.at.After(at) {
			return 1
		}
		return -1
	})
	return states[max(0, i-1)]
}

var passwordSet = regexp.MustCompile(`^(\d+)\.(\d{3}) 127\.0\.0\.1\((\d+)\) LOG:  duration: [\d.]+ ms  statement: .*ALTER ROLE "([^"]+)"(?: LOGIN)? PASSWORD '(SCRAM-SHA-256\$[^']+)'`)

// changes reads the target's log: every password that was set, in order.
func (j *journal) changes() ([]change, error) {
	f, err := os.Open(j.w.target.Server.Log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []change
	s := bufio.NewScanner(f)
	s.Buffer(nil, 4<<20)
	for s.Scan() {
		m := passwordSet.FindStringSubmatch(s.Text())
		if m == nil {
			continue
		}
		seconds, _ := strconv.ParseInt(m[1], 10, 64)
		millis, _ := strconv.ParseInt(m[2], 10, 64)
		port, _ := strconv.Atoi(m[3])
		at := time.Unix(seconds, millis*int64(time.Millisecond))
		out = append(out, change{at: at, role: m[4], verifier: m[5], replica: j.w.atTarget.whose(port, at)})
	}
	slices.SortStableFunc(out, func(a, b change) int { return a.at.Compare(b.at) })
	return out, s.Err()
}

// isFor reports whether a SCRAM verifier is of a password (RFC 5803, RFC 7677).
func isFor(verifier, password string) bool {
	rest, ok := strings.CutPrefix(verifier, "SCRAM-SHA-256$")
	params, keys, ok2 := strings.Cut(rest, "$")
	rounds, salt64, ok3 := strings.Cut(params, ":")
	stored64, _, ok4 := strings.Cut(keys, ":")
	n, err := strconv.Atoi(rounds)
	salt, err2 := base64.StdEncoding.DecodeString(salt64)
	stored, err3 := base64.StdEncoding.DecodeString(stored64)
	if !ok || !ok2 || !ok3 || !ok4 || err != nil || err2 != nil || err3 != nil {
		return false
	}
	salted, err := pbkdf2.Key(sha256.New, password, salt, n, sha256.Size)
	if err != nil {
		return false
	}
	mac := hmac.New(sha256.New, salted)
	mac.Write([]byte("Client Key"))
	sum := sha256.Sum256(mac.Sum(nil))
	return hmac.Equal(sum[:], stored)
}

// versionOf finds out which version of a secret a password is of: one that looks
// likely first, for each try takes a millisecond. "" = of none.
func (j *journal) versionOf(c change, states []state) string {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := stateAt(states, c.at.Add(clockGrain))
	likely := []string{now.labels[secrets.Pending], now.labels[secrets.Current], now.labels[secrets.Intent]}
	for _, s := range slices.Backward(states) {
		likely = append(likely, s.versions...)
	}
	tried := map[string]bool{}
	for _, id := range likely {
		v, ok := j.values[id]
		if tried[id] || !ok || v.Username() != c.role {
			continue
		}
		tried[id] = true
		if isFor(c.verifier, v.Password().Reveal()) {
			return id
		}
	}
	return ""
}

// versionsOf reads the versions out of a record as the store keeps it.
func versionsOf(record string) (secrets.Versions, error) {
	var r struct {
		Versions []struct {
			ID     string   `json:"id"`
			Labels []string `json:"labels"`
			Empty  bool     `json:"empty"`
		} `json:"versions"`
	}
	if err := json.Unmarshal([]byte(record), &r); err != nil {
		return nil, fmt.Errorf("the store's record: %w", err)
	}
	vs := make(secrets.Versions, len(r.Versions))
	for i, v := range r.Versions {
		vs[i] = secrets.Version{ID: v.ID, Labels: v.Labels, Empty: v.Empty}
	}
	return vs, nil
}
