package engines

import (
	"context"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// SendMargin is the least time that must be left to send a change: with less, its
// answer could not be awaited and the outcome would be unknown.
const SendMargin = time.Second

// Sendable makes sure that a change may be sent now: confirm, where there is one,
// says that whoever wants it still may have it, and the time left is enough. It is
// called for each statement that changes something, right before that is sent on a
// session which is open already: from here on only the session's guard ends what
// comes too late. Errors: confirm's, which are no fault of the server's and don't
// carry its address addr; Transient. Then nothing must be sent.
func Sendable(ctx context.Context, confirm func(context.Context) error, addr string) error {
	if confirm != nil {
		if err := confirm(ctx); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return secrets.At(secrets.Errorf(secrets.Transient, "the time ran out before the change was sent: %w", err), "", "", addr)
	}
	if end, ok := secrets.EndOf(ctx); ok && time.Until(end) < SendMargin {
		return secrets.At(secrets.Errorf(secrets.Transient, "too little time is left to make the change; nothing was sent"), "", "", addr)
	}
	return nil
}
