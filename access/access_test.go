package access

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/access/policy"
	"github.com/pawlhq/pawl/secrets"
)

const (
	signature = "5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
	scope     = "AKIDEXAMPLE/20260304/eu-west-1/secretsmanager/aws4_request"
	day       = "20260304T102030Z"
)

func request(authorization, amzDate, date string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://localhost:4566/", nil)
	for name, v := range map[string]string{"Authorization": authorization, "X-Amz-Date": amzDate, "Date": date} {
		if v != "" {
			r.Header.Set(name, v)
		}
	}
	return r
}

func header(scope string) string {
	return "AWS4-HMAC-SHA256 Credential=" + scope + ", SignedHeaders=content-type;host;x-amz-date, Signature=" + signature
}

func TestParseAuthorization(t *testing.T) {
	want := Credential{
		AccessKey: "AKIDEXAMPLE", Date: "20260304", Region: "eu-west-1", Service: "secretsmanager",
		SignedHeaders: []string{"content-type", "host", "x-amz-date"}, Signature: signature,
		At: time.Date(2026, 3, 4, 10, 20, 30, 0, time.UTC), Stamp: "20260304T102030Z",
	}
	for name, r := range map[string]*http.Request{
		"as the SDKs send it":   request(header(scope), day, ""),
		"without spaces":        request(strings.ReplaceAll(header(scope), ", ", ","), day, ""),
		"with more spaces":      request("  "+strings.ReplaceAll(header(scope), ", ", " ,  ")+" ", day, ""),
		"a comma at the end":    request(header(scope)+",", day, ""),
		"in another order":      request("AWS4-HMAC-SHA256 Signature="+signature+",Credential="+scope+",SignedHeaders=content-type;host;x-amz-date", day, ""),
		"upper-case headers":    request(strings.Replace(header(scope), "content-type;host", "Content-Type;Host", 1), day, ""),
		"X-Amz-Date goes first": request(header(scope), day, "Thu, 05 Mar 2026 00:00:00 GMT"),
		"Date of HTTP":          request(header(scope), "", "Wed, 04 Mar 2026 10:20:30 GMT"),
		"Date of ISO 8601":      request(header(scope), "", day),
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseAuthorization(r)
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestWhatAnAuthorizationLacks(t *testing.T) {
	const (
		noCredential = "Authorization header requires 'Credential' parameter. "
		noSignature  = "Authorization header requires 'Signature' parameter. "
		noHeaders    = "Authorization header requires 'SignedHeaders' parameter. "
		noDate       = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "
		region       = "Credential should be scoped to a valid region, not '%'. "
		badService   = "Credential should be scoped to correct service: 'secretsmanager'. "
		badEnd       = "Credential should be scoped with a valid terminator: 'aws4_request', not '%'. "
	)
	lacks := func(authorization, texts string) string {
		return texts + "(Hashed with SHA-256 and encoded with Base64) Authorization=" + hashed(authorization)
	}
	not := func(text, x string) string { return strings.ReplaceAll(text, "%", x) }
	full := header(scope)
	onlyKey := "AWS4-HMAC-SHA256 Credential=" + scope
	for _, c := range []struct{ name, authorization, amzDate, code, text string }{
		{"nothing", "", day, missingToken, "Missing Authentication Token"},
		{"another scheme", "Basic dXNlcjpoaWRkZW4=", day, missingToken, "Missing Authentication Token"},
		{"a bearer", "Bearer hidden", day, missingToken, "Missing Authentication Token"},
		{"only the algorithm", "AWS4-HMAC-SHA256", day, incompleteSignature, lacks("AWS4-HMAC-SHA256", noCredential+noSignature+noHeaders)},
		{"not even a date", "AWS4-HMAC-SHA256", "", incompleteSignature, lacks("AWS4-HMAC-SHA256", noCredential+noSignature+noHeaders+noDate)},
		{"only the key", onlyKey, day, incompleteSignature, lacks(onlyKey, noSignature+noHeaders)},
		{"no date", full, "", incompleteSignature, lacks(full, noDate)},
		{"an empty part", "AWS4-HMAC-SHA256 Credential=,SignedHeaders=host,Signature=hidden", day, incompleteSignature,
			lacks("AWS4-HMAC-SHA256 Credential=,SignedHeaders=host,Signature=hidden", noCredential)},
		{"names in lower case", strings.ToLower(full), day, missingToken, "Missing Authentication Token"},
		{"no equal sign", onlyKey + ", Signature", day, incompleteSignature,
			"Invalid key=value pair (missing equal-sign) in Authorization header (hashed with SHA-256 and encoded with Base64): '" + hashed(onlyKey+", Signature") + "'."},
		{"a fraction", full, "20260304T102030.5Z", incompleteSignature, "Date must be in ISO-8601 'basic format'. Got '20260304T102030.5Z'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"date", full, "2026-03-04", incompleteSignature, "Date must be in ISO-8601 'basic format'. Got '2026-03-04'. See http://en.wikipedia.org/wiki/ISO_8601"},
		{"algorithm", strings.Replace(full, "SHA256", "SHA25", 1), day, incompleteSignature, "Unsupported AWS 'algorithm': 'AWS4-HMAC-SHA25' (only AWS4-HMAC-SHA256 for now). "},
		{"a short scope", header("a/b/c/d"), day, incompleteSignature, "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got 'a/b/c/d'"},
		{"a secret for a key", header("hid/den/" + scope[len("AKIDEXAMPLE/"):]), day, incompleteSignature,
			"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '***/20260304/eu-west-1/secretsmanager/aws4_request'"},
		{"region", header("k/20260304/c/secretsmanager/aws4_request"), day, invalidSignature, not(region, "c")},
		{"no region", header("k/20260304//secretsmanager/aws4_request"), day, invalidSignature, not(region, "")},
		{"region in capitals", header("k/20260304/EU-WEST-1/secretsmanager/aws4_request"), day, invalidSignature, not(region, "EU-WEST-1")},
		{"service", header("k/20260304/eu-west-1/s3/aws4_request"), day, invalidSignature, badService},
		{"terminator", header("k/20260304/eu-west-1/secretsmanager/e"), day, invalidSignature, not(badEnd, "e")},
		{"another day", header("k/20260305/eu-west-1/secretsmanager/aws4_request"), day, invalidSignature,
			"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20260305' != '20260304', from '20260304T102030Z'."},
		{"everything", header("k/b/c/d/e"), day, invalidSignature, not(region, "c") + badService + not(badEnd, "e") +
			"Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: 'b' != '20260304', from '20260304T102030Z'."},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseAuthorization(request(c.authorization, c.amzDate, ""))
			wantDenied(t, err, c.code, c.text)
			if err != nil && (strings.Contains(err.Error(), signature) || strings.Contains(err.Error(), "hid")) {
				t.Errorf("says too much: %v", err)
			}
		})
	}
}

func wantDenied(t *testing.T, err error, code, text string) {
	t.Helper()
	var e *secrets.Error
	if !errors.As(err, &e) || e.Kind != secrets.Denied || e.Code != code || e.Err.Error() != text {
		t.Errorf("got  %v (%s)\nwant %s: %s", err, secrets.CodeOf(err), code, text)
	}
}

func TestDev(t *testing.T) {
	for _, c := range []struct {
		key, region string
		want        Principal
	}{
		{"test", "eu-west-1", Principal{Account: "123456789012", Region: "eu-west-1", ARN: "arn:aws:iam::123456789012:root", AccessKey: "test", Type: policy.RootUser}},
		{"AKIDEXAMPLE", "us-gov-west-1", Principal{Account: "123456789012", Region: "us-gov-west-1", ARN: "arn:aws-us-gov:iam::123456789012:root", AccessKey: "AKIDEXAMPLE", Type: policy.RootUser}},
		{"000000000000", "cn-north-1", Principal{Account: "000000000000", Region: "cn-north-1", ARN: "arn:aws-cn:iam::000000000000:root", AccessKey: "000000000000", Type: policy.RootUser}},
		{"12345678901", "us-east-1", Principal{Account: "123456789012", Region: "us-east-1", ARN: "arn:aws:iam::123456789012:root", AccessKey: "12345678901", Type: policy.RootUser}},
		{"1234567890123", "us-east-1", Principal{Account: "123456789012", Region: "us-east-1", ARN: "arn:aws:iam::123456789012:root", AccessKey: "1234567890123", Type: policy.RootUser}},
	} {
		// A day long gone: dev does not look at the clock.
		r := request(header(c.key+"/20130609/"+c.region+"/secretsmanager/aws4_request"), "20130609T095204Z", "")
		if got, err := (Dev{}).Authenticate(r, []byte("{}")); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v", c.key, got, err)
		}
	}
	for _, key := range []string{"", " ", "a b", "é", strings.Repeat("k", 129)} {
		_, err := Dev{}.Authenticate(request(header(key+"/20260304/eu-west-1/secretsmanager/aws4_request"), day, ""), nil)
		wantDenied(t, err, unrecognizedClient, "The security token included in the request is invalid.")
	}
	for host, ok := range map[string]bool{
		"localhost": true, "localhost:4566": true, "127.0.0.1:4566": true, "127.8.9.1": true, "[::1]:4566": true, "[::1]": true,
		"secretsmanager.LOCALHOST.:4566": true,
		"":                               false, "evil.example:4566": false, "localhost.evil.example": false, "10.0.0.1": false, "notlocalhost": false, "127.0.0.1.evil.example": false,
	} {
		r := request(header(scope), day, "")
		r.Host = host
		if _, err := (Dev{}).Authenticate(r, nil); (err == nil) != ok {
			t.Errorf("host %q: error %v", host, err)
		}
	}
	_, err := Dev{}.Authenticate(request("", day, ""), nil)
	wantDenied(t, err, missingToken, "Missing Authentication Token")
}

var regionName = regexp.MustCompile(`^([a-z]+-)+\d+$`)

func FuzzParseAuthorization(f *testing.F) {
	f.Add(header(scope), day, "")
	f.Add(header(scope), "", "Wed, 04 Mar 2026 10:20:30 GMT")
	f.Add("", "", "")
	f.Add("AWS4-HMAC-SHA256", day, "")
	f.Add("AWS4-HMAC-SHA256 Credential", "x", "")
	f.Add("AWS4- =,,=;=", day, day)
	f.Add(header("////"), day, "")
	f.Add(header("a/b/c/d/e/f/g"), day, "")
	f.Add(header("k/00010101/x-0/secretsmanager/aws4_request"), "00010101T000000Z", "")
	f.Fuzz(func(t *testing.T, authorization, amzDate, date string) {
		r := request(authorization, amzDate, date)
		c, err := ParseAuthorization(r)
		if err != nil {
			var e *secrets.Error
			if !errors.As(err, &e) || e.Kind != secrets.Denied {
				t.Fatalf("%v is not Denied", err)
			}
			switch e.Code {
			case missingToken, incompleteSignature, invalidSignature:
			default:
				t.Fatalf("code %q of %v", e.Code, err)
			}
			return
		}
		if strings.Contains(c.AccessKey, "/") || c.Signature == "" || len(c.SignedHeaders) == 0 {
			t.Errorf("incomplete: %+v", c)
		}
		if c.Service != service || !regionName.MatchString(c.Region) || !isRegion(c.Region) || c.Date != c.At.Format("20060102") || c.Stamp != c.At.Format(dateTime) {
			t.Errorf("wrong scope: %+v", c)
		}
		if p, err := (Dev{}).Authenticate(r, nil); err == nil && (p.Region != c.Region || len(p.Account) != 12) {
			t.Errorf("%+v of %+v", p, c)
		}
	})
}

// parseStamp takes what time.Parse does, but for fractions of a second.
func TestParseStamp(t *testing.T) {
	check := func(s string) {
		t.Helper()
		want, err := time.Parse(dateTime, s)
		got, ok := parseStamp(s)
		if ok != (err == nil && len(s) == len(dateTime)) || ok && !got.Equal(want) {
			t.Errorf("%q: got %v, %v, want %v, %v", s, got, ok, want, err)
		}
	}
	for _, s := range []string{
		"20260304T102030Z", "20240229T000000Z", "20230229T000000Z", "20260431T000000Z", "20260001T000000Z", "20261301T000000Z", "20260100T000000Z",
		"20260304T240000Z", "20260304T236000Z", "20260304T235960Z", "20261231T235959Z", "00000101T000000Z", "99991231T235959Z",
		"20260304 102030Z", "20260304t102030Z", "20260304T102030z", "20260304T10203.Z", "20260304T1020.5Z", "2026-304T102030Z", "+0260304T102030Z", "20260304T102030.5Z", "20260304T1:2030Z ", "",
	} {
		check(s)
	}
	rapid.Check(t, func(r *rapid.T) {
		check(rapid.StringMatching(`[0-9]{4}[01][0-9][0-3][0-9]T[0-2][0-9][0-6][0-9][0-6][0-9]Z`).Draw(r, "stamp"))
	})
}
