package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// document is a policy of the statements.
func document(statements ...string) string {
	return `{"Version": "2012-10-17", "Statement": [` + strings.Join(statements, ",") + `]}`
}

// statement1 is an Allow for everybody with further elements.
func allow(more string) string {
	return `{"Effect": "Allow", "Principal": "*", "Action": "secretsmanager:GetSecretValue", "Resource": "*"` + more + `}`
}

func condition(operator, key, value string) string {
	return allow(`, "Condition": {"` + operator + `": {"` + key + `": ` + value + `}}`)
}

func TestParse(t *testing.T) {
	got, err := Parse(`
	{
	  "Id": "an id",
	  "Statement": [
	    {"Sid": "Read it", "Effect": "Allow", "Principal": {"AWS": ["111122223333", "*"], "Service": "lambda.amazonaws.com", "Federated": "x", "CanonicalUser": ["y"]},
	     "Action": ["secretsmanager:Get*", "*"], "NotResource": "arn:aws:secretsmanager:*:*:secret:a/?-??????"},
	    {"Sid": "", "Effect": "Deny", "NotPrincipal": "*", "NotAction": "s3:GetObject", "Condition": {
	      "stringequals": {"aws:PrincipalTag/team": "a"},
	      "ForAnyValue:StringLikeIfExists": {"aws:TagKeys": ["x*", "y"]},
	      "NumericLessThan": {"a:b": [1.50, "2"]}, "Bool": {"aws:SecureTransport": true}, "Null": {"a:c": "false"}, "StringLike": {}}},
	    {"Effect": "Allow", "Action": "*:*", "Resource": "*", "Condition": {}}
	  ]
	}`)
	want := Document{Version: Version2008, ID: "an id", Statements: []Statement{
		{
			Sid: "Read it", Effect: Allow,
			Principal: &Principals{AWS: []string{"111122223333", "*"}, Service: []string{"lambda.amazonaws.com"}, Federated: []string{"x"}, CanonicalUser: []string{"y"}},
			Action:    []string{"secretsmanager:Get*", "*"}, NotResource: []string{"arn:aws:secretsmanager:*:*:secret:a/?-??????"},
		},
		{
			Effect: Deny, NotPrincipal: &Principals{AWS: []string{"*"}}, NotAction: []string{"s3:GetObject"},
			Conditions: []Condition{
				{Operator{Name: "StringEquals"}, "aws:PrincipalTag/team", []string{"a"}},
				{Operator{ForAnyValue, "StringLike", true}, "aws:TagKeys", []string{"x*", "y"}},
				{Operator{Name: "NumericLessThan"}, "a:b", []string{"1.50", "2"}},
				{Operator{Name: "Bool"}, "aws:SecureTransport", []string{"true"}},
				{Operator{Name: "Null"}, "a:c", []string{"false"}},
			},
		},
		{Effect: Allow, Action: []string{"*:*"}, Resource: []string{"*"}},
	}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
	one, err := Parse(`{"Version": "2012-10-17", "Statement": ` + allow("") + `}`)
	if err != nil || len(one.Statements) != 1 || one.Version != Version2012 {
		t.Errorf("a statement that is no list: %+v, %v", one, err)
	}
}

func TestWhatParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, document, want string }{
		{"nothing", "", "the policy is not JSON: unexpected end of JSON input"},
		{"no JSON", "hello", "the policy is not JSON: invalid character 'h' looking for beginning of value (line 1, column 1)"},
		{"a comma too many", "{\n  \"Statement\": [],\n}", "the policy is not JSON: invalid character '}' looking for beginning of object key string (line 3, column 1)"},
		{"two documents", document(allow("")) + "{}", "the policy is not JSON: invalid character '{' after top-level value (line 1, column 140)"},
		{"not UTF-8", "{\"Id\": \"\xff\"}", "the policy is not valid UTF-8"},
		{"a list", "[]", "the policy is a list where an object is needed"},
		{"a text", `"x"`, "the policy is a text where an object is needed"},
		{"null", "null", "the policy is null where an object is needed"},
		{"too long", strings.Repeat(" ", maxBytes) + "{", "the policy has 81921 bytes, more than 81920"},
		{"too deep", document(condition("StringEquals", "a:b", `[["x"]]`)), "Statement[0].Condition.StringEquals.a:b[0] is nested too deep"},
		{"much too deep", `{"Statement":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}", "Statement[0][0][0][0][0] is nested too deep"},
		{"unknown element", `{"statement": []}`, "statement is no element of a policy here (Version, Id, Statement; upper and lower case matter)"},
		{"no Statement", `{"Version": "2012-10-17"}`, "the policy has no Statement"},
		{"no statements", document(), "Statement is an empty list"},
		{"a statement that is none", document(`"x"`), "Statement[0] is a text where an object is needed"},
		{"Version", `{"Version": "2019-10-19", "Statement": []}`, `Version is "2019-10-19"; write "2012-10-17"`},
		{"Version as a number", `{"Version": 2012, "Statement": []}`, "Version is a number where a text is needed"},
		{"Id", `{"Id": {}, "Statement": []}`, "Id is an object where a text is needed"},
		{"twice", `{"Id": "a", "Id": "a"}`, "Id is there twice"},
		{"twice in a condition", document(allow(`, "Condition": {"Bool": {"a:b": true, "a:b": false}}`)), "Statement[0].Condition.Bool.a:b is there twice"},
		{"unknown in a statement", document(allow(`, "effect": "Deny"`)), "Statement[0].effect is no element of a policy here (Sid, Effect, Principal, NotPrincipal, Action, NotAction, Resource, NotResource, Condition; upper and lower case matter)"},
		{"Effect", document(`{"Effect": "AllowSomething"}`), `Statement[0].Effect is "AllowSomething", neither Allow nor Deny`},
		{"Effect in lower case", document(`{"Effect": "allow"}`), `Statement[0].Effect is "allow", neither Allow nor Deny`},
		{"no Effect", document(allow(""), `{"Principal": "*", "Action": "*", "Resource": "*"}`), "Statement[1] has no Effect"},
		{"no Action", document(`{"Effect": "Allow", "Principal": "*", "Resource": "*"}`), "Statement[0] has no Action"},
		{"two Actions", document(allow(`, "NotAction": "*"`)), "Statement[0] has both Action and NotAction"},
		{"two Resources", document(allow(`, "NotResource": "*"`)), "Statement[0] has both Resource and NotResource"},
		{"two Principals", document(allow(`, "NotPrincipal": "*"`)), "Statement[0] has both Principal and NotPrincipal"},
		{"the same Sid", document(allow(`, "Sid": "a"`), allow(`, "Sid": "a"`)), `Statement[1] has the Sid "a" of another statement`},
		{"Sid", document(allow(`, "Sid": 1`)), "Statement[0].Sid is a number where a text is needed"},
		{"an action of no service", document(`{"Effect": "Allow", "Action": "GetSecretValue"}`), `Statement[0].Action has "GetSecretValue", which is not * or service:action`},
		{"an action of any service", document(`{"Effect": "Allow", "Action": "*:Get*"}`), `Statement[0].Action has "*:Get*", which is not * or service:action`},
		{"two colons", document(`{"Effect": "Allow", "Action": "a:b:c"}`), `Statement[0].Action has "a:b:c", which is not * or service:action`},
		{"a long action", document(`{"Effect": "Allow", "Action": "` + strings.Repeat("é", 70) + `"}`), `Statement[0].Action has "` + strings.Repeat("é", 64) + `…", which is not * or service:action`},
		{"an empty action", document(`{"Effect": "Allow", "Action": ["*", ""]}`), "Statement[0].Action[1] is empty"},
		{"no actions", document(`{"Effect": "Allow", "Action": []}`), "Statement[0].Action is an empty list"},
		{"an action that is no text", document(`{"Effect": "Allow", "Action": {"a": "b"}}`), "Statement[0].Action is an object where a text is needed"},
		{"a name for a resource", document(`{"Effect": "Allow", "Action": "*", "Resource": "prod/db"}`), `Statement[0].Resource has "prod/db", which is not * or an ARN`},
		{"half an ARN", document(`{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:*"}`), `Statement[0].NotResource has "arn:aws:*", which is not * or an ARN`},
		{"a principal without a kind", document(`{"Effect": "Allow", "Principal": "111122223333"}`), `Statement[0].Principal is "111122223333"; write "*" or {"AWS": …}`},
		{"a list of principals", document(`{"Effect": "Allow", "Principal": ["*"]}`), "Statement[0].Principal is a list where an object is needed"},
		{"nobody", document(`{"Effect": "Allow", "NotPrincipal": {}}`), "Statement[0].NotPrincipal names nobody"},
		{"a kind of principal", document(`{"Effect": "Allow", "Principal": {"aws": "*"}}`), "Statement[0].Principal.aws is no element of a policy here (AWS, Service, Federated, CanonicalUser; upper and lower case matter)"},
		{"no principals", document(`{"Effect": "Allow", "Principal": {"AWS": []}}`), "Statement[0].Principal.AWS is an empty list"},
		{"a condition that is none", document(allow(`, "Condition": "x"`)), "Statement[0].Condition is a text where an object is needed"},
		{"an operator's keys", document(allow(`, "Condition": {"Bool": true}`)), "Statement[0].Condition.Bool is a boolean where an object is needed"},
		{"operator", document(condition("StringSame", "a:b", `"x"`)), "Statement[0].Condition.StringSame is no condition operator"},
		{"set operator", document(condition("ForNoValue:StringEquals", "a:b", `"x"`)), "Statement[0].Condition.ForNoValue:StringEquals is no condition operator"},
		{"NullIfExists", document(condition("NullIfExists", "a:b", `true`)), "Statement[0].Condition.NullIfExists is no condition operator"},
		{"key", document(condition("StringEquals", "SourceIp", `"x"`)), "Statement[0].Condition.StringEquals.SourceIp is no condition key (aws:SourceIp)"},
		{"no values", document(condition("StringEquals", "a:b", `[]`)), "Statement[0].Condition.StringEquals.a:b is an empty list"},
		{"null for a value", document(condition("StringEquals", "a:b", `[null]`)), "Statement[0].Condition.StringEquals.a:b[0] is null where a text is needed"},
		{"an object for a value", document(condition("StringEquals", "a:b", `{}`)), "Statement[0].Condition.StringEquals.a:b is an object where a text is needed"},
		{"number", document(condition("NumericEquals", "a:b", `"many"`)), `Statement[0].Condition.NumericEquals.a:b is "many", which is not a number`},
		{"infinity", document(condition("NumericEquals", "a:b", `"Inf"`)), `Statement[0].Condition.NumericEquals.a:b is "Inf", which is not a number`},
		{"date", document(condition("DateLessThan", "aws:CurrentTime", `["2026-03-04", "soon"]`)), `Statement[0].Condition.DateLessThan.aws:CurrentTime[1] is "soon", which is not a date (2026-03-04T10:20:30Z)`},
		{"boolean", document(condition("Bool", "a:b", `"yes"`)), `Statement[0].Condition.Bool.a:b is "yes", which is not true or false`},
		{"binary", document(condition("BinaryEquals", "a:b", `"?"`)), `Statement[0].Condition.BinaryEquals.a:b is "?", which is not base64`},
		{"address", document(condition("IpAddress", "aws:SourceIp", `"10.0.0.0/33"`)), `Statement[0].Condition.IpAddress.aws:SourceIp is "10.0.0.0/33", which is not an IP address or a range of them (203.0.113.0/24)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Parse(c.document)
			var e *Error
			if !errors.As(err, &e) || e.Cause != Syntax || err.Error() != c.want {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestOperators(t *testing.T) {
	samples := map[family]string{
		ofText: `"x"`, ofNumbers: `[1, "-2.5e3"]`, ofDates: `["2026", "2026-03", "2026-03-04", "2026-03-04T10:20Z", "2026-03-04T10:20:30+01:00", "1772619630", 1772619630]`,
		ofBooleans: `[true, "False", "${a:b}"]`, ofBinary: `"aGk="`, ofAddresses: `["203.0.113.7", "10.0.0.0/8", "2001:db8::/32"]`, ofARNs: `"arn:aws:iam::*:role/x"`,
	}
	if len(operators) != 27 {
		t.Errorf("%d operators; AWS has 27", len(operators))
	}
	for _, facts := range operators {
		for _, form := range []string{"", "ForAllValues:", "ForAnyValue:"} {
			for _, ifExists := range []string{"", "IfExists"} {
				if facts.name == "Null" && ifExists != "" {
					continue
				}
				name := form + facts.name + ifExists
				d, err := Parse(document(condition(name, "a:b", samples[facts.family])))
				if err != nil || d.Statements[0].Conditions[0].Operator.String() != name {
					t.Errorf("%s: %+v, %v", name, d, err)
				}
			}
		}
		if op := (Operator{Name: facts.name}); op.Negated() != strings.Contains(strings.ToLower(facts.name), "not") {
			t.Errorf("%s: negated %v", op, op.Negated())
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"a", "A", false}, {"*", "", true}, {"*", "abc", true}, {"?", "", false}, {"?", "é", true},
		{"a*c", "abbc", true}, {"a*c", "abcd", false}, {"*b*", "abc", true}, {"a?c", "abc", true}, {"a?c", "ac", false}, {"**a**", "a", true},
		{"*-??????", "prod/db-AbCdEf", true}, {"*a*a*a*b", strings.Repeat("a", 500), false},
	} {
		if got := matches(c.pattern, c.s); got != c.want {
			t.Errorf("%s ~ %s: %v", c.pattern, c.s, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	seeds, err := filepath.Glob("testdata/*.json")
	if err != nil || len(seeds) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, name := range seeds {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(b))
	}
	f.Add("")
	f.Add(document(condition("ForAllValues:IpAddressIfExists", "aws:SourceIp", `["::ffff:0:0/96", "1.2.3.4"]`)))
	f.Add(document(allow(`, "Sid": "\ud800"`)))
	f.Add(strings.Repeat("[", 20000) + strings.Repeat("]", 20000))
	f.Fuzz(func(t *testing.T, document string) {
		d, err := Parse(document)
		var e *Error
		if err != nil && (!errors.As(err, &e) || e.Error() == "" || e.AWS() == "") {
			t.Fatalf("not an *Error: %v", err)
		}
		r, rerr := ParseResource(document)
		if err != nil {
			if rerr == nil {
				t.Fatalf("ParseResource took what Parse refuses: %v", err)
			}
			return
		}
		// White space and a second reading change nothing.
		var compact bytes.Buffer
		if err := json.Compact(&compact, []byte(document)); err != nil {
			t.Fatalf("took what is not JSON: %v", err)
		}
		if again, err := Parse(compact.String()); err != nil || !reflect.DeepEqual(again, d) {
			t.Errorf("first %+v\nthen  %+v, %v", d, again, err)
		}
		if len(d.Statements) == 0 {
			t.Error("no statement")
		}
		if rerr == nil {
			public, why := r.Public()
			locked, by := r.LocksOut("123456789012", "arn:aws:secretsmanager:us-east-1:123456789012:secret:s-AbCdEf")
			if public != (why != "") || locked != (by != "") {
				t.Errorf("public %v %q, locked %v %q", public, why, locked, by)
			}
		}
	})
}
