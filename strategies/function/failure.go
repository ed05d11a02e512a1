package function

import (
	"encoding/json"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/pawlhq/pawl/secrets"
)

const (
	// maxMessage is how much of a function's message is looked at, in bytes, and
	// maxShown how much of it is shown, in characters.
	maxMessage = 2048
	maxShown   = 500
	maxType    = 100
)

// failure is what a function said of its failure. Its text is one printable line
// of bounded length. What has to be left out of it is left out first (redactor):
// a value that the bound had cut would not be found any more.
type failure struct {
	what    string // who failed, how: ours
	kind    string // errorType: the function's
	message string // errorMessage: the function's
	cut     bool   // the message went on
}

// Error renders the failure.
func (f *failure) Error() string {
	var said []string
	for _, s := range []string{shown(f.kind, maxType), shown(f.message, maxShown)} {
		if s != "" {
			said = append(said, s)
		}
	}
	if len(said) == 0 {
		return f.what + " and did not say why"
	}
	return f.what + ": " + strings.Join(said, ": ")
}

// fail makes the error of a failure.
func fail(kind secrets.Kind, f failure) *secrets.Error {
	f.message, f.cut = bounded(f.message, f.cut)
	// A superuser's password, or whatever else the function gets in with, is in no
	// value that is left out later.
	f.message = passwordIs.ReplaceAllString(f.message, "${1}"+redacted)
	f.message = urlHas.ReplaceAllString(f.message, "${1}"+redacted+"@")
	if len(f.kind) > maxType {
		f.kind = "" // it is the name of none
	}
	return &secrets.Error{Kind: kind, Err: &f}
}

// Where connection strings and URLs have a password.
var (
	passwordIs = regexp.MustCompile(`(?i)(\b(?:password|passwd|pwd)=)("[^"]*"?|'[^']*'?|[^\s;&,]+)`)
	urlHas     = regexp.MustCompile(`(://[^/\s:@]*:)[^\s/]+@`)
)

// bounded cuts a message to what is looked at.
func bounded(s string, cut bool) (string, bool) {
	// Colours would stand in the middle of what is looked for.
	s = colours.ReplaceAllString(s, "")
	if len(s) <= maxMessage {
		return s, cut
	}
	n := maxMessage
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n], true
}

var colours = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// shown makes one line of n characters at most, with nothing in it that could
// move a terminal's cursor or forge a line of a log.
func shown(s string, n int) string {
	var b strings.Builder
	count, space := 0, false
	for _, r := range s {
		if unicode.IsSpace(r) || unicode.IsControl(r) {
			space = count > 0
			continue
		}
		if !unicode.IsPrint(r) || r == utf8.RuneError {
			continue
		}
		if space {
			b.WriteByte(' ')
			count, space = count+1, false
		}
		if count >= n {
			return b.String() + "…"
		}
		b.WriteRune(r)
		count++
	}
	return b.String()
}

// readFailure reads the JSON object by which a function explains a failure. ok
// is false where b is something else.
// Source: AWS Lambda developer guide, "Understanding function errors": the
// runtimes' errorType and errorMessage; the stack trace beside them is not read.
func readFailure(b []byte) (kind, message string, ok bool) {
	var fields map[string]json.RawMessage
	if json.Unmarshal(b, &fields) != nil {
		return "", "", false
	}
	// What is no text is not shown: it may be anything.
	kindToo := json.Unmarshal(fields["errorType"], &kind) == nil
	ok = json.Unmarshal(fields["errorMessage"], &message) == nil
	return kind, message, ok || kindToo
}

// kinds are what the error types mean that runtimes, languages and AWS's SDKs
// give. Others that end in one of the endings below are Transient.
var kinds = func() map[string]secrets.Kind {
	m := map[string]secrets.Kind{}
	for k, names := range map[secrets.Kind]string{
		secrets.Transient: `
			Sandbox.Timedout Function.TimedOut Runtime.ExitError Runtime.OutOfMemory Extension.Crash
			TooManyRequestsException RequestLimitExceeded LimitExceededException SlowDown PriorRequestNotComplete
			ServiceUnavailable ServiceUnavailableException InternalFailure InternalServiceError InternalServerError
			ConnectionError ConnectionClosedError ConnectionRefusedError ConnectionResetError ConnectionAbortedError
			BrokenPipeError EndpointConnectionError NewConnectionError MaxRetryError
			ConnectException SocketException UnknownHostException
			ECONNREFUSED ECONNRESET ETIMEDOUT EAI_AGAIN ENOTFOUND EPIPE`,
		secrets.Invalid: `
			ValueError KeyError TypeError AttributeError NameError IndexError LookupError AssertionError
			ImportError ModuleNotFoundError NotImplementedError SyntaxError IndentationError UnboundLocalError
			UnicodeDecodeError UnicodeEncodeError RecursionError ZeroDivisionError JSONDecodeError
			ReferenceError RangeError ERR_INVALID_ARG_TYPE
			IllegalArgumentException IllegalStateException NullPointerException ClassCastException
			ClassNotFoundException NoSuchMethodException UnsupportedOperationException NumberFormatException
			ParamValidationError ValidationError ValidationException InvalidParameterException
			InvalidParameterValueException InvalidRequestException ResourceNotFoundException NoRegionError
			MalformedPolicyDocumentException
			Runtime.ImportModuleError Runtime.HandlerNotFound Runtime.UserCodeSyntaxError Runtime.MarshalError
			Runtime.UnmarshalError Runtime.MalformedHandlerName Runtime.InvalidEntrypoint Runtime.InvalidWorkingDir
			Runtime.NodeJsHandlerNotFound Function.ResponseSizeTooLarge`,
	} {
		for _, name := range strings.Fields(names) {
			m[name] = k
		}
	}
	return m
}()

// The endings, behind which there may be one more: Exception, Error or Fault.
var transientEndings = []string{"Transient", "Timeout", "TimedOut", "Timedout", "Throttling", "Throttled", "TooManyRequests"}

// kindOf is what an error type means; known is false for one that says nothing.
func kindOf(errorType string) (k secrets.Kind, known bool) {
	if k, ok := kinds[errorType]; ok {
		return k, true
	}
	// botocore.exceptions.ReadTimeoutError, java.lang.IllegalArgumentException,
	// com.example.Outer$Inner, com.amazonaws.x#ThrottlingException
	name := errorType[strings.LastIndexAny(errorType, ".$#:/")+1:]
	if k, ok := kinds[name]; ok {
		return k, true
	}
	for _, more := range []string{"Exception", "Error", "Fault"} {
		name = strings.TrimSuffix(name, more)
	}
	for _, ending := range transientEndings {
		if strings.HasSuffix(name, ending) {
			return secrets.Transient, true
		}
	}
	return secrets.Denied, false
}
