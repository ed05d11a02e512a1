package seal

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/secrets"
)

// What a GetSecretValue costs here: BenchmarkOpen/again that of a version that
// is read often, /first that of one which is not.
func BenchmarkOpen(b *testing.B) {
	const arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/orders/db-AbCdEf"
	ctx, k := context.Background(), newKeyring(b)
	version := func(i int) string { return fmt.Sprintf("5c1c3b0a-5d0e-4f5e-9f0b-%012d", i) }
	v := secrets.Text(strings.Repeat("x", 1024))
	sealed := make([][]byte, 2*maxDataKeys)
	for i := range sealed {
		var err error
		if sealed[i], err = k.Seal(ctx, "", arn, version(i), v); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("again", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := k.Open(ctx, arn, "5c1c3b0a-5d0e-4f5e-9f0b-000000000007", sealed[7]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			i %= len(sealed)
			if _, err := k.Open(ctx, arn, version(i), sealed[i]); err != nil {
				b.Fatal(err)
			}
		}
	})
}
