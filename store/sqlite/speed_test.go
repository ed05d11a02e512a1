package sqlite

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/storetest"
)

// sizes are the stores that are compared: what is quick in the first must be
// quick in the second.
var sizes = []int{100, 100_000}

// BenchmarkSizes measures each operation on a small and on a large store, from
// 32 goroutines where many do it at once.
func BenchmarkSizes(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("secrets=%d", n), func(b *testing.B) { benchmarkSize(b, n) })
	}
}

func benchmarkSize(b *testing.B, n int) {
	s := open(b, filepath.Join(b.TempDir(), "pawl.db"))
	start := time.Now()
	if err := storetest.Fill(b.Context(), s, n, nil); err != nil {
		b.Fatal(err)
	}
	b.Logf("%d secrets made in %v", n, time.Since(start).Round(time.Millisecond))

	read := func(b *testing.B, i int) {
		for range 10 { // the version may be pruned between the two
			sec, err := s.Find(b.Context(), secrets.ID{ARN: storetest.FillARN(i)})
			if err == nil {
				_, err = s.Value(b.Context(), sec.ARN, sec.Versions.IDWith(secrets.Current))
			}
			if err == nil {
				return
			}
			if !errors.Is(err, service.ErrNotFound) {
				b.Error(err)
			}
		}
		b.Error("it is not there")
	}
	b.Run("read=hot", func(b *testing.B) { together(b, func(int) { read(b, rand.IntN(100)) }) })
	b.Run("read=any", func(b *testing.B) { together(b, func(int) { read(b, rand.IntN(n)) }) })
	b.Run("read=one", func(b *testing.B) {
		for b.Loop() {
			read(b, 0)
		}
	})
	var serial atomic.Int64
	b.Run("put", func(b *testing.B) {
		together(b, func(int) {
			if err := put(b, s, storetest.FillARN(rand.IntN(n)), int(serial.Add(1))); err != nil {
				b.Error(err)
			}
		})
	})
	b.Run("put+read", func(b *testing.B) {
		together(b, func(worker int) {
			if worker%8 == 0 {
				if err := put(b, s, storetest.FillARN(rand.IntN(n)), int(serial.Add(1))); err != nil {
					b.Error(err)
				}
				return
			}
			read(b, rand.IntN(100))
		})
	})
	list := func(l service.Listing, want int) func(*testing.B) {
		l.Account, l.Region, l.N = service.DefaultAccount, service.DefaultRegion, 100
		return func(b *testing.B) {
			for b.Loop() {
				page, err := s.List(b.Context(), l)
				if err != nil || len(page) != want {
					b.Fatal(len(page), err)
				}
			}
		}
	}
	for order, name := range []string{"name", "created", "changed", "accessed"} {
		order := service.Order(order)
		b.Run("list="+name, list(service.Listing{Order: order}, 100))
		b.Run("list="+name+"/few", list(service.Listing{Order: order, Prefix: "team-0001/"}, storetest.FillGroup))
		b.Run("list="+name+"/later", func(b *testing.B) {
			page, err := s.List(b.Context(), service.Listing{Account: service.DefaultAccount, Region: service.DefaultRegion, Order: order, N: n / 10})
			if err != nil {
				b.Fatal(err)
			}
			last := order.PositionOf(page[len(page)-1])
			list(service.Listing{Order: order, After: last}, min(100, n-len(page)))(b)
		})
	}
	b.Run("due", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Due(b.Context(), time.Now().Add(1e6*time.Hour), service.DueAfter{}, 100); err != nil {
				b.Fatal(err)
			}
		}
	})
	runtime.GC()
	b.Logf("resident: %d MB", resident()>>20)
}

// BenchmarkRequest is what a request for a value asks of a store, from 32
// goroutines: whether the settings changed, the record, the value.
func BenchmarkRequest(b *testing.B) {
	s := open(b, filepath.Join(b.TempDir(), "pawl.db"))
	if err := storetest.Fill(b.Context(), s, 100, nil); err != nil {
		b.Fatal(err)
	}
	read := func(b *testing.B) {
		sec, err := s.Find(b.Context(), secrets.ID{ARN: storetest.FillARN(rand.IntN(100))})
		if err == nil {
			_, err = s.Value(b.Context(), sec.ARN, sec.Versions.IDWith(secrets.Current))
		}
		if err != nil {
			b.Error(err)
		}
	}
	b.Run("read", func(b *testing.B) { together(b, func(int) { read(b) }) })
	b.Run("settings+read", func(b *testing.B) {
		together(b, func(int) {
			if _, err := s.SettingsRevision(b.Context()); err != nil {
				b.Error(err)
			}
			read(b)
		})
	})
}

// together calls do from 32 goroutines.
func together(b *testing.B, do func(worker int)) {
	var worker atomic.Int64
	b.SetParallelism(max(1, 32/runtime.GOMAXPROCS(0)))
	before := cpu()
	b.RunParallel(func(pb *testing.PB) {
		me := int(worker.Add(1))
		for pb.Next() {
			do(me)
		}
	})
	b.ReportMetric(float64((cpu()-before).Nanoseconds())/1000/float64(b.N), "cpu-us/op")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "op/s")
}

// put makes the write of a PutSecretValue, and keeps three versions.
func put(b *testing.B, s *Store, a secrets.ARN, n int) error {
	id, now := versionID(n), time.Now()
	_, err := s.Update(b.Context(), a, func(sec *service.Secret) (service.Sealed, error) {
		vs, err := sec.Versions.Put(secrets.Version{ID: id, Created: now}, nil)
		if err != nil {
			return nil, err
		}
		sec.Versions, sec.Changed, sec.ValueChanged = vs[max(0, len(vs)-3):], now, now
		return service.Sealed{id: make([]byte, 500)}, nil
	})
	return err
}

// resident is the memory of the process in bytes, 0 where the system does not
// say.
func resident() int {
	b, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	var kb int
	_, _ = fmt.Sscan(rest, &kb)
	return kb << 10
}
