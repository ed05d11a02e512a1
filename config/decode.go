package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// decoder fills the structs of schema.go from a syntax tree. Unlike a library's
// decoder it goes on after a problem, remembers on which line every key stood,
// and repeats no value.
type decoder struct {
	file     string
	problems Problems
	lines    map[string]int  // by the key's path
	bad      map[string]bool // keys whose value could not be decoded
	anchors  map[string]ast.Node
	places   map[string]string // where a key belongs that is unknown where it stands
}

func newDecoder(file string) *decoder {
	return &decoder{file: file, lines: map[string]int{}, bad: map[string]bool{}, anchors: map[string]ast.Node{}, places: places}
}

func (d *decoder) decode(root ast.Node, into any) { d.value(root, reflect.ValueOf(into).Elem(), "") }

// wrong reports a key whose value can't be decoded.
func (d *decoder) wrong(key, format string, args ...any) {
	d.add(key, format, args...)
	d.bad[key] = true
}

// add reports a problem with the key of this path, at the line where it stands
// or else where the nearest key around it does. It is silent about a key that
// could not be decoded, which was reported then.
func (d *decoder) add(key, format string, args ...any) {
	if d.unusable(key) {
		return
	}
	line := 0
	for k := key; line == 0 && k != ""; k = parent(k) {
		line = d.lines[k]
	}
	d.problems = append(d.problems, Problem{File: d.file, Line: line, Key: key, Text: fmt.Sprintf(format, args...)})
}

// unusable reports whether the key, or one around it, could not be decoded.
func (d *decoder) unusable(key string) bool {
	for k := key; len(d.bad) > 0; k = parent(k) {
		if d.bad[k] {
			return true
		}
		if k == "" {
			break
		}
	}
	return false
}

// parent returns the path around a path: secrets[0].tls → secrets[0] → secrets → "".
func parent(key string) string { return key[:max(strings.LastIndexAny(key, ".["), 0)] }

func child(key, name string) string {
	if key == "" {
		return name
	}
	return key + "." + name
}

// value decodes a node into a field. Null leaves the field as if its key were
// absent, but a string becomes empty: "schedule:" with nothing after it.
func (d *decoder) value(n ast.Node, v reflect.Value, key string) {
	n, ok := d.resolve(n, key)
	if !ok {
		return
	}
	_, null := n.(*ast.NullNode)
	if v.Kind() == reflect.Pointer {
		if null && v.Type().Elem().Kind() != reflect.String {
			if v.Type().Elem().Kind() != reflect.Struct {
				d.wrong(key, "has no value; give it one, or leave the key out")
			}
			return
		}
		p := reflect.New(v.Type().Elem())
		before := len(d.problems)
		d.value(n, p.Elem(), key)
		if p.Elem().Kind() == reflect.Struct || len(d.problems) == before {
			v.Set(p)
		}
		return
	}
	switch {
	case v.Kind() == reflect.Struct:
		if !null {
			d.mapping(n, v, key)
		}
	case v.Kind() == reflect.Slice:
		if !null {
			d.list(n, v, key)
		}
	case v.Kind() == reflect.Map:
		if !null {
			d.byRegion(n, v, key)
		}
	default:
		d.scalar(n, v, key)
	}
}

// resolve follows anchors and aliases to the node they stand for.
func (d *decoder) resolve(n ast.Node, key string) (ast.Node, bool) {
	for range maxNesting {
		switch node := n.(type) {
		case nil:
			d.wrong(key, "has no value")
			return nil, false
		case *ast.AnchorNode:
			d.anchors[node.Name.GetToken().Value] = node.Value
			n = node.Value
		case *ast.AliasNode:
			target, ok := d.anchors[node.Value.GetToken().Value]
			if !ok {
				d.wrong(key, "an alias (*) of an anchor (&) that is not defined above it")
				return nil, false
			}
			n = target
		case *ast.TagNode:
			d.wrong(key, "YAML tags (!) have no meaning here; leave it out")
			return nil, false
		default:
			return n, true
		}
	}
	d.wrong(key, "an alias of itself")
	return nil, false
}

var plainKey = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

// entries returns the keys with values of a node.
func (d *decoder) entries(n ast.Node, key string) (entries []*ast.MappingValueNode, ok bool) {
	switch m := n.(type) {
	case *ast.MappingNode:
		return m.Values, true
	case *ast.MappingValueNode:
		return []*ast.MappingValueNode{m}, true
	}
	d.wrong(key, "must be keys with values, not %s", kind(n))
	return nil, false
}

// byRegion decodes a mapping whose keys are the names of regions.
func (d *decoder) byRegion(n ast.Node, v reflect.Value, key string) {
	entries, ok := d.entries(n, key)
	if !ok {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries {
		line, name := e.Key.GetToken().Position.Line, keyName(e.Key)
		path := child(key, name)
		switch {
		case !regionName.MatchString(name) || len(name) > maxRegion:
			d.problems = append(d.problems, Problem{File: d.file, Line: line, Key: key, Text: "a key that is not the name of a region, not shown here; write for example " + DefaultRegion})
		case d.lines[path] != 0:
			d.problems = append(d.problems, Problem{File: d.file, Line: line, Key: path, Text: fmt.Sprintf("the key is there twice, first on line %d; keep one", d.lines[path])})
		default:
			d.lines[path] = line
			item := reflect.New(v.Type().Elem()).Elem()
			d.value(e.Value, item, path)
			v.SetMapIndex(reflect.ValueOf(name), item)
		}
	}
}

func (d *decoder) mapping(n ast.Node, v reflect.Value, key string) {
	entries, ok := d.entries(n, key)
	if !ok {
		return
	}
	fields := map[string]reflect.Value{}
	names := collect(v, fields)
	first := map[string]int{}
	for _, e := range entries {
		line := e.Key.GetToken().Position.Line
		name, known := keyName(e.Key), false
		if name != "" {
			_, known = fields[name]
		}
		report := func(path, text string) {
			d.problems = append(d.problems, Problem{File: d.file, Line: line, Key: path, Text: text})
		}
		switch {
		case e.Key.Type() == ast.MergeKeyType:
			report(child(key, "<<"), "merge keys are not supported; put what secrets share under defaults:")
		case !known:
			near := nearest(name, names)
			elsewhere := ""
			if near == "" {
				elsewhere = d.places[name]
			}
			switch {
			case near == "" && elsewhere == "" && !plainKey.MatchString(name):
				report(key, "an unknown key, not shown here; known: "+strings.Join(names, ", "))
			case elsewhere != "":
				report(child(key, name), "unknown key here; it belongs under "+elsewhere)
			default:
				report(child(key, name), "unknown key"+hint(name, names))
			}
		case first[name] != 0:
			report(child(key, name), fmt.Sprintf("the key is there twice, first on line %d; keep one", first[name]))
		default:
			first[name] = line
			d.lines[child(key, name)] = line
			d.value(e.Value, fields[name], child(key, name))
		}
	}
}

// keyName returns the text of a key, "" for one that is no plain scalar.
func keyName(k ast.MapKeyNode) string {
	switch k.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.BoolNode, *ast.NullNode, *ast.FloatNode:
		return k.GetToken().Value
	}
	return ""
}

// collect maps the yaml tags of a struct, embedded ones included, to its fields
// and lists them in order.
func collect(v reflect.Value, into map[string]reflect.Value) (names []string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			names = append(names, collect(v.Field(i), into)...)
			continue
		}
		name := f.Tag.Get("yaml")
		into[name] = v.Field(i)
		names = append(names, name)
	}
	return names
}

// places says for every key below the top level where it belongs. One that
// belongs at the top too is left out.
var places = func() map[string]string {
	out := map[string]string{}
	top := map[string]reflect.Value{}
	collect(reflect.ValueOf(new(fileYAML)).Elem(), top)
	var walk func(t reflect.Type, path string)
	walk = func(t reflect.Type, path string) {
		for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map {
			if t.Kind() == reflect.Map {
				path = child(path, "REGION")
			}
			t = t.Elem()
		}
		if t.Kind() != reflect.Struct {
			return
		}
		fields := map[string]reflect.Value{}
		for _, name := range collect(reflect.New(t).Elem(), fields) {
			switch {
			case top[name].IsValid() || out[name] == path:
			case out[name] == "":
				out[name] = path
			default:
				out[name] += " or " + path
			}
			walk(fields[name].Type(), child(path, name))
		}
	}
	walk(reflect.TypeFor[fileYAML](), "")
	return out
}()

func (d *decoder) list(n ast.Node, v reflect.Value, key string) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.wrong(key, "must be a list, not %s; write [a, b], or one \"- item\" a line", kind(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(seq.Values), len(seq.Values)))
	for i, item := range seq.Values {
		path := key + "[" + strconv.Itoa(i) + "]"
		d.lines[path] = line(item)
		d.value(item, v.Index(i), path)
	}
}

// line returns where a node starts. A mapping's own token is a colon.
func line(n ast.Node) int {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return line(m.Values[0])
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		return line(m.Key)
	}
	if n == nil || n.GetToken() == nil {
		return 0
	}
	return n.GetToken().Position.Line
}

func (d *decoder) scalar(n ast.Node, v reflect.Value, key string) {
	text, ok := scalarText(n)
	if !ok {
		d.wrong(key, "must be a single value, not %s", kind(n))
		return
	}
	switch p := v.Addr().Interface().(type) {
	case *string:
		*p = text
	case *int:
		i, err := strconv.Atoi(text)
		if err != nil {
			d.wrong(key, "must be a whole number")
		}
		*p = i
	case *float64:
		f, err := strconv.ParseFloat(text, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			d.wrong(key, "must be a number")
		}
		*p = f
	case *bool:
		if *p = text == "true"; text != "true" && text != "false" {
			d.wrong(key, "must be true or false")
		}
	case scalar:
		if err := p.parse(text); err != nil {
			d.wrong(key, "%v", err)
		}
	default:
		panic(fmt.Sprintf("config: no decoder for %T", p))
	}
}

// scalarText returns a scalar as it is written; null is "".
func scalarText(n ast.Node) (string, bool) {
	switch s := n.(type) {
	case *ast.StringNode:
		return s.Value, true
	case *ast.LiteralNode:
		return s.Value.Value, true
	case *ast.NullNode:
		return "", true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

// kind names what stands in the file, for "must be a list, not …".
func kind(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "keys with values"
	case *ast.SequenceNode:
		return "a list"
	}
	return "a single value"
}
