package wire_test

import (
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server/wire"
	"github.com/pawlhq/pawl/service"
)

func BenchmarkMarshalGetSecretValue(b *testing.B) {
	out := &service.GetSecretValueOutput{
		ARN: "arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/orders/db-AbCdEf", Name: "prod/orders/db",
		VersionID: "11111111-2222-4333-8444-555555555555", Value: secrets.Text(`{"username":"orders","password":"` + strings.Repeat("x", 990) + `"}`),
		VersionStages: []string{"AWSCURRENT"}, CreatedDate: time.UnixMilli(1718112345678),
	}
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = wire.Append(buf[:0], out)
	}
	b.SetBytes(int64(len(buf)))
}

func BenchmarkUnmarshalGetSecretValue(b *testing.B) {
	body := []byte(`{"SecretId":"arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/orders/db-AbCdEf","VersionStage":"AWSCURRENT"}`)
	b.ReportAllocs()
	for b.Loop() {
		var in service.GetSecretValueInput
		if _, err := wire.Unmarshal(body, &in); err != nil {
			b.Fatal(err)
		}
	}
}
