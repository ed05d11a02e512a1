package seal

import (
	"bytes"
	"testing"

	"github.com/pawlhq/pawl/secrets"
)

// Whatever stands in the database is opened, or refused as what can't be; only
// what Seal made for this very place opens.
func FuzzOpen(f *testing.F) {
	ctx, kms := f.Context(), &fakeKMS{}
	k := New(Config{Master: newKeyring(f).ring.Load().master, KMS: kms})
	v := secrets.Text("correct horse")
	own := must[[]byte](f)(k.Seal(ctx, "", "arn:x", "v", v))
	byKMS := must[[]byte](f)(k.Seal(ctx, "alias/x", "arn:x", "v", v))
	for _, b := range [][]byte{nil, own, byKMS, own[:headLen], byKMS[:head2Len], {format2, 0, 0xff, 0xff}, {3}} {
		f.Add(b, "arn:x", "v")
	}
	f.Add(own, "other", "v")
	f.Fuzz(func(t *testing.T, sealed []byte, arn, versionID string) {
		for range 2 { // the second time from the cache
			got, err := k.Open(ctx, arn, versionID, sealed)
			if err == nil {
				if !got.Equal(v) || arn != "arn:x" || versionID != "v" || !bytes.Equal(sealed, own) && !bytes.Equal(sealed, byKMS) {
					t.Fatal("it opens")
				}
				continue
			}
			wantFailure(t, err)
		}
	})
}

// A key's text gives keys or an error that doesn't show it, never a panic; and
// what a rotation writes is read again.
func FuzzKeyText(f *testing.F) {
	raw := bytes.Repeat([]byte{7}, keyLen)
	line := keyLine(raw)
	for _, s := range []string{"", keyFileTitle, keyFileTitle + "\n" + line, keyFileTitle + "\n#x\r\n\n " + line + "\n" + line, line[17:], line[17:] + " " + line[17:]} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = parse(text, true)
		keys, err := parse(text, false)
		if err != nil {
			return
		}
		young := bytes.Repeat([]byte{9}, keyLen)
		file := &keyFile{text: bytes.Clone(text)}
		file.add(young)
		after, err := parse(file.text, false)
		if len(file.text) > maxKeyFile {
			return
		}
		if err != nil || len(after) != len(keys)+1 || after[0].id != idOf(young) {
			t.Fatalf("with another key it has %d, %v", len(after), err)
		}
		for i, k := range keys {
			if after[i+1].id != k.id {
				t.Fatal("a key was changed")
			}
		}
		file.remove([]keyID{idOf(young)})
		if back, err := parse(file.text, false); idOf(young) != keys[0].id && (err != nil || len(back) != len(keys)) {
			t.Fatalf("without it it has %d, %v", len(back), err)
		}
	})
}
