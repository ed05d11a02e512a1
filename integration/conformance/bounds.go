package conformance

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// bound is one bound of one member of the service model: a request outside it
// gets a ValidationException that names the member's path and the constraint.
type bound struct {
	member     string
	operations []string
	path       string // as errors spell it; "" = the member's, with a small first letter
	value      any    // out of bounds
	constraint string
	// hidden: the text leaves the value out, because it is sensitive.
	hidden bool
	// loose: only where and what is known, not how the value is shown.
	loose bool
	// put sets the value where it belongs; nil = in[member] = value.
	put func(in M, value any)
}

func atMost(n int) string { return fmt.Sprintf("Member must have length less than or equal to %d", n) }
func atLeast(n int) string {
	return fmt.Sprintf("Member must have length greater than or equal to %d", n)
}
func noMoreThan(n int) string {
	return fmt.Sprintf("Member must have value less than or equal to %d", n)
}
func noLessThan(n int) string {
	return fmt.Sprintf("Member must have value greater than or equal to %d", n)
}
func pattern(p string) string { return "Member must satisfy regular expression pattern: " + p }

// detected begins every text about constraints; what is empty can break two.
var detected = regexp.MustCompile(`^\d validation errors? detected: Value`)

const notNull = "Member must not be null"

func x(n int) string { return strings.Repeat("x", n) }

func many(n int, of any) L {
	l := make(L, n)
	for i := range l {
		l[i] = of
	}
	return l
}

// withID are the operations that take a SecretId.
func withID(optional bool) []string {
	var names []string
	for _, o := range operations {
		if !o.noID && (optional || !o.optionalID) {
			names = append(names, o.name)
		}
	}
	return names
}

// length are the bounds of a text.
func length(member string, least, most int, operations ...string) []bound {
	var b []bound
	if least > 0 {
		b = append(b, bound{member: member, operations: operations, value: x(least - 1), constraint: atLeast(least)})
	}
	return append(b, bound{member: member, operations: operations, value: x(most + 1), constraint: atMost(most)})
}

// inside moves bounds into a structure, or into the first item of a list of
// them.
func inside(list, path string, wrap func(member string, value any) any, bounds []bound) []bound {
	for i := range bounds {
		member := bounds[i].member
		bounds[i].path = path + "." + lowerFirst(member)
		bounds[i].put = func(in M, value any) { in[list] = wrap(member, value) }
		bounds[i].member = list + "." + member
	}
	return bounds
}

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }

// item wraps a member with others that are right into a list of one structure.
func item(others M) func(string, any) any {
	return func(member string, value any) any {
		in := with(others, nil)
		in[member] = value
		return L{in}
	}
}

func structure(member string, value any) any { return M{member: value} }

const (
	filterPattern = `^\!?[a-zA-Z0-9 :_@\/\+\=\.\-\!]*$`
	regionPattern = `^([a-z]+-)+\d+$`
)

// bounds are all bounds of the service model that are on requests.
func bounds() []bound {
	var all []bound
	add := func(b ...bound) { all = append(all, b...) }
	required := func(member string, ops ...string) {
		add(bound{member: member, operations: ops, value: nil, constraint: notNull})
	}

	required("SecretId", withID(false)...)
	add(length("SecretId", 1, 2048, withID(true)...)...)
	required("Name", "CreateSecret")
	add(length("Name", 1, 512, "CreateSecret")...)
	add(length("ClientRequestToken", 32, 64, "CreateSecret", "PutSecretValue", "UpdateSecret", "RotateSecret")...)
	add(length("VersionId", 32, 64, "GetSecretValue")...)
	add(length("MoveToVersionId", 32, 64, "UpdateSecretVersionStage")...)
	add(length("RemoveFromVersionId", 32, 64, "UpdateSecretVersionStage")...)
	add(length("Description", 0, 2048, "CreateSecret", "UpdateSecret")...)
	add(length("KmsKeyId", 0, 2048, "CreateSecret", "UpdateSecret")...)
	add(length("Type", 0, 256, "CreateSecret", "UpdateSecret")...)

	valued := []string{"CreateSecret", "PutSecretValue", "UpdateSecret"}
	add(bound{member: "SecretString", operations: valued, value: x(65537), constraint: atMost(65536), hidden: true})
	add(bound{member: "SecretBinary", operations: valued, value: base64.StdEncoding.EncodeToString(make([]byte, 65537)),
		constraint: atMost(65536), hidden: true, put: func(in M, v any) { delete(in, "SecretString"); in["SecretBinary"] = v }})
	for _, b := range append(length("RotationToken", 36, 256, "PutSecretValue"),
		bound{member: "RotationToken", operations: []string{"PutSecretValue"}, value: strings.Repeat("_", 40), constraint: pattern(`^[a-zA-Z0-9\-]+$`)}) {
		b.hidden = true
		add(b)
	}

	required("VersionStage", "UpdateSecretVersionStage")
	add(length("VersionStage", 1, 256, "GetSecretValue", "UpdateSecretVersionStage")...)
	add(bound{member: "VersionStages", operations: []string{"PutSecretValue"}, value: many(21, "A"), constraint: atMost(20), loose: true})

	required("Tags", "TagResource")
	required("TagKeys", "UntagResource")
	add(inside("Tags", "tags.1.member", item(M{"Value": "v"}), length("Key", 1, 128, "CreateSecret", "TagResource"))...)
	add(inside("Tags", "tags.1.member", item(M{"Key": "k"}), length("Value", 0, 256, "CreateSecret", "TagResource"))...)

	paged := []string{"ListSecrets", "ListSecretVersionIds"}
	add(bound{member: "MaxResults", operations: append(paged, "BatchGetSecretValue"), value: 0, constraint: noLessThan(1)},
		bound{member: "MaxResults", operations: paged, value: 101, constraint: noMoreThan(100)},
		bound{member: "MaxResults", operations: []string{"BatchGetSecretValue"}, value: 21, constraint: noMoreThan(20)})
	add(length("NextToken", 1, 4096, append(paged, "BatchGetSecretValue")...)...)

	filtered := []string{"ListSecrets", "BatchGetSecretValue"}
	filter := M{"Key": "name", "Values": L{"a"}}
	add(bound{member: "Filters", operations: filtered, value: many(11, filter), constraint: atMost(10), loose: true, put: filters})
	add(inside("Filters", "filters.1.member", item(M{"Values": L{"a"}}), []bound{
		{member: "Key", operations: filtered, value: "colour", constraint: "Member must satisfy enum value set: [", loose: true}})...)
	add(inside("Filters", "filters.1.member", item(M{"Key": "name"}), []bound{
		{member: "Values", operations: filtered, value: many(11, "a"), constraint: atMost(10), loose: true}})...)
	add(bound{member: "SortOrder", operations: []string{"ListSecrets"}, value: "up", constraint: "Member must satisfy enum value set: [", loose: true},
		bound{member: "SortBy", operations: []string{"ListSecrets"}, value: "size", constraint: "Member must satisfy enum value set: [", loose: true},
		bound{member: "SecretIdList", operations: []string{"BatchGetSecretValue"}, value: many(21, "a"), constraint: atMost(20), loose: true})

	replicating := []string{"CreateSecret", "ReplicateSecretToRegions"}
	required("AddReplicaRegions", "ReplicateSecretToRegions")
	required("RemoveReplicaRegions", "RemoveRegionsFromReplication")
	add(bound{member: "AddReplicaRegions", operations: replicating, value: L{}, constraint: atLeast(1), loose: true},
		bound{member: "RemoveReplicaRegions", operations: []string{"RemoveRegionsFromReplication"}, value: L{}, constraint: atLeast(1), loose: true})
	add(inside("AddReplicaRegions", "addReplicaRegions.1.member", item(M{}), append(regionLength(replicating),
		bound{member: "Region", operations: replicating, value: "Atlantis", constraint: pattern(regionPattern)}))...)
	add(inside("AddReplicaRegions", "addReplicaRegions.1.member", item(M{"Region": "eu-west-3"}), length("KmsKeyId", 0, 2048, replicating...))...)

	rules := "RotationRules"
	add(inside(rules, "rotationRules", structure, []bound{
		{member: "AutomaticallyAfterDays", operations: []string{"RotateSecret"}, value: 0, constraint: noLessThan(1)},
		{member: "AutomaticallyAfterDays", operations: []string{"RotateSecret"}, value: 1001, constraint: noMoreThan(1000)},
		{member: "Duration", operations: []string{"RotateSecret"}, value: "0123h", constraint: atMost(3)},
		{member: "Duration", operations: []string{"RotateSecret"}, value: "3d", constraint: pattern("[0-9]+h")},
		{member: "ScheduleExpression", operations: []string{"RotateSecret"}, value: "", constraint: atLeast(1), loose: true},
		{member: "ScheduleExpression", operations: []string{"RotateSecret"}, value: x(257), constraint: atMost(256)},
		{member: "ScheduleExpression", operations: []string{"RotateSecret"}, value: "rate_4_hours", constraint: pattern(`[0-9A-Za-z\(\)#\?\*\-\/, ]+`)},
	})...)
	add(length("RotationLambdaARN", 0, 2048, "RotateSecret")...)
	add(length("ExternalSecretRotationRoleArn", 20, 2048, "RotateSecret")...)
	metadata := "ExternalSecretRotationMetadata"
	add(inside(metadata, "externalSecretRotationMetadata.1.member", item(M{"Value": "v"}), length("Key", 1, 256, "RotateSecret"))...)
	add(inside(metadata, "externalSecretRotationMetadata.1.member", item(M{"Key": "k"}), length("Value", 1, 2048, "RotateSecret"))...)

	required("ResourcePolicy", "PutResourcePolicy", "ValidateResourcePolicy")
	add(length("ResourcePolicy", 1, 20480, "PutResourcePolicy", "ValidateResourcePolicy")...)
	add(bound{member: "PasswordLength", operations: []string{"GetRandomPassword"}, value: 0, constraint: noLessThan(1)},
		bound{member: "PasswordLength", operations: []string{"GetRandomPassword"}, value: 4097, constraint: noMoreThan(4096)})
	add(length("ExcludeCharacters", 0, 4096, "GetRandomPassword")...)
	return all
}

// regionLength: texts that match the pattern of a region but are too long.
func regionLength(operations []string) []bound {
	return []bound{{member: "Region", operations: operations, value: strings.Repeat("a-", 64) + "1", constraint: atMost(128)}}
}

// filters puts filters where no SecretIdList may be.
func filters(in M, v any) { delete(in, "SecretIdList"); in["Filters"] = v }

// boundRules are one rule for each bound and operation, and those of the items
// of lists, whose text is not known.
func boundRules() []Rule {
	var all []Rule
	for _, b := range bounds() {
		for _, op := range b.operations {
			all = append(all, on(op, b.rule(op))...)
		}
	}
	for _, i := range []struct {
		operation, member, name, path string
		value                         any
	}{
		{"PutSecretValue", "VersionStages", "empty items", "versionStages", L{""}},
		{"PutSecretValue", "VersionStages", "items longer than 256", "versionStages", L{x(257)}},
		{"UntagResource", "TagKeys", "empty items", "tagKeys", L{""}},
		{"UntagResource", "TagKeys", "items longer than 128", "tagKeys", L{x(129)}},
		{"BatchGetSecretValue", "SecretIdList", "empty items", "secretIdList", L{""}},
		{"BatchGetSecretValue", "SecretIdList", "items longer than 2048", "secretIdList", L{x(2049)}},
		{"ListSecrets", "Filters", "values longer than 512", "filters.1.member.values", L{M{"Key": "name", "Values": L{x(513)}}}},
		{"ListSecrets", "Filters", "values with other characters than " + filterPattern, "filters.1.member.values", L{M{"Key": "name", "Values": L{"a*b"}}}},
		{"RemoveRegionsFromReplication", "RemoveReplicaRegions", "items that are no region", "removeReplicaRegions", L{"Atlantis"}},
	} {
		all = append(all, on(i.operation, rule{i.member + ": refuses " + i.name, model, func(p *Probe) {
			a := p.Refused(i.operation, with(outOfBounds(p, i.operation), M{i.member: i.value}), "ValidationException", "")
			if !detected.MatchString(a.Text()) || !strings.Contains(a.Text(), " at '"+i.path) {
				p.Fail("want a text about '%s', got %s", i.path, a)
			}
		}})...)
	}
	return all
}

// outOfBounds returns a request that is within all bounds, for a secret that
// does not exist: what is out of bounds is refused before anybody looks.
func outOfBounds(p *Probe, operation string) M {
	if operation == "RotateSecret" {
		return M{"SecretId": p.Name(), "ClientRequestToken": p.Token()}
	}
	in := M{}
	o := operationNamed(operation)
	s := &Secret{Name: "pawl-conformance/never-made", Version: p.Token()}
	switch operation {
	case "ReplicateSecretToRegions":
		return M{"SecretId": s.Name, "AddReplicaRegions": L{M{"Region": "eu-west-3"}}}
	case "RemoveRegionsFromReplication":
		return M{"SecretId": s.Name, "RemoveReplicaRegions": L{"eu-west-3"}}
	case "BatchGetSecretValue", "ListSecrets":
		return in
	}
	return o.request(p, s)
}

func (b bound) rule(op string) rule {
	path := b.path
	if path == "" {
		path = lowerFirst(b.member)
	}
	source := model
	if b.hidden && b.member == "SecretBinary" {
		source = "answer of AWS in cluster-api-provider-aws issue 1531"
	}
	name := b.member + ": " + strings.TrimSuffix(b.constraint, ": [")
	if b.hidden {
		name += "; the value is not repeated"
	}
	return rule{name, source, func(p *Probe) {
		in := outOfBounds(p, op)
		switch {
		case b.put != nil:
			b.put(in, b.value)
		case b.value == nil:
			delete(in, b.member)
		default:
			in[b.member] = b.value
		}
		a := p.Refused(op, in, "ValidationException", "")
		value := "Value '" + text(b.value) + "' at"
		switch {
		case b.value == nil:
			value = "Value null at"
		case b.hidden:
			value = "Value at"
		}
		want := "1 validation error detected: " + value + " '" + path + "' failed to satisfy constraint: " + b.constraint
		if b.loose {
			tail := want[strings.Index(want, " at '"):]
			if !detected.MatchString(a.Text()) || !strings.Contains(a.Text(), tail) {
				p.Fail("want %q, got %q", short(tail), short(a.Text()))
			}
			return
		}
		if a.Text() != want {
			p.Fail("want %q, got %q", short(want), short(a.Text()))
		}
	}}
}

func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int:
		return strconv.Itoa(v)
	}
	return ""
}
