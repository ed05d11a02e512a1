package aws

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"github.com/pawlhq/pawl/awsenv"
	"github.com/pawlhq/pawl/secrets"
)

// AWS's exceptions that decide something here.
// Source: AWS Secrets Manager API reference, "Errors" of each operation and
// "Common Errors".
const (
	resourceNotFound  = "ResourceNotFoundException"
	resourceExists    = "ResourceExistsException"
	invalidParameter  = "InvalidParameterException"
	invalidRequest    = "InvalidRequestException"
	limitExceeded     = "LimitExceededException"
	accessDenied      = "AccessDeniedException"
	encryptionFailure = "EncryptionFailure"
	decryptionFailure = "DecryptionFailure"
)

// explain classifies an error of the SDK and says what to do about it. doubted:
// the operation may have taken effect.
func (a *api) explain(ctx context.Context, operation, secretID string, err error, doubted bool) error {
	e := a.classify(ctx, operation, secretID, err)
	var cut *cutShort
	if errors.As(err, &cut) {
		e.Kind, e.Err = secrets.Transient, fmt.Errorf("no answer in time (%w), and before that: %w", cut.by, e.Err)
	}
	if e.Server == "" {
		e.Server = a.server
	}
	e.Secret = nameOf(secretID)
	if doubted {
		e.Kind = secrets.Unknown
	}
	return e
}

func (a *api) classify(ctx context.Context, operation, secretID string, err error) *secrets.Error {
	var (
		own     *secrets.Error
		missing *credentialsError
		said    smithy.APIError
		resp    *awshttp.ResponseError
	)
	switch {
	case errors.As(err, &own):
		copied := *own
		return &copied
	case errors.As(err, &missing):
		return a.noCredentials(missing.error)
	case errors.As(err, &said):
		return a.refused(operation, secretID, said, err)
	case errors.As(err, &resp) && resp.HTTPStatusCode() >= 400:
		return unexplained(resp.HTTPStatusCode())
	}
	return a.broken(ctx, err)
}

// nameOf is the name of the secret that an id means.
func nameOf(id string) string {
	if meant, err := secrets.ParseID(id); err == nil {
		return meant.ARN.Name
	}
	return id
}

// refused is an error that AWS answered.
func (a *api) refused(operation, secretID string, said smithy.APIError, err error) *secrets.Error {
	status, request := 0, ""
	var resp *awshttp.ResponseError
	if errors.As(err, &resp) {
		status, request = resp.HTTPStatusCode(), resp.ServiceRequestID()
	}
	code, text := said.ErrorCode(), said.ErrorMessage()
	if code == "" || code == "UnknownError" {
		return unexplained(status)
	}
	if text == "" || text == "UnknownError" {
		text = code
	}
	e := &secrets.Error{Kind: secrets.Invalid, Code: code}
	switch {
	case throttled(code):
		e.Kind = secrets.Transient
		e.Hint = "the quotas are per account and region: who else calls that much? For Pawl's part see store.aws.rate_limits"
	case status >= 500, isTimeout(code):
		e.Kind = secrets.Transient
		if request != "" {
			text = fmt.Sprintf("%s (%s, request %s)", strings.TrimSuffix(text, "."), operation, request)
		}
	case code == accessDenied:
		e.Kind, e.Hint = secrets.Denied, a.permit(operation, secretID, text)
	case badCredentials[code] != "":
		e.Kind, e.Hint = secrets.Denied, badCredentials[code]
		switch {
		case strings.HasPrefix(text, "Signature expired"), strings.HasPrefix(text, "Signature not yet"):
			e.Hint = "is the clock of this machine right?"
		case e.Hint == logIn:
			e.Hint = a.logIn()
		}
	case code == decryptionFailure, code == encryptionFailure:
		e.Hint = "is the secret's KMS key enabled? aws kms describe-key --key-id KEY --region " + a.region
	case code == resourceNotFound:
		e.Hint = "see the secrets there are: pawl secret list"
	case code == limitExceeded:
		e.Hint = "a secret has at most 20 staging labels over all its versions, and about 100 versions made within a day; see them: pawl secret versions " + nameOf(secretID)
	}
	e.Err = errors.New(text)
	return e
}

// unexplained is an answer that is no error of AWS's form. Nothing of it is passed
// on.
func unexplained(status int) *secrets.Error {
	kind := secrets.Invalid
	if status >= 500 {
		kind = secrets.Transient
	}
	return secrets.Errorf(kind, "it answers HTTP %d %s without saying why", status, http.StatusText(status)).
		WithHint("is there a proxy in between, or something else than AWS at this address?")
}

func throttled(code string) bool {
	_, ok := retry.DefaultThrottleErrorCodes[code]
	return ok && code != limitExceeded
}

func isTimeout(code string) bool {
	_, ok := retry.DefaultRetryableErrorCodes[code]
	return ok
}

// logIn stands for what api.logIn says.
const logIn = "log in"

// badCredentials are the refusals of a signature, and what helps.
var badCredentials = map[string]string{
	"ExpiredToken":                        logIn,
	"ExpiredTokenException":               logIn,
	"RequestExpired":                      logIn,
	"UnrecognizedClientException":         logIn,
	"InvalidClientTokenId":                logIn,
	"MissingAuthenticationToken":          logIn,
	"MissingAuthenticationTokenException": logIn,
	"IncompleteSignature":                 logIn,
	"IncompleteSignatureException":        logIn,
	"InvalidSignatureException":           "look at AWS_SECRET_ACCESS_KEY, or secret_access_key in ~/.aws/credentials: it does not belong to the access key",
	"SignatureDoesNotMatch":               "look at AWS_SECRET_ACCESS_KEY, or secret_access_key in ~/.aws/credentials: it does not belong to the access key",
	"OptInRequired":                       "is the region enabled for this account? aws account list-regions",
}

// logIn is what to type for fresh credentials.
func (a *api) logIn() string {
	if a.profile != "" {
		return "get fresh credentials: aws sso login --profile " + a.profile + ", or mend the profile in ~/.aws"
	}
	return "get fresh credentials: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN of one session, or a profile by store.aws.profile; then start Pawl again"
}

// noCredentials says why there is nothing to sign with. The SDK's chain ends at
// the metadata of a virtual machine; that it found nothing there says only that
// there was nothing anywhere.
func (a *api) noCredentials(err error) *secrets.Error {
	if awsenv.NoCredentials(err) {
		return secrets.Errorf(secrets.Denied, "no AWS credentials were found to sign requests with").
			WithHint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile by store.aws.profile or AWS_PROFILE, or run on a machine that has a role")
	}
	kind := secrets.Denied
	var said smithy.APIError
	var resp *awshttp.ResponseError
	var broken net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.As(err, &broken):
		kind = secrets.Transient
	case errors.As(err, &said) && throttled(said.ErrorCode()), errors.As(err, &resp) && resp.HTTPStatusCode() >= 500:
		kind = secrets.Transient
	}
	return secrets.Errorf(kind, "getting AWS credentials: %w", err).WithHint("%s", a.logIn())
}

// broken is an error of the way there and back.
func (a *api) broken(ctx context.Context, err error) *secrets.Error {
	var cut *cutShort
	over := ctx.Err() != nil && !errors.As(err, &cut)
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // without the SDK's words, and the URL: the server is named anyway
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	e := &secrets.Error{Kind: secrets.Transient, Err: err}
	var certificate *tls.CertificateVerificationError
	var unread *smithy.DeserializationError
	switch {
	case over:
		e.Err = fmt.Errorf("no answer in time: %w", ctx.Err())
	case errors.As(err, &certificate):
		e.Kind, e.Hint = secrets.Invalid, "name the certificate authority's PEM file by AWS_CA_BUNDLE"
	case errors.Is(err, http.ErrSchemeMismatch):
		e.Kind, e.Hint = secrets.Invalid, "it does not speak TLS: write store.aws.endpoint with http://"
	case errors.As(err, &unread):
		// Nothing of err: it may quote the answer, and that a value.
		e.Err, e.Hint = errors.New("the answer can't be read"), "is it AWS Secrets Manager that answers at this address?"
	default:
		e.Hint = "can this machine reach it? Look at store.aws in the configuration, and at HTTPS_PROXY"
	}
	return e
}

// mayBeDone reports whether the request that an error is of may have taken
// effect: unless it never left, or AWS answered that it was refused.
func mayBeDone(err error) bool {
	var (
		missing *credentialsError
		resp    *awshttp.ResponseError
		op      *net.OpError
		dns     *net.DNSError
	)
	switch {
	case errors.As(err, &missing), errors.As(err, &dns), untrusted(err):
		return false
	case errors.As(err, &op) && op.Op == "dial":
		return false
	case errors.As(err, &resp):
		return resp.HTTPStatusCode() < 400 || resp.HTTPStatusCode() >= 500
	}
	return true
}

// untrusted reports whether no request was sent because it would not have been
// safe, which stays so.
func untrusted(err error) bool {
	var certificate *tls.CertificateVerificationError
	return errors.As(err, &certificate) || errors.Is(err, http.ErrSchemeMismatch)
}

var (
	deniedAction = regexp.MustCompile(`not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)(?: on resource: (\S+))?`)
	deniedBy     = regexp.MustCompile(`with an explicit deny in an? ([a-z -]+)`)
)

// permit says which permission is missing, as the line to add to an IAM policy:
// from AWS's text where that says it, or else from the operation that was called.
func (a *api) permit(operation, secretID, text string) string {
	if by := deniedBy.FindStringSubmatch(text); by != nil {
		return "an explicit deny in " + strings.TrimSpace(by[1]) + " refuses it, and no permission goes over that: change it there"
	}
	type statement struct {
		Effect    string
		Action    any
		Resource  string
		Condition any `json:",omitempty"`
	}
	s := statement{Effect: "Allow", Action: "secretsmanager:" + operation, Resource: a.resource(operation, secretID)}
	if said := deniedAction.FindStringSubmatch(text); said != nil {
		s.Action = said[1]
		if strings.HasPrefix(said[2], "arn:") {
			s.Resource = said[2]
		}
	} else if strings.Contains(text, "KMS") {
		// AWS does not say which key; it is the secret's.
		s.Action = "kms:Decrypt"
		if operation == opPut {
			s.Action = []string{"kms:GenerateDataKey", "kms:Decrypt"}
		}
		s.Resource = "*"
		s.Condition = map[string]map[string]string{"StringEquals": {"kms:ViaService": "secretsmanager." + a.region + ".amazonaws.com"}}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(s); err != nil {
		return "see docs/aws.md for the permissions that Pawl needs"
	}
	return "add to the policy of who calls: " + strings.TrimSpace(b.String()) + " (docs/aws.md has all that Pawl needs)"
}

// resource is what a policy calls a secret.
func (a *api) resource(operation, secretID string) string {
	meant, err := secrets.ParseID(secretID)
	switch {
	case operation == opList || err != nil:
		return "*"
	case meant.ARN.Account == "":
		return "arn:" + secrets.PartitionOf(a.region) + ":secretsmanager:" + a.region + ":*:secret:" + meant.ARN.Name + "-??????"
	case meant.ByName:
		return meant.ARN.String() + "-??????"
	}
	return meant.ARN.String()
}
