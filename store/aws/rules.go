package aws

import (
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// fromTags is the Source of a rotation that the secret's own tags declare.
const fromTags = "tags"

// latestTry bounds how far ahead a next try may be that stands in a tag: the
// scheduler's own waits are a day at most, and a slip of the pen must not keep a
// secret from being rotated for a century.
const latestTry = 25 * time.Hour

// rotation works out a secret's rotation: by the file's declaration, or else by
// its tags, or else on demand by the defaults; paused or not; last rotated when,
// as far as that is known; failing since when. The error is Invalid: a tag can't
// be read, or chooses a superuser that is not paired with it.
func (s *Store) rotation(r *record) (secrets.Rotation, error) {
	c := s.settings()
	out := secrets.Rotation{Rules: c.Defaults, Source: service.OnDemand, LastRotated: r.lastRotated()}
	_, out.Paused = tagged(r.Tags, TagPaused)
	if a := attemptOf(r.Tags); !a.NextTry.After(s.now().Add(latestTry)) {
		out.Attempt = a
	}
	if d, ok := s.listing.declaration(r.ARN.Name); ok {
		out.Rules, out.Source, out.Enabled = d.Rules, d.Source, true
		return out, nil
	}
	if !c.Discover {
		return out, nil
	}
	if !asks(r.Tags) {
		// Who rotates it on demand may have its superuser from a tag all the same.
		if v, ok := tagged(r.Tags, TagSuperuser); ok {
			super, err := paired(r, v, c.Pairings)
			if err != nil {
				return out, secrets.At(err, r.ARN.Name, "", "")
			}
			out.Rules.Superuser = super
		}
		return out, nil
	}
	out.Source, out.Enabled = fromTags, true
	rules, err := rulesOf(r, c)
	if err != nil {
		return out, secrets.At(err, r.ARN.Name, "", "")
	}
	out.Rules = rules
	return out, nil
}

// asks reports whether a secret's tags ask for its being rotated.
func asks(tags []service.Tag) bool {
	_, strategy := tagged(tags, TagStrategy)
	_, schedule := tagged(tags, TagSchedule)
	return strategy || schedule
}

// lastRotated is when a rotation last completed, as far as versions' dates are
// known: Pawl's, whose version has the Intent, or AWS's own.
func (r *record) lastRotated() time.Time {
	last := r.rotated
	if v, ok := r.Versions.With(secrets.Intent); ok && (v.Has(secrets.Current) || v.Has(secrets.Previous)) && v.Created.After(last) {
		last = v.Created
	}
	return last
}

// rulesOf reads the rules that a secret's tags give it; what they don't say is
// as the defaults have it. Errors: Invalid, with the tag and what it may be.
func rulesOf(r *record, c Config) (secrets.RotationRules, error) {
	rules := c.Defaults
	if v, ok := tagged(r.Tags, TagStrategy); ok {
		if v != secrets.SingleUser && v != secrets.AlternatingUsers {
			return rules, badTag(r, TagStrategy, secrets.SingleUser,
				secrets.Errorf(secrets.Invalid, "%q: must be %s or %s", v, secrets.SingleUser, secrets.AlternatingUsers))
		}
		rules.Strategy = v
	}
	if v, ok := tagged(r.Tags, TagSchedule); ok {
		rules.Schedule, rules.AfterDays = v, 0
		// A window goes with its schedule; the defaults' may not fit this one.
		if _, windowed := tagged(r.Tags, TagWindow); !windowed && v != c.Defaults.Schedule {
			rules.Window = ""
		}
	}
	schedule, err := rules.ReadSchedule(c.MinimumInterval)
	if err != nil {
		return rules, badTag(r, TagSchedule, "", err)
	}
	if v, ok := tagged(r.Tags, TagWindow); ok {
		rules.Window = v
	}
	window, err := secrets.ParseWindow(rules.Window, c.MinimumInterval)
	if err == nil {
		err = schedule.CheckWindow(window)
	}
	if err != nil {
		return rules, badTag(r, TagWindow, "", err)
	}
	if v, ok := tagged(r.Tags, TagSuperuser); ok {
		if rules.Superuser, err = paired(r, v, c.Pairings); err != nil {
			return rules, err
		}
	}
	return rules, nil
}

// badTag names the tag that an error is about, and the command that mends it
// where the error has no hint of its own.
func badTag(r *record, key, value string, err error) error {
	e := secrets.Prefixed(err, "tag %s", key)
	if value != "" {
		return e.WithHint("aws secretsmanager tag-resource --secret-id %s --tags Key=%s,Value=%s", r.ARN.Name, key, value)
	}
	return e
}

// paired returns the superuser whom a secret's tag chooses, in the words of the
// operator's pairing: so it is the pairing's superuser, whatever the tag's words
// would mean elsewhere. Errors: Invalid where no pairing is of that superuser and
// for this secret.
func paired(r *record, id string, pairings []secrets.Pairing) (string, error) {
	chosen, err := secrets.ParseID(id)
	if err != nil {
		return "", secrets.Errorf(secrets.Invalid, "tag %s %q: must be the name or ARN of a secret", TagSuperuser, id).
			WithHint("aws secretsmanager tag-resource --secret-id %s --tags Key=%s,Value=NAME", r.ARN.Name, TagSuperuser)
	}
	if sameSecret(chosen, secrets.ID{ARN: r.ARN}, r.ARN) {
		return "", secrets.Errorf(secrets.Invalid, "tag %s %q: a secret can't be its own superuser", TagSuperuser, id).
			WithHint("take it off, and the user changes his password himself: aws secretsmanager untag-resource --secret-id %s --tag-keys %s", r.ARN.Name, TagSuperuser)
	}
	for _, p := range pairings {
		if meant, err := secrets.ParseID(p.Secret); err == nil && p.Covers(r.ARN.Name) && sameSecret(chosen, meant, r.ARN) {
			return p.Secret, nil
		}
	}
	return "", secrets.Errorf(secrets.Invalid, "tag %s: the superuser's secret %q is not paired with it", TagSuperuser, id).
		WithHint("the operator can allow it in the configuration: superusers: [{secret: %s, for: [%q]}]", id, r.ARN.Name)
}

// sameSecret reports whether two ids mean one secret, seen from the account and
// region of a third. Suffixes may differ only where one of them is left out.
func sameSecret(a, b secrets.ID, near secrets.ARN) bool {
	x, y := seenFrom(near, a.ARN), seenFrom(near, b.ARN)
	if x.Suffix == "" || y.Suffix == "" {
		x.Suffix, y.Suffix = "", ""
	}
	return x == y
}

// seenFrom completes what a plain name means.
func seenFrom(near, a secrets.ARN) secrets.ARN {
	if a.Region == "" {
		a.Partition, a.Region, a.Account = near.Partition, near.Region, near.Account
	}
	return a
}
