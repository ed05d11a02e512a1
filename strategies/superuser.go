package strategies

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// Superusers finds the superuser who may serve a secret.
type Superusers struct {
	Pairings []secrets.Pairing
	// Every pairs every superuser with every secret of his account, still only
	// at his own server or one that Pairings declare.
	Every bool
	// Credentials reads the AWSCURRENT value of another secret. A plain name in
	// id is of the account and region of the secret near it.
	Credentials func(ctx context.Context, near secrets.ARN, id string) (secrets.Credentials, secrets.ARN, error)
}

// For returns the superuser's credentials for a secret, or zero Credentials
// when none is named. The operator's rules come first; a "masterarn" inside the
// secret may only choose among the pairings. server is where the superuser will
// be sent (host:port): it must be his own, or one the operator declared. He
// serves only secrets of his own account: a pairing goes by names, and whoever
// has another account chooses the names there.
// Errors: Invalid where the pairing is missing or the server is another one, or
// as reading the superuser's secret gives.
func (s Superusers) For(ctx context.Context, secret secrets.ARN, rules secrets.RotationRules, current secrets.Credentials, server string, defaultPort int) (secrets.Credentials, error) {
	id := rules.Superuser
	if id == "" {
		id = current.MasterARN()
	}
	if id == "" {
		return secrets.Credentials{}, nil
	}
	super, arn, err := s.Credentials(ctx, secret, id)
	if err != nil {
		return secrets.Credentials{}, fmt.Errorf("reading the superuser's secret %q: %w", id, err)
	}
	if err := super.Require("username", "password"); err != nil {
		return secrets.Credentials{}, fmt.Errorf("the superuser's secret %q: %w", arn.Name, err)
	}
	if arn.Account != secret.Account {
		return secrets.Credentials{}, secrets.Errorf(secrets.Invalid, "the superuser's secret %q is of account %s, not of %s", arn.Name, arn.Account, secret.Account).
			WithHint("keep a secret for the superuser in account %s", secret.Account)
	}
	allowed := []string{}
	if rules.AdminHost != "" {
		allowed = append(allowed, rules.AdminHost) // declared by the operator himself
	}
	hosts, paired := s.Paired(secret, arn)
	allowed = append(allowed, hosts...)
	if !paired && rules.Superuser == "" {
		return secrets.Credentials{}, secrets.Errorf(secrets.Invalid, "its masterarn names the superuser's secret %q, which is not paired with it", arn.Name).
			WithHint("the operator can allow it in the configuration: superusers: [{secret: %s, for: [%q]}]", arn.Name, secret.Name)
	}
	if super.Host() != "" {
		own, err := super.Port(defaultPort)
		if err != nil {
			return secrets.Credentials{}, fmt.Errorf("the superuser's secret %q: %w", arn.Name, err)
		}
		allowed = append(allowed, net.JoinHostPort(super.Host(), strconv.Itoa(own)))
	}
	for _, a := range allowed {
		if secrets.SameServer(a, server) {
			return super, nil
		}
	}
	return secrets.Credentials{}, secrets.Errorf(secrets.Invalid, "the superuser in %q is of %s, not of %s", arn.Name, orNone(super.Server(defaultPort)), server).
		WithHint("if it is the same server, declare it: superusers: [{secret: %s, for: [%q], hosts: [%q]}]", arn.Name, secret.Name, server)
}

// Paired reports whether the operator lets a superuser serve a secret that names
// him itself, and at which servers besides his own.
func (s Superusers) Paired(secret, superuser secrets.ARN) (hosts []string, ok bool) {
	if superuser.Account != secret.Account {
		return nil, false
	}
	ok = s.Every
	for _, p := range s.Pairings {
		id, err := secrets.ParseID(p.Secret)
		if err == nil && id.Matches(superuser) && p.Covers(secret.Name) {
			ok = true
			hosts = append(hosts, p.Hosts...)
		}
	}
	return hosts, ok
}

func orNone(server string) string {
	if strings.HasPrefix(server, ":") {
		return "no declared server"
	}
	return server
}
