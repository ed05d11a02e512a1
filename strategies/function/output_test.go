package function

import (
	"bytes"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The output's beginning and last line are those of all that was written, in
// whatever pieces.
func TestOutput(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := output{head: rapid.IntRange(0, 20).Draw(t, "head"), line: rapid.IntRange(4, 20).Draw(t, "line")}
		var all []byte
		for _, piece := range rapid.SliceOf(rapid.StringOf(rapid.RuneFrom([]rune("ab \n\n")))).Draw(t, "pieces") {
			all = append(all, piece...)
			if n, err := o.Write([]byte(piece)); n != len(piece) || err != nil {
				t.Fatal(n, err)
			}
		}
		begun, fits := o.whole()
		if !bytes.Equal(begun, all[:min(len(all), o.head)]) || fits != (len(all) <= o.head) {
			t.Fatalf("%q: begins %q, %v", all, begun, fits)
		}
		var last string
		for line := range strings.SplitSeq(string(all), "\n") {
			// A line of blanks that is too long to be kept is not known to be blank.
			if strings.TrimSpace(line) != "" || len(line) > o.line {
				last = line
			}
		}
		got, cut := o.last()
		if want := strings.TrimSpace(last[:min(len(last), o.line)]); string(got) != want || cut != (len(last) > o.line) {
			t.Fatalf("%q: last %q (%v), want %q", all, got, cut, want)
		}
		if len(o.begun) > o.head || len(o.open.b) > o.line || len(o.ended.b) > o.line {
			t.Fatal("more is kept than there is room for")
		}
	})
}
