package config

import (
	"fmt"
	"sort"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// Problem is one thing that is wrong with a configuration file.
type Problem struct {
	File   string // as the caller named it
	Line   int    // from 1; 0 = the file as a whole
	Column int    // from 1; 0 = not known, or of no help
	Key    string // path of the key: secrets[0].tls.mode; "" = none
	Text   string // what is wrong; and after a semicolon, what to do
}

// String renders the problem on one line: pawl.yaml:12: secrets[0].window: ….
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
		if p.Column > 0 {
			fmt.Fprintf(&b, ":%d", p.Column)
		}
	}
	b.WriteString(": ")
	if p.Key != "" {
		b.WriteString(p.Key)
		b.WriteString(": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Problems are all that is wrong with a file, in the order of lines. They are
// the cause inside the *secrets.Error that Load returns.
type Problems []Problem

// Error renders one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// err returns the problems as an Invalid error, or nil where there are none.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	sort.SliceStable(ps, func(i, j int) bool { return ps[i].Line < ps[j].Line })
	return &secrets.Error{Kind: secrets.Invalid, Err: ps}
}
