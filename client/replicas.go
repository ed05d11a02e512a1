package client

import (
	"context"

	"github.com/pawlhq/pawl/service"
)

// What one Pawl asks another about replicas. Each may be sent again: it says at
// which revision.

// ApplyReplica makes a replica equal to its primary.
func (c *Client) ApplyReplica(ctx context.Context, in service.ApplyReplicaInput) (*service.ApplyReplicaOutput, error) {
	return call[service.ApplyReplicaOutput](ctx, c, ofPawl("ApplyReplica"), in.SecretID, in)
}

// RemoveReplica deletes a replica that its primary gave up.
func (c *Client) RemoveReplica(ctx context.Context, in service.RemoveReplicaInput) (*service.RemoveReplicaOutput, error) {
	return call[service.RemoveReplicaOutput](ctx, c, ofPawl("RemoveReplica"), in.SecretID, in)
}

// DescribeReplica tells how far a replica is.
func (c *Client) DescribeReplica(ctx context.Context, in service.DescribeReplicaInput) (*service.DescribeReplicaOutput, error) {
	return call[service.DescribeReplicaOutput](ctx, c, ofPawl("DescribeReplica"), in.SecretID, in)
}

// ForgetReplica has a primary forget a replica that was promoted.
func (c *Client) ForgetReplica(ctx context.Context, in service.ForgetReplicaInput) (*service.ForgetReplicaOutput, error) {
	return call[service.ForgetReplicaOutput](ctx, c, ofPawl("ForgetReplica"), in.SecretID, in)
}
