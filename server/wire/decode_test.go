package wire_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/server/wire"
	"github.com/pawlhq/pawl/service"
)

// request has a member of every kind that requests have.
type request struct {
	SecretID  string `json:"SecretId"`
	Count     *int64
	Small     int8
	Force     bool
	Maybe     *bool
	TagKeys   []string
	Tags      []service.Tag
	Rules     *service.RotationRules
	Blob      []byte
	Labels    map[string][]string
	Where     secrets.ARN
	Hidden    string `json:"-"`
	SecretBig service.SecretBlob
	service.GivenValue
}

// wantFault checks for a SerializationException with text, or without any.
func wantFault(t *testing.T, err error, text string) {
	t.Helper()
	var e *secrets.Error
	if !errors.As(err, &e) || e.Code != "SerializationException" || e.Kind != secrets.Invalid {
		t.Fatalf("got %v (code %s), want a SerializationException", err, secrets.CodeOf(err))
	}
	got := ""
	if e.Err != nil {
		got = e.Err.Error()
	}
	if got != text {
		t.Errorf("got %q, want %q", got, text)
	}
}

func TestWrongTypesInAWSsWords(t *testing.T) {
	const list, structure = "Start of list found where not expected", "Start of structure or map found where not expected."
	for body, text := range map[string]string{
		`[]`:                              list,
		`[{"SecretId":"x"}]`:              list,
		`{"SecretId":1}`:                  "NUMBER_VALUE can not be converted to a String",
		`{"SecretId":-1.5e3}`:             "NUMBER_VALUE can not be converted to a String",
		`{"SecretId":true}`:               "TRUE_VALUE can not be converted to a String",
		`{"SecretId":false}`:              "FALSE_VALUE can not be converted to a String",
		`{"SecretId":["x"]}`:              list,
		`{"SecretId":{"a":1}}`:            structure,
		`{"Count":"1"}`:                   "STRING_VALUE can not be converted to a Long",
		`{"Count":true}`:                  "TRUE_VALUE can not be converted to a Long",
		`{"Count":[1]}`:                   list,
		`{"Small":"1"}`:                   "STRING_VALUE can not be converted to an Integer",
		`{"Force":"true"}`:                "STRING_VALUE can not be converted to a Boolean",
		`{"Force":1}`:                     "NUMBER_VALUE can not be converted to a Boolean",
		`{"Maybe":{}}`:                    structure,
		`{"TagKeys":"x"}`:                 "Expected list or null",
		`{"TagKeys":1}`:                   "Expected list or null",
		`{"TagKeys":{}}`:                  structure,
		`{"TagKeys":[1]}`:                 "NUMBER_VALUE can not be converted to a String",
		`{"TagKeys":[["x"]]}`:             list,
		`{"Tags":["x"]}`:                  "Expected null",
		`{"Tags":[{"Key":1}]}`:            "NUMBER_VALUE can not be converted to a String",
		`{"Rules":"x"}`:                   "Expected null",
		`{"Rules":[]}`:                    list,
		`{"Labels":"x"}`:                  "Expected null",
		`{"Labels":{"a":"b"}}`:            "Expected list or null",
		`{"SecretString":7}`:              "NUMBER_VALUE can not be converted to a String",
		`{"SecretString":{"user":"u"}}`:   structure,
		`{"SecretBinary":7}`:              "NUMBER_VALUE can not be converted to a Blob",
		`{"Where":7}`:                     "NUMBER_VALUE can not be converted to a String",
		`{"SecretId":1,`:                  "NUMBER_VALUE can not be converted to a String", // read from left to right
		"{\"SecretId\" \t:\r\n 1 }":       "NUMBER_VALUE can not be converted to a String",
		`{"unknown":[{},[]],"Force":"x"}`: "STRING_VALUE can not be converted to a Boolean",
	} {
		t.Run(body, func(t *testing.T) {
			_, err := wire.Unmarshal([]byte(body), &request{})
			wantFault(t, err, text)
		})
	}
}

func TestWhatIsNoRequest(t *testing.T) {
	deep := func(open, end string, n int) string {
		return `{"u":` + strings.Repeat(open, n) + strings.Repeat(end, n) + `}`
	}
	for _, body := range []string{
		``, ` `, `null`, `"x"`, `1`, `true`, `nul`, `{`, `{"`, `{"a`, `{"a"`, `{"a":`, `{"a":1`, `{"a":1,`, `{"a":1,}`, `{,}`, `{"a":,}`, `{"a" 1}`,
		`{"a":1}x`, `{"a":1}{}`, `{"a":1},`, `{"a":1]`, `{"a":[1}`, `{"a":[1,]}`, `{"a":[,1]}`, `{"a":[1 2]}`, `{a:1}`, `{'a':1}`, `{"a":tru}`, `{"a":True}`,
		`{"a":01}`, `{"a":+1}`, `{"a":.5}`, `{"a":1.}`, `{"a":1e}`, `{"a":-}`, `{"a":0x1}`, `{"a":NaN}`, `{"a":1_0}`,
		"{\"a\":\"\x01\"}", "{\"a\":\"\n\"}", `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":"\u12g4"}`, `{"a":"\`, `{"a":"\"}`,
		"{\"a\":\"\xff\"}", "{\"SecretId\":\"\xc3\"}", "{\"\xed\xa0\x80\":1}", "\xef\xbb\xbf{}", "\xff\xfe{\x00}\x00",
		`{"SecretId":"\ud800"}`, `{"SecretId":"\udc00\ud800"}`, `{"SecretId":"\ud800x"}`, `{"SecretId":"\ud800\n"}`, `{"SecretId":"\ud800\u0041"}`, `{"u":"\ud83d"}`,
		`{"Count":1.5}`, `{"Count":1e300}`, `{"Count":1e999}`, `{"Count":9223372036854775808}`, `{"Count":0.5e0}`, `{"Small":128}`, `{"Small":-129}`,
		`{"SecretBinary":"a"}`, `{"SecretBinary":"YQ"}`, `{"SecretBinary":"Y=Q="}`, `{"SecretBinary":"YQ==x"}`, `{"SecretBinary":"-_-_"}`, `{"Blob":"§"}`,
		`{"Where":"no*name"}`, `{"SecretId":tru}`, `{"SecretId":"x","SecretId":-}`, `{"Rules":xyz}`, `{"SecretId":nulL}`, "{}\x00", "\x00", "{\x00}",
		deep("[", "]", 64), deep(`{"a":`, "1}", 64), deep(`[{"a":`, "}]", 100_000), `{"u":` + strings.Repeat("[", 1<<20), `{"u":` + strings.Repeat(`{"a":`, 1<<20),
	} {
		name := fmt.Sprintf("%.30q", body)
		t.Run(name, func(t *testing.T) {
			in := request{}
			sent, err := wire.Unmarshal([]byte(body), &in)
			wantFault(t, err, "")
			if sent != nil {
				t.Error("members of what is no request")
			}
		})
	}
	if _, err := wire.Unmarshal([]byte(deep("[", "]", 63)), &request{}); err != nil {
		t.Errorf("63 deep in a member: %v", err)
	}
}

func TestRequestsAsTheyComeOverTheWire(t *testing.T) {
	id := func(s string) request { return request{SecretID: s} }
	n := func(i int64) request { return request{Count: &i} }
	for _, c := range []struct {
		body string
		want request
		sent string
	}{
		{`{}`, request{}, ""},
		{" {\t\r\n} ", request{}, ""},
		{`{"SecretId":"a","SecretId":"b"}`, id("b"), ""}, // the last counts
		{`{"SecretId":"a","SecretId":null}`, request{}, ""},
		{`{"SecretId":"","SecretId":"b"}`, id("b"), ""},
		{`{"SecretId":"a","SecretId":""}`, request{}, "secretId"},
		{`{"SecretId":"","SecretId":null}`, request{}, ""},
		{`{"Tags":[{"Key":""}],"Tags":[{}]}`, request{Tags: []service.Tag{{}}}, ""},
		{`{"Rules":{"Duration":"1h"},"Rules":{"ScheduleExpression":"x"}}`, request{Rules: &service.RotationRules{ScheduleExpression: "x"}}, ""},
		{`{"secretId":"a","SECRETID":"b","Secret_Id":"c","SecretID":"d"}`, request{}, ""}, // names are exact
		{`{"Hidden":"a","-":"b"}`, request{}, ""},
		{`{"unknown":{"SecretId":["a",{"b":[]}],"n":-1.5e-3,"t":true,"f":false,"z":null},"SecretId":"a"}`, id("a"), ""},
		{`{"\u0053ecretId":"\u0061\"\\\/\b\f\n\r\t\ud83d\ude00\u0000\ufffd"}`, id("a\"\\/\b\f\n\r\t😀\x00\ufffd"), ""},
		{`{"SecretId":"zażółć 🐾"}`, id("zażółć 🐾"), ""},
		{`{"Count":1.0}`, n(1), ""},
		{`{"Count":-7}`, n(-7), ""},
		{`{"Count":1.2e1}`, n(12), ""},
		{`{"Count":9223372036854775807}`, n(9223372036854775807), ""},
		{`{"Count":-9223372036854775808}`, n(-9223372036854775808), ""},
		{`{"Small":0}`, request{}, "small"},
		{`{"Force":false,"Maybe":null,"Count":null,"Tags":null,"Rules":null,"SecretString":null,"Labels":null}`, request{}, "force"},
		{`{"TagKeys":["a",null,"b"]}`, request{TagKeys: []string{"a", "b"}}, ""},
		{`{"TagKeys":[]}`, request{TagKeys: []string{}}, "tagKeys"},
		{`{"TagKeys":[null]}`, request{TagKeys: []string{}}, "tagKeys"},
		{`{"Tags":[{"Key":"k","Value":""},{"Key":""},{}]}`, request{Tags: []service.Tag{{Key: "k"}, {}, {}}}, "tags.1.member.value tags.2.member.key"},
		{`{"Rules":{"Duration":"","AutomaticallyAfterDays":0}}`, request{Rules: &service.RotationRules{}}, "rules.automaticallyAfterDays rules.duration"},
		{`{"Labels":{"v":["A","B"]}}`, request{Labels: map[string][]string{"v": {"A", "B"}}}, ""},
		{`{"Where":"arn:aws:secretsmanager:us-east-1:123456789012:secret:a/b-AbCdEf"}`, request{Where: secrets.ARN{
			Partition: "aws", Region: "us-east-1", Account: "123456789012", Name: "a/b", Suffix: "AbCdEf"}}, ""},
		{`{"Blob":"AAEC"}`, request{Blob: []byte{0, 1, 2}}, ""},
		{`{"SecretString":"hidden"}`, request{GivenValue: service.Give(secrets.Text("hidden"))}, ""},
		{`{"SecretString":""}`, request{GivenValue: service.Give(secrets.Text(""))}, ""},
		{`{"SecretBinary":"AP8="}`, request{GivenValue: service.Give(secrets.Binary([]byte{0, 255}))}, ""},
	} {
		t.Run(fmt.Sprintf("%.40s", c.body), func(t *testing.T) {
			var got request
			body := []byte(c.body)
			sent, err := wire.Unmarshal(body, &got)
			if err != nil {
				t.Fatal(err)
			}
			clear(body) // a server uses its buffers again
			same(t, got, c.want)
			if s := strings.Join(slices.Sorted(maps.Keys(sent)), " "); s != c.sent || (s == "") != (sent == nil) {
				t.Errorf("sent as empty: %v, want %s", sent, c.sent)
			}
		})
	}
}

// What was sent as empty is out of bounds; what was not sent is missing.
func TestEmptyIsNotAbsent(t *testing.T) {
	for body, text := range map[string]string{
		`{}`:              "1 validation error detected: Value null at 'secretId' failed to satisfy constraint: Member must not be null",
		`{"SecretId":""}`: "1 validation error detected: Value '' at 'secretId' failed to satisfy constraint: Member must have length greater than or equal to 1",
	} {
		var in service.GetSecretValueInput
		sent, err := wire.Unmarshal([]byte(body), &in)
		if err != nil {
			t.Fatal(err)
		}
		if err := service.Check(in, sent); err == nil || err.Error() != text {
			t.Errorf("%s\ngot  %v\nwant %s", body, err, text)
		}
	}
	var in service.ListSecretsInput
	sent, err := wire.Unmarshal([]byte(`{"Filters":[{"Key":"name","Values":["a"]},{"Key":"","Values":[]}]}`), &in)
	if err != nil {
		t.Fatal(err)
	}
	err = service.Check(in, sent)
	for _, part := range []string{"'filters.2.member.key'", "'filters.2.member.values'", "2 validation errors"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %s", err, part)
		}
	}
}

// No body costs more than its length.
func TestHostileBodiesAreCheap(t *testing.T) {
	const size = 1 << 20
	for name, c := range map[string]struct{ before, item, after string }{
		"empty members":      {`{"Tags":[`, `{"Key":""},`, `{}]}`},
		"repeated members":   {`{"Tags":[` + strings.Repeat(`{"Key":""},`, 1000) + `{}],`, `"SecretId":"",`, `"SecretId":"x"}`},
		"a list again":       {`{`, `"TagKeys":["",""],`, `"SecretId":"x"}`},
		"escapes":            {`{"SecretId":"`, `\u0000`, `"}`},
		"unknown members":    {`{`, `"x":[{}],`, `"SecretId":"x"}`},
		"digits":             {`{"Count":`, `1`, `.5}`},
		"a map with one key": {`{"Labels":{`, `"k":[],`, `"k":[]}}`},
	} {
		body := c.before + strings.Repeat(c.item, (size-len(c.before)-len(c.after))/len(c.item)) + c.after
		began := time.Now()
		_, err := wire.Unmarshal([]byte(body), &request{})
		// A few milliseconds; what is quadratic takes minutes.
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s: %v (%v)", name, took, err)
		}
	}
}

func TestUnmarshalIntoWhatItCannot(t *testing.T) {
	var s string
	for _, into := range []any{nil, s, &s, request{}, (*request)(nil)} {
		if _, err := wire.Unmarshal([]byte(`{}`), into); err == nil || secrets.CodeOf(err) != "" {
			t.Errorf("%T: %v", into, err)
		}
	}
}
