package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	sdk "github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"

	"github.com/pawlhq/pawl/access"
	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/teststore"
)

var forSTS = strings.Replace(signed, "secretsmanager", "sts", 1)

// form is a request of AWS Query in bytes.
func form(headers, body string) string {
	return "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded; charset=utf-8\r\n" +
		headers + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body
}

const version = "&Version=2011-06-15"

// wantXML checks an answer byte for byte; ID stands for the request's.
func (r *running) wantXML(raw string, status int, body string) {
	r.t.Helper()
	a := r.send(raw)
	id := a.Header.Get("X-Amzn-Requestid")
	if want := strings.Replace(body, "ID", id, 1); a.StatusCode != status || a.body != want {
		r.t.Errorf("%q\ngot  %d %s\nwant %d %s", raw, a.StatusCode, a.body, status, want)
	}
	if a.Header.Get("Content-Type") != "text/xml" || !isUUID(id) || a.ContentLength != int64(len(a.body)) {
		r.t.Errorf("%v", a.Header)
	}
}

func (r *running) wantFault(raw string, status int, code, text string) {
	r.t.Helper()
	namespace, fault := stsNamespace, "Sender"
	if code == "InvalidAction" {
		namespace = "http://webservices.amazon.com/AWSFault/2005-15-09"
	}
	if status == 500 {
		fault = "Receiver"
	}
	r.wantXML(raw, status, `<ErrorResponse xmlns="`+namespace+`">
  <Error>
    <Type>`+fault+`</Type>
    <Code>`+code+`</Code>
    <Message>`+text+`</Message>
  </Error>
  <RequestId>ID</RequestId>
</ErrorResponse>
`)
}

func TestSTSOfADevServer(t *testing.T) {
	r := start(t, Config{STSAuth: access.Dev{Service: "sts"}}, nil)
	const root = `<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <GetCallerIdentityResult>
    <Arn>arn:aws:iam::123456789012:root</Arn>
    <UserId>123456789012</UserId>
    <Account>123456789012</Account>
  </GetCallerIdentityResult>
  <ResponseMetadata>
    <RequestId>ID</RequestId>
  </ResponseMetadata>
</GetCallerIdentityResponse>
`
	for _, body := range []string{
		"Action=GetCallerIdentity" + version,
		"Action=GetCallerIdentity" + version + "&Unknown=value",
		"Action=GetCallerIdentity&Action=NoSuchAction" + version + "&Version=2000-01-01",
	} {
		r.wantXML(form(forSTS, body), 200, root)
	}
	r.wantXML(strings.Replace(form(forSTS, "Action=GetCallerIdentity"+version), "; charset=utf-8", "", 1), 200, root)

	const is = "Action=GetCallerIdentity"
	r.wantFault(form(forSTS, "Action=NoSuchAction"+version), 400, "InvalidAction", "Could not find operation NoSuchAction for version 2011-06-15")
	r.wantFault(form(forSTS, is), 400, "InvalidAction", "Could not find operation GetCallerIdentity for version NO_VERSION_SPECIFIED")
	r.wantFault(form(forSTS, is+"&Version=2000-01-01"), 400, "InvalidAction", "Could not find operation GetCallerIdentity for version 2000-01-01")
	r.wantFault(form(forSTS, "Action="+version), 400, "InvalidAction", "Could not find operation  for version 2011-06-15")
	r.wantFault(form(forSTS, "Action=%3Ca%3E%26%22%00"+version), 400, "InvalidAction", "Could not find operation &lt;a&gt;&amp;\"\ufffd for version 2011-06-15")
	r.wantFault(form(forSTS, "x=y"), 400, "MissingAction", "The request is missing an action or a required parameter.")
	r.wantFault(form(forSTS, "%zz"), 404, "MalformedQueryString", "The query string contains a syntax error.")
	r.wantFault(form("", is+version), 403, "MissingAuthenticationToken", "Request is missing Authentication Token")
	r.wantFault(form(signed, is+version), 403, "SignatureDoesNotMatch", "Credential should be scoped to correct service: 'sts'. ")
	r.wantFault(form(strings.Replace(forSTS, "AKID", "a+b", 1), is+version), 403, "InvalidClientTokenId", "The security token included in the request is invalid.")
	r.wantFault(form(forSTS, "x="+strings.Repeat("y", maxBody)), 413, "RequestEntityTooLargeException", "Request body exceeds the limit of 1048576 bytes.")
	r.wantFault(form(forSTS, "Action=AssumeRole&RoleSessionName=me&RoleArn=arn:aws:iam::123456789012:role/r"+version), 403, "AccessDenied",
		"User: arn:aws:iam::123456789012:root is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::123456789012:role/r because there are no roles on this server: pawl serve --dev has no principals")

	if line, _ := r.audited(form(forSTS, is+version)); !strings.Contains(line, "verdict=allowed action=sts:GetCallerIdentity principal=arn:aws:iam::123456789012:root key=AKID ") {
		t.Error(line)
	}
	if line, _ := r.audited(form("", is+version)); !strings.Contains(line, "verdict=refused action=sts:GetCallerIdentity status=403 code=MissingAuthenticationToken ") {
		t.Error(line)
	}
	// A form is nothing to the other protocol, nor to a server without STS.
	r.want(strings.Replace(form(forSTS, is+version), "x-www-form-urlencoded", "x-amz-json-1.1", 1), 400, `{"__type":"UnknownOperationException"}`)
	start(t, Config{}, nil).want(form(forSTS, is+version), 400, `{"__type":"UnknownOperationException"}`)
}

// noting is an STS that notes what it is asked, and answers as it is told.
type noting struct {
	role    string
	caller  access.Principal
	session principals.NewSession
	err     error
}

func (n *noting) AssumeRole(_ context.Context, caller access.Principal, role string, s principals.NewSession) (*principals.Credentials, error) {
	n.role, n.caller, n.session = role, caller, s
	return &principals.Credentials{
		AccessKeyID: "ASIAEXAMPLE", Secret: secrets.NewPassword(canary + "</secret>"), SessionToken: secrets.NewPassword(canary + "=="),
		Expires: midnight.Add(time.Hour + time.Millisecond), ARN: "arn:aws:sts::123456789012:assumed-role/r/me", UserID: "AROAEXAMPLE:me",
	}, n.err
}

func TestAssumeRoleOnTheWire(t *testing.T) {
	made := &noting{}
	r := start(t, Config{STS: made, STSAuth: access.Dev{Service: "sts"}, Now: func() time.Time { return midnight }}, nil)
	const role = "arn:aws:iam::123456789012:role/r"
	assume := func(more string) string {
		return form(forSTS+"User-Agent: tests\r\n", "Action=AssumeRole"+version+"&RoleArn="+url.QueryEscape(role)+more)
	}
	r.wantXML(assume("&RoleSessionName=me&DurationSeconds=900&Policy=%7B%7D&ExternalId=ex&Tags.member.1.Key=team&Tags.member.1.Value=a%26b&Tags.member.2.Value=&Tags.member.2.Key=none&PolicyArns="), 200,
		`<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
  <AssumeRoleResult>
    <AssumedRoleUser>
      <AssumedRoleId>AROAEXAMPLE:me</AssumedRoleId>
      <Arn>arn:aws:sts::123456789012:assumed-role/r/me</Arn>
    </AssumedRoleUser>
    <Credentials>
      <AccessKeyId>ASIAEXAMPLE</AccessKeyId>
      <SecretAccessKey>`+canary+`&lt;/secret&gt;</SecretAccessKey>
      <SessionToken>`+canary+`==</SessionToken>
      <Expiration>2024-06-11T01:00:00Z</Expiration>
    </Credentials>
  </AssumeRoleResult>
  <ResponseMetadata>
    <RequestId>ID</RequestId>
  </ResponseMetadata>
</AssumeRoleResponse>
`)
	if log := r.log.String(); !strings.Contains(log, "verdict=allowed action=sts:AssumeRole role="+role+" issued=ASIAEXAMPLE principal=arn:aws:iam::123456789012:root key=AKID ") {
		t.Errorf("%s", log)
	}
	want := principals.NewSession{
		Name: "me", Duration: 15 * time.Minute, Policy: "{}", ExternalID: "ex", Tags: []policy.Tag{{Key: "team", Value: "a&b"}, {Key: "none"}},
	}
	asks := made.session.Context
	for name, want := range map[string]string{"aws:sourceip": "127.0.0.1", "aws:securetransport": "false", "aws:useragent": "tests", "aws:requestedregion": "us-east-1", "aws:currenttime": "2024-06-11T00:00:00Z"} {
		if got := asks.Values(name); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q", name, got)
		}
	}
	made.session.Context = nil
	if made.role != role || made.caller.AccessKey != "AKID" || !reflect.DeepEqual(made.session, want) {
		t.Errorf("got  %s %s %#v\nwant %#v", made.role, made.caller.AccessKey, made.session, want)
	}
	const session = "&RoleSessionName=me"
	invalid := func(more, text string) {
		t.Helper()
		*made = noting{}
		r.wantFault(assume(more), 400, "ValidationError", text)
		if made.role != "" {
			t.Errorf("%s: it was assumed", more)
		}
	}
	bound := func(what, rule string) string {
		return "1 validation error detected: Value " + what + " failed to satisfy constraint: Member must " + rule
	}
	invalid("", bound("null at 'roleSessionName'", "not be null"))
	invalid("&RoleSessionName=", bound("'' at 'roleSessionName'", "have length greater than or equal to 2"))
	invalid(session+"&DurationSeconds=899", bound("'899' at 'durationSeconds'", "have value greater than or equal to 900"))
	invalid(session+"&DurationSeconds=0", bound("'0' at 'durationSeconds'", "have value greater than or equal to 900"))
	invalid(session+"&DurationSeconds=43201", bound("'43201' at 'durationSeconds'", "have value less than or equal to 43200"))
	invalid(session+"&Tags.member.1.Value=x", bound("null at 'tags.1.member.key'", "not be null"))
	invalid(session+"&ExternalId=", bound("'' at 'externalId'", "have length greater than or equal to 2"))
	invalid(session+"&DurationSeconds=1h", "'DurationSeconds' is not a number of seconds")
	invalid(session+"&DurationSeconds=99999999999999999999", "'DurationSeconds' is not a number of seconds")
	const numbered = "'Tags' must be numbered from 1: Tags.member.1.Key, Tags.member.1.Value, ..."
	for _, tags := range []string{"&Tags.member.2.Key=k", "&Tags.member.1.Key=k&Tags.member.3.Key=l", "&Tags.member.01.Key=k", "&Tags.1.Key=k", "&Tags.member.1.Key=k&Tags.member.1.value=l"} {
		invalid(session+tags, numbered)
	}
	for _, name := range notTaken {
		invalid(session+"&"+name+"=x", "Pawl's AssumeRole does not take '"+name+"'")
		invalid(session+"&"+name+".member.1=x", "Pawl's AssumeRole does not take '"+name+"'")
	}
	r.wantFault(form(forSTS, "Action=AssumeRole&RoleArn=short&Policy="+version), 400, "ValidationError",
		"3 validation errors detected: Value 'short' at 'roleArn' failed to satisfy constraint: Member must have length greater than or equal to 20; "+
			"Value null at 'roleSessionName' failed to satisfy constraint: Member must not be null; "+
			"Value '' at 'policy' failed to satisfy constraint: Member must have length greater than or equal to 1")

	denied := secrets.Errorf(secrets.Denied, "no")
	denied.Code = "AccessDenied"
	made.err = denied
	r.wantFault(assume(session), 403, "AccessDenied", "no")
	if log := r.log.String(); !strings.Contains(log, "verdict=denied action=sts:AssumeRole role="+role+" principal=") {
		t.Errorf("%s", log)
	}
	made.err = errors.New("the disk is full")
	r.wantFault(assume(session), 500, "InternalFailure", internalText)
	if log := r.log.String(); !strings.Contains(log, "the disk is full") || !strings.Contains(log, "verdict=failed action=sts:AssumeRole") {
		t.Errorf("%s", log)
	}
}

func TestSTSIsThrottled(t *testing.T) {
	r := start(t, Config{STSAuth: access.Dev{Service: "sts"}, RateLimits: 0.001, Now: func() time.Time { return midnight }}, nil)
	r.send(form(forSTS, "Action=GetCallerIdentity"+version))
	r.wantFault(form(forSTS, "Action=GetCallerIdentity"+version), 400, "Throttling", "Rate exceeded")
	if log := r.log.String(); !strings.Contains(log, "verdict=throttled action=sts:GetCallerIdentity") {
		t.Errorf("%s", log)
	}
}

// trusting is a server with principals: ann, who may assume the role app and no
// other, and app, which may read app/*.
func trusting(t *testing.T) (r *running, ann *principals.Credentials) {
	t.Helper()
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	file, keys := teststore.Open(t)
	who := principals.New(principals.Config{Store: file, Sealer: keys, Account: access.DevAccount})
	_, ann, err := who.Create(ctx, principals.NewPrincipal{Name: "ann", Policies: []principals.Policy{{Name: "p", Document: `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":"secretsmanager:CreateSecret","Resource":"*"}]}`}}})
	must(err)
	for name, trusted := range map[string]string{"app": ann.ARN, "closed": "arn:aws:iam::123456789012:user/bob"} {
		_, _, err = who.Create(ctx, principals.NewPrincipal{
			Name: name, Kind: principals.Role,
			Trust: `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"` + trusted + `"},"Action":["sts:AssumeRole","sts:TagSession"]}]}`,
			Policies: []principals.Policy{{Name: "p", Document: `{"Version":"2012-10-17","Statement":[
				{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:*:*:secret:app/*"}]}`}},
		})
		must(err)
	}
	r = start(t, Config{
		Service: service.New(service.Config{Store: file, Sealer: keys}),
		Auth:    access.NewVerifier(access.VerifierConfig{Keys: who}),
		STSAuth: access.NewVerifier(access.VerifierConfig{Keys: who, Service: "sts"}),
		STS:     who,
	}, nil)
	return r, ann
}

// The Go SDK: who am I, and a provider of credentials that assumes a role by
// itself.
func TestSTSWithTheGoSDK(t *testing.T) {
	r, ann := trusting(t)
	config := aws.Config{
		Region: "eu-central-1", BaseEndpoint: aws.String("http://" + r.addr), RetryMaxAttempts: 1,
		Credentials: credentials.NewStaticCredentialsProvider(ann.AccessKeyID, ann.Secret.Reveal(), ""),
	}
	ctx := t.Context()
	who, err := sdk.NewFromConfig(config).GetCallerIdentity(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if *who.Arn != "arn:aws:iam::123456789012:user/ann" || *who.Account != "123456789012" || *who.UserId != ann.UserID {
		t.Errorf("%s %s %s", *who.Arn, *who.Account, *who.UserId)
	}
	name, value := "app/db", canary
	if _, err := secretsmanager.NewFromConfig(config).CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value}); err != nil {
		t.Fatal(err)
	}
	provider := stscreds.NewAssumeRoleProvider(sdk.NewFromConfig(config), "arn:aws:iam::123456789012:role/app", func(o *stscreds.AssumeRoleOptions) {
		o.RoleSessionName, o.Duration = "web-1", 20*time.Minute
		o.Tags = []types.Tag{{Key: aws.String("team"), Value: aws.String("blue + green")}}
	})
	session := config
	session.Credentials = aws.NewCredentialsCache(provider)
	got, err := secretsmanager.NewFromConfig(session).GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: &name})
	if err != nil || *got.SecretString != value {
		t.Fatalf("%v", err)
	}
	c, err := session.Credentials.Retrieve(ctx)
	if left := time.Until(c.Expires); err != nil || left > 20*time.Minute || left < 19*time.Minute || c.SessionToken == "" {
		t.Errorf("%v, good for %v", err, left)
	}
	who, err = sdk.NewFromConfig(session).GetCallerIdentity(ctx, nil)
	if err != nil || *who.Arn != "arn:aws:sts::123456789012:assumed-role/app/web-1" || !strings.HasSuffix(*who.UserId, ":web-1") {
		t.Errorf("%v %v", err, who)
	}

	code := func(err error) string {
		var e smithy.APIError
		if !errors.As(err, &e) {
			return fmt.Sprint(err)
		}
		return e.ErrorCode()
	}
	assume := func(c aws.Config, role string) string {
		_, err := sdk.NewFromConfig(c).AssumeRole(ctx, &sdk.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/" + role), RoleSessionName: aws.String("me")})
		return code(err)
	}
	forged := config
	forged.Credentials = credentials.NewStaticCredentialsProvider(ann.AccessKeyID, "another", "")
	for what, is := range map[string][2]string{
		"a role that trusts another":  {assume(config, "closed"), "AccessDenied"},
		"no role":                     {assume(config, "nowhere"), "AccessDenied"},
		"a role from a session of it": {assume(session, "closed"), "AccessDenied"},
		"a forged signature":          {assume(forged, "app"), "SignatureDoesNotMatch"},
	} {
		if is[0] != is[1] {
			t.Errorf("%s: %s, want %s", what, is[0], is[1])
		}
	}
	for what, secret := range map[string]string{"a secret access key": ann.Secret.Reveal(), "another": c.SecretAccessKey, "a session token": c.SessionToken} {
		if strings.Contains(r.log.String(), secret) {
			t.Errorf("%s is in the log", what)
		}
	}
}

// The real command line.
func TestSTSWithTheCommandLine(t *testing.T) {
	path, err := exec.LookPath("aws")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("there is no AWS command line (aws) in PATH: run `make servers`")
		}
		t.Skip("there is no AWS command line (aws) in PATH")
	}
	r, ann := trusting(t)
	aws := func(args ...string) (map[string]any, string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), path, append([]string{"sts", "--endpoint-url", "http://" + r.addr, "--output", "json"}, args...)...)
		for _, v := range os.Environ() {
			if !strings.HasPrefix(v, "AWS_") && !strings.HasPrefix(strings.ToLower(v), "http") {
				cmd.Env = append(cmd.Env, v)
			}
		}
		cmd.Env = append(cmd.Env, "AWS_ACCESS_KEY_ID="+ann.AccessKeyID, "AWS_SECRET_ACCESS_KEY="+ann.Secret.Reveal(), "AWS_DEFAULT_REGION=us-east-1",
			"AWS_CONFIG_FILE=/dev/null", "AWS_SHARED_CREDENTIALS_FILE=/dev/null", "AWS_MAX_ATTEMPTS=1", "AWS_EC2_METADATA_DISABLED=true", "AWS_PAGER=")
		var out, stderr bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &stderr
		_ = cmd.Run()
		m := map[string]any{}
		_ = json.Unmarshal(out.Bytes(), &m)
		return m, stderr.String()
	}
	if m, stderr := aws("get-caller-identity"); m["Arn"] != ann.ARN || m["UserId"] != ann.UserID || m["Account"] != access.DevAccount {
		t.Errorf("%v %s", m, stderr)
	}
	m, stderr := aws("assume-role", "--role-arn", "arn:aws:iam::123456789012:role/app", "--role-session-name", "me", "--tags", "Key=team,Value=blue")
	c, _ := m["Credentials"].(map[string]any)
	if id, _ := c["AccessKeyId"].(string); !strings.HasPrefix(id, "ASIA") || c["SessionToken"] == "" || fmt.Sprint(m["AssumedRoleUser"].(map[string]any)["Arn"]) != "arn:aws:sts::123456789012:assumed-role/app/me" {
		t.Errorf("%d members, %s", len(c), stderr)
	}
}
