package service

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/pawlhq/pawl/secrets"
)

// The bounds of a request's members stand in their aws tags, and are those of
// AWS's service model. Rules are separated by spaces:
//
//	required        must be there
//	2..64           length in characters of a text, in bytes of binary, count of
//	                a list's items, value of a number; 1.. has no upper end
//	each:1..256     the same for each text of a list
//	pattern:NAME    a text, or each text of a list, matches patterns[NAME]
//	enum:NAME       a text is one of enums[NAME]
//	secret          its value is never repeated in an error
//
// Source: AWS Secrets Manager API reference, the constraints of each member.

var patterns = map[string]string{
	"filter":     `^\!?[a-zA-Z0-9 :_@\/\+\=\.\-\!]*$`,
	"region":     `^([a-z]+-)+\d+$`,
	"duration":   `[0-9]+h`,
	"expression": `[0-9A-Za-z\(\)#\?\*\-\/, ]+`,
	"token":      `^[a-zA-Z0-9\-]+$`,
}

// AWS matches a pattern against the whole text, anchored or not.
var compiled = func() map[string]*regexp.Regexp {
	m := map[string]*regexp.Regexp{}
	for name, p := range patterns {
		m[name] = regexp.MustCompile(`^(?:` + p + `)$`)
	}
	return m
}()

var enums = map[string][]string{
	"filter-key": {"description", "name", "tag-key", "tag-value", "primary-region", "owning-service", "all"},
	"sort-order": {"asc", "desc"},
	"sort-by":    {"created-date", "last-accessed-date", "last-changed-date", "name"},
}

// rules is an aws tag, parsed.
type rules struct {
	path         string // the member's name in errors
	name         string // its name in JSON
	index        []int
	required     bool
	secret       bool
	bounded      bool
	least, most  int64 // most < 0: no upper end
	each         *rules
	pattern      string
	enum         string
	items        *[]rules // of a structure, or of a list's structures
	itemsOfAList bool
}

var plans sync.Map // reflect.Type → *[]rules

// planOf reads the tags of a structure's members, embedded ones included.
func planOf(t reflect.Type) *[]rules {
	if p, ok := plans.Load(t); ok {
		return p.(*[]rules)
	}
	plan := &[]rules{}
	for _, f := range reflect.VisibleFields(t) {
		if f.Anonymous || !f.IsExported() {
			continue
		}
		r := parseTag(f.Tag.Get("aws"))
		r.name, _, _ = strings.Cut(f.Tag.Get("json"), ",")
		if r.name == "" {
			r.name = f.Name
		}
		r.path, r.index = lowerFirst(r.name), f.Index
		switch e := f.Type; {
		case e.Kind() == reflect.Slice && e.Elem().Kind() == reflect.Struct:
			r.items, r.itemsOfAList = planOf(e.Elem()), true
		case e.Kind() == reflect.Pointer && e.Elem().Kind() == reflect.Struct:
			r.items = planOf(e.Elem())
		}
		*plan = append(*plan, r)
	}
	p, _ := plans.LoadOrStore(t, plan)
	return p.(*[]rules)
}

// parseTag panics at a tag it does not understand: a test calls it for all.
func parseTag(tag string) rules {
	var r rules
	for word := range strings.FieldsSeq(tag) {
		name, arg, _ := strings.Cut(word, ":")
		least, most, isRange := strings.Cut(word, "..")
		switch {
		case word == "required":
			r.required = true
		case word == "secret":
			r.secret = true
		case name == "each":
			each := parseTag(arg)
			r.each = &each
		case name == "pattern" && patterns[arg] != "":
			r.pattern = arg
		case name == "enum" && enums[arg] != nil:
			r.enum = arg
		case isRange:
			r.bounded, r.most = true, -1
			var err error
			if r.least, err = strconv.ParseInt(least, 10, 64); err == nil && most != "" {
				r.most, err = strconv.ParseInt(most, 10, 64)
			}
			if err != nil {
				panic("service: aws tag " + tag)
			}
		default:
			panic("service: aws tag " + tag)
		}
	}
	return r
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// Check holds the members of a request against the bounds of AWS's service
// model. What is zero counts as absent, unless sent names its path
// ("secretId", "filters.1.member.key"): a request on the wire can say "". All
// that is wrong comes as one ValidationException in AWS's words. in is a
// structure.
func Check(in any, sent map[string]bool) error {
	c := constraints{sent: sent}
	v := reflect.ValueOf(in)
	c.structure("", v, planOf(v.Type()))
	return c.err()
}

// constraints collects the members of a request that are out of bounds.
type constraints struct {
	sent   map[string]bool
	failed []string
}

func (c *constraints) structure(prefix string, v reflect.Value, plan *[]rules) {
	for i := range *plan {
		r := &(*plan)[i]
		c.member(prefix+r.path, v.FieldByIndex(r.index), r)
	}
}

func (c *constraints) member(path string, v reflect.Value, r *rules) {
	kind := v.Kind()
	switch {
	case kind == reflect.Pointer && v.IsNil(), !c.sent[path] && (v.IsZero() || kind == reflect.Slice && v.Len() == 0):
		// A list without items is no list, but it is there.
		if r.required && (kind != reflect.Slice || v.IsNil()) {
			c.fail(path, "null", false, "Member must not be null")
		}
		return
	}
	if kind == reflect.Pointer {
		v = v.Elem()
	}
	switch m := v.Interface().(type) {
	case secrets.Value, SecretText, SecretBlob:
		n := int64(m.(interface{ Len() int }).Len())
		// An empty one is the operation's to refuse, in words of its own.
		if n > 0 {
			c.size(path, "", true, n, r, "length")
		}
		return
	case string:
		c.text(path, m, r)
		return
	case int64:
		c.size(path, strconv.FormatInt(m, 10), false, m, r, "value")
		return
	case []string:
		c.size(path, "["+strings.Join(m, ", ")+"]", false, int64(len(m)), r, "length")
		for i, text := range m {
			item := rules{pattern: r.pattern}
			if r.each != nil {
				item.bounded, item.least, item.most = true, r.each.least, r.each.most
			}
			c.text(itemPath(path, i), text, &item)
		}
		return
	}
	switch {
	case r.itemsOfAList:
		c.size(path, "", true, int64(v.Len()), r, "length")
		for i := range v.Len() {
			c.structure(itemPath(path, i)+".", v.Index(i), r.items)
		}
	case r.items != nil:
		c.structure(path+".", v, r.items)
	}
}

func itemPath(list string, i int) string { return list + "." + strconv.Itoa(i+1) + ".member" }

func (c *constraints) text(path, v string, r *rules) {
	c.size(path, v, r.secret, int64(utf8.RuneCountInString(v)), r, "length")
	if r.pattern != "" && !compiled[r.pattern].MatchString(v) {
		c.fail(path, v, r.secret, "Member must satisfy regular expression pattern: "+patterns[r.pattern])
	}
	if r.enum != "" {
		for _, known := range enums[r.enum] {
			if v == known {
				return
			}
		}
		c.fail(path, v, r.secret, "Member must satisfy enum value set: ["+strings.Join(enums[r.enum], ", ")+"]")
	}
}

func (c *constraints) size(path, v string, hidden bool, n int64, r *rules, what string) {
	switch {
	case !r.bounded:
	case n < r.least:
		c.fail(path, v, hidden, fmt.Sprintf("Member must have %s greater than or equal to %d", what, r.least))
	case r.most >= 0 && n > r.most:
		c.fail(path, v, hidden, fmt.Sprintf("Member must have %s less than or equal to %d", what, r.most))
	}
}

// maxFailures bounds what is said of one request: a body of a megabyte can be
// wrong in 350,000 ways, and the answer would be thirty times its size.
const maxFailures = 100

// fail notes a failure; null stands without quotes, and what must not be seen,
// or has no short form, is left out.
func (c *constraints) fail(path, v string, hidden bool, constraint string) {
	if len(c.failed) == maxFailures {
		return
	}
	switch {
	case hidden:
		v = "Value"
	case v == "null" && constraint == "Member must not be null":
		v = "Value null"
	default:
		v = "Value '" + v + "'"
	}
	c.failed = append(c.failed, v+" at '"+path+"' failed to satisfy constraint: "+constraint)
}

func (c *constraints) err() error {
	n := len(c.failed)
	if n == 0 {
		return nil
	}
	s := "s"
	if n == 1 {
		s = ""
	}
	return refuse(validation, "", "%d validation error%s detected: %s", n, s, strings.Join(c.failed, "; "))
}
