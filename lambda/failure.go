package lambda

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/pawlhq/pawl/secrets"
)

// ValueError is the type of a refused event. It is what AWS's own rotation
// functions, which are Python, raise for the same reasons.
const ValueError = "ValueError"

// maxMessage bounds, in bytes, the message of an error.
const maxMessage = 32 << 10

// valueError refuses an event. Secrets Manager's texts are AWS's own.
func valueError(format string, args ...any) error {
	return messages.InvokeResponse_Error{Type: ValueError, Message: fmt.Sprintf(format, args...)}
}

// failure is an error as Lambda reports it, on one line.
func failure(err error) messages.InvokeResponse_Error {
	var f messages.InvokeResponse_Error
	if errors.As(err, &f) {
		return f
	}
	return messages.InvokeResponse_Error{Type: typeOf(secrets.KindOf(err)), Message: secrets.OneLine(err, maxMessage)}
}

// typeOf is the type of an error of a kind.
func typeOf(k secrets.Kind) string {
	name := k.String()
	return strings.ToUpper(name[:1]) + name[1:]
}

// outOfTime is an error for what did not end when the time was over. again says
// who goes on with it.
func outOfTime(secret, step, again string) error {
	e := secrets.Errorf(secrets.Transient, "the invocation's time ran out before this ended; the labels keep where the rotation is").
		WithHint("%s; give the function a longer time-out if that happens often", again)
	return secrets.At(e, secret, step, "")
}

// resumable says of an error that came because the time was over that nothing is
// lost.
func resumable(ctx context.Context, err error, again string) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if k := secrets.KindOf(err); k != secrets.Transient && k != secrets.Unknown {
		return err
	}
	f := failure(err)
	f.Message += "; the labels keep where the rotation is: " + again
	return f
}

// Who goes on with what ran out of time.
const (
	invokeAgain = "invoke the function again"
	awsAgain    = "Secrets Manager calls the steps again"
)
