package lambda

import (
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-lambda-go/lambda/messages"

	"github.com/pawlhq/pawl/rotator"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// Bounds of a Summary: Lambda takes no answer of any length, and the log has a
// line for each secret.
const (
	maxListed = 100
	maxText   = 1000 // bytes of one error
)

// Summary is what an invocation did.
type Summary struct {
	Rotated []Rotated `json:"rotated"`
	Failed  []Failed  `json:"failed"`
	// Left are those that were not begun for lack of time. They stay due.
	Left []string `json:"left"`
	// Unlisted is how many more there are, of all three, than are listed.
	Unlisted int `json:"unlisted,omitempty"`
}

// Rotated is a secret that was rotated.
type Rotated struct {
	Secret    string          `json:"secret"`
	VersionID string          `json:"versionId,omitempty"`
	Outcome   rotator.Outcome `json:"outcome"`
}

// Failed is a secret that was not.
type Failed struct {
	Secret string `json:"secret"`
	Kind   string `json:"kind"` // the type of the error
	Error  string `json:"error"`
	// NextTry is the earliest time when a schedule tries it again; absent where
	// that was not recorded.
	NextTry *time.Time `json:"nextTry,omitempty"`
}

// summary is a Summary that several write.
type summary struct {
	mu      sync.Mutex
	is      Summary
	waiting []string                   // not begun
	running []string                   // begun and not ended
	broken  map[string]map[string]bool // by server: the secrets that failed there
	worst   secrets.Kind               // of the failures
}

// expect says which secrets it will be about.
func (s *summary) expect(ds []service.Due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range ds {
		s.waiting = append(s.waiting, d.ARN.Name)
	}
}

func remove(from *[]string, name string) {
	if i := slices.Index(*from, name); i >= 0 {
		*from = slices.Delete(*from, i, i+1)
	}
}

func (s *summary) begin(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	remove(&s.waiting, name)
	s.running = append(s.running, name)
}

// done counts a secret as rotated, or as nothing where another one was faster.
func (s *summary) done(name string, r rotator.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	remove(&s.running, name)
	if r.Outcome != rotator.AtRest {
		s.is.Rotated = append(s.is.Rotated, Rotated{Secret: name, VersionID: r.Version, Outcome: r.Outcome})
	}
}

func (s *summary) failed(name string, err error, next time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	remove(&s.running, name)
	s.fail(name, err, next)
}

func (s *summary) fail(name string, err error, next time.Time) {
	kind := secrets.KindOf(err)
	f := Failed{Secret: name, Kind: typeOf(kind), Error: secrets.OneLine(err, maxText)}
	if !next.IsZero() {
		next = next.UTC().Truncate(time.Second)
		f.NextTry = &next
	}
	if len(s.is.Failed) == 0 || slices.Index(severity, kind) < slices.Index(severity, s.worst) {
		s.worst = kind
	}
	s.is.Failed = append(s.is.Failed, f)
}

// severity has first what needs a person.
var severity = []secrets.Kind{secrets.Denied, secrets.Invalid, secrets.Unknown, secrets.Transient, secrets.Conflict}

// down notes at which server a secret's rotation failed, for a reason that waiting
// may cure, and reports whether that server is down.
func (s *summary) down(name string, err error) bool {
	at := server(err)
	if at == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.broken = map[string]map[string]bool{}
	}
	if s.broken[at] == nil {
		s.broken[at] = map[string]bool{}
	}
	s.broken[at][name] = true
	return len(s.broken[at]) >= enoughDown
}

// isDown reports whether a server (host:port) is down.
func (s *summary) isDown(addr string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for at, names := range s.broken {
		if len(names) >= enoughDown && secrets.SameServer(at, addr) {
			return true
		}
	}
	return false
}

// enoughDown is how many secrets' rotations must have failed at a server before
// it is the server, and not one of them, that is down.
const enoughDown = 2

// leave counts what was not begun as left, and returns how many that are.
func (s *summary) leave() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.is.Left = append(s.is.Left, s.waiting...)
	s.waiting = nil
	return len(s.is.Left)
}

// cut counts what is running as failed for lack of time.
func (s *summary) cut() {
	s.mu.Lock()
	for _, name := range s.running {
		s.fail(name, outOfTime(name, "", invokeAgain), time.Time{})
	}
	s.running = nil
	s.mu.Unlock()
	s.leave()
}

// answer is what there is to tell, cut to what Lambda takes.
func (s *summary) answer() Summary {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out Summary
	out.Rotated = listed(s.is.Rotated, &out.Unlisted)
	out.Failed = listed(s.is.Failed, &out.Unlisted)
	out.Left = listed(s.is.Left, &out.Unlisted)
	return out
}

// listed copies as many as are listed, and counts the others.
func listed[T any](all []T, others *int) []T {
	n := min(len(all), maxListed)
	*others += len(all) - n
	return append([]T{}, all[:n]...)
}

// failure is an error with the answer as its message, of the type of the worst
// failure; nil where none failed.
func (s *summary) failure() error {
	out := s.answer()
	if len(out.Failed) == 0 {
		return nil
	}
	b, err := json.Marshal(out)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return messages.InvokeResponse_Error{Type: typeOf(s.worst), Message: string(b)}
}
