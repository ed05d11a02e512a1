package main

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestPack: what Lambda needs of an archive, and the same bytes each time,
// whenever the files were written and whoever may read them.
func TestPack(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := write("ca.pem", "a certificate", 0o600)
	var made [2][]byte
	for i, name := range []string{"one", "two"} {
		out := filepath.Join(dir, name+".zip")
		if err := pack(out, write(name, "a program", 0o700+os.FileMode(i)), []string{ca}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		made[i] = b
	}
	if !bytes.Equal(made[0], made[1]) {
		t.Error("the same files made other bytes")
	}
	r, err := zip.NewReader(bytes.NewReader(made[0]), int64(len(made[0])))
	if err != nil || len(r.File) != 2 {
		t.Fatalf("%d files, %v", len(r.File), err)
	}
	for i, want := range []struct {
		name, text string
		mode       os.FileMode
	}{{"bootstrap", "a program", 0o755}, {"ca.pem", "a certificate", 0o644}} {
		f := r.File[i]
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if f.Name != want.name || string(text) != want.text || f.Mode() != want.mode || err != nil {
			t.Errorf("%s, %v, %q, %v", f.Name, f.Mode(), text, err)
		}
	}
	out := filepath.Join(dir, "bad.zip")
	if err := pack(out, ca, []string{write("bootstrap", "", 0o600)}); err == nil {
		t.Error("two files of one name")
	}
	if _, err := os.Stat(out); err == nil {
		t.Error("half an archive was left")
	}
}
