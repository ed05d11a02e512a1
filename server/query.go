package server

import (
	"bytes"
	"encoding/xml"
	"net/http"
	"strings"
)

// This file is AWS Query, the protocol of STS: a form in, XML out, and HTTP's
// own status for refusals. Sources: the AWS Query protocol in the Smithy
// documentation; AWS STS API reference, "Common Errors". Beside the protocol,
// the order of members and the white space are AWS's too.

const (
	stsNamespace   = "https://sts.amazonaws.com/doc/2011-06-15/"
	faultNamespace = "http://webservices.amazon.com/AWSFault/2005-15-09" // of what no service answers

	invalidAction   = "InvalidAction"
	validationError = "ValidationError"
)

var xmlType = []string{"text/xml"}

// isForm reports whether a body is a form.
func isForm(h http.Header) bool {
	t, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(t), "application/x-www-form-urlencoded")
}

type stsMetadata struct {
	RequestID string `xml:"RequestId"`
}

type getCallerIdentityResponse struct {
	XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
	Result  struct {
		ARN     string `xml:"Arn"`
		UserID  string `xml:"UserId"`
		Account string
	} `xml:"GetCallerIdentityResult"`
	Metadata stsMetadata `xml:"ResponseMetadata"`
}

type assumeRoleResponse struct {
	XMLName xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	Result  struct {
		User struct {
			ID  string `xml:"AssumedRoleId"`
			ARN string `xml:"Arn"`
		} `xml:"AssumedRoleUser"`
		Credentials stsCredentials
	} `xml:"AssumeRoleResult"`
	Metadata stsMetadata `xml:"ResponseMetadata"`
}

// stsCredentials are in the clear, for the one who asked. They are never
// printed.
type stsCredentials struct {
	AccessKeyID     string `xml:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string
	Expiration      string
}

type errorResponse struct {
	XMLName xml.Name
	Error   struct {
		Type    string // Sender or Receiver: whose fault it is
		Code    string
		Message string
	}
	RequestID string `xml:"RequestId"`
}

// appendXML writes an answer to the end of b.
func appendXML(b []byte, v any) ([]byte, error) {
	out := bytes.NewBuffer(b)
	x := xml.NewEncoder(out)
	x.Indent("", "  ")
	err := x.Encode(v)
	out.WriteByte('\n')
	return out.Bytes(), err
}

// queryFault is what STS calls an exception of the layers that it shares with
// Secrets Manager here.
type queryFault struct {
	code   string
	status int
}

// Source: AWS STS API reference, "Common Errors".
var queryFaults = map[string]queryFault{
	"MissingAuthenticationTokenException": {"MissingAuthenticationToken", http.StatusForbidden},
	"IncompleteSignatureException":        {"IncompleteSignature", http.StatusBadRequest},
	"InvalidSignatureException":           {"SignatureDoesNotMatch", http.StatusForbidden},
	"UnrecognizedClientException":         {"InvalidClientTokenId", http.StatusForbidden},
	"ExpiredTokenException":               {"ExpiredToken", http.StatusForbidden},
	"ValidationException":                 {validationError, http.StatusBadRequest},
	accessDenied:                          {"AccessDenied", http.StatusForbidden},
	"AccessDenied":                        {"AccessDenied", http.StatusForbidden},
	throttling:                            {"Throttling", http.StatusBadRequest},
	internal:                              {"InternalFailure", http.StatusInternalServerError},
}

// faultSTS answers with an exception in STS's form.
func (s *Server) faultSTS(e *exchange, status int, code, text string) {
	if f, ok := queryFaults[code]; ok {
		if e.code == code {
			e.code = f.code
		}
		code, status = f.code, f.status
	}
	if code == "MissingAuthenticationToken" {
		text = "Request is missing Authentication Token"
	}
	a := errorResponse{XMLName: xml.Name{Space: stsNamespace, Local: "ErrorResponse"}, RequestID: e.id}
	if code == invalidAction {
		a.XMLName.Space = faultNamespace
	}
	a.Error.Type, a.Error.Code, a.Error.Message = "Sender", code, text
	if status >= 500 {
		a.Error.Type = "Receiver"
	}
	b, _ := appendXML(nil, a) // texts always have a form in XML
	for _, mark := range [...][2]string{{"&#39;", "'"}, {"&#34;", `"`}} {
		b = bytes.ReplaceAll(b, []byte(mark[0]), []byte(mark[1])) // they need no escape in a text, and AWS's have none
	}
	s.reply(e, status, b)
}
