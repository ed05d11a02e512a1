package secrets

import (
	"fmt"
	"io"
	"strings"
)

// MaxNameLength is the longest name, in characters.
// Source: AWS Secrets Manager API reference, CreateSecret.
const MaxNameLength = 512

// ErrInvalidName's text is AWS's own for a bad name or a bad non-ARN SecretId.
const invalidName = "Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"

// nameChars are what a name is made of.
var nameChars = func() (ok [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/_+=.@!-") {
		ok[c] = true
	}
	return ok
}()

func isName(s string) bool {
	for i := range len(s) {
		if !nameChars[s[i]] {
			return false
		}
	}
	return s != ""
}

// isSuffix reports whether s can be the end of an ARN: six letters or digits.
func isSuffix(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') {
			return false
		}
	}
	return len(s) == 6
}

// ValidateName checks a secret's name: 1 to 512 of AWS's characters. Names are
// case-sensitive. The error is Invalid with Code ValidationException.
func ValidateName(name string) error {
	if name == "" || len(name) > MaxNameLength {
		e := Errorf(Invalid, "a secret's name has 1 to %d characters; this one has %d", MaxNameLength, len(name))
		e.Code = "ValidationException"
		return e
	}
	if !isName(name) {
		e := Errorf(Invalid, invalidName)
		e.Code = "ValidationException"
		return e
	}
	return nil
}

// ARN is the Amazon Resource Name of a secret:
// arn:<partition>:secretsmanager:<region>:<account>:secret:<name>-<suffix>.
// The suffix is six random characters, new at each creation, so that a secret
// made again under an old name is not mistaken for it.
type ARN struct {
	Partition, Region, Account, Name, Suffix string
}

// PartitionOf returns the AWS partition that a region belongs to: aws-cn for
// China, aws-us-gov, aws-iso… for the isolated ones, aws for all others.
// Source: the region patterns in the partition metadata that AWS's SDKs ship.
func PartitionOf(region string) string {
	for _, p := range []struct{ prefix, partition string }{
		{"cn-", "aws-cn"}, {"us-gov-", "aws-us-gov"}, {"us-iso-", "aws-iso"}, {"us-isob-", "aws-iso-b"},
		{"eu-isoe-", "aws-iso-e"}, {"us-isof-", "aws-iso-f"}, {"eusc-", "aws-eusc"},
	} {
		if strings.HasPrefix(region, p.prefix) {
			return p.partition
		}
	}
	return "aws"
}

// NewARN makes the ARN of a new secret with a random suffix.
func NewARN(partition, region, account, name string, random io.Reader) (ARN, error) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	var s []byte
	for b := make([]byte, 1); len(s) < 6; {
		if _, err := io.ReadFull(random, b); err != nil {
			return ARN{}, fmt.Errorf("making an ARN: %w", err)
		}
		// 248 = 4·62: bytes above it would favour the first characters.
		if b[0] < 248 {
			s = append(s, alphabet[int(b[0])%len(alphabet)])
		}
	}
	return ARN{partition, region, account, name, string(s)}, nil
}

// String renders the ARN; without a suffix it is a partial one.
func (a ARN) String() string {
	hyphen := ""
	if a.Suffix != "" {
		hyphen = "-"
	}
	return "arn:" + a.Partition + ":secretsmanager:" + a.Region + ":" + a.Account + ":secret:" + a.Name + hyphen + a.Suffix
}

// MarshalText renders the ARN.
func (a ARN) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads the whole ARN of a secret. The error is Invalid.
func (a *ARN) UnmarshalText(b []byte) error {
	id, err := ParseID(string(b))
	if err == nil && id.ByName {
		err = Errorf(Invalid, "%q is not the whole ARN of a secret", b)
	}
	*a = id.ARN
	return err
}

// ID is what a caller wrote to say which secret he means: a name, an ARN, or a
// partial ARN (without the suffix).
type ID struct {
	ARN    ARN  // Partition, Region and Account are empty for a plain name
	ByName bool // look up by ARN.Name alone; otherwise name and suffix must match
}

// ParseID reads a SecretId. An ARN whose last hyphen is followed by exactly six
// letters or digits is a whole one, as AWS reads it even where the name of the
// secret itself ends so ("Troubleshoot AWS Secrets Manager": avoid names ending
// in a hyphen and six characters). The error is Invalid with Code
// ValidationException.
func ParseID(id string) (ID, error) {
	if !strings.HasPrefix(id, "arn:") {
		if err := ValidateName(id); err != nil {
			return ID{}, err
		}
		return ID{ARN: ARN{Name: id}, ByName: true}, nil
	}
	p := strings.SplitN(id, ":", 7)
	if len(p) != 7 || p[2] != "secretsmanager" || p[5] != "secret" || p[1] == "" || p[3] == "" || p[4] == "" {
		e := Errorf(Invalid, "%q is not the ARN of a secret (arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME-SUFFIX)", id)
		e.Code = "ValidationException"
		return ID{}, e
	}
	a := ARN{Partition: p[1], Region: p[3], Account: p[4], Name: p[6]}
	if i := strings.LastIndexByte(p[6], '-'); i > 0 && isSuffix(p[6][i+1:]) {
		a.Name, a.Suffix = p[6][:i], p[6][i+1:]
	}
	if err := ValidateName(a.Name); err != nil {
		return ID{}, err
	}
	return ID{ARN: a, ByName: a.Suffix == ""}, nil
}

// Matches reports whether the secret with this ARN is the one meant. A plain
// name matches in whatever account and region the caller looks.
func (id ID) Matches(a ARN) bool {
	if id.ARN.Region != "" && (id.ARN.Partition != a.Partition || id.ARN.Region != a.Region || id.ARN.Account != a.Account) {
		return false
	}
	return id.ARN.Name == a.Name && (id.ByName || id.ARN.Suffix == a.Suffix)
}
