package postgres

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/integration/servers/servertest"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Durable writes: 16 writers, each of secrets of his own, at a server that syncs.
func BenchmarkWrites(b *testing.B) {
	l := &lab{Server: servertest.Start(b, servers.Postgres15, servers.Options{Durable: true})}
	l.makeRoles(b)
	s := l.open(b, l.database(b))
	var n atomic.Int64
	b.Run("create", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				v := secrets.Version{ID: versionID(1), Labels: []string{secrets.Current}}
				err := s.Create(b.Context(), &service.Secret{ARN: arn(int(n.Add(1))), Versions: secrets.Versions{v}}, service.Sealed{v.ID: make([]byte, 500)})
				if err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	})
	var writer atomic.Int64
	b.Run("update", func(b *testing.B) {
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			a := arn(int(1 + writer.Add(1)%n.Load()))
			for i := 0; pb.Next(); i++ {
				if _, err := s.Update(b.Context(), a, describing(fmt.Sprint(i))); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "writes/s")
	})
}

// What the scheduler asks each second, of 200,000 secrets.
func BenchmarkDue(b *testing.B) {
	l := at(b, servers.Postgres15)
	db := l.database(b)
	l.fillQuickly(b, db, 200000)
	s := l.open(b, db)
	before := time.UnixMicro(1 << 40)
	b.Run("nothing", func(b *testing.B) {
		for b.Loop() {
			if due, err := s.Due(b.Context(), time.UnixMicro(-1), service.DueAfter{}, 100); err != nil || len(due) != 0 {
				b.Fatal(len(due), err)
			}
		}
	})
	for _, most := range []int{100, 1000} {
		b.Run(fmt.Sprint("due=", most), func(b *testing.B) {
			for b.Loop() {
				if due, err := s.Due(b.Context(), before, service.DueAfter{}, most); err != nil || len(due) != most {
					b.Fatal(len(due), err)
				}
			}
		})
	}
	b.Run("backlog=10000", func(b *testing.B) {
		for b.Loop() {
			if n, _, err := s.Backlog(b.Context(), before, 10000); err != nil || n != 10000 {
				b.Fatal(n, err)
			}
		}
	})
}
