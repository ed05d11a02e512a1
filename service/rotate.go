package service

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// RotateSecretInput configures a secret's rotation and starts one. Members that
// are given replace what is stored; the others stay.
type RotateSecretInput struct {
	SecretID           string `json:"SecretId" aws:"required 1..2048"`
	ClientRequestToken string `json:",omitempty" aws:"32..64"` // the id of the version that the rotation makes
	RotationLambdaARN  string `json:",omitempty" aws:"0..2048"`
	// RotationRules that say when replace the stored ones as a whole. A Duration
	// alone changes only that.
	RotationRules     *RotationRules `json:",omitempty"`
	RotateImmediately *bool          `json:",omitempty"` // nil = true

	// How a partner's secret rotates, and by which role.
	ExternalSecretRotationMetadata []ExternalSecretRotationMetadataItem `json:",omitempty"`
	ExternalSecretRotationRoleArn  string                               `json:",omitempty" aws:"20..2048"`
}

// MaxExternalMetadata is how many pairs say how a partner's secret rotates. AWS
// names no bound; but everybody who lists secrets reads them all.
const MaxExternalMetadata = 50

// RotateSecretOutput names the version that the rotation makes.
type RotateSecretOutput struct {
	ARN       string
	Name      string
	VersionID string `json:"VersionId"`
}

// RotateSecret turns a secret's rotation on, by the function and the rules given
// now or before, and asks for one rotation, which goes on after the answer: an
// empty version with the label AWSPENDING makes the secret due at once, in the
// same write as the configuration. Instead, without RotateImmediately, the
// checks of a rotation run in the background, with a custom function its
// testSecret on a copy of the value, and what they found is in the log.
//
// The functions are those of package secrets' strategies, by ARN:
// function:pawl-single-user and function:pawl-alternating-users of the secret's
// own region and account; every other is a custom one, which the operator must
// let be called and the caller be allowed to (lambda:InvokeFunction). A custom one
// that the request names is asked whether it can be called now.
//
// The token of a rotation that is under way joins it, and has it tried now; that
// of one that has ended gets the same answer again. What the configuration file
// declares can be rotated but not changed. A pause ends, unless the file declares
// the rotation.
//
// Errors, always with nothing stored: InvalidParameterException without token
// and for rules or ARNs that can't be; AccessDeniedException for a function that
// there is not or that can't be called, Transient where only waiting can tell;
// InvalidRequestException without a function, while another rotation is under
// way, for what the file declares, for partners' and managed secrets, and for
// one marked for deletion; ResourceNotFoundException, also for a secret without
// a value; LimitExceededException beyond 20 labels.
func (s *Service) RotateSecret(ctx context.Context, in RotateSecretInput) (*RotateSecretOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID, func() error {
		if role := in.ExternalSecretRotationRoleArn; role != "" {
			if err := s.allowedTo(passRole, nil, role); err != nil {
				return err
			}
		}
		if len(in.ExternalSecretRotationMetadata) > MaxExternalMetadata {
			return refuse(invalidParameter, in.SecretID, "ExternalSecretRotationMetadata can have at most %d items.", MaxExternalMetadata)
		}
		if arn := in.RotationLambdaARN; arn != "" && !lambdaARN.MatchString(arn) {
			return refuse(invalidParameter, in.SecretID, "Invalid rotation Lambda ARN. Ensure the ARN matches format arn:aws:lambda:<region>:<account>:function:<functionName>.")
		}
		return needToken(in.ClientRequestToken, in.SecretID)
	})
	if err != nil {
		return nil, err
	}
	now := in.RotateImmediately == nil || *in.RotateImmediately
	rules := func(sec *Secret) secrets.RotationRules { return s.rulesThen(sec, in.RotationLambdaARN) }
	change := func(sec *Secret) (Sealed, error) {
		configured, err := s.configure(sec, in)
		if err != nil {
			return nil, err
		}
		begun, err := s.ask(sec, in.ClientRequestToken, now)
		if err != nil {
			return nil, err
		}
		if !configured && !begun {
			return nil, errUnchanged
		}
		sec.Changed = s.now()
		return nil, nil
	}
	callable := func(sec *Secret) error {
		if r := rules(sec); in.RotationLambdaARN == "" || r.Strategy != secrets.Function {
			return nil
		}
		return s.checkFunction(ctx, sec, in.RotationLambdaARN, change)
	}
	sec, err = s.updateRotated(ctx, sec, in.SecretID, rules, callable, change)
	if err != nil {
		return nil, err
	}
	s.tell(sec.ARN, now)
	return &RotateSecretOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name, VersionID: in.ClientRequestToken}, nil
}

// needToken is requireToken with the exception that AWS has for rotations.
func needToken(token, secret string) error {
	if token == "" {
		return refuse(invalidParameter, secret, "You must provide a ClientRequestToken value. We recommend a UUID-type value.")
	}
	return nil
}

// configure makes the secret's rotation what the request says, if it may, and
// reports whether that changed anything.
func (s *Service) configure(sec *Secret, in RotateSecretInput) (changed bool, err error) {
	name := sec.ARN.Name
	if err := rotatable(sec, in.RotationLambdaARN); err != nil {
		return false, err
	}
	old := sec.Rotation
	rules := secrets.RotationRules{}
	switch {
	case old == nil || old.Source == OnDemand:
	case fromFile(old) && !old.Enabled: // the file gave it up, as it last was
		rules = secrets.RotationRules{
			Strategy: old.Rules.Strategy, Function: functionOf(sec),
			Schedule: old.Rules.Schedule, AfterDays: old.Rules.AfterDays, Window: old.Rules.Window,
		}
	default:
		rules = old.Rules
	}
	wanted, err := s.wanted(sec.ARN, rules, in)
	if err != nil {
		return false, err
	}
	external := in.external(sec.External)
	if declared(old) {
		if err := s.sameAsDeclared(sec, wanted, external); err != nil {
			return false, err
		}
		return false, hasValue(sec)
	}
	partner := wanted.Function == "" && sec.Type != ""
	switch now := in.RotateImmediately == nil || *in.RotateImmediately; {
	case wanted.Function == "" && !partner:
		return false, refuse(invalidRequest, name, "No Lambda rotation function ARN is associated with this secret.").
			WithHint("give the one of a strategy, %s or %s, or your own", functionARN(sec.ARN, secrets.SingleUser), functionARN(sec.ARN, secrets.AlternatingUsers))
	case partner && now:
		return false, cannotRotatePartners(sec)
	case partner:
		wanted.Strategy = secrets.Partner
	}
	if err := hasValue(sec); err != nil {
		return false, err
	}
	next := secrets.Rotation{Rules: wanted, Enabled: true, Source: FromAPI, Since: s.now()}
	if old != nil {
		next.LastRotated, next.Asked = old.LastRotated, old.Asked
		if reflect.DeepEqual(old.Rules, wanted) {
			next.Attempt = old.Attempt // else: what failed before failed by other rules
		}
		if old.Source == FromAPI && old.Enabled && old.Rules.Schedule == wanted.Schedule && old.Rules.AfterDays == wanted.AfterDays {
			next.Since = old.Since
		}
	}
	if old != nil && reflect.DeepEqual(*old, next) && reflect.DeepEqual(sec.External, external) {
		return false, nil
	}
	sec.Rotation, sec.External = &next, external
	return true, nil
}

// rotatable refuses the secrets that nobody rotates here.
func rotatable(sec *Secret, function string) error {
	if sec.OwningService != "" && function != "" {
		return refuse(invalidRequest, sec.ARN.Name, "Rotation Lambda ARN is not supported for a service-managed secret.")
	}
	return unmanaged(sec) // with rules alone too: Pawl is not that service
}

// atPrimary refuses a replica.
func atPrimary(sec *Secret) error {
	if sec.PrimaryRegion == "" {
		return nil
	}
	return refuse(invalidParameter, sec.ARN.Name, "Operation not permitted on a replica secret. Call must be made in primary secret's region.")
}

func hasValue(sec *Secret) error {
	if sec.Versions.IDWith(secrets.Current) == "" {
		return refuse(resourceNotFound, sec.ARN.Name, "Secrets Manager can't find the specified secret value for staging label: %s", secrets.Current).
			WithHint("give it one first: pawl secret put %s --value-file F", sec.ARN.Name)
	}
	return nil
}

func cannotRotatePartners(sec *Secret) error {
	return refuse(invalidRequest, sec.ARN.Name, "Pawl has no engine for partner secrets (Type %s) and can't rotate one. With RotateImmediately false the settings are kept; make a new credential at the partner and put it as a new value.", sec.Type)
}

// scheduleTexts are what package secrets' schedules and windows answer in AWS's
// own words.
var scheduleTexts = []error{
	secrets.ErrScheduleExpression, secrets.ErrScheduleRateHours, secrets.ErrScheduleRateDays,
	secrets.ErrWindowLength, secrets.ErrWindowExceedsRate, secrets.ErrWindowExceedsDay,
}

// wanted returns rules as the request changes them. Schedules are AWS's,
// whatever the operator allows to himself in the configuration file.
func (s *Service) wanted(of secrets.ARN, rules secrets.RotationRules, in RotateSecretInput) (secrets.RotationRules, error) {
	given := RotationRules{}
	if in.RotationRules != nil {
		given = *in.RotationRules
	}
	if given.AutomaticallyAfterDays != 0 && given.ScheduleExpression != "" {
		return rules, refuse(invalidParameter, of.Name, "You cannot specify both rotation frequency and schedule expression together.")
	}
	switch {
	case given.AutomaticallyAfterDays != 0 || given.ScheduleExpression != "":
		rules.AfterDays, rules.Schedule, rules.Window = int(given.AutomaticallyAfterDays), given.ScheduleExpression, given.Duration
	case given.Duration != "":
		rules.Window = given.Duration
	}
	if given != (RotationRules{}) {
		minimum := max(s.rules().minimum, secrets.AWSMinimumInterval)
		_, _, err := readRules(rules, minimum)
		if err == nil {
			_, err = secrets.ParseWindow(rules.Window, minimum) // also while nothing says when
		}
		if err != nil {
			return rules, inAWSWords(err, of.Name)
		}
	}
	if in.RotationLambdaARN != "" {
		rules.Function, rules.Strategy = in.RotationLambdaARN, strategyOf(of, in.RotationLambdaARN)
	}
	if rules.Strategy == secrets.Function && !s.mayCall(rules.Function) {
		return rules, s.notCallable(of, rules.Function)
	}
	return rules, nil
}

// inAWSWords leaves of a schedule's error what the wire has: AWS's text.
func inAWSWords(err error, secret string) error {
	for _, text := range scheduleTexts {
		if errors.Is(err, text) {
			e := refuse(invalidParameter, secret, "%s", text)
			var full *secrets.Error
			if errors.As(err, &full) {
				e.Hint = full.Hint
			}
			return e
		}
	}
	return secrets.At(err, secret, "", "")
}

// external returns a partner's settings as the request changes them.
func (in RotateSecretInput) external(old *External) *External {
	if len(in.ExternalSecretRotationMetadata) == 0 && in.ExternalSecretRotationRoleArn == "" {
		return old
	}
	var e External
	if old != nil {
		e = *old
	}
	if len(in.ExternalSecretRotationMetadata) > 0 {
		e.Metadata = slices.Clone(in.ExternalSecretRotationMetadata)
	}
	if in.ExternalSecretRotationRoleArn != "" {
		e.RoleARN = in.ExternalSecretRotationRoleArn
	}
	return &e
}

// sameAsDeclared refuses what would make a rotation another than the one the
// configuration file declares, and one that the operator paused. Asking for what
// is declared anyway changes nothing and is fine.
func (s *Service) sameAsDeclared(sec *Secret, wanted secrets.RotationRules, external *External) error {
	is := sec.Rotation.Rules
	same := wanted.Strategy == is.Strategy && reflect.DeepEqual(external, sec.External)
	if wanted.Strategy == secrets.Function {
		same = same && wanted.Function == is.Function
	}
	if same && (wanted.Schedule != is.Schedule || wanted.AfterDays != is.AfterDays || wanted.Window != is.Window) {
		minimum := s.rules().minimum
		asked, window, err := readRules(wanted, minimum)
		schedule, length, _ := readRules(is, minimum)
		same = err == nil && asked == schedule && window == length
	}
	switch {
	case !same:
		return s.declaredElsewhere(sec)
	case sec.Rotation.Paused:
		return refuse(invalidRequest, sec.ARN.Name, "The rotation of this secret, which the %s declares, is paused. Go on with it by: pawl resume %s", s.sourceOf(sec), sec.ARN.Name)
	}
	return nil
}

func (s *Service) declaredElsewhere(sec *Secret) error {
	return refuse(invalidRequest, sec.ARN.Name, "The rotation of this secret is declared by the %s. Change it there, or stop it by: pawl pause %s", s.sourceOf(sec), sec.ARN.Name)
}

// ask asks for one rotation, whose version gets the token as its id, unless a
// rotation by another token is under way. Not immediately, it only looks.
func (s *Service) ask(sec *Secret, token string, immediately bool) (changed bool, err error) {
	pending, underWay := sec.Versions.Rotating()
	used, ok := sec.Versions.Find(token)
	switch {
	case immediately && (used.Has(secrets.Current) || used.Has(secrets.Previous)):
		return false, nil // the request of a rotation that has ended, sent again
	case underWay && pending.ID != token:
		return false, refuse(invalidRequest, sec.ARN.Name, "A previous rotation isn't complete. That rotation will be reattempted.").
			WithHint("see why it is not: pawl status %s", sec.ARN.Name)
	case !immediately:
		return false, nil
	case underWay:
		return tryNow(sec.Rotation), nil
	case ok:
		return false, refuse(invalidParameter, sec.ARN.Name, "You can't use ClientRequestToken %s because that value is already in use for a version of secret %s.", token, sec.ARN)
	}
	if err := s.stage(sec, token); err != nil {
		return false, err
	}
	sec.Rotation.Attempt = secrets.Attempt{}
	return true, nil
}

// stage puts a version without a value into sec, with the label AWSPENDING.
func (s *Service) stage(sec *Secret, id string) error {
	now := s.now()
	versions, err := sec.Versions.Put(secrets.Version{ID: id, Created: now, KeyID: sec.KMSKeyID, Empty: true}, []string{secrets.Pending})
	if err != nil {
		return secrets.At(err, sec.ARN.Name, "", "")
	}
	sec.Versions, _ = versions.Prune(now)
	return nil
}

// tryNow ends the wait after a failure, which stays on record.
func tryNow(r *secrets.Rotation) (changed bool) {
	changed = !r.Attempt.NextTry.IsZero()
	r.Attempt.NextTry = time.Time{}
	return changed
}

// CancelRotateSecretInput names a secret.
type CancelRotateSecretInput struct {
	SecretID string `json:"SecretId" aws:"required 1..2048"`
}

// CancelRotateSecretOutput names the secret and the version of a rotation that
// has begun and not ended.
type CancelRotateSecretOutput struct {
	ARN       string
	Name      string
	VersionID string `json:"VersionId,omitempty"`
}

// CancelRotateSecret turns a secret's rotation off. Function and rules are kept,
// so that RotateSecret without any turns it on again. A rotation that has begun
// keeps its AWSPENDING and is finished all the same: its password may be the
// server's already. For a secret whose rotation is off, or was never configured,
// nothing is changed and the call succeeds: what it asks for is so, and a request
// that is sent again must not fail. Errors: InvalidRequestException for what the
// configuration file declares, for managed secrets and for one marked for
// deletion, ResourceNotFoundException.
func (s *Service) CancelRotateSecret(ctx context.Context, in CancelRotateSecretInput) (*CancelRotateSecretOutput, error) {
	if err := Check(in, nil); err != nil {
		return nil, err
	}
	sec, err := s.findAlive(ctx, in.SecretID)
	if err != nil {
		return nil, err
	}
	sec, err = s.updateAlive(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		if err := rotatable(sec, ""); err != nil {
			return nil, err
		}
		switch r := sec.Rotation; {
		case r == nil || !r.Enabled:
			return nil, errUnchanged
		case declared(r):
			return nil, s.declaredElsewhere(sec)
		}
		sec.Rotation.Enabled, sec.Changed = false, s.now()
		return nil, nil
	})
	if err != nil {
		return nil, err
	}
	out := &CancelRotateSecretOutput{ARN: sec.ARN.String(), Name: sec.ARN.Name}
	if v, ok := sec.Versions.Rotating(); ok {
		out.VersionID = v.ID
	}
	return out, nil
}
