package aws

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

// The record of a failure is kept where it outlives this process and everybody
// who looks at the secret sees it: in two of its tags.
//
//	pawl:attempt   3 denied since 2026-11-28T02:00:00Z next 2026-11-28T03:00:00Z
//	pawl:error     setSecret: db:5432: password authentication failed for user app

// maxTagValue is the longest value of a tag, in characters.
// Source: AWS Secrets Manager API reference, Tag.
const maxTagValue = 256

// tagTime keeps what other stores keep too: milliseconds.
const tagTime = "2006-01-02T15:04:05.999Z"

// maxTries is more than anybody waited for.
const maxTries = 1 << 20

// attemptTags renders the record of a failure as the tags TagAttempt and
// TagError; no tags for the zero record. attemptOf reads it back, with what the
// tags could hold of its text; the zero Attempt where there is none or it can't
// be read.
func attemptTags(a secrets.Attempt) []service.Tag {
	if a.Tries <= 0 {
		return nil
	}
	return []service.Tag{
		{Key: TagAttempt, Value: fmt.Sprintf("%d %s since %s next %s", min(a.Tries, maxTries), a.Kind,
			a.FailingSince.UTC().Format(tagTime), a.NextTry.UTC().Format(tagTime))},
		{Key: TagError, Value: tagText(a.LastError)},
	}
}

func attemptOf(tags []service.Tag) secrets.Attempt {
	value, ok := tagged(tags, TagAttempt)
	f := strings.Fields(value)
	if !ok || len(f) != 6 || f[2] != "since" || f[4] != "next" {
		return secrets.Attempt{}
	}
	tries, err := strconv.Atoi(f[0])
	kind, known := kindNamed(f[1])
	since, err1 := time.Parse(tagTime, f[3])
	next, err2 := time.Parse(tagTime, f[5])
	if err != nil || err1 != nil || err2 != nil || !known || tries < 1 || tries > maxTries {
		return secrets.Attempt{}
	}
	text, _ := tagged(tags, TagError)
	return secrets.Attempt{Tries: tries, Kind: kind, LastError: tagText(text), FailingSince: since, NextTry: next}
}

func kindNamed(name string) (secrets.Kind, bool) {
	for k := secrets.Unknown; k <= secrets.Conflict; k++ {
		if k.String() == name {
			return k, true
		}
	}
	return 0, false
}

// tagText is a text as far as a tag can hold it: letters, digits, spaces and
// some signs. Quotes go, other characters become spaces, and a long text loses
// its end.
func tagText(text string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case strings.ContainsRune("\"'`“”‘’", r):
			return -1
		case r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r)), strings.ContainsRune("_.:/=+-@", r):
			return r
		default:
			return ' '
		}
	}, text)
	clean = strings.Join(strings.Fields(clean), " ")
	const more = " ..."
	if rs := []rune(clean); len(rs) > maxTagValue {
		clean = strings.TrimRight(string(rs[:maxTagValue-len(more)]), " ") + more
	}
	return clean
}

// tagged returns the value of a tag.
func tagged(tags []service.Tag, key string) (value string, ok bool) {
	for _, t := range tags {
		if t.Key == key {
			return t.Value, true
		}
	}
	return "", false
}
