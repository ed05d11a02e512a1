package service

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Whatever is sent as a token, it is one that was made for this very request,
// or refused.
func FuzzNextToken(f *testing.F) {
	bound := []any{"ListSecrets", Caller{Partition: "aws", Region: "us-east-1", Account: "123456789012"}, []Filter{{Key: "name", Values: []string{"x"}}}}
	f.Add("", int64(0), "")
	f.Add(makeToken("1|a", bound), int64(1), "prod/db")
	f.Add(makeToken("no number|a", bound), int64(-1), "a|b")
	f.Add(makeToken("nothing", bound), int64(1<<62), "|")
	f.Add(base64.RawURLEncoding.EncodeToString([]byte("short")), int64(1_772_619_630_000_000), "\xff")
	f.Fuzz(func(t *testing.T, token string, micros int64, name string) {
		if p, err := startAt(token, bound); err != nil {
			if secrets.CodeOf(err) != invalidNextToken {
				t.Errorf("%q: %v", token, err)
			}
		} else if token != "" {
			if again, err := startAt(makeToken(p.pack(), bound), bound); err != nil || again.Name != p.Name || !again.At.Equal(p.At) {
				t.Errorf("%q is %+v, and then %+v, %v", token, p, again, err)
			}
		}
		want := Position{Name: name}
		if micros != 0 {
			want.At = time.UnixMicro(micros).UTC()
		}
		made := makeToken(want.pack(), bound)
		if got, err := startAt(made, bound); err != nil || got.Name != want.Name || !got.At.Equal(want.At) {
			t.Errorf("%+v came back as %+v, %v", want, got, err)
		}
		if _, err := startAt(made, append(bound[:len(bound):len(bound)], true)); err == nil {
			t.Error("a token is good for another request")
		}
	})
}
