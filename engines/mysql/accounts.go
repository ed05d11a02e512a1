package mysql

import (
	"context"
	"strconv"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// row is one account, user@host, as the server's user table has it. Hashes are
// compared at the server; only known reads them.
type row struct {
	user, host string
	plugin     string
	combined   string // a second way to log in: MariaDB's "VIA a OR b", MySQL's further factors
	locked     bool
	mark       string // the original's name, if Pawl's mark is on it
	options
	defaultRoles []string // quoted as in SHOW GRANTS
}

// options are an account's REQUIRE, resource limits and password options, each
// value as text.
type options struct {
	ssl                                      string // "", ANY, X509 or SPECIFIED
	cipher, issuer, subject                  string
	queries, updates, connections, userConns string // per hour; at once
	statementTime                            string // seconds, MariaDB
	lifetime                                 string // days; "0" never, "-1" the server's default
	// MySQL only; "-1" and "" are the server's default.
	history, reuse, requireCurrent string
	failedLogins, lockTime         string // lockTime "-1" = unbounded
}

const rowsMySQL = `SELECT User, Host, plugin,
 IF(User_attributes->'$.multi_factor_authentication' IS NULL, '', 'further factors'), account_locked = 'Y',
 User_attributes->>'$.metadata.pawl_clone_of',
 ssl_type, CONVERT(ssl_cipher USING utf8mb4), CONVERT(x509_issuer USING utf8mb4), CONVERT(x509_subject USING utf8mb4),
 max_questions, max_updates, max_connections, max_user_connections, 0,
 IFNULL(password_lifetime, -1), IFNULL(Password_reuse_history, -1), IFNULL(Password_reuse_time, -1), IFNULL(Password_require_current, ''),
 IFNULL(User_attributes->>'$.Password_locking.failed_login_attempts', 0),
 IFNULL(User_attributes->>'$.Password_locking.password_lock_time_days', 0)
FROM mysql.user
WHERE User IN (%users%) AND NOT (account_locked = 'Y' AND password_expired = 'Y' AND authentication_string = '')
ORDER BY User, Host`

// A MariaDB has no attributes: there the mark is a hash that belongs to no
// password, on a locked account (see markHash).
const rowsMariaDB = `SELECT User, Host, JSON_VALUE(Priv, '$.plugin'),
 IF(JSON_EXISTS(Priv, '$.auth_or'), 'OR', ''), IFNULL(JSON_VALUE(Priv, '$.account_locked'), 0),
 JSON_VALUE(Priv, '$.authentication_string') IN (%marks%) AND IFNULL(JSON_VALUE(Priv, '$.account_locked'), 0),
 ELT(IFNULL(JSON_VALUE(Priv, '$.ssl_type'), 0) + 1, '', 'ANY', 'X509', 'SPECIFIED'),
 JSON_VALUE(Priv, '$.ssl_cipher'), JSON_VALUE(Priv, '$.x509_issuer'), JSON_VALUE(Priv, '$.x509_subject'),
 IFNULL(JSON_VALUE(Priv, '$.max_questions'), 0), IFNULL(JSON_VALUE(Priv, '$.max_updates'), 0),
 IFNULL(JSON_VALUE(Priv, '$.max_connections'), 0), IFNULL(JSON_VALUE(Priv, '$.max_user_connections'), 0),
 IFNULL(JSON_VALUE(Priv, '$.max_statement_time'), 0), IFNULL(JSON_VALUE(Priv, '$.password_lifetime'), -1),
 -1, -1, '', 0, 0, IFNULL(JSON_VALUE(Priv, '$.default_role'), '')
FROM mysql.global_priv
WHERE User IN (%users%) AND IFNULL(JSON_VALUE(Priv, '$.is_role'), 0) = 0
ORDER BY User, Host`

// rows reads all rows of these users; roles are none. original is whose mark a
// row may bear, "" if that does not matter. An error is Denied where the
// session may not read the user table.
func (s *session) rows(ctx context.Context, original string, users ...string) ([]row, error) {
	names := make([]string, len(users))
	for i, u := range users {
		names[i] = quote(u)
	}
	statement, marks := rowsMySQL, ""
	if s.maria {
		statement = rowsMariaDB
		marks = quote(markHash(nativePlugin, original)) + ", " + quote(markHash(ed25519Plugin, original)) +
			", " + quote(nativeHash(markPassword(original))) + ", " + quote(ed25519Hash(markPassword(original)))
	}
	statement = strings.NewReplacer("%users%", strings.Join(names, ", "), "%marks%", marks).Replace(statement)
	got, err := s.query(ctx, statement)
	if err != nil {
		e := statementError(err, "read the server's accounts")
		if e.Kind == secrets.Denied && e.Hint == "" {
			e.Hint = "GRANT SELECT ON mysql.* TO the superuser"
		}
		return nil, s.failed(e)
	}
	out := make([]row, len(got))
	for i, f := range got {
		r := row{user: f[0], host: f[1], plugin: f[2], combined: f[3], locked: f[4] == "1", mark: f[5],
			options: options{ssl: f[6], cipher: f[7], issuer: f[8], subject: f[9],
				queries: f[10], updates: f[11], connections: f[12], userConns: f[13], statementTime: seconds(f[14]),
				lifetime: f[15], history: f[16], reuse: f[17], requireCurrent: f[18], failedLogins: f[19], lockTime: f[20]}}
		if r.plugin == "" {
			r.plugin = nativePlugin // an account from before there were plug-ins
		}
		if s.maria {
			r.mark = ""
			if f[5] == "1" {
				r.mark = original
			}
			if f[21] != "" {
				r.defaultRoles = []string{quoteName(f[21])}
			}
		}
		out[i] = r
	}
	return out, nil
}

// seconds writes MariaDB's max_statement_time in its shortest form.
func seconds(s string) string {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return "0"
	}
	return strconv.FormatFloat(f, 'f', -1, 64)
}

// quoteName quotes an identifier as the server does.
func quoteName(s string) string { return "`" + strings.ReplaceAll(s, "`", "``") + "`" }

// clauses renders the options for CREATE USER and, where the account exists,
// for ALTER USER: then what it has beyond is taken away too.
func (o options) clauses(maria, existing bool) string {
	var b strings.Builder
	switch o.ssl {
	case "":
		b.WriteString(" REQUIRE NONE")
	case "ANY":
		b.WriteString(" REQUIRE SSL")
	case "X509":
		b.WriteString(" REQUIRE X509")
	default:
		b.WriteString(" REQUIRE")
		for _, r := range [][2]string{{"CIPHER", o.cipher}, {"ISSUER", o.issuer}, {"SUBJECT", o.subject}} {
			if r[1] != "" {
				b.WriteString(" " + r[0] + " " + quote(r[1]))
			}
		}
	}
	limits := [][2]string{{"MAX_QUERIES_PER_HOUR", o.queries}, {"MAX_UPDATES_PER_HOUR", o.updates},
		{"MAX_CONNECTIONS_PER_HOUR", o.connections}, {"MAX_USER_CONNECTIONS", o.userConns}}
	if maria {
		limits = append(limits, [2]string{"MAX_STATEMENT_TIME", o.statementTime})
	}
	with := " WITH "
	for _, l := range limits {
		if l[1] != "0" || existing {
			b.WriteString(with + l[0] + " " + l[1])
			with = " "
		}
	}
	switch o.lifetime {
	case "-1":
		b.WriteString(" PASSWORD EXPIRE DEFAULT")
	case "0":
		b.WriteString(" PASSWORD EXPIRE NEVER")
	default:
		b.WriteString(" PASSWORD EXPIRE INTERVAL " + o.lifetime + " DAY")
	}
	if maria {
		return b.String()
	}
	orDefault := func(v string) string {
		if v == "-1" {
			return "DEFAULT"
		}
		return v
	}
	b.WriteString(" PASSWORD HISTORY " + orDefault(o.history))
	if o.reuse == "-1" {
		b.WriteString(" PASSWORD REUSE INTERVAL DEFAULT")
	} else {
		b.WriteString(" PASSWORD REUSE INTERVAL " + o.reuse + " DAY")
	}
	b.WriteString(map[string]string{
		"":  " PASSWORD REQUIRE CURRENT DEFAULT",
		"N": " PASSWORD REQUIRE CURRENT OPTIONAL",
		"Y": " PASSWORD REQUIRE CURRENT",
	}[o.requireCurrent])
	lock := o.lockTime
	if lock == "-1" {
		lock = "UNBOUNDED"
	}
	b.WriteString(" FAILED_LOGIN_ATTEMPTS " + o.failedLogins + " PASSWORD_LOCK_TIME " + lock)
	return b.String()
}

// rotatable reports whether Pawl can give the account a password and leave its
// plug-in as it is. plain says that the plain password may be sent.
func (r row) rotatable(plain bool) error {
	at := account(r.user, r.host)
	switch {
	case r.combined != "":
		return secrets.Errorf(secrets.Invalid, "%s has more than one way to log in (%s); a new password would replace only one of them", at, r.combined).
			WithHint("give the account one authentication plug-in")
	case r.plugin == sha2Plugin, r.plugin == nativePlugin, r.plugin == ed25519Plugin:
		return nil
	case r.plugin == sha256Plugin && plain:
		return nil
	case r.plugin == sha256Plugin:
		return secrets.Errorf(secrets.Invalid, "%s uses the plug-in sha256_password, whose hashes Pawl does not make", at).
			WithHint("let the plain password be sent with plain_password: allow, or move the account to caching_sha2_password")
	}
	return secrets.Errorf(secrets.Invalid, "%s logs in by the plug-in %s, which keeps no password that could be rotated", at, r.plugin).
		WithHint("give the account caching_sha2_password, mysql_native_password or ed25519")
}
