package service

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/pawlhq/pawl/secrets"
)

// The AWS exceptions that the operations give.
// Source: AWS Secrets Manager API reference, "Errors" of each operation.
const (
	resourceNotFound = "ResourceNotFoundException"
	resourceExists   = "ResourceExistsException"
	invalidParameter = "InvalidParameterException"
	invalidRequest   = "InvalidRequestException"
	invalidNextToken = "InvalidNextTokenException"
	validation       = "ValidationException"
)

// refuse makes an error of the exception for a secret; the text is AWS's.
func refuse(code, secret, format string, args ...any) *secrets.Error {
	e := secrets.Errorf(secrets.Invalid, format, args...)
	e.Code, e.Secret = code, secret
	return e
}

func notFound(secret string) error {
	return refuse(resourceNotFound, secret, "Secrets Manager can't find the specified secret.").
		WithHint("see the names there are: pawl secret list")
}

// known gives a store's error its AWS exception and the secret it is about.
func known(err error, secret string) error {
	if errors.Is(err, ErrNotFound) {
		return notFound(secret)
	}
	return secrets.At(err, secret, "", "")
}

// alive refuses a secret that is scheduled for deletion.
func alive(sec *Secret) error {
	if sec.Deleted.IsZero() {
		return nil
	}
	return refuse(invalidRequest, sec.ARN.Name, "You can't perform this operation on the secret because it was marked for deletion.").
		WithHint("bring it back: pawl secret restore %s", sec.ARN.Name)
}

// requireToken refuses a request without a ClientRequestToken.
func requireToken(token, secret string) error {
	if token == "" {
		return refuse(invalidRequest, secret, "You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	}
	return nil
}

// tokenInUse is the answer to a token that made another value before.
func tokenInUse(token string, arn secrets.ARN) error {
	return refuse(resourceExists, arn.Name, "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", token, arn)
}

// constraints collects the members of a request that are out of the bounds of
// AWS's service model, as one ValidationException in AWS's words. Lengths are
// in characters.
type constraints struct{ failed []string }

func (c *constraints) fail(format string, args ...any) {
	c.failed = append(c.failed, fmt.Sprintf(format, args...))
}

// length checks a required member; "" counts as absent.
func (c *constraints) length(path, v string, least, most int) {
	if v == "" && least > 0 {
		c.fail("Value null at '%s' failed to satisfy constraint: Member must not be null", path)
		return
	}
	c.optional(path, v, least, most)
}

// optional checks a member that may be absent.
func (c *constraints) optional(path, v string, least, most int) {
	switch n := utf8.RuneCountInString(v); {
	case v == "":
	case n < least:
		c.fail("Value '%s' at '%s' failed to satisfy constraint: Member must have length greater than or equal to %d", v, path, least)
	case n > most:
		c.fail("Value '%s' at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", v, path, most)
	}
}

// between checks a number that may be absent.
func (c *constraints) between(path string, n *int64, least, most int64) {
	switch {
	case n == nil:
	case *n < least:
		c.fail("Value '%d' at '%s' failed to satisfy constraint: Member must have value greater than or equal to %d", *n, path, least)
	case *n > most:
		c.fail("Value '%d' at '%s' failed to satisfy constraint: Member must have value less than or equal to %d", *n, path, most)
	}
}

// sensitive checks a value, which it never repeats.
func (c *constraints) sensitive(path string, v secrets.Value) {
	if v.Len() > secrets.MaxValueBytes {
		c.fail("Value at '%s' failed to satisfy constraint: Member must have length less than or equal to %d", path, secrets.MaxValueBytes)
	}
}

func (c *constraints) err() error {
	n := len(c.failed)
	if n == 0 {
		return nil
	}
	s := "s"
	if n == 1 {
		s = ""
	}
	return refuse(validation, "", "%d validation error%s detected: %s", n, s, strings.Join(c.failed, "; "))
}
