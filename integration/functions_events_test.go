package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/events"
	"github.com/pawlhq/pawl/integration/lambdas"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// told are the lines of a site's events file, each as whoever keeps CloudTrail's
// reads it.
type told []record

type record struct {
	EventVersion, EventTime, EventSource, EventName, EventType, AwsRegion string
	RecipientAccountId, EventCategory, EventID, RequestID, ErrorMessage   string
	AdditionalEventData                                                   struct {
		SecretId, VersionId, Run, Strategy, Step, Kind, NextTry string
		RotationLambdaARN                                       string
	}
}

func (r record) String() string {
	return r.EventName + " " + r.AdditionalEventData.SecretId + " " + r.AdditionalEventData.VersionId + " " + r.ErrorMessage
}

// told reads the events file, and holds it to what docs/functions.md promises of
// it: each line is whole, its request id is the rotation's, a run's lines belong
// together, and no password that the site's secrets ever had is in it.
func (s *site) told() (all told) {
	s.t.Helper()
	path := filepath.Join(s.dir, "events.jsonl")
	text, err := os.ReadFile(path)
	if err != nil {
		s.t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		s.t.Errorf("the file of events has mode %v, %v", info.Mode(), err)
	}
	ids, runs := map[string]bool{}, map[string]record{}
	for line := range strings.Lines(string(text)) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil || !strings.HasSuffix(line, "\n") {
			s.t.Fatalf("%q: %v", line, err)
		}
		more := r.AdditionalEventData
		token := more.VersionId
		if token == "" {
			token = more.Run
		}
		if want := "Rotation-" + more.SecretId + "-" + token; r.RequestID != want {
			s.t.Errorf("%v: the request id is %s, not %s", r, r.RequestID, want)
		}
		if _, err := time.Parse(time.RFC3339, r.EventTime); err != nil || r.EventSource != "secretsmanager.amazonaws.com" || r.EventType != "AwsServiceEvent" || ids[r.EventID] {
			s.t.Errorf("%+v, %v", r, err)
		}
		ids[r.EventID] = true
		switch first, seen := runs[more.Run]; {
		case !seen:
			runs[more.Run] = r
		case first.AdditionalEventData.SecretId != more.SecretId, first.AdditionalEventData.VersionId != "" && first.AdditionalEventData.VersionId != more.VersionId:
			s.t.Errorf("one run is of %v and of %v", first, r)
		case strings.HasSuffix(r.EventName, "Started"), !strings.HasSuffix(first.EventName, "Started"):
			s.t.Errorf("a run begins with %v and goes on with %v", first, r)
		}
		all = append(all, r)
	}
	list, err := s.svc.ListSecrets(s.t.Context(), service.ListSecretsInput{})
	if err != nil || list.NextToken != "" {
		s.t.Fatal(err, list.NextToken)
	}
	for _, sec := range list.SecretList {
		if i, found := contains(string(text), s.everyPassword(sec.Name)); found {
			s.t.Errorf("value %d of %s is in the file of events", i, sec.Name)
		}
	}
	return all
}

// of are the names of a secret's events, in their order.
func (all told) of(secret string) (names []events.Name) {
	for _, r := range all {
		if strings.Contains(r.AdditionalEventData.SecretId, ":secret:"+secret+"-") {
			names = append(names, events.Name(r.EventName))
		}
	}
	return names
}

// hears waits until a secret's events begin with RotationStarted, have the first
// of these among them, and end with the last. They come a moment after the labels
// have moved.
func (s *site) hears(secret string, some, end events.Name) {
	s.t.Helper()
	until(s.t, fmt.Sprintf("%s and %s of %s", some, end, secret), func() bool {
		names := s.told().of(secret)
		return len(names) > 0 && names[0] == events.RotationStarted && slices.Contains(names, some) && names[len(names)-1] == end
	})
}

// TestFunctionEvents: each thing that can become of a function's rotation, and of
// a test of one, is told.
func TestFunctionEvents(t *testing.T) {
	t.Parallel()
	f := newFunctions(t, "events")
	f.put("good", good)
	f.put("bad", func(context.Context, steps, lambdas.Event) error {
		return &lambdas.Failure{Type: "ValueError", Message: "engine key is missing"}
	})
	// Somebody takes the version's label off while the function is at it.
	f.put("disturbed", func(ctx context.Context, s steps, e lambdas.Event) error {
		if err := s.do(ctx, e); err != nil || e.Step != "createSecret" {
			return err
		}
		_, err := f.sdk.UpdateSecretVersionStage(ctx, &secretsmanager.UpdateSecretVersionStageInput{
			SecretId: &e.SecretId, VersionStage: aws.String(secrets.Pending), RemoveFromVersionId: &e.ClientRequestToken,
		})
		return err
	})
	for _, name := range []string{"good", "bad", "disturbed", "tested"} {
		f.create(name, user(t, f.db, "told_"+name).Value())
	}
	good := f.rotate("good", "good")
	f.rotated("good", good)
	bad := f.rotate("bad", "bad")
	f.failing("bad")
	f.rotate("disturbed", "disturbed")
	until(t, "the rotation to be given up", func() bool { return f.holder("disturbed", secrets.Pending) == "" })
	if _, err := f.sdk.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String("tested"), ClientRequestToken: aws.String(f.token()), RotationLambdaARN: aws.String(lambdaARN("good")), RotateImmediately: aws.Bool(false),
	}); err != nil {
		t.Fatal(err)
	}
	until(t, "the test", func() bool { return len(f.told().of("tested")) == 2 })
	f.lambda.Remove("good")
	if r := f.cli("rotate", "tested", "--dry-run"); r.code != 1 || !strings.Contains(r.err, "look for it: aws lambda get-function --function-name "+lambdaARN("good")) {
		t.Errorf("exit code %d: %s", r.code, r.err)
	}
	want := map[string][]events.Name{
		"good":      {events.RotationStarted, events.RotationSucceeded},
		"bad":       {events.RotationStarted, events.RotationFailed},
		"disturbed": {events.RotationStarted, events.RotationAbandoned},
		"tested":    {events.TestRotationStarted, events.TestRotationSucceeded, events.TestRotationStarted, events.TestRotationFailed},
	}
	got := map[string][]events.Name{}
	until(t, "the end of them", func() bool {
		for name := range want {
			got[name] = f.told().of(name)
		}
		return len(got["good"]) > 1
	})
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, r := range f.told() {
		more := r.AdditionalEventData
		function := map[string]string{good: "good", bad: "bad"}[more.VersionId]
		if function != "" && (more.RotationLambdaARN != lambdaARN(function) || more.Strategy != secrets.Function) {
			t.Errorf("%v is told of %s, %s", r, more.Strategy, more.RotationLambdaARN)
		}
		if r.EventName == string(events.RotationFailed) {
			if more.Step != "createSecret" || more.Kind != "invalid" || more.NextTry == "" ||
				!strings.HasPrefix(r.ErrorMessage, fmt.Sprintf("Error when executing lambda %s during createSecret step: ", lambdaARN("bad"))) ||
				!strings.Contains(r.ErrorMessage, "ValueError: engine key is missing") {
				t.Errorf("%+v", r)
			}
		}
	}
	// AWS's test of a rotation is testSecret on a copy of AWSCURRENT.
	var steps []string
	for _, e := range f.lambda.Events() {
		if strings.Contains(e.SecretId, ":secret:tested-") {
			steps = append(steps, e.Step)
		}
	}
	if !slices.Equal(steps, []string{"testSecret"}) || f.holder("tested", secrets.Pending) != "" {
		t.Errorf("a test called the function for %q, and left %v", steps, f.stages("tested"))
	}
}
