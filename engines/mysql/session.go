package mysql

import (
	"context"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// session is one connection. It learns about the server and sets its session
// variables when the first statement needs it, so that a session that only
// checks a login costs one round trip.
type session struct {
	conn  sqldriver.Conn
	at    engines.Endpoint
	user  string
	begun bool
	facts
}

var _ interface {
	engines.Session
	engines.Cloner
} = (*session)(nil)

// facts are what a session knows of its server; zero before begin.
type facts struct {
	maria    bool
	version  string
	self     string // CURRENT_USER(): the account row, user@host
	readOnly bool   // a read-only server or a cluster's reader
	logRaw   bool   // MySQL writes passwords into its logs
	rounds   int    // caching_sha2_password_digest_rounds
}

// begin sets the session up once: the string mode that quote relies on, the
// identifier quotes that the grants parser relies on, UTF-8, and the guards. A
// comment /*M! … */ is code to MariaDB only, /*!80021 … */ to MySQL only.
func (s *session) begin(ctx context.Context) error {
	if s.begun {
		return nil
	}
	set := "SET SESSION sql_mode='NO_BACKSLASH_ESCAPES', sql_quote_show_create=1," +
		" character_set_client=utf8mb4, character_set_connection=utf8mb4, character_set_results=utf8mb4"
	if s.at.Guard > 0 {
		n := strconv.Itoa(max(1, int(math.Ceil(s.at.Guard.Seconds()))))
		set += ", wait_timeout=" + n + ", lock_wait_timeout=" + n +
			"/*M! , max_statement_time=" + n + "*//*!80021 , innodb_lock_wait_timeout=" + n + "*/"
	}
	if err := s.exec(ctx, set); err != nil {
		return s.failed(statementError(err, "set the session up"))
	}
	if s.version == "" {
		if err := s.recognize(ctx); err != nil {
			return err
		}
	}
	s.begun = true
	return nil
}

// recognize asks what server this is.
func (s *session) recognize(ctx context.Context) error {
	rows, err := s.query(ctx, "SELECT VERSION(), 0/*M! +1*/, CURRENT_USER(), @@read_only"+
		"/*!80021 , @@super_read_only, @@innodb_read_only, @@global.log_raw *//*!80024 , @@caching_sha2_password_digest_rounds */")
	if err != nil {
		return s.failed(statementError(err, "recognize the server"))
	}
	if len(rows) != 1 || len(rows[0]) < 4 {
		return s.failed(secrets.Errorf(secrets.Invalid, "the server does not answer like a MySQL or MariaDB"))
	}
	row := rows[0]
	v := facts{version: row[0], self: row[2], readOnly: on(row[3])}
	v.maria = row[1] == "1" || strings.Contains(strings.ToLower(v.version), "mariadb")
	if len(row) >= 7 {
		v.readOnly = v.readOnly || on(row[4]) || on(row[5])
		v.logRaw = on(row[6])
	}
	if len(row) >= 8 {
		v.rounds, _ = strconv.Atoi(row[7])
	}
	if !supported(v.version, v.maria) {
		return s.failed(secrets.Errorf(secrets.Invalid, "the server's version %s is not supported", v.version).
			WithHint("Pawl needs MySQL 8.0.21 or MariaDB 10.6, or newer"))
	}
	s.facts = v
	return nil
}

// on reads a boolean system variable. MariaDB 12 gave read_only more values
// than on and off, all of them read-only.
func on(value string) bool { return value != "" && value != "0" && !strings.EqualFold(value, "OFF") }

// supported reports whether a version is one that Pawl is made for: user
// attributes came with MySQL 8.0.21.
func supported(version string, maria bool) bool {
	least := [3]int{8, 0, 21}
	if maria {
		least = [3]int{10, 6, 0}
	}
	var got [3]int
	numeric, _, _ := strings.Cut(version, "-")
	for i, part := range strings.SplitN(numeric, ".", 3) {
		got[i], _ = strconv.Atoi(part)
	}
	for i := range got {
		if got[i] != least[i] {
			return got[i] > least[i]
		}
	}
	return true
}

// Check implements engines.Session. A clone acts as itself: rights on these
// servers belong to accounts and objects to schemas, so that nothing is owned
// by the one who made it.
func (s *session) Check(ctx context.Context, c engines.Check) error {
	rows, err := s.query(ctx, "SELECT CURRENT_USER()")
	if err != nil {
		return s.failed(statementError(err, "ask who is logged in"))
	}
	if user, _ := splitAccount(rows[0][0]); user != s.user {
		return s.failed(secrets.Errorf(secrets.Invalid, "logged in as %q, but the server treats the session as %q", s.user, rows[0][0]).
			WithHint("an anonymous account or a proxy user of the server comes first"))
	}
	if c.Query == "" {
		return nil
	}
	if s.begun {
		// The query is written for the server's own mode.
		if err := s.exec(ctx, "SET SESSION sql_mode=DEFAULT"); err != nil {
			return s.failed(statementError(err, "reset sql_mode"))
		}
		s.begun = false
	}
	if _, err := s.query(ctx, c.Query); err != nil {
		return s.failed(statementError(err, "run check_query"))
	}
	return nil
}

// splitAccount cuts user@host at the last @: a user name may hold one, a host
// cannot.
func splitAccount(account string) (user, host string) {
	i := strings.LastIndexByte(account, '@')
	if i < 0 {
		return account, ""
	}
	return account[:i], account[i+1:]
}

// Close implements engines.Session.
func (s *session) Close() error {
	err := s.conn.Close()
	if errors.Is(err, sqldriver.ErrBadConn) {
		return nil // it was closed already
	}
	return err
}

// failed adds the server to an error.
func (s *session) failed(err *secrets.Error) error { return secrets.At(err, "", "", s.at.Addr()) }

// exec runs a statement that returns no rows.
func (s *session) exec(ctx context.Context, statement string) error {
	_, err := s.conn.(sqldriver.ExecerContext).ExecContext(ctx, statement, nil)
	return err
}

// query runs a statement and reads all of its results to the end; it returns
// the rows of the first. NULL reads as "".
func (s *session) query(ctx context.Context, statement string) ([][]string, error) {
	rows, err := s.conn.(sqldriver.QueryerContext).QueryContext(ctx, statement, nil)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out [][]string
	values := make([]sqldriver.Value, len(rows.Columns()))
	for first := true; ; first = false {
		for {
			err := rows.Next(values)
			if err == io.EOF {
				break
			}
			if err != nil {
				return nil, err
			}
			if first {
				out = append(out, texts(values))
			}
		}
		more, ok := rows.(sqldriver.RowsNextResultSet)
		if !ok || !more.HasNextResultSet() {
			return out, nil
		}
		if err := more.NextResultSet(); err == io.EOF {
			return out, nil
		} else if err != nil {
			return nil, err
		}
		values = make([]sqldriver.Value, len(rows.Columns()))
	}
}

func texts(values []sqldriver.Value) []string {
	row := make([]string, len(values))
	for i, v := range values {
		switch v := v.(type) {
		case nil:
		case []byte:
			row[i] = string(v)
		default:
			row[i] = fmt.Sprint(v)
		}
	}
	return row
}
