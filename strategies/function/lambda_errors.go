package function

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/pawlhq/pawl/secrets"
)

// verdicts are what the exceptions of the Invoke API mean. Of others the status
// decides.
// Source: AWS Lambda API reference, "Errors" of Invoke, and "Common errors".
var verdicts = func() map[string]secrets.Kind {
	m := map[string]secrets.Kind{}
	for k, names := range map[secrets.Kind]string{
		// Throttled, not ready yet, being updated, or a failure inside AWS.
		secrets.Transient: `
			TooManyRequestsException ThrottlingException Throttling RequestLimitExceeded EC2ThrottledException
			ServiceException ServiceUnavailable ServiceUnavailableException InternalFailure InternalServerException
			EC2UnexpectedException ENILimitReachedException ENINotReadyException SubnetIPAddressLimitReachedException
			ResourceConflictException ResourceNotReadyException CodeArtifactUserPendingException
			SnapStartException SnapStartNotReadyException SnapStartTimeoutException SnapStartRegenerationFailureException
			EFSIOException EFSMountConnectivityException EFSMountTimeoutException
			S3FilesMountConnectivityException S3FilesMountTimeoutException RequestTimeout RequestTimeoutException`,
		// Pawl may not call it, or the function's own role lacks a right that AWS
		// needs to start it.
		secrets.Denied: `
			AccessDeniedException AccessDenied KMSAccessDeniedException EC2AccessDeniedException
			UnrecognizedClientException InvalidClientTokenId InvalidSignatureException SignatureDoesNotMatch
			IncompleteSignature MissingAuthenticationToken MissingAuthenticationTokenException NotAuthorized
			ExpiredToken ExpiredTokenException RequestExpired OptInRequired`,
		secrets.Invalid: `
			ResourceNotFoundException InvalidParameterValueException InvalidRequestContentException
			InvalidRuntimeException InvalidZipFileException InvalidSecurityGroupIDException InvalidSubnetIDException
			KMSDisabledException KMSInvalidStateException KMSNotFoundException EFSMountFailureException
			S3FilesMountFailureException CodeArtifactUserDeletedException CodeArtifactUserFailedException
			RecursiveInvocationException RequestTooLargeException SerializedRequestEntityTooLargeException
			UnsupportedMediaTypeException NoPublishedVersionException ModeNotSupportedException
			DurableExecutionAlreadyStartedException ValidationException ValidationError UnknownOperationException`,
	} {
		for _, name := range strings.Fields(names) {
			m[name] = k
		}
	}
	return m
}()

// refused classifies an error of Invoke: what kept the function from running, or
// its answer from arriving.
func (l *Lambda) refused(ctx context.Context, err error, sent bool) error {
	var api smithy.APIError
	// The SDK says UnknownError of an answer that is no exception of the API's.
	if errors.As(err, &api) && !errors.Is(err, errTooMuch) && api.ErrorCode() != "UnknownError" {
		return l.exception(api, status(err))
	}
	var who *noIdentity
	if errors.As(err, &who) {
		return l.nobody(ctx, who.error)
	}
	switch code := status(err); {
	case over(ctx, l.who()) != nil, code == 0:
		var send *smithyhttp.RequestSendError
		if errors.As(err, &send) {
			err = send.Err
		}
		return broken(ctx, l.who(), err, sent)
	case code/100 != 2:
		return l.exception(nil, code)
	case errors.Is(err, errTooMuch):
		return l.tooMuch()
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF), isNet(err):
		return broken(ctx, l.who(), errors.New("its answer was cut off"), true)
	}
	return secrets.Errorf(secrets.Invalid, "what answers for %s can't be read", l.who()).
		WithHint("does functions.endpoint speak the Lambda API?")
}

// exception is the error of an answer that is none of the function's: api is nil
// where it can't be read.
func (l *Lambda) exception(api smithy.APIError, code int) error {
	f := failure{what: l.who() + " can't be called"}
	kind, known := secrets.Invalid, false
	if api != nil {
		f.kind, f.message = api.ErrorCode(), api.ErrorMessage()
		kind, known = verdicts[f.kind]
	} else {
		f.message = "the Lambda API answers " + statusText(code)
	}
	switch {
	case known:
	case code >= 500:
		kind = secrets.Transient
	default:
		kind = kindOfStatus(code)
	}
	e := fail(kind, f)
	switch arn, _ := parseARN(l.ARN); {
	case f.kind == "ResourceNotFoundException" || api != nil && code == http.StatusNotFound:
		e.Hint = "look for it: aws lambda get-function --function-name " + l.ARN
	case f.kind == "AccessDeniedException" || f.kind == "AccessDenied":
		e.Hint = `allow it to Pawl's own AWS identity: {"Effect": "Allow", "Action": "lambda:InvokeFunction", "Resource": "` + arn.function + `*"}, and for another account's function in that function's policy too`
	case kind == secrets.Denied && strings.HasPrefix(f.kind, "KMS"), f.kind == "EC2AccessDeniedException":
		e.Hint = "AWS can't start it: look at the rights of the function's own role"
	case kind == secrets.Denied:
		e.Hint = "look at Pawl's own AWS credentials: functions.profile, AWS_ACCESS_KEY_ID, AWS_PROFILE or the role of the machine"
	case f.kind == "TooManyRequestsException":
		e.Hint = "it is tried again; if it stays so, look at the concurrency reserved for the function and at the account's"
	}
	return e
}

// nobody explains why there is nothing to sign with.
func (l *Lambda) nobody(ctx context.Context, err error) error {
	if e := over(ctx, l.who()); e != nil {
		return e
	}
	// The SDK's chain ends at the metadata of a virtual machine; that it found
	// nothing there says only that there was nothing anywhere.
	var last *smithy.OperationError
	if errors.As(err, &last) && last.Service() == "ec2imds" {
		return secrets.Errorf(secrets.Denied, "%s can't be called: no AWS credentials were found to sign requests with", l.who()).
			WithHint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or functions.profile")
	}
	kind := secrets.Denied
	if isNet(err) {
		kind = secrets.Transient
	}
	return secrets.Errorf(kind, "%s can't be called: getting AWS credentials: %w", l.who(), err).
		WithHint("look at functions.profile, AWS_PROFILE, AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE")
}

// isNet reports whether err comes from a connection.
func isNet(err error) bool {
	var n net.Error
	return errors.As(err, &n)
}

// status is the HTTP status of the answer that err is about, or 0.
func status(err error) int {
	var r *smithyhttp.ResponseError
	if errors.As(err, &r) {
		return r.HTTPStatusCode()
	}
	return 0
}

// kindOfStatus is what a status says of which nothing else is known.
func kindOfStatus(code int) secrets.Kind {
	switch {
	case code == http.StatusTooManyRequests, code == http.StatusRequestTimeout,
		code == http.StatusBadGateway, code == http.StatusServiceUnavailable, code == http.StatusGatewayTimeout:
		return secrets.Transient
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return secrets.Denied
	case code >= 500:
		return secrets.Denied
	}
	return secrets.Invalid
}
