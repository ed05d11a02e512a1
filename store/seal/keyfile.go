package seal

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pawlhq/pawl/secrets"
)

// A key file is text. Its first line says what it is; lines that begin with #
// and empty lines are for people; each other line is a key: its id, a space, and
// 32 bytes in base64. The first key seals, all of them open. The id is derived
// from the key, so that a mistyped key is noticed.
const (
	keyFileTitle = "pawl key file 1"
	keyFileNote  = `# Whoever has this file and the database can read every secret.
# Without this file nobody can. Keep a copy, and keep it apart from the
# database and its backups.
`
	maxKeyFile = 64 << 10
)

// GenerateKeyFile writes a new key file with one key taken from random. The
// file belongs to its owner alone (mode 0600) and is on the disk when it
// returns. It never overwrites: if path exists, whatever it is, the error is
// Invalid.
func GenerateKeyFile(path string, random io.Reader) (err error) {
	raw := make([]byte, keyLen)
	if _, err := io.ReadFull(random, raw); err != nil {
		return fmt.Errorf("making a key: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return secrets.Errorf(secrets.Invalid, "the key file %s exists and is not overwritten", path).
			WithHint("use it, or move it away if no store needs it")
	}
	if err != nil {
		return secrets.Errorf(secrets.Invalid, "creating the key file: %w", err).
			WithHint("make the folder %s and make it writable", filepath.Dir(path))
	}
	defer func() {
		if err != nil {
			err = secrets.Errorf(secrets.Invalid, "writing the key file: %w", errors.Join(err, os.Remove(path))).
				WithHint("check the disk of %s", filepath.Dir(path))
		}
	}()
	_, err = fmt.Fprintf(f, "%s\n%s%s %s\n", keyFileTitle, keyFileNote, idOf(raw), base64.StdEncoding.EncodeToString(raw))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Load reads a key file. Errors are Invalid: the file is missing, can be read
// by others than its owner, is not a key file, or a key in it is damaged.
func Load(path string) (*Keyring, error) {
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, secrets.Errorf(secrets.Invalid, "the key file %s does not exist", path).
			WithHint("put it back from its backup; for a new store: pawl init")
	case err != nil:
		return nil, secrets.Errorf(secrets.Invalid, "opening the key file: %w", err).
			WithHint("run Pawl as the owner of %s", path)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "opening the key file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, secrets.Errorf(secrets.Invalid, "the key file %s is not a file", path).
			WithHint("name the file itself (store.sqlite.key_file)")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, secrets.Errorf(secrets.Invalid, "the key file %s can be used by others than its owner (mode %04o)", path, mode).
			WithHint("run: chmod 600 %s", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "reading the key file: %w", err).WithHint("check the disk")
	}
	k, err := parse(path, text)
	if err != nil {
		return nil, secrets.Errorf(secrets.Invalid, "the key file %s %w", path, err).
			WithHint("put it back from its backup")
	}
	return k, nil
}

// parse reads a key file's text. Its errors go on after "the key file X" and
// never show what the file holds.
func parse(path string, text []byte) (*Keyring, error) {
	k := &Keyring{path: path}
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, errors.New("is empty")
	case len(text) > maxKeyFile:
		return nil, errors.New("is too large to be one")
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if n == 1 {
			if line != keyFileTitle {
				return nil, fmt.Errorf("is not one: its first line is not %q", keyFileTitle)
			}
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		key, err := parseKey(line)
		if err != nil {
			return nil, fmt.Errorf("is damaged in line %d: %w", n, err)
		}
		k.keys = append(k.keys, key)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("is damaged: %w", err)
	}
	if len(k.keys) == 0 {
		return nil, errors.New("has no key in it")
	}
	return k, nil
}

func parseKey(line string) (key, error) {
	id, text, ok := strings.Cut(line, " ")
	if !ok {
		return key{}, errors.New("a key is its id, a space and 32 bytes in base64")
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return key{}, errors.New("the key is not base64")
	}
	if len(raw) != keyLen {
		return key{}, fmt.Errorf("the key has %d bytes instead of %d", len(raw), keyLen)
	}
	if id != idOf(raw).String() {
		return key{}, errors.New("the key does not match its id")
	}
	aead, err := gcm(raw)
	if err != nil {
		return key{}, err
	}
	return key{idOf(raw), aead}, nil
}

// idOf derives a key's public name.
func idOf(raw []byte) keyID {
	sum := sha256.Sum256(append([]byte("pawl key id\x00"), raw...))
	return keyID(sum[:idLen])
}
