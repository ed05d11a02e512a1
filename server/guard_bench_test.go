package server

import (
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// BenchmarkGuard is what a GetSecretValue pays for being judged: ten statements,
// of which the one that allows has three conditions, and a policy on the secret.
func BenchmarkGuard(b *testing.B) {
	var all []string
	for i := range 9 {
		all = append(all, fmt.Sprintf(`{"Effect":"Allow","Action":["secretsmanager:DescribeSecret","secretsmanager:Get*"],"Resource":"arn:aws:secretsmanager:*:111122223333:secret:team-%d/*"}`, i))
	}
	all = append(all, `{"Effect":"Allow","Action":"secretsmanager:GetSecretValue","Resource":"arn:aws:secretsmanager:us-east-1:111122223333:secret:prod/*","Condition":{
		"StringEquals":{"secretsmanager:ResourceTag/team":"${aws:PrincipalTag/team}"},"IpAddress":{"aws:SourceIp":["10.0.0.0/8","192.0.2.0/24"]},"StringLike":{"secretsmanager:VersionStage":"AWS*"}}}`)
	sec := &service.Secret{ARN: secrets.ARN{Partition: "aws", Region: "us-east-1", Account: ours, Name: "prod/orders/db", Suffix: "AbCdEf"}, Tags: []service.Tag{{Key: "cost", Value: "1"}, {Key: "team", Value: "blue"}}}
	for name, attachment := range map[string]string{"": "", "attached": `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"secretsmanager:DeleteSecret","Resource":"*"}]}`} {
		b.Run("policies"+name, func(b *testing.B) {
			sec.Policy = attachment
			who := user(b, ours, strings.Join(all, ","))
			who.Policies.Identity = []*policy.Prepared{identity(b, strings.Join(all, ","))}
			e := &exchange{r: httptest.NewRequest("POST", "/", nil), who: who}
			o := operations["secretsmanager.GetSecretValue"]
			in := reflect.ValueOf(&service.GetSecretValueInput{SecretID: "prod/orders/db", VersionStage: "AWSCURRENT"}).Elem()
			var a attached
			b.ReportAllocs()
			for b.Loop() {
				g := &guard{e: e, op: o, in: in, attached: &a, at: service.Caller{Partition: "aws", Region: "us-east-1", Account: ours}}
				if err := g.May(sec, "prod/orders/db"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
