package policy

import "testing"

type conditionCase struct {
	condition string // operators, keys, values
	context   Context
	want      bool
}

// What a condition of alice's Allow says of a context. A Deny with the same
// condition must say the same, but where the group says that it is strict.
var conditionGroups = []struct {
	rule, source string
	strict       bool // what is uncertain holds in a Deny and not in an Allow: want is of the Allow, a Deny always holds
	cases        []conditionCase
}{
	{"strings", "IAM user guide, Condition operators: String", false, []conditionCase{
		{`{"StringEquals": {"a:b": "x"}}`, ctx("a:b", "x"), true},
		{`{"StringEquals": {"a:b": "x"}}`, ctx("a:b", "X"), false},
		{`{"StringEquals": {"a:b": "x*"}}`, ctx("a:b", "xy"), false},
		{`{"StringEquals": {"a:b": "x*"}}`, ctx("a:b", "x*"), true},
		{`{"StringEquals": {"a:b": ["w", "x"]}}`, ctx("a:b", "x"), true},
		{`{"StringEquals": {"a:b": "x"}}`, ctx(), false},
		{`{"StringEquals": {"a:b": 5}}`, ctx("a:b", "5"), true},
		{`{"StringNotEquals": {"a:b": "x"}}`, ctx("a:b", "y"), true},
		{`{"StringNotEquals": {"a:b": "x"}}`, ctx("a:b", "x"), false},
		{`{"StringNotEquals": {"a:b": ["w", "x"]}}`, ctx("a:b", "x"), false},
		{`{"StringNotEquals": {"a:b": ["w", "x"]}}`, ctx("a:b", "y"), true},
		{`{"StringNotEquals": {"a:b": "x"}}`, ctx(), true},
		{`{"StringEqualsIgnoreCase": {"a:b": "xY"}}`, ctx("a:b", "Xy"), true},
		{`{"StringEqualsIgnoreCase": {"a:b": "É"}}`, ctx("a:b", "é"), true},
		{`{"StringEqualsIgnoreCase": {"a:b": "xY"}}`, ctx("a:b", "Xz"), false},
		{`{"StringEqualsIgnoreCase": {"a:b": "x*"}}`, ctx("a:b", "Xz"), false},
		{`{"StringNotEqualsIgnoreCase": {"a:b": "xY"}}`, ctx("a:b", "Xy"), false},
		{`{"StringNotEqualsIgnoreCase": {"a:b": "xY"}}`, ctx(), true},
		{`{"StringLike": {"a:b": "x*z"}}`, ctx("a:b", "xyyz"), true},
		{`{"StringLike": {"a:b": "x?z"}}`, ctx("a:b", "xyz"), true},
		{`{"StringLike": {"a:b": "x?z"}}`, ctx("a:b", "xz"), false},
		{`{"StringLike": {"a:b": "X*"}}`, ctx("a:b", "xy"), false},
		{`{"StringLike": {"a:b": "*"}}`, ctx("a:b", ""), true},
		{`{"StringLike": {"a:b": "*"}}`, ctx(), false},
		{`{"StringNotLike": {"a:b": "x*"}}`, ctx("a:b", "xy"), false},
		{`{"StringNotLike": {"a:b": ["x*", "y*"]}}`, ctx("a:b", "zz"), true},
		{`{"StringNotLike": {"a:b": "x*"}}`, ctx(), true},
	}},
	{"keys", "IAM user guide, IAM JSON policy elements: Condition (keys without regard to case, all of them together)", false, []conditionCase{
		{`{"StringEquals": {"A:B": "x"}}`, ctx("a:b", "x"), true},
		{`{"StringEquals": {"a:b": "x"}}`, ctx("A:b", "x"), true},
		{`{"StringEquals": {"a:b": "x", "a:c": "y"}}`, ctx("a:b", "x", "a:c", "y"), true},
		{`{"StringEquals": {"a:b": "x", "a:c": "y"}}`, ctx("a:b", "x", "a:c", "z"), false},
		{`{"StringEquals": {"a:b": "x"}, "StringLike": {"a:c": "y*"}}`, ctx("a:b", "x", "a:c", "yy"), true},
		{`{"StringEquals": {"a:b": "x"}, "StringLike": {"a:c": "y*"}}`, ctx("a:b", "x"), false},
		{`{"StringEquals": {"secretsmanager:ResourceTag/Team": "x"}}`, ctx("secretsmanager:ResourceTag/team", "x"), true},
		{`{}`, ctx(), true},
		{`{"StringLike": {}}`, ctx(), true},
	}},
	{"the principal's keys", "IAM user guide, AWS global condition context keys", false, []conditionCase{
		{`{"StringEquals": {"aws:username": "alice"}}`, ctx(), true},
		{`{"StringEquals": {"aws:userid": "AIDAALICE"}}`, ctx(), true},
		{`{"StringEquals": {"aws:PrincipalType": "User"}}`, ctx(), true},
		{`{"StringEquals": {"aws:PrincipalAccount": "111122223333"}}`, ctx(), true},
		{`{"StringEquals": {"aws:PrincipalTag/team": "blue"}}`, ctx(), true},
		{`{"StringEquals": {"aws:principaltag/TEAM": "blue"}}`, ctx(), true},
		{`{"StringEquals": {"aws:PrincipalTag/cost": "blue"}}`, ctx(), false},
		{`{"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::111122223333:user/alice"}}`, ctx(), true},
		{`{"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}`, ctx(), true},
		{`{"StringEquals": {"aws:username": "eve"}}`, ctx("aws:username", "eve"), false},
		{`{"StringEquals": {"aws:PrincipalTag/cost": "1"}}`, ctx("aws:PrincipalTag/cost", "1"), false},
	}},
	{"numbers", "IAM user guide, Condition operators: Numeric", false, []conditionCase{
		{`{"NumericEquals": {"a:b": 7}}`, ctx("a:b", "7"), true},
		{`{"NumericEquals": {"a:b": "7"}}`, ctx("a:b", "7.0"), true},
		{`{"NumericEquals": {"a:b": [6, 7]}}`, ctx("a:b", "7"), true},
		{`{"NumericEquals": {"a:b": 7}}`, ctx("a:b", "8"), false},
		{`{"NumericNotEquals": {"a:b": 7}}`, ctx("a:b", "8"), true},
		{`{"NumericNotEquals": {"a:b": [7, 8]}}`, ctx("a:b", "8"), false},
		{`{"NumericNotEquals": {"a:b": 7}}`, ctx(), true},
		{`{"NumericLessThan": {"a:b": 7}}`, ctx("a:b", "6"), true},
		{`{"NumericLessThan": {"a:b": 7}}`, ctx("a:b", "7"), false},
		{`{"NumericLessThan": {"a:b": 10}}`, ctx("a:b", "9"), true},
		{`{"NumericLessThanEquals": {"a:b": 7}}`, ctx("a:b", "7"), true},
		{`{"NumericGreaterThan": {"a:b": 7}}`, ctx("a:b", "7"), false},
		{`{"NumericGreaterThan": {"a:b": -7}}`, ctx("a:b", "-6.5"), true},
		{`{"NumericGreaterThanEquals": {"a:b": 7}}`, ctx("a:b", "7"), true},
		{`{"NumericGreaterThanEquals": {"a:b": 7}}`, ctx(), false},
		{`{"NumericGreaterThanEquals": {"a:b": 7}}`, ctx("a:b", "many"), false},
	}},
	{"dates", "IAM user guide, Condition operators: Date", false, []conditionCase{
		{`{"DateEquals": {"aws:CurrentTime": "2026-03-04T10:20:30Z"}}`, ctx("aws:CurrentTime", "2026-03-04T11:20:30+01:00"), true},
		{`{"DateEquals": {"aws:EpochTime": "1772619630"}}`, ctx("aws:EpochTime", "1772619630"), true},
		{`{"DateEquals": {"aws:CurrentTime": "1772619630"}}`, ctx("aws:CurrentTime", "2026-03-04T10:20:30Z"), true},
		{`{"DateNotEquals": {"aws:CurrentTime": "2026-03-04"}}`, ctx("aws:CurrentTime", "2026-03-04T00:00:00Z"), false},
		{`{"DateNotEquals": {"aws:CurrentTime": "2026-03-04"}}`, ctx(), true},
		{`{"DateLessThan": {"aws:CurrentTime": "2026-03-04"}}`, ctx("aws:CurrentTime", "2026-03-03T23:59:59Z"), true},
		{`{"DateLessThan": {"aws:CurrentTime": "2026-03-04"}}`, ctx("aws:CurrentTime", "2026-03-04T00:00:00Z"), false},
		{`{"DateLessThanEquals": {"aws:CurrentTime": "2026-03-04"}}`, ctx("aws:CurrentTime", "2026-03-04T00:00:00Z"), true},
		{`{"DateGreaterThan": {"aws:CurrentTime": "2026-03"}}`, ctx("aws:CurrentTime", "2026-03-01T00:00:01Z"), true},
		{`{"DateGreaterThan": {"aws:CurrentTime": "2026"}}`, ctx("aws:CurrentTime", "2025-12-31T23:59:59Z"), false},
		{`{"DateGreaterThanEquals": {"aws:CurrentTime": "2026-03-04T10:20Z"}}`, ctx("aws:CurrentTime", "2026-03-04T10:20:00Z"), true},
		{`{"DateGreaterThan": {"aws:TokenIssueTime": "2026"}}`, ctx(), false},
	}},
	{"booleans", "IAM user guide, Condition operators: Boolean", false, []conditionCase{
		{`{"Bool": {"aws:SecureTransport": "true"}}`, ctx("aws:SecureTransport", "true"), true},
		{`{"Bool": {"aws:SecureTransport": true}}`, ctx("aws:SecureTransport", "TRUE"), true},
		{`{"Bool": {"aws:SecureTransport": "true"}}`, ctx("aws:SecureTransport", "false"), false},
		{`{"Bool": {"aws:SecureTransport": "false"}}`, ctx("aws:SecureTransport", "false"), true},
		{`{"Bool": {"aws:MultiFactorAuthPresent": "false"}}`, ctx(), false},
		{`{"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}}`, ctx(), true},
		{`{"Bool": {"a:b": ["true", "false"]}}`, ctx("a:b", "false"), true},
		{`{"Bool": {"a:b": "${aws:PrincipalTag/cost, 'true'}"}}`, ctx("a:b", "true"), true},
	}},
	{"binary", "IAM user guide, Condition operators: Binary", false, []conditionCase{
		{`{"BinaryEquals": {"a:b": "aGk="}}`, ctx("a:b", "aGk="), true},
		{`{"BinaryEquals": {"a:b": "aGk="}}`, ctx("a:b", "aGo="), false},
		{`{"BinaryEquals": {"a:b": "aGk="}}`, ctx(), false},
		{`{"BinaryEquals": {"a:b": "aGk="}}`, ctx("a:b", "not base64"), false},
	}},
	{"addresses", "IAM user guide, Condition operators: IP address", false, []conditionCase{
		{`{"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}`, ctx("aws:SourceIp", "203.0.113.7"), true},
		{`{"IpAddress": {"aws:SourceIp": "203.0.113.0/24"}}`, ctx("aws:SourceIp", "203.0.114.7"), false},
		{`{"IpAddress": {"aws:SourceIp": "203.0.113.9/24"}}`, ctx("aws:SourceIp", "203.0.113.7"), true},
		{`{"IpAddress": {"aws:SourceIp": "203.0.113.7"}}`, ctx("aws:SourceIp", "203.0.113.7"), true},
		{`{"IpAddress": {"aws:SourceIp": "203.0.113.7"}}`, ctx("aws:SourceIp", "203.0.113.8"), false},
		{`{"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}}`, ctx("aws:SourceIp", "2001:db8:1::1"), true},
		{`{"IpAddress": {"aws:SourceIp": "2001:db8::/32"}}`, ctx("aws:SourceIp", "10.1.2.3"), false},
		{`{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}`, ctx("aws:SourceIp", "::ffff:10.1.2.3"), true},
		{`{"IpAddress": {"aws:SourceIp": "::ffff:10.0.0.0/104"}}`, ctx("aws:SourceIp", "10.1.2.3"), true},
		{`{"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}`, ctx(), false},
		{`{"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}`, ctx("aws:SourceIp", "here"), false},
		{`{"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.0.2.0/24"]}}`, ctx("aws:SourceIp", "192.0.2.1"), false},
		{`{"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.0.2.0/24"]}}`, ctx("aws:SourceIp", "192.0.3.1"), true},
		{`{"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}`, ctx(), true},
		{`{"NotIpAddressIfExists": {"aws:SourceIp": "10.0.0.0/8"}}`, ctx("aws:SourceIp", "10.1.1.1"), false},
	}},
	{"ARNs", "IAM user guide, Condition operators: ARN", false, []conditionCase{
		{`{"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::b"}}`, ctx("aws:SourceArn", "arn:aws:s3:::b"), true},
		{`{"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::*"}}`, ctx("aws:SourceArn", "arn:aws:s3:::b"), true},
		{`{"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:t?pic"}}`, ctx("aws:SourceArn", "arn:aws:sns:eu-west-1:111122223333:topic"), true},
		{`{"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:topic"}}`, ctx("aws:SourceArn", "arn:aws:sns:eu-west-1:111122223333:topic"), false},
		{`{"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:111122223333:*"}}`, ctx("aws:SourceArn", "arn:aws:sns:eu-west-1:444455556666:x:111122223333:y"), false},
		{`{"ArnLike": {"aws:SourceArn": "arn:aws:secretsmanager:*:*:secret:dev/*"}}`, ctx("aws:SourceArn", secret1), true},
		{`{"ArnLike": {"aws:SourceArn": "arn:aws:s3:::B"}}`, ctx("aws:SourceArn", "arn:aws:s3:::b"), false},
		{`{"ArnLike": {"aws:SourceArn": "*"}}`, ctx("aws:SourceArn", "arn:aws:s3:::b"), true},
		{`{"ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"}}`, ctx("aws:SourceArn", "b"), false},
		{`{"ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"}}`, ctx(), false},
		{`{"ArnNotEquals": {"aws:SourceArn": "arn:aws:s3:::b"}}`, ctx("aws:SourceArn", "arn:aws:s3:::c"), true},
		{`{"ArnNotEquals": {"aws:SourceArn": "arn:aws:s3:::*"}}`, ctx("aws:SourceArn", "arn:aws:s3:::c"), false},
		{`{"ArnNotLike": {"aws:SourceArn": ["arn:aws:s3:::b", "arn:aws:s3:::c"]}}`, ctx("aws:SourceArn", "arn:aws:s3:::c"), false},
		{`{"ArnNotLike": {"aws:SourceArn": "arn:aws:s3:::*"}}`, ctx(), true},
		{`{"ArnLike": {"aws:SourceArn": "arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}"}}`, ctx("aws:SourceArn", alice.ARN), true},
	}},
	{"IfExists", "IAM user guide, Condition operators: ...IfExists", false, []conditionCase{
		{`{"StringEqualsIfExists": {"a:b": "x"}}`, ctx(), true},
		{`{"StringEqualsIfExists": {"a:b": "x"}}`, ctx("a:b", "x"), true},
		{`{"StringEqualsIfExists": {"a:b": "x"}}`, ctx("a:b", "y"), false},
		{`{"StringNotEqualsIfExists": {"a:b": "x"}}`, ctx(), true},
		{`{"StringNotEqualsIfExists": {"a:b": "x"}}`, ctx("a:b", "x"), false},
		{`{"NumericLessThanIfExists": {"a:b": 5}}`, ctx(), true},
		{`{"DateLessThanIfExists": {"a:b": "2026"}}`, ctx(), true},
		{`{"ArnLikeIfExists": {"a:b": "arn:aws:s3:::x"}}`, ctx(), true},
		{`{"IpAddressIfExists": {"a:b": "10.0.0.0/8"}}`, ctx(), true},
		{`{"StringEqualsIfExists": {"a:b": "${aws:PrincipalTag/cost}"}}`, ctx(), true},
	}},
	{"Null", "IAM user guide, Condition operators: Null", false, []conditionCase{
		{`{"Null": {"a:b": "true"}}`, ctx(), true},
		{`{"Null": {"a:b": "true"}}`, ctx("a:b", "x"), false},
		{`{"Null": {"a:b": "false"}}`, ctx("a:b", "x"), true},
		{`{"Null": {"a:b": false}}`, ctx(), false},
		{`{"Null": {"a:b": ["true", "false"]}}`, ctx(), true},
		{`{"Null": {"a:b": "true"}}`, Context{"a:b": nil}, true},
		{`{"Null": {"aws:PrincipalTag/team": "false"}}`, ctx(), true},
		{`{"Null": {"aws:PrincipalTag/cost": "true"}}`, ctx(), true},
		{`{"ForAnyValue:Null": {"a:b": "true"}}`, ctx(), true},
	}},
	{"ForAllValues", "IAM user guide, Set operators for multivalued context keys", false, []conditionCase{
		{`{"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}`, ctx("aws:TagKeys", "a|b"), true},
		{`{"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b", "c"]}}`, ctx("aws:TagKeys", "a|b"), true},
		{`{"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}`, ctx("aws:TagKeys", "a|c"), false},
		{`{"ForAllValues:StringEquals": {"aws:TagKeys": "a"}}`, ctx(), true},
		{`{"ForAllValues:StringEquals": {"aws:TagKeys": "a"}}`, ctx("aws:TagKeys", ""), true},
		{`{"ForAllValues:StringLike": {"aws:TagKeys": "a*"}}`, ctx("aws:TagKeys", "a1|a2"), true},
		{`{"ForAllValues:StringNotEquals": {"aws:TagKeys": ["a", "b"]}}`, ctx("aws:TagKeys", "c|d"), true},
		{`{"ForAllValues:StringNotEquals": {"aws:TagKeys": ["a", "b"]}}`, ctx("aws:TagKeys", "c|b"), false},
		{`{"ForAllValues:StringNotEquals": {"aws:TagKeys": "a"}}`, ctx(), true},
		{`{"ForAllValues:StringEquals": {"aws:TagKeys": "a"}, "Null": {"aws:TagKeys": "false"}}`, ctx(), false},
		{`{"ForAllValues:StringEquals": {"aws:PrincipalTag/team": ["blue", "red"]}}`, ctx(), true},
	}},
	{"ForAnyValue", "IAM user guide, Set operators for multivalued context keys", false, []conditionCase{
		{`{"ForAnyValue:StringEquals": {"aws:TagKeys": ["a", "b"]}}`, ctx("aws:TagKeys", "c|b"), true},
		{`{"ForAnyValue:StringEquals": {"aws:TagKeys": ["a", "b"]}}`, ctx("aws:TagKeys", "c|d"), false},
		{`{"ForAnyValue:StringEquals": {"aws:TagKeys": "a"}}`, ctx(), false},
		{`{"ForAnyValue:StringLike": {"aws:TagKeys": "*"}}`, ctx("aws:TagKeys", ""), false},
		{`{"ForAnyValue:StringEqualsIfExists": {"aws:TagKeys": "a"}}`, ctx(), true},
		{`{"ForAnyValue:StringNotEquals": {"aws:TagKeys": "a"}}`, ctx("aws:TagKeys", "a|b"), true},
		{`{"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["a", "b"]}}`, ctx("aws:TagKeys", "a|b"), false},
		{`{"ForAnyValue:StringNotEquals": {"aws:TagKeys": "a"}}`, ctx(), false},
		{`{"ForAnyValue:ArnLike": {"a:b": "arn:aws:s3:::x*"}}`, ctx("a:b", "arn:aws:s3:::y|arn:aws:s3:::x1"), true},
	}},
	{"variables", "IAM user guide, IAM policy elements: Variables and tags", false, []conditionCase{
		{`{"StringEquals": {"secretsmanager:ResourceTag/team": "${aws:PrincipalTag/team}"}}`, ctx("secretsmanager:ResourceTag/team", "blue"), true},
		{`{"StringEquals": {"secretsmanager:ResourceTag/team": "${aws:PrincipalTag/team}"}}`, ctx("secretsmanager:ResourceTag/team", "red"), false},
		{`{"StringEquals": {"a:b": "${aws:PrincipalTag/cost}"}}`, ctx("a:b", "x"), false},
		{`{"StringEquals": {"a:b": "${aws:PrincipalTag/cost}"}}`, ctx("a:b", "${aws:PrincipalTag/cost}"), false},
		{`{"StringEquals": {"a:b": "${aws:PrincipalTag/cost, 'common'}"}}`, ctx("a:b", "common"), true},
		{`{"StringEquals": {"a:b": "${aws:PrincipalTag/team, 'common'}"}}`, ctx("a:b", "common"), false},
		{`{"StringEquals": {"a:b": "${aws:PrincipalTag/cost, ''}"}}`, ctx("a:b", ""), true},
		{`{"StringEquals": {"a:b": ["x", "${aws:PrincipalTag/cost}"]}}`, ctx("a:b", "x"), true},
		{`{"StringLike": {"a:b": "${aws:username}/*"}}`, ctx("a:b", "alice/x"), true},
		{`{"StringLike": {"a:b": "${AWS:UserName}-${aws:PrincipalTag/team}"}}`, ctx("a:b", "alice-blue"), true},
		{`{"StringLike": {"a:b": "a${*}c"}}`, ctx("a:b", "a*c"), true},
		{`{"StringLike": {"a:b": "a${*}c"}}`, ctx("a:b", "abc"), false},
		{`{"StringLike": {"a:b": "a${?}"}}`, ctx("a:b", "a?"), true},
		{`{"StringLike": {"a:b": "a${?}"}}`, ctx("a:b", "ab"), false},
		{`{"StringEquals": {"a:b": "${$}{x}"}}`, ctx("a:b", "${x}"), true},
		{`{"StringLike": {"a:b": "${a:c}"}}`, ctx("a:b", "abc", "a:c", "a*"), false},
		{`{"StringLike": {"a:b": "${a:c}"}}`, ctx("a:b", "a*", "a:c", "a*"), true},
		{`{"StringEquals": {"a:b": "${a:c}"}}`, ctx("a:b", "x", "a:c", "x|y"), false},
		{`{"StringEqualsIgnoreCase": {"a:b": "${aws:username}"}}`, ctx("a:b", "ALICE"), true},
		{`{"StringNotEquals": {"a:b": "${aws:username}"}}`, ctx("a:b", "alice"), false},
		{`{"StringNotEquals": {"a:b": "${aws:username}"}}`, ctx("a:b", "eve"), true},
		{`{"StringNotEquals": {"a:b": "${aws:PrincipalTag/cost}"}}`, ctx(), true},
	}},
	{"what is uncertain", "IAM user guide, IAM policy elements: Variables and tags (a variable without value makes a statement invalid)", true, []conditionCase{
		{`{"StringNotEquals": {"a:b": "${aws:PrincipalTag/cost}"}}`, ctx("a:b", "x"), false},
		{`{"StringNotLike": {"a:b": ["y", "${aws:PrincipalTag/cost}*"]}}`, ctx("a:b", "x"), false},
		{`{"ArnNotLike": {"a:b": "arn:aws:iam::${aws:PrincipalTag/cost}:root"}}`, ctx("a:b", root1.ARN), false},
		{`{"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}`, ctx("aws:SourceIp", "here"), false},
		{`{"NumericNotEquals": {"a:b": 1}}`, ctx("a:b", "many"), false},
		{`{"DateNotEquals": {"a:b": "2026"}}`, ctx("a:b", "soon"), false},
		{`{"ArnNotEquals": {"a:b": "arn:aws:s3:::b"}}`, ctx("a:b", "b"), false},
		{`{"StringEquals": {"a:b": "x"}}`, ctx("a:b", "x|y"), false},
		{`{"StringNotEquals": {"a:b": "x"}}`, ctx("a:b", "x|y"), false},
		{`{"StringEquals": {"secretsmanager:ResourceTag/team": "x"}}`, ctx("secretsmanager:ResourceTag/Team", "x", "secretsmanager:ResourceTag/team", "y"), false},
	}},
}

func TestTruthOfConditions(t *testing.T) {
	for _, g := range conditionGroups {
		for _, c := range g.cases {
			t.Run(g.rule+"/"+c.condition, func(t *testing.T) {
				r := Request{Action: get, Resource: secret1, Principal: alice, Context: c.context}
				some := `"Action": "*", "Resource": "*", "Condition": ` + c.condition + `}`
				gives := Policies{Identity: listed(prep(t, `{"Effect": "Allow", `+some)), ResourceAccount: account1}
				takes := Policies{Identity: listed(prep(t, allowAll+`,{"Effect": "Deny", `+some)), ResourceAccount: account1}
				if got := Evaluate(gives, r).Allowed; got != c.want {
					t.Errorf("in an Allow, with %v: %v, want %v (%s)", c.context, got, c.want, g.source)
				}
				if got, want := !Evaluate(takes, r).Allowed, c.want || g.strict; got != want {
					t.Errorf("in a Deny, with %v: %v, want %v (%s)", c.context, got, want, g.source)
				}
				for _, p := range []Policies{gives, takes} {
					if got, n := Evaluate(p, r).Allowed, naively(p, r); got != n {
						t.Errorf("allowed %v, the naive evaluator says %v", got, n)
					}
				}
			})
		}
	}
}

// Source: IAM user guide, "IAM JSON policy elements: Version".
func TestVersion2008HasNoVariables(t *testing.T) {
	for _, c := range []struct {
		version, value string
		want           bool
	}{
		{`"Version": "2012-10-17",`, "alice", true},
		{`"Version": "2008-10-17",`, "alice", false},
		{`"Version": "2008-10-17",`, "${aws:username}", true},
		{``, "alice", false},
		{``, "${aws:username}", true},
	} {
		for _, some := range []string{
			`"Resource": "*", "Condition": {"StringEquals": {"a:b": "${aws:username}"}}`,
			`"Resource": "*", "Condition": {"StringLike": {"a:b": "${aws:username}"}}`,
			`"Resource": "arn:aws:secretsmanager:::${aws:username}"`,
		} {
			p := Policies{Identity: listed(prep(t, `{`+c.version+`"Statement": {"Effect": "Allow", "Action": "*", `+some+`}}`)), ResourceAccount: account1}
			r := Request{Action: get, Resource: "arn:aws:secretsmanager:::" + c.value, Principal: alice, Context: ctx("a:b", c.value)}
			if got := Evaluate(p, r).Allowed; got != c.want || naively(p, r) != c.want {
				t.Errorf("%s %s with %s: %v", c.version, some, c.value, got)
			}
		}
	}
}
