package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	driver "modernc.org/sqlite"

	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/store/schema"
)

// applicationID marks the file as a Pawl store: "Pawl" in ASCII.
// Source: SQLite documentation, "Database File Format", offset 68.
const applicationID = 0x5061776c

// smallestPage divides the size of every database.
const smallestPage = 512

// migrations make the schema; the n-th leads to schema version n.
//
//go:embed migrations/*.sql
var migrations embed.FS

// opening is held while a store opens. A file that is being created here must
// not be opened by SQLite at the same time: see the package comment.
var opening sync.Mutex

// fdatasync makes SQLite commit with fdatasync(2), as it does on all Linux
// distributions: as durable as fsync(2), and cheaper by one write of the file's
// times. Where it does not exist, fsync stays.
var fdatasync = sync.OnceFunc(func() { _, _ = driver.Fdatasync(true) })

// Open opens the store in the file at path. Errors are Invalid for whatever a
// person has to mend (a missing folder or file, a damaged or foreign file, a
// newer schema, no right to write) and leave everything on the disk as it was;
// they are Transient if the file is busy or the disk is full.
func Open(ctx context.Context, path string, o Options) (_ *Store, err error) {
	opening.Lock()
	defer opening.Unlock()
	fdatasync()
	if o.BusyTimeout == 0 {
		o.BusyTimeout = defaultBusyTimeout
	}
	path, err = locate(path, o.Create)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.BusyTimeout)
	defer cancel()
	s := &Store{path: path, cache: newCache(), queries: make(map[string]*sql.Stmt), index: useIndex(path)}
	defer func() {
		if err != nil {
			s.abandon()
		}
	}()
	// From here on nobody replaces the database, if it was ever open; of another
	// program's file nothing is known yet, and so nothing is made beside it.
	if _, err := os.Lstat(path + ".lock"); err == nil {
		if s.locks, err = openLockFile(path + ".lock"); err != nil {
			return nil, err
		}
	}
	if s.w, err = openWriter(ctx, path, o); err != nil {
		return nil, err
	}
	s.w.cache = s.cache
	if err := s.w.prepareSchema(ctx, o.Create); err != nil {
		return nil, err
	}
	if s.locks == nil {
		if s.locks, err = openLockFile(path + ".lock"); err != nil {
			return nil, err
		}
	}
	// Four readers are plenty for one disk, and an idle store keeps none.
	s.readers = readers(path, 4, o.BusyTimeout)
	s.ticks = readers(path, 1, o.BusyTimeout)
	look, err := s.ticks.PrepareContext(ctx, ticksQuery)
	if err != nil {
		return nil, classify(path, err)
	}
	s.clock.read = func() (at ticks, err error) {
		err = look.QueryRow().Scan(&at.secrets, &at.settings)
		return at, err
	}
	if memory, err := s.index.open(); err == nil {
		s.clock.header = func() (walHeader, bool) {
			if s.isClosed.Load() {
				return walHeader{}, false
			}
			return readHeader(memory)
		}
	}
	return s, nil
}

func readers(path string, n int, wait time.Duration) *sql.DB {
	db := pool(path, fmt.Sprintf("busy_timeout(%d)", wait.Milliseconds()), "query_only(1)", "cache_size(-1024)")
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	db.SetConnMaxIdleTime(idleTime)
	return db
}

// abandon closes what an Open that failed had opened.
func (s *Store) abandon() {
	for _, db := range []*sql.DB{s.readers, s.ticks} {
		if db != nil {
			_ = db.Close()
		}
	}
	if s.w != nil {
		_ = s.w.disconnect()
	}
	if s.locks != nil {
		_ = s.locks.close()
	}
	_ = s.index.release()
}

// locate returns the absolute path without symbolic links, at which there is a
// file. The locks of two processes meet only if both use the same path.
func locate(path string, create bool) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", secrets.Errorf(secrets.Invalid, "the store's path %q: %w", path, err)
	}
	dir, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if errors.Is(err, fs.ErrNotExist) {
		return "", secrets.Errorf(secrets.Invalid, "the folder of the store, %s, does not exist", filepath.Dir(abs)).
			WithHint("mount its disk, or run: mkdir -p %s", filepath.Dir(abs))
	}
	if err != nil {
		return "", secrets.Errorf(secrets.Invalid, "the folder of the store: %w", err).WithHint("run Pawl as the owner of the store")
	}
	abs = filepath.Join(dir, filepath.Base(abs))
	real, err := filepath.EvalSymlinks(abs)
	switch {
	case err == nil:
		abs = real
	case !errors.Is(err, fs.ErrNotExist):
		return "", secrets.Errorf(secrets.Invalid, "the store: %w", err).WithHint("run Pawl as the owner of the store")
	case !create:
		return "", missing(abs, "does not exist")
	default:
		if err := createFile(abs); err != nil {
			return "", err
		}
	}
	info, err := os.Stat(abs)
	if err != nil {
		return "", secrets.Errorf(secrets.Invalid, "the store: %w", err)
	}
	if !info.Mode().IsRegular() {
		return "", secrets.Errorf(secrets.Invalid, "the store %s is not a file", abs).WithHint("name the file itself (store.sqlite.path)")
	}
	wal, err := os.Stat(abs + "-wal")
	logged := err == nil && wal.Size() > 0
	switch {
	case info.Size()%smallestPage != 0 && !logged:
		// SQLite notices a missing page, but not a missing piece of the last one.
		return "", secrets.Errorf(secrets.Invalid, "the store %s is damaged: it was cut short, or is no database at all", abs).
			WithHint("name the right file (store.sqlite.path); if it is the right one: %s", remedyDamaged)
	case info.Size() > 0:
		return abs, nil
	case logged: // SQLite throws away the log of an empty database
		return "", secrets.Errorf(secrets.Invalid, "the store %s is empty, but its log %s-wal is not", abs, abs).
			WithHint("keep a copy of both, and restore a backup")
	case !create:
		return "", missing(abs, "is empty")
	}
	return abs, nil
}

func missing(path, what string) error {
	return secrets.Errorf(secrets.Invalid, "the store %s %s", path, what).
		WithHint("mount its disk or restore it from a backup; for a new store: pawl init")
}

// createFile makes an empty file of mode 0600, whose name is on the disk when
// it returns. SQLite gives its helper files the same mode.
func createFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // another process was faster
	}
	if err == nil {
		err = f.Close()
	}
	if err == nil {
		var dir *os.File
		if dir, err = os.Open(filepath.Dir(path)); err == nil {
			err = errors.Join(dir.Sync(), dir.Close())
		}
	}
	if err != nil {
		return secrets.Errorf(secrets.Invalid, "creating the store: %w", err).
			WithHint("make the folder %s writable for whoever runs Pawl", filepath.Dir(path))
	}
	return nil
}

// pool makes a pool of connections with these pragmas. None ever creates a file.
func pool(path string, pragmas ...string) *sql.DB {
	q := url.Values{"mode": {"rw"}, "_dqs": {"0"}, "_defensive": {"1"}, "_error_rc": {"1"},
		"_pragma": append(pragmas, "temp_store(MEMORY)")}
	u := url.URL{Scheme: "file", Path: path, RawQuery: q.Encode()}
	// The DSN's only varying part is the path, which is escaped, so this cannot
	// fail, and it opens nothing yet.
	db, _ := sql.Open("sqlite", u.String())
	return db
}

func openWriter(ctx context.Context, path string, o Options) (*writerConn, error) {
	w := &writerConn{
		path: path, wait: o.BusyTimeout, stmts: make(map[string]*sql.Stmt),
		// It waits by itself (whenFree). What it deletes it overwrites where that
		// costs no further page.
		db: pool(path, "busy_timeout(0)", "synchronous(FULL)", "foreign_keys(1)", "secure_delete(FAST)", "cache_size(-2048)"),
	}
	w.db.SetMaxOpenConns(1)
	err := w.whenFree(ctx, func() (err error) {
		w.conn, err = w.db.Conn(context.Background())
		return err
	})
	if err != nil {
		return nil, errors.Join(err, w.db.Close())
	}
	return w, nil
}

// prepareSchema makes sure that the file is a store with the present schema.
// It looks before it writes: of a file that is not ours nothing is changed.
func (w *writerConn) prepareSchema(ctx context.Context, create bool) error {
	scripts, err := schema.Scripts(migrations)
	if err != nil {
		return err
	}
	var version int64
	look := func() (err error) {
		version, err = w.inspect(int64(len(scripts)), create)
		return err
	}
	if err := w.whenFree(ctx, func() error { return w.snapshot(look) }); err != nil {
		return err
	}
	var mode string
	err = w.whenFree(ctx, func() error {
		return w.conn.QueryRowContext(context.Background(), "PRAGMA journal_mode = WAL").Scan(&mode)
	})
	if err != nil {
		return err
	}
	if mode != "wal" {
		return secrets.Errorf(secrets.Invalid, "the store %s cannot have a write-ahead log", w.path).WithHint("put it on a local disk")
	}
	// Beginning to write also shows whether the file can be written at all.
	return w.transact(ctx, func() error {
		if err := look(); err != nil { // another process may have been faster
			return err
		}
		for ; version < int64(len(scripts)); version++ {
			script := fmt.Sprintf("%s;\nPRAGMA application_id = %d;\nPRAGMA user_version = %d;\n", scripts[version], applicationID, version+1)
			if _, err := w.conn.ExecContext(context.Background(), script); err != nil {
				return classify(w.path, err)
			}
		}
		return nil
	})
}

// inspect returns the version of the file's schema, which is at most newest; 0
// is a file with nothing in it, which is an error unless create is set.
func (w *writerConn) inspect(newest int64, create bool) (version int64, err error) {
	var id, tables int64
	err = errors.Join(w.one(&id, "PRAGMA application_id"), w.one(&version, "PRAGMA user_version"),
		w.one(&tables, "SELECT count(*) FROM sqlite_schema"))
	if err != nil {
		return 0, err
	}
	switch blank := id == 0 && version == 0 && tables == 0; {
	case blank && !create:
		return 0, missing(w.path, "has nothing in it")
	case !blank && id != applicationID:
		return 0, secrets.Errorf(secrets.Invalid, "%s is the database of some other program", w.path).
			WithHint("name Pawl's own file (store.sqlite.path)")
	case version > newest:
		return 0, secrets.Errorf(secrets.Invalid, "the store %s was made by a newer Pawl (schema %d; this one knows %d)", w.path, version, newest).
			WithHint("upgrade this Pawl")
	}
	return version, nil
}

// snapshot runs look so that all it reads is from one moment.
func (w *writerConn) snapshot(look func() error) error {
	if err := w.run("BEGIN DEFERRED"); err != nil {
		return err
	}
	err := look()
	_ = w.run("ROLLBACK") // nothing was written
	return err
}
