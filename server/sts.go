package server

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// This file is the part of AWS STS that Pawl has: who am I, and credentials of a
// role. Source: AWS STS API reference, version 2011-06-15.

// stsVersion is the API's.
const stsVersion = "2011-06-15"

// maxForm is the longest body: a policy and tags of half that do not fit into a
// session token.
const maxForm = 64 << 10

// short is a text of a stranger's as an answer may repeat it.
func short(s string) string {
	const most = 128
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// answerSTS answers a request in STS's protocol, whose body was read.
func (s *Server) answerSTS(e *exchange, out *[]byte) error {
	if len(e.body) > maxForm {
		return &refusal{http.StatusRequestEntityTooLarge, tooLarge, fmt.Sprintf("Request body exceeds the limit of %d bytes.", maxForm)}
	}
	form, err := url.ParseQuery(string(e.body))
	if err != nil {
		return &refusal{http.StatusNotFound, "MalformedQueryString", "The query string contains a syntax error."}
	}
	run, ok := stsOperations[form.Get("Action")]
	switch {
	case !form.Has("Action"):
		return &refusal{http.StatusBadRequest, "MissingAction", "The request is missing an action or a required parameter."}
	case !ok || form.Get("Version") != stsVersion:
		version := form.Get("Version")
		if !form.Has("Version") {
			version = "NO_VERSION_SPECIFIED"
		}
		return &refusal{http.StatusBadRequest, invalidAction, "Could not find operation " + short(form.Get("Action")) + " for version " + short(version)}
	}
	e.operation = form.Get("Action")
	e.action = "sts:" + e.operation
	if err := s.admit(e, s.stsAuth); err != nil {
		return err
	}
	result, err := run(s, e, form)
	if err != nil {
		return err
	}
	b, err := appendXML((*out)[:0], result)
	*out = b
	if err != nil {
		return err
	}
	s.reply(e, http.StatusOK, b)
	return nil
}

var stsOperations = map[string]func(*Server, *exchange, url.Values) (any, error){
	"GetCallerIdentity": (*Server).getCallerIdentity,
	"AssumeRole":        (*Server).assumeRole,
}

// getCallerIdentity needs no permission: everybody may know who he is.
func (s *Server) getCallerIdentity(e *exchange, _ url.Values) (any, error) {
	a := getCallerIdentityResponse{Metadata: stsMetadata{e.id}}
	a.Result.ARN, a.Result.Account = e.who.ARN, e.who.Account
	a.Result.UserID = cmp.Or(e.who.UserID, e.who.Account) // the root user's id is the account's
	return a, nil
}

// assumeRoleInput has the bounds of STS's service model; patterns are the
// Directory's to check.
type assumeRoleInput struct {
	RoleARN         string   `json:"RoleArn" aws:"required 20..2048"`
	RoleSessionName string   `aws:"required 2..64"`
	DurationSeconds int64    `aws:"900..43200"`
	Policy          string   `aws:"1..2048"`
	ExternalID      string   `json:"ExternalId" aws:"2..1224"`
	Tags            []stsTag `aws:"0..50"`
}

type stsTag struct {
	Key   string `aws:"required 1..128"`
	Value string `aws:"0..256"`
}

// notTaken are parameters of AWS's that limit a session, stay with it, or that a
// trust policy may ask for: without what they do the caller would get something
// else than he asked for.
var notTaken = []string{"PolicyArns", "TransitiveTagKeys", "ProvidedContexts", "SourceIdentity", "SerialNumber", "TokenCode"}

// globalKeys are the condition keys that a request has whatever it is about. They
// implement policy.Keys.
type globalKeys struct{ *exchange }

// Values returns the values of a condition key.
func (k globalKeys) Values(name string) []string {
	values, _ := k.globalKey(name)
	return values
}

func (s *Server) assumeRole(e *exchange, form url.Values) (any, error) {
	e.role = loggable(form.Get("RoleArn"))
	in, err := parseAssumeRole(form)
	if err != nil {
		return nil, err
	}
	if s.sts == nil {
		return nil, stsDenied("User: %s is not authorized to perform: sts:AssumeRole on resource: %s because there are no roles on this server: pawl serve --dev has no principals",
			e.who.ARN, in.RoleARN)
	}
	session := principals.NewSession{
		Name: in.RoleSessionName, Duration: time.Duration(in.DurationSeconds) * time.Second, Policy: in.Policy, ExternalID: in.ExternalID,
		Context: globalKeys{e},
	}
	for _, t := range in.Tags {
		session.Tags = append(session.Tags, policy.Tag{Key: t.Key, Value: t.Value})
	}
	c, err := s.sts.AssumeRole(e.r.Context(), e.who, in.RoleARN, session)
	if err != nil {
		return nil, err
	}
	e.issued = c.AccessKeyID
	a := assumeRoleResponse{Metadata: stsMetadata{e.id}}
	a.Result.User.ARN, a.Result.User.ID = c.ARN, c.UserID
	a.Result.Credentials = stsCredentials{c.AccessKeyID, c.Secret.Reveal(), c.SessionToken.Reveal(), c.Expires.UTC().Format(time.RFC3339)}
	return a, nil
}

func stsDenied(format string, args ...any) error {
	err := secrets.Errorf(secrets.Denied, format, args...)
	err.Code = "AccessDenied"
	return err
}

// stsInvalid is for what STS refuses in words of its own.
func stsInvalid(format string, args ...any) error {
	err := secrets.Errorf(secrets.Invalid, format, args...)
	err.Code = validationError
	return err
}

// parseAssumeRole reads the parameters and checks their bounds.
func parseAssumeRole(form url.Values) (in assumeRoleInput, err error) {
	for name, values := range form {
		list, _, _ := strings.Cut(name, ".")
		if slices.Contains(notTaken, list) && !(len(values) == 1 && values[0] == "") { // an empty list is sent as its bare name
			return in, stsInvalid("Pawl's AssumeRole does not take '%s'", list)
		}
	}
	sent := map[string]bool{}
	text := func(name, path string) string {
		if form.Has(name) && form.Get(name) == "" {
			sent[path] = true
		}
		return form.Get(name)
	}
	in.RoleARN = text("RoleArn", "roleArn")
	in.RoleSessionName = text("RoleSessionName", "roleSessionName")
	in.Policy = text("Policy", "policy")
	in.ExternalID = text("ExternalId", "externalId")
	if form.Has("DurationSeconds") {
		in.DurationSeconds, err = strconv.ParseInt(form.Get("DurationSeconds"), 10, 32)
		if err != nil {
			return in, stsInvalid("'DurationSeconds' is not a number of seconds")
		}
		sent["durationSeconds"] = true
	}
	if in.Tags, err = parseTags(form); err != nil {
		return in, err
	}
	if err := service.Check(in, sent); err != nil {
		return in, err
	}
	return in, nil
}

// parseTags reads Tags.member.1.Key, Tags.member.1.Value and so on. What is
// numbered otherwise is refused: a tag that is not read may be the one that a
// policy denies by.
func parseTags(form url.Values) (tags []stsTag, err error) {
	const list = "Tags.member."
	left := 0
	for name := range form {
		if strings.HasPrefix(name, "Tags.") {
			left++
		}
	}
	for n := 1; left > 0; n++ {
		item := list + strconv.Itoa(n)
		found := 0
		for _, name := range [...]string{item + ".Key", item + ".Value"} {
			if form.Has(name) {
				found++
			}
		}
		if found == 0 {
			return nil, stsInvalid("'Tags' must be numbered from 1: Tags.member.1.Key, Tags.member.1.Value, ...")
		}
		left -= found
		tags = append(tags, stsTag{form.Get(item + ".Key"), form.Get(item + ".Value")})
	}
	return tags, nil
}

var _ STS = (*principals.Directory)(nil)
