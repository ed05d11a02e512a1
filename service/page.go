package service

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// maxLooked bounds how many records one call looks at, so that a filter that
// few secrets pass costs a short page and not a long wait: AWS's clients go on
// while there is a NextToken, also from a page that is empty.
const maxLooked = 20_000

// page collects up to n secrets of a listing that pass. next is where the
// listing goes on, nil at its end. There may be a next where nothing more
// passes; never the other way round.
func (s *Service) page(ctx context.Context, l Listing, n int, all bool, passes func(*Secret) bool) (found []*Secret, next *Position, err error) {
	l.Account, l.Region = s.at.Account, s.at.Region
	l.N = n + 1
	if !all {
		l.N = max(l.N, pageSize)
	}
	for looked := 0; ; {
		read, err := s.store.List(ctx, l)
		if err != nil {
			return nil, nil, err
		}
		now := s.now()
		for _, sec := range read {
			if expired(sec, now) || !passes(sec) {
				continue
			}
			if len(found) == n {
				at := l.Order.PositionOf(found[n-1])
				return found, &at, nil
			}
			found = append(found, sec)
		}
		if len(read) < l.N {
			return found, nil, nil
		}
		l.After = l.Order.PositionOf(read[len(read)-1])
		if looked += len(read); len(found) == n || looked >= maxLooked {
			return found, &l.After, nil
		}
	}
}

// pageOf returns the size of a page.
func pageOf(maxResults *int64, most int) int {
	if maxResults == nil {
		return most
	}
	return int(*maxResults)
}

// pack makes a text of a position, for a token.
func (p Position) pack() string {
	at := ""
	if !p.At.IsZero() {
		at = strconv.FormatInt(p.At.UnixMicro(), 10) // as exact as stores keep it
	}
	return at + "|" + p.Name
}

// unpack reads what pack made.
func unpack(s string) (p Position, ok bool) {
	at, name, ok := strings.Cut(s, "|")
	if at != "" && ok {
		micros, err := strconv.ParseInt(at, 10, 64)
		if ok = err == nil; ok {
			p.At = time.UnixMicro(micros).UTC()
		}
	}
	p.Name = name
	return p, ok
}

// makeToken makes an opaque token that says where a page ended and is good only
// for the operation and arguments it is bound to.
func makeToken(last string, bound []any) string {
	return base64.RawURLEncoding.EncodeToString(append(digest(last, bound), last...))
}

// readToken reads what makeToken made with the same bound. Errors:
// InvalidNextTokenException.
func readToken(token string, bound []any) (last string, err error) {
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || len(b) < digestLen || string(digest(string(b[digestLen:]), bound)) != string(b[:digestLen]) {
		return "", badToken()
	}
	return string(b[digestLen:]), nil
}

func badToken() error {
	return refuse(invalidNextToken, "", "The NextToken value is not valid for this request.").
		WithHint("begin again without a token, and keep the other arguments the same from page to page")
}

const digestLen = 12

func digest(last string, bound []any) []byte {
	b, err := json.Marshal(bound)
	if err != nil {
		panic("service: a token's arguments: " + err.Error()) // strings and booleans always encode
	}
	sum := sha256.Sum256([]byte(strconv.Quote(last) + string(b)))
	return sum[:digestLen]
}

// startAt returns where a token says that a listing of secrets goes on; the
// start without a token.
func startAt(token string, bound []any) (p Position, err error) {
	if token == "" {
		return Position{}, nil
	}
	last, err := readToken(token, bound)
	if err != nil {
		return Position{}, err
	}
	p, ok := unpack(last)
	if !ok {
		return Position{}, badToken()
	}
	return p, nil
}
