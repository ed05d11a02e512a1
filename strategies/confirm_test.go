package strategies

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jonboulle/clockwork"

	"github.com/pawlhq/pawl/engines"
	"github.com/pawlhq/pawl/secrets"
)

// recorder is an engine at which every login by one of these passwords succeeds,
// and that notes in which order it is asked for what. It changes something only
// when that was confirmed, as engines do.
type recorder struct {
	passwords map[string]string // by user
	clone     engines.CloneState
	did       []string
}

func (r *recorder) Facts() engines.Facts {
	return engines.Facts{Names: []string{"recorder"}, DefaultPort: 1}
}
func (r *recorder) CheckUsername(string) error { return nil }

func (r *recorder) Dial(_ context.Context, at engines.Endpoint, as engines.Login) (engines.Session, error) {
	if r.passwords[as.Username] != as.Password.Reveal() {
		return nil, secrets.Errorf(secrets.Denied, "password refused")
	}
	if at.Guard == 0 {
		return session{r, "look"}, nil
	}
	if at.Guard != Guard {
		return nil, fmt.Errorf("a guard of %v", at.Guard)
	}
	r.did = append(r.did, "open")
	return session{r, "guarded"}, nil
}

type session struct {
	r    *recorder
	kind string
}

func (s session) Check(context.Context, engines.Check) error              { return nil }
func (s session) Preflight(context.Context, engines.PasswordChange) error { return nil }
func (s session) Close() error                                            { return nil }

func (s session) change(ctx context.Context, confirm func(context.Context) error, what string, effect func()) error {
	if s.kind != "guarded" {
		return errors.New("a change on a session without a guard")
	}
	if err := engines.Sendable(ctx, confirm, "recorder:1"); err != nil {
		return err
	}
	s.r.did = append(s.r.did, what)
	effect()
	return nil
}

func (s session) SetPassword(ctx context.Context, c engines.PasswordChange) error {
	return s.change(ctx, c.Confirm, "set "+c.Username, func() { s.r.passwords[c.Username] = c.New.Reveal() })
}

func (s session) FindClone(context.Context, engines.Clone) (engines.CloneState, error) {
	return s.r.clone, nil
}

func (s session) SyncClone(ctx context.Context, c engines.Clone) ([]string, error) {
	return nil, s.change(ctx, c.Confirm, "sync "+c.Clone, func() { s.r.clone = engines.CloneMarked })
}

func (s session) LockClone(ctx context.Context, c engines.Clone) error {
	return s.change(ctx, c.Confirm, "lock "+c.Clone, func() { delete(s.r.passwords, c.Clone) })
}

// TestConfirm: whatever a strategy changes at a server it has confirmed right
// before, on a session that is open and has a guard. Refused, nothing is changed,
// and the error comes as it is.
func TestConfirm(t *testing.T) {
	value := func(user, pw string) secrets.Value {
		return secrets.NewCredentials("engine", "recorder", "host", "h", "username", user, "password", pw).Value()
	}
	set := func(u *Users, ctx context.Context, j *Job) error { return u.Set(ctx, j) }
	restore := func(u *Users, ctx context.Context, j *Job) error { return u.Restore(ctx, j) }
	tests := []struct {
		name      string
		strategy  string
		passwords map[string]string
		pending   secrets.Value
		previous  secrets.Value
		clone     engines.CloneState
		resumed   bool
		do        func(*Users, context.Context, *Job) error
		want      string // what is done at the server, in order
	}{
		{"set", secrets.SingleUser, map[string]string{"app": "old"}, value("app", "new"), secrets.Value{}, 0, false, set,
			"open open confirm set app"},
		{"set again", secrets.SingleUser, map[string]string{"app": "old"}, value("app", "new"), secrets.Value{}, 0, true, set,
			"open open confirm set app"},
		{"set from the password before", secrets.SingleUser, map[string]string{"app": "older"}, value("app", "new"), value("app", "older"), 0, true, set,
			"open confirm set app"},
		{"restore", secrets.SingleUser, map[string]string{"app": "new"}, value("app", "new"), secrets.Value{}, 0, false, restore,
			"open confirm set app"},
		{"the clone is made", secrets.AlternatingUsers, map[string]string{"app": "old"}, value("app_clone", "new"), secrets.Value{}, engines.CloneAbsent, false, set,
			"open open confirm sync app_clone confirm set app_clone"},
		{"a clone that was just made is locked", secrets.AlternatingUsers, map[string]string{"app": "old", "app_clone": "new"}, value("app_clone", "new"), secrets.Value{}, engines.CloneMarked, false, restore,
			"open open confirm lock app_clone"},
		{"a clone gets its password back", secrets.AlternatingUsers, map[string]string{"app": "old", "app_clone": "new"}, value("app_clone", "new"), value("app_clone", "older"), engines.CloneMarked, false, restore,
			"open open confirm set app_clone"},
	}
	lost := secrets.Errorf(secrets.Conflict, "the claim was lost")
	for _, tt := range tests {
		steps := strings.Count(tt.want, "confirm")
		for refuse := range steps + 1 { // 0 = never
			r := &recorder{passwords: map[string]string{"root": "r"}, clone: tt.clone}
			for user, pw := range tt.passwords {
				r.passwords[user] = pw
			}
			super := secrets.NewCredentials("host", "h", "username", "root", "password", "r")
			rules := secrets.RotationRules{Strategy: tt.strategy}
			if strings.HasPrefix(tt.want, "open open") || tt.name == "restore" {
				rules.Superuser = "root"
			}
			u := NewUsers(Config{
				Engines: engines.NewRegistry(r), Random: rand.Reader, Clock: clockwork.NewFakeClock(),
				Superusers: Superusers{Credentials: func(context.Context, secrets.ARN, string) (secrets.Credentials, secrets.ARN, error) {
					return super, secrets.ARN{Name: "root"}, nil
				}},
			}, rules)
			asked := 0
			j := &Job{
				ARN: secrets.ARN{Name: "s"}, Current: value("app", "old"), Pending: tt.pending, Resumed: tt.resumed,
				Report:   func(string) {},
				Previous: func(context.Context) (secrets.Value, error) { return tt.previous, nil },
				History:  func(context.Context) ([]secrets.Value, error) { return nil, nil },
			}
			j.Confirm = func(context.Context) error {
				r.did = append(r.did, "confirm")
				if asked++; asked == refuse {
					return lost
				}
				return nil
			}
			err := tt.do(u, t.Context(), j)
			u.Close()
			did := strings.Join(r.did, " ")
			if refuse == 0 {
				if err != nil || did != tt.want {
					t.Errorf("%s: %q instead of %q, error %v", tt.name, did, tt.want, err)
				}
				continue
			}
			words := strings.SplitAfter(tt.want, "confirm")
			if want := strings.Join(words[:refuse], ""); did != want {
				t.Errorf("%s, refused the %d. time: %q instead of %q", tt.name, refuse, did, want)
			}
			if !errors.Is(err, lost) {
				t.Errorf("%s, refused the %d. time: error %v", tt.name, refuse, err)
			}
		}
	}
}
