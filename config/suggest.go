package config

import (
	"fmt"
	"strings"
)

// hint returns what to write instead of word: "; did you mean "schedule"?" where
// one of the known words is near, otherwise the whole list of them.
func hint(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; known: " + strings.Join(known, ", ")
}

// nearest returns the known word that word is most likely a slip of, or "". It
// overlooks case and the difference of - and _, and allows one slip in words of
// up to four letters and two in longer ones. A word cut short is a slip, too.
func nearest(word string, known []string) string {
	if len(word) > 64 {
		return ""
	}
	plain := strings.NewReplacer("-", "_", " ", "_")
	word = strings.ToLower(plain.Replace(word))
	best, bestSlips := "", 3
	for _, k := range known {
		slips := distance(word, strings.ToLower(plain.Replace(k)))
		if slips < bestSlips && (slips < 2 || len(k) > 4) && slips < len(word) {
			best, bestSlips = k, slips
		}
	}
	if best != "" || len(word) < 4 {
		return best
	}
	for _, k := range known {
		if strings.HasPrefix(k, word) {
			return k
		}
	}
	return ""
}

// distance counts the slips between two words: letters left out, added, changed
// or swapped with a neighbour (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	row := func() []int { return make([]int, len(y)+1) }
	before, last, now := row(), row(), row()
	for j := range now {
		now[j] = j
	}
	for i := 1; i <= len(x); i++ {
		before, last, now = last, now, before
		now[0] = i
		for j := 1; j <= len(y); j++ {
			change := 1
			if x[i-1] == y[j-1] {
				change = 0
			}
			now[j] = min(last[j]+1, now[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				now[j] = min(now[j], before[j-2]+1)
			}
		}
	}
	return now[len(y)]
}
