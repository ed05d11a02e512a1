package postgres

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Notices make what one process wrote visible in the others sooner than their
// memory would end by itself. Nothing depends on them: they may be lost.
//
// They are sent after the commit, not in the writing transaction: PostgreSQL lets
// only one transaction at a time commit that has notices. And they are gathered for
// a moment, so that a busy process sends a hundred in a second and not thousands.

const (
	channel     = "pawl"
	gatherTime  = 10 * time.Millisecond
	noticeTime  = 2 * time.Second // to send what was gathered
	noticeBytes = 7900            // of a payload, which is shorter than 8000 bytes
	noticeMarks = 4096            // more at once are everything
	silence     = 30 * time.Second
)

// What a notice's payload says, in words with a space between: who sends it, and
// then marks, or one of these.
const (
	allWord      = "*"
	settingsWord = "+"
)

// notices gathers what was written.
type notices struct {
	self string // how this process's begin

	mu       sync.Mutex
	marks    map[mark]struct{}
	settings bool
	sending  bool // somebody gathers, or sends
	hurry    chan struct{}
	ended    bool
	idle     sync.WaitGroup
}

// tell has the others hear of it soon.
func (n *notices) tell(m mark, settings bool, send func(payloads []string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return
	}
	if settings {
		n.settings = true
	} else {
		n.marks[m] = struct{}{}
	}
	if n.sending {
		return
	}
	n.sending = true
	n.idle.Go(func() {
		for {
			t := time.NewTimer(gatherTime)
			select {
			case <-t.C:
			case <-n.hurry:
				t.Stop()
			}
			payloads := n.take()
			if len(payloads) == 0 {
				return
			}
			send(payloads)
		}
	})
}

// take returns what was gathered; nothing = the sender may go.
func (n *notices) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.marks) == 0 && !n.settings {
		n.sending = false
		return nil
	}
	out := payloads(n.self, n.marks, n.settings)
	clear(n.marks)
	n.settings = false
	return out
}

// end sends what is left, and waits for it.
func (n *notices) end() {
	n.mu.Lock()
	n.ended = true
	n.mu.Unlock()
	close(n.hurry)
	n.idle.Wait()
}

// payloads says it in as many notices as it takes.
func payloads(self string, marks map[mark]struct{}, settings bool) []string {
	var out []string
	b := []byte(self)
	add := func(word string) {
		if len(b)+1+len(word) > noticeBytes {
			out, b = append(out, string(b)), []byte(self)
		}
		b = append(append(b, ' '), word...)
	}
	if settings {
		add(settingsWord)
	}
	if len(marks) > noticeMarks {
		add(allWord)
	} else {
		for m := range marks {
			add(strconv.FormatUint(uint64(m), 36))
		}
	}
	return append(out, string(b))
}

// notice is a payload as it is understood. What is not understood, which a newer
// Pawl may send, is everything.
type notice struct {
	own           bool
	all, settings bool
	marks         []mark
}

func readNotice(self, payload string) notice {
	from, words, _ := strings.Cut(payload, " ")
	if from == self {
		return notice{own: true}
	}
	var n notice
	for word := range strings.FieldsSeq(words) {
		switch m, err := strconv.ParseUint(word, 36, 64); {
		case word == settingsWord:
			n.settings = true
		case word == allWord || err != nil:
			n.all, n.settings = true, n.settings || err != nil && word != allWord
		default:
			n.marks = append(n.marks, mark(m))
		}
	}
	return n
}

// sendNotices sends them with one statement, whose commit nobody has to wait for.
func (s *Store) sendNotices(payloads []string) {
	ctx, cancel := context.WithTimeout(context.Background(), noticeTime)
	defer cancel()
	_, err := s.pool.Exec(ctx, "SELECT set_config('synchronous_commit', 'off', true), pg_notify($1, p) FROM unnest($2::text[]) AS p", channel, payloads)
	if err != nil {
		s.log.Debug("other processes could not be told what was written; they see it within a second", "error", s.classify(err))
	}
}

// listen hears of what other processes write, on a connection of its own, until
// ctx ends.
func (s *Store) listen(ctx context.Context) {
	wait := fullJitter(100*time.Millisecond, 5*time.Second)
	for ctx.Err() == nil {
		err := s.hear(ctx, wait.Reset)
		if ctx.Err() != nil {
			return
		}
		s.log.Debug("not listening to other processes for a moment; what they write is seen within a second", "error", s.classify(err))
		t := time.NewTimer(wait.NextBackOff())
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
		}
	}
}

// hear listens until the connection breaks.
func (s *Store) hear(ctx context.Context, begun func()) error {
	conn, err := s.direct(ctx)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(ctx) // it may be broken
	}()
	if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
		return err
	}
	begun()
	// What was said while nobody listened is not known.
	s.cache.empty()
	s.revision.forget()
	for {
		heard, err := func() (notice, error) {
			ctx, cancel := context.WithTimeout(ctx, silence)
			defer cancel()
			n, err := conn.WaitForNotification(ctx)
			if err != nil {
				return notice{}, err
			}
			return readNotice(s.notices.self, n.Payload), nil
		}()
		switch {
		case err != nil && ctx.Err() == nil && !conn.IsClosed():
			// Silence: is the server still there?
			ctx, cancel := context.WithTimeout(ctx, noticeTime)
			err := conn.Ping(ctx)
			cancel()
			if err != nil {
				return err
			}
		case err != nil:
			return err
		case heard.own:
		default:
			s.heard(heard)
		}
	}
}

func (s *Store) heard(n notice) {
	if n.settings {
		s.revision.forget()
	}
	if n.all {
		s.cache.empty()
	} else if len(n.marks) > 0 {
		s.cache.forget(n.marks...)
	}
}

// fullJitter waits a time drawn evenly between none and least, and twice, four
// times that … up to most.
func fullJitter(least, most time.Duration) *backoff.ExponentialBackOff {
	return backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(least/2), backoff.WithMaxInterval(most/2), backoff.WithMultiplier(2),
		backoff.WithRandomizationFactor(1), backoff.WithMaxElapsedTime(0))
}
