package conformance

import (
	"net/http"
	"strings"
)

// wireRules are about the envelope: what is answered before any operation looks
// at its request, and the shape of every error.
func wireRules() []Rule {
	var undispatched []rule
	for _, t := range []struct{ what, target string }{
		{"an unknown operation", "secretsmanager.OpenSesame"},
		{"a missing target", ""},
		{"the target of another service", "DynamoDB_20120810.ListTables"},
		{"a target without its prefix", "ListSecrets"},
		{"a target in other case", "secretsmanager.getRandomPassword"},
		{"a prefix in other case", "SecretsManager.GetRandomPassword"},
	} {
		undispatched = append(undispatched, rule{"refuses " + t.what + " without a text", sibling, func(p *Probe) {
			a := p.Send(Request{Body: []byte("{}"), Before: func(r *http.Request) {
				r.Header.Del("X-Amz-Target")
				if t.target != "" {
					r.Header.Set("X-Amz-Target", t.target)
				}
			}})
			a.Refused("UnknownOperationException", "").Exactly("__type")
		}})
	}
	var malformed []rule
	for _, b := range []struct{ what, body, text string }{
		{"an empty body", "", ""},
		{"a body that is null", "null", ""},
		{"a body that is a text", `"SecretId"`, ""},
		{"a body that is no JSON", "SecretId=a", ""},
		{"a body that ends in the middle", `{"SecretId": "a`, ""},
		{"a comma before the end", `{"SecretId": "a",}`, ""},
		{"anything after the request", `{"SecretId": "a"}{}`, ""},
		{"text that is not UTF-8", "{\"SecretId\": \"\xff\xfe\"}", ""},
		{"names without quotes", `{SecretId: "a"}`, ""},
		{"a list", `[]`, "Start of list found where not expected"},
		{"a list with a request in it", `[{"SecretId": "a"}]`, "Start of list found where not expected"},
	} {
		malformed = append(malformed, rule{"refuses " + b.what, sibling, func(p *Probe) {
			a := p.Refused("DescribeSecret", []byte(b.body), "SerializationException", b.text)
			if b.text == "" && a.Text() != "" {
				p.Fail("want no text, got %s", a)
			}
		}})
	}
	for _, w := range []struct{ what, operation, body string }{
		{"a text for a boolean", "ListSecrets", `{"IncludePlannedDeletion": "true"}`},
		{"a number for a boolean", "DeleteSecret", `{"SecretId": "a", "ForceDeleteWithoutRecovery": 1}`},
		{"a text for a number", "GetRandomPassword", `{"PasswordLength": "12"}`},
		{"a boolean for a number", "GetRandomPassword", `{"PasswordLength": true}`},
		{"an object for a text", "DescribeSecret", `{"SecretId": {"Name": "a"}}`},
		{"a list for a text", "DescribeSecret", `{"SecretId": ["a"]}`},
		{"a boolean for a text", "DescribeSecret", `{"SecretId": true}`},
		{"a text for a list", "UntagResource", `{"SecretId": "a", "TagKeys": "k"}`},
		{"an object for a list", "TagResource", `{"SecretId": "a", "Tags": {"k": "v"}}`},
		{"a text for a structure", "RotateSecret", `{"SecretId": "a", "RotationRules": "rate(4 hours)"}`},
		{"an object for a policy", "PutResourcePolicy", `{"SecretId": "a", "ResourcePolicy": {"Version": "2012-10-17"}}`},
		{"binary that is not base64", "PutSecretValue", `{"SecretId": "a", "ClientRequestToken": "` + x(32) + `", "SecretBinary": "%%%"}`},
	} {
		malformed = append(malformed, rule{"refuses " + w.what, sibling, func(p *Probe) {
			p.Refused(w.operation, []byte(w.body), "SerializationException", "")
		}})
	}
	return on(Wire, append(append(undispatched, malformed...), envelopeRules...)...)
}

var envelopeRules = []rule{
	{"names the exception in __type and its text in Message, with status 400", recorded("test_secret_not_found"), func(p *Probe) {
		a := p.Refused("DescribeSecret", M{"SecretId": "pawl-conformance/never-made"}, "ResourceNotFoundException", notFound)
		a.Exactly("__type", "Message")
	}},
	{"sends errors with the headers of answers", "AWS JSON 1.1 protocol", func(p *Probe) {
		p.Refused("DescribeSecret", M{"SecretId": "pawl-conformance/never-made"}, "ResourceNotFoundException", "").headers()
	}},
	{"leaves what clients add out of its texts", recorded("test_secret_not_found"), func(p *Probe) {
		a := p.Refused("DescribeSecret", M{}, "ValidationException", "")
		if strings.Contains(a.Text(), "An error occurred") {
			p.Fail("%s", a)
		}
	}},
	{"gives each request an id of its own", "AWS JSON 1.1 protocol", func(p *Probe) {
		a, b := p.OK("GetRandomPassword", M{}), p.OK("GetRandomPassword", M{})
		if a.Header.Get("X-Amzn-Requestid") == b.Header.Get("X-Amzn-Requestid") {
			p.Fail("twice %s", a.Header.Get("X-Amzn-Requestid"))
		}
	}},
	{"accepts a Content-Type with a charset", "AWS JSON 1.1 protocol", func(p *Probe) {
		a := p.Send(Request{Operation: "GetRandomPassword", Body: []byte("{}"), Before: func(r *http.Request) {
			r.Header.Set("Content-Type", "application/x-amz-json-1.1; charset=utf-8")
		}})
		if a.Status != http.StatusOK {
			p.Fail("%s", a)
		}
	}},
	{"lists all failed constraints in one sentence", model, func(p *Probe) {
		a := p.Refused("UpdateSecretVersionStage", M{}, "ValidationException", "")
		const at, must = "Value null at '", "' failed to satisfy constraint: Member must not be null"
		id, stage := at+"secretId"+must, at+"versionStage"+must
		const start = "2 validation errors detected: "
		if t := a.Text(); t != start+id+"; "+stage && t != start+stage+"; "+id {
			p.Fail("got %q", t)
		}
	}},
	{"sends ValidationException with the name and the text alone", model, func(p *Probe) {
		a := p.Refused("DescribeSecret", M{}, "ValidationException", "")
		if len(a.Members) != 2 || a.Text() == "" {
			p.Fail("%s", a)
		}
	}},
	{"refuses a wrong type before a broken constraint", sibling, func(p *Probe) {
		p.Refused("GetSecretValue", M{"SecretId": 5, "VersionId": "short"}, "SerializationException", "NUMBER_VALUE can not be converted to a String")
	}},
	{"refuses a broken constraint before a missing secret", recorded("test_invalid_secret_name"), func(p *Probe) {
		p.Refused("GetSecretValue", M{"SecretId": p.Name(), "VersionId": "short"}, "ValidationException", "")
	}},
	{"refuses a missing ClientRequestToken before a missing secret", recorded("test_no_client_request_token"), func(p *Probe) {
		p.Refused("PutSecretValue", M{"SecretId": p.Name(), "SecretString": "x"}, "InvalidRequestException", noToken)
	}},
	{"takes escaped and unescaped text for the same", "AWS JSON 1.1 protocol", func(p *Probe) {
		s := p.Secret(M{"SecretString": nil})
		p.OK("PutSecretValue", []byte(`{"SecretId":"`+s.Name+`","ClientRequestToken":"`+p.Token()+`","SecretString":"\u00e4\/\ud83d\udd11\t\"\\"}`))
		p.Get(s).Is("SecretString", "ä/🔑\t\"\\")
	}},
	{"allows white space around the request", "AWS JSON 1.1 protocol", func(p *Probe) {
		p.OK("GetRandomPassword", []byte(" \r\n\t{ } \n"))
	}},
	{"matches members by case", model, func(p *Probe) {
		p.Refused("DescribeSecret", M{"secretid": "pawl-conformance/never-made"}, "ValidationException", "1 validation error detected: Value null at 'secretId' failed to satisfy constraint: Member must not be null")
	}},
	{"writes dates as numbers of seconds, in milliseconds", "LocalStack issue 981: SDKs read no others", func(p *Probe) {
		d := p.Describe(p.Secret())
		d.Time("CreatedDate")
		d.Time("LastChangedDate")
	}},
}
