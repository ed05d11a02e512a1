package client

import (
	"errors"
	"strings"

	"github.com/pawlhq/pawl/awsenv"
	"github.com/pawlhq/pawl/secrets"
)

// explain adds what is not on the wire: the secret's name, and what to type.
func (c *Client) explain(err error, secret string) error {
	var e *secrets.Error
	if !errors.As(err, &e) {
		return secrets.At(err, secret, "", c.server)
	}
	out := *e
	if out.Hint == "" {
		out.Hint = c.hint(e, secret)
	}
	if out.Code != "" && out.Kind != secrets.Denied {
		out.Secret = secret
	}
	return &out
}

func (c *Client) hint(e *secrets.Error, secret string) string {
	text := ""
	if e.Err != nil {
		text = e.Err.Error()
	}
	on := ""
	if !c.config.Store {
		on = " --endpoint " + strings.TrimSuffix(c.config.Endpoint, "/")
	}
	switch e.Code {
	case "ResourceNotFoundException":
		if strings.HasSuffix(text, "the specified secret.") {
			return "see the names there are: pawl secret list" + on
		}
	case "InvalidRequestException":
		if strings.Contains(text, "marked for deletion") {
			return "bring it back: pawl secret restore " + secret + on
		}
	case "ResourceExistsException":
		if strings.HasSuffix(text, "already exists.") {
			return "give it a new value: pawl secret put " + secret + " --value-file F" + on
		}
	case "UnrecognizedClientException", "MissingAuthenticationTokenException", "IncompleteSignatureException":
		return "look at AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_PROFILE"
	case "InvalidSignatureException":
		if strings.HasPrefix(text, "Signature ") { // expired, not yet current
			return "is the clock of this machine right?"
		}
		return "look at AWS_SECRET_ACCESS_KEY and AWS_REGION"
	case "ExpiredTokenException":
		return "get fresh credentials for AWS_SESSION_TOKEN"
	case "UnknownOperationException":
		return "the server at " + c.server + " can't do that: is it Pawl, and of this version?"
	}
	return ""
}

func checkRegion(region string) error {
	switch {
	case region == "":
		return secrets.Errorf(secrets.Invalid, "no region is set").
			WithHint("say where to act: AWS_REGION=us-east-1")
	case !awsenv.IsRegion(region):
		return secrets.Errorf(secrets.Invalid, "%q is not the name of a region", region).
			WithHint("say where to act: AWS_REGION=us-east-1")
	}
	return nil
}
