package backup

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

// Target is where a store is to be restored.
type Target struct {
	Path string
	// Force has a store that is there already kept beside it under another name.
	Force bool
	Now   func() time.Time
}

// Restored tells what was restored, and what to look at.
type Restored struct {
	Contents
	Path  string // of the store
	Aside string // where the store is now that was there before; "" = there was none
	// Due are the secrets that were due for rotation since the backup was made: a
	// password in the backup is older than the server's if they were rotated.
	Due []secrets.ARN
	// Unfinished are those that were in the middle of a rotation when the backup was
	// made.
	Unfinished []secrets.ARN
}

// Restore makes a store of a backup. It is made under another name, read again and
// compared with the backup; only when all is as it should be, and every value
// opens, it gets its own name. Whatever happens before that, there is no trace of
// it, or, where the process was killed, none that the next Restore does not remove.
// Errors: Conflict while a Pawl has the store open; Invalid for a store that is
// there already, without Force; as Verify; those of the store.
func (r Reader) Restore(ctx context.Context, src io.Reader, t Target) (_ *Restored, err error) {
	place, err := sqlite.Renew(t.Path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := place.Close(); err == nil {
			err = e
		}
	}()
	if place.Taken() && !t.Force {
		return nil, secrets.Errorf(secrets.Invalid, "the store %s exists already", place.Place()).
			WithHint("restore to another path (store.sqlite.path), or with --force, which keeps the old store beside it under another name")
	}
	out := &Restored{Path: place.Place()}
	now := t.Now()
	p := &passage{seen: func(s *service.Secret) {
		if s.Versions.Unfinished() {
			out.Unfinished = append(out.Unfinished, s.ARN)
		} else if !s.DueAt.IsZero() && !s.DueAt.After(now) {
			out.Due = append(out.Due, s.ARN)
		}
	}}
	c, err := r.fill(ctx, src, place.Path(), p)
	if err != nil {
		return nil, err
	}
	out.Contents = *c
	if err := r.compare(ctx, place.Path(), p.again); err != nil {
		return nil, err
	}
	for _, arns := range [][]secrets.ARN{out.Due, out.Unfinished} {
		slices.SortFunc(arns, func(a, b secrets.ARN) int { return bytes.Compare([]byte(a.String()), []byte(b.String())) })
	}
	out.Aside, err = place.Install(now)
	return out, err
}

// fill makes a store of what is read.
func (r Reader) fill(ctx context.Context, src io.Reader, path string, p *passage) (_ *Contents, err error) {
	store, err := sqlite.Open(ctx, path, sqlite.Options{Create: true})
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := store.Close(); err == nil && e != nil {
			err = e
		}
	}()
	p.into = &filling{store}
	return r.read(ctx, src, p)
}

// compare opens the store that was made, as a Pawl would, and makes sure that it
// is sound and has exactly what was read.
func (r Reader) compare(ctx context.Context, path string, digest []byte) (err error) {
	store, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	defer func() {
		if e := store.Close(); err == nil && e != nil {
			err = e
		}
	}()
	if err := store.Check(ctx); err != nil {
		return err
	}
	made := newLines(io.Discard)
	err = store.Snapshot(ctx, func(n *sqlite.Snapshot) error {
		return every(ctx, n, made, func(int) {})
	})
	if err != nil {
		return err
	}
	if !bytes.Equal(made.digest.Sum(nil), digest) {
		return secrets.Errorf(secrets.Invalid, "the store that was made of the backup is not what is in the backup; nothing was put in place").
			WithHint("check the disk and try again; if it stays so, report this, and restore with the Pawl that made the backup")
	}
	return seal.New(seal.Config{Master: r.Master, KMS: r.KMS, Store: store}).Verify(ctx, store)
}

// filling is a store that a backup is read into.
type filling struct{ store *sqlite.Store }

func (f *filling) keys(ctx context.Context, named []seal.NamedKey) error {
	return f.store.ChangeNamedKeys(ctx, func([]seal.NamedKey) ([]seal.NamedKey, error) { return named, nil })
}

func (f *filling) kept(ctx context.Context, k *kept) error { return f.store.Keep(ctx, k.Name, k.Value) }

func (f *filling) principal(ctx context.Context, p *principal) error {
	err := f.store.CreatePrincipal(ctx, p.Record)
	if errors.Is(err, principals.ErrExists) {
		return damaged(errors.New("a principal is in it twice"))
	}
	for id, at := range p.Used {
		if err == nil {
			err = f.store.NoteUse(ctx, id, at)
		}
	}
	return err
}

func (f *filling) secret(ctx context.Context, s *secret) error {
	err := f.store.Create(ctx, s.Record, s.Values)
	if errors.Is(err, service.ErrExists) {
		return damaged(errors.New("a secret is in it twice"))
	}
	return err
}
