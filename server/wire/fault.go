package wire

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// AppendFault writes the body of an error's answer to the end of b: the
// exception and, unless it is empty, its text. Those of the service itself call
// the text Message, those of the layers before it message; SDKs read either.
func AppendFault(b []byte, code, text string) []byte {
	b = appendText(append(b, `{"__type":`...), code)
	if text != "" {
		b = append(b, `,"`...)
		if lowercase[code] {
			b = append(b, `message":`...)
		} else {
			b = append(b, `Message":`...)
		}
		b = appendText(b, text)
	}
	return append(b, '}')
}

var lowercase = map[string]bool{
	"ValidationException":                 true,
	"ThrottlingException":                 true,
	"MissingAuthenticationTokenException": true,
	"IncompleteSignatureException":        true,
	"InvalidSignatureException":           true,
	"UnrecognizedClientException":         true,
	"ExpiredTokenException":               true,
	"RequestEntityTooLargeException":      true,
	"RequestTimeoutException":             true,
}

// ReadFault makes an error of an answer whose status is not 200. The text of
// its Err is the service's, its Code the exception without what AWS puts around
// it. An answer that is no error of AWS's form came from something in between;
// nothing of its body is passed on.
func ReadFault(status int, body []byte) *secrets.Error {
	var f struct {
		Type    string `json:"__type"`
		Message string
		Lower   string `json:"message"`
	}
	if _, err := Unmarshal(body, &f); err != nil || f.Type == "" {
		kind := secrets.Invalid
		if status >= 500 {
			kind = secrets.Transient
		}
		return secrets.Errorf(kind, "the server answers HTTP %d %s without saying why", status, http.StatusText(status)).
			WithHint("is there a proxy in between, or something else than Pawl at this address?")
	}
	code := f.Type[strings.LastIndexByte(f.Type, '#')+1:]
	code, _, _ = strings.Cut(code, ":")
	text := f.Message
	if text == "" {
		text = f.Lower
	}
	if text == "" {
		text = code
	}
	return &secrets.Error{Kind: kindOf(status, code), Code: code, Err: fmt.Errorf("%s", text)}
}

func kindOf(status int, code string) secrets.Kind {
	switch {
	case status >= 500, code == "ThrottlingException", code == "RequestTimeoutException":
		return secrets.Transient
	case code == "AccessDeniedException", lowercase[code] && code != "ValidationException" && code != "RequestEntityTooLargeException":
		return secrets.Denied
	}
	return secrets.Invalid
}
