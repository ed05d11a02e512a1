package aws

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// allowedInTags is what AWS takes as a tag's value.
var allowedInTags = regexp.MustCompile(`^[\p{L}\p{Z}\p{N}_.:/=+\-@]{0,256}$`)

func TestAttemptTags(t *testing.T) {
	at := time.Date(2026, 11, 28, 2, 0, 0, 0, time.UTC)
	a := secrets.Attempt{
		Tries: 3, Kind: secrets.Denied, FailingSince: at, NextTry: at.Add(time.Hour),
		LastError: `setSecret: db:5432: password authentication failed for user "app"; unlock it: ALTER ROLE app (as root)`,
	}
	tags := attemptTags(a)
	want := []service.Tag{
		{Key: TagAttempt, Value: "3 denied since 2026-11-28T02:00:00Z next 2026-11-28T03:00:00Z"},
		{Key: TagError, Value: "setSecret: db:5432: password authentication failed for user app unlock it: ALTER ROLE app as root"},
	}
	if len(tags) != 2 || tags[0] != want[0] || tags[1] != want[1] {
		t.Errorf("attemptTags = %q, want %q", tags, want)
	}
	if tags := attemptTags(secrets.Attempt{}); tags != nil {
		t.Errorf("the zero record has the tags %q", tags)
	}
	if got := attemptOf(nil); got != (secrets.Attempt{}) {
		t.Errorf("attemptOf no tags = %+v", got)
	}
	long := attemptTags(secrets.Attempt{Tries: 1, LastError: strings.Repeat("größer ", 100)})[1].Value
	if n := utf8.RuneCountInString(long); n > maxTagValue || !strings.HasSuffix(long, " ...") {
		t.Errorf("a long text became %d characters: %q", n, long)
	}
}

// TestAttemptRoundTrip: what is written is what AWS takes, and reads back as it
// was, to the millisecond and as far as a tag can hold the text.
func TestAttemptRoundTrip(t *testing.T) {
	instant := rapid.Custom(func(t *rapid.T) time.Time {
		return time.UnixMilli(rapid.Int64Range(0, 4e12).Draw(t, "ms")).UTC()
	})
	rapid.Check(t, func(t *rapid.T) {
		a := secrets.Attempt{
			Tries:        rapid.IntRange(1, maxTries).Draw(t, "tries"),
			Kind:         secrets.Kind(rapid.IntRange(int(secrets.Unknown), int(secrets.Conflict)).Draw(t, "kind")),
			LastError:    rapid.String().Draw(t, "error"),
			FailingSince: instant.Draw(t, "since"),
			NextTry:      instant.Draw(t, "next"),
		}
		tags := attemptTags(a)
		for _, tag := range tags {
			if !allowedInTags.MatchString(tag.Value) {
				t.Fatalf("AWS takes no %s of %q", tag.Key, tag.Value)
			}
		}
		got := attemptOf(append([]service.Tag{{Key: "team", Value: "payments"}}, tags...))
		a.LastError = tagText(a.LastError)
		if got != a {
			t.Fatalf("%+v reads back as %+v", a, got)
		}
		// Read and written again it is the same: nobody writes tags for nothing.
		if again := attemptTags(got); again[0] != tags[0] || again[1] != tags[1] {
			t.Fatalf("%q is written again as %q", tags, again)
		}
	})
}

// TestAttemptForeign: whatever stands in the tags, reading it gives a record
// that can be written, or none.
func TestAttemptForeign(t *testing.T) {
	for _, value := range []string{
		"", "3", "3 denied", "0 denied since 2026-11-28T02:00:00Z next 2026-11-28T03:00:00Z",
		"-1 denied since 2026-11-28T02:00:00Z next 2026-11-28T03:00:00Z",
		"99999999999999999999 denied since 2026-11-28T02:00:00Z next 2026-11-28T03:00:00Z",
		"3 annoyed since 2026-11-28T02:00:00Z next 2026-11-28T03:00:00Z",
		"3 denied since yesterday next 2026-11-28T03:00:00Z",
		"3 denied since 2026-11-28T02:00:00Z next 2026-13-28T03:00:00Z",
		"3 denied since 2026-11-28T02:00:00Z next 2026-11-28T03:00:00Z or so",
		"3 denied next 2026-11-28T02:00:00Z since 2026-11-28T03:00:00Z",
	} {
		if got := attemptOf([]service.Tag{{Key: TagAttempt, Value: value}}); got != (secrets.Attempt{}) {
			t.Errorf("%q reads as %+v", value, got)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"3", "denied", "since", "next", "2026-11-28T02:00:00Z"}))
		value := strings.Join(rapid.SliceOfN(word, 0, 7).Draw(t, "words"), " ")
		a := attemptOf([]service.Tag{{Key: TagAttempt, Value: value}, {Key: TagError, Value: rapid.String().Draw(t, "error")}})
		if a.Tries < 0 || a.Tries > maxTries {
			t.Fatalf("%q reads as %+v", value, a)
		}
		attemptTags(a)
	})
}
