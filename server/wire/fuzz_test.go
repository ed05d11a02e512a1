package wire_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server/wire"
	"github.com/pawlhq/pawl/service"
)

// Whatever comes: no panic; only JSON is taken; what is taken survives being
// written and read again; no error says anything of the body.
func FuzzUnmarshal(f *testing.F) {
	for _, body := range []string{
		`{}`, `[]`, `null`, ``,
		`{"SecretId":"prod/db","VersionStage":"AWSCURRENT"}`,
		`{"Name":"n","SecretString":"{\"password\":\"\ud83d\ude00\"}","Tags":[{"Key":"k","Value":""}],"ClientRequestToken":null}`,
		`{"Filters":[{"Key":"name","Values":["!a","b"]}],"MaxResults":1.0e1,"IncludePlannedDeletion":true}`,
		`{"ARN":"arn:x","CreatedDate":1.718112345678E9,"VersionIdsToStages":{"a":["AWSCURRENT"]}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, into := range []any{
			&service.CreateSecretInput{}, &service.GetSecretValueInput{}, &service.ListSecretsInput{}, &service.DescribeSecretOutput{}, &request{},
		} {
			_, err := wire.Unmarshal(body, into)
			if err != nil {
				var e *secrets.Error
				if !errors.As(err, &e) || e.Code != "SerializationException" || e.Err != nil && !known(e.Err.Error()) {
					t.Fatalf("%v (%s)", err, secrets.CodeOf(err))
				}
				continue
			}
			if !json.Valid(body) || !utf8.Valid(body) {
				t.Fatalf("%T: taken, and no JSON: %q", into, body)
			}
			b, err := wire.Marshal(into)
			if err != nil {
				t.Fatal(err)
			}
			again := reflect.New(reflect.TypeOf(into).Elem()).Interface()
			if _, err := wire.Unmarshal(b, again); err != nil {
				if r, ok := into.(*request); ok && r.Where.Account == "" {
					continue // no ARN, or a plain name where one belongs
				}
				t.Fatalf("%T: %v: %s", into, err, b)
			}
			b2, err := wire.Marshal(again)
			if err != nil || string(b2) != string(b) {
				t.Fatalf("%T: %v\n%s\n%s", into, err, b, b2)
			}
		}
	})
}

func known(text string) bool {
	switch text {
	case "Start of list found where not expected", "Start of structure or map found where not expected.", "Expected list or null", "Expected null":
		return true
	}
	kind, target, ok := strings.Cut(text, " can not be converted to a")
	switch kind {
	case "STRING_VALUE", "NUMBER_VALUE", "TRUE_VALUE", "FALSE_VALUE":
	default:
		return false
	}
	switch target {
	case " String", " Long", " Boolean", " Blob", " Timestamp", "n Integer":
		return ok
	}
	return false
}
