package postgres

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl/integration/servers"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// fill makes n secrets that are due.
func fill(b testing.TB, s *Store, n int) {
	b.Helper()
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			for i := w; i < n; i += 8 {
				sec := &service.Secret{ARN: arn(i), DueAt: time.Unix(int64(i), 0), Versions: secrets.Versions{{ID: versionID(1), Labels: []string{secrets.Current}}}}
				if err := s.Create(b.Context(), sec, service.Sealed{versionID(1): make([]byte, 400)}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

// A claim, one write under it and its release, by eight processes.
func BenchmarkClaims(b *testing.B) {
	l := at(b, servers.Postgres15)
	db := l.database(b)
	var stores []*Store
	for range 8 {
		stores = append(stores, l.open(b, db))
	}
	const n = 2000
	fill(b, stores[0], n)
	var next atomic.Int64
	b.ResetTimer()
	begun := time.Now()
	var all sync.WaitGroup
	for _, s := range stores {
		for range 8 {
			all.Go(func() {
				for {
					i := next.Add(1)
					if i > int64(b.N) {
						return
					}
					claim, err := s.Lock(b.Context(), arn(int(i)%n))
					if err != nil {
						b.Error(err)
						return
					}
					if err := describe(claim, b.Context(), "x"); err != nil {
						b.Error(err)
					}
					claim.Release()
				}
			})
		}
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "claims/s")
}

// What is due is read, and claimed by one process: a thousand of 20,000.
func BenchmarkClaimOfThousandDue(b *testing.B) {
	l := at(b, servers.Postgres15)
	s := l.open(b, l.database(b))
	fill(b, s, 20_000)
	for b.Loop() {
		due, err := s.Due(b.Context(), time.Now(), service.DueAfter{}, 1000)
		if err != nil || len(due) != 1000 {
			b.Fatal(len(due), err)
		}
		claims := make([]service.Lease, len(due))
		var all sync.WaitGroup
		for i, sec := range due {
			all.Go(func() {
				var err error
				if claims[i], err = s.Lock(b.Context(), sec.ARN); err != nil {
					b.Error(err)
				}
			})
		}
		all.Wait()
		b.StopTimer()
		for _, c := range claims {
			all.Go(c.Release)
		}
		all.Wait()
		b.StartTimer()
	}
}

func BenchmarkPeekAndValue(b *testing.B) {
	l := at(b, servers.Postgres15)
	s := l.open(b, l.database(b))
	const n = 100
	fill(b, s, n)
	arns := make([]secrets.ARN, n)
	for i := range arns {
		arns[i] = arn(i)
	}
	id := versionID(1)
	for _, at := range []int{1, 16} {
		b.Run(fmt.Sprintf("at=%d", at), func(b *testing.B) {
			b.SetParallelism(at)
			var worker atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				for i := int(worker.Add(7)); pb.Next(); i++ {
					a := arns[i%n]
					if _, err := s.Peek(b.Context(), secrets.ID{ARN: a}); err != nil {
						b.Error(err)
					}
					if _, err := s.Value(b.Context(), a, id); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
