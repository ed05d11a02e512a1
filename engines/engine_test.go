package engines

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/secrets"
)

func TestTLSMode(t *testing.T) {
	tests := []struct {
		name        string
		rules       secrets.TLSRules
		host        string
		ssl, sslSet bool
		want        string
	}{
		{"a remote host is verified", secrets.TLSRules{}, "db.example.com", false, false, secrets.TLSVerifyFull},
		{"loopback is plain", secrets.TLSRules{}, "127.0.0.1", false, false, secrets.TLSDisable},
		{"loopback by name", secrets.TLSRules{}, "localhost", false, false, secrets.TLSDisable},
		{"loopback, IPv6", secrets.TLSRules{}, "::1", false, false, secrets.TLSDisable},
		{"a private address is not loopback", secrets.TLSRules{}, "10.0.0.1", false, false, secrets.TLSVerifyFull},
		{"ssl: true in the secret", secrets.TLSRules{}, "127.0.0.1", true, true, secrets.TLSVerifyFull},
		{"ssl: false in the secret", secrets.TLSRules{}, "db.example.com", false, true, secrets.TLSDisable},
		{"the operator's word goes before the secret's", secrets.TLSRules{Mode: secrets.TLSVerifyCA}, "db.example.com", false, true, secrets.TLSVerifyCA},
		{"require", secrets.TLSRules{Mode: secrets.TLSRequire}, "127.0.0.1", false, false, secrets.TLSRequire},
	}
	for _, tt := range tests {
		got, err := NewTLS(tt.rules, tt.host, tt.ssl, tt.sslSet)
		if err != nil || got.Mode != tt.want {
			t.Errorf("%s: %q, %v", tt.name, got.Mode, err)
			continue
		}
		if plain := got.Config == nil; plain != (tt.want == secrets.TLSDisable) {
			t.Errorf("%s: plain is %v", tt.name, plain)
		}
		if got.Config != nil && (got.Config.ServerName != tt.host || got.Config.InsecureSkipVerify != (tt.want != secrets.TLSVerifyFull)) {
			t.Errorf("%s: server name %q, skip verify %v", tt.name, got.Config.ServerName, got.Config.InsecureSkipVerify)
		}
	}
}

func TestTLSMistakes(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(empty, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		rules secrets.TLSRules
		want  string
	}{
		{secrets.TLSRules{Mode: "prefer"}, "is not one of"},
		{secrets.TLSRules{CAFile: empty}, "holds no PEM certificate"},
		{secrets.TLSRules{CAFile: empty + ".gone"}, "no such file"},
	} {
		_, err := NewTLS(tt.rules, "db", false, false)
		if secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v", tt.rules, err)
		}
	}
}

// kind is an engine that only has names.
type kind []string

func (k kind) Facts() Facts                                         { return Facts{Names: k} }
func (kind) CheckUsername(string) error                             { return nil }
func (kind) Dial(context.Context, Endpoint, Login) (Session, error) { return nil, nil }

func TestRegistry(t *testing.T) {
	r := NewRegistry(kind{"postgres", "aurora-postgresql"}, kind{"mysql"})
	if _, err := r.Lookup("aurora-postgresql"); err != nil {
		t.Error(err)
	}
	for name, want := range map[string]string{"": "engine key is missing", "oracle": `unknown engine "oracle"; known engines: aurora-postgresql, mysql, postgres`} {
		_, err := r.Lookup(name)
		if secrets.KindOf(err) != secrets.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", name, err)
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("two engines of one name")
		}
	}()
	NewRegistry(kind{"a"}, kind{"a"})
}
