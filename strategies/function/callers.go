package function

import (
	"context"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/pawlhq/pawl/secrets"
)

// InvokeAPI is what of the Lambda API is used.
type InvokeAPI interface {
	Invoke(ctx context.Context, in *lambda.InvokeInput, opts ...func(*lambda.Options)) (*lambda.InvokeOutput, error)
}

// Lambda calls an AWS Lambda function by the Invoke API, and waits for it. It
// never has the SDK try again after the function may have begun.
type Lambda struct {
	API InvokeAPI
	ARN string // of the function, with or without version or alias
}

// HTTP calls a function at a URL: a POST of the event as JSON, signed with a
// shared key, to which a status of 2xx says that the step is done. Anything else
// is a failure, which a body {"errorType": …, "errorMessage": …} explains.
// docs/functions.md has the contract, the signature's making included.
type HTTP struct {
	URL  string
	Key  secrets.Password // what both sides sign with
	HTTP *http.Client     // nil = one that follows no redirect and uses no proxy
}

// Command calls a program on this machine: the event as JSON on its standard
// input. Exit code 0 says that the step is done; on anything else its standard
// output, {"errorType": …, "errorMessage": …}, or else the last line of its
// standard error, explains. It and all its children are killed when the time is
// over. No more than a part of what it prints is kept.
type Command struct {
	Args []string // program and arguments; no shell
	Dir  string   // where it runs
	// Environment is all that it has of an environment: NAME=value, asked for
	// before each call.
	Environment func(ctx context.Context, e Event) ([]string, error)
}
