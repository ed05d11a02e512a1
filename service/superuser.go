package service

import (
	"context"
	"errors"

	"github.com/pawlhq/pawl/secrets"
)

// Who has a secret rotated lets a superuser loose on it, if the rules or the
// secret's own "masterarn" name one. So the caller must be allowed what the
// rotation does for him: to read the superuser's secret. That the superuser may
// serve this secret at all is the operator's to say, by pairing them; this here
// keeps apart callers who share a pairing. A custom function works for whoever
// may invoke it, and comes without a superuser of Pawl's: it reads what its own
// credentials may.

// updateRotated is updateAlive for what has a secret rotated, by rules that
// rulesOf tells. secretID is what the caller calls the secret. ready, where it is
// not nil, finds out what can't be found out inside of a write, once the caller
// may have the secret rotated. Errors: as mayHaveRotated too.
func (s *Service) updateRotated(ctx context.Context, sec *Secret, secretID string, rulesOf func(*Secret) secrets.RotationRules, ready func(*Secret) error, change func(*Secret) (Sealed, error)) (*Secret, error) {
	errOther := errors.New("the secret has another superuser or function by now")
	for range 5 {
		if err := s.mayHaveRotated(ctx, sec, secretID, rulesOf(sec)); err != nil {
			return nil, err
		}
		if ready != nil {
			if err := ready(sec); err != nil {
				return nil, err
			}
			ready = nil
		}
		by, current := workers(rulesOf(sec)), sec.Versions.IDWith(secrets.Current)
		after, err := s.updateAlive(ctx, sec.ARN, func(now *Secret) (Sealed, error) {
			if s.at.Guard != nil && (workers(rulesOf(now)) != by || now.Versions.IDWith(secrets.Current) != current) {
				sec = now
				return nil, errOther
			}
			return change(now)
		})
		if !errors.Is(err, errOther) {
			return after, err
		}
	}
	return nil, secrets.At(secrets.Errorf(secrets.Transient, "its value changed again and again while its rotation was being asked for").
		WithHint("try again"), sec.ARN.Name, "", "")
}

// rulesNow are the rules by which a secret is rotated as it is.
func (s *Service) rulesNow(sec *Secret) secrets.RotationRules {
	return s.effective(*s.rotationOf(sec)).Rules
}

// rulesThen are the rules by which it is once RotateSecret has configured it with
// a function, or "" for the one it has, as far as superuser and function are
// concerned.
func (s *Service) rulesThen(sec *Secret, function string) secrets.RotationRules {
	if declared(sec.Rotation) {
		return sec.Rotation.Rules
	}
	if r := sec.Rotation; function == "" && r != nil && r.Source != OnDemand {
		function = functionOf(sec)
	}
	rules := s.rules().defaults
	if function != "" {
		rules.Strategy, rules.Function = strategyOf(sec.ARN, function), function
	}
	return rules
}

// workers says who works for the caller when a secret is rotated by these rules,
// as far as the rules tell.
func workers(r secrets.RotationRules) [2]string {
	if r.Strategy == secrets.Function {
		return [2]string{secrets.Function, r.Function}
	}
	return [2]string{"", r.Superuser}
}

// mayHaveRotated refuses a caller who has no right to what rotates a secret by
// these rules.
func (s *Service) mayHaveRotated(ctx context.Context, sec *Secret, secretID string, rules secrets.RotationRules) error {
	if rules.Strategy == secrets.Function {
		return s.mayInvoke(rules.Function)
	}
	return s.mayUseSuperuser(ctx, sec, secretID, rules)
}

// mayUseSuperuser refuses a caller who may not read the secret of the superuser
// that rotates a secret by these rules, whether or not there is such a secret.
// One that the secret's value names is not named in the answer, since not
// everybody who may rotate a secret may read it.
func (s *Service) mayUseSuperuser(ctx context.Context, sec *Secret, secretID string, rules secrets.RotationRules) error {
	if s.at.Guard == nil {
		return nil
	}
	id, own := rules.Superuser, false
	if id == "" {
		cred, err := s.currentCredentials(ctx, sec)
		if id, own = cred.MasterARN(), true; err != nil || id == "" {
			return err
		}
	}
	near := s.As(Caller{Partition: sec.ARN.Partition, Region: sec.ARN.Region, Account: sec.ARN.Account})
	super, err := near.seek(ctx, id)
	meant, invalid := near.at.meant(id)
	switch {
	case invalid != nil:
		return nil // no secret has such a name, so nobody is let loose
	case err != nil && secrets.CodeOf(err) != resourceNotFound:
		return err
	}
	// The guard would look for a plain name where the caller is.
	if sec.ARN.Account != s.at.Account || sec.ARN.Region != s.at.Region {
		id = meant.ARN.String()
	}
	denied := s.allowedTo(getSecretValue, super, id)
	if own && secrets.CodeOf(denied) == accessDenied {
		return refuse(accessDenied, sec.ARN.Name, "You can't rotate the secret %s: the secret of the superuser that its value names is not yours to read (%s).", secretID, getSecretValue)
	}
	return denied
}

// currentCredentials returns what AWSCURRENT holds; nothing where there is no
// value, or one that is no JSON object: who rotates it will say so.
func (s *Service) currentCredentials(ctx context.Context, sec *Secret) (secrets.Credentials, error) {
	v, err := pick(sec, "", secrets.Current)
	if err != nil {
		return secrets.Credentials{}, nil
	}
	value, err := s.open(ctx, sec.ARN, v.ID)
	if errors.Is(err, ErrNotFound) {
		return secrets.Credentials{}, valueless(sec, "", secrets.Current)
	}
	if err != nil {
		return secrets.Credentials{}, err
	}
	cred, err := secrets.ParseCredentials(value)
	if err != nil {
		return secrets.Credentials{}, nil
	}
	return cred, nil
}
