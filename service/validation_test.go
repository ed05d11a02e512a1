package service_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// bound is a row of AWS's service model: a member, and what it must be.
type bound struct {
	path        string          // as errors name it
	wrap        func(v any) any // makes the top-level member's JSON; nil: it is the value itself
	least, most int             // most < 0: no upper end
	kind        string          // text, number, list, blob
	pattern     string
	good, bad   string // what matches the pattern, and what does not; good is repeated to a length
	secret      bool   // never repeated in the error
}

func textBound(path string, least, most int) bound {
	return bound{path: path, least: least, most: most, kind: "text", good: "a"}
}

func numberBound(path string, least, most int) bound {
	return bound{path: path, least: least, most: most, kind: "number"}
}

func listBound(path string, least, most int, item any) bound {
	return bound{path: path, least: least, most: most, kind: "list", wrap: func(v any) any {
		items := make([]any, v.(int))
		for i := range items {
			items[i] = item
		}
		return items
	}}
}

// itemBound puts a value into a list's only item, under a key where it has one.
func itemBound(b bound, key string) bound {
	b.wrap = func(v any) any {
		if key == "" {
			return []any{v}
		}
		return []any{map[string]any{key: v}}
	}
	return b
}

func memberBound(b bound, key string) bound {
	b.wrap = func(v any) any { return map[string]any{key: v} }
	return b
}

func matchingBound(b bound, pattern, good, bad string) bound {
	b.pattern, b.good, b.bad = pattern, good, bad
	return b
}

const (
	regionPattern     = `^([a-z]+-)+\d+$`
	filterPattern     = `^\!?[a-zA-Z0-9 :_@\/\+\=\.\-\!]*$`
	expressionPattern = `[0-9A-Za-z\(\)#\?\*\-\/, ]+`
)

func tokenBound(path string) bound { return textBound(path, 32, 64) }

// tagBounds are the bounds of a list of tags.
func tagBounds(path string) []bound {
	key, value := itemBound(textBound(path+".1.member.key", 1, 128), "Key"), textBound(path+".1.member.value", 0, 256)
	value.wrap = func(v any) any { return []any{map[string]any{"Key": "k", "Value": v}} }
	return []bound{key, value}
}

func valueBounds() []bound {
	s, b := textBound("secretString", 1, 65536), bound{path: "secretBinary", least: 1, most: 65536, kind: "blob"}
	s.secret, b.secret = true, true
	return []bound{s, b}
}

func filterBounds() []bound {
	value := func(v any) any { return []any{map[string]any{"Key": "name", "Values": []any{v}}} }
	values := listBound("filters.1.member.values", 1, 10, "x")
	inner := values.wrap
	values.wrap = func(v any) any { return []any{map[string]any{"Key": "name", "Values": inner(v)}} }
	one := matchingBound(textBound("filters.1.member.values.1.member", 0, 512), filterPattern, "a", "a*b")
	one.wrap = value
	return []bound{listBound("filters", 0, 10, map[string]any{"Key": "name", "Values": []any{"x"}}), values, one}
}

func replicaBounds() []bound {
	region := matchingBound(textBound("addReplicaRegions.1.member.region", 1, 128), regionPattern, "a-", "Not A Region")
	return []bound{
		listBound("addReplicaRegions", 1, -1, map[string]any{"Region": "eu-west-1"}),
		itemBound(region, "Region"), itemBound(textBound("addReplicaRegions.1.member.kmsKeyId", 0, 2048), "KmsKeyId"),
	}
}

// boundedOperations are AWS's, with the bounds of their members.
// Source: AWS Secrets Manager API reference, the constraints of each member.
func boundedOperations() []struct {
	name     string
	in       any
	required string // names, in the order of errors
	bounds   []bound
} {
	id := textBound("secretId", 1, 2048)
	next := textBound("nextToken", 1, 4096)
	rotationToken := matchingBound(textBound("rotationToken", 36, 256), `^[a-zA-Z0-9\-]+$`, "a", "a token with spaces in it, 36 long …")
	rotationToken.secret = true
	stages := itemBound(textBound("versionStages.1.member", 1, 256), "")
	ids := itemBound(textBound("secretIdList.1.member", 1, 2048), "")
	removed := itemBound(matchingBound(textBound("removeReplicaRegions.1.member", 1, 128), regionPattern, "a-", "nowhere"), "")
	join := func(first bound, more ...[]bound) []bound {
		return slices.Concat(append([][]bound{{first}}, more...)...)
	}
	return []struct {
		name     string
		in       any
		required string
		bounds   []bound
	}{
		{"CreateSecret", &service.CreateSecretInput{}, "name", join(textBound("name", 1, 512),
			[]bound{tokenBound("clientRequestToken"), textBound("description", 0, 2048), textBound("kmsKeyId", 0, 2048), textBound("type", 0, 256)}, valueBounds(), tagBounds("tags"), replicaBounds())},
		{"GetSecretValue", &service.GetSecretValueInput{}, "secretId", []bound{id, tokenBound("versionId"), textBound("versionStage", 1, 256)}},
		{"BatchGetSecretValue", &service.BatchGetSecretValueInput{}, "", join(listBound("secretIdList", 1, 20, "s"), []bound{ids, numberBound("maxResults", 1, 20), next}, filterBounds())},
		{"PutSecretValue", &service.PutSecretValueInput{}, "secretId", join(id,
			[]bound{tokenBound("clientRequestToken"), listBound("versionStages", 1, 20, "A"), stages, rotationToken}, valueBounds())},
		{"UpdateSecret", &service.UpdateSecretInput{}, "secretId", join(id,
			[]bound{tokenBound("clientRequestToken"), textBound("description", 0, 2048), textBound("kmsKeyId", 0, 2048), textBound("type", 0, 256)}, valueBounds())},
		{"UpdateSecretVersionStage", &service.UpdateSecretVersionStageInput{}, "secretId versionStage", []bound{id, textBound("versionStage", 1, 256), tokenBound("moveToVersionId"), tokenBound("removeFromVersionId")}},
		{"DescribeSecret", &service.DescribeSecretInput{}, "secretId", []bound{id}},
		{"ListSecrets", &service.ListSecretsInput{}, "", join(numberBound("maxResults", 1, 100), []bound{next}, filterBounds())},
		{"ListSecretVersionIds", &service.ListSecretVersionIDsInput{}, "secretId", []bound{id, numberBound("maxResults", 1, 100), next}},
		{"DeleteSecret", &service.DeleteSecretInput{}, "secretId", []bound{id}},
		{"RestoreSecret", &service.RestoreSecretInput{}, "secretId", []bound{id}},
		{"RotateSecret", &service.RotateSecretInput{}, "secretId", []bound{
			id, tokenBound("clientRequestToken"), textBound("rotationLambdaARN", 0, 2048), textBound("externalSecretRotationRoleArn", 20, 2048),
			itemBound(textBound("externalSecretRotationMetadata.1.member.key", 1, 256), "Key"), itemBound(textBound("externalSecretRotationMetadata.1.member.value", 1, 2048), "Value"),
			memberBound(numberBound("rotationRules.automaticallyAfterDays", 1, 1000), "AutomaticallyAfterDays"),
			memberBound(matchingBound(textBound("rotationRules.duration", 2, 3), `[0-9]+h`, "", "3d"), "Duration"),
			memberBound(matchingBound(textBound("rotationRules.scheduleExpression", 1, 256), expressionPattern, "a", "rate[1 day]"), "ScheduleExpression"),
		}},
		{"CancelRotateSecret", &service.CancelRotateSecretInput{}, "secretId", []bound{id}},
		{"GetRandomPassword", &service.GetRandomPasswordInput{}, "", []bound{numberBound("passwordLength", 1, 4096), textBound("excludeCharacters", 0, 4096)}},
		{"TagResource", &service.TagResourceInput{}, "secretId tags", join(id, tagBounds("tags"))},
		{"UntagResource", &service.UntagResourceInput{}, "secretId tagKeys", []bound{id, itemBound(textBound("tagKeys.1.member", 1, 128), "")}},
		{"ReplicateSecretToRegions", &service.ReplicateSecretToRegionsInput{}, "secretId addReplicaRegions", join(id, replicaBounds())},
		{"RemoveRegionsFromReplication", &service.RemoveRegionsFromReplicationInput{}, "secretId removeReplicaRegions", []bound{id, listBound("removeReplicaRegions", 1, -1, "eu-west-1"), removed}},
		{"PutResourcePolicy", &service.PutResourcePolicyInput{}, "secretId resourcePolicy", []bound{id, textBound("resourcePolicy", 1, 20480)}},
		{"GetResourcePolicy", &service.GetResourcePolicyInput{}, "secretId", []bound{id}},
		{"DeleteResourcePolicy", &service.DeleteResourcePolicyInput{}, "secretId", []bound{id}},
		{"ValidateResourcePolicy", &service.ValidateResourcePolicyInput{}, "resourcePolicy", []bound{id, textBound("resourcePolicy", 1, 20480)}},
		{"StopReplicationToReplica", &service.StopReplicationToReplicaInput{}, "secretId", []bound{id}},
	}
}

// of makes a value of a size: of so many characters, bytes or items, or the
// number itself.
func (b bound) of(n int) any {
	switch b.kind {
	case "number", "list":
		return n
	case "blob":
		return base64.StdEncoding.EncodeToString(make([]byte, n))
	}
	switch b.good {
	case "": // a duration
		return strings.Repeat("1", max(n-1, 0)) + strings.Repeat("h", min(n, 1))
	case "a-": // a region
		if n < 3 {
			return strings.Repeat("a", n)
		}
		return strings.Repeat("a", n-2) + "-1"
	}
	if b.pattern == "" {
		return strings.Repeat("é", n) // characters, not bytes
	}
	return strings.Repeat(b.good, n)
}

// checkSent decodes a request in which one member was sent with a value, and checks
// it.
func checkSent(t *testing.T, in any, b bound, v any) error {
	t.Helper()
	if b.kind == "text" && b.path == "secretString" {
		v = strings.ReplaceAll(v.(string), "é", "e")
	}
	if b.wrap != nil {
		v = b.wrap(v)
	}
	top, _, _ := strings.Cut(b.path, ".")
	raw, err := json.Marshal(map[string]any{strings.ToUpper(top[:1]) + top[1:]: v})
	if err != nil {
		t.Fatal(err)
	}
	fresh := reflect.New(reflect.TypeOf(in).Elem())
	if err := json.Unmarshal(raw, fresh.Interface()); err != nil {
		t.Fatalf("%s: %v", raw[:min(len(raw), 100)], err)
	}
	return service.Check(fresh.Elem().Interface(), map[string]bool{b.path: true})
}

// saysOf reports whether an error says of a path what fails, and of nothing else
// by the same words.
func saysOf(err error, path, rule string) bool {
	return err != nil && secrets.CodeOf(err) == "ValidationException" &&
		strings.Contains(err.Error(), " at '"+path+"' failed to satisfy constraint: "+rule)
}

func TestEveryBound(t *testing.T) {
	for _, op := range boundedOperations() {
		for _, b := range op.bounds {
			t.Run(op.name+"/"+b.path, func(t *testing.T) {
				what := "length"
				if b.kind == "number" {
					what = "value"
				}
				silent := b.kind == "blob" || b.path == "secretString" // an empty one is the operation's to refuse
				tooLittle := fmt.Sprintf("Member must have %s greater than or equal to %d", what, b.least)
				tooMuch := fmt.Sprintf("Member must have %s less than or equal to %d", what, b.most)
				if b.least > 0 && !silent {
					if err := checkSent(t, op.in, b, b.of(b.least-1)); !saysOf(err, b.path, tooLittle) {
						t.Errorf("below: %v", err)
					}
				}
				sizes := []int{b.least}
				if b.most >= 0 {
					sizes = append(sizes, b.most)
					err := checkSent(t, op.in, b, b.of(b.most+1))
					if !saysOf(err, b.path, tooMuch) {
						t.Errorf("beyond: %v", err)
					}
					if n := fmt.Sprint(b.of(b.most + 1)); err != nil && b.secret && strings.Contains(err.Error(), n[:20]) {
						t.Error("the value is in the error")
					}
				}
				for _, n := range sizes {
					if err := checkSent(t, op.in, b, b.of(n)); saysOf(err, b.path, "Member must have") || b.kind == "text" && n >= 3 && saysOf(err, b.path, "Member must satisfy") {
						t.Errorf("%d: %v", n, err)
					}
				}
				if b.pattern != "" {
					if err := checkSent(t, op.in, b, b.bad); !saysOf(err, b.path, "Member must satisfy regular expression pattern: "+b.pattern) {
						t.Errorf("against the pattern: %v", err)
					}
				}
			})
		}
	}
}

func TestRequiredMembers(t *testing.T) {
	for _, op := range boundedOperations() {
		names := strings.Fields(op.required)
		err := service.Check(reflect.ValueOf(op.in).Elem().Interface(), nil)
		if len(names) == 0 {
			if err != nil {
				t.Errorf("%s: %v", op.name, err)
			}
			continue
		}
		s := "s"
		if len(names) == 1 {
			s = ""
		}
		var texts []string
		for _, n := range names {
			texts = append(texts, "Value null at '"+n+"' failed to satisfy constraint: Member must not be null")
		}
		wantErr(t, err, "ValidationException", fmt.Sprintf("%d validation error%s detected: %s", len(names), s, strings.Join(texts, "; ")))
	}
}

// Every operation checks its members itself, and says all that is wrong.
func TestOperationsCheckTheirMembers(t *testing.T) {
	h := open(t, service.Config{})
	ctx := t.Context()
	const long = "1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must have length less than or equal to %d"
	id := strings.Repeat("s", 2049)
	for name, err := range map[string]error{
		"UpdateSecret":        second(h.UpdateSecret(ctx, service.UpdateSecretInput{SecretID: id, ClientRequestToken: tok("x")})),
		"DescribeSecret":      second(h.DescribeSecret(ctx, service.DescribeSecretInput{SecretID: id})),
		"GetSecretValue":      second(h.GetSecretValue(ctx, service.GetSecretValueInput{SecretID: id})),
		"PutSecretValue":      second(h.PutSecretValue(ctx, service.PutSecretValueInput{SecretID: id})),
		"ListSecretVersionId": second(h.ListSecretVersionIDs(ctx, service.ListSecretVersionIDsInput{SecretID: id})),
		"DeleteSecret":        second(h.DeleteSecret(ctx, service.DeleteSecretInput{SecretID: id})),
		"RestoreSecret":       second(h.RestoreSecret(ctx, service.RestoreSecretInput{SecretID: id})),
		"TagResource":         h.TagResource(ctx, service.TagResourceInput{SecretID: id, Tags: []service.Tag{}}),
		"UntagResource":       h.UntagResource(ctx, service.UntagResourceInput{SecretID: id, TagKeys: []string{}}),
		"UpdateVersionStage":  second(h.UpdateSecretVersionStage(ctx, service.UpdateSecretVersionStageInput{SecretID: id, VersionStage: "X"})),
	} {
		t.Run(name, func(t *testing.T) { wantErr(t, err, "ValidationException", fmt.Sprintf(long, id, "secretId", 2048)) })
	}
	_, err := h.ListSecrets(ctx, service.ListSecretsInput{
		SortBy: "size", SortOrder: "up", MaxResults: new(int64(0)), Filters: []service.Filter{{Key: "colour", Values: []string{"a", "b*"}}},
	})
	wantErr(t, err, "ValidationException", "5 validation errors detected: "+
		"Value 'colour' at 'filters.1.member.key' failed to satisfy constraint: Member must satisfy enum value set: [description, name, tag-key, tag-value, primary-region, owning-service, all]; "+
		"Value 'b*' at 'filters.1.member.values.2.member' failed to satisfy constraint: Member must satisfy regular expression pattern: "+filterPattern+"; "+
		"Value '0' at 'maxResults' failed to satisfy constraint: Member must have value greater than or equal to 1; "+
		"Value 'size' at 'sortBy' failed to satisfy constraint: Member must satisfy enum value set: [created-date, last-accessed-date, last-changed-date, name]; "+
		"Value 'up' at 'sortOrder' failed to satisfy constraint: Member must satisfy enum value set: [asc, desc]")
	_, err = h.BatchGetSecretValue(ctx, service.BatchGetSecretValueInput{SecretIDList: []string{"s", ""}, MaxResults: new(int64(21))})
	wantErr(t, err, "ValidationException", "2 validation errors detected: "+
		"Value '' at 'secretIdList.2.member' failed to satisfy constraint: Member must have length greater than or equal to 1; "+
		"Value '21' at 'maxResults' failed to satisfy constraint: Member must have value less than or equal to 20")
}
