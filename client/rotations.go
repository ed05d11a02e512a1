package client

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/service"
)

// What AWS has no operation for is under Pawl's own prefix.

func ofPawl(name string) operation { return operation{target: "pawl." + name} }

// ListRotations lists one page of rotations.
func (c *Client) ListRotations(ctx context.Context, in service.ListRotationsInput) (*service.ListRotationsOutput, error) {
	secret := ""
	if len(in.SecretIDs) == 1 {
		secret = in.SecretIDs[0]
	}
	return call[service.ListRotationsOutput](ctx, c, ofPawl("ListRotations"), secret, in)
}

// Plan calls yield with every rotation of the account and region, in byte order
// of the name, with those that follow it until then where until is set. An error
// of yield ends it and is returned.
func (c *Client) Plan(ctx context.Context, until time.Time, yield func(service.RotationStatus) error) error {
	in := service.ListRotationsInput{PlanUntil: until}
	for {
		page, err := c.ListRotations(ctx, in)
		if err != nil {
			return err
		}
		for _, r := range page.Rotations {
			if err := yield(r); err != nil {
				return err
			}
		}
		if in.NextToken = page.NextToken; in.NextToken == "" {
			return nil
		}
	}
}

// Pause stops a secret's schedule until Resume.
func (c *Client) Pause(ctx context.Context, id string) error {
	_, err := call[service.PauseRotationOutput](ctx, c, ofPawl("PauseRotation"), id, service.PauseRotationInput{SecretID: id})
	return err
}

// Resume ends a pause.
func (c *Client) Resume(ctx context.Context, id string) error {
	_, err := call[service.ResumeRotationOutput](ctx, c, ofPawl("ResumeRotation"), id, service.ResumeRotationInput{SecretID: id})
	return err
}

// StartRotation asks for one rotation, which goes on after the answer.
func (c *Client) StartRotation(ctx context.Context, in service.StartRotationInput) (*service.StartRotationOutput, error) {
	return call[service.StartRotationOutput](ctx, c, ofPawl("StartRotation"), in.SecretID, in)
}

// TestRotation runs the checks of a rotation and answers when they are done.
func (c *Client) TestRotation(ctx context.Context, in service.TestRotationInput) (*service.TestRotationOutput, error) {
	op := ofPawl("TestRotation")
	op.slow = true
	return call[service.TestRotationOutput](ctx, c, op, in.SecretID, in)
}
