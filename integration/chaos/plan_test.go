//go:build linux

package chaos_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pawlhq/pawl/service"
)

// What happens to replicas, and to the store.
type trouble string

const (
	killed     trouble = "kill -9"
	paused     trouble = "SIGSTOP"
	cutStore   trouble = "cut off from the store"
	cutTarget  trouble = "cut off from the target"
	cutBoth    trouble = "cut off from both"
	slow       trouble = "slow links"
	storeDies  trouble = "the store's server dies"
	everyFault         = 7
)

var troubles = [everyFault]trouble{killed, paused, cutStore, cutTarget, cutBoth, slow, storeDies}

// fault is one trouble of one replica.
type fault struct {
	trouble trouble
	at, end time.Duration // since the beginning
	replica int           // none of storeDies
	delay   time.Duration // of slow links, each way
	aimed   bool          // it comes when the replica sends a password to the target
	skew    time.Duration // of the clock after a kill
}

func (f fault) String() string {
	s := fmt.Sprintf("%6.2fs  %s", f.at.Seconds(), f.trouble)
	if f.trouble != storeDies {
		s += fmt.Sprintf(", replica %d, for %.2fs", f.replica, (f.end - f.at).Seconds())
	}
	switch f.trouble {
	case killed:
		s += fmt.Sprintf(", then its clock is wrong by %v", f.skew)
	case slow:
		s += fmt.Sprintf(", %v each way", f.delay)
	}
	if f.aimed {
		s += ", aimed"
	}
	return s
}

// disables reports whether a replica can't rotate while it lasts.
func (f fault) disables() bool { return f.trouble != slow && f.trouble != storeDies }

// maxSkew is how wrong a clock may be.
const maxSkew = 10 * time.Minute

// lead is how long what is aimed waits for its moment.
const lead = 2 * time.Second

// quiet is how long before the end nothing begins any more.
const quiet = time.Second

// plan draws the faults of a run: always the same ones for a seed and a length. At
// every time one replica at least is troubled by nothing but slowness. A minute
// has a pause and a cut beyond the lease.
func plan(seed uint64, length time.Duration, replicas int) []fault {
	random := rand.New(rand.NewPCG(seed, 1))
	between := func(a, b time.Duration) time.Duration { return a + time.Duration(random.Int64N(int64(b-a))) }
	var fs []fault
	// free are the replicas that a fault may have: its own troubles don't overlap,
	// and another replica is left alone.
	free := func(f fault) []int {
		var busy []int
		disabled := 0
		for _, g := range fs {
			if g.trouble == storeDies || g.end < f.at || f.end < g.at {
				continue
			}
			if !slices.Contains(busy, g.replica) {
				busy = append(busy, g.replica)
				if g.disables() {
					disabled++
				}
			}
		}
		if f.disables() && disabled >= replicas-1 {
			return nil
		}
		var out []int
		for i := range replicas {
			if !slices.Contains(busy, i) {
				out = append(out, i)
			}
		}
		return out
	}
	add := func(f fault) {
		if f.end = min(f.end, length-quiet); f.end <= f.at {
			return
		}
		if f.trouble != storeDies {
			there := free(f)
			if len(there) == 0 {
				return
			}
			f.replica = there[random.IntN(len(there))]
		}
		fs = append(fs, f)
	}
	long := func(t trouble, at time.Duration) {
		add(fault{trouble: t, at: at, aimed: true, end: at + lead + between(service.LeaseTime+2*time.Second, 24*time.Second)})
	}
	for minute := time.Duration(0); minute+time.Minute <= length; minute += time.Minute {
		long(paused, minute+between(3*time.Second, 8*time.Second))
		at, by := minute+between(9*time.Second, 13*time.Second), between(2*time.Minute, maxSkew).Round(time.Second)
		add(fault{trouble: killed, at: at, end: at + between(100*time.Millisecond, 3*time.Second), skew: by * time.Duration(1-2*random.IntN(2))})
		long([]trouble{cutStore, cutTarget, cutBoth, cutBoth, cutBoth}[random.IntN(5)], minute+between(28*time.Second, 32*time.Second))
	}
	for at := between(time.Second, 3*time.Second); at < length-quiet; at += between(500*time.Millisecond, 3500*time.Millisecond) {
		f := fault{at: at, aimed: random.IntN(2) == 0, end: at + lead + between(time.Second, 24*time.Second)}
		switch n := random.IntN(100); {
		case n < 35:
			f.trouble, f.end = killed, at+lead+between(100*time.Millisecond, 3*time.Second)
			if random.IntN(2) == 0 {
				f.skew = between(-maxSkew, maxSkew).Round(time.Second)
			}
		case n < 55:
			f.trouble = paused
		case n < 75:
			f.trouble = []trouble{cutStore, cutTarget, cutBoth}[random.IntN(3)]
		case n < 92:
			f.trouble, f.aimed, f.delay = slow, false, between(time.Millisecond, 100*time.Millisecond)
		default:
			f.trouble, f.aimed, f.end = storeDies, false, at+time.Second
		}
		add(f)
	}
	slices.SortStableFunc(fs, func(a, b fault) int { return int(a.at - b.at) })
	return fs
}

func TestPlan(t *testing.T) {
	for seed := range uint64(200) {
		const length, replicas = 2 * time.Minute, 3
		fs := plan(seed, length, replicas)
		if !slices.Equal(fs, plan(seed, length, replicas)) {
			t.Fatal("another plan for the same seed")
		}
		pauses, cuts, skews := 0, 0, 0
		for i, f := range fs {
			if f.at < 0 || f.end > length-quiet || f.end <= f.at || f.skew.Abs() > maxSkew {
				t.Fatalf("seed %d: %v", seed, f)
			}
			beyond := f.end-f.at-lead > service.LeaseTime
			if f.skew.Abs() >= 2*time.Minute {
				skews++
			}
			if f.trouble == paused && beyond {
				pauses++
			}
			if (f.trouble == cutStore || f.trouble == cutTarget || f.trouble == cutBoth) && beyond {
				cuts++
			}
			if f.trouble == storeDies {
				continue
			}
			troubled := map[int]bool{}
			for j, g := range fs {
				if i == j || g.trouble == storeDies || f.at < g.at || g.end < f.at {
					continue
				}
				if g.replica == f.replica {
					t.Fatalf("seed %d: %v and %v", seed, f, g)
				}
				if g.disables() {
					troubled[g.replica] = true
				}
			}
			if f.disables() && len(troubled) > replicas-2 {
				t.Fatalf("seed %d: nobody is left at %v:\n%v", seed, f.at, fs)
			}
		}
		if pauses < 2 || cuts < 2 || skews < 2 {
			t.Errorf("seed %d: %d pauses and %d cuts beyond the lease, %d wrong clocks", seed, pauses, cuts, skews)
		}
	}
}
