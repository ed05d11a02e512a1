package function

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go/logging"

	"github.com/pawlhq/pawl/awsenv"
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

// maxAnswer is how much of an answer is read: what explains a failure is far
// shorter, and what a function that succeeded returns is not looked at.
const maxAnswer = 1 << 20

// Call implements Caller. That the function succeeded is what the API says,
// whatever the function returns: AWS Secrets Manager does not look at it either.
func (l *Lambda) Call(ctx context.Context, e Event) error {
	payload, err := json.Marshal(e)
	if err != nil {
		return secrets.Errorf(secrets.Invalid, "the event for %s: %w", l.who(), err)
	}
	out, err := l.invoke(ctx, types.InvocationTypeRequestResponse, payload)
	switch {
	case err != nil:
		return err
	case aws.ToString(out.FunctionError) == "":
		return nil
	case len(out.Payload) > maxAnswer:
		return l.tooMuch()
	}
	return l.failed(out.Payload)
}

// Check implements Caller by a dry run, which asks whether the function is there
// and may be invoked. What speaks the Invoke API without dry runs is taken to be
// ready.
func (l *Lambda) Check(ctx context.Context) error {
	_, err := l.invoke(ctx, types.InvocationTypeDryRun, nil)
	return err
}

func (l *Lambda) who() string { return "the function " + shown(l.ARN, 300) }

func (l *Lambda) invoke(ctx context.Context, how types.InvocationType, payload []byte) (*lambda.InvokeOutput, error) {
	arn, ok := parseARN(l.ARN)
	if !ok {
		return nil, secrets.Errorf(secrets.Invalid, "%q is not the ARN of a Lambda function", shown(l.ARN, 300)).
			WithHint("write it as arn:aws:lambda:us-east-1:123456789012:function:rotate, with :version or :alias behind it if it has one")
	}
	in := &lambda.InvokeInput{FunctionName: aws.String(arn.function), InvocationType: how, LogType: types.LogTypeNone, Payload: payload}
	if arn.qualifier != "" {
		in.Qualifier = aws.String(arn.qualifier)
	}
	ctx, n := noticed(ctx)
	out, err := l.API.Invoke(ctx, in, func(o *lambda.Options) {
		o.Region = arn.region
		// The function may have begun whatever went wrong. Trying again is the
		// rotation's business, which begins anew with the first step.
		o.Retryer = aws.NopRetryer{}
	})
	if err == nil {
		return out, nil
	}
	if how == types.InvocationTypeDryRun && status(err) == http.StatusNotImplemented {
		return nil, nil
	}
	// A dry run has done nothing, whatever became of its answer.
	return nil, n.at(l.refused(ctx, err, n.sent.Load() && how != types.InvocationTypeDryRun))
}

// failed is the error of a function that failed, by what the API answered.
func (l *Lambda) failed(payload []byte) error {
	f := failure{what: l.who() + " failed"}
	var ok bool
	if f.kind, f.message, ok = readFailure(payload); !ok {
		f.what += ", and what it answers is not the JSON object that explains a failure,"
	}
	kind, known := kindOf(f.kind)
	if !known && f.kind == "" && timedOut.MatchString(f.message) {
		kind = secrets.Transient
	}
	e := fail(kind, f)
	if arn, ok := parseARN(l.ARN); ok {
		e.Hint = "its log says more: aws logs tail /aws/lambda/" + arn.name + " --region " + arn.region
	}
	return e
}

// timedOut is how AWS Lambda says that a function's time ran out. An error type
// comes with it only lately.
var timedOut = regexp.MustCompile(`Task timed out after [0-9.]+ seconds$`)

func (l *Lambda) tooMuch() error {
	return secrets.Errorf(secrets.Invalid, "%s answers more than %d bytes", l.who(), maxAnswer).
		WithHint("a rotation function need not return anything")
}

// functionARN is an ARN of a function taken apart.
type functionARN struct {
	function                string // without qualifier
	region, name, qualifier string
}

// parseARN reads arn:PARTITION:lambda:REGION:ACCOUNT:function:NAME[:QUALIFIER].
func parseARN(s string) (functionARN, bool) {
	p := strings.Split(s, ":")
	if len(p) < 7 || len(p) > 8 || p[0] != "arn" || p[1] == "" || p[2] != "lambda" || p[3] == "" || p[4] == "" || p[5] != "function" || p[6] == "" ||
		len(p) == 8 && p[7] == "" || strings.ContainsAny(s, "/ \t\r\n") {
		return functionARN{}, false
	}
	a := functionARN{function: strings.Join(p[:7], ":"), region: p[3], name: p[6]}
	if len(p) == 8 {
		a.qualifier = p[7]
	}
	return a, true
}

// LambdaConfig says where the Lambda API is, and as whom it is called.
type LambdaConfig struct {
	Endpoint string // "" = AWS's, in the region of each function
	Profile  string // of ~/.aws; "" = the environment's
}

// NewInvokeAPI makes the client of the Lambda API, with the credentials that the
// profile or the environment has, by the AWS SDK's chain; AWS_CA_BUNDLE and
// HTTPS_PROXY count too. Of the endpoints that the environment names none is
// minded: AWS_ENDPOINT_URL may well be Pawl's own. It asks nothing of anybody.
// Errors are Invalid.
func NewInvokeAPI(ctx context.Context, c LambdaConfig) (InvokeAPI, error) {
	if c.Endpoint != "" {
		if _, ok := awsenv.ParseEndpoint(c.Endpoint); !ok {
			return nil, secrets.Errorf(secrets.Invalid, "functions.endpoint is not the address of a server").
				WithHint("write it as http://127.0.0.1:4566: scheme, host and port")
		}
	}
	env, err := awsenv.Place{Profile: c.Profile, Endpoint: c.Endpoint}.Load(ctx)
	if err != nil {
		return nil, secrets.Prefixed(err, "for rotation functions, by functions.profile or the environment")
	}
	b, ok := env.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		b = awshttp.NewBuildableClient()
	}
	// The transport waits as long as the caller does, with TCP's keep-alive. Calls
	// are few and long, and most answers are not read: a connection serves one.
	transport := b.GetTransport()
	transport.DisableKeepAlives = true
	env.Credentials = identity{env.Credentials}
	return lambda.NewFromConfig(env, func(o *lambda.Options) {
		o.BaseEndpoint = nil
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
		}
		o.Retryer = aws.NopRetryer{}
		o.Logger = logging.Nop{} // it would write to the standard error
		o.HTTPClient = frugal{&http.Client{Transport: transport, CheckRedirect: stay}}
	}), nil
}

// frugal is an HTTP client that reads of an answer no more than is looked at.
// The SDK would take all of it into memory.
type frugal struct{ *http.Client }

// Source of the header: AWS Lambda API reference, Invoke, "Response Syntax".
const functionError = "X-Amz-Function-Error"

// Do implements lambda.HTTPClient.
func (f frugal) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body = readCloser{req.Body, req.Body}
	}
	resp, err := f.Client.Do(noticing(req))
	if err != nil {
		return nil, err
	}
	body := resp.Body
	if resp.StatusCode/100 == 2 && resp.Header.Get(functionError) == "" {
		resp.Body = readCloser{http.NoBody, body}
	} else {
		resp.Body = readCloser{&upTo{body, maxAnswer}, body}
	}
	return resp, nil
}

// readCloser is no io.WriterTo. The SDK's request body is one, and once the SDK has
// closed it, which it does when the answer begins, it says EOF where a WriterTo must
// not: the transport would take that for a failure and hang up within the answer.
type readCloser struct {
	io.Reader
	io.Closer
}

// upTo reads n bytes, and fails where there are more.
type upTo struct {
	r io.Reader
	n int
}

var errTooMuch = errors.New("the answer is too long")

func (u *upTo) Read(p []byte) (int, error) {
	if len(p) > u.n+1 {
		p = p[:u.n+1]
	}
	n, err := u.r.Read(p)
	if u.n -= n; u.n < 0 {
		return 0, errTooMuch
	}
	return n, err
}

// identity marks the errors of getting credentials, which the SDK wraps like
// those of the call.
type identity struct{ aws.CredentialsProvider }

type noIdentity struct{ error }

func (e *noIdentity) Unwrap() error { return e.error }

// Retrieve implements aws.CredentialsProvider.
func (i identity) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := i.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return c, &noIdentity{err}
	}
	return c, nil
}
