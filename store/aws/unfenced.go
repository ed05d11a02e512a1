package aws

import "github.com/pawlhq/pawl/rotator"

var _ rotator.Unfenced = (*Claim)(nil)

// Unfenced says that the claim keeps rotators of other processes from nothing.
func (c *Claim) Unfenced() {}
