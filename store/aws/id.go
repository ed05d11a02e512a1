package aws

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/pawlhq/pawl/secrets"
)

// derivedID is the id of the version that a rotation makes: the same for all
// rotators who see the same secret with the same AWSCURRENT, so that the first to
// put it wins and the others find his. n counts the values made since and given
// up. It has the form of a UUID of version 8 (RFC 9562, section 5.8).
func derivedID(arn secrets.ARN, current string, n int) string {
	h := sha256.New()
	for _, s := range []string{"pawl: version id, 1", arn.String(), current} {
		_ = binary.Write(h, binary.BigEndian, uint32(len(s)))
		h.Write([]byte(s))
	}
	_ = binary.Write(h, binary.BigEndian, uint32(n))
	b := h.Sum(nil)[:16]
	b[6] = b[6]&0x0f | 0x80
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// theirLabel is a label's name at AWS.
func theirLabel(label string) string {
	if label == secrets.Intent {
		return Intent
	}
	return label
}

func theirLabels(labels []string) []string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = theirLabel(l)
	}
	return out
}

// ourLabels are labels by the names they have here. One that somebody at AWS
// called secrets.Intent is none of Pawl's, and left out.
func ourLabels(labels []string) []string {
	var out []string
	for _, l := range labels {
		switch l {
		case Intent:
			out = append(out, secrets.Intent)
		case secrets.Intent:
		default:
			out = append(out, l)
		}
	}
	return out
}
