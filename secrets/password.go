package secrets

import (
	"errors"
	"fmt"
	"io"
	"strings"
)

// The alphabets of a generated password, one per type, as AWS documents them
// for GetRandomPassword. Space is a type of its own, and never a required one.
const (
	lowercase   = "abcdefghijklmnopqrstuvwxyz"
	uppercase   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	numbers     = "0123456789"
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)

// Bounds of a generated password's length, in characters.
const (
	DefaultPasswordLength = 32
	MaxPasswordLength     = 4096
)

// What PasswordRules can ask that no password satisfies. The first three are,
// word for word, the messages of GetRandomPassword's InvalidParameterException.
var (
	//lint:ignore ST1005 AWS's text
	ErrPasswordTooShort = errors.New("Password length is too short based on the required types.")
	//lint:ignore ST1005 AWS's text
	ErrPasswordTypeExcluded = errors.New("All characters of the desired type have been excluded.")
	//lint:ignore ST1005 AWS's text
	ErrPasswordNothingAllowed = errors.New("All characters have been excluded from selection.")
	ErrPasswordLength         = fmt.Errorf("password length must be from 1 to %d", MaxPasswordLength)
)

// PasswordRules are the parameters of GetRandomPassword. The zero value is
// AWS's default: 32 characters, at least one lowercase letter, one uppercase
// letter, one number and one punctuation mark, no space.
type PasswordRules struct {
	// Length in characters, at most MaxPasswordLength; 0 means
	// DefaultPasswordLength.
	Length int `json:"length,omitempty"`
	// ExcludeCharacters is a set of characters, in any order, that must not
	// appear. Those that would not appear anyway do no harm.
	ExcludeCharacters string `json:"excludeCharacters,omitempty"`

	ExcludeNumbers     bool `json:"excludeNumbers,omitempty"`
	ExcludePunctuation bool `json:"excludePunctuation,omitempty"`
	ExcludeUppercase   bool `json:"excludeUppercase,omitempty"`
	ExcludeLowercase   bool `json:"excludeLowercase,omitempty"`
	IncludeSpace       bool `json:"includeSpace,omitempty"`

	// AllowMissingTypes is the negation of RequireEachIncludedType: without
	// it, every type that is not excluded occurs at least once.
	AllowMissingTypes bool `json:"allowMissingTypes,omitempty"`
}

// Validate reports whether a password by these rules exists: nil, or an Invalid
// error that wraps ErrPasswordLength, ErrPasswordTooShort,
// ErrPasswordTypeExcluded or ErrPasswordNothingAllowed.
func (r PasswordRules) Validate() error {
	_, _, err := r.alphabet()
	return err
}

// Generate makes a password from the bytes of random, which is
// crypto/rand.Reader in production. Every password that obeys the rules is
// exactly as likely as every other: a character is drawn by rejection, never
// by a bare modulus, and a draw in which a required type is missing is thrown
// away whole instead of being patched at known places.
//
// It fails as Validate does, when random fails, and when random is plainly not
// random (a constant source never yields every type).
func (r PasswordRules) Generate(random io.Reader) (string, error) {
	alphabet, required, err := r.alphabet()
	if err != nil {
		return "", err
	}
	// The worst rules that Validate lets pass (length 4, three types cut down
	// to one character) accept 1 draw in 2,200, so a sound source fails here
	// with a probability below 1e-35.
	const draws = 200_000
	source := byteSource{random: random}
	password := make([]byte, r.length())
	for range draws {
		for i := range password {
			if password[i], err = source.pick(alphabet); err != nil {
				return "", fmt.Errorf("generate a password: read the random source: %w", err)
			}
		}
		if hasEach(password, required) {
			return string(password), nil
		}
	}
	return "", fmt.Errorf("generate a password: the random source is not random: %d draws without every required type", draws)
}

func (r PasswordRules) length() int {
	if r.Length == 0 {
		return DefaultPasswordLength
	}
	return r.Length
}

// alphabet returns the characters to draw from and the types (each as its
// characters) of which at least one must occur.
func (r PasswordRules) alphabet() (all string, required []string, err error) {
	if r.length() < 1 || r.length() > MaxPasswordLength {
		return "", nil, invalidParameter(fmt.Errorf("%w, not %d", ErrPasswordLength, r.Length))
	}
	typeEmptied := false
	for _, t := range []struct {
		characters string
		excluded   bool
	}{
		{lowercase, r.ExcludeLowercase},
		{uppercase, r.ExcludeUppercase},
		{numbers, r.ExcludeNumbers},
		{punctuation, r.ExcludePunctuation},
	} {
		if t.excluded {
			continue
		}
		left := without(t.characters, r.ExcludeCharacters)
		typeEmptied = typeEmptied || left == ""
		all += left
		required = append(required, left)
	}
	if r.IncludeSpace {
		all += without(" ", r.ExcludeCharacters)
	}
	if r.AllowMissingTypes {
		required = nil
	}
	switch {
	case r.length() < len(required):
		return "", nil, invalidParameter(ErrPasswordTooShort)
	case required != nil && typeEmptied:
		return "", nil, invalidParameter(ErrPasswordTypeExcluded)
	case all == "":
		return "", nil, invalidParameter(ErrPasswordNothingAllowed)
	}
	return all, required, nil
}

// invalidParameter is the error for a parameter that breaks a rule, with the
// exception it is on AWS's wire.
func invalidParameter(err error) *Error {
	return &Error{Kind: Invalid, Code: "InvalidParameterException", Err: err}
}

func without(characters, excluded string) string {
	return strings.Map(func(c rune) rune {
		if strings.ContainsRune(excluded, c) {
			return -1
		}
		return c
	}, characters)
}

func hasEach(password []byte, types []string) bool {
	for _, t := range types {
		found := false
		for _, c := range password {
			if strings.IndexByte(t, c) >= 0 {
				found = true
				break
			}
		}
		if !found {
			return false
		}
	}
	return true
}

// byteSource draws uniformly from small sets, reading its source in blocks.
type byteSource struct {
	random io.Reader
	block  [128]byte
	left   []byte
}

// pick returns one character of set, which has from 1 to 256 bytes. Bytes of
// the incomplete last multiple of len(set) are skipped: they would favour the
// first characters.
func (s *byteSource) pick(set string) (byte, error) {
	limit := 256 - 256%len(set)
	for {
		if len(s.left) == 0 {
			if _, err := io.ReadFull(s.random, s.block[:]); err != nil {
				return 0, err
			}
			s.left = s.block[:]
		}
		b := int(s.left[0])
		s.left = s.left[1:]
		if b < limit {
			return set[b%len(set)], nil
		}
	}
}
