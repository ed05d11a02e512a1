package server

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

func TestAnswers(t *testing.T) {
	r := start(t, Config{}, nil)
	arn := r.create("prod/db")

	a := r.send(post("GetSecretValue", signed, `{"SecretId":"prod/db"}`))
	r.form(a)
	if want := `{"ARN":"` + arn + `","Name":"prod/db","VersionId":"` + token + `","SecretString":"{\"password\":\"` + canary + `\"}","VersionStages":["AWSCURRENT"],"CreatedDate":`; a.StatusCode != 200 || !strings.HasPrefix(a.body, want) {
		t.Errorf("got  %d %s\nwant 200 %s…", a.StatusCode, a.body, want)
	}

	out := r.call("DescribeSecret", `{"SecretId":"prod/db"}`)
	created, accessed := out["CreatedDate"].(float64), out["LastAccessedDate"].(float64)
	if math.Abs(created-float64(time.Now().Unix())) > 60 || math.Mod(accessed, 86400) != 0 {
		t.Errorf("dates: created %f, accessed %f", created, accessed)
	}
	for _, absent := range []string{"Description", "KmsKeyId", "RotationEnabled", "DeletedDate", "Tags", "PrimaryRegion"} {
		if v, there := out[absent]; there {
			t.Errorf("%s is there: %v", absent, v)
		}
	}

	for _, op := range []string{"TagResource", "UntagResource"} {
		a := r.send(post(op, signed, `{"SecretId":"prod/db","Tags":[{"Key":"k","Value":""}],"TagKeys":["k"]}`))
		r.form(a)
		if a.StatusCode != 200 || a.body != "" || !strings.Contains(a.raw, "\r\nContent-Length: 0\r\n") {
			t.Errorf("%s: %d %q\n%s", op, a.StatusCode, a.body, a.raw)
		}
		if tags := fmt.Sprint(r.call("DescribeSecret", `{"SecretId":"prod/db"}`)["Tags"]); op == "TagResource" && tags != "[map[Key:k Value:]]" || op == "UntagResource" && tags != "[]" {
			t.Errorf("after %s: %s", op, tags)
		}
	}
	r.call("PutSecretValue", `{"SecretId":"prod/db","ClientRequestToken":"`+strings.Repeat("b", 32)+`","SecretBinary":"AP8="}`)
	if got := r.call("GetSecretValue", `{"SecretId":"`+arn+`"}`); got["SecretBinary"] != "AP8=" || got["SecretString"] != nil {
		t.Errorf("binary: %v", got)
	}
}

// A request acts in the account and region of its credentials.
func TestAccountsAndRegions(t *testing.T) {
	r := start(t, Config{}, nil)
	in := func(key, region string) string {
		return strings.NewReplacer("AKID", key, "us-east-1", region).Replace(signed)
	}
	const body = `{"Name":"s","ClientRequestToken":"` + token + `"}`
	arns := map[string]bool{}
	for _, headers := range []string{in("AKID", "us-east-1"), in("AKID", "eu-west-1"), in("111122223333", "us-east-1"), in("AKID", "cn-north-1")} {
		a := r.send(post("CreateSecret", headers, body))
		if a.StatusCode != 200 {
			t.Fatalf("%s", a.body)
		}
		arn := strings.Split(a.body, `"`)[3]
		arns[arn[:len(arn)-len("-AbCdEf")]] = true
		if list := r.send(post("ListSecrets", headers, `{}`)); strings.Count(list.body, `"ARN"`) != 1 || !strings.Contains(list.body, arn) {
			t.Errorf("%s: %s", arn, list.body)
		}
	}
	for _, want := range []string{"aws:secretsmanager:us-east-1:123456789012", "aws:secretsmanager:eu-west-1:123456789012", "aws:secretsmanager:us-east-1:111122223333", "aws-cn:secretsmanager:cn-north-1:123456789012"} {
		if !arns["arn:"+want+":secret:s"] {
			t.Errorf("no %s in %v", want, arns)
		}
	}
}

func TestAnotherAccountsSecret(t *testing.T) {
	r := start(t, Config{}, nil)
	for _, id := range []string{r.create("s"), "arn:aws:secretsmanager:us-east-1:123456789012:secret:nowhere-AbCdEf"} {
		other := strings.Replace(signed, "AKID", "999999999999", 1)
		denied := func(operation, body string) {
			t.Helper()
			r.want(post(operation, other, strings.Replace(body, "ID", id, 1)), 400,
				`{"__type":"AccessDeniedException","Message":"User: arn:aws:iam::999999999999:root is not authorized to perform: secretsmanager:`+operation+
					` on resource: `+id+` because no resource-based policy allows the secretsmanager:`+operation+` action"}`)
		}
		denied("GetSecretValue", `{"SecretId":"ID"}`)
		denied("DeleteSecret", `{"SecretId":"ID","ForceDeleteWithoutRecovery":true}`)
		denied("PutSecretValue", `{"SecretId":"ID"}`) // rights come before the operation's own rules
		denied("TagResource", `{"SecretId":"ID","Tags":[{"Key":"k"}]}`)
		// Bounds come before rights.
		r.want(post("GetSecretValue", other, `{"SecretId":"`+id+`","VersionId":"short"}`), 400,
			`{"__type":"ValidationException","message":"1 validation error detected: Value 'short' at 'versionId' failed to satisfy constraint: Member must have length greater than or equal to 32"}`)
	}
	r.call("GetSecretValue", `{"SecretId":"s"}`)
	// A new name is nobody's.
	r.want(post("CreateSecret", signed, `{"Name":"arn:aws:secretsmanager:us-east-1:999999999999:secret:s","ClientRequestToken":"`+token+`"}`), 400,
		`{"__type":"ValidationException","message":"Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!"}`)
}

// The order in which a request that is wrong in several ways is judged.
func TestOrderOfRefusals(t *testing.T) {
	r := start(t, Config{}, nil)
	const (
		unknown = `{"__type":"UnknownOperationException"}`
		noAuth  = `{"__type":"MissingAuthenticationTokenException","message":"Missing Authentication Token"}`
		badJSON = `{"__type":"SerializationException"}`
		nobody  = `{"__type":"ValidationException","message":"1 validation error detected: Value null at 'secretId' failed to satisfy constraint: Member must not be null"}`
		missing = `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`
	)
	r.want(post("Nothing", "", `{`), 400, unknown)
	r.want(post("GetSecretValue", "", `{`), 400, noAuth)
	r.want(post("GetSecretValue", "Authorization: Bearer x\r\n", `{`), 400, noAuth)
	r.want(post("GetSecretValue", signed, `{`), 400, badJSON)
	r.want(post("GetSecretValue", signed, `{"SecretId":"no*name","VersionId":7}`), 400,
		`{"__type":"SerializationException","Message":"NUMBER_VALUE can not be converted to a String"}`)
	r.want(post("GetSecretValue", signed, `{}`), 400, nobody)
	r.want(post("GetSecretValue", signed, `{"SecretId":null}`), 400, nobody)
	r.want(post("GetSecretValue", signed, `{"SecretId":""}`), 400,
		`{"__type":"ValidationException","message":"1 validation error detected: Value '' at 'secretId' failed to satisfy constraint: Member must have length greater than or equal to 1"}`)
	r.want(post("GetSecretValue", signed, `{"SecretId":"nowhere"}`), 400, missing)
	r.want(post("PutSecretValue", signed, `{"SecretId":"nowhere"}`), 400,
		`{"__type":"InvalidRequestException","Message":"You must provide a ClientRequestToken value. We recommend a UUID-type value."}`)
	// A value is never repeated.
	big := strings.Repeat(canary, 65536/len(canary)+1)
	r.want(post("CreateSecret", signed, `{"Name":"n","ClientRequestToken":"`+token+`","SecretString":"`+big+`"}`), 400,
		`{"__type":"ValidationException","message":"1 validation error detected: Value at 'secretString' failed to satisfy constraint: Member must have length less than or equal to 65536"}`)
}

func TestTargets(t *testing.T) {
	r := start(t, Config{}, nil)
	const unknown = `{"__type":"UnknownOperationException"}`
	for _, name := range []string{
		"secretsmanager.getSecretValue", "SecretsManager.GetSecretValue", "secretsmanager:GetSecretValue", "GetSecretValue", "secretsmanager.",
		"secretsmanager.GetSecretValue.x", "pawl.GetSecretValue", "", strings.Repeat("x", 20000), "secretsmanager.GetSecretValue\u00e9",
	} {
		r.want(strings.Replace(post("X", signed, `{}`), "secretsmanager.X", name, 1), 400, unknown)
	}
	r.want(strings.Replace(post("X", signed, `{}`), target+"X\r\n", "", 1), 400, unknown)
	// White space around a header's value is not part of it.
	a := r.send(post("GetRandomPassword ", signed, `{}`))
	if a.StatusCode != 200 {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
}

func TestPathsAndMethods(t *testing.T) {
	r := start(t, Config{}, nil)
	with := func(line string) string {
		return strings.Replace(post("GetRandomPassword", signed, `{}`), "POST / HTTP/1.1", line, 1)
	}
	for _, line := range []string{"POST / HTTP/1.1", "POST /?x HTTP/1.1", "POST /?X-Amz-Target=nothing HTTP/1.1", "POST http://localhost/ HTTP/1.1", "POST http://127.0.0.1:80 HTTP/1.1"} {
		if a := r.send(with(line)); a.StatusCode != 200 || !strings.Contains(a.body, "RandomPassword") {
			t.Errorf("%s: %d %s", line, a.StatusCode, a.body)
		}
	}
	for _, path := range []string{"//", "///", "/.", "/..", "/./", "/%2e%2e", "/%2F", "/%00", "/x", "/healthz", "//pawl/", "/;x", "http://localhost//", "/..;/", `/\`, "/%5c"} {
		r.want(with("POST "+path+" HTTP/1.1"), 404, `{"__type":"UnknownOperationException"}`)
	}
	for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "post", "X"} {
		a := r.send(with(method + " / HTTP/1.1"))
		if a.StatusCode != 405 || a.body != `{"__type":"UnknownOperationException"}` || a.Header.Get("Allow") != "POST" {
			t.Errorf("%s: %d %s", method, a.StatusCode, a.body)
		}
		// No web page may call from a browser.
		for name := range a.Header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("%s: %s", method, name)
			}
		}
	}
	for _, line := range []string{"POST", "POST /", "POST / HTTP/9.9", "POST  / HTTP/1.1", "POST /%zz HTTP/1.1", "POST /\x01 HTTP/1.1", "POST * HTTP/1.1 x", "\x16\x03\x01\x02"} {
		if a := r.send(with(line)); a.StatusCode < 400 {
			t.Errorf("%q: %d", line, a.StatusCode)
		}
	}
	r.call("ListSecrets", `{}`)
}

// A secret is found only where the request acts, also by its ARN.
func TestSecretsElsewhere(t *testing.T) {
	r := start(t, Config{}, nil)
	arn := r.create("s")
	elsewhere := strings.Replace(signed, "us-east-1", "eu-west-1", 1)
	other := strings.Replace(signed, "AKID", "999999999999", 1)
	r.want(post("GetSecretValue", elsewhere, `{"SecretId":"`+arn+`"}`), 400, `{"__type":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."}`)
	a := r.send(post("BatchGetSecretValue", elsewhere, `{"SecretIdList":["`+arn+`"]}`))
	if a.StatusCode != 200 || strings.Contains(a.body, canary) || !strings.Contains(a.body, `"ErrorCode":"ResourceNotFoundException"`) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	// Of several secrets each is answered for itself.
	r.want(post("BatchGetSecretValue", other, `{"SecretIdList":["mine","`+arn+`"]}`), 200, `{"SecretValues":[],"Errors":[`+
		`{"SecretId":"mine","ErrorCode":"ResourceNotFoundException","Message":"Secrets Manager can't find the specified secret."},`+
		`{"SecretId":"`+arn+`","ErrorCode":"AccessDeniedException","Message":"User: arn:aws:iam::999999999999:root is not authorized to perform: secretsmanager:GetSecretValue on resource: `+
		arn+` because no resource-based policy allows the secretsmanager:GetSecretValue action"}]}`)
	for _, raw := range []string{
		strings.Replace(post("ListRotations", other, `{"SecretIds":["`+arn+`"]}`), "secretsmanager.", "pawl.", 1),
		strings.Replace(post("TestRotation", other, `{"SecretId":"`+arn+`"}`), "secretsmanager.", "pawl.", 1),
	} {
		if a := r.send(raw); a.StatusCode != 400 || !strings.Contains(a.body, `"AccessDeniedException"`) || !strings.Contains(a.body, " on resource: "+arn+" because ") {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
}
