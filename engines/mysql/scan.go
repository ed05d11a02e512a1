package mysql

import (
	"fmt"
	"strings"
)

// token is one word of a statement that the server wrote.
type token struct {
	kind       tokenKind
	value      string // without quotes; a word as it stands
	start, end int    // where it stands in the text
}

type tokenKind int

const (
	word   tokenKind = iota // unquoted: a keyword, a number, an unquoted name
	name                    // `quoted`
	text                    // 'quoted' or "quoted"
	symbol                  // one character of ( ) , . @ * = ;
)

// is reports whether the token is this keyword.
func (t token) is(keyword string) bool {
	return t.kind == word && strings.EqualFold(t.value, keyword)
}

// scan cuts a SHOW statement's row into tokens. Names are in backticks, doubled
// inside; the session's sql_mode has no ANSI_QUOTES, so that "…" is a string.
// Both servers write a string's backslash as two whatever sql_mode says.
func scan(s string) ([]token, error) {
	var out []token
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case c == '`' || c == '\'' || c == '"':
			value, end, ok := quoted(s, i)
			if !ok {
				return nil, fmt.Errorf("a quote is left open")
			}
			kind := text
			if c == '`' {
				kind = name
			}
			out = append(out, token{kind, value, i, end})
			i = end
		case strings.IndexByte("(),.@*=;", c) >= 0:
			out = append(out, token{symbol, string(c), i, i + 1})
			i++
		default:
			end := i
			for end < len(s) && strings.IndexByte(" \t\n\r`'\"(),.@*=;", s[end]) < 0 {
				end++
			}
			out = append(out, token{word, s[i:end], i, end})
			i = end
		}
	}
	return out, nil
}

// quoted reads what is quoted from i on, and where it ends.
func quoted(s string, i int) (value string, end int, ok bool) {
	q := s[i]
	var b strings.Builder
	for i++; i < len(s); i++ {
		switch {
		case s[i] == '\\' && q != '`' && i+1 < len(s):
			i++
			b.WriteByte(s[i])
		case s[i] != q:
			b.WriteByte(s[i])
		case i+1 < len(s) && s[i+1] == q:
			i++
			b.WriteByte(q)
		default:
			return b.String(), i + 1, true
		}
	}
	return "", 0, false
}
