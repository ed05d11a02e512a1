package load

// Policies are of a user who may read the secrets in us-east-1 of account
// 123456789012 that are called team-*/db-* and have the tag stage=production, from
// a private or loopback address: ten statements with three conditions, which are
// all evaluated when he does.
var Policies = map[string]string{
	"teams": `{"Version":"2012-10-17","Statement":[
		{"Effect":"Allow","Action":["secretsmanager:ListSecrets","secretsmanager:GetRandomPassword"],"Resource":"*"},
		{"Effect":"Allow","Action":"secretsmanager:DescribeSecret","Resource":"arn:aws:secretsmanager:*:123456789012:secret:*"},
		{"Effect":"Allow","Action":["secretsmanager:Get*","secretsmanager:PutSecretValue"],"Resource":"arn:aws:secretsmanager:us-east-1:123456789012:secret:app/*"},
		{"Effect":"Allow","Action":["secretsmanager:Get*","secretsmanager:PutSecretValue"],"Resource":"arn:aws:secretsmanager:us-east-1:123456789012:secret:shared/*/reader-*"},
		{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":["arn:aws:secretsmanager:eu-west-1:123456789012:secret:team-*","arn:aws:secretsmanager:eu-central-1:123456789012:secret:team-*"]},
		{"Effect":"Allow","Action":["secretsmanager:TagResource","secretsmanager:UntagResource"],"Resource":"arn:aws:secretsmanager:us-east-1:123456789012:secret:team-*"}]}`,
	"databases": `{"Version":"2012-10-17","Statement":[
		{"Effect":"Deny","Action":"secretsmanager:*","Resource":"*","Condition":{"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","192.168.0.0/16","127.0.0.0/8"]}}},
		{"Effect":"Deny","Action":["secretsmanager:DeleteSecret","secretsmanager:PutResourcePolicy"],"Resource":"*"},
		{"Effect":"Allow","Action":"secretsmanager:RotateSecret","Resource":"arn:aws:secretsmanager:us-east-1:123456789012:secret:team-*"},
		{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:us-east-1:123456789012:secret:team-*/db-*",
			"Condition":{"StringEquals":{"secretsmanager:ResourceTag/stage":"production"},"StringLike":{"aws:RequestedRegion":["us-*","eu-*"]}}}]}`,
}
