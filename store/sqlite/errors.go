package sqlite

import (
	"context"
	"errors"

	driver "modernc.org/sqlite"
	code "modernc.org/sqlite/lib"

	"github.com/pawlhq/pawl/secrets"
)

const remedyDamaged = "stop every Pawl that uses the store, keep a copy of the file with its -wal, and restore a backup"

// classify turns an error of the database into one that says what to do about
// it. Errors that are classified already stay as they are.
// Source of the codes: SQLite documentation, "Result and Error Codes".
func classify(path string, err error) error {
	if err == nil {
		return nil
	}
	var known *secrets.Error
	if errors.As(err, &known) {
		return err
	}
	fail := func(k secrets.Kind, what, hint string) error {
		return secrets.Errorf(k, "the store %s %s: %w", path, what, err).WithHint("%s", hint)
	}
	var e *driver.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fail(secrets.Transient, "did not answer in time", "try again")
	case !errors.As(err, &e):
		return secrets.Errorf(secrets.Invalid, "the store %s failed: %w", path, err)
	}
	switch e.Code() {
	case code.SQLITE_IOERR_SHMSIZE, code.SQLITE_IOERR_NOMEM:
		return fail(secrets.Transient, "could not grow", "free some memory or disk space, then try again")
	}
	switch e.Code() & 0xff {
	case code.SQLITE_BUSY, code.SQLITE_LOCKED, code.SQLITE_INTERRUPT, code.SQLITE_PROTOCOL:
		return fail(secrets.Transient, "is busy", "try again; if it stays busy, see which other process has the file open")
	case code.SQLITE_FULL:
		return fail(secrets.Transient, "cannot grow: the disk is full", "free some disk space, then try again")
	case code.SQLITE_NOMEM:
		return fail(secrets.Transient, "ran out of memory", "free some memory, then try again")
	case code.SQLITE_CORRUPT:
		return fail(secrets.Invalid, "is damaged", remedyDamaged)
	case code.SQLITE_NOTADB:
		return fail(secrets.Invalid, "is not a Pawl store, or it is damaged", "name the right file (store.sqlite.path); if it is the right one: "+remedyDamaged)
	case code.SQLITE_READONLY, code.SQLITE_PERM, code.SQLITE_CANTOPEN:
		return fail(secrets.Invalid, "cannot be written", "run Pawl as the owner of the file, and make the file, its -wal and -shm, and the folder writable for him (SQLite keeps helper files beside the database)")
	case code.SQLITE_IOERR:
		return fail(secrets.Invalid, "could not be read or written", "check the disk (its space, its quota, the system log), then try again")
	default:
		return fail(secrets.Invalid, "failed", "if the file is right and its disk is well, report this")
	}
}
