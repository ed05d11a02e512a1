package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pawlhq/pawl/secrets"
)

const shop = "arn:aws:lambda:us-east-1:123456789012:function:rotate-shop"

func TestFunctions(t *testing.T) {
	for text, want := range map[string]*Functions{
		"":                       nil,
		"functions:":             nil,
		"functions: {}":          {},
		"functions: {allow: []}": {Allow: []string{}},
		"functions: {endpoint: 'http://localhost:9001', profile: p, allow: ['arn:aws:lambda:*:rotate-*', 'arn:aws-cn:lambda:cn-north-1:123456789012:function:a:$LATEST']}": {
			Endpoint: "http://localhost:9001", Profile: "p",
			Allow: []string{"arn:aws:lambda:*:rotate-*", "arn:aws-cn:lambda:cn-north-1:123456789012:function:a:$LATEST"},
		},
		"functions: {named: [{name: crm, command: [bin/rotate, --prod], timeout: 1s, environment: [A=, B=b=c, C], role: app@x}, {name: url_2, url: 'https://a/b', key_file: k}, {name: here, url: 'http://[::1]:80/', key_file: /k}]}": {
			Named: []Function{
				{Name: "crm", Command: []string{"/etc/bin/rotate", "--prod"}, Timeout: time.Second, Environment: []string{"A=", "B=b=c", "C"}, Role: "app@x"},
				{Name: "url_2", URL: "https://a/b", KeyFile: "/etc/k", Timeout: 15 * time.Minute},
				{Name: "here", URL: "http://[::1]:80/", KeyFile: "/k", Timeout: 15 * time.Minute},
			},
		},
	} {
		c, err := parse([]byte(minimal+text+"\n"), "pawl.yaml", "/etc/pawl.yaml")
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if diff := cmp.Diff(want, c.Functions); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

// TestFunctionOfEntry: the rules say which function and when, whatever the
// defaults say of how Pawl itself would do it.
func TestFunctionOfEntry(t *testing.T) {
	c := mustLoad(t, minimal+`
account: 210987654321
region: cn-north-1
defaults:
  strategy: alternating-users
  schedule: rate(30 days)
  window: 3h
  propagation_timeout: 1m
  tls: {mode: require}
  plain_password: allow
  password: {length: 20}
functions:
  allow: ["arn:aws:lambda:us-east-1:123456789012:function:rotate-*"]
  named:
    - {name: crm, command: [rotate]}
secrets:
  - {name: short, function: crm}
  - {name: whole, function: "arn:aws-cn:lambda:cn-north-1:210987654321:function:crm"}
  - {name: lambda, function: "`+shop+`", schedule: rate(1 day), window: 1h}
  - {name: version, function: "`+shop+`:7", schedule: , window: }
`)
	const crm = "arn:aws-cn:lambda:cn-north-1:210987654321:function:crm"
	for i, want := range []secrets.RotationRules{
		{Strategy: secrets.Function, Function: crm, Schedule: "rate(30 days)", Window: "3h"},
		{Strategy: secrets.Function, Function: crm, Schedule: "rate(30 days)", Window: "3h"},
		{Strategy: secrets.Function, Function: shop, Schedule: "rate(1 day)", Window: "1h"},
		{Strategy: secrets.Function, Function: shop + ":7"},
	} {
		if diff := cmp.Diff(want, c.Secrets[i].Rules); diff != "" {
			t.Errorf("%s: %s", c.Secrets[i].Name, diff)
		}
	}
	if c.FunctionARN("crm") != crm {
		t.Errorf("FunctionARN = %s", c.FunctionARN("crm"))
	}
	if f, ok := c.NamedFunction(crm); !ok || f.Name != "crm" {
		t.Errorf("NamedFunction = %+v, %v", f, ok)
	}
	for _, other := range []string{crm + ":1", shop, "crm", ""} {
		if _, ok := c.NamedFunction(other); ok {
			t.Errorf("%q is a named function", other)
		}
	}
}

// TestFunctionsAccepted are entries that need no word in functions.allow.
func TestFunctionsAccepted(t *testing.T) {
	for _, text := range []string{
		"functions: {}\nsecrets: [{name: a, function: '" + shop + "'}]\n",
		"functions: {allow: [], named: [{name: crm, command: [a]}]}\nsecrets: [{name: a, function: crm}]\n",
		// A Lambda function may have a name like this; only the two are Pawl's own.
		"functions: {}\nsecrets: [{name: a, function: 'arn:aws:lambda:us-east-1:123456789012:function:pawl-rotation'}]\n",
		"functions: {}\nsecrets: [{name: a, function: 'arn:aws:lambda:us-east-1:123456789012:function:pawl-single-user:live'}]\n",
	} {
		if _, err := parse([]byte(minimal+text), "pawl.yaml", "/pawl.yaml"); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestAllows(t *testing.T) {
	some := &Functions{Allow: []string{"arn:aws:lambda:*:123456789012:function:rotate-*"}}
	for _, c := range []struct {
		functions *Functions
		arn       string
		want      bool
	}{
		{nil, shop, false}, {&Functions{}, shop, true}, {&Functions{Allow: []string{}}, shop, false},
		{some, shop, true}, {some, shop + ":live", true},
		{some, "arn:aws:lambda:us-east-1:210987654321:function:rotate-shop", false},
		{some, "arn:aws:lambda:us-east-1:123456789012:function:shop", false},
	} {
		if got := c.functions.Allows(c.arn); got != c.want {
			t.Errorf("%+v allows %s: %v", c.functions, c.arn, got)
		}
	}
}

func TestEvents(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "events:": "", "events: {}": "", "events: {file: e.jsonl}": "/etc/e.jsonl", "events: {file: /var/log/e}": "/var/log/e",
	} {
		c, err := parse([]byte(minimal+text+"\n"), "pawl.yaml", "/etc/pawl.yaml")
		if err != nil || c.Events.File != want {
			t.Errorf("%s: %+v, %v", text, c, err)
		}
	}
}
