package service

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Filter narrows a listing: an entry passes when one of Values matches. Key
// "name" matches the beginning of the name, case-sensitive; a ! before a value
// turns it round.
type Filter struct {
	Key    string   `aws:"enum:filter-key"`
	Values []string `aws:"1..10 each:0..512 pattern:filter"`
}

// ListSecretsInput asks for one page of secrets.
type ListSecretsInput struct {
	Filters                []Filter `json:",omitempty" aws:"0..10"`
	IncludePlannedDeletion bool     `json:",omitempty"`
	MaxResults             *int64   `json:",omitempty" aws:"1..100"` // nil = 100
	NextToken              string   `json:",omitempty" aws:"1..4096"`
	SortBy                 string   `json:",omitempty" aws:"enum:sort-by"`    // "" = created-date
	SortOrder              string   `json:",omitempty" aws:"enum:sort-order"` // "" = asc
}

// SecretListEntry is one secret of a listing.
type SecretListEntry struct {
	Metadata
	SecretVersionsToStages map[string][]string `json:",omitempty"`
}

// ListSecretsOutput is one page, in byte order of the name. NextToken is empty
// on the last one.
type ListSecretsOutput struct {
	SecretList []SecretListEntry
	NextToken  string `json:",omitempty"`
}

// ListSecrets lists the secrets of the account and region. Errors:
// InvalidParameterException for a filter it does not know,
// InvalidNextTokenException.
func (s *Service) ListSecrets(ctx context.Context, in ListSecretsInput) (*ListSecretsOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	n := pageOf(in.MaxResults)
	if err := checkFilters(in.Filters); err != nil {
		return nil, err
	}
	bound := []any{"ListSecrets", in.Filters, in.IncludePlannedDeletion}
	after, err := startOf(in.Filters), error(nil)
	if in.NextToken != "" {
		if after, err = readToken(in.NextToken, bound); err != nil {
			return nil, err
		}
	}
	out := &ListSecretsOutput{SecretList: []SecretListEntry{}}
	full := errors.New("the page is full")
	err = s.each(ctx, after, func(sec *Secret) error {
		if beyond(in.Filters, sec.ARN.Name) {
			return full
		}
		if !passes(in.Filters, sec.ARN.Name) || !sec.Deleted.IsZero() && !in.IncludePlannedDeletion {
			return nil
		}
		if len(out.SecretList) == n {
			out.NextToken = makeToken(out.SecretList[n-1].Name, bound)
			return full
		}
		out.SecretList = append(out.SecretList, SecretListEntry{s.metadata(sec), stages(sec.Versions)})
		return nil
	})
	if err != nil && !errors.Is(err, full) {
		return nil, err
	}
	return out, nil
}

func checkFilters(fs []Filter) error {
	for _, f := range fs {
		if f.Key != "name" {
			return refuse(invalidParameter, "", "Invalid filter key").WithHint("filter by name")
		}
		if len(f.Values) == 0 || len(f.Values) > 10 {
			return refuse(invalidParameter, "", "Invalid filter values for key: %s", f.Key)
		}
	}
	return nil
}

func passes(fs []Filter, name string) bool {
	return !slices.ContainsFunc(fs, func(f Filter) bool {
		return !slices.ContainsFunc(f.Values, func(v string) bool {
			prefix, negated := strings.CutPrefix(v, "!")
			return strings.HasPrefix(name, prefix) != negated
		})
	})
}

// single returns the one prefix that every name must have, or "".
func single(fs []Filter) string {
	if len(fs) == 1 && len(fs[0].Values) == 1 && !strings.HasPrefix(fs[0].Values[0], "!") {
		return fs[0].Values[0]
	}
	return ""
}

// startOf returns a string before every name that can pass and, where one
// prefix rules, after most others: names are ASCII without DEL.
func startOf(fs []Filter) string {
	p := single(fs)
	if p == "" {
		return ""
	}
	last := len(p) - 1
	if p[last] == 0 || p[last] > 0x7e {
		return ""
	}
	return p[:last] + string(rune(p[last]-1)) + "\x7f"
}

// beyond reports whether no further name can pass.
func beyond(fs []Filter, name string) bool {
	p := single(fs)
	return name > p && p != "" && !strings.HasPrefix(name, p)
}

// ListSecretVersionIDsInput asks for one page of a secret's versions.
type ListSecretVersionIDsInput struct {
	SecretID          string `json:"SecretId" aws:"required 1..2048"`
	IncludeDeprecated bool   `json:",omitempty"`              // also those without labels
	MaxResults        *int64 `json:",omitempty" aws:"1..100"` // nil = 100
	NextToken         string `json:",omitempty" aws:"1..4096"`
}

// SecretVersionsListEntry is one version of a listing. A deprecated one has no
// VersionStages.
type SecretVersionsListEntry struct {
	VersionID        string    `json:"VersionId"`
	VersionStages    []string  `json:",omitempty"`
	LastAccessedDate time.Time `json:",omitzero"`
	CreatedDate      time.Time
	KmsKeyIDs        []string `json:"KmsKeyIds"`
}

// ListSecretVersionIDsOutput is one page, oldest version first. NextToken is
// empty on the last one.
type ListSecretVersionIDsOutput struct {
	ARN       string
	Name      string
	Versions  []SecretVersionsListEntry
	NextToken string `json:",omitempty"`
}

// ListSecretVersionIDs lists the versions of a secret, also of one marked for
// deletion. Errors: ResourceNotFoundException, InvalidNextTokenException.
func (s *Service) ListSecretVersionIDs(ctx context.Context, in ListSecretVersionIDsInput) (*ListSecretVersionIDsOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	n := pageOf(in.MaxResults)
	sec, err := s.find(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	bound := []any{"ListSecretVersionIds", sec.ARN.String(), in.IncludeDeprecated}
	after := ""
	if in.NextToken != "" {
		if after, err = readToken(in.NextToken, bound); err != nil {
			return nil, err
		}
	}
	out := &ListSecretVersionIDsOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name, Versions: []SecretVersionsListEntry{}}
	vs := slices.Clone(sec.Versions)
	slices.SortFunc(vs, func(a, b secrets.Version) int { return strings.Compare(position(a), position(b)) })
	last := ""
	for _, v := range vs {
		if position(v) <= after || len(v.Labels) == 0 && !in.IncludeDeprecated {
			continue
		}
		if len(out.Versions) == n {
			out.NextToken = makeToken(last, bound)
			break
		}
		key := v.KeyID
		if key == "" {
			key = "DefaultEncryptionKey"
		}
		out.Versions = append(out.Versions, SecretVersionsListEntry{
			VersionID: v.ID, VersionStages: v.Labels, LastAccessedDate: v.Accessed, CreatedDate: v.Created, KmsKeyIDs: []string{key},
		})
		last = position(v)
	}
	return out, nil
}

// position orders versions by creation, ids breaking ties, so that a page goes
// on where the last one ended even if that version is gone.
func position(v secrets.Version) string {
	return v.Created.UTC().Format("2006-01-02T15:04:05.000000000") + v.ID
}

// pageOf returns the size of a page.
func pageOf(maxResults *int64) int {
	if maxResults == nil {
		return 100
	}
	return int(*maxResults)
}

// makeToken makes an opaque token that says where a page ended and is good only
// for the operation and arguments it is bound to.
func makeToken(last string, bound []any) string {
	return base64.RawURLEncoding.EncodeToString(append(digest(last, bound), last...))
}

func readToken(token string, bound []any) (last string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < digestLen || string(digest(string(b[digestLen:]), bound)) != string(b[:digestLen]) {
		return "", refuse(invalidNextToken, "", "The NextToken value is not valid for this request.").
			WithHint("begin again without a token, and keep the other arguments the same from page to page")
	}
	return string(b[digestLen:]), nil
}

const digestLen = 12

func digest(last string, bound []any) []byte {
	b, err := json.Marshal(bound)
	if err != nil {
		panic("service: a token's arguments: " + err.Error()) // strings and booleans always encode
	}
	sum := sha256.Sum256([]byte(strconv.Quote(last) + string(b)))
	return sum[:digestLen]
}
