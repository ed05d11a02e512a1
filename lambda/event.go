package lambda

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// event is one of the three things that an invocation can ask for.
type event interface {
	// do does it, within ctx, which ends before the invocation does.
	do(ctx context.Context, w *work) (any, error)
	// late is the error for an invocation whose time is over while do goes on.
	late(w *work) error
	// about says what it is about, for the log.
	about() []any
}

// step asks for one step of a rotation that AWS Secrets Manager drives.
// Source: AWS Secrets Manager user guide, "Lambda rotation functions".
type step struct {
	Step               string
	SecretID           string
	ClientRequestToken string // the id of the version that is rotated to
	rotationToken      string // a credential: it is passed on and never shown
}

// whole asks for the whole rotation of one secret, by name or ARN.
type whole struct{ secret string }

// due asks for the rotation of all secrets that are due.
type due struct{ summary *summary }

// The sources of EventBridge's schedules: of its rules, and of its Scheduler.
var schedules = []string{"aws.events", "aws.scheduler"}

// read understands an event. Nobody's members are overlooked, but for those that
// AWS may add to its own events: whoever asks for more than there is here must
// not get something else. Errors are of type ValueError and repeat nothing of it.
func read(raw json.RawMessage) (event, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return nil, unknownEvent("it is no JSON object")
	}
	has := func(name string) bool { _, ok := members[name]; return ok }
	switch {
	case has("Step") || has("SecretId") || has("ClientRequestToken"):
		return readStep(members)
	case has("source"):
		if source, ok := text(members["source"]); !ok || !slices.Contains(schedules, source) {
			return nil, unknownEvent("it has another source")
		}
		return due{&summary{}}, nil
	case len(members) == 1 && has("secret"):
		id, ok := text(members["secret"])
		if !ok || id == "" {
			return nil, valueError("The member secret must be the name or the ARN of a secret.")
		}
		return whole{id}, nil
	case len(members) == 1 && has("due"):
		if string(members["due"]) != "true" {
			return nil, valueError("The member due can only be true.")
		}
		return due{&summary{}}, nil
	case has("secret"):
		return nil, unknownEvent("beside secret it can have no other member")
	case has("due"):
		return nil, unknownEvent("beside due it can have no other member")
	}
	return nil, unknownEvent("")
}

func readStep(members map[string]json.RawMessage) (event, error) {
	var e step
	var missing []string
	for name, into := range map[string]*string{"Step": &e.Step, "SecretId": &e.SecretID, "ClientRequestToken": &e.ClientRequestToken, "RotationToken": &e.rotationToken} {
		s, ok := text(members[name])
		if (!ok || s == "") && into != &e.rotationToken {
			missing = append(missing, name)
		}
		*into = s
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return nil, valueError("The event of a rotation step needs Step, SecretId and ClientRequestToken, each a text. Not there: %s.", strings.Join(missing, ", "))
	}
	return e, nil
}

// text is a JSON string.
func text(raw json.RawMessage) (string, bool) {
	var s *string
	if json.Unmarshal(raw, &s) != nil || s == nil {
		return "", false
	}
	return *s, true
}

func unknownEvent(why string) error {
	if why != "" {
		why = ": " + why
	}
	return valueError("This event is none that Pawl knows%s. It takes one step of a rotation, as Secrets Manager sends it: %s; "+
		"one secret to rotate: %s; or what is due: %s, or an EventBridge schedule (source %s).",
		why, `{"Step": …, "SecretId": …, "ClientRequestToken": …}`, `{"secret": NAME or ARN}`, `{"due": true}`, strings.Join(schedules, " or "))
}

// String leaves the RotationToken out.
func (e step) String() string {
	return fmt.Sprintf("%s of %s to %s", e.Step, e.SecretID, e.ClientRequestToken)
}

// GoString is String.
func (e step) GoString() string { return e.String() }
