package events

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// source is who, for CloudTrail, makes the events of Secrets Manager.
const source = "secretsmanager.amazonaws.com"

// record is an event as CloudTrail records one that no request made, with its
// members in CloudTrail's order. What only Pawl knows is in additionalEventData,
// beside the SecretId that AWS has there.
// Source: AWS CloudTrail user guide, "CloudTrail record contents" and "AWS
// service events"; records of rotations that AWS made.
type record struct {
	EventVersion string `json:"eventVersion"`
	UserIdentity struct {
		AccountID string `json:"accountId"`
		InvokedBy string `json:"invokedBy"`
	} `json:"userIdentity"`
	EventTime           string     `json:"eventTime"`
	EventSource         string     `json:"eventSource"`
	EventName           Name       `json:"eventName"`
	AWSRegion           string     `json:"awsRegion"`
	SourceIPAddress     string     `json:"sourceIPAddress"`
	UserAgent           string     `json:"userAgent"`
	ErrorMessage        string     `json:"errorMessage,omitempty"`
	RequestParameters   *struct{}  `json:"requestParameters"` // null: there was no request
	ResponseElements    *struct{}  `json:"responseElements"`
	AdditionalEventData additional `json:"additionalEventData"`
	RequestID           string     `json:"requestID"`
	EventID             string     `json:"eventID"`
	ReadOnly            bool       `json:"readOnly"`
	EventType           string     `json:"eventType"`
	ManagementEvent     bool       `json:"managementEvent"`
	RecipientAccountID  string     `json:"recipientAccountId"`
	EventCategory       string     `json:"eventCategory"`
}

type additional struct {
	SecretID string `json:"SecretId"`
	Version  string `json:"VersionId,omitempty"`
	Run      string `json:"Run,omitempty"`
	Strategy string `json:"Strategy,omitempty"`
	Function string `json:"RotationLambdaARN,omitempty"`
	Step     string `json:"Step,omitempty"`
	Kind     string `json:"Kind,omitempty"`
	NextTry  string `json:"NextTry,omitempty"`
}

// newRecord makes the record of an event.
func newRecord(e Event, id string) record {
	r := record{
		EventVersion: "1.08", EventTime: stamp(e.Time), EventSource: source, EventName: e.Name, AWSRegion: e.Secret.Region,
		SourceIPAddress: source, UserAgent: source, ErrorMessage: e.message(),
		AdditionalEventData: additional{
			SecretID: e.Secret.String(), Version: e.Version, Run: e.Run, Strategy: e.Strategy, Function: e.Function,
			Step: e.Step, NextTry: stamp(e.NextTry),
		},
		EventID: id, EventType: "AwsServiceEvent", ManagementEvent: true,
		RecipientAccountID: e.Secret.Account, EventCategory: "Management",
	}
	r.UserIdentity.AccountID, r.UserIdentity.InvokedBy = e.Secret.Account, source
	if e.Error != "" {
		r.AdditionalEventData.Kind = e.Kind.String()
	}
	token := e.Version
	if token == "" {
		token = e.Run // no version yet, and perhaps never one
	}
	r.RequestID = "Rotation-" + e.Secret.String() + "-" + token
	return r
}

// message is what went wrong: of a function first in AWS's words, by which
// others may look for it.
func (e Event) message() string {
	switch {
	case e.Error == "" || e.Function == "":
		return e.Error
	case e.Step == "":
		return fmt.Sprintf("Error when executing lambda %s: %s", e.Function, e.Error)
	default:
		return fmt.Sprintf("Error when executing lambda %s during %s step: %s", e.Function, e.Step, e.Error)
	}
}

// stamp is a time as CloudTrail writes it; "" for none.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// line is the record of an event on one line, with its end.
func line(e Event, id string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(newRecord(e, id))
	return b.Bytes(), err
}
