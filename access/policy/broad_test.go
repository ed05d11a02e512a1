package policy

import (
	"strings"
	"testing"
	"time"
)

func parsed(t *testing.T, document string) Document {
	t.Helper()
	d, err := ParseResource(document)
	if err != nil {
		t.Fatalf("%s: %v", document, err)
	}
	return d
}

func TestPublic(t *testing.T) {
	const (
		org   = "aws:PrincipalOrgID"
		fence = `{"Effect": "Deny", "Principal": "*", "Action": "secretsmanager:*", "Resource": "*", "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}}`
	)
	for _, c := range []struct {
		name     string
		document string
		public   bool
	}{
		{"everybody", document(allow("")), true},
		{"everybody in a list", allowTo(`{"AWS": ["111122223333", "*"]}`), true},
		{"an account", allowTo(`{"AWS": "111122223333"}`), false},
		{"a service", allowTo(`{"Service": "lambda.amazonaws.com"}`), false},
		{"a Deny for everybody", document(strings.Replace(allow(""), "Allow", "Deny", 1)), false},
		{"all but one", document(`{"Effect": "Allow", "NotPrincipal": {"AWS": "111122223333"}, "Action": "*", "Resource": "*"}`), true},
		{"a Deny for all but one", document(`{"Effect": "Deny", "NotPrincipal": {"AWS": "111122223333"}, "Action": "*", "Resource": "*"}`), false},
		{"the second statement", document(`{"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "*", "Resource": "*"}`, allow("")), true},
		{"an empty condition", document(allow(`, "Condition": {}`)), true},

		{"SourceArn", document(condition("ArnLike", "aws:SourceArn", `"arn:aws:lambda:us-east-1:111122223333:function:f"`)), false},
		{"SourceAccount", document(condition("StringEquals", "aws:SourceAccount", `"111122223333"`)), false},
		{"SourceAccount as a number", document(condition("StringEquals", "aws:SourceAccount", `111122223333`)), false},
		{"SourceVpc", document(condition("StringEquals", "aws:SourceVpc", `"vpc-1"`)), false},
		{"SourceVpce", document(condition("StringEqualsIgnoreCase", "AWS:sourcevpce", `["vpce-1", "vpce-2"]`)), false},
		{"PrincipalOrgID", document(condition("StringEquals", org, `"o-abc"`)), false},
		{"PrincipalArn", document(condition("ArnEquals", "aws:PrincipalArn", `"arn:aws:iam::111122223333:role/r"`)), false},
		{"PrincipalAccount", document(condition("StringLike", "aws:PrincipalAccount", `"111122223333"`)), false},
		{"ForAnyValue", document(condition("ForAnyValue:StringEquals", org, `"o-abc"`)), false},
		{"SourceIp", document(condition("IpAddress", "aws:SourceIp", `["203.0.113.0/24", "10.0.0.0/8", "2001:db8::/32", "198.51.100.7"]`)), false},
		{"narrow beside wide", document(allow(`, "Condition": {"Bool": {"aws:SecureTransport": true}, "StringLike": {"aws:SourceVpc": "*"}, "StringEquals": {"aws:SourceAccount": "1"}}`)), false},

		{"another key", document(condition("StringEquals", "aws:PrincipalTag/team", `"a"`)), true},
		{"SecureTransport", document(condition("Bool", "aws:SecureTransport", `true`)), true},
		{"a wildcard", document(condition("StringLike", org, `"o-*"`)), true},
		{"a wildcard among others", document(condition("ArnLike", "aws:SourceArn", `["arn:aws:lambda:us-east-1:111122223333:function:f", "arn:aws:lambda:us-east-1:*:function:f"]`)), true},
		{"a question mark", document(condition("StringLike", "aws:SourceAccount", `"11112222333?"`)), true},
		{"a variable", document(condition("StringEquals", "aws:SourceVpc", `"${aws:SourceVpc}"`)), true},
		{"an empty value", document(condition("StringEquals", org, `""`)), true},
		{"negated", document(condition("StringNotEquals", org, `"o-abc"`)), true},
		{"IfExists", document(condition("StringEqualsIfExists", "aws:SourceVpce", `"vpce-1"`)), true},
		{"ForAllValues", document(condition("ForAllValues:StringEquals", org, `"o-abc"`)), true},
		{"Null", document(condition("Null", org, `"false"`)), true},
		{"SourceIp as text", document(condition("StringEquals", "aws:SourceIp", `"203.0.113.7"`)), true},
		{"the whole Internet", document(condition("IpAddress", "aws:SourceIp", `"0.0.0.0/0"`)), true},
		{"half of it", document(condition("IpAddress", "aws:SourceIp", `["203.0.113.0/24", "128.0.0.0/7"]`)), true},
		{"all of IPv6", document(condition("IpAddress", "aws:SourceIp", `"::/0"`)), true},
		{"much of IPv6", document(condition("IpAddress", "aws:SourceIp", `"2001::/31"`)), true},
		{"all of IPv4 as IPv6", document(condition("IpAddress", "aws:SourceIp", `"::ffff:0:0/96"`)), true},
		{"some of IPv4 as IPv6", document(condition("IpAddress", "aws:SourceIp", `"::ffff:10.0.0.0/104"`)), false},
		{"NotIpAddress", document(condition("NotIpAddress", "aws:SourceIp", `"203.0.113.0/24"`)), true},

		{"fenced by a Deny", document(allow(""), fence), false},
		{"fenced before", document(fence, allow("")), false},
		{"fenced by the same actions", document(allow(""), strings.Replace(fence, "secretsmanager:*", "secretsmanager:Get*", 1)), false},
		{"fenced by addresses", document(allow(""), strings.Replace(fence, `"StringNotEquals": {"aws:SourceVpce": "vpce-1"}`, `"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}`, 1)), false},
		{"fenced by either of two keys", document(allow(""), strings.Replace(fence, `"vpce-1"}`, `"vpce-1", "aws:PrincipalOrgID": "o-abc"}`, 1)), false},
		{"fenced on other actions", document(allow(""), strings.Replace(fence, "secretsmanager:*", "secretsmanager:Put*", 1)), true},
		{"fenced on another secret", document(allow(""), strings.Replace(fence, `"Resource": "*"`, `"Resource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:x-AbCdEf"`, 1)), true},
		{"fenced for some", document(allow(""), strings.Replace(fence, `"*"`, `{"AWS": "111122223333"}`, 1)), true},
		{"fenced with a gate", document(allow(""), strings.Replace(fence, "vpce-1", "vpce-*", 1)), true},
		{"fenced with another gate", document(allow(""), strings.Replace(fence, `"vpce-1"}`, `"vpce-1", "aws:PrincipalTag/x": "y"}`, 1)), true},
		{"fenced the wrong way round", document(allow(""), strings.Replace(fence, "StringNotEquals", "StringEquals", 1)), true},
		{"fenced for keys that are there", document(allow(""), strings.Replace(fence, "StringNotEquals", "ForAnyValue:StringNotEquals", 1)), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			public, why := parsed(t, c.document).Public()
			if public != c.public || public != (why != "") {
				t.Errorf("public %v (%s)", public, why)
			}
		})
	}
	for document, want := range map[string]string{
		document(allow("")): "Statement[0] allows everybody, and no condition narrows that to fixed values of a key like aws:PrincipalOrgID",
		document(`{"Effect": "Allow", "NotPrincipal": {"AWS": "111122223333"}, "Action": "*", "Resource": "*"}`): "Statement[0] allows everybody but a few (NotPrincipal), and no condition narrows that to fixed values of a key like aws:PrincipalOrgID",
		document(condition("StringLike", org, `"o-*"`)):                                                          "Statement[0] allows everybody, and its StringLike of aws:PrincipalOrgID does not narrow that to fixed values",
	} {
		if _, why := parsed(t, document).Public(); why != want {
			t.Errorf("got %s, want %s", why, want)
		}
	}
}

// The analysis of the worst policy that fits must not hold a server up.
func TestALongPolicy(t *testing.T) {
	allowed := strings.Repeat(`{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"},`, 80)
	denied := strings.Repeat(`{"Effect":"Deny","Principal":"*","Action":"secretsmanager:*a*e*e*e*e*e*x","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpc":"v"}}},`, 100)
	d := parsed(t, document(allowed+denied+`{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringNotEquals":{"aws:SourceVpc":"v"}}}`))
	start := time.Now()
	if public, why := d.Public(); public {
		t.Error(why)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestLocksOut(t *testing.T) {
	const (
		account = "111122223333"
		arn     = "arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/db-AbCdEf"
	)
	deny := func(principal, action, resource, more string) string {
		return `{"Effect": "Deny", ` + principal + `, ` + action + `, ` + resource + more + `}`
	}
	const (
		all    = `"Principal": "*"`
		every  = `"Action": "secretsmanager:*"`
		secret = `"Resource": "*"`
	)
	for _, c := range []struct {
		name     string
		document string
		locked   bool
		by       string
	}{
		{"everything for everybody", document(deny(all, every, secret, "")), true, "Statement[0]"},
		{"by number", document(deny(`"Principal": {"AWS": ["444455556666", "111122223333"]}`, every, secret, "")), true, "Statement[0]"},
		{"by root", document(deny(`"Principal": {"AWS": "arn:aws:iam::111122223333:root"}`, `"Action": "*"`, secret, "")), true, "Statement[0]"},
		{"both operations", document(deny(all, `"Action": ["secretsmanager:putresourcepolicy", "secretsmanager:Delete*Policy"]`, secret, "")), true, "Statement[0]"},
		{"in two statements", document(deny(all, `"Action": "secretsmanager:PutResourcePolicy"`, secret, ""), allow(""), deny(all, `"Action": "secretsmanager:DeleteResourcePolicy"`, secret, "")), true, "Statement[0] and Statement[2]"},
		{"all actions but one", document(deny(all, `"NotAction": "secretsmanager:GetSecretValue"`, secret, "")), true, "Statement[0]"},
		{"everybody but another account", document(deny(`"NotPrincipal": {"AWS": "444455556666"}`, every, secret, "")), true, "Statement[0]"},
		{"this very secret", document(deny(all, every, `"Resource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/*"`, "")), true, "Statement[0]"},
		{"every other secret", document(deny(all, every, `"NotResource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:dev/*"`, "")), true, "Statement[0]"},

		{"an Allow", document(allow("")), false, ""},
		{"another account", document(deny(`"Principal": {"AWS": "444455556666"}`, every, secret, "")), false, ""},
		{"one role", document(deny(`"Principal": {"AWS": "arn:aws:iam::111122223333:role/r"}`, every, secret, "")), false, ""},
		{"everybody but root", document(deny(`"NotPrincipal": {"AWS": "arn:aws:iam::111122223333:root"}`, every, secret, "")), false, ""},
		{"everybody but a role", document(deny(`"NotPrincipal": {"AWS": ["444455556666", "arn:aws:iam::111122223333:role/r"]}`, every, secret, "")), false, ""},
		{"reading", document(deny(all, `"Action": "secretsmanager:Get*"`, secret, "")), false, ""},
		{"only replacing", document(deny(all, `"Action": "secretsmanager:PutResourcePolicy"`, secret, "")), false, ""},
		{"all actions but deleting it", document(deny(all, `"NotAction": "secretsmanager:DeleteResourcePolicy"`, secret, "")), false, ""},
		{"with a condition", document(deny(all, every, secret, `, "Condition": {"StringNotEquals": {"aws:SourceVpce": "vpce-1"}}`)), false, ""},
		{"another secret", document(deny(all, every, `"Resource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:dev/*"`, "")), false, ""},
		{"every secret but this", document(deny(all, every, `"NotResource": "arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/*"`, "")), false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			locked, why := parsed(t, c.document).LocksOut(account, arn)
			want := ""
			if c.locked {
				want = c.by + " denies everybody in account 111122223333 to change this policy again"
			}
			if locked != c.locked || why != want {
				t.Errorf("locked %v: %s", locked, why)
			}
		})
	}
	// A secret that is not known yet is only surely meant by "*".
	for resource, want := range map[string]bool{secret: true, `"Resource": "arn:aws:secretsmanager:*:*:secret:*"`: false, `"NotResource": "arn:aws:secretsmanager:*:*:secret:x"`: false} {
		if locked, _ := parsed(t, document(deny(all, every, resource, ""))).LocksOut(account, ""); locked != want {
			t.Errorf("%s: locked %v", resource, locked)
		}
	}
}
