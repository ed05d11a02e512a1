package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The bounds of a document. AWS's longest policy has 20,480 characters; the
// grammar nests six deep (document, list, statement, condition, operator,
// values).
const (
	maxBytes = 4 * 20480
	maxDepth = 6
)

// kind is a kind of JSON value.
type kind string

const (
	object  kind = "an object"
	list    kind = "a list"
	text    kind = "a text"
	number  kind = "a number"
	boolean kind = "a boolean"
	null    kind = "null"
)

// node is a JSON value with the order of its members kept.
type node struct {
	kind    kind
	text    string   // of a text; of a number or a boolean, as written
	items   []node   // of a list; the values of an object
	names   []string // of an object, unique
	element string   // where it is in the document
}

// read parses a document into nodes. Names that come twice in one object are
// refused: two readers could take each a different one.
func read(document string) (node, error) {
	switch {
	case len(document) > maxBytes:
		return node{}, syntax("", "has %d bytes, more than %d", len(document), maxBytes)
	case !utf8.ValidString(document):
		return node{}, syntax("", "is not valid UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal([]byte(document), &whole); err != nil {
		return node{}, syntax("", "is not JSON: %v%s", err, lineOf(document, err))
	}
	d := json.NewDecoder(bytes.NewReader(whole))
	d.UseNumber()
	return readNode(d, "", 0)
}

// readNode reads the next value of a valid document.
func readNode(d *json.Decoder, where string, depth int) (node, error) {
	t, err := d.Token()
	if err != nil {
		return node{}, syntax(where, "is not JSON: %v", err)
	}
	n := node{element: where}
	switch t := t.(type) {
	case string:
		n.kind, n.text = text, t
	case json.Number:
		n.kind, n.text = number, t.String()
	case bool:
		n.kind, n.text = boolean, fmt.Sprint(t)
	case nil:
		n.kind = null
	case json.Delim:
		if depth == maxDepth {
			return node{}, syntax(where, "is nested too deep")
		}
		n.kind = list
		if t == '{' {
			n.kind = object
		}
		if err := n.fill(d, depth); err != nil {
			return node{}, err
		}
	}
	return n, nil
}

// fill reads the items of a list, or the members of an object, to its end.
func (n *node) fill(d *json.Decoder, depth int) error {
	seen := map[string]bool{}
	for d.More() {
		where := fmt.Sprintf("%s[%d]", n.element, len(n.items))
		if n.kind == object {
			t, err := d.Token()
			name, ok := t.(string)
			if err != nil || !ok {
				return syntax(n.element, "is not JSON")
			}
			where = strings.TrimPrefix(n.element+"."+short(name), ".")
			if seen[name] {
				return syntax(where, "is there twice")
			}
			seen[name] = true
			n.names = append(n.names, name)
		}
		item, err := readNode(d, where, depth+1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	_, err := d.Token()
	return err
}

// members calls visit for each member of an object.
func (n node) members(visit func(name string, v node) error) error {
	if n.kind != object {
		return n.must(object)
	}
	for i, name := range n.names {
		if err := visit(name, n.items[i]); err != nil {
			return err
		}
	}
	return nil
}

// word returns a text.
func (n node) word() (string, error) {
	if n.kind != text {
		return "", n.must(text)
	}
	return n.text, nil
}

// words returns a text, or a list of at least one text, as a list; no text may
// be empty.
func (n node) words() ([]string, error) {
	var all []string
	for _, item := range n.oneOrMore() {
		switch {
		case item.kind != text:
			return nil, item.must(text)
		case item.text == "":
			return nil, syntax(item.element, "is empty")
		}
		all = append(all, item.text)
	}
	if len(all) == 0 {
		return nil, syntax(n.element, "is an empty list")
	}
	return all, nil
}

// oneOrMore returns the items of a list, or the value itself.
func (n node) oneOrMore() []node {
	if n.kind == list {
		return n.items
	}
	return []node{n}
}

func (n node) must(be kind) error { return syntax(n.element, "is %s where %s is needed", n.kind, be) }

func syntax(where, format string, args ...any) error {
	return &Error{Syntax, where, fmt.Sprintf(format, args...)}
}

// lineOf says where in the document a JSON error is.
func lineOf(document string, err error) string {
	var e *json.SyntaxError
	if !errors.As(err, &e) || e.Offset < 1 || e.Offset > int64(len(document)) {
		return ""
	}
	before := document[:e.Offset-1]
	return fmt.Sprintf(" (line %d, column %d)", strings.Count(before, "\n")+1, utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])+1)
}

// short is a text as an error may repeat it.
func short(s string) string {
	const most = 64
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}
