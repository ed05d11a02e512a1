package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

func arn(n int) secrets.ARN {
	return secrets.ARN{Partition: "aws", Region: "eu-west-1", Account: "123456789012", Name: fmt.Sprintf("prod/db-%05d", n), Suffix: "AbC123"}
}

func versionID(n int) string { return fmt.Sprintf("%08d-0000-4000-8000-000000000000", n) }

// rotating makes a secret as it is after its first rotation.
func rotating(n int) (*service.Secret, service.Sealed) {
	now := time.Now()
	return &service.Secret{
		ARN: arn(n), Created: now, Changed: now, ValueChanged: now, DueAt: now.Add(4 * time.Hour),
		Rotation: &secrets.Rotation{Enabled: true, Source: "file pawl.yaml:12", LastRotated: now,
			Rules: secrets.RotationRules{Strategy: secrets.SingleUser, Schedule: "rate(4 hours)"}},
		Versions: secrets.Versions{
			{ID: versionID(1), Created: now, Labels: []string{secrets.Previous}},
			{ID: versionID(2), Created: now, Labels: []string{secrets.Current, secrets.Intent}},
		},
	}, service.Sealed{versionID(1): make([]byte, 400), versionID(2): make([]byte, 400)}
}

// rotate makes the two writes of a rotation: the pending value, the promotion.
// It keeps three versions.
func rotate(ctx context.Context, s *Store, a secrets.ARN, n int) error {
	id, now := versionID(n), time.Now()
	_, err := s.Update(ctx, a, func(sec *service.Secret) (service.Sealed, error) {
		vs, err := sec.Versions.Put(secrets.Version{ID: id, Created: now}, []string{secrets.Pending, secrets.Intent})
		sec.Versions, sec.Changed = vs, now
		return service.Sealed{id: make([]byte, 400)}, err
	})
	if err != nil {
		return err
	}
	_, err = s.Update(ctx, a, func(sec *service.Secret) (service.Sealed, error) {
		vs, err := sec.Versions.Move(secrets.Current, id)
		if err == nil {
			vs, err = vs.Move(secrets.Pending, "")
		}
		sec.Versions, sec.Changed, sec.ValueChanged, sec.DueAt = vs[max(0, len(vs)-3):], now, now, now.Add(4*time.Hour)
		sec.Rotation.LastRotated = now
		return nil, err
	})
	return err
}

func BenchmarkRotationWrites(b *testing.B) {
	for _, at := range []int{1, 16} {
		b.Run(fmt.Sprintf("at=%d", at), func(b *testing.B) {
			s := open(b, filepath.Join(b.TempDir(), "pawl.db"))
			for i := range at {
				sec, values := rotating(i)
				if err := s.Create(b.Context(), sec, values); err != nil {
					b.Fatal(err)
				}
			}
			before := cpu()
			b.ResetTimer()
			var n, worker atomic.Int64
			b.SetParallelism(at / 2) // times two processors, in the figures that are quoted
			if at == 1 {
				for i := range b.N {
					if err := rotate(b.Context(), s, arn(0), 10+i); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					me := int(worker.Add(1)-1) % at
					for pb.Next() {
						if err := rotate(b.Context(), s, arn(me), 10+int(n.Add(1))); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ReportMetric(float64((cpu()-before).Microseconds())/float64(2*b.N), "cpu-us/write")
			b.ReportMetric(2*float64(b.N)/b.Elapsed().Seconds(), "writes/s")
		})
	}
}

// cpu is what the process has used: the disk's time depends on the machine.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
