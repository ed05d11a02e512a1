package backup

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/pawlhq/pawl/secrets"
)

// WriteFile has write fill a file, of mode 0600, which gets its name when all is on
// the disk: under that name there is nothing, or what was there before, or all of
// it. Where the process is killed a part of it stays, encrypted, in a file whose
// name begins with path.tmp-. A file that is there already is replaced only with
// force. Errors: Invalid, and those of write.
func WriteFile(path string, force bool, write func(io.Writer) error) (err error) {
	taken := func() error {
		return secrets.Errorf(secrets.Invalid, "%s exists already", path).WithHint("name another file, or replace it: --force")
	}
	info, err := os.Lstat(path)
	switch {
	case err == nil && info.IsDir():
		return secrets.Errorf(secrets.Invalid, "%s is a folder", path).WithHint("name a file in it")
	case err == nil && !force:
		return taken()
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return written(err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp-*") // mode 0600
	if err != nil {
		return secrets.Errorf(secrets.Invalid, "writing the backup: %w", err).
			WithHint("name a file in a folder that there is, and that you may write to")
	}
	defer func() {
		_ = f.Close() // once more, where all went well
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return written(err)
	}
	if force {
		err = os.Rename(f.Name(), path)
	} else if err = os.Link(f.Name(), path); err == nil {
		// Unlike a renaming, a link never replaces what came meanwhile.
		err = os.Remove(f.Name())
	} else if errors.Is(err, fs.ErrExist) {
		return taken()
	} else { // a file system without links
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return written(err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return written(err)
	}
	return nil
}
