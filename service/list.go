package service

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// ListSecretsInput asks for one page of secrets.
type ListSecretsInput struct {
	Filters                []Filter `json:",omitempty" aws:"0..10"`
	IncludePlannedDeletion bool     `json:",omitempty"`
	MaxResults             *int64   `json:",omitempty" aws:"1..100"` // nil = 100
	NextToken              string   `json:",omitempty" aws:"1..4096"`
	SortBy                 string   `json:",omitempty" aws:"enum:sort-by"`    // "" = created-date
	SortOrder              string   `json:",omitempty" aws:"enum:sort-order"` // "" = asc
}

// listing returns the order that was asked for.
func (in ListSecretsInput) listing() Listing {
	l := Listing{Order: ByCreated, Descending: in.SortOrder == "desc"}
	switch in.SortBy {
	case "name":
		l.Order = ByName
	case "last-changed-date":
		l.Order = ByChanged
	case "last-accessed-date":
		l.Order = ByAccessed
	}
	return l
}

// SecretListEntry is one secret of a listing.
type SecretListEntry struct {
	Metadata
	SecretVersionsToStages map[string][]string `json:",omitempty"`
}

// ListSecretsOutput is one page, which may be short or empty where filters let
// little pass. NextToken is empty on the last one.
type ListSecretsOutput struct {
	SecretList []SecretListEntry
	NextToken  string `json:",omitempty"`
}

// ListSecrets lists the secrets of the account and region, oldest first unless
// told otherwise, names breaking ties. Errors: InvalidParameterException for a
// filter without key or values, InvalidNextTokenException.
func (s *Service) ListSecrets(ctx context.Context, in ListSecretsInput) (*ListSecretsOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	if err := s.allowed(nil, ""); err != nil {
		return nil, err
	}
	match, prefix, err := compile(in.Filters)
	if err != nil {
		return nil, err
	}
	l := in.listing()
	l.Prefix = prefix
	bound := []any{"ListSecrets", s.at, in.Filters, in.IncludePlannedDeletion, l.Order, l.Descending}
	if l.After, err = startAt(in.NextToken, bound); err != nil {
		return nil, err
	}
	found, next, err := s.page(ctx, l, pageOf(in.MaxResults, 100), len(match) == 0, func(sec *Secret) bool {
		return (sec.Deleted.IsZero() || in.IncludePlannedDeletion) && match.passes(sec)
	})
	if err != nil {
		return nil, err
	}
	out := &ListSecretsOutput{SecretList: make([]SecretListEntry, len(found))}
	for i, sec := range found {
		out.SecretList[i] = SecretListEntry{s.metadata(sec), s.stages(sec.Versions)}
	}
	if next != nil {
		out.NextToken = makeToken(next.pack(), bound)
	}
	return out, nil
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
	n := pageOf(in.MaxResults, 100)
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
		if position(v) <= after || len(s.shown(v)) == 0 && !in.IncludeDeprecated {
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
			VersionID: v.ID, VersionStages: s.shown(v), LastAccessedDate: v.Accessed, CreatedDate: v.Created, KmsKeyIDs: []string{key},
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
