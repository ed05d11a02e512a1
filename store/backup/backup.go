// Package backup writes all that an embedded store has into one encrypted file,
// and makes a store of such a file again.
//
// The file is an age file (age-encryption.org/v1). Its key is wrapped by the
// store's master key, and for further recipients if there are any, who then can
// read it with age itself; the values in it stay as encrypted as in the store. So
// the master key is needed in any case to have the secrets back, and it is never in
// the file.
//
// In it are lines of JSON: a Header, the named keys, what the store keeps about
// itself, the principals, the secrets, each with all its values, and a last line
// with counts and a digest of all others. It is written and read as a stream, in
// memory that does not grow with the store, and leaves nothing else on the disk.
package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"time"

	"filippo.io/age"

	"github.com/pawlhq/pawl/access/principals"
	"github.com/pawlhq/pawl/secrets"
	"github.com/pawlhq/pawl/service"
	"github.com/pawlhq/pawl/store/seal"
	"github.com/pawlhq/pawl/store/sqlite"
)

// Format is the newest form of the lines. It rises with everything that an older
// Pawl would not understand.
const Format = 1

// kindOfFile is what a Header begins with.
const kindOfFile = "backup of an embedded store"

// Header is the first line.
type Header struct {
	Pawl    string      `json:"pawl"` // kindOfFile
	Format  int         `json:"format"`
	Schema  int         `json:"schema"` // the version of the store's schema
	Created time.Time   `json:"created"`
	Size    sqlite.Size `json:"size"`
}

// entry is a line: one of its members is set.
type entry struct {
	Key       *seal.NamedKey `json:"key,omitempty"`
	Kept      *kept          `json:"kept,omitempty"`
	Principal *principal     `json:"principal,omitempty"`
	Secret    *secret        `json:"secret,omitempty"`
	End       *end           `json:"end,omitempty"`
}

type kept struct {
	Name  string `json:"name"`
	Value []byte `json:"value"`
}

type principal struct {
	Record *principals.Record   `json:"record"`
	Used   map[string]time.Time `json:"used,omitempty"`
}

type secret struct {
	Record *service.Secret `json:"record"`
	Values service.Sealed  `json:"values"`
}

// end is the last line. The digest is of all lines between the first and this one,
// and the proof, for it and the first line, is by the master key: who may read the
// file as a further recipient has its key, and could write another one with it.
type end struct {
	Size   sqlite.Size `json:"size"`
	Digest []byte      `json:"digest"`
	Master string      `json:"master"` // the id of the master key
	Proof  []byte      `json:"proof"`
}

// Writer writes backups.
type Writer struct {
	Store *sqlite.Store
	Keys  *seal.Keyring
	// Recipients can read the file too, with age.
	Recipients []age.Recipient
	Now        func() time.Time
	Progress   func(done, total int) // of secrets; may be nil
}

// Write writes a backup of the store as it is at one moment; whoever uses the
// store goes on meanwhile. Errors: those of the store, and Invalid where w fails.
// Then what was written is no backup.
func (b Writer) Write(ctx context.Context, w io.Writer) (*Contents, error) {
	master := &masterRecipient{ctx: ctx, keys: b.Keys, labels: labelsOf(b.Recipients)}
	var out *Contents
	err := b.Store.Snapshot(ctx, func(n *sqlite.Snapshot) error {
		h := Header{Pawl: kindOfFile, Format: Format, Created: b.Now().UTC()}
		var err error
		if h.Schema, err = n.Schema(); err != nil {
			return err
		}
		if h.Size, err = n.Size(); err != nil {
			return err
		}
		buffered := bufio.NewWriterSize(w, 256<<10)
		encrypted, err := age.Encrypt(buffered, append([]age.Recipient{master}, b.Recipients...)...)
		if err != nil {
			return written(err)
		}
		l := newLines(encrypted)
		if err := l.put(h); err != nil {
			return err
		}
		first := l.digest.Sum(nil)
		l.digest.Reset()
		if err := every(ctx, n, l, func(done int) {
			if b.Progress != nil {
				b.Progress(done, h.Size.Secrets)
			}
		}); err != nil {
			return err
		}
		if l.size != h.Size {
			return secrets.Errorf(secrets.Invalid, "the store says that it has %+v, and has %+v", h.Size, l.size).
				WithHint("it is damaged: stop every Pawl that uses it, and restore an earlier backup")
		}
		last := &end{Size: l.size, Digest: l.digest.Sum(nil)}
		if last.Master, last.Proof, err = b.Keys.Vouch(ctx, append(first, last.Digest...)); err != nil {
			return err
		}
		if err := l.put(entry{End: last}); err != nil {
			return err
		}
		if err := encrypted.Close(); err != nil {
			return written(err)
		}
		if err := buffered.Flush(); err != nil {
			return written(err)
		}
		out = &Contents{Header: h, MasterKey: master.id}
		return nil
	})
	return out, err
}

// written explains why something could not be written.
func written(err error) error {
	return secrets.Errorf(secrets.Invalid, "writing the backup: %w", err).
		WithHint("look at the disk it is on (its space, its quota), or at what reads it; what was written so far is no backup")
}

// lines encodes entries, and counts and digests what it encodes.
type lines struct {
	w      io.Writer
	digest hash.Hash
	size   sqlite.Size
}

func newLines(w io.Writer) *lines { return &lines{w: w, digest: sha256.New()} }

func (l *lines) put(line any) error {
	text, err := json.Marshal(line)
	if err != nil {
		return fmt.Errorf("encoding a line of a backup: %w", err)
	}
	text = append(text, '\n')
	l.digest.Write(text)
	if e, ok := line.(entry); ok {
		e.count(&l.size)
	}
	if _, err := l.w.Write(text); err != nil {
		return written(err)
	}
	return nil
}

func (e entry) count(s *sqlite.Size) {
	switch {
	case e.Key != nil:
		s.Keys++
	case e.Principal != nil:
		s.Principals++
	case e.Secret != nil:
		s.Secrets++
		s.Values += len(e.Secret.Values)
	}
}

// every puts all that a store has, in the one order there is.
func every(ctx context.Context, n *sqlite.Snapshot, l *lines, done func(secrets int)) error {
	keys, err := n.NamedKeys()
	if err != nil {
		return err
	}
	for i := range keys {
		if err := l.put(entry{Key: &keys[i]}); err != nil {
			return err
		}
	}
	err = n.Kept(func(name string, value []byte) error {
		if seal.Passing(name) {
			return nil
		}
		return l.put(entry{Kept: &kept{name, value}})
	})
	if err != nil {
		return err
	}
	err = n.Principals(func(r *principals.Record, used map[string]time.Time) error {
		return l.put(entry{Principal: &principal{r, used}})
	})
	if err != nil {
		return err
	}
	return n.Secrets(func(s *service.Secret, values service.Sealed) error {
		if err := ctx.Err(); err != nil {
			return secrets.Errorf(secrets.Transient, "stopped after %d secrets: %w", l.size.Secrets, err)
		}
		if err := l.put(entry{Secret: &secret{s, values}}); err != nil {
			return err
		}
		done(l.size.Secrets)
		return nil
	})
}
