package client

import (
	"context"

	"github.com/pawlhq/pawl/service"
)

// UpdateSecret changes a secret's description, key, type or value.
func (c *Client) UpdateSecret(ctx context.Context, in service.UpdateSecretInput) (*service.UpdateSecretOutput, error) {
	return call[service.UpdateSecretOutput](ctx, c, ofAWS("UpdateSecret"), in.SecretID, in)
}
