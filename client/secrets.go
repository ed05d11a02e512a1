package client

import (
	"context"

	"github.com/pawlhq/pawl/service"
)

// What Secrets Manager has operations for. Each is the service's method of the
// same name, whose errors it has too, and those of the connection.

func ofAWS(name string) operation { return operation{target: "secretsmanager." + name} }

// once marks an operation that must not be sent again after a lost answer: it
// would be refused, and so look as if it had not been done.
func once(op operation) operation {
	op.once = true
	return op
}

// none is the answer of operations that answer an empty body.
type none struct{}

// CreateSecret makes a secret.
func (c *Client) CreateSecret(ctx context.Context, in service.CreateSecretInput) (*service.CreateSecretOutput, error) {
	return call[service.CreateSecretOutput](ctx, c, ofAWS("CreateSecret"), in.Name, in)
}

// PutSecretValue adds a version.
func (c *Client) PutSecretValue(ctx context.Context, in service.PutSecretValueInput) (*service.PutSecretValueOutput, error) {
	return call[service.PutSecretValueOutput](ctx, c, ofAWS("PutSecretValue"), in.SecretID, in)
}

// GetSecretValue reads a version's value.
func (c *Client) GetSecretValue(ctx context.Context, in service.GetSecretValueInput) (*service.GetSecretValueOutput, error) {
	return call[service.GetSecretValueOutput](ctx, c, ofAWS("GetSecretValue"), in.SecretID, in)
}

// ListSecrets lists one page of secrets.
func (c *Client) ListSecrets(ctx context.Context, in service.ListSecretsInput) (*service.ListSecretsOutput, error) {
	return call[service.ListSecretsOutput](ctx, c, ofAWS("ListSecrets"), "", in)
}

// DescribeSecret tells everything about a secret but its values.
func (c *Client) DescribeSecret(ctx context.Context, in service.DescribeSecretInput) (*service.DescribeSecretOutput, error) {
	return call[service.DescribeSecretOutput](ctx, c, ofAWS("DescribeSecret"), in.SecretID, in)
}

// ListSecretVersionIDs lists one page of a secret's versions.
func (c *Client) ListSecretVersionIDs(ctx context.Context, in service.ListSecretVersionIDsInput) (*service.ListSecretVersionIDsOutput, error) {
	return call[service.ListSecretVersionIDsOutput](ctx, c, ofAWS("ListSecretVersionIds"), in.SecretID, in)
}

// UpdateSecretVersionStage moves a staging label.
func (c *Client) UpdateSecretVersionStage(ctx context.Context, in service.UpdateSecretVersionStageInput) (*service.UpdateSecretVersionStageOutput, error) {
	return call[service.UpdateSecretVersionStageOutput](ctx, c, once(ofAWS("UpdateSecretVersionStage")), in.SecretID, in)
}

// DeleteSecret schedules a secret's deletion, or deletes it.
func (c *Client) DeleteSecret(ctx context.Context, in service.DeleteSecretInput) (*service.DeleteSecretOutput, error) {
	return call[service.DeleteSecretOutput](ctx, c, once(ofAWS("DeleteSecret")), in.SecretID, in)
}

// RestoreSecret takes the mark for deletion off.
func (c *Client) RestoreSecret(ctx context.Context, in service.RestoreSecretInput) (*service.RestoreSecretOutput, error) {
	return call[service.RestoreSecretOutput](ctx, c, ofAWS("RestoreSecret"), in.SecretID, in)
}

// TagResource adds or overwrites tags.
func (c *Client) TagResource(ctx context.Context, in service.TagResourceInput) error {
	_, err := call[none](ctx, c, ofAWS("TagResource"), in.SecretID, in)
	return err
}

// UntagResource removes tags.
func (c *Client) UntagResource(ctx context.Context, in service.UntagResourceInput) error {
	_, err := call[none](ctx, c, ofAWS("UntagResource"), in.SecretID, in)
	return err
}

// ReplicateSecretToRegions makes replicas.
func (c *Client) ReplicateSecretToRegions(ctx context.Context, in service.ReplicateSecretToRegionsInput) (*service.ReplicateSecretToRegionsOutput, error) {
	return call[service.ReplicateSecretToRegionsOutput](ctx, c, ofAWS("ReplicateSecretToRegions"), in.SecretID, in)
}

// RemoveRegionsFromReplication deletes replicas.
func (c *Client) RemoveRegionsFromReplication(ctx context.Context, in service.RemoveRegionsFromReplicationInput) (*service.RemoveRegionsFromReplicationOutput, error) {
	return call[service.RemoveRegionsFromReplicationOutput](ctx, c, ofAWS("RemoveRegionsFromReplication"), in.SecretID, in)
}

// StopReplicationToReplica makes a replica a secret of its own.
func (c *Client) StopReplicationToReplica(ctx context.Context, in service.StopReplicationToReplicaInput) (*service.StopReplicationToReplicaOutput, error) {
	return call[service.StopReplicationToReplicaOutput](ctx, c, once(ofAWS("StopReplicationToReplica")), in.SecretID, in)
}
