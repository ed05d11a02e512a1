package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/pawlhq/pawl/secrets"
)

// A sealed value, format 1. Both boxes are AES-256-GCM: nonce (12 random
// bytes), ciphertext, tag (16).
//
//	format  1 byte   = 1
//	key id  8 bytes  of the key-encryption key: a master key, or a generation of a named key
//	type    1 byte   0 = text, 1 = binary
//	box    60 bytes  the data key, under the key-encryption key
//	box     rest     the value, under the data key
//
// Everything before the boxes, the secret's ARN and the version id are bound
// into the additional data of the first box; all of it but the key id into that
// of the second, so that a new key-encryption key re-wraps data keys without
// touching values.
//
// Format 2, where AWS KMS wraps the data key:
//
//	format  1 byte   = 2
//	type    1 byte
//	length  2 bytes  of what follows
//	blob             the data key, as AWS KMS gave it: bound there to ARN and version id
//	box     rest     the value, under the data key
const (
	format1  = 1
	format2  = 2
	idLen    = 8
	keyLen   = 32
	boxExtra = 12 + 16
	wrapLen  = keyLen + boxExtra
	headLen  = 1 + idLen + 1
	head2Len = 1 + 1 + 2
)

const (
	typeText   byte = 0
	typeBinary byte = 1
)

func typeOf(v secrets.Value) byte {
	if v.IsBinary() {
		return typeBinary
	}
	return typeText
}

// keyID is a key's public name, derived from the key.
type keyID [idLen]byte

func (id keyID) String() string { return hex.EncodeToString(id[:]) }

// parseID reads what String renders.
func parseID(text string) (id keyID, ok bool) {
	n, err := hex.Decode(id[:], []byte(text))
	return id, err == nil && n == idLen && len(text) == 2*idLen
}

func idOf(raw []byte) keyID {
	sum := sha256.Sum256(append([]byte("pawl key id\x00"), raw...))
	return keyID(sum[:idLen])
}

// key is a key-encryption key.
type key struct {
	id   keyID
	aead cipher.AEAD
	// files is derived from the key, and wraps the keys of backups' files.
	files cipher.AEAD
}

// newKey makes the key of 32 bytes.
func newKey(raw []byte) (key, error) {
	aead, err := gcm(raw)
	if err != nil {
		return key{}, err
	}
	files, err := fileKeys(raw)
	return key{idOf(raw), aead, files}, err
}

// sealValue is format 1: a value under a new data key, wrapped by k.
func (k key) sealValue(arn, versionID string, v secrets.Value) ([]byte, error) {
	data := make([]byte, keyLen)
	rand.Read(data) // it never returns an error
	out := make([]byte, 0, headLen+wrapLen+boxExtra+v.Len())
	out = k.wrap(out, data, arn, versionID, typeOf(v))
	return sealBox(out, data, format1, arn, versionID, v)
}

// sealBox appends the value's box.
func sealBox(out, data []byte, format byte, arn, versionID string, v secrets.Value) ([]byte, error) {
	aead, err := gcm(data)
	if err != nil {
		return nil, err
	}
	return aead.Seal(out, nil, v.Reveal(), valueContext(nil, format, arn, versionID, typeOf(v))), nil
}

// wrap appends a header of format 1 and the data key's box.
func (k key) wrap(out, data []byte, arn, versionID string, typ byte) []byte {
	out = append(out, format1)
	out = append(out, k.id[:]...)
	out = append(out, typ)
	return k.aead.Seal(out, nil, data, wrapContext(k.id, arn, versionID, typ))
}

// unwrap opens the data key of a sealed value of format 1 that names this key.
func (k key) unwrap(arn, versionID string, sealed []byte) ([]byte, error) {
	return k.aead.Open(nil, nil, sealed[headLen:headLen+wrapLen], wrapContext(k.id, arn, versionID, sealed[headLen-1]))
}

// rewrap returns a sealed value of format 1 with its data key under another key.
func rewrap(from, to key, arn, versionID string, sealed []byte) ([]byte, error) {
	data, err := from.unwrap(arn, versionID, sealed)
	if err != nil {
		return nil, err
	}
	out := to.wrap(make([]byte, 0, len(sealed)), data, arn, versionID, sealed[headLen-1])
	return append(out, sealed[headLen+wrapLen:]...), nil
}

// openWhole opens a value of format 1 that k sealed.
func (k key) openWhole(arn, versionID string, sealed []byte) ([]byte, error) {
	data, err := k.unwrap(arn, versionID, sealed)
	if err != nil {
		return nil, err
	}
	aead, err := gcm(data)
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, nil, sealed[headLen+wrapLen:], valueContext(nil, format1, arn, versionID, sealed[headLen-1]))
}

// wrapperOf returns the id of the key that a sealed value of format 1 names; ok
// is false for anything else.
func wrapperOf(sealed []byte) (id keyID, ok bool) {
	if len(sealed) < headLen+wrapLen+boxExtra || sealed[0] != format1 {
		return keyID{}, false
	}
	return keyID(sealed[1 : 1+idLen]), true
}

// wrapping returns how many bytes stand before the value's box, and the value's
// type; ok is false for what is too short, or in a format that there is not.
func wrapping(sealed []byte) (n int, typ byte, ok bool) {
	switch {
	case len(sealed) >= headLen && sealed[0] == format1:
		n, typ = headLen+wrapLen, sealed[headLen-1]
	case len(sealed) >= head2Len && sealed[0] == format2:
		n, typ = head2Len+int(binary.BigEndian.Uint16(sealed[2:head2Len])), sealed[1]
	default:
		return 0, 0, false
	}
	return n, typ, len(sealed) >= n+boxExtra
}

func wrapContext(id keyID, arn, versionID string, typ byte) []byte {
	return additional(nil, format1, "data key", id[:], arn, versionID, typ)
}

func valueContext(b []byte, format byte, arn, versionID string, typ byte) []byte {
	return additional(b, format, "value", nil, arn, versionID, typ)
}

// additional appends a box's additional data. Each part is preceded by its
// length, so that two different lists of parts never give the same bytes.
func additional(b []byte, format byte, purpose string, id []byte, arn, versionID string, typ byte) []byte {
	b = append(b, format)
	b = append(binary.BigEndian.AppendUint64(b, uint64(len(purpose))), purpose...)
	b = append(binary.BigEndian.AppendUint64(b, uint64(len(id))), id...)
	b = append(binary.BigEndian.AppendUint64(b, uint64(len(arn))), arn...)
	b = append(binary.BigEndian.AppendUint64(b, uint64(len(versionID))), versionID...)
	return append(binary.BigEndian.AppendUint64(b, 1), typ)
}

// gcm makes an AEAD that takes a random nonce for each message and puts it in
// front. With random nonces one key may seal 2^32 messages (NIST SP 800-38D,
// §8.3); a data key seals one, a key-encryption key one per version.
func gcm(k []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, fmt.Errorf("preparing AES: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("preparing AES-GCM: %w", err)
	}
	return aead, nil
}
