package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
)

var _ service.Sealer = (*Keyring)(nil)

func newKeyring(t testing.TB) *Keyring {
	t.Helper()
	path := filepath.Join(t.TempDir(), "pawl.key")
	if err := GenerateKeyFile(path, rand.Reader); err != nil {
		t.Fatal(err)
	}
	k, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func drawValue(t *rapid.T) secrets.Value {
	b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "value")
	if rapid.Bool().Draw(t, "binary") {
		return secrets.Binary(b)
	}
	return secrets.Text(string(b))
}

func wantFailure(t interface{ Fatalf(string, ...any) }, err error) {
	if secrets.KindOf(err) != secrets.Invalid || secrets.CodeOf(err) != "DecryptionFailure" {
		t.Fatalf("error %v is not an Invalid DecryptionFailure", err)
	}
}

func TestRoundTrip(t *testing.T) {
	k := newKeyring(t)
	rapid.Check(t, func(t *rapid.T) {
		v, arn, id := drawValue(t), rapid.String().Draw(t, "arn"), rapid.String().Draw(t, "id")
		sealed, err := k.Seal(context.Background(), "", arn, id, v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := k.Open(context.Background(), arn, id, sealed)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Equal(v) {
			t.Fatal("the value came back different")
		}
		if n := len(sealed) - v.Len(); n != headLen+wrapLen+boxExtra {
			t.Fatalf("a sealed value is %d bytes longer", n)
		}
	})
}

func TestLargestValue(t *testing.T) {
	k := newKeyring(t)
	v := secrets.Binary(bytes.Repeat([]byte{0xff}, secrets.MaxValueBytes))
	sealed, err := k.Seal(context.Background(), "", "a", "b", v)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := k.Open(context.Background(), "a", "b", sealed); err != nil || !got.Equal(v) {
		t.Fatalf("the largest value did not come back: %v", err)
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	k := newKeyring(t)
	for _, v := range []secrets.Value{secrets.Text("correct horse battery staple"), secrets.Binary(nil)} {
		sealed, err := k.Seal(context.Background(), "", "arn", "id", v)
		if err != nil {
			t.Fatal(err)
		}
		for i := range sealed {
			for bit := range 8 {
				bad := bytes.Clone(sealed)
				bad[i] ^= 1 << bit
				_, err := k.Open(context.Background(), "arn", "id", bad)
				wantFailure(t, err)
			}
		}
		for n := range sealed {
			_, err := k.Open(context.Background(), "arn", "id", sealed[:n])
			wantFailure(t, err)
		}
		_, err = k.Open(context.Background(), "arn", "id", append(bytes.Clone(sealed), 0))
		wantFailure(t, err)
	}
}

func TestOpensOnlyWhereItWasSealed(t *testing.T) {
	k := newKeyring(t)
	// A small alphabet, so that concatenations often agree.
	part := rapid.StringOfN(rapid.SampledFrom([]rune("ab")), 0, 4, -1)
	rapid.Check(t, func(t *rapid.T) {
		arn, id := part.Draw(t, "arn"), part.Draw(t, "id")
		arn2, id2 := part.Draw(t, "other arn"), part.Draw(t, "other id")
		sealed, err := k.Seal(context.Background(), "", arn, id, drawValue(t))
		if err != nil {
			t.Fatal(err)
		}
		_, err = k.Open(context.Background(), arn2, id2, sealed)
		if arn == arn2 && id == id2 {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		wantFailure(t, err)
	})
}

func TestAdditionalDataNeverCollides(t *testing.T) {
	part := rapid.StringOfN(rapid.SampledFrom([]rune{'a', 0, 1}), 0, 4, -1)
	draw := func(t *rapid.T) [5]string {
		return [5]string{part.Draw(t, "purpose"), part.Draw(t, "key"), part.Draw(t, "arn"), part.Draw(t, "id"),
			string(rapid.ByteMax(1).Draw(t, "type"))}
	}
	render := func(p [5]string) string {
		return string(additional(nil, format1, p[0], []byte(p[1]), p[2], p[3], p[4][0]))
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := draw(t), draw(t)
		if (render(a) == render(b)) != (a == b) {
			t.Fatalf("%q and %q", a, b)
		}
	})
}

func TestPlainTextNeverShows(t *testing.T) {
	k := newKeyring(t)
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOfN(rapid.Byte(), 8, 200).Draw(t, "value")
		seen := map[string]bool{}
		for range 2 {
			sealed, err := k.Seal(context.Background(), "", "arn", "id", secrets.Binary(plain))
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i+8 <= len(plain); i++ {
				if bytes.Contains(sealed, plain[i:i+8]) {
					t.Fatal("a piece of the value stands in the sealed bytes")
				}
			}
			if seen[string(sealed)] {
				t.Fatal("the same value sealed twice gave the same bytes")
			}
			seen[string(sealed)] = true
		}
	})
}

func TestNoValueIsRefused(t *testing.T) {
	if _, err := newKeyring(t).Seal(context.Background(), "", "arn", "id", secrets.Value{}); secrets.KindOf(err) != secrets.Invalid {
		t.Fatalf("error %v is not Invalid", err)
	}
}

func TestAnotherKeyIsNamed(t *testing.T) {
	a, b := newKeyring(t), newKeyring(t)
	sealed, err := a.Seal(context.Background(), "", "arn", "id", secrets.Text("x"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Open(context.Background(), "arn", "id", sealed)
	wantFailure(t, err)
	for _, want := range []string{a.KeyID(), b.KeyID(), b.Source().File, "key_file"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %s", err, want)
		}
	}
}

func TestAKeyringPrintsNoKey(t *testing.T) {
	k := newKeyring(t)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		if got := fmt.Sprintf(verb, k); got != k.String() {
			t.Errorf("%s prints %q", verb, got)
		}
	}
}

// memory is a Memory that forgets with the process.
type memory map[string][]byte

func (m memory) Remember(_ context.Context, name string, value []byte) ([]byte, error) {
	if _, ok := m[name]; !ok {
		m[name] = value
	}
	return m[name], nil
}

func TestVerify(t *testing.T) {
	ctx, m := context.Background(), memory{}
	mine, other := newKeyring(t), newKeyring(t)
	for range 2 {
		if err := mine.Verify(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	err := other.Verify(ctx, m)
	wantFailure(t, err)
	for _, want := range []string{mine.KeyID(), other.KeyID(), other.Source().File} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %s", err, want)
		}
	}
	m[canaryName] = []byte("junk")
	wantFailure(t, mine.Verify(ctx, m))
}

func BenchmarkSealOpen(b *testing.B) {
	path := filepath.Join(b.TempDir(), "pawl.key")
	if err := GenerateKeyFile(path, rand.Reader); err != nil {
		b.Fatal(err)
	}
	k, err := Load(path)
	if err != nil {
		b.Fatal(err)
	}
	v := secrets.Text(strings.Repeat("x", 300))
	for b.Loop() {
		sealed, err := k.Seal(context.Background(), "", "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf", "id", v)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := k.Open(context.Background(), "arn:aws:secretsmanager:eu-west-1:123456789012:secret:db-AbCdEf", "id", sealed); err != nil {
			b.Fatal(err)
		}
	}
}
