package service

import (
	"context"
	"regexp"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// A rotation function is named by the ARN of a Lambda function. Two are Pawl's
// own and no Lambda functions at all: its strategies. Every other is custom:
// somebody else's code, which Config.Functions calls.

var lambdaARN = regexp.MustCompile(`^arn:aws[a-z-]*:lambda:[a-z]+(?:-[a-z]+)+-\d+:\d{12}:function:[a-zA-Z0-9_.-]+(?::(?:\$LATEST|[a-zA-Z0-9_-]+))?$`)

// strategyOf returns the strategy that a function's ARN stands for.
func strategyOf(of secrets.ARN, arn string) string {
	for _, strategy := range []string{secrets.SingleUser, secrets.AlternatingUsers} {
		if arn == functionARN(of, strategy) {
			return strategy
		}
	}
	return secrets.Function
}

// functionARN names the strategy for a secret as the API does.
func functionARN(of secrets.ARN, strategy string) string {
	return "arn:" + of.Partition + ":lambda:" + of.Region + ":" + of.Account + ":function:pawl-" + strategy
}

// functionOf returns the ARN of the function that rotates the secret: the one
// the API or the file names, or the one by which the API would ask for the
// strategy that the file declares; "" where no strategy rotates it.
func functionOf(sec *Secret) string {
	switch r := sec.Rotation.Rules; {
	case r.Function != "":
		return r.Function
	case r.Strategy == secrets.SingleUser, r.Strategy == secrets.AlternatingUsers:
		return functionARN(sec.ARN, r.Strategy)
	default:
		return ""
	}
}

// unqualified returns a function's ARN without version or alias.
func unqualified(arn string) string {
	if parts := strings.SplitN(arn, ":", 8); len(parts) == 8 {
		return arn[:len(arn)-len(parts[7])-1]
	}
	return arn
}

// mayCall reports whether there is a custom function of this ARN, as far as the
// operator is concerned.
func (s *Service) mayCall(arn string) bool {
	return s.config.Functions != nil && s.config.Functions.Has(arn)
}

// mayInvoke refuses a caller who may not invoke the custom function that rotates
// a secret: AWS Secrets Manager calls a function only for who could call it
// himself, and so does Pawl, with its own credentials or the operator's rights.
// Where there is no such function nobody is let loose, and who rotates says so.
func (s *Service) mayInvoke(arn string) error {
	if !s.mayCall(arn) {
		return nil
	}
	return s.allowedTo(invokeFunction, nil, arn)
}

// checkTimeout bounds how long a function is asked whether it can be called. The
// caller of RotateSecret waits for that.
const checkTimeout = 10 * time.Second

// checkFunction finds out whether a custom function can be called now, unless
// the change that it is for would be refused anyway. Errors: those of the change;
// AccessDeniedException; Transient.
func (s *Service) checkFunction(ctx context.Context, sec *Secret, arn string, change func(*Secret) (Sealed, error)) error {
	if err := s.wouldRefuse(sec, change); err != nil {
		return err
	}
	// Real time on purpose: this is about somebody who waits for an answer.
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	err := s.config.Functions.Check(ctx, arn)
	if err == nil {
		return nil
	}
	switch secrets.KindOf(err) {
	case secrets.Denied, secrets.Invalid:
		return cannotInvoke(sec.ARN.Name).WithHint("%s", err)
	}
	e := secrets.Prefixed(err, "nobody knows whether the rotation function %s can be called", arn)
	e.Kind, e.Code = secrets.Transient, ""
	if e.Hint == "" {
		e.Hint = "nothing was stored; try again"
	}
	return secrets.At(e, sec.ARN.Name, "", "")
}

// wouldRefuse returns the error that a change of the secret would end with, as
// far as one can know before. sec stays as it is.
func (s *Service) wouldRefuse(sec *Secret, change func(*Secret) (Sealed, error)) error {
	if err := atPrimary(sec); err != nil {
		return err
	}
	draft := *sec
	if sec.Rotation != nil {
		r := *sec.Rotation
		draft.Rotation = &r
	}
	if _, err := change(&draft); err != nil && err != errUnchanged {
		return err
	}
	return nil
}

// notCallable is the answer to a custom function that may not be called.
func (s *Service) notCallable(of secrets.ARN, arn string) error {
	e := cannotInvoke(of.Name)
	if s.config.Functions != nil {
		return e.WithHint("let it be called: name %s under functions: allow: in the configuration file; Pawl's own are %s and %s",
			arn, functionARN(of, secrets.SingleUser), functionARN(of, secrets.AlternatingUsers))
	}
	return e.WithHint("the functions there are: %s and %s; others need functions: in the configuration file",
		functionARN(of, secrets.SingleUser), functionARN(of, secrets.AlternatingUsers))
}

func cannotInvoke(secret string) *secrets.Error {
	return refuse(accessDenied, secret, "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants access to the principal secretsmanager.amazonaws.com.")
}
