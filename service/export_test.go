package service

import (
	"context"

	"github.com/pawlhq/pawl/secrets"
)

// Change is the one way to write a secret, for what no operation does.
var Change = (*Service).update

// CatchUp is Follow for one secret.
func CatchUp(s *Service, ctx context.Context, arn secrets.ARN) error {
	return s.catchUp(ctx, arn, everywhere)
}
