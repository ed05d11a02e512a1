package mysql

import (
	"context"
	"slices"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// To these servers x@% and x@10.0.0.1 are two accounts, and they may be two
// people's. Who logged in as x has proved something of one of them, and a
// superuser would be sent to both. So where there are several, each must have a
// password that the secret holds.

// known makes sure of that for the accounts of one name: next is a password that
// a change may have given to some of them before. An account with Pawl's mark was
// made by Pawl and needs no proof. Errors: Invalid, naming an account that has
// none of the passwords; as of query, and of passwords.
func (s *session) known(ctx context.Context, rows []row, next secrets.Password, passwords func(context.Context) ([]secrets.Password, error)) error {
	if len(rows) < 2 || passwords == nil {
		return nil
	}
	all, err := passwords(ctx)
	if err != nil {
		return err
	}
	all = append(all, next)
	statement := "SELECT Host, authentication_string FROM mysql.user WHERE User = "
	if s.maria {
		statement = "SELECT Host, JSON_VALUE(Priv, '$.authentication_string') FROM mysql.global_priv WHERE User = "
	}
	got, err := s.query(ctx, statement+quote(rows[0].user))
	if err != nil {
		return s.failed(statementError(err, "read the server's accounts"))
	}
	stored := map[string]string{}
	for _, f := range got {
		stored[f[0]] = f[1]
	}
	for _, r := range rows {
		fits := func(p secrets.Password) bool { return opens(r.plugin, stored[r.host], p) }
		if r.mark == "" && !slices.ContainsFunc(all, fits) {
			return s.failed(secrets.Errorf(secrets.Invalid, "%q has accounts at several hosts, and the secret holds no password of %s: it may be somebody else's", r.user, account(r.user, r.host)).
				WithHint("if it is the same user's, give it the password in AWSCURRENT; else rename or drop one of the two"))
		}
	}
	return nil
}

// opens reports whether a stored form is that of a password.
func opens(plugin, stored string, p secrets.Password) bool {
	if p.IsEmpty() || stored == "" {
		return false
	}
	switch plugin {
	case nativePlugin:
		return strings.EqualFold(stored, nativeHash(p.Reveal()))
	case ed25519Plugin:
		return stored == ed25519Hash(p.Reveal())
	case sha2Plugin:
		return sha2Opens(stored, p.Reveal())
	case sha256Plugin:
		salt, digest, ok := strings.Cut(strings.TrimPrefix(stored, "$5$"), "$")
		return ok && sha256Crypt([]byte(p.Reveal()), []byte(salt), minRounds) == digest
	}
	return false
}
