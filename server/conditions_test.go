package server

import (
	"net/http"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/access"
)

// Every condition key that a request's members give: it has the value that was
// sent and no other, and is missing where nothing was sent.
func TestConditionKeysOfRequests(t *testing.T) {
	const (
		function = "arn:aws:lambda:us-east-1:111122223333:function:pawl-single-user"
		role     = "arn:aws:iam::111122223333:role/partner"
	)
	id := strings.Repeat("v", 32)
	type row struct {
		operation, with, key, operator, value, other string
		without                                      string // "" = the harmless request
	}
	rows := []row{
		{"CreateSecret", `{"Name":"dev/x"}`, "secretsmanager:Name", "StringEquals", "dev/x", "dev/y", "-"},
		{"CreateSecret", `{"Name":"x","Description":"d"}`, "secretsmanager:Description", "StringEquals", "d", "e", ""},
		{"CreateSecret", `{"Name":"x","Description":""}`, "secretsmanager:Description", "StringEquals", "", "e", ""},
		{"UpdateSecret", `{"SecretId":"x","Description":""}`, "secretsmanager:Description", "StringEquals", "", "e", ""},
		{"CreateSecret", `{"Name":"x","KmsKeyId":"alias/k"}`, "secretsmanager:KmsKeyId", "StringEquals", "alias/k", "alias/l", ""},
		{"UpdateSecret", `{"SecretId":"x","KmsKeyId":"alias/k"}`, "secretsmanager:KmsKeyId", "StringEquals", "alias/k", "", ""},
		{"CreateSecret", `{"Name":"x","KmsKeyId":"alias/k"}`, "secretsmanager:KmsKeyArn", "ArnEquals", "arn:aws:kms:us-east-1:111122223333:alias/k", "arn:aws:kms:us-east-1:111122223333:key/k", ""},
		{"CreateSecret", `{"Name":"x","KmsKeyId":"11111111-2222-4333-8444-555555555555"}`, "secretsmanager:KmsKeyArn", "ArnLike", "arn:aws:kms:*:111122223333:key/1111*", "arn:aws:kms:*:444455556666:key/*", ""},
		{"UpdateSecret", `{"SecretId":"arn:aws:secretsmanager:us-east-1:111122223333:secret:x-AbCdEf","KmsKeyId":"arn:aws:kms:us-east-1:444455556666:key/k"}`, "secretsmanager:KmsKeyArn", "ArnEquals", "arn:aws:kms:us-east-1:444455556666:key/k", "arn:aws:kms:us-east-1:111122223333:key/k", `{"SecretId":"x","KmsKeyId":""}`},
		{"CreateSecret", `{"Name":"x","Type":"T"}`, "secretsmanager:Type", "StringEquals", "T", "U", ""},
		{"UpdateSecret", `{"SecretId":"x","Type":"T"}`, "secretsmanager:Type", "StringEquals", "T", "U", ""},
		{"CreateSecret", `{"Name":"x","AddReplicaRegions":[{"Region":"eu-west-1"},{"Region":"eu-west-2"}]}`, "secretsmanager:AddReplicaRegions", "ForAllValues:StringLike", "eu-*", "us-*", ""},
		{"ReplicateSecretToRegions", `{"SecretId":"x","AddReplicaRegions":[{"Region":"eu-west-1"},{"Region":"us-west-2"}]}`, "secretsmanager:AddReplicaRegions", "ForAnyValue:StringEquals", "us-west-2", "us-west-1", "-"},
		{"CreateSecret", `{"Name":"x","AddReplicaRegions":[{"Region":"eu-west-1"}],"ForceOverwriteReplicaSecret":true}`, "secretsmanager:ForceOverwriteReplicaSecret", "Bool", "true", "false", ""},
		{"ReplicateSecretToRegions", `{"SecretId":"x","AddReplicaRegions":[{"Region":"eu-west-1"}],"ForceOverwriteReplicaSecret":false}`, "secretsmanager:ForceOverwriteReplicaSecret", "Bool", "false", "true", ""},
		{"GetSecretValue", `{"SecretId":"x","VersionId":"` + id + `"}`, "secretsmanager:VersionId", "StringEquals", id, "w", ""},
		{"GetSecretValue", `{"SecretId":"x","VersionStage":"AWSPENDING"}`, "secretsmanager:VersionStage", "StringEquals", "AWSPENDING", "AWSCURRENT", ""},
		{"UpdateSecretVersionStage", `{"SecretId":"x","VersionStage":"AWSPENDING"}`, "secretsmanager:VersionStage", "StringEquals", "AWSPENDING", "AWSCURRENT", "-"},
		{"DeleteSecret", `{"SecretId":"x","RecoveryWindowInDays":7}`, "secretsmanager:RecoveryWindowInDays", "NumericLessThanEquals", "7", "6", `{"SecretId":"x"}`},
		{"DeleteSecret", `{"SecretId":"x","RecoveryWindowInDays":0}`, "secretsmanager:RecoveryWindowInDays", "NumericEquals", "0", "1", `{"SecretId":"x"}`},
		{"DeleteSecret", `{"SecretId":"x","ForceDeleteWithoutRecovery":true}`, "secretsmanager:ForceDeleteWithoutRecovery", "Bool", "true", "false", ""},
		{"DeleteSecret", `{"SecretId":"x","ForceDeleteWithoutRecovery":false}`, "secretsmanager:ForceDeleteWithoutRecovery", "Bool", "false", "true", `{"SecretId":"x","ForceDeleteWithoutRecovery":null}`},
		{"PutResourcePolicy", `{"SecretId":"x","ResourcePolicy":"p","BlockPublicPolicy":true}`, "secretsmanager:BlockPublicPolicy", "Bool", "true", "false", ""},
		{"RotateSecret", `{"SecretId":"x","RotationLambdaARN":"` + function + `"}`, "secretsmanager:RotationLambdaARN", "ArnEquals", function, function + "s", ""},
		{"RotateSecret", `{"SecretId":"x","RotationRules":{}}`, "secretsmanager:ModifyRotationRules", "Bool", "true", "false", ""},
		{"RotateSecret", `{"SecretId":"x","RotateImmediately":false}`, "secretsmanager:RotateImmediately", "Bool", "false", "true", ""},
		{"RotateSecret", `{"SecretId":"x","ExternalSecretRotationRoleArn":"` + role + `"}`, "secretsmanager:ExternalSecretRotationRoleArn", "ArnEquals", role, role + "s", ""},
		{"CreateSecret", `{"Name":"x","Tags":[{"Key":"Team","Value":"blue"}]}`, "aws:RequestTag/team", "StringEquals", "${aws:PrincipalTag/TEAM}", "red", ""},
		{"TagResource", `{"SecretId":"x","Tags":[{"Key":"Team","Value":"blue"}]}`, "aws:RequestTag/team", "StringEquals", "blue", "red", `{"SecretId":"x","Tags":[{"Key":"other","Value":"blue"}]}`},
		{"CreateSecret", `{"Name":"x","Tags":[{"Key":"a"},{"Key":"b"}]}`, "aws:TagKeys", "ForAnyValue:StringEquals", "b", "c", `{"Name":"x","Tags":[]}`},
		{"TagResource", `{"SecretId":"x","Tags":[{"Key":"a"},{"Key":"b"}]}`, "aws:TagKeys", "ForAnyValue:StringEquals", "b", "c", `{"SecretId":"x","Tags":[]}`},
		{"UntagResource", `{"SecretId":"x","TagKeys":["a","b"]}`, "aws:TagKeys", "ForAnyValue:StringEquals", "b", "c", `{"SecretId":"x","TagKeys":[]}`},
	}
	g := newStage(t, nil)
	tested := map[string]bool{}
	for _, c := range rows {
		tested[c.operation+" "+c.key] = true
		action := operations["secretsmanager."+c.operation].action
		// What the operation needs beside its own action is given freely.
		others := `{"Effect":"Allow","Resource":"*","NotAction":` + quoted(action) + `}`
		who := func(conditions string) access.Principal {
			return user(t, ours, allow(action, conditions)+","+others)
		}
		want := func(conditions, body string, denied bool) {
			t.Helper()
			if a := g.ask(who(conditions), c.operation, body); a.denied() != denied {
				t.Errorf("%s %s under %s\ngot %s %s, denied should be %v", c.operation, body, conditions, a.code, a.text, denied)
			}
		}
		is := func(value string) string { return `"` + c.operator + `":{"` + c.key + `":` + quoted(value) + `}` }
		null := func(missing string) string { return `"Null":{"` + c.key + `":` + missing + `}` }
		want(is(c.value), c.with, false)
		want(is(c.other), c.with, true)
		want(null(`"true"`), c.with, true)
		if c.without == "-" {
			continue // the member is required
		}
		if c.without == "" {
			c.without = about(c.operation, "x", "x")
		}
		want(null(`"true"`), c.without, false)
		want(null(`"false"`), c.without, true)
	}
	for _, k := range requestKeys {
		for action := range strings.FieldsSeq(k.actions) {
			name := k.name
			if name == requestTag {
				name = "aws:RequestTag/team"
			}
			if !tested[action+" "+name] {
				t.Errorf("no case for %s of %s", k.name, action)
			}
			if operations["secretsmanager."+action].keys[strings.ToLower(k.name)] == nil {
				t.Errorf("%s has no member %s", action, k.member)
			}
		}
	}
	// A key is of its actions alone.
	g.refused(user(t, ours, allow("secretsmanager:*", `"StringEquals":{"secretsmanager:Type":"T"}`)), "DescribeSecret", `{"SecretId":"x","Type":"T"}`, accessDenied,
		"User: arn:aws:iam::111122223333:user/alice is not authorized to perform: secretsmanager:DescribeSecret on resource: x because no identity-based policy allows the secretsmanager:DescribeSecret action")
}

// The condition keys of a secret are those of every operation on it.
func TestConditionKeysOfSecrets(t *testing.T) {
	const function = "arn:aws:lambda:us-east-1:111122223333:function:pawl-single-user"
	g := newStage(t, nil)
	arn := g.secret(ours, "dev/here", withValue+`,"Type":"T","Tags":[{"Key":"Team","Value":"blue"},{"Key":"team","Value":"azure"},{"Key":"cost","Value":"1"}]`)
	g.ok(rootOf(ours), "RotateSecret", `{"SecretId":"dev/here","ClientRequestToken":"`+strings.Repeat("r", 32)+`","RotateImmediately":false,"RotationLambdaARN":"`+function+`"}`)
	for name := range harmless {
		if noSecret[name] {
			continue
		}
		for _, c := range []struct {
			conditions    string
			here, nowhere bool // denied, for the secret and for one that there is not
		}{
			{`"ArnEquals":{"secretsmanager:SecretId":"` + arn + `"}`, false, true},
			{`"ArnLike":{"secretsmanager:SecretId":"arn:aws:secretsmanager:us-east-1:111122223333:secret:dev/*-??????"}`, false, false},
			{`"StringEquals":{"secretsmanager:SecretPrimaryRegion":"us-east-1"}`, false, false},
			{`"StringEquals":{"secretsmanager:SecretPrimaryRegion":"eu-west-1"}`, true, true},
			{`"StringEquals":{"secretsmanager:ResourceTag/cost":"1"}`, false, true},
			{`"StringEquals":{"aws:ResourceTag/cost":"1"}`, false, true},
			{`"StringEquals":{"aws:ResourceTag/cost":"2"}`, true, true},
			{`"ForAnyValue:StringEquals":{"aws:ResourceTag/TEAM":"azure"}`, false, true},
			{`"ForAllValues:StringEquals":{"aws:ResourceTag/team":"blue"}`, true, false},
			{`"Null":{"secretsmanager:ResourceTag/other":"true"}`, false, false},
			{`"Null":{"secretsmanager:ResourceTag/cost":"true"}`, true, false},
			{`"ArnEquals":{"secretsmanager:resource/AllowRotationLambdaArn":"` + function + `"}`, false, true},
			{`"StringEquals":{"secretsmanager:resource/Type":"T"}`, false, true},
			{`"StringEquals":{"secretsmanager:resource/Type":"U"}`, true, true},
			{`"StringEquals":{"aws:ResourceAccount":"111122223333"}`, false, false},
			{`"StringEquals":{"aws:ResourceAccount":"444455556666"}`, true, true},
		} {
			if name == "CreateSecret" && !strings.Contains(c.conditions, "ResourceAccount") {
				continue // it has none of them
			}
			who := user(t, ours, allow("*", c.conditions))
			if a := g.ask(who, name, about(name, "dev/here", "dev/here")); a.denied() != c.here {
				t.Errorf("%s under %s: %s %s, denied should be %v", name, c.conditions, a.code, a.text, c.here)
			}
			if a := g.ask(who, name, about(name, "dev/nowhere", "dev/nowhere")); a.denied() != c.nowhere && name != "CreateSecret" {
				t.Errorf("%s of nothing under %s: %s %s, denied should be %v", name, c.conditions, a.code, a.text, c.nowhere)
			}
		}
	}
}

func TestGlobalConditionKeys(t *testing.T) {
	g := newStage(t, nil)
	from := func(addr string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = addr } }
	agent := func(r *http.Request) { r.Header.Set("User-Agent", "aws-cli/2") }
	for _, c := range []struct {
		conditions string
		how        func(*http.Request)
		temporary  bool
		denied     bool
	}{
		{`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`, from("203.0.113.7:4711"), false, false},
		{`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`, from("[::ffff:203.0.113.7]:4711"), false, false},
		{`"IpAddress":{"aws:SourceIp":"203.0.113.0/24"}`, from("203.0.114.7:4711"), false, true},
		{`"IpAddress":{"aws:SourceIp":"fe80::/10"}`, from("[fe80::1%eth0]:4711"), false, false},
		{`"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}`, from("203.0.113.7:4711"), false, true},
		{`"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}`, from("@"), false, true},
		{`"IpAddress":{"aws:SourceIp":"198.51.100.1"}`, func(r *http.Request) { r.Header.Set("X-Forwarded-For", "198.51.100.1") }, false, true},
		{`"Bool":{"aws:SecureTransport":"true"}`, nil, false, true},
		{`"Bool":{"aws:SecureTransport":"false"}`, nil, false, false},
		{`"Bool":{"aws:SecureTransport":"true"}`, overTLS, false, false},
		{`"DateGreaterThan":{"aws:CurrentTime":"2024-01-01T00:00:00Z"},"DateLessThan":{"aws:CurrentTime":"2999-01-01T00:00:00Z"}`, nil, false, false},
		{`"DateLessThan":{"aws:CurrentTime":"2024-01-01T00:00:00Z"}`, nil, false, true},
		{`"NumericGreaterThan":{"aws:EpochTime":"1700000000"}`, nil, false, false},
		{`"NumericLessThan":{"aws:EpochTime":"1700000000"}`, nil, false, true},
		{`"StringEquals":{"aws:RequestedRegion":"us-east-1"}`, nil, false, false},
		{`"StringEquals":{"aws:RequestedRegion":"eu-west-1"}`, nil, false, true},
		{`"StringLike":{"aws:UserAgent":"aws-cli/*"}`, agent, false, false},
		{`"Null":{"aws:UserAgent":"true"}`, agent, false, true},
		{`"Null":{"aws:UserAgent":"true"}`, nil, false, false},
		{`"Bool":{"aws:ViaAWSService":"false","aws:PrincipalIsAWSService":"false"}`, nil, false, false},
		{`"Null":{"aws:TokenIssueTime":"true","aws:MultiFactorAuthPresent":"true"}`, nil, false, false},
		{`"Null":{"aws:TokenIssueTime":"true"}`, nil, true, true},
		{`"DateGreaterThan":{"aws:TokenIssueTime":"2024-01-01T00:00:00Z"}`, nil, true, false},
		{`"Bool":{"aws:MultiFactorAuthPresent":"false"}`, nil, true, false},
		{`"Bool":{"aws:MultiFactorAuthPresent":"true"}`, nil, true, true},
		{`"Null":{"aws:SourceVpc":"true","aws:SourceVpce":"true","aws:SourceArn":"true","aws:SourceAccount":"true","aws:PrincipalOrgID":"true","aws:CalledVia":"true","aws:ResourceAccount":"true"}`, nil, false, false},
		{`"StringEquals":{"aws:PrincipalAccount":"111122223333","aws:PrincipalType":"User","aws:username":"alice","aws:PrincipalTag/team":"blue"}`, nil, false, false},
	} {
		who := user(t, ours, allow("secretsmanager:GetRandomPassword", c.conditions))
		if c.temporary {
			who = session(who)
		}
		g.from = c.how
		if a := g.ask(who, "GetRandomPassword", `{}`); a.denied() != c.denied {
			t.Errorf("%s: %s %s, denied should be %v", c.conditions, a.code, a.text, c.denied)
		}
	}
}
