// Command lambdazip packs a program, and further files that it needs, into an
// archive that AWS Lambda takes: the program as "bootstrap", which may be
// executed. The same files always make the same bytes.
//
//	lambdazip OUT.zip PROGRAM [FILE…]
package main

import (
	"archive/zip"
	"compress/flate"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: lambdazip OUT.zip PROGRAM [FILE…]")
		os.Exit(2)
	}
	if err := pack(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, "lambdazip:", err)
		os.Exit(1)
	}
}

// pack writes the archive and prints its size.
func pack(out, program string, files []string) (err error) {
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			os.Remove(out)
		}
	}()
	w := zip.NewWriter(f)
	w.RegisterCompressor(zip.Deflate, func(to io.Writer) (io.WriteCloser, error) { return flate.NewWriter(to, flate.BestCompression) })
	names := map[string]bool{}
	add := func(path, name string, mode os.FileMode) error {
		if names[name] {
			return fmt.Errorf("two files would be called %s", name)
		}
		names[name] = true
		return add(w, path, name, mode)
	}
	if err := add(program, "bootstrap", 0o755); err != nil {
		return err
	}
	for _, path := range files {
		if err := add(path, filepath.Base(path), 0o644); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	before, err := os.Stat(program)
	if err != nil {
		return err
	}
	fmt.Printf("%s: %.1f MB, unpacked %.1f MB\n", out, megabytes(info), megabytes(before))
	return nil
}

func megabytes(i os.FileInfo) float64 { return float64(i.Size()) / 1e6 }

// epoch is when every file was changed, as far as the archive is concerned: the
// oldest time that the format knows.
var epoch = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

func add(w *zip.Writer, path, name string, mode os.FileMode) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: epoch}
	h.SetMode(mode)
	to, err := w.CreateHeader(h)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, in)
	return err
}
