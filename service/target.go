package service

import (
	"context"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/pawlhq/pawl/secrets"
)

// maxTargets bounds the targets that are remembered; one has some 200 bytes.
const maxTargets = 20_000

// targets remembers which server each secret's password is changed at, so that
// a scan for what is due does not decrypt values again and again.
type targets struct {
	mu sync.Mutex
	m  map[string]target // by ARN
}

type target struct {
	version, adminHost, engine string // what addr was derived from
	addr                       string
}

func (t *targets) get(arn string, from target) (string, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known, ok := t.m[arn]
	addr := known.addr
	known.addr = ""
	return addr, ok && known == from
}

func (t *targets) put(arn string, known target) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[string]target{}
	}
	if _, ok := t.m[arn]; !ok && len(t.m) >= maxTargets {
		for old := range t.m { // any one
			delete(t.m, old)
			break
		}
	}
	t.m[arn] = known
}

// target returns host:port where the secret's password is changed, or "" where
// its value can't be read: whoever rotates it will say why. A custom function is a
// target of its own, whatever it talks to.
func (s *Service) target(ctx context.Context, sec *Secret) string {
	r := sec.Rotation
	if r == nil {
		return ""
	}
	if r.Rules.Strategy == secrets.Function {
		return unqualified(r.Rules.Function)
	}
	arn := sec.ARN.String()
	from := target{version: sec.Versions.IDWith(secrets.Current), adminHost: r.Rules.AdminHost, engine: r.Rules.Engine}
	if addr, ok := s.targets.get(arn, from); ok {
		return addr
	}
	value, err := s.open(ctx, sec.ARN, from.version)
	if err != nil {
		return ""
	}
	cred, err := secrets.ParseCredentials(value)
	if err != nil {
		return ""
	}
	found := from
	found.addr = s.address(cred, r.Rules)
	s.targets.put(arn, found)
	return found.addr
}

// CredentialsNear is Credentials as seen from another secret: a plain name is
// looked up in that one's account and region.
func (s *Service) CredentialsNear(ctx context.Context, near secrets.ARN, id string) (secrets.Credentials, secrets.ARN, error) {
	return s.As(Caller{Partition: near.Partition, Region: near.Region, Account: near.Account}).Credentials(ctx, id)
}

// address joins what the rules, the secret and the kind of server say.
func (s *Service) address(cred secrets.Credentials, r secrets.RotationRules) string {
	return Address(cred, r, s.config.DefaultPort)
}

// Address returns host:port where a secret's password is changed, in lower case;
// "" where the secret names no host, and the host alone where nobody knows the
// port. defaultPort is Config's.
func Address(cred secrets.Credentials, r secrets.RotationRules, defaultPort func(engine string) int) string {
	host := cred.Host()
	if r.AdminHost != "" {
		h, port, err := net.SplitHostPort(r.AdminHost)
		if err == nil {
			return strings.ToLower(net.JoinHostPort(h, port))
		}
		host = r.AdminHost
	}
	if host == "" {
		return ""
	}
	port := 0
	if defaultPort != nil {
		engine := r.Engine
		if engine == "" {
			engine = cred.Engine()
		}
		port = defaultPort(engine)
	}
	if p, err := cred.Port(port); err == nil {
		port = p
	}
	if port == 0 {
		return strings.ToLower(host)
	}
	return strings.ToLower(net.JoinHostPort(strings.Trim(host, "[]"), strconv.Itoa(port)))
}
