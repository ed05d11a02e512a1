package postgres

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// strict has a store remember nothing, so that it sees at once what another one
// wrote.
func strict(s *Store) *Store {
	s.cache.fresh, s.revision.fresh = 0, 0
	return s
}

func arn(n int) secrets.ARN {
	return secrets.ARN{Partition: "aws", Region: "eu-west-1", Account: "123456789012", Name: fmt.Sprintf("prod/db-%05d", n), Suffix: "AbC123"}
}

func versionID(n int) string { return fmt.Sprintf("%08d-0000-4000-8000-000000000000", n) }

// cacheMachine is a cache, and a database of one secret: its state is a number, which
// rises with each write, and is both in the record and in the value of each of three
// versions. A query sees the state of the moment it began at.
type cacheMachine struct {
	c      *cache
	now    time.Time
	state  int
	mine   int         // the last state of this process's that everybody here has to see
	writes bool        // this process is writing
	ahead  int         // what it has committed and was not told so
	found  int         // in memory last: it never goes back
	since  []time.Time // when each state came to be
	onWay  []*cacheQuery
	joined int
}

// cacheQuery is a query that has seen a state and did not yet come back.
type cacheQuery struct {
	saw   int
	least int // that those who wait for it may get
	end   chan struct{}
	// one of them
	record *flight[*entry]
	value  *flight[[]byte]
}

// oldest is the oldest state that who asks now may be told.
func (m *cacheMachine) oldest() int {
	for s := m.state; s > m.mine; s-- {
		if m.now.Sub(m.since[s]) >= freshTime {
			return s
		}
	}
	return m.mine
}

func (m *cacheMachine) write() {
	m.state++
	m.since = append(m.since, m.now)
}

// seen notes that somebody got a state: nobody gets what was before this process's
// own writes in it.
func (m *cacheMachine) seen(state int) {
	if m.ahead != 0 && state >= m.ahead {
		m.mine = max(m.mine, m.ahead)
	}
}

func (m *cacheMachine) check(t *rapid.T, what string, got, least int) {
	if got < least {
		t.Fatalf("%s is of state %d; it has to be of %d at least", what, got, least)
	}
}

func (m *cacheMachine) find(t *rapid.T) {
	p, id := placeOf(arn(0)), rapid.IntRange(0, 2).Draw(t, "version")
	sec := m.c.find(p)
	if sec != nil {
		m.check(t, "a record", int(sec.Revision), max(m.oldest(), m.found))
		m.found = int(sec.Revision)
		m.seen(m.found)
	}
	if v := m.c.value(arn(0), versionID(id)); v != nil {
		m.check(t, "a value", int(v[0]), m.oldest())
		if sec != nil {
			m.check(t, "the value of a record", int(v[0]), int(sec.Revision))
		}
	}
}

// ask asks for what find did not find. A query that was begun before is joined, or
// one is begun.
func (m *cacheMachine) ask(t *rapid.T) {
	q := &cacheQuery{saw: m.state, end: make(chan struct{})}
	id := versionID(rapid.IntRange(0, 2).Draw(t, "version"))
	least := m.oldest()
	if rapid.Bool().Draw(t, "a record") {
		if m.c.find(placeOf(arn(0))) != nil {
			return
		}
		q.record = m.c.record(placeOf(arn(0)), func() (*service.Secret, service.Sealed, error) {
			<-q.end
			return &service.Secret{ARN: arn(0), Revision: int64(q.saw)}, service.Sealed{versionID(0): {byte(q.saw)}}, nil
		})
	} else {
		if m.c.value(arn(0), id) != nil {
			return
		}
		if sec := m.c.find(placeOf(arn(0))); sec != nil {
			least = max(least, int(sec.Revision))
		}
		q.value = m.c.sealed(arn(0), id, func() ([]byte, error) {
			<-q.end
			return []byte{byte(q.saw)}, nil
		})
	}
	for _, before := range m.onWay {
		if before.record == q.record && before.value == q.value {
			before.least = max(before.least, least)
			m.joined++
			return
		}
	}
	q.least = least
	m.onWay = append(m.onWay, q)
}

func (m *cacheMachine) comesBack(t *rapid.T) {
	if len(m.onWay) == 0 {
		t.Skip("none is on its way")
	}
	i := rapid.IntRange(0, len(m.onWay)-1).Draw(t, "which")
	q := m.onWay[i]
	m.onWay = slices.Delete(m.onWay, i, i+1)
	close(q.end)
	if q.record != nil {
		<-q.record.done
		m.check(t, "a record that was waited for", int(q.record.value.secret.Revision), q.least)
		m.seen(q.saw)
	} else {
		<-q.value.done
		m.check(t, "a value that was waited for", int(q.value.value[0]), q.least)
		m.seen(q.saw)
	}
}

// Queries begin and come back in any order, between writes of this process and of
// others, as time goes on.
func TestCacheIsNeverOlderThanItMay(t *testing.T) {
	joined, known := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		m := &cacheMachine{c: newCache(), now: time.Now()}
		m.since = []time.Time{m.now}
		m.c.now = func() time.Time { return m.now }
		defer func() {
			for _, q := range m.onWay {
				close(q.end)
			}
			joined += m.joined
		}()
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				if m.c.find(placeOf(arn(0))) != nil {
					known++
				}
			},
			"find":       m.find,
			"ask":        m.ask,
			"ask too":    m.ask,
			"comes back": m.comesBack,
			"write": func(*rapid.T) {
				if !m.writes {
					m.writes = true
					m.c.writing(placeOf(arn(0)).mark())
				}
			},
			"commit": func(*rapid.T) {
				if m.writes && m.ahead == 0 {
					m.write()
					m.ahead = m.state
				}
			},
			"wrote": func(*rapid.T) {
				if m.writes {
					m.c.wrote(placeOf(arn(0)).mark())
					m.mine = max(m.mine, m.ahead)
					m.writes, m.ahead = false, 0
				}
			},
			"another writes": func(*rapid.T) { m.write() },
			"a notice comes": func(*rapid.T) {
				m.c.forget(placeOf(arn(0)).mark())
			},
			"another secret": func(*rapid.T) { m.c.forget(placeOf(arn(1)).mark()) },
			"time": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.SampledFrom([]int{1, 100, 300, 400, 699}).Draw(t, "milliseconds")) * time.Millisecond)
			},
		})
	})
	if joined == 0 || known == 0 {
		t.Errorf("%d queries were joined, %d times something was known", joined, known)
	}
}

// The query of a value was begun under a record that has made way for a newer one.
func TestValueIsNotOlderThanItsRecord(t *testing.T) {
	now := time.Now()
	c := newCache()
	c.now = func() time.Time { return now }
	record := func(n int) {
		t.Helper()
		_, err := c.record(placeOf(arn(0)), func() (*service.Secret, service.Sealed, error) {
			return &service.Secret{ARN: arn(0), Revision: int64(n)}, nil, nil
		}).wait(t.Context())
		if err != nil {
			t.Fatal(err)
		}
	}
	end := make(chan struct{})
	value := func(n byte) *flight[[]byte] {
		return c.sealed(arn(0), versionID(1), func() ([]byte, error) { <-end; return []byte{n}, nil })
	}
	record(1)
	now = now.Add(freshTime - time.Millisecond)
	old := value(1)
	if value(1) != old {
		t.Error("a query is not shared")
	}
	now = now.Add(time.Millisecond)
	record(2)
	now = now.Add(time.Millisecond)
	anew := value(2)
	if anew == old {
		t.Error("the value of a record comes from before it")
	}
	close(end)
	<-old.done
	<-anew.done
	if v := c.value(arn(0), versionID(1)); len(v) != 1 || v[0] != 2 {
		t.Errorf("what is kept is %v", v)
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := newCache()
	c.limit = 200_000
	for n := range 5000 {
		a := arn(n % 700)
		values := service.Sealed{versionID(1): make([]byte, 37*(n%50))}
		e, err := c.record(placeOf(a), func() (*service.Secret, service.Sealed, error) {
			return &service.Secret{ARN: a, Versions: secrets.Versions{{ID: versionID(1)}, {ID: versionID(2)}}}, values, nil
		}).wait(t.Context())
		if err != nil || e.secret.ARN != a {
			t.Fatal(e, err)
		}
		if _, err := c.sealed(a, versionID(2), func() ([]byte, error) { return make([]byte, n), nil }).wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		total, young := 0, 0
		for _, e := range c.old {
			total += e.size
		}
		for m, e := range c.young {
			total, young = total+e.size, young+e.size
			if c.old[m] != nil {
				t.Fatal("a secret is there twice")
			}
		}
		if young != c.size {
			t.Fatalf("%d bytes are counted as %d", young, c.size)
		}
		if total > c.limit+c.limit/8 { // the last to come may be too much
			t.Fatalf("%d bytes are kept", total)
		}
		if len(c.records)+len(c.values) != 0 {
			t.Fatal("queries that are over are kept")
		}
	}
}

// Who has the mark of another secret displaces it, and is never taken for it.
func TestCacheOfTheSameMark(t *testing.T) {
	c := newCache()
	a := arn(0)
	m := placeOf(a).mark()
	c.put(m, newEntry(&service.Secret{ARN: arn(1)}, service.Sealed{versionID(1): {1}}, time.Now()))
	if c.find(placeOf(a)) != nil || c.value(a, versionID(1)) != nil {
		t.Error("a secret was taken for another one")
	}
	if placeOf(a).mark() == placeOf(arn(1)).mark() || (place{"a", "b", "c"}).mark() == (place{"a", "bc", ""}).mark() {
		t.Error("different places have one mark")
	}
}

func TestPeekAllocatesNothing(t *testing.T) {
	c := newCache()
	c.put(placeOf(arn(0)).mark(), newEntry(&service.Secret{ARN: arn(0)}, service.Sealed{versionID(1): {1}}, time.Now().Add(time.Hour)))
	s := &Store{memory: memory{cache: c}}
	ctx, a, id := t.Context(), arn(0), versionID(1)
	n := testing.AllocsPerRun(100, func() {
		if _, err := s.Peek(ctx, secrets.ID{ARN: a}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Value(ctx, a, id); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestNoticesSayWhatWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		marks := map[mark]struct{}{}
		for _, m := range rapid.SliceOfN(rapid.Uint64(), 0, 1500).Draw(t, "marks") {
			marks[mark(m)] = struct{}{}
		}
		settings := rapid.Bool().Draw(t, "settings")
		got, gotSettings := map[mark]struct{}{}, false
		for _, p := range payloads("ME", marks, settings) {
			if len(p) >= 8000 {
				t.Fatalf("a payload of %d bytes", len(p))
			}
			if !readNotice("ME", p).own {
				t.Fatal("his own notice is somebody else's")
			}
			n := readNotice("YOU", p)
			if n.own || n.all {
				t.Fatalf("%+v", n)
			}
			gotSettings = gotSettings || n.settings
			for _, m := range n.marks {
				got[m] = struct{}{}
			}
		}
		if len(got) != len(marks) || gotSettings != settings {
			t.Fatalf("%d of %d marks, settings %t", len(got), len(marks), gotSettings)
		}
		for m := range marks {
			if _, ok := got[m]; !ok {
				t.Fatalf("%d is lost", m)
			}
		}
	})
	many := map[mark]struct{}{}
	for n := range noticeMarks + 1 {
		many[mark(n)] = struct{}{}
	}
	if p := payloads("ME", many, false); len(p) != 1 || !readNotice("YOU", p[0]).all {
		t.Errorf("too many marks are %d payloads", len(p))
	}
	if n := readNotice("YOU", "ME 3 what-is-this"); !n.all || !n.settings {
		t.Error("what is not understood is not everything")
	}
}
