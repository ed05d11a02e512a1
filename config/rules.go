package config

import (
	"path/filepath"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// rules turns what an entry says into rotation rules: its own word first, then
// the defaults', then Pawl's. Relative paths start at dir. An empty text in an
// entry is its word too: "schedule:" means on demand only, whatever the
// defaults say.
func (s secretYAML) rules(d rulesYAML, dir string) secrets.RotationRules {
	name := value(s.Name)
	superuser := value(s.Superuser)
	if s.Superuser == nil && !isOf(value(d.Superuser), name) {
		// The default superuser's own secret may be an entry too; he changes
		// his password himself.
		superuser = value(d.Superuser)
	}
	return secrets.RotationRules{
		Strategy:           either(s.Strategy, d.Strategy, secrets.SingleUser),
		Engine:             value(s.Engine),
		Superuser:          superuser,
		Schedule:           either(s.Schedule, d.Schedule, ""),
		Window:             either(s.Window, d.Window, ""),
		Hosts:              s.Hosts,
		AdminHost:          value(s.AdminHost),
		PropagationTimeout: time.Duration(either(s.PropagationTimeout, d.PropagationTimeout, 0)),
		TLS: secrets.TLSRules{
			Mode:   either(s.TLS.Mode, d.TLS.Mode, ""),
			CAFile: absolute(dir, either(s.TLS.CAFile, d.TLS.CAFile, "")),
		},
		CheckQuery:    value(s.CheckQuery),
		PlainPassword: bool(either(s.PlainPassword, d.PlainPassword, false)),
		AdoptClone:    value(s.AdoptClone),
		Password:      s.Password.rules(d.Password),
	}
}

func (p passwordYAML) rules(d passwordYAML) secrets.PasswordRules {
	return secrets.PasswordRules{
		Length:             either(p.Length, d.Length, 0),
		ExcludeCharacters:  either(p.ExcludeCharacters, d.ExcludeCharacters, ""),
		ExcludeNumbers:     either(p.ExcludeNumbers, d.ExcludeNumbers, false),
		ExcludePunctuation: either(p.ExcludePunctuation, d.ExcludePunctuation, false),
		ExcludeUppercase:   either(p.ExcludeUppercase, d.ExcludeUppercase, false),
		ExcludeLowercase:   either(p.ExcludeLowercase, d.ExcludeLowercase, false),
		IncludeSpace:       either(p.IncludeSpace, d.IncludeSpace, false),
		AllowMissingTypes:  !either(p.RequireEachIncludedType, d.RequireEachIncludedType, true),
	}
}

// either returns the first value that the file gives, else def.
func either[T any](entry, defaults *T, def T) T {
	switch {
	case entry != nil:
		return *entry
	case defaults != nil:
		return *defaults
	}
	return def
}

// value returns what p points to, or the zero value.
func value[T any](p *T) T {
	var zero T
	return either(p, nil, zero)
}

// absolute resolves a path of the file; "" stays "".
func absolute(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// isOf reports whether id, a name or an ARN, is that of the secret.
func isOf(id, secret string) bool {
	parsed, err := secrets.ParseID(id)
	return err == nil && parsed.ARN.Name == secret
}
