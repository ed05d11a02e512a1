package backup

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
)

const (
	// longestLine bounds a line: a hundred versions of the largest values, and room.
	longestLine = 64 << 20
	// atOnce is how many secrets are opened, and written, side by side.
	atOnce = 32
)

// Contents tells what is in a backup.
type Contents struct {
	Header
	MasterKey string // the id of the one that the file was made with; "" where it was not asked
}

// Reader reads backups. Master is required: without it no value opens.
type Reader struct {
	Master *seal.Master
	KMS    seal.KMS // nil = none
	// Identities open the file where the master key does not.
	Identities []age.Identity
	Progress   func(done, total int) // of secrets; may be nil
}

// sink is where what is read goes. principal and kept are called one after the
// other, secret side by side.
type sink interface {
	keys(ctx context.Context, named []seal.NamedKey) error
	kept(ctx context.Context, k *kept) error
	principal(ctx context.Context, p *principal) error
	secret(ctx context.Context, s *secret) error
}

// Verify reads a backup to its end, and opens every value and every access key in
// it. Errors are Invalid where it is damaged, cut short, made by a newer Pawl or
// with another master key, or where something in it does not open; as Keyring.Open
// where AWS KMS is asked.
func (r Reader) Verify(ctx context.Context, src io.Reader) (*Contents, error) {
	return r.read(ctx, src, &passage{})
}

// passage is one reading.
type passage struct {
	into sink // nil = nowhere
	// again is the digest of what was read, as this Pawl encodes it.
	again []byte
	// seen is told of every secret; may be nil. One at a time.
	seen func(*service.Secret)
}

func (r Reader) read(ctx context.Context, src io.Reader, p *passage) (*Contents, error) {
	from := &source{r: src}
	by := &masterIdentity{keys: seal.New(seal.Config{Master: r.Master})}
	plain, err := age.Decrypt(from, append([]age.Identity{by}, r.Identities...)...)
	var none *age.NoIdentityMatchError
	switch {
	case from.err != nil:
		return nil, unreadable(from.err)
	case errors.As(err, &none):
		return nil, by.locked(len(r.Identities))
	case err != nil:
		return nil, damaged(err)
	}
	in := newEntries(plain)
	c := &Contents{}
	if len(by.made) > 0 {
		c.MasterKey = by.made[0]
	}
	if err = in.header(&c.Header); err == nil {
		err = r.entries(ctx, in, c.Header, p, by)
	}
	switch {
	case from.err != nil:
		return nil, unreadable(from.err)
	case err != nil:
		return nil, err
	}
	return c, nil
}

// entries reads all that comes after the header.
func (r Reader) entries(ctx context.Context, in *entries, h Header, p *passage, by *masterIdentity) error {
	first := in.digest.Sum(nil)
	in.digest.Reset()
	var named []seal.NamedKey
	var keys *seal.Keyring // made when all named keys are there
	ready := func() error {
		if keys != nil {
			return nil
		}
		keys = seal.New(seal.Config{Master: r.Master, KMS: r.KMS, Store: heldKeys{keys: named}})
		if p.into == nil {
			return nil
		}
		return p.into.keys(ctx, named)
	}
	again := newLines(io.Discard)
	group, inGroup := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	var mu sync.Mutex
	last, err := in.each(func(e entry) error {
		// What stops one of them stops the reading.
		if err := inGroup.Err(); err != nil {
			return err
		}
		if err := again.put(e); err != nil {
			return err
		}
		if e.Key != nil {
			if keys != nil {
				return damaged(errors.New("a key stands behind what it encrypts"))
			}
			named = append(named, *e.Key)
			return nil
		}
		if err := ready(); err != nil {
			return err
		}
		switch {
		case e.Kept != nil && p.into != nil:
			return p.into.kept(ctx, e.Kept)
		case e.Principal != nil:
			if e.Principal.Record == nil {
				return damaged(errors.New("a principal without a record"))
			}
			if err := principals.Opens(ctx, e.Principal.Record, keys); err != nil {
				return err
			}
			if p.into != nil {
				return p.into.principal(ctx, e.Principal)
			}
		case e.Secret != nil:
			done := again.size.Secrets
			group.Go(func() error {
				if err := opens(inGroup, keys, e.Secret); err != nil {
					return err
				}
				if p.into != nil {
					if err := p.into.secret(inGroup, e.Secret); err != nil {
						return err
					}
				}
				mu.Lock()
				defer mu.Unlock()
				if p.seen != nil {
					p.seen(e.Secret.Record)
				}
				if r.Progress != nil {
					r.Progress(done, h.Size.Secrets)
				}
				return nil
			})
		}
		return nil
	})
	// The first of them to fail is why the others, and the reading, were stopped.
	if failed := group.Wait(); failed != nil && ctx.Err() == nil {
		return failed
	}
	if err == nil && ctx.Err() == nil {
		err = ready()
	}
	switch {
	case ctx.Err() != nil:
		return secrets.Errorf(secrets.Transient, "stopped after %d of %d secrets: %w", again.size.Secrets, h.Size.Secrets, ctx.Err())
	case err != nil:
		return err
	case last.Size != again.size || last.Size != h.Size:
		return damaged(fmt.Errorf("it should hold %+v, and holds %+v", last.Size, again.size))
	case !bytes.Equal(last.Digest, in.digest.Sum(nil)):
		return damaged(errors.New("its digest is another one"))
	}
	switch ok, known := by.keys.Vouched(last.Master, append(first, last.Digest...), last.Proof); {
	case !known:
		return secrets.Errorf(secrets.Invalid, "the backup was made with master key %s; %s", last.Master, by.keys).
			WithHint("put the key file back that was in use when the backup was made")
	case !ok:
		return secrets.Errorf(secrets.Invalid, "the backup was altered by somebody who may read it, but has not the master key").
			WithHint("do not use it: find out who could write to it, and take one that was kept elsewhere")
	}
	p.again = again.digest.Sum(nil)
	return nil
}

// opens makes sure that a secret has the values that its record says, and that
// each of them opens.
func opens(ctx context.Context, keys *seal.Keyring, s *secret) error {
	if s.Record == nil {
		return damaged(errors.New("a secret without a record"))
	}
	has := 0
	for _, v := range s.Record.Versions {
		sealed, ok := s.Values[v.ID]
		if ok == v.Empty {
			return damaged(fmt.Errorf("secret %s: version %s", s.Record.ARN, v.ID))
		}
		if !ok {
			continue
		}
		has++
		if _, err := keys.Open(ctx, s.Record.ARN.String(), v.ID, sealed); err != nil {
			return secrets.Prefixed(err, "a value in the backup does not open")
		}
	}
	if has != len(s.Values) {
		return damaged(fmt.Errorf("secret %s has values of versions that it has not", s.Record.ARN))
	}
	return nil
}

// entries reads lines.
type entries struct {
	r      *bufio.Reader
	digest hash.Hash
}

func newEntries(r io.Reader) *entries {
	return &entries{r: bufio.NewReaderSize(r, 256<<10), digest: newLines(nil).digest}
}

// line reads one. io.EOF means that there is none.
func (in *entries) line() ([]byte, error) {
	var text []byte
	for {
		part, err := in.r.ReadSlice('\n')
		text = append(text, part...)
		switch {
		case err == nil:
			return text, nil
		case errors.Is(err, io.EOF) && len(text) == 0:
			return nil, io.EOF
		case errors.Is(err, bufio.ErrBufferFull) && len(text) < longestLine:
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, damaged(errors.New("a line has no end"))
		default:
			return nil, damaged(err)
		}
	}
}

// header reads the first line.
func (in *entries) header(h *Header) error {
	text, err := in.line()
	if err != nil {
		return damaged(err)
	}
	in.digest.Write(text)
	if err := json.Unmarshal(text, h); err != nil || h.Pawl != kindOfFile {
		return secrets.Errorf(secrets.Invalid, "this is an age file, but no backup of Pawl's").
			WithHint("name the file that pawl backup wrote")
	}
	if h.Format < 1 || h.Format > Format {
		return newer(fmt.Sprintf("its form is %d, and this Pawl knows %d", h.Format, Format))
	}
	return nil
}

// each calls visit with every entry but the last, which it returns: after it there
// is nothing, and the file ends as it should.
func (in *entries) each(visit func(entry) error) (*end, error) {
	for {
		text, err := in.line()
		if err != nil {
			return nil, damaged(err)
		}
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		var e entry
		if err := d.Decode(&e); err != nil {
			return nil, newer("it has lines that this Pawl can't read: " + err.Error())
		}
		if e.End != nil {
			if _, err := in.line(); !errors.Is(err, io.EOF) {
				return nil, damaged(errors.New("it goes on after its end"))
			}
			return e.End, nil
		}
		in.digest.Write(text)
		if err := visit(e); err != nil {
			return nil, err
		}
	}
}

func newer(what string) error {
	return secrets.Errorf(secrets.Invalid, "the backup was made by a newer Pawl: %s", what).WithHint("upgrade this Pawl")
}

func damaged(err error) error {
	var known *secrets.Error
	if errors.As(err, &known) {
		return err
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return secrets.Errorf(secrets.Invalid, "the backup is damaged or cut short: %w", err).
		WithHint("copy it again from where it is kept, or use another one")
}

func unreadable(err error) error {
	return secrets.Errorf(secrets.Invalid, "reading the backup: %w", err).WithHint("look at the file, and at the disk it is on")
}

// source remembers why it could not be read.
type source struct {
	r   io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// heldKeys is the store of a Keyring that only opens: the named keys of a backup.
type heldKeys struct {
	seal.Store // nil: nothing else is asked of it
	keys       []seal.NamedKey
}

// SettingsRevision implements seal.Store.
func (heldKeys) SettingsRevision(context.Context) (int64, error) { return 1, nil }

// NamedKeys implements seal.Store.
func (h heldKeys) NamedKeys(context.Context) ([]seal.NamedKey, error) { return h.keys, nil }
