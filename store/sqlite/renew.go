package sqlite

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/pawlhq/pawl/secrets"
)

// Renewal is the place of a store, kept free of every Pawl by one who makes a new
// database for it.
type Renewal struct {
	path  string // absolute, free of symbolic links
	locks *lockFile
	old   bool
}

// What belongs to a database beside its own file; the log comes first.
var companions = []string{"-wal", "-shm"}

// Renew keeps the place at path for the caller, until Close or the end of the
// process: nobody opens the store there meanwhile. What a Renewal that was killed
// left behind is removed. Errors: Conflict while a Pawl has the store open; Invalid
// for a folder that there is not, or that can't be written.
func Renew(path string) (*Renewal, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "the store's path %q: %w", path, err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "the folder of the store: %w", err).
			WithHint("mount its disk, or run: mkdir -p %s", filepath.Dir(abs))
	}
	abs = filepath.Join(dir, filepath.Base(abs))
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	} else if _, err := os.Lstat(abs); err == nil {
		return nil, secrets.Errorf(secrets.Invalid, "the store %s is a symbolic link to nowhere", abs).
			WithHint("mount the disk it leads to, or remove the link")
	}
	r := &Renewal{path: abs}
	if r.locks, err = aloneWith(abs + ".lock"); err != nil {
		return nil, err
	}
	if err := r.look(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// look finds out what is in the place, and clears away what was left half done.
func (r *Renewal) look() error {
	if err := r.discard(); err != nil {
		return err
	}
	_, err := os.Lstat(r.path)
	if r.old = err == nil; r.old {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return secrets.Errorf(secrets.Invalid, "the store: %w", err).WithHint("run Pawl as the owner of the store")
	}
	// A log without its database would be taken for the new one's.
	for _, suffix := range companions {
		if _, err := os.Lstat(r.path + suffix); err != nil {
			continue
		}
		if suffix == companions[0] && !r.isAside(suffix) {
			return secrets.Errorf(secrets.Invalid, "there is no store %s, but a log of one, %s", r.path, r.path+suffix).
				WithHint("it may hold what was written last: put its database back beside it, or move it away")
		}
		if err := os.Remove(r.path + suffix); err != nil {
			return unwritable(err, r.path)
		}
	}
	return nil
}

// isAside reports whether a companion of the store is there under another name
// too: somebody was killed while he moved a store aside.
func (r *Renewal) isAside(suffix string) bool {
	mine, err := os.Lstat(r.path + suffix)
	if err != nil {
		return false
	}
	others, _ := filepath.Glob(quoted(r.path) + asideInfix + "*" + suffix)
	for _, o := range others {
		if info, err := os.Lstat(o); err == nil && os.SameFile(mine, info) {
			return true
		}
	}
	return false
}

// quoted is a path as filepath.Glob finds it.
func quoted(path string) string {
	var out []byte
	for i := range len(path) {
		if c := path[i]; c == '*' || c == '?' || c == '[' || c == '\\' {
			out = append(out, '\\')
		}
		out = append(out, path[i])
	}
	return string(out)
}

const asideInfix = ".before-restore-"

// Taken reports whether there is something in the place.
func (r *Renewal) Taken() bool { return r.old }

// Place is where the store is.
func (r *Renewal) Place() string { return r.path }

// Path is where the new database is to be made, by Open with Create.
func (r *Renewal) Path() string { return r.path + ".restoring" }

// Install puts the new database, which is closed, into the place. What was there
// is kept beside it, under the name that is returned, "" where there was nothing.
// At every instant there is in the place the old store, nothing, or the new one;
// each whole.
func (r *Renewal) Install(now time.Time) (aside string, err error) {
	if info, err := os.Stat(r.Path() + companions[0]); err == nil && info.Size() > 0 {
		return "", secrets.Errorf(secrets.Invalid, "the new database %s was not closed", r.Path())
	}
	if err := syncFile(r.Path()); err != nil {
		return "", unwritable(err, r.path)
	}
	if r.old {
		aside = r.path + asideInfix + now.UTC().Format("20060102T150405.000Z")
		// First the log gets a second name, so that the old store is whole under
		// either name all the time; its index is made anew by who opens it.
		err := os.Link(r.path+companions[0], aside+companions[0])
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", unwritable(err, r.path)
		}
		if err := os.Rename(r.path, aside); err != nil {
			return "", unwritable(err, r.path)
		}
		for _, suffix := range companions {
			if err := os.Remove(r.path + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return aside, unwritable(err, r.path)
			}
		}
		if err := syncFile(filepath.Dir(r.path)); err != nil {
			return aside, unwritable(err, r.path)
		}
		r.old = false
	}
	if err := os.Rename(r.Path(), r.path); err != nil {
		return aside, unwritable(err, r.path)
	}
	if err := syncFile(filepath.Dir(r.path)); err != nil {
		return aside, unwritable(err, r.path)
	}
	return aside, nil
}

// Close lets others have the place, and removes what was not installed.
func (r *Renewal) Close() error { return errors.Join(r.discard(), r.locks.close()) }

// discard removes the new database.
func (r *Renewal) discard() error {
	for _, suffix := range append([]string{"", ".lock"}, companions...) {
		if err := os.Remove(r.Path() + suffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return unwritable(err, r.path)
		}
	}
	return nil
}

func unwritable(err error, path string) error {
	return secrets.Errorf(secrets.Invalid, "putting a store into its place: %w", err).
		WithHint("run Pawl as the owner of %s, with its folder writable", filepath.Dir(path))
}

// syncFile has a file, or the names in a folder, on the disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
