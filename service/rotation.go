package service

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// OnDemand is the Source of a rotation that nobody declared: the secret was
// rotated by name, with the default rules.
const OnDemand = "on demand"

// FromAPI is the Source of a rotation that RotateSecret configured.
const FromAPI = "api"

// filePrefix begins the Source of rotations that the configuration file
// declares: "file pawl.yaml:12".
const filePrefix = "file "

// Declaration is one entry of the configuration file.
type Declaration struct {
	Name   string // the secret's
	Rules  secrets.RotationRules
	Source string // "file pawl.yaml:12"
}

// apply writes the declaration into sec and reports whether that changed
// anything. Where an entry stands in its file is no change worth a write.
func (d Declaration) apply(sec *Secret, now time.Time) bool {
	r := sec.Rotation
	if r != nil && r.Enabled && sameFile(r.Source, d.Source) && sameRules(r.Rules, d.Rules) {
		return false
	}
	next := secrets.Rotation{Rules: d.Rules, Enabled: true, Source: d.Source, Since: now}
	if r != nil {
		next.Paused, next.LastRotated, next.Asked = r.Paused, r.LastRotated, r.Asked
		if r.Enabled && r.Rules.Schedule == d.Rules.Schedule && r.Rules.AfterDays == d.Rules.AfterDays {
			next.Since = r.Since
		}
	}
	sec.Rotation = &next
	return true
}

var line = regexp.MustCompile(`:\d+$`)

func sameFile(a, b string) bool {
	return a == b || line.ReplaceAllString(a, "") == line.ReplaceAllString(b, "")
}

func sameRules(a, b secrets.RotationRules) bool {
	if len(a.Hosts) == 0 && len(b.Hosts) == 0 {
		a.Hosts, b.Hosts = nil, nil
	}
	return reflect.DeepEqual(a, b)
}

// DeclareReport says what Declare did, by the secrets' names in byte order.
type DeclareReport struct {
	Changed []string // declared anew or otherwise than before
	// Replaced are those of Changed that the API had configured until now.
	Replaced []string
	Removed  []string // no longer declared: rotation turned off
	Missing  []string // declared, but there is no such secret yet
}

// Declare makes the rotations that the file declares equal to ds. An entry
// replaces a rotation that was configured through the API, because the file is
// the operator's word and says so in a place where he can see it; from then on
// the API may not change it. What the API configured and the file does not name
// is left alone. A declaration
// whose secret does not exist yet applies when this Service creates it; one
// that vanished is turned off, after an unfinished rotation was finished.
// Nothing is written for what is unchanged, unless Reconfigure made it due at
// another time. Errors: Invalid, with nothing written, for a schedule or window
// that is wrong and for a name declared twice; else as the store gives them,
// with the rest not done.
func (s *Service) Declare(ctx context.Context, ds []Declaration) (DeclareReport, error) {
	var report DeclareReport
	declared := make(map[string]Declaration, len(ds))
	for _, d := range ds {
		if other, twice := declared[d.Name]; twice {
			return report, secrets.At(secrets.Errorf(secrets.Invalid, "declared twice: %s and %s", other.Source, d.Source), d.Name, "", "")
		}
		if _, _, err := readRules(d.Rules, s.rules().minimum); err != nil {
			return report, secrets.At(fmt.Errorf("%s: %w", d.Source, err), d.Name, "", "")
		}
		declared[d.Name] = d
	}
	s.mu.Lock()
	s.declared = declared
	s.mu.Unlock()

	missing := make(map[string]bool, len(ds))
	for name := range declared {
		missing[name] = true
	}
	err := s.each(ctx, "", func(sec *Secret) error {
		name := sec.ARN.Name
		delete(missing, name)
		d, ok := declared[name]
		before := ""
		if sec.Rotation != nil {
			before = sec.Rotation.Source
		}
		// sec is a copy: apply on it only asks.
		switch {
		case ok && d.apply(sec, s.now()):
			report.Changed = append(report.Changed, name)
			if before == FromAPI {
				report.Replaced = append(report.Replaced, name)
			}
		case !ok && fromFile(sec.Rotation) && sec.Rotation.Enabled:
			report.Removed = append(report.Removed, name)
		case !s.stale(sec):
			return nil
		}
		_, err := s.update(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
			switch {
			case ok && d.apply(sec, s.now()):
			case !ok && fromFile(sec.Rotation) && sec.Rotation.Enabled:
				sec.Rotation.Enabled = false
			default:
				return nil, nil // only DueAt
			}
			sec.Changed = s.now()
			return nil, nil
		})
		if secrets.CodeOf(err) == resourceNotFound {
			return nil // removed since it was listed
		}
		return err
	})
	for name := range missing {
		report.Missing = append(report.Missing, name)
	}
	slices.Sort(report.Missing)
	return report, err
}

// stale reports whether the secret is due earlier than the store has it, or at
// all, or no more: by another policy than the one it was planned by.
func (s *Service) stale(sec *Secret) bool {
	now := s.now()
	at := s.nextDue(sec, now)
	return at.IsZero() != sec.DueAt.IsZero() || sec.DueAt.After(now) && at.Before(sec.DueAt)
}

func fromFile(r *secrets.Rotation) bool { return r != nil && strings.HasPrefix(r.Source, filePrefix) }

// declared reports whether the file declares the rotation now.
func declared(r *secrets.Rotation) bool { return fromFile(r) && r.Enabled }

// sourceOf returns who declared a secret's rotation, with the line as it is
// today.
func (s *Service) sourceOf(sec *Secret) string {
	at := s.As(Caller{Region: sec.ARN.Region, Account: sec.ARN.Account})
	if d, ok := s.declaration(sec.ARN.Name); ok && at.atHome() && sameFile(d.Source, sec.Rotation.Source) {
		return d.Source
	}
	return sec.Rotation.Source
}

func (s *Service) declaration(name string) (Declaration, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	d, ok := s.declared[name]
	return d, ok
}

// where returns the Service that acts where an ARN says that its secret is; s
// itself for a name. It is for an operator, who may act anywhere.
func (s *Service) where(id string) *Service {
	meant, err := secrets.ParseID(id)
	if err != nil || meant.ARN.Region == "" {
		return s
	}
	return s.As(Caller{Partition: meant.ARN.Partition, Region: meant.ARN.Region, Account: meant.ARN.Account})
}

// Pause stops the scheduler from rotating a secret, and from finishing a
// rotation of it, until Resume. An ARN may be of any account and region. Errors:
// InvalidRequestException where no rotation is declared or it is marked for
// deletion, ResourceNotFoundException.
func (s *Service) Pause(ctx context.Context, id string) error {
	_, err := s.where(id).setPaused(ctx, id, true)
	return err
}

// Resume ends a pause. Errors: as Pause.
func (s *Service) Resume(ctx context.Context, id string) error {
	_, err := s.where(id).setPaused(ctx, id, false)
	return err
}

func (s *Service) setPaused(ctx context.Context, id string, paused bool) (*Secret, error) {
	sec, err := s.lookUp(ctx, id)
	if err != nil {
		return nil, err
	}
	return s.updateAlive(ctx, sec.ARN, func(sec *Secret) (Sealed, error) {
		r := sec.Rotation
		if r == nil || !r.Enabled && !(r.Paused && !paused) {
			return nil, refuse(invalidRequest, sec.ARN.Name, "no rotation is declared for it").
				WithHint("declare one under secrets: in the configuration file")
		}
		if r.Paused == paused {
			return nil, errUnchanged
		}
		r.Paused, sec.Changed = paused, s.now()
		return nil, nil
	})
}

// RotationStatus is a secret's rotation as seen now.
type RotationStatus struct {
	Name string
	ARN  secrets.ARN
	secrets.Rotation
	Unfinished bool           // a rotation, or the undo of one, has begun and not ended
	At         time.Time      // when it is due, jitter included; zero = never
	Window     secrets.Window // the window At is in; zero when Unfinished
	Following  []Planned      // the rotations after that, where they were asked for
	// Problem says why a secret that should rotate has no At; "" when all is
	// well.
	Problem string
}

// Rotations calls yield with every secret of all accounts and regions that has
// a rotation and is not marked for deletion, one account and region after
// another, in byte order of the name in each, and in bounded memory. An error of
// yield ends it and is returned.
func (s *Service) Rotations(ctx context.Context, yield func(RotationStatus) error) error {
	places, err := s.store.Places(ctx)
	if err != nil {
		return err
	}
	for _, p := range places {
		at := s.As(Caller{Region: p.Region, Account: p.Account})
		err := at.each(ctx, "", func(sec *Secret) error {
			if !rotates(sec) {
				return nil
			}
			return yield(s.status(sec))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rotates reports whether there is a rotation to show of a secret.
func rotates(sec *Secret) bool {
	return sec.Rotation != nil && sec.Deleted.IsZero() && sec.PrimaryRegion == ""
}

// status tells of a secret's rotation, with the rules it goes by.
func (s *Service) status(sec *Secret) RotationStatus {
	at, w, err := s.due(sec, s.now())
	status := RotationStatus{
		Name: sec.ARN.Name, ARN: sec.ARN, Rotation: s.effective(*sec.Rotation),
		Unfinished: sec.Versions.Unfinished(), At: at, Window: w,
	}
	status.Source = s.sourceOf(sec)
	if err != nil {
		status.Problem = err.Error()
	}
	return status
}
