package service

import (
	"context"

	"github.com/pawlhq/pawl/secrets"
)

// maxBatch is how many values one call reads at most.
// Source: AWS Secrets Manager API reference, BatchGetSecretValue.
const maxBatch = 20

// BatchGetSecretValueInput names secrets or says what they are like; never both.
// MaxResults and NextToken go with Filters only.
type BatchGetSecretValueInput struct {
	SecretIDList []string `json:"SecretIdList,omitempty" aws:"1..20 each:1..2048"`
	Filters      []Filter `json:",omitempty" aws:"0..10"`
	MaxResults   *int64   `json:",omitempty" aws:"1..20"` // nil = 20
	NextToken    string   `json:",omitempty" aws:"1..4096"`
}

// APIErrorType says why one secret of several was not read. Its name is AWS's.
type APIErrorType struct {
	SecretID  string `json:"SecretId"`
	ErrorCode string
	Message   string
}

// BatchGetSecretValueOutput are the values and, for those that could not be
// read, the reasons. NextToken is empty on the last page.
type BatchGetSecretValueOutput struct {
	SecretValues []GetSecretValueOutput
	Errors       []APIErrorType
	NextToken    string `json:",omitempty"`
}

// BatchGetSecretValue reads the AWSCURRENT value of several secrets, as
// GetSecretValue does each. What would be an error of that becomes an entry of
// Errors, also that the caller may not do that to the secret; secrets marked for
// deletion are there only when they were named.
// Errors: InvalidParameterException, InvalidNextTokenException.
func (s *Service) BatchGetSecretValue(ctx context.Context, in BatchGetSecretValueInput) (*BatchGetSecretValueOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	named, filtered := len(in.SecretIDList) > 0, len(in.Filters) > 0
	if err := s.allowed(nil, ""); err != nil {
		return nil, err
	}
	if filtered {
		if err := s.allowedTo(listSecrets, nil, ""); err != nil {
			return nil, err
		}
	}
	switch {
	case named && filtered:
		return nil, refuse(invalidParameter, "", eitherListOrFilters)
	case in.MaxResults != nil && !filtered:
		return nil, refuse(invalidParameter, "", "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.")
	case !named && !filtered:
		return nil, refuse(invalidParameter, "", eitherListOrFilters)
	case in.NextToken != "" && named:
		return nil, badToken()
	}
	out := &BatchGetSecretValueOutput{SecretValues: []GetSecretValueOutput{}, Errors: []APIErrorType{}}
	if named {
		for _, id := range in.SecretIDList {
			sec, err := s.peekTo(ctx, getSecretValue, id)
			if err == nil {
				err = alive(sec)
			}
			if err := s.readInto(ctx, out, id, sec, err); err != nil {
				return nil, err
			}
		}
		return out, nil
	}
	match, prefix, err := compile(in.Filters)
	if err != nil {
		return nil, err
	}
	l := Listing{Order: ByCreated, Prefix: prefix}
	bound := []any{"BatchGetSecretValue", s.at, in.Filters}
	if l.After, err = startAt(in.NextToken, bound); err != nil {
		return nil, err
	}
	found, next, err := s.page(ctx, l, pageOf(in.MaxResults, maxBatch), false, func(sec *Secret) bool {
		return sec.Deleted.IsZero() && match.passes(sec)
	})
	if err != nil {
		return nil, err
	}
	for _, sec := range found {
		id := sec.ARN.String()
		if err := s.readInto(ctx, out, id, sec, s.allowedTo(getSecretValue, sec, id)); err != nil {
			return nil, err
		}
	}
	if next != nil {
		out.NextToken = makeToken(next.pack(), bound)
	}
	return out, nil
}

const eitherListOrFilters = "Either 'SecretIdList' or 'Filters' must be provided, but not both."

// readInto adds a secret's value, or why there is none, to out. An error that
// is no answer about this secret (a store that can't be read) is returned.
func (s *Service) readInto(ctx context.Context, out *BatchGetSecretValueOutput, id string, sec *Secret, err error) error {
	var one *GetSecretValueOutput
	if err == nil {
		one, err = s.read(ctx, sec, "", "")
	}
	switch code := secrets.CodeOf(err); {
	case err == nil:
		out.SecretValues = append(out.SecretValues, *one)
	case code == "":
		return err
	default:
		out.Errors = append(out.Errors, APIErrorType{SecretID: id, ErrorCode: code, Message: textOf(err)})
	}
	return nil
}
