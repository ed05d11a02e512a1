package conformance

import (
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Answer is what an endpoint sent back. Methods that expect something end the
// rule when they are disappointed.
type Answer struct {
	p       *Probe
	op      string
	Status  int
	Header  http.Header
	Length  int64 // as the header said; -1 = it did not
	Body    []byte
	Members M // nil if the body is not a JSON object; numbers are json.Number
}

// String shows the answer in short. The values in it are the rule's own.
func (a *Answer) String() string {
	body := string(a.Body)
	if len(body) > 500 {
		body = body[:500] + "…"
	}
	return fmt.Sprintf("%s → %d %s", a.op, a.Status, body)
}

// Code returns the exception, or "".
func (a *Answer) Code() string {
	if a.Status == http.StatusOK {
		return ""
	}
	t, _ := a.Members["__type"].(string)
	t, _, _ = strings.Cut(t[strings.LastIndexByte(t, '#')+1:], ":")
	return t
}

// Text returns an error's text: Message, or message as the front end of AWS
// spells it.
func (a *Answer) Text() string {
	for _, m := range []string{"Message", "message"} {
		if t, ok := a.Members[m].(string); ok {
			return t
		}
	}
	return ""
}

// Refused expects an exception with a text; one that is empty is any.
func (a *Answer) Refused(code, text string) *Answer {
	if a.Status != http.StatusBadRequest || code != "" && a.Code() != code || text != "" && a.Text() != text {
		a.p.Fail("want 400 %s %q, got %s", code, short(text), a)
	}
	return a
}

func short(s string) string {
	if len(s) > 300 {
		return s[:150] + "…" + s[len(s)-100:]
	}
	return s
}

// Exactly expects these members and no others.
func (a *Answer) Exactly(names ...string) *Answer {
	var got []string
	for k := range a.Members {
		got = append(got, k)
	}
	slices.Sort(got)
	want := slices.Sorted(slices.Values(names))
	if !slices.Equal(got, want) {
		a.p.Fail("want exactly the members %v, got %v: %s", want, got, a)
	}
	return a
}

// Absent expects that the members are not there at all.
func (a *Answer) Absent(names ...string) *Answer {
	for _, n := range names {
		if v, ok := a.Members[n]; ok {
			a.p.Fail("want no member %s, got %v: %s", n, v, a)
		}
	}
	return a
}

// Is expects a member's value.
func (a *Answer) Is(name string, want any) *Answer {
	got, ok := a.Members[name]
	if !ok || !equal(got, want) {
		a.p.Fail("want %s to be %s, got %s", name, compact(want), a)
	}
	return a
}

// equal compares as JSON.
func equal(a, b any) bool { return compact(a) == compact(b) }

func compact(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// Labels expects a member that lists labels, in any order.
func (a *Answer) Labels(name string, want ...string) *Answer {
	got := a.p.labels(a.Members[name])
	if !slices.Equal(got, slices.Sorted(slices.Values(want))) {
		a.p.Fail("want %s to be %v, got %s", name, want, a)
	}
	return a
}

// labels returns a list of labels in order.
func (p *Probe) labels(v any) []string {
	var out []string
	list, _ := v.([]any)
	for _, l := range list {
		s, _ := l.(string)
		out = append(out, s)
	}
	slices.Sort(out)
	return out
}

// Str returns a member that must be a text, not empty.
func (a *Answer) Str(name string) string {
	s, _ := a.Members[name].(string)
	if s == "" {
		a.p.Fail("want a text in %s, got %s", name, a)
	}
	return s
}

// Time returns a member that must be a date: a number of seconds, in
// milliseconds.
func (a *Answer) Time(name string) time.Time { return a.p.time(name, a.Members[name]) }

func (p *Probe) time(name string, v any) time.Time {
	n, ok := v.(json.Number)
	r, ok2 := new(big.Rat).SetString(string(n))
	if !ok || !ok2 {
		p.Fail("want %s to be a number of seconds, got %v", name, v)
	}
	r.Mul(r, big.NewRat(1000, 1))
	if !r.IsInt() {
		p.Fail("want %s to have milliseconds at most, got %v", name, v)
	}
	return time.UnixMilli(r.Num().Int64()).UTC()
}

// list returns a member that is a list of objects.
func (a *Answer) list(name string) []M {
	var out []M
	l, _ := a.Members[name].([]any)
	for _, v := range l {
		m, ok := v.(map[string]any)
		if !ok {
			a.p.Fail("want %s to list objects, got %s", name, a)
		}
		out = append(out, m)
	}
	return out
}

// sub makes an Answer of an object within, for its expectations.
func (a *Answer) sub(m M) *Answer {
	b, _ := json.Marshal(m)
	return &Answer{p: a.p, op: a.op + " (part)", Status: a.Status, Body: b, Members: m}
}

// Within expects a date within d of another.
func (a *Answer) Within(name string, want time.Time, d time.Duration) *Answer {
	if got := a.Time(name); got.Sub(want).Abs() > d {
		a.p.Fail("want %s within %v of %s, got %s", name, d, want.UTC().Format(time.RFC3339Nano), got.Format(time.RFC3339Nano))
	}
	return a
}

// Describe describes a secret.
func (p *Probe) Describe(s *Secret) *Answer { return p.OK("DescribeSecret", M{"SecretId": s.Name}) }

// Get reads AWSCURRENT.
func (p *Probe) Get(s *Secret) *Answer { return p.OK("GetSecretValue", M{"SecretId": s.Name}) }

// Stages expects exactly these versions with labels, by version id, labels
// separated by spaces.
func (p *Probe) Stages(s *Secret, want map[string]string) {
	d := p.Describe(s)
	got := map[string]string{}
	all, _ := d.Members["VersionIdsToStages"].(map[string]any)
	for id, labels := range all {
		if l := p.labels(labels); len(l) > 0 {
			got[id] = strings.Join(l, " ")
		}
	}
	sorted := map[string]string{}
	for id, labels := range want {
		f := strings.Fields(labels)
		slices.Sort(f)
		sorted[id] = strings.Join(f, " ")
	}
	if !equal(got, sorted) {
		p.Fail("want the labels %s, got %s", compact(sorted), compact(got))
	}
}
