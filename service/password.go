package service

import (
	"context"
	"encoding/json"
	"log/slog"

	"github.com/pawlhq/pawl/secrets"
)

// GetRandomPasswordInput are the rules of a password. Absent members have
// AWS's defaults: 32 characters, each type of character at least once, no
// space.
type GetRandomPasswordInput struct {
	PasswordLength          *int64 `json:",omitempty" aws:"1..4096"`
	ExcludeCharacters       string `json:",omitempty" aws:"0..4096"`
	ExcludeNumbers          bool   `json:",omitempty"`
	ExcludePunctuation      bool   `json:",omitempty"`
	ExcludeUppercase        bool   `json:",omitempty"`
	ExcludeLowercase        bool   `json:",omitempty"`
	IncludeSpace            bool   `json:",omitempty"`
	RequireEachIncludedType *bool  `json:",omitempty"`
}

func (in GetRandomPasswordInput) rules() secrets.PasswordRules {
	r := secrets.PasswordRules{
		ExcludeCharacters:  in.ExcludeCharacters,
		ExcludeNumbers:     in.ExcludeNumbers,
		ExcludePunctuation: in.ExcludePunctuation,
		ExcludeUppercase:   in.ExcludeUppercase,
		ExcludeLowercase:   in.ExcludeLowercase,
		IncludeSpace:       in.IncludeSpace,
		AllowMissingTypes:  in.RequireEachIncludedType != nil && !*in.RequireEachIncludedType,
	}
	if in.PasswordLength != nil {
		r.Length = int(*in.PasswordLength)
	}
	return r
}

// GetRandomPasswordOutput is a password. As JSON it shows it: that is its
// purpose. Printed or logged it does not.
type GetRandomPasswordOutput struct{ RandomPassword secrets.Password }

// MarshalJSON writes the password in the clear.
func (o GetRandomPasswordOutput) MarshalJSON() ([]byte, error) {
	return json.Marshal(map[string]string{"RandomPassword": o.RandomPassword.Reveal()})
}

// LogValue keeps the password out of logs, which would use MarshalJSON.
func (o GetRandomPasswordOutput) LogValue() slog.Value { return o.RandomPassword.LogValue() }

// GetRandomPassword makes a password and keeps no copy. Errors:
// ValidationException for a length outside 1 to 4,096,
// InvalidParameterException for rules that no password satisfies.
func (s *Service) GetRandomPassword(_ context.Context, in GetRandomPasswordInput) (*GetRandomPasswordOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	if err := s.allowed(nil, ""); err != nil {
		return nil, err
	}
	p, err := in.rules().Generate(s.random)
	if err != nil {
		return nil, err
	}
	return &GetRandomPasswordOutput{secrets.NewPassword(p)}, nil
}
