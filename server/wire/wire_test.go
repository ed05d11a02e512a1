package wire_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server/wire"
	"github.com/pawlhq/pawl/service"
)

// same compares with the values in the clear; only values that this test made
// are ever shown.
func same(t interface {
	Helper()
	Errorf(string, ...any)
}, got, want any,
) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got what is not want (hidden values aside): %s", cmp.Diff(want, got,
			cmp.Comparer(func(a, b secrets.Value) bool { return a.Equal(b) }),
			cmp.Comparer(func(a, b secrets.Password) bool { return a.Equal(b) })))
	}
}

func marshal(t *testing.T, v any) string {
	t.Helper()
	b, err := wire.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestAnswersAsAWSWritesThem(t *testing.T) {
	at := time.Date(2024, 6, 11, 13, 25, 45, 678_912_345, time.FixedZone("", 3600))
	off := false
	for _, c := range []struct {
		in   any
		want string
	}{
		{
			&service.DescribeSecretOutput{
				Metadata: service.Metadata{
					ARN: "arn:x", Name: "n", RotationEnabled: &off, RotationRules: &service.RotationRules{AutomaticallyAfterDays: 1, ScheduleExpression: "rate(10 hours)"},
					CreatedDate: at, LastChangedDate: at.Truncate(time.Second), LastAccessedDate: time.Date(2024, 6, 11, 0, 0, 0, 0, time.UTC), Tags: []service.Tag{},
				},
				VersionIDsToStages: map[string][]string{"b": {"AWSPREVIOUS"}, "a": {"AWSCURRENT", "X"}},
			},
			`{"ARN":"arn:x","Name":"n","RotationEnabled":false,"RotationRules":{"AutomaticallyAfterDays":1,"ScheduleExpression":"rate(10 hours)"},` +
				`"CreatedDate":1718108745.678,"LastChangedDate":1718108745,"LastAccessedDate":1718064000,"Tags":[],` +
				`"VersionIdsToStages":{"a":["AWSCURRENT","X"],"b":["AWSPREVIOUS"]}}`,
		},
		{service.CreateSecretOutput{ARN: "a", Name: "n"}, `{"ARN":"a","Name":"n"}`},
		{service.PutSecretValueInput{SecretID: "s", ClientRequestToken: "t", GivenValue: service.Give(secrets.Text("a\"b"))}, `{"SecretId":"s","ClientRequestToken":"t","SecretString":"a\"b"}`},
		{service.PutSecretValueInput{SecretID: "s", ClientRequestToken: "t", GivenValue: service.Give(secrets.Binary([]byte{0, 255}))}, `{"SecretId":"s","ClientRequestToken":"t","SecretBinary":"AP8="}`},
		{&service.GetRandomPasswordOutput{RandomPassword: secrets.NewPassword(`<&>"\`)}, `{"RandomPassword":"<&>\"\\"}`},
		{struct {
			Text   string
			Wait   time.Duration
			When   time.Time
			Kind   secrets.Kind
			Where  secrets.ARN
			Value  secrets.Value
			None   []string
			Empty  []string
			Maps   map[string]string
			Blob   []byte
			Left   string      `json:",omitempty"`
			Zero   secrets.ARN `json:",omitzero"`
			Items  []*string   `json:"items"`
			Value2 secrets.Value
		}{
			Text: "\x00\x1f\n\r\t\x7f\u2028zażółć🐾\xff", Wait: time.Second, When: time.UnixMilli(-1500), Kind: secrets.Denied,
			Where: secrets.ARN{Partition: "aws", Region: "r", Account: "1", Name: "n", Suffix: "AbCdEf"}, Value: secrets.Text(""),
			Empty: []string{}, Maps: map[string]string{}, Blob: []byte{}, Items: []*string{nil}, Value2: secrets.Text("v"),
		}, `{"Text":"\u0000\u001f\n\r\t` + "\x7f\u2028zażółć🐾\ufffd" + `","Wait":1000000000,"When":-1.500,"Kind":2,` +
			`"Where":"arn:aws:secretsmanager:r:1:secret:n-AbCdEf","SecretString":"","Empty":[],"Maps":{},"Blob":"","items":[null],"Value2":"v"}`},
	} {
		if got := marshal(t, c.in); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		} else if !json.Valid([]byte(got)) {
			t.Errorf("not JSON: %s", got)
		}
	}
	for _, v := range []secrets.Value{secrets.Text("text"), secrets.Binary([]byte("text"))} {
		got := marshal(t, &service.GetSecretValueOutput{ARN: "a", Name: "n", VersionID: "v", Value: v, CreatedDate: time.UnixMilli(1)})
		member := `"SecretString":"text"`
		if v.IsBinary() {
			member = `"SecretBinary":"dGV4dA=="`
		}
		if want := `{"ARN":"a","Name":"n","VersionId":"v",` + member + `,"CreatedDate":0.001}`; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// Clients read dates in every form that AWS is known to write.
func TestDates(t *testing.T) {
	want := time.UnixMilli(1718112345678).UTC()
	for _, n := range []string{"1718112345.678", "1.718112345678E9", "1718112345678e-3", "1718112345.6784", "1718112345.678000"} {
		var out service.DeleteSecretOutput
		if _, err := wire.Unmarshal([]byte(`{"DeletionDate":`+n+`}`), &out); err != nil || !out.DeletionDate.Equal(want) || out.DeletionDate.Location() != time.UTC {
			t.Errorf("%s: %v, %v", n, out.DeletionDate, err)
		}
	}
	for _, n := range []string{"1e18", "-1e18", "1e999", "-"} {
		_, err := wire.Unmarshal([]byte(`{"DeletionDate":`+n+`}`), &service.DeleteSecretOutput{})
		wantFault(t, err, "")
	}
	_, err := wire.Unmarshal([]byte(`{"DeletionDate":"2024-06-11T13:25:45Z"}`), &service.DeleteSecretOutput{})
	wantFault(t, err, "STRING_VALUE can not be converted to a Timestamp")
}

func TestMarshalWhatItCannot(t *testing.T) {
	var none *service.Tag
	for _, v := range []any{nil, "x", none, []string{"x"}, map[string]string{}} {
		if b, err := wire.Append([]byte("kept"), v); err == nil || string(b) != "kept" {
			t.Errorf("%T: %s, %v", v, b, err)
		}
	}
	for _, v := range []any{
		struct{ X any }{}, struct{ X float64 }{}, struct{ X chan int }{}, struct{ X map[int]string }{},
		struct {
			Value        secrets.Value
			SecretString string
		}{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%T has no encoding, and got one", v)
				}
			}()
			_, _ = wire.Marshal(v)
		}()
	}
}

// types are what goes over the wire.
var types = []any{
	service.BatchGetSecretValueInput{}, service.BatchGetSecretValueOutput{}, service.CancelRotateSecretInput{},
	service.CancelRotateSecretOutput{}, service.CreateSecretInput{}, service.CreateSecretOutput{},
	service.DeleteResourcePolicyInput{}, service.DeleteResourcePolicyOutput{}, service.DeleteSecretInput{},
	service.DeleteSecretOutput{}, service.DescribeSecretInput{}, service.DescribeSecretOutput{},
	service.GetRandomPasswordInput{}, service.GetRandomPasswordOutput{}, service.GetResourcePolicyInput{},
	service.GetResourcePolicyOutput{}, service.GetSecretValueInput{}, service.GetSecretValueOutput{},
	service.ListRotationsInput{}, service.ListRotationsOutput{}, service.ListSecretVersionIDsInput{},
	service.ListSecretVersionIDsOutput{}, service.ListSecretsInput{}, service.ListSecretsOutput{},
	service.PauseRotationInput{}, service.PauseRotationOutput{}, service.PutResourcePolicyInput{},
	service.PutResourcePolicyOutput{}, service.PutSecretValueInput{}, service.PutSecretValueOutput{},
	service.RemoveRegionsFromReplicationInput{}, service.RemoveRegionsFromReplicationOutput{}, service.ReplicateSecretToRegionsInput{},
	service.ReplicateSecretToRegionsOutput{}, service.RestoreSecretInput{}, service.RestoreSecretOutput{},
	service.ResumeRotationInput{}, service.ResumeRotationOutput{}, service.RotateSecretInput{},
	service.RotateSecretOutput{}, service.StartRotationInput{}, service.StartRotationOutput{},
	service.StopReplicationToReplicaInput{}, service.StopReplicationToReplicaOutput{}, service.TagResourceInput{},
	service.TestRotationInput{}, service.TestRotationOutput{}, service.UntagResourceInput{},
	service.UpdateSecretInput{}, service.UpdateSecretOutput{}, service.UpdateSecretVersionStageInput{},
	service.UpdateSecretVersionStageOutput{}, service.ValidateResourcePolicyInput{}, service.ValidateResourcePolicyOutput{},
	service.RotationStatus{}, request{},
}

func TestEverythingSurvivesTheWire(t *testing.T) {
	for _, v := range types {
		typ := reflect.TypeOf(v)
		t.Run(typ.Name(), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				in := reflect.New(typ)
				fill(rt, in.Elem(), "")
				b, err := wire.Marshal(in.Interface())
				if err != nil {
					rt.Fatal(err)
				}
				if !json.Valid(b) {
					rt.Fatalf("not JSON: %s", b)
				}
				again, err := wire.Marshal(in.Elem().Interface())
				if err != nil || !bytes.Equal(again, b) {
					rt.Fatalf("a pointer and its structure differ: %v\n%s\n%s", err, b, again)
				}
				out := reflect.New(typ)
				if _, err := wire.Unmarshal(b, out.Interface()); err != nil {
					rt.Fatalf("%v: %s", err, b)
				}
				same(rt, out.Interface(), in.Interface())
			})
		})
	}
}

var (
	anyText = rapid.StringOf(rapid.Rune())
	anyTime = rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMilli(rapid.Int64Range(-1e12, 4e12).Draw(t, "ms")).UTC()
	})
)

// fill draws a value that has an encoding of its own: no list that is empty
// where omitempty makes it nil.
func fill(t *rapid.T, v reflect.Value, tag string) {
	some := rapid.Bool().Draw(t, "some")
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		if some {
			*p = anyTime.Draw(t, "time")
		}
		return
	case *secrets.Value:
		if some {
			*p = secrets.Text(anyText.Draw(t, "text"))
			if rapid.Bool().Draw(t, "binary") && tag == "Value" {
				*p = secrets.Binary(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))
			}
		}
		return
	case *service.SecretText:
		if some {
			*p = service.SecretText{Value: secrets.Text(anyText.Draw(t, "text"))}
		}
		return
	case *service.SecretBlob:
		if some {
			*p = service.SecretBlob{Value: secrets.Binary(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes"))}
		}
		return
	case *secrets.Password:
		*p = secrets.NewPassword(anyText.Draw(t, "password"))
		return
	case *secrets.ARN:
		*p = secrets.ARN{Partition: "aws", Region: "eu-west-1", Account: "123456789012", Name: rapid.StringMatching(`[a-z/_+=.@!]{1,20}`).Draw(t, "name"), Suffix: "AbCdEf"}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(anyText.Draw(t, "string"))
	case reflect.Bool:
		v.SetBool(some)
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(t, "int"))
	case reflect.Int8:
		v.SetInt(int64(rapid.Int8().Draw(t, "int8")))
	case reflect.Pointer:
		if some {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem(), "")
		}
	case reflect.Slice:
		n := rapid.IntRange(0, 3).Draw(t, "n")
		if n > 0 || some && !strings.Contains(tag, "omitempty") {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		for i := range n {
			fill(t, v.Index(i), "")
		}
	case reflect.Map:
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			if v.IsNil() {
				v.Set(reflect.MakeMap(v.Type()))
			}
			item := reflect.New(v.Type().Elem()).Elem()
			fill(t, item, "")
			if item.Kind() == reflect.Slice && item.IsNil() {
				item.Set(reflect.MakeSlice(item.Type(), 0, 0)) // there is no nil in a map
			}
			v.SetMapIndex(reflect.ValueOf(anyText.Draw(t, "key")), item)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			f := v.Type().Field(i)
			switch {
			case !f.IsExported() || f.Tag.Get("json") == "-":
			case f.Name == "Value":
				fill(t, v.Field(i), "Value")
			default:
				fill(t, v.Field(i), f.Tag.Get("json"))
			}
		}
	case reflect.Uint8:
		v.SetUint(uint64(rapid.Byte().Draw(t, "byte")))
	default:
		t.Fatalf("no generator for %s", v.Type())
	}
}

func TestFaults(t *testing.T) {
	for _, c := range []struct {
		code, text, body string
		status           int
		kind             secrets.Kind
	}{
		{"ResourceNotFoundException", `it's "gone"`, `{"__type":"ResourceNotFoundException","Message":"it's \"gone\""}`, 400, secrets.Invalid},
		{"UnknownOperationException", "", `{"__type":"UnknownOperationException"}`, 400, secrets.Invalid},
		{"ValidationException", "v", `{"__type":"ValidationException","message":"v"}`, 400, secrets.Invalid},
		{"SerializationException", "s", `{"__type":"SerializationException","Message":"s"}`, 400, secrets.Invalid},
		{"AccessDeniedException", "a", `{"__type":"AccessDeniedException","Message":"a"}`, 400, secrets.Denied},
		{"InvalidSignatureException", "i", `{"__type":"InvalidSignatureException","message":"i"}`, 400, secrets.Denied},
		{"ThrottlingException", "Rate exceeded", `{"__type":"ThrottlingException","message":"Rate exceeded"}`, 400, secrets.Transient},
		{"InternalServiceError", "e", `{"__type":"InternalServiceError","Message":"e"}`, 500, secrets.Transient},
	} {
		b := wire.AppendFault(nil, c.code, c.text)
		if string(b) != c.body {
			t.Errorf("got  %s\nwant %s", b, c.body)
		}
		text := c.text
		if text == "" {
			text = c.code
		}
		for _, body := range []string{c.body, strings.Replace(c.body, `"__type":"`, `"__type":"com.amazon.coral.service#`, 1)} {
			e := wire.ReadFault(c.status, []byte(body))
			if e.Code != c.code || e.Err.Error() != text || e.Kind != c.kind {
				t.Errorf("%s: %s %s %s", body, e.Code, e.Kind, e.Err)
			}
		}
	}
	e := wire.ReadFault(400, []byte(`{"__type":"ThrottlingException:http://internal.amazon.com/","message":"m"}`))
	if e.Code != "ThrottlingException" {
		t.Error(e.Code)
	}
	for status, kind := range map[int]secrets.Kind{404: secrets.Invalid, 502: secrets.Transient} {
		for _, body := range []string{"", "<html>canary</html>", `{}`, `{"__type":7}`, `["canary"]`} {
			e := wire.ReadFault(status, []byte(body))
			if e.Kind != kind || e.Code != "" || e.Hint == "" || strings.Contains(e.Error(), "canary") {
				t.Errorf("%d %s: %v (%s)", status, body, e, e.Kind)
			}
		}
	}
}
