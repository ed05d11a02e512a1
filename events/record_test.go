package events

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
)

var (
	arn = secrets.ARN{Partition: "aws", Region: "eu-west-1", Account: "111122223333", Name: "prod/db", Suffix: "AbCdEf"}
	at  = time.Date(2026, 3, 4, 11, 20, 30, 123_000_000, time.FixedZone("CET", 3600))
)

const (
	function = "arn:aws:lambda:eu-west-1:111122223333:function:rotate-db"
	version  = "7ac47c8c-f328-423b-9698-6926dd1f293e"
	run      = "638c6d2d-e098-4100-a3e0-a4b7b87e5b92"
)

// TestRecord holds the lines to the letter: other programs read them.
func TestRecord(t *testing.T) {
	const (
		who   = `{"eventVersion":"1.08","userIdentity":{"accountId":"111122223333","invokedBy":"secretsmanager.amazonaws.com"},"eventTime":"2026-03-04T10:20:30Z","eventSource":"secretsmanager.amazonaws.com",`
		where = `"awsRegion":"eu-west-1","sourceIPAddress":"secretsmanager.amazonaws.com","userAgent":"secretsmanager.amazonaws.com",`
		data  = `"requestParameters":null,"responseElements":null,"additionalEventData":{"SecretId":"arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf",`
		id    = `"requestID":"Rotation-arn:aws:secretsmanager:eu-west-1:111122223333:secret:prod/db-AbCdEf-`
		end   = `"eventID":"the-id","readOnly":false,"eventType":"AwsServiceEvent","managementEvent":true,"recipientAccountId":"111122223333","eventCategory":"Management"}` + "\n"
	)
	for _, c := range []struct {
		name string
		e    Event
		want string
	}{
		{"begun, without a version yet", Event{Name: RotationStarted, Run: run, Strategy: secrets.SingleUser},
			who + `"eventName":"RotationStarted",` + where + data + `"Run":"` + run + `","Strategy":"single-user"},` + id + run + `",` + end},
		{"done", Event{Name: RotationSucceeded, Run: run, Version: version, Strategy: secrets.Function, Function: function},
			who + `"eventName":"RotationSucceeded",` + where + data + `"VersionId":"` + version + `","Run":"` + run + `","Strategy":"function","RotationLambdaARN":"` + function + `"},` + id + version + `",` + end},
		{"failed", Event{Name: RotationFailed, Run: run, Version: version, Strategy: secrets.SingleUser, Step: "setSecret", Kind: secrets.Denied,
			Error: `secret "prod/db": setSecret: db:5432: <password> refused & gone; mend it`, NextTry: at.Add(15 * time.Minute)},
			who + `"eventName":"RotationFailed",` + where + `"errorMessage":"secret \"prod/db\": setSecret: db:5432: <password> refused & gone; mend it",` +
				data + `"VersionId":"` + version + `","Run":"` + run + `","Strategy":"single-user","Step":"setSecret","Kind":"denied","NextTry":"2026-03-04T10:35:30Z"},` + id + version + `",` + end},
		{"a function's failure", Event{Name: RotationFailed, Run: run, Version: version, Strategy: secrets.Function, Function: function, Step: "setSecret", Kind: secrets.Transient, Error: "timed out"},
			who + `"eventName":"RotationFailed",` + where + `"errorMessage":"Error when executing lambda ` + function + ` during setSecret step: timed out",` +
				data + `"VersionId":"` + version + `","Run":"` + run + `","Strategy":"function","RotationLambdaARN":"` + function + `","Step":"setSecret","Kind":"transient"},` + id + version + `",` + end},
		{"a function's, of no step", Event{Name: TestRotationFailed, Run: run, Strategy: secrets.Function, Function: function, Kind: secrets.Invalid, Error: "gone"},
			who + `"eventName":"TestRotationFailed",` + where + `"errorMessage":"Error when executing lambda ` + function + `: gone",` +
				data + `"Run":"` + run + `","Strategy":"function","RotationLambdaARN":"` + function + `","Kind":"invalid"},` + id + run + `",` + end},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.e.Secret, c.e.Time = arn, at
			got, err := line(c.e, "the-id")
			if diff := cmp.Diff(c.want, string(got)); err != nil || diff != "" {
				t.Error(err, diff)
			}
			if strings.Count(string(got), "\n") != 1 || !json.Valid(got) {
				t.Error("not one line of JSON")
			}
		})
	}
}

// TestOneLine: whatever a failure says, an event is one line.
func TestOneLine(t *testing.T) {
	got, err := line(Event{Name: RotationFailed, Secret: arn, Time: at, Error: "a\nb\r\u2028\xff\x00"}, "x")
	if err != nil || strings.Count(string(got), "\n") != 1 || !json.Valid(got) {
		t.Errorf("%q, %v", got, err)
	}
}
