package secrets

import (
	"bytes"
	crand "crypto/rand"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// seeded is a sound random source that gives the same bytes in every run.
func seeded(n byte) io.Reader { return rand.NewChaCha8([32]byte{n}) }

func TestPasswordRulesErrors(t *testing.T) {
	const letters = lowercase + uppercase
	for name, test := range map[string]struct {
		rules PasswordRules
		want  error
		text  string
	}{
		"default":          {PasswordRules{}, nil, ""},
		"one of each type": {PasswordRules{Length: 4}, nil, ""},
		"shorter than its types": {
			PasswordRules{Length: 3}, ErrPasswordTooShort,
			"Password length is too short based on the required types."},
		"space is no required type":    {PasswordRules{Length: 4, IncludeSpace: true}, nil, ""},
		"fewer types need fewer":       {PasswordRules{Length: 3, ExcludeNumbers: true}, nil, ""},
		"short without required types": {PasswordRules{Length: 1, AllowMissingTypes: true}, nil, ""},
		"longest":                      {PasswordRules{Length: 4096}, nil, ""},
		"too long":                     {PasswordRules{Length: 4097}, ErrPasswordLength, "password length must be from 1 to 4096, not 4097"},
		"negative":                     {PasswordRules{Length: -1}, ErrPasswordLength, "password length must be from 1 to 4096, not -1"},
		"all of a type excluded": {
			PasswordRules{ExcludeCharacters: "9876543210"}, ErrPasswordTypeExcluded,
			"All characters of the desired type have been excluded."},
		"all of a type excluded, not required": {PasswordRules{ExcludeCharacters: numbers, AllowMissingTypes: true}, nil, ""},
		"all of an unwanted type excluded":     {PasswordRules{ExcludeCharacters: numbers, ExcludeNumbers: true}, nil, ""},
		"everything excluded, types required":  {PasswordRules{ExcludeCharacters: letters + numbers + punctuation}, ErrPasswordTypeExcluded, "All characters of the desired type have been excluded."},
		"only space left":                      {PasswordRules{ExcludeLowercase: true, ExcludeUppercase: true, ExcludeNumbers: true, ExcludePunctuation: true, IncludeSpace: true}, nil, ""},
		"unknown characters excluded":          {PasswordRules{ExcludeCharacters: "äß€🦉\x00\xff"}, nil, ""},
		"no type left": {
			PasswordRules{ExcludeLowercase: true, ExcludeUppercase: true, ExcludeNumbers: true, ExcludePunctuation: true},
			ErrPasswordNothingAllowed, "All characters have been excluded from selection."},
		"everything excluded, nothing required": {
			PasswordRules{ExcludeCharacters: letters + numbers + punctuation + " ", IncludeSpace: true, AllowMissingTypes: true},
			ErrPasswordNothingAllowed, "All characters have been excluded from selection."},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.rules.Validate()
			password, generated := test.rules.Generate(seeded(1))
			if test.want == nil {
				if err != nil || generated != nil {
					t.Fatalf("Validate: %v, Generate: %v; want neither to fail", err, generated)
				}
				return
			}
			if !errors.Is(err, test.want) || err.Error() != test.text || KindOf(err) != Invalid {
				t.Errorf("Validate: %v (%v), want %q (invalid)", err, KindOf(err), test.text)
			}
			if !errors.Is(generated, test.want) || password != "" {
				t.Errorf("Generate: %v with %d characters, want %v and none", generated, len(password), test.want)
			}
		})
	}
}

func TestPasswordObeysItsRules(t *testing.T) {
	everything := []rune(lowercase + uppercase + numbers + punctuation + " é")
	rapid.Check(t, func(t *rapid.T) {
		rules := PasswordRules{
			Length:             rapid.IntRange(0, 80).Draw(t, "length"),
			ExcludeCharacters:  string(rapid.SliceOfN(rapid.SampledFrom(everything), 0, 90).Draw(t, "exclude")),
			ExcludeNumbers:     rapid.Bool().Draw(t, "no numbers"),
			ExcludePunctuation: rapid.Bool().Draw(t, "no punctuation"),
			ExcludeUppercase:   rapid.Bool().Draw(t, "no uppercase"),
			ExcludeLowercase:   rapid.Bool().Draw(t, "no lowercase"),
			IncludeSpace:       rapid.Bool().Draw(t, "space"),
			AllowMissingTypes:  rapid.Bool().Draw(t, "may miss"),
		}
		password, err := rules.Generate(rand.NewChaCha8([32]byte{rapid.Byte().Draw(t, "seed")}))
		if invalid := rules.Validate(); invalid != nil || err != nil {
			if invalid == nil || err == nil || invalid.Error() != err.Error() {
				t.Fatalf("Generate: %v, Validate: %v", err, invalid)
			}
			return
		}
		want := rules.Length
		if want == 0 {
			want = 32
		}
		if len(password) != want {
			t.Errorf("%d characters, want %d", len(password), want)
		}
		if strings.ContainsAny(password, rules.ExcludeCharacters) {
			t.Error("has an excluded character")
		}
		rest := password
		for _, kind := range []struct {
			characters string
			excluded   bool
		}{
			{lowercase, rules.ExcludeLowercase},
			{uppercase, rules.ExcludeUppercase},
			{numbers, rules.ExcludeNumbers},
			{punctuation, rules.ExcludePunctuation},
			{" ", !rules.IncludeSpace},
		} {
			has := strings.ContainsAny(password, kind.characters)
			if has && kind.excluded {
				t.Errorf("has one of the excluded type %q", kind.characters)
			}
			if !has && !kind.excluded && !rules.AllowMissingTypes && kind.characters != " " {
				t.Errorf("has none of the required type %q", kind.characters)
			}
			rest = strings.Map(func(c rune) rune {
				if strings.ContainsRune(kind.characters, c) {
					return -1
				}
				return c
			}, rest)
		}
		if rest != "" {
			t.Error("has a character of no type")
		}
	})
}

// chiSquare fails the test if counts are not what equally likely outcomes give:
// further than six standard deviations from the expectation. The sources are
// seeded, so that the verdict is the same in every run.
func chiSquare(t *testing.T, what string, counts []int) {
	t.Helper()
	total := 0
	for _, n := range counts {
		total += n
	}
	expected := float64(total) / float64(len(counts))
	sum := 0.0
	for _, n := range counts {
		sum += (float64(n) - expected) * (float64(n) - expected) / expected
	}
	freedom := float64(len(counts) - 1)
	if limit := freedom + 6*math.Sqrt(2*freedom); sum > limit {
		t.Errorf("%s: chi-square %.0f, expected about %.0f, at most %.0f", what, sum, freedom, limit)
	}
}

func TestPasswordIsUnbiased(t *testing.T) {
	t.Run("characters", func(t *testing.T) {
		random := seeded(2)
		alphabet := lowercase + uppercase + numbers + punctuation + " "
		counts := make([]int, len(alphabet))
		for range 20_000 {
			password, err := PasswordRules{IncludeSpace: true, AllowMissingTypes: true}.Generate(random)
			if err != nil {
				t.Fatal(err)
			}
			for _, c := range password {
				counts[strings.IndexRune(alphabet, c)]++
			}
		}
		chiSquare(t, "characters", counts)
	})
	// With four characters and four types every position holds another type;
	// the rules leave two characters to each, so all 4!·2⁴ passwords must come
	// up equally often.
	t.Run("whole passwords", func(t *testing.T) {
		random := seeded(3)
		rules := PasswordRules{Length: 4, ExcludeCharacters: lowercase[2:] + uppercase[2:] + numbers[2:] + punctuation[2:]}
		counts := map[string]int{}
		for range 50_000 {
			password, err := rules.Generate(random)
			if err != nil {
				t.Fatal(err)
			}
			counts[password]++
		}
		if len(counts) != 24*16 {
			t.Fatalf("%d different passwords, want %d", len(counts), 24*16)
		}
		all := make([]int, 0, len(counts))
		for _, n := range counts {
			all = append(all, n)
		}
		chiSquare(t, "whole passwords", all)
	})
	t.Run("positions", func(t *testing.T) {
		random := seeded(4)
		digits, marks := make([]int, 8), make([]int, 8)
		for range 50_000 {
			password, err := PasswordRules{Length: 8}.Generate(random)
			if err != nil {
				t.Fatal(err)
			}
			for i := range password {
				if strings.IndexByte(numbers, password[i]) >= 0 {
					digits[i]++
				} else if strings.IndexByte(punctuation, password[i]) >= 0 {
					marks[i]++
				}
			}
		}
		chiSquare(t, "positions of numbers", digits)
		chiSquare(t, "positions of punctuation", marks)
	})
}

func TestPasswordFromTheRealSource(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		password, err := PasswordRules{}.Generate(crand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if seen[password] {
			t.Fatal("the same password twice")
		}
		seen[password] = true
	}
}

// The rules that accept the fewest draws must still succeed.
func TestPasswordTightestRules(t *testing.T) {
	rules := PasswordRules{Length: 4, IncludeSpace: true, ExcludeCharacters: lowercase[1:] + uppercase[1:] + numbers[1:]}
	for i := range byte(50) {
		if _, err := rules.Generate(seeded(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPasswordRefusesABadSource(t *testing.T) {
	if _, err := (PasswordRules{}).Generate(strings.NewReader("too few")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an exhausted source: %v, want io.ErrUnexpectedEOF", err)
	}
	constant := bytes.NewReader(make([]byte, 8<<20))
	password, err := (PasswordRules{}).Generate(constant)
	if err == nil || password != "" || !strings.Contains(err.Error(), "not random") {
		t.Errorf("a constant source: %v, want a refusal", err)
	}
}
