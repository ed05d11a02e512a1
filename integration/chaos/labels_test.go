//go:build linux

package chaos_test

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/postgres"
)

// The labels that clients move beside AWS's two.
const blue, green = "blue", "green"

// places are where a secret's labels are; "" = nowhere.
type places struct{ current, previous, blue, green string }

func (p places) of(label string) string {
	switch label {
	case secrets.Current:
		return p.current
	case secrets.Previous:
		return p.previous
	case blue:
		return p.blue
	}
	return p.green
}

// with is p after a label was put on a version: AWSPREVIOUS goes where AWSCURRENT
// was.
func (p places) with(label, version string) places {
	switch label {
	case secrets.Current:
		if p.current != version {
			p.current, p.previous = version, p.current
		}
	case blue:
		p.blue = version
	default:
		p.green = version
	}
	return p
}

// placesIn reads what DescribeSecret shows.
func placesIn(stages map[string][]string) (places, error) {
	var p places
	for _, version := range slices.Sorted(maps.Keys(stages)) {
		for _, label := range stages[version] {
			at := map[string]*string{secrets.Current: &p.current, secrets.Previous: &p.previous, blue: &p.blue, green: &p.green}[label]
			if at == nil || *at != "" {
				return p, fmt.Errorf("%s is on %s, and on another version or nobody's", label, version)
			}
			*at = version
		}
	}
	return p, nil
}

// What clients do with labels.
type verb string

const (
	puts      verb = "put"      // a new version, with a label
	moves     verb = "move"     // a label from one version to another
	describes verb = "describe" // look
)

// asked is what a client asked for, and done what he was answered.
type asked struct {
	verb            verb
	label, to, from string
}

type done struct {
	known   bool // else there was no answer: it may have happened, or happen yet
	refused bool
	saw     places
}

func (a asked) String() string {
	return strings.TrimSpace(fmt.Sprintf("%s %s %.8s from %.8s", a.verb, a.label, a.to, a.from))
}

func (d done) String() string {
	switch {
	case !d.known:
		return "no answer"
	case d.refused:
		return "refused"
	case d.saw != places{}:
		return fmt.Sprintf("%.8s", []string{d.saw.current, d.saw.previous, d.saw.blue, d.saw.green})
	}
	return "done"
}

// model is what a secret's labels do, as one after the other would see it.
func model(initial places) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return initial },
		Step: func(state, input, output any) (bool, any) {
			p, in, out := state.(places), input.(asked), output.(done)
			switch in.verb {
			case describes:
				return p == out.saw, p
			case puts:
				if out.refused {
					return true, p // there are too many versions, say: nothing of labels
				}
				return true, p.with(in.label, in.to)
			}
			fits := p.of(in.label) == in.from || p.of(in.label) == in.to
			switch {
			case out.refused:
				return !fits, p
			case !fits:
				return !out.known, p
			}
			return true, p.with(in.label, in.to)
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprint(input, " -> ", output) },
	}
}

// operation is one thing that a client did, when, and at which process.
type operation struct {
	asked
	done
	process    int // each start of a replica is another
	start, end time.Time
}

// history is what became of one secret.
type history struct {
	secret     string
	initial    places
	operations []operation
}

// stale is how old what a DescribeSecret shows may be.
const stale = postgres.MaxStale

// linearizable reports whether the history is one that one process might have
// made, doing one thing after the other, where a look may be of stale ago; but of
// what its own process wrote it is not that old. What got no answer may happen at
// any time. decided is false where that could not be found out in time.
func (h history) linearizable(limit time.Duration) (ok, decided bool) {
	var ops []porcupine.Operation
	for _, o := range h.operations {
		call, ret := o.start, o.end.UnixNano()
		if o.verb == describes {
			if !o.known {
				continue
			}
			call = h.asOf(o)
		} else if !o.known {
			ret = math.MaxInt64
		}
		ops = append(ops, porcupine.Operation{Input: o.asked, Call: call.UnixNano(), Output: o.done, Return: ret})
	}
	switch porcupine.CheckOperationsTimeout(model(h.initial), ops, limit) {
	case porcupine.Ok:
		return true, true
	case porcupine.Illegal:
		return false, true
	}
	return false, false
}

// asOf is since when what a look shows must have been true. A move may have found
// its label in place, and written nothing.
func (h history) asOf(look operation) time.Time {
	since := look.start.Add(-stale)
	for _, o := range h.operations {
		if o.verb == puts && o.known && !o.refused && o.process == look.process && o.end.Before(look.start) && o.end.After(since) {
			since = o.end.Add(1) // the intervals are closed
		}
	}
	return since
}

// until is the history as it was at a time: what had not been answered by then is
// open.
func (h history) until(at time.Time) history {
	out := history{secret: h.secret, initial: h.initial}
	for _, o := range h.operations {
		if o.start.After(at) {
			continue
		}
		if o.end.After(at) {
			o.done = done{}
		}
		out.operations = append(out.operations, o)
	}
	return out
}

// broken is the part of a history that is not linearizable until it first was not:
// its last answer is the one that could not be.
func (h history) broken(limit time.Duration) history {
	var ends []time.Time
	for _, o := range h.operations {
		if o.known {
			ends = append(ends, o.end)
		}
	}
	slices.SortFunc(ends, time.Time.Compare)
	i := sort.Search(len(ends), func(i int) bool {
		ok, decided := h.until(ends[i]).linearizable(limit)
		return decided && !ok
	})
	if i == len(ends) {
		return h
	}
	return h.until(ends[i])
}

// tail is the story of the last operations, and of those without an answer.
func (h history) tail(n int) string {
	ops := slices.Clone(h.operations)
	slices.SortFunc(ops, func(a, b operation) int { return a.start.Compare(b.start) })
	cut := max(0, len(ops)-n)
	out := h
	out.operations = slices.DeleteFunc(ops[:cut:cut], func(o operation) bool { return o.known || o.verb == describes })
	out.operations = append(out.operations, ops[cut:]...)
	return fmt.Sprintf("the last %d of %d, and what had no answer before:\n%v", len(ops)-cut, len(ops), out)
}

func (h history) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, from %+v:\n", h.secret, h.initial)
	ops := slices.Clone(h.operations)
	slices.SortFunc(ops, func(a, b operation) int { return a.start.Compare(b.start) })
	for _, o := range ops {
		fmt.Fprintf(&b, "  %s +%-6v process %-3d %v -> %v\n", o.start.UTC().Format("15:04:05.000000"),
			o.end.Sub(o.start).Round(10*time.Microsecond), o.process, o.asked, o.done)
	}
	return b.String()
}

// TestLinearizable: the checker takes what is right and nothing else.
func TestLinearizable(t *testing.T) {
	begin := time.Unix(1_800_000_000, 0)
	// at makes an operation from and to so many milliseconds.
	at := func(from, to int, process int, a asked, d done) operation {
		return operation{a, d, process, begin.Add(time.Duration(from) * time.Millisecond), begin.Add(time.Duration(to) * time.Millisecond)}
	}
	put := func(id string) asked { return asked{verb: puts, label: secrets.Current, to: id} }
	move := func(label, from, to string) asked { return asked{moves, label, to, from} }
	yes, no, lost := done{known: true}, done{known: true, refused: true}, done{}
	look := asked{verb: describes}
	shows := func(p places) done { return done{known: true, saw: p} }
	first := places{current: "a"}
	second := places{current: "b", previous: "a"}

	for name, c := range map[string]struct {
		ops []operation
		ok  bool
	}{
		"nothing":                            {nil, true},
		"a look":                             {[]operation{at(0, 1, 1, look, shows(first))}, true},
		"of nothing that was":                {[]operation{at(0, 1, 1, look, shows(second))}, false},
		"after a put":                        {[]operation{at(0, 1, 1, put("b"), yes), at(2, 3, 2, look, shows(second))}, true},
		"within the limit":                   {[]operation{at(0, 1, 1, put("b"), yes), at(1000, 1001, 2, look, shows(first))}, true},
		"beyond the limit":                   {[]operation{at(0, 1, 1, put("b"), yes), at(1002, 1003, 2, look, shows(first))}, false},
		"its own put is not seen":            {[]operation{at(0, 1, 1, put("b"), yes), at(100, 101, 1, look, shows(first))}, false},
		"back in time":                       {[]operation{at(0, 1, 1, put("b"), yes), at(2, 3, 2, put("c"), yes), at(1500, 1501, 2, look, shows(second))}, false},
		"an unanswered put is seen late":     {[]operation{at(0, 1, 1, put("b"), lost), at(5000, 5001, 2, look, shows(first)), at(9000, 9001, 2, look, shows(second))}, true},
		"and then not":                       {[]operation{at(0, 1, 1, put("b"), lost), at(5000, 5001, 2, look, shows(second)), at(9000, 9001, 2, look, shows(first))}, false},
		"never":                              {[]operation{at(0, 1, 1, put("b"), lost), at(5000, 5001, 2, look, shows(first))}, true},
		"a refused put does nothing":         {[]operation{at(0, 1, 1, put("b"), no), at(5000, 5001, 2, look, shows(first))}, true},
		"a move":                             {[]operation{at(0, 1, 1, put("b"), yes), at(2, 3, 1, move(secrets.Current, "b", "a"), yes), at(4, 5, 1, look, shows(places{current: "a", previous: "b"}))}, true},
		"a move from where it is not":        {[]operation{at(0, 1, 1, put("b"), yes), at(2, 3, 1, move(secrets.Current, "a", "b"), yes)}, true}, // it is there already
		"from elsewhere":                     {[]operation{at(0, 1, 1, put("b"), yes), at(2, 3, 1, put("c"), yes), at(4, 5, 1, move(secrets.Current, "b", "a"), yes)}, false},
		"two may not both win":               {[]operation{at(0, 5, 1, move(blue, "", "a"), yes), at(6, 9, 1, move(blue, "a", "b"), yes), at(6, 9, 2, move(blue, "a", "c"), yes)}, false},
		"one wins":                           {[]operation{at(0, 5, 1, move(blue, "", "a"), yes), at(6, 9, 1, move(blue, "a", "b"), yes), at(6, 9, 2, move(blue, "a", "c"), no)}, true},
		"refused for no reason":              {[]operation{at(0, 5, 1, move(blue, "", "a"), yes), at(6, 9, 2, move(blue, "a", "c"), no)}, false},
		"an unanswered move takes its label": {[]operation{at(0, 5, 1, move(blue, "", "a"), lost), at(6, 9, 2, move(blue, "", "c"), no)}, true},
		"a version too few":                  {[]operation{at(0, 1, 1, put("b"), yes), at(2, 3, 1, look, shows(places{current: "b"}))}, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := history{secret: "x", initial: first, operations: c.ops}
			if ok, decided := h.linearizable(10 * time.Second); ok != c.ok || !decided {
				t.Errorf("got %v, %v\n%v", ok, decided, h)
			}
		})
	}
	long := history{secret: "x", initial: first, operations: []operation{
		at(0, 1, 1, put("b"), yes), at(2, 3, 1, look, shows(second)), at(4, 9, 1, put("c"), lost),
		at(2000, 2003, 1, look, shows(first)), at(2001, 2002, 1, look, shows(second)), at(3000, 3001, 1, look, shows(second)),
	}}
	if b := long.broken(time.Second); len(b.operations) != 5 {
		t.Errorf("the broken part is %v", b)
	}
	if _, err := placesIn(map[string][]string{"a": {secrets.Current}, "b": {secrets.Current}}); err == nil {
		t.Error("AWSCURRENT twice")
	}
}
